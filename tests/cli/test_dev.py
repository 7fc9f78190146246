"""`strongroom dev`: from a server and from an agent, beside git, and what processes find afterwards."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys

import pytest

from cli_shell import Shell
from parts.agent import agent
from parts.api import SETTINGS, native
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Scope
from strongroom.service.entries import Change
from strongroom.service.policies import Draft
from terminal import on_terminal

CANARY = "c4nary-dev-91"
_numbers = itertools.count()
CONNECTION = json.dumps({"conn_type": "postgres", "host": "db", "login": "svc", "password": CANARY})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with native(tmp_path_factory.mktemp("server"), SETTINGS) as found:
        entries = found.house.deployment().root.entries
        for kind, name, text in (
            ("variable", "region", "eu"),
            ("variable", "token", CANARY),
            ("variable", "pay/key", CANARY),
            ("connection", "orders_db", CONNECTION),
        ):
            entries.write(Change(ref=Ref(kind, name), secret=Secret(text)))
        yield found


@pytest.fixture
def shell(tmp_path):
    """A project with a room nowhere."""
    shell = Shell(tmp_path)
    del shell.environ["STRONGROOM_HOME"]
    shell.environ["HOME"] = str(tmp_path / "home")
    return shell


def asking(shell, server, *actions, names=()):
    """Give the environment of a developer's command: a token that may do *actions* with *names*."""
    scope = Scope(actions=actions or ("list", "describe", "read", "reveal"), names=names)
    token = server.token(f"dev-{next(_numbers)}", "admin", scope=scope)
    return {"STRONGROOM_URL": server.address, "STRONGROOM_TOKEN": token}


def dev(shell, line="dev", **environ):
    result = shell(f"{line} --output json", **environ)
    assert CANARY not in result.out + result.err
    assert result.code == 0, result.err
    return json.loads(result.out)


def python(shell, text, **environ):
    """Run Python in the project, as a job on the laptop, with nothing set."""
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=shell.folder,
        env={"HOME": shell.environ["HOME"], "PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout.strip() or done.stderr


def git(shell, *arguments):
    if shutil.which("git") is None and not os.environ.get("CI"):
        pytest.skip("git is not installed")
    environ = {"PATH": os.environ["PATH"], "HOME": str(shell.folder), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *arguments], cwd=shell.folder, env=environ, capture_output=True, check=True)
    return done.stdout.decode()


READ = "import strongroom; print(strongroom.variable('region'), strongroom.connection('orders_db').password)"


# --- from a server -------------------------------------------------------------------------------------


def test_what_a_server_lets_be_read_answers_every_process_here(shell, server):
    told = dev(shell, "dev --reason 'looking for a bug'", **asking(shell, server))
    assert (told["copied"], told["missing"]) == (4, [])
    assert python(shell, READ) == "eu Secret(…)"
    reveal = "import strongroom; print(strongroom.connection('orders_db').password.reveal())"
    assert python(shell, reveal) == CANARY
    found = [one for one in server.house.deployment().root.audit.tail(200) if one.action == "reveal"]
    assert [one.reason for one in found[-4:]] == ["looking for a bug"] * 4


def test_what_may_not_be_read_is_listed_with_the_reason(shell, server):
    environ = asking(shell, server)
    policies = server.house.deployment().root.policies
    text = 'forbid (principal, action == Action::"reveal", resource in Folder::"pay");'
    policies.put(Draft(text=text, id="no-pay"))
    try:
        told = dev(shell, **environ)
    finally:
        policies.delete("no-pay")
    assert told["copied"] == 3
    assert [(one["kind"], one["name"], one["is_denied"]) for one in told["missing"]] == [
        ("variable", "pay/key", True)
    ]
    assert "pay" in told["missing"][0]["reason"]


def test_where_nothing_may_be_read_it_is_denied_and_nothing_is_left(shell, server):
    result = shell("dev", **asking(shell, server, "list", "describe"))
    assert result.code == 4
    assert "none of 4 entries may be read" in result.err
    assert [path.name for path in shell.folder.iterdir()] == []


def test_a_server_that_is_away_leaves_nothing_behind(shell):
    result = shell("dev", STRONGROOM_URL="http://127.0.0.1:9", STRONGROOM_TOKEN="x" * 40)
    assert result.code == 6
    assert [path.name for path in shell.folder.iterdir()] == []


def test_an_interrupted_copy_goes_on(shell, server):
    environ = asking(shell, server)
    dev(shell, **environ)
    state = shell.folder / ".strongroom/dev/state.json"
    known = json.loads(state.read_text())
    state.write_text(json.dumps(known | {"ended": None}))
    assert "was interrupted; the same command goes on" in shell("dev status").err
    before = len(server.house.deployment().root.audit.tail(500))
    assert dev(shell, **environ)["copied"] == 4
    after = server.house.deployment().root.audit.tail(500)
    assert not [one for one in after[before:] if one.action == "reveal"]


def test_a_job_elsewhere_names_the_copies(shell, server, tmp_path_factory):
    (shell.folder / "strongroom.toml").write_text('deployment = "laptop"\nchain = ["env"]\n')
    dev(shell, **asking(shell, server))
    named = {"STRONGROOM_CONFIG": str(shell.folder / ".strongroom/dev/strongroom.toml")}
    away = Shell(tmp_path_factory.mktemp("away"))
    away.environ = dict(shell.environ)
    assert python(away, READ, **named) == "eu Secret(…)"


def test_another_source_needs_a_clean_folder(shell, server):
    dev(shell, **asking(shell, server))
    result = shell("dev --deployment prod", **asking(shell, server))
    assert result.code == 5
    assert "strongroom dev clean" in result.err
    assert shell("dev clean").code == 0
    dev(shell, "dev --deployment prod", **asking(shell, server))


def test_it_tells_what_keeps_the_copies_from_being_asked(shell, server):
    result = shell("dev", **asking(shell, server))
    assert "STRONGROOM_URL is set: what runs with it asks there, and not these copies" in result.err
    told = dev(shell, "dev status")
    assert (told["answers"], told["held"]) == (True, 4)
    assert dev(shell, "dev status", STRONGROOM_DEPLOYMENT="x")["answers"] is False


def test_a_copy_that_is_not_good_any_more_says_what_to_do(shell, server):
    dev(shell, **asking(shell, server))
    assert shell("variables set region --not-after 2020-01-01", "eu").code == 0
    result = shell("read region")
    assert result.code == 9
    assert "past its not_after" in result.err
    assert dev(shell, "dev status")["expired"] == 1
    assert "strongroom dev makes them anew" in shell("dev status").err


# --- from an agent -------------------------------------------------------------------------------------


def test_names_are_copied_from_an_agent(shell, tmp_path_factory):
    home = tmp_path_factory.mktemp("agent")
    environ = {"AIRFLOW_VAR_REGION": "eu", "AIRFLOW_CONN_ORDERS_DB": f"postgres://svc:{CANARY}@db/x"}
    with agent(home, 'chain = ["env"]\n', environ=environ) as one:
        told = dev(shell, "dev --only region --only orders_db", STRONGROOM_SOCKET=str(one.socket))
    assert (told["copied"], told["missing"]) == (2, [])
    assert python(shell, READ) == "eu Secret(…)"


def test_what_an_agent_lists_is_copied_and_what_it_denies_is_told(shell, tmp_path_factory):
    home = tmp_path_factory.mktemp("agent")
    (home / "held.env").write_text(
        f"AIRFLOW_VAR_REGION=eu\nAIRFLOW_VAR_TOKEN={CANARY}\nAIRFLOW_CONN_ORDERS_DB=a://h\n"
    )
    (home / "held.env").chmod(0o600)
    (home / "rules.cedar").write_text(
        "permit (principal, action, resource);\n"
        'forbid (principal, action == Action::"read", resource == Entry::"variable:token");\n'
    )
    settings = (
        'chain = ["held"]\n[backend.held]\nkind = "file"\nenvironment = "held.env"\n'
        '[agent]\npolicy = "rules.cedar"\n'
    )
    with agent(home, settings) as one:
        told = dev(shell, STRONGROOM_SOCKET=str(one.socket))
    assert told["copied"] == 2
    assert [(one["name"], one["is_denied"]) for one in told["missing"]] == [("token", True)]


def test_a_slow_server_is_waited_for(shell, tmp_path_factory):
    # With its usual limits: more than may be revealed at once.
    with native(
        tmp_path_factory.mktemp("slow"), 'deployment = "prod"\n[server.limits]\nidentity_burst = 10\n'
    ) as busy:
        entries = busy.house.deployment().root.entries
        for number in range(5):
            entries.write(Change(ref=Ref("variable", f"n{number}"), secret=Secret("x")))
        assert dev(shell, **asking(shell, busy))["copied"] == 5


# --- beside a team's settings --------------------------------------------------------------------------


def test_copies_are_laid_over_the_settings_of_the_team_and_taken_off_again(shell, server):
    (shell.folder / "local.env").write_text("AIRFLOW_VAR_REGION=here\n")
    (shell.folder / "strongroom.toml").write_text(
        'chain = ["mine", "env"]\n[backend.mine]\nkind = "file"\nenvironment = "local.env"\n'
    )
    before = {path.name for path in shell.folder.iterdir()}
    told = dev(shell, "dev --only 'orders_*' --only region", **asking(shell, server))
    assert told["copied"] == 2
    assert python(shell, READ) == "here Secret(…)"
    assert shell("dev clean").code == 0
    assert {path.name for path in shell.folder.iterdir()} - {"home"} == before
    assert "NotFoundError" in python(shell, READ)


def test_settings_that_nobody_agreed_to_are_refused_first(shell, server):
    (shell.folder / "strongroom.toml").write_text('[backend.vault]\nurl = "https://v.example.com"\n')
    result = shell("dev", **asking(shell, server))
    assert (result.code, "nobody agreed yet" in result.err) == (7, True)
    assert not (shell.folder / ".strongroom").exists()


def test_copies_of_a_stranger_need_a_yes_as_any_settings(shell):
    folder = shell.folder / ".strongroom" / "dev"
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o700)
    file = folder / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text('chain = ["vault"]\n[backend.vault]\nurl = "https://v.example.com"\n')
    result = shell("read region")
    assert (result.code, "nobody agreed yet" in result.err) == (7, True)


@pytest.mark.parametrize(("mode", "what"), [(0o644, "file"), (0o777, "folder")])
def test_copies_that_others_could_change_are_refused(shell, server, mode, what):
    dev(shell, **asking(shell, server))
    folder = shell.folder / ".strongroom" / "dev"
    (folder / "strongroom.toml" if what == "file" else folder).chmod(mode)
    result = shell("read region")
    assert (result.code, "open to others" in result.err) == (7, True)


# --- beside git ----------------------------------------------------------------------------------------


@pytest.fixture
def repository(shell):
    git(shell, "init", "-q")
    return shell


def test_git_does_not_see_the_copies(repository, server):
    dev(repository, **asking(repository, server))
    assert git(repository, "status", "--porcelain", "--ignored=no") == ""


def test_a_dotenv_that_git_tracks_is_refused(repository, server):
    (repository.folder / ".env").write_text("A=b\n")
    git(repository, "add", ".env")
    result = repository("dev --into env --yes", **asking(repository, server))
    assert result.code == 5
    assert "git tracks .env" in result.err
    assert (repository.folder / ".env").read_text() == "A=b\n"


def test_git_is_told_to_ignore_a_dotenv_on_a_yes(repository, server):
    (repository.folder / ".gitignore").write_text("*.pyc")
    environ = asking(repository, server)
    refused = repository("dev --into env", **environ)
    assert refused.code == 2
    assert "add /.env to" in refused.err
    assert not (repository.folder / ".env").exists()
    told = dev(repository, "dev --into env --yes", **environ)
    assert told["files"] == ["./.env"]
    assert (repository.folder / ".gitignore").read_text() == "*.pyc\n/.env\n"
    assert "AIRFLOW_CONN_ORDERS_DB=" in (repository.folder / ".env").read_text()
    assert git(repository, "status", "--porcelain").split() == ["??", ".gitignore"]
    assert not (repository.folder / ".strongroom/dev/store.db").exists()
    assert repository("dev clean").code == 0
    assert not (repository.folder / ".env").exists()


def test_it_asks_on_a_terminal(repository, server):
    seen = on_terminal(
        ("dev", "--into", "airflow-settings"),
        {**repository.environ, **asking(repository, server)},
        answers=[("? [y/N]", "y\n")],
        cwd=repository.folder,
        columns=100,
    )
    assert seen.code == 0, seen
    assert (repository.folder / ".gitignore").read_text() == "/airflow_settings.yaml\n"
    assert "conn_id" in (repository.folder / "airflow_settings.yaml").read_text()


def test_a_folder_that_git_would_take_along_is_refused(repository, server):
    folder = repository.folder / ".strongroom"
    folder.mkdir(mode=0o700)
    (folder / ".gitignore").write_text("!*\n")
    result = repository("dev", **asking(repository, server))
    assert result.code == 5
    assert "git would take .strongroom along" in result.err


# --- clean ---------------------------------------------------------------------------------------------


def test_nothing_of_any_value_is_left_after_cleaning(shell, server):
    dev(shell, **asking(shell, server))
    assert shell("dev clean").out == "removed the copies in ./.strongroom/dev\n"
    assert shell("dev clean").out == "there are no copies here\n"
    left = [path for path in shell.folder.rglob("*") if path.is_file() and "strongroom" in str(path)]
    assert [path for path in left if CANARY.encode() in path.read_bytes()] == []
    assert not (shell.folder / ".strongroom").exists()
