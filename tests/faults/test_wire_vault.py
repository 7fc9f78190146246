"""Vault behind a faulty wire, logged in by nothing but a token; by AppRole: tests/backends/test_vault.py."""

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
