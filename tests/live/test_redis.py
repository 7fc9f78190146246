"""Redis clients against a real server: users, rotation, TLS, a cluster, and what is told when it fails."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import traceback
import warnings
from contextlib import contextmanager

import pytest

import strongroom
from parts import certificates
from parts.held import kept
from parts.redis import PASSWORD, redis_server
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.model.connection import Connection
from strongroom.model.secret import Secret

redis = pytest.importorskip("redis")

from strongroom.live import redis as family  # noqa: E402 -- after its library

NO_TRIES = redis.retry.Retry(redis.backoff.NoBackoff(), 0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return certificates.Authority(tmp_path_factory.mktemp("redis-authority"))


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory, authority):
    with redis_server(tmp_path_factory.mktemp("redis"), authority) as server:
        yield server


@pytest.fixture
def app(server):
    """A user with all rights whose password is `PASSWORD`; nobody has failed to sign in."""
    server.add_user("app", PASSWORD, "~*", "&*", "+@all")
    server.forget_refusals()
    return "app"


def fields(server, **others):
    extra = others.pop("extra", None)
    standard = {"host": "127.0.0.1", "port": server.port, "login": "app", "password": PASSWORD, **others}
    return {"conn_type": "redis", "extra": extra, **standard}


@pytest.fixture
def stored(server, app):
    with kept("cache", **fields(server)) as stored:
        yield stored


@pytest.fixture
def client(stored):
    with family.client(stored.held, stored.asked()) as client:
        yield client


@contextmanager
def opened(given, **options):
    """Give a client of a connection of those fields."""
    with kept(**given) as stored, family.client(stored.held, stored.asked(**options)) as client:
        yield client


def framed(error):
    """Give what an error report with the locals of every frame of ours would show."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return "".join(repr(frame.f_locals) for frame in frames if frame.f_code.co_filename != __file__)


def refused(work):
    with pytest.raises(strongroom.StrongroomError) as caught:
        work()
    error = caught.value
    said = f"{error!r} {error.hint} {vars(error)} {''.join(traceback.format_exception(error))}"
    assert PASSWORD not in said + framed(error)
    assert "redis.exceptions" not in said
    return error


def what(error):
    return (error.step, error.reason)


# --- the main path ------------------------------------------------------------------------------


def test_a_client_of_a_connection_in_the_room_reads_what_it_wrote(server, app, tmp_path):
    environ = {
        "HOME": str(tmp_path),
        "STRONGROOM__CHAIN": '["env"]',
        "AIRFLOW_CONN_CACHE": Connection(**_made(fields(server))).format("json").reveal(),
    }
    with (
        strongroom.open_room(environ=environ) as room,
        strongroom.use_room(room),
        strongroom.client("cache", options={"decode_responses": True}) as client,
    ):
        assert isinstance(client, redis.Redis)
        client.set("greeting", "hello")
        assert client.get("greeting") == "hello"
        assert client.acl_whoami() == "app"


def _made(given):
    return {**given, "password": Secret(given["password"])}


def test_the_database_is_the_one_in_extra(server, app):
    with opened(fields(server, extra={"db": "3"})) as client:
        client.set("here", "3")
        assert server.admin.get("here") is None


def test_an_option_reaches_the_library_and_wins_over_the_connection(server, stored):
    with family.client(stored.held, stored.asked(db=2, client_name="asked")) as client:
        assert client.client_info()["db"] == 2
        assert client.client_info()["name"] == "asked"


@pytest.mark.parametrize("option", ["password", "credential_provider", "connection_pool", "no_such"])
def test_an_option_that_the_connection_says_or_nobody_knows_is_refused(stored, option):
    error = refused(lambda: family.client(stored.held, stored.asked(**{option: "x"})))
    assert isinstance(error, BackendConfigError)
    assert what(error) == ("options", "unknown")


@pytest.mark.parametrize(
    "extra", [{"db": "first"}, {"ssl": "perhaps"}, {"ssl": True, "ssl_cert_reqs": "some"}, {"cluster": []}]
)
def test_a_field_that_cannot_be_read_is_named(server, extra):
    with kept(**fields(server, extra=extra)) as stored:
        error = refused(lambda: family.client(stored.held, stored.asked()))
    assert what(error) == ("options", "malformed")
    assert f"extra.{list(extra)[-1]}" in str(error)


# --- following ----------------------------------------------------------------------------------


def test_new_sessions_use_the_new_password_and_nobody_is_refused(server, stored, client):
    client.ping()
    before = server.sessions("app")
    server.change_password("app", "two")
    stored.write(**fields(server, password="two"))
    stored.tell()
    client.ping()
    assert server.sessions("app").isdisjoint(before)
    assert server.refusals() == 0
    assert stored.questions == 0


def test_a_refusal_asks_once_and_tries_once_more(server, stored, client):
    client.ping()
    server.change_password("app", "two")
    stored.write(**fields(server, password="two"))
    server.end_sessions("app")
    assert client.ping()
    assert stored.questions == 1
    assert server.refusals() == 1


def test_a_refusal_without_anything_newer_is_told_and_not_tried_again(server, stored, client):
    server.change_password("app", "two")
    error = refused(client.ping)
    assert isinstance(error, AccessDeniedError)
    assert what(error) == ("authentication", "credentials")
    assert stored.questions == 1
    assert server.refusals() == 1


def test_newer_credentials_that_are_refused_too_are_not_tried_again(server, stored, client):
    server.change_password("app", "three")
    stored.write(**fields(server, password="two"))
    assert what(refused(client.ping)) == ("authentication", "credentials")
    assert server.refusals() == 2


def test_a_transaction_under_way_finishes_on_its_session_which_is_not_used_again(server, stored, client):
    client.delete("counter")
    with client.pipeline() as pipeline:
        pipeline.watch("counter")
        before = server.sessions("app")
        server.change_password("app", "two")
        stored.write(**fields(server, password="two"))
        stored.tell()
        assert client.incr("another")
        pipeline.multi()
        pipeline.set("counter", "1")
        assert pipeline.execute() == [True]
    client.ping()
    assert server.sessions("app").isdisjoint(before)


def test_a_pipeline_made_before_a_rotation_runs_after_it(server, stored, client):
    pipeline = client.pipeline().set("late", "1")
    server.change_password("app", "two")
    stored.write(**fields(server, password="two"))
    stored.tell()
    assert pipeline.execute() == [True]
    assert server.refusals() == 0


def test_a_subscription_goes_on_through_a_rotation_and_signs_in_anew_with_the_new_password(
    server, stored, client
):
    with client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe("news")
        heard.get_message(timeout=5)
        server.change_password("app", "two")
        stored.write(**fields(server, password="two"))
        stored.tell()
        client.publish("news", "one")
        assert heard.get_message(timeout=5)["data"] == b"one"
        server.end_sessions("app")
        while heard.get_message(timeout=0.1):  # it finds that it was cut, and subscribes anew
            pass
        assert server.admin.publish("news", "two") == 1
        assert heard.get_message(timeout=5)["data"] == b"two"


def test_another_host_is_followed_and_gets_no_password_of_the_first(
    server, stored, client, tmp_path, authority
):
    client.ping()
    with redis_server(tmp_path / "other", authority) as other:
        other.add_user("app", "elsewhere", "~*", "+@all")
        stored.write(**fields(other, password="elsewhere"))
        server.change_password("app", "two")
        server.end_sessions("app")
        client.set("moved", "yes")
        assert other.admin.get("moved") == b"yes"
        assert server.refusals() == 1
        assert other.refusals() == 0


def test_threads_under_a_rotation_lose_nothing(server, stored):
    with family.client(stored.held, stored.asked()) as client:
        client.delete("sum")
        begun = threading.Barrier(5)
        failed = []

        def count():
            begun.wait(10)
            for _ in range(250):
                try:
                    client.incr("sum")
                except Exception as error:  # noqa: BLE001 -- any is one too many
                    failed.append(error)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait(10)
        server.add_password("app", "two")
        stored.write(**fields(server, password="two"))
        stored.tell()
        server.change_password("app", "two")
        for thread in threads:
            thread.join(30)
        assert not failed
        assert client.get("sum") == b"1000"


def test_a_forked_child_has_sessions_of_its_own(stored, client):
    client.set("parent", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        try:
            os._exit(0 if client.get("parent") == b"1" else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert client.get("parent") == b"1"


def test_closing_ends_sessions_and_following(server, stored):
    client = family.client(stored.held, stored.asked())
    client.ping()
    assert server.sessions("app")
    client.close()
    assert not stored.held._clients
    client.close()
    assert not stored.held._clients


def test_a_client_that_nobody_has_any_more_is_closed(server, stored):
    client = family.client(stored.held, stored.asked())
    client.ping()
    del client
    gc.collect()
    assert not stored.held._clients


# --- asynchronous -------------------------------------------------------------------------------


def test_an_asynchronous_client_follows_without_blocking_its_loop(server, stored):
    async def work():
        client = await family.aclient(stored.held, stored.asked())
        async with client:
            await client.set("async", "1")
            server.change_password("app", "two")
            stored.write(**fields(server, password="two"))
            server.end_sessions("app")
            assert await client.get("async") == b"1"
            server.change_password("app", "three")
            stored.write(**fields(server, password="three"))
            await asyncio.to_thread(stored.tell)
            assert await client.get("async") == b"1"

    asyncio.run(work())
    assert stored.questions == 1
    assert server.refusals() == 1
    assert not stored.held._clients


def test_an_asynchronous_refusal_is_told_once(server, stored):
    async def work():
        async with await family.aclient(stored.held, stored.asked()) as client:
            await client.ping()

    server.change_password("app", "two")
    assert what(refused(lambda: asyncio.run(work()))) == ("authentication", "credentials")
    assert server.refusals() == 1


# --- TLS ----------------------------------------------------------------------------------------


def over_tls(server, **others):
    extra = {"ssl": True, "ssl_ca_certs": str(server.ca), **others.pop("extra", {})}
    return fields(server, port=server.tls_port, host="localhost", extra=extra, **others)


def test_tls_checks_the_certificate_and_its_name(server, app):
    with opened(over_tls(server)) as client:
        assert client.ping()


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"host": "127.0.0.1"}, "wrong_host"),
        ({"extra": {"ssl_ca_certs": None}}, "untrusted"),
        ({"extra": {"ssl_ca_certs": "/nowhere/ca.pem"}}, "malformed"),
        ({"extra": {"ssl_certfile": __file__}}, "malformed"),
    ],
    ids=["another name", "an unknown authority", "no such file", "no certificate"],
)
def test_a_certificate_that_does_not_fit_is_told_and_gets_no_password(server, app, others, reason):
    host = others.get("host", "localhost")
    with opened({**over_tls(server, extra=others.get("extra", {})), "host": host}, retry=NO_TRIES) as client:
        error = refused(client.ping)
    assert isinstance(error, BackendConfigError)
    assert what(error) == ("tls", reason)
    assert not server.sessions("app")


def test_a_name_that_does_not_fit_is_taken_where_the_connection_says_so(server, app):
    with opened({**over_tls(server, extra={"ssl_check_hostname": "false"}), "host": "127.0.0.1"}) as client:
        assert client.ping()


def test_tls_towards_a_service_in_clear_is_told(server, app):
    given = {**over_tls(server), "port": server.port}
    with opened(given, retry=NO_TRIES, socket_timeout=0.5) as client:
        assert what(refused(client.ping)) == ("tls", "timeout")  # it waits for the rest of a command


def test_an_expired_certificate_is_told(server, app, authority):
    before = server.admin.config_get("tls-cert-file") | server.admin.config_get("tls-key-file")
    certificate, key = authority.issue("expired", "localhost", lasts=-certificates.DAY)
    server.admin.config_set("tls-cert-file", str(certificate), "tls-key-file", str(key))
    try:
        with opened(over_tls(server), retry=NO_TRIES) as client:
            assert what(refused(client.ping)) == ("tls", "expired")
    finally:
        server.admin.config_set(*(part for pair in before.items() for part in pair))


# --- trouble ------------------------------------------------------------------------------------


def test_a_service_that_is_down_is_unavailable(server, free_port):
    with opened(fields(server, port=free_port), retry=NO_TRIES) as client:
        error = refused(client.ping)
    assert isinstance(error, BackendUnavailableError)
    assert what(error) == ("tcp", "refused")


def test_a_host_that_is_none_is_told(server):
    with opened(fields(server, host="no-such-host.invalid"), retry=NO_TRIES) as client:
        assert refused(client.ping).step == "name"


def test_no_password_where_one_is_wanted_is_told_when_it_connects(server, app):
    with opened(fields(server, login=None, password=None), retry=NO_TRIES) as client:
        assert what(refused(client.ping)) == ("authentication", "missing")


def test_a_database_there_is_none_of_and_one_that_is_forbidden_are_told(server, app):
    with opened(fields(server, extra={"db": 9})) as client:
        assert what(refused(client.ping)) == ("read", "unknown")
    server.add_user("app", PASSWORD, "~*", "+@all", "-select")
    with opened(fields(server, extra={"db": 1})) as client:
        assert what(refused(client.ping)) == ("authentication", "forbidden")


def test_what_a_query_is_refused_is_the_librarys_own_error(server, app):
    server.add_user("app", PASSWORD, "~*", "+@all", "-get")
    with opened(fields(server)) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.get("x")


def test_more_sessions_than_were_asked_for_are_the_librarys_own_error(server, app):
    with opened(fields(server), max_connections=1) as client, client.pipeline() as pipeline:
        pipeline.watch("x")
        with pytest.raises(redis.exceptions.ConnectionError, match="Too many"):
            client.ping()


def test_nothing_that_prints_a_client_prints_its_password(stored, client):
    client.ping()
    for shown in (client, client.connection_pool, vars(client), client.connection_pool.connection_kwargs):
        assert PASSWORD not in repr(shown)
    session = client.connection_pool.get_connection()
    assert PASSWORD not in repr(session) + repr(vars(session))
    client.connection_pool.release(session)


# --- a cluster ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, authority):
    with redis_server(tmp_path_factory.mktemp("redis-cluster"), authority, cluster=True) as cluster:
        yield cluster


@pytest.fixture
def in_cluster(cluster):
    cluster.add_user("app", PASSWORD, "~*", "&*", "+@all")
    cluster.forget_refusals()
    with kept("cluster", **fields(cluster, extra={"cluster": True})) as stored:
        yield stored


def test_a_cluster_is_found_and_its_sessions_follow(cluster, in_cluster):
    with family.client(in_cluster.held, in_cluster.asked()) as client:
        assert isinstance(client, redis.RedisCluster)
        client.set("in", "cluster")
        before = cluster.sessions("app")
        cluster.change_password("app", "two")
        in_cluster.write(**fields(cluster, extra={"cluster": True}, password="two"))
        in_cluster.tell()
        assert client.get("in") == b"cluster"
        assert cluster.sessions("app").isdisjoint(before)
        assert cluster.refusals() == 0
    assert not in_cluster.held._clients


def test_a_refusal_in_a_cluster_asks_once_and_tries_once_more(cluster, in_cluster):
    with family.client(in_cluster.held, in_cluster.asked()) as client:
        client.set("in", "cluster")
        cluster.change_password("app", "two")
        in_cluster.write(**fields(cluster, extra={"cluster": True}, password="two"))
        cluster.end_sessions("app")
        assert client.get("in") == b"cluster"
        assert in_cluster.questions == 1
        assert cluster.refusals() == 1


def test_a_cluster_that_refuses_or_does_not_answer_is_told(cluster, in_cluster, free_port):
    cluster.change_password("app", "two")
    error = refused(lambda: family.client(in_cluster.held, in_cluster.asked()))
    assert what(error) == ("authentication", "credentials")
    assert cluster.refusals() == 1
    with kept(**fields(cluster, port=free_port, extra={"cluster": True})) as stored:
        assert what(refused(lambda: family.client(stored.held, stored.asked()))) == ("tcp", "refused")


@pytest.mark.parametrize("extra", [{"startup_nodes": "one,two"}, {"db": 1}])
def test_what_a_cluster_does_not_have_is_told(cluster, in_cluster, extra):
    with kept(**fields(cluster, extra={"cluster": "true", **extra})) as stored:
        assert what(refused(lambda: family.client(stored.held, stored.asked()))) == ("options", "malformed")


def test_more_nodes_to_begin_with_are_asked_where_the_first_is_down(cluster, in_cluster, free_port):
    extra = {"cluster": True, "startup_nodes": f"127.0.0.1:{cluster.port}"}
    with opened(fields(cluster, port=free_port, extra=extra)) as client:
        assert client.ping()


def test_there_is_no_asynchronous_client_of_a_cluster(in_cluster):
    error = refused(lambda: asyncio.run(family.aclient(in_cluster.held, in_cluster.asked())))
    assert what(error) == ("options", "unknown")
