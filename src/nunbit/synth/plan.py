"""Decides everything about a synthetic AI Hub tree before a pixel is drawn.

All follows from the seed, record by record, so label files, truth and pictures can be made in any
order and by any number of processes. Knows nothing of zips.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from nunbit.schema import Box
from nunbit.synth.expression import EMOTIONS, TILTS, blend, expression_of
from nunbit.synth.oddities import strange_cases
from nunbit.synth.people import Person, sample_person
from nunbit.synth.photo import Photo, sample_photo
from nunbit.synth.records import (
    KOREAN,
    PARTS,
    PLACES,
    Annotation,
    Part,
    Subject,
    SynthRecord,
    SynthSettings,
    gender_of,
    sample_boxes,
)
from nunbit.synth.votes import UNKNOWN, sample_votes

_PLACE_SHARE = (0.11, 0.09, 0.11, 0.042, 0.08, 0.11, 0.10, 0.11, 0.063, 0.185)
_TAGS = (1, 3, 0, 4, 8, 2, 6, 5, 7)
_TAG_SHARE = (0.595, 0.252, 0.086, 0.058, 0.004, 0.004, 0.0004, 0.0003, 0.0003)
# First word of every seed, so that no two kinds of draw share a stream.
_PEOPLE, _RECORDS, _UNSEEN, _ODD, _EXTRA = 1, 2, 3, 4, 5


class Plan:
    """All records of a tree, made class by class on request.

    Args:
        settings: What to write.
    """

    def __init__(self, settings: SynthSettings) -> None:
        self.settings = settings
        labels = len(EMOTIONS)
        seen = settings.persons or max(8, labels * settings.per_class // 10)
        unseen = max(6, labels * settings.count("validation") // 8)
        self.seen = [self._subject(_PEOPLE, k) for k in range(seen)]
        self.unseen = [self._subject(_UNSEEN, k) for k in range(unseen)]

    def records(self, part: Part, label: str) -> list[SynthRecord]:
        """Ordinary records with a photo, of one class folder."""
        count, row = self.settings.count(part), _row(part, label)
        rng = np.random.default_rng([self.settings.seed, _RECORDS, row])
        known = round(self.settings.shared * count) if part == "validation" else count
        pools = [self.seen] * known + [self.unseen] * (count - known)
        turns = {id(pool): rng.permutation(len(pool)) for pool in (self.seen, self.unseen)}
        made = []
        for k, pool in enumerate(pools):
            order = turns[id(pool)]
            subject = pool[int(order[k % len(order)])]
            made.append(self._record((_RECORDS, row, k), subject, label))
        return made

    def extras(self, part: Part, label: str) -> list[SynthRecord]:
        """Records whose photos would be in the parts that are not there."""
        if part == "validation":
            return []
        count, row = round(self.settings.extra_records * self.settings.per_class), _row(part, label)
        rng = np.random.default_rng([self.settings.seed, _EXTRA, row])
        made = []
        for k in range(count):
            subject = self.seen[int(rng.integers(len(self.seen)))]
            made.append(replace(self._record((_EXTRA, row, k), subject, label), photo=None))
        return made

    def odd(self, part: Part, label: str) -> list[SynthRecord]:
        """The strange cases of one class folder."""
        row, made = _row(part, label), []
        for k, change in enumerate(strange_cases(self.settings, part, label)):
            rng = np.random.default_rng([self.settings.seed, _ODD, row, k])
            subject = self.seen[int(rng.integers(len(self.seen)))]
            record = self._record((_ODD, row, k), subject, label)
            made.append(change.apply(record))
        return made

    def _subject(self, kind: int, number: int) -> Subject:
        rng = np.random.default_rng([self.settings.seed, kind, number])
        text = f"nunbit synth {self.settings.seed} {kind} {number}"
        return Subject(
            key=hashlib.sha256(text.encode()).hexdigest(),
            person=sample_person(rng),
            professional=bool(rng.random() < 0.48),
            habit=int(rng.choice(_TAGS, p=_TAG_SHARE)),
        )

    def _record(self, seed: tuple[int, int, int], subject: Subject, label: str) -> SynthRecord:
        rng = np.random.default_rng([self.settings.seed, *seed])
        votes = sample_votes(label, rng)
        drawn = votes[0]
        photo_rng = np.random.default_rng([self.settings.seed, *seed, 1])
        place, code, scene = PLACES[int(rng.choice(len(PLACES), p=_PLACE_SHARE))]
        photo = _photo(votes, subject.person, scene, self.settings.photo_width, photo_rng)
        if rng.random() < 0.004:
            k = int(rng.integers(1, 3))
            votes = (votes[0], UNKNOWN, votes[2]) if k == 1 else (votes[0], votes[1], UNKNOWN)
        tag = subject.habit if rng.random() < 0.6 else int(rng.choice(_TAGS, p=_TAG_SHARE))
        suffix = "jpeg" if rng.random() < 0.0145 else "jpg"
        name = _file_name(subject, label, place, code, seed, suffix)
        notes = tuple(_annotation(v, photo.box_xyxy, place, rng) for v in votes)
        if rng.random() < 0.05:  # annotators often left the model's pre-drawn box as it was
            notes[1]["boxes"] = dict(notes[0]["boxes"])
        return SynthRecord(
            file_name=name,
            subject=subject,
            uploader=label,
            votes=votes,
            drawn=drawn,
            place=place,
            photo=photo,
            annotations=(notes[0], notes[1], notes[2]),
            orientation=tag,
        )


def _row(part: Part, label: str) -> int:
    return PARTS.index(part) * len(EMOTIONS) + list(EMOTIONS).index(label)


def _photo(
    votes: tuple[str, str, str], person: Person, scene: str, width: int, rng: np.random.Generator
) -> Photo:
    """A's vote is what the face shows; a dissenting vote leaves a trace of itself in it."""
    intensity = float(np.clip(rng.normal(0.85, 0.17), 0.45, 1.15))
    main = expression_of(votes[0], rng, intensity)
    others = [(expression_of(v, rng, intensity), 0.15) for v in votes[1:] if v != votes[0]]
    mixed = blend([(main, 1.0 - 0.15 * len(others)), *others])
    return sample_photo(person, mixed, scene, width, rng, tilt=TILTS[votes[0]])


def _file_name(
    subject: Subject, label: str, place: str, code: int, seed: tuple[int, int, int], suffix: str
) -> str:
    kind, row, number = seed
    # Kind and class shift the clock, so no two records of a tree share a time.
    moment = datetime(2020, 11, 2, 9) + timedelta(days=20 * row + 3 * kind, seconds=97 * number)
    person = subject.person
    spot = place.replace("/", "&")
    return (
        f"{subject.key}_{gender_of(person)}_{person.age}_{KOREAN[label]}_{spot}_"
        f"{moment:%Y%m%d%H%M%S}-{code:03d}-{number % 999 + 1:03d}.{suffix}"
    )


def _annotation(vote: str, box: Box, place: str, rng: np.random.Generator) -> Annotation:
    spelled = place if rng.random() < 0.9 else place.replace("의료시설", "의료")
    return {"boxes": sample_boxes(box, rng), "faceExp": KOREAN.get(vote, vote), "bg": spelled}
