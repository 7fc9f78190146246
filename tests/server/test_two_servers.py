"""
Two servers over one PostgreSQL, each a real process with a record of its own: what is changed through one is
so through the other, and what only one may do is done once. How soon is measured in `bench/bench_two.py`.
"""

import http.client
import json
import threading

import pytest

from parts.bell import until
from parts.homes import home
from parts.http import Answer
from parts.process import ServerProcess
from strongroom.policy import Role

PASSWORD = "correct horse battery staple"


class Two:
    """Two servers, asked by number."""

    def __init__(self, folder):
        place = home("postgresql", folder)
        key = folder / "key"
        self.servers = []
        for name in ("one", "two"):
            own = folder / name
            own.mkdir(mode=0o700)
            settings = (
                'chain = ["native"]\n[store]\n'
                f'url = "{place}"\nwrappers = [{{ kind = "file", path = "{key}" }}]\n'
            )
            self.servers.append(ServerProcess(own, settings))
        self.servers[0].make()
        with self.servers[0].room() as room:
            self.admin = room.access.tokens.issue("admin", roles=[Role("admin")]).token.reveal()
        for server in self.servers:
            server.start()

    def ask(self, number, method, path, body=None, *, token=None, headers=None):
        """Ask server *number* as the administrator, or with *token*; '' for nobody."""
        given = {"Content-Type": "application/json", **(headers or {})}
        token = self.admin if token is None else token
        if token:
            given["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.servers[number].port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def write(self, number, name, value, **more):
        answer = self.ask(number, "PUT", f"/v1/entries/variable/{name}", {"value": value, **more})
        assert answer.status in (200, 201), answer.body
        return answer.json()

    def read(self, number, name, *, token=None):
        asked = {"refs": [{"kind": "variable", "name": name}]}
        answer = self.ask(number, "POST", "/v1/read", asked, token=token)
        if answer.status != 200:
            return answer.status
        (result,) = answer.json()["results"]
        return result.get("value", result.get("outcome"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    servers = Two(tmp_path_factory.mktemp("two"))
    yield servers
    for server in servers.servers:
        server.stop()


def test_what_one_writes_the_other_serves_though_it_had_cached_it(two):
    two.write(0, "region", "eu")
    until(lambda: two.read(1, "region") == "eu")
    for turn, value in enumerate(("us", "asia", "africa")):
        writer, reader = turn % 2, 1 - turn % 2
        two.write(writer, "region", value)
        assert two.read(writer, "region") == value
        until(lambda value=value, reader=reader: two.read(reader, "region") == value)
    two.ask(0, "DELETE", "/v1/entries/variable/region")
    until(lambda: two.read(1, "region") == "absent")


def test_of_two_that_expect_the_same_version_through_two_servers_one_wins(two):
    for turn in range(5):
        name = f"raced{turn}"
        two.write(0, name, "first")
        until(lambda name=name: two.read(1, name) == "first")
        found = []

        def race(number, name=name, found=found):
            body, path = {"value": f"by {number}"}, f"/v1/entries/variable/{name}"
            found.append(two.ask(number, "PUT", path, body, headers={"If-Match": '"1"'}).status)

        racers = [threading.Thread(target=race, args=(number,)) for number in (0, 1)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert sorted(found) == [200, 412]


def test_token_issued_at_one_is_good_at_the_other_until_it_is_revoked(two):
    two.write(0, "read_by_token", "x")
    made = two.ask(0, "POST", "/v1/tokens", {"name": "both", "roles": [{"name": "admin"}]})
    assert made.status in (200, 201), made.body
    token = made.json()["token"]
    until(lambda: two.read(1, "read_by_token", token=token) == "x")
    assert two.ask(0, "DELETE", f"/v1/tokens/{made.json()['id']}").status in (200, 204)
    until(lambda: two.read(1, "read_by_token", token=token) == 401)


def test_policy_written_at_one_decides_at_the_other(two):
    two.write(0, "forbidden", "x")
    made = two.ask(0, "POST", "/v1/tokens", {"name": "reader", "roles": [{"name": "admin"}]}).json()
    token = made["token"]
    until(lambda: two.read(1, "forbidden", token=token) == "x")
    text = (
        '@id("no-forbidden") forbid (principal, action == Action::"read", resource is Entry)'
        ' when { resource.name == "forbidden" };'
    )
    answer = two.ask(0, "PUT", "/v1/policies/no-forbidden", {"text": text})
    assert answer.status in (200, 201), answer.body
    until(lambda: two.read(1, "forbidden", token=token) == "denied")
    two.ask(1, "DELETE", "/v1/policies/no-forbidden")
    until(lambda: two.read(0, "forbidden", token=token) == "x")


def test_session_begun_at_one_is_good_at_the_other_until_it_is_ended(two):
    made = two.ask(
        0, "POST", "/v1/actors", {"name": "alice", "password": PASSWORD, "roles": [{"name": "viewer"}]}
    )
    assert made.status in (200, 201), made.body
    until(lambda: two.ask(1, "GET", "/v1/actors/person:alice").status == 200)
    login = two.ask(0, "POST", "/v1/login", {"name": "alice", "password": PASSWORD}, token="")
    assert login.status == 200, login.body
    session = login.json()["token"]
    until(lambda: two.ask(1, "GET", "/v1/whoami", token=session).status == 200)
    two.ask(0, "POST", "/v1/logout", token=session)
    until(lambda: two.ask(1, "GET", "/v1/whoami", token=session).status == 401)


def test_who_follows_one_hears_of_what_is_written_through_the_other(two):
    connection = http.client.HTTPConnection("127.0.0.1", two.servers[1].port, timeout=30)
    connection.request("GET", "/v1/changes", headers={"Authorization": f"Bearer {two.admin}"})
    answer = connection.getresponse()
    assert answer.status == 200
    two.write(0, "told", "x")
    for _ in range(1000):
        line = answer.readline()
        if b'"told"' in line:
            break
    else:
        raise AssertionError("never told")
    connection.close()


def test_keys_are_rotated_once_for_both_and_both_read_on(two):
    names = [f"kept{number}" for number in range(20)]
    for name in names:
        two.write(0, name, name)
    before = [key["id"] for key in two.ask(0, "GET", "/v1/keys").json()["keys"]]
    answers = [two.ask(number, "POST", "/v1/keys/rotate", {}) for number in (0, 1)]
    assert answers[0].status in (200, 201, 202), answers[0].body
    for number in (0, 1):
        for name in names:
            assert two.read(number, name) == name
    found = until(lambda: _all_under_new(two, before))
    assert found


def _all_under_new(two, before):
    keys = two.ask(1, "GET", "/v1/keys").json()["keys"]
    return all(key["sealed_versions"] == 0 for key in keys if key["id"] in before)


def test_each_server_keeps_a_record_of_its_own_that_proves_whole(two):
    two.write(0, "recorded", "x")
    for number in (0, 1):
        answer = two.ask(number, "POST", "/v1/audit/verify")
        assert answer.status == 200, answer.body
        wrote = two.ask(number, "GET", "/v1/audit?name=recorded")
        assert (b"recorded" in wrote.body) is (number == 0)
