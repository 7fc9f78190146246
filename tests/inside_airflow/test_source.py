"""Where the backend asks: one source for equal options, in this process, and what the options name."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

from parts.agent import agent
from strongroom.airflow.options import options_of
from strongroom.airflow.source import AgentSource, RoomSource, source_of
from strongroom.errors import SettingsError
from strongroom.model.ref import Ref

GOOD = Ref("variable", "good")


def settings_in(folder, text):
    file = folder / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text(text)
    return file


def kept(folder, **variables):
    file = folder / "variables.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(variables))
    return {"kept": {"kind": "file", "variables": str(file)}}


def python(program, *arguments, **environ):
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WHERE = """
import sys
from strongroom.airflow.options import options_of
from strongroom.airflow.source import source_of
import json
source = source_of(options_of(json.loads(sys.argv[1])))
print(source.kind, "|", source.place)
"""


@pytest.mark.parametrize(
    ("kwargs", "environ", "where"),
    [
        ({"socket": "/run/s"}, {"STRONGROOM_URL": "https://other"}, "agent | agent /run/s"),
        ({"url": "https://me:pw@s:8200/base"}, {"STRONGROOM_SOCKET": "/o"}, "server | server s:8200"),
        ({"settings": "/s.toml"}, {"STRONGROOM_SOCKET": "/o"}, "library | settings /s.toml"),
        ({"chain": "env"}, {"STRONGROOM_URL": "https://other"}, "library | chain env"),
        ({}, {"STRONGROOM_SOCKET": "/run/s"}, "agent | agent /run/s"),
        ({}, {"STRONGROOM_URL": "https://s"}, "server | server s"),
        ({}, {"STRONGROOM_PROFILE": "prod"}, "server | server of the profile"),
        ({}, {"STRONGROOM_CONFIG": "/s.toml"}, "library | settings /s.toml"),
        ({}, {"STRONGROOM_AGENT": "off"}, "library | settings as the command line finds them"),
    ],
)
def test_the_options_say_where_and_the_environment_where_they_say_nothing(kwargs, environ, where):
    assert python(WHERE, json.dumps(kwargs), **environ) == where


def test_equal_options_have_one_source_and_others_another(tmp_path):
    one = source_of(options_of({"socket": str(tmp_path / "a")}))
    assert source_of(options_of({"socket": str(tmp_path / "a")})) is one
    assert source_of(options_of({"socket": str(tmp_path / "b")})) is not one
    assert isinstance(one, AgentSource)


def test_a_required_agent_forbids_what_the_options_name(tmp_path):
    program = (
        "import sys; from strongroom.airflow.options import options_of as o\n"
        "from strongroom.airflow.source import source_of; from strongroom.model.ref import Ref\n"
        "try: source_of(o({'chain': 'env'})).text(Ref('variable', 'good'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = python(program, STRONGROOM_AGENT="required", HOME=str(tmp_path), AIRFLOW_VAR_GOOD="eu")
    assert said.startswith("SettingsError STRONGROOM_AGENT requires an agent")


def test_the_environment_is_looked_at_when_it_is_asked_for(tmp_path):
    program = (
        "import os; from strongroom.airflow.options import options_of as o\n"
        "from strongroom.airflow.source import source_of; from strongroom.model.ref import Ref\n"
        "source = source_of(o({'chain': 'env'})); ref = Ref('variable', 'good')\n"
        "before = source.text(Ref('variable', 'other'))\n"
        "os.environ['AIRFLOW_VAR_GOOD'] = 'eu'; print(before, source.text(ref))"
    )
    assert python(program, HOME=str(tmp_path)) == "None eu"


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Give the same entries as an agent and as a room of this machine give them."""
    folder = tmp_path_factory.mktemp("source")
    backend = kept(folder, good="value", text="${variable/good}")
    text = f'chain = ["kept"]\n[backend.kept]\nkind = "file"\nvariables = "{backend["kept"]["variables"]}"\n'
    (folder / "agent").mkdir()
    with agent(folder / "agent", text) as one:
        yield {
            "agent": source_of(options_of({"socket": str(one.socket)})),
            "library": RoomSource(
                "library",
                options_of({"settings": str(settings_in(folder, text))}),
                {"STRONGROOM_HOME": str(folder / "home"), "HOME": str(folder)},
            ),
        }


@pytest.mark.parametrize("kind", ["agent", "library"])
def test_a_text_is_given_or_none(asked, kind):
    source = asked[kind]
    assert source.kind == kind
    assert source.text(GOOD) == "value"
    assert source.text(GOOD, is_parse=True) == "value"
    assert source.text(Ref("variable", "absent")) is None
    assert asyncio.run(source.atext(GOOD)) == "value"
    assert asyncio.run(source.atext(Ref("variable", "absent"))) is None


@pytest.mark.parametrize("kind", ["agent", "library"])
def test_it_explains_in_one_line(asked, kind):
    assert asked[kind].explain(GOOD) == "found: asked kept found"
    assert asked[kind].explain(Ref("variable", "absent")) == "absent: asked kept absent"


@pytest.mark.parametrize("kind", ["agent", "library"])
def test_its_room_answers_the_same(asked, kind):
    assert asked[kind].room().lookup.variable("good") == "value"


def test_settings_that_are_wrong_show_with_the_first_question(tmp_path):
    source = source_of(options_of({"settings": str(settings_in(tmp_path, "chian = []"))}))
    with pytest.raises(SettingsError):
        source.text(GOOD)


def test_a_chain_that_is_written_out_counts_without_any_file(tmp_path):
    (tmp_path / "strongroom.toml").write_text("broken")
    program = (
        "import json, sys; from strongroom.airflow.options import options_of as o\n"
        "from strongroom.airflow.source import source_of; from strongroom.model.ref import Ref\n"
        "source = source_of(o(json.loads(sys.argv[1]))); print(source.text(Ref('variable', 'good')))"
    )
    kwargs = {"chain": "kept", "backend": kept(tmp_path, good="inline")}
    assert python(program, json.dumps(kwargs), HOME=str(tmp_path)) == "inline"


def test_a_chain_that_is_written_out_lies_over_the_settings_that_are_named(tmp_path):
    file = settings_in(tmp_path, 'chain = ["env"]\n[cache]\nttl = 7\n')
    program = (
        "import json, sys; from strongroom.airflow.options import options_of as o\n"
        "from strongroom.airflow.source import source_of; from strongroom.model.ref import Ref\n"
        "source = source_of(o(json.loads(sys.argv[1]))); print(source.text(Ref('variable', 'good')))"
    )
    kwargs = {"settings": str(file), "chain": ["kept"], "backend": kept(tmp_path, good="over")}
    environ = {"HOME": str(tmp_path), "AIRFLOW_VAR_GOOD": "under"}
    assert python(program, json.dumps(kwargs), **environ) == "over"
