"""A session in a process of its own, to be killed: FOLDER, CLIP, keep or not, seconds."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path

from make_sender import Clip, send
from nunbit.live import LiveSession


def main() -> None:
    folder, clip_file, keep, seconds = sys.argv[1:]
    clip: Clip = pickle.loads(Path(clip_file).read_bytes())
    session = LiveSession(None, folder=Path(folder), keep_media=keep == "keep")
    end_s = float(seconds)

    def kill() -> None:
        time.sleep(end_s)
        # What was read by now; a second of it may be lost.
        sys.stdout.write(f"{session._now_s}\n")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    send(session, clip, live=True)
    time.sleep(60)


if __name__ == "__main__":
    main()
