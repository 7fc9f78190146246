"""Pages of a list of 100,000 entries over the native API: where they stand, filtered, in another order."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

from strongroom import assembly
from strongroom.model.entry import Draft, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.server import api
from strongroom.server.app import Api, make_app
from strongroom.server.logs import Journal
from strongroom.settings import load

TITLE = "Pages of a list of 100,000 entries, native API"
ENTRIES = 100_000
PAGES = 15  # of each list, from its beginning, its middle and its end
NOTE = (
    "one request after the other as an ASGI application, token, policy and JSON included; the slowest of 45"
)


def measure() -> list[dict[str, object]]:
    """Measure in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "bench.bench_api", folder],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[1],
        )
    found: dict[str, float] = json.loads(done.stdout)
    targets = {"another order: the first page of all, which reads the names": "reported"}
    return [
        {"path": path, "ours": ours, "unit": "ms", "target": targets.get(path, "≤ 50 ms"), "note": NOTE}
        for path, ours in found.items()
    ]


def _child(home: Path) -> dict[str, float]:
    file = home / "strongroom.toml"
    file.write_text(
        'chain = ["native"]\n[server]\nlog_level = "error"\n[server.limits]\nidentity_per_second = 0\n'
    )
    file.chmod(0o600)
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "STRONGROOM_HOME": str(home)}
    token = _fill(file, environ)
    with assembly.open_house(file, environ=environ) as house, open(os.devnull, "w") as sink:  # noqa: PTH123
        settings = load(file, environ=environ).server
        app = make_app(
            house, settings, journal=Journal("error", stream=sink), served=(Api("/v1", api.ENDPOINTS),)
        )
        found = asyncio.run(_measured(app, token))
        app.close()
    return found


def _fill(file: Path, environ: dict[str, str]) -> str:
    with assembly.create_room(file, environ=environ) as room:
        (native,) = (link.backend for link in room._parts.chain.links)
        for start in range(0, ENTRIES, 1000):
            native.write_many(
                [
                    Draft(
                        ref=Ref("variable", f"folder{index % 97}/v{index:06}"),
                        secret=Secret("x" * 64),
                        author="bench",
                        metadata=Metadata(description="a value of the benchmark", tags=(f"t{index % 10}",)),
                    )
                    for index in range(start, start + 1000)
                ]
            )
        return room.access.tokens.issue("bench", roles=[Role("admin")]).token.reveal()


async def _measured(app: object, token: str) -> dict[str, float]:
    asked = {
        "pages of 100 by name": {"limit": 100},
        "pages of 1,000 by name": {"limit": 1000},
        "pages of 100 of a search": {"limit": 100, "search": "99"},
        "pages of 100 with a tag": {"limit": 100, "tag": "t3"},
    }
    found = {path: await _slowest(app, token, query) for path, query in asked.items()}
    query = {"limit": 100, "sort": "changed_at", "order": "desc"}
    seconds, page = await _get(app, token, query)
    rest = []
    for _ in range(PAGES):
        more, page = await _get(app, token, {**query, "cursor": page["cursor"]})
        rest.append(more)
    begun = [(await _get(app, token, query))[0] for _ in range(PAGES)]
    return {
        **found,
        "another order: the first page of all, which reads the names": seconds,
        "another order: first pages from then on": max(begun),
        "another order: pages after them": max(rest),
    }


async def _slowest(app: object, token: str, query: dict[str, object]) -> float:
    await _get(app, token, query)
    slowest = []
    for prefix in ("", "folder5", "folder96/"):
        asked, taken = {**query, "prefix": prefix}, []
        for _ in range(PAGES):
            milliseconds, page = await _get(app, token, asked)
            taken.append(milliseconds)
            if page["cursor"] is None:
                break
            asked["cursor"] = page["cursor"]
        slowest.append(max(taken))
    return max(slowest)


async def _get(app: object, token: str, query: dict[str, object]) -> tuple[float, dict[str, object]]:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/entries",
        "raw_path": b"/v1/entries",
        "query_string": urlencode(query).encode(),
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    sent = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    begun = time.perf_counter()
    await app(scope, receive, send)
    taken = (time.perf_counter() - begun) * 1000
    assert sent[0]["status"] == 200, sent
    return taken, json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


if __name__ == "__main__":
    print(json.dumps(_child(Path(sys.argv[1]))))
