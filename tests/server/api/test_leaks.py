"""One canary in every place that may hold a secret, looked for in every answer of every route: RT01, LK01."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from strongroom.server.api import DESCRIBED

CANARY = "c4n4ry-Zq8/tX+w=="
FORMS = [
    form.encode()
    for form in (
        CANARY,
        quote(CANARY, safe=""),
        CANARY.replace("/", "\\/"),
        base64.b64encode(CANARY.encode()).decode().rstrip("="),
        CANARY[:9],
    )
]
HANDED_OUT = {"/read", "/reveal/{kind}/{name:path}"}


@pytest.fixture(scope="module")
def planted(api):
    """Entries with the canary in their value, in every field of a connection and in an older version."""
    fields = {
        "conn_type": "postgres",
        "host": "h",
        "login": "u",
        "password": CANARY,
        "extra": {"token": CANARY, "nested": {"deep": [CANARY]}, "sslmode": "require"},
    }
    api.put("connection", "planted", {"connection": fields})
    api.put("connection", "planted", {"connection": {**fields, "password": CANARY + "2"}})
    api.put(
        "connection", "unknown-type", {"connection": {**fields, "conn_type": "nobody_knows", "host": "h"}}
    )
    api.put(
        "connection",
        "by-uri",
        {"value": f"http://u:{quote(CANARY, safe='')}@h/x?token={quote(CANARY, safe='')}"},
    )
    api.put("variable", "planted", {"value": CANARY})
    api.put("variable", "planted", {"value": f'{{"password": "{CANARY}"}}'})
    api.put("config", "planted", {"value": CANARY})
    return api


def requests(endpoint):
    kinds = ("connection", "variable", "config") if "{kind}" in endpoint.path else ("",)
    for kind in kinds:
        for name in ("planted", "unknown-type", "by-uri") if kind == "connection" else ("planted",):
            path = (
                endpoint.path.replace("{kind}", kind).replace("{name:path}", name).replace("{name}", "prod")
            )
            yield path.replace("{id}", "service:api-reader")


@pytest.mark.parametrize(
    "endpoint",
    [one for one in DESCRIBED if one.method == "GET" and not one.stream],
    ids=lambda one: one.path,
)
def test_RT01_no_answer_but_those_that_hand_secrets_out_holds_one(planted, endpoint):
    query = "?from=1&to=2" if endpoint.path.startswith("/diff") else ""
    for path in requests(endpoint):
        answer = planted.ask("GET", path + query)
        whole = answer.body + str(answer.headers).encode()
        assert not [form for form in FORMS if form in whole], path


@pytest.mark.parametrize("flag", ["reveal", "decrypt", "mask", "show_secrets", "raw", "include", "fields"])
def test_RT03_no_parameter_turns_hiding_off(planted, flag):
    for path in ("/entries", "/entries/connection/planted", "/inventory", "/explain/connection/planted"):
        answer = planted.ask("GET", path, query={flag: "true"})
        assert answer.status == 400
        assert not [form for form in FORMS if form in answer.body]


def test_RT19_LK01_nothing_of_it_is_in_the_log_or_the_record(planted):
    for body in ({"value": CANARY, "unknown": CANARY}, {"connection": {"password": CANARY, "port": CANARY}}):
        answer = planted.ask("PUT", f"/entries/connection/{quote('refused')}", body)
        assert answer.status == 422
        assert not [form for form in FORMS if form in answer.body]
    lines = planted.server.log.encode()
    assert not [form for form in FORMS if form in lines]
    for file in planted.house.deployment().settings.audit.path.rglob("*"):
        if file.is_file():
            assert not [form for form in FORMS if form in file.read_bytes()], file.name


def test_every_route_that_hands_a_secret_out_forbids_keeping_it(planted):
    assert {one.path for one in DESCRIBED if one.path in HANDED_OUT} == HANDED_OUT
    answer = planted.ask("POST", "/read", {"refs": [{"kind": "variable", "name": "planted"}]})
    assert CANARY.encode() in answer.body
    assert "no-store" in answer.headers["cache-control"]
