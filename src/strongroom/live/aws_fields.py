"""
What an AWS connection says, read as Airflow's hook reads it: who we are, which roles are taken on, and where.

Pure: no I/O. Not for logging in (`aws_login.py`) nor for clients (`aws.py`).

Rules of this file:

1. A field of the wrong shape is told by its name, never by what stands in it.
2. Half a key is refused: the machine's own identity must not stand in for one that was meant and mistyped.
3. What one service has for itself (`service_config`) goes before what holds for all. STS, where roles are
   taken on, is never at the `endpoint_url` of all: that is another place's, such as a MinIO's.

Source: apache-airflow-providers-amazon 9 (`utils/connection_wrapper.py`, `hooks/base_aws.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.errors import InvalidInputError
from strongroom.live.trouble import trouble
from strongroom.model.jsontext import decode
from strongroom.model.machine import is_private_way
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.errors import StrongroomError
    from strongroom.model.connection import Connection

__all__ = ["AwsFields", "Key", "Role", "WebIdentity", "read"]

_ROLE = re.compile(r"arn:[a-z-]{1,20}:iam::[0-9]{0,12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
_ASSUME, _WEB = "assume_role", "assume_role_with_web_identity"
_MAX_ROLES = 8
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, repr=False)
class Key:
    """An access key; with a token it ends by itself, and nobody renews it."""

    id: Secret[str]
    secret: Secret[str]
    token: Secret[str] | None = None


@dataclass(frozen=True, repr=False)
class Role:
    """
    A role to take on.

    Args:
        arn: which one.
        arguments: more for that question, by AWS's names.
    """

    arn: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class WebIdentity:
    """
    Where the token of a web identity comes from.

    Args:
        source: `file` or `google`.
        path: of the file; None for what `AWS_WEB_IDENTITY_TOKEN_FILE` names.
        audience: of Google's token.
    """

    source: str
    path: str | None = None
    audience: str | None = None


@dataclass(frozen=True, repr=False)
class AwsFields:
    """
    What a connection says of AWS.

    Args:
        key: None for what the machine has.
        profile: of the shared files.
        region: None for what the profile or the machine says.
        roles: taken on one after the other, the last one being who we are.
        web: how the first role is taken on; None for as whom the key or the machine says.
        endpoint: of every service, for another place than AWS.
        services: what single services have for themselves.
        verify: False checks no certificate; a text is the path of a CA's.
        config: arguments of botocore's Config.
    """

    key: Key | None = None
    profile: str | None = None
    region: str | None = None
    roles: tuple[Role, ...] = ()
    web: WebIdentity | None = None
    endpoint: str | None = None
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    verify: bool | str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    def endpoint_of(self, service: str) -> str | None:
        """Give where *service* is, for who asks it; None for where AWS has it."""
        return self._own_endpoint(service) or self.endpoint

    @property
    def login_endpoint(self) -> str | None:
        """Where roles are taken on; None for AWS's own STS (rule 3)."""
        return self._own_endpoint("sts")

    def _own_endpoint(self, service: str) -> str | None:
        found = self.services.get(service, {}).get("endpoint_url")
        return str(found) if found else None


def read(name: str, connection: Connection) -> AwsFields:
    """
    Read *connection*, called *name*.

    Raises:
        BackendConfigError: a field is of the wrong shape, or one is missing.
    """
    extra = _Extra(name, {} if connection.extra is None else connection.extra.reveal())
    older = extra.document("session_kwargs")
    roles, web = _roles(extra)
    services = extra.document("service_config")
    found = AwsFields(
        key=_key(extra, connection, _Extra(name, older)),
        profile=extra.text("profile_name") or _Extra(name, older).text("profile_name"),
        region=extra.text("region_name") or _Extra(name, older).text("region_name"),
        roles=roles,
        web=web,
        endpoint=extra.text("endpoint_url"),
        services={key: each for key, each in services.items() if isinstance(each, dict)},
        verify=_verify(extra),
        config=extra.document("config_kwargs"),
    )
    _check_ways(extra, found)
    return found


class _Extra:
    """The `extra` of a connection, read by shape."""

    def __init__(self, name: str, fields: Mapping[str, Any]) -> None:
        self._name = name
        self._fields = fields

    def get(self, key: str) -> Any:  # noqa: ANN401 -- any JSON
        return self._fields.get(key)

    def text(self, key: str) -> str | None:
        found = self._fields.get(key)
        if found is None or found == "":
            return None
        if not isinstance(found, str):
            raise self.malformed(key)
        return found

    def document(self, key: str) -> dict[str, Any]:
        found = self._fields.get(key)
        return {} if found in (None, "") else self.object(key, found)

    def object(self, key: str, found: object) -> dict[str, Any]:
        """Give *found* as an object: itself, or text that says it, as forms save it."""
        if isinstance(found, str):
            try:
                found = decode(found, what=key)
            except InvalidInputError:
                raise self.malformed(key) from None
        if not isinstance(found, dict):
            raise self.malformed(key)
        return found

    def malformed(self, key: str, hint: str | None = None) -> StrongroomError:
        return trouble("options", "malformed", name=self._name, detail=key, hint=hint)

    def missing(self, key: str, hint: str | None = None) -> StrongroomError:
        return trouble("options", "missing", name=self._name, detail=key, hint=hint)


def _key(extra: _Extra, connection: Connection, older: _Extra) -> Key | None:
    password = connection.password.reveal() if connection.password else None
    token = extra.text("aws_session_token") or older.text("aws_session_token")
    ways = (
        ("login", connection.login or None, "password", password),
        *(
            (
                "aws_access_key_id",
                way.text("aws_access_key_id"),
                "aws_secret_access_key",
                way.text("aws_secret_access_key"),
            )
            for way in (extra, older)
        ),
    )
    for _, key_id, _, secret in ways:
        if key_id and secret:
            return Key(Secret(key_id), Secret(secret), Secret(token) if token else None)
    for id_field, key_id, secret_field, secret in ways:
        if key_id or secret:
            raise extra.missing(
                secret_field if key_id else id_field, "give both halves of the key, or neither"
            )
    if token:
        raise extra.missing("aws_access_key_id", "a session token belongs to a key")
    return None


def _roles(extra: _Extra) -> tuple[tuple[Role, ...], WebIdentity | None]:
    last = extra.text("role_arn")
    before = extra.get("role_chain")
    if last is None:
        if before:
            raise extra.missing("role_arn", "role_chain leads to a role_arn: name the last role there")
        return (), None
    method = extra.text("assume_role_method") or _ASSUME
    if method not in (_ASSUME, _WEB):
        raise extra.malformed("assume_role_method", f"known here: {_ASSUME}, {_WEB}")
    roles = (
        *_chain(extra, before),
        Role(_arn(extra, "role_arn", last), extra.document("assume_role_kwargs")),
    )
    return roles, _web(extra) if method == _WEB else None


def _chain(extra: _Extra, said: object) -> list[Role]:
    if said in (None, ""):
        return []
    if isinstance(said, str):
        said = [one.strip() for one in said.split(",")]
    if not isinstance(said, list) or len(said) >= _MAX_ROLES:
        raise extra.malformed("role_chain", f"list the roles before role_arn, {_MAX_ROLES - 1} at most")
    return [_link(extra, one) for one in said]


def _link(extra: _Extra, said: object) -> Role:
    if isinstance(said, str):
        return Role(_arn(extra, "role_chain", said))
    if not isinstance(said, dict) or not {"role_arn", "assume_role_kwargs"}.issuperset(said):
        raise extra.malformed("role_chain", "each is an ARN, or an object of role_arn and assume_role_kwargs")
    arguments = said.get("assume_role_kwargs") or {}
    return Role(_arn(extra, "role_chain", said.get("role_arn")), extra.object("role_chain", arguments))


def _arn(extra: _Extra, key: str, said: object) -> str:
    if not isinstance(said, str) or not _ROLE.fullmatch(said):
        raise extra.malformed(key, "write arn:aws:iam::123456789012:role/name")
    return said


def _web(extra: _Extra) -> WebIdentity:
    source = extra.text("assume_role_with_web_identity_federation") or "file"
    audience = extra.text("assume_role_with_web_identity_federation_audience")
    if source not in ("file", "google"):
        raise extra.malformed("assume_role_with_web_identity_federation", "known: file, google")
    if source == "google" and audience is None:
        raise extra.missing("assume_role_with_web_identity_federation_audience")
    return WebIdentity(source, extra.text("assume_role_with_web_identity_token_file"), audience)


def _verify(extra: _Extra) -> bool | str | None:
    found = extra.get("verify")
    if found is None or found == "" or isinstance(found, bool):
        return None if found == "" else found
    if not isinstance(found, str):
        raise extra.malformed("verify", "true, false or the path of a CA's certificates")
    return _BOOLEANS.get(found.lower(), found)


def _check_ways(extra: _Extra, found: AwsFields) -> None:
    for key, url in (
        ("endpoint_url", found.endpoint),
        *(
            (f"service_config.{service}.endpoint_url", found.endpoint_of(service))
            for service in found.services
        ),
    ):
        if url is not None and not _is_address(url):
            raise extra.malformed(key, "write http(s)://host[:port]")
    if found.web is not None and not is_private_way(found.login_endpoint or "https://"):
        # The token of a web identity is all there is to show: who reads it is us.
        raise extra.malformed("service_config.sts.endpoint_url", "a web identity is shown over https only")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_place = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    return is_place and not (parts.username or parts.password or parts.query or parts.fragment)
