"""Vault and OpenBao as a backend, against a real OpenBao."""

from datetime import datetime, timezone

import pytest

from parts.proxy import Proxy
from strongroom.backends.vault import Vault, VaultOptions
from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret
from strongroom.testing.contract import BackendContract


def clock():
    return datetime.now(timezone.utc)


class KeyValue(BackendContract):
    """The contract over one version of the engine, through a proxy that can be taken down."""

    version = 2

    @pytest.fixture(autouse=True)
    def server(self, bao):
        self.bao = bao
        self.mount = bao.mount(self.version)
        with Proxy("127.0.0.1", bao.port) as self.proxy:
            yield

    def make(self, tmp_path):
        self.mine = self.bao.policy(f'path "{self.mount}/*" {{ capabilities = ["read", "list"] }}')
        token = self.bao.token(self.mine)
        options = VaultOptions(
            url=self.proxy.url(),
            token=Secret(token),
            mount_point=self.mount,
            kv_engine_version=self.version,
            use_team_secrets_path=self.keeps_teams,
        )
        return Vault("vault", options, clock)

    def put(self, backend, ref, text):
        path = backend.naming.path(ref)
        if path is None:
            raise InvalidInputError("no such path")
        held = {"conn_uri": text} if ref.kind == "connection" else {"value": text}
        self.bao.put(self.mount, path, held, version=self.version)

    def put_oversized(self, backend, ref, text):
        self.put(backend, ref, text)

    def remove(self, backend, ref):
        kept = "metadata/" if self.version == 2 else ""
        self.bao.api("DELETE", f"{self.mount}/{kept}{backend.naming.path(ref)}")

    def down(self, backend):
        self.proxy.become("refuse")

    def deny(self, backend, ref):
        below = "data/" if self.version == 2 else ""
        rules = f'path "{self.mount}/{below}connections/*" {{ capabilities = ["read"] }}'
        self.bao.api("PUT", f"sys/policies/acl/{self.mine}", {"policy": rules})


class TestVersion2(KeyValue):
    keeps_teams = False


class TestVersion1(KeyValue):
    keeps_teams = False
    version = 1
