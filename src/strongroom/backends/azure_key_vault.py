"""
Azure Key Vault: one secret an entry, under the names of Airflow's `AzureKeyVaultBackend`.

| Ref | secret |
|---|---|
| connection `orders_db` | `airflow-connections-orders-db` |
| variable `region` | `airflow-variables-region` |
| variable `region` of team `data` | `airflow-variables-data--region` |

Rules of this file:

1. A read is one request. What is disabled, expired or not yet valid is trouble, and never an absence.
2. A secret tagged for another name is not read, written or deleted under this one. What is written here is
   tagged; what stands beside it in the tags is kept.
3. Versions are the vault's. It compares none, so the last writer wins.

Every option: docs/backends/azure_key_vault.md. Logging in: `vendors/azure.py`; the vault:
`vendors/azure_vault.py`; names and their clashes: `vendors/azure_names.py`.

Source: apache-airflow-providers-microsoft-azure 15.2.1; the REST API of Key Vault, against a strict fake.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from strongroom.backend import Fetched, Health, WritingPathBackend
from strongroom.backend.naming import WORDS, prefix_option
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    StrongroomError,
)
from strongroom.model.entry import EntryState, Summary, VersionInfo
from strongroom.model.ref import KINDS
from strongroom.model.shape import Shape
from strongroom.vendors.azure import AzureAccess, AzureSession
from strongroom.vendors.azure_history import age, history_of
from strongroom.vendors.azure_names import AUTHOR_TAG, ID_TAG, TEAM_TAG, Names, Shelf
from strongroom.vendors.azure_policy import least_policy
from strongroom.vendors.azure_vault import KeyVault
from strongroom.vendors.sessions import Sessions, access_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime
    from typing import Literal

    from strongroom.model.entry import Draft, Entry
    from strongroom.model.ref import Kind, Ref
    from strongroom.vendors.azure_answer import SecretItem

__all__ = ["BACKEND", "AzureKeyVault", "AzureKeyVaultOptions"]

_Summaries = list[Summary]  # `list` is a method below
_Versions = list[VersionInfo]
_MAX_TAGS = 15
_WORDS = {"disabled": "is disabled", "expired": "is expired", "not_active": "is not active yet"}
_MAX_TAG = 256  # characters of a tag's value


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureKeyVaultOptions(AzureAccess):
    """
    Where things stand; how to log in is `AzureAccess`.

    Args:
        vault_url: `https://<vault>.vault.azure.net`.
        connections_prefix: one prefix or several, asked in order; "" for none; None or False when this vault
            keeps no connections. One that ends in `#` names a secret that holds many.
        variables_prefix: likewise.
        config_prefix: likewise.
        sep: stands after a prefix, and for each `_`.
        use_team_secrets_path: a team's names stand below `<prefix>-<team>--`, and global ones hold no `--`.
        connection_shape: how connections are written.
        purge: deleting is for good, where the vault allows it.
        api_version: of Key Vault; None for the SDK's own.
        verify_challenge_resource: False lets a challenge name any service: private clouds may need it.
    """

    vault_url: str
    connections_prefix: bool | tuple[str, ...] | str | None = "airflow-connections"
    variables_prefix: bool | tuple[str, ...] | str | None = "airflow-variables"
    config_prefix: bool | tuple[str, ...] | str | None = "airflow-config"
    sep: str = "-"
    use_team_secrets_path: bool = False
    connection_shape: Shape = "given"
    purge: bool = False
    api_version: str | None = None
    verify_challenge_resource: bool = True


class AzureKeyVault(WritingPathBackend[AzureKeyVaultOptions]):
    """
    Entries in one vault.

    Trust: the vault's answers are data; its words are compared and never shown.
    Threads: may be used from several threads at once, and after a fork; one login for all of them.
    Consistency: as `Backend`, except for lists, which are 10 s old at most.

    Args:
        environ: where what the options do not say of the login is looked for, as Azure's default does.
        sessions: shares the login with backends that log in alike; None for one of its own.

    Raises:
        BackendConfigError: options that contradict one another, or say too little.
    """

    options_type = AzureKeyVaultOptions
    needs_sessions = True
    needs_environ = True
    shapes: ClassVar[tuple[Shape, ...]] = ("given", "uri", "json")
    max_text_bytes: ClassVar[int] = 25_600
    hides_deleted: ClassVar[bool] = True
    """A vault tells no versions of what is deleted, and can bring it back all the same."""

    def __init__(
        self,
        name: str,
        options: AzureKeyVaultOptions,
        clock: Callable[[], datetime],
        environ: Mapping[str, str] | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._names = Names(
            name,
            {kind: _prefixes(name, f"{word}_prefix", options) for kind, word in WORDS.items()},
            separator=options.sep,
            keeps_teams=options.use_team_secrets_path,
        )
        super().__init__(name, options, self._names.naming, clock)
        self._sessions = Sessions() if sessions is None else sessions
        self._session = self._sessions.get(
            access_of(options, AzureAccess),
            lambda: AzureSession(
                access_of(options, AzureAccess), place=name, environ={} if environ is None else environ
            ),
            user=self,
        )
        try:
            self._vault = KeyVault(
                self._session,
                name,
                options.vault_url,
                api_version=options.api_version,
                verify_challenge=options.verify_challenge_resource,
            )
        except BackendConfigError:
            self._sessions.release(self)
            raise
        self._shelf = Shelf(self._names, self._vault.every, self._keys_held)

    @property
    def is_circuit_open(self) -> bool:
        """Whether the vault is not asked for a while, because it failed."""
        return self._vault.is_circuit_open

    def close(self) -> None:
        self._sessions.release(self)

    # --- reading ---

    def _fetch(self, path: str) -> Fetched | None:
        item = self._vault.get(self._names.spelled(path))
        if item is None or self._names.is_of_another(path, item.tags):
            return None
        return self._fetched_item(path, item)

    def _fetched_item(self, path: str, item: SecretItem) -> Fetched:
        now = self._clock()
        why = _why_not(item, now)
        if why or item.value is None:
            raise MalformedEntryError(
                f"the secret {item.name} in the backend {self.name} {_WORDS.get(why, 'has no value')}",
                backend=self.name,
                ref=path,
                reason=why or "malformed",
                hint="change its dates or enable it in the vault, or write a new version",
            )
        lifetime = None if item.expires is None else item.expires - now
        return Fetched(text=item.value, version=item.version or None, lifetime=lifetime)

    # --- writing ---

    def _store(self, path: str, text: str, *, expected: str | None, draft: Draft) -> str | None:
        del expected
        return self._set(path, text, draft, {ID_TAG: draft.ref.name, TEAM_TAG: draft.ref.team})

    def _store_object(
        self, path: str, held: Mapping[str, object], *, expected: str | None, draft: Draft
    ) -> str | None:
        del expected
        return self._set(path, _json(held), draft, {})  # it is nobody's name, so no name is tagged

    def _set(self, path: str, text: str, draft: Draft, ours: Mapping[str, str | None]) -> str | None:
        name = self._names.spelled(path)
        before = self._known(name, self._vault.get(name))
        self._check_twin(path, before)
        ours = {**ours, AUTHOR_TAG: draft.author[:_MAX_TAG]}
        try:
            made = self._vault.set(name, _body(self.name, text, before, ours))
        except ConflictError:
            before = self._recovered(path, name)
            try:
                made = self._vault.set(name, _body(self.name, text, before, ours))
            except StrongroomError as error:
                error.hint = "its deleted value was recovered and stands again; writing once more is safe"
                raise
        self._shelf.forget()
        return made.version or None

    def _known(self, name: str, item: SecretItem | None) -> SecretItem | None:
        """Give *item* with its tags, which a vault does not tell of one it gives no value of."""
        if item is None or item.value is not None:
            return item
        return max(self._vault.versions(name), key=age, default=item)

    def _recovered(self, path: str, name: str) -> SecretItem | None:
        """Bring back what was deleted under this name, since it holds the name; its versions go on."""
        self._check_twin(path, self._vault.deleted(name))
        return self._vault.recover(name)

    def _check_twin(self, path: str, item: SecretItem | None) -> None:
        if item is not None and self._names.is_of_another(path, item.tags):
            raise ConflictError(
                f"the secret {item.name} of the backend {self.name} is kept for another name, "
                f"as its tag {ID_TAG} says",
                hint="a vault spells _ and - alike, and large and small letters: choose another name",
            )

    def _erase(self, path: str, *, expected: str | None) -> bool:
        del expected
        name = self._names.spelled(path)
        item = self._known(name, self._vault.get(name))
        if item is None or self._names.is_of_another(path, item.tags) or not self._vault.delete(name):
            return False
        self._shelf.forget()
        if self.options.purge:
            try:
                self._vault.purge(name)
            except StrongroomError as error:
                error.hint = f"it is deleted, and not purged: {error.hint or 'purge it by hand'}"
                raise
        return True

    # --- listing ---

    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> _Summaries:
        """
        As `Listable`; a secret without our tag is given as it is spelled, with `-`.

        Raises:
            BackendConfigError: kinds share a prefix, so that only the values would tell them apart.
            AccessDeniedError: the identity may not list.
        """
        self._check_apart(kind, team)
        page = self._seam(partial(self._shelf.page, kind, team, prefix=prefix, after=after, limit=limit))
        return [self._summary(ref, item) for ref, item in page]

    def list_deleted(
        self, kind: Kind, *, team: str | None = None, prefix: str = "", after: str = "", limit: int = 1000
    ) -> _Summaries:
        """As `Recoverable`."""
        self._check_apart(kind, team)
        shelf = Shelf(self._names, self._vault.every_deleted)
        page = self._seam(partial(shelf.page, kind, team, prefix=prefix, after=after, limit=limit))
        return [self._summary(ref, item, is_deleted=True) for ref, item in page]

    def spell(self, ref: Ref) -> str | None:
        """Give the secret that *ref* is kept in; names that it cannot tell apart have the same."""
        path = self.naming.path(ref)
        return None if path is None else self._names.folded(path)

    def folded(self, ref: Ref) -> Summary | None:
        """As `Folding`: what `list` gives with `-` for `_`, or in other letters, and nobody tagged."""
        path = self.naming.path(ref)
        item = None if path is None or self.naming.holder(path) else self._seam(partial(self._shelf.at, path))
        if path is None or item is None or self._names.is_of_another(path, item.tags):
            return None
        return None if self._names.ref(item, ref.kind, ref.team) == ref else self._summary(ref, item)

    def _check_apart(self, kind: Kind, team: str | None) -> None:
        every = {
            other: {self._names.folded(folder) for folder in self.naming.folders(other, team)}
            for other in KINDS
        }
        if any(every[kind] & every[other] for other in KINDS if other != kind):
            raise BackendConfigError(
                f"the backend {self.name} cannot list: connections, variables or config share a prefix",
                hint="give each a prefix of its own",
            )

    def _summary(self, ref: Ref, item: SecretItem, *, is_deleted: bool = False) -> Summary:
        now = self._clock()
        is_expired = item.expires is not None and item.expires <= now
        return Summary(
            ref=ref,
            backend=self.name,
            version=item.version or None,
            changed_at=item.deleted or item.updated,
            is_deleted=is_deleted,
            state=EntryState.EXPIRED if is_expired else EntryState.UNKNOWN,
            problem=f"its tag {ID_TAG} says another name, so nobody reads it"
            if self._names.is_astray(item)
            else _WORDS.get(_why_not(item, now), ""),
        )

    # --- versions ---

    def history(self, ref: Ref) -> _Versions:
        """
        As `Versioned`. A secret that was deleted has none until it is brought back. Entries that share one
        secret have none of their own.
        """
        return self._seam(lambda: self._history(ref))

    def _history(self, ref: Ref) -> _Versions:
        name = self._secret(ref)
        current = None if name is None else self._current(ref, name)
        if name is None or current is None:
            return []
        return history_of(self._vault, name, current, threads=self.parallel, now=self._clock())

    def read_version(self, ref: Ref, version: str) -> Entry:
        """As `Versioned`; a version of a deleted secret cannot be read until that is brought back."""
        return self._seam(lambda: self._read_version(ref, version))

    def _read_version(self, ref: Ref, version: str) -> Entry:
        path, name = self.naming.path(ref), self._secret(ref)
        is_one = version.isascii() and version.isalnum()
        item = self._vault.get(name, version) if name is not None and is_one else None
        if path is None or item is None or self._names.is_of_another(path, item.tags):
            raise NotFoundError(f"the backend {self.name} has no such version of {ref}")
        return self._entry(ref, self._fetched_item(path, item))

    def undelete(self, ref: Ref, *, author: str) -> str:
        """As `Versioned`."""
        del author
        return self._seam(lambda: self._undelete(ref))

    def _undelete(self, ref: Ref) -> str:
        path, name = self.naming.path(ref), self._secret(ref)
        if name is not None and self._current(ref, name) is not None:
            raise ConflictError(f"{ref} in the backend {self.name} is not deleted")
        gone = None if name is None else self._vault.deleted(name)
        if path is None or name is None or gone is None or self._names.is_of_another(path, gone.tags):
            raise NotFoundError(f"the backend {self.name} has nothing deleted under {ref}")
        found = self._vault.recover(name)
        self._shelf.forget()
        return "" if found is None else found.version

    def _secret(self, ref: Ref) -> str | None:
        """Give the secret that *ref* has for itself."""
        path = self.naming.path(ref)
        return None if path is None or self.naming.holder(path) is not None else self._names.spelled(path)

    def _current(self, ref: Ref, name: str) -> SecretItem | None:
        item = self._known(name, self._vault.get(name))
        path = self.naming.path(ref)
        return None if item is None or path is None or self._names.is_of_another(path, item.tags) else item

    # --- checking ---

    def check(self) -> Health:
        """Tell whether it answers, as whom, and whether it may read and list: two requests, no value read."""
        may: dict[str, Literal["yes", "no", "unknown"]] = {"write": "unknown"}
        denied: dict[str, StrongroomError] = {}
        asks = (("read", partial(self._vault.get, self._probe())), ("list", self._vault.may_list))
        try:
            for verb, ask in asks:
                try:
                    self._seam(ask)
                    may[verb] = "yes"
                except AccessDeniedError as error:
                    may[verb], denied[verb] = "no", error
        except StrongroomError as error:
            return Health.failed(error, identity=self._session.login.who)
        ends = {
            "token": self._session.login.ends,
            "server certificate": self._session.origins.certificate_ends,
        }
        return Health(
            status="error" if "read" in denied else "ready",
            message="; ".join(map(Health.told, denied.values())),
            ends={what: at for what, at in ends.items() if at is not None},
            renewed=frozenset({"token"}),
            identity=self._session.login.who,
            may=may,
        )

    def _probe(self) -> str:
        """Give a name that nobody has: whether it is absent or refused tells whether we may read."""
        folders = [folder for kind in KINDS for folder in self.naming.folders(kind)]
        return self._names.spelled(f"{next(iter(folders), '')}strongroom-check".replace("#", "-"))

    def least_policy(self, verbs: Collection[str]) -> str:
        """As `Provisioning`: of the two ways a vault may be set to decide, the commands for each."""
        return least_policy(self.options.vault_url, verbs, purge=self.options.purge)


def _prefixes(name: str, key: str, options: AzureKeyVaultOptions) -> tuple[str, ...] | None:
    given = prefix_option(name, options, key)
    if given is None:
        return None
    every = (given,) if isinstance(given, str) else given
    return tuple(one.rstrip(options.sep) if options.sep else one for one in every)


def _why_not(item: SecretItem, now: datetime) -> str:
    """Tell why a secret is not to be used, as a reason of `MalformedEntryError`; "" when it is."""
    if not item.is_enabled:
        return "disabled"
    if item.expires is not None and item.expires <= now:
        return "expired"
    return "not_active" if item.not_before is not None and item.not_before > now else ""


def _body(
    place: str, text: str, before: SecretItem | None, ours: Mapping[str, str | None]
) -> dict[str, object]:
    kept = {} if before is None else {key: tag for key, tag in before.tags.items() if key not in ours}
    tags = {**kept, **{key: tag for key, tag in ours.items() if tag is not None}}
    if len(tags) > _MAX_TAGS:
        raise InvalidInputError(
            f"a secret of the backend {place} has no room for the tag that says its name",
            limit=_MAX_TAGS,
            hint=f"it may have {_MAX_TAGS} tags: remove some",
        )
    body: dict[str, object] = {"value": text, "tags": tags, "attributes": {"enabled": True}}
    if before is not None and before.content_type is not None:
        body["contentType"] = before.content_type
    return body


def _json(held: Mapping[str, object]) -> str:
    import json  # noqa: PLC0415 -- few have a secret that holds many

    return json.dumps(held, ensure_ascii=False)


BACKEND = AzureKeyVault
