"""
What a connection says of HTTP: its address, headers, credentials, certificates and proxies.

Not for sending anything (`web_transport.py`), nor for tokens (`oauth2.py`). Pure but for the look at files
that a way names.

Rules of this file:

1. Fields mean what Airflow's HttpHook makes of them: what is no option of its own is a header.
2. What HttpHook would send as garbage (a port behind a path, a header with a line break) is refused.
3. No key of `extra` is told in an error but those above: a document pasted the wrong way round has secrets
   there.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from strongroom.live.fields import Options
from strongroom.live.trouble import trouble
from strongroom.model.jsontext import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.errors import StrongroomError
    from strongroom.model.connection import Connection

__all__ = ["OPTIONS", "Base", "Way", "base_of", "headers_of", "way_of"]

OPTIONS = frozenset(
    {
        "allow_redirects",
        "cert",
        "check_response",
        "max_redirects",
        "oauth2",
        "proxies",
        "proxy",
        "srv_lookup",
        "stream",
        "timeout",
        "trust_env",
        "verify",
        "verify_ssl",
    }
)
"""The keys of `extra` that are no headers."""

_SCHEMES = ("http", "https")
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_VALUE = re.compile(r"[\t -~\x80-\xff]*")  # RFC 9110 §5.5
_FRAMING = ("connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade")
_WORDS = ("true", "1", "yes", "on", "false", "0", "no", "off")  # what is a yes or no, and no path
_NO_URL = re.compile(r"[\x00-\x20\x7f\\]")  # what readers of URLs read differently


class Base(NamedTuple):
    """
    Where a connection leads.

    Args:
        url: without user-info and without a slash at its end.
        user: login and password that stand in the host, or None.
    """

    url: str
    user: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return "Base(…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """
    How a service is reached; those that go the same way may share connections.

    Args:
        verify: False checks nothing of the server.
        ca: file or folder of authorities, in place of the system's.
        cert: a PEM file to show, or None.
        key: its key where it is not in the same file.
        proxies: URLs by scheme, by `all`, or by either with `://host` behind it.
        signature: changes when one of the files does.
    """

    verify: bool = True
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    proxies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    environs: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    signature: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, **said: Any) -> Way:  # noqa: ANN401 -- as the constructor
        """
        Give the way with the signature of its files as they are now.

        Raises:
            OSError: one of them is missing.
        """
        files = (said.get("ca"), said.get("cert"), said.get("key"))
        return cls(**said, signature=tuple(_signatures(*files)))

    def proxy_for(self, scheme: str, host: str) -> str | None:
        """Give the proxy for a request, as `requests` chooses it."""
        environs = dict(self.environs)
        if _is_past_proxies(environs.pop("no", ""), host):
            environs = {}
        proxies = environs | dict(self.proxies)
        keys = (f"{scheme}://{host}", scheme, f"all://{host}", "all")
        return next((proxies[key] for key in keys if key in proxies), None)

    def is_current(self) -> bool:
        """Tell whether its files are those it was made of."""
        return not self.signature or self.signature == tuple(_signatures(self.ca, self.cert, self.key))


def base_of(connection: Connection, name: str) -> Base:
    """
    Give where *connection* leads, by the rules of HttpHook: a scheme in the host, else `schema`, else http.

    Raises:
        BackendConfigError: there is no host, or it is none of HTTP's.
    """
    host = (connection.host or "").strip()
    if not host:
        raise trouble("options", "missing", name=name, detail="host")
    text = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    try:
        parts = urlsplit(text)
        found = parts.hostname, parts.port
    except ValueError:
        raise _malformed(name, "host") from None
    if parts.scheme not in _SCHEMES or not found[0] or _NO_URL.search(text):
        raise _malformed(name, "host", "it leads to http:// or https://, by itself or with schema")
    if parts.query or parts.fragment:
        raise _malformed(name, "host", "leave out what begins with ? or #")
    if connection.port and found[1] not in (None, connection.port):
        raise _malformed(name, "port", "say the port once: in the host, or in port")
    if connection.port and parts.path.strip("/") and found[1] is None:
        raise _malformed(name, "port", "where the host has a path, write the port before it, in the host")
    bare = f"[{found[0]}]" if ":" in found[0] else found[0]
    port = found[1] or connection.port
    url = f"{parts.scheme}://{bare}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    user = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return Base(url, user)


def headers_of(connection: Connection, base: Base, name: str) -> tuple[tuple[str, bytes], ...]:
    """
    Give the headers that every request to the service has: those of `extra`, and who asks.

    Returns:
        (name in lower case, value).

    Raises:
        BackendConfigError: one cannot stand in a request.
    """
    found = dict(_given(connection, name))
    user = base.user
    if connection.login:
        user = connection.login, connection.password.reveal() if connection.password else ""
    if user is not None:
        found["authorization"] = b"Basic " + b64encode(":".join(user).encode())
    return tuple(found.items())


def _given(connection: Connection, name: str) -> Iterator[tuple[str, bytes]]:
    for key, held in (connection.extra or {}).items():
        if key in OPTIONS:
            continue
        value = held.reveal()
        if value is None:  # as requests: a header that is not sent
            continue
        text = value.strip() if isinstance(value, str) else str(value)
        is_plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        if not is_plain or not _TOKEN.fullmatch(key) or not _VALUE.fullmatch(text):
            raise _malformed(
                name, "a header in extra", "every key that is no option is a header, and its value one line"
            )
        if key.lower() in _FRAMING:
            raise _malformed(name, "a header in extra", f"leave out {key.lower()}: the library writes it")
        yield key.lower(), text.encode("latin-1")


def way_of(connection: Connection, name: str, environ: Mapping[str, str]) -> Way:
    """
    Give how the service of *connection* is reached.

    Args:
        connection: says it in `verify`, `cert`, `proxies` and `trust_env`.
        name: of the connection.
        environ: names proxies and a bundle of authorities, unless `trust_env` is false.

    Raises:
        BackendConfigError: a field cannot be read, or a file that it names.
    """
    options = Options(name, connection)
    extra = connection.extra.reveal() if connection.extra else {}
    is_open = options.flag("trust_env", default=True)
    verify, ca = _verified(extra, options)
    if verify and ca is None and is_open:
        ca = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE") or None
    cert, key = _shown(extra, name)
    try:
        return Way.of(
            verify=verify,
            ca=ca,
            cert=cert,
            key=key,
            proxies=tuple(_proxies(extra, name)),
            environs=tuple(_environs(environ)) if is_open else (),
        )
    except OSError:
        raise trouble("tls", "malformed", name=name, detail="cert or verify") from None


def _verified(extra: Mapping[str, Any], options: Options) -> tuple[bool, str | None]:
    for key in ("verify", "verify_ssl"):
        value = extra.get(key)
        if isinstance(value, str) and value.strip() and value.strip().lower() not in _WORDS:
            return True, value.strip()
        if value is not None and value != "":
            return options.flag(key, default=True), None
    return True, None


def _shown(extra: Mapping[str, Any], name: str) -> tuple[str | None, str | None]:
    value = extra.get("cert")
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _document(value, "cert", name)
    files = [value] if isinstance(value, str) else value
    if not files:
        return None, None
    is_sound = isinstance(files, list) and len(files) <= len(("certificate", "key"))
    if not is_sound or not all(isinstance(one, str) for one in files):
        raise _malformed(name, "cert", "the path of a PEM file, or a list of two: certificate and key")
    return files[0], files[1] if len(files) > 1 else None


def _signatures(*paths: str | None) -> Iterator[tuple[int, ...]]:
    for path in paths:
        if path is not None:
            status = Path(path).stat()
            yield status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _proxies(extra: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    value = extra.get("proxies") or extra.get("proxy")
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = _document(value, "proxies", name)
    proxies = {"all": value} if isinstance(value, str) else value or {}
    if not isinstance(proxies, dict):
        raise _malformed(name, "proxies")
    for key, url in proxies.items():
        if url is not None and url != "":
            yield key.lower(), _proxy(url, name)


def _proxy(url: object, name: str) -> str:
    text = str(url).strip()
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        is_sound = parts.scheme in _PROXY_SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or not isinstance(url, str) or _NO_URL.search(text):
        raise _malformed(name, "proxies", 'such as {"https": "http://proxy:3128"}')
    return text


def _environs(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key in ("http", "https", "all", "no"):
        # To a CGI program HTTP_PROXY is what its client sent as Proxy: (httpoxy).
        is_cgi = key == "http" and "REQUEST_METHOD" in environ
        value = environ.get(f"{key}_proxy") or (None if is_cgi else environ.get(f"{key.upper()}_PROXY"))
        if value:
            yield key, value if key == "no" or "://" in value else f"http://{value}"


def _is_past_proxies(said: str, host: str) -> bool:
    """Tell whether NO_PROXY, as it is *said*, names *host*: itself, a domain it is in, or a network."""
    names = [name.strip().lower().lstrip(".") for name in said.split(",") if name.strip()]
    host = host.lower()
    if any(name in ("*", host) or host.endswith(f".{name}") for name in names):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _networks(names))


def _networks(names: list[str]) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for name in names:
        with suppress(ValueError):  # it is no network
            yield ipaddress.ip_network(name, strict=False)


def _document(text: str, key: str, name: str) -> Any:  # noqa: ANN401 -- JSON
    from strongroom.errors import InvalidInputError  # noqa: PLC0415 -- few write documents as text

    try:
        return decode(text, what=key)
    except InvalidInputError:
        raise _malformed(name, key) from None


def _malformed(name: str, field: str, hint: str | None = None) -> StrongroomError:
    return trouble("options", "malformed", name=name, detail=field, hint=hint)
