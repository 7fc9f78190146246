"""Warm reads in a process: the public call, the cache below it, and what else one could keep values in."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import OrderedDict
from statistics import median
from timeit import Timer

import strongroom
from bench import peers
from strongroom.cache import Cache
from strongroom.chain import Chain, Link
from strongroom.model.ref import Ref
from strongroom.testing.fakes import Memory, frozen_clock

TITLE = "Warm read in a process (1,000 names held)"
ROUNDS = 21
CALLS = 50_000
TARGET = "≤ 0.3 µs"
NAMES = 1000
KEY = ("variable", "name-500", None)


class Locked:
    """What is usually written: an ordered dict with a deadline a value, least recently used out, one lock."""

    def __init__(self, ttl: float, bound: int) -> None:
        self._held: OrderedDict[object, tuple[object, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._ttl = ttl
        self._bound = bound

    def put(self, key: object, value: object) -> None:
        with self._lock:
            self._held[key] = (value, time.monotonic() + self._ttl)
            if len(self._held) > self._bound:
                self._held.popitem(last=False)

    def get(self, key: object) -> object:
        with self._lock:
            held = self._held.get(key)
            if held is None or held[1] <= time.monotonic():
                return None
            self._held.move_to_end(key)
            return held[0]


def measure() -> list[dict[str, object]]:
    with (
        tempfile.TemporaryDirectory() as home,
        strongroom.open_room(environ=_environment(home)) as room,
        strongroom.use_room(room),
        peers.openbao() as address,
        peers.vault_backend(address) as airflow,
    ):
        calls = _calls()
        times: dict[str, list[float]] = {name: [] for name in (*calls, "airflow")}
        for _ in range(ROUNDS):
            for name, timer in calls.items():
                times[name].append(timer.timeit(CALLS) / CALLS * 1e6)
            times["airflow"].append(peers.round_us(airflow))
    figures = {name: median(values) for name, values in times.items()}
    return _rows(figures)


def _environment(home: str) -> dict[str, str]:
    entries = {f"AIRFLOW_VAR_NAME-{index}": "x" for index in range(NAMES)}
    return {
        "HOME": home,
        "STRONGROOM_HOME": home,
        "AIRFLOW_CONN_ORDERS_DB": "postgres://svc:pw@db.example.com:5432/orders",
        **entries,
    }


def _calls() -> dict[str, Timer]:
    held = {Ref("variable", f"name-{index}"): "x" for index in range(NAMES)}
    cache = Cache(Chain([Link(backend=Memory("memory", held))], clock=frozen_clock), clock=frozen_clock)
    plain: dict[object, object] = {}
    locked = Locked(300, 2 * NAMES)
    for ref in held:
        entry = cache.read(ref)
        plain[tuple(ref)] = entry
        locked.put(tuple(ref), entry)
    assert strongroom.variable("name-500") == "x"
    assert strongroom.connection("orders_db").host == "db.example.com"
    shared = {
        "variable": strongroom.variable,
        "connection": strongroom.connection,
        "peek": cache.peek,
        "plain": plain.get,
        "locked": locked.get,
        "name": "name-500",
    }
    return {
        "variable": Timer("variable(name)", globals=shared),
        "connection": Timer("connection('orders_db')", globals=shared),
        "peek": Timer("peek(('variable', name, None))", globals=shared),
        "plain": Timer("plain(('variable', name, None))", globals=shared),
        "locked": Timer("locked(('variable', name, None))", globals=shared),
        "peek, crowd": _Crowd(cache.peek),
        "locked, crowd": _Crowd(locked.get),
    }


class _Crowd(Timer):
    """Eight threads that read at once; the time of one read, as the interpreter hands them out."""

    def __init__(self, read: object) -> None:
        super().__init__("read(key)", globals={"read": read, "key": KEY})

    def timeit(self, number: int = CALLS) -> float:
        one = Timer.timeit
        threads = [threading.Thread(target=one, args=(self, number // 8)) for _ in range(8)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start


def _rows(figures: dict[str, float]) -> list[dict[str, object]]:
    vault = "peer: Airflow's VaultBackend, warm, against OpenBao on this machine"
    locked = "peer: ordered dict, deadline, least recently used, one lock"
    return [
        _row("variable(name)", figures["variable"], figures["airflow"], TARGET, vault),
        _row("connection(name), parsed once", figures["connection"], figures["airflow"], "reported", vault),
        _row("Cache.peek", figures["peek"], figures["plain"], TARGET, "peer: plain dict, which is the limit"),
        _row("Cache.peek", figures["peek"], figures["locked"], "at most the peer", locked),
        _row(
            "Cache.peek, 8 threads",
            figures["peek, crowd"],
            figures["locked, crowd"],
            "at most the peer",
            locked,
        ),
    ]


def _row(path: str, ours: float, peer: float, target: str, note: str) -> dict[str, object]:
    return {
        "path": path,
        "ours": ours,
        "peer": peer,
        "unit": "µs",
        "ratio": ours / peer,
        "target": target,
        "note": note,
    }
