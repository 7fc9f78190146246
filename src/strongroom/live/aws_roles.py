"""
What signs at AWS: a key, what the machine has, or a session of a role taken on as one of those.

Imports AWS's SDK; loaded by whoever made sure that it is installed. Who keeps it is `aws_login.py`.

Rules of this file:

1. Where a machine has an identity is the SDK's to know: variables, shared files, a web identity, the role of
   a container or an instance. What it finds it renews.
2. A role is taken on over a client of its own, bounded in time, which is asked twice at most. A role that was
   refused is not asked for again for a while.
3. Nothing of what the SDK raises is kept: it quotes what was asked.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import botocore.session
from botocore import UNSIGNED
from botocore import exceptions as sdk
from botocore.config import Config
from botocore.credentials import CredentialResolver, Credentials, DeferredRefreshableCredentials
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError

from strongroom.errors import AccessDeniedError, BackendConfigError
from strongroom.live.aws_fields import Role, WebIdentity
from strongroom.live.aws_refusal import is_refusal, way_trouble
from strongroom.live.aws_token import web_token
from strongroom.live.trouble import trouble
from strongroom.vendors.aws_sdk import ask, quiet
from strongroom.vendors.pause import Pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.errors import StrongroomError
    from strongroom.live.around import Around
    from strongroom.live.aws_fields import AwsFields

__all__ = ["configuration", "configured", "core_session", "login_trouble", "signer"]

_ANYWHERE = "us-east-1"  # where STS always answers
_CONNECT_SECONDS, _READ_SECONDS = 5, 15  # of a login
_TROUBLE = 500
_WEB_METHOD = "assume-role-with-web-identity"  # the SDK's word for what IRSA gives
_TRANSIENT = frozenset(
    ("Throttling", "ThrottlingException", "RequestLimitExceeded", "IDPCommunicationError", "SlowDown")
)
_SAID = {
    "MalformedPolicyDocument": "assume_role_kwargs",
    "PackedPolicyTooLarge": "assume_role_kwargs",
    "ValidationError": "assume_role_kwargs",
    "RegionDisabledException": "region_name",
    "InvalidAction": "service_config.sts.endpoint_url",
}


class _RoleSession(DeferredRefreshableCredentials):  # type: ignore[misc]  # the SDK has no types
    """Credentials of a role: taken on when first needed, and again before they end."""

    # The SDK would renew one that lasts fifteen minutes, the shortest there is, with every request.
    _advisory_refresh_timeout = 300
    _mandatory_refresh_timeout = 60


class _Shared(Loader):  # type: ignore[misc]  # the SDK has no types
    """Reads the SDK's descriptions of services, megabytes, once for all sessions of the process."""

    @property
    def search_paths(self) -> list[str]:
        # A copy: each boto3 session adds its folder, and a list that all share would grow without end.
        return list(self._search_paths)


def _described() -> _Shared:
    folders = []
    try:
        import boto3  # noqa: PLC0415 -- a file system has it not
    except ImportError:
        pass
    else:
        folders.append(os.path.join(os.path.dirname(boto3.__file__), "data"))  # noqa: PTH118, PTH120 -- as boto3 does
    return _Shared(extra_search_paths=folders)


_LOADER = _described()


def core_session(fields: AwsFields, core: Any = None) -> Any:  # noqa: ANN401 -- botocore's Session
    """
    Give a session of the SDK for *fields*: profile and region, and nobody to sign as.

    Args:
        fields: of the connection.
        core: the session to set up, of another library than botocore; None for a new one.

    Raises:
        What the SDK raises of a profile.
    """
    made = botocore.session.Session(profile=fields.profile) if core is None else core
    made.register_component("data_loader", _LOADER)
    if fields.region is not None:
        made.set_config_variable("region", fields.region)
    made.register_component("credential_provider", CredentialResolver([]))
    return made


def configuration(fields: AwsFields) -> dict[str, Any]:
    """Give the arguments of the SDK's Config that *fields* say."""
    said: dict[str, Any] = {"user_agent_extra": "strongroom", **fields.config}
    if said.get("signature_version") == "unsigned":
        said["signature_version"] = UNSIGNED
    return said


def configured(name: str, fields: AwsFields, make: Callable[..., Any] = Config) -> Any:  # noqa: ANN401 -- Config
    """
    Give the SDK's configuration that *fields* ask for.

    Raises:
        BackendConfigError: it is none.
    """
    try:
        return make(**configuration(fields))
    except (TypeError, ValueError, AttributeError, sdk.BotoCoreError):
        error = trouble("options", "malformed", name=name, detail="config_kwargs")
    raise error


def signer(name: str, fields: AwsFields, around: Around, session: str, seconds: Callable[[], float]) -> Any:  # noqa: ANN401 -- the SDK's own
    """
    Give what signs: the key, a session of the last role, or what the machine has.

    Args:
        name: of the connection.
        fields: of it.
        around: what is around.
        session: how the sessions of roles are called.
        seconds: that only go up.

    Raises:
        BackendConfigError: there is no identity here.
        What the SDK raises of shared files.
    """
    first = None if fields.web is not None else _own(name, fields)
    roles, web = fields.roles, fields.web
    if first is not None and not roles and first.method == _WEB_METHOD:
        # A web identity of the environment (IRSA): taken on by us, so that its session has the run's name.
        said = around.environ
        if said.get("AWS_ROLE_ARN") and said.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
            first, roles, web = None, (Role(said["AWS_ROLE_ARN"]),), WebIdentity("file")
            session = said.get("AWS_ROLE_SESSION_NAME") or session
    for count, role in enumerate(roles):
        taking = _Taking(name, fields, role, session, web if count == 0 else None, around)
        first = _RoleSession(
            _paused(taking, first, Pause(seconds)), "strongroom-role", time_fetcher=around.now
        )
    return first


def _own(name: str, fields: AwsFields) -> Any:  # noqa: ANN401 -- the SDK's own
    if fields.key is not None:
        key = fields.key
        token = None if key.token is None else key.token.reveal()
        return Credentials(key.id.reveal(), key.secret.reveal(), token, method="strongroom")
    core = botocore.session.Session(profile=fields.profile)
    core.register_component("data_loader", _LOADER)
    if fields.region is not None:
        core.set_config_variable("region", fields.region)
    found = core.get_credentials()
    if found is None:
        raise trouble("token", "missing", name=name)
    return found


class _Taking(NamedTuple):
    """One role to take on, and how."""

    name: str
    fields: AwsFields
    role: Role
    session: str
    web: WebIdentity | None
    around: Around

    def __repr__(self) -> str:
        return f"_Taking({self.name!r})"

    @property
    def operation(self) -> str:
        return "AssumeRole" if self.web is None else "AssumeRoleWithWebIdentity"


def _paused(taking: _Taking, base: Any, pause: Pause) -> Callable[[], dict[str, str]]:  # noqa: ANN401 -- the SDK's own
    """Give what takes on the role, and remembers a refusal for a while (rule 3)."""

    def take() -> dict[str, str]:
        said = _arguments(taking)  # a token that is not there yet is no refusal
        pause.check()
        try:
            found = _taken(taking, said, None if base is None else base.get_frozen_credentials())
        except (AccessDeniedError, BackendConfigError) as refusal:
            pause.begin(refusal)
            raise
        pause.end()
        return found

    return take


def _taken(taking: _Taking, said: dict[str, object], base: Any) -> dict[str, str]:  # noqa: ANN401 -- the SDK's own
    """Ask STS for a session of the role, as *base*."""
    fields = taking.fields
    with quiet():
        try:
            core = core_session(fields)
            region = core.get_config_variable("region") or _ANYWHERE
            client = core.create_client(
                "sts",
                region_name=region,
                endpoint_url=fields.login_endpoint,
                verify=fields.verify,
                config=_login_config(taking),
                **_signed_by(base),
            )
            try:
                answer = ask(client, taking.operation, said)
            finally:
                client.close()
            found = answer["Credentials"]
            return {
                "access_key": found["AccessKeyId"],
                "secret_key": found["SecretAccessKey"],
                "token": found["SessionToken"],
                "expiry_time": found["Expiration"].isoformat(),
            }
        except (
            sdk.BotoCoreError,
            sdk.ClientError,
            ResponseParserError,
            KeyError,
            AttributeError,
            OSError,
        ) as caught:
            error = _login_trouble(caught, taking)
    raise error


def _signed_by(base: Any) -> dict[str, str | None]:  # noqa: ANN401 -- the SDK's own
    if base is None:
        return {}
    return {
        "aws_access_key_id": base.access_key,
        "aws_secret_access_key": base.secret_key,
        "aws_session_token": base.token,
    }


def _login_config(taking: _Taking) -> Any:  # noqa: ANN401 -- the SDK's own
    said = configured(taking.name, taking.fields)
    bounds = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 2, "mode": "standard"},
    )
    # The signature of a service of another kind, or none, is not that of a login.
    return bounds.merge(said).merge(Config(signature_version=UNSIGNED if taking.web else "v4"))


def _arguments(taking: _Taking) -> dict[str, object]:
    said: dict[str, object] = {
        "RoleSessionName": taking.session,
        **taking.role.arguments,
        "RoleArn": taking.role.arn,
    }
    if taking.web is not None:
        said["WebIdentityToken"] = web_token(taking.name, taking.web, taking.around)
    return said


def _login_trouble(caught: BaseException, taking: _Taking) -> StrongroomError:
    if isinstance(caught, sdk.ParamValidationError):
        return trouble("options", "malformed", name=taking.name, detail="assume_role_kwargs")
    return login_trouble(caught, taking.name, taking.operation)


def login_trouble(caught: BaseException, name: str, operation: str = "AssumeRole") -> StrongroomError:
    """
    Give what *caught*, which the SDK raised while it logged in, comes to.

    Args:
        caught: of the SDK.
        name: of the connection.
        operation: what STS was asked for.
    """
    found = way_trouble(caught, name)
    if found is not None:
        return found
    if isinstance(caught, sdk.ClientError):
        return _answer_trouble(caught, name, operation)
    is_way = isinstance(caught, (sdk.BotoCoreError, RuntimeError))
    return trouble("token", "unavailable" if is_way else "malformed", name=name)


def _answer_trouble(refusal: Any, name: str, operation: str) -> StrongroomError:  # noqa: ANN401 -- the SDK's ClientError
    code = str(refusal.response.get("Error", {}).get("Code", ""))
    status = int(refusal.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _SAID:
        return trouble("options", "malformed", name=name, detail=_SAID[code])
    if code in _TRANSIENT or status >= _TROUBLE:
        return trouble("token", "unavailable", name=name)
    if operation == "AssumeRole" and is_refusal(code):
        return trouble("authentication", "credentials", name=name)
    return trouble(
        "token",
        "credentials",
        name=name,
        hint=f"allow sts:{operation} on its role, in the trust policy of the role too, and check its"
        " conditions (ExternalId, audience, subject)",
    )
