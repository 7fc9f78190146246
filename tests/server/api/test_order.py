"""Lists in every order: each row has one place, whatever changes between two pages and whoever looks."""

from __future__ import annotations

import sqlite3

import pytest

from strongroom.policy import Scope

COLUMNS = ("changed_at", "conn_type", "backend")
SORTS = [("name", "desc"), *((sort, order) for sort in COLUMNS for order in ("asc", "desc"))]


def walk(api, token=None, between=lambda: None, **query):
    found, cursor = [], None
    while True:
        asked = query | ({"cursor": cursor} if cursor else {})
        page = api.ask("GET", "/entries", query=asked, token=token)
        assert page.status == 200, page.body
        assert len(page.json()["entries"]) <= query.get("limit", 100)
        found += page.json()["entries"]
        cursor = page.json()["cursor"]
        if cursor is None:
            return found
        between()


def names(rows):
    return [row["name"] for row in rows]


@pytest.fixture(scope="module")
def mixed(api):
    for number in range(4):
        uri = ("http://h", "postgres://h/db")[number % 2]
        api.put("connection", f"mix/{number}", {"value": uri})
        api.put("variable", f"mix/{number}", {"value": "x"})
    return api


@pytest.mark.parametrize(("sort", "order"), SORTS)
@pytest.mark.parametrize("limit", [1, 3, 8, 100])
def test_every_row_of_every_kind_has_one_place_however_long_the_pages(mixed, sort, order, limit):
    rows = walk(mixed, prefix="mix/", sort=sort, order=order, limit=limit)
    ranks = [
        (row["name"], row["kind"]) if sort == "name" else (row[sort] or "", row["kind"], row["name"])
        for row in rows
    ]
    assert ranks == sorted(ranks, reverse=order == "desc")
    assert len(set(ranks)) == 8


def test_a_cursor_goes_on_after_its_place_whatever_comes_and_goes(api):
    for number in range(6):
        api.put("variable", f"keyset/{number}", {"value": "x"})
    query = {"prefix": "keyset/", "order": "desc", "limit": 2}
    first = api.ask("GET", "/entries", query=query).json()
    assert names(first["entries"]) == ["keyset/5", "keyset/4"]
    api.ask("DELETE", "/entries/variable/keyset/4")  # the one the cursor was made of
    api.put("variable", "keyset/35", {"value": "x"})  # after its place
    api.put("variable", "keyset/6", {"value": "x"})  # before it
    second = api.ask("GET", "/entries", query=query | {"cursor": first["cursor"]}).json()
    assert names(second["entries"]) == ["keyset/35", "keyset/3"]


def test_a_change_moves_a_row_at_once(api):
    for number in range(3):
        api.put("variable", f"moved/{number}", {"value": "x"})
    asked = {"prefix": "moved/", "sort": "changed_at", "order": "desc"}
    assert names(walk(api, **asked)) == ["moved/2", "moved/1", "moved/0"]
    api.put("variable", "moved/0", {"value": "y"})
    assert names(walk(api, **asked)) == ["moved/0", "moved/2", "moved/1"]
    api.ask("DELETE", "/entries/variable/moved/2")
    assert names(walk(api, **asked)) == ["moved/0", "moved/1"]


def test_RT10_whoever_sees_little_meets_a_smaller_list_and_no_gap(api):
    for number in range(30):
        api.put("variable", f"little/{number:02}", {"value": "x", "tags": ["t"]})
    token = api.server.token("sees-little", "op", scope=Scope(names=("little/07", "little/19", "little/2*")))
    mine = ["little/07", "little/19", *(f"little/{number}" for number in range(20, 30))]
    for query in ({}, {"order": "desc"}, {"sort": "changed_at"}, {"order": "desc", "tag": "t"}):
        rows = names(walk(api, token=token, limit=5, **query))
        assert rows == (mine[::-1] if query.get("order") else mine)
    page = api.ask("GET", "/entries", query={"order": "desc", "limit": 12}, token=token).json()
    assert (names(page["entries"]), page["cursor"]) == (mine[::-1], None)


def test_a_policy_that_hides_by_tag_counts_in_every_order_at_once(api):
    for number in range(4):
        api.put("variable", f"tagged/{number}", {"value": "x", "tags": ["hush"] if number % 2 else []})
    token = api.server.token("hushed", "op")
    text = (
        '@id("hush") forbid (principal, action == Action::"list", resource is Entry)'
        ' when { resource.tags.contains("hush") };'
    )
    assert names(walk(api, token=token, prefix="tagged/", order="desc", limit=1)) == [
        f"tagged/{number}" for number in (3, 2, 1, 0)
    ]
    made = api.ask("POST", "/policies", {"id": "hush", "text": text})
    assert made.status == 201, made.body
    try:
        for query in ({}, {"order": "desc"}, {"sort": "changed_at"}):
            assert sorted(names(walk(api, token=token, prefix="tagged/", limit=1, **query))) == [
                "tagged/0",
                "tagged/2",
            ]
        api.put("variable", "tagged/2", {"value": "x", "tags": ["hush"]})
        for query in ({}, {"order": "desc"}, {"sort": "changed_at"}):
            assert names(walk(api, token=token, prefix="tagged/", limit=1, **query)) == ["tagged/0"]
    finally:
        api.ask("DELETE", "/policies/hush")
    assert len(walk(api, token=token, prefix="tagged/", order="desc")) == 4


def test_a_row_that_was_tampered_with_is_told_as_such_in_every_order(api):
    for number in range(3):
        api.put("variable", f"forged/{number}", {"value": "x"})
    store = api.house.deployment().root._parts._barrier().store
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE entries SET changed_at = 'soon', owner = 'x' WHERE name = 'forged/1'")
    try:
        for query in ({}, {"order": "desc"}, {"sort": "changed_at"}, {"sort": "conn_type"}):
            rows = {row["name"]: row for row in walk(api, prefix="forged/", limit=1, **query)}
            assert sorted(rows) == ["forged/0", "forged/1", "forged/2"]
            assert [rows[name]["state"] for name in sorted(rows)] == ["ok", "tampered", "ok"]
            assert rows["forged/1"]["owner"] is None
    finally:
        with sqlite3.connect(store.path) as connection:
            ids = "SELECT id FROM entries WHERE name = 'forged/1'"
            connection.execute(f"DELETE FROM versions WHERE entry_id IN ({ids})")
            connection.execute("DELETE FROM entries WHERE name = 'forged/1'")
