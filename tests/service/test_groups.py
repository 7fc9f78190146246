"""What groups of the identity provider give, and who has roles by them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from parts.server import serving
from strongroom.errors import AccessDeniedError
from strongroom.model.secret import Secret
from strongroom.policy import Actor, Assurance, Role
from strongroom.registry import Change
from strongroom.service.access.shape import ROLE, Membership, encoded, membership_id

PROVIDER = """
deployment = "prod"
[access.oidc]
issuer = "http://127.0.0.1:9/realm"
client_id = "strongroom"
public_url = "http://127.0.0.1"
roles = { data = ["op@data", "viewer"], admins = ["admin"] }
default_roles = ["viewer"]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("groups"), PROVIDER) as server:
        yield server.house


def held_by_group(house, name, role):
    now = datetime.now(timezone.utc)
    body = Membership(role=role, actor=f"person:{name}", created_at=now, created_by="test", by_group=True)
    id_ = membership_id(role, None, f"person:{name}", by_group=True)
    house.deployment().access._gate.registry.change(lambda _: [Change(ROLE, id_, encoded(body))])


def test_what_groups_give_is_told_as_the_settings_say(house):
    groups = house.deployment().root.access.groups
    assert groups.has_provider
    assert [(one.name, one.roles) for one in groups.list()] == [
        ("", (Role("viewer"),)),
        ("admins", (Role("admin"),)),
        ("data", (Role("op", "data"), Role("viewer"))),
    ]


def test_roles_by_a_group_are_told_apart_from_granted_ones(house):
    access = house.deployment().root.access
    access.people.add("gina", Secret("four plain words here"), roles=[Role("op")])
    held_by_group(house, "gina", "viewer")
    assert [(one.actor, one.role) for one in access.groups.held()] == [("person:gina", Role("viewer"))]
    rows = [row for row in access.roles.list() if row.actor == "person:gina"]
    assert [(row.role, row.by_group) for row in rows] == [("op", False), ("viewer", True)]


def test_groups_are_for_who_administers(house):
    groups = house.room(None, Actor("person:vera", Assurance.HOST_USER)).access.groups
    with pytest.raises(AccessDeniedError):
        groups.list()
    with pytest.raises(AccessDeniedError):
        groups.held()
