"""
The key-value engine of Vault or OpenBao, versions 1 and 2, as the HTTP API speaks of it: objects at paths.

Not for what an object means as a connection or variable (`backends/vault.py`), nor for which policies these
questions need (`vault_kv_policy.py`).

Rules of this file:

1. A mount that is not there or of the other version is trouble with the setting to change, never an
   absence. Where a name says which mount, nothing is written before it is known to be such an engine.
2. A write is asked once: one whose answer was lost may have been made, and says so.
3. The number of a version is what is compared. A deleted version is no version that stands: writing over
   it is writing where nothing is.

Source: the HTTP API of OpenBao 2.7 (secret/kv), run against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ConflictError,
    StrongroomError,
)
from strongroom.model.entry import MUST_BE_ABSENT
from strongroom.model.secret import Secret
from strongroom.vendors.vault_answer import complaints, member, misshapen, opened
from strongroom.vendors.vault_mount import Mounts
from strongroom.vendors.vault_version import KeyFacts, facts_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from strongroom.vendors.transport import Reply
    from strongroom.vendors.vault import VaultSession

__all__ = ["Kept", "KeyValue"]

_OK, _DONE, _REFUSED, _DENIED, _ABSENT = 200, 204, 400, 403, 404
_MISSING = object()
_TRIES = 3  # to write over whatever stands, where the mount insists on a version


class Kept(NamedTuple):
    """
    What stands at a path.

    Args:
        held: JSON, mostly an object of fields.
        version: the engine's number; None where it keeps none.
    """

    held: object
    version: int | None

    def __repr__(self) -> str:
        return f"Kept(…, version={self.version})"


class KeyValue:
    """
    Speak to the engine at one mount, or at those that paths begin with.

    Args:
        session: asks the server.
        place: the backend's name, for messages.
        mount: where the engine is mounted; "" when the first segment of each path says it.
        is_versioned: whether it is version 2.
        clock: wall clock, UTC: a version may be set to be deleted later.
        wrap_ttl: ask that what is read comes wrapped, for so long; None asks for it plainly.

    Threads: may be used from several threads at once.
    """

    def __init__(
        self,
        session: VaultSession,
        *,
        place: str,
        mount: str,
        is_versioned: bool,
        clock: Callable[[], datetime],
        wrap_ttl: timedelta | None = None,
    ) -> None:
        self._session = session
        self._place = place
        self._mount = mount
        self._is_versioned = is_versioned
        self._clock = clock
        self._wrap = (
            {} if wrap_ttl is None else {"x-vault-wrap-ttl": f"{max(1, round(wrap_ttl.total_seconds()))}s"}
        )
        self._mounts = Mounts(session, place=place, version=2 if is_versioned else 1)

    # --- reading ---

    def get(self, path: str, version: int | None = None) -> Kept | None:
        """
        Give what stands at *path*, or stood there as *version*; None when nothing does, or it was deleted.

        Raises:
            AccessDeniedError, BackendConfigError, BackendUnavailableError: as their names say.
        """
        mount, where = self._where("data", path)
        if not (self._mount or self._is_versioned):
            # Below `<mount>/data` nothing but a key-value engine answers; without it a name could reach
            # `auth/token/lookup-self` and the like.
            self._mounts.check(mount, must_be_known=True)
        query = "" if version is None else f"?version={version}"
        reply = self._session.request("GET", f"/v1/{quote(where)}{query}", headers=self._wrap)
        if reply.status == _OK:
            return self._found(mount, self._unwrapped(where, opened(reply, self._place)))
        if reply.status != _ABSENT:
            raise self._refusal(mount, ("read",), where, reply)
        self._mounts.check_absence(mount, reply, is_led=not self._mount)
        return None

    def _found(self, mount: str, found: dict[str, object] | None) -> Kept | None:
        holder = member(found, dict, "data") if self._is_versioned else found
        version = member(holder, int, "metadata", "version")
        held = None if holder is None else holder.get("data", _MISSING)
        # Only versions can be deleted. Without them null is an answer held back: to be approved.
        if held is _MISSING or (version if self._is_versioned else held) is None:
            self._mounts.check(mount)
            raise misshapen(self._place)
        self._mounts.know(mount)
        return None if held is None else Kept(held, version)  # None: deleted, where a proxy drops the status

    def _unwrapped(self, where: str, found: dict[str, object] | None) -> dict[str, object] | None:
        """Take out what an answer wraps, once, if it was wrapped where it was asked for."""
        wrap = member(found, dict, "wrap_info")
        if wrap is None:
            return found
        token = member(wrap, str, "token")
        if token is None or member(wrap, str, "creation_path") != where:
            raise misshapen(self._place)
        body = {"token": Secret(token)}
        inner = self._session.request("POST", "/v1/sys/wrapping/unwrap", body=body, is_repeatable=False)
        if inner.status == _OK:
            return opened(inner, self._place)
        reason = "update on sys/wrapping/unwrap"
        raise AccessDeniedError(
            f"what the backend {self._place} wraps could not be unwrapped: somebody else was first, it waits "
            "for an approval, or no policy allows it",
            reason=reason,
            hint='add the policy path "sys/wrapping/unwrap" { capabilities = ["update"] }, '
            "and look for the path in the server's audit log",
        )

    def facts(self, path: str) -> KeyFacts | None:
        """
        Give what is known of the versions at *path*; None when nothing was ever there.

        Raises:
            As `get`; BackendUnavailableError too for an answer of another shape.
        """
        mount, where = self._where("metadata", path)
        reply = self._session.request("GET", f"/v1/{quote(where)}")
        if reply.status == _ABSENT:
            self._mounts.check_absence(mount, reply, is_led=not self._mount)
            return None
        if reply.status != _OK:
            raise self._refusal(mount, ("read",), where, reply)
        facts = facts_in(member(opened(reply, self._place), dict, "data"), self._clock())
        if facts is None:
            raise misshapen(self._place)
        return facts

    def keys(self, folder: str, after: str, limit: int) -> Sequence[str]:
        """
        Give the names and, with a "/" at their end, folders right below *folder*; as `Folders` wants them.

        Raises:
            As `get`.
        """
        _, where = self._where("metadata", folder.rstrip("/"))
        query = f"?list=true&limit={limit}" + (f"&after={quote(after, safe='')}" if after else "")
        reply = self._session.request("GET", f"/v1/{quote(where)}{query}")
        if reply.status not in (_OK, _ABSENT):
            raise self._refusal(self._mount, ("list",), where, reply)
        if reply.status == _ABSENT:
            self._mounts.check_absence(self._mount, reply)
            return ()
        data = member(opened(reply, self._place), dict, "data")
        # Of an empty folder an engine that does not know `limit` warns of that, with this status and no keys.
        keys = [] if data == {} and complaints(reply) else member(data, list, "keys")
        if not keys:
            self._mounts.check(self._mount)
        if keys is None or not all(isinstance(key, str) for key in keys):
            raise misshapen(self._place)
        self._mounts.know(self._mount)
        return keys

    def check_mount(self) -> None:
        """
        Ask what is mounted where the settings say, whatever is known; nothing where paths say it.

        Raises:
            BackendConfigError, AccessDeniedError: as `Mounts.check`.
        """
        if self._mount:
            self._mounts.check_now(self._mount)

    # --- writing ---

    def put(self, path: str, fields: Mapping[str, object], *, expected: str | None) -> int | None:
        """
        Write *fields* as what stands at *path* and give the new version; None where there are none.

        Args:
            path: as the engine has it.
            fields: an object.
            expected: the version that must stand; `MUST_BE_ABSENT`: nothing may; None: whatever does.

        Raises:
            ConflictError: another version stands.
            InvalidInputError: the server cannot hold so much, or the path begins with no mount.
            As `get`.
        """
        if expected is None:
            return self._put_over(path, fields)
        compared = 0 if expected == MUST_BE_ABSENT else self._standing(path, expected)
        number = self._put_at(path, fields, compared)
        if number is None and expected == MUST_BE_ABSENT:
            # The engine counts a deleted version as one that stands.
            facts = self.facts(path)
            if facts is not None and not facts.stands:
                number = self._put_at(path, fields, facts.current)
        if number is None:
            raise self._conflict(path)
        return number

    def _put_over(self, path: str, fields: Mapping[str, object]) -> int | None:
        mount, reply = self._sent(path, fields, None)
        if reply.status == _REFUSED and "check-and-set parameter required" in complaints(reply):
            for _ in range(_TRIES):
                facts = self.facts(path)
                number = self._put_at(path, fields, 0 if facts is None else facts.current)
                if number is not None:
                    return number
            raise self._conflict(path)
        return self._written(mount, path, reply)

    def _put_at(self, path: str, fields: Mapping[str, object], compared: int) -> int | None:
        """Write over exactly the version *compared*; None when another is the latest."""
        mount, reply = self._sent(path, fields, compared)
        if reply.status == _REFUSED and "check-and-set parameter did not match" in complaints(reply):
            return None
        return self._written(mount, path, reply)

    def _sent(self, path: str, fields: Mapping[str, object], compared: int | None) -> tuple[str, Reply]:
        mount, where = self._where("data", path)
        self._check_led(mount)
        body: dict[str, object] = {"data": Secret(fields)}
        if compared is not None:
            body["options"] = {"cas": compared}
        sent = body if self._is_versioned else {key: Secret(value) for key, value in fields.items()}
        return mount, self._session.request("POST", f"/v1/{quote(where)}", body=sent, is_repeatable=False)

    def _written(self, mount: str, path: str, reply: Reply) -> int | None:
        if reply.status in (_OK, _DONE) and not self._is_versioned:
            self._mounts.know(mount)
            return None
        version = member(opened(reply, self._place), int, "data", "version") if reply.status == _OK else None
        if version is not None:
            self._mounts.know(mount)
            return version
        if reply.status in (_OK, _DONE):  # an engine of the other version took it as its own
            self._mounts.check_now(mount)
            raise misshapen(self._place)
        raise self._refusal(mount, ("create", "update"), self._where("data", path)[1], reply)

    def _standing(self, path: str, expected: str) -> int:
        """
        Give the number of the version *expected* if it stands.

        The engine would let it be written over when it was deleted, so that is looked at first. A delete
        between this look and the write is not seen; another write is.
        """
        facts = self.facts(path)
        if facts is None or not facts.stands or str(facts.current) != expected:
            raise self._conflict(path, facts)
        return facts.current

    def remove(self, path: str, *, expected: str | None) -> bool:
        """
        Delete what stands at *path*, in version 2 so that it can be brought back; False when nothing does.

        Raises:
            ConflictError: another version stands than the one *expected*.
            As `get`.
        """
        mount, where = self._where("data", path)
        self._check_led(mount)
        if not self._is_versioned:
            return self.get(path) is not None and self._is_done("DELETE", mount, where, None, ("delete",))
        facts = self.facts(path)
        if facts is None or not facts.stands:
            if expected:
                raise self._conflict(path, facts)
            return False
        if expected is None:
            return self._is_done("DELETE", mount, where, None, ("delete",))
        if str(facts.current) != expected:
            raise self._conflict(path, facts)
        # That very version: what somebody writes meanwhile stands, as if it had come after.
        _, named = self._where("delete", path)
        return self._is_done("POST", mount, named, {"versions": [facts.current]}, ("update",))

    def undelete(self, path: str, version: int) -> None:
        """
        Bring *version* back.

        Raises:
            As `get`.
        """
        mount, where = self._where("undelete", path)
        self._check_led(mount)
        self._is_done("POST", mount, where, {"versions": [version]}, ("update",))

    def _is_done(
        self, method: str, mount: str, where: str, body: dict[str, object] | None, verbs: tuple[str, ...]
    ) -> bool:
        reply = self._session.request(method, f"/v1/{quote(where)}", body=body)
        if reply.status not in (_OK, _DONE):
            raise self._refusal(mount, verbs, where, reply)
        return True

    # --- inside ---

    def _where(self, door: str, path: str) -> tuple[str, str]:
        """Give the mount of *path*, and the path to ask for behind *door*."""
        mount, rest = (self._mount, path) if self._mount else (path.partition("/")[0], path.partition("/")[2])
        return mount, "/".join(part for part in (mount, door if self._is_versioned else "", rest) if part)

    def _check_led(self, mount: str) -> None:
        """Let nothing be changed at a mount that a name says, unless it is a key-value engine."""
        if not self._mount:
            self._mounts.check(mount, must_be_known=True)

    def _conflict(self, path: str, facts: KeyFacts | None = None) -> ConflictError:
        found = facts or self.facts(path)
        current = None if found is None or not found.stands else str(found.current)
        stands = "nothing stands" if current is None else f"the version {current} stands"
        return ConflictError(
            f"the entry changed meanwhile in the backend {self._place}: {stands}", current_version=current
        )

    def _refusal(self, mount: str, verbs: tuple[str, ...], where: str, reply: Reply) -> StrongroomError:
        words = complaints(reply)
        if reply.status == _ABSENT:
            self._mounts.check_absence(mount, reply)
        self._mounts.check(mount)
        if reply.status != _DENIED:
            hint = "it upgrades the mount to versions; try again" if "Upgrading" in words else None
            return BackendUnavailableError(
                f"the backend {self._place} answered with the status {reply.status}",
                backend=self._place,
                hint=hint,
            )
        below = where if verbs == ("list",) else where.rpartition("/")[0]
        allowed = ", ".join(f'"{verb}"' for verb in verbs)
        reason = f"{' or '.join(verbs)} on {where}"
        return AccessDeniedError(
            f"no policy of the token of the backend {self._place} allows {reason}",
            reason=reason,
            hint=f'add the policy path "{below}/*" {{ capabilities = [{allowed}] }}, or check mount_point',
        )
