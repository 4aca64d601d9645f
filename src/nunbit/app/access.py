"""Who may ask: keys, Host and Origin, limits of what is sent, and headers of every answer.

One layer around the whole app, before any route is looked up. There are no cookies, so a page of
another site has nothing to ride on; a name that resolves to this machine (DNS rebinding) is
refused by its Host, another page's WebSocket by its Origin. Knows nothing of sessions.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from nunbit.core.messages import InputError, NunbitError, SettingsError, Text
from nunbit.runtime.files import write_error
from nunbit.runtime.resources import packaged_table

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

MOST_JSON_BYTES = 256_000
"""Of a request that is no upload: the longest note and a consent are a few thousand."""

_KEY_BYTES = 32
_SHORTEST_TOKEN = 16
_TICKET_S = 60.0
_PLAYER_S = 3600.0  # a player asks for one file in many ranges; counted from the last one

_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "media-src 'self' data: blob:; font-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-scripts allow-popups"
)
"""A report has its script inside; in a sandbox it is no page of this app and knows no key."""

_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=(), display-capture=()",
    "cache-control": "no-store",
}

_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_OPEN_PATHS = {"/", "/api/health", "/openapi.json", "/favicon.ico"}
_OPEN_FOLDERS = ("/page/", "/open/")
_UPLOADS = re.compile(
    r"/api/(?:analyses|predict|checks|evaluations|"
    r"sessions/[\w-]{1,40}/recording|face-sets/[\w-]{1,40}/pictures)"
)


class Refusal(NunbitError):  # noqa: N818  (it is an answer, not a fault)
    """A request that is answered with a plain sentence instead of what it asked for.

    Args:
        code: Stable id, a key of ``texts.toml``.
        gaps: What the text's gaps are filled with.
    """

    def __init__(self, code: str, **gaps: object) -> None:
        told = packaged_table("app/texts.toml")[code]
        super().__init__(Text(told["en"], told["ko"]).fill(**gaps))
        self.code = code
        self.status = int(told["status"])

    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        return error_document(self.code, self.text)


def error_document(code: str, text: Text) -> dict[str, Any]:
    """``{"error": {"code", "ko", "en"}}``, as every error is told."""
    return {"error": {"code": code, **text.to_dict()}}


# -- keys ------------------------------------------------------------------------------------------


def new_key() -> str:
    """A key that cannot be guessed: 256 random bits, in letters that an address can hold."""
    return secrets.token_urlsafe(_KEY_BYTES)


def key_hash(key: str) -> str:
    """What is stored of a session's key. It is random, so a plain digest is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_key(given: str, expected_hash: str) -> bool:
    """Whether this is the key, in a time that tells nothing."""
    return hmac.compare_digest(key_hash(given), expected_hash)


def write_secret(path: Path, secret: str) -> None:
    """Write a file that only this user may read.

    Raises:
        InputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as stream:
            path.chmod(0o600)  # also where it was there before
            stream.write(secret + "\n")
    except OSError as exc:
        raise write_error(path, exc) from exc


def app_key(folder: Path) -> str:
    """The app's key: of an earlier start, or a new one.

    Raises:
        InputError: The file cannot be read or written.
    """
    path = folder / "key"
    try:
        found = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(
            Text(f"{path}: cannot read the key: {exc}", f"{path}: 키를 읽을 수 없습니다: {exc}")
        ) from exc
    if len(found) < _SHORTEST_TOKEN:
        found = new_key()
        write_secret(path, found)
    return found


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine reaches the address."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


def require_token(address: str, token: str) -> None:
    """Refuse to be reached by other machines without a token.

    Raises:
        SettingsError: There is none, or it is short.
    """
    if token and len(token) < _SHORTEST_TOKEN:
        raise SettingsError(
            Text(
                f"`token` has {len(token)} characters: use {_SHORTEST_TOKEN} or more that nobody "
                "can guess",
                f"`token`이 {len(token)}자입니다. 아무도 짐작할 수 없는 {_SHORTEST_TOKEN}자 이상을 "
                "쓰십시오",
            )
        )
    if not is_loopback(address) and not token:
        raise SettingsError(
            Text(
                f"`bind={address}` lets other machines reach the recordings; give a `token` of "
                f"{_SHORTEST_TOKEN} or more characters as well. What is sent is not encrypted, and "
                "browsers give a page from another machine no camera without HTTPS",
                f"`bind={address}`이면 다른 컴퓨터에서 녹화에 접근할 수 있습니다. "
                f"{_SHORTEST_TOKEN}자 이상의 `token`도 주십시오. 전송은 암호화되지 않으며, HTTPS가 "
                "아니면 브라우저는 다른 컴퓨터의 페이지에 카메라를 허용하지 않습니다",
            )
        )


# -- tickets ---------------------------------------------------------------------------------------


@dataclass
class Tickets:
    """Addresses that a browser may open by itself for a moment, without a header.

    Attributes:
        issued: Ticket -> what it opens, until when, and whether it is used up at once.
    """

    issued: dict[str, tuple[Any, float, bool]] = field(default_factory=dict)

    def issue(self, what: Any, *, player: bool = False) -> str:
        """Make a ticket."""
        now = time.monotonic()
        self.issued = {t: held for t, held in self.issued.items() if held[1] > now}
        ticket = new_key()
        self.issued[ticket] = (what, now + (_PLAYER_S if player else _TICKET_S), not player)
        return ticket

    def use(self, ticket: str) -> Any:
        """What a ticket opens.

        Raises:
            Refusal: There is no such ticket, or its time is over.
        """
        what, until, once = self.issued.get(ticket, (None, 0.0, True))
        if once:
            self.issued.pop(ticket, None)
        now = time.monotonic()
        if until < now:
            raise Refusal("ticket_over")
        if not once:
            self.issued[ticket] = (what, now + _PLAYER_S, once)
        return what


# -- the layer around the app ----------------------------------------------------------------------


@dataclass(frozen=True)
class Guard:
    """Refuses what must not come in, and puts the headers on what goes out.

    Attributes:
        app: What is guarded.
        key: The app's key or token.
        bind: The address that is listened on.
        names: Further names under which the app may be called (a proxy's).
    """

    app: Asgi
    key: str
    bind: str = "127.0.0.1"
    names: tuple[str, ...] = ()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1"))
                   for name, value in scope["headers"]]  # fmt: skip
        try:
            self._check_source(scope, headers)
            if scope["type"] == "http":
                scope.setdefault("state", {})["keys"] = self._keys(scope, headers)
                receive = _bounded(scope, headers, receive)
        except Refusal as refusal:
            await _refuse(scope, receive, send, refusal)
            return
        await self.app(scope, receive, _with_headers(scope, send))

    def _check_source(self, scope: Message, headers: Iterable[tuple[str, str]]) -> None:
        """Host and Origin.

        Raises:
            Refusal: One of them is not ours.
        """
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            raise Refusal("wrong_host", host=", ".join(hosts)[:80] or "-")
        ticket = scope["type"] == "http" and scope["path"].startswith("/open/")
        # The player of a framed report, which has no origin, sends "null" with its ticket.
        framed = ("null",) if ticket and scope["method"] == "GET" else ()
        origins = [v for name, v in headers if name == "origin" and v not in framed]
        for origin in origins:
            scheme, _, place = origin.partition("://")
            if scheme not in ("http", "https") or place.lower() != hosts[0].lower():
                raise Refusal("wrong_origin", origin=origin[:80])
        site = next((value for name, value in headers if name == "sec-fetch-site"), "none")
        public = scope["type"] == "http" and _is_open(scope["path"])
        if site in ("cross-site", "same-site") and not (public and scope["method"] == "GET"):
            raise Refusal("wrong_origin", origin=site)

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this app: never a name that somebody else can point here."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.lower()
        if name in _LOCAL or name in self.names:
            return True
        if is_loopback(self.bind):
            return name.strip("[]") == self.bind.strip("[]")
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name in (self.bind.lower(), socket.gethostname().lower())
        return True  # an address and no name: rebinding needs a name

    def _keys(self, scope: Message, headers: Iterable[tuple[str, str]]) -> Keyring:
        """The keys of a request.

        Raises:
            Refusal: None where one is needed, or a wrong one without a session's beside it.
        """
        given = [value for name, value in headers if name == "authorization"]
        session = next((value for name, value in headers if name == "x-session-key"), "")
        scheme, _, bearer = (given[0] if len(given) == 1 else "").partition(" ")
        bearer = bearer.strip() if scheme.lower() == "bearer" else ""
        keys = Keyring(is_key(bearer, key_hash(self.key)), bearer, session)
        reading_one = scope["path"].startswith("/api/sessions/")
        if _is_open(scope["path"]) or keys.app or (reading_one and bearer):
            return keys
        raise Refusal("wrong_key" if given else "no_key")


@dataclass(frozen=True, slots=True)
class Keyring:
    """What a request came with.

    Attributes:
        app: Whether the app's key was among it.
        bearer: As it was given.
        session: Of the header ``X-Session-Key``.
    """

    app: bool
    bearer: str
    session: str

    def opens(self, expected_hash: str) -> bool:
        """Whether they open the session whose key has this hash."""
        if self.app:
            return is_key(self.session, expected_hash)
        return is_key(self.bearer, expected_hash)


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS)


def _is_upload(path: str) -> bool:
    return _UPLOADS.fullmatch(path) is not None


def _bounded(scope: Message, headers: Iterable[tuple[str, str]], receive: Receive) -> Receive:
    """Reading that ends where a request is longer than any that is no upload.

    Raises:
        Refusal: It says itself that it is, or it is packed.
    """
    given = dict(headers)
    if given.get("content-encoding", "identity") != "identity":
        raise Refusal("packed")
    if _is_upload(scope["path"]):
        return receive
    length = given.get("content-length", "0")
    if not length.isdigit() or int(length) > MOST_JSON_BYTES:
        raise Refusal("too_long", limit=f"{MOST_JSON_BYTES:,}")
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MOST_JSON_BYTES:
            raise Refusal("too_long", limit=f"{MOST_JSON_BYTES:,}")
        return message

    return counted


def _with_headers(scope: Message, send: Send) -> Send:
    if scope["type"] != "http":
        return send

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            if _is_upload(scope["path"]) and message["status"] >= 400:
                # Else what is left of the upload is still read, to the last gigabyte.
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            there = {name.lower() for name, _ in message.get("headers", ())}
            message["headers"] = [
                *message.get("headers", ()),
                *((name.encode(), value.encode()) for name, value in _HEADERS.items()
                  if name.encode() not in there),
            ]  # fmt: skip
        await send(message)

    return sent


async def _refuse(scope: Message, receive: Receive, send: Send, refusal: Refusal) -> None:
    """Answer before any route; a WebSocket is refused before it opens."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.code})
        return
    body = json.dumps(refusal.document(), ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    sent = _with_headers(scope, send)
    await sent({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await sent({"type": "http.response.body", "body": body})


# -- the first message of a WebSocket ------------------------------------------------------------

MOST_TEXT = 16_384
_HELLO_S = 10.0
_NO_HELLO = Text("no hello", "첫 메시지가 hello가 아님")
_RATE = Text("sample_rate {rate}, expected 16000", "sample_rate는 16000이어야 하는데 {rate}임")


class Hello(msgspec.Struct, forbid_unknown_fields=False):
    """The first message of a page."""

    key: str = ""
    session: str | None = None
    session_key: str | None = ""
    sample_rate: int = 16_000
    width: int = 640
    height: int = 480
    resume: str | None = None
    lang: str = "ko"


async def read_hello(socket: WebSocket) -> Hello:
    """The first message.

    Raises:
        Refusal: It does not come, or is no hello.
    """
    try:
        async with asyncio.timeout(_HELLO_S):
            text = await socket.receive_text()
        if len(text) > MOST_TEXT or json.loads(text).get("type") != "hello":
            raise Refusal("bad_hello", problem=_NO_HELLO)
        hello = msgspec.json.decode(text, type=Hello)
    except TimeoutError as exc:
        raise Refusal("bad_hello", problem=_NO_HELLO) from exc
    except (ValueError, AttributeError, KeyError, RecursionError) as exc:
        raise Refusal("bad_hello", problem=Text(str(exc)[:100], "형식이 잘못됨")) from exc
    if hello.sample_rate != 16_000:
        raise Refusal("bad_hello", problem=_RATE.fill(rate=hello.sample_rate))
    return hello
