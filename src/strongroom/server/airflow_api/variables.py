"""
`/variables` of Airflow 3: list, look at, create, change and delete variables.

Rules of this file:

1. Airflow shows what a variable holds. Here that is a reveal of whoever may reveal it, or a read of a
   program that may read it, recorded as such; anybody else sees `***`, and so does a person in a session who
   has not lately proven who he is (`server/proof.py`). A variable whose own name tells of a secret reads
   `***` for everybody, and is not read for it.
2. `***` that comes back keeps what is stored, the whole or a part of a JSON value. Airflow would store the
   three stars and destroy the secret; the header `Strongroom-Kept` says what was kept.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from strongroom.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    NotRecordedError,
    StrongroomError,
)
from strongroom.model.entry import MUST_BE_ABSENT, Metadata
from strongroom.model.jsontext import decode
from strongroom.model.principal import PERSON
from strongroom.model.secret import Secret
from strongroom.policy import Action
from strongroom.server.airflow_api.body import Field, Problems, body_of, members_of
from strongroom.server.airflow_api.connections import DESCRIPTION, NO_TEAMS
from strongroom.server.airflow_api.masking import (
    NothingToKeepError,
    hidden_places,
    is_telling,
    keep_hidden,
    kept_header,
    redacted_text,
)
from strongroom.server.airflow_api.named import delete_one, ref_of, standing
from strongroom.server.airflow_api.page import asked_v2, page_of, rows_of
from strongroom.server.airflow_api.refusal import RefusedError
from strongroom.server.endpoint import Answer
from strongroom.server.proof import is_fresh, require_proof
from strongroom.service.entries import HIDDEN, Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from strongroom.model.ref import Ref
    from strongroom.server.airflow_api.body import Loc
    from strongroom.server.endpoint import Call
    from strongroom.service.entries import Described

__all__ = [
    "checked",
    "columns_of",
    "create",
    "created",
    "delete",
    "get",
    "immutable",
    "list_",
    "listed",
    "patch",
    "patched",
    "stored_texts",
    "text_of",
]

FIELDS = (
    Field("key", is_required=True, allows_null=False, most=250),
    Field("value", "any", is_required=True),
    DESCRIPTION,
    Field("team_name", most=50),
)
# Airflow orders by what it stores of a value: a ciphertext, which is no order; here that is by the key.
columns_of: Mapping[str, str] = {
    "key": "name",
    "id": "name",
    "_val": "name",
    "description": "description",
    "is_encrypted": "nothing",
    "team_name": "nothing",
}
_WHY = "shown by Airflow's API"


# --- what is told ----------------------------------------------------------------------------------------


def told(name: str, text: str | None, description: str | None) -> dict[str, Any]:
    """Give what Airflow 3 answers of a variable; *text* is what may be seen of its value."""
    return {
        "key": name,
        "value": text,
        "description": description,
        "is_encrypted": True,
        "team_name": None,
    }


def shown_text(name: str, text: str) -> str:
    """Give what Airflow 3 shows of a value."""
    return HIDDEN if is_telling(name) else redacted_text(text)


def stored_texts(call: Call, refs: Sequence[Ref]) -> dict[Ref, str | None]:
    """
    Give the values the actor may see, recorded; `***` where he may not, None where one cannot be read.

    Raises:
        NotRecordedError: no record can be written, so nothing is given.
    """
    actor, guard = call.identity.actor, call.place.guard
    texts: dict[Ref, str | None] = dict.fromkeys(refs, HIDDEN)
    if not is_fresh(call.identity, call.place.access.demands, datetime.now(timezone.utc)):
        return texts
    revealed = [ref for ref in refs if guard.can(actor, Action.REVEAL, ref).is_allowed]
    texts |= _revealed(call, revealed)
    if actor.id.startswith(PERSON):
        return (
            texts  # a person sees what he may reveal: where that takes a second one, reading is no way around
        )
    for ref in refs:
        if ref not in revealed and guard.can(actor, Action.READ, ref).is_allowed:
            texts[ref] = _read(call, ref)
    return texts


def _revealed(call: Call, refs: Sequence[Ref]) -> dict[Ref, str | None]:
    entries = call.room.entries
    try:
        found = entries.reveal_many(refs, reason=_WHY) if refs else []
        return {ref: entry.secret.reveal() for ref, entry in zip(refs, found, strict=True)}
    except NotRecordedError:
        raise
    except StrongroomError:
        if len(refs) == 1:
            return {refs[0]: None}
    # One of them cannot be given; the others can.
    return {ref: text for one in refs for ref, text in _revealed(call, [one]).items()}


def _read(call: Call, ref: Ref) -> str | None:
    try:
        return call.room.lookup.entry(ref).secret.reveal()
    except AccessDeniedError:
        return HIDDEN
    except NotRecordedError:
        raise
    except StrongroomError:
        return None


def _seen(call: Call, refs: Sequence[Ref]) -> dict[Ref, str | None]:
    """Give what is shown of each value; those that are hidden by their names are not read."""
    plain = [ref for ref in refs if not is_telling(ref.name)]
    texts = dict.fromkeys(refs, HIDDEN) | stored_texts(call, plain)
    return {ref: None if text is None else shown_text(ref.name, text) for ref, text in texts.items()}


# --- looking ---------------------------------------------------------------------------------------------


def list_(call: Call) -> dict[str, Any]:
    """Give one page of the variables the actor may describe."""
    refs, total = page_of(call, "variable", asked_v2(call, columns_of, "variable_key"))
    facts = listed(call, refs)
    texts = _seen(call, list(facts))
    variables = [told(ref.name, texts[ref], description) for ref, description in facts.items()]
    return {"variables": variables, "total_entries": total}


def listed(call: Call, refs: Sequence[Ref]) -> dict[Ref, str | None]:
    """Give the description of each of a list; without those that have gone meanwhile."""
    known = {
        row.ref: row.metadata.description for row in rows_of(call, "variable", [ref.name for ref in refs])
    }
    return {ref: known[ref] for ref in refs if ref in known}


def get(call: Call) -> dict[str, Any]:
    """Give one variable."""
    found = found_or_refused(call, call.params["variable_key"])
    return told(found.ref.name, _seen(call, [found.ref])[found.ref], found.metadata.description)


def found_or_refused(call: Call, name: str) -> Described:
    """
    Give what stands under *name*.

    Raises:
        RefusedError: 404.
    """
    found = standing(call.room.entries, "variable", name)
    if found is None:
        raise RefusedError(404, f"The Variable with key: `{name}` was not found")
    return found


# --- what is said ----------------------------------------------------------------------------------------


def checked(body: object, problems: Problems, loc: Loc = ("body",)) -> dict[str, Any]:
    """Give the members of a `VariableBody`; what is wrong is noted."""
    had = bool(problems)
    said = members_of(body, FIELDS, problems, loc)
    if said.get("team_name") is not None and bool(problems) == had:
        problems.value(loc, NO_TEAMS)
    return said


def text_of(value: object) -> str:
    """Give what is stored of a value: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, indent=2)


# --- creating --------------------------------------------------------------------------------------------


def create(call: Call) -> Answer:
    """Create a variable."""
    problems = Problems()
    said = checked(body_of(call), problems)
    problems.check()
    ref, entries = ref_of("variable", said["key"]), call.room.entries
    exists = RefusedError(409, f"The Variable with key: `{ref.name}` already exists")
    if standing(entries, "variable", ref.name) is not None:
        raise exists
    change, text = created(ref, said)
    try:
        entries.write(change)
    except ConflictError:
        raise exists from None
    return Answer(told(ref.name, shown_text(ref.name, text), said.get("description")), status=201)


def created(ref: Ref, said: Mapping[str, Any]) -> tuple[Change, str]:
    """
    Give the change that creates a variable, and its text.

    Raises:
        RefusedError: 422: it says `***`, which stands for a stored value.
    """
    problems = Problems()
    if hidden_places(said["value"]):
        problems.value(("body", "value"), f"{HIDDEN} stands for a stored value, and there is none")
    problems.check()
    text = text_of(said["value"])
    metadata = Metadata(description=said.get("description"))
    return Change(ref=ref, secret=Secret(text), metadata=metadata, seen=MUST_BE_ABSENT), text


# --- changing --------------------------------------------------------------------------------------------


def patch(call: Call) -> Answer:
    """Change a variable: the members that are said, or those of them that `update_mask` names."""
    problems = Problems()
    said = checked(body_of(call), problems)
    problems.check()
    name = call.params["variable_key"]
    if said["key"] != name:
        raise RefusedError(400, "Invalid body, key from request body doesn't match uri parameter")
    found = found_or_refused(call, name)
    change, kept = patched(call, found, said, call.query.get("update_mask"))
    call.room.entries.write(change)
    description = None if change.metadata is None else change.metadata.description
    if change.secret is None:
        text = _seen(call, [found.ref])[found.ref]
    else:
        text = shown_text(found.ref.name, change.secret.reveal())
    return Answer(told(found.ref.name, text, description), headers=kept_header(kept))


def patched(
    call: Call, found: Described, said: Mapping[str, Any], mask: Iterable[str] | None = None
) -> tuple[Change, list[str]]:
    """
    Lay what is said over what stands.

    Args:
        call: the request.
        found: what stands.
        said: a checked body.
        mask: names of the members that count; None or nothing for all.

    Returns:
        the change, and what is kept though it was said.

    Raises:
        RefusedError: 400: *mask* names the key; 422: `***` stands where nothing is stored.
    """
    names = set(said) & set(mask) if mask else set(said)
    if mask and "key" in mask:
        raise immutable()
    metadata = found.metadata.renewed(datetime.now(timezone.utc))
    if "description" in names:
        metadata = replace(metadata, description=said["description"])
    secret, kept = (None, []) if "value" not in names else _new_secret(call, found, said["value"])
    return Change(ref=found.ref, secret=secret, metadata=metadata, seen=found.version), kept


def immutable() -> RefusedError:
    """Give the refusal of a mask that names what a variable is known by."""
    return RefusedError(
        400, "Update not allowed: the following fields are immutable and cannot be modified: {'key'}"
    )


def _new_secret(call: Call, found: Described, value: object) -> tuple[Secret[str] | None, list[str]]:
    """Give what is to be stored, None to keep all of it; and what is kept."""
    if value == HIDDEN:
        return None, ["value"]
    said = _decoded(value)
    places = hidden_places(said)
    if not places:
        return Secret(text_of(value)), []
    # Who writes a part back has seen the rest: that takes a reveal, and leaves a record of one.
    require_proof(call)
    stored = call.room.entries.reveal(found.ref, reason="keeps what a change through Airflow's API hides")
    problems = Problems()
    whole: object = None
    try:
        whole = keep_hidden(said, _decoded(stored.secret.reveal()))
    except NothingToKeepError:
        problems.value(("body", "value"), f"{HIDDEN} stands for a stored value, and there is none")
    problems.check()
    return Secret(json.dumps(whole, indent=2)), places


def _decoded(value: object) -> object:
    """Give the JSON in a text, or what it is."""
    if not isinstance(value, str):
        return value
    try:
        return decode(value)
    except InvalidInputError:
        return value


# --- deleting --------------------------------------------------------------------------------------------


def delete(call: Call) -> Answer:
    """Delete a variable."""
    name = call.params["variable_key"]
    if not delete_one(call, "variable", name):
        raise RefusedError(404, f"The Variable with key: `{name}` was not found")
    return Answer(status=204)
