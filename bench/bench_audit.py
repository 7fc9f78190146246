"""The audit log: appending by the process of a server, from a loop and from threads, and proving it whole."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

from strongroom.audit import AuditLog, Event
from strongroom.audit.checkpoint import Keeper, evidence_beside
from strongroom.audit.desk import Plan
from strongroom.audit.line import spell_quickly
from strongroom.audit.uses import Uses
from strongroom.audit.verify import verify_log
from strongroom.audit.writer import Writer
from strongroom.cache import boot_seconds
from strongroom.model.ref import Ref
from strongroom.policy import Actor, Assurance, Decision

TITLE = "Audit: durable records, and verifying them"
ROUNDS = 3  # interleaved; the best of each counts
SECONDS = 1.0
RECORDS = 100_000
NOTE = "peer: one synced write of a line of 450 bytes after the other, on the same disk in the same rounds"


def measure() -> list[dict[str, object]]:
    """Measure appending in interleaved rounds, then verify."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("STRONGROOM_BENCH_DISK")) as folder:
        top = Path(folder)
        return [*_appending(top), *_verifying(top), _counting()]


def _event(number: int) -> Event:
    return Event(
        actor="service:ci",
        assurance=1,
        action="read",
        outcome="found",
        kind="connection",
        name=f"orders_db_{number % 500}",
        backend="native",
        version="3",
        policies=("airflow-op",),
        source="10.0.0.1",
    )


def _appending(top: Path) -> list[dict[str, object]]:
    writer = Writer()
    key = {"key": str(top / "key"), "records": 1000, "seconds": 60.0}
    log = writer.open(Plan(folder=top / "audit", deployment="bench", duties={"checkpoint": key}))
    log.append(_event(0))
    syncs, found = [], {count: [] for count in (1, 16, 64)}
    for _ in range(ROUNDS):
        syncs.append(_raw(top / "raw"))
        for count, rates in found.items():
            rates.append(asyncio.run(_clients(log, count)))
    log.close()
    peer = max(syncs)
    rows = []
    for count, rates in found.items():
        best = max(rate for rate, _ in rates)
        p99 = min(p99 for _, p99 in rates)
        rows.append(
            {
                "path": f"{count} at once, each its own record (p99 {p99 * 1000:.2f} ms)",
                "ours": best,
                "peer": peer,
                "unit": "records/s",
                "ratio": best / peer,
                "target": "≥ 15,000" if count == 16 else "",
                "note": NOTE,
            }
        )
    return rows


async def _clients(log, count):
    loop, times = asyncio.get_running_loop(), []
    end = loop.time() + SECONDS

    async def client(number):
        while (began := loop.time()) < end:
            await log.aappend(_event(number))
            times.append(loop.time() - began)

    await asyncio.gather(*(client(number) for number in range(count)))
    return len(times) / SECONDS, statistics.quantiles(times, n=100)[98]


def _raw(path: Path) -> float:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    count, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        os.write(file, b"x" * 450)
        os.fdatasync(file)
        count += 1
    os.close(file)
    return count / SECONDS


def _verifying(top: Path) -> list[dict[str, object]]:
    folder, key = top / "verified", top / "keys" / "key"
    clock = lambda: datetime.now(timezone.utc)  # noqa: E731 -- as short as what it says
    log = AuditLog(folder, deployment="bench", clock=clock, speller=spell_quickly)
    keeper = Keeper(folder, key, deployment="bench", clock=clock)
    for start in range(0, RECORDS, 1000):
        log.append(*(_event(start + number) for number in range(1000)))
        keeper.sign()
    log.close()
    rows = []
    for label, evidence in (
        ("verify, signatures and roots", None),
        ("the same, against the hashes beside the key", lambda keys: [evidence_beside(key, keys)]),
    ):
        rates = []
        for _ in range(ROUNDS):
            began = time.process_time()
            assert verify_log(folder, evidence=evidence).signed == RECORDS
            rates.append(RECORDS / (time.process_time() - began))
        rows.append(
            {
                "path": label,
                "ours": max(rates),
                "peer": None,
                "unit": "records/s",
                "ratio": None,
                "target": "≥ 100,000 on one core",
                "note": f"{RECORDS:,} records, a checkpoint every 1,000",
            }
        )
    return rows


def _counting() -> dict[str, object]:
    uses = Uses(timer=boot_seconds, clock=lambda: datetime.now(timezone.utc))
    decision = Decision(is_allowed=True, reason="", policies=("p",))
    use = SimpleNamespace(
        actor=Actor("service:ci", Assurance.HOST_USER),
        ref=Ref("variable", "x"),
        outcome="found",
        decision=decision,
        answer=None,
        error=None,
    )
    window = uses.open(use)
    best = min(_timed(window.repeat) for _ in range(ROUNDS))
    return {
        "path": "count one repeat of a use",
        "ours": best * 1e9,
        "peer": None,
        "unit": "ns",
        "ratio": None,
        "target": "",
        "note": None,
    }


def _timed(act) -> float:
    began = time.perf_counter()
    for _ in range(100_000):
        act()
    return (time.perf_counter() - began) / 100_000
