from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

import strongroom
from strongroom.assembly import create_room, room_of
from strongroom.chain import Link
from strongroom.errors import MalformedEntryError, NotFoundError, SettingsError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.settings import consent, load
from strongroom.testing.fakes import Memory, frozen_clock

URI = "postgres://reader:canary-1@db:5432/orders"
SOURCE = str(Path(strongroom.__file__).parent.parent)


@pytest.fixture
def native():
    return Memory(
        "native",
        {
            Ref("connection", "orders_db"): URI,
            Ref("variable", "region"): "eu",
            Ref("variable", "settings"): '{"a": 1}',
            Ref("variable", "region", "data"): "data-eu",
        },
    )


@pytest.fixture
def room(tmp_path, native):
    settings = load(environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path)
    with room_of([Link(backend=native)], settings, clock=frozen_clock) as room, strongroom.use_room(room):
        yield room


HAS_STORE = find_spec("sqlalchemy") is not None
NEEDS_STORE = pytest.mark.skipif(not HAS_STORE, reason="making a store needs strongroom[store], Python 3.11")


@pytest.fixture
def run(tmp_path):
    """Run a script in a process of its own, with a home of its own."""

    def run(script: str, *flags: str, **more: str) -> str:
        environ = {"STRONGROOM_HOME": str(tmp_path / "room"), "PYTHONPATH": SOURCE, **more}
        done = subprocess.run(
            [sys.executable, *flags, "-W", "error", "-c", script],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environ,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


# --- asking ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("room")
class TestAsking:
    def test_a_connection_is_parsed_once(self):
        found = strongroom.connection("orders_db")
        assert (found.host, found.password.reveal()) == ("db", "canary-1")
        assert strongroom.connection("orders_db") is found

    def test_a_variable_is_text(self):
        assert strongroom.variable("region") == "eu"
        assert strongroom.variable("region", "other") == "eu"
        assert strongroom.variable("region", team="data") == "data-eu"

    def test_json_is_parsed_on_demand(self):
        assert strongroom.variable("settings", json=True) == {"a": 1}
        assert strongroom.variable("settings") == '{"a": 1}'
        with pytest.raises(MalformedEntryError):
            strongroom.variable("region", json=True)

    @pytest.mark.parametrize("default", [None, "", 0, {"a": 1}])
    def test_a_default_stands_for_what_is_nowhere(self, default):
        assert strongroom.variable("none", default) is default
        assert strongroom.variable("none", default=default, json=True) is default

    def test_without_a_default_nothing_is_an_error(self):
        with pytest.raises(NotFoundError) as caught:
            strongroom.variable("none")
        assert "strongroom explain variable none" in caught.value.hint
        with pytest.raises(strongroom.NotFoundError):
            strongroom.connection("none")

    def test_asyncio_gets_the_same(self):
        async def ask():
            return (
                await strongroom.aconnection("orders_db"),
                await strongroom.avariable("region"),
                await strongroom.avariable("settings", json=True),
                await strongroom.avariable("none", default=7),
                await strongroom.avariable("region", team="data"),
            )

        found, *others = asyncio.run(ask())
        assert found is strongroom.connection("orders_db")
        assert others == ["eu", {"a": 1}, 7, "data-eu"]

    def test_asyncio_gets_the_same_errors(self):
        with pytest.raises(NotFoundError):
            asyncio.run(strongroom.avariable("none"))

    def test_following_gives_the_current_entry(self):
        with strongroom.follow("region", kind="variable", interval=timedelta(hours=1)) as follow:
            assert follow.current.secret.reveal() == "eu"

    def test_a_warm_read_asks_nobody(self, native):
        strongroom.variable("region")
        asked = len(native.calls)
        for _ in range(10):
            strongroom.variable("region")
        assert len(native.calls) == asked


def test_rooms_may_be_used_inside_each_other(tmp_path):
    settings = load(environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path)
    outer, inner = (
        room_of([Link(backend=Memory("m", {Ref("variable", "x"): text}))], settings, clock=frozen_clock)
        for text in ("outer", "inner")
    )
    with strongroom.use_room(outer):
        with strongroom.use_room(inner) as used:
            assert used is inner
            assert strongroom.variable("x") == "inner"
        assert strongroom.variable("x") == "outer"
    outer.close()
    inner.close()


def test_signatures_are_those_of_the_documentation():
    assert str(inspect.signature(strongroom.connection)).startswith(
        "(name: 'str', *, team: 'str | None' = None, **values: 'str | int')"
    )
    parameters = list(inspect.signature(strongroom.variable).parameters)
    assert parameters == ["name", "default", "json", "team", "values"]
    page = (Path(__file__).parent.parent / "docs/python.md").read_text()
    for name in strongroom.__all__:
        assert f"`strongroom.{name}" in page or f"strongroom.{name}(" in page, name


def test_everything_named_is_there():
    for name in (*strongroom.__all__, *strongroom.errors.__all__):
        assert getattr(strongroom, name) is not None
        assert name in dir(strongroom)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = strongroom.nothing


def test_the_package_says_that_it_is_typed():
    assert (Path(strongroom.__file__).parent / "py.typed").exists()
    assert strongroom.__version__


# --- the room of a process ---------------------------------------------------------------------------


def test_a_room_of_ones_own(run):
    script = "import strongroom\nwith strongroom.open_room() as room: print(room.lookup.variable('x'))"
    assert run(script, AIRFLOW_VAR_X="5") == "5"


def test_without_any_settings_it_works(run):
    assert run("import strongroom; print(strongroom.variable('x'))", AIRFLOW_VAR_X="5") == "5"


def test_what_is_missing_names_the_next_command(run):
    script = """
import strongroom
try:
    strongroom.connection('orders_db')
except strongroom.NotFoundError as error:
    print(error.hint)
"""
    explain = "strongroom explain connection orders_db shows who was asked"
    assert run(script) == f"strongroom up makes a store to keep it in; {explain}"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tracebacks show notes from Python 3.11 on")
def test_an_uncaught_error_shows_its_hint(run):
    script = """
import sys, traceback, strongroom
try:
    strongroom.connection('orders_db')
except strongroom.NotFoundError as error:
    print(traceback.format_exception(error)[-1])
"""
    assert run(script).startswith("hint: strongroom up makes a store")


@pytest.mark.skipif(HAS_STORE, reason="the extra store is installed here; Python 3.10 runs this")
def test_without_the_extra_up_shows_what_there_is_and_a_store_is_refused_before_anything_is_made(
    run, tmp_path
):
    up = "import sys; from strongroom.cli.main import main; import os; sys.exit(main(['up'], os.environ))"
    assert "1 variable in 1 place" in run(up, AIRFLOW_VAR_X="5")
    init = up.replace("sys.exit(main(['up'], os.environ))", "print(main(['init'], os.environ))")
    assert run(init) == "7"
    assert not (tmp_path / "room").exists()


@NEEDS_STORE
def test_a_store_that_was_made_is_read(run, tmp_path):
    with create_room(environ={"STRONGROOM_HOME": str(tmp_path / "room")}, cwd=tmp_path) as room:
        room.entries.write(Change(ref=Ref("connection", "orders_db"), secret=Secret(URI)))
    assert run("import strongroom; print(strongroom.connection('orders_db').password.reveal())") == "canary-1"


def test_a_named_agent_is_never_replaced_by_the_library(run):
    script = """
import strongroom
try:
    strongroom.variable('x')
except strongroom.BackendUnavailableError as error:
    print(error.backend)
"""
    assert run(script, STRONGROOM_SOCKET="/run/nobody.sock", AIRFLOW_VAR_X="5") == "agent"


def test_a_forked_child_opens_a_room_of_its_own(run):
    script = """
import os, strongroom
print(strongroom.variable('x'), flush=True)
parent = strongroom._room
child = os.fork()
if child == 0:
    assert strongroom._room is None
    print(strongroom.variable('x'), strongroom._room is not parent, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(strongroom._room is parent)
"""
    assert run(script, AIRFLOW_VAR_X="5").split() == ["5", "5", "True", "True"]


def test_a_child_forked_inside_use_room_asks_that_room(run):
    script = """
import os, strongroom
given = strongroom.open_room(environ={**os.environ, 'AIRFLOW_VAR_X': 'given'})
with strongroom.use_room(given):
    child = os.fork()
    if child == 0:
        print(strongroom.variable('x'), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
print(strongroom.variable('x'))
"""
    assert run(script, AIRFLOW_VAR_X="default").split() == ["given", "default"]


def test_a_fork_while_another_thread_opens_the_room_does_not_hang(run):
    script = """
import os, strongroom
strongroom._lock.acquire()
child = os.fork()
if child == 0:
    print(strongroom.variable('x'), flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0
"""
    assert run(script, AIRFLOW_VAR_X="5") == "5"


def test_threads_that_come_at_once_share_one_room(tmp_path, monkeypatch, native):
    settings = load(environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path)
    opened = []

    def open_room():
        opened.append(room_of([Link(backend=native)], settings, clock=frozen_clock))
        return opened[-1]

    monkeypatch.setattr(strongroom, "open_room", open_room)
    barrier = threading.Barrier(8)

    def ask():
        barrier.wait()
        strongroom.variable("region")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(opened) == 1
    finally:
        strongroom._use(None)
        opened[0].close()


def test_settings_that_are_wrong_are_wrong_every_time(run, tmp_path):
    (tmp_path / "strongroom.toml").write_text("nonsense = 1")
    script = """
import strongroom
for _ in range(2):
    try:
        strongroom.variable('x', default=1)
    except strongroom.SettingsError as error:
        print(error.key)
"""
    assert run(script).split() == ["nonsense", "nonsense"]


# --- what importing costs ------------------------------------------------------------------------------

HEAVY = {
    "dataclasses",
    "enum",
    "typing",
    "json",
    "re",
    "urllib",
    "inspect",
    "threading",
    "asyncio",
    "importlib.metadata",
}


def modules(script: str, environ: dict[str, str] | None = None) -> set[str]:
    # Without site: an editable install imports on its own account.
    script = f"import sys; sys.path.insert(0, {SOURCE!r})\n{script}\nprint(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-S", "-E", "-c", script], capture_output=True, text=True, check=True, env=environ
    )
    return set(found.stdout.split())


def test_importing_it_loads_nothing_but_the_errors():
    loaded = modules("import strongroom")
    assert HEAVY.isdisjoint(loaded)
    assert {name for name in loaded if name.startswith("strongroom")} == {"strongroom", "strongroom.errors"}


def test_a_secret_is_light_to_import():
    assert HEAVY.isdisjoint(modules("from strongroom import Secret"))


def test_reading_loads_neither_writers_nor_the_command_line(run):
    script = "import sys, strongroom; strongroom.variable('x'); print(*sys.modules)"
    loaded = set(run(script, AIRFLOW_VAR_X="5").split())
    for name in ("asyncio", "sqlalchemy", "typer", "rich", "msgspec", "cryptography", "ruamel", "subprocess"):
        assert name not in loaded, name
    for noun in ("entries", "transfer", "doctor", "inventory"):
        assert f"strongroom.service.{noun}" not in loaded


def test_settings_errors_are_reachable_from_the_top():
    assert strongroom.SettingsError is SettingsError
    assert os.getpid()


@NEEDS_STORE
def test_the_first_asynchronous_call_opens_the_room_beside_the_loop(run, tmp_path):
    # The passphrase comes only once the loop has gone on: a loop that waited for it would wait in vain.
    flag = tmp_path / "flag"
    command = f"while ! test -e {flag}; do sleep 0.01; done; echo long-enough-passphrase"
    (tmp_path / "strongroom.toml").write_text(
        "[store]\nwrappers = [{ kind = 'passphrase', "
        f"passphrase = {{ command = ['/bin/sh', '-c', '{command}'] }} }}]\n"
    )
    consent(environ={"STRONGROOM_HOME": str(tmp_path / "room")}, cwd=tmp_path).give()
    script = f"""
import asyncio, pathlib, strongroom
from strongroom import assembly

flag = pathlib.Path({str(flag)!r})
flag.touch()
assembly.create_room().close()
flag.unlink()

async def main():
    asked = asyncio.ensure_future(strongroom.avariable("region", "none"))
    await asyncio.sleep(0)
    flag.touch()
    print(await asked)

asyncio.run(main())
"""
    assert run(script) == "none"
