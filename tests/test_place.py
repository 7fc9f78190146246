from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import strongroom
from strongroom.errors import SettingsError
from strongroom.place import AGENT, LIBRARY, SERVER, find, require_library


def test_nothing_named_means_the_library():
    assert find({}).kind == LIBRARY
    require_library({})


def test_an_empty_variable_counts_as_unset():
    assert find({"STRONGROOM_SOCKET": "", "STRONGROOM_URL": ""}).kind == LIBRARY


def test_a_socket_goes_before_a_server():
    place = find({"STRONGROOM_SOCKET": "/run/s", "STRONGROOM_URL": "https://example.com"})
    assert (place.kind, place.setting) == (AGENT, "STRONGROOM_SOCKET")
    assert find({"STRONGROOM_URL": "https://example.com"}).kind == SERVER


def test_a_profile_is_a_server_and_a_url_goes_before_it():
    place = find({"STRONGROOM_PROFILE": "prod"})
    assert (place.kind, place.setting) == (SERVER, "STRONGROOM_PROFILE")
    assert find({"STRONGROOM_PROFILE": "prod", "STRONGROOM_URL": "https://h"}).setting == "STRONGROOM_URL"


@pytest.mark.parametrize("variable", ["STRONGROOM_SOCKET", "STRONGROOM_URL", "STRONGROOM_PROFILE"])
def test_another_place_is_never_silently_replaced_by_the_library(variable):
    with pytest.raises(SettingsError, match=variable) as caught:
        require_library({variable: "https://user:canary-1@example.com"})
    assert caught.value.key == variable
    assert variable in caught.value.hint
    assert "canary" not in str(caught.value) + caught.value.hint


def test_finding_the_place_imports_nothing_heavy():
    source = Path(strongroom.__file__).parent.parent
    script = f"import sys; sys.path.insert(0, {str(source)!r}); import strongroom.place; print(*sys.modules)"
    # Without site: an editable install imports on its own account.
    found = subprocess.run(
        [sys.executable, "-S", "-E", "-c", script], capture_output=True, text=True, check=True
    )
    assert {"dataclasses", "enum", "typing", "json", "re", "urllib"}.isdisjoint(found.stdout.split())
