"""
The Dags of examples/airflow in real Airflow: in production, from an OpenBao through the agent of the host;
and on a laptop, from the environment and from what `strongroom dev` copied.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from parts.agent import agent
from parts.openbao import bao, until
from strongroom import settings

__all__ = ["bao"]

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
DAGS = {file.name: file.read_text() for file in sorted((EXAMPLES / "airflow" / "dags").glob("*.py"))}
PASSWORD = 'pa55:w0rd/+"canary 0rders'
WAREHOUSE = "canary-warehouse-81"
TOKENS = ("canary-token-old-17", "canary-token-new-23")
HELD = {
    "connections/orders_db": {
        "conn_uri": "postgres://shop:pa55%3Aw0rd%2F%2B%22canary%200rders@orders.prod.internal:5432/orders"
    },
    "connections/warehouse_sales": {
        "conn_type": "snowflake",
        "host": "wh.prod.internal",
        "login": "etl",
        "password": WAREHOUSE,
    },
    "variables/region": {"value": "eu-west-1"},
    "variables/limits": {"value": '{"orders": 500}'},
}
SCRIPT = """
for name in bag().dags:
    if name in {wanted!r}:
        tell(**{{name: run_dag(name)}})
tell(errors={{str(file): text for file, text in bag().import_errors.items()}})
"""
ELSEWHERE = ("nightly_check",)  # test_testing.py runs it
READING = ("check_secret", "read_connection", "read_variable", "render_template", "two_deployments")
WRITING = ("rotated_secret", "write_back")


class Billing(ThreadingHTTPServer):
    """What `rotated_secret` sends to: with the first batch the token is rotated, before it is answered."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tokens = []
        self.rotate = lambda: None


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.tokens.append(self.headers["Authorization"].removeprefix("Bearer "))
        if len(self.server.tokens) == 1:
            self.server.rotate()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments):
        pass


@contextmanager
def billing():
    with Billing() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def api(server, token):
    return {
        "conn_type": "http",
        "host": "127.0.0.1",
        "port": str(server.server_port),
        "schema": "http",
        "password": token,
    }


def production(bao, mount, folder):
    """Give the settings of the examples, with the OpenBao of the tests in the place of the one they name."""
    role = bao.role(
        bao.policy(
            f'path "{mount}/data/*" {{ capabilities = ["read"] }}\n'
            f'path "{mount}/metadata/*" {{ capabilities = ["list"] }}'
        )
    )
    for name, text in (("role-id", role.role_id), ("secret-id", role.secret_id())):
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(text)
    given = (EXAMPLES / "airflow" / "strongroom.toml").read_text()
    for before, after in (
        ("https://openbao.example.com:8200", f'{bao.url}"\nmount_point = "{mount}'),
        ("/run/secrets/openbao-role-id", f"{folder}/role-id"),
        ("/run/secrets/openbao-secret-id", f"{folder}/secret-id"),
        ('method = "approle"', f'method = "approle", mount_point = "{role.mount}"'),
        ("ttl = 60", "ttl = 0.05"),
    ):
        assert given.count(before) == 1, before
        given = given.replace(before, after)
    return given


def filled(bao, **more):
    mount = bao.mount()
    for path, held in (HELD | more).items():
        bao.put(mount, path, held)
    return mount


@pytest.fixture(scope="session")
def prod(inside, request):
    """Every Dag, once, in the deployment `prod`."""

    def make(folder):
        bao = request.getfixturevalue("bao")
        home = folder / "agent"
        home.mkdir()
        with billing() as server:
            mount = filled(bao, **{"connections/billing_api": api(server, TOKENS[0])})
            with agent(
                home, production(bao, mount, home), options=("--deployment", "prod"), start=False
            ) as one:
                one.command("--deployment", "prod", "init")
                one.start()

                def rotate():
                    bao.put(mount, "connections/billing_api", api(server, TOKENS[1]))
                    read = "import strongroom; print(strongroom.connection('billing_api').password.reveal())"
                    until(
                        lambda: one.python(read).strip() == TOKENS[1], what="the agent to see the new token"
                    )

                server.rotate = rotate
                script = SCRIPT.format(wanted=READING + WRITING)
                ran = inside.run(folder, script, dags=DAGS, environ=inside.backend(socket=one.socket))
                return ran.keep(tokens=server.tokens, log=one.log())

    return inside.once("examples-prod", make)


@pytest.fixture(scope="session")
def laptop(inside, request):
    """The Dags that read, beside what `strongroom dev` copied; two names stand in the environment."""

    def make(folder):
        bao = request.getfixturevalue("bao")
        mount = filled(bao)
        (folder / "strongroom.toml").write_text(production(bao, mount, folder))
        environ = {"HOME": str(folder), "PATH": os.environ["PATH"]}
        settings.consent(environ=environ, cwd=folder).give()  # as `strongroom up` keeps a yes
        done = subprocess.run(
            [sys.executable, "-m", "strongroom", "--deployment", "prod", "dev", "--output", "json"],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        bao.api("DELETE", f"sys/mounts/{mount}")  # from here on there is nothing but the copies
        script = SCRIPT.format(wanted=READING)
        ran = inside.run(folder, script, dags=DAGS, environ=inside.backend() | development())
        return ran.keep(copied=json.loads(done.stdout), told=done.stderr)

    return inside.once("examples-laptop", make)


def development():
    """Give two of the names that the examples have in their environment."""
    lines = (EXAMPLES / "airflow" / "dev.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: given[name] for name in ("AIRFLOW_CONN_ORDERS_DB", "AIRFLOW_VAR_REGION")}


def xcoms(ran, name):
    assert ran.told[name]["state"] == "success", (name, ran.told[name], ran.err[-4000:])
    return ran.told[name]["xcoms"]


# --- in production -------------------------------------------------------------------------------------


def test_every_dag_of_the_examples_is_read_and_run(prod):
    assert prod.told["errors"] == {}
    assert set(prod.told) == {"errors", *READING, *WRITING}
    assert {Path(name).stem for name in DAGS} == {*READING, *WRITING, *ELSEWHERE}


def test_a_variable_is_read(prod):
    assert xcoms(prod, "read_variable") == {"report": "at most 500 orders in eu-west-1, careful"}


def test_a_connection_is_read_both_ways(prod):
    assert xcoms(prod, "read_connection") == {
        "airflows_way": "postgres at orders.prod.internal:5432/orders",
        "our_way": "snowflake at wh.prod.internal, password Secret(…)",
    }


def test_a_template_is_rendered(prod):
    assert xcoms(prod, "render_template") == {"count": "orders.prod.internal, eu-west-1, wh.prod.internal"}


def test_a_rotated_secret_is_fresh_with_the_next_batch(prod):
    assert xcoms(prod, "rotated_secret") == {"bill": [204, 204]}
    assert prod.kept["tokens"] == list(TOKENS)


def test_a_secret_is_written_back(prod):
    assert xcoms(prod, "write_back") == {"use": 1}


def test_a_secret_is_checked_without_printing_it(prod):
    told = xcoms(prod, "check_secret")
    assert told["compare"] is True
    assert len(told["fingerprint"]) == 8
    assert told["shown"] == "password: Secret(…)"


def test_the_same_dag_reads_production_in_production(prod):
    assert xcoms(prod, "two_deployments") == {"where": "eu-west-1: orders.prod.internal"}


def test_no_secret_of_production_is_left_anywhere(prod):
    assert prod.leaks(PASSWORD, WAREHOUSE, *TOKENS, beside=[("agent", prod.kept["log"])]) == []


# --- on a laptop ---------------------------------------------------------------------------------------


def test_the_same_dag_reads_the_environment_in_development(laptop):
    assert xcoms(laptop, "two_deployments") == {"where": "local: localhost"}


def test_what_was_copied_answers_with_nothing_else_set(laptop):
    assert laptop.kept["copied"]["copied"] == len(HELD)
    assert xcoms(laptop, "read_variable") == {"report": "at most 500 orders in local, careful"}
    assert xcoms(laptop, "read_connection") == {
        "airflows_way": "postgres at localhost:5432/orders",
        "our_way": "snowflake at wh.prod.internal, password Secret(…)",
    }
    assert xcoms(laptop, "render_template") == {"count": "localhost, local, wh.prod.internal"}
    assert xcoms(laptop, "check_secret")["compare"] is True


def test_the_copies_are_mine_alone_and_hold_nothing_in_clear(laptop):
    folder = laptop.folder / ".strongroom"
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    held = b"".join(file.read_bytes() for file in files)
    assert WAREHOUSE.encode() not in held
    assert laptop.leaks(PASSWORD, WAREHOUSE) == []
    assert WAREHOUSE not in laptop.kept["told"]
