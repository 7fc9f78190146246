"""The inventory of 10,000 names in four backends: every page, and the counts of `up` and `doctor`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.assembly import create_room, open_room

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.backend import Listable
    from strongroom.service.room import Room

TITLE = "Inventory of 10,000 connections over four backends"
COUNT = 10_000
ROUNDS = 3  # interleaved; the best of each counts
NOTE = (
    "no peer lists what its backends hold; beside it stands the sum of what the backends take to list"
    " their own names, unmerged (the limit)"
)
_EXTRA = '{"sslmode": "require", "region_name": "eu-west-1"}'


def measure() -> list[dict[str, object]]:
    """Measure in processes of their own: each backend holds a quarter, and then each holds all of them."""
    rows = []
    for how, label, target in (("apart", "a quarter in each", "≤ 2 s"), ("shared", "all in each", "")):
        with tempfile.TemporaryDirectory() as folder:
            found = _child(folder, how)
        rows += [
            _row(f"{label}: all pages, {found['mebibytes']:.0f} MiB at most", found, "pages", target),
            _row(f"{label}: counts and clashes", found, "counts", target),
            _row(f"{label}: first page", found, "first", ""),
        ]
    return rows


def _row(path: str, found: dict[str, float], what: str, target: str) -> dict[str, object]:
    peer = None if what == "first" else found["raw"]
    ratio = found[what] / peer if peer else None
    return {
        "path": path,
        "ours": found[what],
        "peer": peer,
        "unit": "s",
        "ratio": ratio,
        "target": target,
        "note": NOTE,
    }


def _child(folder: str, how: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.bench_inventory", folder, how],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _connection(number: int) -> dict[str, object]:
    return {
        "conn_type": "postgres",
        "login": f"user_{number}",
        "password": f"p@ss:w/rd?#[]{number}",
        "host": f"db{number}.example.com",
        "port": 5432,
        "schema": "sales",
        "extra": _EXTRA,
    }


def _held(how: str, number: int) -> dict[str, dict[str, object]]:
    """Give what the backend *number* of four holds."""
    wanted = range(COUNT) if how == "shared" else range(number, COUNT, 4)
    return {f"team_{one % 40}.db_{one:05}": _connection(one) for one in wanted}


def _prepare(folder: Path, how: str) -> dict[str, str]:
    # First the store: beside settings, what the other backends hold would count as held already.
    bare = {"STRONGROOM_HOME": str(folder)}
    with create_room(environ=bare, cwd=folder) as room:
        room.transfer.import_connections(json.dumps(_held(how, 3)).encode(), "json")
    uris = {name: f"postgres://user:p%40ss@{name}:5432/sales?sslmode=require" for name in _held(how, 2)}
    (folder / "file.json").write_text(json.dumps(_held(how, 1)))
    (folder / ".env").write_text(
        "".join(f"AIRFLOW_CONN_{name.upper()}={uri}\n" for name, uri in uris.items())
    )
    (folder / "strongroom.toml").write_text(
        'chain = ["env", "file", "dotenv", "native"]\n'
        '[backend.file]\nkind = "file"\nconnections = "file.json"\n'
        '[backend.dotenv]\nkind = "file"\nenvironment = ".env"\n'
    )
    environ = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in _held(how, 0).items()}
    environ["STRONGROOM_HOME"] = str(folder)
    return environ


def _work(folder: Path, how: str) -> dict[str, float]:
    environ = _prepare(folder, how)
    found: dict[str, float] = {}
    ways = {"raw": _raw, "pages": _pages, "counts": _counts, "first": _first}
    for what in [*ways] * ROUNDS:
        # A room of its own each time: nothing is remembered, as in a command.
        with open_room(folder / "strongroom.toml", environ=environ, cwd=folder) as room:
            found[what] = min(found.get(what, inf), _seconds(ways[what], room))
    return found | {"mebibytes": _peak_mebibytes()}


def _seconds(work: Callable[[Room], int], room: Room) -> float:
    start = time.perf_counter()
    count = work(room)
    seconds = time.perf_counter() - start
    assert count >= 1000, count
    return seconds


def _raw(room: Room) -> int:
    links = room.inventory._chain.links
    return sum(_listed(link.backend) for link in links)  # type: ignore[arg-type]


def _listed(backend: Listable) -> int:
    count, after = 0, ""
    while page := backend.list("connection", after=after):
        count, after = count + len(page), page[-1].ref.name
    return count


def _pages(room: Room) -> int:
    return sum(len(page) for page in room.inventory.pages())


def _counts(room: Room) -> int:
    return room.inventory.counts().connections


def _first(room: Room) -> int:
    return len(next(room.inventory.pages()))


def _peak_mebibytes() -> float:
    # Not ru_maxrss: a child inherits its parent's figure across the fork.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this system does not tell the peak memory of a process")


if __name__ == "__main__":
    print(json.dumps(_work(Path(sys.argv[1]), sys.argv[2])))
