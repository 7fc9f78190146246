"""Writing from tasks of real Airflow, and what Airflow is told before it writes behind our chain."""

from __future__ import annotations

import pytest

from parts.agent import agent
from strongroom.assembly import create_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

SECRET = "t0ken/of 'the' API+1"
LITERAL = "written-by-hand-7"
NEW = "written%behind our back"
HELD = "stands in the native store"
DAG = f"""
from __future__ import annotations
import datetime
try:
    from airflow.sdk import DAG, Variable, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task
    from airflow.models import Variable
import strongroom
from strongroom.airflow import StrongroomExpiryOperator, StrongroomHook
from strongroom.airflow import StrongroomNotifier, StrongroomWriteOperator

START = datetime.datetime(2024, 1, 1)
SECRET = {SECRET!r}

with DAG("renew", start_date=START, schedule=None):
    @task(show_return_value_in_logs=False)
    def login():
        return SECRET

    @task
    def renew():
        print("the old one", strongroom.variable("token"))
        now = StrongroomHook().update("token", lambda text: text + "+", expires_in=3600)
        print("the new one", now)
        try:
            strongroom.write("token", SECRET, expected_version="1")
        except strongroom.ConflictError as error:
            print("conflict", error)

    first = StrongroomWriteOperator(
        task_id="first", name="tok{{{{ 'en' }}}}", expires_in=60,
        value="{{{{ ti.xcom_pull(task_ids='login') }}}}",
    )
    given = StrongroomWriteOperator(
        task_id="given", name="given", value=login(), description="of {{{{ dag.dag_id }}}}"
    )
    literal = StrongroomWriteOperator(
        task_id="literal", kind="connection", name="api",
        value={{"conn_type": "http", "host": "h", "password": {LITERAL!r}}},
    )
    given >> first >> renew() >> literal

with DAG("behind", start_date=START, schedule=None):
    @task
    def set_variables():
        for name in ("held", "of_airflow"):
            Variable.set(name, {NEW!r})

    set_variables()

def heard(context):
    print("heard of", context["strongroom_expiring"])

with DAG("ends", start_date=START, schedule=None):
    looked = StrongroomExpiryOperator(
        task_id="looked", within_days=2, notifiers=[heard],
        on_success_callback=StrongroomNotifier(within_days=2),
    )
"""
SCRIPT = """
import strongroom
tell(renew=run_dag("renew", is_supervised={supervised}), ends=run_dag("ends", is_supervised={supervised}))
tell(token=caught(strongroom.variable, "token"), given=caught(strongroom.variable, "given"))
tell(host=caught(lambda: strongroom.connection("api").host))
tell(behind=run_dag("behind", is_supervised={supervised}))
tell(held=caught(strongroom.variable, "held"))
"""


@pytest.fixture(scope="session")
def written(inside):
    def make(folder):
        home = folder / "agent"
        home.mkdir()
        with agent(home, 'chain = ["native"]\n', start=False) as one:
            with create_room(one.settings, environ={"HOME": str(home), "STRONGROOM_HOME": str(home)}) as room:
                room.entries.write(Change(ref=Ref("variable", "held"), secret=Secret(HELD)))
            one.start()
            environ = (
                inside.backend(socket=one.socket) | inside.supervised | {"STRONGROOM_SOCKET": str(one.socket)}
            )
            ran = inside.run(
                folder, SCRIPT.format(supervised=True), dags={"writing.py": DAG}, environ=environ, seconds=240
            )
            return ran.keep(log=one.log())

    return inside.once("writing", make)


def lines(ran, part):
    """Give the lines of log files that say *part*, the quotes of JSON undone."""
    found = [line.replace('\\"', '"') for text in ran.logs.values() for line in text.splitlines()]
    return [line for line in found if part in line]


def test_a_task_writes_updates_and_reads_at_once(written):
    assert written.told["renew"]["state"] == "success", written.told_of_itself()
    assert written.told["token"] == {"value": SECRET + "+"}
    assert written.told["given"] == {"value": SECRET}
    assert written.told["host"] == {"value": "h"}


def test_the_operator_returns_where_it_went_and_no_value(written):
    assert written.told["renew"]["xcoms"]["first"] == {"backend": "native", "version": "1"}


def test_a_conflict_is_told_in_one_line_without_the_value(written):
    (line,) = lines(written, "conflict variable")
    assert "was changed meanwhile" in line


def test_values_are_in_no_rendered_field_nor_serialized_dag_nor_log(written):
    # What a task returns is an XCom as it ever was; everything else of it is hidden.
    found = [leak for leak in written.leaks(SECRET, without=("stdout", "stderr")) if "xcom" not in leak]
    found = [
        leak for leak in found if not leak.startswith(("airflow.db", "dag_code.", "dag.", "serialized_dag."))
    ]
    assert found == []
    tables = written.database
    assert not any(
        LITERAL.encode() in cell
        for name, cell in tables.items()
        if name.startswith(("rendered", "serialized"))
    )
    assert "***" in "".join(lines(written, "the old one"))


def test_what_is_set_behind_the_chain_warns_once_and_names_the_place_and_what_to_use(written):
    assert written.told["behind"]["state"] == "success", written.told_of_itself()
    (line,) = lines(written, 'writes the variable "held"')
    for part in ("native", "strongroom.write", "StrongroomWriteOperator", "agent"):
        assert part in line
    assert lines(written, "takes precedence over") == []
    assert lines(written, '"of_airflow"') == []
    assert written.told["held"] == {"value": HELD}
    assert written.leaks(HELD, without=("stdout", "stderr")) == []


def test_what_expires_is_told_by_name_and_time(written):
    assert written.told["ends"]["state"] == "success", written.told_of_itself()
    (text,) = written.told["ends"]["xcoms"]["looked"]
    assert text.startswith('variable "token" in native: expires ')
    assert lines(written, "heard of")
    assert len(lines(written, text[:40])) >= 2
