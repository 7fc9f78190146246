"""Writing to a foreign store: what is refused before it is sent, shapes, and one secret that holds many."""

import json
import threading

import pytest

from parts.shelves import Blind, Careless, ShelfOptions, Shelves
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    ReadOnlyError,
)
from strongroom.model.entry import MUST_BE_ABSENT, Draft, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

CANARY = "cAnArY-91b7"
URI = "postgres://u:p%40@h:5432/d?sslmode=require"
MANY = {"connections_prefix": "airflow/connections#", "variables_prefix": "airflow/variables#"}


def draft(name, text="x", expected=None, kind="variable", **fields):
    return Draft(
        ref=Ref(kind, name), secret=Secret(text), expected_version=expected, author="contract", **fields
    )


def shelves(kind=Shelves, **options):
    return kind(options=ShelfOptions(**options))


# --- what is refused before anything is sent -----------------------------------------------------------


def test_name_it_cannot_spell_is_refused():
    backend = shelves()
    with pytest.raises(InvalidInputError, match="the backend shelves cannot hold the name"):
        backend.write(draft("a--b"))
    assert backend.held == {}


def test_text_over_the_limit_of_the_store_is_refused_with_that_limit():
    class Small(Shelves):
        max_text_bytes = 10

    backend = shelves(Small)
    backend.write(draft("a", "é" * 5))
    with pytest.raises(InvalidInputError, match="the most that the backend shelves holds") as caught:
        backend.write(draft("a", "é" * 5 + "x"))
    assert caught.value.limit == 10


def test_word_beside_the_value_is_refused_since_it_would_be_lost():
    backend = shelves()
    backend.write(draft("a", metadata=Metadata(conn_type="http")))
    with pytest.raises(InvalidInputError, match="keeps nothing beside a value: tags, owner of variable"):
        backend.write(draft("a", metadata=Metadata(tags=("x",), owner="me")))


def test_expected_version_is_refused_where_nothing_is_compared():
    for kind, expected in ((Blind, "1"), (Careless, "1"), (Careless, MUST_BE_ABSENT)):
        backend = shelves(kind)
        with pytest.raises(ReadOnlyError, match="cannot compare versions"):
            backend.write(draft("a", expected=expected))
        with pytest.raises(ReadOnlyError):
            backend.delete(Ref("variable", "a"), expected_version="1", author="me")
        assert backend.held == {}


def test_store_that_can_only_create_keeps_an_expectation_of_nothing():
    backend = shelves(Blind)
    backend.write(draft("a", "1", MUST_BE_ABSENT))
    with pytest.raises(ConflictError):
        backend.write(draft("a", "2", MUST_BE_ABSENT))


def test_foreign_error_of_a_write_is_unavailable_and_shows_nothing():
    backend = shelves()
    backend.trouble["airflow/variables/a"] = OSError(CANARY)
    with pytest.raises(BackendUnavailableError) as caught:
        backend.write(draft("a", CANARY))
    assert CANARY not in str(caught.value) + repr(vars(caught.value))
    assert caught.value.__context__ is None


# --- shapes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "given", "stored"),
    [
        ("given", URI, URI),
        ("uri", URI, URI),
        ("uri", '{"conn_type": "http", "host": "h", "schema": "s", "port": 80}', "http://h:80/s"),
        ("json", '{ "host": "h",  "conn_type": "http"}', '{ "host": "h",  "conn_type": "http"}'),
        ("json", "http://h:80/s", '{"conn_type": "http", "host": "h", "schema": "s", "port": 80}'),
        ("fields", '{ "host": "h",  "conn_type": "http"}', '{"conn_type": "http", "host": "h"}'),
    ],
)
def test_connection_is_kept_in_the_shape_that_is_set(shape, given, stored):
    backend = shelves(connection_shape=shape)
    backend.write(draft("db", given, kind="connection"))
    assert backend.held["airflow/connections/db"][0] == stored
    backend.write(draft("v", given))
    assert backend.held["airflow/variables/v"][0] == given  # a variable has no shape


def test_uri_that_would_lose_something_is_refused_and_says_what():
    backend = shelves(connection_shape="uri")
    with pytest.raises(InvalidInputError, match="a URI would lose description"):
        backend.write(draft("db", '{"conn_type": "http", "description": "why"}', kind="connection"))
    assert backend.held == {}


def test_shape_the_store_does_not_keep_is_refused_at_the_start():
    class Plain(Shelves):
        shapes = ("given", "uri")

    with pytest.raises(BackendConfigError, match="connection_shape must be one of given, uri"):
        shelves(Plain, connection_shape="fields")


# --- many writes ---------------------------------------------------------------------------------------


def test_all_are_checked_before_the_first_is_written():
    backend = shelves()
    backend.write(draft("there", "old"))
    with pytest.raises(ConflictError):
        backend.write_many([draft("new"), draft("there", "x", MUST_BE_ABSENT)])
    with pytest.raises(InvalidInputError):
        backend.write_many([draft("new"), draft("a--b")])
    assert list(backend.held) == ["airflow/variables/there"]


def test_error_in_the_middle_says_how_many_were_written():
    backend = shelves()
    backend.trouble["airflow/variables/c"] = AccessDeniedError("no", reason="no", hint="allow it")
    with pytest.raises(AccessDeniedError) as caught:
        backend.write_many([draft(name) for name in "abcd"])
    assert caught.value.hint == (
        "allow it; 2 of 4 entries were written before it; writing them again is safe"
    )
    assert backend.trouble["airflow/variables/c"].hint == "allow it"


def test_write_goes_to_the_first_prefix_and_a_delete_to_all_of_them():
    backend = shelves(variables_prefix=("new", "old"))
    backend.held = {"old/a": ("0", "7")}
    backend.write(draft("a", "1"))
    assert set(backend.held) == {"new/a", "old/a"}
    assert backend.delete(Ref("variable", "a"), author="me") is True
    assert backend.held == {}


def test_expected_version_is_that_of_the_place_where_it_stands():
    backend = shelves(variables_prefix=("new", "old"))
    backend.held = {"old/a": ("0", "7")}
    with pytest.raises(ConflictError):
        backend.write(draft("a", "1", MUST_BE_ABSENT))
    backend.write(draft("a", "1", "7"))
    assert list(backend.held) == ["old/a"]
    assert backend.delete(Ref("variable", "a"), expected_version="1", author="me") is True
    assert backend.held == {}


# --- one secret that holds many ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Shelves, Blind, Careless])
def test_entries_of_one_secret_are_written_read_listed_and_deleted(kind):
    backend = shelves(kind, **MANY)
    first = backend.write(draft("a", "1"))
    versions = backend.write_many([draft("b", "2"), draft("db", URI, kind="connection"), draft("c", "3")])
    assert versions[0] == versions[2] != first
    assert json.loads(backend.held["airflow/variables"][0]) == {"a": "1", "b": "2", "c": "3"}
    entry = backend.read(Ref("variable", "b"))
    assert (entry.secret.reveal(), entry.version) == ("2", versions[0])
    assert [row.ref.name for row in backend.list("variable")] == ["a", "b", "c"]
    assert [row.ref.name for row in backend.list("variable", after="a", prefix="b")] == ["b"]
    assert backend.delete(Ref("variable", "b"), author="me") is True
    assert backend.delete(Ref("variable", "b"), author="me") is False
    assert backend.read(Ref("variable", "b")) is None
    assert json.loads(backend.held["airflow/connections"][0]) == {"db": URI}


def test_fields_of_a_connection_are_an_object_in_the_secret():
    backend = shelves(connection_shape="fields", **MANY)
    backend.write(draft("db", "http://h:80/s", kind="connection"))
    assert json.loads(backend.held["airflow/connections"][0]) == {
        "db": {"conn_type": "http", "host": "h", "schema": "s", "port": 80}
    }


def test_expectations_hold_for_a_key_of_a_secret():
    backend = shelves(**MANY)
    version = backend.write(draft("a", "1", MUST_BE_ABSENT))
    with pytest.raises(ConflictError):
        backend.write(draft("a", "2", MUST_BE_ABSENT))
    with pytest.raises(ConflictError) as caught:
        backend.write(draft("b", "2", version))
    assert caught.value.current_version is None
    later = backend.write(draft("a", "2", version))
    with pytest.raises(ConflictError) as caught:
        backend.delete(Ref("variable", "a"), expected_version=version, author="me")
    assert caught.value.current_version == later
    assert backend.delete(Ref("variable", "a"), expected_version=later, author="me") is True


def test_change_that_somebody_else_makes_meanwhile_is_not_lost():
    backend = shelves(**MANY)
    backend.write(draft("a", "1"))
    store = backend._store
    others = iter(range(3))

    def interrupted(path, text, **kept):
        for number in others:
            held = json.loads(backend.held[path][0])
            backend._written += 1
            backend.held[path] = (json.dumps({**held, f"other{number}": "x"}), str(backend._written))
            break
        return store(path, text, **kept)

    backend._store = interrupted
    backend.write(draft("b", "2"))
    assert set(json.loads(backend.held["airflow/variables"][0])) == {"a", "b", "other0", "other1", "other2"}


def test_threads_that_write_to_one_secret_lose_nothing_where_nothing_is_compared():
    backend = shelves(Careless, **MANY)
    threads = [
        threading.Thread(target=backend.write, args=(draft(f"v{number}", str(number)),))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(backend.held["airflow/variables"][0])) == 16


def test_secret_of_another_shape_is_not_written_over():
    backend = shelves(**MANY)
    backend.held = {"airflow/variables": ("hello", "1")}
    with pytest.raises(MalformedEntryError):
        backend.write(draft("a"))
    assert backend.held["airflow/variables"] == ("hello", "1")


def test_secret_that_would_grow_over_the_limit_of_the_store_is_refused():
    class Small(Shelves):
        max_text_bytes = 40

    backend = shelves(Small, **MANY)
    backend.write(draft("a", "x" * 20))
    with pytest.raises(InvalidInputError, match="over 40 bytes"):
        backend.write(draft("b", "x" * 20))
