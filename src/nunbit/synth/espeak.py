"""The program espeak-ng: text to samples, if it is installed."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

from nunbit.errors import InputError
from nunbit.streams import Floats

_PROGRAM = "espeak-ng"
_TIMEOUT_S = 60
_SILENT_DB = -45.0  # below the loudest 10 ms, at both ends


@functools.cache
def espeak_version() -> str | None:
    """What the program says about itself, or None if it is not installed."""
    program = shutil.which(_PROGRAM)
    if program is None:
        return None
    try:
        run = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.split("Data at")[0].strip()


def speak(text: str, language: str, female: bool, semitones: float, speed: float) -> Floats:
    """Speak words without a pause at either end.

    Args:
        text: The words.
        language: BCP 47.
        female: Takes a woman's variant of the voice.
        semitones: Pitch above the voice's own; about a quarter per step of espeak's dial.
        speed: 1 is about 4.6 syllables a second in Korean.

    Returns:
        (n,) samples at 22,050 Hz, full scale = 1; empty if nothing is spoken.

    Raises:
        InputError: The program failed, for example for want of the language.
    """
    voice = f"{language}+f3" if female else language
    pitch = round(min(max(50.0 + 4.0 * semitones, 0.0), 99.0))
    words_per_minute = round(min(max(165.0 * speed, 80.0), 450.0))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        command = [_PROGRAM, "-v", voice, "-p", str(pitch), "-s", str(words_per_minute), "-z",
                   "-b", "1", "-w", str(file), "--stdin"]  # fmt: skip
        try:
            subprocess.run(
                command, input=text.encode(), capture_output=True, timeout=_TIMEOUT_S, check=True
            )
            with wave.open(str(file), "rb") as stream:
                data = stream.readframes(stream.getnframes())
        except (OSError, subprocess.SubprocessError, wave.Error, EOFError) as exc:
            said = getattr(exc, "stderr", b"") or b""
            detail = said.decode(errors="replace").strip() or str(exc)
            raise InputError(
                en=f'espeak-ng cannot speak language {language!r}: {detail}; set voice = "formant"',
                ko=f"espeak-ng로 {language!r} 언어를 말할 수 없습니다: {detail}. "
                'voice = "formant"로 두십시오',
            ) from exc
    return _trimmed(np.frombuffer(data, dtype="<i2").astype(np.float64) / 32768.0)


def _trimmed(samples: Floats) -> Floats:
    """Without the silence at both ends."""
    hop = 221
    rows = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power = np.mean(rows**2, axis=1) if len(rows) else np.zeros(0)
    if not power.any():
        return np.zeros(0)
    loud = np.flatnonzero(power > power.max() * 10.0 ** (_SILENT_DB / 10.0))
    return samples[loud[0] * hop : (loud[-1] + 1) * hop]
