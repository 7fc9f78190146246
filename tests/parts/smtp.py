"""
A strict SMTP server on a port of 127.0.0.1, in clear, by STARTTLS or TLS: it takes mail of who has signed in.

    with smtp_server(starts_tls=context) as office:
        office.users["app"] = "secret"
        office.mails                  # what it took: (user, sender, recipients, content)
        office.tries                  # (mechanism, user, whether it let them in) of each who signed in
        office.end_sessions()         # it hangs up
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import re
import socket
from contextlib import closing, contextmanager

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from parts.databases import wait_for

PASSWORD = "p w'\\:@%?#ü"

SIGNED_IN = "235 2.7.0 signed in"
REFUSED = "535 5.7.8 the credentials are wrong"


class Office:
    """
    Attributes:
        port: where it listens.
        users: passwords by name; tokens: users by OAuth2 token.
        mails, tries: see above.
        refusal: what it says to whoever signs in wrongly.
        hangs_up: how many of the next sessions it ends before it greets them.
        leaves: how many of the next mails it answers with the end of the session.
        sessions: how many there were.
    """

    def __init__(self, *, tls=None, starts_tls=None, mechanisms=("PLAIN", "LOGIN")):
        self.users, self.tokens, self.mails, self.tries = {}, {}, [], []
        self.refusal = REFUSED
        self.hangs_up = 0
        self.leaves = 0
        self.sessions = 0
        self._needs_user = bool(mechanisms)
        self._open = set()
        known = {"PLAIN", "LOGIN", "XOAUTH2", "CRAM-MD5"}
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            port=_free_port(),
            ssl_context=tls,
            tls_context=starts_tls,
            require_starttls=starts_tls is not None,
            authenticator=self._authenticate,
            auth_require_tls=False,
            auth_exclude_mechanism=known - set(mechanisms),
            server_hostname="office",
        )

    @property
    def port(self):
        return self._controller.port

    def end_sessions(self):
        """Hang up on everybody, and wait until it is done."""
        loop = self._controller.loop
        for session in list(self._open):
            loop.call_soon_threadsafe(session.transport.close)
        wait_for(lambda: not self._open)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)  # sockets close just after

    def start(self):
        self._controller.start()

    def stop(self):
        self._controller.stop()

    # --- a handler of aiosmtpd ---

    def _authenticate(self, _server, _session, _envelope, mechanism, data):
        user = data.login.decode()
        return self._let_in(mechanism, user, self.users.get(user) == data.password.decode())

    def _let_in(self, mechanism, user, is_right):
        self.tries.append((mechanism, user, is_right))
        if is_right:
            return AuthResult(success=True, auth_data=user)
        return AuthResult(success=False, handled=False, message=self.refusal)

    async def auth_XOAUTH2(self, server, args):
        found = re.fullmatch(rb"user=(.*)\x01auth=Bearer (.*)\x01\x01", base64.b64decode(args[1]))
        user, token = (part.decode() for part in found.groups())
        if self.tokens.get(token) == user:
            return self._let_in("XOAUTH2", user, True)
        self.tries.append(("XOAUTH2", user, False))
        await server.push("334 " + base64.b64encode(b'{"status":"401"}').decode())
        assert await server._reader.readline() == b"\r\n"
        return AuthResult(success=False, handled=False, message=self.refusal)

    async def auth_CRAM__MD5(self, server, args):
        challenge = f"<{os.getpid()}.{self.sessions}@office>".encode()
        await server.push("334 " + base64.b64encode(challenge).decode())
        answer = base64.b64decode(await server._reader.readline()).decode()
        user, _, digest = answer.rpartition(" ")
        right = hmac.new(self.users.get(user, "").encode(), challenge, "md5").hexdigest()
        return self._let_in("CRAM-MD5", user, user in self.users and digest == right)

    async def handle_MAIL(self, _server, session, envelope, address, options):
        if self._needs_user and not session.authenticated:
            return "530 5.7.0 sign in first"
        if address == "nobody@example.com":
            return "550 5.7.1 not from here"
        if self.leaves:
            self.leaves -= 1
            return "421 4.4.2 too late"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 go on"

    async def handle_DATA(self, _server, session, envelope):
        self.mails.append((session.auth_data, envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 taken"


class _Controller(Controller):
    def factory(self):
        return _Session(self.handler, **self.SMTP_kwargs)


class _Session(SMTP):
    def connection_made(self, transport):
        office = self.event_handler
        office.sessions += 1
        if office.hangs_up:
            office.hangs_up -= 1
            transport.close()
            return
        office._open.add(self)
        super().connection_made(transport)

    def connection_lost(self, error):
        self.event_handler._open.discard(self)
        super().connection_lost(error)


@contextmanager
def smtp_server(**how):
    """Run one for the block."""
    office = Office(**how)
    office.start()
    try:
        yield office
    finally:
        office.stop()


def _free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
