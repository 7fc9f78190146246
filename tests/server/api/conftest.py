from __future__ import annotations

import pytest

from parts.api import asking


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """One server for the tests of a module; each uses names of its own."""
    with asking(tmp_path_factory.mktemp("api")) as found:
        yield found
