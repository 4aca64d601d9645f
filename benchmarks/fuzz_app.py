"""Requests of every kind against the running app, made from its own OpenAPI document.

python benchmarks/fuzz_app.py [--examples 50] [--seed 1] [--schemathesis PROGRAM]

Starts `nunbit app` on an empty data folder and lets schemathesis (extra ``fuzz``) ask every route
with values that fit its schema and values that do not. No answer may be a fault of the server
(5xx), nor of another shape than the document says; the app must still answer afterwards, and its
log must hold no fault. Exit code 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path


def main() -> int:
    """Ask; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schemathesis", default=shutil.which("schemathesis") or "schemathesis")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nunbit-fuzz-app-") as folder:
        words = ["app", "--port", "0", "--no-browser", "--json", "--data", f"{folder}/data"]
        with subprocess.Popen(
            [sys.executable, "-m", "nunbit", *words], stdout=subprocess.PIPE, text=True
        ) as app:
            assert app.stdout is not None
            told = json.loads(app.stdout.readline())
            try:
                url = told["url"].rstrip("/")
                code = ask(url, told["key"], options)
                with urllib.request.urlopen(f"{url}/api/health", timeout=60) as answer:
                    alive = json.load(answer) == {"status": "ok"}
            finally:
                app.terminate()
        log = Path(folder) / "data" / "app.log"
        said = log.read_text() if log.is_file() else ""
    print(
        f"schemathesis ended with {code}; the app answers: {alive}; its log: {len(said)} characters"
    )
    if said:
        print(said[-3000:])
    return 1 if code or not alive or "Traceback" in said else 0


def ask(url: str, key: str, options: argparse.Namespace) -> int:
    """All routes but the one that ends the app.

    Each request has a connection of its own: between two the program may think for as long as the
    app keeps an idle one open, and would then send into a connection that is just being closed.
    """
    checks = "not_a_server_error,response_schema_conformance,content_type_conformance"
    return subprocess.run(
        [options.schemathesis, "run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {key}",
         "-H", "Connection: close", "--checks", checks,
         "--max-examples", str(options.examples), "--seed", str(options.seed),
         "--exclude-path", "/api/program/end", "--request-timeout", "60", "--no-color"],
        check=False,
    ).returncode  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
