"""
Azure's SDK over our own transport: what azure-core calls an `HttpTransport`, carried by `Origins`.

Imported only where Azure is asked: it loads azure-core.

Rules of this file:

1. A carrier asks the origins it was made for and no other: a token of the vault goes to the vault, a
   client's secret to the authority it was configured for, whatever an answer says.
2. What Entra ID and a managed identity's endpoint refuse becomes our error here, before the SDK reads,
   logs or quotes their words. Only numbers of theirs are looked at.

Source: azure-core 1.41 (`azure.core.rest`); the error codes of Entra ID (AADSTS…).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import HttpTransport
from azure.core.rest import HttpRequest, HttpResponse
from azure.core.utils import case_insensitive_dict

from strongroom.errors import BackendUnavailableError
from strongroom.vendors.azure import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from strongroom.vendors.http1 import Reply
    from strongroom.vendors.origins import Origins

__all__ = ["Answer", "Carrier"]

_TROUBLE = 400
_URL = re.compile(r"\burl\b")  # the transport's word for where it asks


class Answer(HttpResponse):
    """
    An answer of ours as azure-core wants it: read whole, closed from the start.

    Attributes:
        reply: the answer itself.
    """

    def __init__(self, request: HttpRequest, reply: Reply) -> None:
        self.reply = reply
        self._request = request
        self._headers = case_insensitive_dict(reply.headers)

    @property
    def request(self) -> HttpRequest:
        return self._request

    @property
    def status_code(self) -> int:
        return self.reply.status

    @property
    def headers(self) -> MutableMapping[str, str]:
        return self._headers

    @property
    def reason(self) -> str:
        return ""

    @property
    def content_type(self) -> str | None:
        return self._headers.get("content-type")

    @property
    def is_closed(self) -> bool:
        return True

    @property
    def is_stream_consumed(self) -> bool:
        return True

    @property
    def encoding(self) -> str | None:
        return "utf-8"

    @encoding.setter
    def encoding(self, value: str | None) -> None:
        """Nothing: JSON is UTF-8."""

    @property
    def url(self) -> str:
        return self._request.url

    @property
    def content(self) -> bytes:
        return self.reply.body

    def body(self) -> bytes:
        """As `content`, under the name that older pipelines ask for."""
        return self.reply.body

    def text(self, encoding: str | None = None) -> str:
        return self.reply.body.decode(encoding or "utf-8", "replace")

    def json(self) -> Any:  # noqa: ANN401 -- azure-core's own word for it
        return json.loads(self.reply.body)

    def raise_for_status(self) -> None:
        if self.reply.status >= _TROUBLE:
            raise HttpResponseError(response=self)

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing: the connection went back when the answer was whole."""

    def read(self) -> bytes:
        return self.reply.body

    def iter_raw(self, **_options: object) -> Iterator[bytes]:
        yield self.reply.body

    def iter_bytes(self, **_options: object) -> Iterator[bytes]:
        yield self.reply.body


class Carrier(HttpTransport[HttpRequest, HttpResponse]):
    """
    Carry what azure-core asks of *allowed*, and refuse the rest.

    Args:
        place: the backend's name, for messages.
        origins: carries. Not closed here.
        allowed: origins as `origin_of` gives them.
        setting: which says where they are, for the hints of trouble on the way.
        check: of a login, raises for an answer that is not to reach the SDK.

    Threads: may be used from several threads at once.
    """

    def __init__(
        self,
        place: str,
        origins: Origins,
        *,
        allowed: frozenset[str],
        setting: str,
        check: Callable[[Reply], None] | None = None,
    ) -> None:
        self._place = place
        self._origins = origins
        self._allowed = allowed
        self._setting = setting
        self._check = check
        # Logging in twice is as good as once; writing twice makes two versions.
        self._repeats = ("GET",) if check is None else ("GET", "POST")

    def send(self, request: HttpRequest, **_options: object) -> HttpResponse:
        """
        Ask once.

        Raises:
            BackendUnavailableError: no answer, or the url is none of those allowed.
            StrongroomError: as *check* says.
        """
        origin = origin_of(request.url)
        if origin not in self._allowed:
            raise BackendUnavailableError(
                f"the backend {self._place} was sent to another server, which is not asked",
                backend=self._place,
                hint="its answers name a host that is neither its own nor where it logs in",
            )
        try:
            reply = self._carried(request, origin)
        except BackendUnavailableError as error:
            error.hint = _URL.sub(self._setting, error.hint or "") or None
            raise
        if self._check is not None:
            self._check(reply)
        return Answer(request, reply)

    def _carried(self, request: HttpRequest, origin: str) -> Reply:
        parts = urlsplit(request.url)
        # An azure-identity before 1.24 asks with requests of azure-core's elder kind.
        body = getattr(request, "content", None) or getattr(request, "data", None)
        return self._origins.request(
            request.method,
            f"{origin}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else ""),
            dict(request.headers),
            urlencode(body) if isinstance(body, dict) else body,
            is_repeatable=request.method in self._repeats,
        )

    def open(self) -> None:
        """Nothing: connections are made when they are needed."""

    def close(self) -> None:
        """Nothing: whoever made the origins closes them."""

    def __exit__(self, *_error: object) -> None:
        self.close()
