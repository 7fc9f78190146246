"""
A record of an agent's log inside its server's: what it becomes there, and what it was.

Nothing of it is lost: from the server's record the agent's line can be spelled anew, byte for byte, so that
the agent's chain is proven wherever the server's log is (`verify.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from msgspec import UNSET

from strongroom.audit.channel import Sent
from strongroom.audit.line import BROKEN, decode, spell_quickly
from strongroom.audit.record import MAX_LINE_BYTES, MAX_TEXT_CHARACTERS, ZERO, RefUse
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.audit.line import Line
    from strongroom.audit.record import Event

__all__ = ["CHAIN_CHARACTERS", "MARK", "Chains", "Delivered", "chain_of", "original", "read"]

CHAIN_CHARACTERS = 16  # of the hash of its first record: they name a chain
_NUMBERS = range(-(2**63), 2**63)  # what the way to the server's log carries
MARK = b'"agent":{'  # stands in the line of such a record and, as quotes are escaped in texts, in no other


class Delivered(NamedTuple):
    """
    One line of an agent's log.

    Args:
        event: what it becomes in the server's.
    """

    seq: int
    prev: str
    digest: str
    event: Event


def chain_of(digest: str) -> str:
    """Give the name of the chain whose first record has that hash."""
    return digest[:CHAIN_CHARACTERS]


def read(line: bytes, *, agent: str, chain: str) -> Delivered:
    """
    Read one *line* of the log of *agent*, without its newline, and prove that it is what its hash says.

    Raises:
        InvalidInputError: it is no record, or another one than its hash says. What it holds is not told.
    """
    if len(line) <= MAX_LINE_BYTES:
        try:
            found = decode(line)
            sent = _sent(found, user=found.actor)
            spelled, digest = spell_quickly(
                cast("Event", sent), found.seq, found.at, found.prev, found.deployment
            )
        except BROKEN:
            pass
        else:
            # Equal to the byte: nothing of it is cut, unknown or in another order.
            is_same = spelled == line + b"\n" and digest == found.hash
            if found.agent is UNSET and is_same and _fits(found):
                part: dict[str, str | int] = {
                    "at": found.at,
                    "chain": chain,
                    "deployment": found.deployment,
                    "digest": digest,
                    "prev": found.prev,
                    "seq": found.seq,
                    "user": found.actor,
                }
                event = msgspec.structs.replace(sent, actor=agent, agent=part)
                return Delivered(found.seq, found.prev, digest, cast("Event", event))
    raise InvalidInputError("this line is no record of an agent", hint="it was changed on its way, or before")


def _fits(found: Line) -> bool:
    """Tell whether all of a record fits into the server's: cut there, its chain would prove it no more."""
    texts = (found.actor, found.at, found.deployment)
    return all(len(text) <= MAX_TEXT_CHARACTERS for text in texts) and all(
        number in _NUMBERS for number in _numbers(found)
    )


def _numbers(found: Line) -> Iterator[int]:
    yield from (found.seq, found.assurance, 0 if found.count is UNSET else found.count)
    if found.run is not UNSET:
        said = msgspec.to_builtins(found.run)
        yield from (value for value in said.values() if isinstance(value, int))
    if found.refs is not UNSET:
        yield from (ref[6] for ref in found.refs)


def original(record: Line) -> tuple[bytes, str]:
    """
    Give the line that a delivered *record* had in the agent's log, and its hash.

    Raises:
        ValueError: it is none that was delivered.
    """
    part = record.agent
    if part is UNSET:
        raise ValueError("this record was not delivered")
    seq, at, prev, deployment, user = part.seq, part.at, part.prev, part.deployment, part.user
    if seq is UNSET or at is UNSET or prev is UNSET or deployment is UNSET or user is UNSET:
        raise ValueError("this record was not delivered")
    sent = _sent(record, user=user)
    return spell_quickly(cast("Event", sent), seq, at, prev, deployment)


def _sent(found: Line, *, user: str) -> Sent:
    def said(value: Any) -> Any:  # noqa: ANN401 -- any member
        return None if value is UNSET else value

    return Sent(
        user,
        found.assurance,
        found.action,
        found.outcome,
        found.kind,
        found.name,
        found.team,
        found.reason,
        found.backend,
        found.version,
        said(found.request),
        said(found.source),
        None if found.run is UNSET else msgspec.to_builtins(found.run),
        () if found.policies is UNSET else tuple(found.policies),
        said(found.count),
        said(found.since),
        said(found.until),
        () if found.refs is UNSET else tuple(RefUse(*ref) for ref in found.refs),
    )


class Chains:
    """
    Follow the chains of agents through a server's log, and find where one has a gap.

    Args:
        is_whole: the log is there from its first record on. Where it is not, a chain may begin anywhere.
    """

    def __init__(self, *, is_whole: bool) -> None:
        self._is_whole = is_whole
        self._ends: dict[tuple[str, str], tuple[int, str]] = {}

    def fault(self, record: Line) -> str:
        """Take *record*; give what is wrong with it as one of an agent's, or ""."""
        part = record.agent
        if part is UNSET or part.seq is UNSET:
            return ""
        try:
            _, digest = original(record)
        except (ValueError, *BROKEN):
            return f"this record of {record.actor} is not whole"
        if digest != part.digest:
            return f"this record is not the one that {record.actor} delivered"
        key = (record.actor, str(part.chain))
        seq, prev = int(part.seq), str(part.prev)
        end = self._ends.get(key)
        self._ends[key] = (seq, digest)
        if end is None:
            is_first = seq == 0 and prev == ZERO and chain_of(digest) == part.chain
            return (
                ""
                if is_first or not self._is_whole
                else f"records of {record.actor} before number {seq} are missing"
            )
        if seq != end[0] + 1:
            return f"record {end[0] + 1} of {record.actor} is missing here, or stands in the wrong place"
        return "" if prev == end[1] else f"record {seq} of {record.actor} does not follow the one before"
