"""The parts of a running app, joined: database, sessions, queue, model, routes and page.

One house stands on one data folder. Texts of errors are the only words here; what is measured, and
how, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import shutil
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from nunbit.app import (
    AppSettings,
    choosing,
    comparing,
    exporting,
    face_sets,
    looking,
    plain_result,
    shortcut,
)
from nunbit.app.access import Guard, Refusal, Tickets, error_document, is_loopback
from nunbit.app.children import CHILD, FINISH
from nunbit.app.choosing import end_of_analysis
from nunbit.app.face_work import (
    FACE_JOBS,
    erase_old_sets,
    face_command,
    face_job_ended,
    model_folder,
)
from nunbit.app.jobs import LENGTH_FILE, JobQueue, bundle_option, choice_options
from nunbit.app.live_socket import LiveDesk
from nunbit.app.plain_result import open_ticket
from nunbit.app.routes import Desk, router
from nunbit.app.sessions import EXPORTS, Sessions
from nunbit.app.store import MOST_RETENTION_DAYS, Row, Store
from nunbit.core.messages import NunbitError, Text
from nunbit.runtime.resources import packaged_path, packaged_table

if TYPE_CHECKING:
    from nunbit.live import LiveSettings

_PACKAGES = ("api", "live", "measures", "recording.media", "recording.transcript", "report",
             "statistics", "stories.analyze", "stories.check", "stories.evaluate")  # fmt: skip
_DAY_S, _LOOK_S = 86_400.0, 3_600.0
_BODY = Text("what was sent", "보낸 내용")
_LIMITS = ("gt", "ge", "lt", "le", "min_length", "max_length", "expected")
_KINDS = {"unexpected_keyword_argument": "extra", "enum": "literal", "finite_number": "float",
          "literal_error": "literal", "string_pattern_mismatch": "pattern",
          "tuple_type": "list", "set_type": "list", "model_type": "object", "dict_type": "object",
          "model_attributes_type": "object", "dataclass_type": "object"}  # fmt: skip
"""Kinds of pydantic's errors whose first word names no text of ours."""


def create_app(
    settings: AppSettings,
    folder: Path,
    key: str,
    *,
    bundle: Path | None = None,
    ready: Callable[[], None] = lambda: None,
    end: Callable[[], None] = lambda: None,
) -> Any:
    """The app as an ASGI application, guarded.

    Args:
        settings: How.
        folder: The data folder.
        key: What opens it.
        bundle: Bundle folder; None takes the shipped one.
        ready: Called when it has started.
        end: Ends the app; called when somebody asks for it on the page.

    Raises:
        InputError: The data folder cannot be used.
    """
    house = _House(settings, folder, key, bundle)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        house.start()
        daily = asyncio.create_task(house.every_day())
        asyncio.get_running_loop().call_later(0.05, ready)  # the first request is then answered
        try:
            yield
        finally:
            daily.cancel()
            await house.close()

    app = FastAPI(
        title="nunbit", version=metadata.version("nunbit"), lifespan=lifespan,
        docs_url=None, redoc_url=None,  # they load scripts from elsewhere
        description="The local interface of nunbit. Apparent expression; not a diagnosis.",
        redirect_slashes=False,
    )  # fmt: skip
    house.desk.end = end
    app.state.desk = house.desk
    for each in (
        router,
        choosing.router,
        plain_result.router,
        comparing.router,
        exporting.router,
        looking.router,
        face_sets.router,
        shortcut.routes(),
    ):
        app.include_router(each)
    _add_page(app, house)
    _add_answers(app, folder / "app.log")
    _describe_key(app)
    return Guard(app, key, settings.bind, tuple(name.lower() for name in settings.names))


def load_packages() -> None:
    """Import the packages that the threads of the app use, before there are threads.

    Their ``__init__`` imports their own modules. Of two threads that begin such a package at two
    ends, Python gives one a module that is half there, and it fails with an ``ImportError``.
    """
    for name in _PACKAGES:
        importlib.import_module(f"nunbit.{name}")


class _House:
    """All parts of one app, on one data folder."""

    def __init__(self, settings: AppSettings, folder: Path, key: str, bundle: Path | None) -> None:
        self.settings, self.folder, self.base = settings, folder, bundle
        self._model: Any = None
        self._loading, self._asking = threading.Lock(), threading.Lock()
        self.store = Store(folder / "nunbit.sqlite")
        self.sessions = Sessions(self.store, folder / "sessions")
        self.sessions.folder.mkdir(exist_ok=True)
        self.jobs = JobQueue(self.store, folder / "jobs", self._command, self._job_ended,
                             settings.jobs_at_once)  # fmt: skip
        self.sessions.stop_jobs.append(self.jobs.cancel_session)
        limits = {"media": settings.media_mb, "image": settings.image_mb,
                  "transcript": settings.transcript_mb}  # fmt: skip
        self.desk = Desk(self.sessions, self.jobs, Tickets(), folder, self._about, self._predict,
                         limits, settings.keep_free_mb, bundle,
                         here=is_loopback(settings.bind) and not settings.token,
                         model_changed=self._forget_model)  # fmt: skip
        self.live = LiveDesk(self.sessions, lambda: self.model().bundle, self._live_settings, key,
                             self._session_ended, settings.keep_free_mb)  # fmt: skip

    @property
    def bundle(self) -> Path | None:
        """Folder of the model of later analyses; None takes the shipped one."""
        return model_folder(self.folder, self.base)

    def _forget_model(self) -> None:
        with self._loading:
            self._model = None

    def start(self) -> None:
        """Take up what an earlier app left, and load the model beside the first requests."""
        load_packages()
        shutil.rmtree(self.folder / "incoming", ignore_errors=True)
        (self.folder / "incoming").mkdir()
        for row in self.sessions.end_cut_off():
            if row["origin"] == "live":
                self._session_ended(row, False)
        self.sessions.end_retention()
        erase_old_sets(self.folder)
        self.jobs.start()
        threading.Thread(target=self._warm, name="model", daemon=True).start()

    async def close(self) -> None:
        """End what runs; what is unfinished goes on at the next start."""
        await self.live.close()
        await asyncio.to_thread(self.jobs.close)
        self.store.close()

    async def every_day(self) -> None:
        """Delete daily what may not be kept longer; what could not be is tried an hour later.

        Days are counted by the clock on the wall: the loop's own stands still while a laptop
        sleeps.
        """
        done_s = time.time()
        while True:
            await asyncio.sleep(_LOOK_S)
            if abs(time.time() - done_s) < _DAY_S:
                continue
            began_s, whole = time.time(), True
            for work in (self.sessions.end_retention, lambda: erase_old_sets(self.folder)):
                try:
                    await asyncio.to_thread(work)
                except Exception:
                    whole = False
                    logging.getLogger("nunbit.app").exception("too old, and could not be deleted")
            done_s = began_s if whole else done_s

    def model(self) -> Any:
        """The model, loaded once.

        Raises:
            BundleError: It is missing or damaged.
        """
        from nunbit.api.loaded import load

        with self._loading:
            if self._model is None:
                self._model = load(self.bundle, threads=self.settings.threads)
            return self._model

    def _live_settings(self) -> LiveSettings:
        from nunbit.live import LiveSettings

        given = self.settings
        return LiveSettings(
            rate_hz=given.rate_hz, window_s=given.window_s, hop_s=given.hop_s, asr=given.asr,
            asr_model=given.asr_model, language=given.language, threads=given.threads,
        )  # fmt: skip

    def _warm(self) -> None:
        try:
            self._live_settings()
            self.model()
            for name in ("nunbit.report.timeline_page", "pyarrow.dataset"):
                importlib.import_module(name)
        except Exception as exc:  # said again, in words, to whoever asks for it
            logging.getLogger("nunbit.app").warning("the model cannot be loaded: %s", exc)

    def _about(self) -> dict[str, Any]:
        from nunbit.report.timeline_meaning import class_colours
        from nunbit.stories.analyze.outcome import NOT_A_DIAGNOSIS

        found = self.model().bundle
        colours = class_colours(found.label_set)
        unvalidated = set(getattr(found.document, "unvalidated_labels", None) or ())
        return {
            "version": metadata.version("nunbit"),
            "bundle": found.document.name,
            "labels": [
                {"id": label.id, **label.name.to_dict(), "colour": list(colours[label.id]),
                 "unvalidated": label.id in unvalidated}
                for label in found.label_set.labels
            ],
            "asr": self.settings.asr,
            "rate_hz": self.settings.rate_hz,
            "window_s": self.settings.window_s,
            "hop_s": self.settings.hop_s,
            "exports": ["zip", *EXPORTS],
            "most_retention_days": MOST_RETENTION_DAYS,
            "limits_mb": dict(self.desk.limits),
            "not_a_diagnosis": NOT_A_DIAGNOSIS.to_dict(),
            "helpline": "109",
        }  # fmt: skip

    def _predict(self, picture: Path) -> dict[str, Any]:
        with self._asking:
            result = self.model().predict(picture)
        found: dict[str, Any] = result.document["files"][0]
        return found | {"file": None}

    # -- jobs and sessions --

    def _command(self, row: Row) -> list[str]:
        """The command of a job, as arguments of Python."""
        if row["kind"] in FACE_JOBS:
            return face_command(self.folder, row, self.base)
        session = self.sessions.find(row["session"])
        place, options = self.sessions.place(session), json.loads(row["options"])
        if row["kind"] == "finish":
            return ["-c", FINISH, str(place)]
        media = options.get("media")
        beside = self.folder / "jobs" / row["id"] / LENGTH_FILE
        line = ["-c", CHILD, str(beside), str(place / media) if media else ""]
        model = self.desk.bundle_of(session) if row["kind"] == "baseline" else self.bundle
        line += ["analyze", "--json", "--out", str(self.sessions.folder),
                 "--lang", options.get("lang", "ko"), *bundle_option(model)]  # fmt: skip
        if row["kind"] == "baseline":
            asked = {"baseline_from": options["from"], "baseline_to": options["to"]}
            return [*line, *choice_options(session | asked), str(place)]
        if words := options.get("transcript"):
            line += ["--transcript", str(place / words)]
        if speakers := options.get("speakers"):
            line += ["--speakers", str(place / speakers)]
        return [*line, *choice_options(session), str(place / media)]

    def _job_ended(self, row: Row, state: str, document: dict[str, Any] | None) -> None:
        """Put into a session what its job has come to."""
        if row["kind"] in FACE_JOBS:
            face_job_ended(self.folder, row, state, document)
            return
        session = self.store.row("sessions", id=row["session"])
        if session is None or session["state"] == "deleted":
            return
        if row["kind"] == "baseline":
            options = json.loads(row["options"])
            new = {"state": "done"}
            if state == "done":
                new |= {"baseline_from": options["from"], "baseline_to": options["to"]}
            self.store.set("sessions", session["id"], **new)
            return
        if session["origin"] == "file":
            end_of_analysis(self.sessions, session, done=state == "done")
        ended = {"done": "done", "cancelled": "open" if session["origin"] == "file" else "failed"}
        whole = ended.get(state, "failed")
        self.store.set("sessions", session["id"], state=whole, problem=row["problem"],
                       duration_s=_duration(document) or session["duration_s"])  # fmt: skip
        if whole == "done":
            self._draw_pages(session["id"])

    def _draw_pages(self, session: str) -> None:
        """Make the pages of a result beforehand; who opens it sooner waits for them."""

        def draw() -> None:
            try:
                row = self.sessions.find(session)
                has_media = self.sessions.media(row) is not None
                plain_result.draw_pages(self.sessions.place(row), has_media=has_media)
            except Exception as exc:  # said again, in words, to whoever opens it
                logging.getLogger("nunbit.app").warning("the pages of a result failed: %s", exc)

        threading.Thread(target=draw, name="pages", daemon=True).start()

    def _session_ended(self, row: Row, whole: bool) -> str | None:
        """After a live session: nothing where its tables are there, else a job that makes them."""
        if whole and "summary.json" in self.sessions.files(row):
            self._draw_pages(row["id"])
            return None
        with self.store.folders, self.store.changing():
            self.sessions.find(row["id"])  # it may have been deleted meanwhile
            self.store.set("sessions", row["id"], state="analysing")
            return str(self.jobs.add("finish", row["id"], {})["id"])


def _duration(document: dict[str, Any] | None) -> float | None:
    sessions = (document or {}).get("sessions") or [document or {}]
    summary = sessions[0].get("summary") or sessions[0]
    found = (summary.get("media") or {}).get("duration_s")
    return float(found) if isinstance(found, int | float) else None


def _add_page(app: FastAPI, house: _House) -> None:
    """The page, its files, links for a moment, and the WebSocket."""
    page = packaged_path("app/page")
    fresh = {"cache-control": "no-cache"}

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return FileResponse(page / "index.html", media_type="text/html", headers=fresh)

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return FileResponse(page / "icon.svg", media_type="image/svg+xml", headers=fresh)

    @app.get("/api/health")
    def health() -> dict[Literal["status"], str]:
        """Whether the app answers."""
        return {"status": "ok"}

    @app.get("/open/{ticket}", include_in_schema=False)
    def ticket(ticket: str) -> Response:
        return open_ticket(ticket, house.desk)

    @app.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await house.live.serve(socket)

    app.mount("/page", StaticFiles(directory=page, follow_symlink=False))


def _value_problem(error: dict[str, Any]) -> Text:
    """What is wrong with a value, in words of ours: pydantic's are English only."""
    texts, kind = packaged_table("app/texts.toml"), error["type"]
    names = (f"invalid_{kind}", f"invalid_{_KINDS.get(kind, kind.split('_')[0])}", "invalid_any")
    told = texts[next(name for name in names if name in texts)]
    context = error.get("ctx") or {}
    limit = next((context[key] for key in _LIMITS if key in context), "")
    return Text(told["en"], told["ko"]).fill(limit=str(limit).replace(" or ", ", "))


def _add_answers(app: FastAPI, log: Path) -> None:
    """Every error as ``{"error": {"code", "ko", "en"}}``."""

    def told(problem: NunbitError) -> JSONResponse:
        if isinstance(problem, Refusal):
            return JSONResponse(problem.document(), problem.status)
        return JSONResponse(error_document("input", problem.text), 422)

    @app.exception_handler(NunbitError)
    async def ours(_: Request, exc: NunbitError) -> JSONResponse:
        return told(exc)

    @app.exception_handler(RequestValidationError)
    async def sent(_: Request, exc: RequestValidationError) -> JSONResponse:
        first = exc.errors()[0]
        inside = () if first["type"] == "json_invalid" else first["loc"][1:]
        where = ".".join(str(part) for part in inside) or _BODY
        return told(Refusal("invalid", where=where, problem=_value_problem(first)))

    @app.exception_handler(HTTPException)
    async def http(request: Request, exc: HTTPException) -> JSONResponse:
        if isinstance(exc.__cause__, NunbitError):  # raised while the body was read
            return told(exc.__cause__)
        if exc.status_code == 405:
            return told(Refusal("bad_method", method=request.method))
        if exc.status_code == 404:
            return told(Refusal("not_found"))
        text = Text(str(exc.detail), f"요청을 처리할 수 없습니다(HTTP {exc.status_code}).")
        return JSONResponse(error_document("http", text), exc.status_code)

    @app.exception_handler(Exception)
    async def fault(_: Request, exc: Exception) -> JSONResponse:
        logging.getLogger("nunbit.app").error("%s", "".join(traceback.format_exception(exc)))
        return told(Refusal("fault", kind=type(exc).__name__, log=log))


def _describe_key(app: FastAPI) -> None:
    """Say in the OpenAPI document that the key is needed, and where it is not."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = made()
            schema.setdefault("components", {})["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "header", "name": "X-Session-Key"},
            }
            for path, methods in schema["paths"].items():
                needs: dict[str, list[str]] = (
                    {"key": [], "session": []} if "{session}" in path else {"key": []}
                )
                for method in methods.values():
                    method["security"] = [] if path == "/api/health" else [needs]
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
