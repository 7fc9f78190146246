"""Vault behind a faulty wire, logged in by AppRole and by nothing but a token."""

from datetime import datetime, timezone

from parts.faults import TEXT, FaultContract
from strongroom.backends.vault import Vault, VaultOptions
from strongroom.model.secret import Secret


def clock():
    return datetime.now(timezone.utc)


class TestVault(FaultContract):
    def serve(self, request):
        self.bao = request.getfixturevalue("bao")
        self.mount = self.bao.mount()
        self.bao.put(self.mount, "variables/held", {"value": TEXT})
        return self.bao.port

    def make(self, url, *, timeout, ca=None):
        options = VaultOptions(
            url=url, timeout=timeout, ca=ca, mount_point=self.mount, token=Secret(self.bao.root)
        )
        return Vault("vault", options, clock)


class TestVaultByAppRole(TestVault):
    def make(self, url, *, timeout, ca=None):
        policy = self.bao.policy(f'path "{self.mount}/data/*" {{ capabilities = ["read"] }}')
        role = self.bao.role(policy)
        options = VaultOptions(
            url=url,
            timeout=timeout,
            ca=ca,
            mount_point=self.mount,
            auth_type="approle",
            auth_mount_point=role.mount,
            role_id=role.role_id,
            secret_id=Secret(role.secret_id()),
        )
        return Vault("vault", options, clock)
