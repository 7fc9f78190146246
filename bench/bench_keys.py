"""
Keys: 100,000 entries put under a new key while others read.

Two readers ask for random names all the time, one in a process of its own and one on a thread of the process
that does the job. Their times are taken before the key is replaced, while the job runs at the rate a server
keeps to (2,500 entries a second), and once more as fast as it goes.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path

from strongroom.barrier import Barrier
from strongroom.crypto import wrapping
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.store.store import Store

TITLE = "Keys (100,000 entries of 200 bytes put under a new key)"
ENTRIES = 100_000
RATE = 2_500.0
QUIET_SECONDS = 8.0
TEXT = "p" * 200


class _HeldKey(wrapping.Wrapper):
    """An outer key in memory: what a key file costs is measured elsewhere."""

    kind = "held"
    name = "bench"

    def wrap(self, key: bytes, *, context: bytes) -> bytes:
        return wrapping.wrap_under(b"k" * 32, key, context=context)

    def unwrap(self, blob: bytes, *, context: bytes) -> bytes:
        return wrapping.unwrap_under(b"k" * 32, blob, context=context)


def measure() -> list[dict[str, object]]:
    folder = Path(tempfile.mkdtemp(prefix="strongroom-bench-"))
    try:
        return _measure(folder / "room" / "store.db")
    finally:
        shutil.rmtree(folder)


def _measure(path: Path) -> list[dict[str, object]]:
    barrier = Barrier.create(Store.open(path, create=True), [_HeldKey()], deployment="bench", clock=_now)
    barrier.write_many(_draft(number) for number in range(ENTRIES))
    rows = [row for rate in (RATE, 0.0) for row in _rewrapped(barrier, path, rate)]
    unreadable = sum(barrier.read(_ref(number)) is None for number in range(ENTRIES))
    barrier.close()
    rows[0]["note"] = f"{unreadable} unreadable rows afterwards; peer: the same reads before the job"
    return rows


def _rewrapped(barrier: Barrier, path: Path, rate: float) -> list[dict[str, object]]:
    quiet = _during(barrier, path, lambda: time.sleep(QUIET_SECONDS))
    barrier.rotation.rotate([""], author="bench")
    started = time.perf_counter()
    busy = _during(barrier, path, lambda: barrier.rewrap.run(rate=rate))
    seconds = time.perf_counter() - started
    how = f"at most {rate:,.0f} a second" if rate else "as fast as it goes"
    done: dict[str, object] = {
        "path": f"{ENTRIES:,} entries re-wrapped, {how}",
        "ours": seconds,
        "peer": None,
        "unit": "s",
        "ratio": None,
        "target": "≤ 60 s",
    }
    return [done, *(_compared(f"p99 of a read {who}, meanwhile", busy[who], quiet[who]) for who in busy)]


def _compared(path: str, busy: list[float], quiet: list[float]) -> dict[str, object]:
    return {
        "path": path,
        "ours": _p99(busy),
        "peer": _p99(quiet),
        "unit": "µs",
        "ratio": _p99(busy) / _p99(quiet),
        "target": "≤ 2 times",
    }


def _during(barrier: Barrier, path: Path, work: Callable[[], object]) -> dict[str, list[float]]:
    """Give what reads took, in another process and in this one, while *work* went on."""
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_beside, args=(path, theirs))
    process.start()
    mine.recv()
    ended, within = threading.Event(), list[float]()
    thread = threading.Thread(target=_read, args=(barrier, within, ended.is_set))
    mine.send("go")
    thread.start()
    work()
    ended.set()
    mine.send("end")
    found = mine.recv()
    thread.join()
    process.join()
    return {"in another process": found, "in the process that does it": within}


def _beside(path: Path, orders: Connection) -> None:
    barrier = Barrier.open(Store.open(path), [_HeldKey()], deployment="bench", clock=_now)
    orders.send("ready")
    orders.recv()
    took: list[float] = []
    _read(barrier, took, orders.poll)
    orders.send(took)
    barrier.close()


def _read(barrier: Barrier, took: list[float], is_ended: Callable[[], bool]) -> None:
    chosen = random.Random(7)
    while not is_ended():
        ref = _ref(chosen.randrange(ENTRIES))
        started = time.perf_counter()
        barrier.read(ref)
        took.append((time.perf_counter() - started) * 1e6)
        time.sleep(0.001)  # a thousand a second: a load, not a race for the processor


def _p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


def _ref(number: int) -> Ref:
    return Ref("variable", f"team_{number % 50}/entry_{number}")


def _draft(number: int) -> Draft:
    return Draft(ref=_ref(number), secret=Secret(TEXT), author="bench")


def _now() -> datetime:
    return datetime.now(timezone.utc)
