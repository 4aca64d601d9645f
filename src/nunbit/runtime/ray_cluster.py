"""Join a Ray cluster, or start one on this machine, and compare its machines with this one.

Versions, nunbit's own code and the paths that are needed are compared before anything else. The
function that compares travels by value, since a machine without this nunbit has to answer too;
every worker process compares again, so that machines which join later are not missed.
"""

from __future__ import annotations

import importlib
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, MissingExtra, Text
from nunbit.runtime.files import writing
from nunbit.runtime.resources import nunbit_version, package_versions
from nunbit.runtime.workers import available_cores

_CONNECT_S = 5.0  # to the port of the address
_ANSWER_S = 60.0  # a first contact with a cluster takes three to ten seconds on a busy machine
_STARTS = 3  # Ray gives itself thirty seconds to start, too few on a busy machine
_STORE_BYTES = 100_000_000  # Ray's store of objects; a part is some hundred kilobytes
_NO_RESULT = ("torch", "transformers")  # packages that no part uses


def portable() -> tuple[Callable[..., Any], Callable[..., Any], Callable[[str], str]]:
    """Functions that travel by value and import nothing of nunbit before they have compared.

    Returns:
        ``compare(expected)``: None, or a problem (machine, code, what is there, what is here);
        ``work(expected, payload, board, number)``: a part; ``digest(folder)`` of a package's files.
    """

    def digest(folder: str) -> str:
        import hashlib
        import os

        found = []
        for place, _, names in os.walk(folder):
            for name in names:
                if name.endswith((".py", ".toml")):
                    path = os.path.join(place, name)  # noqa: PTH118
                    with open(path, "rb") as stream:
                        body = hashlib.sha256(stream.read()).hexdigest()
                    found.append((os.path.relpath(path, folder).replace(os.sep, "/"), body))
        return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()

    def compare(expected: Any) -> tuple[str, str, str, str] | None:
        import importlib.metadata
        import importlib.util
        import os
        import platform
        import socket

        host = socket.gethostname()
        python = platform.python_version().rsplit(".", 1)[0]
        if python != expected["python"]:
            return host, "python", python, expected["python"]
        for name, here in expected["packages"].items():
            try:
                there = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                there = ""
            if there != here:
                return host, "package", f"{name} {there or '–'}", f"{name} {here}"
        spec = importlib.util.find_spec("nunbit")
        folder = os.path.dirname(spec.origin) if spec and spec.origin else ""  # noqa: PTH120
        if digest(folder) != expected["code"]:
            return host, "code", folder, ""
        for path in expected["paths"]:
            if not os.path.exists(path):  # noqa: PTH110
                return host, "path", path, ""
        if expected["mark"] and not os.path.exists(expected["mark"]):  # noqa: PTH110
            return host, "shared", os.path.dirname(expected["mark"]), ""  # noqa: PTH120
        return None

    def work(expected: Any, payload: bytes, board: Any, number: int) -> Any:
        import importlib
        import os

        if os.environ.get("_NUNBIT_COMPARED") != expected["token"]:
            # The mark of the start is gone by now; a folder that is missing still shows.
            if (problem := compare({**expected, "mark": ""})) is not None:
                return problem
            os.environ["_NUNBIT_COMPARED"] = expected["token"]
        return importlib.import_module("nunbit.runtime.ray_engine").do_part(payload, board, number)

    return compare, work, digest


@contextmanager
def joined_cluster(
    address: str, most: int, parts: int, *, reads: Sequence[Path], out: Path | None
) -> Iterator[tuple[Any, int, dict[str, Any]]]:
    """Join a cluster, or start one here; leave it, or end it, afterwards.

    A cluster that this process has joined already, in a notebook, is used and not left.

    Args:
        address: ``HOST:PORT``, or '' for ``RAY_ADDRESS`` or one of this machine; ``auto`` and
            ``local`` mean what they mean to Ray.
        most: Most parts at once; 0 = as many as the cluster has CPUs.
        parts: How many there are.
        reads: Absolute paths that every machine needs.
        out: Absolute path of the folder that all write to.

    Returns:
        The module ``ray``, how many parts can be done at once, and what every worker must have.

    Raises:
        MissingExtra: Ray is not installed.
        InputError: See :func:`nunbit.runtime.engines.open_engine`.
    """
    # Ray reports its use over the network unless told otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    given = address or os.environ.get("RAY_ADDRESS", "")
    given = "" if given == "local" else given
    _take_token(new_cluster=not given)
    try:
        ray = importlib.import_module("ray")
    except ImportError as exc:
        raise MissingExtra("ray", "cluster") from exc
    joined_before = bool(ray.is_initialized())
    folder = None if given or joined_before else tempfile.mkdtemp(prefix="nunbit-ray-")
    before = signal.getsignal(signal.SIGTERM)
    try:
        if joined_before:
            pass
        elif given:
            if given != "auto":  # Ray looks on this machine, and answers at once
                _require_answer(given)
            _join(ray, {"address": given})
        else:
            os.environ.setdefault("RAY_worker_niceness", "0")  # as the local engine's; Ray: 15
            cpus = min(most or available_cores(), parts)
            local = {"num_cpus": cpus, "include_dashboard": False, "_temp_dir": folder}
            _join(ray, {"address": "local", "object_store_memory": _STORE_BYTES, **local})
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, before)  # Ray has put its own there
        expected = _expectation(reads)
        # Ray tells of dead workers on stdout, which is for results.
        with redirect_stdout(sys.stderr):
            _compare_all(ray, expected, out)
            cpus = int(ray.cluster_resources().get("CPU", 0))
            yield ray, min(most or cpus, cpus, parts), expected
    finally:
        if not joined_before:
            ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _take_token(*, new_cluster: bool) -> None:
    """Let only holders of a token in, or show the one that this user has.

    A worker of Ray runs whatever it is sent. ``ray start`` takes the user's token where there is
    one, joining by an address does not; a cluster without tokens does not look at it.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    places = (Path.home() / ".ray/auth_token", Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "/-"))
    has_one = "RAY_AUTH_TOKEN" in os.environ or any(place.is_file() for place in places)
    if new_cluster and not has_one:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # Ray would write one to the home
    if new_cluster or has_one:
        os.environ["RAY_AUTH_MODE"] = "token"


def _join(ray: Any, how: dict[str, Any]) -> None:
    left = _STARTS if how["address"] == "local" else 1
    while left:
        left -= 1
        try:
            ray.init(log_to_driver=False, logging_level="error", **how)
            return
        except Exception as exc:  # of many kinds, from gRPC to the version check
            ray.shutdown()
            if not (left and "timed out during startup" in str(exc)):
                raise _no_cluster(str(how["address"]), str(exc)) from exc


def _require_answer(address: str) -> None:
    """See in bounded time that a cluster answers, in a process that can be ended.

    Raises:
        InputError: It does not, or it is of another version.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise InputError(
            Text(
                f"`address={address}`: expected HOST:PORT of the cluster's head, for example "
                "10.0.0.5:6379; run nunbit on a machine of the cluster",
                f"`address={address}`: 클러스터 헤드의 HOST:PORT를 적으십시오(예: "
                "10.0.0.5:6379). nunbit은 클러스터에 속한 기계에서 실행하십시오",
            )
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as exc:
        raise _no_cluster(address, f"{exc}") from exc
    code = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); ray.shutdown()"
    try:
        asked = subprocess.run(
            [sys.executable, "-c", code, address],
            capture_output=True, text=True, errors="replace", timeout=_ANSWER_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise _no_cluster(address, f"no answer of a Ray cluster in {_ANSWER_S:g} s") from exc
    if asked.returncode:
        lines = [line for line in asked.stderr.splitlines() if line.strip()]
        told = [line for line in lines if "mismatch" in line.lower()] or lines[-1:]
        raise _no_cluster(address, told[0] if told else f"code {asked.returncode}")


def _no_cluster(address: str, why: str) -> InputError:
    line = " ".join(why.split())[:300]
    if address == "local":
        return InputError(
            Text(
                f"Ray could not be started on this machine: {line}; run the same line again, or "
                "without `engine=ray`; nothing is lost",
                f"이 기계에서 Ray를 시작하지 못했습니다: {line}. 같은 명령을 다시 실행하거나 "
                "`engine=ray`를 빼십시오. 잃은 것은 없습니다",
            )
        )
    return InputError(
        Text(
            f"the Ray cluster at {address} cannot be used: {line}; start it (`ray start --head`) "
            "or correct `address`; nothing was done and nothing is lost",
            f"{address}의 Ray 클러스터를 쓸 수 없습니다: {line}. 클러스터를 "
            "시작하거나(`ray start --head`) `address`를 고치십시오. 잃은 것은 없습니다",
        )
    )


def _expectation(reads: Sequence[Path]) -> dict[str, Any]:
    """What every machine must have, as plain data that needs no nunbit to be read."""
    versions = {k: v for k, v in package_versions().items() if k not in _NO_RESULT}
    return {
        "token": secrets.token_hex(8),  # of this run
        "python": platform.python_version().rsplit(".", 1)[0],
        "packages": {"nunbit": nunbit_version()} | versions,
        "code": portable()[2](str(Path(__file__).parents[1])),
        "paths": [str(path) for path in reads],
        "mark": "",  # a file that shows that the folder of results is the same everywhere
    }


def _compare_all(ray: Any, expected: dict[str, Any], out: Path | None) -> None:
    """Compare every machine with this one.

    Raises:
        InputError: One differs, lacks a path, or does not answer; it is named.
    """
    compare = portable()[0]
    nodes = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) > 0]
    if not nodes:
        raise _no_cluster("local", "no machine with a CPU")
    pinned = importlib.import_module(
        "ray.util.scheduling_strategies"
    ).NodeAffinitySchedulingStrategy
    mark = None if out is None else out / f".shared-{expected['token']}"
    try:
        if mark is not None:
            with writing(mark):
                mark.touch()
        told = expected | {"mark": "" if mark is None else str(mark)}
        answers = {
            ray.remote(compare)
            .options(num_cpus=0, max_retries=1, scheduling_strategy=pinned(n["NodeID"], soft=False))
            .remote(told): str(n["NodeManagerHostname"])
            for n in nodes
        }
        done, silent = ray.wait(list(answers), num_returns=len(answers), timeout=_ANSWER_S)
        if silent:
            names = ", ".join(sorted(answers[ref] for ref in silent))
            raise _no_cluster(names, f"no answer in {_ANSWER_S:g} s")
        for ref in done:
            try:
                problem = ray.get(ref)
            except ray.exceptions.RayError as exc:
                raise _no_cluster(answers[ref], str(exc).splitlines()[0]) from exc
            if problem is not None:
                raise problem_error(problem)
    finally:
        if mark is not None:
            mark.unlink(missing_ok=True)


def problem_error(problem: tuple[str, str, str, str]) -> InputError:
    """The line about a machine that cannot take part: (machine, code, what is there, here)."""
    host, code, there, here = problem
    text = {
        "python": Text(
            f"Python {there}, here it is {here}; install the same on every machine",
            f"Python {there}. 여기는 {here}입니다. 모든 기계에 같은 버전을 설치하십시오",
        ),
        "package": Text(
            f"{there}, here it is {here}; install the same on every machine",
            f"{there}. 여기는 {here}입니다. 모든 기계에 같은 버전을 설치하십시오",
        ),
        "code": Text(
            f"{there} is not the nunbit that runs here, though the version is the same; install "
            "the same on every machine",
            f"{there}은(는) 버전은 같지만 여기서 실행하는 nunbit과 다릅니다. 모든 기계에 같은 "
            "것을 설치하십시오",
        ),
        "path": Text(
            f"{there} is missing; mount it under the same name on every machine",
            f"{there}이(가) 없습니다. 모든 기계에서 같은 이름으로 연결하십시오",
        ),
        "shared": Text(
            f"{there} is another folder there; `out` must be on storage that all machines share",
            f"{there}이(가) 그곳에서는 다른 폴더입니다. `out`은 모든 기계가 함께 쓰는 저장소에 "
            "있어야 합니다",
        ),
    }[code]
    return InputError(Text(f"machine {host}: {text.en}", f"기계 {host}: {text.ko}"))
