"""
Writing and deleting one Secret so that nothing of anybody else is lost.

Rules of this file:

1. What is written is laid over what stands there. What is made is made only where nothing stands.
2. A Secret that holds keys of others is not deleted.
3. What is not compared by the caller is tried again when others cross it, a few times.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import BackendUnavailableError, ConflictError, ReadOnlyError
from strongroom.model.entry import MUST_BE_ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from strongroom.vendors.kubernetes_objects import Held
    from strongroom.vendors.kubernetes_secrets import Secrets

__all__ = ["MANAGED", "SecretWrites", "Writing"]

MANAGED = {"app.kubernetes.io/managed-by": "strongroom"}
_AUTHOR = "strongroom-author"
_ATTEMPTS = 4
_VERSION = re.compile(r"[1-9][0-9]*")


class Writing(NamedTuple):
    """
    One write of a Secret.

    Args:
        name: of the Secret.
        data: by key, in base64; None takes a key away.
        expected: as of `Draft.expected_version`.
        author: kept as an annotation.
        labels: of a Secret that is made.
    """

    name: str
    data: Mapping[str, str | None]
    expected: str | None
    author: str
    labels: Mapping[str, str] = MANAGED

    def __repr__(self) -> str:
        return f"Writing({self.name!r}, …)"  # a debugger and a traceback's locals print it


class SecretWrites:
    """
    Writes to Secrets.

    Args:
        place: the backend's name, for messages.
        secrets: of a namespace.
    """

    def __init__(self, place: str, secrets: Secrets) -> None:
        self._place = place
        self._secrets = secrets

    def write(self, writing: Writing) -> str:
        """
        Write, and give the version that stands then.

        Raises:
            ConflictError: another version stands than is expected.
        """
        if writing.expected == MUST_BE_ABSENT:
            return self._made(writing) or self.conflict(writing.name)
        if writing.expected is not None:
            return self._compared(writing)
        for _ in range(_ATTEMPTS):
            made = self._laid(writing, None) or self._made(writing)
            if made is not None:
                return made
        raise self._restless(writing.name)

    def _made(self, writing: Writing) -> str | None:
        given = {key: text for key, text in writing.data.items() if text is not None}
        notes = {_AUTHOR: writing.author}
        return self._secrets.create(writing.name, given, labels=writing.labels, notes=notes)

    def _laid(self, writing: Writing, version: str | None) -> str | None:
        notes = {_AUTHOR: writing.author}
        return self._secrets.patch(writing.name, writing.data, version=version, notes=notes)

    def _compared(self, writing: Writing) -> str:
        expected, made = writing.expected, None
        # Anything else never was a version of this store, and one that reads as 0 would compare nothing.
        if expected is not None and _VERSION.fullmatch(expected):
            try:
                made = self._laid(writing, expected)
            except ConflictError:
                made = None
        return made or self.conflict(writing.name)

    def conflict(self, name: str) -> str:
        """
        Say that another version stands, and which.

        Raises:
            ConflictError: always.
        """
        held = self._secrets.get(name)
        raise ConflictError(
            f"the Secret {name} of the backend {self._place} changed meanwhile, or exists",
            current_version=None if held is None else held.version,
        )

    def erase(self, find: Callable[[], Held | None], mine: Collection[str], expected: str | None) -> bool:
        """
        Delete the Secret that *find* gives, and tell whether there was one.

        Args:
            find: gives it as it stands now, or None.
            mine: the keys that may go with it.
            expected: only this version.

        Raises:
            ConflictError: another version stands.
            ReadOnlyError: it holds other keys.
        """
        for _ in range(_ATTEMPTS):
            held = find()
            if held is None:
                return False
            if not held.data.keys() <= set(mine):
                raise ReadOnlyError(
                    f"the Secret {held.name} of the backend {self._place} has other keys too and stays",
                    hint="take its key away by hand: kubectl edit secret",
                )
            if expected is not None and expected != held.version:
                self.conflict(held.name)
            try:
                return self._secrets.delete(held.name, version=held.version)
            except ConflictError:
                if expected is not None:
                    self.conflict(held.name)
        raise self._restless("to delete")

    def _restless(self, name: str) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"the Secret {name} of the backend {self._place} changes all the time", backend=self._place
        )
