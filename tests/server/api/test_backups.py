"""`/backups`: made by a server that goes on answering, where its settings say and for whom they say."""

from __future__ import annotations

import time
from contextlib import closing
from threading import Event, Thread

import pytest

from parts.api import SETTINGS, asking
from parts.backups import BackedUp, identity
from strongroom.assembly import open_house
from strongroom.caller import Client
from strongroom.caller.address import ServerAddress
from strongroom.caller.credential import Credential
from strongroom.errors import AccessDeniedError, ConflictError, InvalidInputError, SealedError
from strongroom.model.secret import Secret
from strongroom.policy import Actor, Assurance
from strongroom.remote.backups import RemoteBackups


@pytest.fixture(scope="module")
def keeping(tmp_path_factory):
    """A server whose settings name a folder and a recipient."""
    text = f'{SETTINGS}\n[backup]\nrecipients = ["{identity()[1]}"]\nfolder = "kept"\n'
    with asking(tmp_path_factory.mktemp("keeping"), text) as found:
        found.put("variable", "region", {"value": "s3cret-canary"})
        yield found


def test_server_backs_itself_up_and_lists_it_and_goes_on(keeping):
    answer = keeping.ask("POST", "/backups")
    made = answer.json()
    assert (answer.status, made["entries"], made["deployments"]) == (200, 1, ["prod"])
    (kept,) = keeping.ask("GET", "/backups").json()["backups"]
    assert (kept["file"], kept["size"]) == (made["file"], made["size"])
    assert "/" not in made["file"]
    assert b"s3cret-canary" not in answer.body
    told = [line.get("reason") for line in keeping.ask("GET", "/audit", query={"limit": 5}).json()["records"]]
    assert "backup: create" in told


def test_remote_room_has_a_server_back_itself_up(keeping):
    credential = Credential(Secret(keeping.tokens["admin"]))
    with closing(Client(ServerAddress(keeping.server.address), credential)) as client:
        there = RemoteBackups(client)
        before = len(there.list())
        # Named by the second: one that was made in this one already is not replaced.
        end = time.monotonic() + 30
        while True:
            try:
                made = there.create()
                break
            except ConflictError:
                assert time.monotonic() < end
                time.sleep(0.05)
        assert made.recipients == (identity()[1],)
        assert len(there.list()) == before + 1


def test_backups_made_and_listed_all_at_once_while_records_are_signed_are_all_answered(keeping):
    answers = {"POST": [], "GET": []}
    is_over = Event()

    def asks(thread, method):
        number = 0
        while not is_over.is_set():
            answers[method].append(keeping.ask(method, "/backups").status)
            keeping.put("variable", f"at-once-{thread}-{number}", {"value": "1"})
            number += 1
            if answers["POST"].count(200) >= 3 or number > 2000:
                is_over.set()

    threads = [Thread(target=asks, args=asked) for asked in enumerate(["POST", "POST", "GET", "GET"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One second has one name: the second backup of it is refused, and nothing else is.
    assert set(answers["POST"]) == {200, 409}
    assert set(answers["GET"]) == {200}


@pytest.mark.parametrize("role", ["op", "user", "viewer", "reader"])
def test_who_does_not_administer_has_no_server_back_itself_up(keeping, role):
    before = keeping.ask("GET", "/backups").json()
    assert keeping.ask("POST", "/backups", role=role).status == 403
    assert keeping.ask("GET", "/backups", role=role).status == 403
    assert keeping.ask("GET", "/backups").json() == before


def test_backup_is_made_in_read_only_mode(keeping):
    keeping.ask("PUT", "/mode", {"is_read_only": True})
    try:
        assert keeping.ask("POST", "/backups").status in (200, 409)  # 409: one of this very second
    finally:
        keeping.ask("PUT", "/mode", {"is_read_only": False})


def test_server_without_a_folder_for_backups_says_so(api):
    answer = api.ask("POST", "/backups")
    assert (answer.status, answer.json()["error"]["code"]) == (409, "conflict")
    assert api.ask("GET", "/backups").status == 409


@pytest.fixture
def site(tmp_path):
    made = BackedUp(
        tmp_path / "site", config=f'[backup]\nrecipients = ["{identity()[1]}"]\nfolder = "kept"\n'
    )
    made.write(region="eu")
    return made


def test_room_keeps_backups_in_the_folder_of_its_settings(site):
    with site.room() as room:
        assert room.backups.list() == []
        made = room.backups.create()
        (kept,) = room.backups.list()
    assert (kept.file, kept.size) == (made.file, made.size)
    assert (made.entries, made.versions, made.recipients) == (1, 1, (identity()[1],))
    assert site.verify(site.folder / "kept" / made.file).proven["default"].versions == 1


def test_house_backs_up_with_the_keys_it_has_after_their_outer_key_was_lost(site):
    before = site.read()
    with open_house(site.settings, environ=site.environ) as house:
        room = house.deployment().root
        site.settings.store.wrappers[0].path.unlink()
        made = room.backups.create()
        assert house.deployment().registry.problems() == []
    with pytest.raises(SealedError):
        site.read()
    site.restore(site.folder / "kept" / made.file)
    assert site.read() == before


def test_who_may_not_administer_makes_and_sees_none(site):
    with open_house(site.settings, environ=site.environ) as house:
        room = house.deployment().root.as_actor(Actor("person:anna", Assurance.HOST_USER))
        with pytest.raises(AccessDeniedError):
            room.backups.create()
        with pytest.raises(AccessDeniedError):
            room.backups.list()
    assert not (site.folder / "kept").exists()


def test_folder_without_a_recipient_makes_none(tmp_path):
    site = BackedUp(tmp_path / "site", config='[backup]\nfolder = "kept"\n')
    site.write(region="eu")
    with site.room() as room, pytest.raises(InvalidInputError, match="no recovery recipient"):
        room.backups.create()
    plain = BackedUp(tmp_path / "plain")
    plain.write(region="eu")
    with plain.room() as room, pytest.raises(ConflictError, match="no folder"):
        room.backups.create()
