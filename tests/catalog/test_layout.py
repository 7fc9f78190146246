"""How forms are laid out: every field once, ways told apart, what matters in sight."""

from __future__ import annotations

import pytest

from strongroom import catalog
from strongroom.catalog.layout import layout


def paths(section):
    yield from (one.path for one in section.fields)
    for branches in section.ways.values():
        for branch in branches:
            yield from (one.path for one in branch.fields)


@pytest.mark.parametrize("name", catalog.names())
def test_every_field_of_a_type_stands_in_one_place(name):
    kind = catalog.find(name)
    placed = [path for section in layout(kind) for path in paths(section)]
    fields = [one.name for one in kind.standard] + [f"extra.{one.name}" for one in kind.extras]
    assert sorted(placed) == sorted(fields)


def test_a_database_is_asked_for_as_people_think_of_it():
    where, sign_in, transport, more = layout(catalog.find("postgres"))
    assert [one.path for one in where.fields][:3] == ["host", "port", "schema"]
    assert next(one.path for one in sign_in.fields) == "login"
    assert [branch.title for branch in sign_in.ways["Sign in"]] == [
        "Password",
        "AWS IAM",
        "Entra ID",
        "Google",
    ]
    assert [branch.is_open for branch in sign_in.ways["Sign in"]] == [True, False, False, False]
    assert [one.path for one in transport.fields][:2] == ["extra.sslmode", "extra.sslrootcert"]
    assert more.name == "more"


def test_the_way_in_use_is_open():
    sections = layout(catalog.find("postgres"), used={"extra.azure_conn_id"})
    (sign_in,) = [one for one in sections if one.name == "sign_in"]
    assert [branch.is_open for branch in sign_in.ways["Sign in"]] == [False, False, True, False]


def test_what_is_set_is_never_folded_away():
    found = {
        one.path: one.is_folded
        for section in layout(catalog.find("postgres"), used={"extra.application_name"})
        for one in section.fields
    }
    assert found["extra.application_name"] is False
    assert found["extra.client_encoding"] is True
    assert found["extra.sslmode"] is False
