"""Whether the photos behind a prepared data set are still those that were read.

Names and sizes do not tell: a damaged zip that was mended has both. Sizes and times of change of
the files do, but they also change when a folder is copied. So they only decide whether to look:
then every photo is read again and compared with the digest in the manifest, and what could not be
read is tried again. Shards whose photos changed are made anew, the others are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from nunbit.core.messages import InputError, MediaError, Text
from nunbit.core.schema import FaceRecord, Reject
from nunbit.datasets.archives import read_image_bytes
from nunbit.datasets.shard_writer import (
    ManifestRow,
    Part,
    ShardTask,
    part_path,
    photo_digest,
    read_part,
    shard_name,
    write_part,
)
from nunbit.datasets.shards import DOCUMENT, REJECTS, DataSet
from nunbit.pictures.crops import decode_crop
from nunbit.runtime.files import read_json, write_json, writing
from nunbit.runtime.progress import Progress, say
from nunbit.runtime.workers import Tools, available_cores, run_tasks

STATE_FILE = "sources.json"
"""In ``DATA/``: sizes and times of the files that were read, as one digest."""


def source_state(records: Iterable[FaceRecord]) -> str:
    """A digest of size and time of change of every photo, or of the zip it is in, in order."""
    digest = hashlib.sha256()
    zips: set[str] = set()
    for record in records:
        path = record.image.path
        if record.image.member is not None:
            if path in zips:
                continue
            zips.add(path)
        try:
            about = Path(path).stat()
            digest.update(b"%d %d\n" % (about.st_size, about.st_mtime_ns))
        except OSError:
            digest.update(b"-\n")
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Looked:
    """How the photos of a shard differ from those that it was made of.

    Attributes:
        index: Number of the shard.
        changed: Photos with other bytes, or that can be read now and could not.
        lost: Photos that cannot be read any more.
    """

    index: int
    changed: int
    lost: int


@dataclass(frozen=True, slots=True)
class LookTask:
    """A shard whose photos are compared.

    Attributes:
        shard: As it would be written.
        digests: Record id -> digest of the photo it was made of.
    """

    shard: ShardTask
    digests: Mapping[str, str]


def compare_photos(task: LookTask, tools: Tools) -> Looked:
    """Read a shard's photos and compare them.

    Raises:
        InputError: The source has gone away.
    """
    changed = lost = 0
    for record in task.shard.records:
        known = task.digests.get(record.record_id)
        try:
            data = read_image_bytes(record.image)
            if known is None:
                decode_crop(
                    data, record.box_xyxy, record.fallback_boxes, task.shard.crop, tools.turn
                )
            changed += known != photo_digest(data)
        except MediaError:
            lost += known is not None
        tools.advance(1)
    return Looked(task.shard.index, changed, lost)


def state_in(path: Path) -> str | None:
    """The state that a file of an earlier run names; None without one."""
    with suppress(InputError):
        stored = read_json(path)
        return stored.get("state") if isinstance(stored, dict) else None
    return None


def state_before(out: Path, plan: Path, finished: DataSet | None) -> str | None:
    """The state of the source when the shards were made; None where unknown.

    Args:
        out: ``DATA/``.
        plan: File of the unfinished data set. A whole one that was opened again to make some
            shards anew has none yet; its shards are still of the state it was made of.
        finished: The data set, if it is whole.
    """
    begun = None if finished else state_in(plan)
    return begun or state_in(out / STATE_FILE)


def keep_unchanged(
    out: Path,
    tasks: Sequence[ShardTask],
    finished: DataSet | None,
    states: tuple[str | None, str],
    workers: int,
) -> None:
    """Compare the photos of finished shards with what is there now.

    Where the files of the source have the same dates, only those that could not be read. Shards
    whose photos changed count as missing afterwards. A whole data set without such a shard stays,
    and is noted as made of what is there now.

    Args:
        out: ``DATA/``.
        tasks: The shards: of a whole data set all of them.
        finished: The data set, if it is whole.
        states: Of the source when the shards were made (None where unknown), and now.
        workers: Processes; 0 = one a core.

    Raises:
        InputError: Photos of a whole data set cannot be read any more.
    """
    made_of = [(t, known) for t, known in _made_of(tasks, finished) if known is not None]
    if states[0] == states[1]:
        made_of = [(_rejected_only(task, known), known) for task, known in made_of]
    looked = _looked_at([LookTask(t, known) for t, known in made_of if t.records], workers)
    if finished is None:
        gone = {each.index for each in looked if each.changed or each.lost}
        for task in tasks:
            if task.index in gone:
                with writing(out):
                    part_path(task).unlink(missing_ok=True)
        return
    _refuse_lost(out, looked)
    changed = {each.index for each in looked if each.changed}
    if not changed:
        write_json(out / STATE_FILE, {"state": states[1]})
        return
    n = sum(each.changed for each in looked)
    say(
        Text(
            f"{out}: {n:,} photos changed since; {len(changed)} of {len(tasks)} shards are made "
            "anew",
            f"{out}: 그 뒤 사진 {n:,}장이 바뀌어 샤드 {len(tasks)}개 중 {len(changed)}개를 다시 "
            "만듭니다",
        )
    )
    _parts_again(finished, [task for task in tasks if task.index not in changed])
    with writing(out):
        (out / DOCUMENT).unlink()


def make_broken_again(
    dataset: DataSet, broken: Mapping[str, Text], tasks: Sequence[ShardTask]
) -> None:
    """Count broken shards of a finished data set as missing, so that a run makes them anew.

    Args:
        dataset: The data set; it is unfinished afterwards.
        broken: File names of shards, and what is wrong with them.
        tasks: All shards.

    Raises:
        InputError: The folder cannot be written.
    """
    name, why = next(iter(broken.items()))
    say(
        Text(
            f"{dataset.path / name}: {why.en}; {len(broken)} of {len(tasks)} shards are made anew",
            f"{dataset.path / name}: {why.ko}. 샤드 {len(tasks)}개 중 {len(broken)}개를 다시 "
            "만듭니다",
        )
    )
    told = (dataset.path / REJECTS).is_file()  # else what was refused is found again, too
    whole = [task for task in tasks if told and shard_name(task.index) not in broken]
    _parts_again(dataset, whole)
    with writing(dataset.path):
        (dataset.path / DOCUMENT).unlink()


def _made_of(
    tasks: Sequence[ShardTask], finished: DataSet | None
) -> Iterator[tuple[ShardTask, dict[str, str] | None]]:
    """Each shard with the digests of the photos it was made of; None where it is not finished."""
    if finished is None:
        for task in tasks:
            part = read_part(task.out, task.index, task.fingerprint)
            yield task, None if part is None else {r.record_id: r.image_sha1 for r in part.rows}
        return
    known = dict(zip(finished.column("record_id"), finished.column("image_sha1"), strict=True))
    for task in tasks:
        yield task, {r.record_id: known[r.record_id] for r in task.records if r.record_id in known}


def _rejected_only(task: ShardTask, known: Mapping[str, str]) -> ShardTask:
    """What could not be read: the rest is as it was. It may only have been away at that time."""
    return replace(task, records=tuple(r for r in task.records if r.record_id not in known))


def _looked_at(looks: Sequence[LookTask], workers: int) -> list[Looked]:
    if not looks:
        return []
    title = Text("comparing photos with those read before", "전에 읽은 사진과 비교")
    total = sum(len(each.shard.records) for each in looks)
    workers = min(workers or available_cores(), len(looks))
    with Progress(title, total, "img") as bar:
        return list(run_tasks(compare_photos, looks, num_workers=workers, advance=bar.advance))


def _refuse_lost(out: Path, looked: Sequence[Looked]) -> None:
    if lost := sum(each.lost for each in looked):
        raise InputError(
            Text(
                f"{out}: {lost:,} photos that were read before cannot be read any more; the data "
                "set is kept as it is. Bring SRC back as it was, or choose another `out`",
                f"{out}: 전에 읽었던 사진 {lost:,}장을 이제 읽을 수 없습니다. 데이터 세트는 그대로 "
                "두었습니다. SRC를 되돌리거나 다른 `out`을 고르십시오",
            )
        )


def _parts_again(dataset: DataSet, tasks: Sequence[ShardTask]) -> None:
    """Write the parts of shards of a finished data set, so that they are joined again."""
    rows: dict[str, list[ManifestRow]] = {}
    for row in dataset.manifest.drop_columns(["label"]).to_pylist():
        rows.setdefault(row["shard"], []).append(msgspec.convert(row, ManifestRow))
    refused: dict[str, Reject] = {}
    if not tasks:
        return
    with (dataset.path / REJECTS).open(encoding="utf-8") as lines:
        for line in lines:
            told = json.loads(line)
            text = Text(told["detail"], told["detail_ko"] or told["detail"])
            refused[told["file"]] = Reject(told["file"], told["reason"], text)
    for task in tasks:
        own = rows.get(shard_name(task.index), [])
        known = {row.record_id for row in own}
        rejects = [
            refused[record.image.source_path]
            for record in task.records
            if record.record_id not in known
        ]
        write_part(task, Part((task.out / shard_name(task.index)).stat().st_size, own, rejects))
