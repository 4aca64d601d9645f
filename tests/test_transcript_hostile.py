"""Files made to hurt: endless patterns, pipes, numbers and nesting without end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nunbit.core.messages import InputError
from nunbit.recording.transcript import read_rttm, read_transcript

LONG = 200_000  # characters; two seconds are the limit
MANY = 50_000  # characters where each few are a cue of their own: as many as a week has
HEAD = "WEBVTT\n\n00:01.000 --> 00:03.000\n"
GRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n'
EAF = '<?xml version="1.0"?><ANNOTATION_DOCUMENT><TIER TIER_ID="{}"/></ANNOTATION_DOCUMENT>'


def times(text: str, n: int = LONG) -> str:
    return (text * (n // len(text) + 1))[:n]


HOSTILE = {
    "voice.vtt": HEAD + "<v" + times(".a"),
    "voices.vtt": HEAD + times("<v.a ", MANY),
    "blanks.vtt": HEAD + "<v" + times(" ") + "x",
    "emotion.vtt": HEAD + times("<c.emotion>"),
    "stamps.vtt": HEAD + times("<00:01.0"),
    "digits.vtt": HEAD + "<" + times("1"),
    "braces.srt": HEAD[8:] + times("{\\"),
    "tags.srt": HEAD[8:] + times("<a"),
    "entities.srt": HEAD[8:] + "&#" + times("9") + ";",
    "entity.srt": HEAD[8:] + times("&#x"),
    "brackets.srt": HEAD[8:] + times("[("),
    "sounds.srt": HEAD[8:] + times("[음"),
    "colons.srt": HEAD[8:] + times("a:\n", MANY),
    "dashes.srt": HEAD[8:] + times("- a\n", MANY),
    "names.srt": HEAD[8:] + times("a b:c\n", MANY),
    "lines.srt": times("\n", 100_000),
    "blank.srt": times(" \n") + HEAD[8:] + "x",
    "spaces.srt": times(" ") + "00:00:01,000 --> 00:00:02,000\nx",
    "arrows.srt": times("-->\n"),
    "arrow.srt": times("->"),
    "clocks.srt": times("00:00:01,000 "),
    "clock.srt": times("0:") + " --> 1\nx",
    "timing.srt": "00:00:01,000 -->" + times(" ") + "y",
    "maps.vtt": "WEBVTT\n" + times("X-TIMESTAMP-MAP=LOCAL:0:0,MPEGTS:9\n") + HEAD[8:] + "x",
    "quotes.TextGrid": GRID + times('"'),
    "odd.TextGrid": GRID + times('"') + 'x"',
    "numbers.TextGrid": GRID + times("1"),
    "points.TextGrid": GRID + times("1. "),
    "flags.TextGrid": GRID + "0 1 <exists> " + times("9", 300),
    "tier.eaf": EAF.format(times("word align1")),
    "tiers.eaf": EAF.format(times("-")),
    "amps.eaf": '<?xml version="1.0"?>' + times("&a;"),
    "quote.csv": "start,end,text\n1,2," + times('"'),
    "quote.tsv": "start\tend\ttext\n1\t2\t" + times('"a\t'),
    "commas.csv": times(","),
    "cells.csv": "start,end,text\n" + times("1,2,a\n", MANY),
    "header.csv": times("start,"),
    "prompt.csv": "start_time\tstop_time\tspeaker\tvalue\n1\t2\tE\t" + times("a (", MANY),
    "number.csv": "start,end,text\n" + times("1") + ",2,x\n1,2,y\n1,2,z\n",
    "nested.json": times("["),
    "objects.json": times('{"a":'),
    "number.json": '{"segments":[{"start":' + times("9") + ',"end":1,"text":"a"}]}',
    "strings.json": '{"segments":[{"start":0,"end":1,"text":"' + times(":") + '"}]}',
    "many.json": "{}" + times("{}"),
    "keys.json": '{"segments":[{"start":0,"end":1,"text":"a","speaker":"' + times("b ") + '"}]}',
    "plain.txt": times("word "),
    "rttm.txt": times("SPEAKER "),
}


def refusal_of(read: Callable[[Path], object], path: Path) -> str:
    """What a reader says of a file; '' where it reads it."""
    try:
        read(path)
    except InputError as exc:
        return exc.text.en
    return ""


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_long(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(HOSTILE[name], encoding="utf-8")
    start = time.process_time()
    for read in (read_transcript, read_rttm):
        said = refusal_of(read, path)
        assert len(said) < 3000
    assert time.process_time() - start < 2.0


def test_pipes_and_devices_are_refused_unread(tmp_path: Path) -> None:
    pipe = tmp_path / "a.srt"
    os.mkfifo(pipe)
    device = tmp_path / "b.srt"
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        with pytest.raises(InputError, match="a pipe or a device"):
            read_transcript(path)
        with pytest.raises(InputError, match="a pipe or a device"):
            read_rttm(path)


def test_too_large_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.touch()
    os.truncate(path, 300 << 20)  # a hole: no disk is used
    with pytest.raises(InputError, match="300 MB, too large"):
        read_transcript(path)


@pytest.mark.parametrize("nested", ['{"segments":' + "[" * 50_000, "[" * 50_000 + "]" * 50_000])
def test_nesting_without_end(tmp_path: Path, nested: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(nested)
    with pytest.raises(InputError, match="JSON"):
        read_transcript(path)


def test_the_time_grows_with_the_number_of_cues(tmp_path: Path) -> None:
    """Not with its square: a day of talking has tens of thousands."""
    path = tmp_path / "a.json"
    took = []
    for n in (1_000, 4_000):
        segments = [
            {"start": 2.0 * k, "end": 2.0 * k + 1.5, "text": f" hello there {k % 7}"}
            for k in range(n)
        ]
        path.write_text(json.dumps({"segments": segments}))
        tries = []
        for _ in range(3):  # the best of three: other work on the machine costs this process too
            start = time.process_time()
            assert len(read_transcript(path).utterances) == n
            tries.append(time.process_time() - start)
        took.append(min(tries))
    assert took[1] < 8 * took[0] + 0.2
