"""
Live clients of HTTP services: the client is httpx2's own, over a transport that says who asks.

Rules of this file:

1. The address, headers, login, certificates and proxies are those the connection has when a request is sent;
   time limits and redirects are those it had when the client was made.
2. Credentials go to the connection's own origin alone: `web_transport.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.live.families import loaded
from strongroom.live.fields import Options
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed
from strongroom.live.web import Base, Way, base_of, headers_of, way_of
from strongroom.live.web_login import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.live.around import Around, Asked
    from strongroom.live.held import Held, Known
    from strongroom.live.oauth2 import Tokens

__all__ = ["HttpLogin", "aclient", "client"]

_EXTRA = "http"
_MAX_REDIRECTS = 30  # as requests
_TRANSPORT = (
    "http1",
    "http2",
    "limits",
    "local_address",
    "retries",
    "socket_options",
    "transport",
    "uds",
    "verify",
)
_OURS = ("auth", "base_url", "cert", "mounts", "proxy", "trust_env")
# What the library itself sends unless told otherwise: what the connection says of it is for the client.
_USUAL = ("accept", "accept-encoding", "user-agent")


def client(held: Held, asked: Asked) -> object:
    """Give an `httpx2.Client` of the connection."""
    httpx2 = loaded("httpx2", held, extra=_EXTRA)
    from strongroom.live.web_transport import Transport  # noqa: PLC0415 -- loads the library

    login = HttpLogin(held, asked.around)
    own, inner = _options(asked.options, held.name)
    transport = Transport(login, inner)
    made = _made(httpx2.Client, held, login, transport, own)
    transport.release = held.lasts(made, transport.close)
    return made


async def aclient(held: Held, asked: Asked) -> object:
    """Give an `httpx2.AsyncClient` of the connection."""
    httpx2 = loaded("httpx2", held, extra=_EXTRA)
    from strongroom.live.web_transport import AsyncTransport  # noqa: PLC0415 -- loads the library

    login = HttpLogin(held, asked.around)
    own, inner = _options(asked.options, held.name)
    transport = AsyncTransport(login, inner)
    made = _made(httpx2.AsyncClient, held, login, transport, own)
    # Its connections belong to a loop, which has ended where nobody closed it: they end with it.
    transport.release = held.lasts(made)
    return made


def _made(
    make: Any,  # noqa: ANN401 -- one of the library's two classes
    held: Held,
    login: HttpLogin,
    transport: object,
    own: Mapping[str, object],
) -> object:
    said = Options(held.name, held.known.connection)
    options: dict[str, object] = {
        "follow_redirects": said.flag("allow_redirects", default=True),
        "max_redirects": int(said.number("max_redirects", default=_MAX_REDIRECTS)),
        **own,
    }
    if said.has("timeout"):
        seconds = said.number("timeout", default=0)
        if seconds == 0:
            raise trouble("options", "malformed", name=held.name, detail="extra.timeout")
        options.setdefault("timeout", seconds)
    headers = {key: value.decode("latin-1") for key, value in login.usual if key in _USUAL}
    options["headers"] = {**headers, **dict(own.get("headers") or {})}  # type: ignore[call-overload]
    try:
        return make(base_url=login.base, transport=transport, trust_env=False, **options)
    except TypeError:
        raise trouble("options", "unknown", name=held.name) from None


def _options(options: Mapping[str, object], name: str) -> tuple[dict[str, object], dict[str, object]]:
    """Give the options of the client and those of its transport."""
    for key in options:
        if key in _OURS:
            raise trouble("options", "unknown", name=name, detail=key, hint="the connection says it")
    inner = {key: value for key, value in options.items() if key in _TRANSPORT}
    return {key: value for key, value in options.items() if key not in inner}, inner


class _Read(NamedTuple):
    """What one content of the connection says."""

    number: int
    base: Base
    session: Session
    tokens: Tokens | None


class HttpLogin:
    """
    Who asks an HTTP service: a login, headers, a certificate, or tokens of OAuth2.

    Args:
        held: the connection.
        around: what is around.

    Raises:
        BackendConfigError: the connection has a field that cannot be used.

    Threads: safe; at worst two read the connection at once.
    """

    @unframed
    def __init__(self, held: Held, around: Around) -> None:
        self._held = held
        self._around = around
        self._tokens: Tokens | None = None
        self._read = self._anew(held.known)
        self._last: Session | None = None

    @property
    def name(self) -> str:
        return self._held.name

    @property
    def base(self) -> str:
        """The address as it is now."""
        return self._read.base.url

    @property
    def usual(self) -> tuple[tuple[str, bytes], ...]:
        """The connection's headers as they are now."""
        return self._read.session.headers

    @unframed
    def ready(self) -> Session | None:
        read = self._now()
        if read.tokens is None:
            return read.session
        token = read.tokens.ready()
        return None if token is None else self._with(read, token)

    @unframed
    def session(self) -> Session:
        read = self._now()
        return read.session if read.tokens is None else self._with(read, read.tokens.obtained())

    @unframed
    def renewed(self, refused: Session) -> Session | None:
        known, token = refused.evidence
        tokens = self._read.tokens
        if tokens is not None and token is not None:
            newer = tokens.renewed(token)
            return None if newer is None else self._with(self._now(), newer)
        found = self._held.refreshed(known)
        return None if found is None else self.ready() or self.session()

    def _now(self) -> _Read:
        known = self._held.known
        read = self._read
        if read.number != known.number or not self._is_current(read.session.way):
            read = self._read = self._anew(known)
        return read

    def _is_current(self, way: Way) -> bool:
        try:
            return way.is_current()
        except OSError:  # gone for the moment in which another takes its place
            return True

    def _anew(self, known: Known) -> _Read:
        connection, name = known.connection, self._held.name
        said = Options(name, connection)
        if said.flag("srv_lookup", default=False):
            raise trouble("options", "unknown", name=name, detail="srv_lookup", hint="name the host itself")
        base = base_of(connection, name)
        way = way_of(connection, name, self._around.environ)
        session = Session(
            base=base.url, headers=headers_of(connection, base, name), way=way, evidence=(known, None)
        )
        tokens = None
        if said.has("oauth2"):
            tokens = self._tokened(known, way)
        return _Read(known.number, base, session, tokens)

    def _tokened(self, known: Known, way: Way) -> Tokens:
        from strongroom.live.oauth2 import Tokens  # noqa: PLC0415 -- few connections have them

        if self._tokens is None:
            self._tokens = Tokens(self._held, self._around)
        self._tokens.take(known, way)
        return self._tokens

    def _with(self, read: _Read, token: str) -> Session:
        last = self._last
        given = read.session
        if last is None or last.evidence[0] is not given.evidence[0] or last.evidence[1] != token:
            own = tuple(pair for pair in given.headers if pair[0] != "authorization")
            last = self._last = Session(
                base=given.base,
                headers=(*own, ("authorization", b"Bearer " + token.encode())),
                way=given.way,
                evidence=(given.evidence[0], token),
            )
        return last
