"""
SMTP: a `smtplib.SMTP` that follows its connection, over TLS from the start, by STARTTLS or in clear.

Rules of this file:

1. A session is made when one is first wanted, and anew before a mail where the connection has changed or the
   server has ended it. A mail under way is neither cut nor sent again.
2. Where TLS is asked for there is no session without it, whatever the server says it can do.
3. One way to sign in is tried, the best there is: to try all of them is as many failures to the server.
4. The library keeps what it signs in with, and prints it when it debugs; so it is not told.
"""

from __future__ import annotations

import os
import select
import smtplib
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from strongroom.live.fields import Options
from strongroom.live.reaching import cause_of
from strongroom.live.smtp_login import SignIn
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.errors import StrongroomError
    from strongroom.live.around import Asked
    from strongroom.live.held import Held, Known

__all__ = ["SMTP", "client"]

_SECONDS = 30.0
_TRIES = 5  # again, where a server hangs up at once
_MOST_TRIES = 20
_READY, _LEAVING = 220, 421
_ASKED = frozenset(("context", "local_hostname", "source_address", "timeout"))
_BEGIN = ("ehlo", "expn", "helo", "help", "noop", "vrfy")
"""Commands that may be a session's first; the others stand in the middle of something."""


def client(held: Held, asked: Asked) -> object:
    """
    Give a `smtplib.SMTP` that connects when it is first used.

    Raises:
        BackendConfigError: a field or an option cannot be read.
    """
    for name in asked.options:
        if name not in _ASKED:
            raise trouble("options", "unknown", name=held.name, detail=name)
    made = SMTP(held, asked)
    made.ended = held.lasts(made)
    return made


class SMTP(smtplib.SMTP):
    """
    Send mail by what a connection says.

    `quit`, and the end of `with`, end the following, too. `connect` takes no place: it makes a session now.

    Threads: as the library's, one at a time. After a fork the child has a session of its own.
    """

    ended: Callable[[], None]

    def __init__(self, held: Held, asked: Asked) -> None:
        self._held = held
        self._options = dict(asked.options)
        self._sign_in = SignIn(held, asked.around)
        self._number = 0
        self._process = os.getpid()
        self._is_dialling = False
        named: Any = {name: value for name, value in self._options.items() if name != "context"}
        super().__init__(**named)
        # Read now, so that a field nobody can read is told where the client is made.
        self._place(held.known)

    def __repr__(self) -> str:
        return f"<SMTP of {self._held.name}>"

    # --- what the library's users call --------------------------------------------------------------

    def connect(self, *_place: Any, **_more: Any) -> tuple[int, bytes]:  # noqa: ANN401 -- see the class
        """Make a session now, if there is none that will do."""
        self._make_ready()
        return _READY, b""

    def sendmail(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- the library's own
        """Send a mail: as the library."""
        self._make_ready()
        return super().sendmail(*arguments, **options)

    def send_message(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- the library's own
        """Send a message: as the library."""
        self._make_ready()
        return super().send_message(*arguments, **options)

    def mail(self, sender: str, options: Sequence[str] = ()) -> tuple[int, bytes]:
        """Begin a mail, in a new session if the one there is ends just now: nothing of it was sent yet."""
        self._make_ready()
        with suppress(smtplib.SMTPServerDisconnected):
            code, said = super().mail(sender, options)
            if code != _LEAVING:
                return code, said
        self.close()
        self._make_ready()
        return super().mail(sender, options)

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command: as the library, in a session of its own if it begins one."""
        if self.sock is None and not self._is_dialling and cmd.lower() in _BEGIN:
            self._make_ready()
        super().putcmd(cmd, args)

    def quit(self) -> tuple[int, bytes]:
        """End the session, if there is one, and the following."""
        try:
            return (221, b"") if self.sock is None or self._is_inherited else super().quit()
        finally:
            self.ended()

    def __exit__(self, *_error: object) -> None:
        self._leave()
        self.ended()

    # --- sessions -----------------------------------------------------------------------------------

    @property
    def _is_inherited(self) -> bool:
        """Whether the session is that of the process this one was forked from."""
        return self._process != os.getpid()

    def _make_ready(self) -> None:
        """
        Have a session with what is known now.

        Raises:
            AccessDeniedError: the credentials are refused, and there are none newer.
            BackendConfigError, BackendUnavailableError: it cannot be made.
        """
        if self._is_dialling:
            return
        is_current = self._number == self._held.known.number and not self._is_inherited
        if self.sock is not None and is_current and not _is_ended(self.sock):
            return
        self._leave()
        self._is_dialling = True
        try:
            self._dial()
        except BaseException:
            self.close()
            raise
        finally:
            self._is_dialling = False

    def _leave(self) -> None:
        """End the session there is, and say so to the server if that still listens to us."""
        if self.sock is not None and not self._is_inherited and not _is_ended(self.sock):
            with suppress(smtplib.SMTPException, OSError):
                super().quit()
        self.close()
        self.ehlo_resp = self.helo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def _dial(self) -> None:
        known = self._held.known
        try:
            self._begin(known)
        except smtplib.SMTPAuthenticationError:
            self.close()
            newer = self._held.refreshed(known)
            if newer is None and not self._sign_in.renew():
                raise trouble("authentication", "credentials", name=self._held.name) from None
            known = newer or known
            try:
                self._begin(known)
            except smtplib.SMTPAuthenticationError:
                raise trouble("authentication", "credentials", name=self._held.name) from None
        self._number, self._process = known.number, os.getpid()

    def _begin(self, known: Known) -> None:
        """Connect, agree on TLS, sign in."""
        try:
            self._greeted(known)
            self._sign_in(self, known, is_private=isinstance(self.sock, ssl.SSLSocket))
        except smtplib.SMTPAuthenticationError as error:
            if error.smtp_code // 100 == 4:  # noqa: PLR2004 -- RFC 5321 §4.2.1: not now
                raise trouble("authentication", "unavailable", name=self._held.name) from None
            raise
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise self._told(error) from None

    def _greeted(self, known: Known) -> None:
        extra = Options(self._held.name, known.connection)
        tries = int(min(extra.number("retry_limit", default=_TRIES), _MOST_TRIES))
        for left in range(tries, -1, -1):
            self._leave()
            try:
                self._open(known)
            except smtplib.SMTPServerDisconnected:
                if left == 0:
                    raise
            else:
                return

    def _open(self, known: Known) -> None:
        host, port, is_tls, starts_tls = self._place(known)
        # The library asks for its name, and for the socket, by these.
        self._host, self.default_port = host, smtplib.SMTP_SSL_PORT if is_tls else smtplib.SMTP_PORT
        self._wrap = self._context(known) if is_tls else None
        code, said = super().connect(host, port)
        if code != _READY:
            raise smtplib.SMTPConnectError(code, said)
        self.ehlo_or_helo_if_needed()
        if starts_tls:
            self.starttls(context=self._context(known))  # raises where it is not offered
            self.ehlo_or_helo_if_needed()

    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        # The library's own way to differ in how a socket is made: its SMTP_SSL does the same.
        made = socket.create_connection((host, port), timeout, self.source_address)
        if self._wrap is None:
            return made
        try:
            return self._wrap.wrap_socket(made, server_hostname=host)
        except BaseException:
            made.close()
            raise

    # --- what the connection says -------------------------------------------------------------------

    def _place(self, known: Known) -> tuple[str, int, bool, bool]:
        """Give host, port (0 for the usual one), whether TLS begins at once, and whether by STARTTLS."""
        extra = Options(self._held.name, known.connection)
        if not known.connection.host:
            raise trouble("options", "missing", name=self._held.name, detail="host")
        is_tls = not extra.flag("disable_ssl", default=False)
        starts_tls = not is_tls and not extra.flag("disable_tls", default=False)
        if "timeout" not in self._options:
            self.timeout = extra.number("timeout", default=_SECONDS) or _SECONDS
        return known.connection.host, known.connection.port or 0, is_tls, starts_tls

    def _context(self, known: Known) -> ssl.SSLContext:
        given = self._options.get("context")
        if isinstance(given, ssl.SSLContext):
            return given
        how = Options(self._held.name, known.connection).text("ssl_context") or "default"
        if how not in ("default", "none"):
            raise trouble("options", "malformed", name=self._held.name, detail="extra.ssl_context")
        made = ssl.create_default_context()
        if how == "none":
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        return made

    def _told(self, error: Exception) -> StrongroomError:
        """Give our error for one of the library's, or of a socket's, while a session was made."""
        name = self._held.name
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return trouble("tls", "plaintext", name=name)
        found = cause_of(error)
        if found is not None:
            is_reached = isinstance(error, smtplib.SMTPException) and found == ("tcp", "timeout")
            return trouble("authentication" if is_reached else found[0], found[1], name=name)
        code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0
        is_later = 400 <= code < 500  # noqa: PLR2004 -- RFC 5321 §4.2.1
        return trouble("authentication", "unavailable" if is_later else "other", name=name)


def _is_ended(sock: socket.socket) -> bool:
    """Tell whether a server that was asked nothing has said something: that the session ends, or its end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    is_pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
    return is_pending or bool(poll.poll(0))
