"""`backends setup` of a real OpenBao: what is made, what is asked, what is written down, and what is not."""

from __future__ import annotations

import json
import stat

import pytest

from cli_shell import Shell
from parts.openbao import bao
from parts.proxy import Proxy
from terminal import on_terminal

__all__ = ["bao"]

ADMIN_IN = "--token-file -"


@pytest.fixture
def proxy(bao):
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield proxy


@pytest.fixture
def shell(tmp_path, bao, proxy):
    """A shell whose settings name a fresh mount of a real server, and roles of its own."""
    shell = Shell(tmp_path)
    mount = bao.mount()
    bao.put(mount, "variables/region", {"value": "eu-west-1"})
    shell.name = f"role-{mount}"
    shell.mount = mount
    settings(shell, proxy.url(), f'auth_mount_point = "approle-{mount}"\nauth_type = "approle"')
    shell.environ["STRONGROOM_CONFIG"] = "strongroom.toml"
    return shell


def settings(shell, url, login):
    (shell.folder / "strongroom.toml").write_text(
        f'chain = ["vault"]\n[backend.vault]\nurl = "{url}"\nmount_point = "{shell.mount}"\n{login}\n'
    )


def setup(shell, more="", *, token):
    return shell(f"backends setup vault {ADMIN_IN} --role {shell.name} {more}", stdin=f"{token}\n")


def test_what_is_made_logs_in_reads_and_is_left_alone_the_next_time(shell, bao, proxy):
    first = setup(shell, "--save ids", token=bao.root)
    assert first.code == 0, first.err
    files = [shell.folder / "ids" / name for name in ("role_id", "secret_id")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]
    assert stat.S_IMODE((shell.folder / "ids").stat().st_mode) == 0o700
    held = [path.read_text() for path in files]
    assert not [text for text in (bao.root + " ", *held) if text in first.out + first.err]
    login = first.err.partition("for the settings: ")[2].strip()
    settings(shell, proxy.url(), login)
    assert shell("read region").out == "eu-west-1"
    proxy.lines.clear()
    again = setup(shell, "--save ids --output json", token=bao.root)
    assert again.code == 0, again.err
    assert [path.read_text() for path in files] == held
    told = json.loads(again.out)
    assert {told[part]["state"] for part in ("policy", "method", "role")} == {"there already"}
    assert told["ids"] == "there already"
    written = [line for line in proxy.lines if not line.startswith("GET ")]
    assert written == [f"POST /v1/auth/approle-{shell.mount}/role/{shell.name}/secret-id/lookup"]


def test_ids_are_shown_once_where_no_folder_is_said(shell, bao):
    told = json.loads(setup(shell, "--output json", token=bao.root).out)
    body = {"role_id": told["role_id"], "secret_id": told["secret_id"]}
    assert bao.ask("POST", f"auth/approle-{shell.mount}/login", body, token="")[0] == 200
    plain = setup(shell, token=bao.root)
    assert told["role_id"] in plain.out
    assert "shown this once" in plain.err


def test_dry_run_asks_nothing_of_the_server(shell, proxy):
    told = shell("backends setup vault --print")
    assert told.code == 0
    assert f'path "{shell.mount}/data/variables/*"' in told.out
    assert proxy.lines == []


def test_policy_that_is_another_is_asked_about_and_nothing_is_done_unasked(shell, bao, proxy):
    setup(shell, "--save ids", token=bao.root)
    proxy.lines.clear()
    refused = setup(shell, "--save ids --may read", token=bao.root)
    assert refused.code == 2
    assert f"not done without being asked: write the policy {shell.name} anew" in refused.err
    assert {line.partition(" ")[0] for line in proxy.lines} == {"GET"}
    agreed = setup(shell, "--save ids --may read --yes", token=bao.root)
    assert agreed.code == 0, agreed.err
    rules = bao.api("GET", f"sys/policies/acl/{shell.name}")["data"]["policy"]
    assert "list" not in rules


@pytest.mark.parametrize("name", ["default", "Default", "ROOT"])
def test_policy_of_the_servers_own_is_never_written_over(shell, bao, proxy, name):
    before = bao.api("GET", "sys/policies/acl/default")["data"]["policy"]
    refused = setup(shell, f"--policy {name} --yes", token=bao.root)
    assert refused.code == 2
    assert "--policy is no name that can be used" in refused.err
    assert proxy.lines == []
    assert bao.api("GET", "sys/policies/acl/default")["data"]["policy"] == before


def test_files_that_log_in_no_more_are_replaced_only_when_that_is_agreed(shell, bao):
    setup(shell, "--save ids", token=bao.root)
    secret_id = shell.folder / "ids" / "secret_id"
    old = secret_id.read_text()
    where = f"auth/approle-{shell.mount}/role/{shell.name}/secret-id/destroy"
    bao.api("POST", where, {"secret_id": old})
    refused = setup(shell, "--save ids", token=bao.root)
    assert "which logs in no more" in refused.err
    assert secret_id.read_text() == old
    assert setup(shell, "--save ids --yes", token=bao.root).code == 0
    assert secret_id.read_text() != old


def test_role_keeps_its_policies_and_ours_is_added_when_that_is_agreed(shell, bao):
    setup(shell, token=bao.root)
    where = f"auth/approle-{shell.mount}/role/{shell.name}"
    bao.api("POST", where, {"token_policies": ["theirs"]})
    assert "add the policy" in setup(shell, token=bao.root).err
    assert setup(shell, "--yes", token=bao.root).code == 0
    assert sorted(bao.api("GET", where)["data"]["token_policies"]) == sorted([shell.name, "theirs"])


def test_token_that_is_unknown_or_may_not_is_told_apart_and_never_shown(shell, bao):
    unknown = setup(shell, token="s.canary-token")
    assert unknown.code == 4
    assert "does not know the administrator's token" in unknown.err
    weak = bao.token("default")
    denied = setup(shell, token=weak)
    assert denied.code == 4
    assert "may not read" in denied.err
    assert not [text for text in ("canary", weak) if text in unknown.err + denied.err]


def test_what_was_done_before_a_failure_is_told_and_the_next_time_goes_on(shell, bao):
    rules = "".join(
        f'path "{path}" {{ capabilities = ["read", "create", "update", "sudo"] }}\n'
        for path in ("sys/auth", "sys/policies/acl/*", f"sys/auth/approle-{shell.mount}")
    )
    halfway = setup(shell, token=bao.token(bao.policy(rules)))
    assert halfway.code == 4
    assert f"done already: policy {shell.name}, method auth/approle-{shell.mount}" in halfway.err
    told = setup(shell, "--output json", token=bao.root)
    assert json.loads(told.out)["policy"]["state"] == "there already"
    assert json.loads(told.out)["role"]["state"] == "made"


def test_folder_that_cannot_be_written_is_told_before_anything_is_made(shell, bao, proxy):
    (shell.folder / "ids").write_text("in the way")
    told = setup(shell, "--save ids", token=bao.root)
    assert told.code == 2
    assert "cannot be made" in told.err
    assert proxy.lines == []


def test_secret_id_that_could_not_be_written_down_is_taken_back(shell, bao):
    (shell.folder / "ids" / ".secret_id.new").mkdir(parents=True)
    told = setup(shell, "--save ids", token=bao.root)
    assert told.code == 2
    assert "the ids cannot be written" in told.err
    where = f"auth/approle-{shell.mount}/role/{shell.name}/secret-id"
    assert bao.ask("LIST", where)[0] == 404
    (shell.folder / "ids" / ".secret_id.new").rmdir()
    assert setup(shell, "--save ids --yes", token=bao.root).code == 0


def test_nothing_of_a_secret_id_is_left_where_it_could_not_take_its_place(shell, bao):
    (shell.folder / "ids" / "secret_id").mkdir(parents=True)
    told = setup(shell, "--save ids --yes", token=bao.root)
    assert told.code == 2
    assert "the ids cannot be written: is a directory" in told.err
    assert sorted(path.name for path in (shell.folder / "ids").iterdir()) == ["role_id", "secret_id"]


def test_token_is_asked_for_on_a_terminal_without_showing_it(shell, bao):
    arguments = ["backends", "setup", "vault", "--role", shell.name]
    answers = [("(not kept): ", f"{bao.root}\n")]
    seen = on_terminal(arguments, shell.environ, answers=answers, cwd=shell.folder)
    assert seen.code == 0, seen.text
    assert f"role {shell.name}" in seen.text


def test_server_that_is_down_is_unavailable(shell, proxy):
    proxy.become("refuse")
    assert setup(shell, token="root").code == 6
