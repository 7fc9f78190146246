"""`requests`, as Google's SDK uses it, over our transport: it asks nobody by itself."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from strongroom.vendors.google_answer import GoogleRefusal

if TYPE_CHECKING:
    from strongroom.vendors.origins import Origins

__all__ = ["carry"]

_MAY_REPEAT = ("GET", "DELETE")
_ONCE = "x-strongroom-once"
_NOT_AUTHENTICATED = 401


class _Adapter(BaseAdapter):
    """Hand a request to `Origins` and give its reply as a `requests.Response`."""

    def __init__(self, origins: Origins) -> None:
        super().__init__()
        self._origins = origins

    def send(self, request: requests.PreparedRequest, *_args: Any, **_kwargs: Any) -> requests.Response:  # noqa: ANN401 -- bounds are the transport's
        headers = {name: value for name, value in request.headers.items() if name.lower() != _ONCE}
        reply = self._origins.request(
            str(request.method),
            str(request.url),
            headers,
            request.body,  # type: ignore[arg-type]  # the SDK sends text
            is_repeatable=_ONCE not in request.headers and str(request.method) in _MAY_REPEAT,
        )
        if reply.status == _NOT_AUTHENTICATED:
            # Before google-auth's session sees it: that would ask credentials which are not there.
            raise GoogleRefusal("UNAUTHENTICATED")
        response = requests.Response()
        response.status_code = reply.status
        response.headers = CaseInsensitiveDict(reply.headers)
        response.raw = BytesIO(reply.body)
        response.request = request
        response.url = str(request.url)
        return response

    def close(self) -> None:
        """Nothing is open here."""


def carry(session: requests.Session, origins: Origins) -> None:
    """Make *session* read no environment, follow nothing and ask through *origins* alone."""
    session.trust_env = False
    session.max_redirects = 0
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(origins))
