"""SQLite files of somebody else: what is left of them, and of those who use them, after a read."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta

import pytest

from parts.databases import Metadata
from strongroom.errors import BackendConfigError, BackendUnavailableError
from strongroom.model.secret import Secret
from strongroom.vendors.database import POOL_SIZE, Question
from strongroom.vendors.database_sqlite import SqliteDatabase
from strongroom.vendors.database_url import DatabaseUrl

REGION = Question(table="variable", column="key", equals="region")
PAGE = Question(table="variable", column="key", limit=3)
OTHER_PROCESS = """
import sqlite3, sys
opened = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
for statement in sys.argv[2:]:
    opened.execute(statement)
"""
CRASH = """
import os, sqlite3, sys
opened = sqlite3.connect(sys.argv[1], isolation_level=None)
opened.execute("PRAGMA cache_size = 5")
opened.execute("BEGIN")
opened.execute("UPDATE variable SET val = 'half' || val")
os._exit(0)
"""


def database(path, seconds=5.0):
    return SqliteDatabase(
        DatabaseUrl(dialect="sqlite", database=str(path)),
        place="metastore",
        timeout=timedelta(seconds=seconds),
    )


@pytest.fixture(params=["rollback", "wal"])
def metadata(request, tmp_path):
    made = Metadata("sqlite", tmp_path, wal=request.param == "wal")
    made.put("variable", [{"key": "region", "val": "eu"}])
    os.utime(made.path, (1, 1))
    return made


def value(of):
    (row,) = of.ask(REGION)
    return row["val"]


def beside(metadata):
    return sorted(path.name.removeprefix(metadata.path.name) for path in metadata.path.parent.iterdir())


def other_process(path, *statements):
    command = [sys.executable, "-c", OTHER_PROCESS, str(path), *statements]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_reading_ends_no_lock_that_this_process_holds(metadata):
    # An Airflow in this process: who closes a descriptor of the file drops all of its locks.
    with metadata.opened() as airflow:
        is_wal = airflow.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        airflow.execute("SELECT * FROM variable").fetchall()
        airflow.execute("BEGIN IMMEDIATE")
        intrusion = ["PRAGMA journal_mode = DELETE"] if is_wal else ["BEGIN IMMEDIATE"]
        assert "locked" in other_process(metadata.path, *intrusion)
        with closing(database(metadata.path)) as read:
            assert value(read) == "eu"
        assert "locked" in other_process(metadata.path, *intrusion)


def test_reading_leaves_nothing_beside_a_file_that_was_just_written(metadata):
    os.utime(metadata.path)
    with closing(database(metadata.path)) as read:
        assert value(read) == "eu"
        assert beside(metadata) == [""]


def test_connection_is_kept_for_the_same_file_and_given_up_with_any_change(metadata):
    with closing(database(metadata.path)) as read:
        assert value(read) == "eu"
        ((_, kept),) = read._kept[os.getpid()]
        assert value(read) == "eu"
        assert [connection for _, connection in read._kept[os.getpid()]] == [kept]
        metadata.run("UPDATE variable SET val = 'us'")
        assert value(read) == "us"
        with pytest.raises(sqlite3.ProgrammingError):
            kept.execute("SELECT 1")
    assert read._kept == {}


def test_kept_connection_keeps_nobody_from_the_file(metadata):
    with closing(database(metadata.path)) as read:
        assert value(read) == "eu"
        statements = ["PRAGMA locking_mode = EXCLUSIVE", "UPDATE variable SET val = 'us'", "VACUUM"]
        assert other_process(metadata.path, *statements) == ""
        assert beside(metadata) == [""]
        assert value(read) == "us"


def test_file_replaced_by_one_of_the_same_size_and_time_is_seen(metadata, tmp_path):
    twin = tmp_path / "twin.db"
    shutil.copy(metadata.path, twin)
    with closing(sqlite3.connect(twin)) as opened, opened:
        opened.execute("UPDATE variable SET val = 'us'")
    os.utime(twin, (1, 1))
    with closing(database(metadata.path)) as read:
        assert value(read) == "eu"
        twin.replace(metadata.path)
        assert value(read) == "us"


def test_more_connections_than_the_pool_holds_are_not_kept(metadata):
    with closing(database(metadata.path)) as read:
        signature = read._rest()
        for _ in range(POOL_SIZE + 3):
            read._give_back(signature, sqlite3.connect(":memory:", check_same_thread=False))
        assert len(read._kept[os.getpid()]) == POOL_SIZE


def test_log_of_what_a_link_leads_to_is_read(tmp_path):
    metadata = Metadata("sqlite", tmp_path, wal=True)
    link = tmp_path / "elsewhere" / "airflow.db"
    link.parent.mkdir()
    link.symlink_to(metadata.path)
    os.utime(metadata.path, (1, 1))
    with metadata.opened() as airflow, closing(database(link)) as read:
        airflow.execute("INSERT INTO variable (key, val) VALUES ('region', 'eu')")
        assert value(read) == "eu"


def test_half_of_a_change_is_never_given(tmp_path):
    metadata = Metadata("sqlite", tmp_path)
    metadata.put("variable", [{"key": f"n{number}", "val": "x" * 5000} for number in range(50)])
    subprocess.run([sys.executable, "-c", CRASH, str(metadata.path)], check=True)
    assert beside(metadata) == ["", "-journal"]
    content = metadata.path.read_bytes()
    with pytest.raises(BackendUnavailableError, match="in the middle of a change") as caught:
        database(metadata.path).ask(PAGE)
    assert caught.value.hint == "start Airflow, which undoes it"
    assert (beside(metadata), metadata.path.read_bytes()) == (["", "-journal"], content)


def test_name_that_is_no_unicode_ends_no_listing(tmp_path):
    metadata = Metadata("sqlite", tmp_path)
    metadata.put("variable", [{"key": name, "val": "v"} for name in ("a", "b")])
    metadata.run("INSERT INTO variable (key, val) VALUES (CAST(x'ff41' AS TEXT), 'v')")
    metadata.run("INSERT INTO variable (key, val) VALUES (CAST(x'ff42' AS TEXT), 'v')")
    with closing(database(metadata.path)) as read:
        names = [row["key"] for row in read.ask(PAGE)]
        assert names == ["a", "b", "\udcffA"]
        rest = read.ask(Question(table="variable", column="key", start=names[-1], is_after=True, limit=3))
        assert [row["key"] for row in rest] == ["\udcffB"]


def test_name_that_is_no_text_is_nobodys(tmp_path):
    metadata = Metadata("sqlite", tmp_path)
    metadata.run("INSERT INTO variable (key, val) VALUES (x'41', 'v'), ('region', 'eu')")
    with closing(database(metadata.path)) as read:
        assert [row["key"] for row in read.ask(PAGE)] == ["region"]
        assert read.ask(Question(table="variable", column="key", equals="A")) == []


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_refused_and_not_waited_for(kind, tmp_path):
    path = tmp_path / "airflow.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(BackendConfigError, match="is no file"):
        database(path).ask(REGION)


@pytest.mark.parametrize(
    "url",
    ["sqlite:///airflow.db", "sqlite:///~/airflow.db", "sqlite://opt/airflow.db", "sqlite://h:1//a.db"],
)
def test_file_is_named_by_its_whole_path(url):
    with pytest.raises(BackendConfigError, match="whole path"):
        SqliteDatabase(DatabaseUrl.parse(Secret(url)), place="metastore", timeout=timedelta(seconds=1))
