"""Import and export of 10,000 connections through the service: a real store, its key, its audit log."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from strongroom.assembly import create_room
from strongroom.model.document import format_connections, parse_connections

TITLE = "Import and export of 10,000 connections"
COUNT = 10_000
_MIB = 1024  # KiB
_TARGETS = {"import": 10.0, "export": 5.0, "memory": 200.0}


def measure() -> list[dict[str, object]]:
    """Measure each way in a process of its own, so that its memory is its own."""
    rows = []
    for form in ("json", "env", "yaml"):
        with tempfile.TemporaryDirectory() as folder:
            imported = _child("import", form, folder)
            exported = _child("export", form, folder)
        for verb, figures in (("import", imported), ("export", exported)):
            rows.append(
                _row(f"{verb} {COUNT:,}, {form}", figures["seconds"], "s", _TARGETS[verb], figures["note"])
            )
            rows.append(
                _row(f"peak memory of that {verb}", figures["mebibytes"], "MiB", _TARGETS["memory"], "")
            )
    return rows


def _row(path: str, ours: float, unit: str, target: float, note: str) -> dict[str, object]:
    # The peer is the limit the issue sets: Airflow's command commits row by row into a database of
    # its own and is not comparable in what it makes durable.
    return {
        "path": path,
        "ours": ours,
        "peer": target,
        "unit": unit,
        "ratio": ours / target,
        "target": f"≤ {target:g} {unit}",
        "note": note,
    }


def _child(verb: str, form: str, folder: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.bench_transfer", verb, form, folder],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _connections() -> dict[str, object]:
    extra = json.dumps(
        {"sslmode": "require", "region_name": "eu-west-1", "role_arn": "arn:aws:iam::1:role/etl"}
    )
    return {
        f"team_{number % 40}/db_{number:05}": {
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB
    print(json.dumps({"seconds": seconds, "mebibytes": peak, "note": f"{count:,} connections"}))


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        (Path(sys.argv[3]) / f"in.{sys.argv[2]}").write_bytes(_source(sys.argv[2]))
    else:
        _work(*sys.argv[1:4])
