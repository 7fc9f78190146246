"""SQLAlchemy engines that follow their connection, against the databases themselves."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import threading
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa

from parts import databases
from parts.held import kept
from parts.rotating import Rotating
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.live import engine as family

PID = sa.text("SELECT pg_backend_pid()")


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
def engine(stored):
    made = family.client(stored.held, stored.asked(pool_size=4, max_overflow=2))
    yield made
    made.dispose()


def pid(engine):
    with engine.connect() as session:
        return session.execute(PID).scalar_one()


def refused(work, kind=AccessDeniedError):
    with pytest.raises(kind) as caught:
        work()
    error = caught.value
    told = "".join(traceback.format_exception(error)) + repr(vars(error)) + str(error.__cause__)
    assert error.__suppress_context__ or error.__context__ is None
    assert "p/w:@" not in told
    return error


def test_it_is_an_engine_of_sqlalchemy_that_knows_no_password(engine, stored):
    assert type(engine) is sa.Engine
    assert engine.url.password is None
    with engine.connect() as session:
        assert session.execute(sa.text("SELECT current_user")).scalar_one() == engine.url.username


def test_none_of_a_thousand_queries_is_lost_while_the_password_is_rotated(engine, stored, role):
    done, failures, begun = [], [], threading.Semaphore(0)

    def works():
        try:
            for turn in range(125):
                done.append(pid(engine))
                if turn == 10:
                    begun.release()
        except Exception as error:  # noqa: BLE001 -- the test tells it
            failures.append(error)
            begun.release()

    threads = [threading.Thread(target=works) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in threads:
        begun.acquire()
    for _ in range(3):
        role.rotate()
        stored.write(**fields_of(role))
        stored.tell()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(done) == 1000
    assert len(set(done)) > 4  # sessions were replaced meanwhile


def test_a_session_under_way_finishes_and_an_idle_one_is_replaced_when_it_is_next_checked_out(
    engine, stored, role
):
    idle = pid(engine)
    with engine.connect() as running:
        assert running.execute(PID).scalar_one() == idle
        role.rotate()
        stored.write(**fields_of(role))
        stored.tell()
        assert running.execute(PID).scalar_one() == idle
    renewed = pid(engine)
    assert renewed != idle
    assert pid(engine) == renewed


def test_refused_credentials_are_asked_about_once_and_tried_once_more(engine, stored, role):
    role.rotate()
    stored.write(**fields_of(role))  # and nobody is told
    assert pid(engine) > 0
    assert stored.questions == 1


def test_credentials_that_stay_refused_are_an_error_of_ours_after_one_question(engine, stored, role):
    role.rotate()
    error = refused(lambda: pid(engine))
    assert (error.step, error.reason) == ("authentication", "credentials")
    assert "orders_db" in str(error)
    assert stored.questions == 1


def test_a_session_goes_on_while_the_newer_password_is_refused_yet(engine, stored, role):
    before = pid(engine)
    stored.write(**fields_of(role, password="p/w:@ not yet"))
    stored.tell()
    assert pid(engine) == before


def test_a_session_to_another_place_does_not_go_on(engine, stored, role):
    pid(engine)
    stored.write(**fields_of(role, schema="p/w:@nowhere"))
    stored.tell()
    error = refused(lambda: pid(engine), BackendConfigError)
    assert (error.step, error.reason) == ("read", "unknown")


def test_another_description_replaces_no_session(engine, stored, role):
    before = pid(engine)
    stored.write(**fields_of(role, description="another one"))
    stored.tell()
    assert pid(engine) == before


def test_errors_of_a_query_are_those_of_the_library(engine):
    with engine.connect() as session, pytest.raises(sa.exc.ProgrammingError):
        session.execute(sa.text("SELECT nothing FROM nowhere"))


def test_a_forked_child_opens_sessions_of_its_own(engine):
    held = pid(engine)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if pid(engine) != held else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pid(engine) == held


def test_closing_ends_the_following_and_using_it_again_begins_it(engine, stored):
    pid(engine)
    engine.dispose()
    assert stored.held._clients == 0
    assert pid(engine) > 0
    assert stored.held._clients == 1


def test_an_engine_nobody_has_any_more_ends_the_following_and_its_sessions(stored, role):
    made = family.client(stored.held, stored.asked())
    pid(made)
    assert len(role.sessions()) == 1
    del made
    gc.collect()
    assert stored.held._clients == 0
    databases.wait_for(lambda: not role.sessions())


@pytest.mark.parametrize(
    ("changes", "step", "reason", "kind"),
    [
        ({"host": "127.0.0.1", "port": 1}, "tcp", "refused", BackendUnavailableError),
        ({"host": "nowhere.invalid"}, "name", "unknown", BackendConfigError),
        ({"extra": {"sslmode": "p/w:@"}}, "options", "malformed", BackendConfigError),
        ({"extra": {"p/w:@": "x"}}, "options", "unknown", BackendConfigError),
        ({"extra": {"options": {"a": "p/w:@"}}}, "options", "malformed", BackendConfigError),
        ({"schema": "p/w:@"}, "read", "unknown", BackendConfigError),
        ({"password": "p/w:@\0"}, "options", "malformed", BackendConfigError),
        ({"extra": {"sqlalchemy_scheme": "sqlite:///p/w:@"}}, "options", "malformed", BackendConfigError),
        ({"extra": {"sqlalchemy_query": "p/w:@"}}, "options", "malformed", BackendConfigError),
    ],
    ids=str,
)
def test_what_goes_wrong_while_connecting_is_told_by_its_step(role, changes, step, reason, kind):
    with kept("orders_db", **fields_of(role, **changes)) as stored:
        error = refused(lambda: pid(family.client(stored.held, stored.asked())), kind)
    assert (error.step, error.reason) == (step, reason)


@pytest.mark.parametrize("options", [{"nonsense": 1}, {"creator": print}, {"pool_size": "many"}], ids=str)
def test_options_that_the_engine_does_not_know_are_told(stored, options):
    error = refused(lambda: pid(family.client(stored.held, stored.asked(**options))), BackendConfigError)
    assert (error.step, error.reason) == ("options", "unknown")


def test_a_driver_that_is_not_installed_is_told_by_its_name(role):
    with kept("orders_db", **fields_of(role, extra={"sqlalchemy_scheme": "postgresql+pg8000"})) as stored:
        error = refused(lambda: family.client(stored.held, stored.asked()), BackendConfigError)
    assert (error.step, error.reason) == ("driver", "missing")


def test_the_asynchronous_engine_follows_as_well(stored, role):
    async def apid(engine):
        async with engine.connect() as session:
            return (await session.execute(PID)).scalar_one()

    async def works():
        engine = await family.aclient(stored.held, stored.asked(pool_size=1))
        before = await apid(engine)
        role.rotate()
        stored.write(**fields_of(role))
        async with engine.connect(), engine.connect() as second:  # a second session: refused, asked, and in
            assert (await second.execute(PID)).scalar_one() != before
        assert await apid(engine) != before
        await engine.dispose()

    asyncio.run(works())
    assert stored.questions == 1
    assert stored.held._clients == 0


# What a process with SQLAlchemy 1.4 and psycopg2 does, as tasks of Airflow 2 have them.
OLD = """
import sys
sys.path.insert(0, sys.argv[1])
import psycopg2, sqlalchemy as sa
from parts.held import kept
from strongroom.errors import AccessDeniedError
from strongroom.live import engine

host, name, before, after = sys.argv[2:]
fields = {"conn_type": "postgres", "host": host, "login": name, "schema": "postgres"}

def pid(made):
    with made.connect() as session:
        return session.execute(sa.text("SELECT pg_backend_pid()")).scalar()

def rotate(password):
    admin = psycopg2.connect(host=host, user="postgres", dbname="postgres")
    admin.autocommit = True
    admin.cursor().execute(f"ALTER USER {name} PASSWORD '{password}'")
    admin.close()

with kept("orders_db", password=before, **fields) as stored:
    made = engine.client(stored.held, stored.asked(pool_size=2))
    first = pid(made)
    rotate(after)
    stored.write(password=after, **fields)
    with made.connect(), made.connect() as second:
        assert second.execute(sa.text("SELECT 1")).scalar() == 1
    assert (stored.questions, pid(made) != first) == (1, True)
    rotate(before)
    made.dispose()
    try:
        pid(made)
    except AccessDeniedError as error:
        assert (error.step, error.reason) == ("authentication", "credentials")
    else:
        raise SystemExit("it got in")
print(sa.__version__, made.url.drivername)
"""


def test_sqlalchemy_1_follows_as_well(role):
    python = Path(__file__).parents[2] / ".venv-airflow2" / "bin" / "python"
    if not python.exists():
        databases.missing("an environment with Airflow 2")
    role._run(f"ALTER USER {role.name} PASSWORD 'before'")
    place = [str(Path(__file__).parents[1]), databases.postgresql().socket, role.name]
    done = subprocess.run(
        [python, "-c", OLD, *place, "before", "after"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.4.")
    assert done.stdout.strip().endswith("postgresql+psycopg2")
