"""
What a record is, and its one line.

Rules of this file:

1. A line is JSON with sorted keys, no spaces, UTF-8 (RFC 8785 for the strings and integers used here).
   `hash` is the SHA-256 of that line without its `hash` member; `prev` is the hash of the record before.
2. Members that came later stand in a line only where they say something, so that older lines stay what
   they were.
3. Nothing in a record is of any length: what is longer is cut, and a line stays under 64 KiB.
4. A value has no member to stand in. Members hold text, whole numbers and lists of these, by type.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dataclasses import Field
    from typing import Any

    from strongroom.policy import Run

__all__ = [
    "MAX_LINE_BYTES",
    "MAX_REFS",
    "ZERO",
    "Event",
    "Record",
    "RefUse",
    "Verdict",
    "digest_of",
    "members_of",
    "read_line",
    "run_of",
    "spell",
    "stamp",
]

MAX_REASON_CHARACTERS = 500
MAX_TEXT_CHARACTERS = (
    250  # of a version, a policy's name and the like: those of foreign stores have any length
)
MAX_POLICIES = 32
MAX_REFS = 100  # of one record: at most about 1,100 bytes each in ASCII, and seldom more than 60
MAX_LINE_BYTES = 1_048_576  # more is no record: MAX_REFS of them in the widest characters are less
ZERO = "0" * 64  # stands before the first record
_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_HASH_MEMBER = b',"hash":"'  # cannot stand inside a string: there its quotes are escaped
_HASH_MEMBER_BYTES = len(_HASH_MEMBER) + 64 + 1
_AFTER_HASH = b',"kind":'  # `hash` sorts right before `kind`
_TEXTS = ("action", "actor", "backend", "kind", "name", "outcome", "reason", "team", "version")
_AGENT_MEMBERS = frozenset({"at", "chain", "deployment", "digest", "prev", "seq", "user"})
_RUN_MEMBERS = frozenset(
    {
        "announced",
        "assurance",
        "bundle",
        "bundle_version",
        "dag_id",
        "map_index",
        "run_id",
        "source",
        "task_id",
        "team",
        "ti_id",
        "try_number",
    }
)


class RefUse(NamedTuple):
    """
    One Ref of a record about several.

    Args:
        outcome: of this one.
        uses: how many of it this record stands for.
    """

    kind: str
    name: str
    team: str | None = None
    outcome: str = "found"
    version: str | None = None
    backend: str | None = None
    uses: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    What is to be recorded; the log adds number, time and chain.

    Args:
        action: the word of the action; `repair` and `resume` are the log's own.
        outcome: found, absent, denied, unavailable, invalid, begun, done, failed; of a batch `mixed` where
            its Refs differ.
        kind, name, team: what was asked for; None where the act is about the whole room, or about `refs`.
        reason: why it was done or refused; at most 500 characters are kept.
        version: of the entry; at most 250 characters are kept.
        request: id of the request it came by.
        source: the address it came from.
        run: what the request said of its run, and with what `assurance`.
        policies: ids of the policies that decided; at most 32 are kept.
        count: this record stands for so many uses or attempts that were counted, not recorded one by one;
            None for the one it tells of.
        since, until: of what was counted; text as in `Record.at`.
        refs: of a batch, at most 100; `count` is then all of theirs where any was counted.
        agent: where the actor is an agent: for which `user` of its host. Of a record of the agent's own log
            that it delivered, that log's `chain` and `deployment`, and there the record's `at`, `seq`, `prev`
            and `digest`, its hash: with these the agent's line can be spelled anew (`intake.py`).
    """

    actor: str
    assurance: int
    action: str
    outcome: str
    kind: str | None = None
    name: str | None = None
    team: str | None = None
    reason: str = ""
    backend: str | None = None
    version: str | None = None
    request: str | None = None
    source: str | None = None
    run: Mapping[str, str | int] | None = None
    policies: tuple[str, ...] = ()
    count: int | None = None
    since: str | None = None
    until: str | None = None
    refs: tuple[RefUse, ...] = ()
    agent: Mapping[str, str | int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Event):
    """
    One line of the log.

    Args:
        seq: number of the record, from 0, without gaps.
        at: wall clock, UTC, as `2026-01-31T12:00:00.000000Z`.
        prev: hash of the record before, 64 hexadecimal digits; zeros for the first.
        hash: SHA-256 of the canonical JSON of everything else in the record.
    """

    seq: int
    at: str
    deployment: str
    prev: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    How a verification ended.

    Args:
        count: good records, from the first that is kept.
        index: number of the first bad record, or None.
        reason: what is wrong there, or "".
        repairs: numbers of the records that tell of a torn end that was cut off after a crash.
        first: number of the first record that is kept; those before were archived or removed.
        signed: records that good checkpoints cover, counted from the very first.
        checkpoints: good checkpoints, those of witnesses included.
        witnesses: names of what was looked at beside the log itself.
    """

    is_ok: bool
    count: int
    index: int | None = None
    reason: str = ""
    repairs: tuple[int, ...] = ()
    first: int = 0
    signed: int = 0
    checkpoints: int = 0
    witnesses: tuple[str, ...] = ()


# --- writing ---------------------------------------------------------------------------------------


def spell(event: Event, seq: int, at: str, prev: str, deployment: str) -> tuple[bytes, str]:
    """Give the line of *event*, its newline included, and its hash."""
    members = members_of(event)
    members.update(at=at, deployment=deployment, prev=prev, seq=seq)
    return seal(_ENCODE(members).encode("utf-8", "replace"))


def seal(body: bytes) -> tuple[bytes, str]:
    """Give the line that *body*, a record without its `hash`, becomes, and the hash."""
    digest = hashlib.sha256(body).hexdigest()
    split = body.index(_AFTER_HASH)
    line = b'%b,"hash":"%b"%b\n' % (body[:split], digest.encode(), body[split:])
    return line, digest


def members_of(event: Event) -> dict[str, Any]:
    """
    Give the members of *event* that stand in its line, cut to what is kept.

    Raises:
        TypeError: a member is of another type than it must be; it is not said what it was.
    """
    for name in _TEXTS:
        if not isinstance(getattr(event, name), str | None):
            raise TypeError(f"{name} of a record is text")
    members: dict[str, Any] = {
        "action": event.action,
        "actor": event.actor,
        "assurance": event.assurance,
        "backend": event.backend,
        "kind": event.kind,
        "name": event.name,
        "outcome": event.outcome,
        "reason": event.reason[:MAX_REASON_CHARACTERS],
        "team": event.team,
        "version": cut(event.version),
    }
    for name in ("request", "source", "since", "until"):
        text = getattr(event, name)
        if text is not None:
            members[name] = cut(text)
    if event.agent:
        members["agent"] = kept_agent(event.agent)
    if event.count is not None:
        members["count"] = event.count
    if event.policies:
        members["policies"] = kept_policies(event.policies)
    if event.run:
        members["run"] = kept_run(event.run)
    if event.refs:
        members["refs"] = [kept_ref(ref) for ref in event.refs[:MAX_REFS]]
    return members


def cut(text: str | None) -> str | None:
    """Give at most the first 250 characters of *text*."""
    return text if text is None or len(text) <= MAX_TEXT_CHARACTERS else text[:MAX_TEXT_CHARACTERS]


def kept_policies(policies: tuple[str, ...]) -> list[str]:
    """Give the names of policies as they are kept."""
    return [policy[:MAX_TEXT_CHARACTERS] for policy in policies[:MAX_POLICIES]]


def kept_agent(agent: Mapping[str, str | int]) -> dict[str, str | int]:
    """Give what is said of an agent's part as it is kept, as `kept_run` does."""
    return _kept_of(agent, _AGENT_MEMBERS)


def kept_run(run: Mapping[str, str | int]) -> dict[str, str | int]:
    """Give what is said of a run as it is kept: the members there are, in order, cut; others are dropped."""
    return _kept_of(run, _RUN_MEMBERS)


def _kept_of(members: Mapping[str, str | int], known: frozenset[str]) -> dict[str, str | int]:
    return {
        name: value if isinstance(value, int) else str(value)[:MAX_TEXT_CHARACTERS]
        for name, value in sorted(members.items())
        if name in known
    }


@lru_cache(maxsize=4096)
def run_of(run: Run | None) -> Mapping[str, str | int] | None:
    """Give what is recorded of *run*: what it says, and how that was proven."""
    if run is None:
        return None
    said = {
        name: value for name, value in run._asdict().items() if value is not None and name in _RUN_MEMBERS
    }
    return {**said, "assurance": int(run.assurance)}


def kept_ref(ref: RefUse) -> tuple[str, str, str | None, str, str | None, str | None, int]:
    """Give one Ref of a batch as it is kept."""
    return (ref.kind, ref.name, ref.team, ref.outcome, cut(ref.version), cut(ref.backend), ref.uses)


# --- reading ---------------------------------------------------------------------------------------


def digest_of(line: bytes) -> str:
    """
    Give the hash *line* should have: of its bytes without the `hash` member.

    Raises:
        ValueError: it has none.
    """
    start = line.index(_HASH_MEMBER)
    return hashlib.sha256(line[:start] + line[start + _HASH_MEMBER_BYTES :]).hexdigest()


def read_line(line: bytes) -> Record | None:
    """Give the record of *line*, None where it is none; proves nothing."""
    try:
        members = json.loads(line)
        if "policies" in members:
            members["policies"] = tuple(members["policies"])
        if "refs" in members:
            members["refs"] = tuple(RefUse(*ref) for ref in members["refs"])
        return Record(**members)
    except (ValueError, TypeError, RecursionError):
        return None


def members() -> list[Field[Any]]:
    """Give the members of a record in the order of its line."""
    return sorted(fields(Record), key=lambda member: member.name)


def stamp(now: datetime) -> str:
    """Give *now* as records tell it: UTC, with microseconds."""
    return f"{now.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
