"""Connections of psycopg that follow, against a PostgreSQL whose role has its password rotated."""

from __future__ import annotations

import asyncio
import socketserver
import sys
import threading
import traceback
from contextlib import suppress

import psycopg
import pytest

from parts import databases
from parts.certificates import DAY, Authority, server_context
from parts.held import kept
from parts.rotating import Rotating
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.live import engine
from strongroom.live import psycopg as family

PID = "SELECT pg_backend_pid()"
WITH_SQLALCHEMY = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="SQLAlchemy is here from Python 3.11 on"
)


@pytest.fixture
def role():
    with Rotating() as made:
        yield made


def fields_of(role, **more):
    return {
        "conn_type": "postgres",
        "host": databases.postgresql().socket,
        "login": role.name,
        "password": role.password,
        "schema": "postgres",
        **more,
    }


@pytest.fixture
def stored(role):
    with kept("orders_db", **fields_of(role)) as made:
        yield made


@pytest.fixture
def maker(stored):
    with family.client(stored.held, stored.asked(application_name="live")) as made:
        yield made


def one(maker, statement=PID):
    with maker.connect() as connection:
        assert type(connection) is psycopg.Connection
        return connection.execute(statement).fetchone()[0]


def refused(maker, kind):
    with pytest.raises(kind) as caught:
        maker.connect()
    assert "p/w:@" not in "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    return caught.value.step, caught.value.reason


def test_each_connection_is_psycopgs_own_and_takes_options_of_the_client(maker):
    assert one(maker, "SHOW application_name") == "live"


def test_a_new_connection_uses_the_new_password_and_the_old_one_goes_on(maker, stored, role):
    with maker.connect() as before:
        role.rotate()
        stored.write(**fields_of(role))
        stored.tell()
        assert one(maker) != before.info.backend_pid
        assert before.execute(PID).fetchone()[0] == before.info.backend_pid
    assert stored.questions == 0


def test_many_that_are_refused_at_once_ask_once_and_all_get_in(maker, stored, role):
    role.rotate()
    stored.write(**fields_of(role))
    done = []
    threads = [threading.Thread(target=lambda: done.append(one(maker))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(done)) == 8
    assert stored.questions == 1


def test_credentials_that_stay_refused_are_told_after_one_question(maker, stored, role):
    role.rotate()
    assert refused(maker, AccessDeniedError) == ("authentication", "credentials")
    assert stored.questions == 1


@pytest.mark.parametrize(
    ("changes", "told", "kind"),
    [
        ({"host": "127.0.0.1", "port": 1}, ("tcp", "refused"), BackendUnavailableError),
        ({"extra": {"sslmode": "p/w:@"}}, ("options", "malformed"), BackendConfigError),
        ({"extra": {"p/w:@": "x"}}, ("options", "unknown"), BackendConfigError),
        ({"extra": {"cursor": "p/w:@"}}, ("options", "malformed"), BackendConfigError),
        ({"login": "p/w:@nobody", "password": None}, ("authentication", "credentials"), AccessDeniedError),
        ({"password": None}, ("authentication", "missing"), BackendConfigError),
    ],
    ids=str,
)
def test_what_goes_wrong_is_told_by_its_step(role, changes, told, kind):
    with kept("orders_db", **fields_of(role, **changes)) as stored:
        assert refused(family.client(stored.held, stored.asked()), kind) == told


def test_rows_are_what_the_connection_says(role):
    with kept("orders_db", **fields_of(role, extra={"cursor": "DictCursor"})) as stored:
        maker = family.client(stored.held, stored.asked())
        with maker.connect() as connection:
            assert connection.execute("SELECT 1 AS found").fetchone() == {"found": 1}
        maker.close()
        assert stored.held._clients == 0


def test_errors_of_a_statement_are_psycopgs(maker):
    with pytest.raises(psycopg.errors.UndefinedTable):
        one(maker, "SELECT * FROM nowhere")


def test_the_asynchronous_maker_follows_as_well(stored, role):
    async def works():
        async with await family.aclient(stored.held, stored.asked()) as maker:
            role.rotate()
            stored.write(**fields_of(role))
            async with await maker.connect() as connection:
                assert type(connection) is psycopg.AsyncConnection
                return (await (await connection.execute("SELECT 1")).fetchone())[0]

    assert asyncio.run(works()) == 1
    assert (stored.questions, stored.held._clients) == (1, 0)


class _Postgres(socketserver.BaseRequestHandler):
    """As far as TLS: what comes after is nobody's business here."""

    def handle(self):
        with suppress(OSError):
            self.request.recv(8)
            self.request.sendall(b"S")
            with self.server.context.wrap_socket(self.request, server_side=True) as tls:
                tls.recv(1)


@pytest.mark.parametrize(
    ("host", "lasts", "reason"),
    [("127.0.0.1", -DAY, "expired"), ("elsewhere", DAY, "wrong_host"), ("127.0.0.1", DAY, "untrusted")],
)
@pytest.mark.parametrize("driver", ["psycopg", pytest.param("sqlalchemy", marks=WITH_SQLALCHEMY)])
def test_what_ails_a_certificate_is_told(tmp_path, driver, host, lasts, reason):
    authority = Authority(tmp_path)
    trusted = Authority(tmp_path, "other") if reason == "untrusted" else authority
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Postgres) as server:
        server.context = server_context(*authority.issue("server", host, lasts=lasts))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        extra = {"sslmode": "verify-full", "sslrootcert": str(trusted.file)}
        place = {"host": "127.0.0.1", "port": server.server_address[1]}
        with kept("orders_db", conn_type="postgres", login="app", extra=extra, **place) as stored:
            made = {"psycopg": family, "sqlalchemy": engine}[driver].client(stored.held, stored.asked())
            assert refused(made, BackendConfigError) == ("tls", reason)
        server.shutdown()
