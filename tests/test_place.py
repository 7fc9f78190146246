from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import strongroom
from strongroom.assembly import open_room
from strongroom.errors import BackendUnavailableError, SettingsError
from strongroom.place import (
    AGENT,
    LIBRARY,
    SERVER,
    default_sockets,
    elsewhere,
    find,
    require_library,
    trusted_owners,
)
from strongroom.settings import load


def test_nothing_named_means_the_library(tmp_path):
    assert find({"STRONGROOM_HOME": str(tmp_path)}).kind == LIBRARY
    require_library({})


def test_an_empty_variable_counts_as_unset(tmp_path):
    environ = {"STRONGROOM_SOCKET": "", "STRONGROOM_URL": "", "STRONGROOM_HOME": str(tmp_path)}
    assert find(environ).kind == LIBRARY


def test_a_socket_goes_before_a_server():
    place = find({"STRONGROOM_SOCKET": "/run/s", "STRONGROOM_URL": "https://example.com"})
    assert (place.kind, place.setting, place.path) == (AGENT, "STRONGROOM_SOCKET", "/run/s")
    assert find({"STRONGROOM_URL": "https://example.com"}).kind == SERVER


def test_a_profile_is_a_server_and_a_url_goes_before_it():
    place = find({"STRONGROOM_PROFILE": "prod"})
    assert (place.kind, place.setting) == (SERVER, "STRONGROOM_PROFILE")
    assert find({"STRONGROOM_PROFILE": "prod", "STRONGROOM_URL": "https://h"}).setting == "STRONGROOM_URL"


@pytest.mark.parametrize("variable", ["STRONGROOM_SOCKET", "STRONGROOM_URL", "STRONGROOM_PROFILE"])
def test_another_place_is_never_silently_replaced_by_the_library(variable):
    with pytest.raises(SettingsError, match=variable) as caught:
        require_library({variable: "https://user:canary-1@example.com"})
    assert caught.value.key == variable
    assert variable in caught.value.hint
    assert "canary" not in str(caught.value) + caught.value.hint


@pytest.fixture
def runtime(tmp_path):
    """Give an environment whose runtime folder is ours, and the folder an agent's socket stands in there."""
    folder = tmp_path / "strongroom"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "agent.sock"))
        yield {"XDG_RUNTIME_DIR": str(tmp_path)}, folder


def test_an_agent_in_its_usual_place_is_found_behind_all_that_is_named(runtime):
    environ, folder = runtime
    assert default_sockets(environ)[-1] == str(folder / "agent.sock")
    place = find(environ)
    assert (place.kind, place.setting, place.path) == (AGENT, None, str(folder / "agent.sock"))
    assert find(environ | {"STRONGROOM_URL": "https://h"}).kind == SERVER
    assert find(environ | {"STRONGROOM_AGENT": "off"}).kind == LIBRARY
    require_library(environ)


def test_a_home_of_its_own_has_its_agent_in_it_and_no_other_is_looked_for(runtime, tmp_path):
    environ, folder = runtime
    environ |= {"STRONGROOM_HOME": str(tmp_path)}
    assert default_sockets(environ) == (str(tmp_path / "run" / "agent.sock"),)
    assert find(environ).kind == LIBRARY
    assert load(environ=environ, cwd=tmp_path).agent.socket == tmp_path / "run" / "agent.sock"
    folder.rename(tmp_path / "run")
    assert find(environ).path == str(tmp_path / "run" / "agent.sock")


def test_a_socket_that_others_could_have_put_there_is_not_taken_for_an_agents(runtime):
    environ, folder = runtime
    folder.chmod(0o777)
    assert find(environ).kind == LIBRARY
    folder.chmod(0o700)
    (folder / "agent.sock").unlink()
    (folder / "agent.sock").touch()
    assert find(environ).kind == LIBRARY


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_who_may_answer_is_whoever_could_have_put_the_socket_there(runtime):
    _, folder = runtime
    path = folder / "agent.sock"
    assert set(trusted_owners(str(path))) == {0}
    os.chown(path, 12345, -1)
    assert set(trusted_owners(str(path))) == {0, 12345}
    # A folder that root made for the agent's user, as a service manager does.
    os.chown(folder, 12345, -1)
    folder.parent.chmod(0o755)
    assert set(trusted_owners(str(path))) == {0, 12345}
    # The same where anybody may make folders, or where the socket is somebody else's.
    folder.parent.chmod(0o1777)
    with pytest.raises(SettingsError, match="others than root and me"):
        trusted_owners(str(path))
    folder.parent.chmod(0o755)
    os.chown(path, 54321, -1)
    with pytest.raises(SettingsError, match="others than root and me"):
        trusted_owners(str(path))
    # In a folder like /tmp only root and I are believed.
    os.chown(folder, 0, -1)
    folder.chmod(0o1777)
    assert set(trusted_owners(str(path))) == {0}


def test_an_agent_may_be_required(tmp_path):
    environ = {"STRONGROOM_AGENT": "required", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert find(environ).kind == AGENT
    with pytest.raises(SettingsError, match="STRONGROOM_AGENT requires an agent"):
        require_library(environ)
    with pytest.raises(SettingsError, match="none of required and off"):
        find({"STRONGROOM_AGENT": "perhaps"})


def test_what_an_agent_does_not_do_says_where_it_is_done():
    for setting, words in (
        (None, "the agent here"),
        ("STRONGROOM_SOCKET", "STRONGROOM_SOCKET names an agent"),
    ):
        error = elsewhere("keys are rotated", setting=setting, kind=AGENT)
        assert words in str(error)
        assert "keys are rotated" in str(error)
        assert "STRONGROOM_" in error.hint


def test_settings_that_require_an_agent_are_not_read_without_one(tmp_path):
    (tmp_path / "strongroom.toml").write_text("[agent]\nrequired = true\n")
    environ = {"STRONGROOM_HOME": str(tmp_path), "STRONGROOM_CONFIG": str(tmp_path / "strongroom.toml")}
    with pytest.raises(BackendUnavailableError, match=r"agent\.required"):
        open_room(environ=environ, cwd=tmp_path)
    open_room(tmp_path / "strongroom.toml", environ=environ, cwd=tmp_path).close()


def test_finding_the_place_imports_nothing_heavy():
    source = Path(strongroom.__file__).parent.parent
    script = f"import sys; sys.path.insert(0, {str(source)!r}); import strongroom.place; print(*sys.modules)"
    # Without site: an editable install imports on its own account.
    found = subprocess.run(
        [sys.executable, "-S", "-E", "-c", script], capture_output=True, text=True, check=True
    )
    assert {"dataclasses", "enum", "typing", "json", "re", "urllib"}.isdisjoint(found.stdout.split())
