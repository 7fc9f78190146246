"""
A foreign store in which one path holds one text: the writing that all of them share.

Rules of this file:

1. What cannot be kept exactly is refused before anything is sent: a name, a size, a shape that would lose
   something, a comparison the store cannot make.
2. A secret that holds many entries is changed as a whole: read, changed, and written back against the version
   that was read; where the store compares nothing, under a lock of this process alone.
3. An error in the middle of several writes says how many were made. All of them are safe to repeat.
"""

from __future__ import annotations

import json
import os
import threading
from abc import abstractmethod
from copy import copy
from dataclasses import fields
from typing import TYPE_CHECKING, ClassVar, TypeVar

from strongroom.backend.path import PathBackend
from strongroom.errors import (
    BackendConfigError,
    ConflictError,
    InvalidInputError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.model.entry import MAX_VALUE_BYTES, MUST_BE_ABSENT, Draft, Metadata, check_value
from strongroom.model.secret import Secret
from strongroom.model.shape import Shape, fields_of, shaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from strongroom.backend.naming import Naming
    from strongroom.model.ref import Ref

__all__ = ["WritingPathBackend"]

OptionsT = TypeVar("OptionsT")

_ATTEMPTS = 8  # to change a secret that holds many while others change it too


class WritingPathBackend(PathBackend[OptionsT]):
    """
    A `PathBackend` that is `Writable`: write `_store` and `_erase`, inherit the rest.

    `write`, `write_many` and `delete` are final. The shape of connections is the option `connection_shape`
    of *options*, where it has one.

    Attributes:
        has_compare_and_set: the store writes against a version. Otherwise an `expected_version` is refused.
        can_create_only: it can at least refuse to write over something (`MUST_BE_ABSENT`).
        shapes: those of `model.shape` that it can keep.
        max_text_bytes: of UTF-8 that one path holds at most.
        shape: the one that connections are written in.

    Raises:
        BackendConfigError: the store does not keep connections in that shape.
    """

    has_compare_and_set: ClassVar[bool] = False
    can_create_only: ClassVar[bool] = False
    shapes: ClassVar[tuple[Shape, ...]] = ("given", "uri", "json")
    max_text_bytes: ClassVar[int] = MAX_VALUE_BYTES

    def __init__(self, name: str, options: OptionsT, naming: Naming, clock: Callable[[], datetime]) -> None:
        super().__init__(name, options, naming, clock)
        self.shape: Shape = getattr(options, "connection_shape", "given")
        if self.shape not in self.shapes:
            raise BackendConfigError(
                f"backend.{name}.connection_shape must be one of {', '.join(self.shapes)}",
            )
        # By process id: a forked child must not wait for a lock that a thread of its parent held.
        self._held_locks: dict[int, threading.Lock] = {}

    # --- what a store brings ---

    @abstractmethod
    def _store(self, path: str, text: str, *, expected: str | None, draft: Draft) -> str | None:
        """
        Make *path* hold *text* and give the version that it has now.

        Args:
            path: of a secret of its own.
            text: in its shape, and of a size that fits.
            expected: write only if this version stands; `MUST_BE_ABSENT`: only if nothing is there; None:
                whatever is there. Never anything the class does not claim to be able to keep.
            draft: what it came from, for its author and comment.

        Raises:
            ConflictError: another version stands, which it names.
            AccessDeniedError, BackendUnavailableError: as `_fetch`. Where the text was written and something
                beside it was not (a tag), the message says so.
        """

    def _store_object(
        self, path: str, held: Mapping[str, object], *, expected: str | None, draft: Draft
    ) -> str | None:
        """As `_store`, of a secret that holds many: *held* are texts, and objects of fields, by key."""
        return self._store(path, json.dumps(held, ensure_ascii=False), expected=expected, draft=draft)

    @abstractmethod
    def _erase(self, path: str, *, expected: str | None) -> bool:
        """Delete what *path* holds and tell whether there was anything. Arguments and errors as `_store`."""

    # --- writing ---

    def write(self, draft: Draft) -> str | None:
        """As `Writable.write`; final."""
        return self._seam(lambda: self._write_all([draft])[0])

    def write_many(self, drafts: Sequence[Draft]) -> list[str | None]:
        """
        As `Writable.write_many`; final.

        All are checked before the first is written, versions included. Those that one secret holds are
        written at once; the others one after the other.
        """
        return self._seam(lambda: self._write_all(drafts))

    def delete(self, ref: Ref, *, expected_version: str | None = None, author: str) -> bool:
        """As `Writable.delete`; final. It is deleted wherever a read would find it."""
        return self._seam(lambda: self._delete_everywhere(ref, expected_version, author))

    def _write_all(self, drafts: Sequence[Draft]) -> list[str | None]:
        texts = [self._text_to_write(draft) for draft in drafts]
        paths = [self._path_to_write(draft.ref, draft.expected_version) for draft in drafts]
        if len(drafts) > 1:
            self._check_versions(drafts, paths)
        written: dict[int, str | None] = {}
        try:
            for batch in self._held_together(paths):
                written.update(self._put_batch(batch, drafts, paths, texts))
        except StrongroomError as caught:
            if not written:
                raise
            trouble = copy(caught)
        else:
            return [written[place] for place in range(len(drafts))]
        told = f"{len(written)} of {len(drafts)} entries were written before it; writing them again is safe"
        trouble.hint = f"{trouble.hint}; {told}" if trouble.hint else told
        raise trouble

    def _put_batch(
        self, batch: Sequence[int], drafts: Sequence[Draft], paths: Sequence[str], texts: Sequence[str]
    ) -> dict[int, str | None]:
        first = batch[0]
        holder = self.naming.holder(paths[first])
        if holder is not None:
            changes = [(self._key_of(paths[place]), texts[place], drafts[place]) for place in batch]
            return dict.fromkeys(batch, self._change_held(holder[0], changes))
        draft = drafts[first]
        self._check_fits(draft.ref, texts[first])
        return {first: self._store(paths[first], texts[first], expected=draft.expected_version, draft=draft)}

    def _held_together(self, paths: Sequence[str]) -> Iterator[list[int]]:
        """Give which of *paths* are written at once: those that one secret holds."""
        by_secret: dict[str, list[int]] = {}
        for place, path in enumerate(paths):
            holder = self.naming.holder(path)
            by_secret.setdefault(f"{place}" if holder is None else f"#{holder[0]}", []).append(place)
        yield from by_secret.values()

    # --- what is refused before anything is sent ---

    def _text_to_write(self, draft: Draft) -> str:
        """Give the text to write, or refuse the draft."""
        text = draft.secret.reveal()
        check_value(text, str(draft.ref))
        self._check_comparable(draft.expected_version)
        self._check_metadata(draft)
        self.naming.spell(draft.ref, self.name)
        return shaped(text, self.shape) if draft.ref.kind == "connection" else text

    def _check_comparable(self, expected: str | None) -> None:
        if expected is None or self.has_compare_and_set:
            return
        if expected != MUST_BE_ABSENT or not self.can_create_only:
            raise ReadOnlyError(
                f"the backend {self.name} cannot compare versions before it writes",
                hint="write without an expected version: whoever writes last wins",
            )

    def _check_metadata(self, draft: Draft) -> None:
        """Refuse what would be lost: foreign stores keep a text, and no word of ours beside it."""
        plain = Metadata(conn_type=draft.metadata.conn_type)
        lost = [
            one.name
            for one in fields(Metadata)
            if getattr(draft.metadata, one.name) != getattr(plain, one.name)
        ]
        if lost:
            raise InvalidInputError(
                f"the backend {self.name} keeps nothing beside a value: {', '.join(lost)} of {draft.ref}"
                " would be lost",
                hint="leave it out, or write to a store of our own",
            )

    def _check_fits(self, ref: Ref, text: str) -> None:
        most = self.max_text_bytes
        if len(text) * 4 > most and len(text.encode()) > most:
            raise InvalidInputError(
                f"{ref} is over {most} bytes, the most that the backend {self.name} holds", limit=most
            )

    def _path_to_write(self, ref: Ref, expected: str | None) -> str:
        """Give the path to write: the first, unless a version is expected of what stands under another."""
        first, *others = self.naming.paths(ref)
        if expected is None or not others:
            return first
        for path in (first, *others):
            fetched = self._held(path)
            if fetched is not None:
                if expected == MUST_BE_ABSENT:
                    raise self._version_conflict(ref, fetched.version)
                return path
        return first

    def _check_versions(self, drafts: Sequence[Draft], paths: Sequence[str]) -> None:
        asked = {
            path: draft
            for path, draft in zip(paths, drafts, strict=True)
            if draft.expected_version is not None
        }
        for path, found in self._found_at(asked).items() if asked else ():
            if isinstance(found, StrongroomError):
                raise found
            self._check_version(
                asked[path], None if found is None else found.version, is_there=found is not None
            )

    def _check_version(self, draft: Draft, version: str | None, *, is_there: bool) -> None:
        expected = draft.expected_version
        if expected is not None and (is_there if expected == MUST_BE_ABSENT else expected != version):
            raise self._version_conflict(draft.ref, version)

    def _version_conflict(self, ref: Ref, version: str | None) -> ConflictError:
        return ConflictError(
            f"{ref} in the backend {self.name} changed meanwhile, or exists", current_version=version
        )

    # --- deleting ---

    def _delete_everywhere(self, ref: Ref, expected: str | None, author: str) -> bool:
        self._check_comparable(expected)
        paths = list(self.naming.paths(ref))
        if expected is not None and len(paths) > 1:
            place = self._path_to_write(ref, expected)
            paths = [place, *(path for path in paths if path != place)]
        erased = [
            self._erase_at(path, expected if order == 0 else None, ref, author)
            for order, path in enumerate(paths)
        ]
        return any(erased)

    def _erase_at(self, path: str, expected: str | None, ref: Ref, author: str) -> bool:
        holder = self.naming.holder(path)
        if holder is None:
            return self._erase(path, expected=expected)
        draft = Draft(ref=ref, secret=Secret(""), expected_version=expected, author=author)
        return self._drop_held(*holder, draft)

    # --- secrets that hold many ---

    def _key_of(self, path: str) -> str:
        holder = self.naming.holder(path)
        return path if holder is None else holder[1]

    def _change_held(self, secret: str, changes: Sequence[tuple[str, str, Draft]]) -> str | None:
        def change(held: dict[str, object], version: str | None) -> bool:
            for key, _, draft in changes:
                self._check_version(draft, version if key in held else None, is_there=key in held)
            for key, text, draft in changes:
                is_object = self.shape == "fields" and draft.ref.kind == "connection"
                held[key] = fields_of(text) if is_object else text
            self._check_fits(changes[0][2].ref, json.dumps(held, ensure_ascii=False))

            return True

        return self._rewritten_held(secret, change, changes[0][2])[1]

    def _drop_held(self, secret: str, key: str, draft: Draft) -> bool:
        def change(held: dict[str, object], version: str | None) -> bool:
            is_there = key in held
            self._check_version(draft, version if is_there else None, is_there=is_there)
            held.pop(key, None)
            return is_there

        return self._rewritten_held(secret, change, draft)[0]

    def _rewritten_held(
        self, secret: str, change: Callable[[dict[str, object], str | None], bool], draft: Draft
    ) -> tuple[bool, str | None]:
        """
        Read *secret*, let *change* change it, and write it back; again where somebody else was faster.

        Returns:
            Whether it was changed, and the version it has then.
        """
        with self._held_locks.setdefault(os.getpid(), threading.Lock()):
            attempts = _ATTEMPTS
            while True:
                fetched = self._fetch(secret)
                version = None if fetched is None else fetched.version
                held = {} if fetched is None else self._opened(secret, fetched)
                if not change(held, version):
                    return False, version
                expected = MUST_BE_ABSENT if fetched is None else version
                is_kept = self.has_compare_and_set or (self.can_create_only and fetched is None)
                attempts -= 1
                try:
                    made = self._store_object(
                        secret, held, expected=expected if is_kept else None, draft=draft
                    )
                except ConflictError:
                    if attempts <= 0:
                        raise
                else:
                    return True, made
