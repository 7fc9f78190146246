"""The examples of docs/agent-http.md, run as they stand against a real agent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from parts.agent import ROOT, agent, missing

EXAMPLES = ROOT / "examples" / "http"
GO = ROOT / ".venv-go" / "bin" / "go"
ODD = 'quote " back\\slash'
ENVIRON = {"AIRFLOW_VAR_REGION": "eu", "AIRFLOW_CONN_ORDERS_DB": "postgresql://orders:s3cret@db/orders"}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with agent(tmp_path_factory.mktemp("agent"), environ=ENVIRON) as running:
        yield running


def run(one, *command, environ=None, seconds=60):
    return subprocess.run(
        [str(part) for part in command],
        env=one.environ | (environ or {}),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def program(name):
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is missing: scripts/system-packages installs it")
    return found


# --- shell -----------------------------------------------------------------------------------------------


def test_the_shell_example_prints_values(one):
    program("curl"), program("jq")
    done = run(one, EXAMPLES / "read.sh", "variable", "region")
    assert (done.returncode, done.stdout, done.stderr) == (0, "eu", "")
    done = run(one, EXAMPLES / "read.sh", "connection", "orders_db")
    assert done.stdout == ENVIRON["AIRFLOW_CONN_ORDERS_DB"]


def test_the_shell_example_tells_absence_and_trouble_apart(one):
    program("curl"), program("jq")
    assert run(one, EXAMPLES / "read.sh", "variable", "nothing").returncode == 3
    assert run(one, EXAMPLES / "read.sh", "variable", ODD).returncode != 0
    refused = run(one, EXAMPLES / "read.sh", "secret", "region")
    assert refused.returncode == 1
    assert json.loads(refused.stderr.partition("\n")[2])["error"]["code"] == "invalid_field"
    down = run(one, EXAMPLES / "read.sh", "variable", "region", environ={"STRONGROOM_SOCKET": "/nowhere/a"})
    assert down.returncode == 1


def test_the_page_shows_what_curl_is_answered(one):
    curl = program("curl")
    question = json.dumps({"refs": [{"kind": "variable", "name": "region"}]})
    command = [curl, "-sS", "--unix-socket", one.http, "http://localhost/v1/read"]
    done = run(one, *command, "-H", "Content-Type: application/json", "-d", question)
    (found,) = json.loads(done.stdout)["results"]
    page = (ROOT / "docs" / "agent-http.md").read_text(encoding="utf-8")
    (shown,) = json.loads(page.partition("\n{")[2].join(["{", ""]).partition("\n")[0])["results"]
    assert list(found) == list(shown)
    assert found["value"] == shown["value"]


def test_a_question_that_waits_to_be_asked_for_is_told_what_to_change(one):
    command = [program("curl"), "-sS", "--unix-socket", one.http, "http://localhost/v1/read"]
    headers = ["-H", "Content-Type: application/json", "-H", "Expect: 100-continue"]
    told = json.loads(run(one, *command, *headers, "-d", '{"refs": []}').stdout)["error"]
    assert (told["code"], told["hint"]) == ("expectation_failed", "send no Expect header")


# --- Go --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def go(tmp_path_factory):
    if not GO.exists():
        missing("a Go toolchain is missing: scripts/make-peers installs it")
    built = tmp_path_factory.mktemp("go") / "read"
    cache = ROOT / ".cache" / "go"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(built.parent),
        "GOCACHE": str(cache),
        "GOPATH": str(built.parent / "path"),
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=mod",
        "CGO_ENABLED": "0",
    }
    command = [str(GO), "build", "-o", str(built), "."]
    done = subprocess.run(
        command, cwd=EXAMPLES / "go", env=environ, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return built


@pytest.mark.trial  # its first build takes a minute of a processor
def test_the_go_example_prints_values(one, go):
    done = run(one, go, "variable", "region")
    assert (done.returncode, done.stdout, done.stderr) == (0, "eu", "")
    done = run(one, go, "connection", "orders_db", environ={"HTTP_PROXY": "http://proxy.example:1"})
    assert done.stdout == ENVIRON["AIRFLOW_CONN_ORDERS_DB"]


@pytest.mark.trial
def test_the_go_example_tells_absence_and_trouble_apart(one, go):
    assert run(one, go, "variable", "nothing").returncode == 3
    assert run(one, go, "variable", ODD).returncode == 1
    down = run(one, go, "variable", "region", environ={"STRONGROOM_SOCKET": "/nowhere/a"})
    assert down.returncode == 1


# --- Java ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    folder = tmp_path_factory.mktemp("java")
    source = EXAMPLES / "java" / "Read.java"
    command = [program("javac"), "-Xlint:all", "-Werror", "-d", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [program("java"), "-cp", str(folder), "Read"]


def test_the_java_example_prints_answers(one, java):
    done = run(one, *java, "variable", "region")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["value"] == "eu"
    found = json.loads(run(one, *java, "connection", "orders_db").stdout)["results"][0]
    assert found["value"] == ENVIRON["AIRFLOW_CONN_ORDERS_DB"]


def test_the_java_example_spells_any_name_and_tells_an_error(one, java):
    found = json.loads(run(one, *java, "variable", 'quote " and\ttab').stdout)["results"][0]
    assert found["name"] == 'quote " and\ttab'
    done = run(one, *java, "secret", "region")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "invalid_field"


def test_every_example_is_named_by_the_page_and_run_here():
    page = (ROOT / "docs" / "agent-http.md").read_text(encoding="utf-8")
    for file in EXAMPLES.rglob("*"):
        if file.is_file() and file.name != "go.mod":
            assert f"(../{file.relative_to(ROOT)})" in page, file
            assert Path(file).name in Path(__file__).read_text(encoding="utf-8") or file.suffix == ".go"
