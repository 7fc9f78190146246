"""What closing a live client means for what it was lent: a real OpenBao, real PostgreSQL, in one process."""

from __future__ import annotations

import gc
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

import strongroom
from parts.databases import wait_for
from parts.openbao import bao  # noqa: F401 -- a fixture
from parts.openbao_kv import Lending
from parts.proxy import Proxy

USER = sa.text("SELECT current_user")


@pytest.fixture(scope="module")
def lending(bao):  # noqa: F811
    return Lending(bao)


@pytest.fixture
def proxy(bao):  # noqa: F811
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield proxy


@pytest.fixture
def using(lending, proxy, tmp_path):
    """Use a room whose connections named are lent from a role each."""

    @contextmanager
    def use(*names):
        mount = lending.bao.mount(version=2)
        stored = {"conn_type": "postgres", "host": lending.database.socket, "schema": "postgres"}
        for name in names:
            lending.bao.put(mount, f"connections/{name}", {"conn_uri": json.dumps(stored)})
        dynamic = ", ".join(f'"{name}" = "{lending.role(default_ttl="1h")}"' for name in names)
        file = tmp_path / "strongroom.toml"
        file.write_text(
            f'chain = ["vault"]\n[backend.vault]\nurl = "{proxy.url()}"\ntoken = {{ env = "BAO" }}\n'
            f'mount_point = "{mount}"\ndynamic = {{ {dynamic} }}\n'
        )
        file.chmod(0o600)
        environ = {"HOME": str(tmp_path), "STRONGROOM_CONFIG": str(file), "BAO": lending.bao.root}
        with strongroom.open_room(environ=environ) as room, strongroom.use_room(room):
            yield room

    return use


def user(engine):
    with engine.connect() as session:
        return session.execute(USER).scalar_one()


def by_dispose():
    engine = strongroom.client("orders_db")
    yield user(engine)
    engine.dispose()


def by_the_end_of_with():
    with strongroom.client("orders_db", driver="psycopg") as maker, maker.connect() as session:
        yield session.execute("SELECT current_user").fetchone()[0]


def by_letting_go():
    engine = strongroom.client("orders_db")
    yield user(engine)
    del engine
    gc.collect()


def by_letting_go_of_a_session_whose_maker_nobody_has():
    session = strongroom.client("orders_db", driver="psycopg").connect()
    gc.collect()
    yield session.execute("SELECT current_user").fetchone()[0]
    session.close()
    del session
    gc.collect()


WAYS = [
    by_dispose,
    by_the_end_of_with,
    by_letting_go,
    by_letting_go_of_a_session_whose_maker_nobody_has,
]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_revoked_when_its_last_client_is_closed(way, lending, using):
    before = lending.logins()
    with using("orders_db"):
        client = way()
        login = next(client)
        assert lending.logins() - before == {login}
        assert next(client, None) is None
        wait_for(lambda: lending.logins() == before)


def test_it_lives_until_the_last_of_several_is_closed(lending, using, proxy):
    before = lending.logins()
    with using("orders_db"):
        one, other = strongroom.client("orders_db"), strongroom.client("orders_db")
        login = user(one)
        assert user(other) == login
        one.dispose()
        other.dispose()
        wait_for(lambda: lending.logins() == before)
    assert sum("/creds/" in line for line in proxy.lines) == 1


def test_an_engine_that_is_used_again_is_lent_another_which_is_revoked_in_turn(lending, using):
    before = lending.logins()
    with using("orders_db"):
        engine = strongroom.client("orders_db")
        found = set()
        for _ in range(3):
            found.add(user(engine))
            engine.dispose()
            wait_for(lambda: lending.logins() == before)
        assert len(found) == 3


def test_a_session_that_is_out_keeps_it_until_it_is_back(lending, using):
    before = lending.logins()
    with using("orders_db", "other_db"):
        engine, other = strongroom.client("orders_db"), strongroom.client("other_db")
        session = engine.connect()
        login = session.execute(USER).scalar_one()
        user(other)
        engine.dispose()
        other.dispose()
        wait_for(lambda: lending.logins() - before == {login})  # what was closed after it is revoked
        assert session.execute(USER).scalar_one() == login
        session.close()
        wait_for(lambda: lending.logins() == before)


def test_an_open_session_of_a_closed_maker_keeps_it(lending, using):
    before = lending.logins()
    with using("orders_db", "other_db"):
        other = strongroom.client("other_db")
        user(other)
        with strongroom.client("orders_db", driver="psycopg") as maker:
            session = maker.connect()
        del maker
        login = session.execute("SELECT current_user").fetchone()[0]
        other.dispose()
        wait_for(lambda: lending.logins() - before == {login})
        assert session.execute("SELECT current_user").fetchone()[0] == login
        session.close()
        del session
        gc.collect()
        wait_for(lambda: lending.logins() == before)


def test_clients_that_come_and_go_at_once_are_never_refused_and_leave_nothing(lending, using):
    before = lending.logins()
    with using("orders_db"):

        def come_and_go(_number):
            engine = strongroom.client("orders_db")
            found = user(engine)
            engine.dispose()
            return found

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(come_and_go, range(40)))
        wait_for(lambda: lending.logins() == before)


def test_closing_does_not_wait_for_a_server_that_is_down_and_it_is_revoked_once_it_is_back(
    lending, using, proxy
):
    before = lending.logins()
    with using("orders_db"):
        engine = strongroom.client("orders_db")
        login = user(engine)
        proxy.become("refuse")
        asked = threading.Thread(target=engine.dispose)
        asked.start()
        asked.join(1)
        assert not asked.is_alive()
        assert login in lending.logins()
        proxy.become("pass")
        wait_for(lambda: lending.logins() == before)


def test_a_forked_child_is_given_nothing_that_its_parent_may_revoke(lending, using):
    with using("orders_db"):
        engine = strongroom.client("orders_db")
        login = user(engine)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, strongroom.connection("orders_db").login.encode())
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        given = os.read(read, 200).decode()
        os.close(read)
        assert given.startswith("v-")
        assert given != login
        engine.dispose()
        wait_for(lambda: login not in lending.logins())
        assert given in lending.logins()
