"""Files as a backend, read as Airflow's LocalFilesystemBackend reads them."""

import json
import multiprocessing
import os
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest

from strongroom.backends.file import File, FileOptions
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
)
from strongroom.model.connection import Connection
from strongroom.model.document import parse_connections
from strongroom.model.dotenv import format_value
from strongroom.model.environment import spell
from strongroom.model.ref import Ref
from strongroom.testing.contract import CANARY, BackendContract

DATA = Path(__file__).parents[1] / "data" / "airflow3"
FORK = multiprocessing.get_context("fork")
LONG_AGO = 1_600_000_000_000_000_000


def clock():
    return datetime.now(timezone.utc)


def replace_file(path, text):
    """Write beside and rename, as whoever changes a live file should."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def variables(path, text, **options):
    path.write_text(text, encoding="utf-8")
    return File("file", FileOptions(variables=path, **options), clock)


class TestFile(BackendContract):
    looks_at_values = True
    keeps_teams = False

    def make(self, tmp_path):
        self.paths = {"connection": tmp_path / "connections.json", "variable": tmp_path / "variables.json"}
        self.held = {"connection": {}, "variable": {}}
        for path in self.paths.values():
            path.write_text("{}")
        options = FileOptions(connections=self.paths["connection"], variables=self.paths["variable"])
        return File("file", options, clock)

    def put(self, backend, ref, text):
        self.held[ref.kind][ref.name] = text
        replace_file(self.paths[ref.kind], json.dumps(self.held[ref.kind]))

    def remove(self, backend, ref):
        del self.held[ref.kind][ref.name]
        replace_file(self.paths[ref.kind], json.dumps(self.held[ref.kind]))

    def put_oversized(self, backend, ref, text):
        self.put(backend, ref, text)

    def down(self, backend):
        self.paths["variable"].unlink()

    def deny(self, backend, ref):
        self.paths["variable"].chmod(0o666)


@pytest.mark.parametrize("name", ["connections.json", "connections.yaml", "connections-json.env"])
def test_real_connections_file_answers_every_connection(name):
    backend = File("file", FileOptions(connections=DATA / name), clock)
    expected = parse_connections((DATA / "connections.json").read_text(), "json")
    rows = backend.list("connection")
    assert [row.ref.name for row in rows] == sorted(expected)
    for row in rows:
        assert Connection.parse(backend.read(row.ref).secret.reveal()) == expected[row.ref.name]


def test_variable_that_is_not_text_is_json_text(tmp_path):
    backend = variables(tmp_path / "v.yaml", "n: 1\nb: no\nd: {k: [1]}\nz: ~\nt: text\n")
    texts = {name: backend.read(Ref("variable", name)).secret.reveal() for name in "nbdzt"}
    assert texts == {"n": "1", "b": "false", "d": json.dumps({"k": [1]}, indent=2), "z": "null", "t": "text"}


def test_wrapper_of_an_export_is_kept_unless_asked(tmp_path):
    text = '{"v": {"value": "x", "description": "told"}}'
    kept = variables(tmp_path / "v.json", text).read(Ref("variable", "v"))
    assert json.loads(kept.secret.reveal()) == {"value": "x", "description": "told"}
    opened = variables(tmp_path / "v.json", text, unwrap=True).read(Ref("variable", "v"))
    assert (opened.secret.reveal(), opened.metadata.description) == ("x", "told")


def test_quotes_can_be_kept_as_airflow_keeps_them(tmp_path):
    assert variables(tmp_path / "v.env", 'a="b"\n').read(Ref("variable", "a")).secret.reveal() == "b"
    kept = variables(tmp_path / "v.env", 'a="b"\n', quotes=False).read(Ref("variable", "a"))
    assert kept.secret.reveal() == '"b"'


def test_configs_are_read_from_their_own_file(tmp_path):
    path = tmp_path / "configs.env"
    path.write_text("sql_alchemy_conn=sqlite://\n")
    backend = File("file", FileOptions(configs_file_path=path), clock)
    assert backend.read(Ref("config", "sql_alchemy_conn")).secret.reveal() == "sqlite://"
    assert backend.read(Ref("variable", "sql_alchemy_conn")) is None


def test_unchanged_file_is_not_opened_again(tmp_path, monkeypatch):
    path = tmp_path / "v.env"
    backend = variables(path, "a=1\n")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *args, **more: opened.append(args[0]) or real(*args, **more))
    for _ in range(5):
        assert backend.read(Ref("variable", "a")).secret.reveal() == "1"
    assert opened == [path]


def test_young_file_is_read_again_because_its_clock_may_not_have_ticked(tmp_path):
    path = tmp_path / "v.env"
    backend = variables(path, "a=1\n")
    before = path.stat()
    assert backend.read(Ref("variable", "a")).secret.reveal() == "1"
    path.write_text("a=2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert backend.read(Ref("variable", "a")).secret.reveal() == "2"


def test_half_written_file_is_unavailable_and_heals(tmp_path):
    path = tmp_path / "v.json"
    backend = variables(path, '{"a": "good"}')
    assert backend.read(Ref("variable", "a")) is not None
    path.write_text(f'{{"a": "{CANARY}')
    for _ in range(2):
        with pytest.raises(BackendUnavailableError) as caught:
            backend.read(Ref("variable", "a"))
        assert CANARY not in str(caught.value)
        assert caught.value.__context__ is None
    path.write_text('{"a": "better"}')
    assert backend.read(Ref("variable", "a")).secret.reveal() == "better"


def test_one_bad_entry_is_invalid_and_the_others_answer(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"bad": {"port": CANARY}, "worse": 5, "good": "http://h"}))
    backend = File("file", FileOptions(connections=path), clock)
    for name in ("bad", "worse"):
        with pytest.raises(MalformedEntryError) as caught:
            backend.read(Ref("connection", name))
        assert CANARY not in str(caught.value)
        assert caught.value.__context__ is None
    assert backend.read(Ref("connection", "good")).secret.reveal() == "http://h"


def test_name_that_can_never_be_asked_for_sleeps_in_the_file(tmp_path):
    backend = variables(tmp_path / "v.json", json.dumps({"../up": "1", "cafe\u0301": "2"}))
    assert [row.ref.name for row in backend.list("variable")] == ["café"]
    assert backend.read(Ref("variable", "cafe\u0301")).secret.reveal() == "2"


def test_names_that_are_one_name_after_normalising_are_refused(tmp_path):
    backend = variables(tmp_path / "v.json", json.dumps({"caf\u00e9": "1", "cafe\u0301": "2"}))
    with pytest.raises(BackendUnavailableError, match="more than once"):
        backend.read(Ref("variable", "café"))


def test_symbolic_link_is_denied_unless_allowed(tmp_path):
    (tmp_path / "real.env").write_text("a=1\n")
    (tmp_path / "link.env").symlink_to(tmp_path / "real.env")
    denied = File("file", FileOptions(variables=tmp_path / "link.env"), clock)
    with pytest.raises(AccessDeniedError) as caught:
        denied.read(Ref("variable", "a"))
    assert "follow_symlinks" in caught.value.hint
    allowed = File("file", FileOptions(variables=tmp_path / "link.env", follow_symlinks=True), clock)
    assert allowed.read(Ref("variable", "a")).secret.reveal() == "1"


def test_fifo_and_folder_are_denied_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo.env")
    (tmp_path / "folder.env").mkdir()
    for name in ("fifo.env", "folder.env"):
        with pytest.raises(AccessDeniedError, match="no plain file"):
            File("file", FileOptions(variables=tmp_path / name), clock).read(Ref("variable", "a"))


def test_device_is_denied(tmp_path):
    link = tmp_path / "null.env"
    link.symlink_to("/dev/null")
    backend = File("file", FileOptions(variables=link, follow_symlinks=True), clock)
    with pytest.raises(AccessDeniedError, match="no plain file"):
        backend.read(Ref("variable", "a"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_denied(tmp_path):
    backend = variables(tmp_path / "v.env", "a=1\n")
    os.chown(tmp_path / "v.env", 12345, 12345)
    with pytest.raises(AccessDeniedError, match="another user"):
        backend.read(Ref("variable", "a"))


def test_missing_file_is_unavailable_and_not_absent(tmp_path):
    backend = File("file", FileOptions(variables=tmp_path / "none.env"), clock)
    with pytest.raises(BackendUnavailableError, match="No such file"):
        backend.read(Ref("variable", "a"))
    assert backend.check().status == "error"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"variables": Path("v.toml")},
        {"connections": Path("a.env"), "connections_file_path": Path("b.env")},
    ],
)
def test_options_that_can_never_work_are_refused(options):
    with pytest.raises(BackendConfigError):
        File("file", FileOptions(**options), clock)


def test_entry_of_the_wrong_shape_is_refused_with_the_offset_of_its_own_text(tmp_path):
    path = tmp_path / "c.env"
    path.write_text("bad={not json}\n")
    backend = File("file", FileOptions(connections=path), clock)
    # The text is handed on as it stands; whoever parses it tells the offset.
    with pytest.raises(InvalidInputError) as caught:
        Connection.parse(backend.read(Ref("connection", "bad")).secret.reveal())
    assert caught.value.offset is not None


def test_fork_while_another_thread_reads_the_file_hangs_nobody(tmp_path):
    entered, leave = threading.Event(), threading.Event()

    def slow_clock():
        if threading.current_thread() is reader:
            entered.set()
            leave.wait(30)
        return clock()

    path = tmp_path / "variables.json"
    path.write_text('{"x": "1"}')
    backend = File("file", FileOptions(variables=path), slow_clock)
    reader = threading.Thread(target=backend.read, args=(Ref("variable", "x"),))
    reader.start()
    assert entered.wait(30)
    child = FORK.Process(target=backend.read, args=(Ref("variable", "x"),))
    child.start()
    child.join(30)
    is_hung = child.is_alive()
    child.kill()
    leave.set()
    reader.join(30)
    assert not is_hung
    assert child.exitcode == 0


# --- a `.env` that holds an environment, and an airflow_settings.yaml ----------------------------


class TestEnvironmentFile(BackendContract):
    looks_at_values = True

    def make(self, tmp_path):
        self.path = tmp_path / ".env"
        self.environ = {"PATH": "/bin"}
        self.write()
        return File("dotenv", FileOptions(environment=self.path), clock)

    def write(self):
        lines = [f"{name}={format_value(text)}" for name, text in self.environ.items()]
        replace_file(self.path, "\n".join(lines) + "\n")

    def put(self, backend, ref, text):
        variable = spell(ref)
        if variable is None or "=" in variable or ref.name != ref.name.strip() or "#" in variable[:1]:
            raise InvalidInputError("a .env cannot spell this name")
        self.environ[variable] = text
        self.write()

    def remove(self, backend, ref):
        del self.environ[spell(ref)]
        self.write()

    def put_oversized(self, backend, ref, text):
        self.put(backend, ref, text)

    def down(self, backend):
        self.path.unlink()

    def deny(self, backend, ref):
        self.path.chmod(0o666)


def environment_file(path, text):
    path.write_text(text, encoding="utf-8")
    return File("dotenv", FileOptions(environment=path), clock)


def test_environment_file_reads_as_the_environment_it_holds(tmp_path):
    text = (
        "PATH=/bin\nnot a pair\nexport AIRFLOW_CONN_ORDERS_DB='http://h'\nAIRFLOW_VAR_REGION=eu\n"
        "AIRFLOW_CONN__DATA___ORDERS_DB=http://theirs\nAIRFLOW_CONN_EMPTY=\nAIRFLOW_VAR_EMPTY=\n"
        "AIRFLOW_VAR__DATA___EMPTY=\n"
    )
    backend = environment_file(tmp_path / ".env.local", text)
    assert [row.ref.name for row in backend.list("connection")] == ["orders_db"]
    assert [row.ref.name for row in backend.list("connection", team="Data")] == ["orders_db"]
    assert [row.ref.name for row in backend.list("variable")] == ["empty", "region"]
    assert backend.list("variable", team="data") == []
    assert backend.read(Ref("connection", "Orders_DB")).secret.reveal() == "http://h"
    assert backend.read(Ref("connection", "orders_db", "DATA")).secret.reveal() == "http://theirs"
    assert backend.read(Ref("connection", "_data___orders_db")) is None
    assert backend.read(Ref("variable", "empty")).secret.reveal() == ""


def test_environment_file_tells_how_it_spells_and_what_another_spelling_meets(tmp_path):
    backend = environment_file(tmp_path / ".env", "AIRFLOW_CONN_ORDERS_DB=http://h\n")
    assert backend.spell(Ref("connection", "Orders_DB")) == "AIRFLOW_CONN_ORDERS_DB"
    assert backend.folded(Ref("connection", "Orders_DB")).metadata.conn_type == "http"
    assert backend.folded(Ref("connection", "Other")) is None
    assert backend.folded(Ref("connection", "orders_db")) is None  # the list gives it
    plain = variables(tmp_path / "v.env", "a=1\n")
    assert plain.spell(Ref("variable", "a")) is None


def test_environment_file_with_nothing_of_airflow_is_empty(tmp_path):
    backend = environment_file(tmp_path / ".env", "DEBUG=1\n")
    assert backend.list("connection") == []
    assert backend.check().status == "ready"


def test_environment_file_whose_lines_contradict_is_unavailable(tmp_path):
    backend = environment_file(tmp_path / ".env", f"AIRFLOW_VAR_A={CANARY}\nAIRFLOW_VAR_a=2\n")
    with pytest.raises(BackendUnavailableError, match="one in lower case") as caught:
        backend.read(Ref("variable", "a"))
    assert CANARY not in str(caught.value)


SETTINGS = f"""\
airflow:
  connections:
    - conn_id: orders_db
      conn_type: postgres
      conn_password: s3cret
    - conn_id: broken
      conn_type: http
      conn_port: {CANARY}
    - conn_id:
  variables:
    - variable_name: region
      variable_value: eu
    - variable_name: flag
      variable_value: true
  pools: []
"""


def test_astros_settings_give_connections_and_variables(tmp_path):
    path = tmp_path / "airflow_settings.yaml"
    path.write_text(SETTINGS)
    backend = File("astro", FileOptions(settings=path), clock)
    told = [
        (row.ref.name, row.metadata.conn_type, row.state.value, row.problem)
        for kind in ("connection", "variable")
        for row in backend.list(kind)
    ]
    assert told == [
        ("broken", None, "unparsable", "the port is not a whole number from 0 to 65535 (R8)"),
        ("orders_db", "postgres", "ok", ""),
        ("flag", None, "unparsable", "the value is no text and no number (F15)"),
        ("region", None, "ok", ""),
    ]
    assert (
        Connection.parse(backend.read(Ref("connection", "orders_db")).secret.reveal()).conn_type == "postgres"
    )
    assert backend.read(Ref("variable", "region")).secret.reveal() == "eu"
    for ref in (Ref("connection", "broken"), Ref("variable", "flag")):
        with pytest.raises(MalformedEntryError) as caught:
            backend.read(ref)
        assert CANARY not in str(caught.value)


def test_file_that_is_no_astro_settings_is_unavailable(tmp_path):
    path = tmp_path / "airflow_settings.yaml"
    path.write_text("orders_db: http://h\n")
    backend = File("astro", FileOptions(settings=path), clock)
    assert "no airflow_settings.yaml" in backend.check().message


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"environment": Path(".env"), "settings": Path("s.yaml")},
            "environment and settings both give connections",
        ),
        (
            {"connections": Path("c.json"), "environment": Path(".env")},
            "connections and environment both give connections",
        ),
        (
            {"variables_file_path": Path("v.env"), "settings": Path("s.yaml")},
            "variables and settings both give variables",
        ),
    ],
)
def test_two_files_for_one_kind_are_refused(options, told):
    with pytest.raises(BackendConfigError, match=told) as caught:
        File("file", FileOptions(**options), clock)
    assert "two backends" in caught.value.hint


def test_configs_stand_beside_an_environment_file(tmp_path):
    (tmp_path / ".env").write_text("AIRFLOW_VAR_A=1\n")
    (tmp_path / "c.env").write_text("key=value\n")
    backend = File("file", FileOptions(environment=tmp_path / ".env", configs=tmp_path / "c.env"), clock)
    assert backend.read(Ref("config", "key")).secret.reveal() == "value"
    assert backend.read(Ref("variable", "a")).secret.reveal() == "1"


def test_young_file_that_stays_the_same_is_parsed_once(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"a": "http://h", "b": "broken"}')
    backend = File("file", FileOptions(connections=path), clock)
    first = backend.list("connection")
    held = backend._files["connection"]
    content = held.content
    assert held.signature is None  # so young that it is looked at again
    assert backend.list("connection") == first
    assert held.content is content
    path.write_text('{"a": "http://h", "b": "http://x"}')
    assert [row.state.value for row in backend.list("connection")] == ["ok", "ok"]
