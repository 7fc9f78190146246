"""
One request as the rules that could concern it see it.

Two requests with one key are one question: no rule could tell them apart. What is handed to the engine is
what the rules look at, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from strongroom.policy.schema import address, entry_id, folders, said

if TYPE_CHECKING:
    from strongroom.model.ref import Ref
    from strongroom.policy import Action, Actor, Facts
    from strongroom.policy.index import Slice, Who
    from strongroom.policy.rule import Atom

    Approved = frozenset[tuple[str, str, Ref]]

__all__ = ["Approved", "Question", "key_of", "known", "tested"]


class Question(NamedTuple):
    """
    A request on its way to the engine.

    Args:
        found: the rules that could concern it.
        deployment: whose room or entry it is about.
        approved: (id of the actor, action, ref) a second person has agreed to.
    """

    found: Slice
    who: Who
    actor: Actor
    action: Action
    ref: Ref | None
    facts: Facts | None
    deployment: str
    approved: Approved

    def request(self, *, is_approved: bool | None = None) -> dict[str, Any]:
        """Give what is asked, in Cedar's terms; *is_approved* stands for what is known of approvals."""
        resource = _uid("Room", self.deployment)
        if self.ref is not None:
            resource = _uid("Entry", entry_id(self.ref))
        return {
            "principal": self._principal,
            "action": _uid("Action", self.action.value),
            "resource": resource,
            "context": _json(self._context(is_approved)) if self.found.context else "{}",
        }

    @property
    def _principal(self) -> dict[str, str]:
        return _uid(self.who.type, self.actor.id.partition(":")[2])

    def _context(self, is_approved: bool | None) -> dict[str, object]:  # noqa: FBT001 -- three-valued
        asking: dict[str, object] = {}
        run: dict[str, object] = {}
        values = _values(self.found, self.actor, self.action, self.ref, self.approved)
        for name, value in zip(self.found.context, values, strict=True):
            if name.startswith("run."):
                run[name[4:]] = value
            elif name == "approved" and is_approved is not None:
                asking[name] = is_approved
            elif name != "source":
                asking[name] = value
            elif value is not None:
                asking[name] = {"__extn": {"fn": "ip", "arg": value}}
        return {**asking, "run": run} if run else asking

    def entities(self) -> str:
        """Give who asks and what is asked about, as Cedar's JSON."""
        found: list[object] = []
        if self.who.roles:
            parents = [_uid("Role", role) for role in self.who.roles]
            found.append({"uid": self._principal, "attrs": {}, "parents": parents})
        if self.ref is not None:
            found.append(self._entry(self.ref))
        elif "deployment" in self.found.attributes:
            room = {"deployment": self.deployment}
            found.append({"uid": _uid("Room", self.deployment), "attrs": room, "parents": []})
        return _json(found)

    def _entry(self, ref: Ref) -> dict[str, object]:
        looked_at = self.found.attributes
        attributes = known(ref, self.facts, looked_at)
        if "name" in looked_at:
            attributes["name"] = ref.name
        if "deployment" in looked_at:
            attributes["deployment"] = self.deployment
        named = self.found.uses.folders
        above = [_uid("Folder", name) for name in folders(ref.name) if name in named] if named else []
        return {"uid": _uid("Entry", entry_id(ref)), "attrs": attributes, "parents": above}


def key_of(
    found: Slice, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None, approved: Approved
) -> tuple[object, ...]:
    """Give what is equal for two requests of one slice exactly where no rule of it can tell them apart."""
    context = _values(found, actor, action, ref, approved) if found.context else ()
    if ref is None:
        return context
    attributes = tuple(known(ref, facts, found.attributes).values()) if found.attributes else ()
    return (*context, attributes, ref if found.uses.is_name_whole else tested(found.atoms, ref))


def _values(
    found: Slice, actor: Actor, action: Action, ref: Ref | None, approved: Approved
) -> tuple[object, ...]:
    return tuple([_value(name, actor, action, ref, approved) for name in found.context])


def _value(name: str, actor: Actor, action: Action, ref: Ref | None, approved: Approved) -> object:
    if name.startswith("run."):
        return said(actor.run, name[4:])
    if name == "assurance":
        return int(actor.assurance)
    if name == "approved":
        return (actor.id, action.value, ref) in approved
    if name == "user":
        return actor.user
    return address(actor.source)


def tested(atoms: tuple[Atom, ...], ref: Ref) -> tuple[bool, ...]:
    """Give how each test of a name comes out for *ref*."""
    if not atoms:
        return ()
    entry = entry_id(ref)
    return tuple([atom.holds(ref, entry) for atom in atoms])


def known(ref: Ref, facts: Facts | None, attributes: tuple[str, ...]) -> dict[str, object]:
    """Give what is known of *ref* of the *attributes* looked at, but for its name."""
    found: dict[str, object] = {}
    for name in attributes:
        if name == "kind":
            found[name] = ref.kind
        elif name == "team":
            found[name] = ref.team or ""
        elif facts is not None and name == "tags":
            found[name] = frozenset(facts.tags)
        elif facts is not None and name in ("conn_type", "owner"):
            found[name] = getattr(facts, name) or ""
    return found


def _uid(kind: str, id_: str) -> dict[str, str]:
    return {"type": kind, "id": id_}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
