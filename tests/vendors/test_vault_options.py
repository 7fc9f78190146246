"""What may be said of logging in to Vault: every word of Airflow's, and what does not fit together."""

import sys
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path

import pytest

from parts.proxy import Proxy
from strongroom.backends.vault import Vault, VaultOptions
from strongroom.errors import BackendConfigError, SettingsError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.settings import load as load_settings
from strongroom.settings import options as options_of
from strongroom.testing.contract import CANARY
from strongroom.vendors.sessions import Sessions, access_of
from strongroom.vendors.vault_options import METHODS, LoginWords, VaultAccess, VaultAuth, login_of

# Of airflow.providers.hashicorp 4.8.4 (facts: its constructor); null there is unsaid here.
OF_AIRFLOW = (
    *("url", "auth_type", "auth_mount_point", "mount_point", "kv_engine_version", "token", "token_path"),
    *("username", "password", "key_id", "secret_id", "role_id", "assume_role_kwargs", "region"),
    *("kubernetes_role", "kubernetes_jwt_path", "gcp_key_path", "gcp_keyfile_dict", "gcp_scopes"),
    *("azure_tenant_id", "azure_resource", "radius_host", "radius_secret", "radius_port"),
    *("jwt_role", "jwt_token", "jwt_token_path", "namespace", "verify", "cert", "timeout"),
)


def clock():
    return datetime.now(timezone.utc)


def read(tmp_path, table, **environ):
    """Give the options as a settings file says them."""
    file = tmp_path / "strongroom.toml"
    file.write_text(f'[backend.vault]\nurl = "https://vault.example:8200"\n{table}')
    found = load_settings(file, environ={"HOME": str(tmp_path), **environ}, cwd=tmp_path)
    return options_of(found.backend["vault"], VaultOptions, environ=environ)


def login(tmp_path, table, **environ):
    return login_of("vault", read(tmp_path, table, **environ))


def test_every_word_of_airflow_is_an_option():
    assert [word for word in OF_AIRFLOW if word not in VaultOptions.__dataclass_fields__] == []


def test_every_word_belongs_to_a_method_and_every_method_has_known_words():
    words = {word.name for word in fields(LoginWords)}
    assert {word for known in METHODS.values() for word in known} == words


SETTINGS = {
    "token": 'token = { env = "S" }',
    "token_file": 'token_path = "token"',
    "token_helper": "token_helper = true",
    "token_helper_file": 'token_helper = "helper"',
    "approle": 'auth_type = "approle"\nrole_id = "r"\nsecret_id = { env = "S" }',
    "userpass": 'auth_type = "userpass"\nusername = "ada"\npassword = { env = "S" }',
    "ldap": 'auth_type = "ldap"\nusername = "ada"\npassword = { env = "S" }',
    "radius": 'auth_type = "radius"\nusername = "ada"\npassword = { env = "S" }\nradius_host = "h"\n'
    'radius_secret = { env = "S" }\nradius_port = 1812',
    "github": 'auth_type = "github"\ntoken = { env = "S" }',
    "kubernetes": 'auth_type = "kubernetes"\nkubernetes_role = "r"',
    "jwt": 'auth_type = "jwt"\njwt_role = "r"\njwt_token = { env = "S" }',
    "oidc": 'auth = { method = "oidc", jwt_token_path = "jwt" }',
    "cert": 'auth_type = "cert"\nclient_cert = "c"\nclient_key = "k"',
    "aws_iam": 'auth_type = "aws_iam"\nrole_id = "r"\nkey_id = "AKIA"\nsecret_id = { env = "S" }\n'
    'region = "eu-west-1"',
    "aws": 'auth = { method = "aws", role_id = "r", key_id = { env = "S" }, secret_id = { env = "S" } }',
    "gcp": 'auth_type = "gcp"\nrole_id = "r"',
    "gcp_table": 'auth_type = "gcp"\nrole_id = "r"\ngcp_scopes = "a,b"\n'
    'gcp_keyfile_dict = { type = "service_account", private_key = { env = "S" } }',
    "gcp_text": 'auth_type = "gcp"\nrole_id = "r"\ngcp_scopes = ["a"]\ngcp_keyfile_dict = { env = "S" }',
    "azure": 'auth_type = "azure"\nrole_id = "r"\nazure_tenant_id = "t"\nkey_id = "app"\n'
    'secret_id = { env = "S" }',
}


@pytest.mark.parametrize("case", SETTINGS)
def test_method_is_understood_as_settings_spell_it_and_prints_no_secret(tmp_path, case):
    options = read(tmp_path, SETTINGS[case], S=CANARY)
    made = login_of("vault", options)
    shown = repr([options, made, vars(made)])
    made.close()
    assert CANARY not in shown
    assert "ada" not in repr(options)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('auth_type = "userpass"\npassword = { env = "S" }', "logs in by userpass without a username"),
        ('auth_type = "ldap"\nusername = "u"', "set password = { file"),
        (
            'auth_type = "radius"\nradius_host = "h"\nradius_secret = { env = "S" }',
            "set username and password",
        ),
        ('auth_type = "github"', "logs in by github without a token"),
        ('auth_type = "github"\ntoken = { env = "S" }\ntoken_path = "t"', "both token and token_path"),
        ('auth_type = "kubernetes"', "without a kubernetes_role"),
        ('auth_type = "jwt"\njwt_role = "r"', "without a jwt_token"),
        (
            'auth_type = "jwt"\njwt_token = { env = "S" }\njwt_token_path = "t"',
            "both jwt_token and jwt_token_path",
        ),
        ('auth_type = "cert"', "without a client_cert"),
        ('auth_type = "aws_iam"\nkey_id = "AKIA"', "without a secret_id"),
        ('auth_type = "aws_iam"\nsecret_id = { env = "S" }', "without a key_id"),
        (
            (
                'auth_type = "aws_iam"\nkey_id = "k"\nsecret_id = { env = "S" }\n'
                'assume_role_kwargs = { RoleArn = "a" }'
            ),
            "both key_id and assume_role_kwargs",
        ),
        ('auth_type = "aws_iam"\nassume_role_kwargs = { RoleSessionName = "x" }', "has no RoleArn"),
        ('auth_type = "gcp"', "without a role_id"),
        (
            'auth_type = "gcp"\nrole_id = "r"\ngcp_key_path = "k"\ngcp_keyfile_dict = { env = "S" }',
            "both gcp_key_path and gcp_keyfile_dict",
        ),
        (
            'auth_type = "azure"\nazure_tenant_id = "t"\nazure_resource = "r"',
            "set role_id to the role's name",
        ),
        ('auth_type = "azure"\nrole_id = "r"\nsecret_id = { env = "S" }', "without an azure_tenant_id"),
        (
            'auth_type = "azure"\nrole_id = "r"\nidentity_url = "ftp://x"',
            "identity_url is not one this can speak to",
        ),
        ('auth_type = "userpas"', "did you mean userpass?"),
        ('auth_type = "jwt"\nusername = "u"', 'drop username, or set auth_type = "userpass"'),
        ('token_path = "t"\ntoken_helper = true', "both token_path and token_helper"),
        (
            'auth_type = "jwt"\njwt_role = "a"\nauth = { method = "jwt", jwt_role = "b" }',
            "both jwt_role and auth.jwt_role",
        ),
    ],
)
def test_misuse_is_refused_by_the_name_of_the_setting(tmp_path, table, message):
    with pytest.raises(BackendConfigError) as caught:
        login(tmp_path, table, S=CANARY)
    assert message in f"{caught.value}; {caught.value.hint}"
    assert CANARY not in repr(vars(caught.value)) + str(caught.value)


@pytest.mark.parametrize("word", ["password", "jwt_token", "radius_secret", "secret_id"])
def test_secret_that_is_written_out_is_refused(tmp_path, word):
    with pytest.raises(SettingsError, match="not written out") as caught:
        login(tmp_path, f'{word} = "{CANARY}"')
    assert CANARY not in str(caught.value)


def test_certificate_is_not_shown_over_plain_http():
    access = VaultAccess(url="http://h", client_cert=Path("c"), auth=VaultAuth(method="cert"))
    with pytest.raises(BackendConfigError, match="plain HTTP"):
        login_of("vault", access)


def test_misspelt_word_is_told_with_the_nearest(tmp_path):
    with pytest.raises(SettingsError) as caught:
        login(tmp_path, 'kubernetes_rol = "r"')
    assert caught.value.hint == "did you mean backend.vault.kubernetes_role?"


def test_what_the_cloud_logins_stand_on_is_named_where_it_is_missing(monkeypatch):
    for packages, words, extra in (
        (["boto3"], {"method": "aws_iam"}, "aws"),
        (["google", "google.auth"], {"method": "gcp", "role_id": "r", "gcp_scopes": "a"}, "gcp"),
    ):
        with monkeypatch.context() as patched:
            for package in packages:
                patched.setitem(sys.modules, package, None)
            with pytest.raises(BackendConfigError) as caught:
                login_of("vault", VaultAccess(url="https://h", auth=VaultAuth(**words)))
        assert f"strongroom[{extra}]" in caught.value.hint


# --- one session for several backends ----------------------------------------------------------------


def test_backends_with_the_same_access_share_one_login(bao):
    mount = bao.mount()
    bao.put(mount, "variables/region", {"value": "eu"})
    bao.put(mount, "other/region", {"value": "us"})
    role = bao.role(bao.policy(f'path "{mount}/data/*" {{ capabilities = ["read"] }}'))
    with Proxy("127.0.0.1", bao.port) as proxy:
        secret_id = Secret(role.secret_id())
        auth = VaultAuth(method="approle", mount_point=role.mount, role_id=role.role_id, secret_id=secret_id)
        sessions = Sessions()
        first, second = (
            Vault(
                name,
                VaultOptions(url=proxy.url(), auth=auth, mount_point=mount, variables_path=path),
                clock,
                sessions=sessions,
            )
            for name, path in (("one", "variables"), ("two", "other"))
        )
        found = [backend.read(Ref("variable", "region")).secret.reveal() for backend in (first, second)]
        assert found == ["eu", "us"]
        assert proxy.lines.count(f"POST /v1/auth/{role.mount}/login") == 1
        first.close()
        assert second.read(Ref("variable", "region")).secret.reveal() == "us"
        second.close()
        assert proxy.lines.count(f"POST /v1/auth/{role.mount}/login") == 1


def test_access_of_settings_that_say_the_same_is_the_same(tmp_path):
    environ = {"S": "x"}
    (tmp_path / "strongroom.toml").write_text(
        "".join(
            f'[backend.{name}]\nkind = "vault"\nurl = "https://h"\n{SETTINGS["userpass"]}\n{more}\n'
            for name, more in (
                ("a", 'mount_point = "x"'),
                ("b", 'connections_path = "y"'),
                ("c", "timeout = 9"),
            )
        )
    )
    found = load_settings(tmp_path / "strongroom.toml", environ={"HOME": str(tmp_path)}, cwd=tmp_path)
    one, same, other = (
        access_of(options_of(found.backend[name], VaultOptions, environ=environ), VaultAccess)
        for name in "abc"
    )
    assert one == same
    assert one != other
