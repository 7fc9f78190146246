"""Deployments beside each other: letters, fields, what is missing, and who is told what."""

from __future__ import annotations

import json

import pytest

from parts.house import ADMIN, ANNA, Site, named
from strongroom.errors import AccessDeniedError, InvalidInputError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action
from strongroom.service.entries import Change

CANARY = "canary-7f3a"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def house(site):
    with site.house() as found:
        _write(found, "prod", "variable", same="1", differs="2", prod_only="3")
        _write(found, "staging", "variable", same="1", differs=CANARY, staging_only="4")
        orders = {"conn_type": "postgres", "host": "db", "login": "etl", "password": CANARY}
        _write(found, "prod", "connection", orders_db=json.dumps(orders), spelled="postgres://u@h/db")
        _write(
            found,
            "staging",
            "connection",
            orders_db=json.dumps({**orders, "host": "staging-db", "password": "other"}),
            spelled=json.dumps({"conn_type": "postgres", "host": "h", "login": "u", "schema": "db"}),
        )
        yield found


def _write(house, deployment, kind, **values):
    room = house.room(deployment, ADMIN)
    for name, text in values.items():
        room.entries.write(Change(ref=Ref(kind, name), secret=Secret(text)))


def holders(house, actor=ADMIN, names=("prod", "staging")):
    return [house.room(name, actor).deployments.holder() for name in names]


def grid(house, actor=ADMIN, names=("prod", "staging"), **more):
    return house.comparison.grid(holders(house, actor, names), **more)


def lines(found):
    return {line.ref.name: [(cell.letter, cell.state) for cell in line.cells] for line in found.lines}


def test_the_same_content_has_the_same_letter_and_what_is_nowhere_is_missing(house):
    found = lines(grid(house))
    assert found["same"] == [("A", "same"), ("A", "same")]
    assert found["differs"] == [("A", "same"), ("B", "differs")]
    assert found["prod_only"] == [("A", "same"), ("", "missing")]
    assert found["staging_only"] == [("", "missing"), ("B", "differs")]


def test_fields_that_differ_are_named(house):
    line = next(line for line in grid(house).lines if line.ref.name == "orders_db")
    assert line.cells[1].fields == ("host", "password")
    assert line.conn_type == "postgres"


def test_one_connection_in_two_spellings_is_one_content(house):
    assert lines(grid(house))["spelled"] == [("A", "same"), ("A", "same")]


def test_lines_are_counted_and_chosen(house):
    found = grid(house, which="differing")
    assert found.counts == {"all": 6, "differing": 2, "missing": 2}
    assert [line.ref.name for line in found.lines] == ["differs", "orders_db"]
    assert [line.ref.name for line in grid(house, which="missing").lines] == ["prod_only", "staging_only"]
    assert found.entries == (5, 5)
    assert found.same == (5, 2)
    assert found.compared == (10, 10)


def test_another_column_may_be_the_one_to_compare_with(house):
    found = lines(grid(house, names=("staging", "prod")))
    assert found["differs"] == [("A", "same"), ("B", "differs")]
    assert found["staging_only"] == [("A", "same"), ("", "missing")]


def test_pages_are_of_one_list(house):
    names = [line.ref.name for line in grid(house).lines]
    paged = [line.ref.name for begin in (0, 4) for line in grid(house, begin=begin, count=4).lines]
    assert paged == names


def test_a_change_is_seen_in_the_next_comparison(house):
    _write(house, "staging", "variable", same="changed")
    assert lines(grid(house))["same"] == [("A", "same"), ("B", "differs")]
    _write(house, "staging", "variable", same="1")
    assert lines(grid(house))["same"] == [("A", "same"), ("A", "same")]


def test_nothing_of_a_value_stands_in_what_is_told(house):
    assert CANARY not in repr(grid(house))
    assert CANARY not in repr(vars(house.comparison))


def test_what_one_may_not_see_is_not_in_his_column(site, house):
    site.allow(named("same", "differs"))
    site.allow(named("same"), "staging")
    found = lines(grid(house, ANNA))
    assert found == {"same": [("A", "same")] * 2, "differs": [("A", "same"), ("", "missing")]}


def test_what_one_may_see_and_not_have_described_is_told_as_such(site, house):
    site.allow(named("same", "differs"))
    site.allow(named("same", "differs", actions=(Action.LIST,)), "staging")
    found = lines(grid(house, ANNA))
    assert found["same"] == [("A", "same"), ("", "untold")]
    assert found["differs"] == [("A", "same"), ("", "untold")]


def test_who_may_list_nothing_in_one_of_them_compares_nothing(site, house):
    site.allow(named("same"))
    site.allow(lambda *_question: False, "staging")
    with pytest.raises(AccessDeniedError):
        grid(house, ANNA)


@pytest.mark.parametrize(
    ("names", "more"),
    [
        ((), {}),
        (("prod", "prod"), {}),
        (("prod",), {"which": "other"}),
        (("prod",), {"begin": -1}),
        (("prod",), {"count": 201}),
    ],
)
def test_a_comparison_that_is_none_is_refused(house, names, more):
    with pytest.raises(InvalidInputError):
        grid(house, names=names, **more)
