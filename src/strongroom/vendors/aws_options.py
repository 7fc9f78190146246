"""
How AWS is reached and as whom, as options: one table for whoever speaks to it.

Airflow's keyword arguments (what its AWS connection has in `extra`) are accepted as they stand, except that
secrets are fetched. What contradicts itself is refused by name; no message holds what was given.

Not for asking (`aws.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.errors import BackendConfigError
from strongroom.model.secret import Secret
from strongroom.vendors.stream import Address

if TYPE_CHECKING:
    from strongroom.vendors.origins import Bounds

__all__ = ["WEB_IDENTITY", "AwsAccess", "bounds_of", "check_access"]

_Fetch = Callable[[], Secret[str]]
_REGION = re.compile(r"[a-z]{2,8}(?:-[a-z]{1,16}){1,3}-[0-9]{1,2}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_ASSUME, WEB_IDENTITY = "assume_role", "assume_role_with_web_identity"
# Of the two questions to STS, by their own names; what identifies the role is said beside them.
_ASSUME_WORDS = frozenset(
    ("DurationSeconds", "ExternalId", "Policy", "PolicyArns", "RoleSessionName", "SourceIdentity", "Tags")
)
_MAX_BODY_BYTES = 24 * 1024 * 1024  # twenty secrets of 64 KiB with every character escaped, and more


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAccess:
    """
    Where AWS is and who we are there. Airflow's keyword arguments are accepted.

    Args:
        region_name: `eu-west-1`; unsaid, what the profile or `AWS_DEFAULT_REGION` says.
        profile_name: of `~/.aws/config` and `~/.aws/credentials`.
        aws_access_key_id: of a key of our own; with the next one.
        aws_secret_access_key: fetched.
        aws_session_token: fetched, where the key is a temporary one.
        role_arn: a role to assume as whom the above says.
        assume_role_method: `assume_role` or `assume_role_with_web_identity`.
        assume_role_kwargs: more for that question, by AWS's names: `ExternalId`, `RoleSessionName`,
            `DurationSeconds`, `Policy`, `PolicyArns`, `Tags`, `SourceIdentity`.
        external_id: in place of `ExternalId`.
        role_session_name: in place of `RoleSessionName`; `strongroom` if unsaid.
        assume_role_with_web_identity_federation: `file`, the only one there is.
        assume_role_with_web_identity_token_file: read anew at each login.
        endpoint_url: in place of the region's own, for everything but logging in.
        sts_endpoint_url: likewise for STS.
        service_config: Airflow's words for it: `{ sts = { endpoint_url = "…" } }`.
        verify: False checks no certificate; a path is `ca`.
        ca: certificates to trust in place of the system's.
        use_ssl: False is refused.
        api_version: of the service; its newest if unsaid.
        timeout: for connecting and for each wait of an answer.
        config_kwargs, session_kwargs: of Airflow, refused: there are options for what they say.
    """

    region_name: str | None = None
    profile_name: str | None = None
    aws_access_key_id: _Fetch | Secret[str] | str | None = field(default=None, repr=False)
    aws_secret_access_key: _Fetch | Secret[str] | None = None
    aws_session_token: _Fetch | Secret[str] | None = None
    role_arn: str | None = None
    assume_role_method: str = _ASSUME
    assume_role_kwargs: Mapping[str, object] = field(default_factory=dict, repr=False)
    external_id: str | None = field(default=None, repr=False)
    role_session_name: str | None = None
    assume_role_with_web_identity_federation: str = "file"
    assume_role_with_web_identity_token_file: Path | None = None
    endpoint_url: str | None = field(default=None, repr=False)
    sts_endpoint_url: str | None = field(default=None, repr=False)
    service_config: Mapping[str, object] = field(default_factory=dict, repr=False)
    verify: bool | Path = True
    ca: Path | None = None
    use_ssl: bool | None = None
    api_version: str | None = None
    timeout: timedelta = timedelta(seconds=3)
    config_kwargs: Mapping[str, object] = field(default_factory=dict, repr=False)
    session_kwargs: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def sts_url(self) -> str | None:
        """Where STS is, or None for where AWS has it."""
        inner = self.service_config.get("sts")
        said = inner.get("endpoint_url") if isinstance(inner, Mapping) else None
        return self.sts_endpoint_url or (said if isinstance(said, str) else None)

    @property
    def is_web_identity(self) -> bool:
        """Whether the role is assumed by a token of somebody else's."""
        return self.role_arn is not None and self.assume_role_method == WEB_IDENTITY


def check_access(name: str, access: AwsAccess) -> None:
    """
    Check what can be checked without asking.

    Raises:
        BackendConfigError: *access* of the backend *name* contradicts itself, or names what cannot be.
    """
    for key, is_wrong, hint in _faults(access):
        if is_wrong:
            raise BackendConfigError(f"backend.{name}.{key} cannot be used as it is", hint=hint)


def _faults(access: AwsAccess) -> list[tuple[str, bool, str]]:
    has_key = access.aws_access_key_id is not None
    is_web = access.is_web_identity
    return [
        (
            "region_name",
            access.region_name is not None and not _REGION.fullmatch(access.region_name),
            "name a region as eu-west-1",
        ),
        (
            "aws_access_key_id",
            has_key != (access.aws_secret_access_key is not None),
            "set aws_access_key_id and aws_secret_access_key, both or neither",
        ),
        (
            "aws_session_token",
            access.aws_session_token is not None and not has_key,
            "it belongs to an aws_access_key_id",
        ),
        ("profile_name", has_key and access.profile_name is not None, "keep the key or the profile"),
        *_role_faults(access),
        (
            "assume_role_with_web_identity_token_file",
            is_web and access.assume_role_with_web_identity_token_file is None,
            "name the file with the token; without role_arn the environment's own web identity is used",
        ),
        (
            "assume_role_with_web_identity_federation",
            access.assume_role_with_web_identity_federation != "file",
            'the token comes from a file: leave it, or set "file"',
        ),
        ("use_ssl", access.use_ssl is False, "drop it; a local emulator is named by endpoint_url"),
        ("config_kwargs", bool(access.config_kwargs), "drop it; there are timeout, ca and endpoint_url"),
        (
            "session_kwargs",
            bool(access.session_kwargs),
            "drop it; there are aws_access_key_id, profile_name and region_name",
        ),
        *(
            (key, url is not None and Address.of(url) is None, "write http(s)://host[:port]")
            for key, url in (("endpoint_url", access.endpoint_url), ("sts_endpoint_url", access.sts_url))
        ),
        ("ca", isinstance(access.verify, Path) and access.ca is not None, "keep ca and drop verify"),
    ]


def _role_faults(access: AwsAccess) -> list[tuple[str, bool, str]]:
    said = access.assume_role_kwargs
    name = access.role_session_name
    has_more = bool(said) or access.external_id is not None or name is not None
    return [
        (
            "role_arn",
            access.role_arn is not None and not _ROLE.fullmatch(access.role_arn),
            "write arn:aws:iam::123456789012:role/name",
        ),
        ("role_arn", access.role_arn is None and has_more, "name the role that is to be assumed"),
        (
            "assume_role_method",
            access.assume_role_method not in (_ASSUME, WEB_IDENTITY),
            f"known: {_ASSUME}, {WEB_IDENTITY}",
        ),
        (
            "assume_role_kwargs",
            not _ASSUME_WORDS.issuperset(said),
            f"known: {', '.join(sorted(_ASSUME_WORDS))}",
        ),
        ("external_id", access.external_id is not None and "ExternalId" in said, "keep external_id"),
        (
            "external_id",
            access.is_web_identity and (access.external_id is not None or "ExternalId" in said),
            "a web identity has none",
        ),
        ("role_session_name", name is not None and "RoleSessionName" in said, "keep role_session_name"),
        (
            "role_session_name",
            name is not None and not _SESSION_NAME.fullmatch(name),
            "2 to 64 letters, digits and _+=,.@-",
        ),
    ]


def bounds_of(access: AwsAccess) -> Bounds:
    """Give what the transports of *access* need to know."""
    ca = access.verify if isinstance(access.verify, Path) else access.ca
    return {
        "timeout": access.timeout,
        "ca": ca,
        "verify": access.verify is not False,
        "max_body_bytes": _MAX_BODY_BYTES,
    }
