"""
What `strongroom read` answers: the bare value, for programs.

Programs start it often, so `parse` reads the usual command lines here, without typer; help and
mistakes go to the same command as `read.py` declares it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strongroom.errors import BackendUnavailableError, InvalidInputError, NotFoundError, StrongroomError

if TYPE_CHECKING:
    from strongroom.cli.session import Session
    from strongroom.model.connection import Connection
    from strongroom.model.ref import Kind, Ref
    from strongroom.service.room import Room

__all__ = ["Request", "answer", "parse"]

_SAY_KIND = "say --variable or --connection to ask for one kind only"
_FOR_BOTH = ("access_denied", "invalid_input", "not_authenticated")  # the other kind is no way out
_FIELDS = ("conn_type", "host", "login", "password", "schema", "port", "description")
_WITH_VALUE = {f"--{name}": name for name in ("field", "config", "profile", "deployment", "team")}
_FLAGS: dict[str, Kind] = {"--connection": "connection", "--variable": "variable"}


@dataclass(frozen=True, slots=True)
class Request:
    """
    What to read.

    Args:
        kind: connection or variable; None for whichever there is.
        field: of a connection, or None for the whole value.
        bypasses_cache: have an agent ask its backends anew.
    """

    name: str
    kind: Kind | None = None
    field: str | None = None
    bypasses_cache: bool = False


def parse(arguments: Sequence[str], session: Session) -> Request | None:
    """Read the usual command lines into *session* and a request; None for all others."""
    said: dict[str, str] = {}
    kind: Kind | None = None
    bypasses_cache = False
    names: list[str] = []
    left = iter(arguments)
    for argument in left:
        option, separator, value = argument.partition("=")
        if option in _WITH_VALUE:
            value = value if separator else next(left, "")
            if not value:
                return None
            said[_WITH_VALUE[option]] = value
        elif argument in _FLAGS and kind is None:
            kind = _FLAGS[argument]
        elif argument == "--bypass-cache":
            bypasses_cache = True
        elif argument.startswith("-"):
            return None
        else:
            names.append(argument)
    if len(names) != 1:
        return None
    field, profile = said.pop("field", None), said.pop("profile", None)
    if profile is not None:
        session.use(profile)
    for name, value in said.items():
        setattr(session, name, value)
    return Request(names[0], kind, field, bypasses_cache)


def answer(request: Request, session: Session) -> None:
    """
    Write the value to stdout: exactly its bytes, on a terminal with the end of the line.

    Raises:
        NotFoundError: there is none; InvalidInputError: both kinds have the name, or no such field.
        As `Lookup.entry`.
    """
    kind = "connection" if request.field is not None else request.kind
    if request.field is not None and request.kind == "variable":
        raise InvalidInputError("a variable has no fields", hint="say --connection, or leave out --field")
    with session.room(bypasses_cache=request.bypasses_cache) as room:
        text = _text(room, session, request, kind)
    out = sys.stdout
    out.flush()
    out.buffer.write(text.encode("utf-8"))
    if out.isatty():
        out.buffer.write(b"\n")
    out.buffer.flush()


def _text(room: Room, session: Session, request: Request, kind: Kind | None) -> str:
    if kind is None:
        kind = _kind(room, session, request.name)
    ref = session.ref(kind, request.name)
    if kind == "variable":
        return room.lookup.entry(ref).secret.reveal()
    connection = room.lookup.connection(ref.name, ref.team)
    if request.field is None:
        return connection.format("json").reveal()
    return _field(connection, request.field, ref)


def _kind(room: Room, session: Session, name: str) -> Kind:
    """Tell which kind *name* is; a variable where nothing else is known."""
    variable, connection = session.ref("variable", name), session.ref("connection", name)
    found, trouble = _both(room, variable, connection)
    if trouble is not None:
        # Where the other kind is to be had, to ask for that one alone is what helps.
        if found or not (trouble.hint or trouble.code in _FOR_BOTH):
            trouble.hint = _SAY_KIND
        raise trouble
    if len(found) > 1:
        raise InvalidInputError(
            f"there are a variable and a connection named {name}", hint="say --variable or --connection"
        )
    if not found:
        raise _absent(room, variable)
    return found[0]


def _both(room: Room, *refs: Ref) -> tuple[list[Kind], StrongroomError | None]:
    """Give the kinds that are found, and the first trouble with the others."""
    found: list[Kind] = []
    trouble: StrongroomError | None = None
    for ref in refs:
        try:
            if room.lookup.find(ref) is not None:
                found.append(ref.kind)
        except StrongroomError as error:
            trouble = trouble or error
            if isinstance(error, BackendUnavailableError):
                break  # nobody waits twice for a place that gives no answer
    return found, trouble


def _absent(room: Room, ref: Ref) -> NotFoundError:
    error = room.lookup.absent(ref)
    return NotFoundError(
        f'there is no variable or connection "{ref.name}"', asked=error.asked, hint=error.hint
    )


# --- fields --------------------------------------------------------------------------------------


def _field(connection: Connection, field: str, ref: Ref) -> str:
    """Give one field as text; what is no text, as JSON."""
    if field == "uri":
        return connection.format("uri").reveal()
    head, _, path = field.partition(".")
    if field not in _FIELDS and head != "extra":
        raise InvalidInputError(
            "a connection has no such field", hint=f"fields: {', '.join(_FIELDS)}, extra, extra.KEY, uri"
        )
    fields = connection.to_dict(reveal=True)
    found = _within(fields["extra"], path) if path else fields[head]
    if found is None:
        raise NotFoundError(f"{ref} has no {head if path else field}{' of that name' if path else ''}")
    return found if isinstance(found, str) else _json(found)


def _within(extra: Any, path: str) -> Any:  # noqa: ANN401 -- plain JSON
    """Give what stands in *extra* under *path*: a key, or keys joined by dots."""
    if isinstance(extra, dict) and path in extra:
        return extra[path]
    head, _, rest = path.partition(".")
    return _within(extra.get(head), rest) if isinstance(extra, dict) and rest else None


def _json(found: object) -> str:
    import json  # noqa: PLC0415 -- most reads are of a whole value

    return json.dumps(found)
