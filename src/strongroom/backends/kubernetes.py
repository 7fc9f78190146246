"""
Kubernetes Secrets, found by their names or by Airflow's labels.

| Ref | the Secret with the labels (`airflow.apache.org/…`) | or of the name |
|---|---|---|
| connection `orders_db` | `…/connection-id: orders_db` | `airflow-connections-orders--db` |
| variable `region` of team `x` | `…/variable-key: region`, `…/team: x` | `airflow-variables-x---region` |

The text stands under the key `value`; a connection may stand as keys of its own too (`host`, `password`, …).

Rules of this file:

1. A name that a label or an object cannot have is absent without a question, and no selector is made of it.
2. Of several Secrets that claim one name none is taken, unless the options say so.
3. What is written is laid over what stands there; a Secret with keys of others is never deleted.
4. Values are asked for where they are read; listing and watching never see them.

Every option: docs/backends/kubernetes.md.

Source: apache-airflow-providers-cncf-kubernetes 10.25.0; kubernetes.io/docs/concepts/configuration/secret.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from strongroom.backend import Fetched, Health, Naming, Watched, WritingPathBackend
from strongroom.backend.naming import WORDS
from strongroom.errors import (
    ConflictError,
    MalformedEntryError,
    StrongroomError,
)
from strongroom.model.entry import MAX_VALUE_BYTES, MUST_BE_ABSENT, Summary
from strongroom.model.ref import KINDS
from strongroom.model.shape import SHAPES, Shape, fields_of
from strongroom.vendors.index import NameIndexes
from strongroom.vendors.kubernetes import KubernetesAccess, KubernetesSession
from strongroom.vendors.kubernetes_labels import Labelled, Labels
from strongroom.vendors.kubernetes_meaning import SecretMeaning
from strongroom.vendors.kubernetes_names import read_key, read_name, spelled, spelled_key
from strongroom.vendors.kubernetes_objects import decoded, encoded
from strongroom.vendors.kubernetes_options import (
    KubernetesOptions,
    finds_by_label,
    label_naming,
    name_naming,
    new_name,
    team_label,
)
from strongroom.vendors.kubernetes_rights import Rights
from strongroom.vendors.kubernetes_secrets import Secrets
from strongroom.vendors.kubernetes_watch import SecretWatch
from strongroom.vendors.kubernetes_writes import MANAGED, SecretWrites, Writing
from strongroom.vendors.sessions import Sessions, access_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from strongroom.model.entry import Draft
    from strongroom.model.ref import Kind, Ref
    from strongroom.vendors.kubernetes_objects import Held, Outline

__all__ = ["BACKEND", "Kubernetes", "KubernetesOptions"]

_FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")
_ONE_LABEL = "take the label from all but one: kubectl get secrets --show-labels"
_ATTEMPTS = 4  # of a write that others cross


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found(Fetched):
    """
    A Secret that was found.

    Args:
        data: by key, in base64.
        others: how many more claim the same name.
    """

    data: Mapping[str, str] = field(repr=False)
    others: int = 0


class Kubernetes(WritingPathBackend[KubernetesOptions]):
    """
    Entries in Secrets of one namespace. What it is, it is by the option `find`.

    Versions are the API server's `resourceVersion`: they change with the labels of a Secret too.

    Trust: the server's answers are data; its words are compared and never shown.
    Threads: may be used from several at once, and after a fork; who watched watches again then.

    Args:
        environ: says where the cluster of this pod is, and is what programs of a kubeconfig run in.
        sessions: shared with others of the same access; without them it has a session of its own.

    Raises:
        BackendConfigError: options that contradict one another, or say too little.
    """

    options_type = KubernetesOptions
    needs_environ = True
    needs_sessions = True
    has_compare_and_set: ClassVar[bool] = True
    can_create_only: ClassVar[bool] = True
    shapes: ClassVar[tuple[Shape, ...]] = SHAPES
    max_text_bytes: ClassVar[int] = 2 * MAX_VALUE_BYTES  # the server counts what a Secret holds, not our JSON
    _reads: ClassVar[Literal["get", "list"]]

    def __new__(
        cls, name: str, options: KubernetesOptions, *_: object, **__: object
    ) -> Kubernetes:  # what it is is seen in what it is: one way or the other
        if cls is not Kubernetes:
            return super().__new__(cls)
        return super().__new__(_ByLabel if finds_by_label(name, options) else _ByName)

    def __init__(
        self,
        name: str,
        options: KubernetesOptions,
        clock: Callable[[], datetime],
        *,
        environ: Mapping[str, str] | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        super().__init__(name, options, self._naming(name, options), clock)
        self._data_keys = {kind: getattr(options, f"{WORDS[kind]}_data_key") for kind in KINDS}
        self._holding = frozenset(secret for kind in KINDS for secret, _ in self.naming.holders(kind))
        access = access_of(options, KubernetesAccess)
        self._sessions = Sessions() if sessions is None else sessions
        self._session = self._sessions.get(
            access,
            lambda: KubernetesSession(name, access, environ=environ or {}, clock=clock),
            user=self,
        )
        self._secrets = Secrets(self._session)
        self._writes = SecretWrites(name, self._secrets)
        self._watches: tuple[SecretWatch, ...] = ()
        self._indexes = NameIndexes(lambda kind, _team: self._every_path(kind))

    # --- what each of the two ways brings ---

    @staticmethod
    @abstractmethod
    def _naming(name: str, options: KubernetesOptions) -> Naming:
        """Give how names are spelled."""

    @abstractmethod
    def _selector(self, kind: Kind) -> str:
        """Give the selector of labels that every Secret of this *kind* meets; "" for none."""

    @abstractmethod
    def _path_of(self, outline: Outline, kind: Kind) -> str | None:
        """Give the path that a Secret stands for, read as one of this *kind*; None where it is none."""

    @abstractmethod
    def _team_of(self, path: str, kind: Kind) -> str | None:
        """Give the team that a path of this *kind* names."""

    # --- what is stored ---

    def _text(self, ref: Ref, fetched: Fetched) -> str:
        if not isinstance(fetched, _Found):
            return fetched.text  # one of many
        if fetched.others:
            raise self._malformed(
                ref,
                f"{fetched.others + 1} Secrets",
                hint=_ONE_LABEL,
            )
        key = self._data_keys[ref.kind]
        if key in fetched.data:
            return self._decoded(ref, key, fetched.data[key])
        if ref.kind == "connection" and "conn_type" in fetched.data:
            held = {one: fetched.data[one] for one in _FIELDS if one in fetched.data}
            return json.dumps({one: self._decoded(ref, one, text) for one, text in held.items()})
        raise self._malformed(ref, f"no key {key}", hint=f"write its text under the key {key}")

    def _decoded(self, ref: Ref, key: str, held: str) -> str:
        text = decoded(held)
        if text is None:
            raise self._malformed(ref, f"something under the key {key} that is no text")
        return text

    def _malformed(self, ref: Ref, what: str, hint: str | None = None) -> MalformedEntryError:
        return MalformedEntryError(
            f"{ref} in the backend {self.name} holds {what}", backend=self.name, ref=str(ref), hint=hint
        )

    def _data(self, text: str, ref: Ref) -> dict[str, str | None]:
        """Give what is to stand under which key; None under those that must go."""
        key = self._data_keys[ref.kind]
        if self.shape != "fields" or ref.kind != "connection":
            return {key: encoded(text)}
        fields = fields_of(text)
        held: dict[str, str | None] = dict.fromkeys((*_FIELDS, key))
        for one, value in fields.items():
            held[one] = encoded(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        return held

    # --- writing ---

    def _written(self, writing: Writing) -> str | None:
        try:
            return self._writes.write(writing)
        finally:
            self._indexes.forget()

    def _erase(self, path: str, *, expected: str | None) -> bool:
        kind = self._kind_at(path)
        mine = {self._data_keys[kind], *(_FIELDS if kind == "connection" else ())}
        try:
            return self._writes.erase(lambda: self._standing(path), mine, expected)
        finally:
            self._indexes.forget()

    @abstractmethod
    def _standing(self, path: str) -> Held | None:
        """Give the Secret to change; never one of several."""

    def _kind_at(self, path: str) -> Kind:
        folders = [(folder, kind) for kind in KINDS for folder in self.naming.folders(kind)]
        return max((len(folder), kind) for folder, kind in folders if path.startswith(folder))[1]

    # --- checking ---

    def check(self) -> Health:
        """Tell whether it answers, who we are and what we may; nothing is written."""
        return self._rights().health()

    def least_policy(self, verbs: Collection[str]) -> str:
        """As `Provisioning`: a Role and a RoleBinding as YAML."""
        return self._rights().least_policy(verbs)

    def _rights(self) -> Rights:
        heads = [head for kind in KINDS for head in self.naming.folders(kind)]
        is_known = all(head.removesuffix("#") in self._holding for head in heads)
        names = sorted(spelled(secret) or "" for secret in self._holding) if is_known else ()
        return Rights(self._session, self._secrets, self._reads, names)

    # --- watching ---

    def watch(self, on_notice: Callable[[Watched], None]) -> Callable[[], None]:
        """Be told of changes by the API server; as `Watchable.watch`. Needs the verbs `list` and `watch`."""
        holders = frozenset(spelled(secret) or "" for secret in self._holding)
        meaning = SecretMeaning(self._refs_of, holders, self._entries_in)
        watch = SecretWatch(self._session, self._secrets, meaning, on_notice)
        self._watches = (*self._watches, watch)

        def end() -> None:
            watch.end()
            self._watches = tuple(one for one in self._watches if one is not watch)

        return end

    def _refs_of(self, outline: Outline) -> frozenset[Ref]:
        paths = [(self._path_of(outline, kind), kind) for kind in KINDS]
        found = [self._ref_at(path, kind) for path, kind in paths if path is not None]
        return frozenset(ref for ref in found if ref is not None)

    def _ref_at(self, path: str, kind: Kind) -> Ref | None:
        return self.naming.ref(path, kind, self._team_of(path, kind))

    def _entries_in(self, name: str) -> dict[Ref, str]:
        held = self._secrets.get(name)
        secret = read_name(name)
        heads = [(head, kind) for kind in KINDS for mine, head in self.naming.holders(kind) if mine == secret]
        entries: dict[Ref, str] = {}
        for key, text in held.data.items() if held is not None else ():
            for head, kind in heads:
                ref = self._ref_at(head + (read_key(key) or ""), kind)
                entries |= {} if ref is None else {ref: text}
        return entries

    def close(self) -> None:
        for watch in self._watches:
            watch.end()
        self._watches = ()
        self._sessions.release(self)

    # Last, because from here on `list` is not the builtin.
    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        """As `Listable`; what others wrote in the last 10 s may be missing or still be there."""
        found: list[Summary] = []
        for folder in self.naming.folders(kind, team):
            last = folder + after if after else ""
            while len(found) < limit:
                paths = self._paths(kind, team, folder + prefix, last, limit)
                if not paths:
                    break
                last = paths[-1]
                refs = [self.naming.ref(path, kind, team) for path in paths]
                found += [Summary(ref=ref, backend=self.name) for ref in refs if ref is not None]
        return found[:limit]

    def _paths(self, kind: Kind, team: str | None, prefix: str, after: str, limit: int) -> Sequence[str]:
        if self.naming.holders(kind):
            every = sorted(self._keys_held(kind, team))
            return [path for path in every if path.startswith(prefix) and path > after][:limit]
        return self._indexes.names(kind, prefix=prefix, after=after, limit=limit)

    def _every_path(self, kind: Kind) -> Iterable[str]:
        outlines, _ = self._secrets.outlines(self._selector(kind))
        paths = (self._path_of(outline, kind) for outline in outlines)
        return [path for path in paths if path is not None]


class _ByName(Kubernetes):
    """Secrets of our own names: a read is one `get`."""

    _reads = "get"

    @staticmethod
    def _naming(name: str, options: KubernetesOptions) -> Naming:
        return name_naming(name, options)

    def _selector(self, kind: Kind) -> str:
        del kind
        return ""

    def _path_of(self, outline: Outline, kind: Kind) -> str | None:
        path = read_name(outline.name)
        return path if path and any(path.startswith(one) for one in self.naming.folders(kind)) else None

    def _team_of(self, path: str, kind: Kind) -> str | None:
        if self.naming.team_separator is None:
            return None
        heads = [head for head in self.naming.folders(kind) if path.startswith(head)]
        team, slash, _ = path[len(heads[0]) :].partition(self.naming.team_separator)
        return team if slash else None

    def _fetch(self, path: str) -> Fetched | None:
        held = self._secrets.get(self._secret(path))
        if held is None:
            return None
        text = ""
        if path in self._holding:
            keys = ((read_key(key), value) for key, value in held.data.items())
            text = json.dumps({key: decoded(value) for key, value in keys if key is not None})
        return _Found(text=text, version=held.version, data=held.data)

    def _store(self, path: str, text: str, *, expected: str | None, draft: Draft) -> str | None:
        data = self._data(text, draft.ref)
        return self._written(Writing(self._secret(path), data, expected, draft.author))

    def _store_object(
        self, path: str, held: Mapping[str, object], *, expected: str | None, draft: Draft
    ) -> str | None:
        # What is null was no text: a key of somebody else's, which stays as it is.
        texts = {
            spelled_key(key) or "": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in held.items()
            if value is not None
        }
        wanted: dict[str, str | None] = {key: encoded(text) for key, text in texts.items()}
        name = self._secret(path)
        if expected != MUST_BE_ABSENT:
            now = self._secrets.get(name)
            if now is None or now.version != expected:
                return self._writes.conflict(name)
            gone = [key for key, value in now.data.items() if read_key(key) and decoded(value) is not None]
            wanted = {**dict.fromkeys(gone), **wanted}
            wanted = {key: value for key, value in wanted.items() if value != now.data.get(key)}
        return self._writes.write(Writing(name, wanted, expected, draft.author))

    def _standing(self, path: str) -> Held | None:
        return self._secrets.get(self._secret(path))

    def _secret(self, path: str) -> str:
        return spelled(path) or ""  # of `naming.paths`, so it can be spelled


class _ByLabel(Kubernetes):
    """Secrets of any name that carry Airflow's labels: a read is one `list`."""

    _reads = "list"

    @staticmethod
    def _naming(name: str, options: KubernetesOptions) -> Naming:
        return label_naming(name, options)

    @property
    def _labels(self) -> Labels:
        return Labels(self._secrets, team_label(self.name, self.options))

    def _selector(self, kind: Kind) -> str:
        return self.naming.folders(kind)[0].removesuffix("=")

    def _path_of(self, outline: Outline, kind: Kind) -> str | None:
        return self._labels.path_of(outline, self._selector(kind)) if self.naming.folders(kind) else None

    def _team_of(self, path: str, kind: Kind) -> str | None:
        del kind
        return Labelled.of(path).team

    def _fetch(self, path: str) -> Fetched | None:
        mine = self._labels.chosen([Labelled.of(path)]).get(path)
        return None if mine is None else self._found(mine)

    def _fetch_many(self, paths: Sequence[str]) -> dict[str, Fetched | StrongroomError | None]:
        found: dict[str, Fetched | StrongroomError | None] = dict.fromkeys(paths)
        for batch in self._labels.batches(paths):
            try:
                held = self._labels.chosen(batch)
            except StrongroomError as error:
                found.update((asked.path, error) for asked in batch)
            else:
                found.update({path: self._found(mine) for path, mine in held.items()})
        return found

    def _found(self, mine: Sequence[Held]) -> Fetched:
        others = 0 if self.options.several == "first" else len(mine) - 1
        return _Found(text="", version=mine[0].version, data=mine[0].data, others=others)

    def _standing(self, path: str) -> Held | None:
        mine = self._labels.chosen([Labelled.of(path)]).get(path, [])
        if len(mine) > 1:
            raise ConflictError(
                f"{len(mine)} Secrets of the backend {self.name} claim the name {Labelled.of(path).name}",
                hint=_ONE_LABEL,
            )
        return mine[0] if mine else None

    def _store(self, path: str, text: str, *, expected: str | None, draft: Draft) -> str | None:
        data = self._data(text, draft.ref)
        for attempt in range(_ATTEMPTS):
            standing = self._standing(path)
            try:
                return self._written(self._writing(path, data, standing, draft))
            except ConflictError:
                if expected is not None or attempt == _ATTEMPTS - 1:
                    raise
        return None

    def _writing(
        self, path: str, data: Mapping[str, str | None], standing: Held | None, draft: Draft
    ) -> Writing:
        expected = draft.expected_version
        if standing is not None:
            version = standing.version if expected is None else expected
            return Writing(standing.name, data, version, draft.author)
        if expected not in (None, MUST_BE_ABSENT):
            raise ConflictError(f"{draft.ref} is not in the backend {self.name} any more, or never was")
        labels = {**MANAGED, **self._labels.of(Labelled.of(path))}
        return Writing(new_name(draft.ref), data, MUST_BE_ABSENT, draft.author, labels)


BACKEND = Kubernetes
