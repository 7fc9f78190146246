"""
How requests to Azure's blob storage are signed as a connection says: a transport of azure-core's, below all
of the library.

Not for what is asked: that is adlfs's and the SDK's. Imports azure-core with aiohttp, as `files_azure.py`.

Rules of this file:

1. The library holds no key, signature or token: each is put on as a request is sent, and taken off again
   before anybody looks at what was sent.
2. They go to the account that the connection names now, wherever the request was for, and over TLS but on
   this machine; another address that an answer leads to is asked without.
3. A refusal reads the connection anew once, and the request is signed and sent once more.

Source: "Authorize with Shared Key", Azure Storage REST; azure-storage-blob 12.31 (`authentication.py`), which
the tests hold it to.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from azure.core.exceptions import AzureError
from azure.core.pipeline.transport import AioHttpTransport
from yarl import URL

from strongroom.live.azure_credential import FollowedCredential
from strongroom.live.azure_fields import fields_of
from strongroom.live.azure_storage import account_url, shown_by
from strongroom.live.files_way import check_hidden, is_hopeless, way_trouble
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.live.around import Asked
    from strongroom.live.held import Held, Known
    from strongroom.model.connection import Connection

__all__ = ["SignedTransport", "account_of", "place_of"]

_SCOPE = "https://storage.azure.com/.default"
_AHEAD_SECONDS = 300  # of its end a token is asked for again, as azure-core does
_UNKNOWN, _FORBIDDEN = 401, 403
# Of the reasons for a 403, those that are about the credentials and not about what is asked.
_REFUSALS = ("AuthenticationFailed", "InvalidAuthenticationInfo", "KeyBasedAuthenticationNotPermitted")
_SIGNED = (
    *("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date"),
    *("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"),
)
# As the SDK's own: seconds, and bytes that are read at a time.
_WAITS = {"connection_timeout": 20, "read_timeout": 60, "connection_data_block_size": 256 * 1024}
_NO_PLACE = 'name the account: in login or host, or as options={"account_name": …}'


def place_of(name: str, connection: Connection, options: Mapping[str, object]) -> str:
    """
    Give the address of the blobs of *connection*, without a slash behind it.

    Args:
        name: of the connection, for messages.
        connection: of any type that logs in to Azure.
        options: `account_name`, where the connection names none.

    Raises:
        BackendConfigError: nothing names the account.
    """
    said = fields_of(connection)
    host, account = said.get("account_host"), options.get("account_name") or said.get("account_name")
    if host and not said.get("connection_string"):
        return f"https://{host}".rstrip("/")
    found = account_url(connection) or (f"https://{account}.blob.core.windows.net" if account else None)
    if found is None:
        raise trouble("options", "missing", name=name, detail="account_name", hint=_NO_PLACE)
    # The data lake's own endpoint speaks another protocol; the same account's blobs are these.
    return found.rstrip("/").replace(".dfs.", ".blob.", 1)


def account_of(place: str) -> str:
    """Give the name of the account at *place*: the first label, or of an address the first of its path."""
    parts = urlsplit(place)
    host = parts.hostname or ""
    is_address = host == "localhost" or host.replace(".", "").isdecimal() or ":" in host
    return parts.path.strip("/").partition("/")[0] if is_address else host.partition(".")[0]


class _Token(NamedTuple):
    number: int
    text: str
    ends_at: float


class SignedTransport(AioHttpTransport):  # type: ignore[misc]  # of a module without types
    """
    azure-core's transport over aiohttp, that signs as a connection says.

    Args:
        held: the connection.
        asked: with the options `account_name`, `anon`, `authority` and `connection_verify`.

    Raises:
        BackendConfigError: nothing names the account, or what logs in is said by halves.
    """

    def __init__(self, held: Held, asked: Asked, **more: Any) -> None:  # noqa: ANN401 -- azure-core's
        verify = asked.options.get("connection_verify", True)
        super().__init__(connection_verify=verify, **_WAITS, **more)
        self._held = held
        self._asked = asked
        self._credential: FollowedCredential | None = None
        self._token: _Token | None = None
        self.place = self._place(held.known)
        self._check(held.known)

    def __repr__(self) -> str:
        return f"SignedTransport({self._held.name!r})"

    @property
    def key(self) -> str | None:
        """The account's key, for URLs that are signed with it; None where the connection holds none."""
        shown = shown_by(self._held.known.connection)
        return None if shown is None or shown.account is None else shown.text.reveal()

    async def send(self, request: Any, **config: Any) -> Any:  # noqa: ANN401 -- azure-core's pair of kinds
        """
        Send *request*, signed; once more where its credentials are refused and there are others.

        Raises:
            AccessDeniedError: they are refused, also with what the connection says by now.
            AzureError: as azure-core's own, without what was sent.
        """
        if not _is_below(request.url, self.place):
            return await super().send(request, **config)
        known, begin = self._held.known, _position(request)
        answer = await self._sent(request, known, config)
        if not _is_refusal(answer) or self._is_nobody(known):
            return answer
        await answer.internal_response.release()
        newer = await self._renewed(known)
        if newer is None or not _is_rewound(request, begin):
            raise trouble("authentication", "credentials", name=self._held.name)
        answer = await self._sent(request, newer, config)
        if _is_refusal(answer):
            await answer.internal_response.release()
            raise trouble("authentication", "credentials", name=self._held.name)
        return answer

    async def _sent(self, request: Any, known: Known, config: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- as `send`
        url = request.url
        request.url = self._place(known) + url[len(self.place) :]
        error: BaseException
        try:
            await self._sign(request, known)
            return await super().send(request, **config)
        except AzureError as caught:
            error = self._told(caught)
        finally:
            request.url = url
            request.headers.pop("Authorization", None)
        raise error

    def _told(self, error: AzureError) -> BaseException:
        """Give ours, or azure-core's own, which is tried again, without the address that may be signed."""
        found = way_trouble(error, self._held.name)
        if found is not None and error.inner_exception is not None and is_hopeless(error.inner_exception):
            return found
        told = type(error)("storage could not be reached, or broke off")
        told.__cause__ = found
        return told

    # --- who asks ----------------------------------------------------------------------------------------

    def _place(self, known: Known) -> str:
        return place_of(self._held.name, known.connection, self._asked.options)

    def _is_nobody(self, known: Known) -> bool:
        fields = fields_of(known.connection)
        said = self._asked.options.get("anon", fields.get("anon"))
        is_said = str(said).lower() in ("true", "1")
        return is_said and not fields.get("tenant_id") and shown_by(known.connection) is None

    def _check(self, known: Known) -> None:
        """Refuse now what could log in nobody."""
        if shown_by(known.connection) is None and not self._is_nobody(known):
            self._login()

    def _login(self) -> FollowedCredential:
        if self._credential is None:
            options = {
                key: value
                for key, value in self._asked.options.items()
                if key in ("authority", "connection_verify")
            }
            self._credential = FollowedCredential(
                self._held, self._asked._replace(options=options, service=None)
            )
        return self._credential

    async def _sign(self, request: Any, known: Known) -> None:  # noqa: ANN401 -- as `send`
        if self._is_nobody(known):
            return
        check_hidden(request.url, self._held.name, "host")
        shown = shown_by(known.connection)
        if shown is None:
            request.headers["Authorization"] = f"Bearer {await self._bearer(known)}"
        elif shown.account is None:
            joint = "&" if "?" in request.url else "?"
            request.url += joint + shown.text.reveal().lstrip("?")
        else:
            request.headers["x-ms-date"] = format_datetime(self._asked.around.now(), usegmt=True)
            account = shown.account or account_of(self._place(known))
            signature = self._signature(shown.text.reveal(), _text_of(request, account))
            request.headers["Authorization"] = f"SharedKey {account}:{signature}"

    def _signature(self, key: str, text: str) -> str:
        try:
            decoded = base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError):
            hint = "it is the account's key as Azure shows it"
            raise trouble("options", "malformed", name=self._held.name, detail="the key", hint=hint) from None
        return base64.b64encode(hmac.digest(decoded, text.encode(), "sha256")).decode()

    async def _bearer(self, known: Known) -> str:
        token, now = self._token, self._asked.around.now().timestamp()
        if token is None or token.number != known.number or token.ends_at - now < _AHEAD_SECONDS:
            found = await asyncio.to_thread(self._login().get_token_info, _SCOPE)
            token = self._token = _Token(known.number, found.token, found.expires_on)
        return token.text

    async def _renewed(self, known: Known) -> Known | None:
        """Give what a refused request is to be signed by, once more; None where there is nothing else."""
        newer = await asyncio.to_thread(self._held.refreshed, known)
        if newer is not None:
            return newer
        if shown_by(known.connection) is None and await asyncio.to_thread(self._login().forget):
            self._token = None
            return self._held.known
        return None


def _is_below(url: str, place: str) -> bool:
    return url.startswith(place) and url[len(place) :][:1] in ("", "/", "?")


def _is_refusal(answer: Any) -> bool:  # noqa: ANN401 -- azure-core's
    code = answer.headers.get("x-ms-error-code", "")
    return answer.status_code == _UNKNOWN or (answer.status_code == _FORBIDDEN and code in _REFUSALS)


def _position(request: Any) -> int | None:  # noqa: ANN401 -- azure-core's
    body = request.data
    return body.tell() if hasattr(body, "seek") and not body.closed else None


def _is_rewound(request: Any, begin: int | None) -> bool:  # noqa: ANN401 -- azure-core's
    """Tell whether the body of *request* can be sent from its beginning, and have it begin there."""
    body = request.data
    if begin is None:
        return body is None or isinstance(body, (bytes, bytearray, memoryview, str, dict))
    try:
        body.seek(begin)
    except (OSError, ValueError):
        return False
    return True


def _text_of(request: Any, account: str) -> str:  # noqa: ANN401 -- azure-core's
    """Give what is signed of *request*."""
    said = {name.lower(): str(value) for name, value in request.headers.items() if value}
    if said.get("content-length") == "0":
        del said["content-length"]
    own = sorted((name for name in said if name.startswith("x-ms-")), key=_in_order)
    lines = [request.method, *(said.get(name, "") for name in _SIGNED)]
    lines += [f"{name}:{said[name]}" for name in own]
    return "\n".join((*lines, *_resource(request.url, account)))


def _in_order(name: str) -> tuple[str, str]:
    # As the service sorts: hyphens count last, and an underscore before every letter and digit.
    return name.replace("-", "").replace("_", "\x1f"), name


def _resource(url: str, account: str) -> Iterator[str]:
    yield f"/{account}{URL(url).raw_path}"  # as aiohttp sends it
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(urlsplit(url).query.replace("+", "%2B"), keep_blank_values=True):
        found.setdefault(name.lower(), []).append(value)
    for name in sorted(found):
        yield f"{name}:{','.join(sorted(found[name]))}"
