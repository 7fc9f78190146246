"""
Google Secret Manager, at the names Airflow's CloudSecretManagerBackend reads.

| Ref | secret |
|---|---|
| connection `orders_db` | `airflow-connections-orders_db` |
| variable `region` | `airflow-variables-region` |
| variable `region` of team `data` | `airflow-variables-data--region` |

Rules of this file:

1. A read is one request. Denied is never absent, and a version that is disabled or destroyed is neither.
2. A version is added to a secret; a secret that is not there is made first. Deleting takes the secret with
   all its versions: Google keeps nothing to bring back.
3. Logging in, gRPC and REST are `vendors/google.py`; checksums and half-way failures `google_secrets.py`.

Every option: docs/backends/gcp_secret_manager.md.

Source: apache-airflow-providers-google 22.8.0; google-cloud-secret-manager 2.32; the reference of the API v1.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from strongroom.backend import Fetched, Health, Naming, WritingPathBackend, ephemeral_version
from strongroom.backend.naming import WORDS, prefix_option
from strongroom.backend.parallel import together
from strongroom.errors import (
    BackendConfigError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.model.entry import MUST_BE_ABSENT, Entry, Summary, VersionInfo
from strongroom.model.ref import Ref
from strongroom.model.shape import Shape
from strongroom.vendors.google import GoogleAccess, GoogleSession
from strongroom.vendors.google_policy import least_policy, rights
from strongroom.vendors.google_secrets import AUTHOR, LATEST, GoogleSecrets
from strongroom.vendors.index import NameIndexes
from strongroom.vendors.sessions import Sessions, access_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from strongroom.model.entry import Draft
    from strongroom.model.ref import Kind
    from strongroom.vendors.google_secrets import Version

__all__ = ["BACKEND", "GoogleSecretManager", "GoogleSecretManagerOptions"]

_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9_-]*#?", re.ASCII)
_WHICH = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)  # a version: latest, a number, an alias
_COMPARED = 100  # versions of a history whose values are compared, the newest
_STATUS: Mapping[str, Literal["ready", "error", "unknown"]] = {
    "yes": "ready",
    "no": "error",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleSecretManagerOptions(GoogleAccess):
    """
    Where things stand; where Google is and who we are is `GoogleAccess`.

    Args:
        connections_prefix: what the names of connections begin with; with `#` at its end the one secret that
            holds all of them; None or False when this store keeps none.
        variables_prefix: likewise.
        config_prefix: likewise.
        sep: stands between a prefix and a name.
        version: `latest`, a number or an alias: which one is read.
        use_team_secrets_path: a team's names begin with `<prefix><sep><team>--`; global ones hold no `--`.
        connection_shape: what connections are written as.
        replica_locations: where the values of new secrets are kept; unsaid, Google chooses.
        annotate: note on a secret what it holds and who wrote which version.
    """

    connections_prefix: bool | str | None = "airflow-connections"
    variables_prefix: bool | str | None = "airflow-variables"
    config_prefix: bool | str | None = "airflow-config"
    sep: str = "-"
    version: str = LATEST
    use_team_secrets_path: bool = False
    connection_shape: Shape = "given"
    replica_locations: tuple[str, ...] = ()
    annotate: bool = True


class GoogleSecretManager(WritingPathBackend[GoogleSecretManagerOptions]):
    """
    Entries as secrets of one project, or of one region of it.

    A version is the number of a secret's version. There is no compare-and-set; that nothing is there can be
    made sure of.

    Trust: Google's answers are data; its words are compared and never shown.
    Threads: may be used from several threads at once, and after a fork; one login for all of them.

    Raises:
        BackendConfigError: options that contradict one another.
    """

    options_type = GoogleSecretManagerOptions
    needs_environ = True
    needs_sessions = True
    can_create_only: ClassVar[bool] = True
    max_text_bytes: ClassVar[int] = 65_536

    def __init__(
        self,
        name: str,
        options: GoogleSecretManagerOptions,
        clock: Callable[[], datetime],
        *,
        environ: Mapping[str, str] | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        super().__init__(name, options, _naming(name, options), clock)
        if not _WHICH.fullmatch(options.version):
            raise BackendConfigError(
                f"backend.{name}.version must be latest, a number or an alias", hint='version = "latest"'
            )
        self._seed = os.urandom(16)
        self._sessions = Sessions() if sessions is None else sessions
        access = access_of(cast("GoogleAccess", options), GoogleAccess)
        self._session = self._sessions.get(
            access, lambda: GoogleSession(access, place=name, environ=environ or {}, clock=clock), user=self
        )
        self._secrets = GoogleSecrets(self._session, name)
        self._indexes = NameIndexes(self._names)

    @property
    def is_circuit_open(self) -> bool:
        """Whether the store is not asked for a while, because it failed."""
        return self._session.is_circuit_open

    def close(self) -> None:
        self._sessions.release(self)

    # --- reading ---

    def _fetch(self, path: str) -> Fetched | None:
        return self._accessed(path, self.options.version)

    def _accessed(self, path: str, version: str) -> Fetched | None:
        found = self._secrets.access(path, version)
        return None if found is None else Fetched(text=found[0], version=found[1])

    # --- writing ---

    def _store(self, path: str, text: str, *, expected: str | None, draft: Draft) -> str | None:
        if not text:
            raise InvalidInputError(
                f"the backend {self.name} holds no empty values", hint="write one space, or keep it elsewhere"
            )
        try:
            return self._written(path, text, expected, draft)
        finally:
            self._indexes.forget()

    def _store_object(
        self, path: str, held: Mapping[str, object], *, expected: str | None, draft: Draft
    ) -> str | None:
        if self.options.version != LATEST:
            # *held* was read from it, and what was added since would be lost.
            raise ReadOnlyError(
                f"the backend {self.name} reads another version of the secret {path} than its latest, and "
                "changes nothing in it",
                hint=f'set version = "latest" for backend.{self.name}, or write by a backend that has it',
            )
        return super()._store_object(path, held, expected=expected, draft=draft)

    def _written(self, path: str, text: str, expected: str | None, draft: Draft) -> str:
        version = None if expected == MUST_BE_ABSENT else self._secrets.add(path, text)
        if version is None:
            notes = self._notes(path, draft) if self.options.annotate else {}
            is_new = self._secrets.create(path, self.options.replica_locations, notes)
            if not is_new and expected == MUST_BE_ABSENT:
                self._claim(path, draft)
            version = self._secrets.fill(path, text)
            if is_new and version == "1":
                return version  # its author came with the secret
        if self.options.annotate:
            self._secrets.annotate(path, version, draft.author)
        return version

    def _notes(self, path: str, draft: Draft) -> dict[str, str]:
        notes = {f"{AUTHOR}1": draft.author[:100]}
        if self.naming.path(draft.ref) == path:
            kind, name, team = draft.ref
            notes["strongroom-name"] = f"{kind}/{f'{team}/' if team else ''}{name}"
        return notes

    def _claim(self, path: str, draft: Draft) -> None:
        """Take a secret that is there for this write, if nothing was ever put into it; or refuse."""
        current = None
        with suppress(MalformedEntryError):  # one that cannot be read is something all the same
            found = self._accessed(path, LATEST)
            if found is None and self._secrets.claim(path, draft.author, self._clock()):
                return
            current = None if found is None else found.version
        raise ConflictError(
            f"the secret {path} of the backend {self.name} exists",
            current_version=current,
            hint="if it holds no version: write again in a minute, or without expecting it to be absent",
        )

    def _erase(self, path: str, *, expected: str | None) -> bool:
        del expected  # this store compares none, which is said before it comes here
        try:
            return self._secrets.delete(path)
        finally:
            self._indexes.forget()

    # --- listing ---

    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        """
        As `Listable`; the project is listed once for all pages that are asked for within 10 s.

        A secret without a version, or whose latest is disabled, is listed too.

        Raises:
            AccessDeniedError: the account lacks `secretmanager.secrets.list`.
        """
        names = self._seam(lambda: self._indexes.names(kind, team, prefix=prefix, after=after, limit=limit))
        return [Summary(ref=Ref(kind, name, team), backend=self.name) for name in names]

    def _names(self, kind: Kind, team: str | None) -> Iterable[str]:
        paths = [
            path for folder in self.naming.beginnings(kind, team) for path in self._secrets.names(folder)
        ]
        for path in (*paths, *self._keys_held(kind, team)):
            ref = self.naming.ref(path, kind, team)
            if ref is not None:
                yield ref.name

    # --- versions ---

    def history(self, ref: Ref) -> Sequence[VersionInfo]:
        """
        As `Versioned`, with the state of a version that cannot be read as its comment.

        The newest hundred are compared with one another; an author is known where this product wrote. Of an
        entry in a secret that holds many there is no history of its own: empty.

        Raises:
            AccessDeniedError: the account lacks `secretmanager.versions.list` or `secretmanager.secrets.get`.
        """
        return self._seam(lambda: self._history(ref))

    def _history(self, ref: Ref) -> Sequence[VersionInfo]:
        path = self._own(ref)
        versions = [] if path is None else self._secrets.versions(path)
        if path is None or not versions:
            return []
        notes, aliases = self._secrets.described(path)
        which = self.options.version
        current = versions[0].number if which == LATEST else str(aliases.get(which, which))
        same = self._same(path, [one.number for one in versions if one.state == "ENABLED"][:_COMPARED])
        return [_told(one, current, same, notes.get(f"{AUTHOR}{one.number}", "")) for one in versions]

    def _own(self, ref: Ref) -> str | None:
        """Give the secret that is *ref* alone, not one that holds it among others."""
        path = self.naming.path(ref)
        return None if path is None or self.naming.holder(path) is not None else path

    def _same(self, path: str, numbers: Sequence[str]) -> Mapping[str, str]:
        """Give for each version the newest older one with the same value, of those that may be read."""

        def mark(number: str) -> str | None:
            found = self._tried_to(lambda: self._accessed(path, number))
            return ephemeral_version(self._seed, found.text) if isinstance(found, Fetched) else None

        marks = together(mark, numbers, threads=self.parallel, late=lambda: None, place=self.name)
        same: dict[str, str] = {}
        seen: dict[str, str] = {}
        for number in reversed(numbers):
            value = marks[number]
            if value is not None:
                same.update({number: seen[value]} if value in seen else {})
                seen[value] = number
        return same

    def read_version(self, ref: Ref, version: str) -> Entry:
        """
        As `Versioned`, of a version by its number.

        Raises:
            MalformedEntryError: it is disabled or destroyed, which is its `reason`.
        """
        return self._seam(lambda: self._read_version(ref, version))

    def _read_version(self, ref: Ref, version: str) -> Entry:
        path = self._own(ref)
        found = self._accessed(path, version) if path and _VERSION.fullmatch(version) else None
        if found is None:
            raise NotFoundError(f"{ref} has no such version in the backend {self.name}")
        return self._entry(ref, found)

    def undelete(self, ref: Ref, *, author: str) -> str:
        """
        Enable the last version again, if it is disabled. A deleted secret is gone with all of its versions.

        Raises:
            NotFoundError: there is no secret, or its last version was destroyed.
            ConflictError: it is enabled.
        """
        del author  # Google notes by itself who enables a version
        return self._seam(lambda: self._undelete(ref))

    def _undelete(self, ref: Ref) -> str:
        path = self._own(ref)
        versions = [] if path is None else self._secrets.versions(path)
        if path is None or not versions or versions[0].state == "DESTROYED":
            raise NotFoundError(
                f"nothing is left of {ref} in the backend {self.name}",
                hint="Google keeps nothing of a secret that was deleted, or of a version that was destroyed",
            )
        last = versions[0]
        if last.state == "ENABLED":
            raise ConflictError(
                f"{ref} is not deleted in the backend {self.name}", current_version=last.number
            )
        self._secrets.enable(path, last.number)
        return last.number

    # --- checking ---

    def check(self) -> Health:
        """
        Tell who we are and what we may, without writing: three requests at most.

        Writing can only be told where a secret is found to ask about.
        """
        identity, ends = "", {}
        try:
            folder = next(iter(self.naming.beginnings()), "")
            whole = next(iter(self.naming.secrets()), "")
            identity = self._seam(self._session.identity)
            message, may = self._seam(lambda: rights(self._session, folder, whole))
        except StrongroomError as error:
            return Health.failed(error, identity=identity)
        if self._session.certificate_ends is not None:
            ends["server certificate"] = self._session.certificate_ends
        return Health(status=_STATUS[may["read"]], message=message, ends=ends, identity=identity, may=may)

    def least_policy(self, verbs: Collection[str]) -> str:
        """As `Provisioning`: commands of gcloud."""
        beginnings, whole = self.naming.beginnings(), sorted(self.naming.secrets())
        return least_policy(self._session, verbs, beginnings, whole, name=self.name)


# --- options -------------------------------------------------------------------------------------------


def _naming(name: str, options: GoogleSecretManagerOptions) -> Naming:
    return Naming(
        {kind: _prefix(name, f"{word}_prefix", options) for kind, word in WORDS.items()},
        separator="",  # it is part of the prefixes: Airflow keeps it where one is empty
        team_separator="--" if options.use_team_secrets_path else None,
        is_spellable=lambda path: _SECRET_ID.fullmatch(path) is not None,
    )


def _prefix(name: str, key: str, options: GoogleSecretManagerOptions) -> str | None:
    given = prefix_option(name, options, key)
    if not isinstance(given, str):
        return None
    if not _PREFIX.fullmatch(given) or not _PREFIX.fullmatch(options.sep):
        raise BackendConfigError(f"backend.{name}.{key} and sep must be of letters, digits, - and _")
    return given if given.endswith("#") else f"{given}{options.sep}"


def _told(version: Version, current: str, same: Mapping[str, str], author: str) -> VersionInfo:
    is_enabled = version.state == "ENABLED"
    return VersionInfo(
        version=version.number,
        created_at=version.created_at,
        author=author,
        comment="" if is_enabled else version.state.lower(),
        is_current=is_enabled and version.number == current,
        same_as=same.get(version.number),
    )


BACKEND = GoogleSecretManager
