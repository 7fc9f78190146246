"""`strongroom airflow enable`, `disable`, `import-settings` and `check`, beyond their transcript."""

import json
import re
import stat
import sys
from configparser import ConfigParser

import pytest
import tomlkit

from cli_shell import Shell
from strongroom.testing.contract import CANARY

FILE = f"""\
[core]
fernet_key = {CANARY}%%

[secrets]
# the class
backend = company.Vendor
backend_kwargs = {{"token": "{CANARY}"}}
"""


@pytest.fixture
def shell(tmp_path):
    made = Shell(tmp_path)
    made.environ["AIRFLOW_HOME"] = str(tmp_path / "home")
    made.file = tmp_path / "home" / "airflow.cfg"
    made.file.parent.mkdir()
    made.file.write_text(FILE)
    made.file.chmod(0o640)
    return made


def said(result):
    return result.out + result.err


def value_of(shell, section, option):
    parser = ConfigParser()
    parser.read_string(shell.file.read_text())
    return parser.get(section, option)


def test_enabling_and_disabling_leaves_every_byte_and_the_mode(shell):
    result = shell("airflow enable --socket /a%b/agent.sock --verified-runs --yes")
    assert result.code == 0
    assert value_of(shell, "secrets", "backend") == "strongroom.airflow.StrongroomBackend"
    assert json.loads(value_of(shell, "secrets", "backend_kwargs")) == {"socket": "/a%b/agent.sock"}
    assert shell.file.read_text().count("# the class") == 1
    assert stat.S_IMODE(shell.file.stat().st_mode) == 0o640
    copy = shell.file.with_name("airflow.cfg.strongroom-copy")
    assert (copy.read_text(), stat.S_IMODE(copy.stat().st_mode)) == (FILE, 0o600)
    back = shell("airflow disable --yes")
    assert (shell.file.read_text(), [one.name for one in shell.file.parent.iterdir()]) == (
        FILE,
        ["airflow.cfg"],
    )
    assert stat.S_IMODE(shell.file.stat().st_mode) == 0o640
    assert CANARY not in said(result) + said(back)


def test_shadow_mode_keeps_the_old_class_with_its_arguments(shell):
    result = shell("airflow enable --shadow --canary 'a_*' --yes")
    assert json.loads(value_of(shell, "secrets", "backend_kwargs")) == {
        "mode": "shadow",
        "shadow_backend": "company.Vendor",
        "shadow_backend_kwargs": {"token": CANARY},
        "canary": ["a_*"],
    }
    assert CANARY not in said(result)
    assert CANARY not in said(shell("airflow enable --shadow --for helm"))


def test_lines_do_not_hold_the_old_arguments(shell):
    result = shell("airflow enable --shadow --for env")
    assert '"token": "…"' in result.out
    assert "stands for arguments that are there now" in result.err
    assert CANARY not in said(result)


def test_what_changed_elsewhere_meanwhile_is_kept(shell):
    shell("airflow enable --yes")
    shell.file.write_text(shell.file.read_text() + "[new]\na = b\n")
    assert shell("airflow disable --yes").code == 0
    assert shell.file.read_text() == FILE + "[new]\na = b\n"


def test_setting_of_ours_that_was_changed_is_left_and_nothing_is_done(shell):
    shell("airflow enable --yes")
    changed = shell.file.read_text().replace("strongroom.airflow.StrongroomBackend", "other.Class")
    shell.file.write_text(changed)
    result = shell("airflow disable --yes")
    assert (result.code, shell.file.read_text()) == (5, changed)
    assert "[secrets] backend has changed since it was set" in result.err


def test_class_of_workers_is_switched_too(shell):
    shell.file.write_text(FILE + "\n[workers]\nsecrets_backend = company.Workers\n")
    before = shell.file.read_text()
    shell("airflow enable --shadow --yes")
    assert value_of(shell, "workers", "secrets_backend") == "strongroom.airflow.StrongroomBackend"
    held = json.loads(value_of(shell, "workers", "secrets_backend_kwargs"))
    assert held == {"mode": "shadow", "shadow_backend": "company.Workers"}
    shell("airflow disable --yes")
    assert shell.file.read_text() == before


def test_coordinators_of_others_stay_unshown_and_a_queue_of_theirs_is_refused(shell):
    theirs = {"classpath": "company.Java", "kwargs": {"token": "hvs-canary"}}
    shell.file.write_text(
        f'[sdk]\ncoordinators = {json.dumps({"java": theirs})}\nqueue_to_coordinator = {{"jvm": "java"}}\n'
    )
    assert shell("airflow enable --verified-runs --queue jvm --yes").code == 5
    done = shell("airflow enable --verified-runs --yes")
    assert done.code == 0
    assert "canary" not in str(done)
    held = json.loads(value_of(shell, "sdk", "coordinators"))
    assert held["java"] == theirs
    assert set(held) == {"java", "strongroom"}
    held = json.loads(value_of(shell, "sdk", "queue_to_coordinator"))
    assert held == {"jvm": "java", "default": "strongroom"}


@pytest.mark.parametrize(
    "variable",
    [
        "AIRFLOW__SECRETS__BACKEND",
        "AIRFLOW__SECRETS__BACKEND_KWARGS",
        "AIRFLOW__SECRETS__BACKEND_KWARG__TOKEN",
    ],
)
def test_where_the_environment_decides_nothing_is_written(shell, variable):
    result = shell("airflow enable --yes", **{variable: "x"})
    assert (result.code, shell.file.read_text()) == (5, FILE)
    assert variable in result.err


def test_where_the_arguments_cannot_be_read_no_copy_of_them_is_left(shell):
    text = FILE.replace(f'"{CANARY}"', '"%(x)s"')
    shell.file.write_text(text)
    result = shell("airflow enable --yes")
    assert (result.code, shell.file.read_text()) == (7, text)
    assert {each.name for each in shell.file.parent.iterdir()} == {"airflow.cfg"}


def test_file_that_is_a_link_is_not_replaced(shell):
    shell.file.rename(shell.file.with_name("real"))
    shell.file.symlink_to("real")
    result = shell("airflow enable --yes")
    assert (result.code, shell.file.read_text()) == (5, FILE)
    assert "--for helm" in result.err


def test_shadow_mode_writes_out_no_arguments_that_a_command_gives(shell):
    told = shell.folder / "told"
    told.write_text(json.dumps({"token": CANARY}))
    text = f"[secrets]\nbackend = company.Vendor\nbackend_kwargs_cmd = cat {told}\n"
    shell.file.write_text(text)
    result = shell("airflow enable --shadow --yes")
    assert (result.code, shell.file.read_text()) == (5, text)
    assert CANARY not in said(result)
    assert {each.name for each in shell.file.parent.iterdir()} == {"airflow.cfg"}
    assert shell("airflow enable --yes").code == 0


def test_shadow_mode_does_not_begin_with_arguments_that_cannot_be_read(shell):
    shell.file.write_text("[secrets]\nbackend = company.Vendor\nbackend_kwargs = {broken\n")
    assert shell("airflow enable --shadow --yes").code == 2
    assert shell("airflow enable --yes").code == 0


def test_settings_file_that_is_asked_here_is_what_airflow_is_told(shell):
    (shell.folder / "mine.toml").write_text('chain = ["env"]\n')
    shell("--config mine.toml --deployment default airflow enable --yes")
    held = json.loads(value_of(shell, "secrets", "backend_kwargs"))
    assert held == {"settings": str(shell.folder / "mine.toml"), "deployment": "default"}


def test_token_of_who_types_is_never_handed_to_airflow(shell):
    result = shell("airflow enable --yes", STRONGROOM_URL="https://s.example", STRONGROOM_TOKEN=CANARY)
    assert (result.code, shell.file.read_text()) == (2, FILE)


# --- import-settings -----------------------------------------------------------------------------


def test_settings_hold_no_secret_and_work_once_the_files_are_there(shell):
    vault = "airflow.providers.hashicorp.secrets.vault.VaultBackend"
    kwargs = {"url": "http://127.0.0.1:1", "token": CANARY, "variables_path": None, "mount_point": "kv"}
    shell.file.write_text(f"[secrets]\nbackend = {vault}\nbackend_kwargs = {json.dumps(kwargs)}\n")
    dry = shell("airflow import-settings --dry-run")
    done = shell("airflow import-settings --with-secrets --yes --output json")
    text = (shell.folder / "strongroom.toml").read_text()
    assert CANARY not in said(dry) + said(done) + text
    assert tomlkit.parse(text)["backend"]["vault"] == {
        "url": "http://127.0.0.1:1",
        "token": {"file": ".strongroom/vault-token"},
        "variables_path": False,
        "mount_point": "kv",
    }
    secret = shell.folder / ".strongroom" / "vault-token"
    assert (secret.read_text(), stat.S_IMODE(secret.stat().st_mode)) == (CANARY, 0o600)
    assert (shell.folder / ".strongroom" / ".gitignore").read_text() == "*\n"
    # It is trusted, since it was agreed to; the Vault of this test is not there.
    assert "vault" in shell("backends list").out


def test_secret_of_an_own_variable_is_fetched_from_there(shell):
    shell.environ["AIRFLOW__SECRETS__BACKEND_KWARG__TOKEN"] = CANARY
    shell.file.write_text("[secrets]\nbackend = company.Vendor\n")
    done = shell("airflow import-settings --yes")
    made = tomlkit.parse((shell.folder / "strongroom.toml").read_text())
    assert made["backend"]["vendor"] == {
        "kind": "airflow_class",
        "path": "company.Vendor",
        "kwargs": {"token": {"env": "AIRFLOW__SECRETS__BACKEND_KWARG__TOKEN"}},
    }
    assert "install" not in done.out
    assert CANARY not in said(done)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"url": f"https://user:{CANARY}@host/"},
        {"options": f"host=db password={CANARY}"},
        {"headers": {"Authorization": f"Bearer {CANARY}"}},
        {"headers": {"X": f"Bearer {CANARY}"}},
        {"hosts": [{"password": CANARY}]},
        {"hosts": [["one", f"https://user:{CANARY}@host/"]]},
        {"auth": ["user", CANARY]},
        {"tokens": [CANARY]},
        {"role_pass": CANARY},
    ],
    ids=str,
)
def test_no_argument_of_an_unknown_class_is_written_out_that_reads_like_a_secret(shell, kwargs):
    shell.file.write_text(f"[secrets]\nbackend = company.Vendor\nbackend_kwargs = {json.dumps(kwargs)}\n")
    done = shell("airflow import-settings --yes")
    assert done.code == 0, said(done)
    assert CANARY not in said(done) + (shell.folder / "strongroom.toml").read_text()
    assert "install" in done.out or "not taken over" in done.err


def test_a_password_of_digits_is_one_too(shell):
    shell.file.write_text(
        '[secrets]\nbackend = company.Vendor\nbackend_kwargs = {"password": 8675309, "port": 1}\n'
    )
    shell("airflow import-settings --yes")
    made = tomlkit.parse((shell.folder / "strongroom.toml").read_text())
    held = {"password": {"file": ".strongroom/vendor-kwargs-password"}, "port": 1}
    assert made["backend"]["vendor"]["kwargs"] == held


def test_nothing_that_stands_is_written_over(shell):
    (shell.folder / "mine.toml").write_text("mine")
    assert shell("airflow import-settings --to mine.toml --yes").code == 5
    assert (shell.folder / "mine.toml").read_text() == "mine"


def test_files_of_airflow_become_a_file_backend(shell):
    files = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    shell.file.write_text(
        f'[secrets]\nbackend = {files}\nbackend_kwargs = {{"variables_file_path": "/opt/variables.json"}}\n'
    )
    shell("airflow import-settings --to new.toml --yes")
    made = tomlkit.parse((shell.folder / "new.toml").read_text())
    assert made["backend"] == {"files": {"kind": "file", "variables_file_path": "/opt/variables.json"}}
    assert made["chain"] == ["files", "env"]


def test_tasks_with_a_class_of_their_own_get_both(shell):
    shell.file.write_text(
        FILE + '[workers]\nsecrets_backend = company.Vendor\nsecrets_backend_kwargs = {"a": null}\n'
    )
    done = shell("airflow import-settings --to new.toml --yes")
    made = tomlkit.parse((shell.folder / "new.toml").read_text())
    assert made["chain"] == ["vendor", "vendor-2", "env"]
    assert made["backend"]["vendor-2"]["none"] == ["a"]
    assert "tasks and servers ask different backends" in done.err


# --- check ---------------------------------------------------------------------------------------


def test_python_without_airflow_is_told(shell):
    result = shell(f"airflow check --python {sys.executable} --output json")
    told = json.loads(result.out)
    assert result.code == 7
    assert {"no-airflow", "token-in-backend-kwargs"} <= {one["name"] for one in told["notices"]}
    assert CANARY not in said(result)


@pytest.mark.parametrize("program", ["/bin/true", "/bin/false"])
def test_program_that_is_no_python_is_told(shell, program):
    result = shell(f"airflow check --python {program}")
    assert result.code == 7
    assert "cannot be asked" in result.err


def test_no_such_program_is_a_mistake(shell):
    assert shell("airflow check --python /nowhere/python").code == 2


def test_reports_of_many_processes_are_summed_by_id_and_outcome(shell):
    lines = [
        {
            "at": at,
            "kind": "variable",
            "name": name,
            "team": None,
            "outcome": outcome,
            "detail": "",
            "process": f"h:{at}",
        }
        for at, name, outcome in [
            (1, "b", "equal"),
            (2, "a", "missing"),
            (3, "b", "equal"),
            (4, "b", "different"),
        ]
    ]
    report = shell.file.with_name("strongroom-shadow.jsonl")
    report.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"half')
    rows = json.loads(shell("airflow check --shadow-report --output json").out)
    told = [
        (row["name"], row["outcome"], row["processes"], row["first"][-3:], row["last"][-3:]) for row in rows
    ]
    assert told == [
        ("a", "missing", 1, "02Z", "02Z"),
        ("b", "equal", 2, "01Z", "03Z"),
        ("b", "different", 1, "04Z", "04Z"),
    ]
    assert re.search(r"b +equal +2", shell("airflow check --shadow-report").out)
