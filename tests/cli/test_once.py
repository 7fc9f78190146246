"""`strongroom agent --once`: files are written, or an exit code says why not; `run --watch` by an agent."""

from __future__ import annotations

import json
import subprocess

import pytest

from parts import warm
from parts.agent import agent

SETTINGS = """
chain = ["vars"]
[backend.vars]
kind = "file"
variables = "v.json"
[agent.file.region]
path = "{0}/region"
variable = "region"
[agent.file.zone]
path = "{0}/zone"
variable = "zone"
"""


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "v.json").touch(mode=0o600)
    (tmp_path / "v.json").write_text(json.dumps({"region": "eu", "zone": "a"}))
    (tmp_path / "s.toml").touch(mode=0o600)
    (tmp_path / "s.toml").write_text(SETTINGS.format(tmp_path))
    return tmp_path


def once(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["agent", "--once", "--config", str(folder / "s.toml")]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "STRONGROOM_HOME": str(folder)}
    return warm.run([*command, *arguments], env=environ, capture_output=True, text=True, timeout=60)


def test_all_files_are_written_and_named(folder):
    done = once(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"region: {folder}/region is as it should be",
        f"zone: {folder}/zone is as it should be",
    ]
    assert (folder / "zone").read_text() == "a"


def test_one_that_cannot_be_written_is_told_and_the_others_are(folder):
    (folder / "v.json").write_text(json.dumps({"zone": "a"}))
    done = once(folder)
    assert done.returncode == 3
    assert 'region is not as it should be: variable "region" is in no backend' in done.stderr
    assert (folder / "zone").read_text() == "a"
    assert not (folder / "region").exists()


def test_without_files_in_the_settings_there_is_nothing_to_do(folder):
    (folder / "s.toml").write_text('chain = ["env"]\n')
    done = once(folder)
    assert done.returncode == 7
    assert "there is no file to write" in done.stderr


def test_it_stands_alone(folder):
    done = once(folder, "status")
    assert done.returncode == 2
    assert "--once stands alone" in done.stderr


def test_beside_an_agent_on_the_same_state_it_is_refused(folder):
    with agent(folder, SETTINGS.format(folder)):
        done = once(folder)
    assert done.returncode == 5
    assert "an agent runs already" in done.stderr


def test_a_command_is_started_anew_when_the_agent_tells_of_a_change(folder):
    script = "trap 'exit 3' TERM; echo start $AIRFLOW_VAR_REGION; while :; do sleep 0.05; done"
    command = ["run", "--watch", "--variable", "region", "--"]
    with agent(folder, SETTINGS.format(folder)) as one:
        process = warm.Popen(
            [*command, "sh", "-c", script], env=one.environ, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout.readline() == "start eu\n", one.log()
            draft = folder / "draft"
            draft.touch(mode=0o600)
            draft.write_text(json.dumps({"region": "us", "zone": "a"}))
            draft.rename(folder / "v.json")
            one.admin({"do": "flush"})
            assert process.stdout.readline() == "start us\n"
            process.terminate()
            assert process.wait(20) == 3
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
