"""
What every suite of the contract asks of a test: how to make the backend, and how to bring trouble upon it.

Not for the promises themselves (`contract.py`, `contract_many.py`).
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from strongroom.backend import Backend, Checkable, Listable, Versioned, Watchable, Writable
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.model.entry import MAX_VALUE_BYTES, Draft, Entry
from strongroom.model.ref import Kind, Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from strongroom.model.shape import Shape

__all__ = ["BROKEN_CONNECTIONS", "CANARY", "CONNECTION_TEXT", "HARD_NAMES", "HARD_TEXTS", "ContractHooks"]

CANARY = "cAnArY-5up3r-s3cret-91b7"
CONNECTION_TEXT = "postgres://us%40er:p%2Fss@db.example:5432/sales?sslmode=require"

BROKEN_CONNECTIONS: tuple[str, ...] = (
    f"postgres://user:{CANARY}@host:{CANARY}/db",
    f'{{"conn_type": "postgres", "password": "{CANARY}"',
    f'{{"conn_type": "http", "{CANARY}": "x"}}',
    f'{{"conn_type": "http", "port": "{CANARY}"}}',
    f'{{"conn_type": "http", "extra": "{CANARY}"}}',
    f"http://{CANARY}@h/#{CANARY}@h",
    CANARY,
)
"""Texts that are no connection, each with the canary where its fault is."""

HARD_TEXTS: dict[str, str] = {
    "empty": "",
    "one space": " ",
    "spaces around": "  a b  ",
    "newlines": "a\nb\r\nc\n",
    "tab and controls": "a\tb\x01\x1b[31mc",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "unicode": "ünïcödé-Ω-日本語-🔑-e\u0301",
    "quoted": '"quoted"',
    "hash": "a #b",
    "mask token": "***",
    "null": "null",
    "no": "no",
    "number": "0123",
    "json": '{"a": [1, 2.50, null, {"b": "\\u00e9"}]}',
    "template": "{{ var.value.x }} ${HOME} %(a)s {0.__class__}",
    "reference": "${connection.password/base} $${literal}",
    "bare escapes": "\\n \\u0041 %0A",
}
HARD_NAMES: tuple[str, ...] = (
    "with space",
    "colon:colon",
    "hash#tag",
    "per%cent",
    "per%2Fcent",
    "star*",
    "folder/name",
    "deep/er/name",
    "dots.and-dashes_",
    "..leading",
    "-x",
    "equals=sign",
    "'quote\"",
    "café",
    "名前",
    "metadata",
    "data",
    "versions",
    "latest",
    "AWSCURRENT",
    "n" * 250,
)


class ContractHooks:
    """
    Say how one backend is made and troubled, and what it is excused from.

    Attributes:
        keeps_teams: False when every team's read is answered *absent*.
        has_compare_and_set: False when an `expected_version` is refused with `ReadOnlyError`.
        looks_at_values: True when its listing tells connection types and texts that do not parse; False
            where it would have to open or ask for each value, so that every state is ok.
        kinds: the kinds it keeps.
        hard_texts: variables' texts it must give back exactly; narrow it only with a reason.
        max_text_bytes: of UTF-8 that it holds at most, where that is less than 1 MiB.
        hard_names: names it must keep apart, or answer *absent* to and refuse to write.
    """

    keeps_teams = True
    has_compare_and_set = True
    looks_at_values = False
    kinds: tuple[Kind, ...] = ("connection", "variable")
    hard_texts: dict[str, str] = HARD_TEXTS
    hard_names: Sequence[str] = HARD_NAMES
    max_text_bytes: int = MAX_VALUE_BYTES

    # --- hooks ---------------------------------------------------------------------------------

    def make(self, tmp_path: Path) -> Backend:
        """Give an empty, working backend."""
        raise NotImplementedError("say how to make the backend")

    def put(self, backend: Backend, ref: Ref, text: str) -> None:
        """Make the backend hold *text* under *ref*; `InvalidInputError` where it cannot spell the name."""
        if not isinstance(backend, Writable):
            pytest.fail("say how to put an entry into a backend that cannot be written")
        backend.write(Draft(ref=ref, secret=Secret(text), author="contract"))

    def remove(self, backend: Backend, ref: Ref) -> None:
        """Make the backend hold nothing under *ref*."""
        if not isinstance(backend, Writable):
            pytest.skip("this backend has no way to remove an entry")
        backend.delete(ref, author="contract")

    def down(self, backend: Backend) -> None:
        """Make the backend unreachable."""
        del backend
        pytest.skip("this backend cannot be taken down in a test")

    def deny(self, backend: Backend, ref: Ref) -> None:
        """Make the backend refuse to read *ref*."""
        del backend, ref
        pytest.skip("this backend cannot refuse")

    def put_oversized(self, backend: Backend, ref: Ref, text: str) -> None:
        """Make the backend hold a text over the limit, where its store would take it."""
        if isinstance(backend, Writable):
            pytest.skip("this backend refuses to write it, which another test proves")
        self.put(backend, ref, text)

    def make_holding(self, tmp_path: Path) -> Backend:
        """Give an empty backend that keeps each kind in one secret (prefixes that end in `#`)."""
        del tmp_path
        pytest.skip("this backend keeps no entries in one secret")

    def make_shaped(self, tmp_path: Path, shape: Shape) -> Backend:
        """Give an empty backend that writes connections in *shape*; skip where its store has none such."""
        del tmp_path, shape
        pytest.skip("this backend writes connections as they are given")

    def break_write(self, backend: Backend) -> None:
        """Make the next write fail when the value stands and something beside it (a tag) does not yet."""
        del backend
        pytest.skip("this backend writes in one step")

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        """Give the backend under test and close it twice."""
        made = self.make(tmp_path)
        yield made
        made.close()
        made.close()

    # --- for the suites ------------------------------------------------------------------------

    def _put_broken(self, backend: Backend, ref: Ref, text: str) -> None:
        try:
            self.put(backend, ref, text)
        except InvalidInputError:
            pytest.skip("this backend cannot be made to hold what does not parse")

    def _need(self, kind: Kind) -> None:
        if kind not in self.kinds:
            pytest.skip(f"this backend keeps no {kind}s")

    def _entry(self, backend: Backend, ref: Ref) -> Entry:
        entry = backend.read(ref)
        assert entry is not None, f"{ref} is absent"
        return entry

    def _text(self, backend: Backend, ref: Ref) -> str:
        return self._entry(backend, ref).secret.reveal()

    def _draft(self, name: str, text: str, expected_version: str | None = None) -> Draft:
        return Draft(
            ref=Ref("variable", name),
            secret=Secret(text),
            expected_version=expected_version,
            author="contract",
        )

    def _names(self, listable: Listable, kind: Kind = "variable", **narrow: Any) -> list[str]:  # noqa: ANN401
        page = listable.list(kind, **narrow)
        assert all(row.ref.kind == kind for row in page)
        return [row.ref.name for row in page]

    def _writable(self, backend: Backend) -> Writable:
        if not isinstance(backend, Writable):
            _skip("write")
        return backend

    def _compare_and_set(self, backend: Backend) -> Writable:
        if not self.has_compare_and_set:
            pytest.skip("this backend has no compare-and-set")
        return self._writable(backend)

    def _listable(self, backend: Backend) -> Listable:
        if not isinstance(backend, Listable):
            _skip("list")
        return backend

    def _versioned(self, backend: Backend) -> Versioned:
        if not isinstance(backend, Versioned):
            _skip("keep versions")
        return backend

    def _watchable(self, backend: Backend) -> Watchable:
        if not isinstance(backend, Watchable):
            _skip("tell of changes")
        return backend

    def _checkable(self, backend: Backend) -> Checkable:
        if not isinstance(backend, Checkable):
            _skip("check itself")
        return backend

    def _assert_silent(self, error: StrongroomError) -> None:
        shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
        assert CANARY not in shown


def _skip(ability: str) -> NoReturn:
    pytest.skip(f"this backend does not {ability}")
