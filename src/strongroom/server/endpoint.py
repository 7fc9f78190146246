"""
What an endpoint is, and one request as its handler sees it.

Rules of this file:

1. A handler is synchronous and runs on a thread of the server; it raises our errors and builds none.
2. What comes in is read strictly (`wire/strict.py`).
3. A body that streams is an iterator of bytes, which is asked on threads, or an asynchronous one, which
   is asked on the loop and must not block it (`Call.aside` does).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote

from strongroom.errors import InvalidInputError, NotAuthenticatedError
from strongroom.server.form import Form
from strongroom.wire.strict import check_media, read_json, read_query

if TYPE_CHECKING:
    from strongroom.service.access import Identity
    from strongroom.service.house import Deployment, House
    from strongroom.service.room import Room

__all__ = [
    "MAX_BATCH",
    "MAX_BODY_BYTES",
    "Answer",
    "Call",
    "Endpoint",
    "Stream",
]

T = TypeVar("T")

MAX_BODY_BYTES = 8_388_608  # 8 MiB: docs/design.md, Limits
MAX_BATCH = 1000  # Refs, or entries, in one request
_NOTHING: Mapping[str, str] = MappingProxyType({})
Stream = Iterator[bytes] | AsyncIterator[bytes]


class Answer(NamedTuple):
    """
    What a handler answers; any other object it returns is the `value` of one with the endpoint's status.

    Args:
        value: what msgspec can encode; bytes as they are; an iterator of bytes (see the module); None for
            no body.
        status: HTTP's; 0 for the endpoint's own.
        etag: the version of what is answered, without quotes.
        headers: more of them; a value with a line break is refused.
        media_type: of the body.
        cookies: each as a `Set-Cookie` has it.
    """

    value: object = None
    status: int = 0
    etag: str | None = None
    headers: Mapping[str, str] = _NOTHING
    media_type: str = "application/json"
    cookies: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # Neither the value nor the headers, one of which may set a cookie.
        return f"Answer(status={self.status}, media_type={self.media_type!r})"


class Endpoint(NamedTuple):
    """
    One method on one path.

    Args:
        method: GET (which HEAD follows), POST, PUT, PATCH or DELETE.
        path: below the prefix of its API; `{name}` is one segment, `{name:path}` the rest.
        handler: gives the answer; called on a thread.
        summary: one line for people.
        tag: the noun it belongs to.
        takes: the shape of the body; None where none is read.
        asks: the shape of the query; None where it must be empty.
        gives: the shape of the answer.
        status: of a success.
        errors: statuses beside those every endpoint may answer.
        is_public: needs no identity. Anything else answers 401 without one.
        when_sealed: answers in a sealed deployment too, where nobody is known; it must be public.
        is_change: refused in read-only mode; honours `Idempotency-Key`.
        needs_proof: a person in a session must have proven lately who he is (`server/proof.py`).
        stream: the answer is a stream.
        cost: what one call takes from the caller's allowance (`server/limits.py`).
        takes_media: media types of the body that are taken beside JSON.
        takes_form: takes a form of our own pages, and nothing else (`server/form.py`).
    """

    method: str
    path: str
    handler: Callable[[Call], object]
    summary: str
    tag: str
    takes: type | None = None
    asks: type | None = None
    gives: Any = None
    status: int = 200
    errors: tuple[int, ...] = ()
    is_public: bool = False
    is_change: bool = False
    needs_proof: bool = False
    when_sealed: bool = False
    stream: bool = False
    cost: float = 1.0
    takes_media: tuple[str, ...] = ()
    takes_form: bool = False


class Call:
    """
    One request as a handler sees it, on a thread.

    Attributes:
        house: every deployment of this server.
        deployment: the addressed one's name.
        params: from the path, decoded once.
        query: every value of every name, in order.
        headers: names in lower case; of one given twice the values joined by ", ".
        body: as it came.
        request_id: of this request, in answers and logs.
        source: the address it came from, after the trusted proxies.
        is_secure: it came over TLS, to us or to a trusted proxy.
        certificate: the names of the TLS client certificate it came with; () for none.
        method: HTTP's.
        path: what is asked for, decoded, without the deployment that stands before it.
        form: what a form of ours holds; empty where none came.
        session: the token that came in our cookie, "" for none. It begins anew with a proof.
        browser: what the browser is known by whoever uses it, for the tokens of forms; "" for nothing.
        is_proven: the form brought a proof of who asks, and it was right.
        cookies: to be set with whatever is answered.
        aside: does blocking work on a thread, for a stream that runs on the loop.
        await_: runs a coroutine on the loop and gives its answer, for a handler on its thread.
    """

    def __init__(  # noqa: PLR0913 -- what a request has
        self,
        *,
        house: House,
        deployment: str,
        identity: Identity | None = None,
        params: Mapping[str, str] = _NOTHING,
        query: Mapping[str, list[str]] = MappingProxyType({}),
        headers: Mapping[str, str] = _NOTHING,
        body: bytes = b"",
        request_id: str = "",
        source: str = "",
        is_secure: bool = False,
        certificate: tuple[str, ...] = (),
        method: str = "GET",
        path: str = "/",
    ) -> None:
        self.house = house
        self.deployment = deployment
        self.params = params
        self.query = query
        self.headers = headers
        self.body = body
        self.request_id = request_id
        self.source = source
        self.is_secure = is_secure
        self.certificate = certificate
        self.method = method
        self.path = path
        self.form = Form()
        self.session = ""
        self.browser = ""
        self.is_proven = False
        self.cookies: list[str] = []
        self.aside: Callable[[Callable[[], Any]], Awaitable[Any]] = _no_loop
        self.await_: Callable[[Coroutine[Any, Any, Any]], Any] = _no_wait
        self._identity = identity

    @property
    def identity(self) -> Identity:
        """
        Who asks and how that was proven.

        Raises:
            NotAuthenticatedError: nobody; only where the endpoint is public.
        """
        if self._identity is None:
            raise NotAuthenticatedError("no identity came with this request")
        return self._identity

    def identify(self, identity: Identity) -> None:
        """Say who asks, once that is proven."""
        self._identity = identity

    @property
    def has_identity(self) -> bool:
        """Whether somebody is known; always, unless the endpoint is public."""
        return self._identity is not None

    @property
    def room(self) -> Room:
        """The addressed deployment, as this actor. Raises as `identity`."""
        return self.house.room(self.deployment, self.identity.actor)

    @property
    def place(self) -> Deployment:
        """The addressed deployment, as nobody: for what needs no actor, such as a login."""
        return self.house.deployment(self.deployment)

    def take(self, type_: type[T]) -> T:
        """
        Read the body as JSON of the shape *type_*.

        Raises:
            MediaTypeError: it is not declared as JSON.
            InvalidInputError: it is not JSON, is nested too deep or holds a key twice.
            FieldError: a field is wrong, missing or unknown.
        """
        check_media(self.headers.get("content-type", ""))
        return read_json(self.body, type_)

    def asked(self, type_: type[T]) -> T:
        """
        Read the query as a struct of *type_*: texts become what its fields are.

        Raises:
            InvalidInputError: a parameter is unknown, given twice or of the wrong type.
        """
        return read_query(self.query, type_)

    @property
    def if_match(self) -> str | None:
        """The version that must stand now, without quotes; `*` for any."""
        text = self.headers.get("if-match")
        # RFC 9110 §13.1.1: a weak validator never matches here; no version of ours has such a prefix.
        return text if text is not None and text.startswith("W/") else _tag(text)

    @property
    def is_lenient(self) -> bool:
        """Whether a condition may be looked at right before the change where the store cannot compare."""
        said = self.headers.get("prefer", "").split(",")  # RFC 7240 §4.4
        return any(one.strip().lower() == "handling=lenient" for one in said)

    @property
    def if_none_match(self) -> str | None:
        """The version that must not stand now, without quotes; `*` for any."""
        return _tag(self.headers.get("if-none-match"))


def _no_wait(_work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 -- as `_no_loop`
    raise RuntimeError("this call came without a loop")


async def _no_loop(_work: Callable[[], Any]) -> Any:  # noqa: ANN401 -- whatever the work gives
    raise RuntimeError("this call came without a loop")


def _tag(text: str | None) -> str | None:
    if text is None:
        return None
    text = text.strip()
    if text == "*":
        return text
    text = text.removeprefix("W/")
    if len(text) < 2 or text[0] != '"' or text[-1] != '"' or '"' in text[1:-1]:  # noqa: PLR2004 -- two quotes
        raise InvalidInputError("the condition must be one version in quotes, or *", hint='If-Match: "3"')
    return unquote(text[1:-1])  # as the ETag of an answer is written
