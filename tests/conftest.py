"""Shared fixtures: no network, the real data where it is, a fixed language."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

from nunbit.runtime.progress import put_in_words, set_lang


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """nunbit never talks to a network unless asked; a test that does is a defect."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: object) -> None:
        here = isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1")  # the app's own
        if self.family in (socket.AF_INET, socket.AF_INET6) and not here:
            raise AssertionError(f"a test tried to connect to {address}")
        real(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    set_lang("en")
    put_in_words(str)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; tests that use it are marked ``data``."""
    value = os.environ.get("NUNBIT_DATA", "")
    if not value or not Path(value).is_dir():
        pytest.skip("NUNBIT_DATA does not name the folder of real data")
    return Path(value)


@pytest.fixture(scope="session")
def hopper() -> Any:
    """The sample photo of matplotlib: one face (public domain), 512 x 600, a PIL image."""
    matplotlib = pytest.importorskip("matplotlib")
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    if not path.is_file():
        pytest.skip("this matplotlib comes without its sample photo")
    return Image.open(path).convert("RGB")


@pytest.fixture(scope="session")
def reference() -> Any:
    """The metrics of scikit-learn, which ours must equal."""
    return pytest.importorskip("sklearn.metrics")


@pytest.fixture(autouse=True)
def detector_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests replace the detector: it must not have moved to a process of its own before."""
    monkeypatch.setattr("nunbit.pictures.faces._Leak.given_bytes", 0)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's Chromium, driven by Playwright, which downloads no browser of its own."""
    driver = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with driver.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        try:
            browser = playwright.chromium.launch(executable_path=program, args=options)
        except driver.Error as error:
            pytest.skip(f"the browser does not start here: {error}")
        yield browser
        browser.close()


@pytest.fixture
def browser_page(chromium: Any) -> Iterator[Any]:
    """An empty page; its test fails if a script fails, a dialog opens or a network is asked."""
    context = chromium.new_context()
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    errors: list[str] = []
    asked: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


# What a test of a single function may take: nothing that is written, rendered or loaded.
_LIGHT = {"_no_network", "_english", "detector_in_this_process", "monkeypatch", "request", "capsys"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files of nothing but training closed where only fast tests are asked for: torch."""
    if config.option.markexpr != "fast" or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text(encoding="utf-8")
    return True if "\npytestmark = pytest.mark.train\n" in text else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of single functions as ``fast``: ``make check-fast`` runs them."""
    for item in items:
        taken = set(getattr(item, "fixturenames", ())) - _LIGHT
        values = getattr(item, "callspec", None)
        taken -= set(values.params) if values else set()
        if not taken and not any(
            map(item.get_closest_marker, ("seconds", "slow", "train", "data"))
        ):
            item.add_marker("fast")
