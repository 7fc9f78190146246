from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from strongroom.service.discovery import discover
from strongroom.settings import SecretSource, load

CANARY = "canary-5d0e"
VAULT = "airflow.providers.hashicorp.secrets.vault.VaultBackend"
DATA = Path(__file__).parent.parent / "data"


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home/airflow").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def find(home, project):
    """Discover in a project and a home of the test, with more of an environment; by name or title."""

    def find(cwd: Path = project, *, may_run: bool = False, **environ: str):
        environ = {"HOME": str(home), "PATH": os.environ["PATH"], **environ}
        found = discover(environ, cwd=cwd, may_run=may_run)
        assert CANARY not in repr(found)
        assert not any(CANARY in f"{place.where} {place.reason} {place.warnings}" for place in found.places)
        return found

    return find


def names(found) -> list[str]:
    return [place.name for place in found.asked]


def only(found):
    (place,) = found.places
    return place


def database(folder: Path) -> Path:
    shutil.copy(DATA / "airflow3/airflow.db", folder)
    (folder / "airflow.db").chmod(0o600)
    return folder / "airflow.db"


# --- nothing, and the environment --------------------------------------------------------------------


def test_where_there_is_nothing_nothing_is_found_and_nothing_is_made(find, home, project):
    assert find().places == ()
    assert list(home.rglob("*")) == [home / "airflow"]
    assert list(project.iterdir()) == []


def test_a_home_is_looked_at_only_where_the_environment_names_one(project):
    assert discover({"PATH": os.environ["PATH"]}, cwd=project).places == ()


def test_entries_in_the_environment_are_counted_by_their_prefix(find):
    place = only(find(AIRFLOW_CONN_A=CANARY, AIRFLOW_CONN_B="x", AIRFLOW_VAR_C="y", OTHER="z"))
    assert (place.name, place.where) == ("env", "2 AIRFLOW_CONN_…, 1 AIRFLOW_VAR_…")


# --- Airflow -------------------------------------------------------------------------------------------


def test_the_database_in_the_usual_home_is_found(find, home):
    database(home / "airflow")
    place = only(find())
    assert (place.name, place.kind, place.where) == ("metastore", "airflow_metastore", "~/airflow/airflow.db")
    assert place.table == {"airflow_home": home / "airflow"}
    assert place.is_personal


def test_a_configuration_names_its_database_and_is_named(find, home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    text = f"[database]\nsql_alchemy_conn = postgresql://u:{CANARY}@h/airflow\n"
    (elsewhere / "airflow.cfg").write_text(text)
    place = only(find(AIRFLOW_HOME=str(elsewhere)))
    assert place.where == f"{elsewhere}/airflow.cfg (AIRFLOW_HOME)"
    assert place.table == {"airflow_home": elsewhere}
    assert not place.is_personal
    by_variable = only(find(AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"postgresql://u:{CANARY}@h/airflow"))
    assert by_variable.where == "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


def test_a_configuration_in_the_projects_folder_is_found_where_no_other_is_named(find, home, project):
    database(home / "airflow")
    database(project)
    (project / "airflow.cfg").write_text("[core]\n")
    assert only(find()).table == {"airflow_home": project}
    assert only(find(AIRFLOW_HOME=str(home / "airflow"))).table == {"airflow_home": home / "airflow"}


def test_a_command_of_the_configuration_is_not_run_before_somebody_agreed(find, home, tmp_path):
    ran = tmp_path / "ran"
    (home / "airflow/airflow.cfg").write_text(f"[database]\nsql_alchemy_conn_cmd = touch {ran}\n")
    place = only(find(AIRFLOW__CORE__FERNET_KEY_CMD=f"touch {ran}"))
    assert place.table is None
    assert place.needs_command == ("sql_alchemy_conn_cmd", "fernet_key_cmd")
    assert "runs on a yes only" in place.reason
    assert not ran.exists()
    assert only(find(may_run=True)).table is not None


_VAULT_OF_A_STRANGER = (
    "[secrets]\nbackend = x.VaultBackend\n"
    'backend_kwargs = {"url": "https://stranger.example", "token": "$TAKEN", "token_path": "~/.ssh/id"}\n'
)


@pytest.mark.parametrize(
    "text",
    [
        _VAULT_OF_A_STRANGER,
        "[secrets]\nbackend = x.VaultBackend\nbackend_kwargs_cmd = touch ran\n",
        "[workers]\n" + _VAULT_OF_A_STRANGER.partition("\n")[2].replace("backend", "secrets_backend"),
        "[database]\nsql_alchemy_conn = postgresql://$TAKEN@stranger.example/x\n",
        "[database]\nsql_alchemy_conn_cmd = touch ran\n",
        "[database]\nsql_alchemy_conn_secret = x\n",
        "[core]\nfernet_key_cmd = touch ran\n[database]\nsql_alchemy_conn = sqlite:////x.db\n",
    ],
)
def test_a_configuration_that_was_only_come_across_has_nobody_asked_and_nothing_run(
    find, home, project, text
):
    (home / ".vault-token").write_text(CANARY)
    (project / "airflow.cfg").write_text(text)
    found = find(may_run=True, TAKEN=CANARY)
    assert names(found) == []
    assert "AIRFLOW_HOME=$PWD" in found.places[0].reason or "was not asked" in found.places[0].reason
    assert not any(place.needs_command for place in found.places)
    assert not (project / "ran").exists()


def test_what_the_environment_says_counts_beside_a_configuration_that_was_come_across(find, project):
    (project / "airflow.cfg").write_text("[core]\nfernet_key = x\n")
    found = find(
        AIRFLOW__SECRETS__BACKEND="x.VaultBackend",
        AIRFLOW__SECRETS__BACKEND_KWARGS='{"url": "https://v", "token": "t"}',
    )
    assert names(found) == ["vault"]


@pytest.mark.parametrize(("name", "size"), [(".env", 1_048_577), ("airflow_settings.yaml", 262_145)])
def test_a_file_that_would_take_long_to_read_is_told_and_not_asked(find, project, name, size):
    (project / name).write_text("AIRFLOW_VAR_A=x\n".ljust(size, "#"))
    assert only(find()).table is None
    assert "KiB" in only(find()).reason


@pytest.mark.parametrize("data", [b"[[[\n=", b"\xff\xfe" * 90, b"[a]\nb=1\nb=2\n"])
def test_a_garbled_configuration_is_told_and_hides_nothing_else(find, home, data):
    (home / "airflow/airflow.cfg").write_bytes(data + CANARY.encode())
    found = find(AIRFLOW_VAR_A="x")
    assert names(found) == ["env"]
    assert "Airflow could read" in found.places[1].reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses_configuration_in_the_project_is_not_read(find, project):
    (project / "airflow.cfg").write_text("[core]\n")
    os.chown(project / "airflow.cfg", 12345, 12345)
    assert "belongs to another user" in only(find()).reason


# --- Airflow's secrets backend ---------------------------------------------------------------------------


def kwargs(**said: object) -> dict[str, str]:
    return {"AIRFLOW__SECRETS__BACKEND": VAULT, "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(said)}


def test_airflows_vault_becomes_ours_with_the_same_options_and_is_asked_first(find, home, project):
    database(home / "airflow")
    said = kwargs(
        url="https://v:8200", token=CANARY, mount_point="airflow", token_path=None, variables_path=None
    )
    found = find(AIRFLOW_VAR_A="x", **said)
    assert names(found) == ["vault", "env", "metastore"]
    assert found.chain(has_store=True) == ["vault", "env", "native", "metastore"]
    table = found.places[0].table
    assert (table["url"], table["mount_point"], table["variables_path"]) == (
        "https://v:8200",
        "airflow",
        False,
    )
    assert "token_path" not in table
    assert table["token"] == SecretSource(kind="text", argument=(CANARY,), key="token")
    settings = load(environ={"HOME": str(home)}, cwd=project, tables=found.tables(has_store=False))
    assert settings.chain == ("vault", "env", "metastore")
    assert CANARY not in repr(settings)


def test_a_token_that_airflow_would_find_by_itself_is_found(find, home):
    assert find(VAULT_TOKEN=CANARY, **kwargs(url="https://v:8200")).places[0].table["token"] == SecretSource(
        kind="env", argument=("VAULT_TOKEN",), key="token"
    )
    (home / ".vault-token").write_text(CANARY)
    source = find(**kwargs(url="https://v:8200")).places[0].table["token"]
    assert (source.kind, source.argument) == ("file", (str(home / ".vault-token"),))
    approle = kwargs(url="https://v:8200", auth_type="approle", role_id="r", secret_id=CANARY)
    assert "token" not in find(**approle).places[0].table


def test_one_vault_named_twice_is_one_place(find):
    found = find(VAULT_ADDR="https://v:8200", VAULT_TOKEN=CANARY, **kwargs(url="https://v:8200"))
    assert names(found) == ["vault"]
    assert not found.places[0].is_guess
    other = find(VAULT_ADDR="https://w:8200", VAULT_TOKEN=CANARY, **kwargs(url="https://v:8200"))
    assert names(other) == ["vault", "vault-2"]


@pytest.mark.parametrize("text", [f'{{"token": {CANARY}', f'["{CANARY}"]', "1", "NaN"])
def test_arguments_that_are_no_json_object_are_told(find, text):
    place = only(find(AIRFLOW__SECRETS__BACKEND=VAULT, AIRFLOW__SECRETS__BACKEND_KWARGS=text))
    assert place.table is None
    assert "Airflow goes on with no arguments" in place.reason


def test_airflows_file_backend_becomes_ours(find, project):
    (project / "real.yaml").write_text("")
    (project / "c.yaml").symlink_to("real.yaml")
    said = {"connections_file_path": "c.yaml", "variables_file_path": "/etc/v.json"}
    place = only(
        find(
            AIRFLOW__SECRETS__BACKEND="airflow.secrets.local_filesystem.LocalFilesystemBackend",
            AIRFLOW__SECRETS__BACKEND_KWARGS=json.dumps(said),
        )
    )
    assert place.table == {
        "connections_file_path": project / "c.yaml",
        "variables_file_path": Path("/etc/v.json"),
        "follow_symlinks": True,
    }
    assert place.is_first
    assert not place.is_personal


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("airflow.providers.akeyless.secrets.akeyless.AkeylessBackend", "Akeyless"),
        ("airflow.providers.yandex.secrets.lockbox.LockboxSecretBackend", "Yandex Lockbox"),
        ("our.own.SecretsManagerBackend", "the class SecretsManagerBackend"),
        ("our.own.Keeper", "the class Keeper"),
        ("our own keeper", "a class of its own"),
    ],
)
def test_other_backends_are_named_and_not_asked(find, path, what):
    place = only(
        find(AIRFLOW__SECRETS__BACKEND=path, AIRFLOW__SECRETS__BACKEND_KWARGS=f'{{"a": "{CANARY}"}}')
    )
    assert place.table is None
    assert place.reason.startswith(f"it is {what}")


def test_the_backend_that_only_tasks_ask_is_found_too(find):
    said = {"AIRFLOW__WORKERS__SECRETS_BACKEND": "our.own.Keeper", **kwargs(url="https://v:8200")}
    titles = [place.title for place in find(**said).places]
    assert titles == ["Airflow's secrets backend: Vault or OpenBao", "Airflow's secrets backend for tasks"]


# --- the project's files -----------------------------------------------------------------------------


def test_a_dotenv_is_an_environment_an_export_or_none_of_airflows(find, project):
    path = project / ".env"
    path.write_text(f"# compose\nAIRFLOW_UID=50000\nAIRFLOW_CONN_A='postgres://u:{CANARY}@h'\n")
    assert only(find()).table == {"environment": path}
    path.write_text(f'a=postgres://u:{CANARY}@h\nb={{"conn_type": "http"}}\n')
    assert only(find()).table == {"connections": path}
    for text in (f"DATABASE_URL=postgres://u:{CANARY}@h\nDEBUG=1\n", f'A="{CANARY}', "", f"{CANARY}\n"):
        path.write_text(text)
        assert only(find()).table is None
        assert only(find()).reason == "it holds no connections or variables of Airflow"


def test_folders_are_looked_at_up_to_the_top_of_the_checkout_and_no_further(find, project, tmp_path):
    (tmp_path / ".env").write_text("AIRFLOW_VAR_OUT=1\n")
    inner = project / "dags/team"
    inner.mkdir(parents=True)
    (project / ".env").write_text("AIRFLOW_VAR_A=1\n")
    (inner / ".env").write_text("AIRFLOW_VAR_A=2\n")
    assert [place.where for place in find(cwd=inner).places] == ["./.env"]
    (project / ".git").mkdir()
    found = find(cwd=inner)
    assert [place.where for place in found.places] == ["./.env", str(project / ".env")]
    assert names(found) == ["dotenv", "dotenv-2"]


def test_an_astro_project_is_found(find, project):
    (project / "airflow_settings.yaml").write_text("airflow:\n")
    place = only(find())
    assert (place.name, place.kind, place.table) == (
        "astro",
        "file",
        {"settings": project / "airflow_settings.yaml"},
    )


def test_what_is_no_plain_file_of_ours_is_told(find, project):
    path = project / ".env"
    os.mkfifo(path)
    assert only(find()).reason == "it is no plain file"
    path.unlink()
    path.symlink_to(".env")
    assert "too many levels of symbolic links" in only(find()).reason
    path.unlink()
    path.mkdir()
    assert only(find()).reason == "it is no plain file"
    path.rmdir()
    (project / "real").write_text("AIRFLOW_VAR_A=1\n")
    path.symlink_to("real")
    assert only(find()).table == {"environment": path, "follow_symlinks": True}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses_dotenv_is_told_and_not_asked(find, project):
    (project / ".env").write_text(f"AIRFLOW_VAR_A={CANARY}\n")
    os.chown(project / ".env", 12345, 12345)
    assert only(find()).reason == "it belongs to another user"


@pytest.mark.skipif(shutil.which("git") is None and not os.environ.get("CI"), reason="git is not installed")
def test_a_dotenv_that_git_would_take_along_is_warned_of(find, project):
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    (project / ".env").write_text("AIRFLOW_VAR_A=1\n")
    assert only(find()).warnings == ("./.env is not ignored by git: add .env to .gitignore",)
    (project / ".gitignore").write_text(".env\n")
    assert only(find()).warnings == ()
    subprocess.run(["git", "-C", str(project), "add", "-f", ".env"], check=True)
    assert "is in git with all it holds" in only(find()).warnings[0]


# --- vendors -------------------------------------------------------------------------------------------


def test_vaults_own_settings_are_a_guess_of_one_person(find, home):
    said = {"VAULT_ADDR": "https://v:8200", "VAULT_NAMESPACE": "team", "VAULT_CACERT": "/etc/ca.pem"}
    place = only(find(VAULT_TOKEN=CANARY, **said))
    assert place.table == {
        "url": "https://v:8200",
        "token": SecretSource(kind="env", argument=("VAULT_TOKEN",), key="token"),
        "namespace": "team",
        "verify": Path("/etc/ca.pem"),
    }
    assert place.is_guess
    assert place.is_personal
    (home / ".vault-token").write_text(CANARY)
    assert only(find(BAO_ADDR="http://b:8200")).where == "BAO_ADDR, ~/.vault-token"


def test_a_vault_whose_certificate_is_not_checked_is_warned_of(find):
    place = only(find(VAULT_ADDR="https://v:8200", VAULT_TOKEN=CANARY, VAULT_SKIP_VERIFY="TRUE"))
    assert place.table["verify"] is False
    assert "VAULT_SKIP_VERIFY is set" in place.warnings[0]


@pytest.mark.parametrize(
    "url", [f"https://u:{CANARY}@v:8200", f"https://v:8200/?t={CANARY}", "v:8200", "ftp://v", "http://[::1"]
)
def test_an_address_that_is_more_than_one_is_not_asked(find, url):
    place = only(find(VAULT_ADDR=url, VAULT_TOKEN="x"))
    assert (place.table, place.reason) == (None, "its address is not just http(s)://host:port")


def test_a_vault_without_a_token_or_an_address_is_told(find):
    assert "no token" in only(find(VAULT_ADDR="https://v:8200")).reason
    assert "VAULT_ADDR is not set" in only(find(VAULT_TOKEN=CANARY)).reason


def test_settings_of_clouds_are_named_never_their_values(find, home):
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(CANARY)
    (home / ".config/gcloud").mkdir(parents=True)
    (home / ".config/gcloud/application_default_credentials.json").write_text(CANARY)
    (home / ".azure").mkdir()
    found = find(AWS_PROFILE=CANARY, AZURE_CLIENT_SECRET=CANARY)
    assert [(place.title, place.where) for place in found.places] == [
        ("settings of AWS", "AWS_PROFILE, ~/.aws/config"),
        ("settings of Google Cloud", "~/.config/gcloud/application_default_credentials.json"),
        ("settings of Azure", "AZURE_CLIENT_SECRET, ~/.azure"),
    ]
    assert {place.reason for place in found.places} == {"asked where settings name a backend of its kind"}
    assert found.asked == ()
