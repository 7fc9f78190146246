"""
A store moved to another place, whatever engine keeps it there.

Rules of this file:

1. There are never two homes: the new one opens for nobody before the old one is closed for good. Killed
   anywhere, `move` called again finishes or begins anew.
2. Nothing is believed of the copy but what was read back from it: every row counted and digested on both
   sides, every key proven by its canary, every row authenticated and every value opened, of each
   deployment whose keys are to be had here.
3. The old home keeps everything as it was. It carries a mark, by which no process opens or writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from strongroom.errors import ConflictError, TamperedError
from strongroom.store import rows, table, whole
from strongroom.store.rows import ARRIVING, MOVED

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.store.store import Store
    from strongroom.store.transaction import Transaction
    from strongroom.store.whole import Sum

__all__ = ["Checked", "Checking", "Moved", "Progress", "move"]


class Progress(Protocol):
    """Told how far a move is."""

    def __call__(self, step: str, done: int, total: int, /) -> None:
        """Tell of *done* of *total* of the step `copying`, `comparing` or `opening`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """
    What was opened of one deployment.

    Args:
        entries: authenticated, deleted ones included.
        versions: authenticated and opened.
        keys: proven by their canaries.
        trouble: why nothing of it was, where no key of it is to be had here.
    """

    deployment: str
    entries: int = 0
    versions: int = 0
    keys: int = 0
    trouble: str | None = None


class Checking(Protocol):
    """Opens everything of one deployment."""

    def __call__(self, store: Store, deployment: str, progress: Callable[[int], None], /) -> Checked:
        """
        Open it, telling how many versions are over.

        Raises:
            TamperedError: a row fails authentication.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """
    What a move did.

    Args:
        place: where the store is now, without a password.
        rows: copied and compared, by table.
        checked: what was opened, by deployment.
        is_ended_only: the copy stood already, and the move only ended now.
    """

    place: str
    rows: Mapping[str, int]
    checked: tuple[Checked, ...]
    is_ended_only: bool = False


def move(
    source: Store, open_target: Callable[[], Store], *, check: Checking, progress: Progress
) -> tuple[Moved, Store]:
    """
    Move *source*, and give the store at its new place, open.

    Nobody writes to *source* meanwhile: it is held as by any writer. It is read on.

    Args:
        source: an open store, moved already or not.
        open_target: opens the other one, made where there was none, whatever marks it carries.
        check: opens a deployment of the new store.
        progress: told how far it is.

    Raises:
        ConflictError: there is another store at the new place, or half of one; or *source* was moved
            elsewhere, or has not arrived itself.
        TamperedError: a row of it fails authentication, or the copy is not the same; nothing was moved.
        BackendUnavailableError: one of the two gave no answer; called again, it goes on.
    """
    target = open_target()
    try:
        _require_another(source, target)
        with source.write(past_marks=True) as leaving:
            moved_to = _left_for(leaving, target)
            progress = partial(_tell_awake, leaving, progress)
            with target.write(past_marks=True) as coming:
                # Asked where nobody else writes: of two moves to one place the later finds the earlier.
                _require_free(coming, target.engine.id_on(coming.connection), source.id)
                copied = _arrive(leaving, coming, is_left=moved_to is not None, progress=progress)
            # From here on the copy stands, and for nobody. A store knows its id from when it was opened.
            target.close()
            target = open_target()
            checked = _checked(target, check, progress, total=copied["versions"])
            whole.mark(leaving, MOVED, target.address)
        # From here on the old home is closed.
        with target.write(past_marks=True) as coming:
            whole.mark(coming, ARRIVING, None)
    except BaseException:
        target.close()
        raise
    return Moved(
        place=target.address, rows=copied, checked=checked, is_ended_only=moved_to is not None
    ), target


def _left_for(leaving: Transaction, target: Store) -> str | None:
    """Give where to the old home was left, which must be *target*; None where it was not."""
    if rows.setting(leaving.connection, ARRIVING) is not None:
        # Its old home may be one still: moved on from here there would be two.
        raise ConflictError(
            "the store is not whole: it is being moved to this place",
            hint="let strongroom store move end, or begin it again from the old place",
        )
    moved_to = rows.setting(leaving.connection, MOVED)
    if moved_to not in (None, target.address):
        raise ConflictError(
            "the store was moved to another place already", hint="name that place in the settings"
        )
    return moved_to


def _require_another(source: Store, target: Store) -> None:
    """Refuse the place where *source* is itself, or has come to already."""
    if target.id != source.id or target.setting(ARRIVING) is not None:
        return
    is_left = source.setting(MOVED) is not None
    raise ConflictError(
        "the store was moved there already" if is_left else "the store is there already",
        hint="name that place in the settings" if is_left else "name another place",
    )


def _require_free(coming: Transaction, held_id: bytes, source_id: bytes) -> None:
    """Refuse a place that holds anything but what an unfinished move of this very store has left."""
    if rows.setting(coming.connection, ARRIVING) is not None:
        if held_id != source_id:
            raise ConflictError(
                "another store is being moved to that place; it was left as it is", hint="name an empty place"
            )
        return
    held = table.count(coming.connection)
    if any(count for name, count in held.items() if name != "settings"):
        raise ConflictError(
            "there is another store at that place; it was left as it is", hint="name an empty place"
        )


def _arrive(
    leaving: Transaction, coming: Transaction, *, is_left: bool, progress: Progress
) -> dict[str, int]:
    """Copy everything, or find it there where the old home is closed already; and compare both."""
    total = sum(table.count(leaving.connection).values())
    if is_left:
        sent = whole.sums(leaving.connection, progress=_told(progress, "copying", total))
    else:
        table.clear(coming.connection)
        sent = whole.copy(leaving.connection, coming, progress=_told(progress, "copying", total))
        whole.mark(coming, ARRIVING, "1")
    _compare(sent, whole.sums(coming.connection, progress=_told(progress, "comparing", total)))
    return {name: found.rows for name, found in sent.items()}


def _tell_awake(leaving: Transaction, progress: Progress, step: str, done: int, total: int) -> None:
    """Tell, and ask something of the old home: a server ends a transaction in which nothing is asked."""
    leaving.connection.execute("SELECT 1")
    progress(step, done, total)


def _told(progress: Progress, step: str, total: int) -> Callable[[int], None]:
    done = 0

    def tell(rows: int) -> None:
        nonlocal done
        done += rows
        progress(step, done, total)

    return tell


def _compare(sent: Mapping[str, Sum], found: Mapping[str, Sum]) -> None:
    for name, wanted in sent.items():
        if found[name] != wanted:
            raise TamperedError(
                f"the table {name} is not the same at the new place; nothing was moved",
                hint="look whether that database keeps text and bytes as they are, then move again",
            )


def _checked(store: Store, check: Checking, progress: Progress, total: int) -> tuple[Checked, ...]:
    with store.snapshot() as reading:
        names = table.deployments(reading)
    found: list[Checked] = []
    for name in names:
        before = sum(one.versions for one in found)
        found.append(check(store, name, partial(_tell_opened, progress, before, total)))
    return tuple(found)


def _tell_opened(progress: Progress, before: int, total: int, done: int) -> None:
    progress("opening", before + done, total)
