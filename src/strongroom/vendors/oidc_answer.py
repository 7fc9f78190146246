"""
The answers of an OpenID provider, read strictly, and our transport as Authlib's client uses one.

Not for whether what they say is true (`oidc.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from strongroom.errors import BackendUnavailableError, InvalidInputError
from strongroom.model.jsontext import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authlib.oauth2.auth import ClientAuth

    from strongroom.vendors.http1 import Reply
    from strongroom.vendors.origins import Origins

__all__ = ["PLACE", "Asking", "may_ask", "object_of", "unusable"]

PLACE = "identity provider"
"""What an outage names as the backend that gave no answer."""

_OK = 200


class Asking:
    """
    What Authlib's client asks through: our `Origins`, with its own words for an answer.

    Args:
        origins: asks.
    """

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def post(
        self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str], auth: ClientAuth
    ) -> _Said:
        address, sent, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        # A code is good once: a question that was asked must not be asked again.
        return _Said(self._origins.request("POST", address, sent, str(body), is_repeatable=False))


class _Said:
    """An answer, as Authlib reads one."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.status_code = reply.status

    def json(self) -> dict[str, Any]:
        return object_of(self._reply)

    def raise_for_status(self) -> None:
        if self.status_code != _OK:
            raise unusable()


def object_of(reply: Reply) -> dict[str, Any]:
    """
    Give an answer that must be an object of JSON, no key twice.

    Raises:
        BackendUnavailableError: it is none.
    """
    try:
        found = decode(reply.body.decode(), what="the answer")
    except (UnicodeDecodeError, InvalidInputError):
        found = None
    if not isinstance(found, dict):
        raise unusable()
    return found


def may_ask(issuer: str, address: str) -> bool:
    """Tell whether a document of *issuer* may send anybody to *address*: never from TLS to bare HTTP."""
    try:
        parts = urlsplit(address)
        is_plain = parts.username is None and parts.password is None and bool(parts.hostname)
    except ValueError:
        return False
    return is_plain and not parts.fragment and parts.scheme in {"https", urlsplit(issuer).scheme}


def unusable() -> BackendUnavailableError:
    """Give the error of an answer that is none."""
    return BackendUnavailableError("the identity provider gave no answer that can be used", backend=PLACE)
