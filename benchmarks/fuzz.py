"""Coverage-guided fuzzing of every parser of ours, and mutated files through the command line.

python benchmarks/fuzz.py parsers [--seconds 600] [--slice 60] [--for SECONDS] [--only TARGET…]
python benchmarks/fuzz.py again
python benchmarks/fuzz.py files [--n 1000] [--seed 0] [--for SECONDS] [--log FILE]

`parsers` (extra ``fuzz``: atheris, Python 3.11) gives each parser bytes that libFuzzer grows from
good files, led by the branches they reach. A parser may read them or raise an error of ours;
anything else, more than 10 s, or more than 2 GB is a finding, kept once for each place. Whichever
parser has had the least CPU time comes next, for a slice; what each has had adds up over runs in
docs/measured/fuzz.json. `again` gives the parsers what was found: what they take now is mended.

`files` changes good JPEG, video, sound, zip, bundle and transcript files at random and gives each,
with a good one beside it, to the command that reads it: no traceback, one clear line where it
fails, nothing over 30 s or 2 GB, and the good file is read. Files are logged one by one and not
done again. Exit code 1 where something was found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "src")]
os.environ["LANG"] = "C.UTF-8"

# CPU seconds; a process that waits for something is given ten times as long by the clock.
SLOW_S, HANG_S, MOST_BYTES = 10, 30, 2 << 30
RECORD = ROOT / "docs" / "measured" / "fuzz.json"
_PLACE = Path(tempfile.gettempdir()) / "nunbit-fuzzed"
_PLACE.mkdir(exist_ok=True)


# --- parsers --------------------------------------------------------------------------------------


def _file(suffix: str, data: bytes) -> Path:
    path = _PLACE / f"fuzzed-{os.getpid()}{suffix}"
    path.write_bytes(data)
    return path


def _transcript(suffix: str) -> Callable[[bytes], object]:
    def target(data: bytes) -> object:
        from nunbit.recording.transcript import read_transcript

        return read_transcript(_file(suffix, data))

    return target


def _rttm(data: bytes) -> object:
    from nunbit.recording.transcript import read_rttm

    return read_rttm(_file(".rttm", data))


def _document(data: bytes) -> object:
    from nunbit.recording.transcript.untimed import read_document

    return read_document(_file(".docx", data))


def _script(data: bytes) -> object:
    from nunbit.recording.transcript.cues import Notes
    from nunbit.recording.transcript.untimed import read_script

    return read_script(Path("fuzzed.txt"), data.decode("utf-8", "replace"), Notes())


def _labels(data: bytes) -> object:
    from nunbit.datasets.aihub_labels import decode_labels

    return decode_labels(data, "labels.json")


def _bundle(data: bytes) -> object:
    from nunbit.model.bundle_check import read_bundle_document

    folder = _PLACE / f"fuzzed-{os.getpid()}-bundle"
    folder.mkdir(exist_ok=True)
    (folder / "bundle.json").write_bytes(data)
    return read_bundle_document(folder)


def _settings(data: bytes) -> object:
    from nunbit.runtime.config import read_settings
    from nunbit.stories.analyze.job import AnalyzeSettings

    return read_settings(AnalyzeSettings, files=[_file(".toml", data)])


def _toml_documents(data: bytes) -> object:
    from nunbit.core.messages import NunbitError
    from nunbit.language.labels import load_label_set
    from nunbit.language.prompts import load_template_set
    from nunbit.synth.script import load_script

    path = _file(".toml", data)
    for load in (load_label_set, load_template_set, lambda p: load_script(Path(p))):
        try:
            load(str(path))
        except NunbitError:
            continue
    return None


def _people(data: bytes) -> object:
    from nunbit.stories.analyze.job import AnalyzeSettings
    from nunbit.stories.analyze.roster import read_people

    return read_people(_file(".csv", data), AnalyzeSettings())


def _study_labels(data: bytes) -> object:
    from nunbit.stories.study.study_labels import read_columns, read_labels

    table, columns = read_columns(_file(".csv", data), "auto", "phq9", ("age",))
    return read_labels(table, columns)


def _image_table(data: bytes) -> object:
    from nunbit.datasets.table import read_tables
    from nunbit.language.labels import load_label_set

    for name in ("a.jpg", "b.jpg"):
        (_PLACE / name).touch()
    return read_tables([_file(".csv", data)], load_label_set("fer7"))


def _summary(data: bytes) -> object:
    from nunbit.report.summary_document import read_summary

    folder = _PLACE / f"fuzzed-{os.getpid()}-timeline"
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_bytes(data)
    return read_summary(folder)


def _containers(data: bytes) -> object:
    from nunbit.recording.media.file_notes import check_file, is_cut_off, mp3_length_s, wav_data

    path = _file(".wav", data)
    return check_file(path), wav_data(path), mp3_length_s(path), is_cut_off(path)


class _Live:
    """Takes frames and sound as a live session does, and does nothing with them."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values, **named: None


def _live(data: bytes) -> object:
    import asyncio

    from nunbit.app.access import Refusal, read_hello
    from nunbit.app.live_socket import LiveDesk, _Box, _Running

    desk = LiveDesk(None, None, None, "key", None, 0)  # type: ignore[arg-type]
    running = _Running("id", _Box(), None, frozenset(("face", "voice", "words")))
    running.live = _Live()  # type: ignore[assignment]

    class Socket:
        async def receive_text(self) -> str:
            return data.decode("utf-8", "replace")

    async def all_of_it() -> None:
        for said in (
            lambda: desk._said(running, data.decode("utf-8", "replace")),
            lambda: read_hello(Socket()),  # type: ignore[arg-type]
        ):
            try:
                await said()
            except Refusal:
                continue
        try:
            desk._binary(running, data)
        except Refusal:
            return

    return asyncio.run(all_of_it())


def _tokenizer(data: bytes) -> object:
    from nunbit.language.tokenizer import tokenise
    from nunbit.model.bundle import load_tokenizer

    return tokenise(load_tokenizer(_file(".json", data)), ["가나다 abc", ""], None)


TARGETS: dict[str, Callable[[bytes], object]] = {
    "srt": _transcript(".srt"),
    "vtt": _transcript(".vtt"),
    "elan": _transcript(".eaf"),
    "textgrid": _transcript(".TextGrid"),
    "recogniser-json": _transcript(".json"),
    "transcript-table": _transcript(".csv"),
    "transcript-text": _script,
    "rttm": _rttm,
    "docx": _document,
    "labels": _labels,
    "bundle": _bundle,
    "tokenizer": _tokenizer,
    "settings": _settings,
    "toml-documents": _toml_documents,
    "people": _people,
    "study-labels": _study_labels,
    "image-table": _image_table,
    "summary": _summary,
    "containers": _containers,
    "live-messages": _live,
}


def _allowed() -> tuple[type[BaseException], ...]:
    from nunbit.app.access import Refusal
    from nunbit.core.messages import NunbitError

    return (NunbitError, Refusal)


def seeds(target: str) -> list[bytes]:
    """Good files to begin with."""
    import mutate_transcripts as made

    texts = {"srt": made.srt, "vtt": made.vtt, "textgrid": made.textgrid, "elan": made.eaf,
             "rttm": made.rttm}  # fmt: skip
    if target in texts:
        return [texts[target]()]
    if target == "recogniser-json":
        return [json.dumps(document).encode() for document in made.json_documents()]
    if target == "transcript-table":
        return [made.table(), made.words_table()]
    own = {
        "transcript-text": "상담자: 어떠세요?\n내담자: 괜찮아요. 0:12 네\n",
        "people": "file,person,session,group,baseline\na.mp4,P1,s1,control,0-60\n",
        "study-labels": "person,phq9,interviewer,age\nP1,3,A,20\nP2,12,B,31\n",
        "image-table": "path,label,subject,split\na.jpg,happy,P1,train\nb.jpg,sad,P2,test\n",
        "settings": 'window_s = 4.0\nexport = ["eaf", "csv"]\ntarget_box = [0, 1, 2, 3]\n',
        "toml-documents": 'name = "mine"\nduration_s = 4.0\nlanguage = "ko"\n'
        '[[labels]]\nid = "joy"\nko = "기쁨"\nen = "joy"\n'
        '[[templates]]\nid = "a"\ntext = "{en} x"\n',
        "labels": '[{"filename": "a.jpg", "gender": "남", "age": 20, "isProf": "일반인", '
        '"faceExp_uploader": "기쁨", "bg_uploader": "실내", "annot_A": {"boxes": {"maxX": 3, '
        '"maxY": 4, "minX": 1, "minY": 2}, "faceExp": "기쁨"}}]',
        "summary": '{"kind": "timeline", "media": {"name": "a", "duration_s": 3}, "session": "a", '
        '"windows": {"length_s": 4, "hop_s": 1}, "measures": [{"measure": "m", "modality": "face", '
        '"value": 1, "unit": "s", "ci": [0, 1]}]}',
        "live-messages": '{"type": "hello", "key": "k", "sample_rate": 16000, "captured_ms": 3}',
        "tokenizer": '{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], '
        '["a", -1.5]]}, "padding": {"strategy": "BatchLongest", "direction": "Right", '
        '"pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, '
        '"pad_token": "<unk>"}, "added_tokens": [], "pre_tokenizer": null}',
    }  # fmt: skip
    if target in own:
        return [own[target].encode()]
    if target == "bundle":
        from nunbit.model.bundle import default_bundle_path

        return [(default_bundle_path() / "bundle.json").read_bytes()]
    if target == "containers":
        import struct

        head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 44, b"WAVE", b"fmt ", 16, 1, 1, 16000,
                           32000, 2, 16, b"data", 8)  # fmt: skip
        return [head + bytes(8), b"ID3\x04\0\0\0\0\0\0\xff\xfb\x90\x64" + bytes(400)]
    if target == "docx":
        import docx

        path = _file(".docx", b"")
        document = docx.Document()
        document.add_paragraph("상담자: 어떠세요?")
        document.save(str(path))
        return [path.read_bytes()]
    return [b"\0"]


def place_of(target: str, data: bytes) -> str:
    """Where a parser fails at these bytes; '' where it reads them or raises an error of ours."""
    begun, place = time.process_time(), ""
    try:
        TARGETS[target](data)
    except _allowed():
        pass
    except Exception as exc:
        last = traceback.extract_tb(exc.__traceback__)[-1]
        place = f"{type(exc).__name__} {Path(last.filename).name}:{last.lineno}"
    return "slow" if time.process_time() - begun > SLOW_S else place


def fuzz_one(target: str, seconds: float, work: Path) -> int:
    """Fuzz one parser in this process, which libFuzzer ends; findings go to ``work``."""
    import atheris

    watched = atheris.instrument_imports(include=["nunbit"], enable_loader_override=False)
    with watched, contextlib.suppress(Exception):  # the call imports what the parser needs
        TARGETS[target](seeds(target)[0])
    corpus, found = work / "corpus" / target, work / "found" / target
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed{number}").write_bytes(seed)
    seen = {path.read_text() for path in found.glob("*.place")}
    begun = told = time.process_time()
    count = 0

    def test(data: bytes) -> None:
        nonlocal count, told
        count += 1
        place = place_of(target, data)
        if place and place not in seen:
            seen.add(place)
            number = len(list(found.glob("*.place"))) + 1
            (found / f"{number}.input").write_bytes(data)
            (found / f"{number}.place").write_text(place)
        now = time.process_time()
        if now - told > 1.0 or now - begun > seconds:
            told = now
            document = {"runs": count, "cpu_s": now - begun}
            (work / f"{target}.slice.json").write_text(json.dumps(document))
        if now - begun > seconds:
            for path in _PLACE.glob(f"fuzzed-{os.getpid()}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            os._exit(0)

    quiet = ["-verbosity=0", "-print_final_stats=0", "-close_fd_mask=3"]
    # Seconds of the clock: another may have stopped this process meanwhile.
    longest = max(8192, *(2 * len(seed) for seed in seeds(target)))
    limits = [f"-timeout={20 * HANG_S}", "-rss_limit_mb=2048", f"-max_len={longest}"]
    artifacts = f"-artifact_prefix={found}/"
    atheris.Setup([sys.argv[0], str(corpus), artifacts, *limits, *quiet], test)
    atheris.Fuzz()
    return 0


def read_record(path: Path) -> dict[str, dict[str, Any]]:
    """Parser -> runs, CPU seconds, open and mended findings, date of the last run."""
    kept = json.loads(path.read_text()) if path.is_file() else {}
    empty = {"runs": 0, "cpu_s": 0.0, "open": [], "mended": [], "date": ""}
    return {target: kept.get(target, dict(empty)) for target in TARGETS}


def write_record(path: Path, record: dict[str, dict[str, Any]]) -> None:
    """Keep it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    half.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    half.replace(path)


def parsers(options: argparse.Namespace) -> int:
    """Slices of fuzzing for whichever parser has had the least, until each has had its seconds."""
    begun, broken = time.monotonic(), set()
    wanted = options.only or list(TARGETS)
    record = read_record(options.record)
    while time.monotonic() - begun < options.most_s:
        left = [t for t in wanted if t not in broken and record[t]["cpu_s"] < options.seconds]
        if not left:
            break
        target = min(left, key=lambda t: record[t]["cpu_s"])
        ended = _slice(target, min(options.slice, options.seconds), options.work)
        record = read_record(options.record)  # another run may have written meanwhile
        row = record[target]
        told = options.work / f"{target}.slice.json"
        done = json.loads(told.read_text()) if told.is_file() else {"runs": 0, "cpu_s": 0.0}
        told.unlink(missing_ok=True)
        row["runs"] += done["runs"]
        row["cpu_s"] = round(row["cpu_s"] + done["cpu_s"], 1)
        row["date"] = datetime.now(UTC).date().isoformat()
        found = {p.read_text() for p in (options.work / "found" / target).glob("*.place")}
        row["open"] = sorted({*row["open"], *found, *([ended] if ended else [])})
        if ended:
            broken.add(target)
        write_record(options.record, record)
        print(f"{target}: {row['runs']:,} in {row['cpu_s']} s {row['open'] or ''}", flush=True)
    print("| parser | inputs | CPU seconds | open | mended |\n|---|---|---|---|---|")
    for target in wanted:
        row = record[target]
        cells = [f"{row['runs']:,}", f"{row['cpu_s']:.0f}", "; ".join(row["open"]) or "0"]
        print(f"| {target} | {' | '.join(cells)} | {'; '.join(row['mended']) or '0'} |")
    return 1 if any(record[target]["open"] for target in wanted) else 0


def _slice(target: str, seconds: float, work: Path) -> str:
    """Fuzz a parser for a while in a process of its own; how it ended, '' where as it should."""
    command = [sys.executable, __file__, "one", target, "--seconds", str(seconds)]
    done = subprocess.run(
        [*command, "--work", str(work)], capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if not done.returncode:
        return ""
    told = (done.stderr or "").strip().splitlines()
    return f"ended {done.returncode}: {told[-1][:200] if told else ''}"


def again(options: argparse.Namespace) -> int:
    """Give every parser what was found: what fails no longer counts as mended."""
    record = read_record(options.record)
    for target, row in record.items():
        folder, still = options.work / "found" / target, set()
        for path in sorted(folder.glob("*.place")):
            place = place_of(target, path.with_suffix(".input").read_bytes())
            if place:
                path.write_text(place)
                still.add(place)
                continue
            row["mended"] = sorted({*row["mended"], path.read_text()})
            path.unlink()
        if still or row["open"]:
            print(f"{target}: {sorted(still) or 'mended'}")
        row["open"] = sorted(still)
    write_record(options.record, record)
    return 1 if any(row["open"] for row in record.values()) else 0


# --- files through the command line ---------------------------------------------------------------

KINDS = ("jpeg", "video", "sound", "zip", "bundle", "transcript")


def material(work: Path) -> dict[str, Any]:
    """Good files of every kind; made once."""
    place = work / "good"
    if not (place / "ready").is_file():
        code = "import fuzz, sys; from pathlib import Path; fuzz._make(Path(sys.argv[1]))"
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([*sys.path[:3], str(ROOT / "benchmarks")])
        }
        subprocess.run([sys.executable, "-c", code, str(place)], env=environment, check=True)
        (place / "ready").write_text("")
    return {"place": place}


def _make(place: Path) -> None:
    import zipfile

    import av
    import numpy as np
    from PIL import Image

    import mutate_transcripts as made
    from make_eval import make_bundle
    from nunbit.synth.script import load_script
    from nunbit.synth.video import render_video

    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((96, 96))
    picture.save(place / "a.jpg", quality=80)
    picture.save(place / "b.jpg", quality=80, progressive=True)
    script = place / "script.toml"
    script.write_text("duration_s = 3.0\nwidth = 160\nheight = 120\nfps = 8\nface_scale = 0.3\n")
    render_video(place / "a.mp4", load_script(script))
    with av.open(str(place / "a.wav"), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=16000)
        samples = (3000 * np.sin(np.arange(32000) / 20)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            target.mux(packet)
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        for n, label in enumerate(("happy", "sad", "neutral")):
            archive.write(place / ("ab"[n % 2] + ".jpg"), f"{label}/{n}.jpg")
    make_bundle(place / "bundle")
    for name, make in (("a.srt", made.srt), ("a.vtt", made.vtt), ("a.eaf", made.eaf),
                       ("a.TextGrid", made.textgrid), ("a.csv", made.words_table)):  # fmt: skip
        (place / name).write_bytes(make())
    (place / "a.json").write_text(json.dumps(made.json_documents()[0]))


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Bytes changed, cut, doubled, moved or filled."""
    body = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        if not body:
            break
        at = draw.randrange(len(body))
        size = draw.choice((1, 2, 4, 16, 256, 4096))
        how = draw.randrange(7)
        if how == 0:
            body[at] ^= 1 << draw.randrange(8)
        elif how == 1:
            body[at : at + size] = draw.randbytes(min(size, len(body) - at))
        elif how == 2:
            del body[at : at + size]
        elif how == 3:
            body[at:at] = body[at : at + size]
        elif how == 4:
            body[at : at + size] = draw.choice((b"\0", b"\xff", b"9")) * min(size, len(body) - at)
        elif how == 5:
            del body[at:]
        else:
            other = draw.randrange(len(body))
            body[at : at + size] = body[other : other + size]
    return bytes(body)


def case_of(kind: str, draw: random.Random, place: Path, folder: Path) -> tuple[list[str], Any]:
    """A command line with a mutated file and a good one; and how to see that the good was read."""

    def put(name: str, shown: str) -> Path:
        path = folder / shown
        path.write_bytes(mutated((place / name).read_bytes(), draw))
        return path

    def good(name: str, shown: str) -> Path:
        return Path(shutil.copy(place / name, folder / shown))

    if kind == "jpeg":
        bad = put(draw.choice(("a.jpg", "b.jpg")), "bad.jpg")
        words = ["predict", str(bad), str(good("a.jpg", "good.jpg")), "--crops", "--json"]
        return words, lambda told: _state_of(told, "good.jpg") == "faces"
    if kind in ("video", "sound"):
        name = "a.mp4" if kind == "video" else "a.wav"
        bad = put(name, "bad" + name[1:])
        words = ["check", str(bad), str(good(name, "good" + name[1:])), "--json"]
        return words, lambda told: "good" in json.dumps(told)
    if kind == "zip":
        (folder / "src").mkdir()
        put("a.zip", "src/bad.zip")
        good("a.zip", "src/good.zip")
        words = ["prepare", str(folder / "src"), "--out", str(folder / "data"), "--label-set",
                 "fer7", "--size", "32", "--set", "num_workers=1", "--json"]  # fmt: skip
        return words, lambda told: told["counts"]["records"] >= 3
    if kind == "bundle":
        shutil.copytree(place / "bundle", folder / "bundle")
        path = draw.choice(sorted(p for p in (folder / "bundle").iterdir() if p.is_file()))
        path.write_bytes(mutated(path.read_bytes(), draw))
        words = ["predict", str(place / "a.jpg"), "--crops", "--bundle", str(folder / "bundle"),
                 "--json"]  # fmt: skip
        return words, None
    name = draw.choice(("a.srt", "a.vtt", "a.eaf", "a.TextGrid", "a.csv", "a.json"))
    bad = put(name, "bad" + name[1:])
    words = ["check", str(bad), str(good(name, "good" + name[1:])), "--json"]
    return words, lambda told: "good" in json.dumps(told)


def _state_of(told: dict[str, Any], name: str) -> str:
    for each in told.get("files", ()):
        if str(each["file"]).endswith(name):
            return "faces" if each["faces"] else str(each["state"])
    return "missing"


def _cpu_s(process: int) -> float:
    """CPU seconds of a process and its ended children."""
    numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, numbers[11:15])) / os.sysconf("SC_CLK_TCK")


def one_file(kind: str, seed: int, place: Path) -> str:
    """What is wrong with how a mutated file is taken; '' where nothing is. Forks."""
    with tempfile.TemporaryDirectory(prefix="nunbit-fuzz-") as name:
        folder = Path(name)
        words, is_read = case_of(kind, random.Random(seed), place, folder)
        out, err = folder / "stdout", folder / "stderr"
        child = os.fork()
        if not child:
            _be_command(words, out, err)
        waited = 0.0  # counted here: while both are stopped from outside, no time passes
        while waited < 10 * HANG_S and _cpu_s(child) < HANG_S:
            waited += 0.01
            done, status, used = os.wait4(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.01)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"more than {HANG_S} s"
        code, said = os.waitstatus_to_exitcode(status), err.read_text(errors="replace")
        if "Traceback" in said:
            return "traceback: " + said.strip().splitlines()[-1][:200]
        if code not in (0, 1):
            return f"exit code {code}"
        if code == 1 and said.count("nunbit: error: ") != 1:
            return f"no single line: {said[-200:]}"
        if used.ru_maxrss * 1024 > MOST_BYTES:
            return f"{used.ru_maxrss / 1e6:.1f} GB"
        if is_read is not None:
            try:
                return "" if is_read(json.loads(out.read_text())) else "the good file is lost"
            except (ValueError, KeyError, TypeError) as exc:
                return f"the good file is lost: {exc!r}: {said[-150:]}"
        return ""


def _be_command(words: list[str], out: Path, err: Path) -> None:
    code: Any = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
        for path, number in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        from nunbit.cli import main

        sys.argv = ["nunbit", *words]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if end.code is not None else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def files(options: argparse.Namespace) -> int:
    """Mutated files through the command line."""
    place = material(options.work)["place"]
    import av  # noqa: F401
    import onnxruntime  # noqa: F401

    import nunbit.cli
    import nunbit.stories.check
    import nunbit.stories.predict
    import nunbit.stories.prepare  # noqa: F401

    done: dict[str, str] = {}
    if options.log.is_file():
        done = dict(json.loads(line) for line in options.log.read_text().splitlines())
    draw = random.Random(options.seed)
    counts: Counter[str] = Counter()
    begun = time.monotonic()
    bad: Counter[str] = Counter()
    for n in range(options.n):
        kind, seed = KINDS[n % len(KINDS)], draw.randrange(1 << 30)
        name = f"{kind} {seed}"
        if name not in done and time.monotonic() - begun > options.most_s:
            continue
        if name not in done:
            done[name] = one_file(kind, seed, place)
            with options.log.open("a") as log:
                log.write(json.dumps([name, done[name]]) + "\n")
            if done[name]:
                print(f"{name}: {done[name]}", flush=True)
        counts[kind] += 1
        bad[kind] += bool(done[name])
    print("| files | mutated | findings |\n|---|---|---|")
    for kind in KINDS:
        print(f"| {kind} | {counts[kind]} | {bad[kind]} |")
    return 1 if bad.total() else 0


def main() -> int:
    """Fuzz; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["parsers", "again", "files", "one"])
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--slice", type=float, default=60)
    parser.add_argument("--for", dest="most_s", type=float, default=float("inf"))
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--only", nargs="*", choices=TARGETS)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("fuzz-files.jsonl"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "nunbit-fuzz")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.what == "one":
        return fuzz_one(options.target, options.seconds, options.work)
    return {"parsers": parsers, "again": again, "files": files}[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
