"""`/v1/backends`: the order that the server keeps, what it says of each, and drills; by a client too."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from parts.server import serving
from strongroom import open_room
from strongroom.errors import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError
from strongroom.service.backends import Said
from strongroom.service.policies import Draft

SETTINGS = """
deployment = "prod"
chain = ["first", "second", "native"]
managed = "server"
[backend.first]
kind = "file"
variables = "{folder}/first.json"
[backend.second]
kind = "file"
variables = "{folder}/second.json"
[server.limits]
identity_per_second = 0
stranger_per_second = 0
[deployments.staging]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("managed")
    for name in ("first", "second"):
        (folder / f"{name}.json").write_text(json.dumps({"region": f"from-{name}"}))
    with serving(folder, SETTINGS.replace("{folder}", str(folder))) as found:
        found.admin = found.token("admin", "admin")
        found.reader = found.token("reader", "reader")
        yield found


@pytest.fixture(autouse=True)
def _as_written(server):
    yield
    backends = server.house.deployment().root.backends
    backends.arrange(["first", "second", "native"])
    for name in ("first", "second"):
        backends.adjust(name, Said())
    for pause in backends.pauses():
        backends.resume(pause.backend)


def ask(server, method, path, body=None, *, token=None, headers=None):
    answer = server.ask(method, f"/v1{path}", body, token=token or server.admin, headers=headers)
    return answer, json.loads(answer.body) if answer.body else None


def region(server):
    body = {"refs": [{"kind": "variable", "name": "region"}]}
    return json.loads(server.ask("POST", "/v1/read", body, token=server.reader).body)["results"][0]


def test_an_order_counts_for_the_next_read(server):
    assert region(server)["value"] == "from-first"
    answer, told = ask(server, "PUT", "/backends", {"names": ["second", "first", "native"]})
    assert answer.status == 200
    assert [row["name"] for row in told["backends"]] == ["second", "first", "native"]
    assert (told["managed"], told["changed_by"]) == ("server", "service:admin")
    assert region(server)["value"] == "from-second"


@pytest.mark.parametrize("field", ["url", "host", "variables", "auth", "token", "kind", "options"])
def test_SS07_nobody_sends_a_backend_elsewhere_through_the_server(server, field):
    """Where a backend leads is said by the settings file alone, whoever administers."""
    answer, told = ask(server, "PUT", "/backends/first/settings", {field: "https://elsewhere.example"})
    assert answer.status in (400, 422)
    assert "elsewhere.example" not in json.dumps(told)
    assert region(server)["value"] == "from-first"


def test_an_order_over_another_version_is_refused(server):
    _, told = ask(server, "GET", "/backends")
    ask(server, "PUT", "/backends", {"names": ["second", "first", "native"]})
    answer, refusal = ask(
        server,
        "PUT",
        "/backends",
        {"names": ["native", "first", "second"]},
        headers={"If-Match": f'"{told["version"]}"'},
    )
    assert answer.status in (409, 412)
    assert refusal["error"]["current_version"] != told["version"]


def test_what_is_said_of_a_backend_is_told_and_counts(server):
    body = {"match": ["other_*"], "on_unavailable": "next", "timeout_seconds": 1.5}
    answer, told = ask(server, "PUT", "/backends/first/settings", body)
    assert answer.status == 200
    assert told["backends"][0]["is_adjusted"]
    assert told["backends"][0]["match"] == ["other_*"]
    assert region(server)["value"] == "from-second"


def test_a_paused_backend_is_down_for_readers_and_ends_early(server):
    assert region(server)["outcome"] == "found"
    answer, told = ask(server, "POST", "/backends/first/pause", {"seconds": 60, "reason": "fire drill"})
    assert answer.status == 200
    assert (told["backend"], told["by"], told["reason"]) == ("first", "service:admin", "fire drill")
    stale = region(server)
    assert (stale["value"], stale["is_stale"]) == ("from-first", True)
    _, told = ask(server, "GET", "/backends")
    assert told["backends"][0]["pause"]["reason"] == "fire drill"
    assert told["backends"][0]["figures"]["outcomes"]["unavailable"] >= 1
    answer, _ = ask(server, "DELETE", "/backends/first/pause")
    assert answer.status == 204


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/backends", {"names": ["first"]}, 400),
        ("PUT", "/backends", {"names": "first"}, 422),
        ("PUT", "/backends", {"names": ["first", "second", "native"], "extra": 1}, 422),
        ("PUT", "/backends/nowhere/settings", {}, 404),
        ("PUT", "/backends/first/settings", {"timeout_seconds": 0}, 400),
        ("PUT", "/backends/first/settings", {"match": [""]}, 400),
        ("PUT", "/backends/first/settings", {"on_unavailable": "never"}, 422),
        ("POST", "/backends/first/pause", {"seconds": 5, "reason": "drill"}, 400),
        ("POST", "/backends/first/pause", {"seconds": 1e300, "reason": "drill"}, 422),
        ("POST", "/backends/first/pause", {"seconds": 60, "reason": " "}, 422),
        ("POST", "/backends/nowhere/pause", {"seconds": 60, "reason": "drill"}, 404),
        ("DELETE", "/backends/first/pause", None, 404),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_wrong(server, method, path, body, status):
    answer, _ = ask(server, method, path, body)
    assert answer.status == status


def test_a_client_does_all_of_it(server, tmp_path):
    environ = {
        "STRONGROOM_URL": server.address,
        "STRONGROOM_TOKEN": server.admin,
        "STRONGROOM_HOME": str(tmp_path),
    }
    with open_room(environ=environ) as room:
        order = room.backends.arrange(["second", "first", "native"], reason="first is moving")
        assert order.is_managed
        assert [row.name for row in room.backends.list()] == ["second", "first", "native"]
        with pytest.raises(ConflictError):
            room.backends.arrange(["first", "second", "native"], expected="1")
        room.backends.adjust("first", Said(on_unavailable="stop"))
        assert room.backends.list()[1].on_unavailable == "stop"
        pause = room.backends.pause("first", timedelta(minutes=1), reason="fire drill")
        assert room.backends.pauses() == [pause]
        assert room.backends.figures().keys() == {"first", "second", "native"}
        room.backends.resume("first")
        with pytest.raises(NotFoundError):
            room.backends.resume("first")
        with pytest.raises(InvalidInputError):
            room.backends.arrange(["first"])


def test_a_chain_of_the_file_says_so(server):
    token = server.token("admin", "admin", deployment="staging")
    answer = server.ask("PUT", "/d/staging/v1/backends", {"names": ["env", "native"]}, token=token)
    assert answer.status == 403
    assert json.loads(answer.body)["error"]["code"] == "read_only"
    assert ReadOnlyError.code == "read_only"


# --- comparing ---------------------------------------------------------------------------------------


def test_a_token_of_one_deployment_compares_no_other(server):
    answer, told = ask(server, "GET", "/compare?between=prod,staging")
    assert answer.status == 401
    assert "staging" in told["error"]["message"]


def test_a_name_that_is_no_deployment_is_answered_as_one_nobody_is_known_in(server):
    one = ask(server, "GET", "/compare?between=prod,staging")[1]["error"]
    other = ask(server, "GET", "/compare?between=prod,nowhere")[1]["error"]
    assert one["message"].replace("staging", "") == other["message"].replace("nowhere", "")
    assert one["code"] == other["code"]


def test_one_deployment_beside_itself_is_its_own_names(server):
    answer, told = ask(server, "GET", "/compare?between=prod")
    assert answer.status == 200
    assert {(line["name"], line["cells"][0]["letter"]) for line in told["lines"]} == {("region", "A")}
    assert told["compared"][0] == told["compared"][1]


@pytest.mark.parametrize("query", ["?between=", "?between=prod,prod", "?between=prod&only=other", ""])
def test_a_comparison_of_nothing_or_twice_is_refused(server, query):
    assert ask(server, "GET", f"/compare{query}")[0].status in (400, 422)


# --- explaining for a run ----------------------------------------------------------------------------


def test_a_lookup_is_explained_as_a_run_that_is_only_claimed_would_be_answered(server):
    _, told = ask(server, "GET", "/explain/variable/region?dag=orders_daily&task=load", token=server.reader)
    assert told["may_read"] is True
    assert told["steps"][0]["backend"] == "first"
    root = server.house.deployment().root
    root.policies.put(Draft(_FORBIDDEN))
    try:
        _, told = ask(server, "GET", "/explain/variable/region?dag=orders_daily", token=server.reader)
        assert told["may_read"] is False
        assert "no-claims" in told["policies"]
        _, told = ask(server, "GET", "/explain/variable/region", token=server.reader)
        assert told["may_read"] is True
    finally:
        root.policies.delete("no-claims")


_FORBIDDEN = """
@id("no-claims")
forbid (principal, action == Action::"read", resource) when { context.run.dag_id == "orders_daily" };
"""
