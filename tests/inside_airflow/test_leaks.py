"""
What real Airflow 3 and 2 leave behind of values they were given: log files, the supervisor's output, rendered
fields, XComs and the metadata database.
"""

from __future__ import annotations

import base64
import json

import pytest

from inside_airflow.place import forms
from parts.agent import agent
from parts.oracle import records_in

PASSWORD = "can%ary/1 'of' \"many\" ü\\forms&more"
KEY = "-----BEGIN KEY-----\ncanary-2/first+line=\n'canary-2' second \"line\"\n-----END KEY-----"
NESTED = "canary-3 deep/down ~~?>"  # the last make + and / of base64
TOKEN = "canary-4\tof/a 'variable' ü"
LISTED = "canary-5 in a list"
SECRETS = [PASSWORD, KEY, NESTED, TOKEN, LISTED]
PLAIN_HOST = "host-that-is-no-secret.example.com"
CONNECTION = {
    "conn_type": "postgres",
    "host": PLAIN_HOST,
    "login": "svc",
    "password": PASSWORD,
    "extra": json.dumps({"key": KEY, "deep": {"list": [{"nested": NESTED}]}}),
}
VARIABLES = {"plainly_named": TOKEN, "document": json.dumps({"entries": [LISTED]})}

DAGS = """
import base64, datetime, json, logging, subprocess, sys, urllib.parse
try:
    from airflow.sdk import DAG, BaseHook, BaseOperator, Variable, task
    IS_3 = True
except ImportError:
    IS_3 = False
    from airflow import DAG
    from airflow.decorators import task
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable
    from airflow.models.baseoperator import BaseOperator

log = logging.getLogger("a.library")

def secrets():
    connection = BaseHook.get_connection("leaky")
    extra = connection.extra_dejson
    return [connection.password, extra["key"], extra["deep"]["list"][0]["nested"],
            Variable.get("plainly_named"), Variable.get("document", deserialize_json=True)["entries"][0]]

def looks(text):
    escaped = json.dumps(text)[1:-1]
    yield text
    yield urllib.parse.quote(text, safe="")
    yield urllib.parse.quote(text)
    yield urllib.parse.quote_plus(text)
    yield base64.b64encode(text.encode()).decode()
    yield base64.urlsafe_b64encode(text.encode()).decode()
    yield escaped
    yield json.dumps(escaped)[1:-1]
    yield repr(text)
    yield from text.splitlines()

class Rendered(BaseOperator):
    template_fields = ("text", "within")

    def __init__(self, text, within, **options):
        super().__init__(**options)
        self.text, self.within = text, within

    def execute(self, context):
        print("rendered to", self.text, self.within)
        return len(self.text)

class Failing(Exception):
    def __init__(self, secret):
        super().__init__(f"cannot log in with {secret}")
        self.secret = secret

for queue in ("plain", "announced"):
    with DAG(f"leaking_{queue}", start_date=datetime.datetime(2024, 1, 1), schedule=None,
             default_args={"queue": queue}) as dag:

        @task
        def prints():
            print("begins here")
            for secret in secrets():
                for look in looks(secret):
                    print("printed", look)
                    print("to stderr", look, file=sys.stderr)
                    log.warning("logged %s", look)
                    log.error("with %r", {"a": [look]})
                print("header", base64.b64encode(b"svc:" + secret.encode()).decode())
            return BaseHook.get_connection("leaky").host

        @task
        def starts():
            for secret in secrets():
                # In 2.11 what a child writes by itself goes to the worker's output, past every logger.
                echo = "import sys; print('echoed', sys.argv[1], repr(sys.argv[1]))"
                subprocess.run([sys.executable, "-c", echo, secret], check=True, capture_output=not IS_3)
                given = json.dumps({"x": secret})
                done = subprocess.run(["cat"], input=given, capture_output=True, text=True)
                print("piped", done.stdout)

        @task
        def raises():
            try:
                try:
                    raise Failing(secrets()[0])
                except Failing as error:
                    raise KeyError(secrets()[1]) from error
            except KeyError:
                log.exception("it went wrong with %s", secrets()[2])
                raise RuntimeError(f"in the end {secrets()[3]}")

        @task
        def raises_groups():
            raise ExceptionGroup("many", [ExceptionGroup("more", [Failing(one)]) for one in secrets()])

        rendered = Rendered(
            task_id="rendered",
            text="{{ conn.leaky.password }} {{ var.value.plainly_named }} {{ conn.leaky.get_uri() }}",
            within={"a": ["{{ conn.leaky.extra_dejson.key }}", "{{ conn.leaky.extra }}"],
                    "b": "{{ var.json.document }}"},
        )
        prints() >> [starts(), rendered, raises(), raises_groups()]
"""
SCRIPT = """
tell(errors=bag().import_errors, plain=run_dag("leaking_plain", is_supervised=True))
"""
SCRIPT_3 = """
print("runs announced", flush=True)
tell(announced=run_dag("leaking_announced", is_supervised=True))
"""
COORDINATOR = {
    "AIRFLOW__SDK__COORDINATORS": json.dumps(
        {"strongroom": {"classpath": "strongroom.airflow.StrongroomCoordinator"}}
    ),
    "AIRFLOW__SDK__QUEUE_TO_COORDINATOR": json.dumps({"announced": "strongroom"}),
}


@pytest.fixture(scope="session")
def leaking(inside):
    return _leaking(inside)


@pytest.fixture(scope="session")
def leaking_3(airflow):
    return _leaking(airflow(3))


def _leaking(place):
    def make(folder):
        environ = {
            "AIRFLOW_CONN_LEAKY": json.dumps(CONNECTION),
            **{f"AIRFLOW_VAR_{name.upper()}": value for name, value in VARIABLES.items()},
        }
        (folder / "agent").mkdir()
        with agent(folder / "agent", 'chain = ["env"]', environ=environ) as one:
            given = {**place.backend(socket=one.socket), **place.supervised, **COORDINATOR}
            script = SCRIPT if place.version == 2 else SCRIPT + SCRIPT_3
            ran = place.run(folder, script, dags={"leaking.py": DAGS}, environ=given)
            return ran.keep(
                records=[record.run for record in records_in(one.audit) if record.action == "read"]
            )

    return place.once("leaking", make)


def copies(ran):
    """Give what stood on standard output before our coordinator stood in the supervisor, and since."""
    before, found, since = ran.out.partition("runs announced")
    assert found
    return before, since


def core_of_base64(secret):
    """Give of `base64(svc:secret)` what depends on *secret* alone."""
    return base64.b64encode(f"svc:{secret}".encode()).decode()[8:-4]


def test_tasks_print_render_raise_and_start_what_they_were_given(leaking):
    assert leaking.told["errors"] == {}
    for run in leaking.told.keys() - {"errors"}:
        assert leaking.told[run]["tasks"] == {
            "prints": "success",
            "starts": "success",
            "rendered": "success",
            "raises": "failed",
            "raises_groups": "failed",
        }
        assert leaking.told[run]["xcoms"]["prints"] == PLAIN_HOST


def test_log_files_rendered_fields_xcoms_and_database_hold_no_secret_in_any_form(leaking):
    assert leaking.leaks(*SECRETS, without=("stdout", "stderr")) == []
    everything = "".join(leaking.logs.values())
    assert [secret for secret in SECRETS if core_of_base64(secret) in everything] == []


def test_log_files_show_everything_else(leaking):
    for name, text in leaking.logs.items():
        if "task_id=prints" in name:
            assert text.count("printed ***") >= 4 * len(SECRETS)
            assert text.count("logged ***") >= 4 * len(SECRETS)
            assert text.count("to stderr ***") >= 4 * len(SECRETS)
            assert "begins here" in text
        if "task_id=raises/" in name:
            assert text.count("cannot log in with ***") >= 1
            assert "in the end ***" in text
        if "task_id=starts" in name:
            assert "piped" in text


def test_rendered_fields_are_kept_masked(leaking):
    kept = leaking.database["rendered_task_instance_fields.rendered_fields"]
    assert kept.count(b"***") >= 6
    assert b"svc:***@" in kept


def test_standard_output_holds_no_secret_in_2(airflow):
    assert _leaking(airflow(2)).leaks(*SECRETS, without=("logs", "database")) == []


def test_without_the_coordinator_the_copy_on_standard_output_leaks_every_form(leaking_3):
    before, _ = copies(leaking_3)
    for secret in SECRETS:
        assert [name for name, look in forms(secret).items() if look not in before] == []


def test_with_the_coordinator_the_copy_on_standard_output_holds_no_secret_in_any_form(leaking_3):
    _, since = copies(leaking_3)
    assert leaking_3.leaks(*SECRETS, beside=[("since", since)], without=("stdout", "logs", "database")) == []
    assert [secret for secret in SECRETS if core_of_base64(secret) in since] == []
    assert since.count("printed ***") >= 4 * len(SECRETS)
    assert "cannot log in with ***" in since
    assert "echoed ***" in since


def test_the_record_tells_announced_runs_from_claimed_ones(leaking_3):
    runs = leaking_3.kept["records"]
    announced = {run["dag_id"] for run in runs if run.get("announced")}
    claimed = {run["dag_id"] for run in runs if not run.get("announced")}
    assert (announced, claimed) == ({"leaking_announced"}, {"leaking_plain"})
    ids = {run["task_id"]: run["ti_id"] for run in runs if run.get("announced")}
    assert set(ids) == {"prints", "starts", "rendered", "raises", "raises_groups"}
    assert len(set(ids.values())) == len(ids)
