"""The local page and its interface: ``nunbit app``.

One process on this machine: FastAPI for the REST routes (its OpenAPI is complete without being
written by hand), uvicorn and websockets beneath. ``house`` joins the parts: ``access`` guards every
request, ``routes`` and ``live_socket`` answer, ``sessions`` keeps and deletes, ``jobs`` analyses in
child processes. What is measured is decided elsewhere; nothing here leaves the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import msgspec

from nunbit.app.access import app_key, require_token
from nunbit.core.messages import InputError, SettingsError, Text
from nunbit.runtime.files import write_text, writing

DEFAULT_PORT = 8709
ADDRESS_FILE, _LOCK = "address.json", "app.lock"


@dataclass(frozen=True)
class AppSettings:
    """How the app runs.

    Attributes:
        bind: Address that is listened on; any but this machine's own needs ``token``.
        token: What others must send instead of the key; 16 or more characters.
        names: Further names under which the app may be called, such as that of a proxy.
        media_mb: Largest recording that may be uploaded, MB.
        image_mb: Largest picture, MB.
        transcript_mb: Largest transcript, MB.
        keep_free_mb: Room that uploads and recordings leave on the disk, MB.
        jobs_at_once: Analyses that run at the same time.
        rate_hz: Frames analysed a second in a live session, at most.
        window_s: Length of a window of a live session.
        hop_s: Step from one window to the next.
        asr: Recogniser of the words of a live session: ``vosk`` or ``faster-whisper``.
        asr_model: Model folder or size name of the recogniser; empty = what is installed.
        language: BCP 47 language of the speech.
        threads: Threads of the models of a live session.
    """

    bind: str = "127.0.0.1"
    token: str = ""
    names: tuple[str, ...] = ()
    media_mb: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 4000
    image_mb: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    transcript_mb: Annotated[int, msgspec.Meta(ge=1, le=500)] = 20
    keep_free_mb: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 500
    jobs_at_once: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    rate_hz: Annotated[float, msgspec.Meta(ge=1, le=60)] = 10.0
    window_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 4.0
    hop_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 1.0
    asr: Literal["", "vosk", "faster-whisper"] = ""
    asr_model: str = ""
    language: str = "ko"
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


def default_data_folder() -> Path:
    """Where the app keeps its data: ``NUNBIT_APP_DATA``, or the user's data folder."""
    if given := os.environ.get("NUNBIT_APP_DATA"):
        return Path(given)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", "~")).expanduser()
    elif sys.platform == "darwin":
        base = Path("~/Library/Application Support").expanduser()
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser()
    return base / "nunbit"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the app is.

    Attributes:
        url: The page.
        port: Of TCP.
        key: What opens it.
    """

    url: str
    port: int
    key: str

    @property
    def opens(self) -> str:
        """The page with its key, as a browser opens it."""
        return f"{self.url}#key={self.key}" if self.key else self.url

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {"url": self.url, "opens": self.opens, "port": self.port, "key": self.key}


def run_app(
    settings: AppSettings,
    folder: Path,
    *,
    port: int | None = None,
    bundle: Path | None = None,
    ready: Callable[[Address], None] = lambda _: None,
) -> None:
    """Serve the page until the process is interrupted or the page ends it.

    Args:
        settings: How.
        folder: The data folder; made if missing.
        port: Of TCP; 0 takes a free one, None the usual one or, where another program has it, a
            free one.
        bundle: Bundle folder; None takes the shipped one.
        ready: Called once requests are answered.

    Raises:
        SettingsError: The address cannot be used, or needs a token.
        InputError: The data folder cannot be used, or another app uses it.
    """
    import uvicorn

    from nunbit.app.house import create_app

    require_token(settings.bind, settings.token)
    with _only_one(folder), _listening(settings.bind, port) as listener:
        _log_to(folder / "app.log")
        key = settings.token or app_key(folder)
        everywhere = settings.bind in ("0.0.0.0", "::")
        host = "127.0.0.1" if everywhere or settings.bind == "localhost" else settings.bind
        host = host.strip("[]")
        name = f"[{host}]" if ":" in host else host
        actual = listener.getsockname()[1]
        address = Address(f"http://{name}:{actual}/", actual, key)
        servers: list[uvicorn.Server] = []

        def end() -> None:
            servers[0].should_exit = True

        def answered() -> None:
            told = {"url": address.url, "port": actual, "own_key": not settings.token}
            write_text(folder / ADDRESS_FILE, json.dumps(told))
            ready(address)

        app = create_app(settings, folder, key, bundle=bundle, ready=answered, end=end)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, proxy_headers=False,
            ws="websockets-sansio", ws_max_size=4_100_000, ws_per_message_deflate=False,
            timeout_graceful_shutdown=5, lifespan="on",
        )  # fmt: skip
        servers.append(uvicorn.Server(config))
        try:
            asyncio.run(servers[0].serve(sockets=[listener]))
        finally:
            (folder / ADDRESS_FILE).unlink(missing_ok=True)


# -- the process -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _listening(bind: str, port: int | None) -> Iterator[socket.socket]:
    """A socket that listens.

    Raises:
        SettingsError: The address or the port cannot be used.
    """
    try:
        listener = _bound(bind, DEFAULT_PORT if port is None else port)
    except (OSError, OverflowError) as exc:
        if getattr(exc, "errno", 0) != errno.EADDRINUSE:
            raise SettingsError(
                Text(
                    f"cannot listen on {bind}, port {port or DEFAULT_PORT}: {exc}",
                    f"{bind} 주소의 {port or DEFAULT_PORT}번 포트를 열 수 없습니다: {exc}",
                )
            ) from exc
        if port is not None:
            raise SettingsError(
                Text(
                    f"port {port} is taken; perhaps nunbit app is running already. Choose another "
                    "with --port, or 0 for a free one",
                    f"{port}번 포트를 이미 쓰고 있습니다. nunbit app이 실행 중일 수 있습니다. "
                    "--port로 다른 포트를 고르거나 0으로 빈 포트를 쓰십시오",
                )
            ) from exc
        listener = _bound(bind, 0)  # nobody asked for the usual one
    with listener:
        yield listener


def _bound(bind: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bind.strip("[]"), port))
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep a second app away from the data folder.

    Raises:
        InputError: Another one uses it, or it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        stream = (folder / _LOCK).open("a")
    with stream:
        try:
            _lock(stream, tries=5)
        except OSError as exc:
            raise InputError(
                Text(
                    f"{folder}: another nunbit app uses this data folder; stop it or give --data",
                    f"{folder}: 다른 nunbit app이 이 폴더를 쓰고 있습니다. 그 앱을 멈추거나 "
                    "--data를 주십시오",
                )
            ) from exc
        yield


def is_in_use(folder: Path) -> bool:
    """Whether an app runs on a data folder."""
    try:
        with (folder / _LOCK).open("a") as stream:
            _lock(stream)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _lock(stream: IO[str], tries: int = 1) -> None:
    """Lock a file until it is closed; raises OSError where another process has it.

    Who only asks has it for a moment, so that whoever needs it tries again.
    """
    for left in range(tries - 1, -1, -1):
        try:
            if sys.platform == "win32":
                import msvcrt

                stream.seek(0)
                msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not left:
                raise
            time.sleep(0.05)
        else:
            return


def _log_to(path: Path) -> None:
    """Faults go to a file: no address, no key, nothing that was said or seen."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    for name in ("nunbit.app", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.WARNING)
