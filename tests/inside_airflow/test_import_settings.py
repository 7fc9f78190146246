"""An Airflow with a real Vault, whose settings are taken over: everything it resolves, we resolve alike."""

from __future__ import annotations

import json

import pytest

from cli_shell import Shell
from parts.openbao import Dev, shared
from strongroom.service.airflow.cfg import set_option

SECRET = "held/in 'the' \"vault\" ü"
VAULT = "airflow.providers.hashicorp.secrets.vault.VaultBackend"
URI = "postgres://u:p%2Fss@db.example:5432/sales?sslmode=require"
FIELDS = {"conn_type": "http", "host": "h", "password": SECRET, "extra": {"a": [1, {"b": "c"}]}}


@pytest.fixture(scope="module")
def adopted(airflow):
    place = airflow(3)

    def make(folder):
        home = place.home(folder)
        with shared(Dev) as bao:
            mount = bao.mount(2)
            held = {"connections/by_uri": {"conn_uri": URI}, "connections/by_fields": FIELDS}
            held |= {"variables/region": {"value": SECRET}, "variables/json": {"value": '{"a": 1}'}}
            for path, fields in held.items():
                bao.put(mount, path, fields)
            role = bao.role(bao.policy(f'path "{mount}/*" {{ capabilities = ["read", "list"] }}'))
            secret_id = role.secret_id()
            kwargs = {
                "url": bao.url,
                "mount_point": mount,
                "auth_type": "approle",
                "auth_mount_point": role.mount,
                "role_id": role.role_id,
                "secret_id": secret_id,
                "config_path": None,
            }
            config = home / "airflow.cfg"
            text = config.read_text()
            for option, value in (("backend", VAULT), ("backend_kwargs", json.dumps(kwargs))):
                text, _ = set_option(text, "secrets", option, value)
            config.write_text(text)
            shell = Shell(folder)
            shell.environ |= place.environ(home)
            made = shell("airflow import-settings --with-secrets --yes")
            check = shell("airflow check --output json")
        (folder / "ran").write_text(json.dumps({"home": str(home), "status": 0}))
        (folder / "kept.json").write_text(
            json.dumps(
                {
                    "code": [made.code, check.code],
                    "check": json.loads(check.out),
                    "said": made.out + made.err + check.err,
                    "settings": (folder / "strongroom.toml").read_text(),
                    "secret_id": secret_id,
                }
            )
        )
        return type("Made", (), {"folder": folder})

    return place.once("adopted", make).kept


def test_all_that_vault_held_is_listed_and_equal(adopted):
    rows = {(row["kind"], row["name"]): row for row in adopted["check"]["ids"]}
    assert set(rows) >= {
        ("connection", "by_uri"),
        ("connection", "by_fields"),
        ("variable", "region"),
        ("variable", "json"),
    }
    assert {row["outcome"] for row in rows.values()} == {"equal"}
    assert {(row["today"], row["ours"]) for row in rows.values()} == {("VaultBackend", "strongroom: vault")}


def test_secret_of_the_arguments_went_into_a_file_and_nowhere_else(adopted):
    assert adopted["code"] == [0, 0]
    assert 'secret_id = {file = ".strongroom/vault-secret-id"}' in adopted["settings"]
    assert adopted["secret_id"] not in adopted["settings"] + adopted["said"] + json.dumps(adopted["check"])


def test_secret_in_the_arguments_is_warned_of(adopted):
    names = {one["name"] for one in adopted["check"]["notices"]}
    assert "token-in-backend-kwargs" in names
