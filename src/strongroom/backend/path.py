"""
A foreign store in which one path holds one text: the reading that all of them share.

Rules of this file:

1. Many names are read as one is: the same paths in the same order, the same refusals, each its own.
2. No path is asked for twice in one call, and a secret that holds many entries once for all of them.
3. An answer that a store left out is trouble, never an absence.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from strongroom.backend.parallel import together
from strongroom.backend.promise import Backend, Fetched
from strongroom.errors import (
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    StrongroomError,
)
from strongroom.model.entry import MAX_VALUE_BYTES, Entry
from strongroom.model.jsontext import decode
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from strongroom.backend.naming import Naming
    from strongroom.model.ref import Kind, Ref

__all__ = ["PathBackend", "check_size", "ephemeral_version"]

OptionsT = TypeVar("OptionsT")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece(Fetched):
    """What stands under one key of a secret that holds many."""

    value: object = field(repr=False)


class PathBackend(Backend, Generic[OptionsT]):
    """
    A foreign store in which one path holds one text: write `_fetch`, inherit the rest.

    `read` and `read_many` are final. They spell the names, call `_fetch` (or `_fetch_many`) once for each
    path a name may stand under until one holds something, bound the size of its text, and turn any foreign
    exception into `BackendUnavailableError` (the one broad `except`: SDK errors quote requests, so only
    their class name is kept). A subclass builds no path, parses no connection, caches nothing, retries
    nothing and logs no value. A store whose texts have a shape of their own overrides `_text` too, and one
    that answers many paths in one question `_fetch_many`.

    Where a prefix ends in `#`, the secret it names is a JSON object: `_fetch` gives its text, and the
    entries are picked from it here, by their names.

    Attributes:
        parallel: how many paths are asked for at once where the store has no question for many.
    """

    options_type: type[OptionsT]
    parallel: ClassVar[int] = 32

    def __init__(self, name: str, options: OptionsT, naming: Naming, clock: Callable[[], datetime]) -> None:
        self.name = name
        self.options = options
        self.naming = naming
        self._clock = clock

    @property
    def is_batched(self) -> bool:
        """Whether many names are read sooner together than one after the other."""
        return not self.is_local

    @abstractmethod
    def _fetch(self, path: str) -> Fetched | None:
        """Give what *path* holds, or None; raise our own errors for denials and anything else known."""

    def _fetch_many(self, paths: Sequence[str]) -> Mapping[str, Fetched | StrongroomError | None]:
        """
        Give for each of *paths* what `_fetch` would give, or the error it would raise.

        Args:
            paths: at least one, without repeats; several entries of one secret are one path.

        Raises:
            StrongroomError: about all of them.
        """
        if len(paths) == 1:
            return {paths[0]: self._fetch(paths[0])}
        return together(self._tried, paths, threads=self.parallel, late=self._late, place=self.name)

    def _text(self, ref: Ref, fetched: Fetched) -> str:
        """
        Give the text Airflow's own backend would make of what was fetched: the text itself, unless the
        store keeps an object of fields.

        Raises:
            MalformedEntryError: it cannot be made into one.
        """
        del ref
        return fetched.text

    # --- one name ---

    def read(self, ref: Ref) -> Entry | None:
        """As `Backend.read`; final."""
        return self._seam(lambda: self._read(ref))

    def _read(self, ref: Ref) -> Entry | None:
        for path in self.naming.paths(ref):
            fetched = self._held(path)
            if fetched is not None:
                return self._entry(ref, fetched)
        return None

    def _held(self, path: str) -> Fetched | None:
        """Give what stands under *path*, whether it is a secret of its own or a key in one."""
        holder = self.naming.holder(path)
        if holder is None:
            return self._fetch(path)
        secret, key = holder
        fetched = self._fetch(secret)
        return None if fetched is None else _piece(fetched, self._opened(secret, fetched), key)

    def _seam(self, work: Callable[[], T]) -> T:
        """Do *work* and let nothing foreign out, and no frame that holds what is stored."""
        trouble: StrongroomError
        try:
            return work()
        except StrongroomError as caught:
            trouble = caught
        except Exception as error:  # noqa: BLE001 -- the seam where foreign errors end
            trouble = self._foreign(error)
        # Raised anew, outside `except`: the frames it came through hold what is stored.
        raise _bare(trouble)

    def _foreign(self, error: Exception) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"the backend {self.name} failed with {type(error).__name__}", backend=self.name
        )

    # --- many names ---

    def read_many(self, refs: Sequence[Ref]) -> list[Entry | StrongroomError | None]:
        """As `Batched.read_many`; final. Trouble with all of them stands at each."""
        answers: list[Entry | StrongroomError | None] = [None] * len(refs)
        paths = [self.naming.paths(ref) for ref in refs]
        turn = 0
        waiting = [place for place, mine in enumerate(paths) if mine]
        while waiting:
            found = self._found_at(dict.fromkeys(paths[place][turn] for place in waiting))
            for place in waiting:
                answers[place] = self._told_of(refs[place], found[paths[place][turn]])
            turn += 1
            waiting = [one for one in waiting if answers[one] is None and len(paths[one]) > turn]
        return answers

    def _told_of(self, ref: Ref, found: Fetched | StrongroomError | None) -> Entry | StrongroomError | None:
        if found is None:
            return None
        if isinstance(found, StrongroomError):
            return copy(found)  # one may stand for several names, which are told of it apart
        return self._tried_to(lambda: self._entry(ref, found))

    def _found_at(self, paths: Iterable[str]) -> dict[str, Fetched | StrongroomError | None]:
        """Give what stands under each of *paths*, or why that is not known."""
        places = {path: self.naming.holder(path) for path in paths}
        secrets = list(
            dict.fromkeys(path if holder is None else holder[0] for path, holder in places.items())
        )
        fetched = self._fetched(secrets)
        holding = {holder[0] for holder in places.values() if holder is not None}
        opened = {secret: self._opened_or_why(secret, fetched[secret]) for secret in holding}
        found: dict[str, Fetched | StrongroomError | None] = {}
        for path, holder in places.items():
            one = fetched[path if holder is None else holder[0]]
            if holder is not None and isinstance(one, Fetched):
                held = opened[holder[0]]
                one = held if isinstance(held, StrongroomError) else _piece(one, held or {}, holder[1])
            found[path] = one
        return found

    def _fetched(self, secrets: Sequence[str]) -> dict[str, Fetched | StrongroomError | None]:
        answered = self._tried_to(lambda: self._fetch_many(secrets))
        if isinstance(answered, StrongroomError):
            return dict.fromkeys(secrets, answered)
        return {secret: answered[secret] if secret in answered else self._late() for secret in secrets}

    def _opened_or_why(
        self, secret: str, fetched: Fetched | StrongroomError | None
    ) -> dict[str, object] | StrongroomError | None:
        if not isinstance(fetched, Fetched):
            return None
        return self._tried_to(lambda: self._opened(secret, fetched))

    def _tried(self, path: str) -> Fetched | StrongroomError | None:
        return self._tried_to(lambda: self._fetch(path))

    def _tried_to(self, work: Callable[[], T]) -> T | StrongroomError:
        try:
            return work()
        except StrongroomError as caught:
            return _bare(caught)
        except Exception as error:  # noqa: BLE001 -- the seam where foreign errors end
            return _bare(self._foreign(error))

    def _late(self) -> BackendUnavailableError:
        return BackendUnavailableError(f"the backend {self.name} gave no answer in time", backend=self.name)

    # --- what is stored ---

    def _opened(self, secret: str, fetched: Fetched) -> dict[str, object]:
        """Give the entries that *secret* holds, by the keys they stand under."""
        try:
            held = decode(fetched.text, what="it")
        except InvalidInputError as error:
            why, hint = f": {error}", error.hint
        else:
            if isinstance(held, dict):
                return held
            why, hint = "", None
        raise MalformedEntryError(
            f"the secret {secret} of the backend {self.name} is to hold many entries and is no JSON object"
            + why,
            backend=self.name,
            ref=secret,
            hint=hint or "write one JSON object of names and texts to it, or a prefix that does not end in #",
        )

    def _keys_held(self, kind: Kind, team: str | None = None) -> list[str]:
        """
        Give the paths of this *kind* and *team* that stand as keys in secrets that hold many, for listings.

        Raises what `_fetch` does, and MalformedEntryError where such a secret is no JSON object.
        """
        paths: list[str] = []
        for secret, head in self.naming.holders(kind):
            fetched = self._fetch(secret)
            if fetched is not None:
                paths += [head + key for key in self._opened(secret, fetched)]
        return [path for path in paths if self.naming.ref(path, kind, team) is not None]

    def _entry(self, ref: Ref, fetched: Fetched) -> Entry:
        text = self._text_held(ref, fetched) if isinstance(fetched, _Piece) else self._text(ref, fetched)
        check_size(text, backend=self.name, ref=ref)
        return Entry(
            ref=ref,
            secret=Secret(text),
            backend=self.name,
            version=fetched.version,
            read_at=self._clock(),
            lifetime=fetched.lifetime,
        )

    def _text_held(self, ref: Ref, piece: _Piece) -> str:
        value = piece.value
        if isinstance(value, str):
            return value
        if value is None:
            raise MalformedEntryError(
                f"{ref} in the backend {self.name} is null", backend=self.name, ref=str(ref)
            )
        if isinstance(value, dict) and ref.kind == "connection":
            return self._text(ref, replace(piece, text=json.dumps(value)))
        # As a file of variables would give it, and as `airflow variables import` would store it.
        return json.dumps(value, indent=2)


def _piece(fetched: Fetched, held: Mapping[str, object], key: str) -> _Piece | None:
    if key not in held:
        return None
    return _Piece(
        text="", version=fetched.version, lifetime=fetched.lifetime, lease=fetched.lease, value=held[key]
    )


def _bare(error: StrongroomError) -> StrongroomError:
    error.__context__ = None
    return error.with_traceback(None)


def check_size(text: str, *, backend: str, ref: Ref) -> None:
    """
    Refuse a stored text that is over the limit of a value.

    Raises:
        MalformedEntryError: it has more than 1 MiB of UTF-8.
    """
    # Characters first: a text of 250k characters can never pass 1 MiB, and counting bytes costs a copy.
    if len(text) * 4 > MAX_VALUE_BYTES and len(text.encode("utf-8", "replace")) > MAX_VALUE_BYTES:
        raise MalformedEntryError(
            f"{ref} in the backend {backend} is over {MAX_VALUE_BYTES} bytes",
            backend=backend,
            ref=str(ref),
        )


def ephemeral_version(key: bytes, text: str) -> str:
    """
    Give a version for a store that has none: it changes with *text* and means nothing outside this process.

    Args:
        key: 16 to 64 random bytes, new in every process: without them a version would be a
            fingerprint by which short secrets could be guessed.
        text: what the store holds.
    """
    import hashlib  # noqa: PLC0415 -- stores with versions of their own do without, and it loads OpenSSL

    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, key=key, digest_size=8).hexdigest()
