"""Tests of connections to AWS, Google and Azure, against what stands for them here."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from parts.aws import KEY, SECRET, moto  # noqa: F401 -- a fixture
from parts.aws_sts import ROLE, Sts
from parts.azure import CLIENT, TENANT, Azure
from parts.azure import SECRET as AZURE_SECRET
from parts.certificates import Authority
from parts.google import google, google_servers  # noqa: F401 -- fixtures
from parts.trying import CANARY, LOOPBACK, failed, made, steps, tried

TOKEN = ["name: ok", "tcp: ok", "tls: ok", "token: ok"]


@pytest.fixture
def sts():
    with Sts() as running:
        yield running


def aws(*, password=SECRET, **extra):
    return made("aws", login=KEY, password=password, extra=extra)


def test_aws_is_asked_who_we_are(sts):
    found = tried(aws(**sts.extra()), LOOPBACK)
    assert steps(found) == ["name: ok", "tcp: ok", "tls: skipped", "token: skipped", "authentication: ok"]
    assert sts.calls == 1


def test_a_role_of_aws_is_taken_on_first(sts):
    found = tried(aws(**sts.extra(role_arn=ROLE)), LOOPBACK)
    assert steps(found) == ["name: ok", "tcp: ok", "tls: skipped", "token: ok", "authentication: ok"]
    assert len(sts.logins) == 1


def test_a_key_that_aws_does_not_know_is_told_as_one(sts):
    assert failed(tried(aws(password=CANARY, **sts.extra()))) == ("authentication", "credentials")
    refused = failed(tried(aws(password=CANARY, **sts.extra(role_arn=ROLE))))
    assert refused == ("authentication", "credentials")


def test_of_another_place_than_aws_the_buckets_are_listed(moto):  # noqa: F811
    there = aws(endpoint_url=moto.url, region_name="eu-west-1")
    assert steps(tried(there, LOOPBACK))[-1] == "authentication: ok"


def test_SS01_SS05_aws_leads_to_no_other_address_and_asks_no_machine_who_it_is():
    metadata = aws(endpoint_url="http://169.254.169.254", region_name="eu-west-1")
    assert failed(tried(metadata, LOOPBACK)) == ("address", "forbidden")
    assert failed(tried(made("aws", extra={"region_name": "eu-west-1"}), LOOPBACK)) == (
        "options",
        "forbidden",
    )


def test_SS01_the_place_where_a_role_is_taken_on_is_an_address_like_others(sts):
    extra = sts.extra(role_arn=ROLE)
    extra["service_config"] = {"sts": {"endpoint_url": "http://10.0.0.9"}}
    assert failed(tried(aws(**extra), LOOPBACK)) == ("address", "forbidden")
    assert sts.logins == []


def gcp(key, **extra):
    return made("google_cloud_platform", extra={"keyfile_dict": key, **extra})


def test_google_gives_a_token(google):  # noqa: F811
    found = tried(gcp(google.key()), LOOPBACK)
    assert steps(found) == [step.replace("tls: ok", "tls: skipped") for step in TOKEN]


def test_a_key_that_google_does_not_know_is_told_as_one(google):  # noqa: F811
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = {**json.loads(google.key()), "private_key": other.decode()}
    assert failed(tried(gcp(key))) == ("token", "credentials")


def test_SS01_where_google_gives_tokens_is_an_address_like_others(google):  # noqa: F811
    key = {**json.loads(google.key()), "token_uri": "http://169.254.169.254/token"}
    assert failed(tried(gcp(key), LOOPBACK)) == ("address", "forbidden")


@pytest.fixture(scope="module")
def entra(tmp_path_factory):
    with Azure(Authority(tmp_path_factory.mktemp("azure"))) as running:
        yield running


def azure(entra, *, password=AZURE_SECRET, **extra):
    place = {"authority": entra.entra, "connection_verify": str(entra.ca)}
    said = {"tenantId": TENANT, "client_secret_auth_config": place, **extra}
    return made("azure", login=CLIENT, password=password, extra=said)


def test_azure_gives_a_token(entra):
    found = tried(azure(entra))
    assert steps(found) == TOKEN
    assert [step.days_left for step in found.steps] == [None, None, 0, None]


def test_a_secret_that_azure_does_not_know_is_told_as_one(entra):
    assert failed(tried(azure(entra, password=CANARY))) == ("token", "credentials")


def test_SS01_SS05_azure_leads_to_no_other_address_and_asks_no_machine_who_it_is(entra):
    assert failed(tried(azure(entra), LOOPBACK)) == ("options", "forbidden")
    assert failed(tried(made("azure", extra={"tenantId": TENANT}), LOOPBACK)) == ("options", "forbidden")


def test_an_address_of_a_store_that_is_none_is_told_as_a_field_that_cannot_be_read():
    assert failed(tried(made("wasb", host="https://[x", password=CANARY))) == ("options", "malformed")
