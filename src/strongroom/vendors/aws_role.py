"""
Assuming a role of AWS: what STS is asked, with which token, and what a refusal of it means.

One login at a time is the SDK's own care: it asks `RoleLogin` under a lock. A login that was refused is not
tried again for a while (`Pause`); no answer at all is no refusal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.vendors.aws_answer import Fault, trouble
from strongroom.vendors.aws_sdk import ask, config, known, misshapen, sdk_errors
from strongroom.vendors.pause import Pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.vendors.aws_options import AwsAccess

__all__ = ["RoleLogin"]

_MAX_TOKEN_BYTES = 65_536
_SESSION_NAME = "strongroom"
_ANYWHERE = "us-east-1"  # where STS always answers


class RoleLogin:
    """
    Assume the role of *access*.

    Args:
        access: with a `role_arn`.
        base: the boto3 session of whoever assumes it.
        place: the backend's name, for messages.
        clock: seconds that only go up.
    """

    METHOD = CANONICAL_NAME = "strongroom-role"

    def __init__(self, access: AwsAccess, base: Any, *, place: str, clock: Callable[[], float]) -> None:  # noqa: ANN401 -- the SDK's own class
        self._access = access
        self._base = base
        self._place = place
        self._pause = Pause(clock)

    def load(self) -> object:
        """Give the SDK credentials that log in when they are first needed, and again before they end."""
        from botocore.credentials import DeferredRefreshableCredentials  # noqa: PLC0415 -- only who asks AWS has it

        return DeferredRefreshableCredentials(refresh_using=self.assumed, method=self.METHOD)

    def assumed(self) -> dict[str, str]:
        """
        Assume the role and give its key as the SDK wants to have it.

        Raises:
            NotAuthenticatedError, BackendConfigError, BackendUnavailableError: what STS said, or did not.
        """
        self._pause.check()
        try:
            answer = self._ask_sts()
        except (NotAuthenticatedError, BackendConfigError) as refusal:
            self._pause.begin(refusal)
            raise
        self._pause.end()
        found = answer.get("Credentials", {})
        try:
            return {
                "access_key": found["AccessKeyId"],
                "secret_key": found["SecretAccessKey"],
                "token": found["SessionToken"],
                "expiry_time": found["Expiration"].isoformat(),
            }
        except (KeyError, AttributeError):
            raise misshapen(self._place) from None

    def _ask_sts(self) -> dict[str, Any]:
        access = self._access
        operation = "AssumeRoleWithWebIdentity" if access.is_web_identity else "AssumeRole"
        try:
            region = self._base.region_name or _ANYWHERE
            client = self._base.client(
                "sts", region_name=region, endpoint_url=access.sts_url, config=config()
            )
            return ask(client, operation, self._arguments())
        except StrongroomError:
            raise
        except sdk_errors() as caught:
            found = known(caught, self._place)
        if isinstance(found, InvalidInputError):
            raise BackendConfigError(
                f"what the backend {self._place} says to assume its role_arn is not what STS takes",
                hint="check external_id (2 characters at least), role_session_name and assume_role_kwargs",
            )
        if not isinstance(found, Fault):
            raise found
        error = trouble(found, place=self._place, action=f"sts:{operation}", resource=str(access.role_arn))
        if isinstance(error, (BackendUnavailableError, BackendConfigError, NotAuthenticatedError)):
            raise error
        raise NotAuthenticatedError(
            f"the backend {self._place} may not assume its role_arn",
            hint=f"allow sts:{operation} on it, in the trust policy of the role too, and check external_id",
        )

    def _arguments(self) -> dict[str, object]:
        access = self._access
        said: dict[str, object] = {
            "RoleSessionName": access.role_session_name or _SESSION_NAME,
            **access.assume_role_kwargs,
            "RoleArn": access.role_arn,
        }
        if access.external_id is not None:
            said["ExternalId"] = access.external_id
        if access.is_web_identity:
            said["WebIdentityToken"] = self._web_token()
        return said

    def _web_token(self) -> str:
        path = self._access.assume_role_with_web_identity_token_file
        try:
            with open(path or "", "rb") as file:  # noqa: PTH123 -- as much of it as is read
                data = file.read(_MAX_TOKEN_BYTES + 1)
            text = data.decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            text, data = "", b""
        if not text or len(data) > _MAX_TOKEN_BYTES:
            raise NotAuthenticatedError(
                f"the web identity token of the backend {self._place} cannot be read",
                hint="check assume_role_with_web_identity_token_file",
            )
        return text
