"""
Live clients of Slack: its Web API, and incoming webhooks.

Fields mean what Airflow's SlackHook and SlackWebhookHook make of them. The token, or the address that is one,
is that of the connection when something is sent; the client holds none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from strongroom.live.families import loaded
from strongroom.live.fields import Options
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.errors import StrongroomError
    from strongroom.live.around import Asked
    from strongroom.live.held import Held, Known
    from strongroom.model.connection import Connection

__all__ = ["Said", "SlackLogin", "aclient", "client"]

_EXTRA = "slack"
_API = "https://slack.com/api/"
_WEBHOOKS = "https://hooks.slack.com/services"
_SECONDS = 30  # as the library
_OURS = ("token", "url", "base_url", "proxy")


def client(held: Held, asked: Asked) -> object:
    """Give a `slack_sdk.WebClient`, or of a webhook's connection a `slack_sdk.webhook.WebhookClient`."""
    loaded("slack_sdk", held, extra=_EXTRA)
    from strongroom.live import slack_client  # noqa: PLC0415 -- loads the library

    return _made(slack_client, held, asked.options)


async def aclient(held: Held, asked: Asked) -> object:
    """Give the library's asynchronous client; it needs aiohttp."""
    loaded("slack_sdk", held, extra=_EXTRA)
    try:
        from strongroom.live import slack_async  # noqa: PLC0415 -- loads the library
    except ModuleNotFoundError:
        raise trouble(
            "driver", "missing", name=held.name, detail="aiohttp", hint="pip install aiohttp"
        ) from None

    return _made(slack_async, held, asked.options)


def _made(classes: Any, held: Held, options: Mapping[str, object]) -> object:  # noqa: ANN401 -- a module of ours
    for key in options:
        if key in _OURS:
            raise trouble("options", "unknown", name=held.name, detail=key, hint="the connection says it")
    login = SlackLogin(held)
    kind = classes.Webhook if login.is_webhook else classes.Web
    try:
        made: object = kind(login, **{"timeout": login.now().timeout, **options})
    except TypeError:
        raise trouble("options", "unknown", name=held.name) from None
    held.lasts(made)
    return made


class Said(NamedTuple):
    """
    What one content of the connection says.

    Args:
        known: which.
        token: of the Web API, or None.
        url: of a webhook, which is a secret; else of the Web API.
        proxy: None leaves it to the environment, as the library does.
        timeout: in seconds.
    """

    known: Known
    token: str | None
    url: str
    proxy: str | None
    timeout: int

    def __repr__(self) -> str:
        return "Said(…)"


class SlackLogin:
    """
    Who asks Slack.

    Raises:
        BackendConfigError: the connection lacks a token, or has a field that cannot be read.

    Threads: safe; at worst two read the connection at once.
    """

    @unframed
    def __init__(self, held: Held) -> None:
        self._held = held
        self.is_webhook = held.known.connection.conn_type == "slackwebhook"
        self._said = self._read(held.known)

    @property
    def name(self) -> str:
        """The name of the connection."""
        return self._held.name

    @unframed
    def now(self) -> Said:
        """Give what the connection says now."""
        known = self._held.known
        if self._said.known.number != known.number:
            self._said = self._read(known)
        return self._said

    def has_newer(self, refused: Said) -> bool:
        """Tell, after Slack has *refused* it, whether there is something newer."""
        return self._held.refreshed(refused.known) is not None

    def _read(self, known: Known) -> Said:
        connection, name = known.connection, self._held.name
        secret = (connection.password.reveal() if connection.password else "").strip()
        if not secret:
            raise trouble("options", "missing", name=name, detail="password")
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            raise _malformed(name, "password")
        options = Options(name, connection)
        token = None if self.is_webhook else secret
        url = _webhook(connection, secret) if self.is_webhook else options.text("base_url") or _API
        _check_address(url, name, "password" if self.is_webhook else "extra.base_url")
        proxy = options.text("proxy")
        if proxy is not None:
            _check_address(proxy, name, "extra.proxy")
        timeout = int(options.number("timeout", default=_SECONDS)) or _SECONDS
        return Said(known, token, url, proxy, timeout)


def _webhook(connection: Connection, secret: str) -> str:
    """Put the address of a webhook together, as SlackWebhookHook does."""
    if "://" in secret:
        return secret
    host = connection.host or ""
    if "://" not in host:
        default, _, place = _WEBHOOKS.partition("://")
        host = f"{connection.schema or default}://{host or place}"
    return f"{host.rstrip('/')}/{secret.lstrip('/')}"


def _check_address(text: str, name: str, field: str) -> None:
    try:
        parts = urlsplit(text)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise _malformed(name, field)


def _malformed(name: str, field: str) -> StrongroomError:
    return trouble("options", "malformed", name=name, detail=field)
