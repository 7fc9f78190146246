"""What an AWS connection says, and what is refused of it; how sessions are called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parts.aws_sts import FIRST, ROLE
from strongroom.errors import BackendConfigError
from strongroom.live import aws_fields
from strongroom.live.around import Run
from strongroom.live.aws_naming import session_name
from strongroom.model.connection import Connection
from strongroom.model.extra import Extra
from strongroom.model.secret import Secret

CANARY = "c4nary-fields"
WEB = {"role_arn": ROLE, "assume_role_method": "assume_role_with_web_identity"}


def read(login=None, password=None, **extra):
    secret = None if password is None else Secret(password)
    return aws_fields.read(
        "cloud", Connection(conn_type="aws", login=login, password=secret, extra=Extra(extra))
    )


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"login": "A", "password": "s"}, ("A", "s", None)),
        ({"login": "A", "password": "s", "aws_session_token": "t"}, ("A", "s", "t")),
        ({"aws_access_key_id": "A", "aws_secret_access_key": "s"}, ("A", "s", None)),
        (
            {"login": "A", "password": "s", "aws_access_key_id": "B", "aws_secret_access_key": "x"},
            ("A", "s", None),
        ),
        ({"session_kwargs": {"aws_access_key_id": "A", "aws_secret_access_key": "s"}}, ("A", "s", None)),
        (
            {
                "session_kwargs": '{"aws_access_key_id": "A", "aws_secret_access_key": "s",'
                ' "aws_session_token": "t"}'
            },
            ("A", "s", "t"),
        ),
        ({}, None),
        ({"login": "", "password": ""}, None),
    ],
)
def test_the_key_is_taken_from_where_airflows_hook_takes_it(fields, key):
    found = read(**fields).key
    if key is None:
        assert found is None
        return
    token = None if found.token is None else found.token.reveal()
    assert (found.id.reveal(), found.secret.reveal(), token) == key
    assert "Secret" not in repr(found)


@pytest.mark.parametrize(
    ("said", "meant"),
    [(True, True), (False, False), ("false", False), ("True", True), ("/ca.pem", "/ca.pem"), ("", None)],
)
def test_the_check_of_certificates_is_read_as_forms_save_it(said, meant):
    assert read(verify=said).verify == meant


def test_roles_are_read_in_their_order_with_what_each_is_asked_with():
    found = read(
        role_arn=ROLE,
        assume_role_kwargs='{"ExternalId": "ours"}',
        role_chain=[FIRST, {"role_arn": FIRST, "assume_role_kwargs": {"ExternalId": "theirs"}}],
    )
    assert [(role.arn, role.arguments) for role in found.roles] == [
        (FIRST, {}),
        (FIRST, {"ExternalId": "theirs"}),
        (ROLE, {"ExternalId": "ours"}),
    ]
    assert [role.arn for role in read(role_arn=ROLE, role_chain=f"{FIRST}, {FIRST}").roles] == [
        FIRST,
        FIRST,
        ROLE,
    ]


def test_the_endpoint_of_all_services_is_never_that_of_logins():
    found = read(endpoint_url="http://minio:9000", service_config={"s3": {"endpoint_url": "http://s3:1"}})
    assert (found.endpoint_of("s3"), found.endpoint_of("sqs")) == ("http://s3:1", "http://minio:9000")
    assert found.login_endpoint is None
    sts = read(service_config={"sts": {"endpoint_url": "https://sts.example.com"}})
    assert sts.login_endpoint == "https://sts.example.com"


def test_what_airflow_does_not_read_is_not_read():
    found = read(bucket="x", whatever={"a": 1}, assume_role_method="assume_role_with_saml")
    assert (found.roles, found.web, found.key) == ((), None, None)


@pytest.mark.parametrize(
    ("fields", "reason", "named"),
    [
        ({"login": CANARY}, "missing", "password"),
        ({"password": CANARY}, "missing", "login"),
        ({"aws_access_key_id": CANARY}, "missing", "aws_secret_access_key"),
        ({"aws_secret_access_key": CANARY}, "missing", "aws_access_key_id"),
        ({"aws_session_token": CANARY}, "missing", "aws_access_key_id"),
        ({"region_name": [CANARY]}, "malformed", "region_name"),
        ({"role_arn": CANARY}, "malformed", "role_arn"),
        (
            {"role_arn": ROLE, "assume_role_method": "assume_role_with_saml"},
            "malformed",
            "assume_role_method",
        ),
        ({"role_arn": ROLE, "assume_role_kwargs": f'["{CANARY}"]'}, "malformed", "assume_role_kwargs"),
        ({"role_arn": ROLE, "assume_role_kwargs": "{" + CANARY}, "malformed", "assume_role_kwargs"),
        ({"role_chain": [FIRST]}, "missing", "role_arn"),
        ({"role_arn": ROLE, "role_chain": [CANARY]}, "malformed", "role_chain"),
        ({"role_arn": ROLE, "role_chain": [{"role_arn": FIRST, "x": CANARY}]}, "malformed", "role_chain"),
        ({"role_arn": ROLE, "role_chain": [FIRST] * 8}, "malformed", "role_chain"),
        ({"role_arn": ROLE, "role_chain": 7}, "malformed", "role_chain"),
        (
            {**WEB, "assume_role_with_web_identity_federation": CANARY},
            "malformed",
            "assume_role_with_web_identity_federation",
        ),
        (
            {**WEB, "assume_role_with_web_identity_federation": "google"},
            "missing",
            "assume_role_with_web_identity_federation_audience",
        ),
        ({"verify": 7}, "malformed", "verify"),
        ({"endpoint_url": f"ftp://{CANARY}"}, "malformed", "endpoint_url"),
        ({"endpoint_url": f"https://user:{CANARY}@host"}, "malformed", "endpoint_url"),
        ({"endpoint_url": "http://host:0"}, "malformed", "endpoint_url"),
        ({"endpoint_url": "http://[::1"}, "malformed", "endpoint_url"),
        ({"service_config": {"s3": {"endpoint_url": CANARY}}}, "malformed", "service_config.s3.endpoint_url"),
        ({"service_config": [CANARY]}, "malformed", "service_config"),
        ({"config_kwargs": CANARY}, "malformed", "config_kwargs"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name_alone(fields, reason, named):
    with pytest.raises(BackendConfigError) as caught:
        read(**fields)
    assert (caught.value.step, caught.value.reason) == ("options", reason)
    assert f": {named} (" in str(caught.value)
    assert CANARY not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("http://sts.internal:8080", False),
        ("http://169.254.169.254", False),
        ("https://sts.internal:8080", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("http://localhost:8080", True),
    ],
)
def test_the_token_of_a_web_identity_goes_nowhere_in_clear(url, is_taken):
    fields = {**WEB, "service_config": {"sts": {"endpoint_url": url}}}
    if is_taken:
        assert read(**fields).login_endpoint == url
        return
    with pytest.raises(BackendConfigError, match=r"service_config\.sts\.endpoint_url"):
        read(**fields)


# --- names of sessions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (None, "strongroom@cloud"),
        (Run(), "strongroom@cloud"),
        (Run("etl", "load", "manual__2026-11-22T10:00:00+00:00"), "etl@manual__2026-11-22T10-00-00+00-00"),
        (Run("etl"), "etl"),
        (Run(None, None, "r"), "strongroom@r"),
        (Run("d"), "d@"),
        (Run("bücher laden", "t", "1"), "b-cher-laden@1"),
    ],
)
def test_a_session_is_called_by_its_run(run, name):
    assert session_name(run, "cloud") == name


def test_long_names_are_cut_and_stay_apart():
    names = {
        session_name(Run("a" * 60 + tail, "t", f"scheduled__2026-11-22T0{hour}:00:00+00:00"), "cloud")
        for tail in "xy"
        for hour in range(5)
    }
    assert len(names) == 10
    assert all(name.startswith("aaaaaaaaaa") and "T0" in name for name in names)


@given(st.text(), st.text() | st.none(), st.text(min_size=1))
def test_every_name_is_one_that_sts_takes(dag_id, run_id, connection):
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", session_name(Run(dag_id, "t", run_id), connection), re.ASCII)
