"""
Verified runs in real Airflow 3.3: policies with a floor, at a real server and at an agent that has none.

One Airflow with scheduler, API server, dag processor and LocalExecutor signs with an Ed25519 key. Its tasks
ask an agent that is enrolled with a server; those of the queue `own` ask one that verifies runs itself.
"""

from __future__ import annotations

import json
import re

import pytest

from inside_airflow.deployed import Deployed
from inside_airflow.place import Ran
from parts.agent import agent, until
from parts.oracle import records_in
from parts.server import serving
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.service.policies import Draft

DAGS = """
import datetime, gc, json, os, subprocess, sys, time
from airflow.sdk import DAG, Variable, task

def read(name):
    # A busy machine may take longer to verify a run than its supervisor waits; a denial is final.
    until = time.monotonic() + 60
    while True:
        try:
            return Variable.get(name)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
        if not told.startswith("UnavailableError") or time.monotonic() > until:
            return told
        time.sleep(0.2)

SEEN = read("pay_key")        # of the dag processor, which is no run

STRAY = '''
import json, os, sys, time
from strongroom.caller.agent import AgentClient
from strongroom.errors import StrongroomError
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
while os.getppid() not in (1,) and time.sleep(0.02) is None and time.time() < float(sys.argv[3]):
    pass
client = AgentClient(os.environ["AGENT"], timeout=15)
told = {}
def tried(name, what):
    try:
        told[name] = what()
    except StrongroomError as error:
        told[name] = f"{type(error).__name__}: {error}"
tried("read", lambda: client.variable("pay_key"))
tried("announced", lambda: client.announce(tuple(json.loads(sys.argv[1])), sys.argv[2] or None))
tried("again", lambda: client.variable("pay_key"))
with open(os.environ["STRAY"], "w") as file:
    json.dump(told, file)
'''

def tokens():
    # What a Dag's author can do (docs/runs.md): find its own workload token in the memory of its process.
    holders = [one for one in gc.get_objects() if type(one).__name__ in ("ExecuteTask", "BearerAuth")]
    found = {getattr(one, "token", None) for one in holders}
    return sorted((one for one in found if isinstance(one, str) and one.count(".") == 2), key=len)

with DAG("payments", start_date=datetime.datetime(2024, 1, 1), schedule=None, tags=[SEEN.split(":")[0]]):

    @task
    def reads():
        return read("pay_key")

    @task
    def mapped(index):
        return read(f"pay_{index}")

    @task
    def child():
        read("pay_key")
        code = "import os; from strongroom.caller.agent import AgentClient as Client; "
        code += "print(Client(os.environ['AGENT'], timeout=15).variable('pay_key'))"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return (ran.stdout or ran.stderr[-200:]).strip()

    @task
    def long():
        told = [read("pay_key")]
        time.sleep(15)                      # longer than a receipt is good for
        return [*told, read("pay_key")]

    @task
    def steals(ti=None):
        said = ["payments", "steals", ti.run_id, -1, ti.try_number, None, str(ti.id), None, None, "task"]
        found = tokens()
        until = str(time.time() + 20)
        subprocess.run([sys.executable, "-c", STRAY, json.dumps(said), found[0] if found else "", until])
        return len(found)

    [reads(), mapped.expand(index=[0, 1]), child(), long(), steals()]

with DAG("reports", start_date=datetime.datetime(2024, 1, 1), schedule=None):

    @task
    def pretends():
        from strongroom.caller.agent import AgentClient
        from strongroom.errors import BackendUnavailableError, StrongroomError
        claimed = ("payments", "reads", "x", -1, 1, "dags-folder", None, None, None, "task")
        client = AgentClient(os.environ["AGENT"], claims=lambda: claimed, timeout=15)
        for _ in range(300):
            try:
                return client.variable("pay_key")
            except BackendUnavailableError:
                time.sleep(0.2)  # until the run is verified
            except StrongroomError as error:
                return f"{type(error).__name__}: {error}"

    @task
    def reads():
        return [read("pay_key"), read("report_key")]

    [pretends(), reads()]

with DAG("alone", start_date=datetime.datetime(2024, 1, 1), schedule=None, default_args={"queue": "own"}):

    @task
    def reads():
        from strongroom.caller.agent import AgentClient
        from strongroom.errors import BackendUnavailableError
        for _ in range(300):
            try:
                return AgentClient(os.environ["OWN"]).variable("own_key")
            except BackendUnavailableError:
                time.sleep(0.2)

    reads()

with DAG("quiet", start_date=datetime.datetime(2024, 1, 1), schedule=None, default_args={"queue": "quiet"}):

    @task
    def reads():
        return read("pay_key")

    reads()
"""
FLOOR = """
@id("floor.agent")
permit(principal == Agent::"host", action == Action::"read", resource is Entry)
when { context.user == "" };
@id("floor.pay")
permit(principal == Agent::"host", action == Action::"read", resource is Entry)
when { context.run.assurance >= 2 && context.run.dag_id == "payments" && context.run.bundle == "dags-folder"
       && resource.name like "pay_*" };
@id("floor.report")
permit(principal == Agent::"host", action == Action::"read", resource is Entry)
when { context.run.assurance >= 2 && context.run.dag_id == "reports" && resource.name == "report_key" };
"""
OWN_FLOOR = """
permit(principal, action == Action::"read", resource) when { context.run.assurance >= 2 };
"""
NAMES = {"pay_key": "p4y-s3cret", "pay_0": "zero", "pay_1": "one", "report_key": "r3port"}


@pytest.fixture(scope="session")
def deployed(airflow):
    place = airflow(3)
    return place.once("deployed", lambda folder: _made(place, folder))


def _made(place, folder):
    for name in ("server", "agent", "own"):
        (folder / name).mkdir()
    (folder / "own" / "own.cedar").write_text(OWN_FLOOR)
    air = Deployed(place, folder, dags={"runs.py": DAGS})
    own_settings = 'chain = ["env"]\n[agent]\npolicy = "own.cedar"\n' + air.settings(
        receipt_seconds=12, timeout_seconds=8
    )
    own_environ = {**air.password, "AIRFLOW_VAR_OWN_KEY": "0wn"}
    with (
        serving(
            folder / "server",
            'chain = ["native"]\n' + air.settings(receipt_seconds=12, timeout_seconds=8),
            environ=air.password,
        ) as server,
        agent(folder / "agent", "", start=False) as one,
        agent(folder / "own", own_settings, environ=own_environ) as own,
    ):
        root = server.house.deployment().root
        for name, text in NAMES.items():
            root.entries.write(Change(ref=Ref("variable", name), secret=Secret(text)))
        root.policies.put(Draft(id="floor", text=FLOOR))
        one.enrol(server, roles=())
        one.start()
        ours = {"classpath": "strongroom.airflow.StrongroomCoordinator"}
        coordinators = {
            "default": {**ours, "kwargs": {"socket": str(one.socket)}},
            "own": {**ours, "kwargs": {"socket": str(own.socket)}},
            "quiet": {**ours, "kwargs": {"socket": str(one.socket), "verify": False}},
        }
        air._environ = {
            **place.backend(socket=one.socket),
            "AGENT": str(one.socket),
            "OWN": str(own.socket),
            "STRAY": str(folder / "stray.json"),
            "AIRFLOW__SDK__COORDINATORS": json.dumps(coordinators),
            "AIRFLOW__SDK__QUEUE_TO_COORDINATOR": json.dumps({queue: queue for queue in coordinators}),
        }
        with air:
            begun = {dag: air.begin(dag) for dag in ("payments", "reports", "alone", "quiet")}
            told = {dag: air.ended(dag, run_id) for dag, run_id in begun.items()}
            until((folder / "stray.json").exists, what="the stray", seconds=40)
            tags = [tag["name"] for tag in air.get("/api/v2/dags/payments/details")["tags"]]
            said = air.said()
        status = one.status()
        logs = {"agent": one.log(), "own": own.log(), "server": server.log, **said}
        records = [[r.action, r.outcome, r.name, r.reason, r.run or {}] for r in records_in(one.audit)]
        owns = [[r.action, r.outcome, r.name, r.reason, r.run or {}] for r in records_in(own.audit)]
        trail = folder / "server"
        served = [
            [r.action, r.outcome, r.name, r.reason, r.run or {}, r.actor]
            for file in trail.rglob("audit")
            if file.is_dir()
            for r in records_in(file)
        ]
    everything = "\n".join(logs.values()) + "".join(
        file.read_text(errors="replace")
        for top in ("server", "agent", "own")
        for file in (folder / top).rglob("*")
        if file.is_file()
    )
    (folder / "told.json").write_text(
        json.dumps(
            {
                "runs": told,
                "stray": json.loads((folder / "stray.json").read_text()),
                "tags": tags,
                "status": status,
                "records": records,
                "owns": owns,
                "served": served,
                "tokens": len(re.findall(r"eyJ[\w-]+\.eyJ", everything)),
                "warned": [line for line in said["scheduler.log"].splitlines() if "not verified" in line],
            }
        )
    )
    (folder / "ran").write_text(json.dumps({"home": str(air.home), "status": 0}))

    return Ran(folder)


@pytest.fixture(scope="session")
def told(deployed):
    return deployed.told


def reads(told, name, **of):
    """Give (outcome, level) of every read of *name* by runs that are as *of* says."""
    return {
        (outcome, run.get("assurance"))
        for action, outcome, asked, _, run in told["records"]
        if (action, asked) == ("read", name) and of.items() <= run.items()
    }


def test_a_verified_run_reads_what_a_policy_with_a_floor_allows_it(told):
    assert told["runs"]["payments"]["xcoms"]["reads"] == "p4y-s3cret"
    assert told["runs"]["reports"]["xcoms"]["reads"][1] == "r3port"
    assert reads(told, "pay_key", dag_id="payments", task_id="reads") == {("found", 2)}


def test_each_of_mapped_tasks_is_a_run_of_its_own(told):
    assert [told["runs"]["payments"]["xcoms"][f"mapped[{index}]"] for index in (0, 1)] == ["zero", "one"]
    assert reads(told, "pay_1", map_index=1) == {("found", 2)}
    assert reads(told, "pay_1", map_index=0) == set()


def test_a_program_that_a_task_starts_is_of_its_run(told):
    assert told["runs"]["payments"]["xcoms"]["child"] == "p4y-s3cret"


def test_a_task_that_takes_longer_than_a_receipt_stays_verified(told):
    assert told["runs"]["payments"]["xcoms"]["long"] == ["p4y-s3cret"] * 2
    assert told["status"]["verified"]["renewed"] > 0


def test_PO01_another_dag_is_denied_whatever_it_claims(told):
    xcoms = told["runs"]["reports"]["xcoms"]
    assert xcoms["pretends"].startswith("AccessDeniedError")
    assert xcoms["reads"][0].startswith("DeniedError")
    assert reads(told, "pay_key", dag_id="reports") == {("denied", 2)}
    assert reads(told, "pay_key", dag_id="payments", run_id="x") == set()


def test_PO14_a_parser_is_no_run_and_reads_nothing_behind_a_floor(told):
    assert told["tags"] == ["DeniedError"]
    assert reads(told, "pay_key", source="parse") == {("denied", 0)}


def test_a_process_that_left_its_supervisor_reads_nothing_behind_a_floor(told):
    assert told["stray"]["read"].startswith("AccessDeniedError")


def test_PO10_a_token_found_in_memory_verifies_no_second_process_and_is_an_alarm(told):
    assert told["runs"]["payments"]["xcoms"]["steals"] >= 1, "the token was not in the memory of the task"
    level, why = told["stray"]["announced"]
    assert (level, why.partition(";")[0]) == (
        0,
        "the run is not verified: alarm: the token was used before",
    )
    assert told["stray"]["again"].startswith("AccessDeniedError")
    # Beside alarms stands who asked anew for a run that had ended meanwhile.
    [alarm] = [row for row in told["served"] if row[0] == "verify" and str(row[3]).startswith("alarm")]
    assert alarm[1] == "denied"
    assert alarm[3].startswith("alarm: the token was used before")
    assert (alarm[4]["task_id"], alarm[4]["assurance"], alarm[5]) == ("steals", 0, "agent:host")


def test_a_run_that_is_only_announced_is_denied_behind_a_floor(told):
    assert told["runs"]["quiet"]["xcoms"]["reads"].startswith("DeniedError")
    assert reads(told, "pay_key", dag_id="quiet") == {("denied", 0)}


def test_an_agent_without_a_server_verifies_runs_itself(told):
    assert told["runs"]["alone"]["xcoms"]["reads"] == "0wn"
    # Where the machine is slow it is asked again after the task, and told that nothing is at work any more.
    found = [(action, outcome, run["assurance"]) for action, outcome, _, _, run in told["owns"]]
    assert found[:2] == [("verify", "done", 2), ("read", "found", 2)]
    assert set(found[2:]) <= {("verify", "denied", 0)}


def test_every_verified_run_is_on_record_at_the_server_with_its_bundle(told):
    found = {
        (run["dag_id"], run["task_id"], run["map_index"], run["bundle"], run["assurance"])
        for action, outcome, _, _, run, _ in told["served"]
        if (action, outcome) == ("verify", "done")
    }
    names = [("payments", name, -1) for name in ("child", "long", "reads", "steals")]
    names += [("payments", "mapped", 0), ("payments", "mapped", 1), ("reports", "pretends", -1)]
    assert found == {(*name, "dags-folder", 2) for name in [*names, ("reports", "reads", -1)]}


def test_no_token_stands_in_any_log_record_or_file_of_ours_or_airflows(told):
    assert told["tokens"] == 0


def test_nobody_is_warned_of_a_run_that_is_verified(told):
    assert told["warned"] == []


SHARED = """
import datetime, os
from airflow.sdk import DAG, task

with DAG("shared", start_date=datetime.datetime(2024, 1, 1), schedule=None):

    @task
    def reads():
        from strongroom.caller.agent import AgentClient
        from strongroom.errors import StrongroomError
        try:
            return AgentClient(os.environ["OWN"]).variable("own_key")
        except StrongroomError as error:
            return f"{type(error).__name__}: {error}"

    reads()
"""


@pytest.mark.trial  # a second Airflow
def test_an_airflow_that_signs_with_a_shared_secret_runs_its_tasks_unverified_and_is_told_what_to_change(
    airflow, tmp_path
):
    place = airflow(3)
    air = Deployed(place, tmp_path, dags={"shared.py": SHARED}, is_signing=False)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.cedar").write_text(OWN_FLOOR)
    settings = 'chain = ["env"]\n[agent]\npolicy = "own.cedar"\n' + air.settings()
    environ = {**air.password, "AIRFLOW_VAR_OWN_KEY": "0wn"}
    with agent(tmp_path / "own", settings, environ=environ) as own:
        air._environ = {**place.coordinated(socket=str(own.socket)), "OWN": str(own.socket)}
        with air:
            run = air.run("shared")
        assert run["tasks"] == {"reads": "success"}
        assert run["xcoms"]["reads"].startswith("AccessDeniedError")
        [line] = [line for line in air.log().splitlines() if "not verified" in line]
        assert "HS512" in line
        assert "jwt_private_key_path" in line
        assert "trusted_jwks_url" in line
        assert "eyJ" not in own.log() + line
