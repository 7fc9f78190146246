"""People, tokens, roles and sessions: kept through the guard, ended within a second everywhere."""

import os
import pickle
import sqlite3
import subprocess
import sys
import time
import traceback
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Barrier as Meeting
from threading import Thread

import pytest

from service.access_room import GOOD, HERE, OTHER, OWNER, THERE, Desk
from strongroom.audit import AuditLog
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    NotRecordedError,
    StrongroomError,
    TamperedError,
)
from strongroom.model.secret import Secret
from strongroom.policy import Actor, Assurance, Role, Scope
from strongroom.service.access import Cost, Lifetimes
from strongroom.service.access import token as tokens

TESTS = Path(__file__).parents[1]
DEADLINE_SECONDS = 20
ADMIN = Role("admin")


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def access(desk):
    access = desk.open()
    access.people.add("anna", GOOD, roles=[Role("op", "data")])
    return access


def until(claim):
    end = time.monotonic() + DEADLINE_SECONDS
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_let_in(access, token):
    try:
        return bool(access.authenticate(token, source=HERE))
    except NotAuthenticatedError:
        return False


def token_of(login):
    return login.token.reveal()


# --- tokens ----------------------------------------------------------------------------------------


def test_token_proves_its_service_with_its_roles_scope_and_source(access):
    scope = Scope(actions=("read",), names=("prod/*",))
    issued = access.tokens.issue("CI", roles=[Role("reader"), Role("op", "data")], scope=scope)
    identity = access.authenticate(token_of(issued), source=HERE)
    assert identity.actor == Actor(
        "service:ci",
        Assurance.HOST_USER,
        roles=(Role("op", "data"), Role("reader")),
        scope=scope,
        source=HERE,
    )
    assert (identity.how, identity.id, identity.expires) == ("token", issued.row.id, None)


def test_token_is_of_the_shape_scanners_know_and_kept_nowhere(access, desk):
    issued = access.tokens.issue("ci")
    text = token_of(issued)
    assert tokens.is_wellformed(text)
    assert text.startswith("srm_t_")
    assert len(text) == 6 + 43 + 6
    assert not tokens.is_wellformed(text[:-1] + ("A" if text[-1] != "A" else "B"))
    access.authenticate(text, source=HERE)
    assert text not in desk.text()
    assert text not in repr(issued)


def test_token_that_expired_lets_nobody_in_and_says_nothing_of_why(access, desk):
    issued = access.tokens.issue("ci", lifetime=timedelta(days=1))
    access.authenticate(token_of(issued), source=HERE)
    desk.forward(days=1)
    with pytest.raises(NotAuthenticatedError) as expired:
        access.authenticate(token_of(issued), source=HERE)
    with pytest.raises(NotAuthenticatedError) as unknown:
        access.authenticate(tokens.draw("t").reveal(), source=HERE)
    assert str(expired.value) == str(unknown.value)
    assert access.tokens.list()[0].is_expired


@pytest.mark.parametrize(
    "text",
    ["", " ", "srm_t_", "x" * 100_000, "\ud800", "\x00", "srm_t_" + "A" * 49, "Bearer x", "é" * 49],
)
def test_JW09_text_that_is_no_token_is_refused(access, text):
    with pytest.raises(NotAuthenticatedError):
        access.authenticate(text, source=HERE)


def test_JW09_token_with_anything_around_it_is_another(access):
    text = token_of(access.tokens.issue("ci"))
    for other in (text + " ", " " + text, text + "\n", text.upper(), text + "=", text[:-1], text.swapcase()):
        assert not is_let_in(access, other)


def test_service_has_one_token_at_a_time_and_a_new_one_after_the_old_is_gone(access, desk):
    first = access.tokens.issue("ci", roles=[ADMIN], lifetime=timedelta(days=1))
    with pytest.raises(ConflictError, match="has a token"):
        access.tokens.issue("Ci")
    desk.forward(days=2)
    second = access.tokens.issue("ci")
    assert access.authenticate(token_of(second), source=HERE).actor.roles == ()
    assert [row.id for row in access.tokens.list()] == [second.row.id]
    assert first.row.id != second.row.id


def test_revoked_token_takes_the_roles_of_its_service_with_it(access):
    issued = access.tokens.issue("ci", roles=[ADMIN])
    access.tokens.revoke("CI")
    assert not is_let_in(access, token_of(issued))
    assert [row.actor for row in access.roles.list()] == ["person:anna"]
    again = access.tokens.issue("ci")
    assert access.authenticate(token_of(again), source=HERE).actor.roles == ()
    access.tokens.revoke(again.row.id)
    with pytest.raises(NotFoundError):
        access.tokens.revoke(again.row.id)


def test_last_use_of_a_token_is_kept_now_and_then(access, desk):
    issued = access.tokens.issue("ci")
    assert access.tokens.list()[0].seen is None
    access.authenticate(token_of(issued), source=HERE)
    row = access.tokens.list()[0]
    assert (row.seen, row.source) == (desk.clock.now, HERE)
    registry = desk.opened[0][0]
    registry.tick()
    revision = registry.snapshot().revision
    for _ in range(20):
        desk.forward(seconds=10)
        access.authenticate(token_of(issued), source=THERE)
        registry.tick()
    assert registry.snapshot().revision == revision, "not written again before five minutes are over"
    assert desk.open().tokens.list()[0].source == HERE
    desk.forward(seconds=120)
    access.authenticate(token_of(issued), source=THERE)
    registry.tick()
    assert desk.open().tokens.list()[0].source == THERE


def test_token_that_was_revoked_elsewhere_is_not_brought_back_by_its_last_use(access, desk):
    issued = access.tokens.issue("ci")
    other = desk.open()
    access.authenticate(token_of(issued), source=HERE)
    other.tokens.revoke("ci")
    desk.opened[0][0].tick()
    desk.opened[0][0].look()
    desk.opened[0][0].tick()
    assert desk.open().tokens.list() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"lifetime": timedelta(0)},
        {"lifetime": timedelta(days=4000)},
        {"scope": Scope(actions=("fly",))},
        {"scope": Scope(kinds=("secret",))},
        {"scope": Scope(teams=("a/b",))},
        {"scope": Scope(names=("",))},
        {"scope": Scope(names=("a\n",))},
        {"scope": Scope(names=("a",) * 101)},
        {"comment": "x" * 251},
        {"comment": "a\x1b[2J"},
        {"roles": [Role("Admin")]},
        {"roles": [Role("op", "a b")]},
    ],
)
def test_token_that_would_mean_nothing_is_not_issued(access, wrong):
    with pytest.raises(InvalidInputError):
        access.tokens.issue("ci", **wrong)
    assert access.tokens.list() == []


# --- passwords and sessions ------------------------------------------------------------------------


def test_login_begins_a_session_that_proves_the_person(access, desk):
    login = access.login("anna", GOOD, source=HERE)
    identity = access.authenticate(token_of(login), source=HERE)
    assert identity.actor.id == "person:anna"
    assert identity.actor.roles == (Role("op", "data"),)
    assert identity == login.identity
    assert identity.since == desk.clock.now
    assert ("person:anna", "login", "done", f"password, session {identity.id}, from {HERE}") in desk.told()
    assert token_of(login) not in desk.text()


def test_AA10_each_login_has_a_new_id_and_ends_the_session_that_came_with_it(access):
    first = access.login("anna", GOOD, source=HERE)
    second = access.login("anna", GOOD, source=HERE, replaces=token_of(first))
    assert first.identity.id != second.identity.id
    assert not is_let_in(access, token_of(first))
    assert is_let_in(access, token_of(second))


def test_AA10_id_that_was_brought_along_is_never_taken_over(access):
    fixed = tokens.draw("s").reveal()
    login = access.login("anna", GOOD, source=HERE, replaces=fixed)
    assert token_of(login) != fixed
    assert not is_let_in(access, fixed)


def logout(access, login):
    access.logout(login.identity)


def new_password(access, _login):
    access.people.set_password("anna", OTHER)


def own_new_password(access, login):
    access.change_password(login.identity, GOOD, OTHER)


def role_granted(access, _login):
    access.roles.grant("viewer", "person:anna")


def role_revoked(access, _login):
    access.roles.revoke("op", "person:anna", team="data")


def disabled(access, _login):
    access.people.disable("anna")


def deleted(access, _login):
    access.people.delete("anna")


def session_revoked(access, login):
    access.sessions.revoke(login.identity.id)


def all_revoked(access, _login):
    access.sessions.revoke_all("person:anna")


ENDS = [
    logout,
    new_password,
    own_new_password,
    role_granted,
    role_revoked,
    disabled,
    deleted,
    session_revoked,
    all_revoked,
]
WAYS = {
    "password": lambda access: access.login("anna", GOOD, source=HERE),
    "code": lambda access: access.login_with_code(access.login_link("anna").reveal(), source=HERE),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", WAYS)
def test_RT27_session_ends_at_once_with(access, way, end):
    login = WAYS[way](access)
    assert is_let_in(access, token_of(login))
    end(access, login)
    assert not is_let_in(access, token_of(login))


@pytest.mark.parametrize("end", ENDS)
def test_AA11_session_ends_within_a_second_in_other_processes_with(access, desk, end):
    login = access.login("anna", GOOD, source=HERE)
    other = desk.open()
    desk.opened[-1][0].start()
    assert is_let_in(other, token_of(login))
    end(access, login)
    ended = time.monotonic()
    until(lambda: not is_let_in(other, token_of(login)))
    print(f"{end.__name__}: {time.monotonic() - ended:.3f} s")


def test_AA11_service_that_lost_its_role_has_it_no_more(access):
    issued = access.tokens.issue("ci", roles=[ADMIN])
    assert access.authenticate(token_of(issued), source=HERE).actor.roles == (ADMIN,)
    access.roles.revoke("admin", "service:ci")
    assert access.authenticate(token_of(issued), source=HERE).actor.roles == ()


def test_RT28_session_does_not_survive_a_new_password_set_while_it_begins(access, desk):
    other = desk.open()
    passwords = access._gate.passwords
    stretch = passwords._stretch

    def slow(*arguments, **cost):
        stretched = stretch(*arguments, **cost)
        passwords._stretch = stretch
        other.people.set_password("anna", OTHER)  # between the proof and the session
        return stretched

    passwords._stretch = slow
    with pytest.raises(NotAuthenticatedError):
        access.login("anna", GOOD, source=HERE)
    assert other.sessions.list() == []


def test_session_ends_when_it_is_not_used_and_lives_on_while_it_is(access, desk):
    used = access.login("anna", GOOD, source=HERE)
    idle = access.login("anna", GOOD, source=HERE)
    for _ in range(4):
        desk.forward(minutes=10)
        assert is_let_in(access, token_of(used))
    assert not is_let_in(access, token_of(idle))


def test_session_in_use_is_known_to_be_in_other_processes(access, desk):
    login = access.login("anna", GOOD, source=HERE)
    for _ in range(4):
        desk.forward(minutes=10)
        assert is_let_in(access, token_of(login))
        desk.opened[0][0].tick()
    assert is_let_in(desk.open(), token_of(login))


def test_session_ends_after_its_absolute_lifetime_however_it_is_used(access, desk):
    login = access.login("anna", GOOD, source=HERE)
    for _ in range(71):
        desk.forward(minutes=10)
        assert is_let_in(access, token_of(login))
    desk.forward(minutes=10)
    assert not is_let_in(access, token_of(login))
    assert access.sessions.list() == []


def test_lifetimes_are_what_was_said(desk):
    access = desk.open(lifetimes=Lifetimes(idle=timedelta(minutes=1), absolute=timedelta(minutes=2)))
    access.people.add("anna", GOOD)
    login = access.login("anna", GOOD, source=HERE)
    desk.forward(seconds=61)
    assert not is_let_in(access, token_of(login))


def test_what_ended_is_swept(access, desk):
    access.login("anna", GOOD, source=HERE)
    access.login_link("anna")
    access.tokens.issue("old", lifetime=timedelta(days=1))
    gate, registry = access._gate, desk.opened[0][0]
    desk.forward(days=40)
    gate._sweep_at = 0.0
    registry.tick()
    rows = {kind: len(found) for kind, found in registry.snapshot().rows.items()}
    assert rows == {"person": 1, "role": 1, "login": 1, "session": 0, "code": 0, "token": 0, "service": 0}


def test_one_actor_has_no_endless_number_of_sessions(access, monkeypatch):
    monkeypatch.setattr("strongroom.service.access.begun._MOST_SESSIONS", 3)
    logins = [access.login("anna", GOOD, source=HERE) for _ in range(5)]
    assert [is_let_in(access, token_of(login)) for login in logins] == [False, False, True, True, True]


@pytest.mark.parametrize("password", ["", "short77", "x" * 1025, "password123", "AnnA-a-lot", "Password1"])
def test_password_that_is_none_is_not_set(access, password):
    name = "anna-a-lot" if password.startswith("AnnA") else "bert"
    with pytest.raises(InvalidInputError) as caught:
        access.people.add(name, Secret(password))
    assert not password or password not in str(caught.value)


def test_password_is_the_same_however_its_letters_are_composed(access):
    access.people.add("bert", Secret("Schlüsselbund"))
    assert access.login("bert", Secret("Schlu\u0308sselbund"), source=HERE)


@pytest.mark.parametrize("wrong", ["", "x", "\ud800", "\x00", "correct horse batter", "x" * 2_000_000])
def test_wrong_password_is_refused_whatever_it_is(access, wrong):
    with pytest.raises(NotAuthenticatedError, match="name or the password is wrong"):
        access.login("anna", Secret(wrong), source=HERE)


def test_store_alone_gives_nothing_to_guess_a_password_against(access, desk):
    person = desk.opened[0][0].snapshot().of("person")["anna"]
    assert b"correct" not in person.body
    verifier = access._gate.passwords.verifier("anna", GOOD)
    # Under another name, or another key, the same password and salt give nothing that fits.
    assert not access._gate.passwords.proves("bert", GOOD, verifier)
    other = Desk(desk.folder / "other")
    try:
        assert not other.open()._gate.passwords.proves("anna", GOOD, verifier)
    finally:
        other.close()
    assert access._gate.passwords.proves("anna", GOOD, verifier)


def test_password_under_an_old_cost_is_stretched_anew_at_login(access, desk):
    dearer = desk.open(cost=Cost(16, 2, 1))
    before = desk.opened[0][0].snapshot().of("person")["anna"]
    assert dearer.login("anna", GOOD, source=HERE)
    after = desk.opened[1][0].snapshot().of("person")["anna"]
    assert before.body != after.body
    assert b'"memory_kib":16' in after.body
    assert dearer.login("anna", GOOD, source=HERE)


def test_own_new_password_needs_the_old_one(access, desk):
    login = access.login("anna", GOOD, source=HERE)
    with pytest.raises(NotAuthenticatedError):
        access.change_password(login.identity, OTHER, OTHER)
    assert is_let_in(access, token_of(login))
    access.change_password(login.identity, GOOD, OTHER)
    assert access.login("anna", OTHER, source=HERE)
    service = access.authenticate(token_of(access.tokens.issue("ci")), source=HERE)
    with pytest.raises(InvalidInputError, match="only a person"):
        access.change_password(service, GOOD, OTHER)
    outcomes = [outcome for _, action, outcome, _ in desk.told() if action == "password"]
    assert outcomes == ["begun", "done"]


# --- HTTP Basic ------------------------------------------------------------------------------------


def test_basic_takes_a_person_with_a_password_and_any_name_with_a_token(access):
    identity = access.basic("Anna", GOOD, source=HERE)
    assert (identity.actor.id, identity.how) == ("person:anna", "basic")
    issued = access.tokens.issue("ci")
    assert access.basic("whoever", issued.token, source=HERE).actor.id == "service:ci"
    with pytest.raises(NotAuthenticatedError):
        access.basic("anna", OTHER, source=HERE)


def test_basic_stretches_a_password_once_and_believes_it_no_longer_than_the_person_stands(access):
    calls = []
    passwords = access._gate.passwords
    stretch = passwords._stretch
    passwords._stretch = lambda *given, **cost: (calls.append(1), stretch(*given, **cost))[1]
    for _ in range(5):
        access.basic("anna", GOOD, source=HERE)
    assert len(calls) == 1
    access.roles.grant("viewer", "person:anna")
    assert Role("viewer") in access.basic("anna", GOOD, source=HERE).actor.roles
    access.people.disable("anna")
    with pytest.raises(NotAuthenticatedError):
        access.basic("anna", GOOD, source=HERE)


# --- login codes -----------------------------------------------------------------------------------


def test_code_of_the_local_owner_begins_his_session(access, desk):
    login = access.login_with_code(access.login_link().reveal(), source=HERE)
    identity = access.authenticate(token_of(login), source=HERE)
    assert identity.actor == Actor(OWNER.id, Assurance.HOST_USER, source=HERE)


@pytest.mark.parametrize("spell", [str, lambda code: f" {code}\n", lambda code: f"{code[:9]} {code[9:]}\t"])
def test_AA09_code_is_used_once_however_it_is_spelled(access, spell):
    code = access.login_link().reveal()
    access.login_with_code(spell(code), source=HERE)
    for again in (code, f" {code}", f"{code}\u00a0"):
        with pytest.raises(NotAuthenticatedError):
            access.login_with_code(again, source=HERE)


def test_AA09_code_used_by_many_threads_at_once_succeeds_once(access):
    code = access.login_link().reveal()
    meeting, outcomes = Meeting(12), []

    def use(number):
        meeting.wait()
        try:
            outcomes.append(bool(access.login_with_code(f"{code} " if number % 2 else code, source=HERE)))
        except (NotAuthenticatedError, BackendUnavailableError):
            outcomes.append(False)

    threads = [Thread(target=use, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 11 + [True]
    assert len(access.sessions.list()) == 1


USE = """
import sys
from pathlib import Path
from service.access_room import Desk, HERE
from strongroom.errors import NotAuthenticatedError
desk = Desk(Path(sys.argv[1]))
access = desk.open()
access.sessions.list()
print("ready", flush=True)
code = sys.stdin.readline()
try:
    access.login_with_code(code, source=HERE)
    print("in")
except NotAuthenticatedError:
    print("out")
desk.close()
"""


def test_AA09_code_used_by_many_processes_at_once_succeeds_once(access, desk):
    environ = {**os.environ, "PYTHONPATH": str(TESTS)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", USE, str(desk.folder)],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    code = access.login_link().reveal()
    for process in processes:
        process.stdin.write(f"{code}\n")
        process.stdin.flush()
    outcomes = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(outcomes) == ["in", "out", "out", "out"]


def test_code_is_good_for_ten_minutes_and_for_somebody_who_is_there(access, desk):
    late = access.login_link().reveal()
    desk.forward(minutes=10)
    gone = access.login_link("anna").reveal()
    access.people.delete("anna")
    for code in (late, gone, tokens.draw("l").reveal(), "", "123456"):
        with pytest.raises(NotAuthenticatedError, match="not valid any more"):
            access.login_with_code(code, source=HERE)


def test_code_is_no_token_and_a_token_no_code(access):
    code = access.login_link().reveal()
    issued = access.tokens.issue("ci")
    assert not is_let_in(access, code)
    with pytest.raises(NotAuthenticatedError):
        access.login_with_code(token_of(issued), source=HERE)


def test_only_the_local_owner_makes_a_link_for_himself(access):
    admin = access.as_actor(Actor("person:anna", Assurance.HOST_USER, roles=(ADMIN,)))
    with pytest.raises(AccessDeniedError):
        admin.login_link()
    assert admin.login_link("anna")
    with pytest.raises(NotFoundError):
        admin.login_link("nobody")


# --- people and roles ------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["ANNA", "Anna", "\uff41\uff4e\uff4e\uff41", "ᴬnna", "anNa"])
def test_AA06_variant_of_a_name_is_the_same_person(access, variant):
    with pytest.raises(ConflictError):
        access.people.add(variant, OTHER)
    assert access.login(variant, GOOD, source=HERE).identity.actor.id == "person:anna"


@pytest.mark.parametrize(
    "name",
    [
        *("", " anna", "anna ", "an na", "anna\u00a0", "an\u200bna", "\u0430nna", "\u0101nna", "anna|x"),
        *("a/b", "-a", "a" * 65, "person:anna", "a\x00", "a\n", "\ud800", "*", "\u0131", "~"),
    ],
)
def test_AA06_what_is_no_name_is_refused(access, name):
    with pytest.raises(InvalidInputError):
        access.people.add(name, OTHER)


@pytest.mark.parametrize(
    "role", ["Admin", " admin", "ADMIN", "admin ", "\u0430dmin", "\uff41dmin", "admin\u200b", ""]
)
def test_AA07_role_spelled_otherwise_is_refused(access, role):
    with pytest.raises(InvalidInputError):
        access.roles.grant(role, "person:anna")
    with pytest.raises(InvalidInputError):
        access.people.add("bert", roles=[Role(role)])
    assert [row.name for row in access.people.list()] == ["anna"]


def test_role_is_not_given_to_who_is_not_there(access):
    for actor in ("person:bert", "service:ci"):
        with pytest.raises(NotFoundError):
            access.roles.grant("admin", actor)
    access.roles.grant("admin", "local:1000")
    with pytest.raises(NotFoundError):
        access.roles.revoke("admin", "person:anna")


def test_person_who_was_deleted_and_added_again_has_nothing_of_the_first(access):
    access.roles.grant("admin", "person:anna")
    link = access.login_link("anna").reveal()
    access.people.delete("anna")
    access.people.add("anna", OTHER)
    assert access.people.find("anna").roles == ()
    with pytest.raises(NotAuthenticatedError):
        access.login("anna", GOOD, source=HERE)
    with pytest.raises(NotAuthenticatedError):
        access.login_with_code(link, source=HERE)


def test_person_without_a_password_logs_in_by_link_alone(access):
    access.people.add("carla")
    with pytest.raises(NotAuthenticatedError):
        access.login("carla", Secret(""), source=HERE)
    assert access.login_with_code(access.login_link("carla").reveal(), source=HERE)
    assert not access.people.find("carla").has_password


def test_people_of_one_deployment_are_nobody_in_another(access, desk):
    other = desk.open(deployment="dev")
    login = access.login("anna", GOOD, source=HERE)
    issued = access.tokens.issue("ci")
    assert other.people.list() == []
    assert not is_let_in(other, token_of(login))
    assert not is_let_in(other, token_of(issued))
    with pytest.raises(NotAuthenticatedError):
        other.login("anna", GOOD, source=HERE)


def test_list_shows_what_stands(access, desk):
    access.login("anna", GOOD, source=HERE)
    (row,) = access.people.list()
    assert (row.name, row.actor, row.sessions, row.roles) == (
        "anna",
        "person:anna",
        1,
        (Role("op", "data"),),
    )
    assert row.login_at == desk.clock.now
    (session,) = access.sessions.list("person:anna")
    assert (session.actor, session.how, session.source) == ("person:anna", "password", HERE)
    assert access.sessions.list("person:bert") == []


# --- authorised and recorded -----------------------------------------------------------------------

ACTS = {
    "people.list": lambda access: access.people.list(),
    "people.find": lambda access: access.people.find("anna"),
    "people.add": lambda access: access.people.add("bert", OTHER),
    "people.set_password": lambda access: access.people.set_password("anna", OTHER),
    "people.disable": lambda access: access.people.disable("anna"),
    "people.enable": lambda access: access.people.enable("anna"),
    "people.unlock": lambda access: access.people.unlock("anna"),
    "people.delete": lambda access: access.people.delete("anna"),
    "tokens.list": lambda access: access.tokens.list(),
    "tokens.issue": lambda access: access.tokens.issue("ci"),
    "tokens.revoke": lambda access: access.tokens.revoke("nothing"),
    "roles.list": lambda access: access.roles.list(),
    "roles.grant": lambda access: access.roles.grant("admin", "person:anna"),
    "roles.revoke": lambda access: access.roles.revoke("op", "person:anna", team="data"),
    "sessions.list": lambda access: access.sessions.list(),
    "sessions.list of another": lambda access: access.sessions.list("person:bert"),
    "sessions.revoke": lambda access: access.sessions.revoke("0" * 16),
    "sessions.revoke_all": lambda access: access.sessions.revoke_all("person:bert"),
    "login_link": lambda access: access.login_link("anna"),
    "problems": lambda access: access.problems(),
}
NOBODIES = [
    Actor("person:anna", Assurance.HOST_USER),
    Actor("person:anna", Assurance.HOST_USER, roles=(Role("admin", "data"),)),
    Actor("service:ci", Assurance.HOST_USER, roles=(Role("op"),)),
    Actor("nobody"),
]


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("actor", NOBODIES, ids=lambda actor: f"{actor.id} {actor.roles}")
def test_AA02_nobody_but_an_administrator_of_all_may(access, desk, act, actor):
    before = desk.opened[0][0].snapshot()
    with pytest.raises(AccessDeniedError):
        ACTS[act](access.as_actor(actor))
    assert desk.opened[0][0].snapshot() == before
    last = desk.records()[-1]
    assert (last.actor, last.action, last.outcome) == (actor.id, "administer", "denied")


def test_own_sessions_are_seen_and_ended_without_leave(access, desk):
    mine = access.login("anna", GOOD, source=HERE)
    hers = access.login_with_code(access.login_link().reveal(), source=HERE)
    anna = access.as_actor(mine.identity.actor)
    assert [row.id for row in anna.sessions.list("person:anna")] == [mine.identity.id]
    with pytest.raises(AccessDeniedError):
        anna.sessions.revoke(hers.identity.id)
    anna.sessions.revoke(mine.identity.id)
    assert not is_let_in(access, token_of(mine))


CHANGES = [act for act in ACTS if act.split(".")[-1] not in ("list", "find", "list of another", "problems")]


@pytest.mark.parametrize("act", CHANGES)
def test_change_is_recorded_before_and_after(access, desk, act):
    before = len(desk.records())
    try:
        ACTS[act](access)
    except NotFoundError:
        return
    begun, done = desk.records()[before:]
    assert (begun.action, begun.outcome, done.outcome) == ("administer", "begun", "done")
    assert begun.reason == done.reason
    assert done.version == str(desk.opened[0][0].snapshot().revision) or act == "login_link"


def test_nothing_is_done_that_cannot_be_recorded(access, desk):
    registry, _, log = desk.opened[0]
    login = access.login("anna", GOOD, source=HERE)
    before = registry.snapshot()
    log.close()
    audit = desk.folder / "audit"
    audit.rename(desk.folder / "moved")
    audit.write_text("")  # a file where the folder was
    with pytest.raises(NotRecordedError):
        access.people.disable("anna")
    with pytest.raises(NotRecordedError):
        access.login("anna", GOOD, source=HERE)
    assert registry.snapshot().of("person") == before.of("person")
    assert len(registry.snapshot().of("session")) == 1
    audit.unlink()
    (desk.folder / "moved").rename(audit)
    assert is_let_in(access, token_of(login))


def test_LK01_no_secret_is_in_any_file_error_or_record(access, desk):
    password = Secret("canary-password-1234")
    access.people.add("bert", password)
    login = access.login("bert", password, source=HERE)
    code = access.login_link("bert")
    issued = access.tokens.issue("ci")
    wrong = Secret("canary-wrong-password")
    seen = [repr(login), repr(issued), repr(access.people.list()), repr(access.sessions.list())]
    for act in (
        lambda: access.login("bert", wrong, source=HERE),
        lambda: access.login(wrong.reveal(), wrong, source=HERE),
        lambda: access.basic(wrong.reveal(), wrong, source=HERE),
        lambda: access.login_with_code(wrong.reveal(), source=HERE),
        lambda: access.authenticate(wrong.reveal(), source=HERE),
        lambda: access.tokens.revoke(wrong.reveal()),
        lambda: access.people.add(wrong.reveal() + "!", password),
        lambda: access.people.add("bert", wrong),
        lambda: access.people.add("c", Secret("canary")),
    ):
        try:
            act()
        except StrongroomError as error:
            seen += [str(error), repr(error), str(error.hint), "".join(traceback.format_exception(error))]
            seen += [str(pickle.loads(pickle.dumps(error)))]
    desk.opened[0][0].tick()
    # The lines of this test itself stand in tracebacks; the values do not.
    everything = desk.text() + "\n".join(seen).replace(repr("canary-wrong-password"), "")
    secrets = (password, wrong, login.token, code, issued.token)
    assert [secret for secret in secrets if secret.reveal() in everything] == []


# --- what was changed by hand ----------------------------------------------------------------------

PROMOTE = "UPDATE registry SET body = replace(body, 'op', 'ad') WHERE kind = 'role'"
HAND = [
    PROMOTE,
    "DELETE FROM registry WHERE kind = 'role'",
    (
        "INSERT INTO registry SELECT deployment, kind, 'eve', body, revision, mac FROM registry"
        " WHERE kind = 'person' AND id = 'anna'"
    ),
    "UPDATE registry SET body = replace(body, 'true', 'false') WHERE kind = 'person' AND id = 'bert'",
]


@pytest.mark.parametrize("hand", HAND)
def test_CR11_nobody_is_let_in_after_a_change_by_hand_and_the_alarm_is_raised_once(access, desk, hand):
    access.people.add("bert", GOOD)
    access.people.disable("bert")
    issued = access.tokens.issue("ci")
    login = access.login("anna", GOOD, source=HERE)
    with closing(sqlite3.connect(desk.folder / "room" / "store.db")) as connection:
        connection.execute(hand)
        connection.commit()
    other = desk.open()
    for act in (
        lambda: other.authenticate(token_of(issued), source=HERE),
        lambda: other.authenticate(token_of(login), source=HERE),
        lambda: other.login("anna", GOOD, source=HERE),
        lambda: other.login("eve", GOOD, source=HERE),
        other.people.list,
        lambda: other.people.add("carla"),
    ):
        with pytest.raises(TamperedError) as caught:
            act()
        assert "anna" not in str(caught.value), "who asks is nobody yet"
    assert len(desk.alarms) == 1
    assert "by hand" in str(desk.alarms[0])
    assert other.problems()


def test_only_the_local_owner_on_the_host_accepts_and_all_sessions_end(access, desk):
    login = access.login("anna", GOOD, source=HERE)
    issued = access.tokens.issue("ci")
    with closing(sqlite3.connect(desk.folder / "room" / "store.db")) as connection:
        connection.execute(HAND[2])
        connection.commit()
    other = desk.open()
    for actor in (
        Actor("person:anna", Assurance.HOST_USER, roles=(ADMIN,)),
        Actor("local:1000", Assurance.HOST_USER, source=HERE),
    ):
        with pytest.raises(AccessDeniedError):
            other.as_actor(actor).accept()
    assert other.accept()
    assert not is_let_in(other, token_of(login))
    assert is_let_in(other, token_of(issued))
    assert other.problems() == []
    assert [record.reason for record in desk.records()][-1] == "accept the rows of who may"
    assert AuditLog(desk.folder / "audit", deployment="prod", clock=desk.clock).verify().is_ok
