"""Import and export of 10,000 connections through the service: a real store, its key, its audit log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography.fernet import Fernet

from bench import peers
from strongroom.assembly import create_room
from strongroom.model.document import format_connections, parse_connections

TITLE = "Import and export of 10,000 connections"
COUNT = 10_000
PEER_COUNT = 200  # Airflow took over 400 s for all of them
NOTE = f"peer: `airflow connections import` of {PEER_COUNT} into a fresh SQLite database, without its start"


def measure() -> list[dict[str, object]]:
    """Measure each way in a process of its own, so that its memory is its own."""
    some = dict(list(_connections().items())[:PEER_COUNT])
    airflow = PEER_COUNT / peers.airflow_import_seconds(some)
    rows = []
    for form in ("json", "env", "yaml"):
        with tempfile.TemporaryDirectory() as folder:
            imported = _child("import", form, folder)
            exported = _child("export", form, folder)
        rows.append(_row(f"import, {form}", imported, 10.0, airflow))
        rows.append(_row(f"export, {form}", exported, 5.0, None))
    return [*rows, _from_airflow()]


def _from_airflow() -> dict[str, object]:
    """Measure `strongroom airflow import`, start and end of the process included, beside Airflow's export."""
    key = Fernet.generate_key().decode()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "airflow"
        peers.airflow_database(home, key)
        start = peers.airflow_export_seconds(home, key)
        rows = list(_sealed(key))
        peers.fill_airflow_database(home, rows[:PEER_COUNT])
        peer = PEER_COUNT / (peers.airflow_export_seconds(home, key) - start)
        peers.fill_airflow_database(home, rows[PEER_COUNT:])
        seconds = _import_from_airflow(home, key, folder)
    return {
        "path": f"airflow import: {seconds:.1f} s, the whole command",
        "ours": COUNT / seconds,
        "peer": peer,
        "unit": "connections/s",
        "ratio": COUNT / seconds / peer,
        "target": "≤ 10 s",
        "note": f"its peer: `airflow connections export` of {PEER_COUNT}, without its start; it only reads",
    }


def _import_from_airflow(home: Path, key: str, folder: str) -> float:
    file = Path(folder) / "key"
    file.write_text(key)
    environ = {**os.environ, "STRONGROOM_HOME": f"{folder}/room"}
    strongroom = [sys.executable, "-m", "strongroom"]
    subprocess.run([*strongroom, "init"], check=True, env=environ, stdout=subprocess.DEVNULL)
    command = [*strongroom, "airflow", "import", f"--home={home}", f"--fernet-key-file={file}"]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, env=environ, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert done.stdout.startswith(f"{COUNT:,} connections"), done.stdout
    return seconds


def _sealed(key: str) -> Iterator[tuple[object, ...]]:
    fernet = Fernet(key)
    for name, held in _connections().items():
        fields = dict(held)
        password, extra = (
            fernet.encrypt(str(fields[what]).encode()).decode() for what in ("password", "extra")
        )
        yield (
            *(name, fields["conn_type"], fields["description"], fields["host"], fields["schema"]),
            *(fields["login"], fields["port"], password, extra),
        )


def _row(path: str, figures: dict[str, float], seconds: float, peer: float | None) -> dict[str, object]:
    rate = COUNT / figures["seconds"]
    return {
        "path": f"{path}: {figures['seconds']:.1f} s, {figures['mebibytes']:.0f} MiB at most",
        "ours": rate,
        "peer": peer,
        "unit": "connections/s",
        "ratio": rate / peer if peer else None,
        "target": f"≤ {seconds:g} s, ≤ 200 MiB",
        "note": NOTE if peer else "",
    }


def _child(verb: str, form: str, folder: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.bench_transfer", verb, form, folder],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _connections() -> dict[str, object]:
    extra = json.dumps(
        {"sslmode": "require", "region_name": "eu-west-1", "role_arn": "arn:aws:iam::1:role/etl"}
    )
    return {
        f"team_{number % 40}.db_{number:05}": {
            "conn_type": "postgres",
            "description": f"The database number {number}",
            "login": f"user_{number}",
            "password": f"p@ss:w/rd?#[]{number}",
            "host": f"db{number}.example.com",
            "port": 5432,
            "schema": "sales",
            "extra": extra,
        }
        for number in range(COUNT)
    }


def _source(form: str) -> bytes:
    text = json.dumps(_connections(), indent=2)
    if form != "json":
        text = format_connections(parse_connections(text, "json"), form, "json")
    return text.encode()


def _work(verb: str, form: str, folder: str) -> None:
    prepared = Path(folder) / f"in.{form}"
    if verb == "import" and not prepared.exists():
        # In another process: making the file must not count as memory of the import.
        subprocess.run([sys.executable, "-m", "bench.bench_transfer", "prepare", form, folder], check=True)
    environ = {"STRONGROOM_HOME": folder}
    with create_room(environ=environ, cwd=Path(folder)) as room:
        start = time.perf_counter()
        if verb == "import":
            report = room.transfer.import_connections(prepared.read_bytes(), form)
            count = len(report.of("imported"))
        else:
            out = room.transfer.export_connections(form)
            (Path(folder) / f"out.{form}").write_text(out.reveal())
            count = len(out.names)
        seconds = time.perf_counter() - start
    assert count == COUNT
    print(json.dumps({"seconds": seconds, "mebibytes": _peak_mebibytes()}))


def _peak_mebibytes() -> float:
    # Not ru_maxrss: a child inherits its parent's figure across the fork.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this system does not tell the peak memory of a process")


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        (Path(sys.argv[3]) / f"in.{sys.argv[2]}").write_bytes(_source(sys.argv[2]))
    else:
        _work(*sys.argv[1:4])
