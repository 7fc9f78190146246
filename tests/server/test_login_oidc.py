"""People log in with an identity provider: real servers, real providers, a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jws
from joserfc.jwk import RSAKey

from parts.agent import missing, until
from parts.oidc import Browser, Strict, mock_provider, strict_provider  # noqa: F401 -- fixtures
from parts.openbao import free_port
from parts.proxy import Scripted, reply
from parts.server import serving
from strongroom.model.pairing import challenge_of, mark_of
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.server.ui.returned import _is_there

ROLES = {"data": ["op", "reader@eu"], "root": ["admin"]}
PASSWORD = "four plain words here"
VERIFIER = "v" * 43
_names = iter(f"p{number}" for number in range(1_000))


class Place:
    """A server whose people come from a provider."""

    def __init__(self, server, provider, url):
        self.server = server
        self.provider = provider
        self.url = url
        self.root = server.house.deployment("prod").root

    def person(self, *groups, name=None, **claims):
        """Let there be somebody new at the provider."""
        name = name or next(_names)
        self.provider.person(name, groups=list(groups), **claims)
        return name

    def log_in(self, name, browser=None, *, query=""):
        """Log in by way of a browser, and give that and the page it ends on."""
        browser = browser or Browser()
        page = browser.get(f"{self.url}/v1/login/oidc{query}")
        return browser, self.provider.log_in(browser, page, name)

    def whoami(self, browser):
        page = browser.get(f"{self.url}/v1/whoami")
        return json.loads(page.body)

    def refusals(self):
        self.server.house.deployment("prod").access._gate.refusals.record(is_last=True)
        return [
            one.reason
            for one in self.root.audit.tail(200)
            if one.action == "login" and one.outcome == "denied"
        ]


def placed(folder, provider, settings="", **more):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    said = 'deployment = "prod"\n[server.limits]\nstranger_per_second = 0\nidentity_per_second = 0\n'
    text = said + provider.settings(url, roles=ROLES, **more) + settings
    return serving(folder, text, port=port), url


@pytest.fixture(scope="module", params=["mock", "strict"])
def place(request, tmp_path_factory):
    provider = request.getfixturevalue(f"{request.param}_provider")
    running, url = placed(tmp_path_factory.mktemp("oidc"), provider)
    with running as server:
        yield Place(server, provider, url)


@pytest.fixture(scope="module")
def strict(tmp_path_factory, strict_provider):  # noqa: F811 -- the fixture
    running, url = placed(tmp_path_factory.mktemp("oidc"), strict_provider)
    with running as server:
        yield Place(server, strict_provider, url)


def refusal(page, status=401):
    assert page.status == status, page.text
    assert "Not signed in" in page.text, page.text
    held = [one for one in page.headers.get_all("set-cookie") or () if not one.startswith("strongroom.")]
    assert all("Max-Age=0" in one for one in held), held
    return page.text


# --- logging in ---------------------------------------------------------------------------------------


def test_a_browser_comes_back_as_the_person_with_the_roles_of_his_groups(place):
    name = place.person("data", "nobody knows this one")
    browser, page = place.log_in(name)
    assert page.status == 200, page.text
    assert "srm_" not in page.text  # a session's token is in the cookie, which no script reads
    (cookie,) = [one for one in page.headers.get_all("set-cookie") if "srm_s_" in one]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    seen = place.whoami(browser)
    assert seen["actor"] == f"person:{name}"
    assert seen["roles"] == [{"name": "op", "team": None}, {"name": "reader", "team": "eu"}]
    assert seen["proven_at"] is not None
    (session,) = place.root.access.sessions.list(f"person:{name}")
    assert session.how == "oidc"
    assert place.root.access.people.find(name).is_linked


def test_the_page_goes_on_to_the_one_that_says_as_whom(place):
    browser, page = place.log_in(place.person("data"))
    assert 'content="0; url=/login"' in page.text
    assert "<script" not in page.text
    assert browser.get(f"{place.url}/login").status == 200


def test_pkce_state_and_nonce_travel_and_none_of_them_twice(place):
    seen = []
    for _ in range(2):
        browser = Browser()
        browser.get(f"{place.url}/v1/login/oidc")
        (address,) = [url for url in browser.sent if "code_challenge" in url]
        said = parse_qs(urlsplit(address).query)
        assert said["code_challenge_method"] == ["S256"]
        assert said["response_type"] == ["code"]
        assert said["redirect_uri"] == [f"{place.url}/v1/login/oidc/callback"]
        seen.append({said[one][0] for one in ("state", "nonce", "code_challenge")})
    assert len(seen[0] | seen[1]) == 6


def test_a_group_that_is_left_takes_its_roles_away_and_granted_ones_stay(place):
    name = place.person("root")
    browser, _ = place.log_in(name)
    place.root.access.roles.grant("viewer", f"person:{name}")
    assert place.whoami(place.log_in(name, browser)[0])["roles"] == [
        {"name": "admin", "team": None},
        {"name": "viewer", "team": None},
    ]
    place.person("data", name=name)
    browser, _ = place.log_in(name)
    roles = [role["name"] for role in place.whoami(browser)["roles"]]
    assert roles == ["op", "reader", "viewer"]


def test_who_left_every_group_loses_its_roles_in_what_he_has_open_too(place):
    name = place.person("root")
    browser, _ = place.log_in(name)
    assert [role["name"] for role in place.whoami(browser)["roles"]] == ["admin"]
    place.person("nobody knows this one", name=name)
    _, page = place.log_in(name)
    assert "has no role here" in refusal(page)
    assert place.whoami(browser)["roles"] == []


def test_a_role_by_group_is_not_taken_like_a_granted_one(place):
    name = place.person("data")
    place.log_in(name)
    with pytest.raises(Exception, match="by a group, not by a grant"):
        place.root.access.roles.revoke("op", f"person:{name}")


def test_a_new_login_ends_the_session_that_came_with_it(place):
    name = place.person("data")
    browser, _ = place.log_in(name)
    (before,) = place.root.access.sessions.list(f"person:{name}")
    place.log_in(name, browser)
    (after,) = place.root.access.sessions.list(f"person:{name}")
    assert before.id != after.id


def test_a_login_is_on_record(place):
    name = place.person("data")
    place.log_in(name)
    found = [
        one for one in place.root.audit.tail(50) if one.actor == f"person:{name}" and one.action == "login"
    ]
    assert [one.outcome for one in found] == ["done"]
    assert found[0].reason.startswith("oidc, session ")


# --- who is refused -----------------------------------------------------------------------------------


def test_who_has_no_role_is_not_let_in_and_is_nobody_afterwards(place):
    name = place.person("nobody knows this one")
    browser, page = place.log_in(name)
    assert "has no role here" in refusal(page)
    assert browser.get(f"{place.url}/v1/whoami").status == 401
    with pytest.raises(Exception, match="there is no person"):
        place.root.access.people.find(name)
    assert any("without any role" in reason for reason in place.refusals())


def test_a_person_who_was_here_before_is_not_taken_over_by_his_name(place):
    name = place.person("root")
    place.root.access.people.add(name, Secret(PASSWORD), roles=[Role("admin")])
    _, page = place.log_in(name)
    assert "is another person" in refusal(page)
    assert place.root.access.sessions.list(f"person:{name}") == []


def test_another_subject_with_the_same_name_is_refused(mock_provider, tmp_path):  # noqa: F811
    running, url = placed(tmp_path, mock_provider)
    with running as server:
        place = Place(server, mock_provider, url)
        name = place.person("data")
        place.log_in(name)
        mock_provider.person(name, subject="another-subject", groups=["root"])
        browser = Browser()
        page = mock_provider.log_in(
            browser, browser.get(f"{url}/v1/login/oidc"), name, subject="another-subject"
        )
        assert "is another person" in refusal(page)
        # The first one is still himself, whatever he is called by now.
        mock_provider.person("renamed", subject=f"sub-of-{name}", groups=["data"])
        browser, _ = place.log_in(name)
        assert place.whoami(browser)["actor"] == f"person:{name}"


def test_where_the_settings_say_so_a_person_who_was_here_before_is_linked(mock_provider, tmp_path):  # noqa: F811
    running, url = placed(tmp_path, mock_provider, link_existing=True)
    with running as server:
        place = Place(server, mock_provider, url)
        name = place.person("data")
        place.root.access.people.add(name, roles=[Role("viewer")])
        browser, _ = place.log_in(name)
        assert [role["name"] for role in place.whoami(browser)["roles"]] == ["op", "reader", "viewer"]
        place.root.access.people.unlink(name)
        assert place.root.access.sessions.list(f"person:{name}") == []
        assert [role.name for role in place.root.access.people.find(name).roles] == ["viewer"]


def test_a_disabled_person_is_refused_whatever_the_provider_says(place):
    name = place.person("data")
    place.log_in(name)
    place.root.access.people.disable(name)
    assert "is not let in" in refusal(place.log_in(name)[1])


@pytest.mark.parametrize("claimed", ["", "a b", "../x", "x" * 65, "-x"])
def test_a_name_that_is_none_is_refused_not_mended(mock_provider, tmp_path, claimed):  # noqa: F811
    running, url = placed(tmp_path, mock_provider)
    with running as server:
        place = Place(server, mock_provider, url)
        mock_provider.person(claimed, subject="odd", groups=["data"])
        browser = Browser()
        page = mock_provider.log_in(browser, browser.get(f"{url}/v1/login/oidc"), "", subject="odd")
        assert "no name that can be used" in refusal(page)
        assert place.root.access.people.list() == []


def test_who_is_refused_there_is_told_so_here(strict):
    browser = Browser()
    page = strict.provider.refuse(browser, browser.get(f"{strict.url}/v1/login/oidc"))
    assert "refused there" in refusal(page)


def test_a_refusal_that_does_not_say_of_which_login_is_of_none(mock_provider, tmp_path):  # noqa: F811
    running, url = placed(tmp_path, mock_provider)
    with running:
        browser = Browser()
        # This provider leaves the state out where it refuses, which RFC 6749 §4.1.2.1 does not allow.
        page = mock_provider.refuse(browser, browser.get(f"{url}/v1/login/oidc"))
        assert "not begun in this browser" in refusal(page)


# --- forged, replayed, foreign ------------------------------------------------------------------------


def come_back(place, browser, **said):
    return browser.get(
        f"{place.url}/v1/login/oidc/callback?{urlencode(said)}", headers={"Sec-Fetch-Site": "cross-site"}
    )


def test_nobody_comes_back_who_never_left(place):
    assert "not begun in this browser" in refusal(come_back(place, Browser(), state="x", code="y"))


def test_a_login_of_another_browser_is_not_taken(place):
    # An attacker's own code and state, put into somebody else's browser (login CSRF).
    attacker, victim = Browser(), Browser()
    page = attacker.get(f"{place.url}/v1/login/oidc")
    victim.get(f"{place.url}/v1/login/oidc")
    attacker.cookies.pop(urlsplit(place.url).netloc)
    ended = place.provider.log_in(attacker, page, place.person("data"))
    again = victim.get(ended.url, headers={"Sec-Fetch-Site": "cross-site"})
    assert "not begun in this browser" in refusal(again)
    assert victim.get(f"{place.url}/v1/whoami").status == 401


def test_an_address_that_was_come_back_to_is_good_once(place):
    browser, page = place.log_in(place.person("data"))
    assert "not begun in this browser" in refusal(browser.get(page.url))


@pytest.mark.parametrize("code", ["", "x", "x" * 5_000, "a\x00b"])
def test_a_code_that_is_none_proves_nobody(place, code):
    browser = Browser()
    browser.get(f"{place.url}/v1/login/oidc")
    (address,) = [url for url in browser.sent if "code_challenge" in url]
    state = parse_qs(urlsplit(address).query)["state"][0]
    said = {"state": state, "code": code, "iss": place.provider.issuer}
    page = come_back(place, browser, **said)
    assert "proved nobody" in refusal(page)


@pytest.mark.parametrize("ticket", ["", "x", "x.y", "e30.AAAA", "x" * 5_000])
def test_a_ticket_that_was_made_by_hand_is_none(place, ticket):
    browser = Browser()
    browser.get(f"{place.url}/v1/login/oidc")
    kept = browser.cookies[urlsplit(place.url).netloc]
    (name,) = [one for one in kept if one.endswith("-login")]
    kept[name] = (ticket, "/")
    assert "not begun in this browser" in refusal(come_back(place, browser, state="x", code="y"))


def test_a_provider_that_says_it_is_another_is_not_believed(strict):
    browser = Browser()
    browser.get(f"{strict.url}/v1/login/oidc")
    (address,) = [url for url in browser.sent if "code_challenge" in url]
    state = parse_qs(urlsplit(address).query)["state"][0]
    for said in ({}, {"iss": "https://evil.example"}, {"iss": strict.provider.issuer + "/"}):
        browser.get(f"{strict.url}/v1/login/oidc")
        state = parse_qs(urlsplit([url for url in browser.sent if "code_challenge" in url][-1]).query)[
            "state"
        ][0]
        assert "proved nobody" in refusal(come_back(strict, browser, state=state, code="x", **said))


def test_no_token_or_code_of_the_provider_is_logged_or_recorded(strict):
    _, page = strict.log_in(strict.person("data"))
    code = parse_qs(urlsplit(page.url).query)["code"][0]
    kept = strict.server.log + repr(strict.root.audit.tail(200))
    assert code not in kept
    assert "eyJ" not in kept


# --- programs -----------------------------------------------------------------------------------------


def test_a_program_is_let_in_by_its_verifier_alone(place):
    name = place.person("data")
    challenge = challenge_of(VERIFIER)
    browser, page = place.log_in(name, query=f"?challenge={challenge}&port=50123")
    assert mark_of(challenge) in page.text
    assert browser.get(f"{place.url}/v1/whoami").status == 401  # the browser itself is nobody
    code = parse_qs(urlsplit(page.link).query)["code"][0]
    for verifier in ("", "w" * 43):
        answer = place.server.ask("POST", "/v1/login/code", {"code": code, "verifier": verifier})
        assert answer.status == 401
    answer = place.server.ask("POST", "/v1/login/code", {"code": code, "verifier": VERIFIER})
    assert answer.status == 200, answer.body
    assert answer.json()["actor"] == f"person:{name}"
    assert place.server.ask("POST", "/v1/login/code", {"code": code, "verifier": VERIFIER}).status == 401


@pytest.mark.parametrize(
    "query",
    ["challenge=x", "challenge=", f"challenge={'v' * 44}", f"challenge={'v' * 43}&port=80", "port=50123"],
)
def test_a_challenge_or_port_that_is_none_is_refused(place, query):
    page = Browser().get(f"{place.url}/v1/login/oidc?{query}", follow=False)
    assert page.status == 400


@pytest.mark.parametrize(
    ("public_url", "host", "is_there"),
    [
        ("https://s.example:443", "s.example", True),
        ("https://S.example", "s.example", True),
        ("http://127.0.0.1:80", "127.0.0.1", True),
        ("https://s.example:80", "s.example", False),
        ("https://s.example:8443", "s.example", False),
        ("https://s.example", "s.example.evil", False),
        ("https://s.example", "", False),
    ],
)
def test_a_browser_that_leaves_out_the_port_it_may_is_not_sent_round_and_round(public_url, host, is_there):
    call = SimpleNamespace(headers={"host": host})
    assert _is_there(call, public_url) is is_there


def test_a_link_of_another_site_begins_no_login_of_a_program(place):
    query = f"?challenge={challenge_of(VERIFIER)}&port=50123"
    for site in ("cross-site", "same-site"):
        page = Browser().get(
            f"{place.url}/v1/login/oidc{query}", headers={"Sec-Fetch-Site": site}, follow=False
        )
        assert page.status == 403


# --- a fresh proof ------------------------------------------------------------------------------------


def test_who_is_to_prove_it_again_does_so_though_the_provider_knows_him(strict):
    name = strict.person("data")
    browser, _ = strict.log_in(name)
    page = browser.get(f"{strict.url}/v1/login/oidc")
    assert page.status == 200  # no question: he is logged in there
    assert urlsplit(page.url).netloc == urlsplit(strict.url).netloc
    page = browser.get(f"{strict.url}/v1/login/oidc?again=true")
    assert 'name="password"' in page.text
    assert strict.provider.log_in(browser, page, name).status == 200


# --- logging out --------------------------------------------------------------------------------------


def test_logging_out_here_says_where_it_ends_there(place):
    browser, _ = place.log_in(place.person("data"))
    (cookie,) = [
        f"{key}={value}"
        for key, (value, _) in browser.cookies[urlsplit(place.url).netloc].items()
        if not key.endswith("-login")
    ]
    headers = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
    answer = place.server.ask("POST", "/v1/logout", headers=headers)
    assert answer.status == 200
    there = answer.json()["provider_logout"]
    assert there.startswith(place.provider.issuer)
    assert parse_qs(urlsplit(there).query)["post_logout_redirect_uri"] == [f"{place.url}/login"]
    assert place.server.ask("GET", "/v1/whoami", headers={"Cookie": cookie}).status == 401


def test_logging_out_there_ends_the_session_here(strict):
    name = strict.person("data")
    browser, _ = strict.log_in(name)
    other, _ = strict.log_in(name)
    assert len(strict.root.access.sessions.list(f"person:{name}")) == 2
    page = browser.get(f"{strict.provider.issuer}/session/end")
    action, fields = page.form()
    browser.post(action, fields | {"logout": "yes"}, headers={"Sec-Fetch-Site": "same-origin"})
    until(lambda: len(strict.root.access.sessions.list(f"person:{name}")) == 1, what="the notice to arrive")
    assert browser.get(f"{strict.url}/v1/whoami").status == 401
    assert strict.whoami(other)["actor"] == f"person:{name}"


@pytest.mark.parametrize("token", ["", "x", "eyJhbGciOiJub25lIn0.e30.", "a.b.c"])
def test_a_notice_of_a_logout_that_is_forged_ends_nothing(strict, token):
    browser, _ = strict.log_in(strict.person("data"))
    page = Browser().post(f"{strict.url}/v1/login/oidc/logout", {"logout_token": token})
    assert page.status in (400, 401)
    assert strict.whoami(browser)


# --- settings -----------------------------------------------------------------------------------------


def test_where_passwords_are_off_the_provider_and_the_owner_s_links_are_left(place, tmp_path):
    folder = tmp_path / "off"
    folder.mkdir()
    running, url = placed(folder, place.provider, "\n[access]\npassword_login = false\n")
    with running as server:
        there = Place(server, place.provider, url)
        there.root.access.people.add("anna", Secret(PASSWORD), roles=[Role("admin")])
        answer = server.ask("POST", "/v1/login", {"name": "anna", "password": PASSWORD})
        assert answer.status == 401
        assert "passwords are not taken here" in answer.json()["error"]["message"]
        assert server.ask("GET", "/v1/login/ways").json() == {"local": False, "oidc": True}
        code = there.root.access.login_link("anna").reveal()
        assert server.ask("POST", "/v1/login/code", {"code": code}).status == 200
        browser, _ = there.log_in(there.person("data"))
        assert there.whoami(browser)


def test_claims_that_only_userinfo_tells_are_asked_for_there(tmp_path):
    provider = Strict(userinfo_only=True)
    try:
        running, url = placed(tmp_path, provider)
        with running as server:
            place = Place(server, provider, url)
            name = place.person("data")
            browser, _ = place.log_in(name)
            assert place.whoami(browser)["actor"] == f"person:{name}"
    finally:
        provider.stop()


@pytest.mark.parametrize("auth", ["none", "post"])
def test_a_public_client_and_one_that_shows_its_secret_in_the_body(tmp_path, strict_provider, auth):  # noqa: F811
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    known = strict_provider.client(url, auth=auth)
    text = 'deployment = "prod"\n' + strict_provider.settings(url, roles=ROLES, **known)
    if auth == "none":
        text = "\n".join(
            line
            for line in text.splitlines()
            if not line.startswith("client_secret") and not line.startswith("client_auth")
        )
    with serving(tmp_path, text, port=port) as server:
        place = Place(server, strict_provider, url)
        browser, page = place.log_in(place.person("data"))
        assert page.status == 200, page.text
        assert place.whoami(browser)


def test_a_provider_that_is_down_is_unavailable_and_nobody_is_denied(tmp_path):
    provider = Strict()
    running, url = placed(tmp_path, provider)
    with running as server:
        place = Place(server, provider, url)
        place.log_in(place.person("data"))
        browser = Browser()
        page = browser.get(f"{url}/v1/login/oidc")
        state = parse_qs(urlsplit([one for one in browser.sent if "code_challenge" in one][-1]).query)[
            "state"
        ][0]
        provider.kill()
        ended = come_back(place, browser, state=state, code="x", iss=provider.issuer)
        provider.stop()
        assert ended.status == 503
        assert "srm_" not in ended.text
        assert page.status == 200


def test_a_browser_that_comes_by_another_name_is_sent_to_ours_first(place):
    page = Browser().get(
        f"http://localhost:{urlsplit(place.url).port}/v1/login/oidc?again=true", follow=False
    )
    assert page.status == 302
    assert page.headers["Location"] == f"{place.url}/v1/login/oidc?again=true"


def test_without_a_provider_in_the_settings_there_is_nothing(tmp_path):
    with serving(tmp_path, 'deployment = "prod"\n') as server:
        assert server.ask("GET", "/v1/login/oidc").status == 404
        assert server.ask("GET", "/v1/login/ways").json() == {"local": True, "oidc": False}


# --- in a browser that is one -------------------------------------------------------------------------


class Redirecting(Scripted):
    """A provider on another site (`localhost`, not 127.0.0.1) that lets everybody in at once, as anna."""

    def __init__(self):
        self.key = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
        self.nonce = ""
        super().__init__(self._say)

    @property
    def issuer(self):
        return f"http://localhost:{self.port}"

    def _say(self, request):
        path = request.split(b" ", 2)[1].decode()
        if path.startswith("/authorize"):
            asked = {name: found[0] for name, found in parse_qs(urlsplit(path).query).items()}
            self.nonce = asked["nonce"]
            back = f"{asked['redirect_uri']}?{urlencode({'code': 'c', 'state': asked['state']})}"
            return reply(302, {"Location": back}, b"")
        return reply(200, {"content-type": "application/json"}, json.dumps(self._told(path)).encode())

    def _told(self, path):
        if path == "/keys":
            return {"keys": [self.key.as_dict(private=False)]}
        if path == "/token":
            now = int(time.time())
            claims = {"iss": self.issuer, "sub": "1", "aud": "strongroom", "nonce": self.nonce, "iat": now}
            claims |= {"exp": now + 60, "auth_time": now, "preferred_username": "anna", "groups": ["data"]}
            token = jws.serialize_compact(
                {"alg": "RS256", "kid": "one"}, json.dumps(claims).encode(), self.key
            )
            return {"access_token": "a", "token_type": "Bearer", "id_token": token}
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.issuer, **{name: f"{self.issuer}/{path}" for name, path in names.items()}}


def test_a_real_browser_that_comes_back_from_another_site_is_signed_in(tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("chromium is not here: run scripts/system-packages")
    port = free_port()
    with Redirecting() as provider:
        said = {
            "issuer": provider.issuer,
            "client_id": "strongroom",
            "public_url": f"http://127.0.0.1:{port}",
        }
        text = 'deployment = "prod"\n[access.oidc]\nroles = { data = ["op"] }\n'
        text += "".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items())
        with serving(tmp_path, text, port=port) as server:
            words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
            # It ends when it is told to: a page that follows changes is never done.
            browser = subprocess.Popen(
                [chromium, *words, f"{said['public_url']}/v1/login/oidc"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
                start_new_session=True,
            )
            try:
                line = server.logged(lambda one: one.get("route") == "/")
            finally:
                os.killpg(browser.pid, signal.SIGKILL)
                browser.wait(10)
    # The cookie of the way back is sent from elsewhere, that of the session by our own page alone.
    assert (line["status"], line["actor"]) == (200, "person:anna")


def test_the_login_page_names_both_ways_where_there_is_a_provider(tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("chromium is not here: run scripts/system-packages")
    port = free_port()
    with Redirecting() as provider:
        text = (
            f'deployment = "prod"\n[access.oidc]\nissuer = "{provider.issuer}"\nclient_id = "strongroom"\n'
            f'public_url = "http://127.0.0.1:{port}"\nroles = {{ data = ["op"] }}\n'
        )
        with serving(tmp_path, text, port=port):
            words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
            shown = subprocess.run(
                [
                    chromium,
                    *words,
                    "--virtual-time-budget=8000",
                    "--dump-dom",
                    f"http://127.0.0.1:{port}/login",
                ],
                capture_output=True,
                timeout=60,
                check=False,
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            ).stdout.decode()
    assert '<a class="btn" href="/v1/login/oidc">Continue with localhost</a>' in shown
    assert 'name="password"' in shown
    assert 'name="code"' in shown
