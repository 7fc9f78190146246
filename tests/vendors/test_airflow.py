"""What an Airflow says of itself, read as Airflow 3.3.2 reads it."""

import os
import subprocess
import sys
import traceback

import pytest

from strongroom.errors import BackendConfigError
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY
from strongroom.vendors.airflow import AirflowConfig

KEY = "AIRFLOW__CORE__FERNET_KEY"
URL = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
OLD_URL = "AIRFLOW__CORE__SQL_ALCHEMY_CONN"


def config(tmp_path, text="", secret=None, **environ):
    (tmp_path / "airflow.cfg").write_text(text)
    environ = {"AIRFLOW_HOME": str(tmp_path), "PATH": os.environ["PATH"], "HOME": "/h/me", **environ}
    return AirflowConfig.find(environ, secret=secret)


def key_of(found):
    value = found.get("core", "fernet_key")
    return None if value is None else value.reveal()


# --- the order ------------------------------------------------------------------------------------

FILE = "[core]\nfernet_key = file\nfernet_key_cmd = echo file_cmd\nfernet_key_secret = file_secret\n"
WITHOUT_KEY = FILE.replace("fernet_key = file\n", "")
ONLY_SECRET = "[core]\nfernet_key_secret = file_secret\n"


@pytest.mark.parametrize(
    ("text", "environ", "expected", "origin"),
    [
        (FILE, {KEY: "env", f"{KEY}_CMD": "echo cmd", f"{KEY}_SECRET": "s"}, "env", "environment"),
        (FILE, {f"{KEY}_CMD": "echo cmd", f"{KEY}_SECRET": "s"}, "cmd", "command"),
        (FILE, {f"{KEY}_SECRET": "s"}, "<s>", "secret"),
        (FILE, {}, "file", "file"),
        (WITHOUT_KEY, {}, "file_cmd", "command"),
        (ONLY_SECRET, {}, "<file_secret>", "secret"),
        ("", {}, "", "default"),
        # There but empty is there, whatever stands beside it.
        (FILE, {KEY: ""}, "", "environment"),
        ("[core]\nfernet_key =\nfernet_key_cmd = echo x\n", {}, "", "file"),
        # An empty answer: final for the environment's command, none for the file's.
        (FILE, {f"{KEY}_CMD": "true"}, "", "command"),
        ("[core]\nfernet_key_cmd = true\nfernet_key_secret = s\n", {}, "<s>", "command"),
        # Names of options keep their case.
        ("[core]\nFERNET_KEY = file\n", {}, "", "default"),
    ],
)
def test_order_is_airflows(tmp_path, text, environ, expected, origin):
    found = config(tmp_path, text, lambda name: Secret(f"<{name}>"), **environ)
    assert key_of(found) == expected
    assert found.source("core", "fernet_key") == origin


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("[core]\nsql_alchemy_conn = old\n", {}, "old"),
        ("[core]\nsql_alchemy_conn = old\n[database]\nsql_alchemy_conn = new\n", {}, "new"),
        ("[database]\nsql_alchemy_conn = new\n", {OLD_URL: "old env"}, "old env"),
        ("", {OLD_URL: "old env", URL: "env"}, "env"),
        ("", {OLD_URL: "old env", f"{URL}_CMD": "echo cmd"}, "cmd"),
        ("[core]\nsql_alchemy_conn_cmd = echo old_cmd\n", {}, "old_cmd"),
        ("[core]\nsql_alchemy_conn = old\n[database]\nsql_alchemy_conn_cmd = echo new\n", {}, "old"),
    ],
)
def test_deprecated_place_comes_after_the_new_one_at_each_step(tmp_path, text, environ, expected):
    found = config(tmp_path, text, **environ)
    assert found.database_url.reveal() == expected
    assert found.get("core", "sql_alchemy_conn").reveal() == expected


def test_default_database_stands_in_the_home(tmp_path):
    found = config(tmp_path)
    assert found.database_url.reveal() == f"sqlite:///{tmp_path}/airflow.db"
    assert found.source("database", "sql_alchemy_conn") == "default"
    assert found.get("smtp", "smtp_host") is None
    assert found.source("smtp", "smtp_host") is None


def test_command_means_nothing_where_airflow_runs_none(tmp_path):
    found = config(tmp_path, "[secrets]\nbackend_cmd = echo a.B\n", AIRFLOW__SECRETS__BACKEND_CMD="echo a.B")
    assert found.source("secrets", "backend") is None
    assert found.secrets_backend() is None


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a%%b", "a%b"),
        ("%(other)s-x", "o-x"),
        ("$NAME/${NAME}/$MISSING", "value/value/$MISSING"),
        ("$OUTER", "in value"),
        ("~/x", "/h/me/x"),
        ("# no comment inside", "# no comment inside"),
        ("a ; b", "a ; b"),
    ],
)
def test_value_of_the_file_is_interpolated_and_expanded(tmp_path, written, expected):
    text = f"[core]\nother = o\nfernet_key = x{written}\n" if written[0] == "#" else None
    text = text or f"[core]\nother = o\nfernet_key = {written}\n"
    found = config(tmp_path, text, NAME="value", OUTER="in $NAME")
    assert key_of(found).removeprefix("x" if written[0] == "#" else "") == expected


def test_value_of_the_environment_keeps_its_percent_signs(tmp_path):
    assert key_of(config(tmp_path, "", **{KEY: "a%%b%(x)s$NAME", "NAME": "n"})) == "a%%b%(x)sn"


def test_keys_are_a_list_and_an_empty_text_is_none(tmp_path):
    assert [key.reveal() for key in config(tmp_path, "[core]\nfernet_key = a, b\n").fernet_keys] == ["a", "b"]
    assert config(tmp_path, "[core]\nfernet_key =\n").fernet_keys == ()
    assert config(tmp_path).fernet_keys == ()


def test_command_sees_the_environment_it_is_given_and_no_shell(tmp_path):
    found = config(tmp_path, "[core]\nfernet_key_cmd = sh -c 'echo $MINE; echo $HOME'\n", MINE="mine")
    assert key_of(found) == "mine\n/h/me"
    assert key_of(config(tmp_path, "[core]\nfernet_key_cmd = echo $HOME | cat\n")) == "$HOME | cat"


# --- where it is ----------------------------------------------------------------------------------


def test_airflow_is_found_by_file_database_or_variable_only(tmp_path):
    environ = {"AIRFLOW_HOME": str(tmp_path)}
    assert AirflowConfig.find(environ) is None
    assert AirflowConfig.find({"HOME": str(tmp_path), "AIRFLOW_CONN_X": "http://"}) is None
    assert AirflowConfig.find({**environ, KEY: "x"}).file is None
    (tmp_path / "airflow.db").touch()
    assert AirflowConfig.find(environ).home == tmp_path


def test_home_and_file_are_where_airflow_looks(tmp_path):
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "airflow.cfg").write_text("[core]\nfernet_key = home\n")
    (tmp_path / "other.cfg").write_text("[core]\nfernet_key = other\n")
    home = {"HOME": str(tmp_path)}
    assert key_of(AirflowConfig.find(home)) == "home"
    assert key_of(AirflowConfig.find({**home, "AIRFLOW_CONFIG": "~/other.cfg"})) == "other"
    assert key_of(AirflowConfig.find({"AIRFLOW_HOME": "$BASE/airflow", "BASE": str(tmp_path)})) == "home"
    elsewhere = {**home, "AIRFLOW_CONFIG": str(tmp_path / "other.cfg"), "AIRFLOW_HOME": "/nowhere"}
    assert key_of(AirflowConfig.find(elsewhere, home=tmp_path / "airflow")) == "home"
    # The same Airflow by its home: its own file counts.
    own = {**home, "AIRFLOW_CONFIG": str(tmp_path / "other.cfg")}
    assert key_of(AirflowConfig.find(own, home=tmp_path / "airflow")) == "other"


# --- the secrets backend --------------------------------------------------------------------------

BACKEND = "AIRFLOW__SECRETS__BACKEND"
WORKERS = "AIRFLOW__WORKERS__SECRETS_BACKEND"


def test_secrets_backend_has_its_arguments_and_single_ones_win(tmp_path):
    found = config(
        tmp_path,
        '[secrets]\nbackend = a.VaultBackend\nbackend_kwargs = {"url": "v", "role_id": "json", "n": 2}\n',
        **{f"{BACKEND}_KWARG__ROLE_ID": "env", f"{BACKEND}_KWARG__": "nothing"},
    ).secrets_backend()
    assert (found.class_path, found.section, found.problems) == ("a.VaultBackend", "secrets", ())
    assert found.kwargs == {"url": "v", "role_id": "env", "n": 2}


def test_workers_have_their_own_or_that_of_all(tmp_path):
    environ = {BACKEND: "a.A", f"{BACKEND}_KWARGS": '{"x": 1}'}
    shared = config(tmp_path, "", **environ)
    assert shared.secrets_backend(is_worker=True).kwargs == {"x": 1}
    own = {WORKERS: "b.B", f"{WORKERS}_KWARG__Y": "2", f"{BACKEND}_KWARG__X": "3"}
    workers = config(tmp_path, "", **environ, **own).secrets_backend(is_worker=True)
    assert (workers.class_path, workers.section, workers.kwargs) == ("b.B", "workers", {"y": "2"})


@pytest.mark.parametrize("written", ["[1]", '"text"', "{not json", "1", "[" * 100_000])
def test_arguments_that_are_no_object_are_told_and_left_out(tmp_path, written):
    environ = {BACKEND: "a.A", f"{BACKEND}_KWARGS": written, f"{BACKEND}_KWARG__K": "v"}
    found = config(tmp_path, "", **environ).secrets_backend()
    assert found.kwargs == {"k": "v"}
    assert "[secrets] backend_kwargs is not" in found.problems[0]


def test_arguments_of_a_command_are_fetched_only_where_that_is_allowed(tmp_path):
    environ = {BACKEND: "a.A", f"{BACKEND}_KWARGS_CMD": f"touch {tmp_path}/ran"}
    found = config(tmp_path, "", **environ).secrets_backend(may_run=False)
    assert found.problems == ("[secrets] backend_kwargs comes from a command, which was not asked",)
    assert not (tmp_path / "ran").exists()


# --- trouble --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environ", "told"),
    [
        ("[core]\nfernet_key = 50% of it\n", {}, "holds a % that Airflow cannot read"),
        (f"[core]\nfernet_key_cmd = sh -c 'echo {CANARY} >&2; exit 1'\n", {}, "fernet_key_cmd failed"),
        (f"[core]\nfernet_key_cmd = {CANARY}\n", {}, "fernet_key_cmd cannot be started"),
        (f"[core]\nfernet_key_cmd = '{CANARY}\n", {}, "a quotation mark without an end"),
        ("[core]\nfernet_key_cmd = yes\n", {}, "fernet_key_cmd writes more than 65536 bytes"),
        (f"[core]\nfernet_key_secret = {CANARY}\n", {}, "fernet_key_secret names a secret"),
        ("", {f"{KEY}_SECRET": CANARY}, "AIRFLOW__CORE__FERNET_KEY_SECRET names a secret"),
        ("", {KEY: "$LOOP", "LOOP": "x$LOOP"}, "names a variable that names itself"),
    ],
)
def test_what_cannot_be_had_is_told_without_its_value(tmp_path, text, environ, told):
    found = config(tmp_path, text, **environ)
    with pytest.raises(BackendConfigError, match=told.replace("[", r"\[")) as caught:
        key_of(found)
    assert CANARY not in everything(caught.value)


@pytest.mark.parametrize("change", ["everybody may write", "another's"])
def test_command_that_others_could_have_written_is_not_run(tmp_path, change):
    found = config(
        tmp_path, f"[core]\nfernet_key_cmd = touch {tmp_path}/ran\n[api]\nsecret_key_cmd = echo x\n"
    )
    if change == "another's":
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(found.file, 65534, -1)
    else:
        found.file.chmod(0o666)
    with pytest.raises(BackendConfigError, match=r"fernet_key_cmd is not run: .*airflow\.cfg") as caught:
        key_of(found)
    assert "give the value itself" in caught.value.hint
    assert not (tmp_path / "ran").exists()
    # Who may write the environment of this process needs no file.
    found = config(tmp_path, "", **{f"{KEY}_CMD": "echo theirs"})
    assert key_of(found) == "theirs"


def test_folder_that_may_not_be_searched_is_told_where_it_was_named(tmp_path):
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "airflow.cfg").touch()
    probe = f"""
import os
from strongroom.errors import BackendConfigError
from strongroom.vendors.airflow import AirflowConfig
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
os.chdir("/")
print(AirflowConfig.find({{"HOME": {str(tmp_path)!r}}}))
try:
    AirflowConfig.find({{"AIRFLOW_HOME": {str(tmp_path / "airflow")!r}}})
except BackendConfigError as error:
    print(error)
"""
    (tmp_path / "airflow").chmod(0)
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False, env=environ
    )
    (tmp_path / "airflow").chmod(0o700)
    first, second = done.stdout.splitlines()
    assert first == "None"
    assert second.endswith("airflow.cfg cannot be looked at (PermissionError)")


@pytest.mark.parametrize(
    "text",
    [
        f"{CANARY}\n",
        f"[core]\n{CANARY}\n",
        f"[core]\na = {CANARY}\na = {CANARY}\n",
        f"[core]\n[core]\nx = {CANARY}\n",
        "[core]\nx = \udcff\n",
        "# " + "x" * 1_048_576,
    ],
)
def test_file_that_airflow_could_not_read_is_refused_and_not_quoted(tmp_path, text):
    (tmp_path / "airflow.cfg").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BackendConfigError, match=r"airflow\.cfg") as caught:
        AirflowConfig.find({"AIRFLOW_HOME": str(tmp_path)})
    assert CANARY not in everything(caught.value)


def test_nothing_of_it_prints(tmp_path):
    found = config(
        tmp_path, f"[core]\nfernet_key = {CANARY}\n", **{BACKEND: "a.A", f"{BACKEND}_KWARG__T": CANARY}
    )
    assert CANARY not in f"{found!r}{found.fernet_keys!r}{found.secrets_backend()!r}{found.database_url!r}"


def everything(error):
    assert error.__cause__ is None
    # With the locals of every frame but the test's own, as reporters of errors send them.
    error.with_traceback(error.__traceback__.tb_next)
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    return f"{shown}{error!r}{error.hint}"
