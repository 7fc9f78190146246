"""The file of a store: its place, its mode, its owner, and what SQLite's troubles mean."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from strongroom.errors import BackendConfigError, BackendUnavailableError, ReadOnlyError, TamperedError
from strongroom.store import sqlite
from strongroom.store.store import Store


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "room" / "store.db"


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_file_log_and_folder_are_the_owners_alone_whatever_the_umask(path, open_umask):
    store = Store.open(path, create=True)
    with store.write() as transaction:
        transaction.add_changes("prod", [])
    assert mode(path.parent) == 0o700
    assert {entry.name: mode(entry) for entry in path.parent.iterdir()} == {
        "store.db": 0o600,
        "store.db-wal": 0o600,
        "store.db-shm": 0o600,
    }
    store.close()


def test_commits_reach_the_disk_and_rows_are_tied(path):
    Store.open(path, create=True).close()
    with closing(sqlite.connect(path)) as connection:
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0}


def test_store_is_not_made_because_none_was_found(path):
    with pytest.raises(BackendConfigError, match="does not exist") as caught:
        Store.open(path)
    assert caught.value.hint == "strongroom init"
    assert not path.parent.exists()


def test_url_and_path_name_the_same_store(path):
    first = Store.open(f"sqlite:///{path}", create=True)
    second = Store.open(path)
    assert first.id == second.id
    first.close()
    second.close()


def test_url_of_another_database_is_refused_without_its_password():
    with pytest.raises(BackendConfigError) as caught:
        Store.open("oracle://me:hunter2@db/x")
    assert "hunter2" not in str(caught.value) + str(caught.value.hint)


@pytest.mark.parametrize("place", ["", ".", "a\0b", "~nobody_has_this_name/x/../..", "/dev/null/store.db"])
def test_place_that_can_be_no_file_is_refused(place):
    for create in (False, True):
        with pytest.raises(BackendConfigError):
            Store.open(place, create=create)


def test_folder_that_cannot_be_made_is_a_matter_of_configuration(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "store.db", tmp_path / ("n" * 300) / "store.db"):
        with pytest.raises(BackendConfigError, match="cannot be reached"):
            Store.open(place, create=True)


def test_path_with_url_characters_is_taken_literally(tmp_path):
    path = tmp_path / "a?b#c%20d e" / "s?mode=memory.db"
    Store.open(path, create=True).close()
    assert path.exists()
    Store.open(path).close()


@pytest.mark.parametrize("bits", [0o020, 0o002])
def test_file_that_others_may_write_is_refused(path, bits):
    Store.open(path, create=True).close()
    path.chmod(0o600 | bits)
    with pytest.raises(BackendConfigError, match="can be written by other users"):
        Store.open(path)


@pytest.mark.parametrize("bits", [0o020, 0o1002])
def test_folder_that_others_may_write_is_refused(path, bits):
    Store.open(path, create=True).close()
    path.parent.chmod(0o700 | bits)
    with pytest.raises(BackendConfigError, match="the folder of the store can be written"):
        Store.open(path)
    with pytest.raises(BackendConfigError, match="the folder of the store can be written"):
        Store.open(path.parent / "new.db", create=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_file_of_another_user_is_refused(path):
    Store.open(path, create=True).close()
    os.chown(path, 65534, 65534)
    with pytest.raises(BackendConfigError, match="belongs to another user"):
        Store.open(path)


@pytest.mark.parametrize("content", [b"not a database", b"x" * 4096])
def test_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    path.chmod(0o600)
    for create in (False, True):
        with pytest.raises(BackendConfigError, match="not a store of Strongroom"):
            Store.open(path, create=create)
    assert path.read_bytes() == content


def test_database_of_airflow_is_refused_and_left_as_it_was(tmp_path):
    path = tmp_path / "airflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('29ce7909c52b')")
        connection.commit()
    path.chmod(0o600)
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(BackendConfigError, match="not a store of Strongroom"):
            Store.open(path, create=create)
    assert path.read_bytes() == before


def test_empty_file_is_finished_by_create_and_refused_by_open(path):
    path.parent.mkdir(mode=0o700)
    path.touch(0o600)
    with pytest.raises(BackendConfigError, match="never finished"):
        Store.open(path)
    Store.open(path, create=True).close()
    Store.open(path).close()


def test_vanished_file_is_unavailable_and_not_made_anew(path):
    store = Store.open(path, create=True)
    store.close()
    again = Store.open(path)
    path.unlink()
    with pytest.raises(BackendUnavailableError), again.write():
        pass
    again.engine._local.look_at = 0.0  # readers look once a second
    with pytest.raises(BackendUnavailableError):
        again.last_sequence()
    assert not path.exists()


def test_named_pipe_in_place_of_a_store_hangs_nobody(path):
    path.parent.mkdir(mode=0o700)
    os.mkfifo(path, 0o600)
    for create in (False, True):
        with pytest.raises(BackendConfigError, match="no plain file"):
            Store.open(path, create=create)


def test_damaged_text_met_while_writing_is_tampered_not_an_outage():
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(sqlite3.OperationalError) as caught,
    ):
        connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()
    assert isinstance(sqlite.translate(caught.value, name="native"), TamperedError)


def test_writer_that_waits_too_long_is_told_to_come_back(path, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.01)
    store = Store.open(path, create=True)
    with closing(sqlite.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendUnavailableError, match="busy") as caught, store.write():
            pass
    assert caught.value.retry_after is not None
    with store.write(), pytest.raises(BackendUnavailableError, match="busy"), store.write():
        pass
    store.close()


def test_wait_for_another_writer_stays_below_the_time_a_backend_has():
    assert sqlite.BUSY_SECONDS < 3


def test_damaged_page_is_tampered_and_says_no_sql(path):
    store = Store.open(path, create=True)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises((TamperedError, BackendConfigError)) as caught:
        Store.open(path)
    assert "SELECT" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (13, BackendUnavailableError, "no room left"),
        (10 | 3 << 8, BackendUnavailableError, "read or write its disk"),
        (14, BackendUnavailableError, "open its file"),
        (7, BackendUnavailableError, "memory"),
        (6, BackendUnavailableError, "busy"),
        (5 | 1 << 8, BackendUnavailableError, "busy"),
        (8, ReadOnlyError, "cannot be written"),
        (11, TamperedError, "damaged"),
        (26, TamperedError, "damaged"),
        (19 | 8 << 8, TamperedError, "contradict"),
        (1, BackendUnavailableError, "failed"),
    ],
)
def test_every_code_of_sqlite_means_one_error_of_ours(code, kind, words):
    error = sqlite3.OperationalError("secret SQL text")
    error.sqlite_errorcode = code
    made = sqlite.translate(error, name="native")
    assert type(made) is kind
    assert words in str(made)
    assert "secret" not in str(made)


def test_error_without_a_code_is_unavailable():
    made = sqlite.translate(sqlite3.ProgrammingError("Cannot operate on a closed database."), name="n")
    assert isinstance(made, BackendUnavailableError)


def test_home_is_expanded_and_links_are_followed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    target = tmp_path / "real"
    target.mkdir()
    (tmp_path / "link").symlink_to(target)
    assert sqlite.locate("~/link/store.db") == Path(target.resolve() / "store.db")
