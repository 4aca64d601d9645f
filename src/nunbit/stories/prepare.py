"""Make a prepared data set of face crops from labelled photos (``nunbit prepare``).

The source is listed and its records are assigned to shards; this plan depends only on the records
and the settings. Missing shards are written on all cores, or by a cluster (``engine``), and then
joined. After a kill the same line continues with the missing shards.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import NO_TEXT, InputError, SettingsError, Text
from nunbit.core.schema import SPLITS, SYNTHETIC_MARK, Policy, Split
from nunbit.datasets.aihub_labels import compare_counts, difference_lines
from nunbit.datasets.policies import label_under, refuse_anonymous
from nunbit.datasets.scan import Listing
from nunbit.datasets.shard_writer import (
    PARTS,
    ShardTask,
    count_notes,
    counts_document,
    cropping_document,
    write_shard,
)
from nunbit.datasets.shards import (
    DOCUMENT,
    FORMAT,
    MANIFEST,
    DataSet,
    broken_shards,
    merge_parts,
    missing_shards,
    open_dataset,
    remove_parts,
    whole_photos,
)
from nunbit.datasets.source_changes import (
    STATE_FILE,
    keep_unchanged,
    make_broken_again,
    source_state,
    state_before,
    state_in,
)
from nunbit.datasets.sources import read_source
from nunbit.language.labels import LabelSet, label_set_to_dict, load_label_set
from nunbit.pictures.crops import CropKind, CropSettings
from nunbit.runtime.claims import claimed, tidy
from nunbit.runtime.config import Seed, Workers, parse_part, settings_to_dict
from nunbit.runtime.engines import EngineChoice, EngineName, described, open_engine
from nunbit.runtime.files import read_json, write_json, writing
from nunbit.runtime.progress import Progress, say
from nunbit.runtime.resources import nunbit_version, provenance

_PLAN = "plan.json"
_SMALLEST_SHARD = 64
_SHARDS_AT_LEAST = 8
# Even a featureless crop takes this much; a usual one takes three times as much.
_LEAST_BYTES_PER_PIXEL = 0.15
# Do not shape the result.
_HOW_NOT_WHAT = ("num_workers", "part", "engine", "address")


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """Settings of ``nunbit prepare``.

    Attributes:
        kind: Kind of source; None = recognised from its contents.
        label_set: Name of a label set, or a TOML file.
        policy: Rule that turns uploader label and votes into the column ``label``; None =
            ``annot_a`` for aihub, else ``uploader``.
        size: Side of the crops, pixels.
        crop: ``square`` = a square around the centre of the face box, padded where it leaves the
            photo; ``box`` = the face box itself, squeezed to a square.
        margin: Of ``square``: space added on every side, as a share of the longer side of the face
            box.
        seed: Decides the order of the records inside a split.
        shard_size: Most records in one shard; small data sets get smaller shards, so that every
            core has work.
        num_workers: Processes; 0 = one a core (of the cluster, where ``engine`` is ``ray``), 1 =
            this process only.
        engine: Who makes the shards: ``local`` = processes of this machine, ``ray`` = a Ray
            cluster.
        address: Of ``ray``: HOST:PORT; '' = what RAY_ADDRESS names, else one started here.
        part: ``i/n``: make only every n-th shard from the i-th on (1 ≤ i ≤ n). The job that
            finishes the last shard joins them all.
    """

    kind: Literal["aihub", "folder", "table"] | None = None
    label_set: str = "aihub7"
    policy: Policy | None = None
    size: Annotated[int, msgspec.Meta(ge=16, le=1024)] = 224
    crop: CropKind = "square"
    margin: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] = 0.1
    seed: Seed = 0
    shard_size: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    num_workers: Workers = 0
    part: str | None = None
    engine: EngineName = "local"
    address: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Which records go into which shard.

    Attributes:
        shards: Split and record indices of each shard.
        fingerprint: sha256 over everything that shapes the result: records, settings, label set.
        settings: The settings that shape the result, as plain data.
        policy: The policy chosen.
        synthetic: Whether the source is drawn by ``nunbit synth``.
    """

    shards: tuple[tuple[Split, NDArray[np.int64]], ...]
    fingerprint: str
    settings: dict[str, Any]
    policy: Policy
    synthetic: bool = False


def prepare(sources: Sequence[Path], out: Path, settings: PrepareSettings) -> Mapping[str, Any]:
    """Prepare a data set, or go on where an interrupted run was.

    Args:
        sources: SRC: folders, zips or tables.
        out: ``DATA/``; made if missing.
        settings: What to make.

    Returns:
        ``dataset.json``. With ``part``, while other parts are missing: ``finished`` false,
        ``shards``, ``shards_finished``.

    Raises:
        InputError: The source is unusable, ``out`` holds another data set, or writing failed.
        SettingsError: A setting is unknown or does not fit the source.
    """
    part = parse_part(settings.part)
    choice = EngineChoice(settings.engine, settings.address, settings.num_workers)
    label_set = load_label_set(settings.label_set)
    _refuse_out_in_source(sources, out)
    say(Text("listing the source …", "원본을 살펴봅니다 …"))
    listing = read_source(list(sources), settings.kind, label_set)
    plan = make_plan(listing, settings, label_set, ", ".join(str(path) for path in sources))
    plan = replace(plan, synthetic=any(_is_synthetic(source) for source in sources))
    state = source_state(listing.records)
    if document := _kept(out, plan, state):
        return document
    with claimed(out, part=settings.part or ""):
        finished = _finished(out, plan)
        before = state_before(out, out / PARTS / _PLAN, finished)
        if finished is not None and (broken := broken_shards(out, finished.manifest)):
            every = range(len(plan.shards))
            make_broken_again(finished, broken, list(_tasks(out, plan, listing, settings, every)))
            finished = None
        if finished or (out / PARTS).is_dir():
            own = range(len(plan.shards)) if finished or before != state else _own(plan, part)
            tasks = list(_tasks(out, plan, listing, settings, own))
            keep_unchanged(out, tasks, finished, (before, state), settings.num_workers)
            if finished is not None and (out / DOCUMENT).is_file():
                return _already(out, finished.settings)
        _claim(out, plan, settings, state)
        engine = _write_shards(out, plan, listing, settings, part, (choice, sources))
        return _joined(out, plan, listing, label_set, state, engine)


def _kept(out: Path, plan: Plan, state: str) -> Mapping[str, Any] | None:
    """``dataset.json`` if this data set is complete, of all photos, which did not change since."""
    finished = _finished(out, plan)
    if finished is None or state_in(out / STATE_FILE) != state:
        return None
    document = finished.settings
    # A photo that could not be read was perhaps only away at that time.
    rejected = document["counts"]["records"] < sum(len(rows) for _, rows in plan.shards)
    return None if rejected or broken_shards(out, finished.manifest) else _already(out, document)


def _already(out: Path, document: Mapping[str, Any]) -> Mapping[str, Any]:
    tidy(out)
    say(Text(f"{out}: already prepared", f"{out}: 이미 완성되어 있습니다"))
    return document


def _is_synthetic(source: Path) -> bool:
    # A part of a drawn tree is drawn too.
    place = source.resolve()
    return any((folder / SYNTHETIC_MARK).is_file() for folder in (place, *place.parents))


def make_plan(listing: Listing, settings: PrepareSettings, label_set: LabelSet, where: str) -> Plan:
    """Assign the records to shards in a seeded order; a shard has records of one split.

    Raises:
        InputError: There are no records.
        SettingsError: No record has a label under the policy, or the policy does not fit the votes.
    """
    if not len(listing.records):
        raise _no_records(listing, where)
    policy = settings.policy or ("annot_a" if listing.kind == "aihub" else "uploader")
    refuse_anonymous(policy, listing.vote_names, (r.votes for r in listing.records), where)
    rows: dict[Split, list[int]] = {split: [] for split in SPLITS}
    digest = hashlib.sha256()
    for index, record in enumerate(listing.records):
        rows[record.split].append(index)
        # Not the image's absolute path: SRC may lie elsewhere when the run goes on.
        told = (
            record.record_id,
            record.image.source_path,
            record.split,
            record.uploader_label,
            record.votes,
            record.subject_id,
            record.box_xyxy,
            record.fallback_boxes,
            record.gender,
            record.age,
            record.place,
        )
        digest.update(repr(told).encode())
    if all(label_under(policy, r.uploader_label, r.votes) is None for r in listing.records):
        raise _no_labels(policy, where)
    zips = {r.image.path for r in listing.records if r.image.member is not None}
    told_settings = {k: v for k, v in settings_to_dict(settings).items() if k not in _HOW_NOT_WHAT}
    told_settings |= {"kind": listing.kind, "policy": policy, "label_set": label_set.name}
    zip_sizes = sorted(Path(path).stat().st_size for path in zips)
    rest = (told_settings, label_set_to_dict(label_set), listing.vote_names, zip_sizes)
    digest.update(repr(rest).encode())
    return Plan(_deal(rows, settings), digest.hexdigest(), told_settings, policy)


def _deal(
    rows: dict[Split, list[int]], settings: PrepareSettings
) -> tuple[tuple[Split, NDArray[np.int64]], ...]:
    shards: list[tuple[Split, NDArray[np.int64]]] = []
    for number, split in enumerate(SPLITS):
        own = np.array(rows[split], dtype=np.int64)
        if not len(own):
            continue
        shuffled = np.random.default_rng([settings.seed, number]).permutation(own)
        fewest = min(_SHARDS_AT_LEAST, len(own) // _SMALLEST_SHARD)
        count = max(1, fewest, -(-len(own) // settings.shard_size))
        shards += [(split, piece) for piece in np.array_split(shuffled, count)]
    return tuple(shards)


def _write_shards(
    out: Path,
    plan: Plan,
    listing: Listing,
    settings: PrepareSettings,
    part: tuple[int, int],
    by: tuple[EngineChoice, Sequence[Path]],
) -> dict[str, Any]:
    """Write this job's missing shards; the engine that did, as provenance names it."""
    own = _own(plan, part)
    todo = missing_shards(out, own, plan.fingerprint)
    n_todo = sum(len(plan.shards[index][1]) for index in todo)
    n_own = sum(len(plan.shards[index][1]) for index in own)
    tasks = _tasks(out, plan, listing, settings, todo)
    with (
        open_engine(by[0], len(todo), reads=by[1], out=out) as engine,
        Progress(Text("cropping", "얼굴 자르기"), n_own, "img", done=n_own - n_todo) as progress,
    ):
        for _ in engine.run(write_shard, tasks, advance=progress.advance):
            pass
        return described(engine)


def _own(plan: Plan, part: tuple[int, int]) -> range:
    """The shards of one job of several."""
    return range(part[0] - 1, len(plan.shards), part[1])


def _tasks(
    out: Path, plan: Plan, listing: Listing, settings: PrepareSettings, indices: Iterable[int]
) -> Iterator[ShardTask]:
    """The tasks of some shards, made one by one."""
    crop = CropSettings(settings.crop, settings.size, settings.margin)
    for index in indices:
        split, rows = plan.shards[index]
        records = tuple(listing.records[int(row)] for row in rows)
        yield ShardTask(index, split, records, out, crop, plan.fingerprint)


def _joined(
    out: Path,
    plan: Plan,
    listing: Listing,
    label_set: LabelSet,
    state: str,
    engine: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Join the shards and write ``dataset.json`` if all are there, else report what is missing."""
    missing = missing_shards(out, range(len(plan.shards)), plan.fingerprint)
    tally = None
    if not missing:
        tally = merge_parts(out, len(plan.shards), plan.fingerprint, plan.policy, listing.rejects)
    if tally is None:
        # Another part's run may have joined everything while this one looked.
        if finished := _finished(out, plan):
            return finished.settings
        n_shards = len(plan.shards)
        so_far = {"shards": n_shards, "shards_finished": n_shards - len(missing)}
        return {"format": FORMAT, "finished": False, **so_far}
    notes = [*listing.notes, *count_notes(tally, plan.policy, label_set.ids)]
    known = None
    if listing.kind == "aihub":
        known = compare_counts(listing.raw_counts)
        notes += difference_lines(listing.raw_counts)
    document = {
        "format": FORMAT,
        "finished": True,
        "nunbit_version": nunbit_version(),
        "fingerprint": plan.fingerprint,
        "source": listing.kind,
        "synthetic": plan.synthetic,
        "label_set": label_set_to_dict(label_set),
        "policy": plan.policy,
        "vote_names": list(listing.vote_names),
        "shards": len(plan.shards),
        "crop": cropping_document(plan.settings),
        "counts": counts_document(tally, label_set.ids),
        "raw_counts": listing.raw_counts,
        "known_counts": known,
        "notes": [note.pair() for note in notes],
        "settings": plan.settings,
        "provenance": provenance(
            "prepare",
            plan.settings,
            seeds={"seed": plan.settings["seed"]},
            inputs={"records": plan.fingerprint},
            engine=engine,
        ),
    }
    write_json(out / STATE_FILE, {"state": state})
    write_json(out / DOCUMENT, document)
    remove_parts(out)
    if warning := whole_photos(open_dataset(out)):
        say(warning)
    return dict(read_json(out / DOCUMENT))


def _finished(out: Path, plan: Plan) -> DataSet | None:
    """This data set if it is complete in ``out``, its shards apart; None if not yet.

    Raises:
        InputError: Another data set, finished or begun, is there.
    """
    for path in (out / DOCUMENT, out / PARTS / _PLAN):
        if path.is_file():
            stored = read_json(path)
            if not isinstance(stored, dict) or stored.get("fingerprint") != plan.fingerprint:
                raise _other_data(out, stored, plan)
    ended = (out / DOCUMENT).is_file() and (out / MANIFEST).is_file()
    return open_dataset(out, whole=False) if ended else None


def _claim(out: Path, plan: Plan, settings: PrepareSettings, state: str) -> None:
    """Mark the folder as this unfinished data set, so that no other one is mixed in."""
    with writing(out):
        (out / PARTS).mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
    n_records = sum(len(rows) for _, rows in plan.shards)
    needed = round(n_records * settings.size**2 * _LEAST_BYTES_PER_PIXEL)
    on_disk = sum(path.stat().st_size for path in out.glob("shard-*.tar"))
    if needed - on_disk > free:
        raise InputError(
            Text(
                f"{out}: {n_records:,} crops of {settings.size} px need at least "
                f"{needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; free space or choose "
                "another `out`",
                f"{out}: {settings.size} px 얼굴 {n_records:,}개에는 적어도 {needed / 1e9:.1f} "
                f"GB가 필요한데 {free / 1e9:.1f} GB가 남았습니다. 공간을 비우거나 다른 `out`을 "
                "고르십시오",
            )
        )
    write_json(
        out / PARTS / _PLAN,
        {
            "fingerprint": plan.fingerprint,
            "settings": plan.settings,
            "shards": len(plan.shards),
            "state": state,
        },
    )


def _refuse_out_in_source(sources: Sequence[Path], out: Path) -> None:
    # The next run would list what this one has written.
    for source in sources:
        if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
            raise InputError(
                Text(
                    f"{out}: is inside SRC ({source}); choose an `out` outside it",
                    f"{out}: SRC({source}) 안에 있습니다. 바깥의 `out`을 고르십시오",
                )
            )


def _other_data(out: Path, stored: Any, plan: Plan) -> InputError:
    old = stored.get("settings", {}) if isinstance(stored, dict) else {}
    changed = [
        f"{key} {old.get(key)} -> {plan.settings.get(key)}"
        for key in sorted({*old, *plan.settings})
        if old.get(key) != plan.settings.get(key)
    ]
    what_en = f"settings differ: {', '.join(changed)}" if changed else "SRC or label set differs"
    what_ko = f"설정이 다름: {', '.join(changed)}" if changed else "SRC나 레이블 집합이 다름"
    return InputError(
        Text(
            f"{out}: contains another data set ({what_en}); choose another `out` or delete it",
            f"{out}: 다른 데이터 세트가 들어 있습니다({what_ko}). 다른 `out`을 고르거나 폴더를 "
            "지우십시오",
        )
    )


def _no_records(listing: Listing, where: str) -> InputError:
    example = NO_TEXT
    if listing.rejects:
        said = listing.rejects[0].said()
        example = Text(f" ({said.en})", f" ({said.ko})")
    return InputError(
        Text(
            f"{where}: no labelled image found{example.en}; check SRC",
            f"{where}: 레이블이 있는 이미지가 없습니다{example.ko}. SRC를 확인하십시오",
        )
    )


def _no_labels(policy: str, where: str) -> SettingsError:
    return SettingsError(
        Text(
            f"{where}: no record has a label under '{policy}'; choose another policy with `policy` "
            "(uploader needs a label, the others need annotators' votes)",
            f"{where}: '{policy}' 정책에서 레이블이 있는 레코드가 없습니다. `policy`로 다른 "
            "정책을 고르십시오(uploader는 레이블이, 나머지는 주석자의 투표가 있어야 합니다)",
        )
    )
