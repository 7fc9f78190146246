"""
Live clients in tasks of real Airflow: they follow a rotation in the middle of a task, their sessions carry
the names of DAG and run, and no log shows a password, neither an old one nor one that came while it ran.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from parts.agent import agent
from parts.rotating import Rotating
from strongroom.assembly import create_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

AWS_SECRET = "aws/Secret+of'the' key"
ROLE_SECRET = "secret-of-the-role-that-was-assumed"
ROLE = "arn:aws:iam::123456789012:role/reader"
ASSUMED = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{ROLE}</Arn></AssumedRoleUser><Credentials>
<AccessKeyId>ASIAASSUMED</AccessKeyId><SecretAccessKey>{ROLE_SECRET}</SecretAccessKey>
<SessionToken>token-of-the-role</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""
DAGS = """
from __future__ import annotations
import datetime
import strongroom
from stage import please
try:
    from airflow.sdk import DAG, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task

with DAG("live", start_date=datetime.datetime(2024, 1, 1), schedule=None):
    @task
    def follows():
        from sqlalchemy import text
        engine = strongroom.client("pg_of_us")
        maker = strongroom.client("pg_of_us", driver="psycopg")
        def asked():
            with engine.connect() as session:
                return session.execute(text("SELECT pg_backend_pid()")).scalar()
        first = asked()
        with maker.connect() as session:
            print("as one does who looks for a fault:", session.info.password)
        please("rotate")
        with maker.connect() as session:
            print("and once more:", session.info.password)
        print(engine, maker, engine.url, repr(engine))
        second = asked()
        return [first != second, asked() == second]

    @task
    def assumes():
        session = strongroom.client("aws_of_us")
        found = session.get_credentials().get_frozen_credentials()
        return found.access_key

    @task
    def is_refused():
        with strongroom.client("refused_db").connect() as session:
            return "never"

    follows()
    assumes()
    is_refused()
"""
SCRIPT = 'tell(run=run_dag("live", is_supervised=True))'


class Tokens(BaseHTTPRequestHandler):
    """A token service that assumes any role and remembers for whom."""

    names: list[str]

    def log_message(self, *_arguments):
        """Say nothing."""

    def do_POST(self):
        said = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.names.append(said["RoleSessionName"][0])
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(ASSUMED)))
        self.end_headers()
        self.wfile.write(ASSUMED.encode())


@contextmanager
def tokens():
    """Serve on a free port; give the address and the names of the sessions asked for."""
    handler = type("Handler", (Tokens,), {"names": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.names
        finally:
            server.shutdown()
            thread.join(10)


def _aws(address):
    extra = {
        "region_name": "eu-central-1",
        "role_arn": ROLE,
        "service_config": {"sts": {"endpoint_url": address}},
    }
    return json.dumps({"conn_type": "aws", "login": "AKIAOFUS", "password": AWS_SECRET, "extra": extra})


def _made(inside, folder):
    home = folder / "agent"
    home.mkdir()
    environ = {"HOME": str(home), "STRONGROOM_HOME": str(home)}
    with (
        Rotating() as role,
        tokens() as (address, names),
        agent(home, 'chain = ["native"]\n', start=False) as one,
        create_room(one.settings, environ=environ) as room,
    ):

        def write(name, text):
            room.entries.write(Change(ref=Ref("connection", name), secret=Secret(text)))

        def rotate():
            role.rotate()
            write("pg_of_us", role.connection)

        write("pg_of_us", role.connection)
        write("refused_db", role.with_password(wrong := "w/rong+pass of nobody"))
        write("aws_of_us", _aws(address))
        passwords = [role.password]
        one.start()
        given = {**inside.backend(socket=one.socket), **inside.supervised, "NO_PROXY": "*"}
        ran = inside.run(folder, SCRIPT, dags={"live.py": DAGS}, environ=given, orders={"rotate": rotate})
        secrets = [*passwords, role.password, wrong, AWS_SECRET, ROLE_SECRET]
        return ran.keep(names=names, secrets=secrets, log=one.log())


@pytest.fixture(scope="session")
def ran(airflow):
    return airflow(3).once("live", lambda folder: _made(airflow(3), folder))


def log_of(ran, task):
    """Give the log file of *task*."""
    (found,) = [text for name, text in ran.logs.items() if f"task_id={task}/" in name]
    return found


def test_a_task_goes_on_with_the_new_password_in_the_middle_of_its_work(ran):
    assert ran.told["run"]["tasks"]["follows"] == "success", log_of(ran, "follows")
    assert ran.told["run"]["xcoms"]["follows"] == [True, True]


def test_the_session_of_an_assumed_role_carries_the_names_of_dag_and_run(ran):
    assert ran.told["run"]["xcoms"].get("assumes") == "ASIAASSUMED", log_of(ran, "assumes")
    (name,) = set(ran.kept["names"])
    assert "live" in name
    assert len(name) <= 64


def test_a_refused_password_fails_the_task_with_one_line_that_says_what_to_change(ran):
    assert ran.told["run"]["tasks"]["is_refused"] == "failed"
    log = log_of(ran, "is_refused")
    assert "refused_db" in log
    assert "AccessDeniedError" in log


def test_no_password_old_or_new_is_in_a_log_though_the_task_prints_it(ran):
    beside = [("the agent's log", ran.kept["log"])]
    # The supervisor's copy of a task's log on its own standard output is hidden by the coordinator alone.
    assert ran.leaks(*ran.kept["secrets"], beside=beside, without=("stdout",)) == []
