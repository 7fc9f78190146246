"""
Vault and OpenBao: the key-value engine, versions 1 and 2, at the paths Airflow's VaultBackend reads.

| Ref | KV 2 | KV 1 |
|---|---|---|
| connection `orders_db` | `secret/data/connections/orders_db` | `secret/connections/orders_db` |
| variable `region` | `secret/data/variables/region`, its field `value` | `secret/variables/region` |
| variable `region` of team `data` | `secret/data/variables/data/region` | `secret/variables/data/region` |

Rules of this file:

1. A read is one request, and an absence is one request too, once the mount has answered once.
2. What is stored becomes the text Airflow makes of it: `conn_uri`, or the whole object as JSON; of
   variables and config the field `value`. What is written, Airflow reads.
3. Which path lends a connection its login and password, the settings say and never what is stored: else
   whoever may write a value could choose what our token asks for. What is lent is never stored.
4. Logging in, tokens and their renewal are `vendors/vault.py`; the engine is `vendors/vault_kv.py`, and
   leases are `vendors/vault_lease.py`.

Every option: docs/backends/vault.md.

Source: apache-airflow-providers-hashicorp 4.8.4; the HTTP API of OpenBao 2.7, run against it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from strongroom.backend import Fetched, Health, WritingPathBackend, ephemeral_version
from strongroom.errors import (
    BackendConfigError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.model.entry import Draft, Entry, Summary, VersionInfo
from strongroom.model.jsontext import decode
from strongroom.model.ref import KINDS
from strongroom.model.secret import Secret
from strongroom.model.shape import SHAPES, fields_of, shaped
from strongroom.vendors.sessions import Sessions, access_of
from strongroom.vendors.vault import VaultSession
from strongroom.vendors.vault_folder import Folders
from strongroom.vendors.vault_kv import Kept, KeyValue
from strongroom.vendors.vault_kv_options import (
    VaultOptions,
    dynamic_of,
    is_versioned,
    naming_of,
    prefixes_of,
)
from strongroom.vendors.vault_options import VaultAccess

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from strongroom.model.ref import Kind, Ref
    from strongroom.model.shape import Shape
    from strongroom.vendors.vault import TokenFacts
    from strongroom.vendors.vault_history import Home, KvHistory
    from strongroom.vendors.vault_kv_policy import KvNeeds, Standing
    from strongroom.vendors.vault_lease import Leased, Leases
    from strongroom.vendors.vault_version import KeyFacts

__all__ = ["BACKEND", "ListedVault", "Vault", "VaultOptions", "VersionedVault"]

_NOTHING = object()


class Vault(WritingPathBackend[VaultOptions]):
    """
    Entries in a key-value engine. Where one mount is named, it can list too (`ListedVault`); where the engine
    keeps versions, it compares and sets, and gives them (`VersionedVault`).

    Versions are those of KV 2; KV 1 has none, so they change with the text and mean nothing outside
    this process. A deleted or destroyed version is absent. The version of an entry in a secret that holds
    many is that of the secret. Where the login is lent, a version changes with it too.

    Trust: the server's answers are data; its words are compared and never shown.
    Threads: may be used from several threads at once, and after a fork; one login for all of them.

    Raises:
        BackendConfigError: options that contradict one another, or say too little.
    """

    options_type = VaultOptions
    needs_sessions = True
    shapes: ClassVar[tuple[Shape, ...]] = SHAPES

    def __new__(
        cls,
        name: str,
        options: VaultOptions,
        clock: Callable[[], datetime],
        sessions: Sessions | None = None,
    ) -> Vault:  # what can be asked for is seen in what it is: `isinstance(backend, Listable)`
        del name, clock, sessions
        able = (bool(options.mount_point), options.kv_engine_version != 1)
        return super().__new__(_ABLE[able] if cls is Vault else cls)

    def __init__(
        self,
        name: str,
        options: VaultOptions,
        clock: Callable[[], datetime],
        sessions: Sessions | None = None,
    ) -> None:
        super().__init__(name, options, naming_of(name, options), clock)
        self._salt = os.urandom(16)
        self._is_versioned = is_versioned(name, options)
        self._dynamic = dynamic_of(name, options, self.naming)
        heads = [head for kind in KINDS for head in set(prefixes_of(name, kind, options))]
        self._heads = {one if one.endswith("#") or not one else f"{one}/": heads.count(one) for one in heads}
        self._sessions = Sessions() if sessions is None else sessions
        access = access_of(options, VaultAccess)
        self._session = self._sessions.get(access, lambda: VaultSession.of(name, access), user=self)
        self._kv = KeyValue(
            self._session,
            place=name,
            mount=(options.mount_point or "").strip("/"),
            is_versioned=self._is_versioned,
            clock=clock,
            wrap_ttl=options.wrap_ttl,
        )
        # Made when first needed, because most lend nothing; `setdefault` is atomic, and needs no lock that
        # another thread could hold at a fork.
        self._lending: dict[str, Leases] = {}

    @property
    def is_circuit_open(self) -> bool:
        """Whether the store is not asked for a while, because it failed."""
        return self._session.transport.is_circuit_open

    def close(self) -> None:
        for leases in self._lending.values():
            leases.close()  # while there is a session to revoke them with
        self._sessions.release(self)

    # --- reading ---

    def _fetch(self, path: str) -> Fetched | None:
        kept = self._kv.get(path)
        return None if kept is None else self._fetched_from(kept)

    def _fetched_from(self, kept: Kept) -> Fetched:
        text = json.dumps(kept.held)  # as Airflow spells it: the same text, the same connection
        version = ephemeral_version(self._salt, text) if kept.version is None else str(kept.version)
        return Fetched(text=text, version=version)

    def _text(self, ref: Ref, fetched: Fetched) -> str:
        held = self._object(ref, fetched.text)
        if ref.kind != "connection":
            return self._value(ref, held)
        uri = held.get("conn_uri")
        if not uri:
            return fetched.text
        if not isinstance(uri, str):
            raise self._malformed(ref, "a conn_uri that is not text")
        return uri

    def _object(self, ref: Ref, text: str) -> dict[str, object]:
        try:
            held = decode(text, what="what is stored")
        except InvalidInputError as error:
            refusal = self._malformed(ref, f"what cannot be used: {error}", hint=error.hint)
        else:
            if isinstance(held, dict):
                return held
            refusal = self._malformed(ref, "no object of fields")
        raise refusal

    def _value(self, ref: Ref, held: dict[str, object]) -> str:
        value = held.get("value")
        if value is None:
            raise self._malformed(ref, 'no field "value"', hint='write its text to the field "value"')
        # As a file of variables would give it, and as `airflow variables import` would store it.
        return value if isinstance(value, str) else json.dumps(value, indent=2)

    def _malformed(self, ref: Ref, what: str, hint: str | None = None) -> MalformedEntryError:
        return MalformedEntryError(
            f"{ref} in the backend {self.name} holds {what}", backend=self.name, ref=str(ref), hint=hint
        )

    # --- what is lent ---

    def _entry(self, ref: Ref, fetched: Fetched) -> Entry:
        entry = self._stored_entry(ref, fetched)
        path = self._dynamic.get(ref)
        if path is None:
            return entry
        leased = self._leases().credentials(path)
        return replace(
            entry,
            secret=self._lent(ref, entry.secret, leased),
            version=f"{entry.version}.{leased.mark}",
            lifetime=leased.lifetime,
            is_lent=True,
        )

    def lends(self, ref: Ref) -> bool:
        """As `Lending`."""
        return ref in self._dynamic

    def withdraw(self, ref: Ref) -> Callable[[], StrongroomError | None] | None:
        """As `Lending`; what another connection shares stays."""
        path, leases = self._dynamic.get(ref), self._lending.get("")
        if path is None or leases is None or list(self._dynamic.values()).count(path) > 1:
            return None
        return leases.withdraw(path)

    def _leases(self) -> Leases:
        found = self._lending.get("")
        if found is None:
            from strongroom.vendors.vault_lease import Leases  # noqa: PLC0415 -- see above

            found = self._lending.setdefault("", Leases(self._session, place=self.name))
        return found

    def _stored_entry(self, ref: Ref, fetched: Fetched) -> Entry:
        return super()._entry(ref, fetched)

    def _lent(self, ref: Ref, stored: Secret[str], leased: Leased) -> Secret[str]:
        from strongroom.vendors.vault_lent import joined  # noqa: PLC0415 -- most lend nothing

        try:
            return joined(stored.reveal(), leased)
        except InvalidInputError as error:
            refusal = self._malformed(ref, f"no connection: {error}", hint=error.hint)
        raise refusal

    def _text_to_write(self, draft: Draft) -> str:
        text = super()._text_to_write(draft)
        if draft.ref not in self._dynamic:
            return text
        from strongroom.vendors.vault_lent import without_lent  # noqa: PLC0415 -- as above

        return shaped(without_lent(text), self.shape)

    # --- writing ---

    def _store(self, path: str, text: str, *, expected: str | None, draft: Draft) -> str | None:
        self._check_shared(path)
        fields: Mapping[str, object] = {"value": text}
        if draft.ref.kind == "connection":
            if not text:
                raise InvalidInputError(f"{draft.ref} is empty", hint="delete it, or write a connection")
            fields = fields_of(text) if self.shape == "fields" else {"conn_uri": text}
        return self._made(path, fields, expected)

    def _store_object(
        self, path: str, held: Mapping[str, object], *, expected: str | None, draft: Draft
    ) -> str | None:
        del draft
        self._check_shared(f"{path}#")
        if not held and not self._is_versioned:  # which takes no empty object
            self._kv.remove(path, expected=None)
            return None
        return self._made(path, held, expected)

    def _made(self, path: str, fields: Mapping[str, object], expected: str | None) -> str:
        number = self._kv.put(path, fields, expected=_stored(expected))
        # The server gives the keys in order, so that is the text which will be read.
        text = json.dumps(fields, sort_keys=True)
        return ephemeral_version(self._salt, text) if number is None else str(number)

    def _erase(self, path: str, *, expected: str | None) -> bool:
        if self._is_shared(path) and self._kv.get(path) is None:
            return False
        self._check_shared(path)
        return self._kv.remove(path, expected=_stored(expected))

    def _check_version(self, draft: Draft, version: str | None, *, is_there: bool) -> None:
        stored = replace(draft, expected_version=_stored(draft.expected_version))
        super()._check_version(stored, version, is_there=is_there)

    def _is_shared(self, path: str) -> bool:
        """Tell whether *path* is of more than one kind: of the prefixes that begin it the longest has it."""
        rest = path if self.options.mount_point else path.partition("/")[2]
        mine = max((head for head in self._heads if rest.startswith(head)), key=len, default=None)
        return mine is not None and self._heads[mine] > 1

    def _check_shared(self, path: str) -> None:
        if self._is_shared(path):
            raise ReadOnlyError(
                f"the backend {self.name} cannot change what stands below a path that kinds share: only "
                "values would tell whether it is a connection or a variable",
                hint="give each kind a path of its own, or change it in the server",
            )

    # --- checking ---

    def least_policy(self, verbs: Collection[str]) -> str:
        """
        Give the policy (HCL) that a token needs for *verbs*, of `read`, `list` and `write`, and nothing more.

        Raises:
            BackendConfigError: a policy cannot name one of the paths exactly.
        """
        return self._needs().hcl(verbs)

    def _needs(self) -> KvNeeds:
        from strongroom.vendors.vault_kv_policy import KvNeeds  # noqa: PLC0415 -- reads do without

        paths = {path: None for kind in KINDS for path in prefixes_of(self.name, kind, self.options)}
        return KvNeeds(
            place=self.name,
            mount=(self.options.mount_point or "").strip("/"),
            is_versioned=self._is_versioned,
            folders=tuple(f"{path}/" if path else "" for path in paths if not path.endswith("#")),
            secrets=tuple(path.rstrip("#") for path in paths if path.endswith("#")),
            dynamic=tuple(dict.fromkeys(self._dynamic.values())),
            is_wrapped=self.options.wrap_ttl is not None,
        )

    def check(self) -> Health:
        """Tell whether it answers, is unsealed, knows us, is mounted as configured, and what we may."""
        from strongroom.vendors.vault_kv_policy import standing  # noqa: PLC0415 -- reads do without

        ends, renewed = {}, frozenset[str]()
        try:
            token = self._session.look()
            self._kv.check_mount()
            allowed = standing(self._needs(), self._session)
        except StrongroomError as error:
            return Health.failed(error)
        if token is not None and token.seconds_left is not None:
            ends["token"] = self._clock() + timedelta(seconds=token.seconds_left)
            renewed = frozenset({"token"} if token.is_renewable or self._session.replaces_tokens else ())
        certificate_ends = self._session.transport.certificate_ends
        if certificate_ends is not None:
            ends["server certificate"] = certificate_ends
        return Health(
            # What may not be done with all names may be allowed for some: only a read of one would tell.
            status="unknown" if allowed.may["read"] == "no" else "ready",
            message=_told(token, allowed),
            ends=ends,
            renewed=renewed,
            identity="" if token is None else token.name,
            may=allowed.may,
        )


def _told(token: TokenFacts | None, allowed: Standing) -> str:
    lacks = "".join(
        f"; to {verb} it lacks {lines[0]}" + (f" and {len(lines) - 1} more" if len(lines) > 1 else "")
        for verb, lines in allowed.lacks.items()
    )
    if token is None:
        return f"the token may not look itself up, so how long it lives is not known{lacks}"
    left = "never ends" if token.seconds_left is None else f"ends in {timedelta(seconds=token.seconds_left)}"
    return f"the token {left}; policies {', '.join(token.policies) or 'none'}{lacks}"


def _stored(version: str | None) -> str | None:
    """Give of the version of an entry the part that says what is stored."""
    return None if version is None else version.partition(".")[0]


class ListedVault(Vault):
    """
    A `Vault` with one mount, which can be listed.

    A name whose value was deleted from KV 2 is listed until its metadata is deleted too.
    """

    def __init__(
        self,
        name: str,
        options: VaultOptions,
        clock: Callable[[], datetime],
        sessions: Sessions | None = None,
    ) -> None:
        super().__init__(name, options, clock, sessions)
        self._folders = Folders(self._kv.keys)

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
        As `Listable`; a name below several prefixes is given once.

        Raises:
            BackendConfigError: kinds share a prefix, so that only the values would tell them apart.
            AccessDeniedError: no policy allows `list`.
        """
        holding = tuple(head for _, head in self.naming.holders(kind))
        every = self.naming.folders(kind, team)
        if every and max(self._heads.values()) > 1:
            raise BackendConfigError(
                f"the backend {self.name} cannot list: connections, variables or config share a path",
                hint="give each a path of its own",
            )
        roots = [root for root in every if not (holding and root.startswith(holding))]

        def is_name(root: str, name: str) -> bool:
            return self.naming.ref(root + name, kind, team) is not None

        names = self._folders.names(roots, is_name, prefix=prefix, after=after, limit=limit)
        paths = [root + name for root, name in names]
        paths += self._keys_held(kind, team) if holding else []
        found = {ref.name: ref for path in paths if (ref := self.naming.ref(path, kind, team)) is not None}
        listed = sorted(name for name in found if name > after and name.startswith(prefix))
        return [Summary(ref=found[name], backend=self.name) for name in listed[:limit]]


class VersionedVault(Vault):
    """
    A `Vault` over KV 2: it writes against a version, and gives those that stood before.

    The engine keeps no author; the server's audit log does. What a deleted version held is given only after
    `undelete`.
    """

    has_compare_and_set: ClassVar[bool] = True

    def history(self, ref: Ref) -> list[VersionInfo]:
        """As `Versioned`; of the 20 newest it tells which hold the same, where they may be read."""
        return self._seam(lambda: self._past.rows(ref))

    def read_version(self, ref: Ref, version: str) -> Entry:
        """As `Versioned`, but one that was deleted is not found; what is lent is not in it."""
        return self._seam(lambda: self._version(ref, version))

    def undelete(self, ref: Ref, *, author: str) -> str:
        """As `Versioned`; in a secret that holds many it is written anew, as it stood last."""
        return self._seam(lambda: self._undelete(ref, author))

    @cached_property
    def _past(self) -> KvHistory:
        from strongroom.vendors.vault_history import KvHistory  # noqa: PLC0415 -- reads do without

        return KvHistory(self._kv, self.naming, place=self.name)

    def _version(self, ref: Ref, version: str) -> Entry:
        found = self._past.held(ref, _stored(version) or "")
        if found is None:
            raise NotFoundError(
                f"{ref} in the backend {self.name} has no such version that can be read",
                hint="a deleted version is read after it was undeleted",
            )
        home, kept = found
        if home.key is not None and not isinstance(kept.held, dict):
            kept = Kept({"conn_uri" if ref.kind == "connection" else "value": kept.held}, kept.version)
        return self._stored_entry(ref, self._fetched_from(kept))

    def _undelete(self, ref: Ref, author: str) -> str:
        found = self._past.known(ref)
        if found is None:
            raise NotFoundError(f"{ref} was never held by the backend {self.name}")
        home, facts = found
        if home.key is not None:
            return self._written_again(ref, home, home.key, facts, author)
        if facts.stands:
            raise self._not_deleted(ref, str(facts.current))
        if facts.latest is None or facts.latest.is_destroyed:
            raise NotFoundError(
                f"the last version of {ref} in the backend {self.name} was destroyed",
                hint="an older one may be read, and written again",
            )
        self._kv.undelete(home.secret, facts.current)
        return str(facts.current)

    def _written_again(self, ref: Ref, home: Home, key: str, facts: KeyFacts, author: str) -> str:
        held_then = (self._past.held_in(home, one.number) for one in facts.versions)
        last = next((kept.held for kept in held_then if kept is not None), _NOTHING)
        if last is _NOTHING:
            raise NotFoundError(f"no version of {ref} in the backend {self.name} can be read any more")

        def change(held: dict[str, object], version: str | None) -> bool:
            if key in held:
                raise self._not_deleted(ref, version)
            held[key] = last
            return True

        draft = Draft(ref=ref, secret=Secret(""), author=author)
        return self._rewritten_held(home.secret, change, draft)[1] or ""

    def _not_deleted(self, ref: Ref, version: str | None) -> ConflictError:
        return ConflictError(f"{ref} in the backend {self.name} is not deleted", current_version=version)


class _ListedVersionedVault(ListedVault, VersionedVault):
    """What most have: one mount of version 2."""


_ABLE: dict[tuple[bool, bool], type[Vault]] = {
    (False, False): Vault,
    (True, False): ListedVault,
    (False, True): VersionedVault,
    (True, True): _ListedVersionedVault,
}
BACKEND = Vault
