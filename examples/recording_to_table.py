"""A recording: face, voice and words on one clock, as tables for R, SPSS or pandas."""

import sys
from pathlib import Path

import nunbit
from nunbit.synth.script import load_script
from nunbit.synth.video import render_video

SAYING = 'sayings=[{ start_s = 1.0, text = "안녕하세요 오늘은 기분이 좋아요" }]'


def main(out: Path) -> None:
    """Write everything below ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    clip = out / "talk.mp4"  # a drawn person talking, with talk.srt beside; take your own recording
    short = ["duration_s=12.0", "emotions=[]", SAYING, "width=320", "height=240"]
    render_video(clip, load_script(None, overrides=short))

    timeline = nunbit.analyze(clip, out / "timelines", transcript=clip.with_suffix(".srt"))
    print(timeline)
    windows = timeline.windows(wide=True)
    print(windows.save(out / "windows.csv"), "has", len(windows), "windows of", windows.columns[:4])
    print(timeline.words.save(out / "words.csv"), "has", len(timeline.words), "words")
    print("open", timeline.report)


if __name__ == "__main__":  # nunbit works in several processes
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-recording"))
