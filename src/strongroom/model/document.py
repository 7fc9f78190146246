r"""
Airflow's files of connections and variables: text ⇄ entries.

Reads what `airflow connections import`, `airflow variables import` and LocalFilesystemBackend read,
to the same entries or to a refusal with a number of docs/compatibility.md (F1 …, "Files"); beyond
that quoted dotenv and JSON connections in `.env`, which Airflow cannot read back itself. Knows no
paths and opens nothing.

How a line of `.env` is read is told in `dotenv.py`.

Source: airflow/secrets/local_filesystem.py and airflow/cli/commands/ of 3.3.2; python-dotenv 1.2.
"""

from __future__ import annotations

import json
from contextlib import suppress
from math import isfinite
from typing import TYPE_CHECKING, Literal, TypeVar, get_args
from urllib.parse import quote

from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.dotenv import check_names, format_value, listed, parse_dotenv, shown
from strongroom.model.jsontext import decode as decode_json
from strongroom.model.variable import Variable
from strongroom.model.yaml11 import MAX_DEPTH, MAX_FILE_BYTES, parse_yaml
from strongroom.model.yamlscalar import format_scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.model.connection import Dialect

__all__ = [
    "Form",
    "Serialization",
    "connection_of",
    "connection_text",
    "decode",
    "form_of",
    "format_connections",
    "format_variables",
    "parse",
    "parse_connections",
    "parse_variables",
    "variable_of",
]

T = TypeVar("T")

Form = Literal["json", "yaml", "env"]
Serialization = Literal["uri", "json", "uri-only"]
"""
Connections in `.env`: "uri" writes a URI where it loses nothing and JSON elsewhere, "json" always
JSON, "uri-only" refuses what a URI would lose.
"""

FORMS: tuple[Form, ...] = get_args(Form)
_EXTENSIONS: dict[str, Form] = {"json": "json", "yaml": "yaml", "yml": "yaml", "env": "env"}
_BOMS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_FIELDS = ("conn_type", "description", "login", "password", "host", "port", "schema", "extra")


# --- bytes and names of files ------------------------------------------------------------------


def form_of(filename: str) -> Form:
    """
    Tell the form of a file by its name: `.json`, `.yaml`, `.yml`, `.env` in any case.

    Raises:
        InvalidInputError: F1, another ending.
    """
    ending = filename.rpartition(".")[2].lower() if "." in filename else ""
    if ending not in _EXTENSIONS:
        raise InvalidInputError(
            "the file's name must end in .json, .yaml, .yml or .env",
            rule="F1",
            hint="rename it, or say its form",
        )
    return _EXTENSIONS[ending]


def decode(data: bytes) -> str:
    """
    Give the text of a file's bytes.

    Args:
        data: UTF-8 without a byte order mark, at most 64 MiB.

    Raises:
        InvalidInputError: F2, over the limit, marked or not UTF-8; `offset` in bytes.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInputError(f"the file is over {MAX_FILE_BYTES} bytes", limit=MAX_FILE_BYTES, rule="F2")
    for mark, encoding in _BOMS.items():
        if data.startswith(mark):
            raise InvalidInputError(
                f"the file begins with a byte order mark of {encoding}",
                offset=0,
                rule="F2",
                hint="save it as UTF-8 without a byte order mark",
            )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start
    # Outside `except`: the foreign error holds the whole file.
    raise InvalidInputError("the file is not UTF-8", offset=offset, rule="F2", hint="save it as UTF-8")


# --- reading -----------------------------------------------------------------------------------


def parse(text: str, form: Form, *, quotes: bool = True) -> dict[str, object]:
    """
    Give the entries of a file by name, each as it stands there: text, or what JSON or YAML holds.

    Args:
        text: of the whole file.
        form: which of the three.
        quotes: False reads quotes in `.env` as part of the value, exactly as Airflow does.

    Raises:
        InvalidInputError: F3 (empty, or not one object), F4 and F5 (lines of `.env`), F6 (a name
            twice), F7 (a name that is not text), R13 to R16 (JSON), F12 (YAML).
    """
    if form == "env":
        return dict(parse_dotenv(text, quotes=quotes))
    if not text:
        raise InvalidInputError("the file is empty", offset=0, rule="F3")
    found = _parse_json(text) if form == "json" else _parse_yaml(text)
    if not isinstance(found, dict):
        raise InvalidInputError(
            "the file must hold one object, of names and their entries",
            offset=0,
            rule="F3",
            hint=None if form == "json" else "a .env file must be named .env",
        )
    for name in found:
        if not isinstance(name, str):
            raise InvalidInputError(
                f"a name is read as {_json_type(name)} and not as text",
                rule="F7",
                hint="put the name in quotes",
            )
    return found


def parse_connections(text: str, form: Form, dialect: Dialect = "core") -> dict[str, Connection]:
    """
    Give the connections of a file by name.

    Raises:
        InvalidInputError: as `parse` and, for the first connection at fault, as `connection_of`.
    """
    return {name: connection_of(name, raw, dialect) for name, raw in parse(text, form).items()}


def parse_variables(text: str, form: Form) -> dict[str, Variable]:
    """
    Give the variables of a file by name.

    Raises:
        InvalidInputError: as `parse` and, for the first variable at fault, as `variable_of`.
    """
    return {name: variable_of(name, raw) for name, raw in parse(text, form).items()}


def connection_of(name: str, raw: object, dialect: Dialect = "core") -> Connection:
    """
    Give the connection that *raw* (from `parse`) describes: a URI, a JSON text, an object, or a list of one.

    Raises:
        InvalidInputError: F8 (no such shape), F9 (`conn_id` is another name, or `extra` twice), or
            what `Connection.parse` and `from_dict` refuse; the message names *name*.
    """
    if isinstance(raw, list):
        if len(raw) != 1:
            raise InvalidInputError(f"{shown(name)} stands for {len(raw)} connections, not one", rule="F8")
        raw = raw[0]
    if isinstance(raw, InvalidInputError):  # what `astro.py` found wrong with this one
        raise _about(name, raw)
    if isinstance(raw, str):
        text = _keep_trailing(raw)
        return _named(name, lambda: Connection.parse(text, dialect))
    if isinstance(raw, dict):
        fields = _fields_of(name, raw)
        return _named(name, lambda: Connection.from_dict(fields, dialect))
    raise InvalidInputError(
        f"{shown(name)} is {_json_type(raw)}; a connection is a URI or an object", rule="F8"
    )


def connection_text(name: str, raw: object, dialect: Dialect = "core") -> str:
    """
    Give a text that `Connection.parse` reads to `connection_of(name, raw, dialect)`; a text is kept as it is.

    Raises:
        InvalidInputError: *raw* is no text and no connection, as `connection_of`.
    """
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if isinstance(raw, str):
        return _keep_trailing(raw)
    return connection_of(name, raw, dialect).format("json").reveal()


def variable_of(name: str, raw: object, *, unwrap: bool = True) -> Variable:
    """
    Give the variable that *raw* (from `parse`) describes; what is not text becomes JSON text.

    Args:
        name: for the messages and the variable's key.
        raw: as the file holds it.
        unwrap: read `{"value": …, "description": …}` as `airflow variables import` does. False keeps
            the object itself, as LocalFilesystemBackend does.

    Raises:
        InvalidInputError: F11 (a date, a number JSON does not have, or nested deeper than 64), or what
            `Variable.from_document` refuses; the message names *name*.
    """
    if isinstance(raw, InvalidInputError):  # what `astro.py` found wrong with this one
        raise _about(name, raw)
    if not _is_json(raw, 0):
        raise InvalidInputError(
            f"{shown(name)} holds a date or number that JSON does not have, or is nested too deep",
            rule="F11",
            hint="put it in quotes",
        )
    return _named(name, lambda: Variable.from_document(name, raw if unwrap else {"value": raw}))


def _keep_trailing(text: str) -> str:
    # White space after a URI belongs to it in a file, while every other place strips the text first.
    bare = text.rstrip()
    return (
        text if bare == text or bare.lstrip()[:1] == "{" else bare + quote(text[len(bare) :], safe="\t\r\n")
    )


def _named(name: str, work: Callable[[], T]) -> T:
    try:
        found = work()
    except InvalidInputError as error:
        refusal = _about(name, error)
    else:
        return found
    raise refusal


def _about(name: str, error: InvalidInputError) -> InvalidInputError:
    return InvalidInputError(
        f"{shown(name)}: {error}", offset=error.offset, limit=error.limit, rule=error.rule, hint=error.hint
    )


def _fields_of(name: str, raw: Mapping[str, object]) -> dict[str, object]:
    fields = dict(raw)
    if "conn_id" in fields and fields.pop("conn_id") != name:
        raise InvalidInputError(f"{shown(name)} has a conn_id that is another name", rule="F9")
    if "extra_dejson" in fields:
        if "extra" in fields:
            raise InvalidInputError(f"{shown(name)} has both extra and extra_dejson", rule="F9")
        extra = fields.pop("extra_dejson")
        if not isinstance(extra, dict):
            raise InvalidInputError(f"the extra_dejson of {shown(name)} is not an object", rule="F9")
        fields["extra"] = extra
    return fields


def _is_json(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        return depth < MAX_DEPTH and all(_is_json(item, depth + 1) for item in value.values())
    if isinstance(value, list):
        return depth < MAX_DEPTH and all(_is_json(item, depth + 1) for item in value)
    if isinstance(value, float):
        return isfinite(value)
    return value is None or isinstance(value, (str, int))


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "a date")


def _parse_json(text: str) -> object:
    try:
        return decode_json(text, what="the file")
    except InvalidInputError as error:
        if error.offset is None:
            raise
        refusal = InvalidInputError(
            f"{error} at line {_line(text, error.offset)}",
            offset=error.offset,
            limit=error.limit,
            rule=error.rule,
            hint=error.hint,
        )
    raise refusal


def _parse_yaml(text: str) -> object:
    try:
        return parse_yaml(text)
    except InvalidInputError as error:
        error.rule = error.rule or "F12"
        raise


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


# --- writing -----------------------------------------------------------------------------------


def format_connections(
    items: Mapping[str, Connection], form: Form, serialization: Serialization = "uri"
) -> str:
    """
    Write connections as `airflow connections export` does, ordered by name, with their secrets.

    Raises:
        InvalidInputError: F13, `.env` cannot spell a name, or "uri-only" would lose something of a
            connection; the message names them.
    """
    ordered = sorted(items.items())
    if form == "env":
        check_names(items)
        if serialization == "uri-only":
            _check_uris(ordered)
        lines = (f"{name}={_env_connection(item, serialization)}\n" for name, item in ordered)
        return "".join(lines)
    shapes = {name: _airflow_shape(item) for name, item in ordered}
    if form == "json":
        return json.dumps(shapes, indent=2) + "\n"
    return "".join(_yaml_entry(name, shape) for name, shape in shapes.items()) or "{}\n"


def format_variables(items: Mapping[str, Variable], form: Form, *, descriptions: bool = True) -> str:
    """
    Write variables as `airflow variables import` reads them, ordered by name.

    Every value is written as text, because JSON in another spelling would come back changed.

    Args:
        items: by name.
        form: which of the three.
        descriptions: False leaves them out.

    Raises:
        InvalidInputError: F13, `.env` cannot spell a name or would lose a description; the message
            names them.
    """
    ordered = {
        name: item if descriptions else Variable(key=item.key, value=item.value)
        for name, item in sorted(items.items())
    }
    if form == "env":
        check_names(items)
        lost = [shown(name) for name, item in ordered.items() if item.description is not None]
        if lost:
            raise InvalidInputError(
                f"a .env file cannot hold the descriptions of {listed(lost)}",
                rule="F13",
                hint="export as json or yaml, or leave the descriptions out",
            )
        return "".join(f"{name}={format_value(item.value.reveal())}\n" for name, item in ordered.items())
    shapes = {name: item.to_document().reveal() for name, item in ordered.items()}
    if form == "json":
        return json.dumps(shapes, indent=4) + "\n"
    return "".join(_yaml_entry(name, shape) for name, shape in shapes.items()) or "{}\n"


def _airflow_shape(connection: Connection) -> dict[str, object]:
    plain = connection.to_dict(reveal=True)
    # Airflow writes `extra` as the text it holds, not as an object.
    plain["extra"] = None if plain["extra"] is None else json.dumps(plain["extra"])
    if plain["port"] == 0:
        plain["port"] = "0"  # Airflow takes a false value for no port; as text it is true
    return {field: plain[field] for field in _FIELDS}


def _env_connection(connection: Connection, serialization: Serialization) -> str:
    # `format` itself refuses what the sdk's reading would lose; here the core's is asked first.
    if serialization != "json" and not connection.uri_losses("core"):
        with suppress(InvalidInputError):
            return connection.format("uri").reveal()
    # ASCII only, so that no character of a value ends the line.
    return json.dumps(_airflow_shape(connection))


def _losses(connection: Connection) -> tuple[str, ...]:
    # Nobody knows which of Airflow's two readings the file will meet, so it must survive both.
    return tuple(dict.fromkeys(connection.uri_losses("core") + connection.uri_losses("sdk")))


def _check_uris(ordered: Iterable[tuple[str, Connection]]) -> None:
    lossy = [f"{shown(name)} ({', '.join(losses)})" for name, item in ordered if (losses := _losses(item))]
    if lossy:
        raise InvalidInputError(
            f"a URI would lose something of {listed(lossy)}",
            rule="F13",
            hint="export as json or yaml, or let those be written as JSON",
        )


def _yaml_entry(name: str, item: str | Mapping[str, object]) -> str:
    if isinstance(item, str):
        return f"{format_scalar(name)}: {format_scalar(item)}\n"
    fields = (f"  {format_scalar(field)}: {format_scalar(value)}\n" for field, value in item.items())
    return f"{format_scalar(name)}:\n{''.join(fields)}"
