"""
How a session of SMTP is signed in to: by password, or by a token of OAuth2 (XOAUTH2).

Not for sessions (`smtp.py`). The library's own way is not taken: it knows ASCII alone, quotes a password in
the error about any other, keeps it, and tries each mechanism in turn.
"""

from __future__ import annotations

import hmac
import re
import smtplib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from strongroom.live.families import loaded
from strongroom.live.fields import Options
from strongroom.live.trouble import trouble
from strongroom.live.web import way_of

if TYPE_CHECKING:
    from strongroom.live.around import Around
    from strongroom.live.held import Held, Known
    from strongroom.live.oauth2 import Tokens
    from strongroom.live.oauth2_fields import Token

__all__ = ["SignIn"]

_DONE = (235, 503)  # signed in, and signed in already
_GO_ON = 334
_PLAIN = "\0{}\0{}"  # RFC 4616 §2
_BEARER = "user={}\x01auth=Bearer {}\x01\x01"
_AUTHORITY = "https://login.microsoftonline.com"
_TENANT = re.compile(r"[A-Za-z0-9.\-]{1,253}")
_SCOPE = "https://outlook.office.com/.default"


class SignIn:
    """
    Sign sessions in to what a connection leads to.

    Args:
        held: the connection.
        around: what is around.

    Threads: as a session, one at a time.
    """

    def __init__(self, held: Held, around: Around) -> None:
        self._held = held
        self._around = around
        self._tokens = _Tokens(held, around)

    def __call__(self, session: smtplib.SMTP, known: Known, *, is_private: bool) -> None:
        """
        Sign *session* in as *known* says, if it says anything.

        Args:
            session: greeted.
            known: whose credentials are used.
            is_private: nobody can read along.

        Raises:
            smtplib.SMTPAuthenticationError: refused.
            BackendConfigError: the server takes none of the ways there are, or a field is missing.
            AccessDeniedError, BackendUnavailableError: there is no token.
        """
        extra = Options(self._held.name, known.connection)
        how = (extra.text("auth_type") or "basic").lower()
        if how not in ("basic", "oauth2"):
            raise trouble("options", "malformed", name=self._held.name, detail="extra.auth_type")
        if how == "oauth2":
            who = known.connection.login or extra.text("from_email")
            if who is None:
                raise trouble("options", "missing", name=self._held.name, detail="login, or extra.from_email")
            self._say(session, "XOAUTH2", who, self._tokens.token(known))
        elif known.connection.login and known.connection.password:
            self._say(
                session,
                self._mechanism(session, is_private=is_private),
                known.connection.login,
                known.connection.password.reveal(),
            )

    def renew(self) -> bool:
        """Tell whether there is another token to try than the one refused."""
        return self._tokens.renew()

    def _mechanism(self, session: smtplib.SMTP, *, is_private: bool) -> str:
        """Choose the best of what is offered: where somebody may read along, one that shows nothing."""
        offered = session.esmtp_features.get("auth", "").upper().split()
        known = ("PLAIN", "LOGIN", "CRAM-MD5") if is_private else ("CRAM-MD5", "PLAIN", "LOGIN")
        found = next((each for each in known if each in offered), None)
        if found is None:
            raise trouble(
                "authentication", "missing", name=self._held.name, detail="the server offers no way"
            )
        return found

    def _say(self, session: smtplib.SMTP, mechanism: str, who: str, secret: str) -> None:
        loudness, session.debuglevel = session.debuglevel, 0  # it would print what is said
        try:
            code, _ = _exchanged(session, mechanism, who, secret)
        finally:
            session.debuglevel = loudness
        if code not in _DONE:
            raise smtplib.SMTPAuthenticationError(code, b"")


class _Tokens:
    """Have the token of a connection at hand: the one that stands in it, or one that a provider gives."""

    def __init__(self, held: Held, around: Around) -> None:
        self._held = held
        self._around = around
        self._kept: Tokens | None = None  # by the connection's object `oauth2`
        self._number = 0
        self._token: Token | None = None  # of Microsoft's, for what was known as that number
        self._last = ""
        self._is_young = False

    def token(self, known: Known) -> str:
        """Give the token to sign in with. Raises as `SignIn`."""
        extra = Options(self._held.name, known.connection)
        standing = extra.text("access_token")
        if standing is not None:
            return standing
        loaded("httpx2", self._held, extra="http")
        if extra.has("oauth2"):
            self._last = self._of_provider(known)
            return self._last
        if not extra.has("client_id") or not extra.has("client_secret"):
            raise trouble(
                "options",
                "missing",
                name=self._held.name,
                detail="extra.access_token, extra.oauth2, or extra.client_id with extra.client_secret",
            )
        return self._of_microsoft(known, extra)

    def renew(self) -> bool:
        """Tell whether there is another token than the one refused."""
        if self._kept is not None:
            return self._kept.renewed(self._last) is not None
        is_other = self._token is not None and not self._is_young
        self._token = None
        return is_other

    def _of_provider(self, known: Known) -> str:
        if self._kept is None:
            from strongroom.live.oauth2 import Tokens  # noqa: PLC0415 -- few need one

            self._kept = Tokens(self._held, self._around)
        if self._number != known.number:
            self._kept.take(known, way_of(known.connection, self._held.name, self._around.environ))
            self._number = known.number
        return self._kept.ready() or self._kept.obtained()

    def _of_microsoft(self, known: Known, extra: Options) -> str:
        from strongroom.live.oauth2_fields import Provider, Token  # noqa: PLC0415 -- as above
        from strongroom.live.oauth2_request import asked_of  # noqa: PLC0415 -- as above

        name, now = self._held.name, self._around.now
        if self._token is None or self._number != known.number or not self._token.is_good(now()):
            tenant = extra.text("tenant_id") or "common"
            if not _TENANT.fullmatch(tenant):
                raise trouble("options", "malformed", name=name, detail="extra.tenant_id")
            provider = Provider(
                url=f"{_AUTHORITY}/{tenant}/oauth2/v2.0/token",
                grant="client_credentials",
                client_id=extra.text("client_id") or "",
                client_secret=extra.text("client_secret") or "",
                is_in_body=True,
                more=(("scope", extra.text("scope") or _SCOPE),),
                is_written=False,
            )
            way = way_of(known.connection, name, self._around.environ)
            self._token, self._number = asked_of(provider, Token(), way, name, now), known.number
            self._is_young = True
        else:
            self._is_young = False
        return self._token.access or ""


def _exchanged(session: smtplib.SMTP, mechanism: str, who: str, secret: str) -> tuple[int, bytes]:
    """Say who it is by *mechanism*: RFC 4954, 4616 and 2195, and Google's and Microsoft's XOAUTH2."""
    if mechanism == "PLAIN":
        return session.docmd("AUTH", f"PLAIN {_coded(_PLAIN.format(who, secret))}")
    if mechanism == "XOAUTH2":
        code, said = session.docmd("AUTH", f"XOAUTH2 {_coded(_BEARER.format(who, secret))}")
        return session.docmd("") if code == _GO_ON else (code, said)  # it tells why, and waits
    code, said = session.docmd("AUTH", "CRAM-MD5" if mechanism == "CRAM-MD5" else f"LOGIN {_coded(who)}")
    if code != _GO_ON:
        return code, said
    if mechanism == "LOGIN":
        return session.docmd(_coded(secret))
    try:
        challenge = b64decode(said, validate=True)
    except ValueError:
        return 501, b""
    digest = hmac.new(secret.encode(), challenge, "md5").hexdigest()
    return session.docmd(_coded(f"{who} {digest}"))


def _coded(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")
