"""
AWS Systems Manager Parameter Store, at the names of Airflow's SystemsManagerParameterStoreBackend.

| Ref | parameter |
|---|---|
| connection `orders_db` | `/airflow/connections/orders_db` |
| variable `region` | `/airflow/variables/region` |
| variable `region` of team `data`, with `use_team_secrets_path` | `/airflow/variables/data--region` |

Rules of this file:

1. A read is one request, and of many names one for each ten. Where one of ten is refused the store refuses
   all: then each is asked for alone, so that a denial is told of the name it is about.
2. The store compares no versions: what exists is only told from what does not. An expected version is
   refused.
3. Texts it would read as a reference (`{{…}}`) or cannot hold (none, or too much) are refused before asking.

Every option: docs/backends/aws_parameter_store.md.

Source: apache-airflow-providers-amazon (`secrets/systems_manager.py`); Systems Manager API reference.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strongroom.backend import Fetched, WritingPathBackend
from strongroom.backend.parallel import together
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StrongroomError,
)
from strongroom.model.entry import MUST_BE_ABSENT, Draft, Entry, Summary, VersionInfo
from strongroom.model.ref import Ref
from strongroom.model.shape import Shape
from strongroom.vendors.aws import AwsAccess, AwsSession
from strongroom.vendors.aws_answer import Fault, trouble
from strongroom.vendors.aws_sdk import misshapen
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
from strongroom.vendors.index import NameIndexes
from strongroom.vendors.sessions import Sessions, access_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from strongroom.backend import Health
    from strongroom.model.ref import Kind

__all__ = ["BACKEND", "ParameterStore", "ParameterStoreOptions"]

_NAME = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+){0,14}")  # fifteen levels
_RESERVED = re.compile(r"(?:aws|ssm)", re.IGNORECASE)  # how no name may begin
_LABEL = re.compile(r"(?!aws|ssm)[A-Za-z_.-][A-Za-z0-9_.-]{0,99}", re.IGNORECASE)
_REFERENCE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_MAX_NAME = 1011  # of characters, with the slash before it
_MAX_BYTES = {"Standard": 4096, "Advanced": 8192, "Intelligent-Tiering": 8192}
_BATCH = 10  # parameters in one question
_BATCHES = 8  # questions at once
_PAGE = 50
_ABSENT = frozenset(("ParameterNotFound", "ParameterVersionNotFound"))
Tier = Literal["Standard", "Advanced", "Intelligent-Tiering"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterStoreOptions(AwsAccess):
    """
    Where things stand; who we are there is `AwsAccess`.

    Args:
        connections_prefix: a path; "" for none; None or False when this store keeps no connections.
        variables_prefix: likewise.
        config_prefix: likewise.
        connections_lookup_pattern: a regular expression that names must begin with, in any case of letters;
            others are not asked for.
        variables_lookup_pattern: likewise.
        config_lookup_pattern: likewise.
        use_team_secrets_path: a team's names begin with `<prefix>/<team>--`; global ones hold no `--`.
        parameter_label: which version of a parameter is read; the newest if unsaid. What is written gets it.
        parameter_type: of what is written: `SecureString` or `String`.
        kms_key_id: for what is written as SecureString; the account's own key if unsaid.
        tier: of what is written.
        tag_author: put the tag `strongroom-author` on what is written.
        connection_shape: of what is written: `given`, `uri` or `json`.
    """

    connections_prefix: bool | str | None = "/airflow/connections"
    variables_prefix: bool | str | None = "/airflow/variables"
    config_prefix: bool | str | None = "/airflow/config"
    connections_lookup_pattern: str | None = None
    variables_lookup_pattern: str | None = None
    config_lookup_pattern: str | None = None
    use_team_secrets_path: bool = False
    parameter_label: str | None = None
    parameter_type: Literal["SecureString", "String"] = "SecureString"
    kms_key_id: str | None = None
    tier: Tier = "Standard"
    tag_author: bool = True
    connection_shape: Shape = "given"


class ParameterStore(WritingPathBackend[ParameterStoreOptions]):
    """
    Entries in AWS Systems Manager Parameter Store. Versions are the store's numbers.

    A deleted parameter is gone with its versions.

    Trust: AWS's answers are data; its words are compared and never shown.
    Threads: may be used from several threads at once, and after a fork; one login for all of them.
    Consistency: that of AWS: a read soon after a write may, rarely, give what stood before.

    Raises:
        BackendConfigError: options that contradict one another, or cannot be.
    """

    options_type = ParameterStoreOptions
    needs_sessions: ClassVar[bool] = True
    can_create_only: ClassVar[bool] = True
    max_text_bytes: ClassVar[int] = max(_MAX_BYTES.values())

    def __init__(
        self,
        name: str,
        options: ParameterStoreOptions,
        clock: Callable[[], datetime],
        sessions: Sessions | None = None,
    ) -> None:
        _check(name, options)
        naming = naming_of(name, options, separator="/", is_spellable=_is_name, strip="both")
        super().__init__(name, options, naming, clock)
        self._selector = f":{options.parameter_label}" if options.parameter_label else ""
        self._sessions = Sessions() if sessions is None else sessions
        access = access_of(options, AwsAccess)
        self._session = self._sessions.get(access, lambda: AwsSession(access, place=name), user=self)
        self._indexes = NameIndexes(lambda kind, team: [ref.name for ref in self._refs(kind, team)])
        self._seen: dict[str, Mapping[str, Any]] = {}

    @property
    def is_circuit_open(self) -> bool:
        """Whether the store is not asked for a while, because it failed."""
        return self._session.is_circuit_open

    def close(self) -> None:
        self._sessions.release(self)

    # --- reading ---

    def _fetch(self, path: str) -> Fetched | None:
        return self._got(path, self._selector)

    def _got(self, path: str, selector: str) -> Fetched | None:
        asked = {"Name": f"/{path}{selector}", "WithDecryption": True}
        answer = self._asked("GetParameter", asked, path, must_have="Parameter", absent=_ABSENT)
        return None if answer is None else self._held_by(answer["Parameter"])

    def _held_by(self, found: Mapping[str, Any]) -> Fetched:
        text, version = found.get("Value"), found.get("Version")
        if not isinstance(text, str) or version is None:
            raise BackendUnavailableError(
                f"the backend {self.name} gave a parameter without a value", backend=self.name
            )
        return Fetched(text=text, version=str(version))

    def _fetch_many(self, paths: Sequence[str]) -> Mapping[str, Fetched | StrongroomError | None]:
        if len(paths) == 1:
            return super()._fetch_many(paths)
        chunks = [tuple(paths[start : start + _BATCH]) for start in range(0, len(paths), _BATCH)]
        answers = together(self._chunk, chunks, threads=_BATCHES, late=self._late, place=self.name)
        found: dict[str, Fetched | StrongroomError | None] = {}
        for chunk, answer in answers.items():
            found.update(dict.fromkeys(chunk, answer) if isinstance(answer, StrongroomError) else answer)
        rest = [path for path in paths if path not in found]
        if rest:
            found.update(super()._fetch_many(rest))
        return found

    def _chunk(
        self, paths: tuple[str, ...]
    ) -> Mapping[str, Fetched | StrongroomError | None] | StrongroomError:
        answer = self._tried_to(lambda: self._batch(paths))
        # Of ten, one refusal is the refusal of all: whose it is tells asking for each.
        return {} if isinstance(answer, AccessDeniedError) else answer

    def _batch(self, paths: Sequence[str]) -> dict[str, Fetched | StrongroomError | None]:
        names = {f"/{path}{self._selector}": path for path in paths}
        answer = self._asked("GetParameters", {"Names": list(names), "WithDecryption": True}, "")
        found: dict[str, Fetched | StrongroomError | None] = {}
        for one in (answer or {}).get("Parameters", ()):
            path = str(one.get("Name", "")).lstrip("/")
            if path in paths:
                found[path] = self._held_by(one)
        for name in (answer or {}).get("InvalidParameters", ()):
            if name in names:
                found[names[name]] = None
        return found

    # --- writing ---

    def _store(self, path: str, text: str, *, expected: str | None, draft: Draft) -> str | None:
        self._check_text(text)
        version = self._put(path, text, has_to_be_new=expected == MUST_BE_ABSENT)
        self._indexes.forget()
        label = self.options.parameter_label
        if label is not None:
            asked: dict[str, object] = {
                "Name": f"/{path}",
                "ParameterVersion": int(version),
                "Labels": [label],
            }
            self._beside("LabelParameterVersion", asked, path, "its label was not")
        if self.options.tag_author:
            tags = {"ResourceType": "Parameter", "ResourceId": f"/{path}", "Tags": author_tags(draft.author)}
            self._beside("AddTagsToResource", tags, path, "its tag was not")
        return version

    def _put(self, path: str, text: str, *, has_to_be_new: bool) -> str:
        options = self.options
        asked: dict[str, object] = {
            "Name": f"/{path}",
            "Value": text,
            "Type": options.parameter_type,
            "Tier": options.tier,
            "Overwrite": not has_to_be_new,
        }
        if options.kms_key_id is not None and options.parameter_type == "SecureString":
            asked["KeyId"] = options.kms_key_id
        exists = frozenset(("ParameterAlreadyExists",) if has_to_be_new else ())
        answer = self._asked("PutParameter", asked, path, must_have="Version", absent=exists)
        if answer is not None:
            return str(answer["Version"])
        standing = self._got(path, "")
        raise ConflictError(
            f"the parameter /{path} in the backend {self.name} exists",
            current_version=None if standing is None else standing.version,
        )

    def _beside(self, operation: str, asked: Mapping[str, object], path: str, what: str) -> None:
        """Do what belongs to a write after it."""
        try:
            answer = self._asked(operation, asked, path)
            if answer is not None and answer.get("InvalidLabels"):  # AWS says so in an answer, not a refusal
                raise BackendUnavailableError(
                    f"the backend {self.name} does not take its parameter_label", backend=self.name
                )
        except StrongroomError as error:
            error.args = (f"{error}; the value was written and {what}: writing it again is safe",)
            raise

    def _check_text(self, text: str) -> None:
        if not text:
            raise InvalidInputError(f"the backend {self.name} cannot hold an empty text")
        if _REFERENCE.search(text):
            raise InvalidInputError(
                f"the backend {self.name} cannot hold a text with {{{{…}}}}, which AWS reads as a reference"
            )
        most = _MAX_BYTES[self.options.tier]
        if len(text.encode()) > most:
            raise InvalidInputError(
                f"a text is over {most} bytes, the most that the tier of the backend {self.name} holds",
                limit=most,
                hint='set tier = "Intelligent-Tiering" or "Advanced" for up to 8192',
            )

    def _erase(self, path: str, *, expected: str | None) -> bool:
        del expected  # never given: nothing is compared here
        found = self._asked("DeleteParameter", {"Name": f"/{path}"}, path, absent=_ABSENT)
        self._indexes.forget()
        return found is not None

    # --- versions ---

    def history(self, ref: Ref) -> list[VersionInfo]:
        """As `Versioned`; the author is whom AWS saw, and which values are the same is not looked at."""
        return self._seam(lambda: self._history(ref))

    def _history(self, ref: Ref) -> list[VersionInfo]:
        for path in self.naming.paths(ref):
            asked = {"Name": f"/{self.naming.secret(path)}", "WithDecryption": False, "MaxResults": _PAGE}
            found = [
                one
                for answer in self._pages("GetParameterHistory", asked, path, absent=_ABSENT)
                for one in answer.get("Parameters", ())
            ]
            if found:
                found.sort(key=lambda one: int(one["Version"]), reverse=True)
                return [self._version_info(one, is_current=one is found[0]) for one in found]
        return []

    def _version_info(self, found: Mapping[str, Any], *, is_current: bool) -> VersionInfo:
        labels = found.get("Labels") or ()
        mine = self.options.parameter_label
        return VersionInfo(
            version=str(found["Version"]),
            created_at=utc(found["LastModifiedDate"]),
            author=str(found.get("LastModifiedUser") or ""),
            is_current=is_current if mine is None else mine in labels,
        )

    def read_version(self, ref: Ref, version: str) -> Entry:
        """As `Versioned`; of a deleted parameter there are none."""
        return self._seam(lambda: self._read_version(ref, version))

    def _read_version(self, ref: Ref, version: str) -> Entry:
        for path in self.naming.paths(ref):
            is_number = version.isascii() and version.isdecimal()
            found = self._got(self.naming.secret(path), f":{version}") if is_number else None
            if found is not None:
                holder = self.naming.holder(path)
                if holder is None:
                    return self._entry(ref, found)
                value = self._opened(holder[0], found).get(holder[1])
                if isinstance(value, str):
                    return self._entry(ref, replace(found, text=value))
        raise NotFoundError(f"there is no such version of {ref} in the backend {self.name}")

    def undelete(self, ref: Ref, *, author: str) -> str:
        """As `Versioned`: nothing comes back, since a deleted parameter is gone with its versions."""
        del author
        entry = self.read(ref)
        if entry is not None:
            raise ConflictError(
                f"{ref} in the backend {self.name} is not deleted", current_version=entry.version
            )
        raise NotFoundError(
            f"nothing of {ref} is left in the backend {self.name}",
            hint="this store forgets what is deleted: write it anew",
        )

    # --- asking ---

    def _asked(
        self,
        operation: str,
        asked: Mapping[str, object],
        path: str,
        *,
        must_have: str | None = None,
        absent: Collection[str] = (),
    ) -> dict[str, Any] | None:
        """Ask and give the answer; None where the store says one of *absent*."""
        try:
            return self._session.call("ssm", operation, asked, must_have=must_have)
        except Fault as fault:
            if fault.code in absent:
                return None
            resource = f"the parameter /{path}" if path else "the parameters of all three prefixes"
            raise trouble(fault, place=self.name, action=f"ssm:{operation}", resource=resource) from None

    def _pages(
        self, operation: str, asked: Mapping[str, object], path: str, *, absent: Collection[str] = ()
    ) -> Iterator[dict[str, Any]]:
        begins: str | None = None  # where the next page does
        while True:
            page = {**asked, "NextToken": begins} if begins else asked
            answer = self._asked(operation, page, path, must_have="Parameters", absent=absent)
            if answer is None:
                return
            yield answer
            before, begins = begins, answer.get("NextToken")
            if not begins:
                return
            if begins == before:
                raise misshapen(self.name)  # its pages would never end

    # --- checking ---

    def check(self) -> Health:
        """Tell as whom and what it may: four questions, none of which changes anything."""
        certificate = self._session.certificate_ends
        ends = {} if certificate is None else {"server certificate": certificate}
        return health(self._session, self.name, self._probes(), ends)

    def _probes(self) -> dict[str, Probe]:
        head = next(iter((*self.naming.beginnings(), *self.naming.secrets())), "")
        nobody = f"/{head}strongroom-check-{uuid.uuid4().hex}"
        asked = {"Name": nobody, "WithDecryption": True}
        listed = {"ParameterFilters": [_begins(nobody.lstrip("/"))], "MaxResults": 1}
        call, where = self._session.call, f"the parameters /{head}*"
        return {
            "read": Probe(
                "ssm:GetParameter", where, lambda: call("ssm", "GetParameter", asked), tuple(_ABSENT)
            ),
            "list": Probe("ssm:DescribeParameters", "*", lambda: call("ssm", "DescribeParameters", listed)),
            # Only writing itself would tell whether it may; who may not delete may not all that writing is.
            "write": Probe(
                "ssm:DeleteParameter",
                where,
                lambda: call("ssm", "DeleteParameter", {"Name": nobody}),
                tuple(_ABSENT),
                tells_yes=False,
            ),
        }

    def least_policy(self, verbs: Collection[str]) -> str:
        """As `Provisioning`: an IAM policy in JSON."""
        found = Resources.of("ssm", self._session)
        held = [f"parameter/{secret}" for secret in self.naming.secrets()]
        arns = found.arns([*held, *(f"parameter/{head}*" for head in self.naming.beginnings())])
        writing = ["ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:PutParameter"]
        writing += ["ssm:LabelParameterVersion"] * (self.options.parameter_label is not None)
        reading = ["ssm:GetParameter", "ssm:GetParameterHistory", "ssm:GetParameters"]
        statements = [
            *([statement("Read", reading, arns)] * ("read" in verbs)),
            *([statement("List", ["ssm:DescribeParameters"], ["*"])] * ("list" in verbs)),
            *([statement("Write", writing, arns)] * ("write" in verbs)),
        ]
        key = self.options.kms_key_id
        if key is not None and ("read" in verbs or "write" in verbs):
            actions = ["kms:Decrypt"] * ("read" in verbs)
            actions += ["kms:Encrypt", "kms:GenerateDataKey"] * ("write" in verbs)
            statements.append(found.key_statement(key, actions))
        return policy(statements)

    # --- listing ---

    def _refs(self, kind: Kind, team: str | None) -> Sequence[Ref]:
        paths = self._keys_held(kind, team)
        for folder in self.naming.beginnings(kind, team):
            asked = (
                {"ParameterFilters": [_begins(folder)], "MaxResults": _PAGE}
                if folder
                else {"MaxResults": _PAGE}
            )
            for answer in self._pages("DescribeParameters", asked, ""):
                for one in answer.get("Parameters", ()):
                    path = str(one["Name"]).lstrip("/")
                    self._seen[path] = one
                    paths.append(path)
        found = (self.naming.ref(path, kind, team) for path in paths)
        return [ref for ref in found if ref is not None]

    def _summary(self, ref: Ref) -> Summary:
        seen = self._seen.get(self.naming.path(ref) or "", {})
        changed_at, version = seen.get("LastModifiedDate"), seen.get("Version")
        return Summary(
            ref=ref,
            backend=self.name,
            version=None if version is None or self._selector else str(version),
            changed_at=None if changed_at is None else utc(changed_at),
        )

    def list(
        self, kind: Kind, *, team: str | None = None, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[Summary]:
        """As `Listable`: what begins with a prefix is asked for whole, and serves for 10 s."""
        names = self._seam(lambda: self._indexes.names(kind, team, prefix=prefix, after=after, limit=limit))
        return [self._summary(Ref(kind, name, team)) for name in names]


def _begins(folder: str) -> dict[str, object]:
    return {"Key": "Name", "Option": "BeginsWith", "Values": [f"/{folder}"]}


def _is_name(path: str) -> bool:
    return len(path) < _MAX_NAME and _NAME.fullmatch(path) is not None and _RESERVED.match(path) is None


def _check(name: str, options: ParameterStoreOptions) -> None:
    label = options.parameter_label
    if label is not None and _LABEL.fullmatch(label) is None:
        raise BackendConfigError(
            f"backend.{name}.parameter_label is no label", hint="letters, digits, . _ -, not a number first"
        )
    for key in ("connections_prefix", "variables_prefix", "config_prefix"):
        given = getattr(options, key)
        bare = given.strip("/").removesuffix("#") if isinstance(given, str) else ""
        if bare and not _is_name(bare):
            raise BackendConfigError(
                f"backend.{name}.{key} cannot be the path of a parameter",
                hint="letters, digits, . _ - and /, not beginning with aws or ssm",
            )


BACKEND = ParameterStore
