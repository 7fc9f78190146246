"""
What an open room and its record tell a doctor. Values stay where they are, but for `look_deep`.

Not for what stands around the room (`strongroom.insight`) or for running looks (`doctor.py`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.errors import MalformedEntryError, StrongroomError
from strongroom.insight import cloud
from strongroom.insight.credential import CLOUD_TYPES, static_key
from strongroom.insight.finding import Finding, failed, named
from strongroom.insight.remark import RULES
from strongroom.model.entry import EntryState
from strongroom.model.ref import Ref
from strongroom.service.inventory import Choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from strongroom.backend import Health
    from strongroom.insight.remark import Weight
    from strongroom.service.audit import AuditTrail
    from strongroom.service.backends import Checked
    from strongroom.service.inventory import Row, Tally
    from strongroom.service.lint import Linter
    from strongroom.service.room import Room

__all__ = ["look_at_audit", "look_at_room", "look_deep"]

SOON = timedelta(days=14)
"""How long before its end an entry, a certificate or a token is warned of."""

_MAX_VERIFIED_BYTES = 67_108_864  # 64 MiB of log are verified on the way; more is a command of its own
_MAX_READ = 500  # values read by a deep look


def look_at_room(room: Room, now: datetime) -> dict[str, Callable[[], Iterator[Finding]]]:
    """Give the looks at an open room, by what they look at."""
    return {
        "the policy": lambda: _policy(room),
        "the keys": lambda: _keys(room),
        "the backends": lambda: _backends(room, now),
        "the names": lambda: _Names(room, now).look(),
    }


def _policy(room: Room) -> Iterator[Finding]:
    yield Finding(
        name="local-owner",
        level="note",
        what="local owner: whoever may read the settings and the key may read the room; "
        f"here that is {room.actor.id}",
    )


def _keys(room: Room) -> Iterator[Finding]:
    keys = room.keys.status()
    single = [key for key in keys if len(key.wrapped_by) == 1]
    if single:
        yield Finding(
            name="single-key",
            level="warning",
            what=f"single point of key loss: only {single[0].wrapped_by[0]} opens the store",
            fix="keep a copy of it away from this machine and away from copies of the store",
        )
    elif keys:
        what = f"each of {len(keys[0].wrapped_by)} wrappers opens the store"
        yield Finding(name="single-key", level="ok", what=what)


def _backends(room: Room, now: datetime) -> Iterator[Finding]:
    for checked in room.backends.check():
        if checked.health.status == "error":
            yield Finding(
                name="backend-trouble",
                level="error",
                what=f"the backend {checked.name}: {checked.health.message}",
                fix=f"strongroom backends check; see backend.{checked.name} in the settings",
            )
        else:
            what = f"the backend {checked.name}: {checked.health.status}"
            yield Finding(name="backend-trouble", level="ok", what=what)
            yield from _denied(checked)
        yield from _ends(checked.name, checked.health, now)
    for name in room.inventory.not_listable:
        what = f"the backend {name} cannot list: the inventory does not show its names"
        yield Finding(name="not-listable", level="note", what=what)


def _denied(checked: Checked) -> Iterator[Finding]:
    """Tell what a backend that works may not be asked."""
    if checked.health.may.get("list") == "no" and checked.health.message:
        yield Finding(
            name="not-listable",
            level="note",
            what=f"the backend {checked.name} may not list: {checked.health.message}",
            fix=f"strongroom backends check; what {checked.name} needs stands on its page",
        )


def _ends(backend: str, health: Health, now: datetime) -> Iterator[Finding]:
    for what, end in sorted(health.ends.items()):
        if end > now + (timedelta(0) if what in health.renewed else SOON):
            continue
        is_certificate = "certificate" in what
        verb = "ended" if end <= now else "ends"
        yield Finding(
            name="ending-certificate" if is_certificate else "ending-token",
            level="error" if end <= now else "warning",
            what=f"the backend {backend}: its {what} {verb} {end:%Y-%m-%d %H:%M}Z",
            fix="renew it, and let something renew it from now on"
            if is_certificate
            else "give it a token that can be renewed, or a login (auth_type) that gets one by itself",
        )


class _Names:
    """One pass over all names, and what they tell."""

    _STATES: tuple[tuple[str, tuple[EntryState, ...], str, str], ...] = (
        (
            "plain-text-metastore",
            (EntryState.PLAIN_TEXT,),
            "plain text in Airflow's database: whoever reads it, or a copy of it, has them",
            "set a Fernet key, then write each anew (airflow rotate-fernet-key seals only what was sealed)",
        ),
        (
            "wrong-fernet-key",
            (EntryState.WRONG_KEY, EntryState.NOT_A_TOKEN),
            "sealed by a key that is not here, so nobody can read them",
            "add the old key behind the new one (fernet_key = new,old), or write new values",
        ),
        ("unparsable-entry", (EntryState.UNPARSABLE,), "cannot be read as what they are", "write them anew"),
        (
            "tampered-entry",
            (EntryState.TAMPERED,),
            "changed behind the store's back: they are not served",
            "find out who changed the store; strongroom audit tail",
        ),
        ("expired-entry", (EntryState.EXPIRED,), "past not_after, so they answer nobody", "write new values"),
    )

    def __init__(self, room: Room, now: datetime) -> None:
        self._inventory = room.inventory
        self._now = now
        self._states: dict[EntryState, list[str]] = {}
        self._shadowed: list[str] = []
        self._soon: list[str] = []
        self._due: list[str] = []

    def look(self) -> Iterator[Finding]:
        """Give what the names tell, and which backends could not be listed."""
        silent: list[tuple[str, StrongroomError]] = []
        tally = self._inventory.tally()
        pages = self._inventory.pages(
            choice=Choice(with_shadowed=True),
            tally=tally,
            on_trouble=lambda name, error: silent.append((name, error)),
        )
        for page in pages:
            for row in page:
                self._note(row)
        for name, error in silent:
            what = f"the names of the backend {name} cannot be listed: {error}"
            yield Finding(name="backend-trouble", level="error", what=what, fix=error.hint or "")
        yield from self._findings(tally)

    def _note(self, row: Row) -> None:
        self._states.setdefault(row.state, []).append(_told(row))
        if row.shadowed_by is not None:
            return
        if row.shadowed:
            self._shadowed.append(f"{row.ref} ({row.backend} before {', '.join(row.shadowed)})")
        end, reminder = row.metadata.not_after, row.metadata.remind_at
        if end is not None and self._now < end <= self._now + SOON:
            self._soon.append(str(row.ref))
        if reminder is not None and reminder <= self._now:
            self._due.append(str(row.ref))

    def _findings(self, tally: Tally) -> Iterator[Finding]:
        for name, states, words, fix in self._STATES:
            found = [one for state in states for one in self._states.get(state, ())]
            if found:
                yield Finding(name=name, level="error", what=f"{words}: {named(found)}", fix=fix)
        if self._shadowed:
            what = f"shadowed: {named(self._shadowed)}"
            yield Finding(
                name="shadowed", level="note", what=what, fix="strongroom explain shows who answers"
            )
        for clash in tally.clashes:
            yield Finding(
                name="clash", level="warning", what=clash.problem, fix="give all but one of them another name"
            )
        if self._soon:
            what = f"not_after within {SOON.days} days: {named(self._soon)}"
            yield Finding(name="expiring-entry", level="warning", what=what, fix="write new values")
        if self._due:
            what = f"to be looked at (remind_at): {named(self._due)}"
            yield Finding(name="reminder-due", level="note", what=what)


def _told(row: Row) -> str:
    problem = f": {row.problem}" if row.problem and row.state is EntryState.UNPARSABLE else ""
    hidden = f" (hidden in {row.backend})" if row.shadowed_by is not None else ""
    return f"{row.ref}{hidden}{problem}"


def look_deep(room: Room, linter: Linter) -> Iterator[Finding]:
    """
    Read connections, those of clouds first, each recorded as a read: give those that do not parse, log in
    with a static key of a cloud, or are written in a way that docs/lint.md warns of.
    """
    static: dict[str, list[str]] = {}
    broken: list[str] = []
    linted: dict[tuple[str, Weight], list[str]] = {}
    unread = 0
    rows = [row for page in room.inventory.pages("connection") for row in page if not row.state.is_problem]
    rows.sort(key=_is_of_cloud, reverse=True)
    for row in rows[:_MAX_READ]:
        try:
            connection, remarks = linter.read(room, Ref("connection", row.ref.name, row.ref.team))
        except MalformedEntryError:
            broken.append(str(row.ref))
            continue
        except StrongroomError:
            unread += 1
            continue
        key = static_key(connection)
        if key is not None:
            static.setdefault(key.cloud, []).append(row.ref.name)
        for rule, level in dict.fromkeys((remark.rule, remark.level) for remark in remarks):
            linted.setdefault((rule, level), []).append(row.ref.name)
    yield from cloud.connection_keys(static)
    yield from _linted(linted)
    if broken:
        what = f"cannot be read as what they are: {named(broken)}"
        yield Finding(name="unparsable-entry", level="error", what=what, fix="write them anew")
    left = unread + max(len(rows) - _MAX_READ, 0)
    if left:
        yield failed("warning", f"{left} connections were not read")


def _linted(linted: Mapping[tuple[str, Weight], list[str]]) -> Iterator[Finding]:
    """Give one finding for each rule of lint, with the connections it speaks of; notes are for lint alone."""
    for (rule, level), names in sorted(linted.items()):
        if level != "note" and rule != "L16":  # static keys have a finding of their own
            yield Finding(
                name="connection-lint",
                level=level,
                what=f"{rule} {RULES[rule]}: the connections {named(names)}",
                fix="strongroom connections lint NAME says what and why; docs/lint.md",
            )


def _is_of_cloud(row: Row) -> bool:
    conn_type = row.metadata.conn_type
    return conn_type is None or conn_type.lower() in CLOUD_TYPES


def look_at_audit(trail: AuditTrail, store: Path) -> Iterator[Finding]:
    """Verify the record, where that takes a moment only."""
    size = sum(path.stat().st_size for path in trail.folder.glob("*.jsonl"))
    if size > _MAX_VERIFIED_BYTES:
        what = f"the audit log is large ({size >> 20} MiB)"
        yield Finding(name="audit-log", level="note", what=what, fix="strongroom audit verify")
        return
    verdict = trail.verify()
    if not verdict.is_ok:
        yield Finding(
            name="audit-log",
            level="error",
            what=f"the audit log is broken at record {verdict.index}: {verdict.reason}",
            fix=f"find out who changed {trail.folder}; it stays broken, which is its purpose",
        )
    elif verdict.count == 0 and store.exists():
        what = f"there is a store, but no audit record of its making in {trail.folder}"
        yield Finding(name="audit-log", level="warning", what=what)
    else:
        yield Finding(name="audit-log", level="ok", what=f"the audit log is whole: {verdict.count} records")
    if verdict.repairs:
        what = f"crashes cut off unfinished records: see {named(map(str, verdict.repairs))}"
        yield Finding(name="audit-log", level="note", what=what)
