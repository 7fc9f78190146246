"""
One OpenID provider: where a browser is sent to log in, and who it proves came back.

Not for tokens of workloads (`jwt.py` alone), nor for what a person may (`service/access/oidc.py`).

Rules of this file:

1. Authorization Code with PKCE (S256), always; nothing else is asked for and nothing else is taken.
2. What the discovery document names is used only if its `issuer` is ours to the letter, and only over TLS,
   unless the provider is this very machine.
3. A person is `sub` of that issuer. What else the provider says of him (name, groups) is read from the ID
   token, and where it is not there from `userinfo`, whose `sub` must be the same.
4. No message holds what the provider said: of its errors, only words of RFC 6749 and OpenID Connect.
5. The access token is used here, for `userinfo`, and forgotten; no refresh token is asked for.

Source: RFC 6749, RFC 7636, RFC 9207, OpenID Connect Core 1.0 §3.1, Discovery 1.0, RP-Initiated Logout 1.0,
Back-Channel Logout 1.0.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode
from datetime import datetime, timezone
from hmac import compare_digest
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.jwks import UrlKeys, discovered
from strongroom.vendors.jwt import Verifier
from strongroom.vendors.oidc_answer import PLACE, Asking, may_ask, object_of, unusable
from strongroom.vendors.oidc_options import Authorization, LoggedOut, Proof, ProviderOptions
from strongroom.vendors.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Authorization", "LoggedOut", "OidcProvider", "Proof", "ProviderOptions"]

_SETTING = "access.oidc"
_KEPT_SECONDS = 3600.0  # a discovery document is good for
_LAST_GOOD_SECONDS = 86_400.0  # and this long where the provider does not answer
_AGAIN_SECONDS = 5.0  # between two looks where it does not
_MAX_BODY_BYTES = 262_144
_MAX_CODE = 4096  # characters
_MAX_SUBJECT = 255  # characters: OpenID Connect Core 1.0 §2
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_OK = 200
# What a provider may say in words; anything else is not repeated.
_ERRORS = {
    "access_denied": "it was refused there",
    "login_required": "it wants its own login first",
    "consent_required": "it wants a consent first",
    "interaction_required": "it wants something of its user first",
    "account_selection_required": "it wants an account chosen first",
    "temporarily_unavailable": "it is not ready",
    "server_error": "it failed",
}
# What says that our settings are wrong, and how to right them.
_WRONG = {
    "invalid_client": "look at access.oidc.client_id, client_secret and client_auth",
    "unauthorized_client": "let the client use the authorization code flow, there",
    "invalid_scope": "look at access.oidc.scopes",
    "unsupported_response_type": "let the client use the authorization code flow, there",
    "invalid_request": "register the redirect address with the client, there; it is in docs/access.md",
}
_NOT_PROVEN = "the identity provider proved nobody"


class _Keys(NamedTuple):
    """What checks the tokens of a provider: ID tokens, and notices of logouts."""

    url: str
    people: Verifier
    logouts: Verifier


class _Found(NamedTuple):
    """A discovery document, as far as it is used."""

    authorize: str
    token: str
    userinfo: str | None
    end_session: str | None
    says_issuer: bool
    keys: _Keys


class OidcProvider:
    """
    Speak to one provider.

    Threads: may be used from several threads at once.

    Args:
        options: which, and how it knows us.
        clock: wall clock, UTC.
        timer: seconds that only go up.

    Attributes:
        issuer: to the letter.
    """

    def __init__(
        self,
        options: ProviderOptions,
        *,
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = options.issuer
        self._options = options
        self._clock = clock
        self._timer = timer
        self._origins = Origins(PLACE, timeout=options.timeout, ca=options.ca, max_body_bytes=_MAX_BODY_BYTES)
        self._found: _Found | None = None
        self._looked_at = self._tried_at = float("-inf")
        self._lock = Lock()

    def close(self) -> None:
        """Let go of its connections. Safe to call twice."""
        self._origins.close()

    # --- the way there -------------------------------------------------------------------------

    def address(self, asked: Authorization) -> str:
        """
        Give where to send a browser.

        Raises:
            BackendUnavailableError: the provider does not say where that is.
            BackendConfigError: what it says cannot be used.
        """
        from authlib.oauth2.client import OAuth2Client  # noqa: PLC0415 -- only who logs in pays for it

        client = OAuth2Client(
            None,
            self._options.client_id,
            scope=" ".join(self._options.scopes),
            redirect_uri=asked.redirect_uri,
            code_challenge_method="S256",
        )
        more = {"prompt": "login"} if asked.again else {}
        address, _ = client.create_authorization_url(
            self._discovered().authorize,
            state=asked.state,
            code_verifier=asked.verifier.reveal(),
            nonce=asked.nonce,
            max_age=str(asked.max_age),
            **more,
        )
        return str(address)

    def logout_address(self, after: str) -> str | None:
        """
        Give where a browser ends the session at the provider; None where the provider has no such place.

        Args:
            after: where it sends the browser then, registered there to the letter.
        """
        try:
            end = self._discovered().end_session
        except StrongroomError:
            return None  # logging out here must not wait for anybody
        if end is None:
            return None
        said = urlencode({"client_id": self._options.client_id, "post_logout_redirect_uri": after})
        return f"{end}{'&' if '?' in end else '?'}{said}"

    # --- the way back --------------------------------------------------------------------------

    def refused(self, error: str) -> StrongroomError:
        """Give the error of a provider that sent a browser back with *error* in place of a code."""
        if error in _WRONG:
            return BackendConfigError("the identity provider does not take our question", hint=_WRONG[error])
        return NotAuthenticatedError(
            f"the identity provider let nobody in: {_ERRORS.get(error, 'it does not say why')}",
            hint="begin again: strongroom login --oidc, or the login page",
        )

    def check_issuer(self, said: str | None) -> None:
        """
        Check who sent a browser back, where the provider says that it tells (RFC 9207).

        Raises:
            NotAuthenticatedError: somebody else, or it was left out.
        """
        if said is None and not self._discovered().says_issuer:
            return
        if said is None or not compare_digest(said.encode(), self._options.issuer.encode()):
            raise NotAuthenticatedError(_NOT_PROVEN)

    def prove(self, code: str, asked: Authorization) -> Proof:
        """
        Trade the *code* a browser came back with for who it proves.

        Raises:
            NotAuthenticatedError: nobody: the code is none, or the ID token not for us, now, this login.
            BackendConfigError: the provider does not take us for who we say we are.
            BackendUnavailableError: it gave no answer that can be used.
        """
        if not 0 < len(code) <= _MAX_CODE:
            raise NotAuthenticatedError(_NOT_PROVEN)
        found = self._discovered()
        tokens = self._tokens(found, code, asked)
        token, access = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(token, str):
            raise BackendUnavailableError(
                "the identity provider gave no ID token", backend=PLACE, hint="openid must be in its scopes"
            )
        claims = dict(found.keys.people.verify(token).all)
        self._check(claims, token, access, asked)
        if isinstance(access, str) and not set(self._options.wanted) <= {*claims}:
            claims = {**self._told(found, access, claims["sub"]), **claims}
        session = claims.get("sid")
        return Proof(
            self._options.issuer,
            claims["sub"],
            claims,
            self._proven_at(claims.get("auth_time")),
            session if isinstance(session, str) and len(session) <= _MAX_SUBJECT else "",
        )

    def _proven_at(self, said: object) -> datetime | None:
        """Give when somebody proved who he is; None where that is not said, or lies ahead."""
        now = self._clock()
        if not isinstance(said, int) or isinstance(said, bool) or not 0 <= said <= now.timestamp() + 60:
            return None
        return min(datetime.fromtimestamp(said, timezone.utc), now)

    def _tokens(self, found: _Found, code: str, asked: Authorization) -> dict[str, Any]:
        from authlib.oauth2 import OAuth2Error  # noqa: PLC0415 -- as above
        from authlib.oauth2.client import OAuth2Client  # noqa: PLC0415 -- as above

        secret, method = self._options.client_secret, f"client_secret_{self._options.client_auth}"
        client = OAuth2Client(
            Asking(self._origins),
            self._options.client_id,
            None if secret is None else secret().reveal(),
            token_endpoint_auth_method="none" if secret is None else method,
        )
        failure: StrongroomError
        try:
            return dict(
                client.fetch_token(
                    found.token,
                    grant_type="authorization_code",
                    code=code,
                    redirect_uri=asked.redirect_uri,
                    code_verifier=asked.verifier.reveal(),
                )
            )
        except OAuth2Error as error:
            failure = self._not_given(str(error.error))
        except ValueError:  # no JSON, or none of an object
            failure = unusable()
        except StrongroomError as error:
            failure = error
        # Outside `except`, anew: the frames it came through hold code, verifier and secret.
        failure.__context__ = None
        raise failure.with_traceback(None)

    def _not_given(self, error: str) -> StrongroomError:
        if error in ("invalid_client", "unauthorized_client"):
            return BackendConfigError(
                "the identity provider does not take this client for who it says it is", hint=_WRONG[error]
            )
        return NotAuthenticatedError(_NOT_PROVEN)

    def _check(self, claims: dict[str, Any], token: str, access: object, asked: Authorization) -> None:
        """Check what an ID token says beyond what every JWT must (OpenID Connect Core 1.0 §3.1.3.7)."""
        audience, azp = claims.get("aud"), claims.get("azp")
        nonce, subject = claims.get("nonce"), claims.get("sub")
        is_ours = azp == self._options.client_id or (
            azp is None and (isinstance(audience, str) or audience == [self._options.client_id])
        )
        is_this = isinstance(nonce, str) and compare_digest(nonce.encode(), asked.nonce.encode())
        is_somebody = isinstance(subject, str) and 0 < len(subject) <= _MAX_SUBJECT and subject.isprintable()
        if not (is_ours and is_this and is_somebody and _is_paired(claims.get("at_hash"), token, access)):
            raise NotAuthenticatedError(_NOT_PROVEN)

    def _told(self, found: _Found, access: str, subject: str) -> dict[str, Any]:
        """Give what `userinfo` says of *subject*; nothing where there is none."""
        if found.userinfo is None:
            return {}
        bearer = Secret(f"Bearer {access}")
        reply = self._origins.request(
            "GET", found.userinfo, {"Accept": "application/json", "Authorization": bearer}
        )
        if reply.status != _OK:
            raise BackendUnavailableError(
                f"the identity provider does not tell about who logged in (status {reply.status})",
                backend=PLACE,
            )
        told = object_of(reply)
        if told.get("sub") != subject:
            raise NotAuthenticatedError(_NOT_PROVEN)
        return told

    def logged_out(self, token: str) -> LoggedOut:
        """
        Read a notice of the provider that somebody logged out there (Back-Channel Logout 1.0 §2.6).

        Raises:
            NotAuthenticatedError: it is none of that provider's, for us and now.
            BackendUnavailableError: the provider's keys are not to be had.
        """
        claims = self._discovered().keys.logouts.verify(token)
        events, session = claims.all.get("events"), claims.all.get("sid", "")
        is_notice = isinstance(events, dict) and isinstance(events.get(_LOGOUT_EVENT), dict)
        # A nonce would make an ID token pass for one.
        is_whose = isinstance(session, str) and bool(claims.subject or session)
        if not is_notice or not is_whose or "nonce" in claims.all or claims.id is None:
            raise NotAuthenticatedError("this is no notice of a logout")
        return LoggedOut(claims.subject, session, claims.id, claims.expires)

    # --- what the provider says of itself ------------------------------------------------------

    def _discovered(self) -> _Found:
        """Give the discovery document: one look at a time, a good one kept."""
        with self._lock:
            now, found = self._timer(), self._found
            age = now - self._looked_at
            if found is not None and (age < _KEPT_SECONDS or now - self._tried_at < _AGAIN_SECONDS):
                return found
            self._tried_at = now
            try:
                self._found = self._look(found)
                self._looked_at = now
            except BackendUnavailableError:
                if found is None or age >= _LAST_GOOD_SECONDS:
                    raise
                return found
            return self._found

    def _look(self, before: _Found | None) -> _Found:
        told = discovered(self._origins, self._options.issuer, name=_SETTING)
        methods = told.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise BackendConfigError("the identity provider does not take PKCE with S256")
        return _Found(
            authorize=self._endpoint(told, "authorization_endpoint"),
            token=self._endpoint(told, "token_endpoint"),
            userinfo=self._maybe(told, "userinfo_endpoint"),
            end_session=self._maybe(told, "end_session_endpoint"),
            says_issuer=told.get("authorization_response_iss_parameter_supported") is True,
            keys=self._keys(self._endpoint(told, "jwks_uri"), before),
        )

    def _endpoint(self, told: Mapping[str, Any], name: str) -> str:
        address = told.get(name)
        if isinstance(address, str) and may_ask(self._options.issuer, address):
            return address
        raise BackendConfigError(f"the identity provider names no {name} that can be used")

    def _maybe(self, told: Mapping[str, Any], name: str) -> str | None:
        return self._endpoint(told, name) if name in told else None

    def _keys(self, url: str, before: _Found | None) -> _Keys:
        if before is not None and before.keys.url == url:
            return before.keys
        said = self._options
        keys = UrlKeys(_SETTING, url=url, issuer=said.issuer, ca=said.ca, timer=self._timer)

        def verifier(*types: str, needs_subject: bool = True) -> Verifier:
            return Verifier(
                issuer=said.issuer,
                audience=said.client_id,
                algorithms=said.algorithms,
                keys=keys,
                clock=self._clock,
                leeway=said.leeway,
                types=types,
                needs_subject=needs_subject,
                may_leave_out_kid=True,
            )

        return _Keys(url, verifier("jwt"), verifier("logout+jwt", "jwt", needs_subject=False))


def _is_paired(at_hash: object, token: str, access: object) -> bool:
    """Tell whether an access token came with an ID token, where that says so (Core §3.1.3.6)."""
    if at_hash is None:
        return True
    if not isinstance(at_hash, str) or not isinstance(access, str):
        return False
    from authlib.oidc.core.util import create_half_hash  # noqa: PLC0415 -- as above

    head = token.partition(".")[0]
    algorithm = json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))["alg"]  # verified before
    expected = create_half_hash(access, algorithm)
    return expected is not None and compare_digest(bytes(expected), at_hash.encode())
