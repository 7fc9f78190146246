"""What a live client takes from an AWS connection is what Airflow's own hook takes from it."""

from __future__ import annotations

import json

import pytest

from strongroom.errors import BackendConfigError
from strongroom.live import aws_fields
from strongroom.model.connection import Connection

ROLE = "arn:aws:iam::123456789012:role/reader"
SCRIPT = """
import json
import os
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper, _ConnectionMetadata

def read(fields):
    found = AwsConnectionWrapper(conn=_ConnectionMetadata(conn_id="cloud", **fields))
    return {
        "key": [found.aws_access_key_id, found.aws_secret_access_key, found.aws_session_token],
        "profile": found.profile_name,
        "region": found.region_name,
        "verify": found.verify,
        "role": found.role_arn,
        "method": found.assume_role_method,
        "arguments": found.assume_role_kwargs,
        "s3": found.get_service_endpoint_url("s3"),
        "sqs": found.get_service_endpoint_url("sqs"),
        "login": found.get_service_endpoint_url("sts", sts_connection_assume=True),
        "timeout": None if found.botocore_config is None else found.botocore_config.read_timeout,
    }

tell(found=[read(fields) for fields in json.loads(os.environ["CASES"])])
"""
CASES = [
    {"login": "A", "password": "s"},
    {"login": "A", "password": "s", "extra": {"aws_session_token": "t", "region_name": "eu-west-1"}},
    {"extra": {"aws_access_key_id": "A", "aws_secret_access_key": "s", "aws_session_token": "t"}},
    {"login": "A", "password": "s", "extra": {"aws_access_key_id": "B", "aws_secret_access_key": "x"}},
    {"extra": {"session_kwargs": {"aws_access_key_id": "A", "aws_secret_access_key": "s"}}},
    {"extra": {"profile_name": "p", "verify": False}},
    {"extra": {"verify": "/ca.pem"}},
    {"extra": {"role_arn": ROLE}},
    {"extra": {"role_arn": ROLE, "assume_role_kwargs": {"ExternalId": "ours", "DurationSeconds": 900}}},
    {"extra": {"role_arn": ROLE, "assume_role_method": "assume_role_with_web_identity"}},
    {"extra": {"assume_role_kwargs": {"ExternalId": "ours"}, "assume_role_method": "assume_role"}},
    {"extra": {"endpoint_url": "http://minio:9000"}},
    {
        "extra": {
            "endpoint_url": "http://minio:9000",
            "service_config": {
                "s3": {"endpoint_url": "http://s3:1", "bucket_name": "b"},
                "sts": {"endpoint_url": "http://sts:1"},
            },
        }
    },
    {"extra": {"config_kwargs": {"read_timeout": 7}}},
    {"extra": {"region": "eu-west-1", "role": "x", "bucket": "y"}},
    {},
]


def ours(fields):
    found = aws_fields.read("cloud", Connection.from_dict({"conn_type": "aws", **fields}))
    key = found.key
    role = found.roles[-1] if found.roles else None
    method = "assume_role" if found.web is None else "assume_role_with_web_identity"
    return {
        "key": [None] * 3
        if key is None
        else [key.id.reveal(), key.secret.reveal(), None if key.token is None else key.token.reveal()],
        "profile": found.profile,
        "region": found.region,
        "verify": found.verify,
        "role": None if role is None else role.arn,
        "method": None if role is None else method,
        "arguments": {} if role is None else dict(role.arguments),
        "s3": found.endpoint_of("s3"),
        "sqs": found.endpoint_of("sqs"),
        "login": found.login_endpoint,
        "timeout": found.config.get("read_timeout"),
    }


def test_a_live_client_reads_a_connection_as_airflows_hook_does(inside, tmp_path):
    cases = [{"conn_type": "aws", "login": None, "password": None, **fields} for fields in CASES]
    theirs = inside.run(tmp_path, SCRIPT, environ={"CASES": json.dumps(cases)}).told["found"]
    for fields, found in zip(CASES, theirs, strict=True):
        assert ours(fields) == found, fields


@pytest.mark.parametrize("fields", [{"login": "A"}, {"extra": {"aws_access_key_id": "A"}}])
def test_half_a_key_is_refused_where_airflows_hook_would_turn_to_the_machine(fields):
    with pytest.raises(BackendConfigError, match="lacks a field"):
        ours(fields)
