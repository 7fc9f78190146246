"""
A connection: its fields, and what may be seen of them.

Every task process that reads a connection imports this file, so it is a plain class and imports nothing but
the secret; what reads and writes text forms stands in `connection_form.py` and is loaded by those who do.
"""

from __future__ import annotations

from strongroom.model.secret import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, NoReturn

    from strongroom.model.connection_form import Dialect, Form
    from strongroom.model.extra import Extra, Shows

__all__ = ["NAMES", "Connection", "Dialect", "Form"]

NAMES = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")
"""The fields of a connection, in their order."""

_put = object.__setattr__


class Connection:
    """
    Hold one connection; nothing secret in it prints.

    Args:
        conn_type: as Airflow normalises it in every text form: `-` becomes `_`, `postgresql` becomes
            `postgres`, the empty text None.
        port: 0 to 65535.
        extra: a JSON object; `Extra({})` and None are two things, as in Airflow.

    Raises:
        InvalidInputError: a field has the wrong type (R18), the port is out of range (R8), or a text is
            not Unicode (R3).

    Threads: immutable.
    """

    __slots__ = ("_extra", "conn_type", "description", "host", "login", "password", "port", "schema")

    conn_type: str | None
    description: str | None
    host: str | None
    login: str | None
    password: Secret[str] | None
    schema: str | None
    port: int | None
    _extra: Extra | Secret[str] | None

    def __init__(  # noqa: PLR0913 -- a connection has these fields
        self,
        *,
        conn_type: str | None = None,
        description: str | None = None,
        host: str | None = None,
        login: str | None = None,
        password: Secret[str] | None = None,
        schema: str | None = None,
        port: int | None = None,
        extra: Extra | None = None,
    ) -> None:
        from strongroom.model.connection_form import check  # noqa: PLC0415 -- see the top

        _put(self, "conn_type", conn_type)
        _put(self, "description", description)
        _put(self, "host", host)
        _put(self, "login", login)
        _put(self, "password", password)
        _put(self, "schema", schema)
        _put(self, "port", port)
        _put(self, "_extra", extra)
        check(self, extra)
        _put(self, "conn_type", _normalised(conn_type))

    @classmethod
    def received(
        cls,
        fields: tuple[
            str | None, str | None, str | None, str | None, str | None, str | None, int | None, str | None
        ],
    ) -> Connection:
        """
        Give the connection that an agent sent, which has checked it; `extra` is read when it is asked for.

        Args:
            fields: conn_type, description, host, login, password, schema, port, extra; the password plain,
                extra as the text of a JSON object.
        """
        made = cls.__new__(cls)
        conn_type, description, host, login, password, schema, port, extra = fields
        _put(made, "conn_type", conn_type)
        _put(made, "description", description)
        _put(made, "host", host)
        _put(made, "login", login)
        _put(made, "password", None if password is None else Secret(password))
        _put(made, "schema", schema)
        _put(made, "port", port)
        _put(made, "_extra", None if extra is None else Secret(extra))
        return made

    @property
    def extra(self) -> Extra | None:
        """A JSON object whose every leaf is a Secret, or None."""
        found = self._extra
        if type(found) is not Secret:
            return found  # type: ignore[return-value]  # Extra or None
        from strongroom.model.extra import parse_extra  # noqa: PLC0415 -- see the top

        parsed = parse_extra(found.reveal())
        _put(self, "_extra", parsed)  # by whichever thread: they are equal
        return parsed

    @classmethod
    def parse(cls, text: str, dialect: Dialect = "core") -> Connection:
        """
        Read the JSON or URI form as Airflow's *dialect* does: JSON if it starts with `{`.

        Args:
            text: at most 1 MiB of UTF-8; white space around it is not part of it.
            dialect: which of Airflow's two readings to follow.

        Raises:
            InvalidInputError: with `rule`, a number of docs/compatibility.md, and, where it is known,
                `offset` in *text*; never any of the text.
        """
        from strongroom.model import connection_form  # noqa: PLC0415 -- see the top

        return connection_form.parse(text, dialect)

    @classmethod
    def from_dict(cls, fields: Mapping[str, object], dialect: Dialect = "core") -> Connection:
        """
        Read the object that Airflow's JSON and YAML forms hold.

        Args:
            fields: any of conn_type, description, host, login, password, schema, port, extra (JSON text
                or an object), or uri instead of them.
            dialect: which of Airflow's two readings to follow.

        Raises:
            InvalidInputError: as `parse`.
        """
        from strongroom.model import connection_form  # noqa: PLC0415 -- see the top

        return connection_form.parse_fields(fields, dialect)

    def format(self, form: Form = "json") -> Secret[str]:
        """
        Write the connection in one of Airflow's text forms, so that `parse` gives it back.

        Raises:
            InvalidInputError: *form* is `uri` and a URI would lose something (the message names the
                fields), or the text would have more than 1 MiB.
        """
        from strongroom.model import connection_form  # noqa: PLC0415 -- see the top

        return connection_form.write(self, form)

    def uri_losses(self, dialect: Dialect = "core") -> tuple[str, ...]:
        """Give the fields that would not survive a URI read by *dialect*; () when it loses nothing."""
        from strongroom.model import connection_form  # noqa: PLC0415 -- see the top

        return connection_form.uri_losses(self, dialect)

    def to_dict(self, *, reveal: bool = False, shows: Shows | None = None) -> dict[str, Any]:
        """
        Give Airflow's plain shape, every field present, `extra` as an object or None.

        Args:
            reveal: False shows the password and every leaf of extra as `"***"`, and so a host or schema
                that does not look like one (it may be a connection string or carry user-info).
            shows: what is not revealed: tells by its path (`("login",)`, `("extra", "sslmode")`) and value
                what may be shown, of the leaves of extra too; `strongroom.catalog` knows.
        """
        from strongroom.model import connection_form  # noqa: PLC0415 -- see the top

        return connection_form.revealed(self) if reveal else connection_form.shown(self, shows)

    def replace(self, **changes: Any) -> Connection:  # noqa: ANN401 -- each field has its own type
        """Give a copy with *changes*, checked as in the constructor."""
        return Connection(**{name: getattr(self, name) for name in NAMES} | changes)

    def secrets(self) -> Iterator[str]:
        """
        Give every plaintext worth masking, repeats and short ones included: the password, the texts in
        extra (and in JSON documents kept there as text), numbers under keys that read like a secret's,
        and user-info inside the host or any of these.
        """
        from strongroom.model import connection_form  # noqa: PLC0415 -- see the top

        return connection_form.secrets_of(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Connection):
            return NotImplemented
        # Every field is compared, so that the time does not tell which one differs.
        return all([getattr(self, name) == getattr(other, name) for name in NAMES])  # noqa: C419

    __hash__ = None  # type: ignore[assignment]  # it holds secrets, whose hash would be a fingerprint

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        # Always, not only where there is a password: what works in a test must work in production.
        raise TypeError("a Connection cannot be pickled; format() it and reveal() where it is needed")

    def __copy__(self) -> Connection:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Connection:
        return self

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"a Connection is immutable; cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Connection is immutable; cannot delete {name}")

    def __repr__(self) -> str:
        from strongroom.model.extra import hidden_unless_plain  # noqa: PLC0415 -- see the top

        # Without the login: it may be an access key's id.
        return (
            f"Connection(conn_type={self.conn_type!r}, host={hidden_unless_plain(self.host)!r},"
            f" port={self.port!r}, schema={hidden_unless_plain(self.schema)!r})"
        )


def _normalised(conn_type: str | None) -> str | None:
    if conn_type == "postgresql":
        return "postgres"
    return conn_type.replace("-", "_") if conn_type else None


def __getattr__(name: str) -> object:
    if name not in ("Dialect", "Form"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from strongroom.model import connection_form  # noqa: PLC0415 -- see the top

    return getattr(connection_form, name)
