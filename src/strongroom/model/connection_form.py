"""
The written forms of a connection, read and written: `connection.py` loads this file when it needs it.

Reading equals Airflow or is refused with a number of the closed list in docs/compatibility.md (R1, R2 …);
nothing else may differ. The dialects:

- `core`: Airflow 3's metadata database, scheduler and API server. Values of a URI's query that are JSON
  become what they say (`a=1` → 1), and an empty password is no password.
- `sdk`: Airflow 3's tasks. Values of a query stay text, and an empty password stays one. (Airflow 2 reads
  queries this way, and passwords as `core`.)

Writing loses nothing: `write("json")` always reads back to the same connection, `write("uri")` refuses
where a URI could not. Not here: what the fields of one connection type mean, and files of many
connections.

The URI is taken apart here rather than by `urllib.parse.urlsplit`, which remembers the last texts it saw,
passwords and all, and answers differently from one Python to the next.

Source: airflow/models/connection.py and airflow/sdk/definitions/connection.py of Airflow 3.3.2; measured
answers in tests/vectors/airflow_uri.json and airflow_json.json.
"""

from __future__ import annotations

import ipaddress
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import parse_qsl, quote, unquote, urlencode

from strongroom.errors import InvalidInputError
from strongroom.model.connection import NAMES, Connection
from strongroom.model.entry import check_value
from strongroom.model.extra import HIDDEN, Extra, Shows, hidden_unless_plain
from strongroom.model.jsontext import MAX_DEPTH, decode
from strongroom.model.secret import Secret

__all__ = [
    "Dialect",
    "Form",
    "check",
    "parse",
    "parse_fields",
    "revealed",
    "secrets_of",
    "shown",
    "uri_losses",
    "write",
]

Dialect = Literal["core", "sdk"]
Form = Literal["json", "uri"]

_DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
_MAX_PORT = 65535
_MAX_TEXT_DEPTH = 63  # of an extra given as text: written as an object it stands one level deeper
_EXTRA_KEY = "__extra__"
_TEXT_FIELDS = ("conn_type", "description", "host", "login", "schema")
_FIELDS = frozenset({*_TEXT_FIELDS, "password", "port", "extra", "uri", "team_name"})

_TYPE = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_UNDERSCORED = re.compile(r"[A-Za-z][\w+.\-]*://", re.ASCII)
_AUTHORITY_END = re.compile(r"[/?#]")
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::(.*))?", re.DOTALL)
_IP_FUTURE = re.compile(r"v[0-9A-Fa-f]+\..+", re.DOTALL)  # RFC 3986 §3.2.2
_DIGITS = re.compile(r"[0-9]{1,4300}")  # as many as Python converts
_DROPPED = re.compile(r"[\t\r\n]")
_MAYBE_JSON = re.compile(r'[ \t\r\n]*["\[{\-0-9tfnNI]')  # how any JSON text starts, and NaN and Infinity
_LEADING = "".join(map(chr, range(0x21)))  # C0 controls and space, which Airflow strips from a URI's start
_USER_INFO = re.compile(r"(?:^|//)([^/@:\s]*:([^/@\s]+))@")
_SECRET_KEY = re.compile(r"pass|secret|token|pwd|pin|key|code", re.IGNORECASE)


def check(connection: Connection, extra: object) -> None:
    """
    Check the fields of a *connection* that is being made, its *extra* apart.

    Raises:
        InvalidInputError: as `Connection`.
    """
    for name in _TEXT_FIELDS:
        _check_text(name, getattr(connection, name))
    password, port = connection.password, connection.port
    if password is not None:
        if not isinstance(password, Secret):
            raise _refused("R18", "password is not a Secret")
        _check_text("password", password.reveal())
    if extra is not None and not isinstance(extra, Extra):
        raise _refused("R18", "extra is not an Extra")
    if port is not None and (type(port) is not int or not 0 <= port <= _MAX_PORT):
        raise _bad_port()


def parse(text: str, dialect: Dialect) -> Connection:
    """Read the JSON or URI form. As `Connection.parse`."""
    _check_dialect(dialect)
    if not isinstance(text, str):
        raise _refused("R18", "the connection is not text")
    check_value(text, "the connection")
    stripped = text.strip()
    if not stripped:
        raise _refused("R1", "the connection is empty")
    if stripped[0] != "{":
        return _from_uri(stripped, dialect, len(text) - len(text.lstrip()))
    return parse_fields(_object(text, "the connection", MAX_DEPTH), dialect)


def parse_fields(fields: Mapping[str, object], dialect: Dialect) -> Connection:
    """Read the object that the JSON and YAML forms hold. As `Connection.from_dict`."""
    _check_dialect(dialect)
    _check_names(fields, dialect)
    uri = fields.get("uri")
    _check_text("uri", uri)
    if uri or (uri is not None and dialect == "sdk"):
        return _from_uri_field(fields, str(uri), dialect)
    texts = {name: _text(fields, name) for name in _TEXT_FIELDS}
    return Connection(
        **texts,
        password=_password(_text(fields, "password"), dialect),
        port=_port(fields.get("port")),
        extra=_extra(fields.get("extra")),
    )


def write(connection: Connection, form: Form) -> Secret[str]:
    """Write one of the text forms. As `Connection.format`."""
    if form == "json":
        text = json.dumps(_json_fields(connection), allow_nan=False)
    else:
        lost = uri_losses(connection, "sdk")
        if lost:
            raise InvalidInputError(
                f"a URI would lose {' and '.join(lost)}", hint="write the JSON form, which loses nothing"
            )
        text = _uri(connection)
    check_value(text, "the connection")
    return Secret(text)


def uri_losses(connection: Connection, dialect: Dialect) -> tuple[str, ...]:
    """Give the fields that would not survive a URI. As `Connection.uri_losses`."""
    if not connection.conn_type or not _TYPE.fullmatch(f"{_scheme(connection)}://"):
        # Without a type there is nothing to read back; what else would be lost shows beside another type.
        return ("conn_type", *uri_losses(connection.replace(conn_type="generic"), dialect))
    back = _from_uri(_uri(connection), dialect, 0)
    return tuple(name for name in NAMES if getattr(connection, name) != getattr(back, name))


def revealed(connection: Connection) -> dict[str, Any]:
    """Give the plain shape, secrets and all. As `Connection.to_dict`."""
    fields = {name: getattr(connection, name) for name in NAMES}
    fields["password"] = connection.password.reveal() if connection.password is not None else None
    fields["extra"] = connection.extra.reveal() if connection.extra is not None else None
    return fields


def shown(connection: Connection, shows: Shows | None) -> dict[str, Any]:
    """Give the plain shape without what is secret. As `Connection.to_dict`."""
    fields = {name: getattr(connection, name) for name in NAMES}
    fields["password"] = HIDDEN if connection.password is not None else None
    fields |= {"host": hidden_unless_plain(connection.host), "schema": hidden_unless_plain(connection.schema)}
    extra = connection.extra
    if shows is None:
        return fields | {"extra": None if extra is None else extra.hidden()}
    for name in _TEXT_FIELDS:
        if fields[name] is not None and not shows((name,), fields[name]):
            fields[name] = HIDDEN
    if extra is not None:
        fields["extra"] = extra.hidden(lambda path, value: shows(("extra", *path), value))
    return fields


def secrets_of(connection: Connection) -> Iterator[str]:
    """Give every plaintext worth masking. As `Connection.secrets`."""
    if connection.password is not None:
        yield from _texts_within(connection.password.reveal())
    if connection.extra is not None:
        for key, leaf in connection.extra.leaves():
            yield from _leaf_texts(key, leaf.reveal())
    for place in (connection.host, connection.schema):
        yield from _user_info(place or "")


def _json_fields(connection: Connection) -> dict[str, Any]:
    fields = {name: value for name, value in revealed(connection).items() if value is not None}
    if connection.port == 0:
        fields["port"] = "0"  # Airflow takes a false value for no port; as text it is true
    if connection.extra is not None and not connection.extra:
        fields["extra"] = "{}"  # likewise: an empty object is read as no extra
    return fields


def _refused(
    rule: str, message: str, offset: int | None = None, *, hint: str | None = None
) -> InvalidInputError:
    return InvalidInputError(message, offset=offset, rule=rule, hint=hint)


# --- checks shared by both forms ---------------------------------------------------------------


def _check_dialect(dialect: str) -> None:
    if dialect not in _DIALECTS:
        raise InvalidInputError(f"the dialect is none of {' and '.join(_DIALECTS)}")


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise _refused("R18", f"{name} is not text", hint="put it in quotes")
    check_value(value, name)


def _password(text: str | None, dialect: Dialect) -> Secret[str] | None:
    if text is None or (dialect == "core" and not text):
        return None
    return Secret(text)


def _bad_port(offset: int | None = None) -> InvalidInputError:
    return _refused(
        "R8",
        f"the port is not a whole number from 0 to {_MAX_PORT}",
        offset,
        # Only a URI has offsets, and only there can the port be part of something else.
        hint=None
        if offset is None
        else "in a URI percent-encode '/', '?', '#', ':' and '@' in the login and password,"
        " and put an IPv6 address in [ ]",
    )


def _extra(value: object) -> Extra | None:
    if not value:
        return None  # as Airflow: any false value is no extra
    if isinstance(value, str):
        return Extra(_object(value, "extra", _MAX_TEXT_DEPTH))
    return Extra(_checked_object(value, "extra"))


def _object(text: str, what: str, max_depth: int) -> Mapping[str, object]:
    return _checked_object(decode(text, what=what, max_depth=max_depth), what)


def _checked_object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise _refused("R20", f"{what} is not a JSON object", hint='write it as {"key": "value"}')
    return value


# --- the JSON form -----------------------------------------------------------------------------


def _check_names(fields: Mapping[str, object], dialect: Dialect) -> None:
    for name in fields:
        if name not in _FIELDS or (name == "team_name" and dialect == "sdk"):
            raise _refused(
                "R17",
                "the connection has a field that Airflow does not know",
                hint="known are conn_type, description, host, login, password, schema, port, extra and uri",
            )
    if fields.get("team_name") is not None:
        raise _refused("R21", "team_name stands inside the connection", hint="give the team beside the name")


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    _check_text(name, value)
    return value if isinstance(value, str) else None


def _port(value: object) -> int | None:
    if not value:
        return None  # as Airflow: any false value is no port
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _whole_number(value) if isinstance(value, str) else None
    if number is None:
        raise _bad_port()
    return number


def _whole_number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _from_uri_field(fields: Mapping[str, object], uri: str, dialect: Dialect) -> Connection:
    # The core looks at the values of the other fields, the SDK at their presence (but for the three that
    # it drops when they are false).
    dropped = ("conn_type", "port", "extra") if dialect == "sdk" else _FIELDS
    allowed = ("uri", "team_name", "description") if dialect == "core" else ("uri",)
    if any(name not in allowed and (value or name not in dropped) for name, value in fields.items()):
        raise _refused("R19", "uri stands beside other fields", hint="give either uri or the fields")
    description = _text(fields, "description")
    try:
        return _from_uri(uri, dialect, 0).replace(description=description)
    except InvalidInputError as error:
        error.offset = None  # it counts from the start of the uri, not of what the caller gave
        raise


# --- the URI form ------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Login, password, host and port as a URI spells them, and where the part after `://` starts."""

    login: str | None
    password: str | None
    host: str
    port: str
    start: int

    def __repr__(self) -> str:
        return f"_Place(…, start={self.start})"


def _from_uri(text: str, dialect: Dialect, base: int) -> Connection:
    _check_lines(text, base)
    uri = text.lstrip(_LEADING)
    base += len(text) - len(uri)
    conn_type, protocol, start = _heads(uri, base)
    end = _AUTHORITY_END.search(uri, start)
    stop = end.start() if end else len(uri)
    place = _place(uri[start:stop], base + start)
    tail, _, fragment = uri[stop:].partition("#")
    if "@" in fragment:
        raise _refused(
            "R12", "an '@' stands behind a '#', which ends the URI", base + uri.rindex("@"), hint="write %23"
        )
    path, _, query = tail.partition("?")
    host = _host(place)
    return Connection(
        conn_type=conn_type,
        host=f"{protocol}://{host}" if protocol and host else host,
        login=_unquoted(place.login, place.start),
        password=_password(_unquoted(place.password, place.start), dialect),
        schema=_unquoted(path[1:], base + stop),
        port=_uri_port(place),
        extra=_query(query, dialect, base + stop) if query else None,
    )


def _check_lines(text: str, base: int) -> None:
    dropped = _DROPPED.search(text)
    if dropped:
        raise _refused(
            "R7",
            "the URI holds a tab or line break, which Airflow drops",
            base + dropped.start(),
            hint="percent-encode it",
        )


def _heads(uri: str, base: int) -> tuple[str, str | None, int]:
    """Give the connection type, the host's protocol and the offset behind them."""
    head = _TYPE.match(uri)
    if head is None:
        raise _no_type(uri, base)
    conn_type = head[1].lower()
    second = uri.find("://", head.end())
    if second < 0:
        return conn_type, None, head.end()
    inner = _TYPE.match(uri, head.end())
    # Airflow cuts out every "<type>://", so that a type in capitals or repeated leaves a wrong host.
    is_sound = inner is not None and head[1] == conn_type and not inner[1].endswith(conn_type)
    if inner is None or not is_sound or uri.find("://", inner.end()) >= 0:
        raise _refused(
            "R6",
            "a second '://' stands where Airflow reads no protocol of the host",
            base + second,
            hint="percent-encode it as %3A%2F%2F",
        )
    return conn_type, inner[1].lower(), inner.end()


def _no_type(uri: str, base: int) -> InvalidInputError:
    underscored = _UNDERSCORED.match(uri)
    if underscored:
        return _refused(
            "R5",
            "the connection type in a URI holds '_'",
            base + uri.index("_"),
            hint="write '-' for it, as in google-cloud-platform://; Airflow turns it back",
        )
    hint = "start with the connection type, as in postgres://host"
    if uri[:1] in "\"'`":
        hint = "take off the quotation marks"
    elif uri[:1] in ("[", "\ufeff"):
        hint = "the JSON form starts with { and has no byte order mark"
    return _refused("R4", "the connection does not start with a type and '://'", base, hint=hint)


def _place(authority: str, start: int) -> _Place:
    if not authority.isascii():
        _check_compatible(authority, start)
    user, at, place = authority.rpartition("@")
    login, colon, password = user.partition(":")
    if "[" in authority or "]" in authority:
        host, port = _bracketed(user, place, start)
    else:
        host, _, port = place.partition(":")
    return _Place(login if at else None, password if colon else None, host, port, start)


def _check_compatible(authority: str, start: int) -> None:
    # Characters such as ℀ turn into a/c under NFKC, so a host could change after it was checked.
    bare = re.sub("[@:#?]", "", authority)
    if set("/?#@:") & set(unicodedata.normalize("NFKC", bare)):
        raise _refused(
            "R10",
            "the login, password or host holds a character that is equivalent to '/', '?', '#', '@' or ':'",
            start,
            hint="percent-encode it",
        )


def _bracketed(user: str, place: str, start: int) -> tuple[str, str]:
    match = _BRACKETED.fullmatch(place)
    is_host = match is not None and _is_ip_literal(match[1])
    if match is None or not is_host or "[" in user or "]" in user:
        raise _refused(
            "R9",
            "'[' and ']' do not hold the host's IPv6 address",
            start,
            hint="percent-encode them elsewhere as %5B and %5D",
        )
    return match[1], match[2] or ""


def _is_ip_literal(text: str) -> bool:
    if "%2f" in text.lower():
        return False  # in a zone; Airflow takes the host anew from its first "/" and finds "["
    if _IP_FUTURE.fullmatch(text):
        return True
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _host(place: _Place) -> str:
    plain, percent, rest = place.host.partition("%")
    # Lower case up to the first '%' only: urllib takes it for the start of an IPv6 zone.
    host = _unquoted(plain.lower() + percent + rest, place.start) or ""
    return (_unquoted(place.host, place.start) or "") if "/" in host else host


def _uri_port(place: _Place) -> int | None:
    if not place.port:
        return None
    if not _DIGITS.fullmatch(place.port) or int(place.port) > _MAX_PORT:
        raise _bad_port(place.start)
    return int(place.port)


def _unquoted(text: str | None, offset: int) -> str | None:
    if not text or "%" not in text:
        return text
    with suppress(UnicodeDecodeError):
        return unquote(text, errors="strict")
    raise _not_utf8(offset)


def _not_utf8(offset: int) -> InvalidInputError:
    return _refused(
        "R11", "a percent-encoded character is not UTF-8", offset, hint="percent-encode its UTF-8 bytes"
    )


def _query(query: str, dialect: Dialect, offset: int) -> Extra | None:
    values: dict[str, Any] | None = None
    with suppress(UnicodeDecodeError):
        values = dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
    if values is None:
        raise _not_utf8(offset)
    if _EXTRA_KEY in values:
        return _extra(values[_EXTRA_KEY])
    if dialect == "core":
        values = {key: _typed(value) for key, value in values.items()}
    return Extra(values)


def _typed(value: str) -> object:
    """Give what *value* says as JSON, or the text itself: the core reads a query this way."""
    if not _MAYBE_JSON.match(value):
        return value
    try:
        return decode(value, what="a value of the query")
    except InvalidInputError as error:
        if error.rule != "R13":
            raise
    return value


def _scheme(connection: Connection) -> str:
    return (connection.conn_type or "").replace("_", "-")


def _uri(connection: Connection) -> str:
    """Write a URI, lossy where it must be. The whole host is quoted, so that one with a path survives."""
    authority = quote(connection.host or "", safe="")
    if connection.login is not None or connection.password is not None:
        password = "" if connection.password is None else ":" + quote(connection.password.reveal(), safe="")
        authority = f"{quote(connection.login or '', safe='')}{password}@{authority}"
    port = "" if connection.port is None else f":{connection.port}"
    path = "/" + quote(connection.schema, safe="") if connection.schema else ""
    return f"{_scheme(connection)}://{authority}{port}{path}{_uri_query(connection.extra)}"


def _uri_query(extra: Extra | None) -> str:
    if extra is None:
        return ""
    plain = extra.reveal()
    # Flat only where both dialects read the same: in the core a value that is JSON would change its type.
    if plain and _EXTRA_KEY not in plain and all(_stays_text(value) for value in plain.values()):
        query = urlencode(plain)
    else:
        query = urlencode({_EXTRA_KEY: json.dumps(plain, allow_nan=False)})
    return f"?{query}"


def _stays_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return _typed(value) is value
    except InvalidInputError:
        return False


# --- what is shown, and what must not be -------------------------------------------------------


def _leaf_texts(key: str, value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from _texts_within(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and _SECRET_KEY.search(key):
        yield json.dumps(value)


def _texts_within(text: str) -> Iterator[str]:
    if not text:
        return
    yield text
    yield from _user_info(text)
    if text.lstrip()[:1] == "{":
        try:
            document = Extra(_object(text, "a text", _MAX_TEXT_DEPTH))
        except InvalidInputError:
            return
        for key, leaf in document.leaves():
            yield from _leaf_texts(key, leaf.reveal())


def _user_info(text: str) -> Iterator[str]:
    for match in _USER_INFO.finditer(text):
        yield from match.groups()
        yield unquote(match[2])
