"""Workloads at the gate: which service a signed token is, for how long, and who is refused."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from parts.signing import AUDIENCE, ISSUER, Signer, claims
from service.access_room import HERE, Desk
from strongroom.assembly.identity import workloads_of
from strongroom.errors import AccessDeniedError, ConflictError, NotAuthenticatedError, NotFoundError
from strongroom.policy import Actor, Assurance, Role, Run
from strongroom.service.access import token as tokens
from strongroom.service.access.workload import Rule, is_signed, pod_of
from strongroom.settings import load

_signer = Signer("ed")
SETTINGS = """
[access.issuer.ci]
issuer = "https://issuer.test"
audience = "strongroom"
jwks = "jwks.json"
algorithms = ["EdDSA"]
[[access.issuer.ci.allow]]
service = "deployer"
claims = { repository = "acme/etl" }
[[access.issuer.ci.allow]]
service = "run"
claims = { environment = "prod" }
level = "run"
[access.issuer.cluster]
kind = "kubernetes"
issuer = "https://cluster.test"
audience = "strongroom"
jwks = "jwks.json"
algorithms = ["EdDSA"]
level = "run"
[[access.issuer.cluster.allow]]
service = "worker"
claims = { "kubernetes.io/namespace" = "airflow", "kubernetes.io/serviceaccount/name" = "worker" }
"""


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    found.jwks = tmp_path / "jwks.json"
    found.jwks.write_text(json.dumps(_signer.jwks))
    (tmp_path / "strongroom.toml").write_text(SETTINGS)
    settings = load(tmp_path / "strongroom.toml", environ={"HOME": str(tmp_path)})
    found.workloads = workloads_of(settings.access, clock=found.clock, environ={})
    yield found
    found.close()


@pytest.fixture
def access(desk):
    return desk.open(workloads=desk.workloads)


def token(desk, **more):
    return _signer.sign(claims(now=int(desk.clock().timestamp()), **{"repository": "acme/etl", **more}))


def refused(desk, access, text):
    with pytest.raises(NotAuthenticatedError) as caught:
        access.authenticate(text, source=HERE)
    assert str(caught.value) == "no valid identity came with this request"
    access._gate.tick()
    return desk.told()[-1]


def test_a_signed_token_is_its_service_with_the_roles_it_was_granted(desk, access):
    access.roles.grant("reader", "service:deployer")
    found = access.authenticate(token(desk), source=HERE)
    assert (found.actor.id, found.actor.roles, found.how) == ("service:deployer", (Role("reader"),), "jwt")
    assert found.actor.assurance is Assurance.HOST_USER
    assert found.actor.source == HERE


def test_a_role_can_be_granted_before_the_service_ever_came(access):
    access.roles.grant("reader", "service:deployer")
    with pytest.raises(NotFoundError):
        access.roles.grant("reader", "service:nobody")


def test_a_role_that_is_taken_counts_at_once(desk, access):
    access.roles.grant("reader", "service:deployer")
    text = token(desk)
    assert access.authenticate(text, source=HERE).actor.roles
    access.roles.revoke("reader", "service:deployer")
    assert not access.authenticate(text, source=HERE).actor.roles


def test_the_first_rule_that_holds_says_which_service(desk, access):
    both = token(desk, environment="prod")
    assert access.authenticate(both, source=HERE).actor.id == "service:deployer"
    found = access.authenticate(token(desk, environment="prod", repository=None), source=HERE)
    assert (found.actor.id, found.actor.assurance) == ("service:run", Assurance.VERIFIED_RUN)


def test_a_token_no_rule_takes_is_refused_and_the_record_says_whose_rule(desk, access):
    assert refused(desk, access, token(desk, repository="acme/other")) == (
        "nobody",
        "login",
        "denied",
        f"a signed token: no rule of the issuer ci takes it, from {HERE}",
    )


def test_a_token_of_an_issuer_nobody_named_is_refused(desk, access):
    assert "an issuer that is not known here" in refused(desk, access, token(desk, iss="https://x.test"))[3]


def test_without_any_issuer_a_signed_token_is_refused(desk):
    access = desk.open()
    assert "no issuer is named in the settings" in refused(desk, access, token(desk))[3]


def test_a_pod_of_a_namespace_of_runs_is_a_verified_run_and_an_account_without_pod_is_not(desk, access):
    said = {"namespace": "airflow", "serviceaccount": {"name": "worker"}}
    bound = token(desk, iss="https://cluster.test", **{"kubernetes.io": {**said, "pod": {"uid": "1"}}})
    free = token(desk, iss="https://cluster.test", **{"kubernetes.io": said})
    assert access.authenticate(bound, source=HERE).actor.assurance is Assurance.VERIFIED_RUN
    assert access.authenticate(free, source=HERE).actor.assurance is Assurance.HOST_USER


def test_a_token_of_another_namespace_is_refused(desk, access):
    said = {"namespace": "other", "serviceaccount": {"name": "worker"}}
    assert (
        "no rule"
        in refused(desk, access, token(desk, iss="https://cluster.test", **{"kubernetes.io": said}))[3]
    )


def test_a_token_ends_when_it_says_and_the_leeway_is_over(desk, access):
    text = token(desk, lasts=60)
    assert access.authenticate(text, source=HERE).expires is not None
    desk.forward(seconds=69)
    assert access.authenticate(text, source=HERE)
    desk.forward(seconds=2)
    refused(desk, access, text)


def test_JW06_a_key_that_was_taken_away_counts_for_a_minute_at_most(desk, access):
    text = token(desk)
    access.authenticate(text, source=HERE)
    desk.jwks.write_text(json.dumps(Signer("ed").jwks))
    issuer = desk.workloads._issuer(ISSUER)
    issuer._verifier.keys._looked_at -= 10  # as if a second had gone by
    desk.forward(seconds=59)
    assert access.authenticate(text, source=HERE)
    desk.forward(seconds=2)
    refused(desk, access, text)


def test_what_would_take_a_question_is_refused_to_who_does_not_wait_and_counts_for_nothing(desk, access):
    text = token(desk)
    with pytest.raises(NotAuthenticatedError):
        access.authenticate(text, source=HERE, waits=False)
    access._gate.tick()
    assert desk.told() == []
    access.authenticate(text, source=HERE)
    assert access.authenticate(text, source=HERE, waits=False).actor.id == "service:deployer"


def test_who_does_not_wait_is_refused_what_nobody_knows_and_it_counts_once_he_does(desk, access):
    unknown = tokens.draw(tokens.TOKEN).reveal()
    for waits in (False, True):
        with pytest.raises(NotAuthenticatedError):
            access.authenticate(unknown, source=HERE, waits=waits)
        access._gate.tick()
        assert len(desk.told()) == waits


def test_the_first_use_of_a_token_is_on_record_and_the_next_are_not(desk, access):
    text = token(desk, sub="repo:acme/etl")
    for _ in range(3):
        access.authenticate(text, source=HERE)
        desk.forward(seconds=61)
    told = [one for one in desk.told() if one[0] == "service:deployer"]
    assert told == [("service:deployer", "login", "done", f"signed token of ci, repo:acme/etl, from {HERE}")]


def test_JW10_nothing_of_a_token_is_written_anywhere(desk, access):
    text = token(desk, secret_claim="canary-in-a-claim")
    access.authenticate(text, source=HERE)
    with pytest.raises(NotAuthenticatedError):
        access.authenticate(text[:-8] + "AAAAAAAA", source=HERE)
    access._gate.tick()
    written = desk.text()
    assert "canary-in-a-claim" not in written
    assert not any(part in written for part in text.split(".")[1:])


def test_tokens_that_ended_are_forgotten(desk, access):
    gate = access._gate
    for number in range(50):
        access.authenticate(token(desk, jti=str(number)), source=HERE)
    assert len(gate._greeted) == len(gate._memo.held) == 50
    desk.forward(minutes=11)
    gate._sweep_at = 0
    gate.tick()
    assert len(gate._greeted) == len(gate._memo.held) == 0


def test_a_service_that_is_disabled_is_refused_whatever_proves_it(desk, access):
    issued = access.tokens.issue("deployer").token.reveal()
    text = token(desk)
    for good in (issued, text):
        assert access.authenticate(good, source=HERE)
    access.services.disable("deployer")
    for bad in (issued, text, token(desk, jti="another")):
        refused(desk, access, bad)
    access.services.enable("deployer")
    for good in (issued, text):
        assert access.authenticate(good, source=HERE)


def test_a_service_stays_disabled_when_its_token_goes(desk, access):
    access.tokens.issue("deployer")
    access.services.disable("deployer")
    access.tokens.revoke("deployer")
    refused(desk, access, token(desk))
    with pytest.raises(ConflictError):
        access.tokens.issue("deployer")


def test_services_are_listed_with_how_they_prove_themselves(desk, access):
    access.tokens.issue("other", roles=[Role("reader")])
    access.authenticate(token(desk), source=HERE)
    access.services.disable("run")
    rows = {row.name: row for row in access.services.list()}
    assert list(rows) == ["deployer", "other", "run", "worker"]
    assert (rows["deployer"].issuers, rows["deployer"].has_token) == (("ci",), False)
    assert rows["deployer"].seen == desk.clock()
    assert (rows["other"].issuers, rows["other"].has_token, rows["other"].roles) == (
        (),
        True,
        (Role("reader"),),
    )
    assert rows["run"].is_disabled
    assert rows["worker"].issuers == ("cluster",)


def test_a_service_that_is_disabled_while_its_token_is_proven_is_not_let_in(desk, access):
    class Slow:
        services = access._gate.services

        def prove(self, token):
            found = asked.prove(token)
            access.services.disable("deployer")
            return found

    gate, text = access._gate, token(desk)
    asked, gate.workloads = gate.workloads, Slow()
    try:
        assert "a service that is disabled" in refused(desk, access, text)[3]
    finally:
        gate.workloads = asked


def test_a_service_nobody_knows_cannot_be_disabled(access):
    with pytest.raises(NotFoundError):
        access.services.disable("nobody")


def test_only_an_administrator_disables_a_service(desk, access):
    other = access.as_actor(Actor("service:x", Assurance.HOST_USER))
    with pytest.raises(AccessDeniedError):
        other.services.disable("deployer")


# --- rules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "said", "holds"),
    [
        ("acme/etl", "acme/etl", True),
        ("acme/etl", "acme/etl2", False),
        ("acme/etl", "Acme/etl", False),
        ("acme/*", "acme/etl", True),
        ("acme/*", "acme/etl/x", False),
        ("acme/*", "acme-evil/etl", False),
        ("acme/**", "acme/etl/x", True),
        ("acme*", "acme-evil/etl", False),
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/etl:ref:refs/heads/main", True),
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/etl:environment:x:ref:refs/heads/main", False),
        ("acme.etl", "acmeXetl", False),
        ("a[bc]", "ab", False),
        ("a**z", "a\nz", False),
        ("acme/etl", "acme/etl\n", False),
        ("acme/etl", ["x", "acme/etl"], True),
        ("acme/etl", [["acme/etl"]], False),
        ("acme/etl", None, False),
        ("acme/etl", {"acme/etl": 1}, False),
        (True, True, True),
        (True, "true", False),
        (True, 1, False),
        (1, True, False),
        (42, 42, True),
        (42, "42", True),
        (42, 42.0, False),
        ("42", 42, False),
        ("**", "", True),
    ],
)
def test_a_claim_is_compared_and_nothing_is_guessed(wanted, said, holds):
    assert Rule(service="x", claims={"claim": wanted}).takes({"claim": said}) is holds


def test_every_claim_of_a_rule_must_hold():
    rule = Rule(service="x", claims={"a": "1", "b": "2"})
    assert rule.takes({"a": "1", "b": "2"})
    assert not rule.takes({"a": "1"})


def test_a_claim_inside_another_is_found_by_its_way_and_one_of_that_very_name_before_it():
    rule = Rule(service="x", claims={"kubernetes.io/namespace": "airflow"})
    assert rule.takes({"kubernetes.io": {"namespace": "airflow"}})
    assert not rule.takes({"kubernetes.io": {"namespace": "x"}})
    assert not rule.takes({"kubernetes.io": "namespace"})
    assert not rule.takes({"kubernetes.io/namespace": "x", "kubernetes.io": {"namespace": "airflow"}})


@pytest.mark.parametrize("text", ["srm_abc", "a.b.c", "eyJ.x", "eyJ.x.y.z", ""])
def test_what_has_not_the_form_of_a_signed_token_is_none(text):
    assert not is_signed(text)


def test_the_run_a_pod_was_made_for_is_what_its_scheduler_wrote():
    said = {"dag_id": "etl", "task_id": "load", "run_id": "manual__1", "try_number": "2", "map_index": "-1"}
    assert pod_of(said) == Run(Assurance.VERIFIED_RUN, "etl", "load", "manual__1", -1, 2)
    assert pod_of({**said, "try_number": "x" * 20, "map_index": ""}).try_number is None
    for missing in ("dag_id", "task_id", "run_id"):
        assert pod_of({**said, missing: ""}) is None


def test_JW04_an_audience_is_always_asked_for(desk, access):
    assert "another audience" in refused(desk, access, token(desk, aud=f"not-{AUDIENCE}"))[3]


def test_what_is_remembered_of_a_token_is_not_its_text(desk, access):
    text = token(desk)
    access.authenticate(text, source=HERE)
    assert text not in str(vars(access._gate)) + str(access._gate._memo.held)
    assert timedelta(0) < access.authenticate(text, source=HERE).expires - desk.clock()


def test_JW08_a_token_of_airflow_for_its_tasks_is_no_identity_here(desk, access):
    said = {
        "aud": "urn:airflow.apache.org:task",
        "sub": "019a9c1e-6f2b-7d30-9a41-5b7f0c2d8e16",
        "scope": "execution",
    }
    assert "another audience" in refused(desk, access, token(desk, **said))[3]
