"""Break transcripts at random and read them: no exception but ours, and never a long wait.

Seeds of every format are made here; each is mutated by bytes, by lines and, for JSON, by values of
any type in any place. ``read_transcript`` (or ``read_rttm``) then either reads the result or raises
an ``InputError``; anything else, or more than two seconds, is a fault and is printed with the seed
that repeats it. The same is asked of the exports' table writer: what was read must be writable.

    python scripts/mutate_transcripts.py --n 100000
    python scripts/mutate_transcripts.py --only json --n 1 --seed 4711    # one again
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError
from nunbit.recording.transcript import read_rttm, read_transcript

SLOW_S = 2.0
HANG_S = 20
LINES = [
    "오늘은 어떠세요",
    "저는 그냥 그래요",
    "how are you today",
    "fine, thank you",
    "음 3명이 왔어요",
]
NAMES = ["상담자", "Kim, Minji", "Dr. Lee", "SPEAKER_00", "내담자 2"]


def _clock(seconds: float, mark: str) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"00:{int(minutes):02d}:{int(rest):02d}{mark}{round(rest % 1 * 1000):03d}"


def srt() -> bytes:
    """Cues with names, two voices in one, markup."""
    cues = []
    for k, line in enumerate(LINES):
        times = f"{_clock(2 * k, ',')} --> {_clock(2 * k + 1.5, ',')}"
        cues.append(f"{k + 1}\n{times}\n{NAMES[k]}: <i>{line}</i> &amp; {{\\an8}}\n- 네\n")
    return "\n".join(cues).encode()


def vtt() -> bytes:
    """Voices, word times, a comment and a clock map."""
    head = "WEBVTT\nLanguage: ko\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n\nNOTE x\n\n"
    cues = []
    for k, line in enumerate(LINES):
        words = line.split()
        stamped = words[0] + "".join(
            f"<{_clock(2 * k + 0.2 * i, '.')}><c> {word}</c>" for i, word in enumerate(words[1:], 1)
        )
        times = f"{_clock(2 * k, '.')} --> {_clock(2 * k + 1.5, '.')} align:start"
        cues.append(f"id{k}\n{times}\n<v.loud {NAMES[k]}>{stamped}</v>\n")
    return (head + "\n".join(cues)).encode()


def textgrid() -> bytes:
    """Words and utterances of one speaker, long form."""
    out = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", "xmax = 10"]
    out += ["tiers? <exists>", "size = 2", "item []:"]
    for number, name in enumerate(("P1 - words", "P1 - utterances"), start=1):
        out += [f"item [{number}]:", 'class = "IntervalTier"', f'name = "{name}"', "xmin = 0"]
        out += ["xmax = 10", f"intervals: size = {len(LINES)}"]
        for k, line in enumerate(LINES):
            text = line.replace(" ", '""')
            out += [f"intervals [{k + 1}]:", f"xmin = {2 * k}", f"xmax = {2 * k + 1.5}"]
            out.append(f'text = "{text}"')
    return "\n".join(out).encode()


def eaf() -> bytes:
    """Two media, a coding tier, a slot without a value."""
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="t{k}"' + (f' TIME_VALUE="{900 * k}"' if k % 3 else "") + "/>"
        for k in range(12)
    )

    def tier(name: str, texts: list[str]) -> str:
        return (
            f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="d">'
            + "".join(
                f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}{k}" '
                f'TIME_SLOT_REF1="t{2 * k}" TIME_SLOT_REF2="t{2 * k + 1}">'
                f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>"
                "</ALIGNABLE_ANNOTATION></ANNOTATION>"
                for k, text in enumerate(texts)
            )
            + "</TIER>"
        )

    media = "".join(
        f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///{name}" TIME_ORIGIN="{origin}"/>'
        for name, origin in (("room.mp4", 0), ("a.wav", 500))
    )
    body = f'<HEADER TIME_UNITS="milliseconds">{media}</HEADER><TIME_ORDER>{slots}</TIME_ORDER>'
    body += tier("Ann", LINES) + tier("Ann-headmove", ["nod"] * 3)
    return f'<?xml version="1.0"?>\n<ANNOTATION_DOCUMENT>\n{body}\n</ANNOTATION_DOCUMENT>'.encode()


def table() -> bytes:
    """A table with quotes and line breaks in cells."""
    rows = ["start;end;speaker;text"]
    rows += [f'{2 * k},5;{2 * k + 1},75;{NAMES[k]};"{x}\n""{x}"""' for k, x in enumerate(LINES)]
    return "\n".join(rows).encode()


def words_table() -> bytes:
    """A tab table of words in milliseconds, CP949."""
    rows = ["start\tend\tword\tspeaker"]
    for k, line in enumerate(LINES):
        for i, word in enumerate(line.split()):
            rows.append(f"{2000 * k + 200 * i}\t{2000 * k + 200 * i + 180}\t{word}\t{NAMES[k]}")
    return "\n".join(rows).encode("cp949")


def rttm() -> bytes:
    """Names with blanks, comments, no length."""
    lines = [";; made"]
    for k, name in enumerate(NAMES):
        lines.append(f"SPEAKER my visit 1 {2 * k}.5 {k % 2}.250 <NA> <NA> {name} 0.9 <NA>")
    return "\n".join(lines).encode()


def _words(k: int, line: str, text: str, unit: float = 1.0) -> list[dict[str, Any]]:
    return [
        {text: f" {word}", "start": (2 * k + 0.2 * i) * unit, "end": (2 * k + 0.2 * i + 0.1) * unit,
         "probability": 0.9, "speaker": NAMES[k]}
        for i, word in enumerate(line.split())
    ]  # fmt: skip


def json_documents() -> list[Any]:
    """One document of each layout that is read."""
    each = list(enumerate(LINES))
    whisper = [{"start": 2 * k, "end": 2 * k + 1.5, "text": x, "speaker": NAMES[k],
                "avg_logprob": -0.3, "words": _words(k, x, "word")} for k, x in each]  # fmt: skip
    clova = [{"start": 2000 * k, "end": 2000 * k + 1500, "text": x, "textEdited": x,
              "speaker": {"label": str(k), "name": NAMES[k]}, "confidence": 0.9,
              "words": [[2000 * k, 2000 * k + 300, w] for w in x.split()]}
             for k, x in each]  # fmt: skip
    google = [{"alternatives": [{"transcript": x, "confidence": 0.9, "words": [
        {"word": w, "startTime": f"{2 * k + 0.2 * i}s", "endTime": f"{2 * k + 0.2 * i + 0.1}s",
         "speakerTag": 1} for i, w in enumerate(x.split())]}],
        "resultEndTime": f"{2 * k + 1.5}s"} for k, x in each]  # fmt: skip
    azure = [{"offset": f"PT{2 * k}S", "duration": "PT1.5S", "offsetInTicks": 2e7 * k,
              "durationInTicks": 1.5e7, "speaker": 1, "nBest": [{"confidence": 0.9, "display": x,
              "words": [{"word": w, "offsetInTicks": 2e7 * k, "durationInTicks": 1e6}
                        for w in x.split()]}]} for k, x in each]  # fmt: skip
    aws = [{"type": "pronunciation", "start_time": f"{2 * k}.1", "end_time": f"{2 * k}.5",
            "alternatives": [{"confidence": "0.9", "content": x}], "speaker_label": "spk_0"}
           for k, x in each]  # fmt: skip
    youtube = [{"tStartMs": 2000 * k, "dDurationMs": 3000, "segs": [
        {"utf8": f" {w}", "tOffsetMs": 200 * i} for i, w in enumerate(x.split())]}
        for k, x in each]  # fmt: skip
    cpp = [{"offsets": {"from": 2000 * k, "to": 2000 * k + 1500}, "text": f" {x}", "tokens": [
        {"text": f" {w}", "offsets": {"from": 2000 * k, "to": 2000 * k + 100}, "p": 0.9}
        for w in x.split()]} for k, x in each]  # fmt: skip
    rtzr = [{"start_at": 2000 * k, "duration": 1500, "msg": x, "spk": k} for k, x in each]
    rev = [{"speaker": k, "elements": [
        {"type": "text", "value": x, "ts": 2 * k, "end_ts": 2 * k + 1},
        {"type": "punct", "value": "."}]} for k, x in each]  # fmt: skip
    vosk = [{"text": x, "result": [{"conf": 1.0, "start": 2 * k, "end": 2 * k + 1, "word": x}]}
            for k, x in each]  # fmt: skip
    chunks = [
        {"timestamp": [2 * k, None if k == 4 else 2 * k + 1], "text": f" {x}"} for k, x in each
    ]
    return [
        {"segments": whisper, "language": "ko", "text": "x"},
        {"words": [w for k, x in each for w in _words(k, x, "word")], "language": "korean"},
        {"result": {"language": "ko"}, "transcription": cpp},
        {"text": "x", "chunks": chunks},
        vosk,
        {"segments": clova, "result": "COMPLETED", "params": {"language": "ko-KR"}},
        {"results": {"utterances": rtzr}},
        {"utterances": whisper, "audio_duration": 11, "language_code": "ko"},
        {"words": _words(1, LINES[1], "text", 1000.0), "audio_duration": 11, "utterances": None},
        {"metadata": {}, "results": {"channels": [{"alternatives": [
            {"transcript": "x", "words": _words(2, LINES[2], "word")}]}]}},
        {"results": google},
        {"recognizedPhrases": azure},
        {"results": {"items": aws}},
        {"events": youtube},
        {"monologues": rev},
    ]  # fmt: skip


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**400, -(10**18), 1e308, -1e308, float("nan"), float("inf"), "",
    " ", "NaN", "1e999", "1:2:3:4", "9" * 5000, "\ud800", "\x00", "text: text", "&#" + "9" * 4400,
    "@huge@", "@deep@", [], {}, [[]], [None], {"a": 1}, [1, 2, 3],
    {"seconds": "x", "nanos": {}}, "ㄱ" * 300,
)  # fmt: skip
TEXT_SEEDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "srt": (srt, ".srt"),
    "vtt": (vtt, ".vtt"),
    "textgrid": (textgrid, ".TextGrid"),
    "eaf": (eaf, ".eaf"),
    "table": (table, ".csv"),
    "words": (words_table, ".tsv"),
    "rttm": (rttm, ".rttm"),
}


def mutated_json(rng: random.Random) -> bytes:
    """A document in which one to four values, or whole parts, are something else."""
    document = json.loads(json.dumps(rng.choice(json_documents())))
    for _ in range(rng.randint(1, 4)):
        place = document
        while isinstance(place, (dict, list)) and place:
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            inner = place[key]
            if isinstance(inner, (dict, list)) and inner and rng.random() < 0.8:
                place = inner
                continue
            act = rng.random()
            if act < 0.75:
                place[key] = copy.deepcopy(rng.choice(ODD))
            elif act < 0.9 or isinstance(place, dict):
                del place[key]
            else:
                place.append(copy.deepcopy(place[key]))
            break
    text = json.dumps(document)
    # What no writer of JSON gives away: numbers that Python refuses, nesting without end.
    return text.replace('"@huge@"', "9" * 5000).replace('"@deep@"', "[" * 20_000).encode()


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """The file with lines moved, lost or doubled, or bytes changed, or both."""
    if rng.random() < 0.5:
        lines = data.split(b"\n")
        for _ in range(rng.randint(1, 5)):
            k, j = rng.randrange(len(lines)), rng.randrange(len(lines))
            act = rng.randrange(4)
            if act == 0:
                lines[k], lines[j] = lines[j], lines[k]
            elif act == 1:
                lines.insert(j, lines[k])
            elif act == 2 and len(lines) > 1:
                del lines[k]
            else:
                rng.shuffle(lines)
        data = b"\n".join(lines)
    if rng.random() < 0.6:
        raw = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            if not raw:
                break
            k = rng.randrange(len(raw))
            act = rng.randrange(5)
            if act == 0:
                raw[k] = rng.randrange(256)
            elif act == 1:
                del raw[k : k + rng.randint(1, 40)]
            elif act == 2:
                raw[k:k] = rng.choice(
                    [b'"', b"-->", b"<v.", b"<c.emotion>", b"&#99999999999;", b"\0", b"\xff",
                     b"{\\", b"[", b":", b"\n\n", b"9" * 400, b"NaN", b"\xed\xa0\x80", b"-", b"\t",
                     b";"]
                )  # fmt: skip
            elif act == 3:
                raw = raw[: max(1, k)]
            else:
                raw[k:k] = raw[k : k + rng.randint(1, 300)] * rng.randint(1, 30)
        data = bytes(raw)
    if rng.random() < 0.05:
        data = data.decode("utf-8", "replace").encode("utf-16")
    return data


def one(seed: int, only: str | None) -> tuple[str, str, bytes]:
    """Kind, suffix and bytes of a mutated transcript; the seed alone decides."""
    rng = random.Random(seed)
    kind = only or rng.choice([*TEXT_SEEDS, "json", "json", "json", "json text"])
    if kind == "json":
        return kind, ".json", mutated_json(rng)
    if kind == "json text":
        document = json.dumps(rng.choice(json_documents()), indent=1, ensure_ascii=False)
        return kind, ".json", mutated_bytes(document.encode(), rng)
    make, suffix = TEXT_SEEDS[kind]
    return kind, suffix, mutated_bytes(make(), rng)


def read(path: Path, kind: str, duration_s: float | None) -> str:
    """``read`` or ``refused``; any other exception goes through."""
    try:
        if kind == "rttm":
            diarisation = read_rttm(path, duration_s=duration_s, media="my visit.wav")
            texts = [speaker for _, speaker in diarisation.stretches]
        else:
            found = read_transcript(path, duration_s=duration_s, media="a.wav")
            texts = [f"{u.text}{u.speaker}{u.words}" for u in found.utterances]
        "".join(texts).encode("utf-8")  # what was read can be written
    except InputError as exc:
        exc.text.ko.encode("utf-8")
        exc.text.en.encode("utf-8")
        return "refused"
    return "read"


def _hang(signum: int, frame: object) -> None:
    raise TimeoutError(f"above {HANG_S} s")


def main() -> int:
    """Run; exit 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--only", choices=[*TEXT_SEEDS, "json", "json text"])
    given = parser.parse_args()
    outcomes: Counter[tuple[str, str]] = Counter()
    faults: dict[str, tuple[int, int, str]] = {}
    slowest = (0.0, -1)
    signal.signal(signal.SIGALRM, _hang)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seed, given.seed + given.n):
            kind, suffix, data = one(seed, given.only)
            path = Path(folder) / f"a{suffix}"
            path.write_bytes(data)
            start = time.perf_counter()
            signal.alarm(HANG_S)
            try:
                outcome = read(path, kind, 11.0 if seed % 2 else None)
            except Exception as exc:
                last = traceback.extract_tb(exc.__traceback__)[-1]
                key = f"{type(exc).__name__} in {Path(last.filename).name}:{last.lineno}"
                n, first, said = faults.get(key, (0, seed, f"{kind}: {exc}"[:160]))
                faults[key] = n + 1, first, said
                outcome = "fault"
            signal.alarm(0)
            took = time.perf_counter() - start
            slowest = max(slowest, (took, seed))
            if took > SLOW_S:
                outcome = "slow"
            outcomes[kind, outcome] += 1
    for (kind, outcome), n in sorted(outcomes.items()):
        print(f"{kind:>10} {outcome:>8} {n:>8,}")
    for key, (n, seed, said) in sorted(faults.items(), key=lambda item: -item[1][0]):
        print(f"FAULT {n:>6,} x {key} (seed {seed}; {said})")
    bad = sum(n for (_, outcome), n in outcomes.items() if outcome in ("fault", "slow"))
    print(
        f"{given.n:,} mutated transcripts: {bad:,} faults; slowest {slowest[0]:.2f} s "
        f"(seed {slowest[1]}); {time.perf_counter() - begun:.0f} s in all"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
