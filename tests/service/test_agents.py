"""Agents at the gate: a code enrols once, a login counts once, and what ends, ends at once."""

from __future__ import annotations

import os
from datetime import timedelta
from threading import Barrier as Meeting
from threading import Thread

import pytest

from service.access_room import HERE, THERE, Desk
from strongroom.crypto import _primitives
from strongroom.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    StrongroomError,
)
from strongroom.model.enrolment import Claim, enrolment, fingerprint
from strongroom.policy import Actor, Assurance, Role, Scope
from strongroom.service.access import token as tokens

READER = Role("reader")


class Agent:
    """The host's side: a key, and a clock."""

    def __init__(self, access, desk, name="host-1", machine="machine-1"):
        self.access, self.desk, self.name = access, desk, name
        self.seed = os.urandom(32)
        self.public = _primitives.ed25519_public(self.seed)
        self.host = fingerprint(machine, self.public)

    def enrol(self, code, source=HERE):
        signature = _primitives.ed25519_sign(self.seed, enrolment(code, self.public, self.host))
        return self.access.enrolment.enrol(
            code, public=self.public, fingerprint=self.host, signature=signature, source=source
        )

    def claim(self, **changed):
        at = int(self.desk.clock().timestamp() * 1_000_000)
        return Claim(self.name, at, os.urandom(16), self.host)._replace(**changed)

    def login(self, claim=None, *, deployment="prod", source=HERE):
        claim = claim or self.claim()
        signature = _primitives.ed25519_sign(self.seed, claim.signed(deployment))
        return self.access.enrolment.login(claim, signature, source=source)


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def access(desk):
    return desk.open()


def enrolled(access, desk, name="host-1", **more):
    code = access.agents.invite(name, roles=[READER], **more).code.reveal()
    agent = Agent(access, desk, name)
    assert agent.enrol(code) == name
    return agent


def whose(access, login, source=HERE):
    return access.authenticate(login.token.reveal(), source=source).actor


# --- enrolling -----------------------------------------------------------------------------------------


def test_an_agent_is_who_was_invited_with_its_roles_and_bounds(access, desk):
    scope = Scope(names=("prod/*",))
    agent = enrolled(access, desk, "Host-1".lower(), scope=scope, comment="scheduler")
    actor = whose(access, agent.login())
    assert actor == Actor("agent:host-1", Assurance.HOST_USER, roles=(READER,), scope=scope, source=HERE)
    (row,) = access.agents.list()
    assert (row.name, row.actor, row.roles, row.scope, row.comment) == (
        "host-1",
        "agent:host-1",
        (READER,),
        scope,
        "scheduler",
    )
    assert (row.created_by, row.sessions, row.source) == ("local:1000", 1, HERE)
    assert row.fingerprint == agent.host[:8].hex()
    assert access.agents.invitations() == []


def test_a_code_enrols_once_however_many_use_it_at_once(access, desk):
    code = access.agents.invite("host-1").code.reveal()
    meeting, told = Meeting(8), []

    def enrol():
        agent = Agent(access, desk)
        meeting.wait()
        try:
            told.append(agent.enrol(code))
        except StrongroomError as error:
            told.append(type(error))

    threads = [Thread(target=enrol) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, told)) == sorted(map(str, ["host-1", *[NotAuthenticatedError] * 7]))


def test_a_code_is_void_after_ten_minutes_and_after_another_for_its_name(access, desk):
    first = access.agents.invite("host-1").code.reveal()
    second = access.agents.invite("HOST-1").code.reveal()
    with pytest.raises(NotAuthenticatedError):
        Agent(access, desk).enrol(first)
    desk.forward(minutes=10)
    assert access.agents.invitations() == []
    with pytest.raises(NotAuthenticatedError):
        Agent(access, desk).enrol(second)
    assert access.agents.list() == []


def test_a_code_enrols_nobody_without_the_key_it_is_enrolled_for(access, desk):
    code = access.agents.invite("host-1").code.reveal()
    thief, owner = Agent(access, desk), Agent(access, desk)
    signature = _primitives.ed25519_sign(thief.seed, enrolment(code, owner.public, owner.host))
    with pytest.raises(NotAuthenticatedError):
        access.enrolment.enrol(
            code, public=owner.public, fingerprint=owner.host, signature=signature, source=HERE
        )
    assert owner.enrol(code) == "host-1"


def test_every_wrong_code_is_refused_in_the_same_words(access, desk):
    code = access.agents.invite("host-1").code.reveal()
    told = set()
    for wrong in ("", "x", tokens.draw(tokens.ENROLMENT).reveal(), code[:-1], code.upper()):
        with pytest.raises(NotAuthenticatedError) as caught:
            Agent(access, desk).enrol(wrong, source=THERE)
        told.add(str(caught.value))
    assert told == {"this enrolment code is not valid any more"}


def test_keys_and_signatures_of_another_length_are_refused(access, desk):
    agent = Agent(access, desk)
    for public, host, signature in ((b"x", agent.host, b"y" * 64), (agent.public, b"", b"y" * 64)):
        with pytest.raises(InvalidInputError):
            access.enrolment.enrol("x", public=public, fingerprint=host, signature=signature, source=HERE)


def test_a_name_is_invited_once_while_its_agent_stands(access, desk):
    enrolled(access, desk)
    with pytest.raises(ConflictError):
        access.agents.invite("host-1")
    access.agents.revoke("host-1")
    assert enrolled(access, desk).login()


def test_only_who_administers_keeps_agents(access):
    anna = access.as_actor(Actor("person:anna", Assurance.HOST_USER))
    for act in (
        lambda: anna.agents.invite("host-1"),
        lambda: anna.agents.revoke("host-1"),
        anna.agents.list,
        anna.agents.invitations,
    ):
        with pytest.raises(AccessDeniedError):
            act()


# --- logging in ----------------------------------------------------------------------------------------


def test_a_login_that_was_heard_begins_nothing_a_second_time(access, desk):
    agent = enrolled(access, desk)
    claim = agent.claim()
    agent.login(claim)
    with pytest.raises(NotAuthenticatedError):
        agent.login(claim)
    with pytest.raises(NotAuthenticatedError):
        Agent.login(agent, claim._replace(at=claim.at - 1))
    other = desk.open()  # another process of the server
    agent.access = other
    with pytest.raises(NotAuthenticatedError):
        agent.login(claim)
    desk.forward(seconds=1)
    assert agent.login()


def test_a_login_used_by_many_at_once_begins_one_session(access, desk):
    agent = enrolled(access, desk)
    claim, meeting, told = agent.claim(), Meeting(6), []

    def login():
        meeting.wait()
        try:
            told.append(agent.login(claim).identity.how)
        except StrongroomError as error:
            told.append(type(error).__name__)

    threads = [Thread(target=login) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["NotAuthenticatedError"] * 5 + ["session"]


def test_a_revoked_and_newly_enrolled_name_takes_no_login_of_before(access, desk):
    agent = enrolled(access, desk)
    claim = agent.claim()
    agent.login(claim)
    access.agents.revoke("host-1")
    code = access.agents.invite("host-1").code.reveal()
    agent.enrol(code)  # the very same key
    with pytest.raises(NotAuthenticatedError):
        agent.login(claim)


def test_nobody_is_logged_in_by_another_key_name_host_time_or_deployment(access, desk):
    agent = enrolled(access, desk)
    stranger = Agent(access, desk)
    for act in (
        stranger.login,
        lambda: agent.login(agent.claim(name="host-2")),
        lambda: agent.login(agent.claim(name="HOST-1")),
        lambda: agent.login(agent.claim(name="")),
        lambda: agent.login(agent.claim(fingerprint=fingerprint("machine-2", agent.public))),
        lambda: agent.login(agent.claim(at=agent.claim().at - 121_000_000)),
        lambda: agent.login(agent.claim(at=agent.claim().at + 121_000_000)),
        lambda: agent.login(deployment="dev"),
    ):
        with pytest.raises(NotAuthenticatedError):
            act()
    assert agent.login()


def test_only_who_has_the_key_learns_of_clock_and_host(access, desk):
    agent, stranger = enrolled(access, desk), Agent(access, desk)
    late = agent.claim(at=agent.claim().at - 600_000_000)
    with pytest.raises(NotAuthenticatedError, match="clock of this host is behind the server's by 600 s"):
        agent.login(late)
    with pytest.raises(NotAuthenticatedError, match="no agent is known"):
        stranger.login(late)
    with pytest.raises(NotAuthenticatedError, match="enrolled on another host"):
        agent.login(agent.claim(fingerprint=bytes(32)))
    with pytest.raises(NotAuthenticatedError, match="no agent is known"):
        stranger.login(agent.claim(fingerprint=bytes(32)))


def test_a_session_of_an_agent_lasts_fifteen_minutes_used_or_not(access, desk):
    login = enrolled(access, desk).login()
    assert login.identity.expires == desk.clock() + timedelta(minutes=15)
    desk.forward(minutes=14)
    assert whose(access, login)
    desk.forward(minutes=1)
    with pytest.raises(NotAuthenticatedError):
        whose(access, login)


def test_revoking_ends_sessions_roles_and_every_login_at_once(access, desk):
    agent = enrolled(access, desk)
    login = agent.login()
    access.agents.revoke("host-1")
    with pytest.raises(NotAuthenticatedError):
        whose(access, login)
    desk.forward(seconds=1)
    with pytest.raises(NotAuthenticatedError):
        agent.login()
    assert access.roles.list() == []
    with pytest.raises(NotFoundError):
        access.agents.revoke("host-1")


def test_an_invitation_is_revoked_by_the_name_it_is_for(access, desk):
    code = access.agents.invite("host-1").code.reveal()
    access.agents.revoke("host-1")
    with pytest.raises(NotAuthenticatedError):
        Agent(access, desk).enrol(code)


def test_a_role_is_given_to_an_agent_that_is_there_and_ends_its_sessions(access, desk):
    with pytest.raises(NotFoundError):
        access.roles.grant("op", "agent:host-1")
    agent = enrolled(access, desk)
    login = agent.login()
    access.roles.grant("op", "agent:host-1")
    with pytest.raises(NotAuthenticatedError):
        whose(access, login)
    desk.forward(seconds=1)
    assert whose(access, agent.login()).roles == (Role("op"), READER)


def test_all_of_it_is_on_record_and_no_code_key_or_token_is(access, desk):
    code = access.agents.invite("host-1", roles=[READER]).code.reveal()
    agent = Agent(access, desk)
    agent.enrol(code)
    claim = agent.claim()
    login = agent.login(claim)
    for act in (lambda: agent.enrol(code), lambda: agent.login(claim)):
        with pytest.raises(NotAuthenticatedError):
            act()
    access.agents.revoke("host-1")
    desk.close()
    found = desk.told()
    told = {(actor, action, outcome) for actor, action, outcome, _ in found}
    assert {
        ("agent:host-1", "enrol", "done"),
        ("agent:host-1", "login", "done"),
        ("agent:host-1", "login", "denied"),
        ("nobody", "login", "denied"),
        ("local:1000", "administer", "done"),
    } <= told
    reasons = "\n".join(reason for *_, reason in found)
    assert "a login that was used before" in reasons
    assert "an unknown or used enrolment code" in reasons
    assert "invite agent host-1 as reader" in reasons
    assert "revoke agent host-1" in reasons
    for secret in (code, login.token.reveal(), agent.seed.hex(), agent.public.hex()):
        assert secret not in reasons
