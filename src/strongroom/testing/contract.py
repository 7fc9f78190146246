"""
What a backend must do, as tests to inherit: one class in about 20 lines.

```python
class TestDoppler(BackendContract):
    def make(self, tmp_path):
        return Doppler("doppler", DopplerOptions(...), ...)

    def put(self, backend, ref, text):     # where the backend cannot be written itself
        fake_doppler.secrets[...] = text

    def down(self, backend):
        fake_doppler.stop()
```

A hook left alone skips the tests that need it and says so. Abilities (`Writable`, `Listable`,
`Versioned`, `Watchable`, `Checkable`) are found by asking the backend; what it does not claim is not tested.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    ReadOnlyError,
)
from strongroom.model.entry import MAX_VALUE_BYTES, MUST_BE_ABSENT, EntryState
from strongroom.model.ref import Ref
from strongroom.testing.contract_hooks import (
    BROKEN_CONNECTIONS,
    CANARY,
    CONNECTION_TEXT,
    HARD_NAMES,
    HARD_TEXTS,
    ContractHooks,
)
from strongroom.testing.contract_many import ManyContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.backend import Backend, Watchable, Watched

__all__ = ["BROKEN_CONNECTIONS", "CANARY", "CONNECTION_TEXT", "HARD_NAMES", "HARD_TEXTS", "BackendContract"]

_PATIENCE_SECONDS = 20.0  # for a notice; a watch has signs of life every few seconds


class BackendContract(ManyContract, ContractHooks):
    """Prove that a backend keeps its promise. What it is excused from is said in `ContractHooks`."""

    # --- reading -------------------------------------------------------------------------------

    def test_unknown_name_is_absent(self, backend: Backend) -> None:
        for kind in self.kinds:
            assert backend.read(Ref(kind, "nobody_wrote_this")) is None

    def test_hard_texts_are_given_back_exactly(self, backend: Backend) -> None:
        for label, text in self.hard_texts.items():
            ref = Ref("variable", "hard")
            self.put(backend, ref, text)
            assert self._text(backend, ref) == text, label

    def test_connection_text_is_given_back(self, backend: Backend) -> None:
        self._need("connection")
        ref = Ref("connection", "orders_db")
        self.put(backend, ref, CONNECTION_TEXT)
        assert self._text(backend, ref) == CONNECTION_TEXT

    def test_entry_says_where_it_comes_from_and_does_not_print(self, backend: Backend) -> None:
        ref = Ref("variable", "origin")
        self.put(backend, ref, CANARY)
        entry = backend.read(ref)
        assert entry is not None
        assert (entry.ref, entry.backend) == (ref, backend.name)
        assert entry.read_at.utcoffset() == timedelta(0)
        assert CANARY not in repr(entry)

    def test_same_name_as_connection_and_variable_are_two_entries(self, backend: Backend) -> None:
        self._need("connection")
        variable, connection = Ref("variable", "twin"), Ref("connection", "twin")
        self.put(backend, variable, "text")
        assert backend.read(connection) is None
        self.put(backend, connection, CONNECTION_TEXT)
        assert (self._text(backend, variable), self._text(backend, connection)) == ("text", CONNECTION_TEXT)

    def test_team_and_global_are_apart(self, backend: Backend) -> None:
        mine, everyone, theirs = (Ref("variable", "region", team) for team in ("data", None, "web"))
        self.put(backend, everyone, "global")
        assert backend.read(mine) is None
        if self.keeps_teams:
            self.put(backend, mine, "mine")
            assert self._text(backend, mine) == "mine"
        assert self._text(backend, everyone) == "global"
        assert backend.read(theirs) is None

    def test_hard_names_are_kept_apart_or_refused(self, backend: Backend) -> None:
        kept = {}
        for number, name in enumerate(self.hard_names):
            ref = Ref("variable", name)
            try:
                self.put(backend, ref, str(number))
            except InvalidInputError:
                assert backend.read(ref) is None, name
            else:
                kept[ref] = str(number)
        assert {ref: self._text(backend, ref) for ref in kept} == kept

    def test_removed_entry_is_absent(self, backend: Backend) -> None:
        ref = Ref("variable", "gone")
        self.put(backend, ref, "x")
        self.remove(backend, ref)
        assert backend.read(ref) is None

    def test_changed_text_is_seen_and_has_another_version(self, backend: Backend) -> None:
        ref = Ref("variable", "changing")
        self.put(backend, ref, "before")
        before = self._entry(backend, ref)
        self.put(backend, ref, "after!")
        after = self._entry(backend, ref)
        assert after.secret.reveal() == "after!"
        assert before.version is None or before.version != after.version

    def test_text_of_one_mebibyte_is_held(self, backend: Backend) -> None:
        ref = Ref("variable", "big")
        text = "é" + "x" * (self.max_text_bytes - 2)
        self.put(backend, ref, text)
        assert self._text(backend, ref) == text

    def test_text_over_one_mebibyte_is_malformed(self, backend: Backend) -> None:
        ref = Ref("variable", "too_big")
        self.put_oversized(backend, ref, CANARY + "x" * MAX_VALUE_BYTES)
        with pytest.raises(MalformedEntryError) as caught:
            backend.read(ref)
        self._assert_silent(caught.value)

    def test_trouble_is_unavailable_and_not_absent(self, backend: Backend) -> None:
        ref = Ref("variable", "held")
        self.put(backend, ref, CANARY)
        self.down(backend)
        with pytest.raises(BackendUnavailableError) as caught:
            backend.read(ref)
        self._assert_silent(caught.value)

    def test_refusal_is_denied_and_not_absent(self, backend: Backend) -> None:
        ref = Ref("variable", "held")
        self.put(backend, ref, CANARY)
        self.deny(backend, ref)
        with pytest.raises(AccessDeniedError) as caught:
            backend.read(ref)
        self._assert_silent(caught.value)

    def test_threads_read_together(self, backend: Backend) -> None:
        ref = Ref("variable", "shared")
        self.put(backend, ref, "text")
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _: self._text(backend, ref), range(40))) == {"text"}

    # --- writing -------------------------------------------------------------------------------

    def test_written_text_is_read_back_with_its_version(self, backend: Backend) -> None:
        writable = self._writable(backend)
        version = writable.write(self._draft("new", "text"))
        entry = self._entry(backend, Ref("variable", "new"))
        assert (entry.secret.reveal(), entry.version) == ("text", version)

    def test_write_over_the_limit_is_refused_and_nothing_is_kept(self, backend: Backend) -> None:
        writable = self._writable(backend)
        with pytest.raises(InvalidInputError) as caught:
            writable.write(self._draft("too_big", CANARY + "x" * MAX_VALUE_BYTES))
        assert caught.value.limit == MAX_VALUE_BYTES
        self._assert_silent(caught.value)
        assert backend.read(Ref("variable", "too_big")) is None

    def test_delete_tells_whether_there_was_anything(self, backend: Backend) -> None:
        writable = self._writable(backend)
        ref = Ref("variable", "brief")
        assert writable.delete(ref, author="contract") is False
        writable.write(self._draft("brief", "x"))
        assert writable.delete(ref, author="contract") is True
        assert writable.delete(ref, author="contract") is False
        assert backend.read(ref) is None

    def test_write_with_a_stale_version_conflicts(self, backend: Backend) -> None:
        writable = self._compare_and_set(backend)
        first = writable.write(self._draft("raced", "one"))
        second = writable.write(self._draft("raced", "two", first))
        with pytest.raises(ConflictError) as caught:
            writable.write(self._draft("raced", CANARY, first))
        assert caught.value.current_version == second
        self._assert_silent(caught.value)
        assert self._text(backend, Ref("variable", "raced")) == "two"

    def test_write_that_expects_nothing_conflicts_with_something(self, backend: Backend) -> None:
        writable = self._compare_and_set(backend)
        writable.write(self._draft("first", "one", MUST_BE_ABSENT))
        with pytest.raises(ConflictError):
            writable.write(self._draft("first", "two", MUST_BE_ABSENT))

    def test_write_that_expects_something_conflicts_with_nothing(self, backend: Backend) -> None:
        writable = self._compare_and_set(backend)
        with pytest.raises(ConflictError) as caught:
            writable.write(self._draft("never", "one", "1"))
        assert caught.value.current_version is None

    def test_delete_with_a_stale_version_conflicts(self, backend: Backend) -> None:
        writable = self._compare_and_set(backend)
        ref = Ref("variable", "raced")
        first = writable.write(self._draft("raced", "one"))
        second = writable.write(self._draft("raced", "two"))
        with pytest.raises(ConflictError):
            writable.delete(ref, expected_version=first, author="contract")
        assert writable.delete(ref, expected_version=second, author="contract") is True

    def test_expected_version_is_refused_where_it_cannot_be_kept(self, backend: Backend) -> None:
        writable = self._writable(backend)
        if self.has_compare_and_set:
            pytest.skip("this backend compares and sets")
        with pytest.raises(ReadOnlyError):
            writable.write(self._draft("raced", "one", "1"))

    def test_batch_is_written_in_order(self, backend: Backend) -> None:
        writable = self._writable(backend)
        versions = writable.write_many([self._draft(f"batch_{number}", str(number)) for number in range(5)])
        entries = [self._entry(backend, Ref("variable", f"batch_{number}")) for number in range(5)]
        assert [entry.secret.reveal() for entry in entries] == list("01234")
        assert [entry.version for entry in entries] == versions

    def test_batch_with_one_conflict_writes_nothing(self, backend: Backend) -> None:
        writable = self._compare_and_set(backend)
        writable.write(self._draft("there", "old"))
        with pytest.raises(ConflictError):
            writable.write_many([self._draft("fresh", "x"), self._draft("there", "new", MUST_BE_ABSENT)])
        assert backend.read(Ref("variable", "fresh")) is None
        assert self._text(backend, Ref("variable", "there")) == "old"

    # --- listing -------------------------------------------------------------------------------

    def test_list_is_ordered_and_paged(self, backend: Backend) -> None:
        listable = self._listable(backend)
        names = []
        for name in sorted(["b", "a", "c/d", "a0", "aa", "z_9", "a.b"]):
            with suppress(InvalidInputError):  # not every store can spell each of them
                self.put(backend, Ref("variable", name), "x")
                names.append(name)
        assert self._names(listable) == names
        paged: list[str] = []
        while page := self._names(listable, after=paged[-1] if paged else "", limit=3):
            assert len(page) <= 3  # noqa: PLR2004 -- the page asked for
            paged += page
        assert paged == names

    def test_list_narrows_by_prefix(self, backend: Backend) -> None:
        listable = self._listable(backend)
        for name in ("team_a", "team_b", "tea", "other", "team%"):
            with suppress(InvalidInputError):  # not every store can spell the last
                self.put(backend, Ref("variable", name), "x")
        assert self._names(listable, prefix="team_") == ["team_a", "team_b"]
        assert self._names(listable, prefix="team_", after="team_a") == ["team_b"]
        assert self._names(listable, prefix="nothing") == []

    def test_list_shows_one_kind_and_one_team(self, backend: Backend) -> None:
        listable = self._listable(backend)
        self.put(backend, Ref("variable", "v"), "x")
        if "connection" in self.kinds:
            self.put(backend, Ref("connection", "c"), CONNECTION_TEXT)
            assert self._names(listable, kind="connection") == ["c"]
        if self.keeps_teams:
            self.put(backend, Ref("variable", "t", "data"), "x")
            assert self._names(listable, team="data") == ["t"]
        assert self._names(listable) == ["v"]
        assert self._names(listable, team="web") == []

    def test_list_holds_no_values(self, backend: Backend) -> None:
        listable = self._listable(backend)
        self.put(backend, Ref("variable", "quiet"), CANARY)
        assert CANARY not in repr(listable.list("variable"))

    def test_list_of_texts_that_do_not_parse_holds_none_of_them(self, backend: Backend) -> None:
        listable = self._listable(backend)
        self._need("connection")
        for number, text in enumerate(BROKEN_CONNECTIONS):
            self._put_broken(backend, Ref("connection", f"broken_{number}"), text)
        for row in listable.list("connection"):
            assert CANARY not in repr(row)
            assert row.problem or row.state is not EntryState.UNPARSABLE

    def test_list_tells_what_does_not_parse_and_the_types_of_the_rest(self, backend: Backend) -> None:
        listable = self._listable(backend)
        self._need("connection")
        self.put(backend, Ref("connection", "sound"), CONNECTION_TEXT)
        for number, text in enumerate(BROKEN_CONNECTIONS):
            self._put_broken(backend, Ref("connection", f"broken_{number}"), text)
        rows = {row.ref.name: row for row in listable.list("connection")}
        sound = rows.pop("sound")
        assert sound.state is not EntryState.UNPARSABLE
        if not self.looks_at_values:
            return
        assert sound.metadata.conn_type == "postgres"
        assert {row.state for row in rows.values()} == {EntryState.UNPARSABLE}
        assert len(rows) == len(BROKEN_CONNECTIONS)

    def test_listed_state_follows_the_text(self, backend: Backend) -> None:
        listable = self._listable(backend)
        self._need("connection")
        if not self.looks_at_values:
            pytest.skip("this backend does not look at values when it lists")
        ref = Ref("connection", "mended")
        states = []
        for text in (BROKEN_CONNECTIONS[0], CONNECTION_TEXT, BROKEN_CONNECTIONS[1]):
            self._put_broken(backend, ref, text)
            states.append(listable.list("connection")[0].state)
        assert states == [EntryState.UNPARSABLE, EntryState.OK, EntryState.UNPARSABLE]

    def test_removed_entry_is_not_listed(self, backend: Backend) -> None:
        listable = self._listable(backend)
        self.put(backend, Ref("variable", "gone"), "x")
        self.remove(backend, Ref("variable", "gone"))
        assert self._names(listable) == []

    # --- history -------------------------------------------------------------------------------

    def test_history_is_newest_first_and_tells_repeats(self, backend: Backend) -> None:
        versioned, writable = self._versioned(backend), self._writable(backend)
        versions = [writable.write(self._draft("v", text)) for text in ("one", "two", "one")]
        history = versioned.history(Ref("variable", "v"))
        assert [info.version for info in history] == versions[::-1]
        assert [info.is_current for info in history] == [True, False, False]
        assert [info.same_as for info in history] == [versions[0], None, None]
        assert {info.author for info in history} == {"contract"}

    def test_history_of_a_name_never_held_is_empty(self, backend: Backend) -> None:
        assert self._versioned(backend).history(Ref("variable", "never")) == []

    def test_every_version_can_be_read(self, backend: Backend) -> None:
        versioned, writable = self._versioned(backend), self._writable(backend)
        ref = Ref("variable", "v")
        versions = {text: writable.write(self._draft("v", text)) for text in ("one", "two")}
        writable.delete(ref, author="contract")
        for text, version in versions.items():
            assert version is not None
            assert versioned.read_version(ref, version).secret.reveal() == text

    def test_version_that_never_was_is_not_found(self, backend: Backend) -> None:
        versioned = self._versioned(backend)
        for name in ("v", "never"):
            with pytest.raises(NotFoundError):
                versioned.read_version(Ref("variable", name), "no-such-version")
            self._writable(backend).write(self._draft("v", "x"))

    def test_undelete_brings_the_last_text_back(self, backend: Backend) -> None:
        versioned, writable = self._versioned(backend), self._writable(backend)
        ref = Ref("variable", "v")
        for text in ("one", "two"):
            writable.write(self._draft("v", text))
        writable.delete(ref, author="contract")
        assert not any(info.is_current for info in versioned.history(ref))
        version = versioned.undelete(ref, author="contract")
        entry = self._entry(backend, ref)
        assert (entry.secret.reveal(), entry.version) == ("two", version)

    def test_undelete_of_what_is_there_conflicts(self, backend: Backend) -> None:
        versioned = self._versioned(backend)
        self._writable(backend).write(self._draft("v", "one"))
        with pytest.raises(ConflictError):
            versioned.undelete(Ref("variable", "v"), author="contract")

    def test_undelete_of_what_never_was_is_not_found(self, backend: Backend) -> None:
        with pytest.raises(NotFoundError):
            self._versioned(backend).undelete(Ref("variable", "never"), author="contract")

    def test_deleted_name_written_again_continues_its_versions(self, backend: Backend) -> None:
        versioned, writable = self._versioned(backend), self._writable(backend)
        ref = Ref("variable", "v")
        old = writable.write(self._draft("v", "old"))
        writable.delete(ref, author="contract")
        new = writable.write(self._draft("v", "new", MUST_BE_ABSENT if self.has_compare_and_set else None))
        assert new != old
        assert [info.version for info in versioned.history(ref)][-1] == old

    # --- checking ------------------------------------------------------------------------------

    def test_working_backend_checks_ready(self, backend: Backend) -> None:
        assert self._checkable(backend).check().status in ("ready", "unknown")

    def test_check_tells_trouble_without_raising(self, backend: Backend) -> None:
        checkable = self._checkable(backend)
        self.put(backend, Ref("variable", "held"), CANARY)
        self.down(backend)
        health = checkable.check()
        assert health.status == "error"
        assert CANARY not in health.message

    # --- watching ------------------------------------------------------------------------------

    def test_watch_begins_with_a_gap_and_tells_of_changes(self, backend: Backend) -> None:
        watchable = self._watchable(backend)
        ref = Ref("variable", "watched")
        self.put(backend, ref, "before")
        with _Hearing(watchable) as hearing:
            hearing.wait(lambda heard: heard.is_gap)
            assert hearing.heard[0].is_gap
            self.put(backend, ref, CANARY)
            found = hearing.wait(lambda heard: ref in heard.refs)
            assert found.refs[ref] in (None, self._entry(backend, ref).version)
            assert CANARY not in repr(hearing.heard)

    def test_watch_tells_of_what_was_removed(self, backend: Backend) -> None:
        watchable = self._watchable(backend)
        ref = Ref("variable", "watched")
        self.put(backend, ref, "x")
        with _Hearing(watchable) as hearing:
            hearing.wait(lambda heard: heard.is_gap)
            self.remove(backend, ref)
            assert hearing.wait(lambda heard: ref in heard.refs).refs[ref] is None

    def test_watch_gives_signs_of_life(self, backend: Backend) -> None:
        with _Hearing(self._watchable(backend)) as hearing:
            hearing.wait(lambda heard: not heard.refs and not heard.is_gap and not heard.is_lost)

    def test_callback_that_fails_ends_no_watch(self, backend: Backend) -> None:
        watchable = self._watchable(backend)
        with _Hearing(watchable, fails=True) as hearing:
            hearing.wait(lambda heard: heard.is_gap)
            self.put(backend, Ref("variable", "watched"), "x")
            hearing.wait(lambda heard: Ref("variable", "watched") in heard.refs)

    def test_ended_watch_tells_nothing(self, backend: Backend) -> None:
        watchable = self._watchable(backend)
        with _Hearing(watchable) as still, _Hearing(watchable) as ended:
            for hearing in (still, ended):
                hearing.wait(lambda heard: heard.is_gap)
            ended.end()
            ended.end()
            self.put(backend, Ref("variable", "after"), "x")
            still.wait(lambda heard: Ref("variable", "after") in heard.refs)
            assert not any(heard.refs for heard in ended.heard)

    def test_watch_tells_that_it_hears_nothing_any_more(self, backend: Backend) -> None:
        with _Hearing(self._watchable(backend)) as hearing:
            hearing.wait(lambda heard: heard.is_gap)
            self.down(backend)
            hearing.wait(lambda heard: heard.is_lost)


class _Hearing:
    """Gathers what a watch tells."""

    def __init__(self, backend: Watchable, *, fails: bool = False) -> None:
        self.heard: list[Watched] = []
        self._fails = fails
        self._changed = threading.Condition()
        self.end = backend.watch(self._hear)

    def _hear(self, notice: Watched) -> None:
        with self._changed:
            self.heard.append(notice)
            self._changed.notify_all()
        if self._fails:
            raise RuntimeError("the listener failed")

    def wait(self, is_it: Callable[[Watched], bool]) -> Watched:
        """Wait for a notice of which *is_it* is true, and give the first."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(is_it, self.heard)), _PATIENCE_SECONDS)
            return next(filter(is_it, self.heard))

    def __enter__(self) -> _Hearing:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()
