"""
The clients of slack_sdk that ask their connection who they are.

Rules of this file:

1. A refusal is tried once more with newer credentials, never twice.
2. A redirect takes no token along: urllib would copy it to wherever an answer leads.
3. The library's log of requests is left out: the address of a webhook is a secret.
4. Errors of the library's own leave without the frames that hold the token.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from http.client import HTTPException, RemoteDisconnected
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.error import URLError

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient

from strongroom.errors import StrongroomError
from strongroom.live.trouble import trouble
from strongroom.live.unframed import bare
from strongroom.live.web_trouble import trouble_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from urllib.request import Request

    from slack_sdk.web import SlackResponse
    from slack_sdk.webhook import WebhookResponse

    from strongroom.live.slack import Said, SlackLogin

__all__ = [
    "UNREADABLE",
    "FollowingWeb",
    "FollowingWebhook",
    "Web",
    "Webhook",
    "is_refusal",
    "is_refused_post",
    "quiet",
]

# api.slack.com/methods: what every method says of a token that counts no more.
_REFUSALS = ("account_inactive", "invalid_auth", "not_authed", "token_expired", "token_revoked")
# api.slack.com/messaging/webhooks, "Handling errors".
_REFUSED_POSTS = ("invalid_token", "no_service", "no_service_id", "no_team")
_FORBIDDEN, _NOT_FOUND = 403, 404
# What else the library raises where an answer is none of Slack's.
UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
_AGAIN = "send it again: the token is another by now, and a file can be read only once"


def is_refusal(error: SlackApiError) -> bool:
    """Tell whether *error* says that the token counts no more."""
    said = getattr(error.response, "data", error.response)  # a text, where the answer was none of Slack's
    return isinstance(said, dict) and said.get("error") in _REFUSALS


def is_refused_post(answer: WebhookResponse) -> bool:
    """Tell whether *answer* says that the webhook is no more."""
    return answer.status_code in (_FORBIDDEN, _NOT_FOUND) and answer.body.strip() in _REFUSED_POSTS


def quiet() -> logging.Logger:
    """Give a log that takes no record of requests."""
    log = logging.getLogger("strongroom.live.slack")
    if log.level == logging.NOTSET:
        log.setLevel(logging.WARNING)  # where it tries again, it tells the address on the level below
    return log


class Following:
    """What the clients here have in common: they hold nothing that the connection says."""

    _login: SlackLogin
    _own_proxy: str | None = None

    @property
    def proxy(self) -> str | None:
        """The connection's proxy, else that of the environment."""
        return self._login.now().proxy or self._own_proxy

    @proxy.setter
    def proxy(self, found: str | None) -> None:
        self._own_proxy = found  # as the library finds it in the environment

    def again(self, used: Said, files: Mapping[str, Any] | None = None) -> None:
        """
        Look whether what was refused may be tried once more.

        Raises:
            AccessDeniedError: there is nothing newer than *used*.
            BackendUnavailableError: *files* have been read, and cannot be read again.
        """
        if not self._login.has_newer(used):
            raise self.refused()
        if any(hasattr(one, "read") for one in (files or {}).values()):
            raise trouble("authentication", "unavailable", name=self._login.name, hint=_AGAIN)

    def refused(self) -> StrongroomError:
        """Give the error of credentials that were refused."""
        return trouble("authentication", "credentials", name=self._login.name)

    @contextmanager
    def unquoted(self) -> Iterator[None]:
        """Tell of an answer that is no HTTP without quoting it, as the library's log would: it may echo."""
        try:
            yield
        except RemoteDisconnected:  # says nothing but that, and is what the library tries again after
            raise
        except HTTPException:
            raise trouble("read", "other", name=self._login.name) from None

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a live client cannot be pickled; make one where it is needed")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._login.name!r}>"


class FollowingWeb(Following):
    """Of the Web API."""

    @property
    def token(self) -> str | None:
        """The connection's token now."""
        return self._login.now().token

    @token.setter
    def token(self, found: str | None) -> None:
        if found is not None:
            raise AttributeError("the connection says the token")

    @property
    def base_url(self) -> str:
        """The connection's address of the Web API now."""
        found = self._login.now().url
        return found if found.endswith("/") else f"{found}/"

    @base_url.setter
    def base_url(self, found: str) -> None:
        """Leave it to the connection."""


class FollowingWebhook(Following):
    """Of a webhook."""

    @property
    def url(self) -> str:
        """The connection's address now; whoever has it can post."""
        return self._login.now().url

    @url.setter
    def url(self, found: str) -> None:
        if found:
            raise AttributeError("the connection says the address")


class Web(FollowingWeb, WebClient):
    """A `slack_sdk.WebClient` whose token is that of the connection."""

    def __init__(self, login: SlackLogin, **options: Any) -> None:  # noqa: ANN401 -- the library's own
        self._login = login
        super().__init__(**{"logger": quiet(), **options})

    def api_call(self, api_method: str, **said: Any) -> SlackResponse:  # noqa: ANN401 -- the library's own
        """Call a method of the API: as the library, and once more where the token has changed."""
        used = self._login.now()
        try:
            return self._called(api_method, said)
        except SlackApiError as error:
            if not is_refusal(error):
                raise bare(error) from None
        self.again(used, said.get("files"))
        try:
            return self._called(api_method, said)
        except SlackApiError as error:
            if not is_refusal(error):
                raise bare(error) from None
        raise self.refused()

    def _called(self, method: str, said: Mapping[str, Any]) -> SlackResponse:
        try:
            return super().api_call(method, **said)
        except URLError as error:  # of connecting; what breaks later has other types
            failed: Exception = trouble_of(error, self._login.name)
        except UnicodeDecodeError:  # holds what came, which may be an echo
            failed = trouble("read", "other", name=self._login.name)
        except (OSError, HTTPException, StrongroomError, *UNREADABLE) as error:
            failed = bare(error)
        raise failed

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        """Send it as the library does, with a token that no redirect takes along."""
        for name in [name for name in req.headers if name.lower() == "authorization"]:
            req.add_unredirected_header(name, req.headers.pop(name))
        with self.unquoted():
            return super()._perform_urllib_http_request_internal(url, req)


class Webhook(FollowingWebhook, WebhookClient):
    """A `slack_sdk.webhook.WebhookClient` whose address is that of the connection."""

    def __init__(self, login: SlackLogin, **options: Any) -> None:  # noqa: ANN401 -- the library's own
        self._login = login
        super().__init__("", **{"logger": quiet(), **options})

    def send_dict(self, body: dict[str, Any], headers: dict[str, str] | None = None) -> WebhookResponse:
        """Post *body*: as the library, and once more where the address has changed."""
        used = self._login.now()
        answer = self._posted(body, headers)
        if is_refused_post(answer):
            self.again(used)
            answer = self._posted(body, headers)
            if is_refused_post(answer):
                raise self.refused()
        return answer

    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        """Send it as the library does."""
        with self.unquoted():
            answer: WebhookResponse = super()._perform_http_request_internal(url, req)
            return answer

    def _posted(self, body: dict[str, Any], headers: dict[str, str] | None) -> WebhookResponse:
        try:
            return super().send_dict(body, headers)
        except URLError as error:
            failed: Exception = trouble_of(error, self._login.name)
        except UnicodeDecodeError:  # holds what came, which may be an echo
            failed = trouble("read", "other", name=self._login.name)
        except (OSError, HTTPException, StrongroomError, *UNREADABLE) as error:
            failed = bare(error)
        raise failed
