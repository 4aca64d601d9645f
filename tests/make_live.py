"""A made talking face as a browser's fake camera and microphone, and ``nunbit app`` to see it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from nunbit.synth.script import Dropout, EmotionKey, HeadKey, Saying, VideoScript
from nunbit.synth.video import render_video

FPS = 30  # what Chromium assumes of an MJPEG file
RATE_HZ = 48_000

SMILE = (8.0, 13.0)
"""Full smile, seconds; it rises in the half second before. What is said fits it."""
SADNESS = (16.5, 21.0)
"""A sad face over sad words."""
MASKED = (23.5, 28.0)
"""A smile over sad words."""
AWAY = (29.6, 31.0)
"""The face is out of the picture."""
PAUSE_S = 1.5
"""Length of the pause inside the first saying."""

TALKING = VideoScript(
    duration_s=32.0,
    width=640,
    height=480,
    fps=10,  # each is shown three times
    seed=20,
    person=94,
    scene="room",
    face_scale=0.24,
    sway_deg=1.0,
    hold_s=0.1,
    blinks_per_min=10,
    noise_dbfs=-66.0,
    audio_rate_hz=RATE_HZ,
    voice="formant",
    variants={"sadness": 1},
    emotions=(
        EmotionKey(0.0), EmotionKey(SMILE[0] - 0.5), EmotionKey(SMILE[0], joy=1.0),
        EmotionKey(SMILE[1], joy=1.0), EmotionKey(SMILE[1] + 0.6), EmotionKey(SADNESS[0] - 0.8),
        EmotionKey(SADNESS[0], sadness=1.0), EmotionKey(SADNESS[1], sadness=1.0),
        EmotionKey(SADNESS[1] + 0.8), EmotionKey(MASKED[0] - 0.6), EmotionKey(MASKED[0], joy=1.0),
        EmotionKey(MASKED[1], joy=1.0), EmotionKey(MASKED[1] + 0.6),
    ),
    head=(HeadKey(0.0, yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0, y=0.45),),
    dropouts=(Dropout(AWAY[0], AWAY[1], "face", slide_s=0.4),),
    sayings=(
        Saying(1.0, f"안녕하세요 오늘은 [{PAUSE_S}] 이야기를 해 보겠습니다"),
        Saying(8.2, "어제는 친구를 만나서 정말 즐거웠어요"),
        Saying(16.7, "집에 오면 너무 외롭고 눈물이 나요"),
        Saying(23.7, "하루하루가 너무 슬프고 외로워요"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Fake:
    """Files for ``--use-file-for-fake-video-capture`` and ``…-audio-capture``.

    Attributes:
        pictures: MJPEG, 30 a second.
        sound: WAV.
        duration_s: After which both begin again.
        truth: What was drawn and said.
    """

    pictures: Path
    sound: Path
    duration_s: float
    truth: dict[str, Any]

    @property
    def options(self) -> list[str]:
        """Options of Chromium."""
        return [
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={self.pictures}",
            f"--use-file-for-fake-audio-capture={self.sound}",
        ]


def talking_face(folder: Path, script: VideoScript = TALKING) -> Fake:
    """Draw and speak a script, as the files of a fake camera and microphone."""
    made = folder / "made.mkv"
    written = render_video(made, replace(script, crf=14))
    truth = json.loads(Path(written["truth"]).read_text(encoding="utf-8"))
    return as_fake(made, folder, truth)


def as_fake(recording: Path, folder: Path, truth: dict[str, Any] | None = None) -> Fake:
    """Any recording as the files of a fake camera and microphone, 640 pixels wide at most."""
    pictures, sound = folder / "camera.mjpeg", folder / "microphone.wav"
    with av.open(str(recording)) as source, pictures.open("wb") as out:
        last, shown = b"", 0
        for frame in source.decode(video=0):
            due = int(frame.time * FPS + 0.5)
            for _ in range(shown, due):  # a picture stays until the next one is due
                out.write(last)
            shown = max(shown, due)
            picture = frame.to_image()
            picture.thumbnail((640, 640))
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=92)
            last = stream.getvalue()
        count = max(shown + 1, round(source.duration / av.time_base * FPS))
        for _ in range(shown, count):
            out.write(last)
        duration = count / FPS
    with av.open(str(recording)) as source, wave.open(str(sound), "wb") as out:
        out.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        change = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        blocks = [part.to_ndarray()[0] for frame in source.decode(audio=0)
                  for part in change.resample(frame)]  # fmt: skip
        samples = np.concatenate(blocks)[: round(duration * RATE_HZ)]
        # Both files begin again at the same moment.
        out.writeframes(np.pad(samples, (0, round(duration * RATE_HZ) - len(samples))).tobytes())
    return Fake(pictures, sound, duration, truth or {})


@dataclass
class App:
    """A running ``nunbit app``.

    Attributes:
        url: With the key.
        data: Its data folder.
        process: Of the server.
        started_s: From the command to the address.
    """

    url: str
    data: Path
    process: subprocess.Popen[str]
    started_s: float

    @property
    def origin(self) -> str:
        """Without the key."""
        return self.url.split("#")[0]

    @property
    def key(self) -> str:
        """The app's key."""
        return self.url.split("#key=")[1]


@contextmanager
def running_app(data: Path, *options: str, fake: Fake | None = None) -> Iterator[App]:
    """``nunbit app`` in a process of its own; with ``fake`` it has the recogniser of the tests."""
    surroundings = dict(os.environ)
    if fake is not None:
        known = fake.sound.with_name("words.json")
        known.write_text(json.dumps({"utterances": fake.truth["utterances"]}), encoding="utf-8")
        surroundings["NUNBIT_ECHO"] = f"{fake.sound}{os.pathsep}{known}"
        places = [str(Path(__file__).with_name("recogniser")), surroundings.get("PYTHONPATH", "")]
        surroundings["PYTHONPATH"] = os.pathsep.join(filter(None, places))
        options = (*options, "--asr", "vosk")
    line = ["app", "--port", "0", "--no-browser", "--data", str(data), *options]
    data.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (data.parent / "app.err").open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "nunbit", *line],
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
            env=surroundings,
        )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if "#key=" not in url:
            raise AssertionError((data.parent / "app.err").read_text()[-2000:])
        yield App(url, data, process, time.monotonic() - began)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stdout is not None:
            process.stdout.close()


RECORD = """
(() => {
  // Every event of the live socket, with the time it came; and the sockets, to cut them.
  const Real = WebSocket;
  window.seen = []; window.sockets = []; window.sent = { frames: [], sounds: [], drawn: [] };
  window.WebSocket = class extends Real {
    constructor(...given) {
      super(...given);
      window.sockets.push(this);
      this.addEventListener("message", (message) => {
        window.seen.push({ ...JSON.parse(message.data), at_ms: performance.now() });
      });
    }
    send(data) {
      if (data instanceof ArrayBuffer) {
        const head = new DataView(data);
        const list = head.getUint8(0) === 1 ? window.sent.frames : window.sent.sounds;
        const first = Number(head.getBigUint64(16, true));
        list.push([head.getFloat64(8, true), first, data.byteLength - 24]);
      } else {
        const { type, seq, captured_ms, latency_ms } = JSON.parse(data);
        if (type === "drawn") {
          window.sent.drawn.push([seq, captured_ms, latency_ms, performance.now()]);
        }
      }
      super.send(data);
    }
  };
})();
"""
"""A script that the page does not have: it only listens to what the page does."""
