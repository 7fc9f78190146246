"""
Airflow's metadata database: the rows of its connections and variables, opened with its Fernet keys.

Rules of this file:

1. The schema is known by what is there: the columns that every version from 2.7 to 3.3 has, and
   `team_name`, which 3.2 brought. Whatever else is there is passed over; whatever is missing is told.
2. One row's trouble is that row's: each has a state, and the others are read on.
3. A field flagged as encrypted is opened; one that is not is plain text, as Airflow takes it.
4. Nothing is written: what is to change in there goes through Airflow's own commands.

Source: airflow/models/connection.py, variable.py and crypto.py of 3.3.2 and 2.11.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from strongroom.crypto.fernet import Fernet
from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.entry import EntryState, Metadata, check_value
from strongroom.model.held import Held
from strongroom.model.secret import Secret
from strongroom.vendors.database import Question, open_database
from strongroom.vendors.database_url import DatabaseUrl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from strongroom.vendors.database import Database, Row

__all__ = ["MetadataDatabase"]

TableKind = Literal["connection", "variable"]

PAGE = 500  # rows of one question; a variable may be a megabyte
_ID = {"connection": "conn_id", "variable": "key"}
_TEXTS = ("conn_type", "description", "host", "login", "schema")
_COLUMNS: dict[TableKind, tuple[str, ...]] = {
    "connection": (
        *("conn_id", "conn_type", "description", "host", "schema", "login", "password", "port", "extra"),
        *("is_encrypted", "is_extra_encrypted"),
    ),
    "variable": ("key", "val", "description", "is_encrypted"),
}
# The worst of a row's fields is the state of the row.
_WORST = (EntryState.UNPARSABLE, EntryState.NOT_A_TOKEN, EntryState.WRONG_KEY, EntryState.PLAIN_TEXT)
_REMEDY = {
    EntryState.WRONG_KEY: "give the Fernet key it was sealed with, beside the newer ones",
    EntryState.NOT_A_TOKEN: "mend the row in Airflow: set its secret anew there",
    EntryState.UNPARSABLE: "mend the row in Airflow",
}


class MetadataDatabase:
    """
    The connections and variables in Airflow's own database.

    Threads: every method may be called from several threads at once, and after a fork.
    Consistency: each question sees what is committed when it is asked.
    """

    def __init__(self, database: Database, keys: Sequence[Secret[str]]) -> None:
        """
        Read *database* with *keys*.

        Args:
            database: where the tables are.
            keys: Fernet keys, the newest first; () where Airflow has none.

        Raises:
            BackendConfigError: one of *keys* is no Fernet key.
        """
        self._database = database
        self._fernet = Fernet(keys)

    @classmethod
    def open(
        cls,
        url: Secret[str] | DatabaseUrl,
        keys: Sequence[Secret[str]],
        *,
        place: str,
        timeout: timedelta,
        schema: str | None = None,
    ) -> MetadataDatabase:
        """
        Take note of a database; nothing is asked yet.

        Args:
            url: a SQLAlchemy URL, as Airflow is given it, or one taken apart.
            keys: as the constructor.
            place: what messages call it: the name of the backend.
            timeout: for connecting and for each question.
            schema: where the tables are, if not where the user looks first.

        Raises:
            BackendConfigError: *url* or a key is wrong, or the driver is not installed.
        """
        parsed = DatabaseUrl.parse(url) if isinstance(url, Secret) else url
        return cls(open_database(parsed, place=place, timeout=timeout, schema=schema), keys)

    def read(self, kind: TableKind, name: str, team: str | None = None) -> Held | None:
        """
        Give the row of exactly this name and team, or None.

        Raises:
            BackendConfigError: no such table or column, or wrong credentials.
            AccessDeniedError, BackendUnavailableError: as their names say.
        """
        for row in self._rows(Question(table=kind, column=_ID[kind], equals=name), kind):
            # A collation may take another name for this one (MySQL's are blind to capitals).
            if _text(row[_ID[kind]]) == name and _team(row) == team:
                return self._stored(kind, row)
        return None

    def rows(self, kind: TableKind, *, after: str | None = None, prefix: str = "") -> Iterator[Held]:
        """
        Give the rows of every team, ordered by name (by code point), a page at a time.

        Args:
            kind: connection or variable.
            after: only names greater than this; None for all.
            prefix: only names that begin so.

        Raises:
            As `read`.
        """
        is_after = after is not None and after >= prefix
        start = after if after is not None and is_after else prefix
        while True:
            page = Question(table=kind, column=_ID[kind], start=start, is_after=is_after, limit=PAGE)
            found = self._rows(page, kind)
            for row in found:
                name = _text(row[_ID[kind]]) or ""
                if not name.startswith(prefix):
                    return
                if is_after and name == start:
                    continue  # where the index is lost a name may stand twice: the first counts, as in `read`
                start, is_after = name, True
                stored = self._stored(kind, row)
                if stored is not None:
                    yield stored
            if len(found) < PAGE:
                return

    def close(self) -> None:
        """Let go of its connections. Safe to call twice."""
        self._database.close()

    def _rows(self, question: Question, kind: TableKind) -> list[Row]:
        rows = self._database.ask(question)
        if rows:
            missing = [column for column in _COLUMNS[kind] if column not in rows[0]]
            if missing:
                raise BackendConfigError(
                    f"the database of {self._database.place} is of an unknown version of Airflow: its table"
                    f" {kind} has no column {missing[0]}",
                    hint="the tables of Airflow 2.7 to 3.3 are known; is this Airflow's database?",
                )
        return rows

    def _stored(self, kind: TableKind, row: Row) -> Held | None:
        return self._connection(row) if kind == "connection" else self._variable(row)

    def _variable(self, row: Row) -> Held | None:
        written = _text(row["val"])
        if written is None:
            return None  # Airflow takes a row without a value for none
        opened = _Opened()
        text = opened.take("the value", written, is_sealed=row["is_encrypted"], fernet=self._fernet)
        text = opened.checked(text, "the value")
        description = opened.checked(_text(row["description"]), "the description")
        return Held(
            kind="variable",
            name=_text(row["key"]) or "",
            team=_team(row),
            secret=None if text is None or not opened.is_readable else Secret(text),
            metadata=Metadata(description=description),
            state=opened.state,
            problem=opened.problem,
            hint=opened.hint,
        )

    def _connection(self, row: Row) -> Held:
        opened = _Opened()
        fields: dict[str, object] = {name: _text(row[name]) for name in _TEXTS}
        for name, flag in (("password", "is_encrypted"), ("extra", "is_extra_encrypted")):
            fields[name] = opened.take(name, _text(row[name]), is_sealed=row[flag], fernet=self._fernet)
        fields["port"] = row["port"]
        text, made = _made(fields, opened) if opened.is_readable else (None, None)
        conn_type = made.conn_type if made is not None else _text(row["conn_type"])
        return Held(
            kind="connection",
            name=_text(row["conn_id"]) or "",
            team=_team(row),
            secret=text,
            connection=made,
            metadata=Metadata(description=_text(row["description"]), conn_type=conn_type),
            state=opened.state,
            problem=opened.problem,
            hint=opened.hint,
        )


@dataclass(slots=True)
class _Opened:
    """What was found in the fields of one row."""

    found: dict[EntryState, list[str]] = field(default_factory=dict)
    is_keyless: bool = False

    def take(self, what: str, written: str | None, *, is_sealed: object, fernet: Fernet) -> str | None:
        """Give the text of one field, or None where it holds none or cannot be opened."""
        if not written:
            return written
        if not is_sealed:
            self.note(EntryState.PLAIN_TEXT, what)
            return written
        state, secret = fernet.open(written)
        if secret is not None:
            return secret.reveal()
        self.is_keyless = not fernet.count
        self.note(state, f"{what} is not UTF-8" if state is EntryState.UNPARSABLE else what)
        return None

    def checked(self, text: str | None, what: str) -> str | None:
        """Give *text* if it can be a value at all."""
        if text is None:
            return None
        try:
            check_value(text, what)
        except InvalidInputError as error:
            self.note(EntryState.UNPARSABLE, str(error))
            return None
        return text

    def note(self, state: EntryState, what: str) -> None:
        self.found.setdefault(state, []).append(what)

    @property
    def is_readable(self) -> bool:
        return not set(self.found) - {EntryState.PLAIN_TEXT}

    @property
    def state(self) -> EntryState:
        return next((state for state in _WORST if state in self.found), EntryState.OK)

    @property
    def problem(self) -> str:
        return "; ".join(self._words(state) for state in _WORST if state in self.found)

    @property
    def hint(self) -> str | None:
        return None if self.is_readable else _REMEDY[self.state]

    def _words(self, state: EntryState) -> str:
        what = " and ".join(self.found[state])
        if state is EntryState.UNPARSABLE:
            return what
        if state is EntryState.PLAIN_TEXT:
            return f"{what} in plain text"
        if state is EntryState.NOT_A_TOKEN:
            return f"{what} marked as encrypted, but no Fernet token"
        if self.is_keyless:
            return f"{what} encrypted, and there is no Fernet key"
        return f"{what} sealed by another Fernet key, or changed since"


def _made(fields: dict[str, object], opened: _Opened) -> tuple[Secret[str] | None, Connection | None]:
    try:
        connection = Connection.from_dict(fields)
        if fields["port"] == 0:  # which a text form would take for none
            connection = connection.replace(port=0)
        return connection.format("json"), connection
    except InvalidInputError as error:
        opened.note(EntryState.UNPARSABLE, str(error))
        return None, None


def _text(value: Any) -> str | None:  # noqa: ANN401 -- what a driver gives
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "surrogateescape")
    return str(value)


def _team(row: Row) -> str | None:
    return _text(row.get("team_name")) or None
