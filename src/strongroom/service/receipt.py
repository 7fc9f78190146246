"""
Receipts: what a server hands an agent for a run that it verified, so that it need not remember it.

A receipt names the agent, the run and when it ends, under a MAC by the key of the deployment. Whoever has one
can do nothing with it but be that agent, which proves itself by its own session each time.

Rules of this file:

1. What a receipt says is looked at after its MAC, and taken only by the agent that it names.
2. It ends by the clock of the server, and no leeway is given: the one that ends it is the one that made it.
3. It holds nothing secret: names of a run, as they stand in the record.

Shape: base64url(MAC (48) ‖ JSON), without padding; at most 8 KiB.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from strongroom.errors import InvalidInputError, SealedError, TamperedError
from strongroom.policy import Assurance, Run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

__all__ = ["MAX_RECEIPT_CHARACTERS", "Receipt", "Receipts"]

MAX_RECEIPT_CHARACTERS = 8192
_TABLE = "run-receipt"
_MAC_BYTES = 48  # the id of the key (16) and the MAC itself (32)
_SEEN = 4096  # receipts whose MAC was looked at already
_NONE = "this is no receipt of this deployment"


class Seal(Protocol):
    """What receipts need of a barrier: MACs under the key of the deployment."""

    def mac_row(self, table: str, columns: Iterable[object]) -> bytes:
        """Authenticate columns."""
        ...

    def check_row(self, table: str, columns: Iterable[object], mac: object) -> None:
        """Compare in constant time; raise TamperedError."""
        ...


class Receipt(NamedTuple):
    """
    What one says.

    Args:
        agent: whose it is, `agent:host-1`.
        run: verified, as Airflow says.
        ends: from then on it says nothing; microseconds since 1970 UTC.
    """

    agent: str
    run: Run
    ends: int


class _Body(msgspec.Struct, array_like=True, frozen=True):
    agent: str
    ends: int
    dag_id: str | None
    task_id: str | None
    run_id: str | None
    map_index: int | None
    try_number: int | None
    bundle: str | None
    ti_id: str | None
    bundle_version: str | None
    team: str | None
    source: str | None


_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(_Body).decode


class Receipts:
    """
    Issue and read receipts of one deployment. Threads: safe.

    Args:
        seal: makes and checks MACs.
        deployment: whose they are; a receipt of another is none.
    """

    def __init__(self, seal: Seal, deployment: str) -> None:
        self._seal = seal
        self._deployment = deployment
        self._seen: dict[str, Receipt] = {}

    def issue(self, agent: str, run: Run, ends: datetime) -> str:
        """
        Give the receipt of *agent* for *run*.

        Raises:
            SealedError: there is no active key.
        """
        body = _ENCODE(_Body(agent, int(ends.timestamp() * 1_000_000), *run[1:11]))
        mac = self._seal.mac_row(_TABLE, (self._deployment, body))
        return base64.urlsafe_b64encode(mac + body).rstrip(b"=").decode()

    def read(self, text: str) -> Receipt:
        """
        Give what a receipt says. Whose it is and whether it has ended is the caller's to compare.

        Raises:
            TamperedError: it is none of this deployment.
        """
        found = self._seen.get(text)
        if found is None:
            found = self._read(text)
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen[text] = found
        return found

    def _read(self, text: str) -> Receipt:
        if len(text) > MAX_RECEIPT_CHARACTERS or not text.isascii():
            raise TamperedError(_NONE)
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            self._seal.check_row(_TABLE, (self._deployment, raw[_MAC_BYTES:]), raw[:_MAC_BYTES])
            said = _DECODE(raw[_MAC_BYTES:])
        except (binascii.Error, msgspec.MsgspecError, TamperedError, SealedError, InvalidInputError):
            raise TamperedError(_NONE) from None
        run = Run(
            Assurance.VERIFIED_RUN,
            said.dag_id,
            said.task_id,
            said.run_id,
            said.map_index,
            said.try_number,
            said.bundle,
            said.ti_id,
            said.bundle_version,
            said.team,
            said.source,
            announced=True,
        )
        return Receipt(said.agent, run, said.ends)
