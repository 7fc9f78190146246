"""
Logins of Vault or OpenBao with an identity of AWS: a signed question that the server asks on our behalf.

We sign `sts:GetCallerIdentity` and send it to nobody; the server sends it to STS, which tells it who signed.
Nothing of AWS is asked from here, but for the keys of a role (`assume_role_kwargs`, or of the machine), which
`aws.py` gets.

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
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.model.secret import Secret
from strongroom.vendors.vault_login import Credential, Posted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.vendors.aws_options import AwsAccess
    from strongroom.vendors.vault_login import Ask

__all__ = ["AwsIam", "AwsKeys", "AwsWay", "given_keys", "role_access", "session_keys", "signed"]

_VERSION = "2011-06-15"  # of the STS API
_ASK_WHO = urlencode({"Action": "GetCallerIdentity", "Version": _VERSION})
_DEFAULT_REGION = "us-east-1"  # the one whose signatures the global endpoint takes
_FORM = "application/x-www-form-urlencoded; charset=utf-8"


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


def session_keys(place: str, access: AwsAccess) -> tuple[Callable[[], AwsKeys], Callable[[], None]]:
    """
    Give the keys that AWS's own SDK finds on this machine, or has for a role; and what closes its session.

    Args:
        place: the backend's name, for messages.
        access: as whom.

    Raises:
        BackendConfigError: *access* contradicts itself, or the SDK is not installed.
    """
    if find_spec("boto3") is None:
        raise BackendConfigError(
            f"the backend {place} signs in with keys of this machine, which takes AWS's SDK",
            hint='pip install "strongroom[aws]", or set key_id and secret_id',
        )
    from strongroom.vendors.aws import AwsSession  # noqa: PLC0415 -- it stands on an extra

    session = AwsSession(access, place=f"{place} (AWS)")

    def keys() -> AwsKeys:
        try:
            return AwsKeys(*session.keys())
        except InvalidInputError:
            wrong = BackendConfigError(
                f"backend.{place}.assume_role_kwargs holds what AWS does not take",
                hint="as RoleArn, RoleSessionName (2 to 64 characters), ExternalId, DurationSeconds",
            )
        raise wrong

    return keys, session.close


def role_access(place: str, wanted: Mapping[str, object], base: AwsAccess) -> AwsAccess:
    """
    Give *base* in the role that *wanted* names.

    Args:
        place: the backend's name, for messages.
        wanted: arguments of `sts:AssumeRole`; secrets in it as Secret.
        base: who assumes it.

    Raises:
        BackendConfigError: *wanted* names no role.
    """
    said = {key: value.reveal() if isinstance(value, Secret) else value for key, value in wanted.items()}
    role = said.pop("RoleArn", None)
    if not isinstance(role, str):
        raise BackendConfigError(
            f"backend.{place}.assume_role_kwargs has no RoleArn", hint='RoleArn = "arn:aws:iam::…:role/…"'
        )
    return replace(base, role_arn=role, assume_role_kwargs=said)
