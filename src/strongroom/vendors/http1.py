"""
HTTP/1.1 as bytes: spell a request, read one answer, strictly.

Strict, because what is lenient here is a way around something elsewhere: whatever two programs could
read in two ways is refused (RFC 9112 §11.2). Not for sockets, time or TLS: `transport.py` brings a
`receive` that ends by itself.

Rules of this file:

1. An answer has `Content-Length` or `Transfer-Encoding: chunked`, never both, never either twice.
   One with neither could be cut without anybody noticing, so it is refused.
2. Lines end in CR LF. No line is continued on the next (obs-fold), no field name is followed by a
   space, no chunk has an extension, nothing follows the last chunk.
3. Head and body have bounds, counted as they come, whatever the answer says of its own length.
4. A body is given as it is; one that is encoded was not asked for and is refused.
5. No error holds a byte of what was sent or received.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Answer",
    "Begun",
    "Body",
    "Failure",
    "Reply",
    "begin_answer",
    "is_ambiguous",
    "read_answer",
    "spell_request",
]

_MAX_CHUNKS = 65_536  # of one body: chunks of a few bytes cost a step each
_MAX_INTERIM = 8  # answers "100 Continue" and the like before the real one
_METHOD = re.compile(r"[A-Z]{1,16}")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*")  # RFC 3986 §3.3, §3.4
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# A segment of one or two dots, escaped or not: servers resolve it, and then another rule applies.
_DOT_SEGMENT = re.compile(r"(?:/|%2f|%5c)(?:\.|%2e){1,2}(?=/|%2f|%5c|[?;]|$)", re.IGNORECASE)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[\t -~]*")
_OURS = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "expect",
        "te",
        "upgrade",
    )
)
_HEAD = re.compile(
    rb"HTTP/1\.[01] [1-5][0-9][0-9](?: [\t -~\x80-\xff]*)?\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*"
)
_ALWAYS = "User-Agent: strongroom\r\nAccept-Encoding: identity\r\n"
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}")
_ENDS_HEAD = b"\r\n\r\n"
_WITHOUT_BODY = (204, 304)
_SWITCHING = 101
_FRAMING = ("content-length", "transfer-encoding")


class Failure(Exception):  # noqa: N818 -- a jump to the one place that makes the error; never leaves `vendors`
    """
    Why there is no answer, in words that follow the name of the place.

    Attributes:
        hint: what to change, or None.
        is_unanswered: the connection ended, or was not to be had, before one byte of an answer.
        is_timeout: the time was over.
        step: where it ended and for which reason, in the words of `live.trouble`; None where it was neither
            the name, nor the way there, nor TLS.
    """

    def __init__(
        self,
        words: str,
        *,
        hint: str | None = None,
        is_unanswered: bool = False,
        is_timeout: bool = False,
        step: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(words)
        self.step = step
        self.hint = hint
        self.is_unanswered = is_unanswered
        self.is_timeout = is_timeout


class Reply:
    """
    One answer: its `status`, its `headers` (names in lower case; what came twice is joined by ", "),
    its `body`. Prints as its status alone.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"Reply({self.status}, …)"


class Answer(NamedTuple):
    """What `read_answer` found, and whether the connection may carry another."""

    reply: Reply
    is_reusable: bool


def spell_request(
    method: str,
    target: str,
    host: str,
    headers: Mapping[str, str | Secret[str]],
    body: bytes | Secret[bytes] | None,
) -> bytes:
    """
    Give the bytes of a request.

    Args:
        method: capital letters.
        target: path and query, escaped already (RFC 3986); no segment of dots.
        host: what the Host header says.
        headers: of the caller; the framing is ours.
        body: sent with its length, also when it is empty; None sends none.

    Raises:
        InvalidInputError: method or target could be read as something else.
        BackendConfigError: a header could; it names the header, never its value.
    """
    if _METHOD.fullmatch(method) is None:
        raise InvalidInputError("the method of a request is 1 to 16 capital letters")
    if _PATH.fullmatch(target) is None or is_ambiguous(target):
        raise InvalidInputError(
            "the path of a request has a character that must be escaped, or a segment of dots",
            hint="choose a name without . and .. as a part",
        )
    lines = [f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{_ALWAYS}"]
    for name, value in headers.items():
        lines.append(_header(name, value))
    data = body.reveal() if isinstance(body, Secret) else body
    if data is not None:
        lines.append(f"Content-Length: {len(data)}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("ascii") + (data or b"")


def is_ambiguous(target: str) -> bool:
    """Tell whether two servers could read *target* as different paths: broken escapes, segments of dots."""
    return ("." in target or "%" in target) and (
        _BAD_ESCAPE.search(target) is not None or _DOT_SEGMENT.search(target) is not None
    )


def _header(name: str, value: str | Secret[str]) -> str:
    text = value.reveal() if isinstance(value, Secret) else value
    if _NAME.fullmatch(name) is None or name.lower() in _OURS:
        raise BackendConfigError("a request has a header that may not be set")
    if _VALUE.fullmatch(text) is None:
        raise BackendConfigError(
            f"the value of the header {name} has a line break or a character that cannot be sent",
            hint="check the token, the namespace and the like for stray line breaks",
        )
    return f"{name}: {text}\r\n"


def read_answer(
    receive: Callable[[], bytes], *, method: str, max_header_bytes: int, max_body_bytes: int
) -> Answer:
    """
    Read one answer.

    Args:
        receive: gives what came next, b"" at the end of the connection; ends by itself.
        method: of the request, because an answer to HEAD has no body.
        max_header_bytes: of status line and header, interim answers included.
        max_body_bytes: of the body as given.

    Raises:
        Failure: there is no whole answer of the right shape within the bounds.
    """
    head, status, headers, data = _read_head(receive, max_header_bytes)
    stream = _Stream(data, receive)
    has_body = method != "HEAD" and status not in _WITHOUT_BODY
    body = _read_body(headers, stream, max_body_bytes) if has_body else b""
    ends = head[7:8] == b"0" or "close" in headers.get("connection", "").lower()
    # What has no body and states one may send it all the same, as the answer to the next question.
    ends = ends or (status in _WITHOUT_BODY and not headers.keys().isdisjoint(_FRAMING))
    return Answer(Reply(status, headers, body), not ends and not stream.has_more)


class Begun(NamedTuple):
    """
    An answer whose body is still to come.

    Args:
        headers: as of `Reply`.
    """

    status: int
    headers: Mapping[str, str]
    body: Body

    def __repr__(self) -> str:
        return f"Begun({self.status}, …)"


def begin_answer(receive: Callable[[], bytes], *, max_header_bytes: int) -> Begun:
    """
    Read the head of an answer to a GET and give its body as it comes, for one that has no end.

    Args:
        receive: as of `read_answer`.
        max_header_bytes: likewise.

    Raises:
        Failure: as `read_answer`.
    """
    _, status, headers, data = _read_head(receive, max_header_bytes)
    return Begun(status, headers, Body(headers, _Stream(data, receive), is_empty=status in _WITHOUT_BODY))


class Body:
    """The body of an answer, given as it comes."""

    def __init__(self, headers: dict[str, str], stream: _Stream, *, is_empty: bool) -> None:
        self._stream = stream
        self._is_chunked = False
        self._left = 0
        self._has_ended = is_empty
        if is_empty:
            return
        length = _check_framing(headers)
        self._is_chunked = length is None
        self._left = length or 0
        self._has_ended = length == 0

    def some(self) -> bytes:
        """
        Give what came next, b"" at the end.

        Raises:
            Failure: it is not sound, or ends before its end.
        """
        if self._has_ended:
            return b""
        if not self._left:
            self._left = _chunk_length(self._stream)
            if not self._left:
                _end_chunk(self._stream)
                self._has_ended = True
                return b""
        data = self._stream.some(self._left)
        self._left -= len(data)
        if not self._left:
            if self._is_chunked:
                _end_chunk(self._stream)
            else:
                self._has_ended = True
        return data


def _read_head(
    receive: Callable[[], bytes], max_header_bytes: int
) -> tuple[bytes, int, dict[str, str], bytes]:
    """Give the head of an answer as bytes, its status, its headers, and what came of the body already."""
    data = receive()
    if not data:
        raise Failure("closed the connection without an answer", is_unanswered=True)
    for _ in range(_MAX_INTERIM):
        head, data = _split_head(data, receive, max_header_bytes)
        max_header_bytes -= len(head)
        status, headers = _parse_head(head)
        if status == _SWITCHING:
            raise _broken("it goes on in another protocol, which was not asked for")
        if status >= 200:  # noqa: PLR2004 -- RFC 9110 §15.2: below is interim
            return head, status, headers, data
    raise _broken("it never ends its interim answers")


def _split_head(data: bytes, receive: Callable[[], bytes], limit: int) -> tuple[bytes, bytes]:
    end = data.find(_ENDS_HEAD)
    while end < 0 and len(data) <= limit:
        more = receive()
        if not more:
            raise Failure("closed the connection in the middle of its answer")
        start = max(len(data) - 3, 0)
        data += more
        end = data.find(_ENDS_HEAD, start)
    if end < 0 or end > limit:
        raise _too_large("header", limit)
    return data[: end + 2], data[end + 4 :]


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    if _HEAD.fullmatch(head) is None:
        raise _broken("its header is malformed")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        value = value.strip(" \t")
        if name in headers:
            if name in _FRAMING:
                raise _broken("it states its length twice")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return int(head[9:12]), headers


def _read_body(headers: dict[str, str], stream: _Stream, limit: int) -> bytes:
    length = _check_framing(headers)
    if length is None:
        return _read_chunks(stream, limit)
    if length > limit:
        raise _too_large("body", limit)
    return stream.take(length)


def _check_framing(headers: dict[str, str]) -> int | None:
    """Give the length of a body, None where it comes in chunks."""
    length = headers.get("content-length")
    coding = headers.get("transfer-encoding")
    if length is not None and coding is not None:
        raise _broken("it states its length twice")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise _broken("its body is encoded, which was not asked for")
    if coding is not None:
        if coding.lower() != "chunked":
            raise _broken("its transfer encoding is not chunked")
        return None
    if length is None:
        raise _broken("it does not state its length")
    if _LENGTH.fullmatch(length) is None:
        raise _broken("its length is no number")
    return int(length)


def _read_chunks(stream: _Stream, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while len(parts) < _MAX_CHUNKS:
        length = _chunk_length(stream)
        size += length
        if size > limit:
            raise _too_large("body", limit)
        if length:
            parts.append(stream.take(length))
        _end_chunk(stream)
        if not length:
            return b"".join(parts)
    raise _broken("it has too many chunks")


def _chunk_length(stream: _Stream) -> int:
    line = stream.line(8)
    if _CHUNK.fullmatch(line) is None:
        raise _broken("its chunks are malformed")
    return int(line, 16)


def _end_chunk(stream: _Stream) -> None:
    if stream.take(2) != b"\r\n":
        raise _broken("its chunks are malformed")


class _Stream:
    """What has come and not been taken. A position moves, so that small chunks cost no copies of the rest."""

    def __init__(self, data: bytes, receive: Callable[[], bytes]) -> None:
        self._data = bytearray(data)
        self._at = 0
        self._receive = receive

    def take(self, size: int) -> bytes:
        while len(self._data) - self._at < size:
            self._more()
        self._at += size
        return bytes(self._data[self._at - size : self._at])

    def some(self, most: int) -> bytes:
        """Give from 1 to *most* bytes: what there is, waiting only where there is nothing."""
        if not self.has_more:
            self._more()
        size = min(most, len(self._data) - self._at)
        return self.take(size)

    def line(self, limit: int) -> bytes:
        while (end := self._data.find(b"\r\n", self._at, self._at + limit + 2)) < 0:
            if len(self._data) - self._at >= limit + 2:
                raise _broken("its chunks are malformed")
            self._more()
        line = bytes(self._data[self._at : end])
        self._at = end + 2
        return line

    @property
    def has_more(self) -> bool:
        return len(self._data) > self._at

    def _more(self) -> None:
        more = self._receive()
        if not more:
            raise Failure("closed the connection in the middle of its answer")
        del self._data[: self._at]
        self._at = 0
        self._data += more


def _broken(why: str) -> Failure:
    return Failure(
        f"gave an answer that is not sound HTTP: {why}",
        hint="check that the url is that of the service, http or https as it speaks",
    )


def _too_large(part: str, limit: int) -> Failure:
    return Failure(f"gave an answer whose {part} is over {limit} bytes", hint="look at what is kept there")
