"""The support file, with a secret planted wherever one can stand."""

from __future__ import annotations

import json
import os
import stat
import sys

import pytest

from cli_shell import Shell
from parts.project import CANARY, Project
from strongroom.assembly import open_doctor, room_of
from strongroom.chain import Link
from strongroom.model.ref import Ref
from strongroom.service.bundle import make_bundle
from strongroom.service.doctor import Case
from strongroom.settings import load
from strongroom.testing.fakes import Slow, frozen_clock

PLANTED = f"""
[lookup]
timeout_seconds = 2
[backend.vault]
url = "https://{CANARY}:{CANARY}@{CANARY}.corp:8200/{CANARY}?{CANARY}={CANARY}"
auth_type = "{CANARY}"
role_id = "{CANARY}"
namespace = "{CANARY}"
secret_id = {{ file = "keys/{CANARY}" }}
token = {{ command = ["{CANARY}"] }}
{CANARY} = "{CANARY}"
match = ["{CANARY}/*"]
verify = false
kv_engine_version = 2
[backend.other]
kind = "file"
connections = "{CANARY}.json"
pin = 83461274
auth = {{ method = "{CANARY}", token = {{ env = "{CANARY}" }}, {CANARY} = ["{CANARY}"] }}
"""


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path).make()


def bundle(project, **options) -> dict:
    with open_doctor(environ=project.environ, cwd=project.work) as doctor:
        return make_bundle(doctor.case, doctor.run(), version="1", **options)


def plant(project) -> None:
    project.settings(PLANTED)
    project.write(f"work/keys/{CANARY}", CANARY)
    project.write(f"work/dags/{CANARY}.py", f'password = "{CANARY}"\n')
    project.put(Ref("connection", f"c-{CANARY}"), f"postgres://{CANARY}:{CANARY}@{CANARY}/{CANARY}")
    project.put(Ref("variable", f"v-{CANARY}"), CANARY)
    project.environ |= {
        f"AIRFLOW_VAR_{CANARY}": CANARY,
        f"AIRFLOW_CONN_{CANARY}": f"postgres://a:{CANARY}@h:port",
        "VAULT_TOKEN": CANARY,
        "AIRFLOW__SECRETS__BACKEND": CANARY,
        "AIRFLOW__SECRETS__BACKEND_KWARGS": f'{{"token": "{CANARY}", "url": "http://{CANARY}"}}',
        "AIRFLOW__CORE__FERNET_KEY": CANARY,
    }


@pytest.mark.parametrize("opens", [True, False])
def test_no_secret_planted_anywhere_is_in_the_bundle(project, opens):
    plant(project)
    if not opens:
        for name in ("key", "passphrase"):
            (project.work / "keys" / name).unlink()
    made = bundle(project)
    text = json.dumps(made).lower()
    for planted in (CANARY, "83461274", str(project.folder), "corp"):
        assert planted.lower() not in text
    assert made["trouble"] == (None if opens else "settings")
    assert (made["backends"] is None) is not opens
    assert made["audit"]["is_ok"]


def test_the_bundle_tells_what_helps(project):
    project.settings(
        '[backend.vault]\nurl = "https://vault.corp:8200/x"\nauth_type = "approle"\nverify = false\n'
        'secret_id = { file = "keys/id" }\nkv_engine_version = 2\nmatch = ["prod/*"]\n'
    )
    made = bundle(project)
    assert made["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert made["settings"]["chain"] == ["env", "native"]
    assert made["settings"]["store"]["wrappers"] == ["file", "passphrase"]
    assert made["settings"]["backend"]["vault"]["options"] == {
        "url": "https://<host>",
        "auth_type": "approle",
        "verify": False,
        "secret_id": "<secret from file>",
        "kv_engine_version": 2,
    }
    health = {one["name"]: one["status"] for one in made["backends"]}
    assert health == {"env": "ready", "native": "ready"}
    assert made["inventory"]["connections"] == 1
    assert made["audit"]["last"][-1].keys() == {"at", "action", "outcome"}
    assert {"name": "tls-unverified", "level": "warning", "count": 1} in made["findings"]


def test_hosts_show_only_where_they_are_asked_for_and_never_user_info(project):
    project.settings(f'[backend.vault]\nurl = "https://{CANARY}@vault.corp:8200/{CANARY}"\n')
    options = bundle(project, has_hosts=True)["settings"]["backend"]["vault"]["options"]
    assert options == {"url": "https://vault.corp:8200"}


def test_what_gives_no_answer_in_time_is_left_and_the_rest_is_told(tmp_path):
    slow = Slow()
    settings = load(environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path)
    room = room_of([Link(backend=slow)], settings, clock=frozen_clock)
    slow.hold()
    try:
        case = Case(clock=frozen_clock, settings=settings, room=room, audit=room.audit)
        made = make_bundle(case, [], version="1", seconds=0.1)
        assert made["inventory"] == {"trouble": "no_time"}
        assert made["audit"]["is_ok"]
    finally:
        slow.release()
        room.close()


def test_settings_that_are_wrong_make_a_bundle_too(project):
    (project.work / "strongroom.toml").write_text(f'chain = "{CANARY}')
    made = bundle(project)
    assert (made["settings"], made["trouble"], made["inventory"]) == (None, "settings", None)
    assert CANARY not in json.dumps(made)


# --- the command -------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path):
    return Shell.with_room(tmp_path)


def test_the_file_is_its_owners_alone_and_replaces_none_that_is_there(shell):
    path = shell.folder / "support.json"
    assert shell("doctor --bundle support.json").code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["format"] == 1
    path.write_text("mine")
    assert shell("doctor --bundle support.json").code == 5
    assert path.read_text() == "mine"
    assert shell("doctor --bundle support.json --force").code == 0
    assert path.read_text() != "mine"
    assert shell("doctor --bundle").code == 0
    assert (shell.folder / "strongroom-support.json").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_force_replaces_files_and_nothing_else(shell, make):
    path = shell.folder / "there"
    make(path)
    before = path.lstat()
    assert shell("doctor --bundle there --force").code == 2
    assert path.lstat() == before


def test_what_belongs_to_the_bundle_is_refused_without_it(shell):
    for line in ("doctor support.json", "doctor --include-hosts", "doctor --force"):
        result = shell(line)
        assert (result.code, "belong" in result.err) == (2, True)


def test_only_findings_that_exist_can_be_chosen(shell):
    result = shell("doctor --only single-keys")
    assert (result.code, "did you mean single-key?" in result.err) == (2, True)
    found = json.loads(shell("doctor --only single-key --output json").out)
    assert [(one["name"], one["docs"]) for one in found] == [("single-key", "docs/doctor.md#single-key")]
