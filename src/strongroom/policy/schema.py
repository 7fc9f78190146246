"""
What policies may speak of: principals, actions, resources, context; and how ours become theirs.

Rules of this file:

1. Everything a policy may use is always there, but for `context.source`, which not every request has:
   text that is not said is "", so that no policy fails for want of it.
2. What is public about an entry (`FACTS`) is only handed over where it is known; a policy that touches it
   where it is not fails, and a failing policy denies (`cedar.py`, rule 3).
3. An entry is in the folder of its own name and in every folder above: `pay/eu/db` is in `pay`, `payroll`
   is not.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from strongroom.policy import Action

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Run

__all__ = [
    "FACTS",
    "PRINCIPALS",
    "ROLES",
    "RUN",
    "SCHEMA",
    "address",
    "entry_id",
    "folders",
    "roles_for",
    "said",
]

PRINCIPALS: Final = {"person": "Person", "service": "Service", "local": "Local", "agent": "Agent"}
"""What stands before the colon of an actor's id, and its type."""

ROLES: Final = ("admin", "op", "reader", "user", "viewer")
"""Roles that come with policies of their own."""

FACTS: Final = ("tags", "conn_type", "owner")
"""Attributes of an entry that are only known where it was looked at."""

RUN: Final = ("assurance", "dag_id", "task_id", "run_id", "map_index", "try_number", "bundle")
"""Attributes of `context.run`."""

_ACTIONS = ", ".join(f'"{action.value}"' for action in Action)
_WHO = ", ".join(PRINCIPALS.values())

SCHEMA: Final = f"""
entity Role, Folder;
entity Person, Service, Local, Agent in [Role];
entity Room {{ deployment: String }};
entity Entry in [Folder] {{
  deployment: String,
  kind: String,
  name: String,
  team: String,
  tags: Set<String>,
  conn_type: String,
  owner: String,
}};
type Run = {{
  assurance: Long,
  dag_id: String,
  task_id: String,
  run_id: String,
  map_index: Long,
  try_number: Long,
  bundle: String,
}};
type Asked = {{
  assurance: Long,
  approved: Bool,
  run: Run,
  user: String,
  source?: ipaddr,
}};
action {_ACTIONS} appliesTo {{
  principal: [{_WHO}],
  resource: [Entry, Room],
  context: Asked,
}};
"""

_UNSAID: Final = {"assurance": 0, "map_index": -1, "try_number": 0}


def entry_id(ref: Ref) -> str:
    """
    Give the id that `Entry::"…"` has for *ref*.

    Shape: `connection:pay/db` of a global name, `connection@data:pay/db` of a team's. Neither kind nor team
    holds `@` or `:`, so no two refs share one.
    """
    return f"{ref.kind}@{ref.team}:{ref.name}" if ref.team else f"{ref.kind}:{ref.name}"


def folders(name: str) -> Iterator[str]:
    """Give *name* and everything above it, as ids of `Folder`."""
    yield name
    cut = name.rfind("/")
    while cut > 0:
        yield name[:cut]
        cut = name.rfind("/", 0, cut)


def roles_for(actor: Actor, team: str | None) -> frozenset[str]:
    """Give the names of the roles *actor* has for what *team* owns, None for what nobody does."""
    return frozenset(role.name for role in actor.roles if role.team is None or role.team == team)


def said(run: Run | None, attribute: str) -> object:
    """Give what a request says of its run, in the type of the schema."""
    value = getattr(run, attribute) if run is not None else None
    if value is None:
        return _UNSAID.get(attribute, "")
    return int(value) if isinstance(value, int) else value


def address(source: str) -> str | None:
    """
    Give the IP address a request came from as policies see it, or None where it is none.

    An IPv4 address that travels inside IPv6 is the IPv4 one: a rule for a network must not miss it.
    """
    try:
        found = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)
