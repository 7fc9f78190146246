"""The same commands through a server: what they say, how they fail, where profiles are kept."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cli_shell import Shell, play, steps_of
from parts.agent import agent
from parts.api import native as serving
from strongroom.model.secret import Secret
from strongroom.policy import Action, Role, Scope

HERE = Path(__file__).parent
CANARY = "c4nary-remote-55"
TOLD_ELSEWHERE = "only on the machine that has the store"

# Transcripts of commands that a server answers. What is said otherwise through one stands below, by its line.
TRANSCRIPTS = (
    "variables",
    "connections",
    "read",
    "transfer",
    "lint",
    "anyform",
    "mistakes",
    "access",
    "policies",
)
ELSEWHERE = {
    "strongroom access people link bert --output yaml",
    "strongroom access check",
    "strongroom access accept",
    "strongroom access who",
}
OTHERWISE = {
    # A server does not tell programs whom it asked; `explain` does.
    "strongroom read nowhere --output json": 'message": "there is no variable or connection \\"nowhere\\""',
    # Nor does this machine's environment or settings count for a server.
    "strongroom read region": "eu-west-1",
    "strongroom variables list": "there are no variables here yet",
    "strongroom variables list --output json": "[]",
    "strongroom variables list --deployment Hunter2": "a deployment name has 1 to 63 of a-z",
    "strongroom access roles grant reader bert": "an actor has a kind and a name",
    # The token that asks is there, and seen to be used.
    "strongroom access tokens list": "reader",
    "strongroom access roles list": "reader",
    "strongroom access tokens list --output json": "reader",
    "strongroom access tokens list --output yaml": "reader",
    "strongroom access can administer": "allowed by admin",
    "strongroom access policies simulate --file data-team.cedar": "4 actors",
    "strongroom access who variable pay/db --action read": "local:<user>  list, describe, read",
    "strongroom access who variable pay/db --output json": "local:<user>",
    'strongroom access grants add person:olga --action read --for 40d --reason "outage"': "up to 30 days",
    # The owner of a store does alone what at a server takes two.
    "strongroom access approvals require changes --off": "a second person has to approve it",
    "strongroom access policies disable viewer --yes": "the same was asked for already",
    "strongroom access policies enable viewer": "a second person has to approve it",
    "strongroom access policies list": "data-team",
    "strongroom access policies delete data-team --yes": "",
    "strongroom access policies show data-team": "data-team",
    "strongroom access policies simulate data-team --delete": "would turn",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


def all_rights():
    return Scope(actions=tuple(action.value for action in Action))


def shell_of(server, folder, *, role="admin", name="tester", **more):
    """A shell whose commands ask *server*, as a token of *role* that may do all the role may."""
    shell = Shell(folder)
    token = server.token(name, role, scope=all_rights())
    shell.environ |= {"STRONGROOM_URL": server.address, "STRONGROOM_TOKEN": token, **more}
    return shell


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_says_the_same_through_a_server(name, tmp_path):
    home, folder = tmp_path / "server", tmp_path / "here"
    home.mkdir()
    folder.mkdir()
    with serving(home) as server:
        shell = shell_of(server, folder)
        for step in steps_of((HERE / f"{name}.txt").read_text(encoding="utf-8")):
            said = told(play(step, shell))
            if not step.line:
                continue
            if step.line.split()[1] in ("up", "init") or step.line in ELSEWHERE:
                assert TOLD_ELSEWHERE in " ".join(said), step.line
                assert "? 7" in said
            elif said != told(step.said):
                assert step.line in OTHERWISE, (step.line, said, told(step.said))
                assert OTHERWISE[step.line] in "\n".join(said)


def told(lines):
    """What was said, whoever says it: the owner of a room, or the token of a server."""
    same = (
        ("service:tester", "local:<user>"),
        ("policy admin", "policy local-owner"),
        ("- admin", "- local-owner"),
        (", in the cache", ""),  # a server's is shared, and outlives the command
    )
    found = []
    for line in lines:
        text = re.sub(" {2,}", "  ", line).replace('"<id>"', "<id>")
        for one, other in same:
            text = text.replace(one, other)
        found += [text] if text else []
    return found


def test_the_inventory_of_several_places_is_the_servers(tmp_path):
    home, folder = tmp_path / "server", tmp_path / "here"
    home.mkdir()
    folder.mkdir()
    (home / ".env").write_text(
        "AIRFLOW_CONN_ORDERS_DB=postgres://svc:hunter2@db/orders\nAIRFLOW_CONN_BROKEN=postgres://db:port/x\n"
    )
    (home / ".env").chmod(0o600)
    settings = (
        f'chain = ["env", "dotenv", "native"]\n[backend.dotenv]\nkind = "file"\nenvironment = "{home}/.env"\n'
    )
    seen = {"AIRFLOW_VAR_REGION": "us-east-1", "AIRFLOW_CONN_ORDERS_DB": "mysql://h"}
    with serving(home, settings, environ=seen) as server:
        here = shell_of(server, folder)
        there = Shell(folder)
        there.environ |= {
            "STRONGROOM_CONFIG": str(home / "strongroom.toml"),
            "STRONGROOM_HOME": str(home),
            **seen,
        }
        here("variables set owner", "me")
        here("variables set Region --force", "eu")
        for line in (
            "inventory",
            "inventory --all",
            "inventory --all --output json",
            "inventory --problems",
            "inventory --state unparsable --kind connection",
            "inventory --backend dotenv",
            "inventory --backend vault",
            "inventory --limit 1",
            "inventory --limit 2 --after connection:broken",
            "inventory --prefix o --kind connection",
            "connections list",
            "connections list --after broken --limit 1",
            "variables list --output json",
            "explain connection orders_db",
            "connections get broken",
            "connections get orders_db --output json",
            "backends list",
            "keys status",
        ):
            mine, theirs = here(line), there(line)
            assert timeless(mine) == timeless(theirs), line


def timeless(result):
    text = result.out + result.err
    text = re.sub(r"(?<=  )\d+\.\d(?=  |\n)", "<ms>", text)
    text = re.sub(r"\b[0-9a-f]{16}\b", "<id>", text).replace("policy admin", "policy local-owner")
    return result.code, re.sub(" {2,}", "  ", text)


def test_the_record_of_a_server_is_looked_at_proven_and_taken_along(tmp_path):
    home, folder = tmp_path / "server", tmp_path / "here"
    home.mkdir()
    folder.mkdir()
    with serving(home) as server:
        shell = shell_of(server, folder)
        for number in range(30):
            shell("variables set recorded", str(number))
        assert "the audit log is whole" in shell("audit verify").out
        lines = shell("audit export --format jsonl").out.splitlines()
        there = [
            line
            for path in sorted((home / "audit").glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        assert len(lines) >= 60
        assert set(lines) <= set(there)  # the very lines of the log, which a copy can be proven by
        tail = json.loads(shell("audit tail -n 55 --output json").out)
        assert [row["seq"] for row in tail] == sorted(row["seq"] for row in tail)
        assert len(tail) == 55
        assert {row["deployment"] for row in tail} == {"default"}
        assert TOLD_ELSEWHERE in shell("audit hold --reason trial").err


# --- rights -------------------------------------------------------------------------------------------


def test_denied_is_denied_whether_it_is_there_or_not(server, tmp_path):
    shell_of(server, tmp_path, name="writer1")("variables set hidden", CANARY)
    shell = shell_of(server, tmp_path, role="viewer", name="viewer1")
    for name in ("hidden", "not-there"):
        for line in (f"read --variable {name}", f"variables get {name}", f"variables delete {name} --yes"):
            said = shell(line)
            assert said.code == 4, (line, said)
            assert CANARY not in said.out + said.err
    assert shell("variables set hidden --force", "x").code == 4
    assert shell("access tokens issue --name mine --role admin").code == 4


def test_whoever_may_not_administer_is_told_what_he_may_himself(server, tmp_path):
    shell = shell_of(server, tmp_path, role="reader", name="asker1")
    said = shell("access can read variable mine")
    assert (said.code, said.out.split()[:2]) == (0, ["answer", "yes"]), said
    assert "revision" in said.out
    assert shell("access can read variable mine --as person:anna").code == 4


def test_a_token_that_is_revoked_is_good_for_no_further_read(server, tmp_path):
    shell = shell_of(server, tmp_path, name="revoked1")
    shell("variables set mine", CANARY)
    assert shell("read mine").out == CANARY
    server.house.deployment(None).root.access.tokens.revoke("revoked1")
    said = shell("read mine")
    assert (said.code, said.out) == (4, "")
    assert "does not take the token of STRONGROOM_TOKEN" in said.err
    assert "srm_" not in said.err


def test_an_outage_is_unavailable_and_a_restart_goes_unnoticed(tmp_path):
    home, folder = tmp_path / "server", tmp_path / "here"
    home.mkdir()
    folder.mkdir()
    with serving(home) as server:
        shell = shell_of(server, folder)
        shell("variables set region", "eu")
        port = server.port
    said = shell("read region")
    assert (said.code, said.out) == (6, "")
    assert f"the server 127.0.0.1:{port} cannot be reached" in said.err
    for line in ("variables get region", "connections list", "inventory", "whoami", "access people list"):
        assert shell(line).code == 6, line
    assert shell("doctor").code == 7
    with serving(home, make=False) as server:
        assert shell("read region", STRONGROOM_URL=server.address).out == "eu"


def test_run_hands_over_values_and_not_the_token(server, tmp_path):
    shell = shell_of(server, tmp_path, name="runner1")
    shell("variables set handed", CANARY)
    shell.environ["STRONGROOM_CA"] = str(tmp_path)
    script = (
        "import os; print(os.environ['AIRFLOW_VAR_HANDED'], "
        "sorted(n for n in os.environ if n.startswith('STRONGROOM_')))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "strongroom",
            "run",
            "--variable",
            "handed",
            "--",
            sys.executable,
            "-c",
            script,
        ],
        env={**shell.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    )
    # Whatever it asks itself, it asks the same place, and with a token of its own.
    assert done.stdout == f"{CANARY} ['STRONGROOM_CA', 'STRONGROOM_HOME', 'STRONGROOM_URL']\n"


# --- login ---------------------------------------------------------------------------------------------


@pytest.fixture
def anna(server):
    people = server.house.deployment(None).root.access.people
    name = f"anna{len(people.list())}"
    people.add(name, Secret("correct horse battery"), roles=[Role("admin")])
    return name


def home_of(folder):
    shell = Shell(folder)
    shell.environ["HOME"] = str(folder)
    del shell.environ["STRONGROOM_HOME"]
    return shell, folder / ".config" / "strongroom" / "profiles"


def test_login_with_a_password_keeps_a_profile_that_commands_use(server, anna, tmp_path):
    shell, folder = home_of(tmp_path)
    said = shell(f"login {server.address} --name {anna} --password-stdin", "correct horse battery\n")
    assert said.code == 0, said
    assert said.out.startswith(f"logged in as person:{anna} until 20")
    assert "export STRONGROOM_PROFILE=default" in said.err
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "default.json": 0o600,
        "default.token": 0o600,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "srm_" not in said.out + said.err + (folder / "default.json").read_text()
    assert f"person:{anna}" in shell("whoami --profile default").out
    assert shell("variables set mine --profile default", "v").code == 0
    assert shell("read mine", STRONGROOM_PROFILE="default").out == "v"
    assert shell("read mine", STRONGROOM_URL=server.address).out == "v"  # the profile of this server
    assert shell("read mine").code == 3  # nothing is asked elsewhere unless it was said
    assert shell("logout").code == 0
    assert list(folder.iterdir()) == []
    assert shell("read mine", STRONGROOM_PROFILE="default").code == 7


def test_logout_ends_the_session_at_the_server(server, anna, tmp_path):
    shell, folder = home_of(tmp_path)
    shell(f"login {server.address} --name {anna} --password-stdin --profile prod", "correct horse battery")
    token = (folder / "prod.token").read_text().strip()
    assert server.ask("GET", "/v1/whoami", token=token).status == 200
    assert shell("logout --profile prod").code == 0
    assert server.ask("GET", "/v1/whoami", token=token).status == 401


def test_a_wrong_password_keeps_nothing(server, anna, tmp_path):
    shell, folder = home_of(tmp_path)
    said = shell(f"login {server.address} --name {anna} --password-stdin", CANARY)
    assert said.code == 4
    assert CANARY not in said.err
    assert not folder.exists()


def test_login_with_a_token_keeps_it_once_it_is_known_to_be_good(server, tmp_path):
    shell, folder = home_of(tmp_path)
    token = server.token("kept1", "reader")
    said = shell(f"login {server.address} --profile ci --token-stdin --output json", token + "\n")
    assert (said.code, said.err) == (0, "")
    assert '"actor": "service:kept1"' in said.out
    assert shell("whoami", STRONGROOM_PROFILE="ci").code == 0
    bad = shell(f"login {server.address} --profile other --token-stdin", "srm_t_" + "x" * 49)
    assert bad.code == 4
    assert not (folder / "other.json").exists()


def test_login_with_the_code_of_a_link_works_once(server, anna, tmp_path):
    shell, _ = home_of(tmp_path)
    code = server.house.deployment(None).root.access.login_link(anna).reveal()
    assert shell(f"login {server.address} --code-stdin", code).code == 0
    assert shell(f"login {server.address} --code-stdin", code).code == 4


def test_RT21_no_secret_is_taken_from_the_command_line(server, tmp_path):
    shell, _ = home_of(tmp_path)
    for line in (
        f"login {server.address} --token {CANARY}",
        f"login {server.address} --password {CANARY}",
        f"login {server.address} --code {CANARY}",
        f"login https://anna:{CANARY}@example.com",
        "login srm_t_" + CANARY,
    ):
        said = shell(line)
        assert said.code == 2, line
        assert "does not belong on the command line" in said.err
        assert CANARY not in said.out + said.err


def test_RT22_no_command_shows_the_token_it_asks_with(server, tmp_path):
    shell = shell_of(server, tmp_path, name="shown1", role="viewer")
    token = shell.environ["STRONGROOM_TOKEN"]
    for line in (
        "whoami",
        "doctor",
        "read x",
        "connections list",
        "access tokens list",
        "whoami --output json",
    ):
        for url in (server.address, server.address + "/elsewhere", "http://127.0.0.1:1"):
            said = shell(f"{line} --debug", STRONGROOM_URL=url)
            assert token not in said.out + said.err, (line, url)
            assert token[8:20] not in said.out + said.err


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"STRONGROOM_URL": "https://u:p@h"}, "STRONGROOM_URL is not the url of a server"),
        ({"STRONGROOM_URL": "example.com"}, "STRONGROOM_URL is not the url of a server"),
        ({"STRONGROOM_URL": "http://example.com"}, "STRONGROOM_URL says http to another machine"),
        ({"STRONGROOM_PROFILE": "nowhere"}, "there is no profile nowhere"),
        ({"STRONGROOM_URL": "https://h", "STRONGROOM_CA": "/nowhere"}, "/nowhere"),
        ({"STRONGROOM_URL": "https://h", "STRONGROOM_TOKEN_FILE": "/nowhere"}, "/nowhere"),
        ({"STRONGROOM_URL": "https://h", "STRONGROOM_TOKEN": "two words"}, "STRONGROOM_TOKEN holds no token"),
        ({"STRONGROOM_AGENT": "maybe"}, "STRONGROOM_AGENT is none of required and off"),
        ({"STRONGROOM_SOCKET": "s", "STRONGROOM_URL": "https://h"}, "the agent's socket is not absolute"),
    ],
)
def test_wrong_settings_are_told_and_nothing_else_is_asked(environ, words, tmp_path):
    said = Shell(tmp_path)("read region", **({"STRONGROOM_TOKEN": "t"} | environ))
    if "STRONGROOM_TOKEN_FILE" in environ:
        said = Shell(tmp_path)("read region", **environ)
    assert said.code == 7, said
    assert words in said.err


def test_without_a_token_it_says_how_to_get_one(server, tmp_path):
    said = Shell(tmp_path)("read region", STRONGROOM_URL=server.address)
    assert said.code == 4
    assert "there is no token for the server" in said.err
    assert "strongroom login" in said.err


def test_a_profile_goes_before_the_environment_and_config_beside_it_is_refused(server, tmp_path):
    shell, _ = home_of(tmp_path)
    shell(f"login {server.address} --profile ci --token-stdin", server.token("before1", "reader"))
    assert (
        "service:before1"
        in shell("whoami --profile ci", STRONGROOM_URL="https://h", STRONGROOM_TOKEN="x").out
    )
    assert shell("whoami --profile ci --config strongroom.toml").code == 2
    assert shell("whoami", STRONGROOM_PROFILE="ci", STRONGROOM_URL="https://h").code == 7
    assert shell("init --profile ci").code == 7  # makes no store behind the server's back


@pytest.mark.parametrize("name", ["default.token", "default.json"])
def test_a_profile_that_others_may_read_is_refused(name, server, tmp_path):
    shell, folder = home_of(tmp_path)
    shell(f"login {server.address} --token-stdin", server.token(f"open-{name[8:]}", "reader"))
    (folder / name).chmod(0o644)
    said = shell("whoami --profile default")
    assert said.code == 7
    assert "may be read or changed by others" in said.err


@pytest.mark.parametrize("name", ["../x", "A", "", "x" * 65, "a b"])
def test_a_profile_has_a_plain_name(name, server, tmp_path):
    shell, folder = home_of(tmp_path)
    said = shell(["login", server.address, "--profile", name, "--token-stdin"], "t")
    assert said.code == 2
    assert not folder.exists()


def test_whoami_without_a_server_is_this_machine(tmp_path):
    shell = Shell.with_room(tmp_path)
    assert "this machine" in shell("whoami").out


def test_backends_of_a_server_are_checked_by_it_and_told_whole(server, tmp_path):
    rows = json.loads(shell_of(server, tmp_path)("backends check --output json").out)
    native = next(row for row in rows if row["name"] == "native")
    assert (native["status"], native["reachable"]) == ("ready", True)
    assert native["may"] == {"read": "yes", "list": "yes", "write": "yes"}


def test_whoami_at_an_agent_is_the_user_whom_the_kernel_tells_it(tmp_path, tmp_path_factory):
    with agent(tmp_path_factory.mktemp("agent")) as one:
        told = json.loads(Shell(tmp_path)("whoami -o json", STRONGROOM_SOCKET=str(one.socket)).out)
    assert told["asks"] == f"the agent {one.socket}"
    assert (told["actor"], told["assurance"]) == (f"local:{os.geteuid()}", 1)
