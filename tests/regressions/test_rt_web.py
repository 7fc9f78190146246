"""Sessions, other sites and what a page may be made to do: RT27, RT30, RT31, RT32, RT33."""

from __future__ import annotations

import base64
import itertools
import json
from urllib.parse import quote, urlencode, urlsplit

import pytest

from parts.http import Answer
from parts.server import serving
from regressions.routes import route_id, routes
from strongroom.model.secret import Secret
from strongroom.policy import Role

PASSWORD = "four plain words here"
OTHER = "another four plain words"
NUMBERS = itertools.count()


def person(every, *roles):
    """Add a person with roles, and give the name."""
    name = f"web-{next(NUMBERS)}"
    every.house.deployment().root.access.people.add(
        name, Secret(PASSWORD), roles=[Role(role) for role in roles]
    )
    return name


@pytest.fixture(scope="module")
def ask(every):
    """Ask the server as `every.server.ask` does, but over one connection: thousands of requests are made."""
    connection = every.server.connect()

    def ask(method, path, body=None, *, headers):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers = headers | {"Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())

    yield ask
    connection.close()


# --- RT27: every session ends at once, however it began ---------------------------------------------------


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def by_password(every, name):
    said = {"name": name, "password": PASSWORD}
    return bearer(every.ask("POST", "/login", said, role=None).json()["token"]), "/v1/whoami"


def by_cookie(every, name):
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = every.ask("POST", "/login", {"name": name, "password": PASSWORD}, role=None, headers=headers)
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}, "/v1/whoami"


def by_code(every, name):
    code = every.house.deployment().root.access.login_link(name).reveal()
    return bearer(every.ask("POST", "/login/code", {"code": code}, role=None).json()["token"]), "/v1/whoami"


def by_airflow(every, name):
    said = {"username": name, "password": PASSWORD}
    answer = every.server.ask("POST", "/auth/token", said)
    assert answer.status == 201, answer.body
    return bearer(answer.json()["access_token"]), "/api/v2/variables"


def by_basic(_every, name):
    told = base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()
    return {"Authorization": f"Basic {told}"}, "/api/v1/variables"


WAYS = {
    "password": by_password,
    "cookie": by_cookie,
    "code": by_code,
    "airflow": by_airflow,
    "basic": by_basic,
}


def logged_out(every, _name, headers):
    ours = headers | ({"Sec-Fetch-Site": "same-origin"} if "Cookie" in headers else {})
    assert every.server.ask("POST", "/v1/logout", headers=ours).status == 204


def new_password(every, name, _headers):
    assert every.ask("POST", f"/actors/person:{name}/password", {"password": OTHER}).status == 204


def disabled(every, name, _headers):
    assert every.ask("PATCH", f"/actors/person:{name}", {"is_enabled": False}).status == 200


def deleted(every, name, _headers):
    assert every.ask("DELETE", f"/actors/person:{name}").status == 204


def no_role(every, name, _headers):
    assert every.ask("DELETE", f"/roles/op/members/person:{name}").status == 204


@pytest.mark.parametrize("end", [logged_out, new_password, disabled, deleted, no_role])
@pytest.mark.parametrize("way", WAYS)
def test_RT27_whatever_ends_it_the_next_request_is_refused_for_every_login(every, way, end):
    name = person(every, "op")
    headers, path = WAYS[way](every, name)
    assert every.server.ask("GET", path, headers=headers).status == 200
    if (way, end) == ("basic", logged_out):
        # There is no session to end: nothing of it is good for anything else.
        assert every.server.ask("POST", "/v1/logout", headers=headers).status == 401
        return
    end(every, name, headers)
    after = every.server.ask("GET", path, headers=headers)
    if end is no_role and way == "basic":  # who gives the password each time is somebody, who may nothing
        assert after.status == 403
    else:
        assert after.status == 401


# --- RT30: nothing is preset ------------------------------------------------------------------------------


def test_RT30_two_new_servers_share_no_key_and_know_none_of_each_others_tokens(every, tmp_path):
    with serving(tmp_path) as other:
        token = other.token("ci", "admin")
        assert other.ask("GET", "/v1/whoami", token=token).status == 200
        assert every.server.ask("GET", "/v1/whoami", token=token).status == 401
        assert other.ask("GET", "/v1/whoami", token=every.tokens["admin"]).status == 401
        ours, theirs = every.ask("GET", "/keys").json(), other.ask("GET", "/v1/keys", token=token).json()
        ids = [{key["id"] for key in found["keys"]} for found in (ours, theirs)]
        assert ids[0]
        assert ids[1]
        assert not ids[0] & ids[1]
        for name, password in itertools.product(
            ("admin", "root", "airflow", "strongroom", "local:0"), ("", "admin", "airflow", "password")
        ):
            answer = other.ask("POST", "/v1/login", {"name": name, "password": password})
            assert answer.status in (400, 401, 422, 429)
        actors = other.ask("GET", "/v1/actors", token=token).json()["actors"]
        assert not [one["id"] for one in actors if one["id"].startswith("person:")]


# --- RT31: changes that another site asks for -------------------------------------------------------------

CHANGES = [one for one in routes() if one.method != "GET" and not one.endpoint.is_public]


@pytest.fixture(scope="module")
def cookie(every):
    """The session of an administrator, as a browser keeps it."""
    headers, _ = by_cookie(every, person(every, "admin"))
    return headers


@pytest.mark.parametrize(
    "foreign",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-origin", "Content-Type": "text/plain"},
        {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"},
    ],
    ids=str,
)
def test_RT31_no_route_changes_anything_for_another_site(every, ask, cookie, foreign):
    assert len(CHANGES) > 40
    for route in CHANGES:
        answer = ask(route.method, route.path("csrf"), b"{}", headers=cookie | foreign)
        # A page takes forms alone, and says so before it asks for the token that is not there.
        refused = (403, 415) if route.endpoint.takes_form and "Content-Type" in foreign else (403,)
        assert answer.status in refused, f"{route_id(route)} answered {answer.status}"
        assert b"vary" not in answer.body
    assert every.server.ask("GET", "/v1/whoami", headers=cookie).status == 200  # still signed in


def test_RT31_a_read_of_another_site_gets_no_leave_to_look_at_the_answer(ask, cookie):
    for route in [one for one in routes() if one.method == "GET"]:
        answer = ask("GET", route.path("x"), headers=cookie | {"Origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


# --- RT32, RT33: what is put into a parameter -------------------------------------------------------------

MARKUP = "\"'><script>alert(4711)</script>"
ELSEWHERE = ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(4711)")
TARGETS = ("next", "origin", "url", "redirect_uri")


def _is_ours(address):
    """Tell whether a browser that follows *address*, which begins with a slash, stays here."""
    return not address.startswith(("//", "/\\")) and not urlsplit(address).netloc


def asked_everywhere(every, ask, text, names, prefixes=None):
    """Put *text* into the path, each parameter and *names* of each route: give the answers."""
    viewer = bearer(every.tokens["viewer"])
    for route in routes():
        if prefixes is not None and route.prefix not in prefixes:
            continue
        body = None if route.method in ("GET", "DELETE") else {"name": text, "key": text, text: text}
        # What a route knows is asked alone; of names that it does not know none hides another.
        queries = [*({name: text} for name in route.query_names), dict.fromkeys(names, text)]
        paths = [
            route.path(quote(text, safe="")),
            *(f"{route.path('x')}?{urlencode(one)}" for one in queries),
        ]
        for path in dict.fromkeys(paths):
            if route.template.endswith("/logout"):
                continue  # it takes nothing
            yield route, ask(route.method, path, body, headers=viewer)


def test_RT32_no_parameter_of_any_route_becomes_markup(every, ask):
    seen = 0
    for route, answer in asked_everywhere(every, ask, MARKUP, ("q",)):
        seen += 1
        kind = answer.headers.get("content-type", "")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert MARKUP not in str(answer.headers)
        if "html" in kind:
            assert route.prefix == ""
            assert b"<script>" not in answer.body
        else:
            assert kind.partition(";")[0] in ("", "application/json", "application/problem+json"), kind
    assert seen > 200


# Only pages send anybody on: there each spelling is tried, and in what answers no browser the first alone.
PAGES = ("",)


@pytest.mark.parametrize(
    ("target", "prefixes"),
    [
        (ELSEWHERE[0], None),
        *((target, PAGES) for target in ELSEWHERE[1:]),
        *(pytest.param(target, None, marks=pytest.mark.trial) for target in ELSEWHERE[1:]),
    ],
)
def test_RT33_no_parameter_of_any_route_sends_anybody_elsewhere(every, ask, target, prefixes):
    for route, answer in asked_everywhere(every, ask, target, TARGETS, prefixes):
        there = [answer.headers[name] for name in ("location", "hx-redirect") if name in answer.headers]
        assert bool(there) == (300 <= answer.status < 400), f"{route_id(route)} answered {answer.status}"
        # A page sends on to pages of ours; what else there is sends nobody anywhere.
        assert all(route.prefix == "" and one.startswith("/") and _is_ours(one) for one in there), there
        assert "refresh" not in answer.headers
