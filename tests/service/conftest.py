from __future__ import annotations

import sys
import venv
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from strongroom.assembly import room_of
from strongroom.audit import AuditLog, Record
from strongroom.backend import Backend
from strongroom.chain import Link
from strongroom.service.room import Room
from strongroom.settings import load


@dataclass
class Clock:
    """A wall clock that a test moves."""

    now: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **amount: float) -> None:
        self.now += timedelta(**amount)


@dataclass
class House:
    """Makes rooms around fake backends, with a real audit log in a folder of the test."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    rooms: list[Room] = field(default_factory=list)

    def room(self, *backends: Backend | Link, **environ: str) -> Room:
        links = [found if isinstance(found, Link) else Link(backend=found) for found in backends]
        settings = load(environ={"STRONGROOM_HOME": str(self.folder), **environ}, cwd=self.folder)
        room = room_of(links, settings, clock=self.clock)
        self.rooms.append(room)
        return room

    def records(self, n: int = 100) -> list[Record]:
        return AuditLog(self.folder / "audit", deployment="default", clock=self.clock).tail(n)

    def acts(self) -> list[tuple[str, str | None, str]]:
        return [(record.action, record.name, record.outcome) for record in self.records()]


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    for room in house.rooms:
        room.close()


INFO = {
    "connection-types": [
        {"connection-type": "acme_lake", "hook-name": "Acme Lake", "ui-field-behaviour": {}},
        {"connection-type": "redis", "conn-fields": {"new_in_redis": {"schema": {"type": "string"}}}},
    ]
}


@pytest.fixture
def airflow(tmp_path):
    """Give a search path that leads to an Airflow with one provider."""
    venv.create(tmp_path / "airflow", with_pip=False)
    site = next((tmp_path / "airflow").glob("lib/python3*/site-packages"))
    info = site / "airflow_provider_acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: airflow-provider-acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[apache_airflow_provider]\nprovider_info = acme_info:told\n")
    (site / "acme_info.py").write_text(f"def told():\n    return {INFO!r}\n")
    command = tmp_path / "airflow" / "bin" / "airflow"
    command.write_text(f"#!{sys.executable}\n")
    command.chmod(0o755)
    return {"PATH": str(command.parent)}
