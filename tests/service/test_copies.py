"""Copies for local work: what is copied, what is not and why, how long it is good, what is left of it."""

from __future__ import annotations

import json
import os
import stat
from datetime import timedelta

import pytest

from native_room import NOON, Clock
from strongroom.assembly import create_room
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    RateLimitedError,
)
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.copies import Folder, Missing, Pull, State, files, pull
from strongroom.service.copies.folder import erase, put
from strongroom.service.entries import Change
from strongroom.settings import load

CANARY = "c4nary-copies-77"
LATER = NOON.replace(year=2036)


def place(folder, name="there"):
    """A room over a store of its own in *folder*."""
    environ = {"STRONGROOM_HOME": str(folder / name), "PATH": os.environ["PATH"]}
    return create_room(environ=environ, cwd=folder)


def put_in(room, name, text, kind="variable", **facts):
    change = Change(ref=Ref(kind, name), secret=Secret(text), metadata=Metadata(**facts))
    room.entries.write(change, to="native")


@pytest.fixture
def there(tmp_path):
    with place(tmp_path) as room:
        put_in(room, "region", "eu")
        put_in(room, "token", CANARY, description="of billing", tags=("pay",))
        text = json.dumps({"conn_type": "postgres", "host": "db", "password": CANARY})
        put_in(room, "orders_db", text, "connection", conn_type="postgres")
        yield room


@pytest.fixture
def folder(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    made = Folder(project)
    made.make()
    return made


@pytest.fixture
def here(folder):
    settings = load(
        None,
        environ={"STRONGROOM_HOME": str(folder.project / "none")},
        cwd=folder.project,
        tables=folder.tables(),
    )
    with create_room(settings, environ={}) as room:
        yield room


def asked(room, **more):
    reveal = more.pop("reveal", lambda ref: room.entries.reveal(ref, reason="a bug"))
    return Pull(**{"reveal": reveal, "expires": LATER, "pause": lambda _seconds: None, **more})


def run(there, here, *, now=NOON, **more):
    troubles = []
    lines = pull(
        there,
        here,
        asked(there, **more),
        now=Clock(now),
        on_trouble=lambda name, error: troubles.append((name, error)),
    )
    assert CANARY not in repr(lines)
    return {(line.ref.kind, line.ref.name): (line.outcome, line.reason) for line in lines}


def denying(room, *names):
    """Reveal all but *names*, and remember what was asked for."""
    seen = []

    def reveal(ref):
        seen.append(ref.name)
        if ref.name in names:
            raise AccessDeniedError("anna may not reveal it", reason="forbidden by the policy pay")
        return room.entries.reveal(ref, reason="a bug")

    reveal.seen = seen
    return reveal


# --- copying -------------------------------------------------------------------------------------------


def test_everything_that_is_listed_is_copied_with_what_is_said_of_it(there, here):
    told = run(there, here)
    assert set(told.values()) == {("copied", "")}
    assert here.lookup.variable_entry("region").secret.reveal() == "eu"
    assert here.lookup.connection("orders_db").password == Secret(CANARY)
    seen = here.entries.describe(Ref("variable", "token"))
    assert (seen.metadata.description, seen.metadata.tags) == ("of billing", ("pay",))
    assert seen.metadata.not_after == LATER


def test_every_value_was_revealed_where_it_stands_with_the_reason(there, here):
    run(there, here)
    found = [one for one in there.audit.tail(100) if one.action == "reveal" and one.reason == "a bug"]
    assert {(one.kind, one.name, one.outcome) for one in found} == {
        ("variable", "region", "found"),
        ("variable", "token", "found"),
        ("connection", "orders_db", "found"),
    }


def test_what_is_denied_is_told_with_the_reason_and_the_rest_is_copied(there, here):
    told = run(there, here, reveal=denying(there, "token"))
    assert told["variable", "token"] == ("denied", "forbidden by the policy pay")
    assert told["variable", "region"] == ("copied", "")
    with pytest.raises(NotFoundError):
        here.lookup.variable_entry("token")


def test_a_right_that_was_taken_away_takes_the_copy_with_it(there, here):
    run(there, here)
    run(there, here, reveal=denying(there, "token"))
    with pytest.raises(NotFoundError):
        here.lookup.variable_entry("token")


def test_what_is_gone_there_is_removed_here(there, here):
    run(there, here)
    there.entries.delete(Ref("variable", "region"))
    assert run(there, here)["variable", "region"] == ("removed", "")
    with pytest.raises(NotFoundError):
        here.lookup.variable_entry("region")


def test_nothing_is_removed_where_a_place_was_not_asked(there, here):
    run(there, here)
    there.entries.delete(Ref("variable", "region"))
    assert ("variable", "region") not in run(there, here, is_whole=False)
    assert here.lookup.variable_entry("region").secret.reveal() == "eu"


def test_only_what_is_asked_for_is_copied_and_the_rest_stays_as_it_is(there, here):
    run(there, here)
    there.entries.write(Change(ref=Ref("variable", "region"), secret=Secret("us")))
    told = run(there, here, patterns=("or*", "tok?n"))
    assert set(told) == {("variable", "token"), ("connection", "orders_db")}
    assert here.lookup.variable_entry("region").secret.reveal() == "eu"
    assert set(run(there, here, kinds=("connection",))) == {("connection", "orders_db")}


def test_a_plain_name_that_nobody_has_is_told(there, here):
    assert run(there, here, patterns=("nowhere",)) == {
        ("connection", "nowhere"): ("failed", "nothing of this name is there")
    }


def test_twice_is_as_once(there, here):
    assert run(there, here) == run(there, here)


def test_entries_of_places_that_stay_are_passed_over(there, here):
    assert run(there, here, passed_over=frozenset({"native"})) == {}


def test_a_text_that_is_no_connection_is_told_and_stops_no_other(there, here):
    def reveal(ref):
        found = there.entries.reveal(ref, reason="a bug")
        if ref.kind == "variable":
            return found
        return type(found)(ref=ref, secret=Secret("no connection"), backend="native", read_at=NOON)

    told = run(there, here, reveal=reveal)
    assert told["connection", "orders_db"][0] == "failed"
    assert told["variable", "region"] == ("copied", "")


# --- going on ------------------------------------------------------------------------------------------


def test_an_interrupted_pull_goes_on_where_it_stopped(there, here):
    for number in range(30):
        put_in(there, f"n{number:02}", "x")
    seen = []

    def reveal(ref):
        if len(seen) == 28:
            raise BackendUnavailableError("the line is cut", backend="server")
        seen.append(ref)
        return there.entries.reveal(ref, reason="a bug")

    began = NOON
    with pytest.raises(BackendUnavailableError):
        run(there, here, reveal=reveal)
    again = denying(there)
    told = run(there, here, reveal=again, since=began)
    assert len(again.seen) == 33 - 28
    assert sum(outcome == "kept" for outcome, _ in told.values()) == 28
    assert sum(outcome == "copied" for outcome, _ in told.values()) == 5


def test_who_was_proven_too_long_ago_is_told_at_once(there, here):
    asked_for = []

    def reveal(ref):
        asked_for.append(ref)
        raise AccessDeniedError("proven too long ago", reason="step-up")

    with pytest.raises(AccessDeniedError, match="too long ago"):
        run(there, here, reveal=reveal)
    assert len(asked_for) == 1


def test_it_waits_as_long_as_it_is_told_to(there, here):
    waits, times = [], []

    def reveal(ref):
        times.append(ref)
        if len(times) == 2:
            raise RateLimitedError("too fast", retry_after=timedelta(seconds=2))
        return there.entries.reveal(ref, reason="a bug")

    assert set(run(there, here, reveal=reveal, pause=waits.append).values()) == {("copied", "")}
    assert waits == [2.0]


def test_it_waits_a_minute_and_no_longer(there, here):
    waits = []

    def reveal(_ref):
        raise RateLimitedError("too fast", retry_after=timedelta(seconds=25))

    with pytest.raises(RateLimitedError):
        run(there, here, reveal=reveal, pause=waits.append)
    assert waits == [25.0, 25.0]


# --- how long they are good ----------------------------------------------------------------------------


def test_a_copy_is_refused_once_it_is_not_good_any_more(there, here):
    run(there, here, expires=NOON.replace(year=2020))
    with pytest.raises(MalformedEntryError) as caught:
        here.lookup.variable_entry("region")
    assert caught.value.reason == "expired"


def test_a_copy_is_good_no_longer_than_what_it_is_of(there, here):
    put_in(there, "short", "x", not_after=LATER - timedelta(days=1))
    run(there, here)
    assert here.entries.describe(Ref("variable", "short")).metadata.not_after == LATER - timedelta(days=1)


# --- where they stand ----------------------------------------------------------------------------------


def state(**more):
    return State(**{"source": "the profile prod", "began": NOON, "expires": LATER, **more})


def test_what_is_known_is_read_as_it_was_written(folder):
    missing = Missing(kind="variable", name="token", reason="no", is_denied=True)
    known = state(ended=NOON, copied=3, missing=(missing,), files=(".env",), into="env")
    folder.note(known)
    assert folder.state() == known


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "into": "x"}'])
def test_what_somebody_else_wrote_there_is_refused(folder, text):
    (folder.path / "state.json").write_text(text)
    with pytest.raises(InvalidInputError, match="is not what strongroom dev wrote"):
        folder.state()


def test_the_folder_is_mine_alone_and_out_of_git(folder, there, here):
    run(there, here)
    folder.note(state())
    folder.lay(("env", "native"), "default")
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert (folder.project / ".strongroom" / ".gitignore").read_text() == "*\n"
    modes = {stat.S_IMODE(file.stat().st_mode) for file in folder.path.rglob("*") if file.is_file()}
    assert modes == {0o600}


def test_nothing_is_left_after_removing(folder, there, here):
    run(there, here)
    folder.note(state())
    folder.lay(("env", "native"), "default")
    here.close()
    assert folder.remove() == ()
    assert list(folder.project.iterdir()) == []
    assert folder.remove() == ()


def test_what_others_put_there_is_left(folder):
    (folder.path / "mine.txt").write_text("x")
    assert folder.remove() == ("mine.txt",)
    assert (folder.path / "mine.txt").exists()


def test_a_file_is_overwritten_before_it_is_removed(tmp_path):
    file = tmp_path / "key"
    file.write_text(CANARY * 10_000)
    with file.open("rb") as opened:  # what stays reachable of it
        erase(file)
        assert not file.exists()
        assert set(opened.read()) == {0}


def test_a_file_that_is_replaced_is_overwritten_too(tmp_path):
    file = tmp_path / ".env"
    file.write_text(CANARY)
    with file.open("rb") as opened:
        put(file, "new\n")
        assert set(opened.read()) == {0}
    assert file.read_text() == "new\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_with_a_second_name_is_not_spoiled(tmp_path):
    file, other = tmp_path / "key", tmp_path / "other"
    file.write_text("text")
    other.hardlink_to(file)
    erase(file)
    assert other.read_text() == "text"


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path):
    target = tmp_path / "target"
    target.write_text("text")
    (tmp_path / "link").symlink_to(target)
    erase(tmp_path / "link")
    assert target.read_text() == "text"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("where", [".strongroom", ".strongroom/dev"])
def test_a_folder_that_is_a_link_is_refused(tmp_path, where):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / where
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(InvalidInputError, match="is not mine alone"):
        Folder(tmp_path).make()


def test_two_do_not_work_in_it_at_once(folder):
    with folder.locked(), pytest.raises(ConflictError), folder.locked():
        pass
    with folder.locked():
        pass


# --- as files ------------------------------------------------------------------------------------------


def written(here, path, into):
    files.write(here, path, into, source="the profile prod", expires=LATER)
    return path.read_text()


def test_lines_that_others_wrote_in_a_dotenv_stay(there, here, tmp_path):
    run(there, here)
    path = tmp_path / ".env"
    path.write_text("AIRFLOW_UID=50000\nA=b")
    text = written(here, path, "env")
    assert text.startswith("AIRFLOW_UID=50000\nA=b\n# >>> strongroom dev: copies from the profile prod")
    assert "AIRFLOW_VAR_REGION=eu\n" in text
    assert written(here, path, "env") == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert files.remove(path)
    assert path.read_text() == "AIRFLOW_UID=50000\nA=b\n"
    assert not files.remove(path)


def test_a_dotenv_that_was_ours_alone_goes_away(there, here, tmp_path):
    run(there, here)
    path = tmp_path / ".env"
    written(here, path, "env")
    assert files.remove(path)
    assert not path.exists()
    assert not files.remove(path)


def test_a_dotenv_that_is_too_large_is_left_as_it_is(here, tmp_path):
    path = tmp_path / ".env"
    text = "A=" + "x" * files._MAX_BYTES + "\nLAST=1\n"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match="is over"):
        written(here, path, "env")
    assert path.read_text() == text


def test_a_dotenv_whose_end_was_lost_is_left_as_it_is(tmp_path):
    path = tmp_path / ".env"
    path.write_text("# >>> strongroom dev: …\nA=b\nMINE=1\n")
    with pytest.raises(InvalidInputError, match="do not end"):
        files.remove(path)
    assert "MINE" in path.read_text()


def test_settings_of_astro_are_read_again_as_what_they_were(there, here, tmp_path):
    run(there, here)
    put_in(here, "odd", 'a "b"\n: #\x7f é', not_after=LATER)
    text = json.dumps(
        {
            "conn_type": "http",
            "host": "h",
            "port": 1,
            "login": "yes",
            "password": "0123",
            "extra": {"a": [1, "b"]},
        }
    )
    put_in(here, "api", text, "connection", not_after=LATER)
    path = tmp_path / "airflow_settings.yaml"
    written(here, path, "airflow-settings")
    with place(tmp_path, "again") as again:
        again.transfer.import_connections(path.read_bytes(), "yaml")
        again.transfer.import_variables(path.read_bytes(), "yaml")
        for name in ("api", "orders_db"):
            assert again.lookup.connection(name) == here.lookup.connection(name)
        for name in ("region", "token", "odd"):
            assert again.lookup.variable_entry(name).secret == here.lookup.variable_entry(name).secret


def test_settings_of_astro_that_somebody_else_wrote_are_left(here, tmp_path):
    path = tmp_path / "airflow_settings.yaml"
    path.write_text("airflow:\n  connections: []\n")
    with pytest.raises(ConflictError):
        written(here, path, "airflow-settings")
    assert not files.remove(path)
    assert path.read_text() == "airflow:\n  connections: []\n"


def test_an_empty_variable_is_refused_where_astro_makes_none(here, tmp_path):
    put_in(here, "empty", "", not_after=LATER)
    with pytest.raises(InvalidInputError, match="empty"):
        written(here, tmp_path / "airflow_settings.yaml", "airflow-settings")
    assert not (tmp_path / "airflow_settings.yaml").exists()


def test_a_dotenv_that_is_a_link_is_refused(here, tmp_path):
    (tmp_path / "other").write_text("x")
    (tmp_path / ".env").symlink_to(tmp_path / "other")
    with pytest.raises(InvalidInputError, match="no plain file"):
        written(here, tmp_path / ".env", "env")
