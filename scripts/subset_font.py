"""Make the font that nunbit carries: NanumGothic's Latin and Hangul under another name.

    python scripts/subset_font.py NanumGothic.ttf src/nunbit/pictures/data/fonts/NunbitHangul.ttf

NanumGothic (SIL Open Font License 1.1) is in Debian's fonts-nanum and at hangeul.naver.com. Its
licence reserves its name, so a modified version needs another one. Needs fontTools.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

RANGES = (
    *((0x20, 0x17E), (0x370, 0x3FF), (0x2000, 0x206F), (0x20A0, 0x20BF), (0x2100, 0x22FF)),
    *((0x2460, 0x27BF), (0x3000, 0x303F), (0xFF00, 0xFFEF)),  # symbols and full-width forms
    *((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3)),  # Hangul
)
NAMES = {
    1: "Nunbit Hangul",
    2: "Regular",
    3: "Nunbit Hangul Regular; a subset of a font by NHN",
    4: "Nunbit Hangul",
    6: "NunbitHangul",
}
DROPPED = (7, 16, 17, 18, 20, 21, 22)  # trade mark and further family names


def main() -> int:
    """Read the font, keep what is drawn, rename, write."""
    source, target = (Path(argument) for argument in sys.argv[1:3])
    font = TTFont(source)
    wanted = {code for first, last in RANGES for code in range(first, last + 1)}
    options = subset.Options(hinting=False, layout_features=["*"], name_IDs=["*"])
    options.drop_tables += ["DSIG", "TSI0", "TSI1", "TSI2", "TSI3", "TSI5"]
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=wanted & set(font.getBestCmap()))
    subsetter.subset(font)
    for name in list(font["name"].names):
        if name.nameID in NAMES:
            place = (name.nameID, name.platformID, name.platEncID, name.langID)
            font["name"].setName(NAMES[name.nameID], *place)
        elif name.nameID in DROPPED:
            font["name"].removeNames(name.nameID)
    target.parent.mkdir(parents=True, exist_ok=True)
    font.save(target)
    print(f"{target}: {target.stat().st_size:,} bytes, {len(font.getBestCmap()):,} characters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
