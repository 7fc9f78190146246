"""How tables come into being and an older store becomes a current one."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hatchling import build

import sql_victim
from parts.homes import KINDS, by_hand, everything, home
from strongroom.errors import BackendConfigError
from strongroom.store import migration, schema, sqlite
from strongroom.store.engine import engine_of
from strongroom.store.sqlite_engine import TABLES
from strongroom.store.store import REVISION, Store, require_current, step_back

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import freeze_tables  # noqa: E402 -- a script of this repository

SECOND = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "9001", "NEWEST"
def upgrade():
    op.add_column("changes", sa.Column("note", sa.Text))
    op.execute("UPDATE settings SET value = 'touched' WHERE key = 'store_id'")
"""
FAILING = """
from alembic import op
revision, down_revision = "9002", "9001"
def upgrade():
    op.execute("DROP TABLE entries")
    raise RuntimeError("power cut")
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "room" / "store.db"
    Store.open(path, create=True).close()
    return path


@pytest.fixture
def newer(tmp_path):
    """A folder of migrations one revision ahead of ours."""
    location = tmp_path / "migrations"
    shutil.copytree(migration.MIGRATIONS, location)
    (location / "versions" / "r9001_note.py").write_text(SECOND.replace("NEWEST", REVISION))
    return location


def tables(path):
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute("SELECT name, sql FROM sqlite_master"))


def test_newest_revision_is_the_one_the_code_expects():
    config = Config()
    config.set_main_option("script_location", str(migration.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_tables_after_the_last_migration_are_those_described(path):
    engine = sqlite.engine(path)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": "schema_revision", "compare_type": True}
        )
        assert compare_metadata(context, schema.METADATA) == []
        inspector = sa.inspect(connection)
        for table in schema.METADATA.sorted_tables:
            stored = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
            assert stored == {column.name: column.nullable for column in table.columns}
            assert [column["name"] for column in inspector.get_columns(table.name)] == table.columns.keys()
    engine.dispose()


def test_new_store_is_made_with_what_the_migrations_make():
    assert TABLES.read_text() == freeze_tables.frozen(), "run scripts/freeze_tables.py"


def test_making_a_store_loads_neither_alembic_nor_sqlalchemy(tmp_path):
    code = (
        "import sys\n"
        "from strongroom.store.store import Store\n"
        "with Store.open(sys.argv[1], create=True).write() as transaction:\n"
        "    transaction.prune_changes('prod', 1)\n"
        "assert not {'sqlalchemy', 'alembic'} & set(sys.modules), 'slow start'\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "room" / "store.db")], check=True, timeout=60)


def test_older_store_is_migrated_and_keeps_its_rows(path, newer):
    with sqlite.creating(path):
        migration.run(engine_of(path), location=newer)
    assert sqlite.revision(path, name="native") == "9001"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM settings").fetchall() == [("touched",)]
        assert "note" in {row[1] for row in connection.execute("PRAGMA table_info(changes)")}


def test_store_of_the_first_release_is_migrated_when_it_is_opened(tmp_path, caplog):
    first = tmp_path / "migrations"
    shutil.copytree(migration.MIGRATIONS, first)
    for later in first.glob("versions/r*.py"):
        if not later.name.startswith("r0001"):
            later.unlink()
    path = tmp_path / "room" / "store.db"
    with sqlite.creating(path):
        sqlite.prepare(path, name="native")
        migration.run(engine_of(path), location=first)
    with closing(sqlite3.connect(path)) as connection:
        before = connection.execute("SELECT value FROM settings").fetchall()
    assert sqlite.revision(path, name="native") == "0001"

    Store.open(path).close()

    assert f"brought up to date (schema 0001 to {REVISION})" in caplog.text
    assert sqlite.revision(path, name="native") == REVISION
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM settings").fetchall() == before
        assert connection.execute("SELECT count(*) FROM registry").fetchone() == (0,)


def test_migration_that_fails_half_way_leaves_the_old_store(path, newer):
    (newer / "versions" / "r9002_failing.py").write_text(FAILING)
    before = tables(path)
    with pytest.raises(RuntimeError, match="power cut"):
        migration.run(engine_of(path), location=newer)
    assert tables(path) == before
    assert sqlite.revision(path, name="native") == REVISION
    Store.open(path).close()


def test_store_opened_by_newer_code_is_migrated(path, newer, monkeypatch):
    monkeypatch.setattr("strongroom.store.store.REVISION", "9001")
    monkeypatch.setattr(migration.run, "__kwdefaults__", {"location": newer, "target": "head"})
    with pytest.raises(BackendConfigError, match="lost its id"):  # the synthetic revision touches it
        Store.open(path)
    assert sqlite.revision(path, name="native") == "9001"


def test_store_of_a_newer_schema_is_refused_and_not_a_byte_is_touched(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE schema_revision SET version_num = '0042'")
        connection.commit()
    before = path.read_bytes()
    stamp = path.stat().st_mtime_ns
    for create in (False, True):
        with pytest.raises(BackendConfigError, match="newer version of Strongroom") as caught:
            Store.open(path, create=create)
        assert caught.value.hint is not None
    assert path.read_bytes() == before
    assert not (log := path.with_name("store.db-wal")).exists() or log.read_bytes() == b""
    assert path.stat().st_mtime_ns == stamp


def test_newer_store_with_an_unfolded_log_keeps_it(path):
    store = Store.open(path, create=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE schema_revision SET version_num = '0042'")
        connection.commit()
        copy = path.parent.parent / "copy"
        shutil.copytree(path.parent, copy)
    store.close()
    before = (copy / "store.db").read_bytes()
    with pytest.raises(BackendConfigError, match="newer version"):
        Store.open(copy / "store.db")
    assert (copy / "store.db").read_bytes() == before


# --- in every database ---------------------------------------------------------------------------------


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    """Where a store with a key, entries and their changes is, in each kind of database."""
    place = home(request.param, tmp_path)
    sql_victim.seed(place)
    return place


def revision_of(place):
    with by_hand(place) as hand:
        return hand.execute("SELECT version_num FROM schema_revision").fetchone()[0]


def shape_of(place):
    """Give what an inspector sees of all tables."""
    with engine_of(place).migrating() as connection:
        inspector = sa.inspect(connection)
        return {
            name: (
                sorted((column["name"], str(column["type"])) for column in inspector.get_columns(name)),
                sorted(str(index["column_names"]) for index in inspector.get_indexes(name)),
            )
            for name in sorted(inspector.get_table_names())
        }


def test_newest_revision_is_taken_back_and_comes_again_when_the_store_is_opened(place, caplog):
    before, rows = shape_of(place), everything(place)
    newest, older = step_back(engine_of(place))
    assert (newest, older) == (REVISION, revision_of(place))
    assert shape_of(place) != before
    with pytest.raises(BackendConfigError, match="a schema older than this version's"):
        step_back(engine_of(place))
    Store.open(place).close()
    assert f"brought up to date (schema {older} to {REVISION})" in caplog.text
    assert (revision_of(place), shape_of(place), everything(place)) == (REVISION, before, rows)


def test_store_of_a_newer_schema_is_refused_everywhere_and_left_as_it_was(place):
    with by_hand(place) as hand:
        hand.execute("UPDATE schema_revision SET version_num = '9999'")
    before = everything(place)
    for create in (False, True):
        with pytest.raises(BackendConfigError, match="newer version of Strongroom"):
            Store.open(place, create=create)
    with pytest.raises(BackendConfigError, match="a schema newer than this version's"):
        step_back(engine_of(place))
    assert (everything(place), revision_of(place)) == (before, "9999")


def test_tables_that_are_not_ours_are_refused_and_left_as_they_were(place):
    with by_hand(place) as hand:
        hand.execute("DROP TABLE schema_revision")
    before = everything(place)
    for create in (False, True):
        with pytest.raises(BackendConfigError, match=r"not (a store )?of Strongroom"):
            Store.open(place, create=create)
    assert everything(place) == before


@pytest.mark.parametrize("way", ["forward", "back"])
def test_migration_killed_at_any_statement_leaves_the_old_or_the_new_store(place, way):
    rows = everything(place)
    older = "0002"
    ends = Counter()
    for number in count():
        if revision_of(place) == (REVISION if way == "forward" else older):
            (step_back if way == "forward" else require_current)(engine_of(place))
        is_through = killed_at(number, place, step_back if way == "back" else require_current)
        found = revision_of(place)
        assert found in (older, REVISION)
        ends[found] += 1
        Store.open(place).close()
        assert (revision_of(place), everything(place)) == (REVISION, rows)
        if is_through:
            break
    assert len(ends) == 2
    print(f"{way}: {sum(ends.values())} kills, {dict(ends)}")


def killed_at(number, place, act):
    """Do *act* in a process that is killed before its statement *number*; tell whether it had so many."""
    pid = os.fork()
    if pid == 0:
        statements = count()

        def strike(*_given):
            if next(statements) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sa.event.listen(sa.Engine, "before_cursor_execute", strike)
        sa.event.listen(sa.Engine, "commit", strike)
        try:
            act(engine_of(place))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_store_without_its_id_is_refused(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE settings SET value = 'xyz'")
        connection.commit()
    with pytest.raises(BackendConfigError, match="lost its id"):
        Store.open(path)


def test_two_stores_have_two_ids(tmp_path):
    ids = set()
    for name in ("a", "b"):
        store = Store.open(tmp_path / name / "store.db", create=True)
        ids.add(store.id)
        store.close()
    assert {len(one) for one in ids} == {16}
    assert len(ids) == 2


def test_built_wheel_finds_its_own_migrations(tmp_path):
    here = Path.cwd()
    os.chdir(ROOT)
    try:
        wheel = build.build_wheel(str(tmp_path))
    finally:
        os.chdir(here)
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from strongroom.store import store\n"
        "assert store.__file__.startswith(sys.argv[1])\n"
        "store.Store.open(sys.argv[2], create=True).close()\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "site"), str(tmp_path / "room" / "store.db")]
    subprocess.run(arguments, check=True, timeout=60)
