from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.assembly import create_room, local_owner, open_room
from strongroom.errors import (
    BackendConfigError,
    InvalidInputError,
    NotFoundError,
    NotRecordedError,
    ReadOnlyError,
    SealedError,
    SettingsError,
)
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.settings import load

REGION = Ref("variable", "region")
PASSPHRASE = "canary-passphrase-1"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "room"


@pytest.fixture
def environ(home):
    return {"STRONGROOM_HOME": str(home)}


def write(room, text: str = "eu"):
    return room.entries.write(Change(ref=REGION, secret=Secret(text)))


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "given.toml"
    path.write_text(text)
    return path


# --- opening -----------------------------------------------------------------------------------------


def test_no_folder_of_a_store_is_open_to_others_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        create_room(environ={"HOME": str(tmp_path)}, cwd=tmp_path).close()
    finally:
        os.umask(before)
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_opening_makes_nothing(environ, home, tmp_path):
    with open_room(environ=environ, cwd=tmp_path) as room:
        assert [row.name for row in room.backends.list()] == ["env"]
    assert not home.exists()


def test_without_any_settings_the_environment_answers(environ, tmp_path):
    with open_room(environ={**environ, "AIRFLOW_VAR_REGION": "eu"}, cwd=tmp_path) as room:
        assert room.lookup.variable("region") == "eu"


def test_without_any_settings_what_is_missing_names_the_next_command(environ, tmp_path):
    with open_room(environ=environ, cwd=tmp_path) as room:
        with pytest.raises(NotFoundError) as caught:
            room.lookup.variable("region")
        assert "strongroom explain variable region" in caught.value.hint
        with pytest.raises(ReadOnlyError) as refused:
            write(room)
        assert refused.value.hint == "strongroom init"


def test_a_chain_that_names_a_store_that_is_not_there_names_the_command(environ, tmp_path, home):
    with pytest.raises(BackendConfigError) as caught:
        open_room(config(tmp_path, 'chain = ["native"]'), environ=environ, cwd=tmp_path)
    assert caught.value.hint == "strongroom init"
    assert not home.exists()


@pytest.mark.parametrize("make", [open_room, create_room])
@pytest.mark.parametrize("variable", ["STRONGROOM_SOCKET", "STRONGROOM_URL"])
def test_a_named_agent_or_server_is_never_replaced_by_the_library(environ, tmp_path, home, make, variable):
    with pytest.raises(SettingsError, match=variable):
        make(environ={**environ, variable: "/run/strongroom"}, cwd=tmp_path)
    assert not home.exists()


def test_an_unknown_kind_of_backend_is_refused_with_those_there_are(environ, tmp_path):
    with pytest.raises(BackendConfigError) as caught:
        open_room(config(tmp_path, 'chain = ["vaul"]'), environ=environ, cwd=tmp_path)
    assert "native" in caught.value.hint


def test_options_of_a_backend_are_checked_when_it_is_opened(environ, tmp_path):
    with pytest.raises(SettingsError, match=r"backend\.env\.colour"):
        open_room(
            config(tmp_path, 'chain = ["env"]\n[backend.env]\ncolour = 1'), environ=environ, cwd=tmp_path
        )


def test_a_file_backend_is_made_of_its_options(environ, tmp_path):
    (tmp_path / "variables.json").write_text('{"region": "eu"}')
    text = 'chain = ["files"]\n[backend.files]\nkind = "file"\nvariables = "variables.json"'
    with open_room(config(tmp_path, text), environ=environ, cwd=tmp_path) as room:
        assert room.lookup.variable("region") == "eu"


def test_settings_may_be_given_ready_made(environ, tmp_path):
    settings = load(environ=environ, cwd=tmp_path, deployment="scratch")
    with create_room(settings, environ=environ) as room:
        assert room.deployment == "scratch"
        write(room)


def test_this_process_acts_as_its_unix_user():
    assert local_owner().id == f"local:{os.geteuid()}"


def test_a_backend_that_cannot_be_made_is_told_and_left_out_where_somebody_is_told(environ, tmp_path):
    tables = {"chain": ["vaul", "env", "files"], "backend": {"files": {"kind": "file", "colour": 1}}}
    settings = load(environ=environ, cwd=tmp_path, tables=tables)
    told: dict[str, str] = {}
    with open_room(
        settings, environ=environ, on_trouble=lambda name, error: told.update({name: error.code})
    ) as room:
        assert [row.name for row in room.backends.list()] == ["env"]
    assert told == {"vaul": "backend_config", "files": "settings"}


# --- creating ----------------------------------------------------------------------------------------


def test_creating_makes_store_and_key_and_records_it(environ, home, tmp_path):
    with create_room(environ=environ, cwd=tmp_path) as room:
        write(room)
        assert [record.reason for record in room.audit.tail(9)][:2] == ["init", "init"]
    assert {path.name for path in home.iterdir()} >= {"store.db", "key", "audit"}
    assert (home / "key").stat().st_mode & 0o777 == 0o600


def test_creating_twice_opens_what_is_there(environ, tmp_path, home):
    with create_room(environ=environ, cwd=tmp_path) as room:
        write(room)
    key = (home / "key").read_bytes()
    with create_room(environ=environ, cwd=tmp_path) as room:
        assert room.lookup.variable("region") == "eu"
        assert [record.action for record in room.audit.tail(99)].count("administer") == 2
    assert (home / "key").read_bytes() == key


def test_a_key_is_never_made_beside_a_store_that_has_one(environ, tmp_path, home):
    create_room(environ=environ, cwd=tmp_path).close()
    (home / "key").unlink()
    for make in (create_room, open_room):
        with pytest.raises(SealedError, match="missing"):
            make(environ=environ, cwd=tmp_path)
        assert not (home / "key").exists()


def test_a_missing_key_is_not_made_anew_for_another_deployment_in_the_same_store(environ, tmp_path, home):
    create_room(environ=environ, cwd=tmp_path, deployment="prod").close()
    key = (home / "key").read_bytes()
    (home / "key").unlink()
    with pytest.raises(SealedError, match="missing"):
        create_room(environ=environ, cwd=tmp_path, deployment="staging")
    assert not (home / "key").exists()
    (home / "key").write_bytes(key)
    (home / "key").chmod(0o600)
    create_room(environ=environ, cwd=tmp_path, deployment="staging").close()
    open_room(environ=environ, cwd=tmp_path, deployment="prod").close()


def test_another_key_does_not_open_the_store_and_nothing_is_overwritten(environ, tmp_path, home):
    create_room(environ=environ, cwd=tmp_path).close()
    other = {"STRONGROOM_HOME": str(tmp_path / "other")}
    create_room(environ=other, cwd=tmp_path).close()
    swapped = (tmp_path / "other/key").read_bytes()
    (home / "key").write_bytes(swapped)
    store = (home / "store.db").read_bytes()
    for make in (create_room, open_room):
        with pytest.raises(SealedError, match="another key"):
            make(environ=environ, cwd=tmp_path)
    assert (home / "key").read_bytes() == swapped
    assert (home / "store.db").read_bytes() == store


def test_a_key_open_to_others_is_refused(environ, tmp_path, home):
    create_room(environ=environ, cwd=tmp_path).close()
    (home / "key").chmod(0o644)
    with pytest.raises(BackendConfigError) as caught:
        open_room(environ=environ, cwd=tmp_path)
    assert caught.value.hint.startswith("chmod 600 ")


def test_a_key_that_was_left_by_a_crash_is_used(environ, tmp_path, home):
    create_room(environ=environ, cwd=tmp_path).close()
    key = (home / "key").read_bytes()
    for path in home.glob("store.db*"):
        path.unlink()
    with create_room(environ=environ, cwd=tmp_path) as room:
        write(room)
    assert (home / "key").read_bytes() == key


def test_where_nothing_can_be_recorded_nothing_is_made(environ, tmp_path, home):
    home.mkdir()
    (home / "audit").write_text("in the way")
    with pytest.raises(NotRecordedError, match="audit"):
        create_room(environ=environ, cwd=tmp_path)
    assert {path.name for path in home.iterdir()} == {"audit"}


CREATE = """
import sys
from strongroom.assembly import create_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
with create_room(environ={"STRONGROOM_HOME": sys.argv[1]}) as room:
    room.entries.write(Change(ref=Ref("variable", sys.argv[2]), secret=Secret("x")))
"""


def test_processes_that_create_at_once_share_one_key(environ, tmp_path, home):
    names = ["a", "b", "c", "d"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(home), name], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        for name in names
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    with open_room(environ=environ, cwd=tmp_path) as room:
        assert [room.lookup.variable(name) for name in names] == ["x"] * 4
        assert len(room.keys.status()) == 1
        assert room.audit.verify().is_ok


def test_deployments_in_one_file_have_stores_of_their_own(environ, tmp_path):
    path = config(tmp_path, "[deployments.staging]\n")
    with create_room(path, environ=environ, cwd=tmp_path) as room:
        write(room, "prod")
    staging = create_room(path, environ=environ, cwd=tmp_path, deployment="staging")
    with staging, pytest.raises(NotFoundError):
        staging.lookup.variable("region")


# --- passphrases -------------------------------------------------------------------------------------

WITH_PASSPHRASE = '[store]\nwrappers = [{ kind = "passphrase"%s }]\n'


def test_a_passphrase_is_asked_for(environ, tmp_path, home):
    path = config(tmp_path, WITH_PASSPHRASE % "")
    asked = []

    def ask() -> Secret[str]:
        asked.append(1)
        return Secret(PASSPHRASE)

    with create_room(path, environ=environ, cwd=tmp_path, passphrase=ask) as room:
        write(room)
    assert asked
    assert not (home / "key").exists()
    with pytest.raises(SealedError, match="nobody can be asked") as caught:
        open_room(path, environ=environ, cwd=tmp_path)
    assert "store.wrappers" in caught.value.hint
    with pytest.raises(SealedError, match="the passphrase is wrong"):
        open_room(path, environ=environ, cwd=tmp_path, passphrase=lambda: Secret("another-passphrase"))
    with open_room(path, environ=environ, cwd=tmp_path, passphrase=ask) as room:
        assert room.lookup.variable("region") == "eu"


def test_a_passphrase_is_fetched_from_where_the_settings_say(environ, tmp_path):
    path = config(tmp_path, WITH_PASSPHRASE % ', passphrase = { env = "PASS" }')
    with create_room(path, environ={**environ, "PASS": PASSPHRASE}, cwd=tmp_path) as room:
        write(room)
    with pytest.raises(SettingsError, match="PASS"):
        open_room(path, environ=environ, cwd=tmp_path)


def test_a_short_passphrase_makes_no_store_that_looks_made(environ, tmp_path):
    path = config(tmp_path, WITH_PASSPHRASE % "")
    with pytest.raises(InvalidInputError, match="at least 8"):
        create_room(path, environ=environ, cwd=tmp_path, passphrase=lambda: Secret("short"))
    with create_room(path, environ=environ, cwd=tmp_path, passphrase=lambda: Secret(PASSPHRASE)) as room:
        write(room)


def test_a_file_opens_the_store_without_asking_for_the_passphrase(environ, tmp_path):
    text = '[store]\nwrappers = [{ kind = "file" }, { kind = "passphrase" }]\n'
    path = config(tmp_path, text)
    create_room(path, environ=environ, cwd=tmp_path, passphrase=lambda: Secret(PASSPHRASE)).close()

    def ask() -> Secret[str]:
        raise AssertionError("nobody needs to be asked")

    with open_room(path, environ=environ, cwd=tmp_path, passphrase=ask) as room:
        (key,) = room.keys.status()
        assert [wrapper.split()[0] for wrapper in key.wrapped_by] == ["file", "passphrase"]
    with open_room(
        config(tmp_path, WITH_PASSPHRASE % ""),
        environ=environ,
        cwd=tmp_path,
        passphrase=lambda: Secret(PASSPHRASE),
    ):
        pass
