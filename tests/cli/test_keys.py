"""`strongroom keys`, where ids are needed; what is shown stands in keys.txt."""

import json

import pytest

from cli_shell import Shell


@pytest.fixture
def shell(tmp_path):
    made = Shell.with_room(tmp_path)
    assert made("variables set region --value-stdin", "eu-west-1").code == 0
    return made


def keys(shell):
    return json.loads(shell("keys status --output json").out)


def test_key_is_destroyed_by_the_beginning_of_its_id_once_it_was_replaced(shell):
    (key,) = keys(shell)
    refused = shell(f"keys destroy {key['id'][:8]} --yes")
    assert (refused.code, "seals what is written now" in refused.err) == (5, True)
    shell("keys rotate --later")
    refused = shell(f"keys destroy {key['id'][:8]} --yes")
    assert (refused.code, "1 version, 1 entry" in refused.err) == (5, True)
    shell("keys rotate --resume")
    unasked = shell(f"keys destroy {key['id'][:8]}")
    assert (unasked.code, f"destroy key {key['id']}" in unasked.err) == (2, True)
    done = shell(f"keys destroy {key['id'][:8]} --yes --reason gone --output json")
    assert json.loads(done.out) == {"id": key["id"], "state": "destroyed"}
    assert [key["state"] for key in keys(shell)] == ["destroyed", "active"]
    assert shell("read region").out == "eu-west-1"


def test_key_file_that_wraps_the_store_is_never_made_anew(shell):
    (shell.folder / "room" / "key").unlink()
    refused = shell("keys rotate --root --yes")
    assert refused.code == 8
    assert not (shell.folder / "room" / "key").exists()


def test_status_for_programs_tells_what_was_sealed_and_when_the_key_is_due(shell):
    (key,) = keys(shell)
    assert (key["wraps"], key["state"], key["replaced_at"]) == (1, "active", None)
    assert key["due_at"] > key["created_at"]
