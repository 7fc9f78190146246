"""
A canary in every input, looked for in everything that leaves.

What leaves: messages, `repr`, `str`, hints and attributes of errors, tracebacks with all they chain,
log records of every level, warnings, what is printed, audit records, the bytes of store, log and
write-ahead files, command lines. The canary is looked for as it is and as it would be encoded.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

import strongroom
from strongroom import settings
from strongroom.agent.lastgood_form import Content as LastGood
from strongroom.agent.lastgood_form import Row
from strongroom.assembly import create_room, open_room, room_of
from strongroom.audit import AuditLog, Event
from strongroom.backend import Fetched, Naming, PathBackend
from strongroom.chain import Link
from strongroom.cli.child import Given
from strongroom.cli.main import main
from strongroom.cli.session import Session
from strongroom.errors import StrongroomError
from strongroom.model import connection_form, document, template
from strongroom.model.connection import Connection
from strongroom.model.entry import MUST_BE_ABSENT, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.model.variable import Variable
from strongroom.service.entries import Change, merge_hidden
from strongroom.service.transfer import ImportOptions
from strongroom.testing.fakes import frozen_clock
from strongroom.vendors import transport
from strongroom.vendors.http1 import Begun

CANARY = "c4nary+Zq/7fe1=leak"
DB = Ref("connection", "orders_db")
REGION = Ref("variable", "region")
URI = f"postgres://reader:{quote(CANARY, safe='')}@db:5432/orders"
ON = Metadata(references=True)


def _spellings() -> tuple[bytes, ...]:
    plain = CANARY.encode()
    aligned = [base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)]
    return (
        plain,
        b"c4nary",  # the part that no quoting changes
        quote(CANARY, safe="").encode(),
        plain.hex().encode(),
        base64.b64encode(plain)[:-4],
        *aligned,
    )


SPELLINGS = _spellings()


def check(what: str, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    for spelling in SPELLINGS:
        assert spelling not in data, f"the canary shows in {what}"


def check_error(error: BaseException) -> None:
    """Look at everything an error carries, and at all it is chained to that a traceback would show."""
    check("the traceback", "".join(traceback.format_exception(error)))
    seen: BaseException | None = error
    while seen is not None:
        check("the message", str(seen))
        check("the repr", repr(seen))
        check("the arguments", repr(seen.args))
        check("the attributes", repr(vars(seen)))
        check("the notes", repr(getattr(seen, "__notes__", ())))
        check("its pickled form", pickle.dumps(seen))
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


@pytest.fixture(autouse=True)
def _nothing_leaves(caplog, capfd, tmp_path, recwarn):
    """Look, after every test here, at what it logged, printed and warned of."""
    caplog.set_level(logging.DEBUG)
    yield
    for record in caplog.records:
        check("a log record", f"{record.getMessage()} {record.args!r} {record.exc_text or ''}")
    check("the log", caplog.text)
    printed = capfd.readouterr()
    check("standard output", printed.out)
    check("standard error", printed.err)
    for warning in recwarn.list:
        check("a warning", str(warning.message))


def refused(work) -> StrongroomError:
    """Do *work*, which must fail with an error of ours, and look at that."""
    with pytest.raises(StrongroomError) as caught:
        work()
    check_error(caught.value)
    return caught.value


def test_the_canary_would_be_found():
    for text in (CANARY, URI, json.dumps({"a": CANARY}), base64.b64encode(f"pw:{CANARY}".encode()).decode()):
        with pytest.raises(AssertionError):
            check("this", text)


def ascii_id(text: str) -> str:
    return f"{text[:12]!a}-{len(text)}"


# --- formats -------------------------------------------------------------------------------------------

MALFORMED_CONNECTIONS = [
    CANARY,
    f"://{CANARY}",
    f"a_b://{CANARY}",
    f"postgres://u:{CANARY}@db:{CANARY}/x",
    f"postgres://u:p@db:99999{CANARY}/",
    f"postgres://[{CANARY}/",
    f"postgres://u:p@db/?__extra__={CANARY}",
    f"postgres://%ff{CANARY}",
    f'{{"password": "{CANARY}"',
    f'{{"password": "{CANARY}",,}}',
    f'{{"{CANARY}": 1, "conn_type": "x"}}',
    f'{{"conn_type": "x", "port": "{CANARY}"}}',
    f'{{"conn_type": "x", "extra": "{CANARY}"}}',
    f'{{"conn_type": "x", "extra": [{json.dumps(CANARY)}]}}',
    f'{{"uri": "{CANARY}", "host": "{CANARY}"}}',
    f'{{"conn_type": ["{CANARY}"]}}',
    "\ud800" + CANARY,
    CANARY * 100_000,
]


@pytest.mark.parametrize("dialect", ["core", "sdk"])
@pytest.mark.parametrize("text", MALFORMED_CONNECTIONS, ids=ascii_id)
def test_a_malformed_connection(text, dialect):
    with suppress(StrongroomError):
        connection = Connection.parse(text, dialect)
        # What is read after all may hold it in a field that is no secret and shown as it is.
        check("the repr", repr(connection.replace(host=None, schema=None, conn_type=None)))
        return
    check_error(refused(lambda: Connection.parse(text, dialect)))


def test_a_sound_connection_prints_no_secret():
    connection = Connection.parse(URI).replace(
        extra=Connection.from_dict({"extra": {"token": CANARY, "deep": [{"key": CANARY}]}}).extra
    )
    for shown in (
        repr(connection),
        str(connection),
        f"{connection}",
        f"{connection!a}",
        repr(connection.to_dict()),
    ):
        check("a connection", shown)
    check("an extra", repr(connection.extra))
    check("losses", repr(connection.uri_losses()))
    refused(lambda: connection.replace(description=CANARY).format("uri"))
    refused(lambda: connection.replace(port=CANARY))
    refused(lambda: connection.replace(password=CANARY))


@pytest.mark.parametrize("text", [f"{{{CANARY}", f'["{CANARY}"', CANARY, f'{{"a": {CANARY}}}', f'"{CANARY}'])
def test_a_variable_that_is_not_json(text):
    refused(Variable(key="region", value=Secret(text)).json)


@pytest.mark.parametrize("form", ["json", "yaml", "env"])
@pytest.mark.parametrize(
    "text",
    [
        f"{{{CANARY}",
        f'{{"a": "{CANARY}"',
        f'{{"a": "{CANARY}", "a": "{CANARY}"}}',
        f"a: [{CANARY}",
        f"a: !!python/object {CANARY}",
        f"a: &x {CANARY}\nb: *y",
        f"\t{CANARY}: 1\n  x",
        f"A B={CANARY}",
        "c4nary",  # of `c4nary=x` the first part is a name, and names are told
        f"={CANARY}",
        f'A="{CANARY}',
        f"A={CANARY}\nA={CANARY}",
        f"a:\n  conn_type: x\n  {CANARY}: 1",
        f'{{"a": {{"conn_type": "x", "port": "{CANARY}"}}}}',
        f'{{"a": {{"extra": "{CANARY}"}}}}',
    ],
)
def test_a_malformed_file(text, form):
    for work in (document.parse_connections, document.parse_variables):
        with suppress(StrongroomError):
            work(text, form)
            continue
        check_error(refused(lambda work=work: work(text, form)))


@pytest.mark.parametrize(
    "data", [CANARY.encode("utf-16"), b"\xff" + CANARY.encode(), CANARY.encode() + b"\x00"]
)
def test_bytes_that_are_no_text(data):
    with suppress(StrongroomError):
        document.decode(data)
        return
    refused(lambda: document.decode(data))


@pytest.mark.parametrize(
    "text", [f"${{{CANARY}}}", f"${{variable.{CANARY}/x}}", f"${{connection.{CANARY}/x}}"]
)
def test_a_malformed_reference(text):
    refused(lambda: template.parse(text))


@pytest.mark.parametrize(
    "name",
    [f"/{CANARY}", f"{CANARY}\x00", f"{CANARY}\\", URI, CANARY * 100, f"../{CANARY}", f"{CANARY}\u202e"],
)
def test_a_secret_typed_where_a_name_belongs(name):
    refused(lambda: Ref("variable", name))
    refused(lambda: Ref("variable", "x", name))
    refused(lambda: Ref(name, "x"))


# --- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f'x = "{CANARY}',
        f'"{CANARY}" = 1',
        f'deployment = "{CANARY}"',
        f'chain = ["{CANARY}"]',
        f'write_to = "{CANARY}"\nchain = ["env"]',
        f'[cache]\nttl = "{CANARY}"',
        f'[cache]\n"{CANARY}" = 1',
        f'[lookup]\ndialect = "{CANARY}"',
        f'[backend."{CANARY}"]\nkind = "env"',
        f'[backend.env]\nkinds = ["{CANARY}"]',
        f'[store]\nwrappers = [{{ kind = "{CANARY}" }}]',
        f'[store]\nwrappers = [{{ kind = "passphrase", passphrase = "{CANARY}" }}]',
        f'[store]\nwrappers = [{{ kind = "passphrase", passphrase = {{ text = "{CANARY}" }} }}]',
        f'[store]\nwrappers = "{CANARY}"',
        f'[deployments."{CANARY}"]',
    ],
)
def test_a_secret_in_the_wrong_place_of_the_settings(tmp_path, text):
    path = tmp_path / "strongroom.toml"
    path.write_text(text)
    refused(lambda: settings.load(path, environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path))


@pytest.mark.parametrize(
    "variable", ["CACHE__TTL", "CHAIN", "STORE__WRAPPERS", "LOOKUP__DIALECT", "NONE", "CACHE__X__Y"]
)
def test_a_secret_in_the_wrong_variable(tmp_path, variable):
    environ = {"STRONGROOM_HOME": str(tmp_path), f"STRONGROOM__{variable}": f"{{{CANARY}"}
    refused(lambda: settings.load(environ=environ, cwd=tmp_path))


def test_a_backends_options(tmp_path):
    for text in (f'colour = "{CANARY}"', f'connections = ["{CANARY}"]', f'dialect = "{CANARY}"'):
        path = tmp_path / "strongroom.toml"
        path.write_text(f'chain = ["file"]\n[backend.file]\n{text}')
        refused(lambda path=path: open_room(path, environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path))


def test_a_command_that_fails_after_it_printed_a_secret():
    script = f"import sys; print('{CANARY}'); sys.exit('{CANARY}')"
    source = settings.SecretSource(
        kind="command", argument=(sys.executable, "-c", script), key="backend.x.token"
    )
    refused(lambda: settings.resolve(source))


def test_what_holds_settings_prints_no_secret(tmp_path):
    environ = {"STRONGROOM_HOME": str(tmp_path), "STRONGROOM__BACKEND__VAULT__TOKEN": CANARY}
    check("the settings", repr(settings.load(environ=environ, cwd=tmp_path)))


# --- a whole room --------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path):
    return tmp_path / "room"


@pytest.fixture
def room(home, tmp_path):
    environ = {
        "STRONGROOM_HOME": str(home),
        "AIRFLOW_CONN_BAD": CANARY,
        "AIRFLOW_VAR_BAD": f"{{{CANARY}",
    }
    with create_room(environ=environ, cwd=tmp_path) as room:
        yield room


def look_at_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            check(f"the file {path.name}", path.read_bytes())
            check("a file's name", str(path.relative_to(folder)))


def test_everything_a_room_does(room, home):
    entries, lookup = room.entries, room.lookup
    entries.write(Change(ref=DB, secret=Secret(URI)), comment="first")
    entries.write(Change(ref=REGION, secret=Secret(CANARY), metadata=Metadata(owner="ada")))
    entries.write(Change(ref=REGION, secret=Secret(CANARY * 2)))
    assert lookup.variable("region") == CANARY * 2
    assert lookup.connection("orders_db").password == Secret(CANARY)
    shown = [
        entries.describe(DB),
        entries.describe(REGION),
        entries.describe(Ref("connection", "bad")),
        lookup.explain(DB),
        lookup.explain(DB).to_dict(),
        lookup.entry(DB),
        entries.history(REGION),
        entries.rollback(REGION, "1"),
        entries.reveal(DB, reason="looking"),
        entries.delete(REGION),
        entries.undelete(REGION),
        room.inventory.page(),
        room.inventory.clashes(),
        room.backends.list(),
        room.backends.check(),
        room.keys.status(),
        room.doctor.run(),
        room.audit.tail(100),
        room.audit.verify(),
        room.transfer.export_connections("json", prefix="orders"),
        room,
        vars(room),
        lookup,
    ]
    for one in shown:
        check(type(one).__name__, repr(one))
        check(type(one).__name__, str(one))
    look_at_files(home)


def test_everything_a_room_refuses(room, home):
    write = room.entries.write
    write(Change(ref=REGION, secret=Secret(CANARY)))
    for text in MALFORMED_CONNECTIONS:
        with suppress(StrongroomError):
            write(Change(ref=Ref("connection", "x"), secret=Secret(text)))
            continue
        refused(lambda text=text: write(Change(ref=Ref("connection", "x"), secret=Secret(text))))
    refused(lambda: write(Change(ref=REGION, secret=Secret(CANARY), expected_version=MUST_BE_ABSENT)))
    refused(lambda: write(Change(ref=REGION, secret=Secret(CANARY * 100_000))))
    refused(lambda: write(Change(ref=REGION, secret=Secret(f"${{{CANARY}"), metadata=ON)))
    refused(lambda: room.entries.rollback(REGION, CANARY))
    refused(lambda: room.entries.delete(REGION, expected_version=CANARY))
    refused(lambda: room.entries.delete(REGION, at=CANARY))
    refused(lambda: room.lookup.connection("bad"))
    refused(lambda: room.lookup.json_of(room.lookup.variable_entry("bad")))
    refused(lambda: asyncio.run(room.lookup.aconnection("bad")))
    old = Connection.parse(URI)
    refused(lambda: merge_hidden(old, {"login": "***", "password": CANARY}))
    look_at_files(home)


def test_everything_an_import_refuses(room, home):
    room.entries.write(Change(ref=REGION, secret=Secret(CANARY)))
    strict = ImportOptions(on_existing="fail")
    sources = [
        f'{{"region": "{CANARY}"}}',
        f'{{"a": {{"conn_type": "x", "port": "{CANARY}"}}, "b": "{URI}"}}',
        f'{{"/{CANARY}": "{CANARY}"}}',
        f"{{{CANARY}",
        "",
    ]
    for source in sources:
        for work in (room.transfer.import_connections, room.transfer.import_variables):
            try:
                report = work(source, "json", strict)
            except StrongroomError as error:
                check_error(error)
            else:
                # Names are told; the one that is a secret in the wrong place is the file's own key.
                check("a report", repr(report).replace(CANARY.partition("/")[0], ""))
    names = {path.name for path in home.iterdir()}
    assert "audit" in names
    for path in (home / "audit").iterdir():
        check(path.name, path.read_bytes())


def test_the_public_face(room, tmp_path):
    with strongroom.use_room(room):
        refused(lambda: strongroom.connection("bad"))
        refused(lambda: strongroom.variable("bad", json=True))
        refused(lambda: strongroom.variable(f"/{CANARY}"))
        refused(lambda: strongroom.variable("bad", default=CANARY, json=True))
        refused(lambda: asyncio.run(strongroom.avariable("bad", json=True)))


def test_a_damaged_store_tells_no_value(room, home, tmp_path):
    room.entries.write(Change(ref=REGION, secret=Secret(CANARY)))
    room.close()
    data = bytearray((home / "store.db").read_bytes())
    for at in range(4096, len(data), 997):
        data[at] ^= 0xFF
    (home / "store.db").write_bytes(data)
    for wal in home.glob("store.db-*"):
        wal.unlink()

    def read() -> None:
        with open_room(environ={"STRONGROOM_HOME": str(home)}, cwd=tmp_path) as again:
            again.lookup.variable("region")

    refused(read)


def test_passphrases(home, tmp_path):
    path = tmp_path / "strongroom.toml"
    path.write_text('[store]\nwrappers = [{ kind = "passphrase" }]')
    environ = {"STRONGROOM_HOME": str(home)}
    create_room(path, environ=environ, cwd=tmp_path, passphrase=lambda: Secret(CANARY)).close()
    wrong = Secret(f"{CANARY}!")
    refused(lambda: open_room(path, environ=environ, cwd=tmp_path, passphrase=lambda: wrong))
    look_at_files(home)


# --- foreign code --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nothing:
    """No options."""


class Quoting(PathBackend[Nothing]):
    """A store whose client quotes requests, tokens and answers in its exceptions."""

    options_type = Nothing
    failure: BaseException = RuntimeError(f"401 for token {CANARY} at https://u:{CANARY}@vault/")

    def __init__(self) -> None:
        super().__init__("vault", Nothing(), Naming({"variable": "v", "connection": "c"}), frozen_clock)

    def _fetch(self, path: str) -> Fetched | None:
        raise self.failure from ValueError(CANARY)


@pytest.fixture
def foreign(tmp_path):
    given = settings.load(environ={"STRONGROOM_HOME": str(tmp_path / "room")}, cwd=tmp_path)
    with room_of([Link(backend=Quoting())], given, clock=frozen_clock) as room:
        yield room


def test_a_client_that_quotes_secrets_in_its_exceptions(foreign, tmp_path):
    refused(lambda: foreign.lookup.variable("region"))
    refused(lambda: foreign.lookup.connection("orders_db"))
    refused(lambda: asyncio.run(foreign.lookup.aconnection("orders_db")))
    refused(lambda: foreign.entries.describe(DB))
    refused(lambda: foreign.lookup.follow(DB))
    for shown in (foreign.lookup.explain(REGION), foreign.backends.check(), foreign.doctor.run()):
        check("an answer", repr(shown))
    look_at_files(tmp_path / "room")


# --- the record ----------------------------------------------------------------------------------------


def test_a_record_that_cannot_be_written(tmp_path):
    (tmp_path / "audit").write_text("in the way")
    log = AuditLog(tmp_path / "audit", deployment="d", clock=frozen_clock)
    event = Event(actor="a", assurance=1, action="read", outcome="found", reason=CANARY)
    refused(lambda: log.append(event))


# --- the command line ----------------------------------------------------------------------------------


@pytest.fixture
def command(home, tmp_path, capfd, monkeypatch):
    """Run a command in this process and look at all it printed."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, stdin: str = "", **more: str) -> int:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8"))
        environ = {"STRONGROOM_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200", **more}
        code = main(list(arguments), environ)
        printed = capfd.readouterr()
        check(f"the output of {arguments[:2]}", printed.out)
        check(f"the errors of {arguments[:2]}", printed.err)
        return code

    return command


def test_commands_show_no_secret_that_was_not_asked_for(command, home, tmp_path):
    (tmp_path / "password").write_text(CANARY)
    (tmp_path / "connections.json").write_text(json.dumps({"lake": {"conn_type": "aws", "password": CANARY}}))
    (tmp_path / "broken.json").write_text(f'{{"lake": "{CANARY}')
    assert command("init") == 0
    assert command("variables", "set", "region", stdin=CANARY) == 0
    add = ("connections", "add", "orders_db")
    assert command(*add, "--conn-uri", "-", "--yes", stdin=URI) == 0
    assert command("connections", "add", "other", "--conn-type", "http", "--password-file", "password") == 0
    assert command("connections", "import", "connections.json") == 0
    assert command("connections", "import", "broken.json") == 2
    for output in ("table", "json", "yaml"):
        for arguments in (
            ("connections", "get", "orders_db"),
            ("connections", "list"),
            ("connections", "history", "orders_db"),
            ("variables", "get", "region"),
            ("variables", "list"),
            ("inventory",),
            ("explain", "connection", "orders_db"),
            ("backends", "list"),
            ("backends", "check"),
            ("keys", "status"),
            ("audit", "tail"),
            ("audit", "verify"),
            ("doctor",),
        ):
            command(*arguments, "--output", output)
    look_at_files(home)


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("connections", "add", "x", "--conn-uri", URI),
        ("connections", "add", "x", "--conn-json", json.dumps({"conn_type": "http", "password": CANARY})),
        ("connections", "add", "x", "--conn-type", "http", "--conn-extra", json.dumps({"token": CANARY})),
        ("connections", "add", "x", "--conn-password", CANARY),
        ("connections", "add", "x", "--conn-type", "http", "--conn-port", CANARY),
        ("connections", "add", URI),
        ("connections", "get", URI),
        ("connections", "import", "none.json", "--format", CANARY),
        ("connections", "import", "-"),
        ("variables", "set", "x", CANARY),
        ("variables", "set", f"/{CANARY}"),
        ("read", URI),
        ("run", "--as", f"X={URI}", "--", "true"),
        ("connections", CANARY),
        (CANARY,),
        (f"--{CANARY}",),
        ("doctor", "--output", CANARY),
        ("--deployment", CANARY, "doctor"),
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(command, arguments, output):
    assert command("--output", output, *arguments, stdin=f"{{{CANARY}") != 0


def test_a_command_that_fails_unexpectedly_tells_its_place_and_not_its_text(command, monkeypatch):
    def fail(*_details, **_more):
        raise RuntimeError(CANARY)

    monkeypatch.setattr("strongroom.assembly.open_room", fail)
    assert command("connections", "list") == 1
    assert command("connections", "list", "--debug") == 1


def test_no_command_line_of_a_child_holds_a_secret(home, tmp_path):
    environ = {"STRONGROOM_HOME": str(home), "PATH": os.environ["PATH"]}
    with create_room(environ=environ, cwd=tmp_path) as room:
        room.entries.write(Change(ref=REGION, secret=Secret(CANARY)))
    script = "import pathlib; print(pathlib.Path(f'/proc/{os.getppid()}/cmdline').read_bytes(), sys.argv)"
    script = f"import os, sys; {script}"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "strongroom",
            "run",
            "--variable",
            "region",
            "--",
            sys.executable,
            "-c",
            script,
        ],
        env=environ,
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    check("a command line", done.stdout + done.stderr)


HOLDERS = {
    "a line of a last good copy": lambda: Row(
        "variable", "a", None, ("a", None), CANARY, "env", None, 0, None, 0, None
    ),
    "a last good copy": lambda: LastGood([], {"answers": CANARY.encode()}),
    "what a command is given": lambda: Given({"TOKEN": CANARY}),
    "the options of a command": lambda: Session(environ={"TOKEN": CANARY}),
    "where a URI leads": lambda: connection_form._Place("reader", CANARY, "db", "5432", 0),
    "a connection that is referred to": lambda: template._Parsed(Connection.parse(URI), {"password": CANARY}),
    "an answer that has begun": lambda: Begun(200, {"set-cookie": CANARY}, None),
    "a question": lambda: transport._Question("GET", CANARY.encode(), True, None),
}


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_what_holds_plaintext_prints_its_kind_alone(make):
    check("a repr", repr(make()))
