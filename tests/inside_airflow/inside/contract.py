"""
The contract of backends for `airflow_class` around classes of Airflow; pytest runs this file within Airflow.

VAULT holds JSON of where OpenBao is and who may ask it what.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from strongroom.backends.airflow_class import AirflowClass, AirflowClassOptions
from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import BackendContract

SERVER = json.loads(os.environ["VAULT"])


class OfAirflow(BackendContract):
    """What Airflow's own classes do otherwise than the contract says."""

    def test_team_and_global_are_apart(self, backend):
        # They are asked with the team, and those that keep nothing for it give the global entry themselves.
        self.put(backend, Ref("variable", "region"), "global")
        assert self._text(backend, Ref("variable", "region", "data")) == "global"


def around(path, **kwargs):
    options = AirflowClassOptions(path=path, kwargs=kwargs)
    return AirflowClass("theirs", options, lambda: datetime.now(timezone.utc))


class TestLocalFilesystem(OfAirflow):
    """Its connections are objects, which come as Airflow's JSON: a text is kept of variables alone."""

    keeps_teams = False
    kinds = ("variable",)

    def make(self, tmp_path):
        self.file = tmp_path / "variables.json"
        self.held = {}
        self._write()
        return around(
            "airflow.secrets.local_filesystem.LocalFilesystemBackend", variables_file_path=str(self.file)
        )

    def put(self, backend, ref, text):
        if ref.team is not None or ref.kind != "variable":
            raise InvalidInputError("it keeps no such thing")
        self.held[ref.name] = text
        self._write()

    def remove(self, backend, ref):
        del self.held[ref.name]
        self._write()

    def down(self, backend):
        self.file.unlink()

    def _write(self):
        self.file.write_text(json.dumps(self.held))


class TestVault(OfAirflow):
    keeps_teams = False

    def make(self, tmp_path):
        self.folder = tmp_path.name
        paths = {f"{word}_path": f"{self.folder}/{word}" for word in ("connections", "variables", "config")}
        self.token = tmp_path / "token"
        self.token.write_text(SERVER["token"])
        return around(
            "airflow.providers.hashicorp.secrets.vault.VaultBackend",
            url=SERVER["url"],
            mount_point=SERVER["mount"],
            auth_type="approle",
            role_id=SERVER["role_id"],
            secret_id=Secret(SERVER["secret_id"]),
            auth_mount_point=SERVER["auth_mount"],
            **paths,
        )

    def put(self, backend, ref, text):
        if ref.team is not None:
            raise InvalidInputError("it knows no teams here")
        key = "conn_uri" if ref.kind == "connection" else "value"
        self._ask("POST", f"data/{self._path(ref)}", {"data": {key: text}})

    def remove(self, backend, ref):
        self._ask("DELETE", f"metadata/{self._path(ref)}")

    def deny(self, backend, ref):
        self.put(backend, ref, "x")
        rules = f'path "{SERVER["mount"]}/*" {{ capabilities = ["deny"] }}'
        self._ask("POST", f"/sys/policies/acl/{SERVER['policy']}", {"policy": rules})

    @pytest.fixture(autouse=True)
    def allowed(self):
        rules = f'path "{SERVER["mount"]}/*" {{ capabilities = ["read"] }}'
        self._ask("POST", f"/sys/policies/acl/{SERVER['policy']}", {"policy": rules})

    def _path(self, ref):
        if "#" in ref.name or not ref.name.isprintable():
            raise InvalidInputError("a client of Vault cannot ask for it")
        return quote(
            f"{self.folder}/{ref.kind}s/{ref.name}" if ref.kind != "config" else f"{self.folder}/config"
        )

    def _ask(self, method, path, body=None):
        where = path.lstrip("/") if path.startswith("/") else f"{SERVER['mount']}/{path}"
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Vault-Token": SERVER["token"], "Content-Type": "application/json"}
        request = Request(f"{SERVER['url']}/v1/{where}", data, headers, method=method)
        try:
            urlopen(request, timeout=20).close()
        except HTTPError as error:
            error.close()
            raise InvalidInputError("the server keeps no such name") from None
