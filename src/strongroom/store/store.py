"""
Our own tables: rows in, rows out, no key and no plaintext.

What a thief of the tables learns: the names, kinds and teams of entries, their descriptions, tags,
owners, connection types and dates, who wrote each version when and with which comment, how many
versions there are and about how long each value is; and of who may the names of people, services and
roles, policies, and when and from where who logged in. Not a value, no key that opens one, and nothing
to guess a password or a token against.
What someone who can *write* them can do unseen: take whole entries away, hide one from
listings, or put an entry back as it stood before, which its history and its next write notice
unless the newer versions are taken away as well. Anything less fails authentication in
`barrier/`. Of who may (people, tokens, roles, policies) nothing can be changed unseen:
`registry/`.

Rules of this file:

1. Reading opens no transaction; writing is one transaction at a time. Neither loads SQLAlchemy.
2. A connection belongs to the process that opened it: a forked child opens its own.
3. A store is never made because none was found: only `create=True` makes one.
4. A store of a newer schema is refused and left exactly as it is.

Which database it stands in, and what that asks for: `engine.py`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from strongroom.errors import BackendConfigError, BackendUnavailableError, ReadOnlyError
from strongroom.store import rows
from strongroom.store.engine import engine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from strongroom.model.secret import Secret
    from strongroom.store.engine import Connection, Engine
    from strongroom.store.rows import (
        ChangeRow,
        EntryRow,
        HeadRow,
        KekRow,
        Page,
        RegistryRow,
        VersionRow,
        WrapRow,
    )
    from strongroom.store.transaction import Transaction

__all__ = [
    "REVISION",
    "Store",
    "bring_up_to_date",
    "is_made",
    "require_current",
    "require_tools",
    "step_back",
]

REVISION = "0003"
"""The newest revision under `migrations/versions`; later ones sort after earlier ones."""

T = TypeVar("T")


class Store:
    """
    The tables of one store.

    Trust: what it gives back was authenticated by nobody yet.
    Threads: safe; readers run beside each other and beside the one writer.
    Consistency: a read that starts after a write returned sees it, in this and every other process.

    Attributes:
        name: what the settings call it, for errors.
        engine: the database it stands in.
        id: 16 random bytes made with the store, bound into everything sealed for it.
        is_moved: it was found to be moved away while it was open here.
    """

    def __init__(self, engine: Engine, *, past_marks: bool = False) -> None:
        """Take the current store of *engine*; `open` is the way to one that may need work first."""
        engine.start()
        self.engine = engine
        self.name = engine.name
        self.id = engine.id or b""
        self.is_moved = False
        self._heard: int | None = None
        if not past_marks:
            self._require_home()

    @classmethod
    def open(
        cls,
        place: str | Path,
        *,
        create: bool = False,
        name: str = "native",
        password: Callable[[], Secret[str]] | None = None,
        past_marks: bool = False,
    ) -> Store:
        """
        Open the store at *place*; an older one is brought up to date.

        Args:
            place: a path on a local disk (WAL does not work over a network) or `sqlite:///<path>`,
                `postgresql://user@host/database` or `mariadb://…`.
            name: of the store in the settings, for errors.
            create: make it if there is none; one that is there is opened as it is.
            password: gives the password of the database's user; asked for each connection.
            past_marks: though it was moved away, or is being moved here.

        Raises:
            BackendConfigError: there is none, it is not ours, of a newer schema, or its file or
                folder belongs to or can be written by other users; or it was moved.
            BackendUnavailableError: it cannot be reached now.
        """
        engine = engine_of(place, name=name, password=password)
        try:
            if create:
                with engine.creating():
                    _bring_up_to_date(engine, found=engine.prepare())
            else:
                require_current(engine)
            return cls(engine, past_marks=past_marks)
        except BaseException:
            engine.close()
            raise

    @property
    def path(self) -> Path:
        """
        The file it stands in.

        Raises:
            BackendConfigError: it stands in a server's database.
        """
        if self.engine.path is None:
            raise BackendConfigError(f"the store {self.name} is no file")
        return self.engine.path

    @property
    def address(self) -> str:
        """Where it is, for people: a path, or an address without user and password."""
        return self.engine.address

    def close(self) -> None:
        """Let go of every connection. Safe to call twice; nothing works afterwards."""
        self.engine.close()

    # --- reading -------------------------------------------------------------------------------

    def current(self, deployment: str, team: str, kind: str, name: str) -> EntryRow | None:
        """Give the entry under exactly this name (team '' for none) with its current sealed bytes."""
        engine = self.engine
        connection = engine.borrow()
        try:
            return rows.current(connection, deployment, team, kind, name)
        except engine.errors as error:
            return engine.repeat(
                connection, error, lambda again: rows.current(again, deployment, team, kind, name)
            )
        finally:
            engine.give_back(connection)

    def version(self, entry_id: bytes, number: int) -> VersionRow | None:
        """Give one version of an entry."""
        return self._read(lambda connection: rows.version(connection, entry_id, number))

    def has_version(self, entry_id: bytes, number: int) -> bool:
        """Tell whether an entry has one version, without reading it."""
        return self._read(lambda connection: rows.has_version(connection, entry_id, number))

    def versions(self, entry_id: bytes) -> list[VersionRow]:
        """Give every version of an entry, newest first."""
        return self._read(lambda connection: rows.versions(connection, entry_id))

    def page(self, wanted: Page) -> list[EntryRow]:
        """Give entries in the order of their names, by code point, without their sealed bytes."""
        return self._read(lambda connection: rows.page(connection, wanted))

    def outline(self, wanted: Page) -> list[tuple[object, ...]]:
        """Give what the entries of `page` may be put in order by; nothing has authenticated it."""
        return self._read(lambda connection: rows.outline(connection, wanted))

    def named(self, wanted: Page, names: Sequence[str]) -> list[EntryRow]:
        """Give those of at most 500 *names* that `page` would give."""
        return self._read(lambda connection: rows.named(connection, wanted, names))

    def keks(self, deployment: str, team: str | None = None) -> list[KekRow]:
        """Give the keys of one team ('' for none), or of the whole deployment, oldest first."""
        return self._read(lambda connection: rows.keks(connection, deployment, team))

    def wraps(self, kek_id: bytes) -> list[WrapRow]:
        """Give the wrapped forms of one key."""
        return self._read(lambda connection: rows.wraps(connection, kek_id))

    def is_wrapped_by(self, kind: str, name: str) -> bool:
        """Tell whether any key here, of whichever deployment, is wrapped by this wrapper."""
        return self._read(lambda connection: rows.is_wrapped_by(connection, kind, name))

    def sealed_versions(self, kek_id: bytes) -> int:
        """Count the versions sealed under one key."""
        return self._read(lambda connection: rows.sealed_versions(connection, kek_id))

    def changes(self, deployment: str, after: int, limit: int) -> list[ChangeRow]:
        """Give up to *limit* changes after the sequence number *after*, oldest first."""
        return self._read(lambda connection: rows.changes(connection, deployment, after, limit))

    def pruned_to(self, deployment: str) -> int:
        """Give the sequence number up to which changes of *deployment* were forgotten, 0 where none were."""
        return self._read(lambda connection: rows.pruned_to(connection, deployment))

    def prunable(self, deployment: str, keep: int) -> int | None:
        """Give the number up to which changes may be forgotten, so that the newest *keep* stay, or None."""
        return self._read(lambda connection: rows.prunable(connection, deployment, keep))

    def last_sequence(self) -> int:
        """Give the sequence number of the newest change, 0 before the first."""
        return self._read(rows.last_sequence)

    def head(self, deployment: str) -> HeadRow | None:
        """Give the head of a deployment's registry, None where nothing was ever written to it."""
        return self._read(lambda connection: rows.head(connection, deployment))

    def registry(self, deployment: str, after: int | None = None) -> tuple[HeadRow | None, list[RegistryRow]]:
        """Give the head and the rows, all or those written after *after*, both of one moment."""

        def query(connection: Connection) -> tuple[HeadRow | None, list[RegistryRow]]:
            with self.engine.snapshot(connection):
                return rows.head(connection, deployment), rows.registry(connection, deployment, after)

        return self._read(query)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """
        Give a connection on which every function of `rows` sees one and the same moment, for as long as
        the block runs; writers go on meanwhile.

        Raises:
            BackendUnavailableError: the database failed; nothing is repeated.
        """
        engine = self.engine
        connection = engine.borrow()
        try:
            with engine.snapshot(connection), engine.lenient(connection):
                yield connection
        except engine.errors as error:
            raise engine.translate(error) from None
        finally:
            engine.give_back(connection)

    def data_version(self) -> int:
        """
        Give a number that differs from the last one given in this process when anything was written
        since, by this process or another. It is a bell only: read `changes` to learn what.

        Raises:
            BackendUnavailableError: the database gave no answer; or the store was moved away: nobody may go
                on deciding by what is left here.
        """
        found = self.engine.data_version()
        if found != self._heard:
            if self.setting(rows.MOVED) is not None:
                self.is_moved = True
                raise BackendUnavailableError(
                    f"the store {self.name} was moved",
                    backend=self.name,
                    hint="start this process again with the settings of its new place",
                )
            self._heard = found
        return found

    def ask(self, query: Callable[[Connection], T]) -> T:
        """
        Give what *query* reads, asked again where the database was away for a moment.

        Raises:
            BackendUnavailableError: the database gave no answer.
        """
        return self._read(query)

    def _read(self, query: Callable[[Connection], T]) -> T:
        engine = self.engine
        connection = engine.borrow()
        try:
            return query(connection)
        except engine.errors as error:
            return engine.repeat(connection, error, query)
        finally:
            engine.give_back(connection)

    # --- writing -------------------------------------------------------------------------------

    def write(self, *, past_marks: bool = False) -> AbstractContextManager[Transaction]:
        """
        Begin the one writing transaction: it stands when the block ends, or nothing of it does.

        Args:
            past_marks: though the store was moved away, or is being moved here.

        Raises:
            BackendUnavailableError: another writer held on for 2.5 s, or the disk is full or failing.
            TamperedError: the file is damaged.
            ReadOnlyError: the file cannot be written, or the store was moved.
        """
        return self._write(past_marks=past_marks)

    @contextmanager
    def _write(self, *, past_marks: bool) -> Iterator[Transaction]:
        from strongroom.store.transaction import Transaction  # noqa: PLC0415 -- most processes only read

        with self.engine.begin() as connection:
            if not past_marks and rows.setting(connection, rows.MOVED) is not None:
                raise ReadOnlyError(
                    f"the store {self.name} was moved; what is written here would be lost",
                    hint="start this process again with the settings of its new place",
                )
            yield Transaction(connection, self.engine)

    def setting(self, key: str) -> str | None:
        """Give one setting of the store itself, None where it has none."""
        return self._read(lambda connection: rows.setting(connection, key))

    def _require_home(self) -> None:
        moved_to = self.setting(rows.MOVED)
        if moved_to is not None:
            raise BackendConfigError(
                f"the store {self.name} was moved to {moved_to}", hint="name that place in the settings"
            )
        if self.setting(rows.ARRIVING) is not None:
            raise BackendConfigError(
                f"the store {self.name} is not whole: it is being moved to this place",
                hint="let strongroom store move end, or begin it again from the old place",
            )


def is_made(place: str | Path, password: Callable[[], Secret[str]] | None = None) -> bool:
    """
    Tell whether there are tables of ours at *place*, of whichever revision; nothing is touched.

    Raises:
        BackendConfigError, BackendUnavailableError: as `Store.open`.
    """
    engine = engine_of(place, password=password)
    try:
        return engine.revision() is not None
    finally:
        engine.close()


def require_current(engine: Engine) -> None:
    """
    Migrate an older store; refuse an empty or a newer one.

    Raises:
        BackendConfigError, BackendUnavailableError: as `Store.open`.
    """
    found = engine.revision()
    if found is None:
        raise BackendConfigError("the store was never finished", hint="strongroom init")
    if found != REVISION:
        with engine.creating():
            # Asked again under the lock: another process may have migrated it meanwhile.
            _bring_up_to_date(engine, found=engine.revision())


@cache
def require_tools() -> None:
    """
    Refuse where what migrates a store is not installed; reading and writing need nothing of it.

    Raises:
        BackendConfigError: SQLAlchemy 2 or Alembic is missing (they need Python 3.11), or it is the
            SQLAlchemy 1.4 of Airflow 2.
    """
    # Only who migrates needs it, and it costs a cold process more than reading the value does.
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        is_two = int(version("sqlalchemy").partition(".")[0]) >= 2  # noqa: PLR2004 -- the series we are written for
        version("alembic")
    except PackageNotFoundError:
        is_two = False
    if not is_two:
        raise BackendConfigError(
            "making or migrating a store needs SQLAlchemy 2 and Alembic, which are not installed here",
            hint="pip install 'strongroom[store]', with Python 3.11 or newer; what is there works without",
        )


def _bring_up_to_date(engine: Engine, *, found: str | None) -> None:
    if found == REVISION:
        return
    if found is None:
        engine.make()
        if engine.revision() == REVISION:
            return
    elif found > REVISION:
        raise BackendConfigError(
            "the store was written by a newer version of Strongroom; it was left as it is",
            hint="upgrade this installation",
        )
    require_tools()
    from strongroom.store import migration  # noqa: PLC0415 -- Alembic: 0.4 s

    migration.run(engine)
    if found is not None:
        _tell(engine.name, found)


def bring_up_to_date(engine: Engine) -> None:
    """
    Bring a store of an older schema to the newest, as opening it does, and say nothing of it.

    Raises:
        BackendUnavailableError: it cannot be reached or written now.
    """
    require_tools()
    from strongroom.store import migration  # noqa: PLC0415 -- Alembic: 0.4 s

    with engine.creating():
        found = engine.revision()
        # Asked again under the lock: another process may have been faster.
        if found is not None and found < REVISION:
            migration.run(engine)


def step_back(engine: Engine) -> tuple[str, str]:
    """
    Take the newest revision of the tables back, so that the release before this one opens them, and give the
    revision that stood and the one that stands. Nobody else may have the store open.

    Raises:
        BackendConfigError: the store is not of the newest revision, or that cannot be taken back.
        BackendUnavailableError: it cannot be reached or written now.
    """
    require_tools()
    from strongroom.store import migration  # noqa: PLC0415 -- Alembic: 0.4 s

    with engine.creating():
        found = engine.revision()
        if found != REVISION:
            which = "newer" if found is not None and found > REVISION else "older"
            raise BackendConfigError(
                f"the store is of a schema {which} than this version's; it was left as it is",
                hint=f"only the version of Strongroom that brought it to the schema {found} takes it back"
                if which == "newer"
                else "the version before this one opens it already",
            )
        return found, migration.back(engine)


def _tell(name: str, found: str) -> None:
    """Say that the store was changed by nothing but being opened, and what that means for others."""
    import logging  # noqa: PLC0415 -- costs a cold process more than a read, and stores are seldom old

    logging.getLogger("strongroom.store").warning(
        "the store %s was brought up to date (schema %s to %s);"
        " older versions of Strongroom do not open it any more",
        name,
        found,
        REVISION,
    )
