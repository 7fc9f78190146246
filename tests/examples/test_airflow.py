"""What lies beside the Dags of the examples: settings, an environment, an Astro project. No Airflow here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from strongroom import airflow, settings
from strongroom.insight.git import kept_by_git
from strongroom.model import astro, document
from strongroom.model.environment import parse_environment
from strongroom.service.copies import files

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
AIRFLOW, ASTRO = EXAMPLES / "airflow", EXAMPLES / "astro"


def loaded(deployment=None):
    environ = {"HOME": "/nowhere"}
    return settings.load(AIRFLOW / "strongroom.toml", environ=environ, cwd=AIRFLOW, deployment=deployment)


def test_the_settings_hold_both_deployments():
    assert (loaded().deployment, loaded().chain) == ("dev", ("env",))
    prod = loaded("prod")
    assert (prod.chain, prod.write_to, prod.cache.ttl) == (("openbao", "native"), "native", 60)
    assert prod.backend["openbao"].kind == "vault"


def test_the_environment_of_development_is_read():
    text = (AIRFLOW / "dev.env").read_text()
    connections = parse_environment(text, "connection").values
    assert set(connections) == {"orders_db", "warehouse_sales", "billing_api"}
    assert set(parse_environment(text, "variable").values) == {"region", "limits"}


def test_a_shell_reads_the_same_of_it():
    shell = shutil.which("sh")
    line = 'set -a; . ./dev.env; printf %s "$AIRFLOW_VAR_LIMITS"'
    done = subprocess.run(
        [shell, "-c", line], cwd=AIRFLOW, env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout == '{"orders": 10}'


def test_every_dag_has_a_row_in_the_readme():
    told = re.findall(r"\[`(\w+)`\]\(dags/(\w+)\.py\)", (AIRFLOW / "README.md").read_text())
    assert {name for name, _ in told} == {file for _, file in told}
    assert {name for name, _ in told} == {file.stem for file in (AIRFLOW / "dags").glob("*.py")}


def test_an_astro_project_has_the_same_dags():
    dags = [{file.name: file.read_text() for file in (one / "dags").glob("*.py")} for one in (AIRFLOW, ASTRO)]
    assert dags[0] == dags[1]


def test_the_image_names_the_class_that_is_there():
    named = re.search(
        r"^ENV AIRFLOW__SECRETS__BACKEND=(\S+)$", (ASTRO / "Dockerfile").read_text(), re.MULTILINE
    )
    package, _, name = named[1].rpartition(".")
    assert package == airflow.__name__
    assert name in airflow.__all__
    assert (ASTRO / "requirements.txt").read_text().split() == ["strongroom"]


def test_the_sample_of_settings_is_read_and_holds_no_password():
    text = (ASTRO / "airflow_settings.example.yaml").read_text()
    found = document.parse(text, "yaml")
    connections = astro.settings_entries(found, "connection")
    assert set(connections) == {"orders_db", "warehouse_sales"}
    assert [one for one in connections.values() if "password" in one] == []
    assert astro.settings_entries(found, "variable") == {"region": "local", "limits": '{"orders": 10}'}


def test_git_and_the_image_leave_out_what_is_local(tmp_path):
    git = shutil.which("git")
    if git is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("git is not installed")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    project = tmp_path / "project"
    shutil.copytree(ASTRO, project)
    subprocess.run([git, "init", "-q"], cwd=project, env=environ, check=True)
    local = [project / name for name in (*files.FILES.values(), ".strongroom/dev/key")]
    for path in local:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert kept_by_git(local, environ) == {}
    ignored = (project / ".dockerignore").read_text().split("\n")
    assert {*files.FILES.values(), ".strongroom/"} <= set(ignored)
