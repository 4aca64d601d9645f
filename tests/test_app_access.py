"""Who may ask the app: keys, Host, Origin, WebSocket hijack, DNS rebinding, headers, limits."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx")

from command import run_command
from make_app import RunningApp, consent, new_session, running_app
from nunbit.app.house import _value_problem

pytestmark = pytest.mark.seconds
websockets = pytest.importorskip("websockets")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with running_app(tmp_path_factory.mktemp("app")) as running:
        yield running


def test_the_page_needs_no_key_and_has_the_helpline(app: RunningApp) -> None:
    answer = httpx.get(app.told["url"], trust_env=False, timeout=60)
    assert answer.status_code == 200
    assert "비언어 신호 요약이며 진단이 아닙니다" in answer.text
    assert "109" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "unsafe" not in policy
    for name, value in {"x-content-type-options": "nosniff", "x-frame-options": "DENY",
                        "referrer-policy": "no-referrer"}.items():  # fmt: skip
        assert answer.headers[name] == value
    for asset in ("page/main.js", "page/style.css", "page/icon.svg"):
        assert httpx.get(app.told["url"] + asset, trust_env=False, timeout=60).status_code == 200


@pytest.mark.slow
def test_the_address_that_is_printed_opens(tmp_path: Path) -> None:
    bind = "::1"
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((bind, 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running_app(tmp_path, "--bind", bind) as app:
        assert bind in app.told["url"]  # where `running_app` has asked it already
        with app.client() as client:
            assert client.get("/api/health").json() == {"status": "ok"}


def test_the_address_that_is_printed_holds_the_key(app: RunningApp) -> None:
    assert app.told["opens"].endswith(f"#key={app.key}")
    path = app.folder / "key"
    assert path.read_text(encoding="utf-8").strip() == app.key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.slow
def test_everything_else_needs_the_key(app: RunningApp) -> None:
    with app.client() as client:
        schema = client.get("/openapi.json").json()
    tried = 0
    for path, methods in schema["paths"].items():
        for method in methods:
            if path == "/api/health":
                continue
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": app.key},
                            {"Cookie": f"key={app.key}"}):  # fmt: skip
                answer = httpx.request(
                    method, app.told["url"].rstrip("/") + path.replace("{", "").replace("}", ""),
                    headers=headers, trust_env=False, timeout=60,
                )  # fmt: skip
                assert answer.status_code == 401, (method, path, headers)
                error = answer.json()["error"]
                assert error["ko"]
                assert error["en"]
                tried += 1
    assert tried > 60


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "192.168.0.7", "", "[::2]"]
)
def test_a_name_that_was_pointed_here_is_refused(app: RunningApp, host: str) -> None:
    with app.client(Host=f"{host}:{app.told['port']}" if host else "") as client:
        for path in ("/", "/api/about", "/api/health"):
            answer = client.get(path)
            assert answer.status_code in (400, 421), path
            assert "labels" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_its_own_names_are_answered(app: RunningApp, host: str) -> None:
    with app.client(Host=f"{host}:{app.told['port']}") as client:
        assert client.get("/api/about").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_another_page_cannot_ask_even_with_the_key(
    app: RunningApp, headers: dict[str, str]
) -> None:
    with app.client(**headers) as client:
        answer = client.post("/api/participants", json={"code": "csrf"})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "wrong_origin"
        assert client.get("/api/sessions").status_code == 403
    with app.client() as client:
        codes = [p["code"] for p in client.get("/api/participants").json()["participants"]]
    assert "csrf" not in codes


def test_its_own_page_may_ask(app: RunningApp) -> None:
    origin = app.told["url"].rstrip("/")
    with app.client(Origin=origin, **{"Sec-Fetch-Site": "same-origin"}) as client:
        assert client.get("/api/sessions").status_code == 200


def test_a_form_of_another_page_is_no_json(app: RunningApp) -> None:
    with app.client() as client:
        answer = client.post("/api/participants", content=b'{"code": "plain"}',
                             headers={"Content-Type": "text/plain"})  # fmt: skip
    assert answer.status_code == 422


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_websocket_of_another_page_is_refused(app: RunningApp, origin: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused, app.socket(origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_a_websocket_by_another_name_is_refused(app: RunningApp) -> None:
    asked = {"Host": f"evil.example:{app.told['port']}", "Connection": "Upgrade",
             "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
             "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    with app.client(**asked) as client:
        assert client.get("/api/live").status_code == 403


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"key": "wrong"}, "wrong_key"),
        ({"key": ""}, "no_key"),
        ({"key": None}, "bad_hello"),
        ({"sample_rate": 44_100}, "bad_hello"),
        ({"resume": "try-1"}, "cannot_resume"),
        ({"session": "../../etc"}, "no_session"),
        ({"session": "20260101-000000-00000000"}, "no_session"),
    ],
    ids=str,
)
def test_a_websocket_without_the_key_is_closed_with_words(
    app: RunningApp, hello: dict[str, str], code: str
) -> None:
    with app.socket(hello=hello) as live:
        said = json.loads(live.recv(timeout=20))
        assert (said["type"], said["code"], said["fatal"]) == ("problem", code, True)
        assert said["ko"]
        with pytest.raises(websockets.ConnectionClosed):
            live.recv(timeout=20)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"type": "stop"}', "[" * 100_000])
def test_no_hello_is_no_session(app: RunningApp, text: str) -> None:
    with app.socket() as live:
        live.send(text)
        assert json.loads(live.recv(timeout=20))["code"] == "bad_hello"


def test_no_session_is_readable_without_its_key(app: RunningApp) -> None:
    with app.client() as client:
        mine, other = new_session(client), new_session(client)
        paths = ["", "/tables/notes", "/exports/zip", "/report", "/media"]
        for path in paths:
            answer = client.get(f"/api/sessions/{mine['id']}{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "session_key")
            wrong = {"X-Session-Key": other["key"]}
            assert client.get(f"/api/sessions/{mine['id']}{path}", headers=wrong).status_code == 403
        right = {"X-Session-Key": mine["key"]}
        assert client.get(f"/api/sessions/{mine['id']}", headers=right).status_code == 200
    alone = {"Authorization": f"Bearer {mine['key']}"}
    with httpx.Client(
        base_url=app.told["url"], headers=alone, trust_env=False, timeout=60
    ) as client:
        assert client.get(f"/api/sessions/{mine['id']}").status_code == 200
        for path in (f"/api/sessions/{other['id']}", "/api/sessions", "/api/jobs", "/api/about",
                     "/api/participants"):  # fmt: skip
            assert client.get(path).status_code == 401, path
        assert client.request("DELETE", f"/api/sessions/{mine['id']}",
                              json={"confirm": mine["id"]}).status_code == 401  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "/page/../../../../etc/passwd",
        "/page/%2e%2e/%2e%2e/texts.toml",
        "/page/..%2f..%2ftexts.toml",
        "/page//etc/passwd",
        "/page/%00",
        "/api/sessions/..%2F..%2Fkey",
        "/api/sessions/%2e%2e",
        "/api/jobs/..%2f..%2fkey",
        "/open/..%2fkey",
    ],
)
def test_no_path_of_a_client_reaches_the_file_system(app: RunningApp, path: str) -> None:
    with socket.create_connection(("127.0.0.1", app.told["port"]), timeout=10) as line:
        line.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {app.key}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        said = b"".join(iter(lambda: line.recv(65_536), b""))
    assert said.split()[1] in (b"403", b"404", b"405", b"410"), said[:300]
    assert app.key.encode() not in said
    assert b"root:" not in said


def test_table_names_are_looked_up_and_not_opened(app: RunningApp) -> None:
    with app.client() as client:
        mine = new_session(client)
        headers = {"X-Session-Key": mine["key"]}
        for name in (".key", "..%2f..%2fkey", "consent.json", "%2Fetc%2Fpasswd"):
            answer = client.get(f"/api/sessions/{mine['id']}/tables/{name}", headers=headers)
            assert answer.status_code in (404, 405), name
            answer = client.get(f"/api/sessions/{mine['id']}/exports/{name}", headers=headers)
            assert answer.status_code in (404, 405), name


def test_tickets_open_once_and_only_what_they_are_for(app: RunningApp) -> None:
    with app.client() as client:
        mine = new_session(client)
        headers = {"X-Session-Key": mine["key"]}
        place = f"/api/sessions/{mine['id']}"
        client.post(f"{place}/notes", json={"t": 1.5, "text": "=1+1"}, headers=headers)
        made = client.post(f"{place}/ticket", json={"what": "table:notes"}, headers=headers)
        assert made.status_code == 201
        assert client.post(f"{place}/ticket", json={"what": "table:notes"}).status_code == 403
        assert client.post(f"{place}/ticket", json={"what": "key"},
                           headers=headers).status_code == 422  # fmt: skip
    opens = app.told["url"].rstrip("/") + made.json()["url"]
    first = httpx.get(opens, trust_env=False, timeout=60)
    assert first.status_code == 200
    assert "'=1+1" in first.text  # no formula of a spreadsheet
    assert httpx.get(opens, trust_env=False, timeout=60).status_code == 410


@pytest.mark.parametrize("size", [300_000, 2_000_000])
def test_a_request_that_is_too_long_is_refused(app: RunningApp, size: int) -> None:
    with app.client() as client:
        for content in (b"x" * size, iter([b"x" * size])):  # with and without a length
            answer = client.post("/api/participants", content=content,
                                 headers={"Content-Type": "application/json"})  # fmt: skip
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "too_long"


def test_packed_requests_are_not_unpacked(app: RunningApp) -> None:
    with app.client() as client:
        answer = client.post("/api/participants", content=b"\x1f\x8b", headers={
            "Content-Encoding": "gzip", "Content-Type": "application/json"})  # fmt: skip
    assert answer.status_code == 415


def test_errors_are_sentences_in_both_languages(app: RunningApp) -> None:
    with app.client() as client:
        answers = [
            client.get("/api/nothing"),
            client.put("/api/sessions"),
            client.post("/api/participants", json={"code": "P 1 홍길동!"}),
            client.post("/api/participants", json={"name": "x"}),
            client.post("/api/participants", content=b"{", headers={
                "Content-Type": "application/json"}),
            client.get("/api/jobs/none"),
            client.get("/api/sessions/none"),
        ]  # fmt: skip
    for answer in answers:
        assert 400 <= answer.status_code < 500
        error = answer.json()["error"]
        assert set(error) == {"code", "ko", "en"}
        assert len(error["en"]) > 10


@pytest.mark.parametrize(
    ("field", "value", "ko"),
    [
        ("retention_days", 0, "1 이상이어야 합니다"),
        ("retention_days", 10**9, "이하여야 합니다"),
        ("retention_days", 1.5, "정수여야 합니다"),
        ("purpose_text", "x" * 3000, "2000글자를 넘을 수 없습니다"),
        ("participant", "", "1글자 이상이어야 합니다"),
        ("participant", 7, "글자로 적어야 합니다"),
        ("date", "yesterday", "2026-01-31처럼 적은 날짜여야 합니다"),
        ("minor", None, "참이나 거짓이어야 합니다"),
        ("scope", 3, "이름이 붙은 값의 묶음이어야 합니다"),
        ("purpose", "anything", "다음 가운데 하나여야 합니다"),
        ("nonsense", 1, "없는 항목입니다"),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_said_in_korean(
    app: RunningApp, field: str, value: object, ko: str
) -> None:
    with app.client() as client:
        answer = client.post("/api/consents", json=consent("P-1") | {field: value})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "invalid")
    assert error["ko"].startswith(f"{field}: ")
    told = re.sub(r"'[a-z_]+'", "", error["ko"].removeprefix(field))  # values that may be sent
    assert ko in told
    assert not re.search("[A-Za-z]", told)
    assert not re.search("[가-힣]", error["en"])


def test_what_lacks_or_is_not_known_is_said_in_korean(app: RunningApp) -> None:
    json_type = {"Content-Type": "application/json"}
    with app.client() as client:
        lacks = client.post("/api/participants", json={}).json()["error"]["ko"]
        broken = client.post("/api/participants", content=b"{", headers=json_type)
    assert lacks == "code: 꼭 필요한데 빠졌습니다"
    assert broken.json()["error"]["ko"] == "보낸 내용: 형식이 잘못되어 읽을 수 없습니다"
    other = _value_problem({"type": "uuid_version", "msg": "x", "loc": ()})
    assert (other.en, other.ko) == ("the value does not fit here", "여기에 맞지 않는 값입니다")


def test_what_a_session_has_not_is_said_in_korean(app: RunningApp) -> None:
    with app.client() as client:
        mine = new_session(client)
        headers = {"X-Session-Key": mine["key"]}
        for path in ("report", "media", "plain", "tables/1", "exports/1", "frames/1"):
            answer = client.get(f"/api/sessions/{mine['id']}/{path}", headers=headers)
            assert answer.status_code == 404, path
            assert not re.search("[A-Za-z]", answer.json()["error"]["ko"]), path


def test_another_address_needs_a_token_and_says_what_it_means(tmp_path: Path) -> None:
    refused = run_command("app", "--bind", "0.0.0.0", "--data", tmp_path, "--no-browser")
    assert refused.returncode == 1
    assert "--token" in refused.stderr
    assert "not encrypted" in refused.stderr
    assert "camera" in refused.stderr
    short = run_command("app", "--bind", "0.0.0.0", "--token", "short", "--data", tmp_path)
    assert short.returncode == 1
    assert not (tmp_path / "key").exists()


@pytest.mark.slow
def test_with_a_token_others_are_answered_by_address_and_not_by_name(tmp_path: Path) -> None:
    token = "a-long-enough-token-of-words"
    with running_app(tmp_path, "--bind", "0.0.0.0", "--token", token) as app:
        port = app.told["port"]
        assert app.told["url"] == f"http://127.0.0.1:{port}/"
        given = {"Authorization": f"Bearer {token}"}
        base = f"http://127.0.0.1:{port}"
        for host, status in (("192.168.1.20", 200), ("evil.example", 421), ("127.0.0.1", 200)):
            headers = given | {"Host": f"{host}:{port}"}
            assert httpx.get(f"{base}/api/about", headers=headers,
                             trust_env=False, timeout=60).status_code == status  # fmt: skip
        assert httpx.get(f"{base}/api/about", trust_env=False, timeout=60).status_code == 401
        assert not (tmp_path / "key").exists()


def test_serve_is_another_name_of_app() -> None:
    told = run_command("serve", "--help")
    assert told.returncode == 0
    assert "--no-browser" in told.stdout


def test_a_second_app_on_the_same_data_is_refused(app: RunningApp) -> None:
    refused = run_command("app", "--port", "0", "--no-browser", "--data", app.folder)
    assert refused.returncode == 1
    assert "another nunbit app" in refused.stderr
    taken = run_command("app", "--port", app.told["port"], "--data", app.folder / "other")
    assert taken.returncode == 1
    assert "--port" in taken.stderr


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = run_command("app", "--port", "0", "--no-browser", "--data", tmp_path / "file")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1


def test_only_its_owner_may_look_into_the_data_folder(app: RunningApp) -> None:
    assert stat.S_IMODE(app.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((app.folder / "nunbit.sqlite").stat().st_mode) == 0o600
    assert os.access(app.folder, os.R_OK)
