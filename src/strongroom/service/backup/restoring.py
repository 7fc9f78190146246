"""
A backup brought back: in one transaction of the place it goes to, whatever engine that is.

Rules of this file:

1. The place is empty, or holds an older or newer state of the very same store. Another store is never
   overwritten.
2. Either all of it stands there when the transaction ends, or nothing was changed; what was read back inside
   the transaction decides.
3. Who follows the store is told to read everything again: no number of a change is ever given twice.
4. A key that sealed more since is not counted down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, TamperedError
from strongroom.store import rows, table, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.service.backup.staging import Staged
    from strongroom.store.engine import Connection
    from strongroom.store.store import Store
    from strongroom.store.transaction import Transaction

__all__ = ["check_place", "swap_in"]

_MARKER = "restored"  # no kind: followers pass such a line over


def check_place(target: Store, store_id: str) -> bool:
    """
    Refuse a place that holds another store, and tell whether this one is there already.

    Raises:
        ConflictError: it does.
    """
    if target.id.hex() == store_id:
        return True
    with target.snapshot() as connection:
        held = table.count(connection)
    if any(count for name, count in held.items() if name != "settings"):
        raise ConflictError(
            "there is another store at that place; it was left as it is",
            hint="name an empty place: --to PATH or an address",
        )
    return False


def swap_in(staged: Staged, target: Store, *, progress: Callable[[int, int], None]) -> None:
    """
    Put every row of *staged* in the place of what *target* holds.

    Raises:
        ConflictError: *target* holds another store.
        TamperedError: what was read back is not what was written; nothing was changed.
        BackendUnavailableError: the place gave no answer; nothing was changed.
    """
    check_place(target, staged.manifest.store)
    with staged.store.snapshot() as source, target.write() as transaction:
        total, done = 2 * sum(table.count(source).values()), 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            progress(min(done, total), total)

        sequence = max(rows.last_sequence(transaction.connection), staged.manifest.sequence)
        uses = _uses(transaction.connection)
        table.clear(transaction.connection)
        sent = whole.copy(source, transaction, progress=told)
        found = whole.sums(transaction.connection, progress=told)
        for name, wanted in sent.items():
            if found[name] != wanted:
                raise TamperedError(
                    f"the table {name} is not the same at its new place; nothing was changed",
                    hint="look whether that database keeps text and bytes as they are",
                )
        _go_on(transaction, staged, sequence)
        _keep_uses(transaction.connection, uses)


def _go_on(transaction: Transaction, staged: Staged, sequence: int) -> None:
    """Forget every change there was, and go on behind the last number anybody was given."""
    transaction.connection.execute("DELETE FROM changes")
    for name in staged.manifest.deployments:
        transaction.prune_changes(name, sequence + 1)
    # One line holds the number: the databases go on from the highest they have seen in the table.
    table.insert(
        transaction.connection,
        "changes",
        [(sequence + 1, staged.manifest.deployments[0], "", _MARKER, "", None)],
        of=("sequence", "deployment", "team", "kind", "name", "version"),
    )
    transaction.resume_numbers()


def _uses(connection: Connection) -> dict[bytes, int]:
    found = connection.execute("SELECT kek_id, wraps FROM kek_uses").fetchall()
    return {bytes(row[0]): int(row[1]) for row in found}


def _keep_uses(connection: Connection, uses: dict[bytes, int]) -> None:
    for key_id, count in uses.items():
        connection.execute(
            "UPDATE kek_uses SET wraps = ? WHERE kek_id = ? AND wraps < ?", (count, key_id, count)
        )
