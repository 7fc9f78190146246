"""
Connections and variables of Airflow 2's API, `/api/v1`.

What differs from Airflow 3, where this file says no more: 200 for what was created, a `POST` of a variable
writes over what stands, one `order_by`, no patterns, `update_mask` as one list with commas, passwords never
in an answer, the value of a variable in clear whatever its name (to whoever may reveal or read it).

Source: apache-airflow 2.11.2, `api_connexion/endpoints`, `schemas`, `openapi/v1.yaml`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import ConflictError, InvalidInputError
from strongroom.model.jsontext import decode
from strongroom.server.airflow_api import connections, place, variables
from strongroom.server.airflow_api.body import Field, Problems, last_of, members_of, number_of
from strongroom.server.airflow_api.connections import DESCRIPTION, told, told_listed
from strongroom.server.airflow_api.masking import kept_header
from strongroom.server.airflow_api.named import delete_one, ref_of, standing
from strongroom.server.airflow_api.page import MAX_PAGE, Asked, order_of, page_of
from strongroom.server.airflow_api.refusal import RefusedError
from strongroom.server.endpoint import Answer
from strongroom.wire.strict import check_amount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.server.endpoint import Call

__all__ = [
    "change_connection",
    "change_variable",
    "connection",
    "create_connection",
    "delete_connection",
    "delete_variable",
    "list_connections",
    "list_variables",
    "test_connection",
    "variable",
    "version",
    "write_variable",
]

SPOKEN = "2.11.2"
_ITEM = ("connection_id", "conn_type", "description", "host", "login", "schema", "port")
_CONNECTION_COLUMNS: Mapping[str, str] = {
    "connection_id": "name",
    "id": "name",
    "conn_type": "conn_type",
    "description": "description",
    "host": "host",
    "port": "port",
}
_VARIABLE_COLUMNS: Mapping[str, str] = {"key": "name", "id": "name", "value": "name"}
_CONNECTION = tuple(
    field._replace(is_required=False, pattern=None, most=None)
    for field in connections.FIELDS
    if field.name != "team_name"
)
_VARIABLE = (
    Field("key", allows_null=False),
    Field("value", allows_null=False),
    DESCRIPTION,
)
_BAD_KEY = "The key has to be made of alphanumeric characters, dashes, dots and underscores exclusively"
_WORDS = {
    "missing": "Missing data for required field.",
    "extra_forbidden": "Unknown field.",
    "string_type": "Not a valid string.",
    "int_type": "Not a valid integer.",
    "int_parsing": "Not a valid integer.",
    "int_from_float": "Not a valid integer.",
}


# --- what is asked ---------------------------------------------------------------------------------------


def _asked(call: Call, columns: Mapping[str, str]) -> Asked:
    limit = _number(call, "limit", MAX_PAGE)
    if limit < 0:
        raise RefusedError(400, None, title="Page limit must be a positive integer")
    offset = _number(call, "offset", 0)
    if offset < 0:
        raise RefusedError(400, "offset is less than the minimum of 0")
    order = order_of(last_of(call.query, "order_by") or "id", columns)
    return Asked(limit=min(limit or MAX_PAGE, MAX_PAGE), offset=offset, orders=(order,))


def _number(call: Call, name: str, default: int) -> int:
    text = last_of(call.query, name)
    if text is None:
        return default
    number = number_of(text, Problems(), ("query", name))
    if number is None:
        raise RefusedError(400, f"Wrong type, expected 'integer' for query parameter '{name}'")
    return number


def _body(call: Call) -> object:
    """Give the JSON of the body."""
    media = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise RefusedError(415, "Invalid Content-type, expected JSON data", title="Unsupported Media Type")
    refusal = RefusedError(400, "Request body is not valid JSON")
    check_amount(call.body)
    try:
        found = decode(call.body.decode(), what="the body")
    except (UnicodeDecodeError, InvalidInputError):
        raise refusal from None
    if not isinstance(found, dict):
        raise RefusedError(400, "Request body must be an object")
    return found


def _said(
    call: Call, fields: tuple[Field, ...], required: tuple[str, ...], title: str | None = None
) -> dict[str, Any]:
    problems = _Marshmallow()
    said = members_of(_body(call), fields, problems, ())
    for name in required:
        if name not in said:
            problems.add("missing", (name,), "")
    problems.refuse(title)
    return said


class _Marshmallow(Problems):
    """What is wrong with a body, as marshmallow says it: words by field; no unknown field is named."""

    def refuse(self, title: str | None) -> None:
        """
        Refuse the body if anything was noted.

        Raises:
            RefusedError: 400.
        """
        words: dict[str, list[str]] = {}
        for one in self.found:
            loc = one["loc"]
            name = str(loc[0]) if isinstance(loc, list) and loc else "_schema"
            words.setdefault(name, []).append(_WORDS.get(str(one["type"]), str(one["msg"])))
        if words:
            raise RefusedError(400, str(words), title=title)


def _mask(call: Call, known: Mapping[str, Any], fixed: str) -> list[str] | None:
    text = ",".join(call.query.get("update_mask", []))
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known or name == fixed:
            raise RefusedError(400, "a name of update_mask is unknown or cannot be updated")
    return names or None


def _as_v1(act: Callable[[], Any]) -> Any:  # noqa: ANN401 -- whatever it gives
    """Do what Airflow 3's part does, and say what is wrong as Airflow 2 does: 400 with words."""
    try:
        return act()
    except RefusedError as error:
        if error.status != 422 or not isinstance(error.detail, list):  # noqa: PLR2004 -- HTTP
            raise
        words = {str(one["loc"][-1]): [one["msg"].removeprefix("Value error, ")] for one in error.detail}
    raise RefusedError(400, str(words))


# --- connections -----------------------------------------------------------------------------------------


def _whole(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in (*_ITEM, "extra")}


def list_connections(call: Call) -> dict[str, Any]:
    """Give one page of the connections the actor may describe."""
    refs, total = page_of(
        call,
        "connection",
        _asked(call, _CONNECTION_COLUMNS),
        lambda *one: connections.read_column(call, *one),
    )
    items = [one for ref in refs if (one := told_listed(call, ref)) is not None]
    return {
        "connections": [{name: item[name] for name in _ITEM} for item in items],
        "total_entries": total,
    }


def connection(call: Call) -> dict[str, Any]:
    """Give one connection."""
    return _whole(connections.get(call))


def create_connection(call: Call) -> dict[str, Any]:
    """Create a connection."""
    said = _said(call, _CONNECTION, ("connection_id", "conn_type"))
    _with_extra(said)
    name = said["connection_id"]
    pattern, most = connections.FIELDS[0].pattern, connections.FIELDS[0].most
    if not name or pattern is None or most is None or not pattern[0].fullmatch(name):
        raise RefusedError(400, _BAD_KEY)
    if len(name) > most:
        raise RefusedError(400, f"The key has to be less than {most} characters")
    ref = _as_v1(lambda: ref_of("connection", name))
    exists = RefusedError(409, f"Connection already exist. ID: {name}")
    if standing(call.room.entries, "connection", name) is not None:
        raise exists
    change, made = _as_v1(lambda: connections.created(ref, said))
    try:
        call.room.entries.write(change)
    except ConflictError:
        raise exists from None
    return _whole(told(ref.name, made, change.metadata))


def _with_extra(said: dict[str, Any]) -> None:
    """Read `extra`, which is text; a text that holds no object is refused, as it could not be used."""
    if isinstance(said.get("extra"), str):
        problems = _Marshmallow()
        said["extra"] = connections.extra_of(said["extra"], problems, ("extra",))
        problems.refuse(None)


def change_connection(call: Call) -> Answer:
    """Change a connection: the members that are said, or those of them that `update_mask` names."""
    said = _said(call, _CONNECTION, ())
    _with_extra(said)
    name = connections.id_of(call)
    found = connections.found_or_refused(call, name)
    if said.get("connection_id") not in (None, name):
        raise RefusedError(400, "The connection_id cannot be updated.")
    mask = _mask(call, said, "connection_id")
    change, made, kept = _as_v1(lambda: connections.patched(found, said, mask))
    call.room.entries.write(change)
    return Answer(_whole(told(name, made, change.metadata)), headers=kept_header(kept))


def delete_connection(call: Call) -> Answer:
    """Delete a connection."""
    return connections.delete(call)


def test_connection(call: Call) -> object:
    """Test a connection as it is said."""
    return _as_v1(lambda: place.test(call))


# --- variables -------------------------------------------------------------------------------------------


def _no_variable() -> RefusedError:
    return RefusedError(404, "Variable does not exist", title="Variable not found")


def list_variables(call: Call) -> dict[str, Any]:
    """Give one page of the variables the actor may describe."""
    refs, total = page_of(call, "variable", _asked(call, _VARIABLE_COLUMNS))
    facts = variables.listed(call, refs)
    texts = variables.stored_texts(call, list(facts))
    items = [
        {"key": ref.name, "value": texts[ref], "description": description}
        for ref, description in facts.items()
    ]
    return {"variables": items, "total_entries": total}


def variable(call: Call) -> dict[str, Any]:
    """Give one variable."""
    found = standing(call.room.entries, "variable", call.params["variable_key"])
    if found is None:
        raise _no_variable()
    text = variables.stored_texts(call, [found.ref])[found.ref]
    return {"key": found.ref.name, "value": text, "description": found.metadata.description}


def write_variable(call: Call) -> Answer:
    """Create a variable, or write over what stands, as Airflow 2 does."""
    said = _said(call, _VARIABLE, ("key", "value"), "Invalid Variable schema")
    ref = _as_v1(lambda: ref_of("variable", said["key"]))
    found = standing(call.room.entries, "variable", ref.name)
    kept: list[str] = []
    if found is None:
        change, _ = _as_v1(lambda: variables.created(ref, said))
    else:
        whole = {"description": None, **said}  # Variable.set writes over the description, too
        change, kept = _as_v1(lambda: variables.patched(call, found, whole))
    call.room.entries.write(change)
    return Answer(dict(said), headers=kept_header(kept))


def change_variable(call: Call) -> Answer:
    """Change a variable: the members that are said, or those of them that `update_mask` names."""
    said = _said(call, _VARIABLE, ("key", "value"), "Invalid Variable schema")
    name = call.params["variable_key"]
    if said["key"] != name:
        raise RefusedError(
            400, "key from request body doesn't match uri parameter", title="Invalid post body"
        )
    found = standing(call.room.entries, "variable", name)
    if found is None:
        raise _no_variable()
    mask = _mask(call, said, "key")
    change, kept = _as_v1(lambda: variables.patched(call, found, said, mask))
    call.room.entries.write(change)
    facts = change.metadata or found.metadata
    text = said["value"] if change.secret is not None and not kept else None
    if text is None:
        text = variables.stored_texts(call, [found.ref])[found.ref]
    answer = {"key": name, "value": text, "description": facts.description}
    return Answer(answer, headers=kept_header(kept))


def delete_variable(call: Call) -> Answer:
    """Delete a variable."""
    if not delete_one(call, "variable", call.params["variable_key"]):
        raise _no_variable()
    return Answer(status=204)


# --- the place -------------------------------------------------------------------------------------------


def version(call: Call) -> dict[str, str | None]:
    """Give the release of Airflow whose API this is."""
    place.check_known(call)
    return {"version": SPOKEN, "git_version": None}
