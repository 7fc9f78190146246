"""
Log in by way of a browser, which goes to the server and from there to the identity provider.

Rules of this file:

1. The program waits on 127.0.0.1 for one request with a code, and the code is good only with a verifier that
   never leaves it (RFC 8252 §7.3, RFC 7636): whoever else sees the code can do nothing with it.
2. A person compares the mark that program and page show, so that he lets in the program he started.
3. Without a browser here a person opens the address elsewhere and brings back the code that page shows.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from strongroom import remote
from strongroom.cli import terminal
from strongroom.errors import InvalidInputError, NotAuthenticatedError
from strongroom.model.pairing import challenge_of, mark_of
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.caller import Credential, ServerAddress
    from strongroom.cli.session import Session

__all__ = ["log_in"]

_PATIENCE_SECONDS = 600.0  # as long as the server keeps what this login needs
_REQUEST_SECONDS = 5.0
_MAX_REQUEST_BYTES = 8192
_OPENERS = {"darwin": ("open",), "win32": ("explorer",)}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Strongroom</title></head>
<body><p>{}</p></body></html>
"""


def log_in(
    address: ServerAddress,
    session: Session,
    *,
    may_open: bool = True,
    again: bool = False,
    instead: Credential | None = None,
) -> remote.Begun:
    """
    Begin a session with the identity provider of a server.

    Args:
        address: of the server.
        session: of the command.
        may_open: a browser may be opened here.
        again: the person proves anew who he is.
        instead: of the session that this one takes the place of.

    Raises:
        NotAuthenticatedError: nobody came back, or the server lets nobody in.
        InvalidInputError: there is no browser and no terminal.
        As `remote.begin_with_code`.
    """
    verifier = secrets.token_urlsafe(32)
    command = _browser(session.environ) if may_open else None
    if command is None:
        code = _brought(address, session, verifier, again=again)
    else:
        code = _returned(address, session, verifier, command, again=again)
    return remote.begin_with_code(address, code, verifier=verifier, instead=instead)


def _browser(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """Give the program that opens an address here; None where there is none, or no screen."""
    named = environ.get("BROWSER")
    if named:
        return (named,)
    if sys.platform.startswith("linux") and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return None
    command = _OPENERS.get(sys.platform, ("xdg-open",))
    return command if shutil.which(command[0], path=environ.get("PATH")) else None


# --- a code that a person brings -----------------------------------------------------------------------


def _brought(address: ServerAddress, session: Session, verifier: str, *, again: bool) -> Secret[str]:
    if not terminal.can_ask():
        raise InvalidInputError(
            "there is neither a browser nor a terminal to log in by",
            hint="programs use a token: strongroom login --token-stdin",
        )
    challenge = challenge_of(verifier)
    _tell(remote.browser_address(address, challenge, port=None, again=again), challenge, session)
    return Secret(terminal.ask_secret("code of that page: "))


def _tell(url: str, challenge: str, session: Session) -> None:
    terminal.note(f"log in with a browser at {url}", session)
    terminal.note(f"its page must show the mark {mark_of(challenge)}", session)


# --- a browser that comes back -------------------------------------------------------------------------


def _returned(
    address: ServerAddress, session: Session, verifier: str, command: tuple[str, ...], *, again: bool
) -> Secret[str]:
    challenge = challenge_of(verifier)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as door:
        port = door.getsockname()[1]
        url = remote.browser_address(address, challenge, port=port, again=again)
        _tell(url, challenge, session)
        _open(command, url, session)
        return _awaited(door, port)


def _open(command: tuple[str, ...], url: str, session: Session) -> None:
    try:
        # What it says is of no use here, and it may outlive this program.
        subprocess.Popen(  # noqa: S603 -- the user's own browser
            [*command, url],
            env=dict(session.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        terminal.note("no browser could be opened: open the address yourself, on this machine", session)


def _awaited(door: socket.socket, port: int) -> Secret[str]:
    """Give the code that a browser brings."""
    ends = time.monotonic() + _PATIENCE_SECONDS
    while (left := ends - time.monotonic()) > 0:
        door.settimeout(left)
        with suppress(TimeoutError, OSError):
            connection, _ = door.accept()
            with connection:
                connection.settimeout(_REQUEST_SECONDS)
                code = _code_in(_request(connection), port)
                _answer(connection, is_ours=code is not None)
            if code is not None:
                return code
    raise NotAuthenticatedError("no browser came back in ten minutes", hint="strongroom login --oidc")


def _request(connection: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found and len(found) < _MAX_REQUEST_BYTES:
        part = connection.recv(_MAX_REQUEST_BYTES)
        if not part:
            break
        found += part
    return found


def _code_in(request: bytes, port: int) -> Secret[str] | None:
    """Give the code of a request that is for us; None for any other, as for the icon of the page."""
    head, *lines = request.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n")
    method, _, rest = head.partition(" ")
    hosts = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:")]
    # A name that leads here is not this address: a page of somebody else's could have one (DNS rebinding).
    if method != "GET" or hosts != [f"127.0.0.1:{port}"]:
        return None
    parts = urlsplit(rest.partition(" ")[0])
    codes = parse_qs(parts.query).get("code", [])
    return Secret(codes[0]) if parts.path == "/" and len(codes) == 1 else None


def _answer(connection: socket.socket, *, is_ours: bool) -> None:
    text = "Back in the terminal; this page may be closed." if is_ours else "There is nothing here."
    body = _PAGE.format(text).encode()
    status = "200 OK" if is_ours else "404 Not Found"
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
