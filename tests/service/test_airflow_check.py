"""What `airflow check` warns of, with a program in the place of Airflow's Python that says what it found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.errors import BackendConfigError
from strongroom.service.airflow.check import Asked, check, find_python
from strongroom.service.airflow.switch import find_config
from strongroom.testing.contract import CANARY

GOOD = {"airflow": "3.3.2", "strongroom": "0.1.0", "today": [], "ours": [], "ids": []}
COORDINATOR = (
    '[sdk]\ncoordinators = {"strongroom": {"classpath": "strongroom.airflow.StrongroomCoordinator"}}\n'
)


@pytest.fixture
def checked(tmp_path):
    """Give the notices, by name, of an Airflow with this file, environment and answer of its Python."""

    def run(cfg="", told=GOOD, **environ):
        (tmp_path / "airflow.cfg").write_text(COORDINATOR + cfg)
        (tmp_path / "told.json").write_text(json.dumps(told))
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\ncat > {tmp_path}/asked.json\ncat {tmp_path}/told.json\n")
        python.chmod(0o755)
        every = {
            "AIRFLOW_HOME": str(tmp_path),
            "PATH": "/usr/bin:/bin",
            "AIRFLOW__CORE__FERNET_KEY": "k",
            "AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH": "/etc/airflow/jwt.pem",
            "AIRFLOW__API_AUTH__JWT_ISSUER": "https://airflow.test",
            **environ,
        }
        every = {name: text for name, text in every.items() if text is not None}
        config = find_config(every)
        asked = Asked(python=python, ids={"variable": {"region"}}, kwargs={"settings": "/s.toml"})
        found = check(config, asked, environ=every, cwd=tmp_path)
        assert CANARY not in repr(found)
        return {notice.name: notice for notice in found.notices}

    return run


def test_nothing_is_said_where_nothing_is_wrong(checked, tmp_path):
    assert checked() == {}
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert asked == {
        "ids": {"variable": ["region"]},
        "kwargs": {"settings": "/s.toml"},
        "record": None,
        "classes": [],
    }


@pytest.mark.parametrize(
    ("cfg", "told", "environ", "name", "level"),
    [
        ("", {"fatal": "ModuleNotFoundError"}, {}, "no-airflow", "error"),
        (
            "[secrets]\nbackend = a.B\n",
            {"fatal": "AirflowConfigException"},
            {},
            "airflow-does-not-start",
            "error",
        ),
        ("[secrets]\nbackend = a.B\n", {"broken": ["a.B"]}, {}, "wrong-class-path", "error"),
        ("", {"unmade": {"a.B": "TypeError"}}, {}, "backend-not-made", "error"),
        ("", {"strongroom": None}, {}, "strongroom-missing", "error"),
        (f"[secrets]\nbackend = a.B\nbackend_kwargs = {{{CANARY}\n", {}, {}, "bad-backend-kwargs", "error"),
        ("[secrets]\nbackend = a.B\nbackend_kwargs = []\n", {}, {}, "bad-backend-kwargs", "error"),
        ("", {}, {"AIRFLOW__CORE__FERNET_KEY": ""}, "empty-fernet-key", "error"),
        (
            f'[secrets]\nbackend = a.B\nbackend_kwargs = {{"token": "{CANARY}"}}\n',
            {},
            {},
            "token-in-backend-kwargs",
            "warning",
        ),
        ("[workers]\nsecrets_backend = a.B\n", {}, {}, "workers-differ", "warning"),
        (
            "[secrets]\nbackend = a.B\n",
            {"airflow": "2.11.2"},
            {"AIRFLOW__SECRETS__BACKEND_KWARG__TOKEN": CANARY},
            "single-kwargs-ignored",
            "warning",
        ),
        ("", {}, {"AIRFLOW__SDK__COORDINATORS": "{}"}, "unmasked-stdout", "warning"),
        ("", {}, {"AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH": None}, "runs-not-verified", "note"),
        ("", {}, {"AIRFLOW__API_AUTH__JWT_ISSUER": None}, "runs-not-verified", "note"),
    ],
)
def test_each_danger_is_told_by_its_name(checked, cfg, told, environ, name, level):
    assert checked(cfg, GOOD | told, **environ)[name].level == level


def test_runs_signed_by_a_shared_secret_are_told_of_with_the_settings_to_change(checked):
    notice = checked(AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH=None)["runs-not-verified"]
    assert "HS512" in notice.what
    assert "jwt_private_key_path" in notice.fix
    assert "trusted_jwks_url" in notice.fix


def test_airflow_2_makes_no_copy_to_warn_of(checked):
    assert checked("", GOOD | {"airflow": "2.11.2"}, AIRFLOW__SDK__COORDINATORS="{}") == {}


def test_workers_with_the_same_settings_are_fine(checked):
    same = "[secrets]\nbackend = a.B\n[workers]\nsecrets_backend = a.B\n"
    assert "workers-differ" not in checked(same)


def test_env_file_that_git_would_keep_is_told(checked, tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".env").write_text(f"AIRFLOW_VAR_X={CANARY}")
    assert checked()["env-file-in-git"].level == "warning"
    (tmp_path / ".gitignore").write_text(".env\n")
    assert checked() == {}


def test_python_stands_beside_the_airflow_of_the_path(tmp_path):
    for folder in ("real/bin", "links"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("airflow", "python"):
        (tmp_path / "real/bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "real/bin" / name).chmod(0o755)
    (tmp_path / "links/airflow").symlink_to(tmp_path / "real/bin/airflow")
    for folder in ("real/bin", "links"):
        assert find_python({"PATH": str(tmp_path / folder)}) == tmp_path / "real/bin/python"
    assert find_python({"PATH": ""}) == Path(sys.executable)


def test_python_that_says_nothing_sensible_is_no_airflows(checked):
    with pytest.raises(BackendConfigError):
        checked("", ["a list"])
