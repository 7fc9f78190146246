"""
The asynchronous clients of slack_sdk, over aiohttp, that ask their connection who they are.

As `slack_client.py`; aiohttp itself takes no token along to another host.
"""

from __future__ import annotations

from asyncio import to_thread
from typing import TYPE_CHECKING, Any

from aiohttp import ClientConnectorError, ClientError, ClientResponseError, ConnectionTimeoutError
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from strongroom.live.slack_client import (
    UNREADABLE,
    FollowingWeb,
    FollowingWebhook,
    is_refusal,
    is_refused_post,
    quiet,
)
from strongroom.live.trouble import trouble
from strongroom.live.unframed import bare
from strongroom.live.web_trouble import trouble_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_sdk.web.async_slack_response import AsyncSlackResponse
    from slack_sdk.webhook import WebhookResponse

    from strongroom.live.slack import SlackLogin

__all__ = ["Web", "Webhook"]


class Web(FollowingWeb, AsyncWebClient):
    """A `slack_sdk.web.async_client.AsyncWebClient` whose token is that of the connection."""

    def __init__(self, login: SlackLogin, **options: Any) -> None:  # noqa: ANN401 -- the library's own
        self._login = login
        super().__init__(**{"logger": quiet(), **options})

    async def api_call(self, api_method: str, **said: Any) -> AsyncSlackResponse:  # noqa: ANN401 -- the library's own
        """Call a method of the API: as the library, and once more where the token has changed."""
        used = self._login.now()
        try:
            return await self._called(api_method, said)
        except SlackApiError as error:
            if not is_refusal(error):
                raise bare(error) from None
        await to_thread(self.again, used, said.get("files"))
        try:
            return await self._called(api_method, said)
        except SlackApiError as error:
            if not is_refusal(error):
                raise bare(error) from None
        raise self.refused()

    async def _called(self, method: str, said: Mapping[str, Any]) -> AsyncSlackResponse:
        try:
            return await super().api_call(method, **said)
        except (ClientConnectorError, ConnectionTimeoutError) as error:
            is_timeout = isinstance(error, ConnectionTimeoutError)
            failed: Exception = trouble_of(error, self._login.name, is_timeout=is_timeout)
        except ClientResponseError:  # quotes the address and what came
            failed = trouble("read", "other", name=self._login.name)
        except UnicodeDecodeError:  # holds what came, which may be an echo
            failed = trouble("read", "other", name=self._login.name)
        except (ClientError, OSError, *UNREADABLE) as error:
            failed = bare(error)
        raise failed


class Webhook(FollowingWebhook, AsyncWebhookClient):
    """A `slack_sdk.webhook.async_client.AsyncWebhookClient` whose address is that of the connection."""

    def __init__(self, login: SlackLogin, **options: Any) -> None:  # noqa: ANN401 -- the library's own
        self._login = login
        super().__init__("", **{"logger": quiet(), **options})

    async def send_dict(self, body: dict[str, Any], headers: dict[str, str] | None = None) -> WebhookResponse:
        """Post *body*: as the library, and once more where the address has changed."""
        used = self._login.now()
        answer = await self._posted(body, headers)
        if is_refused_post(answer):
            await to_thread(self.again, used)
            answer = await self._posted(body, headers)
            if is_refused_post(answer):
                raise self.refused()
        return answer

    async def _posted(self, body: dict[str, Any], headers: dict[str, str] | None) -> WebhookResponse:
        try:
            return await super().send_dict(body, headers)
        except (ClientConnectorError, ConnectionTimeoutError) as error:
            is_timeout = isinstance(error, ConnectionTimeoutError)
            failed: Exception = trouble_of(error, self._login.name, is_timeout=is_timeout)
        except ClientResponseError:  # quotes the address and what came
            failed = trouble("read", "other", name=self._login.name)
        except UnicodeDecodeError:  # holds what came, which may be an echo
            failed = trouble("read", "other", name=self._login.name)
        except (ClientError, OSError, *UNREADABLE) as error:
            failed = bare(error)
        raise failed
