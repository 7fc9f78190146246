"""`strongroom doctor` where an agent is asked."""

import json
import subprocess
from contextlib import suppress

import pytest

from parts import warm
from parts.agent import agent
from strongroom.remote.examined_host import _troubles

ENVIRON = {"AIRFLOW_VAR_REGION": "eu-west-1"}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with agent(tmp_path_factory.mktemp("a"), 'chain = ["env"]\n', environ=ENVIRON) as running:
        yield running


def found(one, *words, **environ):

    done = warm.run(
        ["doctor", "--output", "json", *words],
        env=one.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=one.home,
    )
    assert done.returncode in (0, 7), done.stderr
    return {(finding["name"], finding["level"]): finding for finding in json.loads(done.stdout)}


def test_an_agent_that_is_well_is_said_to_be_and_its_surroundings_are_looked_at(one):
    told = found(one)
    assert str(one.socket) in told["room-closed", "ok"]["what"]
    assert "nothing troubles it" in told["agent-trouble", "ok"]["what"]
    assert ("no-store", "note") not in told  # of settings that this process does not ask by
    assert [name for name, _ in found(one, "--only", "agent-trouble")] == ["agent-trouble"]


def test_an_agent_that_is_down_is_an_error_and_what_stands_around_is_looked_at(one):
    one.kill()
    try:
        told = found(one, AWS_ACCESS_KEY_ID="AKIAEXAMPLE", AWS_SECRET_ACCESS_KEY="example")
    finally:
        one.start()
    assert "strongroom agent" in told["room-closed", "error"]["fix"]
    assert "static-cloud-key" in {name for name, _ in told}


def test_settings_it_could_not_take_are_told(one):
    good = one.settings.read_text()
    one.settings.write_text("chain = [\n")
    try:
        with suppress(subprocess.CalledProcessError):
            warm.run(["agent", "reload"], env=one.environ, check=False)
        assert "settings of before" in found(one)["agent-trouble", "warning"]["what"]
    finally:
        one.settings.write_text(good)
        warm.run(["agent", "reload"], env=one.environ, check=True)


WELL = {
    "deployment": "default",
    "spool": {"mode": "spooled", "bytes": 0, "max_bytes": None, "unrecorded": 0, "trouble": ""},
    "decisions": None,
    "backends": [{"name": "vault", "circuit": "closed", "watched": ""}],
    "reload_trouble": "",
    "last_good": None,
    "files": [],
}
ILL = {
    "what is with the record": {"spool": WELL["spool"] | {"trouble": "no room is left"}},
    "what went unrecorded": {"spool": WELL["spool"] | {"unrecorded": 3}},
    "that little room is left": {"spool": WELL["spool"] | {"bytes": 90, "max_bytes": 100}},
    "that its server is away": {"decisions": {"state": "parted", "trouble": ""}},
    "that a backend is not asked": {"backends": [{"name": "vault", "circuit": "open", "watched": ""}]},
    "that no change is heard of": {"backends": [{"name": "vault", "circuit": "", "watched": "lost"}]},
    "what is with the copy": {"last_good": {"trouble": "it is of another machine"}},
    "what is with a file": {"files": [{"name": "app", "state": "left", "trouble": ""}]},
}


@pytest.mark.parametrize("part", ILL.values(), ids=ILL)
def test_each_trouble_of_its_status_is_told_with_what_to_do(part):
    assert not list(_troubles(WELL))
    (trouble,) = _troubles(WELL | part)
    assert trouble.level in ("warning", "error")
    assert trouble.what
    assert trouble.fix
