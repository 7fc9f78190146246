"""
How a session of AWS's SDK follows a connection: what signs, what a refusal leads to, what connecting tells.

One set of handlers of the SDK's own events, for boto3 and aiobotocore. Imports the SDK, as `aws_login.py`.

Rules of this file:

1. A request whose credentials were refused is signed and sent once more where there are others by now, and
   never a third time.
2. Where there are none the refusal is ours to tell; what a service says of the work it was given is the
   library's.
3. The token of a session stands in the SDK's log of what it signs and sends: those lines are dropped.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from botocore.credentials import Credentials

from strongroom.errors import StrongroomError
from strongroom.live.aws_refusal import is_refusal, may_be_refusal, way_trouble
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from strongroom.live.aws_login import Identity, Mark

__all__ = ["AsyncSigning", "Signing", "follow", "follow_async"]

_MARK, _TRIED = "strongroom_mark", "strongroom_tried"
_REFUSED = 300  # from this status on


class _NoTokens(logging.Filter):
    """Drops what shows the token of a session."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _TOKEN not in record.getMessage().lower()


_TOKEN = "x-amz-security-token"  # noqa: S105 -- the name of the header
for _name in ("botocore.auth", "botocore.endpoint", "aiobotocore.endpoint"):
    logging.getLogger(_name).addFilter(_NoTokens())


class Signing(Credentials):  # type: ignore[misc]  # the SDK has no types
    """
    The credentials of a session: those that the connection makes us have when something is signed.

    Threads: safe.
    """

    method = "strongroom"

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def __repr__(self) -> str:
        return f"Signing({self._identity.held.name!r})"

    def get_frozen_credentials(self) -> Any:  # noqa: ANN401 -- botocore's ReadOnlyCredentials
        """Give key, secret and token of one moment; raises as `Identity.frozen`."""
        return self._identity.frozen()

    @property
    def access_key(self) -> str:
        return str(self._identity.frozen().access_key)

    @property
    def secret_key(self) -> str:
        return str(self._identity.frozen().secret_key)

    @property
    def token(self) -> str | None:
        found = self._identity.frozen().token
        return None if found is None else str(found)

    @property
    def account_id(self) -> str | None:
        found = getattr(self._identity.frozen(), "account_id", None)
        return None if found is None else str(found)

    def get_deferred_property(self, property_name: str) -> Any:  # noqa: ANN401 -- the SDK's promise
        return lambda: getattr(self, property_name, None)

    # The SDK's own resolver asks this of what gives credentials.
    def load_credentials(self) -> Signing:
        return self

    def __reduce__(self) -> str:
        raise TypeError(
            "the credentials of a live client cannot be pickled: make the client where it is used"
        )


class AsyncSigning:
    """What `Signing` is, for aiobotocore: a login that has to wait does so beside the loop."""

    method = "strongroom"

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def __repr__(self) -> str:
        return f"AsyncSigning({self._identity.held.name!r})"

    async def get_frozen_credentials(self) -> Any:  # noqa: ANN401 -- as `Signing`
        if self._identity.is_at_hand():
            return self._identity.frozen()
        return await asyncio.to_thread(self._identity.frozen)

    async def get_account_id(self) -> str | None:
        found = getattr(await self.get_frozen_credentials(), "account_id", None)
        return None if found is None else str(found)

    def get_deferred_property(self, property_name: str) -> Any:  # noqa: ANN401 -- the SDK's promise
        return getattr(self, f"get_{property_name}")

    async def load_credentials(self) -> AsyncSigning:
        return self

    def __reduce__(self) -> str:
        raise TypeError(
            "the credentials of a live client cannot be pickled: make the client where it is used"
        )


def follow(core: Any, identity: Identity) -> None:  # noqa: ANN401 -- botocore's Session
    """Have every client that *core* makes from now on sign as *identity*."""
    hooks = _Hooks(identity)
    core.register_component("credential_provider", Signing(identity))
    core.register("before-sign", hooks.mark)
    core.register("needs-retry", hooks.answered)
    core.register("after-call-error", hooks.failed)


def follow_async(core: Any, identity: Identity) -> None:  # noqa: ANN401 -- aiobotocore's AioSession
    """Do what `follow` does, for a session of aiobotocore."""
    hooks = _Hooks(identity)
    core.register_component("credential_provider", AsyncSigning(identity))
    core.register("before-sign", hooks.mark)
    core.register("needs-retry", hooks.aanswered)
    core.register("after-call-error", hooks.failed)
    core.register("creating-client-class", _unframing)


class _Unframed:
    """What every asynchronous client of such a session is, too: our errors leave it bare, as `unframed`."""

    async def _make_request(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- the SDK's own
        try:
            return await super()._make_request(*args, **kwargs)  # type: ignore[misc]  # the SDK's own
        except StrongroomError as caught:
            error = caught
        error.__cause__ = error.__context__ = None
        raise error.with_traceback(None)


def _unframing(base_classes: list[type], **_more: object) -> None:
    base_classes.insert(0, _Unframed)


class _Hooks:
    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def mark(self, request: Any = None, **_more: object) -> None:  # noqa: ANN401 -- an AWSRequest
        request.context[_MARK] = self._identity.mark()

    def answered(self, response: Any, request_dict: dict[str, Any], **_more: object) -> int | None:  # noqa: ANN401 -- the SDK's pair
        mark = self._refused(response, request_dict["context"])
        return None if mark is None else self._again(response, is_renewed=self._identity.renewed(mark))

    async def aanswered(self, response: Any, request_dict: dict[str, Any], **_more: object) -> int | None:  # noqa: ANN401 -- as `answered`
        mark = self._refused(response, request_dict["context"])
        if mark is None:
            return None
        is_renewed = await asyncio.to_thread(self._identity.renewed, mark)
        return self._again(response, is_renewed=is_renewed)

    def failed(self, exception: BaseException, **_more: object) -> None:
        found = way_trouble(exception, self._identity.held.name)
        if found is not None and found is not exception:
            raise found from None

    def _refused(self, response: Any, context: dict[str, Any]) -> Mark | None:  # noqa: ANN401 -- the SDK's pair
        """Give as whom it was signed, where that may have been refused and was not tried again yet."""
        code = _code(response)
        if not is_refusal(code) and not may_be_refusal(code):
            return None
        mark: Mark | None = context.get(_MARK)
        if mark is None or context.get(_TRIED):
            if mark is not None and is_refusal(code):
                raise self._credentials_refused()
            return None
        context[_TRIED] = True
        return mark

    def _again(self, response: Any, *, is_renewed: bool) -> int | None:  # noqa: ANN401 -- the SDK's pair
        if is_renewed:
            return 0  # seconds to wait before it is signed and sent once more
        if is_refusal(_code(response)):
            raise self._credentials_refused()
        return None

    def _credentials_refused(self) -> Exception:
        return trouble("authentication", "credentials", name=self._identity.held.name)


def _code(response: Any) -> str:  # noqa: ANN401 -- the SDK's pair of an answer and what it says, or None
    if response is None or response[0].status_code < _REFUSED:
        return ""
    return str(response[1].get("Error", {}).get("Code", ""))
