"""
One session with a PostgreSQL server, over libpq itself, asked as a connection of sqlite3 is.

Not for which sessions there are, nor for what an error means to whoever asked (`postgres.py`).
"""

from __future__ import annotations

import select
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any

from strongroom.store.server import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg.abc import Transformer
    from psycopg.pq.abc import PGconn, PGresult

__all__ = ["READ_MILLISECONDS", "PostgresError", "PostgresSession", "connected", "reason_of"]

_CONNECT_SECONDS = 2.5  # below the 3 s a backend has
READ_MILLISECONDS = 2500
"""How long is waited for the next byte from the server."""

_POLL_OK, _POLL_READING, _POLL_WRITING = 3, 1, 2  # PostgresPollingStatusType
_FATAL, _PIPELINE_SYNC, _PIPELINE_ABORTED, _TUPLES = 7, 10, 11, 2  # ExecStatusType
_BAD = 1  # ConnStatusType
_SQLSTATE = ord("C")  # PG_DIAG_SQLSTATE
_MOST_PREPARED = 128  # of a session; a page of names is a statement for each number of them
_BATCH = 100  # statements sent before their answers are awaited


class PostgresError(Exception):
    """
    What a server said, without its words.

    Args:
        state: SQLSTATE, or '' where there was no answer.
        told: of a connection that was not to be had: why, as one of our own words, or ''.
    """

    def __init__(self, state: str, told: str = "") -> None:
        super().__init__(state, told)
        self.state = state
        self.told = told

    @property
    def is_lost(self) -> bool:
        """Whether the session ended, by the server's end or on the way; what was asked may be asked again."""
        return not self.state or self.state.startswith(("08", "57P"))


class _Answer:
    """The rows of one statement, all of them."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[tuple[Any, ...]], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def fetchone(self) -> Any:  # noqa: ANN401 -- a row's types are its reader's business
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows


class PostgresSession(Session):
    """
    One session, asked as sqlite3's own connection is.

    Attributes:
        milliseconds: how long is waited for the next byte.
    """

    def __init__(self, pgconn: PGconn, errors: type[Exception], transformer: Transformer) -> None:
        super().__init__()
        self.milliseconds = READ_MILLISECONDS
        self._errors = errors
        self._pgconn = pgconn
        self._poll = select.poll()
        self._poll.register(pgconn.socket, select.POLLIN)
        self._prepared: dict[str, _Statement] = {}
        self._transformer = transformer  # psycopg's own way from bytes to values, in C

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> _Answer:
        statement = self._prepared.get(sql) or self._prepare(sql)
        values, formats = statement.given(parameters)
        try:
            self._pgconn.send_query_prepared(statement.name, values, formats, 1)
            self._flush()
            return self._answer(self._result())
        except BaseException as error:  # noqa: BLE001 -- raised
            raise self._met(error) from None

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> _Answer:
        statement = self._prepared.get(sql) or self._prepare(sql)
        given = [statement.given(each) for each in parameters]
        count = 0
        try:
            for start in range(0, len(given), _BATCH):
                count += self._batch(statement.name, given[start : start + _BATCH])
        except BaseException as error:  # noqa: BLE001 -- raised
            raise self._met(error) from None
        return _Answer([], count)

    def run(self, sql: str) -> bytes:
        """Run statements without parameters in one round trip, and give how the last one ended."""
        try:
            self._pgconn.send_query(sql.encode())
            self._flush()
            return self._result().command_status or b""
        except BaseException as error:  # noqa: BLE001 -- raised
            raise self._met(error) from None

    def end(self) -> None:
        """Undo the transaction; a session that cannot is not used again."""
        self.milliseconds = READ_MILLISECONDS
        if self.is_broken:
            return
        try:
            self.run("ROLLBACK")
        except PostgresError:
            self.is_broken = True

    def close(self) -> None:
        self._pgconn.finish()

    # --- as one that listens: `postgres_bell.py` -------------------------------------------------------

    def fileno(self) -> int:
        """Give the socket that can be read when something has arrived."""
        return self._pgconn.socket

    def drained(self) -> bool:
        """Take what has arrived, and tell whether a notification was in it."""
        try:
            self._pgconn.consume_input()
            is_rung = False
            while self._pgconn.notifies() is not None:
                is_rung = True
        except BaseException as error:  # noqa: BLE001 -- raised
            raise self._met(error) from None
        return is_rung

    # --- how it is spoken to -------------------------------------------------------------------------

    def _prepare(self, sql: str) -> _Statement:
        # Beyond the most one is prepared each time, under no name: the server keeps the others in memory.
        is_kept = len(self._prepared) < _MOST_PREPARED
        statement = _Statement(f"s{len(self._prepared)}".encode() if is_kept else b"", *_spelled(sql))
        try:
            self._pgconn.send_prepare(statement.name, statement.sql)
            self._flush()
            self._result()
        except BaseException as error:  # noqa: BLE001 -- raised
            raise self._met(error) from None
        if is_kept:
            self._prepared[sql] = statement
        return statement

    def _batch(self, name: bytes, given: Sequence[tuple[list[bytes | None], list[int]]]) -> int:
        """Send statements one behind the other, and await their answers together."""
        pgconn = self._pgconn
        pgconn.enter_pipeline_mode()
        failed: PostgresError | None = None
        count = 0
        for values, formats in given:
            pgconn.send_query_prepared(name, values, formats, 1)
        pgconn.pipeline_sync()
        self._flush()
        while True:
            result = self._next()
            if result is None:
                continue
            status = result.status
            if status == _PIPELINE_SYNC:
                break
            if status == _FATAL:
                failed = PostgresError(_state(result))
            elif status != _PIPELINE_ABORTED:
                count += result.command_tuples or 0
        pgconn.exit_pipeline_mode()
        if failed is not None:
            raise failed
        return count

    def _result(self) -> PGresult:
        """Give the last result of what was sent; raise what the first failing statement met."""
        found: PGresult | None = None
        failed: str | None = None
        while (result := self._next()) is not None:
            if result.status == _FATAL:
                failed = _state(result)
            found = result
        if failed is not None:
            raise self._failure(failed)
        if found is None:
            self.is_broken = True
            raise PostgresError("")
        return found

    def _answer(self, result: PGresult) -> _Answer:
        count = result.ntuples
        if not count:
            return _Answer([], result.command_tuples or 0 if result.status != _TUPLES else -1)
        self._transformer.set_pgresult(result)
        return _Answer(self._transformer.load_rows(0, count, tuple), -1)

    def _failure(self, state: str) -> PostgresError:
        failure = PostgresError(state)
        if failure.is_lost or self._pgconn.status == _BAD:
            self.is_broken = True
            return PostgresError("" if self._pgconn.status == _BAD else state)
        return failure

    def _next(self) -> PGresult | None:
        """Give the next result once it is there, None after the last one."""
        pgconn = self._pgconn
        while pgconn.is_busy():
            self._wait()
        return pgconn.get_result()

    def _flush(self) -> None:
        """Send what is to be sent, and take in what comes meanwhile: the server may not listen before."""
        while self._pgconn.flush():
            self._poll.modify(self._pgconn.socket, select.POLLIN | select.POLLOUT)
            try:
                self._wait()
            finally:
                self._poll.modify(self._pgconn.socket, select.POLLIN)

    def _wait(self) -> None:
        if not self._poll.poll(self.milliseconds):
            self.is_broken = True
            raise PostgresError("")
        self._pgconn.consume_input()

    def _met(self, error: BaseException) -> BaseException:
        """
        Give what is raised for *error*: of what psycopg raises where libpq refuses to send or receive
        nothing but that, and of what interrupted us just that.
        """
        if isinstance(error, PostgresError):
            return error
        # An answer may still come: nobody else may take it for his.
        self.is_broken = True
        return PostgresError("") if isinstance(error, self._errors) else error


class _Statement:
    """
    One prepared statement of one session.

    Args:
        name: of it in the session.
        sql: as the server was given it.
        names: which parameters are names as bytes.
    """

    __slots__ = ("_names", "name", "sql")

    def __init__(self, name: bytes, sql: bytes, names: frozenset[int]) -> None:
        self.name = name
        self.sql = sql
        self._names = names

    def given(self, parameters: Sequence[Any]) -> tuple[list[bytes | None], list[int]]:
        """Give *parameters* as bytes, and of each whether it is binary (1) or its text (0)."""
        values: list[bytes | None] = []
        formats: list[int] = []
        for one in parameters:
            kind = type(one)
            if kind is str:
                values.append(one.encode())
                formats.append(1)  # with its length: as text it would end at a NUL
            elif kind is bytes or kind is bytearray or kind is memoryview:
                values.append(_name(one) if len(values) in self._names else bytes(one))
                formats.append(1)
            else:
                values.append(None if one is None else b"%d" % one)
                formats.append(0)
        return values, formats


_NAME_AS_BYTES = "CAST(? AS TEXT)"


@lru_cache(maxsize=512)  # there are about fifty, and a few more by how many names they ask for
def _spelled(sql: str) -> tuple[bytes, frozenset[int]]:
    """Give *sql* as PostgreSQL takes it, and which of its parameters are names as bytes."""
    names: set[int] = set()
    parts: list[str] = []
    for piece in sql.replace(_NAME_AS_BYTES, "?\0").split("?"):
        number = len(parts)
        if piece.startswith("\0"):
            names.add(number - 1)
            parts.append(f"::text{piece[1:]}")
        else:
            parts.append(piece)
    spelled = parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], 1))
    return spelled.encode(), frozenset(names)


def _name(name: bytes) -> bytes:
    """
    Give a name as text can hold it. What no UTF-8 can spell, or holds a NUL, equals no name here; it ends
    with U+10FFFF instead, which is no character and stands where the bytes would in the order of names.
    """
    try:
        if b"\0" not in name:
            name.decode()
            return name
        end = name.index(b"\0")
    except UnicodeDecodeError as error:
        end = error.start
        return name[:end] + "\U0010ffff".encode()
    return name[:end] + b"\x01"


def _state(result: PGresult) -> str:
    return (result.error_field(_SQLSTATE) or b"").decode("ascii", "replace")


def connected(pgconn: PGconn) -> None:
    """Wait until *pgconn* is; raises PostgresError, and what psycopg raises."""
    until = monotonic() + _CONNECT_SECONDS
    poll = select.poll()
    while True:
        if int(pgconn.status) == _BAD:
            raise PostgresError("", reason_of(pgconn.error_message.decode("utf-8", "replace")))
        status = int(pgconn.connect_poll())
        if status == _POLL_OK:
            return
        if status not in (_POLL_READING, _POLL_WRITING):
            raise PostgresError("", reason_of(pgconn.error_message.decode("utf-8", "replace")))
        # It may be another socket each time: libpq tries one address after the other.
        socket = pgconn.socket
        poll.register(socket, select.POLLIN if status == _POLL_READING else select.POLLOUT)
        ready = poll.poll(max(0.0, until - monotonic()) * 1000)
        poll.unregister(socket)
        if not ready:
            raise PostgresError("")


# libpq tells why it could not connect in words only; these are PostgreSQL's in English.
_WORDS = (
    ("login", ("authentication failed", "pg_hba.conf", "no password supplied", 'role "')),
    ("database", ('database "',)),
    ("setting", ("invalid value", "invalid connection option", "invalid integer", "weak sslmode")),
    ("certificate", ("certificate", "SSL", "TLS")),
)


def reason_of(text: str) -> str:
    """Give in one of our own words why there is no connection; '' where nobody set anything wrong."""
    if "too many" in text or "remaining connection slots" in text or "starting up" in text:
        return ""
    for told, words in _WORDS:
        if any(word in text for word in words):
            return told
    return ""
