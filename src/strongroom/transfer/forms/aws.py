"""
AWS: `~/.aws/credentials` and `~/.aws/config`, `aws configure set`, and the JSON that creates keys.

A profile becomes a connection of its name: key and secret are login and password, the region is `region_name`
in extra. How profiles become connections that hold no keys of their own is told in `aws_role.py`.

Sources: docs.aws.amazon.com/cli: "Configuration and credential file settings", "aws configure set";
docs.aws.amazon.com/IAM "CreateAccessKey", STS "GetSessionToken".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from strongroom.transfer.forms.aws_role import SIGN_IN_KEYS, role_extra, role_settings, signs_in_elsewhere
from strongroom.transfer.forms.form import Form, Found, Look, connection, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.model.connection import Connection, Dialect

__all__ = ["FILE", "JSON", "of_keys", "sections_of"]

_SECTION = re.compile(r"\[[ \t]*(?:profile[ \t]+)?[\"']?([^\]\"'\r\n]{1,250}?)[\"']?[ \t]*\]")
_PASSED = re.compile(r"(?:sso-session|services|plugins|preview)\b")
_NAMES = {
    "aws_access_key_id": "login",
    "aws_secret_access_key": "password",
    "aws_session_token": "aws_session_token",
    "aws_security_token": "aws_session_token",
    "region": "region_name",
    "endpoint_url": "endpoint_url",
}
_KNOWN = frozenset(_NAMES)
_KEYS = _KNOWN - {"region", "endpoint_url"}
_EMPTY = "neither keys nor a region, left out"
_KEYLESS = (
    "no keys: the task signs in as its machine does; paste ~/.aws/credentials below where they are there"
)


def of_keys(given: Mapping[str, str], extra: Mapping[str, Any] | None = None) -> Connection:
    """
    Give the connection of AWS's own keys, `aws_access_key_id` and the others, in lower case.

    Args:
        given: by these names.
        extra: what else stands in it.

    Raises:
        InvalidInputError: there is a key without its secret, or the other way round.
    """
    fields: dict[str, Any] = {_NAMES[key]: value for key, value in given.items() if key in _NAMES and value}
    if ("login" in fields) != ("password" in fields):
        raise refused("an access key stands without its secret, or the other way round")
    standard: dict[str, Any] = {key: fields.pop(key) for key in ("login", "password") if key in fields}
    return connection("aws", fields | dict(extra or {}), **standard)


def sections_of(text: str) -> dict[str, dict[str, str]]:
    """
    Give the keys of every profile; those of nested settings are left out.

    Raises:
        InvalidInputError: a line is none of the grammar.
    """
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    at = 0
    for raw in text.splitlines(keepends=True):
        line, offset, at = raw.strip(), at, at + len(raw)
        if not line or line[0] in "#;":
            continue
        head = _SECTION.fullmatch(line.partition(" #")[0].strip()) if line[0] == "[" else None
        if head is not None:
            current = found.setdefault(head[1], {})
            continue
        key, equals, value = line.partition("=")
        if current is None or not equals:
            raise refused("a line is neither [profile] nor key = value", offset=offset)
        if raw[0] not in " \t":  # an indented line belongs to the setting above it
            current[key.strip().lower()] = value.strip()
    return found


def _misfit_file(look: Look) -> str | None:
    if not look.text.startswith(("[", "#", ";")) or not any(_SECTION.fullmatch(line) for line in look.lines):
        return "has no line [profile]"
    heads = ("aws_", "region", "role_arn", "sso_", "source_profile", "credential_process", "output")
    return (
        None if any(line.startswith(heads) for line in look.lines) else "has no keys of AWS below [profile]"
    )


def _parse_file(text: str, _dialect: Dialect) -> Found:
    every = {name: given for name, given in sections_of(text).items() if not _PASSED.match(name)}
    found: dict[str | None, Connection] = {}
    told: dict[str, int] = {}
    left = 0
    for name, given in every.items():
        if not given.keys() & (_KNOWN | SIGN_IN_KEYS):
            told[_EMPTY] = told.get(_EMPTY, 0) + 1
            continue
        found[name], notes = _of_profile(name, given, every)
        for note in notes:
            told[note] = told.get(note, 0) + 1
        left += len(given.keys() - _KNOWN - SIGN_IN_KEYS - {"output", "cli_pager"})
    if not found:
        raise refused("no profile holds what a connection needs")
    lines = [f"{count} profile{'s' * (count > 1)}: {note}" for note, count in told.items()]
    if left:
        lines.append(f"{left} setting{'s' * (left > 1)} that Airflow's hook does not read left out")
    return Found(found, tuple(lines))


def _of_profile(
    name: str, given: dict[str, str], every: Mapping[str, dict[str, str]]
) -> tuple[Connection, list[str]]:
    """Give the connection of one profile, and warnings."""
    elsewhere = signs_in_elsewhere(given)
    if elsewhere is not None:
        return of_keys(_without_keys(given), {"profile_name": name}), [elsewhere]
    if "role_arn" not in given:
        return of_keys(given), [] if given.keys() & _KEYS else [_KEYLESS]
    extra, keys, notes = role_extra(given, every)
    mine = _without_keys(given)
    return of_keys({key: value for key, value in keys.items() if key in _KEYS} | mine, extra), notes


def _without_keys(given: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in given.items() if key not in _KEYS}


def _format_file(connection: Connection, name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    secret = connection.password.reveal() if connection.password is not None else None
    given = {"aws_access_key_id": connection.login, "aws_secret_access_key": secret}
    back = {value: key for key, value in _NAMES.items() if key != "aws_security_token"}
    given |= {back[key]: str(value) for key, value in extra.items() if key in back}
    given |= role_settings(extra, name, has_keys=secret is not None)
    lines = [f"{key} = {value}" for key, value in given.items() if value is not None]
    return "\n".join([f"[{name}]", *lines])


FILE = Form(
    name="aws",
    title="~/.aws/credentials and config",
    example="[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n"
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\nregion = eu-central-1",
    lacks="description; of extra all but aws_session_token, region_name, endpoint_url and a role",
    misfit=_misfit_file,
    parse=_parse_file,
    format=_format_file,
    has_name=True,
)


# --- JSON ----------------------------------------------------------------------------------------


def _keys_of(look: Look) -> Mapping[str, Any] | None:
    document = look.document or {}
    inner = document.get("Credentials") or document.get("AccessKey") or document
    return inner if isinstance(inner, dict) and "SecretAccessKey" in inner else None


def _misfit_json(look: Look) -> str | None:
    return None if _keys_of(look) is not None else "is no JSON object with SecretAccessKey"


def _parse_json(text: str, _dialect: Dialect) -> Found:
    given = _keys_of(Look(text))
    if given is None:
        raise refused("is no JSON object with SecretAccessKey", offset=0)
    names = {"AccessKeyId": "aws_access_key_id", "SecretAccessKey": "aws_secret_access_key"}
    names |= {"SessionToken": "aws_session_token"}
    texts = {name: given[key] for key, name in names.items() if isinstance(given.get(key), str)}
    notes = (
        ("keys of a session live for hours, and nobody renews them",) if "aws_session_token" in texts else ()
    )
    return Found({None: of_keys(texts)}, notes)


JSON = Form(
    name="aws-json",
    title="AWS keys, as `aws iam create-access-key` shows them",
    example='{"AccessKey": {"UserName": "svc", "AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "Status": "Active",'
    ' "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}}',
    lacks="not written",
    misfit=_misfit_json,
    parse=_parse_json,
)
