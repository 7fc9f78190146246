"""
The same requests to a real Airflow 3.3.2 and to us, answer beside answer.

Each step must be answered alike, or carry the numbers of the differences it shows; what is documented as seen
here (docs/airflow-api.md) must be seen here. Airflow says more of what is wrong (`input`, `ctx`, `url`) and
numbers its errors; both are taken out before comparing, and A4 and A19 stand for that.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from airflow_api.conftest import issued
from airflow_api.places import FRESH, PASSWORD, documented

V2 = "/api/v2"


class Step(NamedTuple):
    name: str
    method: str
    path: str
    body: object = None
    who: str | None = "admin"
    media: str = "application/json"
    differs: tuple[str, ...] = ()
    ours: object = None  # what we answer where we differ: a status, or status and body
    is_compared: bool = True  # False takes away what only one of the two has kept


def conn(name, **more):
    return {"connection_id": name, "conn_type": "postgres", **more}


def gone(path):
    return Step(f"take away {path}", "DELETE", V2 + path, is_compared=False)


def var(key, value, **more):
    return {"key": key, "value": value, **more}


def bulk(*actions):
    return {"actions": list(actions)}


EXTRA = json.dumps({"sslmode": "require", "password": "x", "cursor": "dictcursor"})
OPEN_EXTRA = json.dumps({"unheard_of": "hunter2", "sslmode": "require"})

STEPS = (
    # --- who asks
    Step("token, wrong", "POST", "/auth/token", {"username": "admin", "password": "no"}, None),
    Step("token, nobody", "POST", "/auth/token", {"username": "nobody", "password": "no"}, None),
    Step("token, empty", "POST", "/auth/token", {"username": "", "password": ""}, None),
    Step("token, half", "POST", "/auth/token", {"username": "admin"}, None, differs=("A5",), ours=422),
    Step("token, other media", "POST", "/auth/token", b"x", None, media="text/plain"),
    Step("token for nothing", "GET", "/auth/token", None, None),
    Step("cli token, half", "POST", "/auth/token/cli", {"username": "admin"}, None),
    Step("cli token, wrong", "POST", "/auth/token/cli", {"username": "admin", "password": "x"}, None),
    Step("nobody lists", "GET", f"{V2}/connections", None, None),
    Step(
        "bad token",
        "GET",
        f"{V2}/connections",
        None,
        "bad",
        differs=("A6",),
        ours=(401, {"detail": "Not authenticated"}),
    ),
    *(
        Step(f"{who} {method} {path}", method, V2 + path, body, who)
        for who in ("viewer", "user")
        for method, path, body in (
            ("GET", "/connections", None),
            ("GET", "/connections/x", None),
            ("POST", "/connections", conn("x")),
            ("PATCH", "/connections/x", conn("x")),
            ("DELETE", "/connections/x", None),
            ("PATCH", "/connections", bulk({"action": "delete", "entities": ["x"]})),
            ("GET", "/variables", None),
            ("GET", "/variables/x", None),
            ("POST", "/variables", var("x", "y")),
            ("PATCH", "/variables/x", var("x", "y")),
            ("DELETE", "/variables/x", None),
            ("PATCH", "/variables", bulk({"action": "create", "entities": [var("x", "y")]})),
        )
    ),
    # --- the place
    Step("version, nobody", "GET", f"{V2}/version", None, None, differs=("A13",), ours=401),
    Step("health", "GET", f"{V2}/monitor/health", differs=("A13",), ours=200),
    Step(
        "providers",
        "GET",
        f"{V2}/providers",
        differs=("A14",),
        ours=(200, {"providers": [], "total_entries": 0}),
    ),
    Step("providers, wrong page", "GET", f"{V2}/providers?limit=x"),
    Step("nowhere", "GET", f"{V2}/nowhere", differs=("A16",), ours=404),
    # --- bodies of connections
    Step("no body", "POST", f"{V2}/connections", b""),
    Step("half JSON", "POST", f"{V2}/connections", b"{"),
    Step("a list", "POST", f"{V2}/connections", b"[1]"),
    Step("not JSON", "POST", f"{V2}/connections", b'{"a":1}', media="text/plain"),
    Step("empty object", "POST", f"{V2}/connections", {}),
    Step(
        "wrong types",
        "POST",
        f"{V2}/connections",
        {"connection_id": 5, "conn_type": None, "port": "x", "host": 1},
    ),
    Step("wrong port", "POST", f"{V2}/connections", conn("x", port=1.5)),
    Step("port a list", "POST", f"{V2}/connections", conn("x", port=[])),
    Step("wrong id", "POST", f"{V2}/connections", conn("a b")),
    Step("long id", "POST", f"{V2}/connections", conn("x" * 201)),
    Step("extra a list", "POST", f"{V2}/connections", conn("x", extra="[1]")),
    Step("extra no JSON", "POST", f"{V2}/connections", conn("x", extra="nope")),
    Step("extra an object", "POST", f"{V2}/connections", conn("x", extra={"a": 1})),
    Step("team", "POST", f"{V2}/connections", conn("x", team_name="t")),
    Step("unknown field", "POST", f"{V2}/connections", conn("x", is_admin=True), differs=("A4",), ours=422),
    Step(
        "key twice",
        "POST",
        f"{V2}/connections",
        b'{"connection_id":"tw","conn_type":"http","conn_type":"ftp"}',
        differs=("A12",),
        ours=422,
    ),
    gone("/connections/tw"),
    Step(
        "port out of range", "POST", f"{V2}/connections", conn("po", port=70000), differs=("A11",), ours=422
    ),
    gone("/connections/po"),
    Step("stars", "POST", f"{V2}/connections", conn("st", password="***"), differs=("A8",), ours=422),
    gone("/connections/st"),
    # --- connections
    Step(
        "create",
        "POST",
        f"{V2}/connections",
        conn(
            "c1",
            host="h",
            login="l",
            password="pw-1234567",
            schema="db",
            port="12",
            description="d",
            extra=EXTRA,
        ),
    ),
    Step("create again", "POST", f"{V2}/connections", conn("c1"), differs=("A19",), ours=409),
    Step("create bare", "POST", f"{V2}/connections", {"connection_id": "c-2.x", "conn_type": "http"}),
    Step("create empty extra", "POST", f"{V2}/connections", conn("c3", extra="")),
    Step("create as op", "POST", f"{V2}/connections", conn("c4", port=5432), "op"),
    Step(
        "create alias",
        "POST",
        f"{V2}/connections",
        {"connection_id": "c5", "conn_type": "postgresql"},
        differs=("A9",),
        ours=201,
    ),
    gone("/connections/c5"),
    Step(
        "create open extra",
        "POST",
        f"{V2}/connections",
        conn("c6", extra=OPEN_EXTRA),
        differs=("A2",),
        ours=201,
    ),
    gone("/connections/c6"),
    Step(
        "create numeric secret",
        "POST",
        f"{V2}/connections",
        conn("c7", extra='{"api_token": 5}'),
        differs=("A2", "A3"),
        ours=201,
    ),
    gone("/connections/c7"),
    Step("get", "GET", f"{V2}/connections/c1"),
    Step("get as op", "GET", f"{V2}/connections/c1", None, "op"),
    Step("get absent", "GET", f"{V2}/connections/nope"),
    Step("get a word", "GET", f"{V2}/connections/test"),
    Step("get another word", "GET", f"{V2}/connections/defaults"),
    Step("get with slash", "GET", f"{V2}/connections/a%2Fb", differs=("A16",), ours=404),
    Step("put", "PUT", f"{V2}/connections/c1"),
    Step("list", "GET", f"{V2}/connections?order_by=connection_id&connection_id_prefix_pattern=c-"),
    Step(
        "list ids",
        "GET",
        f"{V2}/connections?order_by=-conn_id&limit=2&offset=1&connection_id_pattern=c1%7Cc3%7Cc4",
    ),
    Step(
        "list all aliases", "GET", f"{V2}/connections?order_by=connection_id&connection_id_pattern=~&limit=1"
    ),
    Step("list upper", "GET", f"{V2}/connections?order_by=conn_id&connection_id_pattern=C_&limit=1"),
    Step("list wild", "GET", f"{V2}/connections?connection_id_pattern=c%25x"),
    Step("list prefix is exact", "GET", f"{V2}/connections?connection_id_prefix_pattern=C"),
    Step("list prefixes", "GET", f"{V2}/connections?order_by=conn_id&connection_id_prefix_pattern=c1%7Cc-2"),
    Step("list by port", "GET", f"{V2}/connections?order_by=-port&order_by=connection_id&limit=2"),
    Step("list by type", "GET", f"{V2}/connections?order_by=conn_type&order_by=conn_id&limit=1"),
    Step("list by host", "GET", f"{V2}/connections?order_by=-host&limit=1"),
    Step("list by description", "GET", f"{V2}/connections?order_by=-description&limit=1"),
    Step("list none", "GET", f"{V2}/connections?limit=0"),
    Step("list negative", "GET", f"{V2}/connections?limit=-1&offset=x"),
    Step("list bad order", "GET", f"{V2}/connections?order_by=password"),
    Step(
        "list injected order", "GET", f"{V2}/connections?order_by=id;drop%20table", differs=("A4",), ours=400
    ),
    Step("list many orders", "GET", f"{V2}/connections?" + "order_by=id&" * 11, differs=("A4",), ours=400),
    Step("unknown parameter", "GET", f"{V2}/connections?whatever=1&limit=0"),
    Step("patch host", "PATCH", f"{V2}/connections/c1", conn("c1", host="h2")),
    Step(
        "patch keeps",
        "PATCH",
        f"{V2}/connections/c1",
        conn("c1", password="***", extra=EXTRA.replace('"x"', '"***"')),
    ),
    Step("patch null password", "PATCH", f"{V2}/connections/c1", conn("c1", password=None, login=None)),
    Step(
        "patch mask",
        "PATCH",
        f"{V2}/connections/c1?update_mask=schema&update_mask=nope",
        conn("c1", host="h3", schema="s2"),
    ),
    Step(
        "patch mask of nothing said",
        "PATCH",
        f"{V2}/connections/c1?update_mask=extra",
        conn("c1"),
        differs=("A18",),
        ours=200,
    ),
    Step("patch null extra", "PATCH", f"{V2}/connections/c1", conn("c1", extra=None)),
    Step("patch other id", "PATCH", f"{V2}/connections/c1", conn("c2")),
    Step("patch absent", "PATCH", f"{V2}/connections/nope", conn("nope")),
    Step("patch without type", "PATCH", f"{V2}/connections/c1", {"connection_id": "c1"}),
    Step(
        "patch stars of nothing",
        "PATCH",
        f"{V2}/connections/c3",
        conn("c3", password="***"),
        differs=("A8",),
        ours=422,
    ),
    Step("test", "POST", f"{V2}/connections/test", conn("c1")),
    Step(
        "test as viewer", "POST", f"{V2}/connections/test", conn("c1"), "viewer", differs=("A15",), ours=403
    ),
    Step("enqueue", "POST", f"{V2}/connections/enqueue-test", conn("c1", commit_on_success=True)),
    Step("poll nothing", "GET", f"{V2}/connections/enqueue-test"),
    Step("defaults", "POST", f"{V2}/connections/defaults", differs=("A15",), ours=403),
    # --- many connections
    Step("bulk nothing", "PATCH", f"{V2}/connections", bulk()),
    Step("bulk no actions", "PATCH", f"{V2}/connections", {}),
    Step("bulk no entities", "PATCH", f"{V2}/connections", bulk({"action": "create"})),
    Step(
        "bulk unknown action",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "zap", "entities": []}),
        differs=("A17",),
        ours=422,
    ),
    Step(
        "bulk bad policy",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "create", "entities": [], "action_on_existence": "x"}),
    ),
    Step(
        "bulk bad entity",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "update", "entities": [{"connection_id": 1}]}),
    ),
    Step(
        "bulk create",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "create", "entities": [conn("b1"), conn("b2")]}),
    ),
    Step(
        "bulk create fails",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "create", "entities": [conn("b1"), conn("b3")]}),
    ),
    Step(
        "bulk create skips",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "create", "entities": [conn("b1"), conn("b3")], "action_on_existence": "skip"}),
    ),
    Step(
        "bulk overwrites",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "create", "entities": [conn("b1", host="over")], "action_on_existence": "overwrite"}),
    ),
    Step("bulk overwrote", "GET", f"{V2}/connections/b1"),
    Step(
        "bulk updates",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "update", "entities": [conn("b1", login="me")], "update_mask": ["host"]}),
    ),
    Step("bulk updated", "GET", f"{V2}/connections/b1"),
    Step(
        "bulk updates none",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "update", "entities": [conn("nope")]}),
    ),
    Step(
        "bulk update skips",
        "PATCH",
        f"{V2}/connections",
        bulk(
            {
                "action": "update",
                "entities": [conn("nope"), conn("b2", host="q")],
                "action_on_non_existence": "skip",
            }
        ),
    ),
    Step("bulk deletes none", "PATCH", f"{V2}/connections", bulk({"action": "delete", "entities": ["nope"]})),
    Step(
        "bulk deletes",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "delete", "entities": ["nope", "b2"], "action_on_non_existence": "skip"}),
    ),
    Step(
        "bulk as op",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "delete", "entities": ["b3"]}, {"action": "create", "entities": [conn("b4")]}),
        "op",
    ),
    Step(
        "bulk sees itself",
        "PATCH",
        f"{V2}/connections",
        bulk({"action": "create", "entities": [conn("b5")]}, {"action": "delete", "entities": ["b5"]}),
        differs=("A17",),
        ours=200,
    ),
    Step("delete", "DELETE", f"{V2}/connections/c1"),
    Step("delete again", "DELETE", f"{V2}/connections/c1"),
    # --- variables
    Step("v create", "POST", f"{V2}/variables", var("v1", "plain", description="d")),
    Step("v create again", "POST", f"{V2}/variables", var("v1", "x")),
    Step("v create slash", "POST", f"{V2}/variables", var("v/2 with space", "x")),
    Step(
        "v create object",
        "POST",
        f"{V2}/variables",
        var("v3", {"a": 1, "n": {"password": "x", "l": [1, "q"]}}),
    ),
    Step("v create null", "POST", f"{V2}/variables", var("v4", None)),
    Step("v create number", "POST", f"{V2}/variables", var("v5", 1.5)),
    Step("v create true", "POST", f"{V2}/variables", var("v6", True), "op"),
    Step("v create number text", "POST", f"{V2}/variables", var("v7", "1.50")),
    Step("v create secret", "POST", f"{V2}/variables", var("my_secret", "hush hush")),
    Step(
        "v create secret object",
        "POST",
        f"{V2}/variables",
        var("my_token", {"a": "b"}),
        differs=("A3",),
        ours=201,
    ),
    Step(
        "v create numeric secret",
        "POST",
        f"{V2}/variables",
        var("v8", {"api_key": 5}),
        differs=("A3",),
        ours=201,
    ),
    gone("/variables/v8"),
    gone("/variables/my_token"),
    Step("v create stars", "POST", f"{V2}/variables", var("v9", "***"), differs=("A8",), ours=422),
    gone("/variables/v9"),
    Step("v long key", "POST", f"{V2}/variables", var("x" * 251, "x")),
    Step("v no value", "POST", f"{V2}/variables", {"key": "x"}),
    Step("v bad key", "POST", f"{V2}/variables", {"key": 5, "value": 1}),
    Step("v team", "POST", f"{V2}/variables", var("x", "y", team_name="t")),
    Step("v get", "GET", f"{V2}/variables/v1"),
    Step("v get slash", "GET", f"{V2}/variables/v/2%20with%20space"),
    Step("v get object", "GET", f"{V2}/variables/v3", None, "op"),
    Step("v get secret", "GET", f"{V2}/variables/my_secret"),
    Step("v get absent", "GET", f"{V2}/variables/nope"),
    Step("v list", "GET", f"{V2}/variables?order_by=key&variable_key_pattern=v1%7Cv3%7Csecret"),
    Step("v list down", "GET", f"{V2}/variables?order_by=-key&limit=2&variable_key_prefix_pattern=v"),
    Step("v list op", "GET", f"{V2}/variables?order_by=key&limit=3&variable_key_pattern=v", None, "op"),
    Step("v list val", "GET", f"{V2}/variables?order_by=val"),
    Step("v list description", "GET", f"{V2}/variables?order_by=-description&limit=1"),
    Step("v list by id", "GET", f"{V2}/variables?limit=2", differs=("A1",), ours=200),
    Step("v patch", "PATCH", f"{V2}/variables/v1", var("v1", "new")),
    Step(
        "v patch description",
        "PATCH",
        f"{V2}/variables/v1?update_mask=description",
        var("v1", "ignored", description="e"),
    ),
    Step("v patch key", "PATCH", f"{V2}/variables/v1?update_mask=key", var("v1", "x")),
    Step("v patch other key", "PATCH", f"{V2}/variables/v1", var("v2", "x")),
    Step("v patch absent", "PATCH", f"{V2}/variables/nope", var("nope", "x")),
    Step("v patch null description", "PATCH", f"{V2}/variables/v1", var("v1", "n", description=None)),
    Step("v patch number", "PATCH", f"{V2}/variables/v1", var("v1", [1, {"a": None}])),
    Step("v patch secret", "PATCH", f"{V2}/variables/my_secret", var("my_secret", "another")),
    Step(
        "v bulk",
        "PATCH",
        f"{V2}/variables",
        bulk({"action": "create", "entities": [var("w1", "x"), var("w2", 2)]}),
    ),
    Step(
        "v bulk fails", "PATCH", f"{V2}/variables", bulk({"action": "create", "entities": [var("w1", "x")]})
    ),
    Step(
        "v bulk over",
        "PATCH",
        f"{V2}/variables",
        bulk(
            {
                "action": "create",
                "entities": [var("w1", "y"), var("w3", "z")],
                "action_on_existence": "overwrite",
            }
        ),
    ),
    Step("v bulk over seen", "GET", f"{V2}/variables/w1"),
    Step(
        "v bulk mask",
        "PATCH",
        f"{V2}/variables",
        bulk(
            {
                "action": "update",
                "entities": [var("w1", "no", description="yes")],
                "update_mask": ["description"],
            }
        ),
    ),
    Step("v bulk mask seen", "GET", f"{V2}/variables/w1"),
    Step(
        "v bulk mask key",
        "PATCH",
        f"{V2}/variables",
        bulk({"action": "update", "entities": [var("w1", "x")], "update_mask": ["key"]}),
    ),
    Step(
        "v bulk entities",
        "PATCH",
        f"{V2}/variables",
        bulk({"action": "delete", "entities": [var("w1", "x")]}),
        differs=("A17",),
        ours=200,
    ),
    Step(
        "v bulk delete",
        "PATCH",
        f"{V2}/variables",
        bulk({"action": "delete", "entities": ["w2"]}, {"action": "update", "entities": [var("nope", 1)]}),
    ),
    Step("v delete", "DELETE", f"{V2}/variables/v1"),
    Step("v delete again", "DELETE", f"{V2}/variables/v1"),
    Step("only dots", "POST", f"{V2}/connections", conn(".."), differs=("A10",), ours=422),
    Step("v create empty key", "POST", f"{V2}/variables", var("", "x"), differs=("A10",), ours=422),
    Step("v create odd key", "POST", f"{V2}/variables", var("/a//b", "x"), differs=("A10",), ours=422),
    # --- three stars
    Step("v stars", "PATCH", f"{V2}/variables/v7", var("v7", "***"), differs=("A7",), ours=200),
    Step(
        "v stars seen",
        "GET",
        f"{V2}/variables/v7",
        differs=("A7",),
        ours=(200, var("v7", "1.5", description=None, is_encrypted=True, team_name=None)),
    ),
    Step(
        "v stars in part",
        "PATCH",
        f"{V2}/variables/v3",
        var("v3", {"a": 2, "n": {"password": "***", "l": []}}),
    ),
)


def sent(place, step, tokens):
    raw = step.body if isinstance(step.body, bytes) else None
    body = step.body if raw is not None or step.body is None else json.dumps(step.body).encode()
    headers = {} if body is None else {"Content-Type": step.media}
    token = "bad" if step.who == "bad" else tokens.get(step.who)
    answer = place.ask(step.method, step.path, body, token=token, headers=headers)
    try:
        found = json.loads(answer.body) if answer.body else None
    except ValueError:
        found = answer.body.decode()
    return answer.status, normal(found)


def normal(body):
    """Take out what A4 and the database's numbered errors stand for."""
    if not isinstance(body, dict) or not isinstance(body.get("detail"), list):
        return body
    said = []
    for one in body["detail"]:
        kept = {name: one[name] for name in ("type", "loc", "msg")}
        if kept not in said:  # a bulk request is read twice by Airflow, and found wrong twice
            said.append(kept)
    return {"detail": said}


class Fresh:
    """A deployment of the server in which nothing stands yet."""

    def __init__(self, served):
        self._served = served
        self._at = f"/d/{FRESH}"
        self.tokens = {"admin": served.token("a-admin", "admin", "--deployment", FRESH)}
        for role in ("op", "user", "viewer"):
            self.tokens[role] = issued(served, f"a-{role}", role, at=self._at, by=self.tokens["admin"])
        person = {"name": "admin", "password": PASSWORD, "roles": [{"name": "admin"}]}
        assert self.ask("POST", "/v1/actors", person, token=self.tokens["admin"]).status == 201

    def ask(self, method, path, body=None, **more):
        return self._served.ask(method, self._at + path, body, **more)


def trouble(step, theirs, ours):
    """What is not as it must be, or None."""
    if not step.differs:
        return None if ours == theirs else f"real Airflow says {theirs}, and we {ours}"
    if ours == theirs:
        return "there is no difference any more: take its number out"
    expected = step.ours if isinstance(step.ours, tuple) else (step.ours, ours[1])
    return None if ours == expected else f"{expected} was documented, and we say {ours}"


# One test, so that Airflow, which takes long to start, is started by one worker.
def test_every_request_is_answered_as_by_real_airflow_or_differs_as_documented(airflow, strongroom):
    troubles, fresh = [], Fresh(strongroom)
    for step in STEPS:
        theirs, ours = sent(airflow, step, airflow.tokens), sent(fresh, step, fresh.tokens)
        why = trouble(step, theirs, ours) if step.is_compared else None
        if why is not None:
            troubles.append(f"{step.name}: {why}")
    for place in (airflow, fresh):
        troubles += _token_troubles(place)
    assert not troubles, "\n".join(troubles)


def _token_troubles(place):
    said = {"username": "admin", "password": PASSWORD}
    form = f"username=admin&password={PASSWORD}".replace(" ", "+").encode()
    media = {"Content-Type": "application/x-www-form-urlencoded"}
    for answer in (
        place.ask("POST", "/auth/token", said),
        place.ask("POST", "/auth/token", form, headers=media),
        place.ask("POST", "/auth/token/cli", said),
    ):
        if answer.status != 201 or set(answer.json()) != {"access_token"}:
            yield f"a token was given as {answer.status}"
            continue
        token = answer.json()["access_token"]
        if place.ask("GET", f"{V2}/connections?limit=0", token=token).status != 200:
            yield "a token that was given is not taken"


def test_every_difference_seen_here_is_documented_and_none_else_is_said_to_be_seen():
    said = {number for number, text in documented().items() if "Beside a real Airflow" in text}
    assert {number for step in STEPS for number in step.differs} == said


def test_steps_have_names_of_their_own():
    assert len({step.name for step in STEPS}) == len(STEPS)
