"""
Tell an absence from a setting that is wrong: what is mounted where, and as which version.

Not for what stands in a mount (`backends/vault.py`).

Rules of this file:

1. A mount is asked about (`sys/internal/ui/mounts`, which needs no policy of its own) after the first
   answer that something misconfigured would give too, and never again once it is as configured.
2. What the server does not tell is no finding: the answer to the question itself stands.

Source: OpenBao 2.7, run against both versions of the engine as root and with least policies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    StrongroomError,
)
from strongroom.vendors.vault_answer import complaints, member, misshapen, no_namespace, opened

if TYPE_CHECKING:
    from strongroom.vendors.transport import Reply
    from strongroom.vendors.vault import VaultSession

__all__ = ["Mounts"]

_OK = 200
_MAX_KNOWN = 1000  # where names lead, their authors choose the mounts
_KEY_VALUE = ("kv", "generic")


class _Facts(NamedTuple):
    path: str
    type: str
    version: str


class Mounts:
    """
    What is known of the mounts of one server.

    Args:
        session: asks it.
        place: the backend's name, for messages.
        version: of the key-value engine, as configured.

    Threads: may be used from several threads at once; several may ask about a mount together.
    """

    def __init__(self, session: VaultSession, *, place: str, version: int) -> None:
        self._session = session
        self._place = place
        self._version = version
        self._known: set[str] = set()

    def know(self, mount: str) -> None:
        """Remember that *mount* answered as configured."""
        if mount not in self._known:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known.add(mount)

    def check(self, mount: str, *, must_be_known: bool = False) -> None:
        """
        Ask what is mounted at *mount*, unless that is known.

        Raises:
            BackendConfigError: it is not what the settings say.
            AccessDeniedError: it must be known, and the server does not tell.
        """
        if mount in self._known:
            return
        try:
            facts = self._facts(mount)
        except StrongroomError:
            if must_be_known:
                raise
            return  # no answer is no finding: it is asked again after the next absence
        if facts is not None:
            self._compare(mount, facts)
        elif must_be_known:
            raise AccessDeniedError(
                f"no policy of the token of the backend {self._place} names the mount {mount}",
                reason=f"read on {mount}/",
                hint=f"check backend.{self._place}.mount_point, then the policies",
            )
        self.know(mount)

    def check_now(self, mount: str) -> None:
        """As `check`, for somebody who wants to know how it is now: nothing known counts."""
        self._known.discard(mount)
        self.check(mount, must_be_known=True)

    def check_absence(self, mount: str, reply: Reply, *, is_led: bool = False) -> None:
        """
        Let the absence pass that *reply* tells, if it is one of the entry alone.

        Args:
            mount: where it was looked for.
            reply: with the status 404.
            is_led: a name said which mount: then one that is not there holds nothing, and that is all.

        Raises:
            BackendConfigError: it is one of the mount, the namespace or the version of the engine.
            BackendUnavailableError: it complains of something else.
        """
        words = complaints(reply)
        if "namespace not found" in words:
            raise no_namespace(self._place)
        if "versioned K/V" in words and self._version == 1:
            raise self._other_version(2)
        if "no handler for route" not in words:
            self.check(mount)
            if member(opened(reply, self._place), list, "errors"):  # of a name that holds nothing it has none
                raise misshapen(self._place)
        elif not is_led:
            raise BackendConfigError(
                f"the backend {self._place} has no mount {mount}",
                hint=f"set backend.{self._place}.mount_point to where the engine is mounted",
            )

    def _facts(self, mount: str) -> _Facts | None:
        reply = self._session.request("GET", f"/v1/sys/internal/ui/mounts/{quote(mount)}")
        data = member(opened(reply, self._place), dict, "data") if reply.status == _OK else None
        path, kind = member(data, str, "path"), member(data, str, "type")
        if path is None or kind is None:
            return None
        return _Facts(path, kind, member(data, str, "options", "version") or "1")

    def _compare(self, mount: str, facts: _Facts) -> None:
        real = facts.path.strip("/")
        if facts.type not in _KEY_VALUE:
            raise BackendConfigError(
                f"the mount {real} of the backend {self._place} is no key-value engine",
                hint=f"set backend.{self._place}.mount_point to where one is mounted",
            )
        if real != mount:
            below = mount[len(real) + 1 :]
            raise BackendConfigError(
                f"the backend {self._place} has no mount {mount}, but {real}",
                hint=f'set mount_point = "{real}" and begin the paths with "{below}/"',
            )
        version = 2 if facts.version == "2" else 1
        if version != self._version:
            raise self._other_version(version)

    def _other_version(self, version: int) -> BackendConfigError:
        return BackendConfigError(
            f"the backend {self._place} reads a mount of version {version} as version {3 - version}",
            hint=f"set kv_engine_version = {version}",
        )
