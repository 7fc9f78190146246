"""Every page of the web page over 10,000 and 100,000 entries: the server's time, and what is sent."""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from strongroom import assembly
from strongroom.model.entry import Draft, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.server import ui
from strongroom.server.app import Api, make_app
from strongroom.server.auth import cookie_name
from strongroom.server.logs import Journal
from strongroom.server.serve import uses_of
from strongroom.service.access.begun import Begun
from strongroom.settings import load

TITLE = "Pages of the web page"
SIZES = {10_000: 30, 100_000: 60}  # entries: milliseconds a page may take
ROUNDS = 9
SETTLE_SECONDS = 25.0  # in which all that is read behind is read
NOTE = (
    "one request after the other as an ASGI application, session, policy, template and gzip included, once"
    " all there is was read and proven; the median of 9"
)
NAME = "folder12/v000012"
PAGES = {
    "overview": "/",
    "inventory": "/inventory",
    "inventory, the middle": "/inventory?page={middle}",
    "inventory, by age": "/inventory?sort=age",
    "inventory, by health": "/inventory?sort=-health",
    "inventory, by last read": "/inventory?sort=read",
    "inventory, four facets": "/inventory?kind=connection&tag=t3&owner=person7&team=finance",
    "search: one that fits few": "/inventory?q=v00001",
    "search: one that fits many": "/inventory?q=folder",
    "search: two words and a tag": "/inventory?q=9+person+%23t3",
    "palette": "/search?q=v0012",
    "entry": f"/entries/connection/{NAME}",
    "entry, history": f"/entries/connection/{NAME}?tab=history",
    "entry, access": f"/entries/connection/{NAME}?tab=access",
    "new entry": "/entries/new?type=postgres",
    "edit": f"/edit/connection/{NAME}",
    "explain": f"/explain?kind=connection&name={NAME.replace('/', '%2F')}",
    "deployments": "/deployments",
    "backends": "/backends",
    "agents": "/agents",
    "import": "/import",
    "access: people": "/access/people",
    "access: tokens": "/access/tokens",
    "access: policies": "/access/policies",
    "access: tester": "/access/tester",
    "audit": "/audit",
    "settings: you": "/settings/you",
    "settings: sessions": "/settings/sessions",
    "settings: keys": "/settings/keys",
    "settings: doctor": "/settings/doctor",
}
PARTS = {
    "search as one types (#lines)": ("/inventory?q=v00001", "lines"),
    "a tab of the drawer (#entry)": (f"/entries/connection/{NAME}?tab=json", "entry"),
}
_ASSET = re.compile(r'(?:src|href)="(/static/[^"]+)"')
_FONT = re.compile(r"url\(\"?([^\")]+\.woff2)")


class Got(NamedTuple):
    """One answer: how long it took, and what came."""

    milliseconds: float
    status: int
    size: int
    body: bytes


def measure() -> list[dict[str, object]]:
    """Measure each size in a process of its own."""
    rows = []
    for entries, most in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-m", "bench.bench_ui", folder, str(entries)],
                capture_output=True,
                text=True,
                check=True,
                cwd=Path(__file__).parents[1],
            )
        found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
        rows += [
            _row(f"{entries:,}: {path}", ours, "ms", f"≤ {50 if 'search' in path else most} ms")
            for path, ours in found["pages"].items()
        ]
        rows.append(
            _row(
                f"{entries:,}: the first page, which reads all there is",
                found["cold"]["ms"],
                "ms",
                "reported",
            )
        )
        rows.append(
            _row(f"{entries:,}: all there is, in memory", found["cold"]["mebibytes"], "MiB", "reported")
        )
        if entries == max(SIZES):
            rows += [_row(what, size, "kB", target) for what, size, target in _sizes(found["sizes"])]
    return rows


def _sizes(sizes: dict[str, float]) -> list[tuple[str, float, str]]:
    return [(what, size, "≤ 150 kB" if "first" in what else "≤ 20 kB") for what, size in sizes.items()]


def _row(path: str, ours: float, unit: str, target: str) -> dict[str, object]:
    return {"path": path, "ours": ours, "unit": unit, "target": target, "note": NOTE}


# --- in the process that is measured -----------------------------------------------------------------


def _child(home: Path, entries: int) -> dict[str, Any]:
    file = home / "strongroom.toml"
    file.write_text(
        'chain = ["native"]\n[server]\nlog_level = "error"\n[server.limits]\nidentity_per_second = 0\n'
    )
    file.chmod(0o600)
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "STRONGROOM_HOME": str(home)}
    _fill(file, environ, entries)
    with assembly.open_house(file, environ=environ, uses=uses_of) as house, open(os.devnull, "w") as sink:  # noqa: PTH123
        settings = load(file, environ=environ).server
        journal = Journal("error", stream=sink)
        app = make_app(house, settings, journal=journal, served=(Api("", ui.ENDPOINTS, pages=ui.errors),))
        begun = Begun("person:ada", "password", "127.0.0.1", None, [], [], datetime.now(timezone.utc))
        token = house.deployment().access._gate.begin(begun).token.reveal()
        cookie = f"{cookie_name(house.first, house.first, is_secure=False)}={token}"
        found = asyncio.run(_measured(app, cookie, entries))
        app.close()
    return found


def _fill(file: Path, environ: dict[str, str], entries: int) -> None:
    types = ("postgres", "mysql", "aws", "http", "snowflake", "kafka", "ssh", "slack")
    teams = (None, None, None, "finance", "platform", "marketing", "ml")
    with assembly.create_room(file, environ=environ) as room:
        room.access.people.add("ada", Secret("four plain words here"), roles=[Role("admin")])
        (native,) = (link.backend for link in room._parts.chain.links)
        for start in range(0, entries, 1000):
            native.write_many(
                [_draft(number, types, teams) for number in range(start, min(start + 1000, entries))]
            )


def _draft(number: int, types: tuple[str, ...], teams: tuple[str | None, ...]) -> Draft:
    kind = "connection" if number % 3 != 1 else "variable"
    conn_type = types[number % 8] if kind == "connection" else None
    text = json.dumps(
        {"conn_type": conn_type, "host": "db.example.com", "login": "etl", "password": "x" * 20}
    )
    team = None if number < 100 else teams[number % 7]
    return Draft(
        ref=Ref(kind, f"folder{number % 97}/v{number:06}", team),  # type: ignore[arg-type]  # one of the two
        secret=Secret(text if conn_type else "x" * 40),
        author="bench",
        metadata=Metadata(
            description="a value of the benchmark",
            owner=f"person{number % 41}" if number % 5 else None,
            conn_type=conn_type,
            tags=(f"t{number % 10}",) if number % 2 else (),
        ),
    )


async def _measured(app: Any, cookie: str, entries: int) -> dict[str, Any]:
    before, begun = _mebibytes(), time.perf_counter()
    got = await _get(app, cookie, "/inventory")
    while b"still being read" in got.body:
        got = await _get(app, cookie, "/inventory")
    cold = {"ms": (time.perf_counter() - begun) * 1000, "mebibytes": _mebibytes() - before}
    await asyncio.sleep(SETTLE_SECONDS)
    pages = {}
    for name, path in PAGES.items():
        pages[name] = await _median(app, cookie, path.format(middle=entries // 100))
    for name, (path, target) in PARTS.items():
        pages[name] = await _median(app, cookie, path, target)
    return {
        "pages": {name: ms for name, ms in pages.items() if ms is not None},
        "cold": cold,
        "sizes": await _weights(app, cookie),
    }


async def _median(app: Any, cookie: str, path: str, target: str = "") -> float | None:
    got = await _get(app, cookie, path, target)
    if got.status != 200:
        print(f"{path}: {got.status}", file=sys.stderr)
        return None
    return statistics.median([(await _get(app, cookie, path, target)).milliseconds for _ in range(ROUNDS)])


async def _weights(app: Any, cookie: str) -> dict[str, float]:
    """Give what the first visit sends, and a visit after it, in kB, the inventory being the heaviest."""
    page = await _get(app, cookie, "/inventory")
    assets = dict.fromkeys(found.partition("#")[0] for found in _ASSET.findall(page.body.decode()))
    first = page.size
    for address in assets:
        got = await _get(app, cookie, address)
        first += got.size
        for font in _FONT.findall(got.body.decode("utf-8", "replace")):
            first += (await _get(app, cookie, f"{address.rpartition('/')[0]}/{font}")).size
    parts = await _get(app, cookie, "/inventory?q=v0000", "lines")
    return {
        "the first visit of the inventory": first / 1000,
        "a page after it": page.size / 1000,
        "a search after it": parts.size / 1000,
    }


def _mebibytes() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def _get(app: Any, cookie: str, address: str, target: str = "") -> Got:
    import gzip  # noqa: PLC0415 -- of the child alone

    path, _, query = address.partition("?")
    headers = [
        (b"host", b"127.0.0.1"),
        (b"cookie", cookie.encode()),
        (b"accept-encoding", b"gzip"),
        (b"accept", b"text/html"),
    ]
    if target:
        headers += [(b"hx-request", b"true"), (b"hx-target", target.encode())]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    begun = time.perf_counter()
    await app(scope, receive, send)
    taken = (time.perf_counter() - begun) * 1000
    body = b"".join(message.get("body", b"") for message in sent[1:])
    packed = (b"content-encoding", b"gzip") in [(name.lower(), value) for name, value in sent[0]["headers"]]
    return Got(taken, sent[0]["status"], len(body), gzip.decompress(body) if packed else body)


if __name__ == "__main__":
    print(json.dumps(_child(Path(sys.argv[1]), int(sys.argv[2]))))
