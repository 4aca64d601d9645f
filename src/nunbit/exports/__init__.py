"""A timeline as files: the Parquet tables every later step reads, and formats of other tools.

``parquet`` writes what ``OUT/<stem>/`` must hold; the others write one file each for ELAN, Praat,
subtitle players, spreadsheets and tools that expect OpenFace's columns. ``annotations`` prepares
the intervals that the first three share. Nothing here computes a measure or reads a medium.
"""

from collections.abc import Callable
from pathlib import Path

from nunbit.exports.elan import write_eaf
from nunbit.exports.openface import write_openface
from nunbit.exports.parquet import read_timeline_table, write_timeline
from nunbit.exports.spreadsheet import write_csv
from nunbit.exports.textgrid import write_textgrid
from nunbit.exports.webvtt import write_vtt
from nunbit.streams import Timeline

EXPORTS: dict[str, Callable[[Path, Timeline], None]] = {
    "csv": write_csv,
    "eaf": write_eaf,
    "openface": write_openface,
    "textgrid": write_textgrid,
    "vtt": write_vtt,
}
"""Name on the command line -> writer of ``(path, timeline)``."""

SUFFIXES = {
    "csv": ".csv",
    "eaf": ".eaf",
    "openface": ".openface.csv",
    "textgrid": ".TextGrid",
    "vtt": ".vtt",
}
"""Name on the command line -> what its file name ends in."""

__all__ = [
    "EXPORTS",
    "SUFFIXES",
    "read_timeline_table",
    "write_csv",
    "write_eaf",
    "write_openface",
    "write_textgrid",
    "write_timeline",
    "write_vtt",
]
