"""`POST /v1/read`: the quick way answers as the ordinary one does, and gives out nothing more."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from contextlib import closing

import pytest

from parts.server import serving
from strongroom.policy import Role

CANARY = "canary-90c2"
# A header no program of ours sends: such a request goes the ordinary way.
ORDINARY = {"X-Other": "1"}


@pytest.fixture(scope="module")
def reads(server):
    """The server with three values, and tokens of two roles."""
    for name in ("region", "zone", "team:secret"):
        body = {"value": f"{CANARY}-{name}"}
        answer = server.ask("PUT", f"/v1/entries/variable/{name}", body, token=server.admin)
        assert answer.status in (200, 201), answer.body
    server.ask("PUT", "/d/staging/v1/entries/variable/region", {"value": "other"}, token=server.admin)
    server.reader = server.token("reads-reader", "reader")
    server.nobody = server.token("reads-nobody", "nothing")
    return server


def names(*given):
    return {"refs": [{"kind": "variable", "name": name} for name in given]}


def told(answer):
    """What an answer says, without what depends on when it was asked."""
    assert answer.status == 200, answer.body
    results = answer.json()["results"]
    for result in results:
        for name in ("age", "ttl"):
            result.pop(name, None)
    return results


def both(server, body, token):
    """Ask the quick way, twice so that all is at hand, and the ordinary way."""
    quick = [server.ask("POST", "/v1/read", body, token=token) for _ in range(2)]
    slow = server.ask("POST", "/v1/read", body, token=token, headers=ORDINARY)
    return [*quick, slow]


def test_both_ways_answer_the_same(reads):
    for body in (
        names("region"),
        names("region", "zone", "nothing", "../x", "team:secret", "region"),
        names(),
        names("nothing"),
        {"refs": [{"kind": "variable", "name": "region", "team": "data"}]},
        {"refs": [{"kind": "variable", "name": "region", "version": "1"}]},
        {"refs": [{"kind": "variable", "name": "region", "version": "9"}]},
        {"refs": [{"kind": "connection", "name": "region"}]},
        {"refs": names("region")["refs"], "run": {"dag_id": "d", "task_id": "t", "try_number": 2}},
    ):
        for token in (reads.admin, reads.reader, reads.nobody):
            first, second, slow = map(told, both(reads, body, token))
            assert first == second == slow


def test_each_name_has_an_outcome_of_its_own(reads):
    results = told(reads.ask("POST", "/v1/read", names("region", "nothing", "a//b"), token=reads.admin))
    assert [result["outcome"] for result in results] == ["found", "absent", "invalid"]
    assert results[0]["value"] == f"{CANARY}-region"
    assert (results[0]["backend"], results[0]["version"]) == ("native", "1")
    assert results[2]["error"]["code"] == "invalid_input"


def test_what_is_denied_is_told_the_same_whether_it_is_there_or_not(reads):
    there, nowhere = told(reads.ask("POST", "/v1/read", names("region", "nothing"), token=reads.nobody))
    assert there["outcome"] == nowhere["outcome"] == "denied"
    assert "value" not in there
    assert there["error"]["message"].replace("region", "nothing") == nowhere["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"refs":[{"kind":"variable","name":"region"}],"refs":[]}', 400),
        (b'{"refs":[{"kind":"variable","name":"region","name":"zone"}]}', 400),
        (b'{"refs":[{"kind":"variable","name":"a:b","name":"c"}]}', 400),
        (b'{"refs":[{"kind":"variable","name":"region"}],"more":1}', 422),
        (b'{"refs":[{"kind":"secret","name":"region"}]}', 422),
        (b'{"refs":"region"}', 422),
        (b'{"refs":[', 400),
        (b"", 400),
        (b'{"re\x92s":[]}', 400),
        (b'{"refs":[{"kind":"variable","name":"\x92"}]}', 400),
        (b"[]", 422),
        (b'{"refs":[{"kind":"variable","name":"\\ud800"}]}', 400),
        (json.dumps(names(*map(str, range(1001)))).encode(), 413),
    ],
)
def test_a_body_that_is_no_request_is_refused_as_everywhere(reads, body, status):
    headers = {"Content-Type": "application/json"}
    for more in ({}, ORDINARY):
        answer = reads.ask("POST", "/v1/read", body, token=reads.admin, headers=headers | more)
        assert answer.status == status
        assert "error" in answer.json()


def test_a_name_with_a_colon_and_blanks_between_are_read(reads):
    body = b'{ "refs" : [ { "kind" : "variable", "name" : "team:secret", "team": null } ] }'
    headers = {"Content-Type": "application/json"}
    (result,) = told(reads.ask("POST", "/v1/read", body, token=reads.admin, headers=headers))
    assert result["value"] == f"{CANARY}-team:secret"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json", "Host": "evil.example"}, 421),
        ({"Content-Type": "application/json", "Authorization": "Bearer srm_t_wrong"}, 401),
        ({"Content-Type": "application/json", "Authorization": "Basic YTpi"}, 401),
        ({"Content-Type": "application/json", "X-HTTP-Method-Override": "DELETE"}, 400),
        ({"Content-Type": "application/json", "Cookie": "strongroom=srm_s_x"}, 401),
    ],
)
def test_the_quick_way_lets_nothing_through_that_the_ordinary_refuses(reads, headers, status):
    body = json.dumps(names("region")).encode()
    told(reads.ask("POST", "/v1/read", body, token=reads.admin, headers={"Content-Type": "application/json"}))
    answer = reads.ask("POST", "/v1/read", body, token=reads.admin, headers=headers)
    assert answer.status == status
    assert CANARY.encode() not in answer.body
    assert reads.ask("GET", "/v1/read", token=reads.admin).status == 405
    assert reads.ask("POST", "/v1/read?x=1", body, token=reads.admin, headers=headers).status >= 400


def test_each_deployment_reads_its_own(reads):
    token = reads.token("reads-staging", "admin", deployment="staging")
    reads.ask("PUT", "/d/staging/v1/entries/variable/region", {"value": "theirs"}, token=token)
    for _ in range(2):
        (result,) = told(reads.ask("POST", "/d/staging/v1/read", names("region"), token=token))
        assert result["value"] == "theirs"
        assert reads.ask("POST", "/v1/read", names("region"), token=token).status == 401
        assert reads.ask("POST", "/d/staging/v1/read", names("region"), token=reads.admin).status == 401


def test_AA11_a_revoked_token_reads_nothing_any_more(reads):
    token = reads.token("reads-gone", "admin")
    assert told(reads.ask("POST", "/v1/read", names("region"), token=token))
    reads.house.deployment().root.access.tokens.revoke("reads-gone")
    assert reads.ask("POST", "/v1/read", names("region"), token=token).status == 401


def test_a_lost_role_reads_nothing_any_more(reads):
    token = reads.token("reads-demoted", "admin")
    for _ in range(2):
        assert told(reads.ask("POST", "/v1/read", names("region"), token=token))[0]["outcome"] == "found"
    access = reads.house.deployment().root.access
    access.roles.revoke("admin", "service:reads-demoted")
    (result,) = told(reads.ask("POST", "/v1/read", names("region"), token=token))
    assert result["outcome"] == "denied"


def test_a_write_is_read_at_once(reads):
    for value in ("one", "two"):
        reads.ask("PUT", "/v1/entries/variable/changing", {"value": value}, token=reads.admin)
        for _ in range(2):
            (result,) = told(reads.ask("POST", "/v1/read", names("changing"), token=reads.admin))
            assert result["value"] == value


def test_AU09_a_first_use_is_on_record_before_it_is_answered_and_repeats_are_counted(reads):
    reads.ask("PUT", "/v1/entries/variable/counted", {"value": "x"}, token=reads.admin)
    token = reads.token("reads-counted", "admin")
    audit = reads.house.deployment().root.audit

    def recorded():
        found = audit.search(actor="service:reads-counted") if hasattr(audit, "search") else audit.tail(1000)
        return [each for each in found if each.actor == "service:reads-counted" and each.name == "counted"]

    assert told(reads.ask("POST", "/v1/read", names("counted"), token=token))
    assert len(recorded()) == 1
    for _ in range(5):
        told(reads.ask("POST", "/v1/read", names("counted"), token=token))
    assert len(recorded()) == 1
    other = names("counted") | {"run": {"dag_id": "another"}}
    told(reads.ask("POST", "/v1/read", other, token=token))
    assert len(recorded()) == 2


# --- one connection -------------------------------------------------------------------------------------


def raw(server, *bodies, token, headers=""):
    """Send requests in one piece, and give the bodies of the answers in their order."""
    data = b""
    for body in bodies:
        text = json.dumps(body).encode()
        head = (
            f"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        data += head.encode() + text
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.sendall(data)
        return answers(connection, len(bodies))


def answers(connection, count):
    data, found = b"", []
    while len(found) < count:
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(rest) < length:
            rest += connection.recv(65536)
        found.append((int(head[9:12]), rest[:length]))
        data = rest[length:]
    return found


def test_requests_in_one_piece_are_answered_in_their_order(reads):
    for name in (f"p{index}" for index in range(6)):
        reads.ask("PUT", f"/v1/entries/variable/{name}", {"value": name}, token=reads.admin)
    told(reads.ask("POST", "/v1/read", names("p1"), token=reads.admin))
    # At hand, to be looked up, to be recorded, no request at all, a batch: each takes another time.
    plan = ["p1", "p2", "p1", "nothing", "p3", "p1", "p4", "p5", "p1"] * 5
    got = raw(reads, *(names(name) for name in plan), token=reads.admin)
    assert [status for status, _ in got] == [200] * len(plan)
    assert [json.loads(body)["results"][0]["name"] for _, body in got] == plan


def test_a_bad_request_among_good_ones_does_not_mix_them_up(reads):
    bodies = [names("region"), {"refs": 1}, names("zone"), names("region", "zone")]
    got = raw(reads, *bodies, token=reads.admin)
    assert [status for status, _ in got] == [200, 422, 200, 200]
    assert [len(json.loads(got[index][1])["results"]) for index in (0, 2, 3)] == [1, 1, 2]


def test_what_one_request_of_a_connection_may_the_next_may_not_for_it(reads):
    good, wrong = f"Bearer {reads.admin}", f"Bearer {reads.admin[:-1]}"
    plan = [good, good, wrong, good, "Basic YTpi", wrong, good] * 3
    body = json.dumps(names("region")).encode()
    connection = reads.connect()
    with closing(connection):
        for credential in plan:
            headers = {"Authorization": credential, "Content-Type": "application/json"}
            connection.request("POST", "/v1/read", body, headers)
            answer = connection.getresponse()
            told = answer.read()
            assert answer.status == (200 if credential == good else 401)
            assert (CANARY.encode() in told) == (credential == good)


def test_a_client_that_ends_its_side_is_answered_still(reads):
    request = names("never-read-before", "zone")
    body = json.dumps(request).encode()
    head = f"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {reads.admin}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    for more in ("", "X-Other: 1\r\n"):
        with socket.create_connection(("127.0.0.1", reads.port), 20) as connection:
            connection.sendall((head + more + "\r\n").encode() + body)
            connection.shutdown(socket.SHUT_WR)
            ((status, answer),) = answers(connection, 1)
            assert (status, len(json.loads(answer)["results"])) == (200, 2)
            assert connection.recv(1) == b""


def test_nonsense_behind_a_request_does_not_take_its_answer_away(reads):
    body = json.dumps(names("another-never-read")).encode()
    head = (
        f"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {reads.admin}\r\nX-Other: 1\r\n"
    )
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", reads.port), 20) as connection:
        connection.sendall(head.encode() + body + b"\0\0\0 nonsense\r\n\r\n")
        ((status, _),) = answers(connection, 1)
        assert status == 200
        assert connection.recv(65536) == b""


def test_a_client_that_leaves_before_the_answer_harms_nobody(reads):
    body = json.dumps(names("region")).encode()
    head = f"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {reads.admin}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", reads.port)) as connection:
            connection.sendall(head.encode() + body)
    assert told(reads.ask("POST", "/v1/read", names("region"), token=reads.admin))
    assert "unexpected" not in reads.log


# --- trouble ----------------------------------------------------------------------------------------------


def test_AU05_without_a_record_no_value_leaves_and_health_stays(tmp_path):
    with serving(tmp_path) as server:
        token = server.token()
        server.ask("PUT", "/v1/entries/variable/region", {"value": CANARY}, token=token)
        assert told(server.ask("POST", "/v1/read", names("region"), token=token))
        other = server.token("other", "admin")
        (tmp_path / "audit").rename(tmp_path / "moved")
        (tmp_path / "audit").touch()
        for headers in ({}, ORDINARY):
            answer = server.ask("POST", "/v1/read", names("region"), token=other, headers=headers)
            assert (answer.status, answer.code) == (503, "not_recorded")
            assert CANARY.encode() not in answer.body
        assert server.ask("GET", "/health/live").status == 200
        (tmp_path / "audit").unlink()
        (tmp_path / "moved").rename(tmp_path / "audit")
        deadline = time.monotonic() + 20
        while server.ask("POST", "/v1/read", names("region"), token=other).status != 200:
            assert time.monotonic() < deadline, "it did not recover"
            time.sleep(0.05)


def test_DS07_a_slow_backend_does_not_hold_up_what_others_answer(tmp_path):
    silent = socket.create_server(("127.0.0.1", 0))  # accepts, and says nothing
    settings = f"""
chain = ["vault", "native"]
[backend.vault]
kind = "vault"
url = "http://127.0.0.1:{silent.getsockname()[1]}"
match = ["slow/*"]
auth = {{ method = "token", token = {{ env = "T" }} }}
on_unavailable = "stop"
[lookup]
timeout_seconds = 2
[server.limits]
identity_per_second = 0
"""
    with silent, serving(tmp_path, settings, environ={"T": "t"}) as server:
        token = server.token()
        server.ask("PUT", "/v1/entries/variable/region", {"value": "eu"}, token=token)
        outcomes = []
        is_enough = threading.Event()

        def slow(index):
            while not is_enough.is_set():
                answer = server.ask("POST", "/v1/read", names(f"slow/{index}"), token=token)
                outcomes.append(told(answer)[0]["outcome"])

        threads = [threading.Thread(target=slow, args=(index,)) for index in range(30)]
        for thread in threads:
            thread.start()
        quick = Counter()
        try:
            # Each asks anew, for the value was written: thirty slow ones would have left room for none.
            while quick.total() <= 30:
                (result,) = told(server.ask("POST", "/v1/read", names("region"), token=token))
                quick[result["outcome"]] += 1
                assert all(thread.is_alive() for thread in threads)
                server.ask("PUT", "/v1/entries/variable/region", {"value": "eu"}, token=token)
        finally:
            is_enough.set()
            for thread in threads:
                thread.join()
        assert set(outcomes) == {"unavailable"}
        assert set(quick) == {"found"}


def test_names_are_counted_only_where_that_was_said(tmp_path, reads):
    assert "region" not in reads.ask("GET", "/metrics").body.decode()
    with serving(tmp_path, "[server]\nmetrics_names = true\n") as server:
        token = server.house.deployment().root.access.tokens.issue("t", roles=[Role("admin")]).token.reveal()
        server.ask("PUT", "/v1/entries/variable/region", {"value": CANARY}, token=token)
        server.ask("POST", "/v1/read", names("region"), token=token)
        figures = server.ask("GET", "/metrics").body.decode()
        assert (
            'strongroom_entry_reads_total{deployment="default",kind="variable",name="region"} 1.0' in figures
        )
        assert CANARY not in figures
