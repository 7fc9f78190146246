"""A project as it should be: a git work tree, an Airflow, DAGs, an image, a room. A test spoils one thing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from strongroom.assembly import create_room, open_doctor, open_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

CANARY = "k9Zq-c4nary-7Wm2"
"""Every secret of the project: no finding and no bundle may hold it."""

_DAG = """
import os
from airflow.sdk import Variable
password = os.environ["DB_PASSWORD"]
token = Variable.get("api_token")
url = f"postgres://svc:{password}@db/orders"
hook = Hook(password="{{ conn.orders.password }}", api_key="changeme")
"""
_DOCKERFILE = (
    "FROM python:3.11\nARG DB_PASSWORD\nENV DB_PASSWORD=${DB_PASSWORD} TOKEN_FILE=/run/secrets/token\n"
)
_COMPOSE = """
services:
  db:
    environment:
      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD}
      - AIRFLOW_CONN_DB=postgres://svc:${PW}@db/x
"""
_SETTINGS = """
chain = ["env", "native"]
[store]
path = "data/store.db"
wrappers = [
  { kind = "file", path = "keys/key" },
  { kind = "passphrase", passphrase = { file = "keys/passphrase" } },
]
[audit]
path = "data/audit"
"""


@dataclass
class Project:
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    fernet: str = field(default_factory=lambda: Fernet.generate_key().decode())

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def airflow(self) -> Path:
        return self.folder / "airflow"

    def make(self) -> Project:
        """Copy the project that was made first; a passphrase is stretched, and git started, only for that."""
        self._be_found()
        shutil.copytree(_first().name, self.folder, dirs_exist_ok=True)
        self._configure()
        return self

    def make_first(self) -> Project:
        """Make everything of the project."""
        self._be_found()
        self.write("home/.aws/credentials", "[default]\naws_access_key_id = x\naws_session_token = y\n")
        self._configure()
        self.write("airflow/dags/orders.py", _DAG)
        self.write("work/.env", f"AIRFLOW_CONN_LAKE=postgres://svc:{CANARY}@lake/x\n")
        self.write("work/.env.example", "AIRFLOW_CONN_LAKE=postgres://svc:secretword@lake/x\n", mode=0o644)
        self.write("work/.gitignore", ".env\n.strongroom/\nkeys/\n", mode=0o644)
        self.write("work/.strongroom/note", CANARY)
        self.write("work/dags/lake.py", _DAG)
        self.write("work/Dockerfile", _DOCKERFILE)
        self.write("work/docker-compose.yaml", _COMPOSE)
        self.write("work/keys/passphrase", CANARY)
        self.write("work/strongroom.toml", _SETTINGS, mode=0o644)
        self.git("init", "-q")
        create_room(environ=self.environ, cwd=self.work).close()
        self.put(Ref("connection", "cloud"), json.dumps({"conn_type": "aws", "extra": {"role_arn": "arn:x"}}))
        return self

    def _be_found(self) -> None:
        self.environ |= {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "AIRFLOW_HOME": str(self.airflow),
            "STRONGROOM_CONFIG": str(self.work / "strongroom.toml"),
        }

    def _configure(self) -> None:
        self.write(
            "airflow/airflow.cfg", f"[core]\nfernet_key = {self.fernet}\ndags_folder = {self.airflow}/dags\n"
        )

    def write(self, name: str, text: str, *, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(text)
        path.chmod(mode)
        return path

    def git(self, *arguments: str) -> None:
        if shutil.which("git") is None and not os.environ.get("CI"):
            pytest.skip("git is not installed")
        subprocess.run(["git", *arguments], cwd=self.work, env=self.environ, check=True, capture_output=True)

    def settings(self, text: str) -> None:
        """Add *text* to the settings, its keys of the top first."""
        self.write("work/strongroom.toml", _SETTINGS + text, mode=0o644)

    def put(self, ref: Ref, text: str, **change: object) -> None:
        with open_room(environ=self.environ, cwd=self.work) as room:
            room.entries.write(Change(ref=ref, secret=Secret(text), **change), force=True)

    def metastore(self, text: str, *, key: str | None = None) -> None:
        """Put an Airflow's database beside the native store, with one variable: *text*, sealed by *key*."""
        database = self.airflow / "airflow.db"
        shutil.copy(Path(__file__).parent.parent / "data/airflow3/airflow.db", database)
        with sqlite3.connect(database) as opened:
            opened.execute("DELETE FROM connection")
            opened.execute("DELETE FROM variable")
            sealed = Fernet(key.encode()).encrypt(text.encode()).decode() if key else text
            opened.execute(
                "INSERT INTO variable (key, val, is_encrypted) VALUES ('old', ?, ?)",
                (sealed, key is not None),
            )
        opened.close()
        self.settings(f'[backend.old]\nkind = "airflow_metastore"\npath = "{database}"\n')
        self.chain("env", "native", "old")

    def chain(self, *names: str) -> None:
        path = self.work / "strongroom.toml"
        path.write_text(path.read_text().replace('chain = ["env", "native"]', f"chain = {json.dumps(names)}"))

    def examine(self, *, is_deep: bool = False):
        with open_doctor(environ=self.environ, cwd=self.work) as doctor:
            return doctor.run(is_deep=is_deep)


@cache
def _first() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    Project(Path(folder.name)).make_first()
    return folder
