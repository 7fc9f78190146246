"""
Connections in any form they are written down in: text → connections, and back where a form can be written.

`read_any` tells the form by what the text says, never by its name or by guessing: every form looks at it, and
one alone may claim it. `write_any` writes, reads what it wrote, and refuses where anything came back changed.

Each form is a file of this folder; `form.py` has the rules they keep. docs/forms.md shows them all.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom import catalog
from strongroom.errors import InvalidInputError
from strongroom.model.entry import check_value
from strongroom.model.jsontext import decode
from strongroom.model.secret import Secret
from strongroom.transfer.forms.form import Form, Found, Look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.model.connection import Connection, Dialect

__all__ = ["FormInfo", "Read", "forms", "read_any", "write_any"]

_BLANK = " \t\r\n"
_STANDARD = ("conn_type", "description", "host", "login", "password", "schema", "port")


class Read(NamedTuple):
    """
    What a text said.

    Args:
        form: which form it is in.
        connections: by the name the text gives them; by None where it gives none, and then there is but one.
        warnings: what has no place in a connection, or is likely not meant; holds none of the text.
    """

    form: str
    connections: Mapping[str | None, Connection]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        # The names may be anything that stood in the text.
        return f"Read(form={self.form!r}, {len(self.connections)} connections)"


class FormInfo(NamedTuple):
    """
    A form, for people.

    Args:
        name: as `read_any` takes it.
        title: what people call it.
        example: a text of it.
        lacks: what of a connection it cannot carry.
        is_written: whether `write_any` writes it.
    """

    name: str
    title: str
    example: str
    lacks: str
    is_written: bool


@cache
def _all() -> tuple[Form, ...]:
    # Imported here, so that what only wants a type of this file does not load thirty others.
    from strongroom.transfer.forms import (  # noqa: PLC0415
        adonet,
        airflow,
        amqp,
        aws,
        azure,
        command,
        environment,
        google,
        jdbc,
        kafka,
        kubeconfig,
        libpq_file,
        libpq_keywords,
        libpq_uri,
        mongodb,
        odbc,
        rds,
        redis,
        sqlalchemy,
        ssh_config,
        web,
    )

    return (
        airflow.URI,
        airflow.JSON,
        airflow.ENV,
        sqlalchemy.FORM,
        jdbc.FORM,
        libpq_keywords.FORM,
        libpq_uri.FORM,
        libpq_file.SERVICE,
        libpq_file.PASS,
        odbc.FORM,
        adonet.FORM,
        mongodb.FORM,
        amqp.FORM,
        redis.FORM,
        web.FORM,
        kafka.FORM,
        aws.FILE,
        aws.JSON,
        rds.FORM,
        google.FORM,
        azure.STORAGE,
        azure.BUS,
        azure.COSMOS,
        azure.PRINCIPAL,
        kubeconfig.FORM,
        ssh_config.FORM,
        environment.form_of(_read_value),
        *command.FORMS,
    )


def forms() -> tuple[FormInfo, ...]:
    """Give every form, in the order they are looked at."""
    return tuple(
        FormInfo(one.name, one.title, one.example, one.lacks, one.format is not None) for one in _all()
    )


def read_any(text: str, *, form: str | None = None, dialect: Dialect = "core") -> Read:
    """
    Read the connections of *text*, whatever form it is in.

    Args:
        text: at most 1 MiB of UTF-8; white space around it is not part of it.
        form: name of its form; told by what it says if None.
        dialect: which of Airflow's two readings counts for Airflow's own forms.

    Raises:
        InvalidInputError: no form fits (the hint tells which were tried and why not), several do, or the
            text breaks the rules of its form; with `offset` where it is known, and never any of the text.
    """
    check_value(text, "the text")
    if "\0" in text:
        raise InvalidInputError("a NUL character stands in the text", offset=text.index("\0"))
    bare = text.lstrip(f"\ufeff{_BLANK}")
    start, stripped = len(text) - len(bare), bare.rstrip(_BLANK)
    if not stripped:
        raise InvalidInputError("the text is empty", offset=0)
    try:
        chosen = _named(form) if form is not None else _chosen(stripped, _all())
        found = chosen.parse(stripped, dialect)
    except InvalidInputError as error:
        if error.offset is not None:
            error.offset += start
        raise
    return _read(chosen, found)


def _read(chosen: Form, found: Found) -> Read:
    return Read(chosen.name, dict(found.connections), tuple(found.warnings))


def _named(name: str) -> Form:
    chosen = next((one for one in _all() if one.name == name), None)
    if chosen is None:
        raise InvalidInputError(
            "there is no such form", hint=f"there are {', '.join(one.name for one in _all())}"
        )
    return chosen


def _read_value(text: str, dialect: Dialect) -> Found:
    """Read the one connection of a variable's value; not an environment again."""
    chosen = _chosen(
        text.strip(_BLANK), tuple(one for one in _all() if one.name not in ("env", "airflow-env"))
    )
    found = chosen.parse(text.strip(_BLANK), dialect)
    if len(found.connections) != 1:
        raise InvalidInputError("a variable holds several connections", hint="give its value alone")
    return Found({None: next(iter(found.connections.values()))}, found.warnings)


def _chosen(text: str, among: tuple[Form, ...]) -> Form:
    look = Look(text)
    if text.startswith("{"):
        decode(text)  # tells where the JSON is broken, which every form would only call no JSON
    reasons = {one.name: one.misfit(look) for one in among}
    fitting = [one for one in among if reasons[one.name] is None]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " and ".join(one.name for one in fitting)
        raise InvalidInputError(f"the text can be read as {names}", hint="say which: --form NAME")
    raise InvalidInputError(f"no form fits the text; {len(among)} were tried", hint=_why_not(text, reasons))


def _why_not(text: str, reasons: Mapping[str, str | None]) -> str:
    together: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        together.setdefault(reason or "", []).append(name)
    lines = [f"{', '.join(names)}: {reason}" for reason, names in together.items()]
    if text[:1] in "\"'`" and text[-1:] == text[:1]:
        lines.insert(0, "take off the quotation marks around it")
    return "\n".join(lines)


# --- writing -------------------------------------------------------------------------------------


def write_any(
    connection: Connection, form: str, *, name: str = "connection", dialect: Dialect = "core"
) -> Secret[str]:
    """
    Write *connection* in *form*, so that `read_any` gives it back.

    Args:
        connection: what to write.
        form: name of the form.
        name: what it is called, where the form says so: a profile, a host, a variable.
        dialect: which of Airflow's two readings is to give it back.

    Raises:
        InvalidInputError: the form is not written, or would lose something; the message names the fields.
    """
    chosen = _named(form)
    if chosen.format is None:
        known = ", ".join(one.name for one in _all() if one.format is not None)
        raise InvalidInputError(f"the form {form} is read and not written", hint=f"there are {known}")
    text = chosen.format(connection, name)
    check_value(text, "the connection")
    if "\0" in text:
        raise InvalidInputError(f"the form {form} has no way to write a NUL character")
    lost = _lost(connection, _back(chosen, text, dialect), {name, name.lower()} if chosen.has_name else None)
    if lost:
        raise InvalidInputError(
            f"the form {form} would lose {' and '.join(lost)}",
            hint="write it as airflow-json, which loses nothing",
        )
    return Secret(text)


def _back(chosen: Form, text: str, dialect: Dialect) -> Mapping[str | None, Connection]:
    try:
        return chosen.parse(text.strip(_BLANK), dialect).connections
    except InvalidInputError:
        return {}


def _lost(before: Connection, found: Mapping[str | None, Connection], names: set[str] | None) -> list[str]:
    if len(found) != 1 or (names is not None and not found.keys() <= names):
        return ["the whole: something in it, or its name, does not fit the grammar"]
    after = next(iter(found.values()))
    lost = [field for field in _STANDARD if getattr(before, field) != getattr(after, field)]
    if before.extra != after.extra:
        lost += _lost_keys(before, after)
    return lost


def _lost_keys(before: Connection, after: Connection) -> list[str]:
    """Name the keys of extra that differ, as far as the catalog knows them: others may be anything."""
    one: Mapping[str, Any] = before.extra or {}
    other: Mapping[str, Any] = after.extra or {}
    kind = catalog.find(before.conn_type) if before.conn_type else None
    differing = [
        key for key in {**one, **other} if key not in one or key not in other or one[key] != other[key]
    ]
    known = [key for key in differing if kind is not None and kind.extra_field(key) is not None]
    return [f"extra.{key}" for key in known] + (
        ["extra"] if len(known) < len(differing) or not differing else []
    )
