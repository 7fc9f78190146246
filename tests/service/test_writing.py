"""What a program writes: values as they are, times, conflicts, and the loop that loses nothing."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta, timezone

import pytest

import strongroom
from strongroom.assembly import create_room
from strongroom.errors import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError
from strongroom.model.connection import Connection
from strongroom.model.entry import MUST_BE_ABSENT, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.service.writing import MAX_ATTEMPTS, Writing, wanted

CANARY = "cAnArY-5up3r-s3cret"
TOKEN = Ref("variable", "token")


@pytest.fixture
def room(tmp_path):
    settings = tmp_path / "strongroom.toml"
    settings.write_text('chain = ["native"]\n')
    environ = {"HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)}
    with create_room(settings, environ=environ) as made, strongroom.use_room(made):
        yield made


def test_what_is_written_is_read_at_once(room):
    assert strongroom.write("token", "one").version == "1"
    assert strongroom.variable("token") == "one"
    assert strongroom.write("token", Secret("two"), expected_version="1").version == "2"
    assert strongroom.variable("token") == "two"


def test_a_connection_is_one_whatever_kind_is_said(room):
    strongroom.write(
        "db", Connection(conn_type="postgres", host="db", password=Secret("***")), kind="variable"
    )
    found = strongroom.connection("db")
    assert (found.host, found.password.reveal()) == ("db", "***")


def test_stars_are_written_as_they_are(room):
    strongroom.write("stars", "***")
    assert strongroom.variable("stars") == "***"


@pytest.mark.parametrize("expected", ["absent", "7", MUST_BE_ABSENT])
def test_another_version_than_expected_is_a_conflict_without_the_value(room, expected):
    strongroom.write("token", "one")
    with pytest.raises(ConflictError) as caught:
        strongroom.write("token", CANARY, expected_version=expected)
    assert CANARY not in str(caught.value)
    assert strongroom.variable("token") == "one"


def test_what_is_public_stays_but_for_what_is_said(room):
    strongroom.write("token", "one", description="of the API")
    strongroom.write("token", "two", expires_in=60)
    found = room.entries.describe(TOKEN).metadata
    assert found.description == "of the API"
    assert timedelta(seconds=50) < found.expires_at - datetime.now(timezone.utc) <= timedelta(seconds=60)
    strongroom.write("token", "three")
    assert room.entries.describe(TOKEN).metadata == found


@pytest.mark.parametrize("value", [1, None, b"bytes", {"a": 1}])
def test_a_value_that_is_no_text_is_refused(room, value):
    with pytest.raises(InvalidInputError, match=r'variable "token"'):
        strongroom.write("token", value)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e300, "60", True, timedelta(0)])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(InvalidInputError, match="expires_in"):
        wanted("token", "1", expires_in=seconds)


def test_a_text_that_is_no_connection_is_refused_without_a_word_of_it(room):
    with pytest.raises(InvalidInputError) as caught:
        strongroom.write("db", CANARY, kind="connection")
    assert CANARY not in f"{caught.value} {caught.value.hint}"


def test_writing_on_a_loop_does_not_block_it(room):
    async def both():
        written, _ = await asyncio.gather(strongroom.awrite("token", "one"), asyncio.sleep(0))
        return written, await strongroom.avariable("token")

    written, text = asyncio.run(both())
    assert (written.backend, text) == ("native", "one")


# --- update ------------------------------------------------------------------------------------------


def test_threads_that_update_one_value_lose_nothing(room):
    def count():
        for _ in range(10):
            strongroom.update("count", lambda text: str(int(text or 0) + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert strongroom.variable("count") == "40"


def test_an_update_gives_what_stands_and_none_leaves_it(room):
    assert strongroom.update("token", lambda text: text) is None
    assert strongroom.update("token", lambda _text: "one") == "one"
    assert strongroom.update("token", lambda _text: None) == "one"
    assert len(room.entries.history(TOKEN)) == 1


def test_an_update_is_given_references_as_they_are_written_and_leaves_them(room):
    strongroom.write("password", CANARY)
    held = '{"conn_type": "postgres", "host": "one", "password": "${variable/password}"}'
    room.entries.write(
        Change(ref=Ref("connection", "db"), secret=Secret(held), metadata=Metadata(references=True))
    )
    strongroom.update("db", lambda text: text.replace('"one"', '"two"'), kind="connection")
    found = strongroom.connection("db")
    assert (found.host, found.password.reveal()) == ("two", CANARY)
    strongroom.write("password", "rotated")
    assert strongroom.connection("db").password.reveal() == "rotated"


def test_nothing_is_written_back_into_a_connection_that_holds_references(room):
    strongroom.write("password", CANARY)
    held = '{"conn_type": "http", "host": "one", "password": "${variable/password}"}'
    room.entries.write(
        Change(ref=Ref("connection", "api"), secret=Secret(held), metadata=Metadata(references=True))
    )
    with pytest.raises(ReadOnlyError, match="holds references"):
        strongroom._live().held("api").write_back(lambda found: found.replace(host="two"), comment="")


def test_an_update_for_a_team_writes_its_own_over_the_global_one(room):
    strongroom.write("token", "global")
    assert strongroom.update("token", lambda text: f"{text}+", team="data") == "global+"
    assert strongroom.variable("token") == "global"
    assert strongroom.update("token", lambda text: f"{text}+", team="data") == "global++"


def test_what_the_change_raises_ends_the_update(room):
    with pytest.raises(NotFoundError):
        strongroom.update("token", lambda _text: strongroom.variable("nowhere"))


def test_an_entry_that_others_write_all_the_time_is_given_up(room):
    class Busy:
        asked = 0

        def read(self, ref):
            self.asked += 1
            return room.lookup.anew(ref)

        def write(self, asked):
            raise ConflictError("another was faster", current_version=str(self.asked))

    strongroom.write("token", "one")
    writer = Busy()
    with pytest.raises(ConflictError, match="100 times") as caught:
        Writing(writer).update(TOKEN, lambda _text: CANARY)
    assert writer.asked == MAX_ATTEMPTS
    assert CANARY not in str(caught.value)


def test_a_place_without_versions_refuses_an_update(tmp_path):
    (tmp_path / "values.json").write_text('{"token": "one"}')
    settings = tmp_path / "strongroom.toml"
    settings.write_text(
        f'chain = ["file"]\n[backend.file]\nkind = "file"\nvariables_file_path = "{tmp_path}/values.json"\n'
    )
    environ = {"HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)}
    with strongroom.open_room(settings, environ=environ) as room, strongroom.use_room(room):
        with pytest.raises(ReadOnlyError):
            strongroom.update("token", lambda _text: CANARY)
        with pytest.raises(ReadOnlyError, match="no place to write"):
            strongroom.write("token", CANARY)
