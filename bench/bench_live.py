"""
Live clients beside the bare libraries: making one, taking a session from its pool, using a new password.

A server, an agent enrolled with it, and a process that asks the agent, as a task does. The bare library is
given what the connection says, so that the difference is what following costs. Rounds are interleaved in one
process.

A rotation is timed from before the new password is written at the server, over HTTP, to the end of the first
login with it in the other process, which tries without a pause; the peer is the bare library, told it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from bench import stores
from bench.bench_push import SERVER
from bench.bench_server import _server
from bench.hosts import agent
from strongroom import assembly
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.service.entries import Change

TITLE = "Live clients: what following a connection costs"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
MADE = int(os.environ.get("BENCH_MADE", "100"))
CHECKOUTS = int(os.environ.get("BENCH_CHECKOUTS", "2000"))
ROTATIONS = int(os.environ.get("BENCH_ROTATIONS", "15"))

AGENT = """
chain = ["remote"]
[cache]
ttl = 3600
[agent]
log_level = "error"
"""
HOST = 'chain = ["native"]\n[server]\nlog_level = "error"\n'
AWS = {"conn_type": "aws", "login": "AKIABENCH", "password": "bench", "extra": {"region_name": "eu-west-1"}}
OTHERS: dict[str, dict[str, Any]] = {
    "redis": {"conn_type": "redis", "host": "127.0.0.1", "password": "bench"},
    "web": {"conn_type": "http", "host": "https://api.example.com", "login": "bench", "password": "bench"},
    "aws": AWS,
}


def measure() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="srm") as folder, stores.store("rotating") as postgres:
        home = Path(folder)
        with _host(home, postgres) as (environ, write):
            made = _told(_child(environ, "made"))
            taken = _told(_child(environ, "taken"))
            rotations = _rotations(environ, write, postgres)
    note = (
        f"median of {ROUNDS} rounds of {MADE}; another client of the connection lives; a bare client of"
        " httpx2 reads the machine's authorities when it is made, ours when they are first needed"
    )
    rows = [
        _row(f"{what}: make and close", *pair, "µs", "≤ 1,000 µs over", note) for what, pair in made.items()
    ]
    note = f"median of {ROUNDS} rounds of {CHECKOUTS}; the limit is on the difference"
    rows += [
        _row(f"{what}: checkout and return", *pair, "µs", "≤ 5 µs over", note) for what, pair in taken.items()
    ]
    ours, bare = ([one[which] * 1000 for one in rotations] for which in (0, 1))
    note = f"{len(rotations)} rotations; a login of the bare library is the least there can be"
    return [
        *rows,
        _row("rotation → first use, p50", median(ours), median(bare), "ms", "≤ 1,500 ms", note),
        _row("rotation → first use, the worst", max(ours), max(bare), "ms", "≤ 1,500 ms", note),
    ]


@contextmanager
def _host(
    home: Path, postgres: dict[str, Any]
) -> Iterator[tuple[dict[str, str], Callable[[str, object], None]]]:
    """Run a server and an agent of it; give the environment of a task, and what writes a connection."""
    (home / "server").mkdir()
    (home / "agent").mkdir(mode=0o700)
    environment = _home(home / "server")
    first = {"orders_db": json.loads(postgres["connection"]), **OTHERS}
    with assembly.create_room(environ=environment) as room:
        for name, fields in first.items():
            room.entries.write(Change(ref=Ref("connection", name), secret=Secret(json.dumps(fields))))
        token = room.access.tokens.issue("writer", roles=[Role("admin")]).token.reveal()
        code = room.access.agents.invite("host", roles=[Role("admin")]).code.reveal()
    with _server("live", SERVER, environment) as server:
        _enrol(home / "agent", f"http://127.0.0.1:{server.port}", code)
        with agent(home / "agent", AGENT) as one:
            yield one.environ(home), lambda name, fields: _put(server.port, token, name, fields)


def _home(home: Path) -> dict[str, str]:
    file = home / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text(HOST)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "STRONGROOM_HOME": str(home),
        "STRONGROOM_CONFIG": str(file),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }


def _enrol(home: Path, url: str, code: str) -> None:
    file = home / "agent.toml"
    file.touch(mode=0o600)
    file.write_text(AGENT)
    subprocess.run(
        [sys.executable, "-m", "strongroom", "agent", "enrol", "--url", url, "--code", "-"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "STRONGROOM_HOME": str(home),
            "STRONGROOM_CONFIG": str(file),
        },
        input=code,
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _put(port: int, token: str, name: str, fields: object) -> None:
    import http.client  # noqa: PLC0415 -- this process alone writes

    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = json.dumps({"value": json.dumps(fields)})
        connection.request("PUT", f"/v1/entries/connection/{name}", body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status < 300, answer.status


def _child(environ: dict[str, str], mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.bench_live", mode],
        env=environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def _told(child: subprocess.Popen[str]) -> dict[str, tuple[float, float]]:
    out, _ = child.communicate()
    assert child.returncode == 0, "what measures live clients failed"
    return {what: (ours, bare) for what, (ours, bare) in json.loads(out).items()}


def _rotations(
    environ: dict[str, str], write: Callable[[str, object], None], postgres: dict[str, Any]
) -> list[tuple[float, float]]:
    fields = json.loads(postgres["connection"])
    found = []
    with (
        _child(environ, "rotated") as child,
        psycopg.connect(host=fields["host"], user="postgres", dbname="postgres", autocommit=True) as admin,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for number in range(ROTATIONS):
            password = f"bench {number}"
            admin.execute(f"ALTER USER {fields['login']} PASSWORD '{password}'")
            child.stdin.write("go\n")
            child.stdin.flush()
            child.stdout.readline()  # it tries, and is refused
            begun = time.monotonic()
            write("orders_db", fields | {"password": password})
            ours = float(child.stdout.readline()) - begun
            begun = time.monotonic()
            _login(fields | {"password": password}).close()
            found.append((ours, time.monotonic() - begun))
        child.stdin.close()
        child.wait(30)
    return found


def _row(path: str, ours: float, peer: float, unit: str, target: str, note: str) -> dict[str, object]:
    row = {"path": path, "ours": ours, "peer": peer, "unit": unit, "target": target, "note": note}
    return row | {"ratio": ours / peer}


# --- the process of a task -----------------------------------------------------------------------------


def _made() -> dict[str, list[float]]:
    """Give for each library the median of making and closing a client, ours and bare, in µs."""
    import boto3  # noqa: PLC0415 -- in the child alone
    import httpx2  # noqa: PLC0415 -- as above
    import redis  # noqa: PLC0415 -- as above
    import sqlalchemy  # noqa: PLC0415 -- as above

    import strongroom  # noqa: PLC0415 -- as above

    db, web, aws = (strongroom.connection(name) for name in ("orders_db", "web", "aws"))
    url = _url(db)
    secret = aws.password.reveal()
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "sqlalchemy": (lambda: strongroom.client("orders_db"), lambda: sqlalchemy.create_engine(url)),
        "redis": (lambda: strongroom.client("redis"), lambda: redis.Redis("127.0.0.1", password="bench")),
        "httpx2": (
            lambda: strongroom.client("web"),
            lambda: httpx2.Client(base_url="https://api.example.com", auth=(web.login, "bench")),
        ),
        "boto3": (
            lambda: strongroom.client("aws"),
            lambda: boto3.Session(aws.login, secret, region_name="eu-west-1"),
        ),
    }
    kept = [ours() for ours, _ in pairs.values()]
    found = {what: _beside(MADE, *(_closing(make) for make in pair)) for what, pair in pairs.items()}
    for one in kept:
        _close(one)
    return found


def _taken() -> dict[str, list[float]]:
    """Give the same of a session that is taken from a pool and given back."""
    import sqlalchemy  # noqa: PLC0415 -- in the child alone

    import strongroom  # noqa: PLC0415 -- as above

    bare = sqlalchemy.create_engine(_url(strongroom.connection("orders_db")))
    pools = [one.pool for one in (strongroom.client("orders_db"), bare)]

    def taking(pool: Any) -> Callable[[], None]:
        return lambda: pool.connect().close()

    return {"sqlalchemy": _beside(CHECKOUTS, *map(taking, pools))}


def _rotated() -> None:
    """Log in again and again from each line of the input on, and say when that succeeded."""
    import strongroom  # noqa: PLC0415 -- in the child alone

    maker = strongroom.client("orders_db", driver="psycopg")
    maker.connect().close()
    print("ready", flush=True)
    for _line in sys.stdin:
        is_said = False
        while True:
            try:
                session = maker.connect()
            except strongroom.errors.AccessDeniedError:
                if not is_said:
                    is_said = True
                    print("refused", flush=True)
            else:
                print(time.monotonic(), flush=True)
                session.close()
                break


def _beside(times: int, *calls: Callable[[], object]) -> list[float]:
    """Give for each of *calls* the median in µs over interleaved rounds."""
    seen: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(ROUNDS):
        for call, found in zip(calls, seen, strict=True):
            taken = []
            for _ in range(times):
                begun = time.perf_counter()
                call()
                taken.append(time.perf_counter() - begun)
            found.append(median(taken) * 1e6)
    return [median(found) for found in seen]


def _closing(make: Callable[[], Any]) -> Callable[[], None]:
    return lambda: _close(make())


def _close(one: Any) -> None:
    end = getattr(one, "dispose", None) or getattr(one, "close", None)
    if end is not None:  # a session of boto3 has nothing to close
        end()


def _url(found: Any) -> Any:
    import sqlalchemy  # noqa: PLC0415 -- in the child alone

    return sqlalchemy.URL.create(
        "postgresql+psycopg",
        username=found.login,
        password=found.password.reveal(),
        database=found.schema,
        query={"host": found.host},
    )


def _login(fields: dict[str, Any]) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=fields["host"], user=fields["login"], password=fields["password"], dbname=fields["schema"]
    )


if __name__ == "__main__":
    if sys.argv[1] == "rotated":
        _rotated()
    else:
        print(json.dumps({"made": _made, "taken": _taken}[sys.argv[1]]()))
