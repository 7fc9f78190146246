"""
What a foreign store promises beyond reading one name: many at once, secrets that hold many, shapes, a check.

Part of `BackendContract`; what a backend does not claim is not tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.backend import Batched, Listable, Provisioning
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    StrongroomError,
)
from strongroom.model.connection import Connection
from strongroom.model.entry import MAX_VALUE_BYTES, MUST_BE_ABSENT, Draft, Entry
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.model.shape import Shape, shaped
from strongroom.testing.contract_hooks import CANARY, CONNECTION_TEXT, ContractHooks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from strongroom.backend import Backend, Checkable

__all__ = ["ManyContract"]

_MANY = 45  # more than two batches of any store there is, and no multiple of one
_LOSSY = (
    '{"conn_type": "postgres", "host": "h", "login": "u", "password": "p", "description": "why", '
    '"extra": {"a": {"b": [1, null]}}}'
)
_VERBS = ("read", "list", "write")


class ManyContract(ContractHooks):
    """Prove what stores share that are asked over a network."""

    # --- many at once --------------------------------------------------------------------------

    def test_many_are_answered_in_order_as_each_would_be_alone(self, backend: Backend) -> None:
        batched = self._batched(backend)
        for number in range(5):
            self.put(backend, Ref("variable", f"many_{number}"), f"text {number}")
        refs = [Ref("variable", f"many_{number}") for number in (3, 0, 3, 9, 4)]
        refs += [Ref("variable", "many_0", "data"), Ref("config", "many_0"), Ref("connection", "many_0")]
        if "connection" in self.kinds:
            self.put(backend, Ref("connection", "orders_db"), CONNECTION_TEXT)
            refs.insert(1, Ref("connection", "orders_db"))
        answers = batched.read_many(refs)
        assert _told(answers) == [self._alone(backend, ref) for ref in refs]
        assert [one.ref for one in answers if isinstance(one, Entry)] == [
            ref for ref, one in zip(refs, answers, strict=True) if one is not None
        ]
        assert batched.read_many([]) == []

    def test_more_than_a_batch_is_answered_whole(self, backend: Backend) -> None:
        batched = self._batched(backend)
        refs = [Ref("variable", f"page_{number:02}") for number in range(_MANY)]
        for ref in refs[::2]:
            self.put(backend, ref, ref.name)
        expected = [ref.name if place % 2 == 0 else None for place, ref in enumerate(refs)]
        assert [text for _, text in _told(batched.read_many(refs))] == expected

    def test_trouble_stands_at_each_of_many_and_is_nobodys_absence(self, backend: Backend) -> None:
        batched = self._batched(backend)
        self.put(backend, Ref("variable", "held"), CANARY)
        self.down(backend)
        try:
            answers = batched.read_many([Ref("variable", "held"), Ref("variable", "nobody_wrote_this")])
        except BackendUnavailableError as trouble:  # about all of them, as `Batched` says
            self._assert_silent(trouble)
            return
        assert all(isinstance(one, BackendUnavailableError) for one in answers)
        assert answers[0] is not answers[1]
        for one in answers:
            assert isinstance(one, StrongroomError)
            self._assert_silent(one)

    def test_refusal_among_many_is_its_own_and_no_absence(self, backend: Backend) -> None:
        batched = self._batched(backend)
        ref, other = Ref("variable", "held"), Ref("variable", "open")
        self.put(backend, ref, CANARY)
        self.put(backend, other, "text")
        self.deny(backend, ref)
        answers = batched.read_many([ref, other])
        assert isinstance(answers[0], AccessDeniedError)
        self._assert_silent(answers[0])
        assert _told(answers) == [self._alone(backend, ref), self._alone(backend, other)]

    def test_oversized_text_among_many_is_malformed_alone(self, backend: Backend) -> None:
        batched = self._batched(backend)
        self.put(backend, Ref("variable", "small"), "text")
        self.put_oversized(backend, Ref("variable", "too_big"), CANARY + "x" * MAX_VALUE_BYTES)
        answers = batched.read_many([Ref("variable", "too_big"), Ref("variable", "small")])
        assert isinstance(answers[0], MalformedEntryError)
        self._assert_silent(answers[0])
        assert _told(answers)[1] == ("found", "text")

    # --- one secret that holds many ------------------------------------------------------------

    def test_secret_that_holds_many_gives_each_by_its_name(self, tmp_path: Path) -> None:
        backend = self.make_holding(tmp_path)
        try:
            self._prove_holding(backend)
        finally:
            backend.close()

    def _prove_holding(self, backend: Backend) -> None:
        for name in ("a", "b.c", "d"):
            self.put(backend, Ref("variable", name), f"text of {name}")
        refs = [Ref("variable", name) for name in ("d", "a", "none", "b.c")]
        expected = ["text of d", "text of a", None, "text of b.c"]
        assert [text for _, text in _told([backend.read(ref) for ref in refs])] == expected
        if isinstance(backend, Batched):
            assert [text for _, text in _told(backend.read_many(refs))] == expected
        if isinstance(backend, Listable):
            assert self._names(backend) == ["a", "b.c", "d"]
            assert self._names(backend, after="a", limit=1) == ["b.c"]
        if "connection" in self.kinds:
            self.put(backend, Ref("connection", "a"), CONNECTION_TEXT)
            entry = self._entry(backend, Ref("connection", "a"))
            assert Connection.parse(entry.secret.reveal()) == Connection.parse(CONNECTION_TEXT)
        self.remove(backend, Ref("variable", "a"))
        assert backend.read(Ref("variable", "a")) is None
        assert self._text(backend, Ref("variable", "d")) == "text of d"

    def test_expectations_hold_for_one_entry_of_a_secret(self, tmp_path: Path) -> None:
        backend = self.make_holding(tmp_path)
        try:
            writable = self._compare_and_set(backend)
            version = writable.write(self._draft("a", "1", MUST_BE_ABSENT))
            for name, expected in (("a", MUST_BE_ABSENT), ("b", version)):
                with pytest.raises(ConflictError):
                    writable.write(self._draft(name, "2", expected))
            writable.write(self._draft("a", "2", version))
            assert self._text(backend, Ref("variable", "a")) == "2"
        finally:
            backend.close()

    # --- shapes --------------------------------------------------------------------------------

    @pytest.mark.parametrize("shape", ["given", "uri", "json", "fields"])
    def test_connection_in_any_shape_is_read_back_to_the_same(self, tmp_path: Path, shape: Shape) -> None:
        backend = self.make_shaped(tmp_path, shape)
        try:
            writable = self._writable(backend)
            for number, text in enumerate((CONNECTION_TEXT, shaped(CONNECTION_TEXT, "json"), _LOSSY)):
                ref = Ref("connection", f"shaped_{number}")
                if shape == "uri" and text == _LOSSY:
                    with pytest.raises(InvalidInputError, match="would lose"):
                        writable.write(_connection(ref, text))
                    assert backend.read(ref) is None
                    continue
                writable.write(_connection(ref, text))
                stored = self._text(backend, ref)
                assert Connection.parse(stored) == Connection.parse(text)
                if shape == "given":
                    assert stored.startswith("{") == text.startswith("{")
        finally:
            backend.close()

    # --- writing -------------------------------------------------------------------------------

    def test_write_that_fails_half_way_says_so_and_is_safe_to_repeat(self, backend: Backend) -> None:
        writable = self._writable(backend)
        self.break_write(backend)
        with pytest.raises(StrongroomError) as caught:
            writable.write(self._draft("halved", CANARY))
        self._assert_silent(caught.value)
        assert "written" in f"{caught.value} {caught.value.hint}"
        writable.write(self._draft("halved", "again"))
        assert self._text(backend, Ref("variable", "halved")) == "again"

    # --- checking and provisioning -------------------------------------------------------------

    def test_check_tells_what_it_may_and_changes_nothing(self, backend: Backend) -> None:
        checkable: Checkable = self._checkable(backend)
        self.put(backend, Ref("variable", "held"), CANARY)
        health = checkable.check()
        assert set(health.may) <= set(_VERBS)
        assert set(health.may.values()) <= {"yes", "no", "unknown"}
        if health.status == "ready":
            assert health.is_reachable
            assert health.may.get("read", "unknown") != "no"
        assert CANARY not in repr(health)
        assert self._text(backend, Ref("variable", "held")) == CANARY
        if isinstance(backend, Listable):
            assert self._names(backend) == ["held"]

    def test_check_of_one_that_does_not_answer_does_not_claim_it_does(self, backend: Backend) -> None:
        checkable = self._checkable(backend)
        self.down(backend)
        health = checkable.check()
        assert (health.status, bool(health.is_reachable)) == ("error", False)
        assert health.message
        assert "yes" not in health.may.values()

    def test_least_policy_is_told_for_each_verb_and_holds_no_secret(self, backend: Backend) -> None:
        if not isinstance(backend, Provisioning):
            pytest.skip("this backend needs nobody's leave")
        policies = [backend.least_policy(verbs) for verbs in (("read",), ("read", "list"), _VERBS)]
        assert all(policies)
        assert len(set(policies)) == len(policies)
        assert CANARY not in "".join(policies)

    # --- inside --------------------------------------------------------------------------------

    def _batched(self, backend: Backend) -> Batched:
        if not isinstance(backend, Batched) or not backend.is_batched:
            pytest.skip("this backend is asked for one name after the other")
        return backend

    def _alone(self, backend: Backend, ref: Ref) -> tuple[str, str | None]:
        try:
            return _told([backend.read(ref)])[0]
        except StrongroomError as error:
            return error.code, None


def _told(answers: Sequence[Entry | StrongroomError | None]) -> list[tuple[str, str | None]]:
    """Give how each ended, and with what text."""
    return [
        ("absent", None)
        if one is None
        else (one.code, None)
        if isinstance(one, StrongroomError)
        else ("found", one.secret.reveal())
        for one in answers
    ]


def _connection(ref: Ref, text: str) -> Draft:
    return Draft(ref=ref, secret=Secret(text), author="contract")
