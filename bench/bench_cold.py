"""
Cold starts: a fresh process to its first value, beside what task processes start today.

What asks an agent is told as what it costs over Python's own start, minimum less minimum of interleaved
rounds: on a busy machine everything else measures the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench import peers
from bench.hosts import agent

TITLE = "Cold process to value"
ROUNDS = 11
PEER_ROUNDS = 3  # Airflow takes seconds a start
BIN = Path(sys.executable).parent

# What we start, and the target of each as a sentence.
OURS = {
    "import strongroom": ([sys.executable, "-c", "import strongroom"], "light: nothing but our own modules"),
    "library, variable from the environment": (
        [sys.executable, "-c", "import strongroom; strongroom.variable('in_env')"],
        "below hvac",
    ),
    "library, variable from the store": (
        [sys.executable, "-c", "import strongroom; strongroom.variable('region')"],
        "reported",
    ),
    "library, connection from the store": (
        [sys.executable, "-c", "import strongroom; strongroom.connection('orders_db')"],
        "reported",
    ),
    "strongroom read": ([str(BIN / "strongroom"), "read", "region"], "reported"),
}
# The same over the host agent; the figure is what comes on top of `python -c pass`.
OVER_AGENT = {
    "agent, variable": (
        [sys.executable, "-c", "import strongroom; strongroom.variable('region')"],
        "≤ 3 ms over Python",
    ),
    "agent, connection": (
        [sys.executable, "-c", "import strongroom; strongroom.connection('orders_db')"],
        "≤ 20 ms over Python",
    ),
    "agent, connection and its extra": (
        [sys.executable, "-c", "import strongroom; strongroom.connection('orders_db').extra"],
        "reported",
    ),
    "agent, strongroom-read": (
        [sys.executable, "-c", "from strongroom.caller.readnow import run; run()", "region"],
        "≤ 25 ms in all",
    ),
}
AGENT = """
chain = ["env"]
[agent]
log_level = "error"
"""
HELD = {
    "AIRFLOW_VAR_REGION": "eu-west-1",
    "AIRFLOW_CONN_ORDERS_DB": "postgres://svc:pw@db.example.com:5432/orders?sslmode=require",
}


def measure() -> list[dict[str, object]]:
    with (
        tempfile.TemporaryDirectory(prefix="srm") as home,
        peers.openbao() as address,
        agent(Path(home), AGENT, HELD) as one,
    ):
        environment, asking = _room(home), one.environ(Path(home))
        bare = [sys.executable, "-c", "pass"]
        hvac = [peers.python(), "-c", peers.HVAC, address, peers.TOKEN]
        airflow = [peers.python(), "-c", peers.AIRFLOW, address, peers.TOKEN]
        times: dict[str, list[float]] = {name: [] for name in (*OURS, *OVER_AGENT, "bare", "hvac", "airflow")}
        for index in range(ROUNDS):
            for name, (argv, _) in OURS.items():
                times[name].append(_wall_ms(argv, environment))
            for name, (argv, _) in OVER_AGENT.items():
                times[name].append(_wall_ms(argv, asking))
            times["bare"].append(_wall_ms(bare, environment))
            times["hvac"].append(_wall_ms(hvac, environment))
            if index < PEER_ROUNDS:
                times["airflow"].append(_wall_ms(airflow, peers.airflow_environment(home)))
    rows = [_row(name, target, times) for name, (_, target) in OURS.items()]
    return rows + [_net_row(name, target, times) for name, (_, target) in OVER_AGENT.items()]


def _room(home: str) -> dict[str, str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "STRONGROOM_HOME": str(Path(home) / "room"),
        "AIRFLOW_VAR_IN_ENV": "x",
    }
    _strongroom(environment, "init")
    _strongroom(environment, "variables", "set", "region", "--value-file", "-", stdin=b"eu-west-1")
    uri = b"postgres://svc:pw@db.example.com:5432/orders"
    _strongroom(environment, "connections", "add", "orders_db", "--conn-uri", "-", stdin=uri)
    return environment


def _strongroom(environment: dict[str, str], *arguments: str, stdin: bytes = b"") -> None:
    subprocess.run(
        [BIN / "strongroom", *arguments], env=environment, check=True, input=stdin, stdout=subprocess.DEVNULL
    )


def _wall_ms(argv: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def _row(name: str, target: str, times: dict[str, list[float]]) -> dict[str, object]:
    ours, hvac, airflow = (median(times[key]) for key in (name, "hvac", "airflow"))
    return {
        "path": name,
        "ours": ours,
        "peer": hvac,
        "unit": "ms",
        "ratio": ours / hvac,
        "target": target,
        "note": f"peer: hvac, one read from OpenBao; Airflow's VaultBackend {airflow:,.0f} ms; "
        f"bare Python {median(times['bare']):.0f} ms",
    }


def _net_row(name: str, target: str, times: dict[str, list[float]]) -> dict[str, object]:
    least, bare, hvac = (min(times[key]) for key in (name, "bare", "hvac"))
    return {
        "path": name,
        "ours": least - bare,
        "peer": hvac - bare,
        "unit": "ms over Python",
        "ratio": (least - bare) / (hvac - bare),
        "target": target,
        "note": f"minima; {least:.1f} ms in all, bare Python {bare:.1f} ms, hvac {hvac:.0f} ms",
    }
