"""What other products showed and should not have: RT02, RT05, RT09, RT13, RT16, RT17."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from parts.api import ROLES, asking
from regressions.routes import KINDS, Route, route_id
from strongroom.policy import Scope
from strongroom.server.api import DESCRIBED

SECRET = "c4n4ry-Zq8"
CONNECTION = {
    "conn_type": "postgres",
    "host": "h",
    "login": "u",
    "password": SECRET,
    "extra": {"token": SECRET, "sslmode": "require"},
}


def ask(every, method, path, body=None, *, role="admin", token=None):
    return every.server.ask(method, path, body, token=token or every.tokens[role])


# --- RT02: the form to edit something -----------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/entries/connection/edited",
        "/v1/entries/variable/edited",
        "/v1/history/connection/edited",
        "/v1/explain/connection/edited",
        "/api/v2/connections/edited",
        "/api/v2/variables/edited_password",
        "/api/v1/connections/edited",
        "/entries/connection/edited",
        "/entries/connection/edited?tab=json",
        "/edit/connection/edited",
        "/edit/variable/edited",
    ],
)
@pytest.mark.parametrize("role", ["admin", "op"])
def test_RT02_what_an_edit_starts_from_holds_no_secret(every, path, role):
    every.put("connection", "edited", {"connection": CONNECTION})
    every.put("variable", "edited", {"value": SECRET})
    every.put("variable", "edited_password", {"value": SECRET})
    answer = ask(every, "GET", path, role=role)
    assert answer.status == 200
    assert SECRET not in answer.body.decode() + str(answer.headers)


# --- RT04: the settings in force -------------------------------------------------------------------------

PLANTED = """
chain = ["env", "file", "native"]
[backend.file]
variables = "CANARY.json"
[cache]
ttl = 60
[audit]
path = "CANARY-audit"
[server]
allowed_hosts = ["canary.example", "127.0.0.1"]
trusted_proxies = ["10.9.8.7/32"]
test_networks = ["10.9.8.0/24"]
[server.limits]
identity_per_second = 0
paths = { "/v1/canary" = 1.0 }
"""
WORDS = {"prod", "env", "file", "native", "core", "stale", "info", "off", "<path>"}


def texts(value):
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


def test_RT04_of_settings_only_words_of_our_own_are_shown(tmp_path):
    settings = 'deployment = "prod"\n' + PLANTED.replace("CANARY", str(tmp_path / "canary"))
    (tmp_path / "canary.json").write_text("{}")
    with asking(tmp_path, settings) as place:
        answer = place.ask("GET", "/config")
    shown = texts(answer.json()["settings"])
    assert not [text for text in shown if text not in WORDS]
    assert b"canary" not in answer.body
    assert b"10.9.8" not in answer.body


# --- RT05: each face decides alike -----------------------------------------------------------------------

NOUNS = {"connection": "connections", "variable": "variables"}
BODIES = {
    "connection": {"connection_id": "NAME", "conn_type": "http"},
    "variable": {"key": "NAME", "value": "x"},
}


def can(every, role, verb, kind, name):
    return ask(every, "POST", "/v1/can", {"action": verb, "kind": kind, "name": name}, role=role).json()[
        "is_allowed"
    ]


def faces(kind, name):
    """Give what each face has for a verb: method, path, body."""
    noun = NOUNS[kind]
    body = {key: name if value == "NAME" else value for key, value in BODIES[kind].items()}
    return {
        "describe": [
            ("GET", f"/v1/entries/{kind}/{name}", None),
            ("GET", f"/v1/history/{kind}/{name}", None),
            ("GET", f"/v1/explain/{kind}/{name}", None),
            ("GET", f"/api/v2/{noun}/{name}", None),
            ("GET", f"/api/v1/{noun}/{name}", None),
        ],
        "write": [
            ("PUT", f"/v1/entries/{kind}/{name}", {"value": "http://h"}),
            ("PATCH", f"/api/v2/{noun}/{name}", body),
            ("PATCH", f"/api/v1/{noun}/{name}", body),
        ],
        "delete": [
            ("DELETE", f"/v1/entries/{kind}/{name}", None),
            ("DELETE", f"/api/v2/{noun}/{name}", None),
            ("DELETE", f"/api/v1/{noun}/{name}", None),
        ],
    }


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", NOUNS)
@pytest.mark.parametrize("verb", ["describe", "write", "delete"])
def test_RT05_role_verb_kind_matrix_agrees_for_ui_and_api(every, role, kind, verb):
    name = f"agreed-{kind}-{role}-{verb}"
    is_allowed = can(every, role, verb, kind, name)
    for method, path, body in faces(kind, name)[verb]:
        every.put(kind, name, {"value": "http://h"})
        answer = ask(every, method, path, body, role=role)
        assert (answer.status != 403) is is_allowed, f"{method} {path} answered {answer.status}"
        assert answer.status < 500


# --- RT06: many at once ----------------------------------------------------------------------------------

MANY = {
    "a batch": ("POST", "/v1/entries", {"changes": [{"kind": "variable", "name": "many", "value": "taken"}]}),
    "create with overwrite": (
        "PATCH",
        "/api/v2/variables",
        {
            "actions": [
                {
                    "action": "create",
                    "action_on_existence": "overwrite",
                    "entities": [{"key": "many", "value": "taken"}],
                }
            ]
        },
    ),
    "update": (
        "PATCH",
        "/api/v2/variables",
        {"actions": [{"action": "update", "entities": [{"key": "many", "value": "taken"}]}]},
    ),
    "delete": ("PATCH", "/api/v2/variables", {"actions": [{"action": "delete", "entities": ["many"]}]}),
    "post over": ("POST", "/api/v1/variables", {"key": "many", "value": "taken"}),
}


@pytest.mark.parametrize("role", ["reader", "viewer"])
@pytest.mark.parametrize("way", MANY)
def test_RT06_whoever_may_look_changes_nothing_by_any_way_to_write_many(every, way, role):
    every.put("variable", "many", {"value": "mine"})
    method, path, body = MANY[way]
    assert ask(every, method, path, body, role=role).status == 403
    (result,) = results(every, "variable", "many").json()["results"]
    assert result["value"] == "mine"


# --- RT09: the filter of each object, whatever the route ------------------------------------------------

PER_ENTRY = [Route("/v1", one) for one in DESCRIBED if "{kind}/{name:path}" in one.path]


@pytest.fixture(scope="session")
def bounded(every):
    """A token of an administrator that is bounded to some names."""
    scope = Scope(("list", "describe", "read", "reveal", "write", "delete", "test"), names=("mine/*",))
    return every.server.token("bounded", "admin", scope=scope)


@pytest.mark.parametrize("route", PER_ENTRY, ids=route_id)
@pytest.mark.parametrize("name", ["theirs", "~", "*", "%25", "mine", "minex/a", "mine/*/../theirs"])
def test_RT09_no_route_gives_a_bounded_token_what_is_not_its_own(every, bounded, route, name):
    every.put("variable", "theirs", {"value": SECRET})
    body = {"value": "x"} if route.method == "PUT" else {"version": "1", "reason": "to look"}
    answer = ask(every, route.method, route.path(name=quote(name, safe="/%")), body, token=bounded)
    assert answer.status in ((400, 403, 422) if route.endpoint.takes else (400, 403)), answer.body
    assert SECRET.encode() not in answer.body
    standing = ask(every, "GET", "/v1/entries/variable/theirs").json()
    assert standing["version"] is not None


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/entries", {}),
        ("/entries", {"search": "*"}),
        ("/entries", {"search": "~"}),
        ("/entries", {"prefix": "%"}),
        ("/entries", {"is_deleted": "true"}),
        ("/inventory", {}),
        ("/inventory", {"prefix": "%"}),
        ("/inventory", {"prefix": ""}),
    ],
    ids=str,
)
def test_RT09_a_list_holds_ones_own_whatever_is_searched_for(every, bounded, path, wanted):
    every.put("variable", "theirs", {"value": SECRET})
    every.put("variable", "mine/a", {"value": "x"})
    found = every.ask("GET", path, query=wanted, token=bounded).json()["entries"]
    assert {one["name"] for one in found} <= {"mine/a"}


# --- RT11: hidden unless it was declared public -----------------------------------------------------------


@pytest.mark.parametrize("conn_type", ["postgres", "nobody_knows", "generic"])
@pytest.mark.parametrize("word", ["hunter", "abcdef", "12345678"])
def test_RT11_what_nobody_declared_public_is_hidden_however_harmless_it_looks(every, conn_type, word):
    extra = {"setting": word, "comment_for_ops": word, "deep": {"one": [word, {"sslmode": word}]}}
    body = {"conn_type": conn_type, "host": "h", "extra": extra}
    every.put("connection", "undeclared", {"connection": body})
    answers = [
        every.ask("GET", "/entries/connection/undeclared"),
        every.ask("GET", "/entries"),
        ask(every, "GET", "/api/v2/connections/undeclared"),
        ask(every, "GET", "/api/v2/connections"),
        ask(every, "GET", "/api/v1/connections/undeclared"),
    ]
    assert {one.status for one in answers} == {200}
    assert not [one.body for one in answers if word.encode() in one.body]


# --- RT13: hidden by what it is, not by when it was registered ------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_RT13_a_value_that_nothing_has_read_yet_is_hidden_everywhere(every, kind):
    body = {"connection": CONNECTION} if kind == "connection" else {"value": SECRET}
    written = every.ask("PUT", f"/entries/{kind}/unread", body)
    assert written.status == 200
    told = [written] + [
        every.ask("GET", path)
        for path in (f"/entries/{kind}/unread", f"/history/{kind}/unread", "/audit", "/entries", "/config")
    ]
    assert all(SECRET.encode() not in one.body for one in told)
    assert SECRET not in every.server.log


# --- RT16, RT17: what cannot be rendered or parsed --------------------------------------------------------


def results(every, kind, *names):
    answer = every.ask("POST", "/read", {"refs": [{"kind": kind, "name": name} for name in names]})
    assert answer.status == 200
    return answer


def gone(every):
    assert every.ask("DELETE", "/entries/variable/refers-to").status == 200


def too_large(every):
    every.put("variable", "refers-to", {"value": SECRET * 100_000})


@pytest.mark.parametrize("happens", [gone, too_large])
def test_RT16_a_value_that_cannot_be_rendered_is_not_in_the_error(every, happens):
    every.put("variable", "refers-to", {"value": "x"})
    every.put("variable", "unreadable", {"value": SECRET + "${variable/refers-to}" * 2, "references": True})
    happens(every)
    read = results(every, "variable", "unreadable")
    (result,) = read.json()["results"]
    assert (result["outcome"], "error" in result) == ("invalid", True)
    explained = every.ask("GET", "/explain/variable/unreadable")
    assert SECRET.encode() not in read.body + explained.body
    assert SECRET not in every.server.log


def test_RT16_what_refers_to_nothing_is_refused_without_the_value(every):
    for text in ("${variable/nothing-here}", f"${{variable.{SECRET}", "${connection.extra.nothing/bad_uri}"):
        body = {"value": SECRET + text, "references": True}
        answer = every.ask("PUT", "/entries/variable/refused", body)
        assert answer.status == 422
        assert SECRET.encode() not in answer.body


def test_RT17_IN03_a_connection_that_cannot_be_parsed_names_itself_and_none_of_its_text(every):
    answers = [
        every.ask("GET", "/entries/connection/bad_uri"),
        every.ask("GET", "/explain/connection/bad_uri"),
        every.ask("GET", "/inventory"),
        ask(every, "GET", "/api/v2/connections/bad_uri"),
        ask(every, "GET", "/api/v2/connections"),
        every.ask("PUT", "/entries/connection/bad", {"value": f"postgres://u:{SECRET}@h:port/db"}),
    ]
    whole = b"".join(one.body for one in answers)
    assert SECRET.encode() not in whole
    assert answers[-1].status == 422
    (row,) = [one for one in answers[2].json()["entries"] if one["name"] == "bad_uri"]
    assert (row["backend"], bool(row["problem"])) == ("env", True)
    # Who may read it gets the stored text: what is to be made of it is the reader's.
    read = results(every, "connection", "bad_uri").json()["results"]
    assert [one["backend"] for one in read if one["outcome"] == "found"] in ([], ["env"])
    lines = [json.loads(line) for line in every.server.log.splitlines()]
    assert all(SECRET not in str(line) for line in lines)
