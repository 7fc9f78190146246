"""Runs verified by their token: what proves one, what does not, and that it is used once (JW08, PO01)."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parts.airflow_api import AUDIENCE, ISSUER, PASSWORD, USER, AirflowServer
from parts.house import Notebook
from strongroom.assembly import create_room, open_house
from strongroom.assembly.runs import own_runs
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    SettingsError,
)
from strongroom.model.secret import Secret
from strongroom.policy import Actor, Assurance, Run
from strongroom.service.receipt import Receipts
from strongroom.service.runs import Presented, Remembered
from strongroom.service.used import UsedTokens
from strongroom.service.verified import Lapsed, VerifiedRuns
from strongroom.settings import load

AGENT = Actor("agent:host-1", Assurance.HOST_USER)
OTHER = Actor("agent:host-2", Assurance.HOST_USER)


class Record(list):
    def append(self, *events):
        self.extend(events)

    @property
    def last(self):
        return self[-1]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    with AirflowServer(tmp_path_factory.mktemp("airflow")) as running:
        yield running


@pytest.fixture
def record():
    return Record()


@pytest.fixture
def runs(airflow, record, tmp_path):
    return runs_of(airflow, record, tmp_path)


def runs_of(airflow, record, folder, clock=None, **more):
    file = folder / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text(airflow.settings(**more))
    settings = load(file, environ=airflow.environ)
    clock = clock or (lambda: datetime.now(timezone.utc))
    return own_runs(settings, Remembered(clock), record, clock=clock, environ=airflow.environ)


def said_of(instance, **more):
    run = Run(Assurance.CLAIMED, *instance.claim(), announced=True)
    return run._replace(**more)


def presented(airflow, instance, token=None, attempt="", **more):
    return Presented(Secret(token or airflow.sign(instance)), said_of(instance, **more), attempt)


def refused(runs, given, actor=AGENT):
    with pytest.raises(AccessDeniedError) as caught:
        runs.verify(actor, given)
    text = given.token.reveal()
    assert len(text) < 2 or text not in f"{caught.value!r} {caught.value.hint}"
    return caught.value


# --- what proves one ---------------------------------------------------------------------------------------


def test_a_run_is_verified_as_airflow_says_it_is(airflow, runs, record):
    instance = airflow.instance("etl", "load", "scheduled__2026-11-21T00:00:00+00:00", bundle_version="3f2a")
    given = presented(airflow, instance, bundle=None, try_number=None, team="claimed", ti_id=None)
    run = runs.verify(AGENT, given).run
    assert run == Run(
        Assurance.VERIFIED_RUN,
        "etl",
        "load",
        "scheduled__2026-11-21T00:00:00+00:00",
        -1,
        1,
        "dags-folder",
        instance.id,
        "3f2a",
        None,
        "task",
        announced=True,
    )
    assert (record.last.action, record.last.outcome, record.last.actor) == ("verify", "done", "agent:host-1")
    assert record.last.run["assurance"] == 2


def test_PO02_the_bundle_of_a_run_is_the_one_airflow_took_its_dag_from(airflow, runs):
    # Another bundle defines a Dag of the same name: the run is of that bundle, whatever its supervisor says.
    instance = airflow.instance("payments", bundle="of-somebody-else")
    token = airflow.sign(instance)
    assert "another bundle" in str(refused(runs, presented(airflow, instance, token, bundle="payments")))
    found = runs.verify(AGENT, presented(airflow, instance, token, bundle=None)).run
    assert (found.dag_id, found.bundle) == ("payments", "of-somebody-else")


def test_both_kinds_of_token_verify_a_run(airflow, runs):
    for scope in ("workload", "execution"):
        instance = airflow.instance("etl", scope)
        given = presented(airflow, instance, airflow.sign(instance, scope=scope))
        assert runs.verify(AGENT, given).run.task_id == scope


def test_airflow_is_asked_once_and_the_login_is_kept(airflow, record, tmp_path):
    runs = runs_of(airflow, record, tmp_path)
    logins, asked = airflow.logins, len(airflow.asked)
    for number in range(3):
        runs.verify(AGENT, presented(airflow, airflow.instance("once", f"t{number}")))
    assert (airflow.logins - logins, len(airflow.asked) - asked) == (1, 3)


def test_a_login_that_ended_is_renewed_by_itself(airflow, runs):
    runs.verify(AGENT, presented(airflow, airflow.instance("login", "a")))
    airflow.tokens.clear()
    assert runs.verify(AGENT, presented(airflow, airflow.instance("login", "b"))).run.dag_id == "login"


def test_it_is_good_no_longer_than_the_token_and_then_for_as_long_as_was_set(airflow, record, tmp_path):
    runs = runs_of(airflow, record, tmp_path, receipt_seconds=120)
    instance = airflow.instance("times")
    found = runs.verify(AGENT, presented(airflow, instance, airflow.sign(instance, lasts=40)))
    assert timedelta(seconds=35) < found.lifetime <= timedelta(seconds=40)
    again = runs.renew(AGENT, found.run)
    assert timedelta(seconds=115) < again.lifetime <= timedelta(seconds=120)
    assert again.run == found.run


@pytest.mark.parametrize(
    ("dag", "task", "run", "index"),
    [
        ("a/b", "group.sub.task", "manual__2026-01-01T00:00:00.123456+00:00", -1),
        ("dag with space", "tâche", "r?x=1#y%2F", 0),
        ("a..b", "t.", "r", 7),
    ],
)
def test_PO13_names_are_asked_for_to_the_letter(airflow, runs, dag, task, run, index):
    instance = airflow.instance(dag, task, run, map_index=index)
    found = runs.verify(AGENT, presented(airflow, instance)).run
    assert (found.dag_id, found.task_id, found.run_id, found.map_index) == (dag, task, run, index)


# --- what proves none --------------------------------------------------------------------------------------


def test_PO10_a_token_is_used_once(airflow, runs, record):
    instance = airflow.instance("replayed")
    token = airflow.sign(instance)
    runs.verify(AGENT, presented(airflow, instance, token, "an attempt of the agent"))
    for actor, attempt in ((AGENT, ""), (AGENT, "another attempt"), (OTHER, "an attempt of the agent")):
        error = refused(runs, presented(airflow, instance, token, attempt), actor)
        assert "alarm: the token was used before" in str(error)
        assert (record.last.outcome, record.last.actor) == ("denied", actor.id)
        assert record.last.run["assurance"] == 0


def test_the_same_attempt_is_answered_again(airflow, runs):
    instance = airflow.instance("again")
    given = presented(airflow, instance, attempt="an attempt of the agent")
    assert runs.verify(AGENT, given).run == runs.verify(AGENT, given).run


CLAIMS = {
    "another audience": ({"aud": "https://airflow.test"}, "another audience"),
    "strongroom as its audience": ({"aud": "strongroom"}, "another audience"),
    "another issuer": ({"iss": "https://airflow.test/"}, "another issuer"),
    "no issuer": ({"iss": None}, "another issuer"),
    "a subject that is no id": ({"sub": "admin"}, "for no task instance"),
    "an id in capitals": ({"sub": "019A9C1E-6F2B-7D30-9A41-5B7F0C2D8E16"}, "for no task instance"),
    "no subject": ({"sub": None}, "no plain subject"),
    "another scope": ({"scope": "admin"}, "for something else"),
    "a scope that is no text": ({"scope": ["workload"]}, "for something else"),
    "no id of its own": ({"jti": None}, "could be used again"),
    "an id of its own that is no text": ({"jti": 7}, "no plain text"),
    "an end that is past": ({"exp": int(time.time()) - 60, "iat": int(time.time()) - 600}, "has expired"),
    "a life without end": ({"exp": int(time.time()) + 10 * 86_400}, "a lifetime that is not taken"),
    "no end": ({"exp": None}, "no whole seconds in exp"),
    "another instance": ({"sub": "019a9c1e-6f2b-7d30-9a41-5b7f0c2d8e16"}, "another task instance"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_a_token_that_says_something_else_is_refused(airflow, runs, record, case):
    claims, why = CLAIMS[case]
    instance = airflow.instance("claims")
    error = refused(runs, presented(airflow, instance, airflow.sign(instance, **claims), ti_id=None))
    assert why in str(error)
    assert record.last.outcome == "denied"


@pytest.mark.parametrize(
    ("claims", "setting"),
    [({"iss": "x"}, "access.airflow.issuer"), ({"aud": "x"}, "access.airflow.audience")],
)
def test_a_token_of_another_airflow_is_refused_with_the_setting_to_compare(airflow, runs, claims, setting):
    instance = airflow.instance("elsewhere")
    error = refused(runs, presented(airflow, instance, airflow.sign(instance, **claims)))
    assert setting in error.hint


def test_a_token_of_another_key_is_refused(airflow, runs):
    instance = airflow.instance("forged")
    token = airflow.sign(instance, key=Ed25519PrivateKey.generate())
    assert "a signature that does not hold" in str(refused(runs, presented(airflow, instance, token)))


@pytest.mark.parametrize("algorithm", ["HS512", "HS256"])
def test_a_token_signed_by_a_shared_secret_is_refused_with_the_settings_to_change(airflow, runs, algorithm):
    instance = airflow.instance("shared")
    token = airflow.sign(instance, head={"alg": algorithm})
    error = refused(runs, presented(airflow, instance, token))
    assert "signs with a secret that it shares (HS512)" in str(error)
    assert "jwt_private_key_path" in error.hint
    assert "trusted_jwks_url" in error.hint


@pytest.mark.parametrize(
    "text", ["", "x", "a.b.c", "e30.e30.e30", "." * 3000, "\0.\0.\0", "é" * 50, "A" * 20_000]
)
def test_what_is_no_token_is_refused(airflow, runs, text):
    instance = airflow.instance("no-token")
    refused(runs, Presented(Secret(text), said_of(instance)))


SAID = {
    "DAG": {"dag_id": "payments"},
    "task": {"task_id": "other"},
    "run": {"run_id": "other"},
    "map index": {"map_index": 3},
    "try": {"try_number": 2},
    "bundle": {"bundle": "payments"},
    "version of the bundle": {"bundle_version": "old"},
    "task instance": {"ti_id": "019a9c1e-6f2b-7d30-9a41-5b7f0c2d8e16"},
}


@pytest.mark.parametrize("what", SAID)
def test_PO01_another_run_than_the_token_is_of_cannot_be_said(airflow, runs, record, what):
    instance = airflow.instance("said", bundle_version="new")
    airflow.instance("payments", run_id=instance.run_id)  # there is one, and it is another
    airflow.instance("said", map_index=3)
    token = airflow.sign(instance)
    refused(runs, presented(airflow, instance, token, **SAID[what]))
    assert record.last.outcome == "denied"
    # It was not used up by that: the supervisor it is of still has its run verified.
    assert runs.verify(AGENT, presented(airflow, instance, token)).run.dag_id == "said"


@pytest.mark.parametrize(
    "state", ["success", "failed", "deferred", "up_for_retry", "scheduled", None, "a b; --"]
)
def test_a_run_that_is_not_at_work_is_refused(airflow, runs, state):
    instance = airflow.instance("ended", state=state)
    error = refused(runs, presented(airflow, instance))
    assert "not at work" in str(error)
    assert "--" not in str(error)


def test_PO10_a_verified_run_that_ended_or_was_tried_again_is_not_renewed(airflow, runs, record):
    instance = airflow.instance("renewed", state="running")
    run = runs.verify(AGENT, presented(airflow, instance)).run
    instance.state = "success"
    with pytest.raises(AccessDeniedError, match="not at work: Airflow says success"):
        runs.renew(AGENT, run)
    assert (record.last.action, record.last.outcome) == ("verify", "denied")
    instance.state, instance.try_number = "running", 2
    with pytest.raises(AccessDeniedError, match="another try"):
        runs.renew(AGENT, run)
    again = airflow.instance("renewed", state="running")  # a new id, as each try has
    with pytest.raises(AccessDeniedError, match="another task instance"):
        runs.renew(AGENT, run)
    del airflow.instances[again.path]
    with pytest.raises(AccessDeniedError, match="no such task instance"):
        runs.renew(AGENT, run)


def test_a_name_that_no_address_can_say_is_refused(airflow, runs):
    with pytest.raises(InvalidInputError):
        runs.verify(AGENT, presented(airflow, airflow.instance("..", "load")))


def test_a_run_must_be_named(airflow, runs):
    instance = airflow.instance("named")
    with pytest.raises(InvalidInputError, match="by its DAG, its task and its run id"):
        runs.verify(AGENT, presented(airflow, instance, run_id=None))


# --- trouble -----------------------------------------------------------------------------------------------


def test_a_token_is_still_good_when_airflow_gave_no_answer(airflow, runs):
    instance = airflow.instance("away")
    given = presented(airflow, instance)
    for status in (500, 503, 429):
        with airflow.saying(status), pytest.raises(BackendUnavailableError):
            runs.verify(AGENT, given)
    assert runs.verify(AGENT, given).run.dag_id == "away"


def test_an_airflow_that_does_not_let_us_ask_is_a_setting_to_change(airflow, runs):
    instance = airflow.instance("forbidden")
    with airflow.saying(403), pytest.raises(BackendConfigError, match="does not let us see task instances"):
        runs.verify(AGENT, presented(airflow, instance))


def test_a_wrong_password_is_a_setting_to_change_and_is_not_shown(airflow, record, tmp_path):
    file = tmp_path / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text(airflow.settings())
    environ = {"AIRFLOW_PASSWORD": "wr0ng-of-airflow"}
    clock = lambda: datetime.now(timezone.utc)  # noqa: E731 -- one word for it
    runs = own_runs(load(file, environ=environ), Remembered(clock), record, clock=clock, environ=environ)
    with pytest.raises(BackendConfigError) as caught:
        runs.verify(AGENT, presented(airflow, airflow.instance("password")))
    assert "wr0ng" not in f"{caught.value!r}{caught.value.hint}"


def test_nothing_of_a_token_or_password_prints(airflow, runs):
    instance = airflow.instance("printed")
    token = airflow.sign(instance)
    given = presented(airflow, instance, token)
    for one in (given, runs, runs.verify(AGENT, given)):
        for secret in (token, token.split(".")[1], PASSWORD):
            assert secret not in repr(one)


def test_used_tokens_are_remembered_until_they_end_and_no_more_of_them_than_there_is_room():
    now = [datetime(2026, 11, 21, tzinfo=timezone.utc)]
    once = Remembered(lambda: now[0], most=2)
    ends = now[0] + timedelta(minutes=10)
    assert once.take(b"a", b"", ends)
    assert once.take(b"b", b"me", ends)
    assert not once.take(b"a", b"", ends)
    assert once.take(b"b", b"me", ends)
    assert not once.take(b"b", b"you", ends)
    with pytest.raises(BackendUnavailableError):
        once.take(b"c", b"", ends)
    now[0] = ends
    assert once.take(b"c", b"", ends + timedelta(minutes=10))


# --- settings ----------------------------------------------------------------------------------------------

GOOD = {"issuer": ISSUER, "api": "https://airflow.test", "jwks": "keys.json", "token": {"env": "TOKEN"}}
WRONG = {
    "no issuer": ({"issuer": ""}, "access.airflow.issuer"),
    "no audience": ({"audience": ""}, "access.airflow.audience"),
    "no keys": ({"jwks": None}, "access.airflow.jwks"),
    "keys twice": ({"jwks_url": "https://airflow.test/jwks"}, "access.airflow.jwks"),
    "keys on an open way": (
        {"jwks": None, "jwks_url": "http://airflow.test/jwks"},
        "access.airflow.jwks_url",
    ),
    "an address with a user": ({"api": "https://u:p@airflow.test"}, "access.airflow.api"),
    "no address": ({"api": "airflow.test"}, "access.airflow.api"),
    "nobody to ask as": ({"token": None}, "access.airflow.user"),
    "a user without a password": ({"token": None, "user": "x"}, "access.airflow.user"),
    "two to ask as": ({"user": "x", "password": {"env": "P"}}, "access.airflow.user"),
    "a state of nobody at work": ({"states": ["success"]}, "access.airflow.states"),
    "no state": ({"states": []}, "access.airflow.states"),
    "a receipt of a day": ({"receipt_seconds": 86_400}, "access.airflow.receipt_seconds"),
    "a token of a month": ({"max_token_seconds": 30 * 86_400}, "access.airflow.max_token_seconds"),
    "an answer after an hour": ({"timeout_seconds": 3600}, "access.airflow.timeout_seconds"),
    "a word that is not known": ({"audiense": AUDIENCE}, "access.airflow.audiense"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_names_itself(tmp_path, case):
    change, key = WRONG[case]
    said = {name: value for name, value in (GOOD | change).items() if value is not None}
    lines = [f"{name} = {_toml(value)}" for name, value in said.items()]
    file = tmp_path / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text("\n".join(["[access.airflow]", *lines, ""]))
    with pytest.raises(SettingsError) as caught:
        load(file, environ={})
    assert caught.value.key == key


def _toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f'{name} = "{text}"' for name, text in value.items()) + " }"
    return json.dumps(value)


def test_what_the_api_is_asked_as_may_be_a_token(airflow, record, tmp_path):
    airflow.tokens.add("a-token-of-its-own")
    file = tmp_path / "strongroom.toml"
    file.touch(mode=0o600)
    text = airflow.settings().replace(f'user = "{USER}"\n', "")
    file.write_text(text.replace('password = { env = "AIRFLOW_PASSWORD" }', 'token = { env = "TOKEN" }'))
    environ = {"TOKEN": "a-token-of-its-own"}
    clock = lambda: datetime.now(timezone.utc)  # noqa: E731 -- one word for it
    runs = own_runs(load(file, environ=environ), Remembered(clock), record, clock=clock, environ=environ)
    logins = airflow.logins
    assert runs.verify(AGENT, presented(airflow, airflow.instance("by-token"))).run.dag_id == "by-token"
    assert airflow.logins == logins


# --- a server: receipts, and tokens used in another process --------------------------------------------


@contextmanager
def house_in(folder, *, is_new=True):
    environ = {"HOME": str(folder), "STRONGROOM_HOME": str(folder)}
    file = folder / "house.toml"
    file.touch(mode=0o600)
    if is_new:
        create_room(file, environ=environ).close()
    with open_house(file, environ=environ, recorder=lambda _settings: Notebook()) as opened:
        yield opened


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as opened:
        yield opened


def test_a_token_used_at_one_server_is_used_at_all_of_them(tmp_path):
    with house_in(tmp_path) as one, house_in(tmp_path, is_new=False) as other:
        first, second = (
            UsedTokens(each.deployment().registry, lambda: datetime.now(timezone.utc))
            for each in (one, other)
        )
        until = datetime.now(timezone.utc) + timedelta(minutes=10)
        assert first.take(b"token", b"agent", until)
        assert not second.take(b"token", b"other", until)
        assert second.take(b"token", b"agent", until)
        assert not second.take(b"token", b"", until)
        assert second.take(b"nobody's", b"", until)
        assert not first.take(b"nobody's", b"", until)


def test_of_many_that_use_a_token_at_once_one_does(house):
    used = UsedTokens(house.deployment().registry, lambda: datetime.now(timezone.utc))
    until = datetime.now(timezone.utc) + timedelta(minutes=10)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: used.take(b"once", b"%d" % number, until), range(24)))
    assert sorted(found) == [False] * 23 + [True]


def test_used_tokens_that_have_ended_are_forgotten(house):
    now = [datetime(2026, 11, 21, tzinfo=timezone.utc)]
    registry = house.deployment().registry
    used = UsedTokens(registry, lambda: now[0])
    for number in range(5):
        used.take(b"%d" % number, b"", now[0] + timedelta(minutes=10))
    now[0] += timedelta(minutes=11)
    used.take(b"later", b"", now[0] + timedelta(minutes=10))
    assert list(registry.snapshot().of("used_token")) == [b"later".hex()]


RUN = Run(
    Assurance.VERIFIED_RUN, "etl", "load", "r", -1, 1, "main", "ti", "3f2a", None, "task", announced=True
)


@pytest.fixture
def verified(house, airflow, record):
    """Give what verifies for agents, its receipts, and a clock that a test sets."""
    now = [datetime.now(timezone.utc)]
    barrier = house.deployment().registry.seal
    receipts = Receipts(barrier, "default")
    return VerifiedRuns(None, receipts, recorder=record, clock=lambda: now[0]), receipts, now


def test_a_receipt_says_what_was_verified_to_its_agent_alone_until_it_ends(verified, record):
    runs, receipts, now = verified
    receipt = receipts.issue(AGENT.id, RUN, now[0] + timedelta(seconds=60))
    assert runs.of(AGENT, receipt) == RUN
    assert isinstance(runs.of(OTHER, receipt), Lapsed)
    assert (record.last.actor, record.last.outcome) == (OTHER.id, "denied")
    assert record.last.reason.startswith("alarm: ")
    count = len(record)
    assert isinstance(runs.of(OTHER, receipt), Lapsed)  # the same attempt, once on record
    assert len(record) == count
    now[0] += timedelta(seconds=60)
    assert runs.of(AGENT, receipt) == Lapsed("the receipt of the run has ended; the agent has it renewed")


def test_a_changed_receipt_says_nothing(verified):
    runs, receipts, now = verified
    receipt = receipts.issue(AGENT.id, RUN, now[0] + timedelta(seconds=60))
    for at in range(0, len(receipt) - 1, 7):
        changed = receipt[:at] + ("A" if receipt[at] != "A" else "B") + receipt[at + 1 :]
        assert isinstance(runs.of(AGENT, changed), Lapsed)
    for text in ("", receipt[:-9], receipt + "AAAA", "é", "A" * 9000, receipt.swapcase()):
        assert isinstance(runs.of(AGENT, text), Lapsed)


def test_a_receipt_of_another_deployment_says_nothing(verified, house):
    runs, _, now = verified
    other = Receipts(house.deployment().registry.seal, "other")
    assert isinstance(runs.of(AGENT, other.issue(AGENT.id, RUN, now[0] + timedelta(seconds=60))), Lapsed)


def test_a_deployment_without_an_airflow_says_which_table_is_missing(verified):
    runs, receipts, now = verified
    with pytest.raises(BackendConfigError, match=r"\[access\.airflow\] is not set"):
        runs.verify(AGENT, Presented(Secret("x"), RUN))
    with pytest.raises(BackendConfigError):
        runs.renew(AGENT, receipts.issue(AGENT.id, RUN, now[0]))
