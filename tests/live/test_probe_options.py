"""Which options a test on others' behalf takes: what is on the list of a type, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parts.trying import LOOPBACK, failed, made, tried
from strongroom import catalog
from strongroom.live.child import PROBES
from strongroom.live.families import DRIVERS
from strongroom.live.probing import options
from strongroom.live.probing.options import is_allowed

WITH = {
    "aws": {"login": "AKIA", "password": "x"},
    "azure": {"login": "client", "password": "x"},
    "google_cloud_platform": {"extra": {"keyfile_dict": {"type": "service_account"}}},
    "kubernetes": {"extra": {"kube_config": {"users": [{"user": {"token": "x"}}]}}},
    "ssh": {"login": "a", "password": "x"},
    "sftp": {"login": "a", "password": "x"},
    "wasb": {"login": "a", "password": "x"},
    "adls": {"login": "a", "password": "x"},
}
"""What each of these needs to be tested for others: who logs in is never the machine."""
TYPES = sorted(set(PROBES) & set(options._ALLOWED))


def with_(conn_type, **extra):
    given = dict(WITH.get(conn_type, {}))
    own = given.pop("extra", {})
    return made(conn_type, extra={**own, **extra}, **given)


# By type, what reads files, runs programs, sends who this machine is, or leads elsewhere.
FORBIDDEN = {
    "postgres": (
        {"sslrootcert": "/etc/passwd"},
        {"sslcert": "/etc/passwd"},
        {"sslkey": "/etc/passwd"},
        {"sslcrl": "/etc/passwd"},
        {"passfile": "/etc/passwd"},
        {"service": "other"},
        {"servicefile": "/tmp/other"},
        {"host": "other"},
        {"hostaddr": "127.0.0.9"},
        {"port": 22},
        {"options": "-c x=y"},
        {"iam": True},
        {"aws_conn_id": "other"},
        {"gcp_conn_id": "other"},
        {"azure_conn_id": "other"},
        {"sqlalchemy_query": {"host": "other"}},
        {"sqlalchemy_scheme": "postgresql+psycopg2"},
        {"krbsrvname": "other"},
        {"sslmode": {"a": 1}},
        {"SSLROOTCERT": "/etc/passwd"},
    ),
    "mysql": (
        {"ssl": {"ca": "/etc/passwd"}},
        {"local_infile": True},
        {"init_command": "x"},
        {"unix_socket": "/run/x"},
        {"read_default_file": "/etc/passwd"},
        {"iam": True},
        {"allowLoadLocalInfile": True},
    ),
    "redis": ({"ssl_ca_certs": "/etc/passwd"}, {"startup_nodes": [{"host": "other"}]}, {"ssl_keyfile": "/x"}),
    "ssh": (
        {"key_file": "/root/.ssh/id_rsa"},
        {"look_for_keys": True},
        {"known_hosts": "/x"},
        {"host_proxy_cmd": "sh"},
    ),
    "smtp": ({"ssl_context": "x"}, {"access_token": "x"}, {"auth_type": {"a": 1}}),
    "http": (
        {"proxies": {"http": "http://other"}},
        {"proxy": "http://other"},
        {"cert": "/etc/passwd"},
        {"verify": "/etc/passwd"},
        {"verify_ssl": "/etc/passwd"},
        {"srv_lookup": True},
        {"oauth2": {"token_url": "http://other"}},
        {"Host": "other"},
        {"Transfer-Encoding": "chunked"},
        {"Content-Length": "5"},
        {"Connection": "x"},
        {"Proxy-Authorization": "x"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Original-URL": "/admin"},
        {"Cookie": "x"},
    ),
    "aws": (
        {"profile_name": "default"},
        {"session_kwargs": {"profile_name": "default"}},
        {"config_kwargs": {"proxies": {"https": "http://other"}}},
        {"assume_role_method": "assume_role_with_web_identity"},
        {"verify": "/etc/passwd"},
    ),
    "google_cloud_platform": (
        {"key_path": "/etc/passwd"},
        {"credential_config_file": "/etc/passwd"},
        {"credential_config_file": {"type": "external_account"}},
        {"key_secret_name": "x"},
        {"idp_issuer_url": "http://other"},
        {"keyfile_dict": {"type": "external_account"}},
        {"keyfile_dict": '{"type": "external_account"}'},
        {"keyfile_dict": {"type": "authorized_user"}},
        {"keyfile_dict": {}},
        {"keyfile_dict": "/etc/passwd"},
    ),
    "azure": (
        {"key_path": "/etc/passwd"},
        {"managed_identity_client_id": "x"},
        {"workload_identity_tenant_id": "x"},
        {"client_secret_auth_config": {"authority": "https://other"}},
        {"certificate": "/etc/passwd"},
    ),
    "kubernetes": (
        {"kube_config_path": "/root/.kube/config"},
        {"in_cluster": True},
        {"kube_config": "users: [{user: {exec: {command: sh}}}]"},
        {"kube_config": {"users": [{"user": {"exec": {"command": "sh"}}}]}},
        {"kube_config": '{"users": [{"user": {"tokenFile": "/etc/passwd"}}]}'},
        {"kube_config": {"clusters": [{"cluster": {"certificate-authority": "/etc/passwd"}}]}},
        {"kube_config": {"clusters": [{"cluster": {"proxy-url": "http://other"}}]}},
        {"kube_config": {"users": [{"user": {"auth-provider": {}}}]}},
    ),
    "trino": ({"certs__client_key_path": "/x"}, {"jwt__file": "/etc/passwd"}, {"verify": "/etc/passwd"}),
    "snowflake": ({"private_key_file": "/x"}, {"token_file_path": "/x"}, {"proxy_host": "other"}),
}


@pytest.mark.parametrize(
    ("conn_type", "extra"), [(key, one) for key, all_ in FORBIDDEN.items() for one in all_]
)
def test_SS05_what_is_not_on_the_list_is_not_used_for_others(conn_type, extra):
    assert is_allowed(with_(conn_type))
    assert not is_allowed(with_(conn_type, **extra))


@pytest.mark.parametrize("conn_type", TYPES)
def test_SS05_an_option_nobody_knows_is_not_used_for_others(conn_type):
    assert not is_allowed(with_(conn_type, surprise="x"))


@pytest.mark.parametrize("conn_type", TYPES)
def test_SS05_no_option_that_names_a_file_is_on_a_list(conn_type):
    kind = catalog.find(conn_type)
    files = [] if kind is None else [field.name for field in kind.extras if field.type == "file"]
    for name in files:
        assert not is_allowed(with_(conn_type, **{name: "/etc/passwd"}))


@pytest.mark.parametrize("conn_type", ["aws", "azure", "google_cloud_platform", "kubernetes", "ssh", "sftp"])
def test_SS05_who_the_machine_is_is_not_used_for_others(conn_type):
    assert not is_allowed(made(conn_type))
    assert not is_allowed(made(conn_type, login="somebody"))


@pytest.mark.parametrize("conn_type", ["sqlite", "fs", "mongo", "nobody-knows", None])
def test_SS03_a_type_without_a_list_has_no_driver_started_for_others(conn_type):
    assert not is_allowed(made(conn_type))


@pytest.mark.parametrize("conn_type", sorted(set(PROBES) - set(TYPES) - set(options._SAME)))
def test_SS05_of_a_type_without_a_list_only_the_host_is_asked_for_others(conn_type):
    found = tried(made(conn_type, host="127.0.0.1", port=1, extra={"surprise": "x"}), LOOPBACK)
    is_of_files = conn_type in ("sqlite", "fs")
    assert failed(found) == (("options", "forbidden") if is_of_files else ("tcp", "refused"))


def test_what_people_use_is_on_the_lists():
    for connection in (
        with_(
            "postgres", sslmode="verify-full", connect_timeout=5, application_name="x", cursor="dictcursor"
        ),
        with_("mysql", charset="utf8mb4", ssl_mode="REQUIRED"),
        with_("redis", db=3, ssl=True, ssl_cert_reqs="required"),
        with_("http", Authorization="Bearer x", **{"X-Api-Key": "x", "verify": "false", "timeout": 5}),
        with_("aws", region_name="eu-west-1", role_arn="arn:aws:iam::123456789012:role/x", verify=False),
        with_("google_cloud_platform", project="x", impersonation_chain=["a@b"], scope="a,b"),
        with_("azure", tenantId="x", subscriptionId="y", cloud_environment="AzurePublicCloud"),
        with_("ssh", host_key="ssh-ed25519 AAAA", private_key="x", conn_timeout=5),
        with_("smtp", from_email="a@b", disable_ssl=True),
        with_("snowflake", account="x", warehouse="y"),
    ):
        assert is_allowed(connection)


def test_every_option_that_is_taken_is_documented_with_its_type():
    text = (Path(__file__).parents[2] / "docs" / "testing-connections.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.partition("## Options a test for others takes")[2].splitlines()]
    told = {
        conn_type: set(re.findall(r"`([^`]+)`", row[2]))
        for row in rows
        if len(row) == 4
        for conn_type in re.findall(r"`([^`]+)`", row[1])
    }
    assert told == {**options._ALLOWED, **{key: options._ALLOWED[one] for key, one in options._SAME.items()}}


def test_every_type_that_has_a_live_client_has_a_test_of_its_own():
    """But those whose login no client of ours shows, whose host alone is looked for."""
    with_clients = {conn_type for driver in DRIVERS for conn_type in driver.types}
    assert with_clients - set(PROBES) == {"presto", "odbc", "azure_service_bus", "azure_cosmos"}
    assert set(PROBES) <= with_clients


def test_every_type_with_a_test_of_its_own_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "testing-connections.md").read_text(encoding="utf-8")
    assert all(f"`{conn_type}`" in text for conn_type in PROBES)
