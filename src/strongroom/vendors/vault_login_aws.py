"""
Logins of Vault or OpenBao with an identity of AWS: a signed question that the server asks on our behalf.

We sign `sts:GetCallerIdentity` and send it to nobody; the server sends it to STS, which tells it who signed.
Nothing of AWS is asked from here, but for `assume_role_kwargs`: then STS, for the role's own keys.

Rules of this file, beside those of `vault_login.py`:

1. The signed question is good for 15 minutes to whoever has it: it is a Secret from the moment it is made.
2. With `iam_server_id` the header that names the server is signed too, so that no other server can use it.
3. No SDK is needed for keys that the settings give; without any, those of the machine are asked for.

Source: AWS Signature Version 4 (IAM User Guide, "Create a signed request"); Vault's auth/aws, "IAM".
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.vault_answer import member
from strongroom.vendors.vault_login import Credential, Posted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.vendors.origins import Origins
    from strongroom.vendors.vault_login import Ask

__all__ = ["AwsIam", "AwsKeys", "AwsWay", "assumed_keys", "given_keys", "machine_keys", "signed"]

_VERSION = "2011-06-15"  # of the STS API
_ASK_WHO = urlencode({"Action": "GetCallerIdentity", "Version": _VERSION})
_DEFAULT_REGION = "us-east-1"  # the one whose signatures the global endpoint takes
_FORM = "application/x-www-form-urlencoded; charset=utf-8"
_OK, _DENIED, _TROUBLE = 200, (400, 401, 403), 500


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """An access key; `token` belongs to those that end."""

    key_id: str = field(repr=False)
    secret: Secret[str]
    token: Secret[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsWay:
    """
    How the question is to be signed.

    Args:
        region: of STS; None is the global endpoint.
        endpoint: `https://host[:port]` of STS, where it is another.
        server_id: what the server wants in the header `X-Vault-AWS-IAM-Server-ID`.
        clock: the time of the signature, UTC.
    """

    region: str | None = None
    endpoint: str | None = None
    server_id: str | None = None
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(timezone.utc))

    @property
    def url(self) -> str:
        """Where STS is."""
        if self.endpoint is not None:
            return self.endpoint.rstrip("/") + "/"
        if self.region is None:
            return "https://sts.amazonaws.com/"
        end = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return f"https://sts.{self.region}.{end}/"


class AwsIam(Posted):
    """
    A user or role of AWS.

    Args:
        place: the backend's name, for messages.
        mount: where the method is mounted, without `auth/`.
        role: which role of the server; None lets it be named as the one of AWS is.
        keys: gives the keys to sign with, as they are now.
        way: how to sign.
        close: lets go of what *keys* holds.
    """

    def __init__(
        self,
        place: str,
        *,
        mount: str,
        role: str | None,
        keys: Callable[[], AwsKeys],
        way: AwsWay,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(place, method="aws", mount=mount)
        self.remedy = (
            f"check backend.{place}.role_id and which principal it binds, key_id and secret_id, region, "
            "iam_server_id (the server's iam_server_id_header_value), auth_mount_point, and the clock"
        )
        self._role = role
        self._keys = keys
        self._way = way
        self._close = close

    def close(self) -> None:
        self._close()

    def _body(self, ask: Ask) -> Mapping[str, object]:
        del ask
        way = self._way
        named = {} if way.server_id is None else {"X-Vault-AWS-IAM-Server-ID": way.server_id}
        headers = signed(_ASK_WHO, self._keys(), way, named)
        spelled = {name: [_plain(value)] for name, value in headers.items()}
        return {
            "iam_http_request_method": "POST",
            "iam_request_url": _packed(way.url).reveal(),
            "iam_request_body": _packed(_ASK_WHO).reveal(),
            "iam_request_headers": _packed(json.dumps(spelled)),
        } | ({} if self._role is None else {"role": self._role})


def _packed(text: str) -> Secret[str]:
    return Secret(b64encode(text.encode()).decode())


def _plain(value: str | Secret[str]) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def signed(
    body: str, keys: AwsKeys, way: AwsWay, more: Mapping[str, str] | None = None
) -> dict[str, str | Secret[str]]:
    """
    Give the headers of a POST of *body* to STS, signed.

    Args:
        body: a form.
        keys: to sign with.
        way: where and when.
        more: headers to be signed too.
    """
    now = way.clock().astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers: dict[str, str | Secret[str]] = {
        "Content-Type": _FORM,
        "Host": urlsplit(way.url).netloc,
        "X-Amz-Date": now,
        **(more or {}),
    }
    if keys.token is not None:
        headers["X-Amz-Security-Token"] = keys.token
    lower = {name.lower(): _plain(value) for name, value in headers.items()}
    names = ";".join(sorted(lower))
    lines = "".join(f"{name}:{' '.join(lower[name].split())}\n" for name in sorted(lower))
    question = "\n".join(["POST", quote(urlsplit(way.url).path), "", lines, names, _digest(body)])
    scope = f"{now[:8]}/{way.region or _DEFAULT_REGION}/sts/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{_digest(question)}"
    signature = hmac.new(_signing_key(keys.secret, scope), text.encode(), "sha256").hexdigest()
    headers["Authorization"] = Secret(
        f"AWS4-HMAC-SHA256 Credential={keys.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _signing_key(secret: Secret[str], scope: str) -> bytes:
    key = f"AWS4{secret.reveal()}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    return key


# --- keys --------------------------------------------------------------------------------------------


def given_keys(key_id: str, secret: Callable[[], Secret[str]]) -> Callable[[], AwsKeys]:
    """
    Give the keys of the settings.

    Raises:
        SettingsError: *secret* cannot be fetched.
    """
    kept = Credential(secret)
    is_first = True

    def keys() -> AwsKeys:
        nonlocal is_first
        if not is_first:  # a key is rotated in its source; a login is rare
            kept.fetch_again()
        is_first = False
        return AwsKeys(key_id, kept.value)

    return keys


def machine_keys(place: str) -> Callable[[], AwsKeys]:
    """
    Give the keys that AWS's own SDK finds: environment, profile, web identity, container, instance.

    Raises:
        BackendConfigError: the SDK is not installed.
    """
    try:
        from botocore.session import get_session  # noqa: PLC0415 -- only where the settings give no keys
    except ImportError:
        raise BackendConfigError(
            f"the backend {place} signs in with keys of this machine, which takes AWS's SDK",
            hint='pip install "strongroom[aws]", or set key_id and secret_id',
        ) from None
    found: list[Any] = []

    def keys() -> AwsKeys:
        failure = "no keys"
        try:
            if not found:
                found.append(get_session().get_credentials())
            kept = None if found[0] is None else found[0].get_frozen_credentials()
        except Exception as error:  # noqa: BLE001 -- the SDK's errors quote files and requests
            failure, kept = type(error).__name__, None
        if kept is None:
            found.clear()
            raise NotAuthenticatedError(
                f"AWS's SDK finds no keys for the login of the backend {place} ({failure})",
                hint="set key_id and secret_id, or give this process an AWS profile, role or web identity",
            )
        return AwsKeys(kept.access_key, Secret(kept.secret_key), Secret(kept.token) if kept.token else None)

    return keys


def assumed_keys(
    place: str,
    base: Callable[[], AwsKeys],
    wanted: Mapping[str, object],
    *,
    way: AwsWay,
    origins: Origins,
) -> Callable[[], AwsKeys]:
    """
    Give the keys of a role that is assumed anew at each login.

    Args:
        place: the backend's name, for messages.
        base: keys that may assume it.
        wanted: arguments of `sts:AssumeRole`, as `RoleArn` and `RoleSessionName`.
        way: where STS is.
        origins: carries the question there.

    Raises:
        BackendConfigError: *wanted* names no role, or holds what STS does not take.
    """
    form = _form(place, wanted)

    def keys() -> AwsKeys:
        body = urlencode({"Action": "AssumeRole", "Version": _VERSION, **form})
        headers = signed(body, base(), way, {"Accept": "application/json"})
        reply = origins.request("POST", way.url, headers, Secret(body.encode()), is_repeatable=False)
        if reply.status != _OK:
            raise _not_assumed(place, reply.status)
        try:
            found = json.loads(reply.body)
        except (ValueError, RecursionError):
            found = None
        made = member(found, dict, "AssumeRoleResponse", "AssumeRoleResult", "Credentials")
        key_id, secret = member(made, str, "AccessKeyId"), member(made, str, "SecretAccessKey")
        token = member(made, str, "SessionToken")
        if key_id is None or secret is None or token is None:
            raise BackendUnavailableError(
                f"STS answered the backend {place} with no keys",
                backend=place,
                hint=f"check backend.{place}.identity_url",
            )
        return AwsKeys(key_id, Secret(secret), Secret(token))

    return keys


def _form(place: str, wanted: Mapping[str, object]) -> dict[str, str]:
    setting = f"backend.{place}.assume_role_kwargs"
    form: dict[str, str] = {}
    for name, value in wanted.items():
        plain = value.reveal() if isinstance(value, Secret) else value
        for key, text in _flat(name, plain):
            if isinstance(text, bool) or not isinstance(text, str | int):
                raise BackendConfigError(
                    f"{setting} holds what STS does not take", hint="as RoleArn, ExternalId"
                )
            form[key] = str(text)
    for needed in ("RoleArn", "RoleSessionName"):
        if needed not in form:
            raise BackendConfigError(f"{setting} has no {needed}", hint=f'{needed} = "…"')
    return form


def _flat(name: str, value: object) -> list[tuple[str, object]]:
    """Spell lists and tables as the query protocol of AWS does: `Tags.member.1.Key`."""
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(f"{name}.{key}", item)]
    if isinstance(value, list):
        return [pair for at, item in enumerate(value, 1) for pair in _flat(f"{name}.member.{at}", item)]
    return [(name, value)]


def _not_assumed(place: str, status: int) -> StrongroomError:
    if status in _DENIED:
        return NotAuthenticatedError(
            f"STS refused to let the backend {place} assume its role",
            hint=f"check backend.{place}.assume_role_kwargs, the role's trust policy and sts:AssumeRole",
        )
    return BackendUnavailableError(
        f"STS answered the backend {place} with the status {status}", backend=place
    )
