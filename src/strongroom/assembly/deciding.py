"""Who decides for an agent that has no server: a Cedar file, or the operating system."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError, SettingsError
from strongroom.policy import HostPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.policy import Policy
    from strongroom.policy.rule import Remark
    from strongroom.settings import Settings

_KEY = "agent.policy"
_MAX_BYTES = 1_048_576  # 1 MiB; the parser of policies has bounds of its own
_NO_NAME = re.compile(r"[^a-z0-9._@-]+")


def local_policy(settings: Settings) -> Policy:
    """
    Give the policy of an agent without a server: that of `agent.policy`, else whoever may connect may read.

    The file is one document, named by the file: `pay.cedar` is `pay`, and an `@id` in it begins with that.
    Nothing is allowed that nothing in it allows.

    Raises:
        SettingsError: the file cannot be read, or is no policy; says where in it.
    """
    path = settings.agent.policy
    if path is None:
        return HostPolicy()
    text = _read(path)
    from strongroom.policy.cedar import CedarPolicy, parse, validate  # noqa: PLC0415 -- an engine of 15 MB

    name = _NO_NAME.sub("-", path.stem.lower()).strip("-") or "policy"
    # What is only doubtful does not stop an agent; `access policies validate` says it.
    for remark in validate(name, text):
        if remark.severity == "error":
            raise _wrong(path, _said(remark), remark.hint)
    try:
        rules = parse(name, text)
        revision = sha256(text.encode()).hexdigest()[:12]
        return CedarPolicy(rules, revision=revision, deployment=settings.deployment)
    except InvalidInputError as error:
        raise _wrong(path, str(error), error.hint) from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _wrong(path, f"it cannot be read: {error.strerror or type(error).__name__}", None) from None
    if len(data) > _MAX_BYTES:
        raise _wrong(path, f"it is over {_MAX_BYTES} bytes", None)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _wrong(path, "it is not UTF-8", None) from None


def _said(remark: Remark) -> str:
    where = "" if remark.line is None else f"line {remark.line}: "
    return where + remark.message


def _wrong(path: Path, why: str, hint: str | None) -> SettingsError:
    return SettingsError(f"{_KEY}: {path.name} is no policy: {why}", key=_KEY, hint=hint)
