"""`/backups`: made by a server that goes on answering, where its settings say and for whom they say."""

from __future__ import annotations

import pytest

from parts.backups import BackedUp, identity
from strongroom.assembly import open_house
from strongroom.errors import AccessDeniedError, ConflictError, InvalidInputError, SealedError
from strongroom.policy import Actor, Assurance


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
