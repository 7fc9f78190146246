"""
`/connections` of Airflow 3: list, look at, create, change, delete and test connections.

Rules of this file:

1. No answer holds a password or anything of extra but what the catalog calls public and Airflow shows, too.
2. A change is laid over what stands and made only if that stands still. What says `***` keeps what is stored,
   and so does a password of null, which Airflow ignores; the header `Strongroom-Kept` names both.
3. What is written here is decided, planned and recorded by the same service as everywhere else.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from strongroom.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    TamperedError,
)
from strongroom.model import overlay
from strongroom.model.connection import Connection
from strongroom.model.entry import MUST_BE_ABSENT, Metadata
from strongroom.model.extra import Extra
from strongroom.model.jsontext import decode
from strongroom.model.secret import Secret
from strongroom.server.airflow_api.body import Field, Problems, body_of, members_of
from strongroom.server.airflow_api.masking import (
    NothingToKeepError,
    hidden_places,
    keep_hidden,
    kept_header,
    redacted,
)
from strongroom.server.airflow_api.named import delete_one, ref_of, standing
from strongroom.server.airflow_api.page import asked_v2, page_of
from strongroom.server.airflow_api.refusal import RefusedError
from strongroom.server.endpoint import Answer
from strongroom.service.entries import HIDDEN, Change, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.model.ref import Ref
    from strongroom.server.airflow_api.body import Loc
    from strongroom.server.endpoint import Call
    from strongroom.service.entries import Described
    from strongroom.service.inventory import Row

__all__ = [
    "DESCRIPTION",
    "FIELDS",
    "checked",
    "columns_of",
    "create",
    "created",
    "delete",
    "fields_of",
    "get",
    "list_",
    "patch",
    "patched",
    "read_column",
    "told",
]

NO_TEAMS = "team_name cannot be set when multi_team mode is disabled. Please contact your administrator."
_NO_OBJECT = "The `extra` field must be a valid JSON object (e.g., {'key': 'value'})"
_ID = (re.compile(r"[\w.-]+"), r"^[\w.-]+$")
DESCRIPTION = Field("description", most=5000)  # public beside the value; Airflow's own databases take no more
FIELDS = (
    Field("connection_id", is_required=True, allows_null=False, most=200, pattern=_ID),
    Field("conn_type", is_required=True, allows_null=False),
    DESCRIPTION,
    Field("host"),
    Field("login"),
    Field("schema"),
    Field("port", "number"),
    Field("password"),
    Field("extra"),
    Field("team_name", most=50),
)
columns_of: Mapping[str, str] = {
    "conn_id": "name",
    "connection_id": "name",
    "id": "name",
    "conn_type": "conn_type",
    "description": "description",
    "host": "host",
    "port": "port",
    "team_name": "nothing",
}
_OWN = ("conn_type", "description", "host", "login", "schema", "port")


# --- what is told ----------------------------------------------------------------------------------------


def told(name: str, connection: Connection | None, metadata: Metadata | None = None) -> dict[str, Any]:
    """Give what Airflow 3 answers of a connection; what cannot be read has its type and description only."""
    facts = metadata or Metadata()
    answer: dict[str, Any] = {"connection_id": name, **dict.fromkeys(("conn_type", *_OWN[1:]))}
    answer |= {"conn_type": facts.conn_type or "", "description": facts.description}
    answer |= {"password": None, "extra": None, "team_name": None}
    if connection is None:
        return answer
    seen = shown(connection)
    answer |= {field: seen[field] for field in _OWN}
    answer["conn_type"] = seen["conn_type"] or ""
    answer["description"] = seen["description"] if seen["description"] is not None else facts.description
    answer["password"] = seen["password"]
    answer["extra"] = None if seen["extra"] is None else json.dumps(redacted(seen["extra"]))
    return answer


def _told_of(found: Described) -> dict[str, Any]:
    return told(found.ref.name, found.connection, found.metadata)


# --- looking ---------------------------------------------------------------------------------------------


def list_(call: Call) -> dict[str, Any]:
    """Give one page of the connections the actor may describe."""
    refs, total = page_of(
        call, "connection", asked_v2(call, columns_of, "connection_id"), lambda *one: read_column(call, *one)
    )
    return {
        "connections": [one for ref in refs if (one := told_listed(call, ref)) is not None],
        "total_entries": total,
    }


def told_listed(call: Call, ref: Ref) -> dict[str, Any] | None:
    """Give one connection of a list, what cannot be read by its id alone; None of one that has gone."""
    try:
        return _told_of(call.room.entries.describe(ref))
    except (NotFoundError, AccessDeniedError):
        return None
    except (MalformedEntryError, TamperedError):
        return told(ref.name, None)


def read_column(call: Call, row: Row, column: str) -> object:
    """Give what is shown of *row* under *column*."""
    return _told_of(call.room.entries.describe(row.ref)).get(column)


def get(call: Call) -> dict[str, Any]:
    """Give one connection."""
    return _told_of(found_or_refused(call, id_of(call)))


def id_of(call: Call) -> str:
    """Give the connection that the path names."""
    return call.params["connection_id"]


def found_or_refused(call: Call, name: str) -> Described:
    """
    Give what stands under *name*.

    Raises:
        RefusedError: 404.
    """
    found = standing(call.room.entries, "connection", name)
    if found is None:
        raise RefusedError(
            404,
            f"The Connection with connection_id: `{name}` was not found",
            title="Connection not found",
        )
    return found


# --- what is said ----------------------------------------------------------------------------------------


def checked(body: object, problems: Problems, loc: Loc = ("body",)) -> dict[str, Any]:
    """Give the members of a `ConnectionBody`, `extra` as an object; what is wrong is noted."""
    had = bool(problems)
    said = members_of(body, FIELDS, problems, loc)
    extra = said.get("extra")
    if isinstance(extra, str):
        said["extra"] = extra_of(extra, problems, (*loc, "extra"))
    if said.get("team_name") is not None and bool(problems) == had:
        problems.value(loc, NO_TEAMS)
    return said


def extra_of(text: str, problems: Problems, loc: Loc) -> dict[str, Any] | None:
    """Give the object that *text* holds; "" is an empty one, as in Airflow."""
    if not text:
        return {}
    try:
        found = decode(text, what="extra", max_depth=63)
    except InvalidInputError as error:
        words = f"{_NO_OBJECT}, but encountered non-JSON in `extra` field"
        problems.value(loc, words if error.rule == "R13" else str(error))
        return None
    if isinstance(found, dict):
        return found
    problems.value(loc, _NO_OBJECT)
    return None


def fields_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of a connection as the model reads them."""
    return {name: said.get(name) for name in (*_OWN, "password", "extra")}


def made(fields: Mapping[str, Any]) -> Connection:
    """
    Give the connection that *fields* describe.

    Raises:
        RefusedError: 422: they describe none; no field's value is repeated.
    """
    problems = Problems()
    extra = fields.get("extra")
    try:
        connection = Connection.from_dict({name: fields[name] for name in fields if name != "extra"})
        # Set apart: Airflow's JSON form knows no empty object, and one is not the same as none.
        return connection if extra is None else connection.replace(extra=Extra(extra))
    except InvalidInputError as error:
        problems.value(("body",), str(error))
    problems.check()
    raise AssertionError  # `check` has raised


# --- creating --------------------------------------------------------------------------------------------


def create(call: Call) -> Answer:
    """Create a connection."""
    problems = Problems()
    said = checked(body_of(call), problems)
    problems.check()
    ref, entries = ref_of("connection", said["connection_id"]), call.room.entries
    if standing(entries, "connection", ref.name) is not None:
        raise duplicate(call)
    change, connection = created(ref, said)
    try:
        entries.write(change)
    except ConflictError:
        raise duplicate(call) from None
    return Answer(told(ref.name, connection, change.metadata), status=201)


def created(ref: Ref, said: Mapping[str, Any]) -> tuple[Change, Connection]:
    """
    Give the change that creates a connection, and what it will be.

    Raises:
        RefusedError: 422: it is none, or says `***`, which stands for a stored value.
    """
    fields = fields_of(said)
    problems = Problems()
    for place in hidden_places(fields):
        problems.value(("body", place.partition(".")[0]), nothing_to_keep(place))
    problems.check()
    connection = made(fields)
    metadata = Metadata(description=connection.description, conn_type=connection.conn_type)
    return Change(
        ref=ref, secret=connection.format("json"), metadata=metadata, seen=MUST_BE_ABSENT
    ), connection


def nothing_to_keep(place: str) -> str:
    """Say that `***` cannot be stored."""
    return f"{HIDDEN} stands for a stored value, and there is none for {place.partition('.')[0]}"


def duplicate(call: Call) -> RefusedError:
    """Give the refusal of a second connection of one id, in the words of Airflow's database."""
    return RefusedError(
        409,
        {
            "reason": "Unique constraint violation",
            "statement": "hidden",
            "orig_error": "hidden",
            "message": "a connection of this connection_id exists already; "
            f"the server's log tells more of request {call.request_id}",
        },
    )


# --- changing --------------------------------------------------------------------------------------------


def patch(call: Call) -> Answer:
    """Change a connection: the members that are said, or those of them that `update_mask` names."""
    problems = Problems()
    said = checked(body_of(call), problems)
    problems.check()
    name = id_of(call)
    if said["connection_id"] != name:
        raise RefusedError(400, "The connection_id in the request body does not match the URL parameter")
    found = found_or_refused(call, name)
    change, connection, kept = patched(found, said, call.query.get("update_mask"))
    call.room.entries.write(change)
    return Answer(told(name, connection, change.metadata), headers=kept_header(kept))


def patched(
    found: Described, said: Mapping[str, Any], mask: Iterable[str] | None = None
) -> tuple[Change, Connection, list[str]]:
    """
    Lay what is said over what stands.

    Args:
        found: what stands.
        said: a checked body.
        mask: names of the members that count; None or nothing for all.

    Returns:
        the change, what the connection will be, and what is kept though it was said.

    Raises:
        RefusedError: 422: it would be no connection, or says `***` of what has no stored value.
        MalformedEntryError: what stands cannot be read.
    """
    if found.connection is None:
        raise MalformedEntryError(
            f"{found.ref} cannot be changed in part: {found.problem}",
            backend=found.backend,
            ref=str(found.ref),
            hint="delete it and create it anew",
        )
    names = set(said) & set(mask) if mask else set(said)
    old = found.connection.to_dict(reveal=True)
    new = {name: said[name] for name in (*_OWN, "password", "extra") if name in names}
    kept = hidden_places(new)
    if "password" in new and not new["password"]:
        del new["password"]  # as Airflow: a password is replaced, never taken away
        if old["password"] is not None:
            kept.append("password")
    connection = made(old | _with_kept(new, old))
    text = overlay.join(connection.format("json").reveal(), found.overlay)
    metadata = found.metadata.renewed(datetime.now(timezone.utc))
    description = connection.description if "description" in new else found.metadata.description
    metadata = replace(metadata, description=description, conn_type=connection.conn_type)
    change = Change(ref=found.ref, secret=Secret(text), metadata=metadata, seen=found.version)
    return change, connection, kept


def _with_kept(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    problems = Problems()
    whole: dict[str, Any] = {}
    for name, value in new.items():
        try:
            whole[name] = keep_hidden(value, old.get(name), name)
        except NothingToKeepError:
            problems.value(("body", name), nothing_to_keep(name))
    problems.check()
    return whole


# --- deleting --------------------------------------------------------------------------------------------


def delete(call: Call) -> Answer:
    """Delete a connection."""
    name = id_of(call)
    if not delete_one(call, "connection", name):
        raise RefusedError(
            404,
            f"The Connection with connection_id: `{name}` was not found",
            title="Connection not found",
        )
    return Answer(status=204)
