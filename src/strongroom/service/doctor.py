"""
What is not as it should be, and what to type about it.

Not for mending: it looks, at names, modes and dates, and changes nothing.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Literal

from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from strongroom.service.inventory import Row
    from strongroom.service.room import Room
    from strongroom.settings import Settings

__all__ = ["Doctor", "Finding"]

Level = Literal["ok", "note", "warning", "error"]

SOON = timedelta(days=14)
"""How long before its `not_after` an entry is warned of."""

_WORST_FIRST: tuple[Level, ...] = ("error", "warning", "note", "ok")
_MAX_NAMED = 10  # names spelled out in one finding
_PAGE = 1000
_MAX_VERIFIED_BYTES = 67_108_864  # 64 MiB of log are verified on the way; more is a command of its own


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing the doctor looked at.

    Args:
        what: what was found; names files, backends and entries, never values.
        fix: what to type or change; "" where nothing needs doing.
    """

    level: Level
    what: str
    fix: str = ""


class Doctor:
    """Examine the room as its actor. Threads: may be used from several threads at once."""

    def __init__(self, room: Room, settings: Settings, *, clock: Callable[[], datetime]) -> None:
        self._room = room
        self._settings = settings
        self._clock = clock

    def run(self) -> list[Finding]:
        """Give all findings, worst first. Trouble of a part is a finding, not an error."""
        looks = (
            self._policy,
            self._files,
            self._keys,
            self._backends,
            self._names,
            self._audit,
        )
        found = list(chain.from_iterable(_safely(look) for look in looks))
        return sorted(found, key=lambda finding: _WORST_FIRST.index(finding.level))

    def _policy(self) -> Iterator[Finding]:
        yield Finding(
            "note",
            "local owner: whoever may read the settings and the key may read the room; "
            f"here that is {self._room.actor.id}",
        )
        source = self._settings.source
        yield Finding("ok", f"settings from {source}" if source else "no settings file: the defaults")

    # --- files -------------------------------------------------------------------------------------

    def _files(self) -> Iterator[Finding]:
        settings = self._settings
        if settings.source:
            yield from _writable_by_others(settings.source)
        yield from _private(settings.audit.path, "the audit folder", 0o700)
        if not settings.store.path.exists():
            yield Finding("note", "there is no store yet", "strongroom init")
            return
        store = settings.store.path
        for path in (store, store.with_name(store.name + "-wal"), store.with_name(store.name + "-shm")):
            yield from _private(path, "the store", 0o600)
        for key in self._key_files():
            yield from _private(key, "the key", 0o600)
            if key.parent.resolve() == store.parent.resolve():
                yield Finding(
                    "note",
                    f"key and store are in one folder, {key.parent}: whoever copies it has both",
                    "keep the key elsewhere: store.wrappers, path",
                )

    def _key_files(self) -> list[Path]:
        return [wrapper.path for wrapper in self._settings.store.wrappers if wrapper.path is not None]

    # --- keys and backends ---------------------------------------------------------------------------

    def _keys(self) -> Iterator[Finding]:
        keys = self._room.keys.status()
        single = [key for key in keys if len(key.wrapped_by) == 1]
        if single:
            yield Finding(
                "warning",
                f"single point of key loss: only {single[0].wrapped_by[0]} opens the store",
                "keep a copy of it away from this machine and away from copies of the store",
            )
        elif keys:
            yield Finding("ok", f"each of {len(keys[0].wrapped_by)} wrappers opens the store")

    def _backends(self) -> Iterator[Finding]:
        for checked in self._room.backends.check():
            if checked.health.status == "error":
                fix = f"strongroom backends check; see backend.{checked.name} in the settings"
                yield Finding("error", f"the backend {checked.name}: {checked.health.message}", fix)
            else:
                yield Finding("ok", f"the backend {checked.name}: {checked.health.status}")
        for name in self._room.inventory.not_listable:
            yield Finding("note", f"the backend {name} cannot list: the inventory does not show its names")

    # --- entries -------------------------------------------------------------------------------------

    def _names(self) -> Iterator[Finding]:
        rows = list(self._rows())
        shadowed = [
            f"{row.ref} ({row.backend} before {', '.join(row.shadowed)})" for row in rows if row.shadowed
        ]
        if shadowed:
            yield Finding("note", f"shadowed: {_named(shadowed)}", "strongroom explain shows who answers")
        for clash in self._room.inventory.clashes():
            names = _named([str(ref) for ref in clash.refs])
            yield Finding(
                "warning", f"the backend {clash.backend} spells all of these {clash.spelling}: {names}"
            )
        yield from self._dates(rows)

    def _rows(self) -> Iterator[Row]:
        page = self._room.inventory.page(limit=_PAGE)
        while page:
            yield from page
            page = self._room.inventory.page(after=page[-1].ref, limit=_PAGE) if len(page) == _PAGE else []

    def _dates(self, rows: list[Row]) -> Iterator[Finding]:
        now = self._clock()
        ends = [(row.metadata.not_after, str(row.ref)) for row in rows]
        past = [name for end, name in ends if end is not None and end <= now]
        soon = [name for end, name in ends if end is not None and now < end <= now + SOON]
        reminders = [(row.metadata.remind_at, str(row.ref)) for row in rows]
        due = [name for at, name in reminders if at is not None and at <= now]
        if past:
            yield Finding(
                "error", f"past not_after, so they answer nobody: {_named(past)}", "write new values"
            )
        if soon:
            yield Finding("warning", f"not_after within {SOON.days} days: {_named(soon)}", "write new values")
        if due:
            yield Finding("note", f"to be looked at (remind_at): {_named(due)}")

    # --- audit ---------------------------------------------------------------------------------------

    def _audit(self) -> Iterator[Finding]:
        audit = self._room.audit
        size = sum(path.stat().st_size for path in audit.folder.glob("*.jsonl"))
        if size > _MAX_VERIFIED_BYTES:
            yield Finding("note", f"the audit log is large ({size >> 20} MiB)", "strongroom audit verify")
            return
        verdict = audit.verify()
        if not verdict.is_ok:
            yield Finding(
                "error",
                f"the audit log is broken at record {verdict.index}: {verdict.reason}",
                f"find out who changed {audit.folder}; it stays broken, which is its purpose",
            )
        elif verdict.count == 0 and self._settings.store.path.exists():
            yield Finding("warning", f"there is a store, but no audit record of its making in {audit.folder}")
        else:
            yield Finding("ok", f"the audit log is whole: {verdict.count} records")
        if verdict.repairs:
            yield Finding(
                "note", f"crashes cut off unfinished records: see {_named(map(str, verdict.repairs))}"
            )


def _safely(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except StrongroomError as error:
        yield Finding("error", str(error), error.hint or "")
    except OSError as error:
        yield Finding("error", f"a file cannot be looked at ({os.strerror(error.errno or 0).lower()})")


def _named(names: Iterator[str] | list[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _private(path: Path, what: str, mode: int) -> Iterator[Finding]:
    """Check that nobody but the owner may look into *path*, if it is there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if found.st_uid not in (0, os.geteuid()):
        yield Finding("error", f"{what} {path} belongs to another user", f"chown {os.geteuid()} {path}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        yield Finding("error", f"{what} {path} is open to others", f"chmod {mode:o} {path}")


def _writable_by_others(path: Path) -> Iterator[Finding]:
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        yield Finding("warning", f"the settings file {path} may be changed by others", f"chmod go-w {path}")
