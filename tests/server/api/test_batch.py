"""`POST /v1/entries`: many at once, all or none of one backend's, each of them decided."""

from __future__ import annotations

import pytest

CANARY = "c4nary-batch-77"


def change(name, value=CANARY, **more):
    return {"kind": "variable", "name": name, "value": value, **more}


def write(api, *changes, token=None, **more):
    return api.ask("POST", "/entries", {"changes": list(changes), **more}, token=token)


def stands(api, name):
    return api.ask("GET", f"/entries/variable/{name}").status == 200


def test_all_are_written_and_told_in_their_order(api):
    said = write(api, change("b1", facts={"tags": ["x"], "owner": "me"}), change("b2"), comment="why")
    assert said.status == 200
    assert [one["name"] for one in said.json()["written"]] == ["b1", "b2"]
    assert api.ask("GET", "/entries/variable/b1").json()["tags"] == ["x"]
    assert api.ask("GET", "/history/variable/b2").json()["versions"][0]["comment"] == "why"


def test_one_that_conflicts_leaves_all_unwritten(api):
    write(api, change("held"))
    said = write(api, change("beside"), change("held", expected_version=""))
    assert said.status == 409
    assert not stands(api, "beside")


def test_one_that_is_denied_leaves_all_unwritten(api):
    said = write(api, change("denied1"), change("denied2"), token=api.tokens["reader"])
    assert said.status == 403
    assert not stands(api, "denied1")


def test_a_trial_writes_nothing(api):
    said = write(api, change("tried"), is_trial=True)
    assert said.json() == {"written": [], "refused": [None]}
    assert not stands(api, "tried")


def test_no_value_keeps_what_is_stored(api):
    write(api, change("kept"))
    said = write(api, change("kept", None, facts={"description": "new"}))
    assert said.status == 200
    assert api.ask("GET", "/entries/variable/kept").json()["description"] == "new"
    results = api.ask("POST", "/read", {"refs": [{"kind": "variable", "name": "kept"}]}).json()["results"]
    assert results[0]["value"] == CANARY


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ([change("a//b")], 422, "$.changes[0].name"),
        ([change("twice"), change("twice")], 422, "$.changes"),
        ([change("x", facts={"tags": ["", "a"]})], 422, "$.tags"),
        ([change("x", CANARY * 100_000)], 413, None),
        ([change("x") | {"surplus": CANARY}], 422, "$.changes[0]"),
        ([change(f"n{number}", "v") for number in range(1001)], 413, None),
    ],
)
def test_what_is_wrong_with_one_is_told_of_it_without_its_value(api, changes, status, field):
    said = write(api, *changes)
    assert said.status == status
    assert said.json()["error"].get("field") == field
    assert CANARY not in said.body.decode()


def test_nothing_is_an_answer_too(api):
    assert write(api).json() == {"written": [], "refused": []}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("variable", "***"),
        ("connection", "postgres://u:***@h/db"),
        ("connection", '{"conn_type": "postgres", "extra": {"token": "***"}}'),
    ],
)
def test_RT12_a_mask_in_a_batch_overwrites_nothing_unless_it_is_meant(api, kind, value):
    name = f"masked-{len(value)}"
    api.put(kind, name, {"value": f"postgres://u:{CANARY}@h/db"})
    masked = {"kind": kind, "name": name, "value": value}
    said = write(api, masked)
    assert (said.status, said.json()["error"]["field"]) == (422, "$.changes[0].value")
    read = lambda: api.ask("POST", "/read", {"refs": [{"kind": kind, "name": name}]}).body  # noqa: E731
    assert CANARY.encode() in read()
    assert write(api, {**masked, "is_literal": True}).status == 200
    assert CANARY.encode() not in read()
