"""Seal and open one value, beside Fernet, which Airflow keeps its values in."""

from __future__ import annotations

import os
from statistics import median
from timeit import Timer
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet

from strongroom.crypto import envelope
from strongroom.crypto.envelope import Context
from strongroom.crypto.keyring import Keyring, Place

if TYPE_CHECKING:
    from collections.abc import Callable

TITLE = "Envelope (a value of 200 bytes and one of 4 KiB)"
ROUNDS = 25
CALLS = 2_000
ROW_ID = os.urandom(16)
RING = Keyring(Place(store_id=os.urandom(16), deployment="prod", team="data"), []).rotated()


def measure() -> list[dict[str, object]]:
    short, long = _Case(200), _Case(4096)
    figures = _interleaved(
        {
            "open": short.opened,
            "open, context": short.opened_with_context,
            "peer open": short.peer_opened,
            "seal": short.sealed_anew,
            "peer seal": short.peer_sealed_anew,
            "open 4K": long.opened,
            "peer open 4K": long.peer_opened,
            "seal 4K": long.sealed_anew,
            "peer seal 4K": long.peer_sealed_anew,
        }
    )
    everything = "key by id, unwrap, commitment, bound place, padding"
    return [
        _row("open 200 bytes", figures, "open", "peer open", "≤ 0.75 of Fernet", everything),
        _row(
            "the same, its Context built too",
            figures,
            "open, context",
            "peer open",
            "",
            "checks and encodes 5 parts",
        ),
        _row("seal 200 bytes", figures, "seal", "peer seal", "", "fresh DEK and nonces"),
        _row("open 4 KiB", figures, "open 4K", "peer open 4K", "", ""),
        _row("seal 4 KiB", figures, "seal 4K", "peer seal 4K", "", ""),
    ]


class _Case:
    """One value, sealed by us and by the peer."""

    def __init__(self, length: int) -> None:
        self.plaintext, self.key = os.urandom(length), RING.active
        self.context = Context("connection", "value", ROW_ID, 3, "orders_db")
        self.sealed = envelope.seal(self.plaintext, key=self.key, context=self.context)
        self.peer = Fernet(Fernet.generate_key())
        self.token = self.peer.encrypt(self.plaintext)

    def opened(self) -> bytes:
        return envelope.open(self.sealed, keyring=RING, context=self.context)

    def opened_with_context(self) -> bytes:
        context = Context("connection", "value", ROW_ID, 3, "orders_db")
        return envelope.open(self.sealed, keyring=RING, context=context)

    def sealed_anew(self) -> bytes:
        return envelope.seal(self.plaintext, key=self.key, context=self.context)

    def peer_opened(self) -> bytes:
        return self.peer.decrypt(self.token)

    def peer_sealed_anew(self) -> bytes:
        return self.peer.encrypt(self.plaintext)


def _interleaved(acts: dict[str, Callable[[], bytes]]) -> dict[str, list[float]]:
    """Give the microseconds of each act, one figure a round; the acts take turns within a round."""
    timers = {name: Timer(act) for name, act in acts.items()}
    rounds: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            rounds[name].append(timer.timeit(CALLS) / CALLS * 1e6)
    return rounds


def _row(  # the columns of the table
    path: str, figures: dict[str, list[float]], ours: str, peer: str, target: str, note: str
) -> dict[str, object]:
    # The ratio is taken within each round, where both saw the same machine.
    ratios = [one / other for one, other in zip(figures[ours], figures[peer], strict=True)]
    return {
        "path": path,
        "ours": median(figures[ours]),
        "peer": median(figures[peer]),
        "unit": "µs",
        "ratio": median(ratios),
        "target": target,
        "note": note,
    }
