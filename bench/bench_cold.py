"""Cold starts: a fresh process to its first value, beside what task processes start today."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench import peers

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


def measure() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as home, peers.openbao() as address:
        environment = _room(home)
        bare = [sys.executable, "-c", "pass"]
        hvac = [peers.python(), "-c", peers.HVAC, address, peers.TOKEN]
        airflow = [peers.python(), "-c", peers.AIRFLOW, address, peers.TOKEN]
        times: dict[str, list[float]] = {name: [] for name in (*OURS, "bare", "hvac", "airflow")}
        for index in range(ROUNDS):
            for name, (argv, _) in OURS.items():
                times[name].append(_wall_ms(argv, environment))
            times["bare"].append(_wall_ms(bare, environment))
            times["hvac"].append(_wall_ms(hvac, environment))
            if index < PEER_ROUNDS:
                times["airflow"].append(_wall_ms(airflow, peers.airflow_environment(home)))
    return [_row(name, target, times) for name, (_, target) in OURS.items()]


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
