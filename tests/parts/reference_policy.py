"""
A second, tiny evaluator of what our policies may say, to compare Cedar's answers with.

It knows a policy as a plain value, never as text, and decides by the sentence "what any forbids is denied,
what any allows is allowed, the rest is denied". `text_of` writes the same policy as Cedar.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Facts


@dataclass(frozen=True)
class Said:
    """A policy: all that is said must hold; None and empty say nothing."""

    effect: str
    role: str | None = None
    person: str | None = None
    type: str | None = None
    actions: tuple[str, ...] = ()
    only_entries: bool = True
    folder: str | None = None
    entry: Ref | None = None
    kind: str | None = None
    team: str | None = None
    name: str | None = None
    like: str | None = None
    names: tuple[str, ...] = ()
    tag: str | None = None
    conn_type: str | None = None
    unless_tag: str | None = None
    dag_id: str | None = None
    floor: int | None = None
    identity: int | None = None
    network: str | None = None
    is_negated: bool = field(default=False)


def text_of(id_: str, said: Said) -> str:
    head = [_principal(said), _actions(said), _resource(said)]
    when = list(_conditions(said))
    text = f'@id("{id_}")\n{said.effect} ({", ".join(head)})'
    if when:
        body = " && ".join(when)
        text += f"\nwhen {{ {f'!({body})' if said.is_negated else body} }}"
    if said.unless_tag is not None:
        text += f"\nunless {{ resource.tags.contains({json.dumps(said.unless_tag)}) }}"
    return text + ";"


def _principal(said: Said) -> str:
    text = "principal"
    if said.person is not None:
        return f'principal == Person::"{said.person}"'
    if said.type is not None:
        text += f" is {said.type}"
    if said.role is not None:
        text += f' in Role::"{said.role}"'
    return text


def _actions(said: Said) -> str:
    if not said.actions:
        return "action"
    return f"action in [{', '.join(f'Action::{json.dumps(word)}' for word in said.actions)}]"


def _resource(said: Said) -> str:
    if said.entry is not None:
        team = f"@{said.entry.team}" if said.entry.team else ""
        return f'resource == Entry::"{said.entry.kind}{team}:{said.entry.name}"'
    if said.folder is not None:
        return f'resource in Folder::"{said.folder}"'
    return "resource is Entry" if said.only_entries or _needs_entry(said) else "resource"


def _needs_entry(said: Said) -> bool:
    fields = (said.kind, said.team, said.name, said.like, said.tag, said.conn_type, said.unless_tag)
    return any(one is not None for one in fields) or bool(said.names)


def _needs_facts(said: Said) -> bool:
    return any(one is not None for one in (said.tag, said.conn_type, said.unless_tag))


def _conditions(said: Said):
    for name in ("kind", "team", "name", "conn_type"):
        value = getattr(said, name)
        if value is not None:
            yield f"resource.{name} == {json.dumps(value)}"
    if said.like is not None:
        yield f"resource.name like {json.dumps(said.like)}"
    if said.names:
        yield f"[{', '.join(json.dumps(name) for name in said.names)}].contains(resource.name)"
    if said.tag is not None:
        yield f"resource.tags.contains({json.dumps(said.tag)})"
    if said.dag_id is not None:
        yield f"context.run.dag_id == {json.dumps(said.dag_id)}"
    if said.floor is not None:
        yield f"context.run.assurance >= {said.floor}"
    if said.identity is not None:
        yield f"context.assurance >= {said.identity}"
    if said.network is not None:
        yield f'context has source && context.source.isInRange(ip("{said.network}"))'


def decide(policies: dict[str, Said], actor: Actor, action: Action, ref: Ref | None, facts: Facts | None):
    """Give (is allowed, ids of what decided), or (False, None) where something could not be told."""
    found: dict[str, list[str]] = {"permit": [], "forbid": []}
    for id_, said in policies.items():
        holds = _holds(said, actor, action, ref, facts)
        if holds is None and said.effect == "forbid":
            return False, None
        if holds:
            found[said.effect].append(id_)
    if found["forbid"]:
        return False, tuple(sorted(found["forbid"]))
    return bool(found["permit"]), tuple(sorted(found["permit"]))


def might_allow(said: Said, actor: Actor, action: Action) -> bool:
    """Tell whether a policy could allow this before some entry."""
    is_of_entries = said.only_entries or said.folder or said.entry or _needs_entry(said)
    return said.effect == "permit" and bool(is_of_entries) and _is_about(said, actor, action, None)


def _holds(said, actor, action, ref, facts):
    """True, False, or None where it turns on facts that are not known."""
    if not _concerns(said, actor, action, ref):
        return False
    if facts is None and said.effect == "permit" and _needs_facts(said):
        return False  # without facts only what needs none may allow
    when = _when(said, actor, ref, facts)
    tagged = None if said.unless_tag is None else (None if facts is None else said.unless_tag in facts.tags)
    if said.is_negated and list(_conditions(said)):
        when = None if when is None else not when
    if when is False:
        return False
    if said.unless_tag is not None:
        if tagged is None:
            return None
        if tagged:
            return False
    return when


def _concerns(said, actor, action, ref) -> bool:
    return _is_about(said, actor, action, ref) and _is_meant(said, ref)


def _is_about(said, actor, action, ref) -> bool:
    prefix, _, name = actor.id.partition(":")
    kind = {"person": "Person", "service": "Service", "local": "Local"}[prefix]
    team = None if ref is None else ref.team
    roles = {role.name for role in actor.roles if role.team in (None, team)}
    if said.person is not None and (kind, name) != ("Person", said.person):
        return False
    if said.person is None and said.type is not None and said.type != kind:
        return False
    if said.person is None and said.role is not None and said.role not in roles:
        return False
    return not said.actions or action.value in said.actions


def _is_meant(said, ref) -> bool:
    if said.entry is not None:
        return ref == said.entry
    if said.folder is not None:
        return ref is not None and (ref.name == said.folder or ref.name.startswith(f"{said.folder}/"))
    return ref is not None or not (said.only_entries or _needs_entry(said))


def _when(said, actor, ref, facts):  # noqa: PLR0911 -- one condition, one way out
    """All conditions in the order they are written: one that is not known comes after those that fail."""
    for name in ("kind", "team", "name", "conn_type"):
        value = getattr(said, name)
        if value is None:
            continue
        if name == "conn_type" and facts is None:
            return None
        has = (facts.conn_type or "") if name == "conn_type" else (getattr(ref, name) or "")
        if has != value:
            return False
    if said.like is not None and not fnmatchcase(ref.name, said.like):
        return False
    if said.names and ref.name not in said.names:
        return False
    if said.tag is not None and facts is None:
        return None
    if said.tag is not None and said.tag not in facts.tags:
        return False
    return _asked(said, actor)


def _asked(said, actor) -> bool:
    run = actor.run
    if said.dag_id is not None and (run.dag_id or "" if run else "") != said.dag_id:
        return False
    if said.floor is not None and (int(run.assurance) if run else 0) < said.floor:
        return False
    if said.identity is not None and int(actor.assurance) < said.identity:
        return False
    if said.network is None:
        return True
    try:
        address = ipaddress.ip_address(actor.source)
    except ValueError:
        return False
    network = ipaddress.ip_network(said.network)
    return address.version == network.version and address in network
