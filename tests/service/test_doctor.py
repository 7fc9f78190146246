from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from parts.project import CANARY, Project
from strongroom.assembly import create_room, open_doctor, open_room
from strongroom.backend import Health
from strongroom.backends.env import Env, EnvOptions
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.testing.fakes import Flaky, Memory, frozen_clock

REGION = Ref("variable", "region")


def findings(room, level: str) -> list[str]:
    return [finding.what for finding in room.doctor.run() if finding.level == level]


@pytest.fixture
def environ(tmp_path):
    return {"STRONGROOM_HOME": str(tmp_path / "room")}


@pytest.fixture
def real(environ, tmp_path):
    with create_room(environ=environ, cwd=tmp_path) as room:
        yield room


def test_a_new_room_is_well_but_for_what_the_owner_should_know(real):
    assert findings(real, "error") == []
    (warning,) = findings(real, "warning")
    assert warning.startswith("single point of key loss: only file ")
    notes = " ".join(findings(real, "note"))
    assert "local owner: whoever may read the settings and the key may read the room" in notes
    assert "key and store are in one folder" in notes
    assert "the audit log is whole: 2 records" in findings(real, "ok")


def test_the_worst_comes_first(real, environ, tmp_path):
    (tmp_path / "room/store.db").chmod(0o644)
    levels = [finding.level for finding in real.doctor.run()]
    assert levels == sorted(levels, key=["error", "warning", "note", "ok"].index)
    assert levels[0] == "error"


@pytest.mark.parametrize(
    ("name", "mode", "fix"), [("store.db", 0o644, "600"), ("key", 0o640, "600"), ("audit", 0o755, "700")]
)
def test_what_is_open_to_others_is_an_error_with_the_command_that_closes_it(real, tmp_path, name, mode, fix):
    path = tmp_path / "room" / name
    path.chmod(mode)
    found = [finding for finding in real.doctor.run() if finding.level == "error"]
    assert f"chmod {fix} {path}" in [finding.fix for finding in found]


def test_a_settings_file_that_others_may_change_is_a_warning(environ, tmp_path):
    path = tmp_path / "strongroom.toml"
    path.write_text("")
    path.chmod(0o664)
    with create_room(path, environ=environ, cwd=tmp_path) as room:
        assert f"the settings file {path} may be changed by others" in findings(room, "warning")


def test_without_a_store_the_doctor_names_the_command(environ, tmp_path):
    with open_room(environ=environ, cwd=tmp_path) as room:
        assert ("there is no store yet", "strongroom init") in [
            (finding.what, finding.fix) for finding in room.doctor.run()
        ]


def test_a_changed_audit_log_is_an_error(real, tmp_path):
    (segment,) = (tmp_path / "room/audit").glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"init"', b'"xxxx"'))
    assert any("broken at record 0" in what for what in findings(real, "error"))


def test_a_store_without_any_record_of_its_making_is_a_warning(environ, tmp_path, real):
    real.close()
    for path in (tmp_path / "room/audit").iterdir():
        path.unlink()
    with open_room(environ=environ, cwd=tmp_path) as room:
        assert any("no audit record of its making" in what for what in findings(room, "warning"))


def test_entries_past_and_near_their_end_are_named(house):
    native = Memory("native")
    now = house.clock.now
    for name, metadata in {
        "past": Metadata(not_after=now - timedelta(days=1)),
        "soon": Metadata(not_after=now + timedelta(days=3)),
        "later": Metadata(not_after=now + timedelta(days=300)),
        "due": Metadata(remind_at=now),
    }.items():
        native.put(Ref("variable", name), "canary-1", metadata)
    room = house.room(native)
    assert any('variable "past"' in what for what in findings(room, "error"))
    assert any("within 14 days" in what and "soon" in what for what in findings(room, "warning"))
    assert any("remind_at" in what and "due" in what for what in findings(room, "note"))
    assert "canary" not in repr(room.doctor.run())


def test_backends_that_fail_shadow_or_clash_are_findings(house):
    env = Env("env", EnvOptions(), {"AIRFLOW_VAR_REGION": "eu"}, frozen_clock)
    lower = Memory("lower", {REGION: "x", Ref("variable", "Region"): "x"})
    room = house.room(env, lower)
    assert any('variable "region" (env before lower)' in what for what in findings(room, "note"))
    assert any("AIRFLOW_VAR_REGION" in what for what in findings(room, "warning"))


def test_one_part_in_trouble_does_not_hide_the_others(house):
    native = Flaky("native")
    room = house.room(native)
    native.fail()
    assert len(findings(room, "error")) >= 2
    assert any("local owner" in what for what in findings(room, "note"))


def test_many_names_are_cut(house):
    upper = Memory("upper", {Ref("variable", f"n{number:02}"): "x" for number in range(30)})
    lower = Memory("lower", {Ref("variable", f"n{number:02}"): "x" for number in range(30)})
    (what,) = [what for what in findings(house.room(upper, lower), "note") if "shadowed" in what]
    assert what.endswith(" and 20 more")


def test_the_keys_of_a_room(real):
    real.entries.write(Change(ref=REGION, secret=Secret("eu")))
    (key,) = real.keys.status()
    assert (key.number, key.team, key.state, key.sealed_versions) == (1, None, "active", 1)
    assert key.wrapped_by[0].startswith("file ")


def test_the_backends_of_a_room(real):
    rows = real.backends.list()
    assert [(row.order, row.name, row.kind) for row in rows] == [(1, "env", "env"), (2, "native", "native")]
    assert rows[0].abilities == ("read", "list", "check")
    assert rows[1].abilities == ("read", "write", "list", "versions", "check")
    checked = real.backends.check()
    assert [(one.name, one.health.status) for one in checked] == [("env", "ready"), ("native", "ready")]
    assert all(one.milliseconds >= 0 for one in checked)


def test_a_backend_that_cannot_tell_how_it_is_is_unknown(house):
    class Silent:
        name = "silent"
        is_local = True

        def read(self, _ref):
            return None

        def close(self):
            pass

    (checked,) = house.room(Silent()).backends.check()
    assert checked.health.status == "unknown"


def test_the_audit_trail_of_a_room(real, tmp_path):
    assert real.audit.folder == tmp_path / "room/audit"
    assert [record.outcome for record in real.audit.tail(1)] == ["done"]
    assert real.audit.verify().count == 2


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path).make()


# --- what backends tell --------------------------------------------------------------------------------


class Ending(Memory):
    """A backend whose certificate and token end."""

    def __init__(self, **days: float) -> None:
        super().__init__("vault")
        self._ends = {
            what.replace("_", " "): frozen_clock() + timedelta(days=left) for what, left in days.items()
        }

    def check(self) -> Health:
        return Health(status="ready", ends=self._ends)


@pytest.mark.parametrize(
    ("days", "name", "level"),
    [
        ({"server_certificate": 13}, "ending-certificate", "warning"),
        ({"server_certificate": -1}, "ending-certificate", "error"),
        ({"token": 1}, "ending-token", "warning"),
        ({"token": -1}, "ending-token", "error"),
        ({"server_certificate": 15, "token": 15}, None, None),
    ],
)
def test_what_a_backend_needs_is_told_before_it_ends(house, days, name, level):
    house.clock.now = frozen_clock()
    found = house.room(Ending(**days)).doctor.run()
    ending = [(one.name, one.level) for one in found if one.name.startswith("ending-")]
    assert ending == ([(name, level)] if name else [])


def test_what_a_backend_puts_off_by_itself_is_no_finding_before_its_end(house):
    class Renewing(Ending):
        def check(self) -> Health:
            return replace(super().check(), renewed=frozenset({"token"}))

    house.clock.now = frozen_clock()
    assert not [one for one in house.room(Renewing(token=1)).doctor.run() if one.name == "ending-token"]


def test_a_backend_that_cannot_list_is_a_note(house):
    class Deaf:
        name, is_local = "deaf", True

        def read(self, _ref):
            return None

        def close(self):
            pass

    found = house.room(Deaf()).doctor.run()
    assert [one.level for one in found if one.name == "not-listable"] == ["note"]


def test_a_file_of_another_user_is_an_error(project):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(project.work / "keys/passphrase", 65534, 65534)
    assert "owned-by-another" in {one.name for one in project.examine() if one.level == "error"}


def test_a_backend_whose_package_is_missing_is_told_with_the_command(project, monkeypatch):
    project.write("site/stranger_backend.py", "import surely_not_installed\n")
    info = project.folder / "site/stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[strongroom.backends]\nstranger = stranger_backend:BACKEND\n")
    monkeypatch.syspath_prepend(project.folder / "site")
    project.settings("[backend.stranger]\n")
    project.chain("env", "stranger")
    found = {one.name: one for one in project.examine()}
    assert found["missing-extra"].fix.startswith("pip install")
    assert found["room-closed"].level == "error"


# --- how looks are made --------------------------------------------------------------------------------


def test_a_room_that_does_not_open_hides_nothing_else(project):
    (project.work / "keys/key").unlink()
    (project.work / "keys/passphrase").unlink()
    project.environ["VAULT_TOKEN"] = CANARY
    found = {one.name for one in project.examine() if one.level != "ok"}
    assert {"room-closed", "vault-token-in-environment"} <= found
    assert "the audit log is whole" in " ".join(one.what for one in project.examine())


def test_only_what_is_asked_for_is_given(project):
    project.environ["VAULT_TOKEN"] = CANARY
    with open_doctor(environ=project.environ, cwd=project.work) as doctor:
        found = doctor.run(only=["vault-token-in-environment", "long-ttl"])
    assert [one.name for one in found] == ["vault-token-in-environment"]


def test_a_deep_look_is_recorded_and_a_plain_one_reads_nothing(project):
    project.put(Ref("connection", "lake"), '{"conn_type": "aws"}')
    project.examine()
    assert "read" not in _acts(project)
    project.examine(is_deep=True)
    assert "read" in _acts(project)


def test_a_deep_look_tells_by_rule_which_connections_lint_warns_of(project):
    project.put(Ref("connection", "one"), f'{{"conn_type": "postgres", "host": "svc:{CANARY}@h"}}')
    project.put(
        Ref("connection", "two"), '{"conn_type": "postgres", "host": "h", "extra": {"sslmode": "disable"}}'
    )
    found = [one for one in project.examine(is_deep=True) if one.name == "connection-lint"]
    assert [(one.level, one.what) for one in found] == [
        ("error", "L7 exposed-secret: the connections one"),
        ("warning", "L13 dangerous: the connections two"),
    ]
    assert CANARY not in repr(found)


def _acts(project) -> set[str]:
    with open_room(environ=project.environ, cwd=project.work) as room:
        return {record.action for record in room.audit.tail(50)}


def test_a_room_alone_is_looked_at_without_its_surroundings(house):
    names = {one.name for one in house.room(Memory("native")).doctor.run()}
    assert not names & {"literal-in-dag", "secret-in-git", "static-cloud-key", "vault-token-in-environment"}


def test_what_fails_unexpectedly_shows_its_class_and_no_text(house):
    class Broken(Memory):
        def list(self, *_arguments, **_options):
            raise RuntimeError(CANARY)

    found = house.room(Broken("native")).doctor.run()
    assert any(one.name == "check-failed" and "RuntimeError" in one.what for one in found)
    assert any(one.name == "local-owner" for one in found)
    assert CANARY not in repr(found)
