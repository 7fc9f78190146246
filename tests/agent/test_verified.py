"""
Verified runs at a real agent: with a server and without one, renewed, lapsed, ended, and what fails.

Supervisors and tasks are real processes; the Airflow that is asked is `parts.airflow_api`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager

import pytest

from parts.agent import agent, until
from parts.airflow_api import AirflowServer
from parts.enrolled import enrolled_in
from parts.oracle import records_in
from parts.server import serving
from parts.together import at_once
from strongroom.caller.enrolled import client_of
from strongroom.errors import AccessDeniedError, BackendConfigError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.service.policies import Draft

FLOOR = """
permit(principal, action in [Action::"read", Action::"write"], resource is Entry)
when { context.run.assurance >= 2 && context.run.dag_id == "etl" };
"""
OF_AGENT = '\npermit(principal, action == Action::"read", resource is Entry) when { context.user == "" };'
ENVIRON = {"AIRFLOW_VAR_REGION": "eu"}

# A supervisor that does what it is told, a line at a time: announce, or have a child of its own ask.
SUPERVISOR = r"""
import json, os, subprocess, sys
from strongroom.caller.agent import AgentClient
from strongroom.errors import StrongroomError
client = AgentClient(os.environ["STRONGROOM_SOCKET"], timeout=20)
CHILD = '''
import json, os, sys
from strongroom.caller.agent import AgentClient
from strongroom.errors import StrongroomError
client = AgentClient(os.environ["STRONGROOM_SOCKET"], timeout=20)
try:
    print(client.variable(sys.argv[1]))
except StrongroomError as error:
    print(f"{error.code}: {error}")
'''
STRAY = '''
import os, sys, time
from strongroom.caller.agent import AgentClient
from strongroom.errors import StrongroomError
client = AgentClient(os.environ["STRONGROOM_SOCKET"], timeout=20)
while os.path.exists(sys.argv[2]):
    try:
        told = client.variable(sys.argv[1])
    except StrongroomError as error:
        told = error.code
    with open(sys.argv[2], "r+") as file:
        file.write(told.ljust(40))
    time.sleep(0.02)
'''
for line in sys.stdin:
    do, *said = json.loads(line)
    if do == "announce":
        run, token = said
        try:
            told = client.announce(None if run is None else tuple(run), token)
        except StrongroomError as error:
            told = [error.code, str(error)]
    elif do == "leave":
        left = subprocess.Popen([sys.executable, "-c", STRAY, *said])
        told = left.pid
    else:
        done = subprocess.run([sys.executable, "-c", CHILD, *said], capture_output=True, text=True)
        told = done.stdout.strip() or done.stderr
    print(json.dumps(told), flush=True)
"""


class Supervisor:
    def __init__(self, one):
        self._process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR],
            env=one.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _told(self, *line):
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def announce(self, instance, token=None, **more):
        return self._told("announce", instance and instance.claim(**more), token)

    def read(self, name="region"):
        return self._told("read", name)

    def leave(self, file, name="region"):
        """Have a child read over one connection while *file* is there, and write there what it was told."""
        return self._told("leave", name, str(file))

    def end(self):
        self._process.kill()
        self._process.wait(20)
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()


@contextmanager
def supervising(one):
    supervisor = Supervisor(one)
    try:
        yield supervisor
    finally:
        supervisor.end()


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    with AirflowServer(tmp_path_factory.mktemp("airflow")) as running:
        yield running


@contextmanager
def alone(folder, airflow, *, more="", policy=FLOOR, **settings):
    """Give an agent without a server."""
    (folder / "own.cedar").write_text(policy)
    text = f'chain = ["env"]\n[agent]\npolicy = "own.cedar"\n{more}' + airflow.settings(**settings)
    with agent(folder, text, environ=ENVIRON | airflow.environ) as one:
        yield one


@pytest.fixture(scope="module")
def one(tmp_path_factory, airflow):
    with alone(tmp_path_factory.mktemp("alone"), airflow) as running:
        yield running


@pytest.fixture(scope="module")
def served(tmp_path_factory, airflow):
    """Give a server with one entry, behind a policy with a floor, and an agent of it."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "agent").mkdir()
    settings = 'chain = ["native"]\n' + airflow.settings()
    with serving(folder, settings, environ=airflow.environ) as server:
        root = server.house.deployment().root
        root.entries.write(Change(ref=Ref("variable", "region"), secret=Secret("eu")))
        root.policies.put(Draft(id="floor", text=FLOOR + OF_AGENT))
        with agent(folder / "agent", "", start=False) as one:
            one.enrol(server, roles=())
            one.start()
            yield server, one


# --- the way of it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["by the server", "by the agent"])
def test_a_verified_run_reads_until_its_announcement_ends(one, served, airflow, which):
    asked = served[1] if which == "by the server" else one
    instance = airflow.instance(run_id=which)
    with supervising(asked) as supervisor:
        assert supervisor.announce(instance) == [0, None]
        assert supervisor.read().startswith("access_denied: ")
        assert supervisor.announce(instance, airflow.sign(instance)) == [2, None]
        assert supervisor.read() == "eu"
        assert asked.status()["verified"]["now"] == 1
        assert supervisor.announce(None) == [0, None]
        assert supervisor.read().startswith("access_denied: ")
    until(lambda: asked.status()["verified"]["now"] == 0, what="the end of it")


def test_two_supervisors_at_once_are_two_runs(one, airflow):
    first, second = airflow.instance(run_id="first"), airflow.instance("other", run_id="second")
    with supervising(one) as mine, supervising(one) as others:
        assert mine.announce(first, airflow.sign(first)) == [2, None]
        assert others.announce(second, airflow.sign(second)) == [2, None]
        assert mine.read() == "eu"
        assert others.read().startswith("access_denied: ")  # verified, and of another Dag


def test_a_run_replaces_the_one_before_it(one, airflow):
    first, second = airflow.instance(run_id="before"), airflow.instance("other", run_id="after")
    with supervising(one) as supervisor:
        supervisor.announce(first, airflow.sign(first))
        assert supervisor.read() == "eu"
        assert supervisor.announce(second, airflow.sign(second)) == [2, None]
        assert supervisor.read().startswith("access_denied: ")
        assert supervisor.announce(first) == [0, None]  # without a token it is a claim again
        assert supervisor.read().startswith("access_denied: ")


def test_an_announcement_may_come_twice_and_stays_verified(one, airflow):
    instance = airflow.instance(run_id="twice")
    token = airflow.sign(instance)
    with supervising(one) as supervisor:
        assert supervisor.announce(instance, token) == [2, None]
        assert supervisor.announce(instance, token) == [2, None]
        assert supervisor.read() == "eu"


def test_PO10_a_token_of_another_supervisor_verifies_nothing_and_takes_nothing_away(one, airflow):
    instance = airflow.instance(run_id="stolen")
    token = airflow.sign(instance)
    with supervising(one) as supervisor, supervising(one) as thief:
        supervisor.announce(instance, token)
        level, why = thief.announce(instance, token)
        assert level == 0
        assert "alarm: the token was used before" in why
        assert thief.read().startswith("access_denied: ")
        assert supervisor.read() == "eu"
    alarms = [record for record in records_in(one.audit) if record.reason.startswith("alarm: the token")]
    assert [(record.action, record.outcome, record.run["assurance"]) for record in alarms] == [
        ("verify", "denied", 0)
    ]


@pytest.mark.parametrize("which", ["by the server", "by the agent"])
def test_a_used_token_is_none_after_a_restart_of_the_agent_either(one, served, airflow, which):
    asked = served[1] if which == "by the server" else one
    instance = airflow.instance(run_id=f"restarted {which}")
    token = airflow.sign(instance)
    with supervising(asked) as supervisor, supervising(asked) as thief:
        assert supervisor.announce(instance, token) == [2, None]
        asked.kill()
        asked.start()
        assert supervisor.read().startswith("access_denied: ")  # what was announced went with the agent
        assert thief.announce(instance, token)[0] == 0
        # The same process may announce it again.
        assert supervisor.announce(instance, token) == [2, None]
        assert supervisor.read() == "eu"


def test_settings_that_are_taken_anew_know_the_tokens_that_were_used(tmp_path, airflow):
    instance = airflow.instance(run_id="reloaded")
    token = airflow.sign(instance)
    with (
        alone(tmp_path, airflow) as one,
        supervising(one) as supervisor,
        supervising(one) as thief,
    ):
        assert supervisor.announce(instance, token) == [2, None]
        one.admin({"do": "reload"})
        assert supervisor.read() == "eu"
        assert thief.announce(instance, token)[0] == 0


# --- over HTTP ---------------------------------------------------------------------------------------------


HTTP = r"""
import http.client, json, os, socket, sys
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(os.environ["HTTP_SOCKET"])
connection = Unix("localhost")
for line in sys.stdin:
    body = json.dumps({"refs": [{"kind": "variable", "name": "region"}]})
    connection.request("POST", "/v1/read", body, {"content-type": "application/json"})
    print(json.loads(connection.getresponse().read())["results"][0]["outcome"], flush=True)
"""


def test_a_kept_connection_of_http_is_of_the_run_only_while_that_is_verified(one, airflow):
    instance = airflow.instance(run_id="over http")
    script = f"""
import os, subprocess, sys
from strongroom.caller.agent import AgentClient
client = AgentClient(os.environ["STRONGROOM_SOCKET"], timeout=20)
run, token = tuple({list(instance.claim())!r}), {airflow.sign(instance)!r}
client.announce(run, token)
pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
child = subprocess.Popen([sys.executable, "-c", {HTTP!r}], **pipes)
def ask():
    child.stdin.write("read\\n"); child.stdin.flush()
    return child.stdout.readline().strip()
told = [ask()]
client.announce(None)
told.append(ask())
child.stdin.close()
child.wait(20)
print(*told)
"""
    assert one.python(script, environ={"HTTP_SOCKET": str(one.http)}) == "found denied"


# --- time, and trouble -------------------------------------------------------------------------------------


def renewed(folder, airflow):
    instance = airflow.instance(run_id="renewed", state="running")
    with alone(folder, airflow, receipt_seconds=5) as one, supervising(one) as supervisor:
        supervisor.announce(instance, airflow.sign(instance, lasts=5))
        until(lambda: one.status()["verified"]["renewed"] >= 2, what="two renewals")
        assert supervisor.read() == "eu"
        instance.state = "success"
        until(lambda: one.status()["verified"]["refused"] == 1, what="the end of the run")
        assert supervisor.read().startswith("access_denied: ")
        assert one.status()["verified"]["now"] == 0


def lapsed(folder, airflow):
    instance = airflow.instance(run_id="lapsed", state="running")
    with alone(folder, airflow, receipt_seconds=10) as one, supervising(one) as supervisor:
        supervisor.announce(instance, airflow.sign(instance, lasts=10))
        with airflow.saying(503):
            assert supervisor.read() == "eu"
            until(lambda: "could not be renewed" in one.log(), what="the end of what was proven")
            assert supervisor.read().startswith("backend_unavailable: ")
        until(lambda: one.status()["verified"]["renewed"] >= 1, what="the renewal")
        assert supervisor.read() == "eu"


def pending(folder, airflow):
    instance = airflow.instance(run_id="away")
    with alone(folder, airflow) as one, supervising(one) as supervisor:
        with airflow.saying(503):
            level, why = supervisor.announce(instance, airflow.sign(instance))
            assert level == 0
            assert why
            assert supervisor.read().startswith("backend_unavailable: ")
            assert one.status()["verified"]["pending"] == 1
        until(lambda: one.status()["verified"]["now"] == 1, what="the answer")
        assert supervisor.read() == "eu"


def killed(folder, airflow):
    instance = airflow.instance(run_id="killed", state="running")
    with alone(folder, airflow, receipt_seconds=5) as one:
        with supervising(one) as supervisor:
            supervisor.announce(instance, airflow.sign(instance, lasts=5))
        until(lambda: one.status()["announced"] == 0, what="the end of it")
        assert one.status()["verified"]["now"] == 0


def outlived(folder, airflow):
    told = folder / "told"
    told.touch()
    with alone(folder, airflow) as one:
        supervisor, instance = Supervisor(one), airflow.instance(run_id="leaves")
        try:
            supervisor.announce(instance, airflow.sign(instance))
            supervisor.leave(told)
            until(lambda: told.read_text().strip() == "eu", what="what was left to read")
            supervisor.end()
            until(lambda: told.read_text().strip() == "access_denied", what="what was left to be nobody's")
        finally:
            told.unlink()
            supervisor.end()


@pytest.fixture(scope="module")
def in_time(tmp_path_factory):
    """What waits for runs to end or to be asked for again, all at once; each has an Airflow of its own."""

    def work(what):
        folder = tmp_path_factory.mktemp(what.__name__)
        with AirflowServer(folder) as airflow:
            what(folder, airflow)

    with at_once(work, [renewed, lapsed, pending, killed, outlived]) as done:
        yield done


def test_a_run_is_renewed_while_it_is_at_work_and_no_longer(in_time):
    in_time[renewed].result()


def test_a_run_nobody_can_renew_is_unavailable_and_not_denied_and_comes_back(in_time):
    in_time[lapsed].result()


def test_a_run_nobody_can_verify_yet_is_unavailable_and_verified_later(in_time):
    in_time[pending].result()


def test_the_end_of_a_supervisor_ends_its_verification(in_time):
    in_time[killed].result()


def test_a_connection_that_outlives_its_supervisor_is_of_no_run_any_more(in_time):
    in_time[outlived].result()


def test_an_agent_that_verifies_nothing_says_so_and_goes_on(tmp_path, airflow):
    instance = airflow.instance(run_id="nobody")
    with agent(tmp_path, 'chain = ["env"]\n', environ=ENVIRON) as one, supervising(one) as supervisor:
        level, why = supervisor.announce(instance, airflow.sign(instance))
        assert (level, why) == (0, "this agent has no server, and [access.airflow] is not set")
        assert supervisor.read() == "eu"


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.e30", "A" * 20_000, "\0", "é.é.é"])
def test_what_is_no_token_leaves_a_claim_and_is_shown_nowhere(one, airflow, token):
    instance = airflow.instance(run_id="no token")
    with supervising(one) as supervisor:
        level, why = supervisor.announce(instance, token)
        assert level == 0
        assert len(token) < 2 or token not in why
        assert supervisor.read().startswith("access_denied: ")


def test_a_token_signed_by_a_shared_secret_is_refused_with_the_settings_to_change(one, airflow):
    instance = airflow.instance(run_id="shared")
    with supervising(one) as supervisor:
        level, why = supervisor.announce(instance, airflow.sign(instance, head={"alg": "HS512"}))
    assert level == 0
    assert "jwt_private_key_path" in why
    assert "trusted_jwks_url" in why


def test_a_floor_of_the_settings_takes_verified_runs_alone(tmp_path, airflow):
    everybody = "permit(principal, action, resource is Entry);"
    instance = airflow.instance(run_id="floor")
    with (
        alone(tmp_path, airflow, more='announced = "verified"\n', policy=everybody) as one,
        supervising(one) as supervisor,
    ):
        assert supervisor.read().startswith("access_denied: ")
        supervisor.announce(instance)
        assert supervisor.read().startswith("access_denied: ")
        assert supervisor.announce(instance, airflow.sign(instance)) == [2, None]
        assert supervisor.read() == "eu"


# --- the server's side -------------------------------------------------------------------------------------


def test_only_agents_have_runs_verified(served, airflow):
    server, _ = served
    instance = airflow.instance(run_id="by a token")
    run = dict(zip(("dag_id", "task_id", "run_id"), instance.claim(), strict=False))
    body = {"token": airflow.sign(instance), "run": run, "attempt": "0123456789abcdef"}
    token = server.token("admin")
    for path, said in (("/v1/agents/runs", body), ("/v1/agents/runs/renew", {"receipt": "x"})):
        answer = server.ask("POST", path, said, token=token)
        assert (answer.status, answer.code) == (403, "access_denied")
        assert server.ask("POST", path, said).status == 401


@pytest.mark.parametrize(("level", "is_allowed"), [(0, False), (1, False), (2, True), (4, True)])
def test_what_a_run_of_a_level_may_can_be_asked_before_there_is_one(served, level, is_allowed):
    server, _ = served
    asked = {"action": "write", "kind": "variable", "name": "region", "actor": "agent:host"}
    asked["run"] = {"dag_id": "etl", "assurance": level}
    answer = server.ask("POST", "/v1/can", asked, token=server.token(f"asks-{level}"))
    assert answer.json()["is_allowed"] is is_allowed


def test_JW08_an_execution_token_is_no_credential_anywhere_else(served, airflow):
    server, _ = served
    token = airflow.sign(airflow.instance(run_id="elsewhere"))
    for path, body in (("/v1/read", {"refs": []}), ("/v1/agents/decide", {"questions": []})):
        assert server.ask("POST", path, body, token=token).status == 401
    assert server.ask("GET", "/v1/whoami", token=token).status == 401
    assert token not in server.log


def test_PO01_a_receipt_says_which_run_it_is_to_its_own_agent_alone(tmp_path, served, airflow):
    server, _ = served
    clients = []
    for name in ("host-1", "host-2"):
        enrolled_in(tmp_path / name, server, name, role=None)
        clients.append(client_of(tmp_path / name))
    mine, others = clients
    instance = airflow.instance(run_id="receipts")
    given = asked_of(mine, "/agents/runs", verify_body(airflow, instance))
    question = {"user": "local:1", "action": "read", "kind": "variable", "name": "region"}
    # Whatever else is said beside a receipt, it says which run it is (PO01).
    run = {"dag_id": "other", "receipt": given["receipt"]}
    body = {"questions": [{**question, "run": run}]}
    [ruled] = asked_of(mine, "/agents/decide", body)["rulings"]
    assert (ruled["is_allowed"], ruled["depends_on_run"]) == (True, True)
    [ruled] = asked_of(others, "/agents/decide", body)["rulings"]
    assert (ruled["is_allowed"], ruled["is_lapsed"]) == (False, True)
    with pytest.raises(AccessDeniedError):
        asked_of(others, "/agents/runs/renew", {"receipt": given["receipt"]})
    assert asked_of(mine, "/agents/runs/renew", {"receipt": given["receipt"]})["assurance"] == 2


def test_a_server_without_an_airflow_says_which_table_is_missing(tmp_path, airflow):
    with serving(tmp_path) as server:
        enrolled_in(tmp_path / "agent", server, role=None)
        client = client_of(tmp_path / "agent")
        with pytest.raises(BackendConfigError, match=r"\[access\.airflow\] is not set"):
            asked_of(client, "/agents/runs", verify_body(airflow, airflow.instance(run_id="unset")))


def verify_body(airflow, instance):
    said = zip(("dag_id", "task_id", "run_id", "map_index", "try_number"), instance.claim(), strict=False)
    return {"token": airflow.sign(instance), "run": dict(said), "attempt": "0123456789abcdef"}


def asked_of(client, path, body):
    return client.post(path, dict, Secret(json.dumps(body).encode()), may_be_absent=False)
