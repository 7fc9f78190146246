"""What Airflow's secrets classes are told, as settings of ours: written, read back, and opened as options."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from strongroom.backend import load as load_backend
from strongroom.errors import BackendConfigError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.airflow.adopt import adopt
from strongroom.service.airflow.known import known_ids
from strongroom.service.discovery.classes import KNOWN
from strongroom.service.discovery.place import Surroundings
from strongroom.service.proposal import write
from strongroom.settings import load, options
from strongroom.testing.fakes import Memory
from strongroom.vendors.airflow import AirflowConfig

CANARY = "canary-5e77"
KEYFILE = {"type": "service_account", "project_id": "home", "private_key": CANARY, "client_email": "a@b"}
FEDERATION = {
    "type": "external_account",
    "audience": "//iam",
    "token_url": "https://sts.googleapis.com/v1/token",
}
CLASSES = {
    name: f"airflow.providers.{package}.{name}"
    for name, package in {
        "VaultBackend": "hashicorp.secrets.vault",
        "SecretsManagerBackend": "amazon.aws.secrets.secrets_manager",
        "SystemsManagerParameterStoreBackend": "amazon.aws.secrets.systems_manager",
        "CloudSecretManagerBackend": "google.cloud.secrets.secret_manager",
        "AzureKeyVaultBackend": "microsoft.azure.secrets.key_vault",
        "KubernetesSecretsBackend": "cncf.kubernetes.secrets.kubernetes_secrets_backend",
        "AkeylessBackend": "akeyless.secrets.akeyless",
        "LockboxSecretBackend": "yandex.secrets.lockbox",
    }.items()
}
V, A, P, G, Z, K = list(CLASSES)[:6]
URL = {"url": "https://v:8200"}
VAULT = {"vault_url": "https://v.vault.azure.net"}
KEY = {"aws_access_key_id": "AKIA0", "aws_secret_access_key": CANARY}
HELD = Secret(CANARY)

# class, its arguments, members of our options
ROWS = [
    (V, {**URL, "token": CANARY, "mount_point": "airflow"}, {**URL, "token": HELD, "mount_point": "airflow"}),
    (
        V,
        {**URL, "token": CANARY, "mount_point": None, "variables_path": None},
        {"mount_point": "", "variables_path": False},
    ),
    (
        V,
        {**URL, "token_path": "t", "connections_path": ["a", "b"]},
        {"token_path": "/t", "connections_path": ("a", "b")},
    ),
    (
        V,
        {**URL, "auth_type": "approle", "role_id": "r", "secret_id": CANARY, "auth_mount_point": "mine"},
        {"auth_type": "approle", "role_id": "r", "secret_id": HELD, "auth_mount_point": "mine"},
    ),
    (
        V,
        {**URL, "auth_type": "userpass", "username": "u", "password": CANARY},
        {"username": "u", "password": HELD},
    ),
    (
        V,
        {**URL, "auth_type": "ldap", "username": "u", "password": CANARY},
        {"auth_type": "ldap", "password": HELD},
    ),
    (V, {**URL, "auth_type": "github", "token": CANARY}, {"auth_type": "github", "token": HELD}),
    (V, {**URL, "auth_type": "kubernetes", "kubernetes_role": "r"}, {"kubernetes_role": "r"}),
    (
        V,
        {**URL, "auth_type": "kubernetes", "kubernetes_role": "r", "kubernetes_jwt_path": "/j"},
        {"kubernetes_jwt_path": "/j"},
    ),
    (
        V,
        {**URL, "auth_type": "jwt", "jwt_role": "r", "jwt_token": CANARY},
        {"jwt_role": "r", "jwt_token": HELD},
    ),
    (V, {**URL, "auth_type": "jwt", "jwt_role": "r", "jwt_token_path": "j"}, {"jwt_token_path": "/j"}),
    (
        V,
        {
            **URL,
            "auth_type": "aws_iam",
            "role_id": "r",
            "key_id": "AKIA0",
            "secret_id": CANARY,
            "region": "eu-west-1",
        },
        {"role_id": "r", "secret_id": HELD, "region": "eu-west-1"},
    ),
    (
        V,
        {
            **URL,
            "auth_type": "aws_iam",
            "role_id": "r",
            "assume_role_kwargs": {"RoleArn": "a", "RoleSessionName": "s"},
        },
        {"assume_role_kwargs": {"RoleArn": "a", "RoleSessionName": "s"}},
    ),
    (
        V,
        {**URL, "auth_type": "gcp", "role_id": "r", "gcp_keyfile_dict": KEYFILE, "gcp_scopes": "a,b"},
        {"gcp_keyfile_dict": Secret(json.dumps(KEYFILE)), "gcp_scopes": "a,b"},
    ),
    (V, {**URL, "auth_type": "gcp", "role_id": "r", "gcp_key_path": "k.json"}, {"gcp_key_path": "/k.json"}),
    (
        V,
        {**URL, "auth_type": "azure", "role_id": "r", "azure_tenant_id": "t", "azure_resource": "x"},
        {"azure_tenant_id": "t", "azure_resource": "x"},
    ),
    (
        V,
        {**URL, "auth_type": "radius", "radius_host": "h", "radius_secret": CANARY, "radius_port": 1812},
        {"radius_host": "h", "radius_secret": HELD, "radius_port": 1812},
    ),
    (
        V,
        {
            **URL,
            "token": CANARY,
            "namespace": "n",
            "verify": "ca.pem",
            "cert": ["c.pem", "k.pem"],
            "timeout": 10,
        },
        {"namespace": "n", "verify": "/ca.pem", "cert": ("/c.pem", "/k.pem")},
    ),
    (
        V,
        {**URL, "token": CANARY, "verify": False, "kv_engine_version": 1},
        {"verify": False, "kv_engine_version": 1},
    ),
    (A, {}, {"connections_prefix": "airflow/connections", "sep": "/"}),
    (
        A,
        {"profile_name": None, "connections_prefix": None, "variables_prefix": ""},
        {"connections_prefix": False, "variables_prefix": ""},
    ),
    (
        A,
        {**KEY, "aws_session_token": CANARY, "region_name": "eu-west-1"},
        {"aws_secret_access_key": HELD, "aws_session_token": HELD},
    ),
    (A, {"session_kwargs": KEY, "region_name": "eu-west-1"}, {"aws_secret_access_key": HELD}),
    (
        A,
        {"sep": "-", "extra_conn_words": {"user": ["usr"], "password": ["pw"]}},
        {"sep": "-", "extra_conn_words": {"user": ["usr"], "password": ["pw"]}},
    ),
    (
        A,
        {"connections_lookup_pattern": "^smtp", "variables_lookup_pattern": None},
        {"connections_lookup_pattern": "^smtp"},
    ),
    (
        A,
        {
            "role_arn": "arn:aws:iam::123456789012:role/r",
            "assume_role_kwargs": {"ExternalId": "e", "Policy": None},
        },
        {"role_arn": "arn:aws:iam::123456789012:role/r", "assume_role_kwargs": {"ExternalId": "e"}},
    ),
    (
        A,
        {
            "role_arn": "arn:aws:iam::123456789012:role/r",
            "assume_role_method": "assume_role_with_web_identity",
            "assume_role_with_web_identity_token_file": "/t",
            "assume_role_with_web_identity_federation": "file",
        },
        {
            "assume_role_method": "assume_role_with_web_identity",
            "assume_role_with_web_identity_token_file": "/t",
        },
    ),
    (A, {"external_id": "e", "assume_role_kwargs": {"ExternalId": "e"}}, {"external_id": None}),
    (
        A,
        {"endpoint_url": "http://h:1", "use_ssl": True, "verify": "ca.pem", "config_kwargs": {}},
        {"endpoint_url": "http://h:1", "verify": "/ca.pem"},
    ),
    (
        A,
        {"service_config": {"sts": {"endpoint_url": "http://h:2"}}},
        {"service_config": {"sts": {"endpoint_url": "http://h:2"}}},
    ),
    (A, {"full_url_mode": False, "are_secret_values_urlencoded": True}, {"full_url_mode": None}),
    (P, {"connections_prefix": "/a", "profile_name": "p"}, {"connections_prefix": "/a", "profile_name": "p"}),
    (P, {**KEY, "config_prefix": None}, {"aws_secret_access_key": HELD, "config_prefix": False}),
    (G, {}, {"variables_prefix": "airflow-variables", "sep": "-"}),
    (
        G,
        {"project_id": "p", "gcp_keyfile_dict": KEYFILE},
        {"project_id": "p", "gcp_keyfile_dict": Secret(json.dumps(KEYFILE))},
    ),
    (G, {"gcp_keyfile_dict": json.dumps(KEYFILE)}, {"gcp_keyfile_dict": Secret(json.dumps(KEYFILE))}),
    (G, {"gcp_key_path": "k.json", "gcp_scopes": "a,b"}, {"gcp_key_path": "/k.json", "gcp_scopes": "a,b"}),
    (G, {"gcp_credential_config_file": "f.json"}, {"gcp_credential_config_file": "/f.json"}),
    (G, {"gcp_credential_config_file": FEDERATION}, {"gcp_credential_config_file": FEDERATION}),
    (G, {"gcp_credential_config_file": json.dumps(FEDERATION)}, {"gcp_credential_config_file": FEDERATION}),
    (
        G,
        {"impersonation_chain": ["a@b", "c@d"], "sep": "_"},
        {"impersonation_chain": ("a@b", "c@d"), "sep": "_"},
    ),
    (
        G,
        {"impersonation_chain": "a@b", "connections_prefix": None},
        {"impersonation_chain": "a@b", "connections_prefix": False},
    ),
    (Z, VAULT, {**VAULT, "client_secret": None}),
    (
        Z,
        {**VAULT, "tenant_id": "t", "client_id": "c", "client_secret": CANARY, "sep": "--"},
        {"tenant_id": "t", "client_id": "c", "client_secret": HELD, "sep": "--"},
    ),
    (
        Z,
        {**VAULT, "tenant_id": "t", "client_id": "c", "client_secret": ""},
        {"tenant_id": None, "client_id": None},
    ),
    (
        Z,
        {
            **VAULT,
            "managed_identity_client_id": "m",
            "workload_identity_tenant_id": "w",
            "variables_prefix": None,
        },
        {"managed_identity_client_id": "m", "workload_identity_tenant_id": "w", "variables_prefix": False},
    ),
    (
        Z,
        {**VAULT, "connection_verify": False, "verify_challenge_resource": False},
        {"verify": False, "verify_challenge_resource": False},
    ),
    (K, {}, {"connections_data_key": "value"}),
    (
        K,
        {"namespace": "airflow", "variables_label": "a/b", "config_label": None},
        {"namespace": "airflow", "variables_label": "a/b", "config_label": False},
    ),
    (
        K,
        {"namespace": None, "team_label": None, "variables_data_key": "text"},
        {"team_label": False, "variables_data_key": "text"},
    ),
]
AS_THEY_ARE = [
    ("AkeylessBackend", {"access_id": "p-1", "access_key": CANARY, "connections_path": "/a"}, "access_key"),
    ("LockboxSecretBackend", {"yc_oauth_token": CANARY, "folder_id": "f"}, "yc_oauth_token"),
    ("LockboxSecretBackend", {"yc_sa_key_json": {"private_key": CANARY, "id": "i"}}, "private_key"),
    (A, {"config_kwargs": {"retries": {"max_attempts": 9}}, **KEY}, "config_kwargs"),
    (A, {"use_ssl": False, **KEY}, "use_ssl"),
    (A, {"role_arn": "arn", "assume_role_method": "assume_role_with_saml", **KEY}, "assumes a role"),
    (A, {"connections_prefix": "", "variables_prefix": "", **KEY}, "one prefix"),
    (P, {"session_kwargs": [1], **KEY}, "session_kwargs"),
    (G, {"gcp_credential_config_file": {"client_secret": CANARY}}, "holds a secret"),
    (
        G,
        {"gcp_credential_config_file": {"credential_source": {"headers": {"Authorization": CANARY}}}},
        "holds a secret",
    ),
    (G, {"gcp_keyfile_dict": KEYFILE, "unknown": 1}, "unknown"),
    (Z, {**VAULT, "proxies": {"https": "http://p"}, "client_secret": CANARY}, "proxies"),
    (K, {"kube_config": "x", "token": CANARY}, "kube_config"),
    (V, {**URL, "token": CANARY, "proxies": {"https": f"http://u:{CANARY}@p"}}, "proxies"),
    (
        "company.Vendor",
        {"keyfile_dict": KEYFILE, "secrets": {"a": CANARY, "b": {"c": CANARY}}},
        "keyfile_dict",
    ),
]


@pytest.fixture
def adopted(tmp_path):
    """Give a function from a class and its arguments to what was proposed, after it was written."""

    def make(name, kwargs, **environ):
        environ = {
            "HOME": str(tmp_path / "home"),
            "AIRFLOW__SECRETS__BACKEND": CLASSES.get(name, name),
            "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(kwargs),
            **environ,
        }
        found = adopt(
            AirflowConfig.find(environ),
            Surroundings(environ=environ, cwd=tmp_path),
            file=tmp_path / "strongroom.toml",
            deployment="default",
            has_store=False,
        )
        write([*found.secrets, found.settings])
        return found

    return make


def read_back(folder):
    """Give the first backend that the written file names."""
    settings = load(folder / "strongroom.toml", environ={"HOME": str(folder / "home")})
    return settings.backend[settings.chain[0]]


def opened(backend):
    """Give the options of *backend*, as its kind gets them."""
    return options(backend, load_backend(backend.kind).options_type, environ={})


def plain(value, folder):
    """Give a value of options with paths as if *folder* were the root, and secrets fetched."""
    if callable(value):
        value = value()
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, dict):
        return {key: plain(item, folder) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, folder) for item in value]
    return value if isinstance(value, (bool, int)) or value is None else str(value).removeprefix(str(folder))


@pytest.mark.parametrize(
    ("name", "kwargs", "wanted"), ROWS, ids=[f"{one[0]}-{n}" for n, one in enumerate(ROWS)]
)
def test_arguments_become_options_of_our_kind_and_mean_the_same(adopted, tmp_path, name, kwargs, wanted):
    made = adopted(name, kwargs)
    backend = read_back(tmp_path)
    assert backend.kind == KNOWN[name].kind
    held = opened(backend)
    found = {key: plain(getattr(held, key), tmp_path) for key in wanted}
    assert found == {key: plain(value, tmp_path) for key, value in wanted.items()}
    assert made.notes == ()
    assert CANARY not in (tmp_path / "strongroom.toml").read_text() + repr(made)


@pytest.mark.parametrize(
    ("name", "kwargs", "told"), AS_THEY_ARE, ids=[f"{one[0]}-{one[2]}" for one in AS_THEY_ARE]
)
def test_what_no_kind_of_ours_can_say_stays_the_class_of_airflow(adopted, tmp_path, name, kwargs, told):
    made = adopted(name, kwargs)
    backend = read_back(tmp_path)
    assert (backend.kind, opened(backend).path) == ("airflow_class", CLASSES.get(name, name))
    said = {key: value for key, value in kwargs.items() if value is not None}
    assert plain(dict(opened(backend).kwargs), tmp_path) == said
    if name in KNOWN:
        assert told in made.notes[0]
    assert CANARY not in (tmp_path / "strongroom.toml").read_text() + repr(made)


@pytest.mark.parametrize("name", [V, A, P, G, Z])
def test_teams_are_kept_where_airflow_keeps_them(adopted, tmp_path, name):
    needed = {V: {**URL, "token": "t"}, Z: VAULT}
    adopted(name, needed.get(name, {}), AIRFLOW__CORE__MULTI_TEAM="True")
    assert getattr(opened(read_back(tmp_path)), KNOWN[name].teams) is True


def test_what_is_said_of_teams_counts(adopted, tmp_path):
    kwargs = {**URL, "token": "t", "use_team_secrets_path": False}
    adopted(V, kwargs, AIRFLOW__CORE__MULTI_TEAM="True")
    assert opened(read_back(tmp_path)).use_team_secrets_path is False


@pytest.mark.parametrize("one", KNOWN.values(), ids=list(KNOWN))
def test_every_argument_that_is_taken_over_is_an_option_of_the_kind(one):
    there = {member.name for member in fields(load_backend(one.kind).options_type)}
    assert one.options <= there
    assert set(one.nothing) <= there
    assert one.teams in ("", *there)


@pytest.mark.parametrize("name", [A, G, K])
def test_names_in_airflows_store_are_known_to_check_where_a_kind_of_ours_can_list(tmp_path, name):
    environ = {
        "HOME": str(tmp_path),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__SECRETS__BACKEND": CLASSES[name],
        "AIRFLOW__SECRETS__BACKEND_KWARGS": "{}",
    }
    opened_as, troubles = [], []

    def open_backend(called, kind, given):
        opened_as.append((called, kind, given))
        return Memory("theirs", {Ref("variable", "region"): "eu"})

    def room():
        raise BackendConfigError("there is none")

    found = known_ids(
        AirflowConfig.find(environ),
        open_backend=open_backend,
        room=room,
        environ=environ,
        on_trouble=lambda place, error: troubles.append(place),
    )
    assert found["variable"] == {"region"}
    assert opened_as == [(KNOWN[name].name, KNOWN[name].kind, {})]
    assert troubles == ["strongroom"]
