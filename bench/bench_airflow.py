"""
Inside real Airflow 3: what having us costs, and what a lookup, a parse and a crowd of triggers cost.

The peer is Airflow's own VaultBackend over the same OpenBao, in the same Airflow; ours asks an agent in front
of it. Rounds are interleaved. Reads at parse time happen in a process forked for each file, as the Dag
processor does, and the requests that reach OpenBao are counted on the wire. Triggers meet an OpenBao that
answers 200 ms late: without that there is nothing to overlap.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench import peers
from bench.bench_vault import _Counter
from bench.hosts import Agent, agent

TITLE = "Inside Airflow"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
STARTS = int(os.environ.get("BENCH_STARTS", "5"))
FILES, READS, PARSES = int(os.environ.get("BENCH_FILES", "200")), 5, 3
TRIGGERS = 50
LATE_SECONDS = 0.2
OURS = "strongroom.airflow.StrongroomBackend"
PEER = "airflow.providers.hashicorp.secrets.vault.VaultBackend"

SETTINGS = """
chain = ["vault"]
[cache]
ttl = {ttl}
[backend.vault]
url = "{address}"
token = {{ env = "TOKEN" }}
[agent]
log_level = "error"
"""
# What an agent or OpenBao is asked with; `make` gives the backend of either, in the context of a task.
MAKE = """
import asyncio, json, os, sys, time

def make(said):
    if "socket" in said:
        from strongroom.airflow import StrongroomBackend as Backend
    else:
        from airflow.providers.hashicorp.secrets.vault import VaultBackend as Backend
    backend = Backend(**said)
    from airflow.sdk import Connection
    backend._set_connection_class(Connection)
    return backend

said = json.loads(sys.argv[1])
"""
WARM = f"""
{MAKE}
import structlog
structlog.contextvars.bind_contextvars(
    dag_id="orders", task_id="load", run_id="manual__2026", map_index=-1, try_number=1,
    ti_id="01a200fe-d2af-729b-b0d6-b36afa28488a",
)
backend = make(said)
assert backend.get_connection("orders_db").host
print("ready", flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter()
        backend.get_connection("orders_db")
        times.append(time.perf_counter() - start)
    times.sort()
    print(times[len(times) // 2] * 1e6, flush=True)
"""
# As a trigger asks: `aget_connection` where there is one; the VaultBackend has none, so Airflow and its
# providers take the synchronous one to a thread.
CROWD = f"""
{MAKE}
from asgiref.sync import sync_to_async
backend = make(said)
ask = backend.aget_connection if "socket" in said else sync_to_async(backend.get_connection)

async def crowd(names):
    start = time.perf_counter()
    found = await asyncio.gather(*(ask(name) for name in names))
    assert all(one.host for one in found)
    return time.perf_counter() - start

async def main():
    await crowd(["orders_db"])
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(await crowd(json.loads(line)), flush=True)

asyncio.run(main())
"""
PARSE = """
import os, pathlib, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.configuration import ensure_secrets_loaded
ensure_secrets_loaded()
for file in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    child = os.fork()
    if child == 0:
        bag = DagBag(str(file))
        os._exit(0 if len(bag.dags) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0, file.name
"""
DAG = """
from airflow.sdk import DAG, Variable
VALUES = [Variable.get(f"top_{number}_{{one}}") for one in range({reads})]
with DAG("dag_{number}", schedule=None):
    pass
"""


def measure() -> list[dict[str, object]]:
    with (
        peers.openbao() as address,
        _Counter(address) as wire,
        tempfile.TemporaryDirectory(prefix="srm") as folder,
    ):
        home = Path(folder)
        return [
            _imports(home, address),
            _warm(home, address),
            _parsed(home, address, wire),
            *_crowds(home, address, wire),
        ]


# --- what having us costs -----------------------------------------------------------------------------------


def _imports(home: Path, address: str) -> dict[str, object]:
    """Add up what the import of the configured backend brings into `import airflow`, of a few starts."""
    said = {
        "strongroom": (OURS, {"socket": str(home / "none.sock")}),
        "airflow.providers.hashicorp": (PEER, _vault(address)),
    }
    took: dict[str, list[float]] = {name: [] for name in said}
    for _ in range(STARTS):
        for name, backend in said.items():
            environ = _configured(home, backend)
            argv = [peers.python(), "-X", "importtime", "-c", "import airflow"]
            told = subprocess.run(argv, env=environ, check=True, capture_output=True, text=True).stderr
            took[name].append(_brought(told, name))
    ours, peer = (median(values) for values in took.values())
    note = "peer: VaultBackend; what is imported because the backend is configured, provider and all"
    return _row("added to `import airflow`", (ours, peer), "ms", "≤ 5 ms", note)


def _brought(told: str, name: str) -> float:
    """
    Add up the milliseconds of a package's modules and of what they import, each counted once.

    Args:
        told: of `-X importtime`: a module after what it has imported, which is indented deeper.
    """
    total, inside = 0, -1
    for line in reversed(told.splitlines()):
        found = re.fullmatch(r"import time:\s+\d+ \|\s+(\d+) \| ( *)(\S+)", line)
        if found is None:
            continue
        depth = len(found[2])
        if inside >= 0 and depth > inside:
            continue
        inside = -1
        if found[3] == name or found[3].startswith(f"{name}."):
            total, inside = total + int(found[1]), depth
    return total / 1000


# --- a lookup -----------------------------------------------------------------------------------------------


def _warm(home: Path, address: str) -> dict[str, object]:
    with _agent(home, "warm", address, ttl=3600) as one:
        said = {"ours": {"socket": str(one.socket)}, "peer": _vault(address)}
        with _child(home, WARM, said["ours"]) as ours, _child(home, WARM, said["peer"]) as theirs:
            took: dict[str, list[float]] = {"ours": [], "peer": []}
            for _ in range(ROUNDS):
                took["ours"].append(peers.round_us(ours))
                took["peer"].append(peers.round_us(theirs))
    figures = (median(took["ours"]), median(took["peer"]))
    note = "peer: VaultBackend, warm; ours in the context of a task, whose claim goes along"
    return _row("warm get_connection in a task", figures, "µs", "≤ 1/15 of it", note)


# --- parsing ------------------------------------------------------------------------------------------------


def _parsed(home: Path, address: str, wire: _Counter) -> dict[str, object]:
    port = int(address.rpartition(":")[2])
    dags = home / "dags"
    dags.mkdir()
    for number in range(FILES):
        (dags / f"dag_{number}.py").write_text(DAG.format(number=number, reads=READS))
        for one in range(READS):
            peers._put(port, f"variables/top_{number}_{one}", {"value": f"of {number} and {one}"})
    with _agent(home, "parse", wire.address, ttl=1) as one:
        ours = _requests(home, wire, dags, (OURS, {"socket": str(one.socket)}))
    peer = _requests(home, wire, dags, (PEER, _vault(wire.address)))
    note = f"peer: VaultBackend; {FILES} files, {READS} reads at the top of each, {PARSES} rounds; ttl 1 s"
    return _row("parsing: secrets read from OpenBao", (ours, peer), "reads", "≤ 1,000", note)


def _requests(home: Path, wire: _Counter, dags: Path, backend: tuple[str, dict[str, str]]) -> float:
    environ = _configured(home, backend)
    before = wire.reads
    for _ in range(PARSES):
        subprocess.run(
            [peers.python(), "-c", PARSE, str(dags)],
            env=environ,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=None if "BENCH_SHOW" in os.environ else subprocess.DEVNULL,
        )
    return float(wire.reads - before)


# --- triggers -----------------------------------------------------------------------------------------------


def _crowds(home: Path, address: str, wire: _Counter) -> list[dict[str, object]]:
    port = int(address.rpartition(":")[2])
    rounds = 3
    names = [[f"crowd_{turn}_{number}" for number in range(TRIGGERS)] for turn in range(rounds)]
    for name in (*(name for turn in names for name in turn), *(f"one_{turn}" for turn in range(rounds))):
        peers._put(port, f"connections/{name}", {"conn_uri": "postgres://svc:pw@db.example.com:5432/orders"})
    took: dict[str, list[float]] = {"one": [], "same": [], "each": [], "theirs": []}
    with (
        _agent(home, "crowd", wire.address, ttl=1) as one,
        _child(home, CROWD, {"socket": str(one.socket)}) as ours,
        _child(home, CROWD, _vault(wire.address)) as theirs,
    ):
        wire.late_seconds = LATE_SECONDS
        for turn in range(rounds):
            took["one"].append(_asked(ours, [f"one_{turn}"]))
            took["same"].append(_asked(ours, [names[turn][0]] * TRIGGERS))
            took["each"].append(_asked(ours, [*names[turn][1:], "orders_db"]))
            took["theirs"].append(_asked(theirs, names[turn]))
        wire.late_seconds = 0.0
    figures = {name: median(values) * 1000 for name, values in took.items()}
    late = f"OpenBao answers {LATE_SECONDS * 1000:.0f} ms late"
    one_note = f"peer: one of our reads, cold; {late}"
    return [
        _row("50 triggers, one connection", (figures["same"], figures["one"]), "ms", "≤ 2x", one_note),
        _row("50 triggers, 50 connections", (figures["each"], figures["one"]), "ms", "≤ 2x", one_note),
        _row(
            "50 triggers, 50 connections",
            (figures["each"], figures["theirs"]),
            "ms",
            "reported",
            f"peer: VaultBackend, which Airflow asks in one thread; {late}",
        ),
    ]


def _asked(child: subprocess.Popen[str], names: list[str]) -> float:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(names) + "\n")
    child.stdin.flush()
    return float(child.stdout.readline())


# --- parts --------------------------------------------------------------------------------------------------


def _airflow(home: Path) -> dict[str, str]:
    return peers.airflow_environment(str(home))


def _configured(home: Path, backend: tuple[str, dict[str, str]]) -> dict[str, str]:
    path, kwargs = backend
    said = {"AIRFLOW__SECRETS__BACKEND": path, "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(kwargs)}
    return _airflow(home) | said


def _vault(address: str) -> dict[str, str]:
    return {"url": address, "token": peers.TOKEN, "mount_point": "secret"}


@contextmanager
def _agent(home: Path, name: str, address: str, *, ttl: int) -> Iterator[Agent]:
    (home / name).mkdir()
    with agent(home / name, SETTINGS.format(address=address, ttl=ttl), {"TOKEN": peers.TOKEN}) as one:
        yield one


@contextmanager
def _child(home: Path, program: str, said: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [peers.python(), "-c", program, json.dumps(said)],
        env=_airflow(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if "BENCH_SHOW" in os.environ else subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        while child.stdout.readline().strip() != "ready":
            if child.poll() is not None:
                raise SystemExit("a process of Airflow ended")
        yield child
    finally:
        child.stdin.close()
        child.wait(30)


def _row(path: str, figures: tuple[float, float], unit: str, target: str, note: str) -> dict[str, object]:
    ours, peer = figures
    return {
        "path": path,
        "ours": ours,
        "peer": peer,
        "unit": unit,
        "ratio": ours / peer if peer else None,
        "target": target,
        "note": note,
    }
