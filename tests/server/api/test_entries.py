"""`/entries` over HTTP: listing, looking, writing with conditions, masks that keep, deleting."""

from __future__ import annotations

import json

import pytest

SECRET = "s3cret-canary"


def names(answer):
    return [row["name"] for row in answer.json()["entries"]]


# --- writing with conditions --------------------------------------------------------------------------


def test_a_write_answers_where_it_went_and_the_version_that_stands(api):
    answer = api.ask("PUT", "/entries/variable/w1", {"value": "a"})
    assert answer.status == 200
    assert answer.headers["etag"] == '"1"'
    assert answer.json() == {
        "kind": "variable",
        "name": "w1",
        "team": None,
        "backend": "native",
        "version": "1",
        "kept": [],
    }


def test_if_none_match_creates_once(api):
    made = api.ask("PUT", "/entries/variable/c1", {"value": "a"}, headers={"If-None-Match": "*"})
    again = api.ask("PUT", "/entries/variable/c1", {"value": "b"}, headers={"If-None-Match": "*"})
    assert (made.status, again.status, again.code) == (201, 412, "precondition_failed")
    assert api.ask("GET", "/entries/variable/c1").headers["etag"] == '"1"'


def test_if_match_changes_only_what_was_looked_at(api):
    api.put("variable", "m1", {"value": "a"})
    first = api.ask("PUT", "/entries/variable/m1", {"value": "b"}, headers={"If-Match": '"1"'})
    second = api.ask("PUT", "/entries/variable/m1", {"value": "c"}, headers={"If-Match": '"1"'})
    assert (first.status, second.status, second.code) == (200, 412, "precondition_failed")


def test_a_lenient_condition_holds_as_another_does(api):
    lenient = {"Prefer": "respond-async, Handling=Lenient"}
    made = api.ask("PUT", "/entries/variable/l1", {"value": "a"}, headers={"If-None-Match": "*", **lenient})
    again = api.ask("PUT", "/entries/variable/l1", {"value": "b"}, headers={"If-None-Match": "*", **lenient})
    first = api.ask("PUT", "/entries/variable/l1", {"value": "b"}, headers={"If-Match": '"1"', **lenient})
    second = api.ask("PUT", "/entries/variable/l1", {"value": "c"}, headers={"If-Match": '"1"', **lenient})
    assert [one.status for one in (made, again, first, second)] == [201, 412, 200, 412]


def test_if_match_star_needs_something_to_stand(api):
    nothing = api.ask("PUT", "/entries/variable/m2", {"value": "a"}, headers={"If-Match": "*"})
    assert (nothing.status, nothing.code) == (412, "precondition_failed")
    api.put("variable", "m2", {"value": "a"})
    assert api.ask("PUT", "/entries/variable/m2", {"value": "b"}, headers={"If-Match": "*"}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": '"1"', "If-None-Match": "*"},
        {"If-None-Match": '"1"'},
        {"If-Match": "1"},
        {"If-Match": '"1", "2"'},
    ],
)
def test_conditions_that_mean_nothing_are_refused(api, headers):
    answer = api.ask("PUT", "/entries/variable/m3", {"value": "a"}, headers=headers)
    assert (answer.status, answer.code) == (400, "invalid_input")
    assert api.ask("GET", "/entries/variable/m3").status == 404


def test_a_weak_tag_never_matches_a_change(api):
    api.put("variable", "m4", {"value": "a"})
    assert api.ask("PUT", "/entries/variable/m4", {"value": "b"}, headers={"If-Match": 'W/"1"'}).status == 412


def test_an_unchanged_entry_is_not_sent_again(api):
    api.put("variable", "e1", {"value": "a"})
    answer = api.ask("GET", "/entries/variable/e1", headers={"If-None-Match": '"1"'})
    assert (answer.status, answer.body) == (304, b"")


def test_a_change_asked_for_twice_with_one_key_is_made_once(api):
    key = {"Idempotency-Key": "k-1"}
    first = api.ask("PUT", "/entries/variable/i1", {"value": "a"}, headers=key)
    second = api.ask("PUT", "/entries/variable/i1", {"value": "a"}, headers=key)
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert len(api.ask("GET", "/history/variable/i1").json()["versions"]) == 1


# --- masks ---------------------------------------------------------------------------------------------


def fields(api, name):
    found = api.ask("POST", "/read", {"refs": [{"kind": "connection", "name": name}]}).json()["results"][0]
    return json.loads(found["value"])


def value(api, name):
    return api.ask("POST", "/read", {"refs": [{"kind": "variable", "name": name}]}).json()["results"][0][
        "value"
    ]


def test_RT12_a_mask_written_back_keeps_the_value_and_says_so(api):
    api.put("variable", "k1", {"value": SECRET})
    assert api.put("variable", "k1", {"value": "***"})["kept"] == ["value"]
    assert value(api, "k1") == SECRET


def test_RT12_a_view_written_back_destroys_nothing(api):
    given = {
        "conn_type": "postgres",
        "host": "h",
        "login": "u",
        "password": SECRET,
        "extra": {"token": SECRET},
    }
    api.put("connection", "k2", {"connection": given})
    view = api.ask("GET", "/entries/connection/k2").json()["connection"]
    assert view["password"] == view["extra"]["token"] == "***"
    kept = api.put("connection", "k2", {"connection": {**view, "host": "h2"}})["kept"]
    assert {"password", "extra.token"} <= set(kept)
    found = fields(api, "k2")
    assert (found["host"], found["password"], found["extra"]["token"]) == ("h2", SECRET, SECRET)


@pytest.mark.parametrize(
    "form",
    ["postgres://u:***@h3/db", '{"conn_type": "postgres", "host": "h3", "login": "u", "password": "***"}'],
    ids=["uri", "json"],
)
def test_RT12_a_mask_in_any_form_of_a_connection_keeps(api, form):
    name = f"k3-{len(form)}"
    api.put("connection", name, {"value": f"postgres://u:{SECRET}@h/db"})
    assert api.put("connection", name, {"value": form})["kept"] == ["password"]
    assert fields(api, name)["password"] == SECRET


@pytest.mark.parametrize("body", [{"value": "***"}, {"unchanged": True}])
def test_RT12_there_is_nothing_to_keep_of_what_does_not_stand(api, body):
    answer = api.ask("PUT", "/entries/variable/k-none", body)
    assert (answer.status, answer.code) == (422, "invalid_field")
    assert api.ask("GET", "/entries/variable/k-none").status == 404


def test_RT12_a_mask_where_no_secret_was_is_refused(api):
    api.put("connection", "k4", {"value": "postgres://h/db"})
    answer = api.ask("PUT", "/entries/connection/k4", {"value": "postgres://u:***@h/db"})
    assert (answer.status, answer.code) == (422, "invalid_field")


def test_IN08_three_stars_that_are_meant_are_stored(api):
    api.put("variable", "k5", {"value": "***", "is_literal": True})
    assert value(api, "k5") == "***"


@pytest.mark.parametrize("text", ["", " ", "null", "\n", "0", "\u00e9" * 10])
def test_IN08_values_that_look_like_nothing_are_stored_as_they_are(api, text):
    name = f"faithful-{text.encode().hex() or 'empty'}"
    api.put("variable", name, {"value": text})
    assert value(api, name) == text


def test_what_is_public_changes_while_the_value_stays(api):
    api.put("variable", "p1", {"value": SECRET, "description": "old", "tags": ["x"]})
    answer = api.put("variable", "p1", {"unchanged": True, "tags": ["b", "a", "b"], "owner": "me"})
    assert answer["kept"] == ["value"]
    found = api.ask("GET", "/entries/variable/p1").json()
    assert (found["description"], found["tags"], found["owner"]) == ("old", ["a", "b"], "me")
    assert value(api, "p1") == SECRET


def test_null_takes_a_public_member_away(api):
    api.put("variable", "p2", {"value": "a", "description": "old"})
    api.put("variable", "p2", {"unchanged": True, "description": None})
    assert api.ask("GET", "/entries/variable/p2").json()["description"] is None


# --- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_field"),
        ({"value": "a", "unchanged": True}, 422, "invalid_field"),
        ({"value": "a", "connection": {"conn_type": "x"}}, 422, "invalid_field"),
        ({"connection": {"conn_type": "x"}}, 422, "invalid_field"),
        ({"value": 1}, 422, "invalid_field"),
        ({"value": "a", "tags": [""]}, 422, "invalid_field"),
        ({"value": "a", "tags": ["x" * 101]}, 422, "invalid_field"),
        ({"value": "a", "tags": ["t"] * 51}, 422, "invalid_field"),
        ({"value": "a", "description": "x\x00"}, 422, "invalid_field"),
        ({"value": "a", "owner": "o" * 251}, 422, "invalid_field"),
        ({"value": "a", "not_after": "2026-01-01T00:00:00"}, 422, "invalid_field"),
        ({"value": "a", "not_after": "0001-01-01T00:00:00+23:59"}, 422, "invalid_field"),
        ({"value": "a", "comment": "c" * 501}, 422, "invalid_field"),
        ({"value": "x" * (1024 * 1024 + 1)}, 413, "invalid_input"),
    ],
)
def test_IN07_what_cannot_be_written_is_refused_and_nothing_is_written(api, body, status, code):
    answer = api.ask("PUT", "/entries/variable/bad", body)
    assert (answer.status, answer.code) == (status, code)
    assert api.ask("GET", "/entries/variable/bad").status == 404


def test_IN07_a_value_of_the_limit_is_written(api):
    api.put("variable", "big", {"value": "x" * 1024 * 1024})
    assert len(value(api, "big")) == 1024 * 1024


@pytest.mark.parametrize("field", ["id", "team", "owner_id", "is_admin", "created_at", "version", "backend"])
def test_IN11_a_member_that_is_not_known_is_refused(api, field):
    answer = api.ask("PUT", "/entries/variable/unknown", {"value": "a", field: "x"})
    assert (answer.status, answer.code) == (422, "invalid_field")
    assert "known" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"value": SECRET, "tags": "no list"},
        {"connection": {"password": SECRET, "hots": "x", "conn_type": "postgres"}},
        {"value": f"{SECRET} is no connection"},
        {"value": f"postgres://u:{SECRET}@h:port/db"},
        {"value": f"{{'password': '{SECRET}'}}"},
    ],
)
def test_IN12_no_refusal_repeats_what_was_sent(api, body):
    answer = api.ask("PUT", "/entries/connection/echo", body)
    assert answer.status == 422
    assert SECRET.encode() not in answer.body
    assert SECRET not in api.server.log


def test_IN12_the_name_of_a_member_is_not_repeated_either(api):
    api.put("connection", "echo-key", {"value": "postgres://h/db"})
    for name in ("echo-key", "echo-none"):
        body = {"connection": {"conn_type": "postgres", "host": "h", "extra": {SECRET: "***"}}}
        answer = api.ask("PUT", f"/entries/connection/{name}", body)
        assert (answer.status, answer.json()["error"]["field"]) == (422, "$.connection")
        assert SECRET.encode() not in answer.body


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b'{"value": "a", "value": "b"}', 400),
        (b'{"value": NaN}', 400),
        (b'{"value": "a"', 400),
        (b"\xff\xfe", 400),
        (b"\xef\xbb\xbf{}", 400),
        (b'{"value": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 413),
        (b"", 400),
        (b'{"value": "\\ud800"}', 400),
    ],
)
def test_IN04_what_is_no_strict_json_is_refused(api, raw, status):
    headers = {"Content-Type": "application/json"}
    answer = api.ask("PUT", "/entries/variable/json", raw, headers=headers)
    assert answer.status in (status, 422), answer.body
    assert api.ask("GET", "/entries/variable/json").status == 404


@pytest.mark.parametrize(
    "raw",
    [
        b'{"value": {%s}}' % b",".join(b'"k%d": 1' % number for number in range(100_001)),
        b'{"value": [%s]}' % b",".join([b"1"] * 100_002),
        b'{"value": [%s]}' % b",".join([b"[]"] * 100_002),
        b'["' + b'\\\\","' * 210_000 + b'"]',  # an escaped backslash, then the end of the string
    ],
    ids=["keys", "numbers", "lists", "escapes"],
)
def test_IN04_too_many_pieces_are_refused_before_they_are_looked_at(api, raw):
    headers = {"Content-Type": "application/json"}
    answer = api.ask("PUT", "/entries/variable/json", raw, headers=headers)
    assert (answer.status, answer.code) == (413, "invalid_input"), answer.body


def test_IN04_commas_and_quotes_of_a_value_are_no_pieces(api):
    api.put("variable", "commas", {"value": ",".join('"x"' for _ in range(120_000))})
    assert api.ask("GET", "/entries/variable/commas").json()["size"] == 4 * 120_000 - 1


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_IN10_a_body_that_is_not_declared_as_json_is_refused(api, media):
    answer = api.ask("PUT", "/entries/variable/media", b'{"value": "a"}', headers={"Content-Type": media})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


# --- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "%2e%2e/x",
        "a/%2e%2e/b",
        "a%2f%2e%2e%2fb",
        "a%00b",
        "a%0d%0ab",
        "w1%0a",
        "%c0%ae",
        "a//b",
        "%5c..%5cx",
        "a%e2%80%aeb",
        "a%e2%80%8bb",
        "%7f",
    ],
)
def test_NM02_names_that_are_none_are_malformed_and_not_absent(api, path):
    for method, body in (("GET", None), ("PUT", {"value": "x"}), ("DELETE", None)):
        answer = api.ask(method, f"/entries/variable/{path}", body)
        assert answer.status == 400, (method, answer.body)


@pytest.mark.parametrize(
    "name", ["%252e%252e", "a;b=c", "a%3Fb", "a%23b", "%2A", "~", "%25", "metadata", "versions"]
)
def test_AA05_NM08_names_that_look_special_are_taken_as_they_are(api, name):
    assert api.ask("PUT", f"/entries/variable/{name}", {"value": name}).status == 200
    found = api.ask("GET", f"/entries/variable/{name}")
    assert found.status == 200
    assert api.ask("DELETE", f"/entries/variable/{name}").status == 200
    assert api.ask("GET", f"/entries/variable/{name}").status == 404


def test_AA05_deleting_a_star_deletes_nothing_else(api):
    api.put("variable", "star-1", {"value": "a"})
    assert api.ask("DELETE", "/entries/variable/%2A").status == 404
    assert api.ask("GET", "/entries/variable/star-1").status == 200


def test_NM07_a_name_has_at_most_250_characters(api):
    assert api.ask("PUT", f"/entries/variable/{'n' * 250}", {"value": "a"}).status == 200
    too_long = api.ask("PUT", f"/entries/variable/{'n' * 251}", {"value": "a"})
    assert too_long.status == 413


def test_NM04_two_spellings_of_one_name_are_one_entry(api):
    api.put("variable", "caf\u00e9", {"value": "a"})
    assert api.ask("GET", "/entries/variable/cafe%CC%81").json()["name"] == "caf\u00e9"


def test_NM12_a_connection_and_a_variable_of_one_name_are_two(api):
    api.put("variable", "same", {"value": "a"})
    assert api.ask("GET", "/entries/connection/same").status == 404


def test_a_kind_that_is_none_is_malformed(api):
    assert api.ask("GET", "/entries/secret/x").status == 400


def test_a_slash_in_a_name_stands_as_it_is(api):
    api.put("variable", "prod/eu/region", {"value": "a"})
    assert api.ask("GET", "/entries/variable/prod/eu/region").json()["name"] == "prod/eu/region"
    assert api.ask("GET", "/entries/variable/prod%2Feu%2Fregion").json()["name"] == "prod/eu/region"


# --- deleting ------------------------------------------------------------------------------------------


def test_a_deletion_can_be_conditional_and_undone(api):
    api.put("variable", "d1", {"value": "a"})
    assert api.ask("DELETE", "/entries/variable/d1", headers={"If-Match": '"7"'}).status == 412
    assert api.ask("DELETE", "/entries/variable/d1", headers={"If-Match": '"1"'}).status == 200
    assert api.ask("GET", "/entries/variable/d1").status == 404
    assert api.ask("POST", "/undelete/variable/d1").status == 200
    assert value(api, "d1") == "a"


def test_deleting_what_is_not_there_is_not_found(api):
    answer = api.ask("DELETE", "/entries/variable/never")
    assert (answer.status, answer.code) == (404, "not_found")
    assert api.ask("DELETE", "/entries/variable/never", headers={"If-Match": "*"}).status == 412


# --- listing -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listed(api):
    for number in range(25):
        api.put(
            "variable", f"list/{number:02}", {"value": "x", "tags": ["even"] if number % 2 == 0 else ["odd"]}
        )
    api.put("variable", "list/odd-one", {"value": "x", "description": "The ODD one", "owner": "Otto"})
    return api


def test_pages_come_in_order_and_miss_nothing(listed):
    found, cursor = [], None
    while True:
        query = {"prefix": "list/", "limit": 4} | ({"cursor": cursor} if cursor else {})
        page = listed.ask("GET", "/entries", query=query).json()
        assert len(page["entries"]) <= 4
        found += [row["name"] for row in page["entries"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == sorted(found)
    assert len(found) == len(set(found)) == 26


def test_filters_narrow_one_another(listed):
    ask = lambda **query: names(listed.ask("GET", "/entries", query={"prefix": "list/", **query}))  # noqa: E731
    assert len(ask(tag="odd")) == 12
    assert ask(tag=["odd", "even"]) == []
    assert ask(search="odd ONE") == ["list/odd-one"]
    assert ask(search="otto") == ["list/odd-one"]
    assert ask(conn_type="postgres") == []
    assert len(ask(backend="native")) == 26
    assert ask(backend="env") == []
    assert ask(kind="connection") == []


def test_CR10_a_search_has_no_wildcards_or_statements(listed):
    for text in ("%", "_", "' OR 1=1 --", "*", "list/__"):
        assert names(listed.ask("GET", "/entries", query={"prefix": "list/", "search": text})) == []
    assert names(listed.ask("GET", "/entries", query={"prefix": "list/%"})) == []


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "name; DROP TABLE entries"},
        {"sort": "value"},
        {"order": "sideways"},
        {"limit": 0},
        {"limit": 1001},
        {"limit": "1e9"},
        {"kind": "secret"},
        {"backend": "nowhere"},
        {"cursor": "x"},
        {"unknown": "1"},
        {"team": "no team!"},
        {"reveal": "true"},
        {"mask": "false"},
    ],
)
def test_CR10_RT03_only_known_parameters_with_known_values_are_taken(listed, query):
    answer = listed.ask("GET", "/entries", query=query)
    assert (answer.status, answer.code) == (400, "invalid_input")


def test_a_parameter_given_twice_is_refused_where_one_is_meant(listed):
    assert listed.ask("GET", "/entries", query={"limit": [1, 2]}).status == 400


def test_no_line_of_a_list_holds_a_secret(api):
    api.put("connection", "shown", {"value": f"postgres://u:{SECRET}@h/db"})
    api.put("variable", "shown", {"value": SECRET})
    assert SECRET.encode() not in api.ask("GET", "/entries", query={"limit": 1000}).body
    assert SECRET.encode() not in api.ask("GET", "/inventory", query={"limit": 1000}).body


# --- other orders, and what is deleted -----------------------------------------------------------------


def walk(api, **query):
    found, cursor = [], None
    while True:
        page = api.ask("GET", "/entries", query=query | ({"cursor": cursor} if cursor else {}))
        assert page.status == 200, page.body
        found += [row["name"] for row in page.json()["entries"]]
        cursor = page.json()["cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 7, 26, 100])
def test_a_list_comes_in_the_order_that_is_asked_for(listed, limit):
    up = walk(listed, prefix="list/", limit=limit)
    assert walk(listed, prefix="list/", order="desc", limit=limit) == up[::-1]
    by_time = walk(listed, prefix="list/", sort="changed_at", order="desc", limit=limit)
    assert by_time[0] == "list/odd-one"
    assert sorted(by_time) == up


def test_an_order_narrows_as_the_list_does(listed):
    assert walk(listed, prefix="list/", sort="changed_at", tag="odd", limit=5) == walk(
        listed, prefix="list/", tag="odd"
    )


def test_connections_come_by_type_and_then_by_name(api):
    for name, uri in (("t1", "postgres://h/db"), ("t2", "http://h"), ("t3", "http://h")):
        api.put("connection", f"types/{name}", {"value": uri})
    assert walk(api, prefix="types/", sort="conn_type", limit=2) == ["types/t2", "types/t3", "types/t1"]


def test_what_has_gone_since_the_first_page_is_left_out_and_nothing_twice(api):
    for number in range(6):
        api.put("variable", f"gone/{number}", {"value": "x"})
    query = {"prefix": "gone/", "order": "desc", "limit": 2}
    first = api.ask("GET", "/entries", query=query).json()
    assert [row["name"] for row in first["entries"]] == ["gone/5", "gone/4"]
    api.ask("DELETE", "/entries/variable/gone/3")
    second = api.ask("GET", "/entries", query=query | {"cursor": first["cursor"]}).json()
    assert [row["name"] for row in second["entries"]] == ["gone/2", "gone/1"]


def test_RT09_an_order_is_its_actors_own(api):
    for number in range(3):
        api.put("variable", f"own/{number}", {"value": "x"})
    query = {"prefix": "own/", "order": "desc", "limit": 1}
    cursor = api.ask("GET", "/entries", query=query).json()["cursor"]
    assert api.ask("GET", "/entries", query=query | {"cursor": cursor}, role="op").status == 400


def test_what_is_deleted_is_listed_until_it_is_brought_back(api):
    for number in range(5):
        api.put("variable", f"trash/{number}", {"value": "x"})
    for number in (1, 3, 4):
        api.ask("DELETE", f"/entries/variable/trash/{number}")
    assert walk(api, prefix="trash/", is_deleted="true", limit=2) == ["trash/1", "trash/3", "trash/4"]
    rows = api.ask("GET", "/entries", query={"prefix": "trash/", "is_deleted": "true"}).json()["entries"]
    assert all(row["is_deleted"] for row in rows)
    api.ask("POST", "/undelete/variable/trash/3")
    assert walk(api, prefix="trash/", is_deleted="true") == ["trash/1", "trash/4"]
    assert walk(api, prefix="trash/") == ["trash/0", "trash/2", "trash/3"]


def test_RT10_what_is_deleted_is_told_only_to_who_may_see_it(api):
    api.put("variable", "trash-unseen", {"value": "x"})
    api.ask("DELETE", "/entries/variable/trash-unseen")
    query = {"prefix": "trash-unseen", "is_deleted": "true"}
    assert names(api.ask("GET", "/entries", query=query)) == ["trash-unseen"]
    assert names(api.ask("GET", "/entries", query=query, role="viewer")) == []
