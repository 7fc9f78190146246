"""Notices of a provider that somebody logged out there: what ends with them, and how often they count."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.access_room import HERE, Desk
from strongroom.errors import BackendUnavailableError, NotAuthenticatedError
from strongroom.model.pairing import challenge_of
from strongroom.registry import Change
from strongroom.service.access import token as tokens
from strongroom.service.access.begun import Begun
from strongroom.service.access.linking import Rules, subject_id
from strongroom.service.access.oidc import OidcLogin
from strongroom.service.access.shape import CODE, SUBJECT, Code, Subject, encoded
from strongroom.vendors.oidc_options import LoggedOut

ISSUER, ANNA = "https://id.test", "person:anna"
VERIFIER = "v" * 43


class Provider:
    """Tells of the logouts it is given; the token of a notice is its place among them."""

    issuer = ISSUER

    def __init__(self, desk):
        self.desk = desk
        self.notices = {}

    def send(self, subject="", session=""):
        name = f"notice-{len(self.notices)}"
        ends = self.desk.clock() + timedelta(minutes=2)
        self.notices[name] = LoggedOut(subject, session, name, ends)
        return name

    def logged_out(self, token):
        return self.notices[token]


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    yield found
    found.close()


@pytest.fixture
def access(desk):
    found = desk.open()
    found.people.add("anna")
    body = Subject(name="anna", issuer=ISSUER, subject="sub-1", linked_at=desk.clock())
    found._gate.registry.change(lambda _: [Change(SUBJECT, subject_id(ISSUER, "sub-1"), encoded(body))])
    return found


@pytest.fixture
def provider(desk):
    return Provider(desk)


@pytest.fixture
def logins(access, provider):
    return OidcLogin(access._gate, provider, Rules(), public_url="https://x.test", fresh=timedelta(minutes=5))


def begin(access, session, how="oidc"):
    begun = Begun(ANNA, how, HERE, None, [], [], access._gate.clock(), session)
    return access._gate.begin(begun).token.reveal()


def hand(access, session):
    """Give a code that a program waits for, as a login by the provider leaves it."""
    code, gate = tokens.draw(tokens.CODE), access._gate
    digest = tokens.digest_of(code.reveal())
    body = Code(
        digest=digest,
        actor=ANNA,
        created_by=ANNA,
        expires=gate.clock() + timedelta(minutes=2),
        challenge=challenge_of(VERIFIER),
        how="oidc",
        proven=gate.clock(),
        provider_session=session,
    )
    gate.registry.change(lambda _: [Change(CODE, tokens.id_of(digest), encoded(body))])
    return code.reveal()


def is_in(access, token):
    try:
        return bool(access.authenticate(token, source=HERE))
    except NotAuthenticatedError:
        return False


def test_a_notice_of_one_session_ends_that_one(access, logins, provider):
    one, other = begin(access, "sid-1"), begin(access, "sid-2")
    assert logins.logged_out(provider.send("sub-1", "sid-1"), source=HERE) == 1
    assert (is_in(access, one), is_in(access, other)) == (False, True)


def test_it_ends_what_came_without_a_session_of_the_provider_too(access, logins, provider):
    untold, by_password = begin(access, ""), begin(access, "", how="password")
    assert logins.logged_out(provider.send("sub-1", "sid-1"), source=HERE) == 1
    assert (is_in(access, untold), is_in(access, by_password)) == (False, True)


def test_a_notice_of_a_person_ends_all_of_his(access, logins, provider):
    opened = [begin(access, "sid-1"), begin(access, ""), begin(access, "", how="password")]
    assert logins.logged_out(provider.send("sub-1"), source=HERE) == 3
    assert not any(is_in(access, token) for token in opened)


@pytest.mark.parametrize("said", [{"session": "sid-1"}, {"subject": "sub-1"}])
def test_a_program_begins_nothing_with_the_code_of_a_session_that_ended(access, logins, provider, said):
    code = hand(access, "sid-1")
    logins.logged_out(provider.send(**said), source=HERE)
    with pytest.raises(NotAuthenticatedError):
        access.login_with_code(code, source=HERE, verifier=VERIFIER)


def test_a_notice_counts_once(access, logins, provider):
    notice = provider.send("sub-1")
    logins.logged_out(notice, source=HERE)
    later = begin(access, "sid-3")
    with pytest.raises(NotAuthenticatedError, match="came before"):
        logins.logged_out(notice, source=HERE)
    assert is_in(access, later)


def test_a_notice_that_could_not_be_followed_may_come_again(desk, access, logins, provider):
    begin(access, "sid-1")
    notice = provider.send("sub-1", "sid-1")
    desk.opened[0][1].store.close()
    for _ in range(2):
        with pytest.raises(BackendUnavailableError):
            logins.logged_out(notice, source=HERE)
