"""
Secrets of AWS Secrets Manager: asking for them, changing them, and the shapes of the answers.

Not for names, texts and what a backend promises (`backends/aws_secrets_manager.py`).

Rules of this file:

1. A read always says which stage it means.
2. A secret that is scheduled for deletion is absent, as one that never was.
3. Comparing and setting is done by the store: the new version is written beside, and `AWSCURRENT` is moved to
   it from exactly the version that was expected. Where the store refuses that, nothing changed for readers.

Source: Secrets Manager API reference (`UpdateSecretVersionStage`: "if the version ID does not match, then the
operation fails"); run against moto and ministack.
"""

from __future__ import annotations

import re
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.backend import Fetched
from strongroom.errors import (
    BackendUnavailableError,
    ConflictError,
    MalformedEntryError,
    NotFoundError,
    StrongroomError,
)
from strongroom.vendors.aws_answer import Fault, trouble
from strongroom.vendors.aws_sdk import misshapen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from strongroom.vendors.aws import AwsSession, Place

__all__ = ["CURRENT", "Secrets", "Standing"]

CURRENT = "AWSCURRENT"
_PREVIOUS = "AWSPREVIOUS"
_SERVICE = "secretsmanager"
_VERSION = re.compile(r"[A-Za-z0-9-]{32,64}")  # AWS refuses any other before it looks
_ABSENT = "ResourceNotFoundException"
_ATTEMPTS = 3  # to write what is deleted, restored or created meanwhile
_PAGE = 100
_LISTS = {"ListSecrets": "SecretList", "ListSecretVersionIds": "Versions"}


class Standing(NamedTuple):
    """
    What is known of a secret without its value.

    Args:
        current: the version that stands; None where there is none.
        is_scheduled: it is to be deleted.
    """

    current: str | None
    is_scheduled: bool


class Secrets:
    """
    Ask for secrets and change them.

    Args:
        session: who asks.
        place: the backend's name, for messages.
        stage: which version of a secret is meant.

    Threads: as `AwsSession`.
    """

    def __init__(self, session: AwsSession, *, place: str, stage: str = CURRENT) -> None:
        self._session = session
        self._place = place
        self._stage = stage

    # --- reading ---

    def get(self, path: str, where: Place | None = None) -> Fetched | None:
        """
        Give what the secret *path* holds, or None.

        Raises:
            As `call`; MalformedEntryError for bytes that are no text.
        """
        return self._got({"SecretId": path, "VersionStage": self._stage}, path, where)

    def version(self, path: str, version: str) -> Fetched:
        """
        Give one version of the secret *path*.

        Raises:
            NotFoundError: there is none; also where the secret is scheduled for deletion.
        """
        known = _VERSION.fullmatch(version) is not None
        found = self._got({"SecretId": path, "VersionId": version}, path, None) if known else None
        if found is None:
            raise NotFoundError(
                f"there is no such version of {path} in the backend {self._place}",
                hint="what is scheduled for deletion is read after `undelete`",
            )
        return found

    def _got(self, arguments: Mapping[str, object], path: str, where: Place | None) -> Fetched | None:
        try:
            answer = self._session.call(
                _SERVICE, "GetSecretValue", arguments, place=where, must_have="VersionId"
            )
        except Fault as fault:
            if is_absent(fault):
                return None
            raise self._trouble(fault, "GetSecretValue", path) from None
        return self._fetched(answer, path)

    def batch(
        self, paths: Sequence[str], where: Place | None = None
    ) -> dict[str, Fetched | StrongroomError | None]:
        """
        Give what each of up to 20 secrets holds in its current version, as far as the store answered.

        Raises:
            AccessDeniedError: reading many at once is not allowed.
        """
        found: dict[str, Fetched | StrongroomError | None] = {}
        for answer in self._pages("BatchGetSecretValue", {"SecretIdList": list(paths)}, "", where):
            for one in answer.get("SecretValues", ()):
                # An emulator gives another version after the stage was moved: those are asked for one by one.
                if self._stage in one.get("VersionStages", ()):
                    found[one["Name"]] = self._fetched_or_why(one)
            for one in answer.get("Errors", ()):
                found[one.get("SecretId", "")] = self._why(one)
        return found

    def _why(self, told: Mapping[str, Any]) -> StrongroomError | None:
        fault = Fault(told.get("ErrorCode", ""), told.get("Message", ""), 400, None)
        if is_absent(fault):
            return None
        return self._trouble(fault, "GetSecretValue", told.get("SecretId", ""))

    def _fetched_or_why(self, answer: Mapping[str, Any]) -> Fetched | StrongroomError | None:
        try:
            return self._fetched(answer, answer["Name"])
        except StrongroomError as error:
            return error

    def _fetched(self, answer: Mapping[str, Any], path: str) -> Fetched | None:
        text, data = answer.get("SecretString"), answer.get("SecretBinary")
        if text is None and isinstance(data, bytes):
            text = _decoded(data)
            if text is None:
                raise MalformedEntryError(
                    f"the secret {path} of the backend {self._place} holds bytes that are no text",
                    backend=self._place,
                    ref=path,
                    hint="write it as text",
                )
        # A secret may be made without a value; AWS then says that there is none, an emulator gives nothing.
        return None if text is None else Fetched(text=text, version=str(answer["VersionId"]))

    # --- looking ---

    def standing(self, path: str) -> Standing | None:
        """Tell how the secret *path* stands, or None where there is none."""
        try:
            answer = self._session.call(_SERVICE, "DescribeSecret", {"SecretId": path}, must_have="ARN")
        except Fault as fault:
            if fault.code == _ABSENT:
                return None
            raise self._trouble(fault, "DescribeSecret", path) from None
        stages = answer.get("VersionIdsToStages") or {}
        current = next((version for version, labels in stages.items() if CURRENT in labels), None)
        return Standing(current, answer.get("DeletedDate") is not None)

    def versions(self, path: str) -> list[tuple[str, datetime, bool]]:
        """Give (version, when it was made, whether it stands) of every version kept, newest first."""
        standing = self.standing(path)
        if standing is None:
            return []
        asked = {"SecretId": path, "IncludeDeprecated": True, "MaxResults": _PAGE}
        found = [
            (one["CreatedDate"], one.get("VersionStages") or (), str(one["VersionId"]))
            for answer in self._pages("ListSecretVersionIds", asked, path)
            for one in answer.get("Versions", ())
        ]
        # Of one moment, as bulk loads make them, the labels tell the order.
        found.sort(key=lambda one: (one[0], CURRENT in one[1], _PREVIOUS in one[1]), reverse=True)
        return [
            (version, made_at, CURRENT in stages and not standing.is_scheduled)
            for made_at, stages, version in found
        ]

    def named(self, prefix: str, *, deleted: bool = False) -> Iterator[tuple[str, datetime | None]]:
        """Give (name, when it last changed) of secrets whose names begin with *prefix*, in no order."""
        asked: dict[str, object] = {"MaxResults": _PAGE}
        if prefix:
            asked["Filters"] = [{"Key": "name", "Values": [prefix]}]
        if deleted:
            asked["IncludePlannedDeletion"] = True
        for answer in self._pages("ListSecrets", asked, ""):
            for one in answer.get("SecretList", ()):
                is_deleted = one.get("DeletedDate") is not None
                if one["Name"].startswith(prefix) and is_deleted == deleted:
                    yield one["Name"], one.get("LastChangedDate")

    # --- changing ---

    def put(self, path: str, text: str, more: Mapping[str, object]) -> tuple[str, bool]:
        """Make *path* hold *text*, whatever stands there; give its version, and whether it was made now."""
        for _ in range(_ATTEMPTS):
            try:
                return self._put(path, text, CURRENT), False
            except Fault as fault:
                if fault.code != _ABSENT and not is_absent(fault):
                    raise self._trouble(fault, "PutSecretValue", path) from None
                is_new = fault.code == _ABSENT
            if not is_new:
                self.restore(path)
                continue
            with suppress(ConflictError):  # somebody was faster: then it can be put
                return self._created(path, text, more), True
        raise BackendUnavailableError(
            f"the backend {self._place} neither creates nor changes the secret", backend=self._place
        )

    def create(self, path: str, text: str, more: Mapping[str, object]) -> tuple[str, bool]:
        """
        As `put`, only where nothing is.

        One that is scheduled for deletion is restored first: until the new version stands, the old one is
        there again.

        Raises:
            ConflictError: something is there.
        """
        try:
            return self._created(path, text, more), True
        except ConflictError:
            standing = self.standing(path)
        if standing is not None and standing.current is not None and standing.is_scheduled:
            self.restore(path)
            return self.swap(path, text, standing.current), False
        if standing is not None and standing.current is None:
            return self.put(path, text, more)
        raise self._conflict(path, standing)

    def swap(self, path: str, text: str, expected: str) -> str:
        """
        Make *path* hold *text* if the version *expected* stands, and give its version.

        Raises:
            ConflictError: another one stands, or none.
        """
        if _VERSION.fullmatch(expected) is None:
            raise self._conflict(path, self.standing(path))
        label = f"strongroom-{uuid.uuid4().hex[:12]}"
        try:
            version = self._put(path, text, label)
        except Fault as fault:
            if is_absent(fault):
                raise self._conflict(path, None) from None
            raise self._trouble(fault, "PutSecretValue", path) from None
        try:
            has_moved = self._moved(path, version, expected)
        finally:
            # What is left of it is a label on a version: the next of AWS's clean-ups takes both.
            with suppress(Fault, StrongroomError):
                self._label(path, label, {"RemoveFromVersionId": version})
        if not has_moved:
            raise self._conflict(path, self.standing(path))
        return version

    def _moved(self, path: str, version: str, expected: str) -> bool:
        try:
            self._label(path, CURRENT, {"RemoveFromVersionId": expected, "MoveToVersionId": version})
        except Fault as fault:
            if fault.code in ("InvalidParameterException", _ABSENT) or is_absent(fault):
                return False
            error = self._trouble(fault, "UpdateSecretVersionStage", path)
        except BackendUnavailableError as caught:
            error = caught
        else:
            return True
        if isinstance(error, BackendUnavailableError):
            error.hint = "whether it was written is not known: look which version stands before you repeat it"
        raise error

    def _label(self, path: str, label: str, change: Mapping[str, str]) -> None:
        asked = {"SecretId": path, "VersionStage": label, **change}
        self._session.call(_SERVICE, "UpdateSecretVersionStage", asked, must_have="ARN")

    def _put(self, path: str, text: str, stage: str) -> str:
        token = str(uuid.uuid4())  # asked twice with one token, AWS writes once
        asked = {
            "SecretId": path,
            "SecretString": text,
            "ClientRequestToken": token,
            "VersionStages": [stage],
        }
        return str(self._session.call(_SERVICE, "PutSecretValue", asked, must_have="VersionId")["VersionId"])

    def _created(self, path: str, text: str, more: Mapping[str, object]) -> str:
        asked = {"Name": path, "SecretString": text, "ClientRequestToken": str(uuid.uuid4()), **more}
        try:
            answer = self._session.call(_SERVICE, "CreateSecret", asked, must_have="VersionId")
        except Fault as fault:
            if fault.code == "ResourceExistsException" or is_absent(fault):
                raise self._conflict(path, None) from None
            raise self._trouble(fault, "CreateSecret", path) from None
        return str(answer["VersionId"])

    def tag(self, path: str, tags: Sequence[Mapping[str, str]]) -> None:
        """Put *tags* on the secret *path*, whose value was just written."""
        try:
            self._session.call(_SERVICE, "TagResource", {"SecretId": path, "Tags": list(tags)})
        except Fault as fault:
            error = self._trouble(fault, "TagResource", path)
        except StrongroomError as caught:
            error = caught
        else:
            return
        error.args = (f"{error}; the value was written and its tag was not: writing it again is safe",)
        raise error

    def delete(self, path: str, expected: str | None, window_days: int) -> bool:
        """
        Delete the secret *path* and tell whether there was anything.

        Args:
            path: its name.
            expected: only if this version stands; then *window_days* must not be 0.
            window_days: for which it can be restored; 0 for none.

        Raises:
            ConflictError: another version stands, or none where one was expected.
        """
        standing = self.standing(path)
        is_there = standing is not None and standing.current is not None and not standing.is_scheduled
        if expected is not None and (not is_there or standing is None or standing.current != expected):
            raise self._conflict(path, standing if is_there else None)
        if not is_there or not self._deleted(path, window_days):
            return False
        if expected is None:
            return True
        # From now on nobody can write it: what stands is what was deleted.
        standing = self.standing(path)
        if standing is not None and standing.current != expected:
            self.restore(path)
            raise self._conflict(path, standing)
        return True

    def _deleted(self, path: str, window_days: int) -> bool:
        how: dict[str, object] = (
            {"RecoveryWindowInDays": window_days} if window_days else {"ForceDeleteWithoutRecovery": True}
        )
        try:
            self._session.call(_SERVICE, "DeleteSecret", {"SecretId": path, **how}, must_have="ARN")
        except Fault as fault:
            if is_absent(fault):
                return False
            raise self._trouble(fault, "DeleteSecret", path) from None
        return True

    def restore(self, path: str) -> None:
        """Take back that the secret *path* is to be deleted."""
        try:
            self._session.call(_SERVICE, "RestoreSecret", {"SecretId": path}, must_have="ARN")
        except Fault as fault:
            if fault.code != "InvalidRequestException":  # somebody was faster
                raise self._trouble(fault, "RestoreSecret", path) from None

    # --- inside ---

    def _pages(
        self, operation: str, asked: Mapping[str, object], path: str, where: Place | None = None
    ) -> Iterator[dict[str, Any]]:
        begins: str | None = None  # where the next page does
        must_have = _LISTS.get(operation)
        while True:
            page = {**asked, "NextToken": begins} if begins else asked
            try:
                answer = self._session.call(_SERVICE, operation, page, place=where, must_have=must_have)
            except Fault as fault:
                raise self._trouble(fault, operation, path) from None
            yield answer
            before, begins = begins, answer.get("NextToken")
            if not begins:
                return
            if begins == before:
                raise misshapen(self._place)  # its pages would never end

    def _trouble(self, fault: Fault, operation: str, path: str) -> StrongroomError:
        resource = f"the secret {path}" if path else "*"
        return trouble(fault, place=self._place, action=f"{_SERVICE}:{operation}", resource=resource)

    def _conflict(self, path: str, standing: Standing | None) -> ConflictError:
        return ConflictError(
            f"the secret {path} in the backend {self._place} changed meanwhile, or exists",
            current_version=None if standing is None else standing.current,
        )


def is_absent(fault: Fault) -> bool:
    """Tell whether *fault* says that there is no such secret, or that it is scheduled for deletion."""
    return fault.code == _ABSENT or (fault.code == "InvalidRequestException" and "delet" in fault.words)


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
