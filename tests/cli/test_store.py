"""The store moved to a database server by command, with a password that is nowhere but in its file."""

import json

import pytest

from cli_shell import Shell
from parts import databases
from parts.homes import home

PASSWORD = "p/w:@%?#"  # of the user that parts.databases makes


@pytest.fixture
def shell(tmp_path):
    shell = Shell.with_room(tmp_path)
    assert shell("variables set region", "eu-west-1\n").code == 0
    return shell


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_store_is_moved_to_a_server_and_used_there_with_a_password_from_a_file(kind, shell, tmp_path):
    place, file = guarded(kind, tmp_path), tmp_path / "db.pass"
    file.touch(mode=0o600)
    file.write_text(PASSWORD)
    moved = shell(f"store move --to '{place}' --password-file {file} --yes")
    assert moved.code == 0, moved.err
    assert f'url = "{place}"' in moved.out
    assert f'password = {{ file = "{file}" }}' in moved.out
    assert PASSWORD not in moved.out + moved.err
    shell.environ["STRONGROOM__STORE__URL"] = place
    shell.environ["STRONGROOM__STORE__PASSWORD__FILE"] = str(file)
    assert shell("read region").out == "eu-west-1"
    assert shell("variables set region", "us\n").code == 0
    told = json.loads(shell("store status -o json").out)
    assert (told["kind"], told["schema"], told["rows"]["versions"]) == (kind, "current", 2)
    assert "guarded" not in told["address"]
    back = shell("store migrate --back --yes")
    assert back.out == "the store was of the schema 0003 and is of 0002 now\n", back.err
    assert shell("read region").out == "us"


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_wrong_password_is_told_and_the_store_stays(kind, shell, tmp_path):
    place, file = guarded(kind, tmp_path), tmp_path / "db.pass"
    file.touch(mode=0o600)
    file.write_text("c4n4ry")
    moved = shell(f"store move --to '{place}' --password-file {file} --yes")
    assert moved.code == 7
    assert "c4n4ry" not in moved.err
    assert "the store at --to refuses" in moved.err.replace("the database of ", "")
    assert "hint: correct --to or --password-file" in moved.err
    assert shell("variables set region", "still here\n").code == 0


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("postgresql://u:c4n4ry@h/x", "--password-file FILE"),
        ("mariadb://u:c4n4ry@h/x", "--password-file FILE"),
        ("mariadb://u@h.example/x", "--to leaves this machine without TLS"),
        ("oracle://u@h/x", "postgresql://, mariadb:// or sqlite:///"),
    ],
)
def test_mistake_in_what_was_typed_names_the_options_and_not_the_settings(place, told, shell):
    moved = shell(f"store move --to '{place}' --yes")
    assert moved.code == 7
    assert told in moved.err
    assert "store." not in moved.err
    assert "c4n4ry" not in moved.err


def test_settings_to_be_written_name_the_password_file_from_anywhere(shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place, file = guarded("postgresql", tmp_path), tmp_path / "db.pass"
    file.touch(mode=0o600)
    file.write_text(PASSWORD)
    moved = shell(f"store move --to '{place}' --password-file db.pass --yes")
    assert moved.code == 0, moved.err
    assert f'password = {{ file = "{file}" }}' in moved.out


def test_schema_of_a_store_that_was_moved_is_not_taken_back(shell, tmp_path):
    assert shell(f"store move --to '{tmp_path}/new/store.db' --yes").code == 0
    back = shell("store migrate --back --yes")
    assert back.code == 7
    assert "was moved to" in back.err
    assert json.loads(shell("store status -o json").out)["schema"] == "current"


def guarded(kind, folder):
    """Give an empty database whose user needs a password."""
    place = home(kind, folder)
    name = place.split("@/")[1].partition("?")[0]
    grant = (
        f"ALTER DATABASE {name} OWNER TO guarded"
        if kind == "postgresql"
        else f"GRANT ALL ON {name}.* TO guarded@localhost"
    )
    databases.server_of(kind).run(grant)
    return place.replace("//postgres@", "//guarded@").replace("//root@", "//guarded@")
