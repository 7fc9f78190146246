"""Live clients of what is lent: a real OpenBao whose database engine makes roles in a real PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

import strongroom
from parts.agent import agent
from parts.databases import wait_for
from parts.openbao import bao  # noqa: F401 -- a fixture
from parts.openbao_kv import Lending

USER = sa.text("SELECT current_user")


@pytest.fixture(scope="module")
def lending(bao):  # noqa: F811
    return Lending(bao)


@pytest.fixture
def environ(lending, tmp_path):
    """Give what says where a connection is lent from, and the names of roles lent before."""

    def make(path=None, **role):
        path = path or lending.role(**role)
        mount = lending.bao.mount(version=2)
        stored = {"conn_type": "postgres", "host": lending.database.socket, "schema": "postgres"}
        lending.bao.put(mount, "connections/orders_db", {"conn_uri": json.dumps(stored)})
        settings = tmp_path / "strongroom.toml"
        settings.write_text(
            'chain = ["vault"]\n[backend.vault]\n'
            f'url = "{lending.bao.url}"\ntoken = {{ env = "BAO" }}\nmount_point = "{mount}"\n'
            f'dynamic = {{ "orders_db" = "{path}" }}\n'
        )
        settings.chmod(0o600)
        return {
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            "STRONGROOM_CONFIG": str(settings),
            "BAO": lending.bao.root,
        }

    return make


def user(engine):
    with engine.connect() as session:
        return session.execute(USER).scalar_one()


def renewed(lending, follows):
    """
    Have *follows* use what is lent for a while, until the server says that it has renewed that.

    A machine that stands still for longer than the last third of a life proves nothing: a longer one is
    tried then.
    """
    for seconds in (4, 16, 64):
        path = lending.role(default_ttl=f"{seconds}s", max_ttl="1h")
        with follows(path) as user_now:
            first = user_now()
            while (renewals := lending.renewals(path)) and not any(renewals.values()):
                threading.Event().wait(0.1)
            if len(renewals) == 1 and user_now() == first:
                return
    pytest.fail("no lease was renewed in time")


def test_a_lease_is_renewed_while_a_live_client_uses_it(lending, environ):
    @contextmanager
    def follows(path):
        with strongroom.open_room(environ=environ(path)) as room, strongroom.use_room(room):
            engine = strongroom.client("orders_db")
            yield lambda: user(engine)
            engine.dispose()

    renewed(lending, follows)


def test_past_its_longest_life_another_is_lent_and_sessions_follow(lending, environ):
    with (
        strongroom.open_room(environ=environ(default_ttl="2s", max_ttl="2s")) as room,
        strongroom.use_room(room),
    ):
        engine = strongroom.client("orders_db")
        first = user(engine)
        wait_for(lambda: user(engine) != first)
        engine.dispose()


def test_it_is_revoked_when_its_last_client_is_followed_no_more(lending, environ):
    before = lending.logins()
    with strongroom.open_room(environ=environ(default_ttl="1h", max_ttl="1h")) as room:
        with strongroom.use_room(room):
            engine, maker = strongroom.client("orders_db"), strongroom.client("orders_db", driver="psycopg")
            lent = user(engine)
            assert lending.logins() - before == {lent}
            engine.dispose()
            maker.close()
        wait_for(lambda: lending.logins() == before)
        with strongroom.use_room(room):  # and whoever comes then is lent something else
            again = strongroom.client("orders_db")
            assert user(again) != lent
            again.dispose()


def test_it_stays_where_somebody_else_was_given_it_too(lending, environ):
    with strongroom.open_room(environ=environ(default_ttl="1h", max_ttl="1h")) as room:
        with strongroom.use_room(room):
            engine = strongroom.client("orders_db")
            login = strongroom.connection("orders_db").login
            assert user(engine) == login
            engine.dispose()
        for thread in threading.enumerate():
            if thread.name.startswith("strongroom follow"):
                thread.join(10)  # what it gives back, it has given back then
        assert login in lending.logins()
    assert login not in lending.logins()


def test_a_process_that_ends_revokes_what_its_clients_were_lent(lending, environ):
    before = lending.logins()
    code = (
        "import strongroom, sqlalchemy as sa\n"
        "engine = strongroom.client('orders_db')\n"
        "with engine.connect() as session:\n"
        "    print(session.execute(sa.text('SELECT current_user')).scalar_one())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ(default_ttl="1h", max_ttl="1h"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith("v-")
    assert lending.logins() == before


def test_an_agent_renews_what_it_was_lent_while_a_client_follows_and_revokes_it_at_its_end(
    lending, environ, tmp_path
):
    before = lending.logins()

    @contextmanager
    def follows(path):
        given, home = environ(path), tmp_path / path.replace("/", "-")
        home.mkdir()
        settings = (tmp_path / "strongroom.toml").read_text()
        with (
            agent(home, settings, environ={"BAO": given["BAO"]}) as one,
            strongroom.open_room(environ=one.environ) as room,
            strongroom.use_room(room),
        ):
            engine = strongroom.client("orders_db")
            yield lambda: user(engine)

    renewed(lending, follows)
    wait_for(lambda: lending.logins() == before)
