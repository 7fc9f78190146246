"""
AWS Secrets Manager, at the names and in the shapes of Airflow's SecretsManagerBackend.

| Ref | secret |
|---|---|
| connection `orders_db` | `airflow/connections/orders_db` |
| variable `region` | `airflow/variables/region` |
| variable `region` of team `data`, with `use_team_secrets_path` | `airflow/variables/data--region` |

Rules of this file:

1. A read is one request, and of many names one for each twenty.
2. A connection kept as a JSON object becomes the object Airflow makes of it, by its words for each field; one
   that has Airflow's own words alone is given as it stands.
3. Asking is `vendors/aws_secret.py`; who we are, `vendors/aws.py`.

Every option: docs/backends/aws_secrets_manager.md.

Source: apache-airflow-providers-amazon (`secrets/secrets_manager.py`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, TypeVar

from strongroom.backend import Fetched, WritingPathBackend
from strongroom.backend.parallel import together
from strongroom.bulkhead import seconds_left, within
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.model.entry import MUST_BE_ABSENT, Draft, Entry, Summary, VersionInfo
from strongroom.model.ref import Ref
from strongroom.model.shape import Shape
from strongroom.vendors.aws import AwsAccess, AwsSession, Place
from strongroom.vendors.aws_secret import CURRENT, Secrets
from strongroom.vendors.aws_store import (
    Probe,
    Resources,
    author_tags,
    health,
    naming_of,
    policy,
    statement,
    utc,
)
from strongroom.vendors.aws_words import standard_text, words_of
from strongroom.vendors.index import NameIndexes
from strongroom.vendors.sessions import Sessions, access_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from strongroom.backend import Health
    from strongroom.model.ref import Kind

__all__ = ["BACKEND", "SecretsManager", "SecretsManagerOptions"]

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")
_MAX_BYTES = 65_536  # of one secret
_BATCH = 20  # secrets in one question
_BATCHES = 8  # questions at once
_DENIED_SECONDS = 300.0  # for which a refused batch is not tried again
_PAST_OUTAGE = timedelta(seconds=10)  # for which the answer of another region serves
_SHARE = 0.5  # of the caller's time: what the first region gets where there is another


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsManagerOptions(AwsAccess):
    """
    Where things stand; who we are there is `AwsAccess`.

    Args:
        connections_prefix: "" for none; None or False when this store keeps no connections.
        variables_prefix: likewise.
        config_prefix: likewise.
        connections_lookup_pattern: a regular expression that names must begin with, in any case of letters;
            others are not asked for.
        variables_lookup_pattern: likewise.
        config_lookup_pattern: likewise.
        sep: between prefix and name.
        extra_conn_words: more words for the fields of a connection: `{ user = ["uid"] }`.
        use_team_secrets_path: a team's names begin with `<prefix><sep><team>--`; global ones hold no `--`.
        version_stage: which version is read; where it is another than `AWSCURRENT`, nothing is written.
        replica_regions: asked in this order where the first gives no answer.
        replica_endpoint_urls: by region, where it is not AWS's own.
        kms_key_id: for secrets made here; the account's own key if unsaid.
        recovery_window_days: for which a deleted secret can be brought back: 7 to 30, or 0 for none.
        tag_author: put the tag `strongroom-author` on what is written.
        connection_shape: of what is written: `given`, `uri`, `json` or `fields`.
        full_url_mode: of older Airflow, without effect: both shapes are told apart.
        are_secret_values_urlencoded: of older Airflow; true is refused.
    """

    connections_prefix: bool | str | None = "airflow/connections"
    variables_prefix: bool | str | None = "airflow/variables"
    config_prefix: bool | str | None = "airflow/config"
    connections_lookup_pattern: str | None = None
    variables_lookup_pattern: str | None = None
    config_lookup_pattern: str | None = None
    sep: str = "/"
    extra_conn_words: Mapping[str, object] = field(default_factory=dict)
    use_team_secrets_path: bool = False
    version_stage: str = CURRENT
    replica_regions: tuple[str, ...] = ()
    replica_endpoint_urls: Mapping[str, object] = field(default_factory=dict, repr=False)
    kms_key_id: str | None = None
    recovery_window_days: int = 30
    tag_author: bool = True
    connection_shape: Shape = "given"
    full_url_mode: bool | None = None
    are_secret_values_urlencoded: bool | None = None


class SecretsManager(WritingPathBackend[SecretsManagerOptions]):
    """
    Entries in AWS Secrets Manager.

    Trust: AWS's answers are data; its words are compared and never shown.
    Threads: may be used from several threads at once, and after a fork; one login for all of them.
    Consistency: that of AWS: a read soon after a write may, rarely, give what stood before.

    Raises:
        BackendConfigError: options that contradict one another, or cannot be.
    """

    options_type = SecretsManagerOptions
    needs_sessions: ClassVar[bool] = True
    has_compare_and_set: ClassVar[bool] = True
    can_create_only: ClassVar[bool] = True
    shapes: ClassVar[tuple[Shape, ...]] = ("given", "uri", "json", "fields")
    max_text_bytes: ClassVar[int] = _MAX_BYTES

    def __init__(
        self,
        name: str,
        options: SecretsManagerOptions,
        clock: Callable[[], datetime],
        sessions: Sessions | None = None,
    ) -> None:
        _check(name, options)
        naming = naming_of(name, options, separator=options.sep, is_spellable=_is_name, strip="end")
        super().__init__(name, options, naming, clock)
        self._words = words_of(name, options.extra_conn_words)
        self._sessions = Sessions() if sessions is None else sessions
        access = access_of(options, AwsAccess)
        self._session = self._sessions.get(access, lambda: AwsSession(access, place=name), user=self)
        self._secrets = Secrets(self._session, place=name, stage=options.version_stage)
        self._replicas = [
            Place(region, _text_or_none(options.replica_endpoint_urls.get(region)))
            for region in options.replica_regions
        ]
        self._batch_denied_until = 0.0
        self._indexes = NameIndexes(lambda kind, team: [ref.name for ref in self._refs(kind, team)])
        self._changed_at: dict[str, datetime | None] = {}

    @property
    def is_circuit_open(self) -> bool:
        """Whether the store is not asked for a while, because it failed."""
        return self._session.is_circuit_open and not self._replicas

    def close(self) -> None:
        self._sessions.release(self)

    # --- reading ---

    def _fetch(self, path: str) -> Fetched | None:
        return self._anywhere(lambda where: _got_there(self._secrets.get(path, where), where))

    def _anywhere(self, work: Callable[[Place | None], T]) -> T:
        """Do *work* in the first region, and in another one only where there was no answer."""
        if not self._replicas:
            return work(None)
        left = seconds_left()
        seconds = 2 * self.options.timeout.total_seconds() if left is None else left
        try:
            with within(seconds * _SHARE):
                return work(None)
        except BackendUnavailableError as caught:
            trouble = caught
        for place in self._replicas:
            try:
                found = work(place)
            except StrongroomError:
                continue
            # A replica that lacks it tells nothing: it may never have been copied there.
            if found is not None:
                return found
        raise trouble

    def _fetch_many(self, paths: Sequence[str]) -> Mapping[str, Fetched | StrongroomError | None]:
        if len(paths) == 1 or not self._can_batch():
            return super()._fetch_many(paths)
        chunks = [tuple(paths[start : start + _BATCH]) for start in range(0, len(paths), _BATCH)]
        answers = together(self._chunk, chunks, threads=_BATCHES, late=self._late, place=self.name)
        found: dict[str, Fetched | StrongroomError | None] = {}
        for chunk, answer in answers.items():
            found.update(dict.fromkeys(chunk, answer) if isinstance(answer, StrongroomError) else answer)
        rest = [path for path in paths if path not in found]
        if rest:  # what the batch left out, or all of it where it is not allowed
            found.update(super()._fetch_many(rest))
        return found

    def _can_batch(self) -> bool:
        return self.options.version_stage == CURRENT and time.monotonic() >= self._batch_denied_until

    def _chunk(
        self, paths: tuple[str, ...]
    ) -> Mapping[str, Fetched | StrongroomError | None] | StrongroomError:
        answer = self._tried_to(lambda: self._anywhere(lambda where: self._batch(paths, where)))
        if isinstance(answer, AccessDeniedError):
            self._batch_denied_until = time.monotonic() + _DENIED_SECONDS
            return {}
        # Another region may refuse to give many at once, and give each.
        return {} if self._replicas and isinstance(answer, BackendUnavailableError) else answer

    def _batch(
        self, paths: Sequence[str], where: Place | None
    ) -> Mapping[str, Fetched | StrongroomError | None]:
        found = self._secrets.batch(paths, where)
        if where is None:
            return found
        # As for one: what a replica lacks or refuses tells nothing. Each of those is asked for alone.
        held = ((path, one) for path, one in found.items() if isinstance(one, Fetched))
        return {path: _got_there(one, where) for path, one in held}

    def _text(self, ref: Ref, fetched: Fetched) -> str:
        if ref.kind != "connection":
            return fetched.text
        try:
            return standard_text(fetched.text, self._words)
        except InvalidInputError as error:
            refusal = MalformedEntryError(
                f"{ref} in the backend {self.name} holds what cannot be used: {error}",
                backend=self.name,
                ref=str(ref),
                hint=error.hint,
            )
        raise refusal

    # --- writing ---

    def _store(self, path: str, text: str, *, expected: str | None, draft: Draft) -> str | None:
        self._check_stage()
        if not text:
            raise InvalidInputError(f"the backend {self.name} cannot hold an empty text")
        more = self._more(draft)
        if expected is None:
            version, is_new = self._secrets.put(path, text, more)
        elif expected == MUST_BE_ABSENT:
            version, is_new = self._secrets.create(path, text, more)
        else:
            version, is_new = self._secrets.swap(path, text, expected), False
        self._indexes.forget()
        if self.options.tag_author and not is_new:
            self._secrets.tag(path, author_tags(draft.author))
        return version

    def _more(self, draft: Draft) -> dict[str, object]:
        more: dict[str, object] = {}
        if self.options.tag_author:
            more["Tags"] = author_tags(draft.author)
        if self.options.kms_key_id is not None:
            more["KmsKeyId"] = self.options.kms_key_id
        return more

    def _erase(self, path: str, *, expected: str | None) -> bool:
        self._check_stage()
        days = self.options.recovery_window_days
        if expected is not None and not days:
            raise ReadOnlyError(
                f"the backend {self.name} cannot compare versions before it deletes for good",
                hint="delete without an expected version, or set recovery_window_days",
            )
        is_erased = self._secrets.delete(path, expected, days)
        self._indexes.forget()
        return is_erased

    def _check_stage(self) -> None:
        if self.options.version_stage != CURRENT:
            raise ReadOnlyError(
                f"the backend {self.name} reads the stage of version_stage and is not written",
                hint=f"write through a backend whose version_stage is {CURRENT}",
            )

    # --- versions ---

    def history(self, ref: Ref) -> list[VersionInfo]:
        """As `Versioned`; AWS does not tell who wrote, and which values are the same is not looked at."""
        return self._seam(lambda: self._history(ref))

    def _history(self, ref: Ref) -> list[VersionInfo]:
        for path in self.naming.paths(ref):
            found = self._secrets.versions(self.naming.secret(path))
            if found:
                return [
                    VersionInfo(version=version, created_at=utc(made_at), author="", is_current=is_current)
                    for version, made_at, is_current in found
                ]
        return []

    def read_version(self, ref: Ref, version: str) -> Entry:
        """As `Versioned`; of a deleted entry after `undelete` alone."""
        return self._seam(lambda: self._read_version(ref, version))

    def _read_version(self, ref: Ref, version: str) -> Entry:
        for path in self.naming.paths(ref):
            holder = self.naming.holder(path)
            fetched = self._secrets.version(self.naming.secret(path), version)
            if holder is None:
                return self._entry(ref, fetched)
            held = self._opened(holder[0], fetched)
            if holder[1] in held:
                value = held[holder[1]]
                text = value if isinstance(value, str) else json.dumps(value)
                return self._entry(ref, replace(fetched, text=text))
        raise NotFoundError(f"there is no such version of {ref} in the backend {self.name}")

    def undelete(self, ref: Ref, *, author: str) -> str:
        """As `Versioned`, within the recovery window."""
        del author
        return self._seam(lambda: self._undelete(ref))

    def _undelete(self, ref: Ref) -> str:
        for path in self.naming.paths(ref):
            secret = self.naming.secret(path)
            standing = self._secrets.standing(secret)
            if standing is None or standing.current is None:
                continue
            if not standing.is_scheduled:
                raise ConflictError(
                    f"{ref} in the backend {self.name} is not deleted", current_version=standing.current
                )
            self._secrets.restore(secret)
            self._indexes.forget()
            return standing.current
        raise NotFoundError(f"nothing was ever held under {ref} in the backend {self.name}, or not any more")

    # --- checking ---

    def check(self) -> Health:
        """Tell as whom and what it may: four questions, none of which changes anything."""
        certificate = self._session.certificate_ends
        ends = {} if certificate is None else {"server certificate": certificate}
        return health(self._session, self.name, self._probes(), ends)

    def _probes(self) -> dict[str, Probe]:
        import uuid  # noqa: PLC0415 -- a look at oneself is rare

        head = next(iter((*self.naming.beginnings(), *self.naming.secrets())), "")
        nobody = f"{head}strongroom-check-{uuid.uuid4().hex}"
        absent = ("ResourceNotFoundException",)
        asked: dict[str, object] = {"SecretId": nobody, "VersionStage": self.options.version_stage}
        written: dict[str, object] = {"SecretId": nobody, "SecretString": "nothing"}
        listed = {"MaxResults": 1, "Filters": [{"Key": "name", "Values": [nobody]}]}
        call, where = self._session.call, f"the secrets {head}*"
        return {
            "read": Probe(
                "secretsmanager:GetSecretValue",
                where,
                lambda: call("secretsmanager", "GetSecretValue", asked),
                absent,
            ),
            "list": Probe(
                "secretsmanager:ListSecrets", "*", lambda: call("secretsmanager", "ListSecrets", listed)
            ),
            # Of a secret that is not there: whoever may write is told so, and nothing is written.
            "write": Probe(
                "secretsmanager:PutSecretValue",
                where,
                lambda: call("secretsmanager", "PutSecretValue", written),
                absent,
            ),
        }

    def least_policy(self, verbs: Collection[str]) -> str:
        """As `Provisioning`: an IAM policy in JSON."""
        found = Resources.of("secretsmanager", self._session, self.options.replica_regions)
        held = [f"secret:{secret}-??????" for secret in self.naming.secrets()]
        arns = found.arns([*held, *(f"secret:{head}*" for head in self.naming.beginnings())])
        statements = [
            *(
                [_named("Read", ("GetSecretValue", "ListSecretVersionIds", "DescribeSecret"), arns)]
                * ("read" in verbs)
            ),
            *([_named("ReadMany", ("BatchGetSecretValue",), ["*"])] * ("read" in verbs)),
            *([_named("List", ("ListSecrets",), ["*"])] * ("list" in verbs)),
            *([_named("Write", _WRITING, arns)] * ("write" in verbs)),
        ]
        key = self.options.kms_key_id
        if key is not None:
            actions = [
                *(["kms:Decrypt"] * ("read" in verbs or "write" in verbs)),
                *(["kms:GenerateDataKey"] * ("write" in verbs)),
            ]
            statements += [found.key_statement(key, actions)] * bool(actions)
        return policy(statements)

    # --- listing ---

    def _refs(self, kind: Kind, team: str | None, *, deleted: bool = False) -> list[Ref]:
        paths = [] if deleted else self._keys_held(kind, team)
        for folder in self.naming.beginnings(kind, team):
            for path, changed_at in self._secrets.named(folder, deleted=deleted):
                self._changed_at[path] = changed_at
                paths.append(path)
        found = (self.naming.ref(path, kind, team) for path in paths)
        return [ref for ref in found if ref is not None]

    def _summary(self, kind: Kind, name: str, team: str | None) -> Summary:
        ref = Ref(kind, name, team)
        changed_at = self._changed_at.get(self.naming.path(ref) or "")
        return Summary(ref=ref, backend=self.name, changed_at=None if changed_at is None else utc(changed_at))

    def list_deleted(
        self, kind: Kind, *, team: str | None = None, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[Summary]:
        """As `Recoverable`: what is scheduled for deletion."""
        refs = self._seam(lambda: sorted(self._refs(kind, team, deleted=True)))
        wanted = [ref for ref in refs if ref.name.startswith(prefix) and ref.name > after][:limit]
        return [replace(self._summary(kind, ref.name, team), is_deleted=True) for ref in wanted]

    def list(
        self, kind: Kind, *, team: str | None = None, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[Summary]:
        """As `Listable`: what begins with a prefix is asked for whole, and serves for 10 s."""
        names = self._seam(lambda: self._indexes.names(kind, team, prefix=prefix, after=after, limit=limit))
        return [self._summary(kind, name, team) for name in names]


_WRITING = (
    "CreateSecret",
    "DeleteSecret",
    "DescribeSecret",
    "PutSecretValue",
    "RestoreSecret",
    "TagResource",
    "UpdateSecretVersionStage",
)


def _named(name: str, actions: Sequence[str], resources: Sequence[str]) -> dict[str, object]:
    return statement(name, [f"secretsmanager:{action}" for action in actions], resources)


def _got_there(found: Fetched | None, where: Place | None) -> Fetched | None:
    """Let what a replica gave serve shortly: it may be older than what the silent region holds."""
    return found if found is None or where is None else replace(found, lifetime=_PAST_OUTAGE)


def _is_name(path: str) -> bool:
    return _NAME.fullmatch(path) is not None


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _check(name: str, options: SecretsManagerOptions) -> None:
    days = options.recovery_window_days
    if days != 0 and not 7 <= days <= 30:  # noqa: PLR2004 -- AWS's own bounds
        raise BackendConfigError(
            f"backend.{name}.recovery_window_days must be 7 to 30, or 0 to delete for good"
        )
    if options.are_secret_values_urlencoded:
        raise BackendConfigError(
            f"backend.{name}.are_secret_values_urlencoded is not known here, nor to Airflow any more",
            hint="write the values as they are, and drop it",
        )
    if options.replica_endpoint_urls.keys() - set(options.replica_regions):
        raise BackendConfigError(
            f"backend.{name}.replica_endpoint_urls names a region that is none of replica_regions"
        )


BACKEND = SecretsManager
