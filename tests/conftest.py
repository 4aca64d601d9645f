"""Shared fixtures: no network, the real data where it is, a fixed language."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """nunbit never talks to a network unless asked; a test that does is a defect."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            raise AssertionError(f"a test tried to connect to {address}")
        real(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; tests that use it are marked ``data``."""
    value = os.environ.get("NUNBIT_DATA", "")
    if not value or not Path(value).is_dir():
        pytest.skip("NUNBIT_DATA does not name the folder of real data")
    return Path(value)


@pytest.fixture(autouse=True)
def detector_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests replace the detector: it must not have moved to a process of its own before."""
    monkeypatch.setattr("nunbit.faces._Leak.given_bytes", 0)
