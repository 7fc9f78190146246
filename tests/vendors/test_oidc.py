"""One OpenID provider, scripted: what it says that must not be believed, and what is told of that."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs

import pytest
from joserfc import jws
from joserfc.jwk import RSAKey

from parts.proxy import Scripted, reply
from strongroom.errors import BackendConfigError, BackendUnavailableError, NotAuthenticatedError
from strongroom.model.secret import Secret
from strongroom.vendors.oidc import Authorization, OidcProvider, ProviderOptions

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
CLIENT, SECRET = "strongroom", "s3cret-canary"
BACK = "https://strongroom.example.com/v1/login/oidc/callback"
ASKED = Authorization(BACK, "state", "nonce", Secret("v" * 43), 43_200)
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)
OTHER = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
EVENT = "http://schemas.openid.net/event/backchannel-logout"


class Timer:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self):
        return self.now


def half_hash(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:16]).rstrip(b"=").decode()


class Provider(Scripted):
    """
    A provider that says what a test has it say.

    Attributes:
        document, claims, header, tokens, userinfo: laid over what a good one says; None leaves a member out.
    """

    def __init__(self):
        self.document, self.claims, self.header, self.tokens = {}, {}, {}, {}
        self.userinfo = {"sub": "1234", "groups": ["data"]}
        self.key = KEY
        self.status = {}
        self.asked = []
        super().__init__(self._say)

    @property
    def issuer(self):
        return f"http://127.0.0.1:{self.port}"

    def id_token(self, **claims):
        now = int(NOW.timestamp())
        said = {
            "iss": self.issuer,
            "sub": "1234",
            "aud": CLIENT,
            "nonce": "nonce",
            "iat": now,
            "exp": now + 300,
            "auth_time": now - 60,
            **self.claims,
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        header = {"alg": "RS256", "kid": "one", "typ": "JWT", **self.header}
        return jws.serialize_compact(
            {name: value for name, value in header.items() if value is not None},
            json.dumps(said).encode(),
            self.key,
            algorithms=[header["alg"]],
        )

    def _say(self, request):
        head, _, body = request.partition(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self.asked.append((method, path, head, body))
        found = self._found(path.partition("?")[0])
        if isinstance(found, bytes):
            return reply(self.status.get(path, 200), {"content-type": "text/html"}, found)
        return reply(
            self.status.get(path, 200), {"content-type": "application/json"}, json.dumps(found).encode()
        )

    def _found(self, path):
        if path == "/.well-known/openid-configuration":
            said = {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize?tenant=x",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "userinfo_endpoint": f"{self.issuer}/me",
                "end_session_endpoint": f"{self.issuer}/end",
                **self.document,
            }
            return {name: value for name, value in said.items() if value is not None}
        if path == "/keys":
            return {"keys": [KEY.as_dict(private=False)]}
        if path == "/me":
            return self.userinfo
        said = {
            "access_token": "access-canary",
            "token_type": "Bearer",
            "id_token": self.id_token(),
            **self.tokens,
        }
        return {name: value for name, value in said.items() if value is not None}


@pytest.fixture
def provider():
    with Provider() as found:
        yield found


def client(provider, **more):
    said = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": lambda: Secret(SECRET), **more}
    return OidcProvider(ProviderOptions(**said), clock=lambda: NOW, timer=Timer())


def proved(provider, **more):
    return client(provider, **more).prove("a-code", ASKED)


def shown(error):
    return f"{error} {error!r} {getattr(error, 'hint', '')}"


# --- what is believed ---------------------------------------------------------------------------------


def test_an_id_token_for_us_and_this_login_proves_its_subject(provider):
    proof = proved(provider)
    assert (proof.issuer, proof.subject) == (provider.issuer, "1234")
    assert proof.proven_at == NOW - timedelta(seconds=60)
    assert "1234" not in repr(proof)


def test_the_code_is_traded_with_verifier_and_secret_and_asked_once(provider):
    proved(provider)
    ((_, _, head, body),) = [one for one in provider.asked if one[1] == "/token"]
    said = {name: found[0] for name, found in parse_qs(body.decode()).items()}
    assert said == {
        "grant_type": "authorization_code",
        "code": "a-code",
        "redirect_uri": BACK,
        "code_verifier": "v" * 43,
    }
    assert base64.b64encode(f"{CLIENT}:{SECRET}".encode()) in head


def test_the_way_there_has_all_it_must_and_what_the_address_had(provider):
    address = client(provider).address(ASKED._replace(again=True))
    said = {name: found[0] for name, found in parse_qs(address.partition("?")[2]).items()}
    digest = hashlib.sha256(b"v" * 43).digest()
    assert said["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert (said["code_challenge_method"], said["response_type"], said["prompt"]) == ("S256", "code", "login")
    assert (said["max_age"], said["tenant"]) == ("43200", "x")
    assert SECRET not in address
    assert "v" * 43 not in address


def test_an_access_token_that_came_with_it_is_bound_to_it(provider):
    provider.claims = {"at_hash": half_hash("access-canary")}
    assert proved(provider).subject == "1234"


def test_claims_that_the_id_token_leaves_out_are_asked_for(provider):
    assert proved(provider, wanted=("groups",)).claims["groups"] == ["data"]
    provider.claims = {"groups": ["signed"]}
    assert proved(provider, wanted=("groups",)).claims["groups"] == ["signed"]


def test_an_id_token_of_a_provider_with_one_key_may_leave_its_name_out(provider):
    provider.header = {"kid": None}
    assert proved(provider).subject == "1234"


def test_when_somebody_was_proven_is_not_known_where_it_is_not_said_or_lies_ahead(provider):
    for said in (None, "1", True, 1.5, -1, int(NOW.timestamp()) + 3600):
        provider.claims = {"auth_time": said}
        assert proved(provider).proven_at is None


# --- what is not --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": None},
        {"nonce": "another"},
        {"nonce": ["nonce"]},
        {"aud": "another"},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"aud": []},
        {"azp": "another"},
        {"iss": "https://evil.example"},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": "a\nb"},
        {"sub": 7},
        {"exp": int(NOW.timestamp()) - 11},
        {"exp": None},
        {"iat": None},
        {"iat": int(NOW.timestamp()) + 11},
        {"at_hash": "another"},
        {"at_hash": 7},
    ],
    ids=str,
)
def test_an_id_token_that_is_not_for_us_now_and_this_login_proves_nobody(provider, claims):
    provider.claims = claims
    with pytest.raises(NotAuthenticatedError) as caught:
        proved(provider)
    assert "canary" not in shown(caught.value)


def test_an_id_token_for_several_is_ours_where_it_says_that_we_asked(provider):
    provider.claims = {"aud": [CLIENT, "another"], "azp": CLIENT}
    assert proved(provider).subject == "1234"


def test_a_token_of_another_key_of_another_kind_or_unsigned_proves_nobody(provider):
    provider.key = OTHER
    with pytest.raises(NotAuthenticatedError):
        proved(provider)
    provider.key, provider.header = KEY, {"typ": "at+jwt"}
    with pytest.raises(NotAuthenticatedError):
        proved(provider)
    provider.header = {}
    head, body, _ = provider.id_token().split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    # The provider's public key, which everybody has, as the secret of a shared one.
    shared = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=").decode() + f".{body}"
    mac = hmac.new(KEY.as_pem(private=False), shared.encode(), "sha256").digest()
    shared += "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
    for forged in (
        shared,
        f"{none}.{body}.",
        f"{none}.{body}.AAAA",
        f"{head}.{body}.",
        f"{head}.{body}",
        "x",
    ):
        provider.tokens = {"id_token": forged}
        with pytest.raises(NotAuthenticatedError):
            proved(provider)


def test_userinfo_about_somebody_else_proves_nobody(provider):
    for said in ({"sub": "another"}, {}, {"sub": ["1234"]}):
        provider.userinfo = said
        with pytest.raises(NotAuthenticatedError):
            proved(provider, wanted=("groups",))


@pytest.mark.parametrize("code", ["", "x" * 4097])
def test_a_code_that_is_none_is_not_asked_about(provider, code):
    with pytest.raises(NotAuthenticatedError):
        client(provider).prove(code, ASKED)
    assert [one for one in provider.asked if one[1] == "/token"] == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("invalid_grant", NotAuthenticatedError),
        ("invalid_client", BackendConfigError),
        ("canary", NotAuthenticatedError),
    ],
)
def test_what_the_token_endpoint_refuses_is_told_in_our_words(provider, error, kind):
    provider.status["/token"] = 400
    provider.tokens = {"error": error, "error_description": "canary", "id_token": None, "access_token": None}
    with pytest.raises(kind) as caught:
        proved(provider)
    assert "canary" not in shown(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("tokens", [{"id_token": None}, {"id_token": 7}, {"id_token": ["x"]}])
def test_an_answer_without_an_id_token_proves_nobody_and_says_what_to_do(provider, tokens):
    provider.tokens = tokens
    with pytest.raises(BackendUnavailableError, match="no ID token"):
        proved(provider)


@pytest.mark.parametrize("status", [200, 400, 500, 503])
def test_an_answer_that_is_no_json_is_no_answer(provider, status):
    provider.status["/token"] = status
    provider._found = lambda path, before=provider._found: (
        b"<html>canary" if path == "/token" else before(path)
    )
    with pytest.raises(BackendUnavailableError) as caught:
        proved(provider)
    assert "canary" not in shown(caught.value)


# --- discovery ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"authorization_endpoint": None},
        {"token_endpoint": "ftp://x/token"},
        {"token_endpoint": "https://user:pw@x/token"},
        {"token_endpoint": "/token"},
        {"token_endpoint": "https:///token"},
        {"jwks_uri": ["https://x/keys"]},
        {"userinfo_endpoint": "javascript:alert(1)"},
        {"end_session_endpoint": "https://x/#a"},
        {"code_challenge_methods_supported": ["plain"]},
    ],
    ids=str,
)
def test_a_document_that_cannot_be_used_is_a_matter_of_settings(provider, document):
    provider.document = document
    with pytest.raises(BackendConfigError):
        client(provider).address(ASKED)


def test_a_document_is_asked_for_once_an_hour_and_a_good_one_outlives_an_outage(provider):
    timer = Timer()
    asking = OidcProvider(
        ProviderOptions(issuer=provider.issuer, client_id=CLIENT), clock=lambda: NOW, timer=timer
    )
    for _ in range(3):
        asking.address(ASKED)
    assert len(provider.asked) == 1
    provider.status["/.well-known/openid-configuration"] = 503
    timer.now += 4000
    asking.address(ASKED)
    timer.now += 90_000
    with pytest.raises(BackendUnavailableError):
        asking.address(ASKED)


def test_an_issuer_must_be_said_where_the_provider_says_that_it_tells(provider):
    client(provider).check_issuer(None)
    provider.document = {"authorization_response_iss_parameter_supported": True}
    asking = client(provider)
    asking.check_issuer(provider.issuer)
    for said in (None, "", provider.issuer + "/", "https://evil.example"):
        with pytest.raises(NotAuthenticatedError):
            asking.check_issuer(said)


@pytest.mark.parametrize("error", ["access_denied", "login_required", "canary<script>", "x" * 5000])
def test_an_error_of_the_provider_is_told_in_our_words(provider, error):
    told = shown(client(provider).refused(error))
    assert "canary" not in told
    assert "xxx" not in told


# --- notices of a logout ------------------------------------------------------------------------------


def notice(provider, **more):
    said = {"events": {EVENT: {}}, "jti": "j1", "nonce": None, "auth_time": None, **more}
    return provider.id_token(**said)


def test_a_notice_names_a_session_or_a_subject(provider):
    provider.header = {"typ": "logout+jwt"}
    found = client(provider).logged_out(notice(provider, sid="s1"))
    assert (found.subject, found.session, found.token_id) == ("1234", "s1", "j1")
    assert client(provider).logged_out(notice(provider, sub=None, sid="s1")).subject == ""


@pytest.mark.parametrize(
    "more",
    [
        {"nonce": "nonce"},
        {"events": None},
        {"events": {}},
        {"events": {EVENT: True}},
        {"events": [EVENT]},
        {"jti": None},
        {"sub": None},
        {"sid": 7},
        {"aud": "another"},
        {"exp": int(NOW.timestamp()) - 60},
    ],
    ids=str,
)
def test_a_notice_that_is_none_ends_nothing(provider, more):
    with pytest.raises(NotAuthenticatedError):
        client(provider).logged_out(notice(provider, **more))


def test_an_id_token_is_no_notice(provider):
    with pytest.raises(NotAuthenticatedError):
        client(provider).logged_out(provider.id_token())
