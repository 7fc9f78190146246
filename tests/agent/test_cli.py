"""`strongroom agent …`: looking after an agent that runs."""

import json
import os

import pytest

from parts import warm
from parts.agent import agent, until
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient

ENVIRON = {"AIRFLOW_VAR_REGION": "eu-west-1", "AIRFLOW_CONN_REGION": "postgres://h"}
READ = "import strongroom; print(strongroom.variable('region'))"


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with agent(tmp_path_factory.mktemp("a"), 'chain = ["env"]\n', environ=ENVIRON) as running:
        yield running


@pytest.fixture
def tell(one):
    def told(*words, environ=None, fails=0):
        done = warm.run(
            ["agent", *words],
            env=environ or one.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=one.home,
        )
        assert done.returncode == fails, done.stderr
        return done.stderr if fails else done.stdout

    return told


def test_the_status_says_how_the_agent_is(one, tell):
    one.python(READ)
    text = tell("status")
    for word in ("deployment", "default", str(one.socket), str(one.pid), "connections", "top readers"):
        assert word in text
    assert "BACKEND" in text
    assert "env" in text


def test_the_status_tells_of_parsers_once_there_was_one(one, tell):
    assert "of DAG files" not in tell("status")
    client = AgentClient(str(one.socket))
    for _ in range(3):
        client.read("variable", "nowhere_at_all", flags=frames.PARSE)
    assert "3 reads at the top of DAG files, 1 asked for" in tell("status")


def test_the_status_is_the_same_in_json_and_yaml_and_holds_no_value(one, tell):
    one.python(READ)
    told = json.loads(tell("status", "--output", "json"))
    assert told["pid"] == one.pid
    assert told["socket"] == str(one.socket)
    assert [backend["name"] for backend in told["backends"]] == ["env"]
    assert told["protocol"].startswith("1.")
    assert {
        "connections",
        "uptime_seconds",
        "cache",
        "oldest_stale",
        "spool",
        "last_notice",
        "top_readers",
    } <= set(told)
    assert f"pid: {one.pid}" in tell("status", "-o", "yaml")
    assert "eu-west-1" not in json.dumps(told)


def test_the_agent_is_found_by_option_by_environment_and_by_settings(one, tell):
    plain = {"PATH": os.environ["PATH"], "HOME": str(one.home), "STRONGROOM_HOME": str(one.home / "none")}
    assert str(one.pid) in tell("--socket", str(one.socket), "status", environ=plain)
    assert str(one.pid) in tell("status", environ=plain | {"STRONGROOM_SOCKET": str(one.socket)})
    named = plain | {"STRONGROOM__AGENT__SOCKET": str(one.socket)}
    assert str(one.pid) in tell("status", environ=named)


def test_where_no_agent_runs_that_is_said(one, tell):
    environ = one.environ | {"STRONGROOM_SOCKET": str(one.home / "nobody.sock")}
    told = tell("status", environ=environ, fails=6)
    assert "no agent answers" in told
    assert "hint: start it: strongroom agent" in told


def test_an_agent_in_its_usual_place_is_asked_where_settings_are_broken(one, tell):
    home = one.socket.parent.parent
    usual = home / "strongroom"
    usual.mkdir(mode=0o700, exist_ok=True)
    (usual / "agent.sock").unlink(missing_ok=True)
    os.link(one.socket, usual / "agent.sock")
    one.configure("this is no TOML")
    environ = one.environ | {"XDG_RUNTIME_DIR": str(home), "STRONGROOM_CONFIG": str(one.settings)}
    environ.pop("STRONGROOM_SOCKET", None)
    try:
        assert str(one.pid) in tell("status", environ=environ)
        assert "is not TOML" in tell("reload", environ=environ, fails=7)
        assert "not taken anew  settings: " in tell("status", environ=environ)
        assert "is not TOML" in tell("status", "--deployment", "other", environ=environ, fails=7)
    finally:
        one.configure('chain = ["env"]\n')
        tell("reload")


def test_the_status_says_in_words_how_the_record_stands(one, tell):
    one.python(READ)
    text = tell("status")
    assert " KiB" in text
    assert "None" not in text


def test_one_name_is_forgotten_or_everything(one, tell):
    one.python(READ)
    assert tell("flush", "region") == "forgot 1 entry\n"
    assert tell("flush", "region") == "forgot 0 entries\n"
    one.python(READ)
    assert tell("flush", "region", "--kind", "connection") == "forgot 0 entries\n"
    assert json.loads(tell("flush", "--output", "json")) == {"flushed": 1}
    assert one.python(READ) == "eu-west-1"


def test_a_kind_without_a_name_is_refused(tell):
    assert "--kind is of a name" in tell("flush", "--kind", "variable", fails=2)


def lines_of(one):
    return [json.loads(line) for line in one.log().splitlines() if line.startswith("{")]


def test_the_log_level_is_changed_while_it_runs(one, tell):
    assert tell("log-level") == "the agent logs info\n"
    assert tell("log-level", "debug") == "the agent logs debug\n"
    assert one.status()["log_level"] == "debug"
    one.python(READ)
    ended = until(
        lambda: [line for line in lines_of(one) if line["event"] == "ended a connection" and line["reads"]],
        what="the end of a connection",
    )
    assert ended[-1]["user"] == os.getuid()
    tell("log-level", "info")
    tell("log-level", "loud", fails=2)


def test_settings_are_taken_anew_or_it_is_said_why_not(one, tell):
    assert tell("reload") == "the agent took its settings anew\n"
    one.configure('chain = ["no_such_kind"]\n')
    assert "no_such_kind" in tell("reload", fails=7)
    one.configure('chain = ["env"]\n')
    tell("reload")
    assert one.status()["reload_trouble"] == ""


def test_every_order_is_on_record_with_who_gave_it(one, tell):
    tell("flush", "region")
    tell("log-level", "info")
    folder = one.home / "agent" / "audit"

    def recorded():
        text = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()).decode(
            errors="replace"
        )
        return all(what in text for what in ("agent flush", "agent log_level=info", f"local:{os.getuid()}"))

    until(recorded, what="the records")


def test_an_agent_has_its_server_from_its_settings(tell):
    assert "--profile" in tell("--profile", "prod", fails=2)
