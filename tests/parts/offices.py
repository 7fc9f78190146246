"""
People, services, policies and requests as a house of some size has them, for the pages of who may.

    peopled(server)

Everything is invented. What is asked for waits; nothing of it is a secret.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from strongroom.errors import ConflictError
from strongroom.model.secret import Secret
from strongroom.policy import Action, Actor, Assurance, Role, Scope
from strongroom.policy.grant import Right
from strongroom.service.policies import Draft

PASSWORD = "four plain words here"

PCI = """\
@id("pci")
@description("card data takes a verified run, and a second person")
forbid (
  principal,
  action in [Action::"read", Action::"reveal"],
  resource is Entry
)
when { resource.tags.contains("pci") }
unless { context.run.assurance >= 2 || context.approved };
"""
FINANCE = """\
@id("finance-reads")
@description("team finance reads what is theirs")
permit (
  principal in Role::"finance",
  action in [Action::"read", Action::"list", Action::"describe"],
  resource in Folder::"finance"
);
"""
ONCALL = """\
@id("oncall")
@description("who is on call may break the glass")
permit (
  principal in Role::"oncall",
  action == Action::"break_glass",
  resource
);
"""
PEOPLE = (
    ("bob", ("op", "oncall"), True),
    ("lena.fuchs", ("finance",), True),
    ("erin", ("op@finance", "viewer"), True),
    ("frank", ("user",), False),
    ("sam.osei", ("viewer",), True),
    ("tomas.novak", (), False),
)
SERVICES = (
    ("airflow-scheduler", "reader", Scope(actions=("read",)), 90),
    ("ci", "reader", Scope(actions=("read", "list"), names=("ci/*",)), 6),
    ("etl-prod", "reader", None, None),
    ("metrics", "viewer", Scope(actions=("metrics",)), 365),
)


def peopled(server, *, deployment=None):
    """Fill the first deployment of *server* with people, services, policies, a grant and requests."""
    room = server.house.deployment(deployment).root
    for name, roles, has_password in PEOPLE:
        with suppress(ConflictError):  # somebody of that name is there
            room.access.people.add(
                name, Secret(PASSWORD) if has_password else None, roles=[_role(text) for text in roles]
            )
    room.access.people.disable("sam.osei")
    for name, role, scope, days in SERVICES:
        with suppress(ConflictError):
            room.access.tokens.issue(
                name,
                roles=[Role(role)],
                lifetime=None if days is None else timedelta(days=days),
                scope=scope,
                comment=f"in the vault of team platform, for {name}",
            )
    room.access.services.disable("metrics")
    room.policies.put(Draft(FINANCE, "finance-reads", comment="ticket 4711"))
    room.policies.put(Draft(ONCALL, "oncall"))
    room.policies.put(Draft(PCI, "pci", is_enabled=False))
    room.policies.grants.add(
        Right("person:lena.fuchs", (Action.REVEAL,), ("connection",), ("finance/*",)),
        lasting=timedelta(hours=2),
        reason="incident 4711: the port",
    )
    return room


def asked_for(server, *, by="person:bob", deployment=None):
    """Have *by*, an administrator for that, ask for a change while it takes two people; gives the request."""
    house = server.house
    rules = house.deployment(deployment).root.policies
    rules.require_two("two-person-changes", is_on=True)
    admin = Actor(by, Assurance.HOST_USER, (Role("admin"),))
    text = FINANCE.replace('Action::"describe"]', 'Action::"describe", Action::"reveal"]')
    request = house.room(deployment, admin).policies.put(Draft(text, "finance-reads", comment="ticket 4712"))
    rules.require_two("two-person-changes", is_on=False)
    return request


def _role(text):
    name, _, team = text.partition("@")
    return Role(name, team or None)
