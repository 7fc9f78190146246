"""
Real Airflow, asked by the tests: a process of its own environment that stays up and answers.

The environment is `.venv-airflow3`, made by `scripts/make-peers`. Where it is missing a test skips with
the reason, and fails where `CI` is set.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
VENV = ROOT / ".venv-airflow3"
PYTHON = VENV / "bin" / "python"
MISSING = "real Airflow is not here: run scripts/make-peers"


def require_airflow():
    """Skip where there is no real Airflow; in CI that is a failure."""
    if (VENV / ".done").exists():
        return
    if os.environ.get("CI"):
        pytest.fail(MISSING, pytrace=False)
    pytest.skip(MISSING)


class Airflow:
    """
    Airflow's own backends, behind a line of JSON in and a line of JSON out.

    Args:
        home: an empty folder that becomes AIRFLOW_HOME.

    Attributes:
        provider: the version of the provider hashicorp, as (4, 8, 4).
    """

    def __init__(self, home: Path) -> None:
        self.log = home / "airflow.log"
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "PYTHONUTF8": "1",
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [PYTHON, Path(__file__).with_name("answer.py")],
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="ascii",
            )
        self.provider = tuple(map(int, json.loads(self._read())["provider"].split(".")))

    def ask(self, backend, asks, *, kwargs=None, environ=None, dialect="core"):
        """Give Airflow's answers to *asks*, each (kind, name, team), from its *backend* with *kwargs*."""
        return self._call(
            do="ask",
            backend=backend,
            kwargs=kwargs or {},
            environ=environ or {},
            dialect=dialect,
            asks=[list(one) for one in asks],
        )

    def open(self, database: Path, fernet_key: str) -> None:
        """Let Airflow use the SQLite file *database* from now on."""
        url = f"sqlite:///{database}"
        assert self._call(do="open", url=url, fernet_key=fernet_key) == {"url": url}

    def keep(self, connections=(), variables=()):
        """Let Airflow store entries, each given as the keyword arguments of its model."""
        self._call(do="keep", connections=list(connections), variables=list(variables))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()

    def _call(self, **request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def _read(self) -> str:
        line = self._process.stdout.readline()
        assert line, f"real Airflow ended:\n{self.log.read_text(errors='replace')[-2000:]}"
        return line
