from __future__ import annotations

import pytest

from parts.server import serving

SETTINGS = """
deployment = "prod"
[server.limits]
identity_per_second = 0
stranger_per_second = 0
[deployments.staging]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server of two deployments for the tests of a module; each uses names of its own."""
    with serving(tmp_path_factory.mktemp("server"), SETTINGS) as found:
        found.admin = found.token("admin", "admin")
        yield found
