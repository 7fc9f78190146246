"""Enrolling a host: what a code is good for, what is left on the disk, and what a wrong one leaves alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from parts.enrolled import enrolled_in, invited
from parts.server import serving
from strongroom.agent.enrol import enrol
from strongroom.assembly import open_host
from strongroom.caller import ServerAddress
from strongroom.caller.enrolled import client_of, find
from strongroom.caller.hostkey import HostKey
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    NotAuthenticatedError,
)
from strongroom.model.secret import Secret
from strongroom.wire.access import WhoAmI

SETTINGS = """
deployment = "prod"
chain = ["native"]

[server.limits]
stranger_per_second = 0
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("enrol"), SETTINGS) as found:
        yield found


def at(server):
    return ServerAddress(server.address)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("code", ["", "x", "srm_e_" + "A" * 49, "é", "srm_t_x\n"])
def test_a_wrong_code_is_one_clear_error_and_leaves_nothing(server, tmp_path, code):
    with pytest.raises(NotAuthenticatedError, match="not valid any more") as caught:
        enrol(tmp_path / "agent", at(server), Secret(code))
    assert "strongroom access agents invite" in caught.value.hint
    assert left(tmp_path / "agent") == []
    assert len(code) < 5 or code not in str(caught.value)


def test_a_code_that_was_used_enrols_no_second_host(server, tmp_path):
    code = invited(server, "only-one")
    enrol(tmp_path / "a", at(server), code)
    with pytest.raises(NotAuthenticatedError):
        enrol(tmp_path / "b", at(server), code)
    assert left(tmp_path / "b") == []


def test_where_a_deployment_is_named_that_may_be_what_is_wrong(server, tmp_path):
    address = at(server)._replace(deployment="nowhere")
    with pytest.raises(NotAuthenticatedError, match="for a deployment nowhere") as caught:
        enrol(tmp_path, address, invited(server, "lost"))
    assert "--server-deployment" in caught.value.hint


def test_blanks_and_line_ends_around_a_code_are_passed_over(server, tmp_path):
    code = invited(server, "blank").reveal()
    assert enrol(tmp_path, at(server), Secret(f"  {code[:20]} {code[20:]}\n")).name == "blank"


def test_a_host_is_enrolled_anew_only_when_that_is_said(server, tmp_path):
    enrolled_in(tmp_path, server, "before")
    key = (tmp_path / "agent.key").read_bytes()
    with pytest.raises(ConflictError, match="already, as agent before"):
        enrolled_in(tmp_path, server, "after")
    with pytest.raises(NotAuthenticatedError):
        enrol(tmp_path, at(server), Secret("wrong"), is_again=True)
    assert (tmp_path / "agent.key").read_bytes() == key  # what was enrolled goes on
    assert client_of(tmp_path).get("/whoami", WhoAmI).actor == "agent:before"
    enrol(tmp_path, at(server), invited(server, "then"), is_again=True)
    assert client_of(tmp_path).get("/whoami", WhoAmI).actor == "agent:then"


def test_a_server_that_is_not_there_spends_no_code(server, tmp_path):
    code = invited(server, "patient")
    with pytest.raises(BackendUnavailableError):
        enrol(tmp_path, ServerAddress("http://127.0.0.1:1"), code)
    assert left(tmp_path) == []
    assert enrol(tmp_path, at(server), code).name == "patient"


def test_a_key_that_others_may_read_or_that_is_none_is_not_used(server, tmp_path):
    enrolled_in(tmp_path, server, "open")
    (tmp_path / "agent.key").chmod(0o640)
    with pytest.raises(BackendConfigError, match="may be read or changed by others"):
        HostKey.of(tmp_path)
    (tmp_path / "agent.key").chmod(0o600)
    (tmp_path / "agent.key").write_bytes(b"short")
    with pytest.raises(BackendConfigError, match="holds no key"):
        HostKey.of(tmp_path)
    (tmp_path / "agent.key").unlink()
    (tmp_path / "agent.key").symlink_to("/dev/null")
    with pytest.raises(BackendConfigError):
        HostKey.of(tmp_path)
    (tmp_path / "server.json").write_text("{}")
    with pytest.raises(BackendConfigError, match="no enrolment of this release"):
        find(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BackendConfigError):
        enrol(tmp_path / "file" / "agent", at(server), invited(server, "nowhere"))


def test_an_enrolled_agent_needs_no_chain_in_its_settings(server, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    file = home / "strongroom.toml"
    file.touch(mode=0o600)
    environ = {"HOME": str(home), "STRONGROOM_HOME": str(home), "STRONGROOM_CONFIG": str(file)}
    enrolled_in(home / "agent", server, "bare")
    with open_host(file, environ=environ) as host:
        assert [link.name for link in host.chain.links] == ["remote"]


def test_a_code_is_of_no_use_after_its_ten_minutes(server, tmp_path):
    row = server.house.deployment().root.access.agents.invite("late").row
    left_for = row.expires - server.house.deployment().root.access._desk.now()
    assert timedelta(minutes=9) < left_for <= timedelta(minutes=10)
