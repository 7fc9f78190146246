"""
Role by verb by kind, over every route: AA02, RT05, AA01, RT07, RT08.

`RIGHTS` says again what the shipped policies give each role; `NEEDS` says what each route asks for. A route
that is not in `NEEDS` fails, so that none is added without saying who may use it.
"""

from __future__ import annotations

from urllib.parse import quote

import pytest

from parts.api import ROLES
from strongroom.policy import Scope
from strongroom.server.api import DESCRIBED
from strongroom.server.examples import EXAMPLES

KINDS = ("connection", "variable", "config")
ROOM = "room"
ANY = "anybody"  # who is somebody
PUBLIC = "public"

BOTH = ("connection", "variable")
RIGHTS = {
    "admin": {
        (verb, kind)
        for verb in ("list", "describe", "read", "reveal", "write", "delete", "test")
        for kind in KINDS
    }
    | {(verb, ROOM) for verb in ("list", "describe", "test", "administer", "break_glass")},
    "op": {(verb, kind) for verb in ("list", "describe", "write", "delete", "test") for kind in BOTH}
    | {("reveal", "variable"), ("list", ROOM), ("describe", ROOM), ("test", ROOM)},
    "user": {("list", ROOM)},
    "viewer": {("list", ROOM)},
    "reader": {(verb, kind) for verb in ("read", "list", "describe") for kind in KINDS} | {("list", ROOM)},
}

ENTRY = "/{kind}/{name:path}"
NEEDS = {
    ("POST", "/read"): ANY,  # each result has an outcome of its own: test_AA02_each_read_is_decided
    ("GET", "/entries"): ("list", ROOM),
    ("POST", "/entries"): ANY,  # each entry is decided: test_batch.py
    ("GET", "/entries" + ENTRY): "describe",
    ("PUT", "/entries" + ENTRY): "write",
    ("PATCH", "/entries" + ENTRY): "write",
    ("DELETE", "/entries" + ENTRY): "delete",
    ("GET", "/history" + ENTRY): "describe",
    ("GET", "/diff" + ENTRY): "describe",
    ("POST", "/rollback" + ENTRY): "write",
    ("POST", "/undelete" + ENTRY): "write",
    ("POST", "/reveal" + ENTRY): "reveal",
    ("GET", "/explain" + ENTRY): "describe",
    ("POST", "/test" + ENTRY): None,  # switched off: denied to everybody
    ("GET", "/test" + ENTRY): "describe",
    ("GET", "/tests"): ANY,  # those he may list: tests/service/test_connection_tests.py
    ("GET", "/find"): ("list", ROOM),
    ("GET", "/inventory"): ("list", ROOM),
    ("GET", "/inventory/counts"): ("list", ROOM),
    ("GET", "/inventory/clashes"): ("list", ROOM),
    ("GET", "/backends"): ("list", ROOM),
    ("PUT", "/backends"): None,  # the settings file manages this chain: test_backends.py
    ("POST", "/backends/check"): ("test", ROOM),
    ("PUT", "/backends/{name}/settings"): None,  # as above
    ("POST", "/backends/{name}/pause"): ("administer", ROOM),
    ("DELETE", "/backends/{name}/pause"): ("administer", ROOM),
    ("GET", "/series"): ("describe", ROOM),
    ("GET", "/keys"): ("describe", ROOM),
    ("GET", "/keys/{id}"): ("administer", ROOM),
    ("POST", "/keys/rotate"): ("administer", ROOM),
    ("POST", "/keys/wrap"): ("administer", ROOM),
    ("POST", "/keys/{id}/destroy"): ("administer", ROOM),
    ("GET", "/backups"): ("administer", ROOM),
    ("POST", "/backups"): ("administer", ROOM),
    ("GET", "/deployments"): ("list", ROOM),
    ("GET", "/deployments/{name}"): ("list", ROOM),
    ("GET", "/compare"): ("list", ROOM),
    ("GET", "/config"): ("administer", ROOM),
    ("GET", "/mode"): ANY,
    ("PUT", "/mode"): ("administer", ROOM),
    ("GET", "/seal"): PUBLIC,
    ("POST", "/seal"): ("administer", ROOM),
    ("POST", "/unseal"): PUBLIC,  # by what it opens with: tests/server/test_seal.py
    ("GET", "/whoami"): ANY,
    ("POST", "/login"): PUBLIC,
    ("POST", "/login/code"): PUBLIC,
    ("GET", "/login/ways"): PUBLIC,
    ("POST", "/login/oidc/logout"): PUBLIC,
    ("POST", "/logout"): ANY,
    ("GET", "/sessions"): ANY,  # one's own
    ("DELETE", "/sessions/{id}"): ("administer", ROOM),  # another's
    ("GET", "/break-glass"): ANY,  # one's own
    ("POST", "/break-glass"): ("break_glass", ROOM),
    ("DELETE", "/break-glass/{actor}"): ("administer", ROOM),  # another's
    ("GET", "/actors"): ("administer", ROOM),
    ("POST", "/actors"): ("administer", ROOM),
    ("GET", "/actors/{id}"): ("administer", ROOM),
    ("PATCH", "/actors/{id}"): ("administer", ROOM),
    ("DELETE", "/actors/{id}"): ("administer", ROOM),
    ("POST", "/actors/{id}/password"): ("administer", ROOM),
    ("GET", "/tokens"): ("administer", ROOM),
    ("POST", "/tokens"): ("administer", ROOM),
    ("DELETE", "/tokens/{id}"): ("administer", ROOM),
    ("GET", "/groups"): ("administer", ROOM),
    ("GET", "/services"): ("administer", ROOM),
    ("PATCH", "/services/{name}"): ("administer", ROOM),
    ("POST", "/agents/admit"): ("administer", ROOM),
    ("POST", "/agents/login/certificate"): PUBLIC,
    ("GET", "/agents"): ("administer", ROOM),
    ("POST", "/agents/invite"): ("administer", ROOM),
    ("POST", "/agents/enrol"): PUBLIC,
    ("POST", "/agents/login"): PUBLIC,
    ("POST", "/agents/decide"): None,  # of agents alone: tests/agent/test_revocation.py
    ("POST", "/agents/write"): None,
    ("POST", "/agents/records"): None,
    ("POST", "/agents/tests"): None,  # as above: tests/agent/test_testing.py
    ("POST", "/agents/runs"): None,  # as above: tests/agent/test_verified.py
    ("POST", "/agents/runs/renew"): None,
    ("DELETE", "/agents/{name}"): ("administer", ROOM),
    ("GET", "/roles"): ("administer", ROOM),
    ("PUT", "/roles/{role}/members/{actor}"): ("administer", ROOM),
    ("DELETE", "/roles/{role}/members/{actor}"): ("administer", ROOM),
    ("GET", "/policies"): ("administer", ROOM),
    ("POST", "/policies"): ("administer", ROOM),
    ("GET", "/policies/{id}"): ("administer", ROOM),
    ("PUT", "/policies/{id}"): ("administer", ROOM),
    ("PATCH", "/policies/{id}"): ("administer", ROOM),
    ("DELETE", "/policies/{id}"): ("administer", ROOM),
    ("POST", "/policies/validate"): ("administer", ROOM),
    ("POST", "/policies/simulate"): ("administer", ROOM),
    ("POST", "/can"): ANY,  # of oneself
    ("POST", "/why"): ANY,  # of oneself
    ("GET", "/access/entry" + ENTRY): ("administer", ROOM),
    ("GET", "/access/actor/{id}"): ("administer", ROOM),
    ("GET", "/grants"): ANY,  # one's own
    ("POST", "/grants"): ("administer", ROOM),
    ("DELETE", "/grants/{id}"): ("administer", ROOM),
    ("GET", "/approvals"): ANY,  # one's own
    ("POST", "/approvals/{id}/approve"): ("administer", ROOM),
    ("POST", "/approvals/{id}/reject"): ("administer", ROOM),
    ("GET", "/approvals/switches"): ("administer", ROOM),
    ("PUT", "/approvals/switches/{name}"): ("administer", ROOM),
    ("GET", "/audit"): ("describe", ROOM),
    ("GET", "/audit/run"): ("describe", ROOM),
    ("GET", "/audit/state"): ("describe", ROOM),
    ("POST", "/audit/verify"): ("describe", ROOM),
    ("GET", "/audit/export"): ("describe", ROOM),
    ("GET", "/changes"): ("list", ROOM),
    ("GET", "/openapi.json"): ANY,
}
BODIES = {
    ("POST", "/entries"): {"changes": []},
    ("POST", "/can"): {"action": "read", "kind": "variable", "name": "x"},
    ("POST", "/why"): {"action": "read", "kind": "variable", "name": "x"},
    ("PUT", "/entries" + ENTRY): {"value": "postgres://h/db"},
    ("PATCH", "/entries" + ENTRY): {"changes": {"owner": "nobody"}},
    ("PUT", "/mode"): {},
    ("POST", "/break-glass"): {"reason": "x", "seconds": 60},
    ("POST", "/policies/simulate"): {"questions": [{"action": "read", "actor": "service:ci"}]},
}
QUERIES = {("GET", "/diff" + ENTRY): "?from=1", ("GET", "/audit/run"): "?run=x"}
UNSAFE = {("POST", "/logout")}  # would end nothing of a token's
# Told to whoever asks, since nobody can be known where it is sealed (tests/server/test_seal.py).
TOLD = {("GET", "/seal"), ("POST", "/unseal")}
# Told before anybody is known; there is no identity provider here (tests/server/test_login_oidc.py).
BEFORE = {
    ("GET", "/login/ways"): 200,
    ("POST", "/login/oidc/logout"): 415,  # whatever is no form of a provider's
}


def test_AA02_every_route_says_who_may_use_it():
    assert {(one.method, one.path) for one in DESCRIBED} == set(NEEDS)


def path_of(endpoint, kind, role):
    name = f"matrix-{kind}-{role}-{endpoint.method.lower()}-{endpoint.handler.__name__}"
    path = endpoint.path
    for part, value in (("{kind}", kind), ("{name:path}", name), ("{name}", "prod"), ("{role}", "user")):
        path = path.replace(part, value)
    for part in ("{id}", "{actor}"):
        path = path.replace(part, quote("person:nobody-here"))
    return path + QUERIES.get((endpoint.method, endpoint.path), ""), name


def body_of(endpoint, role, kind):
    key = (endpoint.method, endpoint.path)
    if key in BODIES:
        return BODIES[key]
    if endpoint.takes is None:
        return None
    body = EXAMPLES[endpoint.takes]
    if endpoint.path in ("/actors", "/tokens", "/agents/invite"):
        return {**body, "name": f"matrix-{role}"}
    if endpoint.path == "/rollback" + ENTRY:
        return {"version": "1"}
    if endpoint.path == "/policies/{id}" and endpoint.method == "PUT":
        return {**body, "id": None}
    return body


def is_expected(endpoint, role, kind):
    need = NEEDS[endpoint.method, endpoint.path]
    if need in (ANY, PUBLIC):
        return True
    if need is None:
        return False
    return need in RIGHTS[role] if isinstance(need, tuple) else (need, kind) in RIGHTS[role]


def asked(api, endpoint, role, kind, token=None):
    path, name = path_of(endpoint, kind, role)
    if "{kind}" in endpoint.path:
        api.put(kind, name, {"value": "postgres://h/db"})
        if endpoint.path.startswith("/undelete"):
            assert api.ask("DELETE", f"/entries/{kind}/{name}").status == 200
    return api.ask(endpoint.method, path, body_of(endpoint, role, kind), role=role, token=token)


def cases():
    for endpoint in DESCRIBED:
        for kind in KINDS if "{kind}" in endpoint.path else ("variable",):
            yield pytest.param(endpoint, kind, id=f"{endpoint.method} {endpoint.path} {kind}")


@pytest.fixture(scope="module")
def revealers(api):
    """A token whose scope names reveal for each role: any other is asked to step up first."""
    scope = Scope(("reveal",))
    return {role: api.server.token(f"reveal-{role}", role, scope=scope) for role in ROLES}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("endpoint", "kind"), list(cases()))
def test_AA02_RT05_what_a_role_may_do_to_a_kind_is_what_its_policy_says(api, revealers, endpoint, kind, role):
    if endpoint.stream:
        answer = stream_status(api, endpoint, role)
    else:
        token = revealers[role] if endpoint.path.startswith("/reveal") else None
        answer = asked(api, endpoint, role, kind, token=token).status
    if is_expected(endpoint, role, kind):
        assert answer not in (401, 403) or NEEDS[endpoint.method, endpoint.path] == PUBLIC
    else:
        assert answer == 403
    assert answer < 500


def stream_status(api, endpoint, role):
    connection = api.server.connect()
    try:
        connection.request(
            endpoint.method, f"/v1{endpoint.path}", headers={"Authorization": f"Bearer {api.tokens[role]}"}
        )
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", KINDS)
def test_AA02_each_read_is_decided(api, role, kind):
    api.put(kind, f"read-{kind}", {"value": "postgres://h/db"})
    answer = api.ask("POST", "/read", {"refs": [{"kind": kind, "name": f"read-{kind}"}]}, role=role)
    (result,) = answer.json()["results"]
    assert result["outcome"] == ("found" if ("read", kind) in RIGHTS[role] else "denied")
    assert ("value" in result) is (result["outcome"] == "found")


@pytest.mark.parametrize("endpoint", DESCRIBED, ids=[f"{one.method} {one.path}" for one in DESCRIBED])
def test_AA01_RT07_RT08_no_route_but_a_login_answers_who_is_nobody(api, endpoint):
    path, _ = path_of(endpoint, "variable", "nobody")
    body = body_of(endpoint, "nobody", "variable")
    answer = api.ask(endpoint.method, path, body, role=None)
    if (endpoint.method, endpoint.path) in TOLD:
        assert answer.json()["is_sealed"] is False
        return
    if (endpoint.method, endpoint.path) in BEFORE:
        assert answer.status == BEFORE[endpoint.method, endpoint.path]
        return
    assert answer.status == 401  # a login too: its name and password are wrong
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("token", ["srm_t_" + "A" * 49, "srm_s_x", "x", "srm_t_" + "\u00e9" * 43])
def test_AA01_a_token_that_is_none_is_nobody(api, token):
    assert api.ask("GET", "/whoami", token=token.encode("ascii", "replace").decode()).status == 401


@pytest.mark.parametrize("endpoint", DESCRIBED, ids=[f"{one.method} {one.path}" for one in DESCRIBED])
def test_AA15_other_verbs_are_neither_answered_nor_believed(api, endpoint):
    path, _ = path_of(endpoint, "variable", "verbs")
    trace = api.ask("TRACE", path)
    assert trace.status == 405
    tricked = api.ask("GET", "/actors", role="viewer", headers={"X-HTTP-Method-Override": "DELETE"})
    assert tricked.status == 400
    if endpoint.method == "GET" and not endpoint.stream and not endpoint.is_public:
        assert api.ask("HEAD", path, role=None).status == 401


def test_RT10_what_may_not_be_seen_is_denied_whether_or_not_it_exists(api):
    api.put("variable", "exists", {"value": "x"})
    there = api.ask("GET", "/entries/variable/exists", role="viewer")
    nowhere = api.ask("GET", "/entries/variable/nowhere", role="viewer")
    assert (there.status, nowhere.status) == (403, 403)
    assert there.body.replace(b"exists", b"NAME") == nowhere.body.replace(b"nowhere", b"NAME")


def test_RT09_RT10_lists_counts_and_clashes_hold_only_what_may_be_seen(api):
    api.put("variable", "unseen", {"value": "x"})
    for path in ("/entries", "/inventory", "/inventory/clashes"):
        assert b"unseen" not in api.ask("GET", path, role="viewer").body
    counts = api.ask("GET", "/inventory/counts", role="viewer").json()
    assert counts["connections"] == counts["variables"] == 0
    assert api.ask("GET", "/entries", query={"search": "unseen"}, role="viewer").json()["entries"] == []
