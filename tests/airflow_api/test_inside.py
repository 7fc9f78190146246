"""Airflow's API with what stands behind it in reach: settings, policies, other backends, two at once."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from parts.server import serving
from strongroom.model.entry import MUST_BE_ABSENT, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role, Scope
from strongroom.service.entries import Change

PASSWORD = "correct horse battery staple 7"
CANARY = "canary-4711-hunter2"
FREE = """
[server.limits]
identity_per_second = 100000
identity_burst = 100000
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    environ = {
        "AIRFLOW_CONN_FROM_ENV": f"postgres://u:{CANARY}@h:1/db",
        "AIRFLOW_VAR_FROM_ENV": "of the environment",
    }
    chain = 'chain = ["env", "native"]\n[backend.env]\nkind = "env"\n[backend.native]\nkind = "native"\n'
    with serving(tmp_path_factory.mktemp("inside"), chain + FREE, environ=environ) as served:
        served.admin = served.token("a", "admin")
        yield served


def kept(place, kind, name, text, **facts):
    root = place.house.deployment().root
    change = Change(
        ref=Ref(kind, name), secret=Secret(text), metadata=Metadata(**facts), expected_version=MUST_BE_ABSENT
    )
    root.entries.write(change)


def stored(place, kind, name):
    return place.house.deployment().root.entries.reveal(Ref(kind, name), reason="test").secret.reveal()


@pytest.mark.parametrize("prefix", ["/api/v2", "/api/v1"])
def test_a_list_holds_what_every_backend_lists_and_a_change_of_another_place_is_refused(place, prefix):
    listed = place.ask("GET", f"{prefix}/connections", token=place.admin).json()["connections"]
    assert "from_env" in [one["connection_id"] for one in listed]
    body = {"connection_id": "from_env", "conn_type": "postgres", "host": "taken"}
    changed = place.ask("PATCH", f"{prefix}/connections/from_env", body, token=place.admin)
    assert changed.status == 403
    assert CANARY not in changed.body.decode()
    assert place.ask("POST", f"{prefix}/connections", body, token=place.admin).status == 409
    assert place.ask("DELETE", f"{prefix}/connections/from_env", token=place.admin).status == 403
    seen = place.ask("GET", f"{prefix}/variables/from_env", token=place.admin).json()
    assert seen["value"] == "of the environment"


def test_a_change_in_part_keeps_what_airflow_does_not_know(place):
    kept(place, "variable", "tagged", "x", tags=("pii",), owner="data-team", description="old")
    body = {"key": "tagged", "value": "y"}
    assert place.ask("PATCH", "/api/v2/variables/tagged", body, token=place.admin).status == 200
    found = place.house.deployment().root.entries.describe(Ref("variable", "tagged")).metadata
    assert (found.tags, found.owner, found.description) == (("pii",), "data-team", "old")
    upsert = {"key": "tagged", "value": "z"}
    assert place.ask("POST", "/api/v1/variables", upsert, token=place.admin).status == 200
    found = place.house.deployment().root.entries.describe(Ref("variable", "tagged")).metadata
    assert (found.tags, found.owner, found.description) == (("pii",), "data-team", None)


def test_a_connection_that_extends_another_still_does_after_a_change(place):
    kept(place, "connection", "base", json.dumps({"conn_type": "postgres", "host": "h", "password": CANARY}))
    own = json.dumps({"extends": "base", "conn_type": "postgres", "login": "me"})
    kept(place, "connection", "over", own, references=True)
    body = {"connection_id": "over", "conn_type": "postgres", "login": "you"}
    answer = place.ask("PATCH", "/api/v2/connections/over", body, token=place.admin)
    assert answer.status == 200, answer.body
    assert CANARY not in answer.body.decode()
    after = json.loads(stored(place, "connection", "over"))
    assert (after["extends"], after["login"], "password" in after) == ("base", "you", False)


@pytest.mark.parametrize("key", ["a\nb", "ü", "x" * 5000, "\u202e", "a,b", "\x00", "srm_t_abc def"])
def test_no_key_of_extra_breaks_or_fills_a_header(place, key):
    name = f"odd-{abs(hash(key))}"
    body = {"connection_id": name, "conn_type": "http", "extra": json.dumps({key: "v", "b": "w"})}
    assert place.ask("POST", "/api/v2/connections", body, token=place.admin).status == 201
    body["extra"] = json.dumps({key: "***", "b": "***"})
    answer = place.ask("PATCH", f"/api/v2/connections/{name}", body, token=place.admin)
    assert answer.status == 200
    assert "extra.b" in answer.headers["strongroom-kept"]
    assert len(answer.headers["strongroom-kept"]) < 1000


def test_thousands_of_stars_are_told_in_short(place):
    extra = {f"k{number}": "v" for number in range(3000)}
    body = {"connection_id": "wide", "conn_type": "http", "extra": json.dumps(extra)}
    assert place.ask("POST", "/api/v2/connections", body, token=place.admin).status == 201
    shown = place.ask("GET", "/api/v2/connections/wide", token=place.admin).json()
    answer = place.ask("PATCH", "/api/v2/connections/wide", shown, token=place.admin)
    assert answer.headers["strongroom-kept"].endswith("and 2980 more")
    assert json.loads(stored(place, "connection", "wide"))["extra"] == extra


def test_a_description_is_public_and_bounded(place):
    for said in ("x" * 5001, "\x1b[31mred", "\x00"):
        for prefix, status in (("/api/v2", 422), ("/api/v1", 400)):
            body = {"key": "d", "value": "x", "description": said}
            assert place.ask("POST", f"{prefix}/variables", body, token=place.admin).status == status
    body = {"key": "d", "value": "x", "description": "one line\n\tand another"}
    assert place.ask("POST", "/api/v2/variables", body, token=place.admin).status == 201


def test_changes_at_once_never_mix(place):
    kept(place, "variable", "raced", "start", description="start")

    def write(number):
        text = f"value-{number}"
        body = {"key": "raced", "value": text, "description": text}
        return place.ask("PATCH", "/api/v2/variables/raced", body, token=place.admin).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(write, range(40)))
    assert set(statuses) <= {200, 409}
    assert 200 in statuses
    seen = place.ask("GET", "/api/v2/variables/raced", token=place.admin).json()
    assert seen["value"] == seen["description"]


def test_creating_at_once_creates_once(place):
    def create(number):
        body = {"connection_id": "created-once", "conn_type": "http", "login": str(number)}
        return place.ask("POST", "/api/v2/connections", body, token=place.admin).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(create, range(16)))
    assert sorted(statuses) == [201] + [409] * 15


def test_one_row_that_cannot_be_read_does_not_take_the_list_away(place):
    kept(place, "connection", "broken", json.dumps({"conn_type": "postgres", "host": "h"}), references=True)
    kept(place, "variable", "dangling", "${variable/nowhere-at-all}")
    assert place.ask("GET", "/api/v2/connections?limit=100", token=place.admin).status == 200
    assert place.ask("GET", "/api/v2/variables?limit=100", token=place.admin).status == 200


def test_read_only_mode_is_403_and_a_login_still_works(place):
    root = place.house.deployment().root
    root.access.people.add("rosa", Secret(PASSWORD))
    place.house.set_mode(root.actor, read_only=True, reason="test")
    try:
        body = {"key": "ro", "value": "x"}
        for prefix in ("/api/v2", "/api/v1"):
            assert place.ask("POST", f"{prefix}/variables", body, token=place.admin).status == 403
            assert place.ask("GET", f"{prefix}/variables", token=place.admin).status == 200
        said = {"username": "rosa", "password": PASSWORD}
        assert place.ask("POST", "/auth/token", said).status == 201
    finally:
        place.house.set_mode(root.actor, read_only=False, reason="test")


def test_a_person_sees_no_variable_alone_where_that_takes_two(tmp_path):
    with serving(tmp_path, FREE) as served:
        root = served.house.deployment().root
        root.access.people.add("anna", Secret(PASSWORD), roles=[Role("admin")])
        kept(served, "variable", "v", CANARY)
        token = served.ask("POST", "/auth/token", {"username": "anna", "password": PASSWORD}).json()[
            "access_token"
        ]
        assert served.ask("GET", "/api/v2/variables/v", token=token).json()["value"] == CANARY
        root.policies.require_two("two-person-reveal", is_on=True)
        for path in ("/api/v2/variables/v", "/api/v1/variables/v", "/api/v2/variables", "/api/v1/variables"):
            assert CANARY not in served.ask("GET", path, token=token).body.decode()


def test_a_test_of_a_connection_is_a_look_at_a_listed_network(tmp_path):
    settings = FREE + '\n[server]\ntest_connections = true\ntest_networks = ["127.0.0.0/8"]\n'
    with serving(tmp_path, settings) as served, socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        admin = served.token("a", "admin")
        body = {"connection_id": "t", "conn_type": "ftp", "host": "127.0.0.1", "port": port}
        answer = served.ask("POST", "/api/v2/connections/test", body, token=admin)
        assert answer.json() == {"status": True, "message": "every step went well"}
        away = {**body, "host": "169.254.169.254", "port": 80}
        assert served.ask("POST", "/api/v1/connections/test", away, token=admin).json()["status"] is False
        viewer = served.token("v", "viewer")
        assert served.ask("POST", "/api/v2/connections/test", body, token=viewer).status == 403


def test_a_stored_password_is_tried_at_another_host_only_by_who_could_store_that(tmp_path):
    settings = FREE + '\n[server]\ntest_connections = true\ntest_networks = ["127.0.0.0/8"]\n'
    with serving(tmp_path, settings) as served, socket.create_server(("127.0.0.1", 0)) as listening:
        kept(served, "connection", "t", f"ftp://svc:{CANARY}@10.0.0.9/")
        body = {"connection_id": "t", "conn_type": "ftp", "password": "***", "host": "127.0.0.1"}
        body["port"] = listening.getsockname()[1]
        tests = Scope(actions=("test", "describe", "list"))
        only = served.token("tester", "op", scope=tests)
        refused = served.ask("POST", "/api/v2/connections/test", body, token=only)
        assert refused.status == 403
        assert served.ask("POST", "/api/v2/connections/test", body, token=served.token("w", "op")).json()[
            "status"
        ]


def test_the_page_of_a_long_list_is_given_without_reading_the_rest(place):
    root = place.house.deployment().root
    changes = [
        Change(ref=Ref("variable", f"long/{number:05}"), secret=Secret("x"), metadata=Metadata())
        for number in range(2500)
    ]
    for begin in range(0, len(changes), 500):
        root.entries.write_many(changes[begin : begin + 500])
    path = "/api/v2/variables?variable_key_prefix_pattern=long/&limit=3&offset=2000"
    listed = place.ask("GET", path, token=place.admin).json()
    assert listed["total_entries"] == 2500
    assert [one["key"] for one in listed["variables"]] == ["long/02000", "long/02001", "long/02002"]
    assert place.ask("GET", "/api/v2/variables?order_by=-key&limit=1", token=place.admin).status == 200


def test_a_list_that_is_remembered_shows_every_change_of_entries_and_policies_at_once(place, tmp_path):
    def keys(prefix=""):
        asked = f"/api/v2/variables?limit=100&variable_key_pattern=rem{prefix}"
        answer = place.ask("GET", asked, token=op)
        return [one["key"] for one in answer.json()["variables"]], answer.json()["total_entries"]

    op = place.token("remembers", "op")
    assert keys() == ([], 0)
    kept(place, "variable", "rem-1", "x")
    assert keys() == (["rem-1"], 1)
    root = place.house.deployment().root
    root.entries.delete(Ref("variable", "rem-1"))
    assert keys() == ([], 0)
    kept(place, "variable", "rem-2", "x")
    kept(place, "variable", "rem-3", "x")
    assert keys() == (["rem-2", "rem-3"], 2)
    text = '@id("no-rem-2")\nforbid (principal, action, resource is Entry) when { resource.name == "rem-2" };'
    answer = place.ask("POST", "/v1/policies", {"id": "no-rem-2", "text": text}, token=place.admin)
    assert answer.status == 201, answer.body
    assert keys() == (["rem-3"], 1)
    assert place.ask("GET", "/api/v2/variables/rem-2", token=op).status == 403
    assert place.ask("DELETE", "/v1/policies/no-rem-2", token=place.admin).status in (200, 204)
    assert keys() == (["rem-2", "rem-3"], 2)


def test_one_actor_never_sees_the_list_of_another(place):
    kept(place, "variable", "only/op", "x")
    everything = place.token("sees-all", "op")
    bounded = place.token("sees-little", "op", scope=Scope(names=("elsewhere/*",)))
    path = "/api/v2/variables?variable_key_pattern=only"
    assert place.ask("GET", path, token=everything).json()["total_entries"] == 1
    answer = place.ask("GET", path, token=bounded)
    assert answer.status == 403 or answer.json()["total_entries"] == 0
    assert place.ask("GET", path, token=place.token("a-viewer", "viewer")).status == 403
