"""What an installation's providers say of their types, read in a process of its own Python."""

from __future__ import annotations

import json
import os
import stat
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from strongroom.errors import BackendUnavailableError
from strongroom.vendors.airflow_forms import find_python, installed_versions, read_forms

INFO = {
    "package-name": "apache-airflow-providers-acme",
    "connection-types": [
        {
            "connection-type": "acme",
            "hook-class-name": "acme.hook.AcmeHook",
            "hook-name": "Acme",
            "ui-field-behaviour": {"hidden-fields": ["schema"], "relabeling": {"login": "Client ID"}},
            "conn-fields": {"region": {"label": "Region", "schema": {"type": ["string", "null"]}}},
        }
    ],
}


class Installation:
    """A virtual environment with providers that say what a test wants."""

    def __init__(self, folder):
        venv.create(folder, with_pip=False)
        self.python = folder / "bin" / "python"
        self.site = next(folder.glob("lib/python3*/site-packages"))
        self.marks = folder / "marks"
        self.marks.mkdir()

    def install(self, program: str, *, version="1.0.0", name="apache_airflow_providers_acme"):
        """Put a provider whose module is *program* beside the interpreter; each run leaves a mark."""
        for old in self.site.glob(f"{name}-*.dist-info"):
            old.rename(old.with_name(f"{name}-{version}.dist-info"))
        info = self.site / f"{name}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(
            f"[apache_airflow_provider]\nprovider_info = {name}_info:get_provider_info\n"
        )
        mark = f"import tempfile; tempfile.mkstemp(dir={str(self.marks)!r})\n"
        (self.site / f"{name}_info.py").write_text(mark + program)

    @property
    def runs(self) -> int:
        return len(list(self.marks.iterdir()))


def says(info) -> str:
    return f"def get_provider_info():\n    return {info!r}\n"


@pytest.fixture
def installation(tmp_path):
    return Installation(tmp_path / "airflow")


def test_types_are_read_once_per_set_of_versions(installation, tmp_path):
    installation.install(says(INFO))
    for _ in range(2):
        (row,) = read_forms(installation.python, cache=tmp_path / "cache")
        assert row["connection-type"] == "acme"
        assert row["provider"] == "apache_airflow_providers_acme"
        assert row["conn-fields"]["region"]["label"] == "Region"
    assert installation.runs == 1
    installation.install(says(INFO), version="1.1.0")
    (row,) = read_forms(installation.python, cache=tmp_path / "cache")
    assert (row["version"], installation.runs) == ("1.1.0", 2)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_what_is_kept_is_only_for_its_owner(installation, tmp_path):
    installation.install(says(INFO))
    read_forms(installation.python, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_folder_that_is_not_there_is_not_made_up(installation, tmp_path):
    installation.install(says(INFO))
    assert read_forms(installation.python, cache=tmp_path / "no" / "cache")
    assert not (tmp_path / "no").exists()


def test_a_kept_file_that_is_damaged_is_read_anew(installation, tmp_path):
    installation.install(says(INFO))
    read_forms(installation.python, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text("{half")
    assert read_forms(installation.python, cache=tmp_path / "cache")
    assert json.loads(file.read_text())["connection-type"] == "acme"


def test_the_child_sees_neither_the_environment_nor_the_home(installation, tmp_path):
    program = (
        "import os, sys\n"
        "def get_provider_info():\n"
        "    seen = [sorted(os.environ), os.environ['HOME'], os.getcwd()]\n"
        "    told = {'connection-type': 'seen', 'hook-name': repr(seen)}\n"
        "    return {'connection-types': [told]}\n"
    )
    installation.install(program)
    (row,) = read_forms(installation.python, cache=tmp_path)
    names, home, folder = eval(row["hook-name"])
    assert set(names) - {"LC_CTYPE"} == {"AIRFLOW_HOME", "HOME", "PATH", "_AIRFLOW__AS_LIBRARY"}
    assert home == folder != str(tmp_path)


def test_what_a_provider_prints_is_no_answer(installation, tmp_path):
    installation.install("print('hello')\nimport os; os.write(1, b'noise')\n" + says(INFO))
    assert read_forms(installation.python, cache=tmp_path)[0]["connection-type"] == "acme"


def test_a_provider_that_fails_is_passed_over(installation, tmp_path):
    installation.install(says(INFO))
    installation.install("raise RuntimeError('no')", name="apache_airflow_providers_broken")
    assert [row["connection-type"] for row in read_forms(installation.python, cache=tmp_path)] == ["acme"]


@pytest.mark.parametrize(
    "told",
    [
        "{'connection-types': [1, None, 'x']}",
        "{'connection-types': None}",
        "None",
        "[][0]",
        "__import__('sys').exit(4)",
        "{'connection-types': [{'connection-type': 'x', 'hook-name': float('nan')}]}",
        "{'connection-types': [{'connection-type': 'x', 'conn-fields': {(1, 2): 3}}]}",
        "{'connection-types': [{'connection-type': 'x', 'conn-fields': deep()}]}",
        "{'connection-types': [{'connection-type': one} for one in ('', 'a/../b', '\\x1b[31m', 'x' * 201)]}",
    ],
)
def test_a_provider_that_says_nonsense_costs_no_other_its_types(installation, tmp_path, told):
    installation.install(says(INFO))
    deep = "def deep():\n    found = []\n    for _ in range(900): found = [found]\n    return found\n"
    nonsense = f"{deep}def get_provider_info():\n    return {told}\n"
    installation.install(nonsense, name="apache_airflow_providers_broken")
    assert [row["connection-type"] for row in read_forms(installation.python, cache=tmp_path)] == ["acme"]


def test_what_a_provider_started_neither_holds_the_answer_up_nor_outlives_it(installation, tmp_path):
    mark = tmp_path / "pid"
    child = (
        "import os, pathlib, time\n"
        "if (pid := os.fork()) == 0: time.sleep(600)\n"
        f"pathlib.Path({str(mark)!r}).write_text(str(pid))\n"
    )
    installation.install(child + says(INFO))
    with pytest.raises(BackendUnavailableError, match="within 1 second"):
        read_forms(installation.python, cache=tmp_path / "cache", within=timedelta(seconds=1))
    assert_ended(int(mark.read_text()))


def assert_ended(pid):
    end = monotonic() + 10
    while monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        # A process whose parent is gone is a zombie until init looks.
        if Path("/proc").is_dir() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return
    raise AssertionError("it still runs")


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_is_no_file_of_ours_is_not_read(installation, tmp_path, kind):
    installation.install(says(INFO))
    cache = tmp_path / "cache"
    read_forms(installation.python, cache=cache)
    (file,) = cache.iterdir()
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"connection-type": "planted"}) + "\n")
    file.unlink()
    {"pipe": os.mkfifo, "link": lambda one: one.symlink_to(other), "folder": Path.mkdir}[kind](file)
    assert [row["connection-type"] for row in read_forms(installation.python, cache=cache)] == ["acme"]
    assert list(cache.glob(".forms-*")) == []
    assert "planted" in other.read_text()


def test_processes_that_read_at_once_all_get_the_types(installation, tmp_path):
    installation.install(says(INFO))
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: read_forms(installation.python, cache=tmp_path / "cache"), range(4)))
    assert all(rows == told[0] and len(rows) == 1 for rows in told)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_command_that_is_a_link_leads_to_the_interpreter_beside_its_target(installation, tmp_path):
    airflow = installation.python.with_name("airflow")
    airflow.write_text("#!/bin/sh\n")
    airflow.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "airflow").symlink_to(airflow)
    assert find_python({"PATH": str(tmp_path / "bin")}) == installation.python


def test_hooks_are_asked_where_no_metadata_tells_a_form(installation, tmp_path):
    bare = {"connection-types": [{"connection-type": "old", "hook-class-name": "old_hook.Hook"}]}
    installation.install(says(bare))
    (installation.site / "old_hook.py").write_text(
        "class PasswordField: pass\n"
        "class Unbound:\n"
        "    field_class, args, kwargs = PasswordField, ('Key',), {}\n"
        "class Hook:\n"
        "    @staticmethod\n"
        "    def get_ui_field_behaviour(): return {'hidden_fields': ['host'], 'relabeling': {}}\n"
        "    @staticmethod\n"
        "    def get_connection_form_widgets(): return {'key': Unbound}\n"
    )
    (row,) = read_forms(installation.python, cache=tmp_path)
    assert row["ui-field-behaviour"]["hidden-fields"] == ["host"]
    assert row["conn-fields"]["key"] == {
        "label": "Key",
        "schema": {"type": "string", "format": "password"},
        "description": "",
    }


@pytest.mark.parametrize(
    "program", ["import os; os._exit(3)", "import os, sys\nos.write(1, b'x' * 9_000_000); os._exit(0)"]
)
def test_a_child_that_ends_badly_is_trouble_and_nothing_is_kept(installation, tmp_path, program):
    installation.install(program)
    with pytest.raises(BackendUnavailableError, match="the Airflow installation"):
        read_forms(installation.python, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_an_interpreter_that_cannot_be_started_is_trouble(installation, tmp_path):
    installation.install(says(INFO))
    installation.python.unlink()
    with pytest.raises(BackendUnavailableError, match="cannot be started"):
        read_forms(installation.python, cache=tmp_path)


def test_without_providers_nothing_is_run(installation, tmp_path):
    assert installed_versions(installation.python) == ()
    assert read_forms(installation.python, cache=tmp_path) == ()


def test_the_interpreter_stands_beside_the_airflow_of_the_search_path(installation):
    folder = installation.python.parent
    assert find_python({"PATH": str(folder)}) is None
    (folder / "airflow").write_text(f"#!{sys.executable}\n")
    (folder / "airflow").chmod(0o755)
    assert find_python({"PATH": str(folder)}) == installation.python
    assert find_python({}) is None
