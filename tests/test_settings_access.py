"""`[access]`: what is taken of it, and what is refused before anything is asked."""

from __future__ import annotations

import pytest

from strongroom.consent import reach
from strongroom.errors import SettingsError
from strongroom.settings import load
from strongroom.settings.access import IN_CLUSTER

ISSUER = """
[access.issuer.ci]
audience = "strongroom"
"""
RULE = """
[[access.issuer.ci.allow]]
service = "deployer"
"""


def read(tmp_path, text):
    (tmp_path / "strongroom.toml").write_text(text)
    return load(tmp_path / "strongroom.toml", environ={"HOME": str(tmp_path)}).access


def refused(tmp_path, text):
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    return caught.value


def test_without_the_table_nobody_elses_word_counts(tmp_path):
    found = read(tmp_path, "")
    assert (found.issuer, found.kubernetes, found.certificates, found.oidc, found.airflow) == (
        {},
        None,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("kind", "issuer"),
    [
        ("github", "https://token.actions.githubusercontent.com"),
        ("gitlab", "https://gitlab.com"),
        ("google", "https://accounts.google.com"),
        ("kubernetes", IN_CLUSTER),
    ],
)
def test_a_kind_fills_in_its_issuer(tmp_path, kind, issuer):
    assert read(tmp_path, f'{ISSUER}kind = "{kind}"\n').issuer["ci"].issuer == issuer
    said = read(tmp_path, f'{ISSUER}kind = "{kind}"\nissuer = "https://own.test"\n')
    assert said.issuer["ci"].issuer == "https://own.test"


@pytest.mark.parametrize("kind", ["jwt", "azure"])
def test_a_kind_that_has_many_issuers_must_name_one(tmp_path, kind):
    assert refused(tmp_path, f'{ISSUER}kind = "{kind}"\n').key == "access.issuer.ci.issuer"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('issuer = "https://x.test"\naudience = ""', "audience"),
        ('issuer = "ftp://x.test"', "issuer"),
        ('issuer = "https://user@x.test"', "issuer"),
        ('issuer = "https://x.test"\njwks = "a"\njwks_url = "https://x.test/b"', "jwks_url"),
        ('issuer = "https://x.test"\njwks_url = "file:///etc/passwd"', "jwks_url"),
        ('issuer = "https://x.test"\nalgorithms = []', "algorithms"),
        ('issuer = "https://x.test"\nalgorithms = ["RS256", "HS256"]', "algorithms"),
        ('issuer = "https://x.test"\nalgorithms = ["none"]', "algorithms"),
        ('issuer = "https://x.test"\nleeway_seconds = 11', "leeway_seconds"),
        ('issuer = "https://x.test"\nmax_seconds = 1', "max_seconds"),
        ('issuer = "https://x.test"\nlevel = "root"', "level"),
        ('issuer = "https://x.test"\nsecret = "x"', "secret"),
    ],
)
def test_an_issuer_that_cannot_be_right_is_refused(tmp_path, line, key):
    text = ISSUER if "audience" not in line else "[access.issuer.ci]\n"
    assert refused(tmp_path, f"{text}{line}\n").key == f"access.issuer.ci.{key}"


@pytest.mark.parametrize("name", ["CI", "a b", "x" * 64])
def test_an_issuer_has_a_plain_name(tmp_path, name):
    assert refused(tmp_path, f'[access.issuer."{name}"]\naudience = "x"\n').key == "access.issuer"


def test_two_issuers_of_one_name_cannot_be_told_apart(tmp_path):
    two = ISSUER + 'kind = "github"\n[access.issuer.other]\naudience = "x"\nkind = "github"\n'
    assert refused(tmp_path, two).key == "access.issuer"
    both = ISSUER + 'kind = "kubernetes"\n[access.kubernetes]\n'
    assert refused(tmp_path, both).key == "access.issuer"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "claims = {}",
        'claims = { ref = "" }',
        "claims = { ref = 1.5 }",
        "claims = { ref = [] }",
        'claims = "x"',
    ],
)
def test_a_rule_says_claims_that_can_be_compared(tmp_path, line):
    text = f'{ISSUER}issuer = "https://x.test"\n{RULE}{line}\n'
    assert refused(tmp_path, text).key == "access.issuer.ci.allow.claims"


@pytest.mark.parametrize("kind", ["github", "gitlab", "google", "kubernetes"])
@pytest.mark.parametrize("claim", ["ref", "environment"])
def test_a_rule_for_who_signs_for_everybody_says_whose_tokens(tmp_path, kind, claim):
    text = f'{ISSUER}kind = "{kind}"\n{RULE}claims = {{ {claim} = "main" }}\n'
    assert "signs for everybody" in str(refused(tmp_path, text))
    assert "signs for everybody" in str(refused(tmp_path, text.replace(claim, "sub").replace("main", "**")))
    assert read(tmp_path, text.replace(claim, "sub")).issuer["ci"].allow[0].service == "deployer"


@pytest.mark.parametrize(
    ("kind", "claim", "value", "is_enough"),
    [
        ("github", "sub", "repo:**", False),
        ("github", "sub", "repo:*/etl:ref:refs/heads/main", False),
        ("github", "sub", "repo:acme/*:ref:refs/heads/main", True),
        ("github", "sub", "repository_owner:acme:**", True),
        ("github", "repository", "*/etl", False),
        ("github", "repository", "acme/*", True),
        ("github", "job_workflow_ref", "acme/ci/.github/workflows/x.yml@refs/heads/main", False),
        ("gitlab", "sub", "project_path:*/etl:ref_type:branch:ref:main", False),
        ("gitlab", "project_path", "acme/**", True),
        ("google", "email", "*@acme.iam.gserviceaccount.com", True),
        ("kubernetes", "sub", "system:serviceaccount:*:worker", False),
        ("kubernetes", "sub", "system:serviceaccount:airflow:*", True),
        ("kubernetes", '"kubernetes.io/serviceaccount/name"', "worker", False),
        ("kubernetes", '"kubernetes.io/namespace"', "airflow", True),
    ],
)
def test_what_a_rule_says_of_whose_tokens_leaves_somebody_out(tmp_path, kind, claim, value, is_enough):
    text = f'{ISSUER}kind = "{kind}"\n{RULE}claims = {{ {claim} = "{value}" }}\n'
    if is_enough:
        assert read(tmp_path, text).issuer["ci"].allow
    else:
        assert "signs for everybody" in str(refused(tmp_path, text))


@pytest.mark.parametrize("name", ["issuer", "jwks_url"])
def test_keys_of_an_issuer_are_asked_for_in_the_open_on_this_machine_alone(tmp_path, name):
    more = "" if name == "issuer" else 'issuer = "https://x.test"\n'
    rule = f'{RULE}claims = {{ a = "b" }}\n'
    text = f'{ISSUER}{more}{name} = "http://x.test/a"\n{rule}'
    assert refused(tmp_path, text).key == f"access.issuer.ci.{name}"
    assert read(tmp_path, text.replace("x.test/a", "127.0.0.1:1/a")).issuer


@pytest.mark.parametrize("service", ["", "Deployer", "service:x", "a b"])
def test_a_rule_names_a_service_in_its_one_spelling(tmp_path, service):
    text = f'{ISSUER}issuer = "https://x.test"\n{RULE}claims = {{ a = "b" }}\n'.replace("deployer", service)
    assert refused(tmp_path, text).key == "access.issuer.ci.allow.service"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('api = "10.0.0.1"', "api"),
        ('issuer = "https://x.test"\naudience = ""', "audience"),
        ('issuer = ""', "issuer"),
        ("remember_seconds = 61", "remember_seconds"),
        ('token = "written out"', "token"),
        ('allow = [{ namespace = "*", service_account = "x", service = "x" }]', "allow"),
        ('allow = [{ namespace = "a", service_account = "X", service = "x" }]', "allow"),
        ('allow = [{ namespace = "a", service_account = "x" }]', "allow.service"),
    ],
)
def test_reviews_that_cannot_be_right_are_refused(tmp_path, line, key):
    assert refused(tmp_path, f"[access.kubernetes]\n{line}\n").key == f"access.kubernetes.{key}"


@pytest.mark.parametrize(
    "agents", ['{ "a" = 1 }', '{ "a" = "Host 1" }', '{ "" = "host-1" }', '{ "a" = "h", "b" = "h" }']
)
def test_certificates_that_cannot_be_right_are_refused(tmp_path, agents):
    assert (
        refused(tmp_path, f"[access.certificates]\nagents = {agents}\n").key == "access.certificates.agents"
    )


def test_each_deployment_has_its_own(tmp_path):
    text = f'{ISSUER}kind = "github"\n[deployments.staging]\n'
    (tmp_path / "strongroom.toml").write_text(text)
    environ = {"HOME": str(tmp_path)}
    assert load(tmp_path / "strongroom.toml", environ=environ).access.issuer
    assert not load(tmp_path / "strongroom.toml", environ=environ, deployment="staging").access.issuer


def test_a_checkout_lets_nobody_in_unseen():
    table = {"access": {"issuer": {"x": {"audience": "y"}}}}
    assert list(reach(table)) == ["access"]
    assert list(reach({"deployments": {"staging": table}})) == ["deployments.staging.access"]


def test_it_can_be_said_in_the_environment(tmp_path):
    (tmp_path / "strongroom.toml").write_text("")
    environ = {"HOME": str(tmp_path), "STRONGROOM__ACCESS__STEP_UP_SECONDS": "60"}
    assert load(tmp_path / "strongroom.toml", environ=environ).access.step_up_seconds == 60


@pytest.mark.parametrize(
    ("said", "is_good"), [("0", True), ("300", True), ("3600", True), ("-1", False), ("3601", False)]
)
def test_a_session_is_remembered_for_an_hour_at_most(tmp_path, said, is_good):
    (tmp_path / "strongroom.toml").write_text(f"[access]\nrevoke_bound = {said}\n")
    environ = {"HOME": str(tmp_path)}
    if is_good:
        assert load(tmp_path / "strongroom.toml", environ=environ).access.revoke_bound == float(said)
        return
    with pytest.raises(SettingsError, match=r"access\.revoke_bound must be from 0 to 3600"):
        load(tmp_path / "strongroom.toml", environ=environ)
