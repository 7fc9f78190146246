"""Backups: made beside writers, proven, brought back whole or not at all, and what is lost told exactly."""

from __future__ import annotations

import json
import sqlite3
import struct
import threading
from hashlib import sha256

import msgspec
import pytest

from parts.backups import BackedUp, identity
from parts.homes import KINDS, home
from strongroom.assembly import open_house
from strongroom.assembly.backup import new_identity
from strongroom.audit.note import Signer, new_signer
from strongroom.crypto.recovery import Identities, Recipients
from strongroom.errors import (
    BackendConfigError,
    ConflictError,
    InvalidInputError,
    SealedError,
    TamperedError,
)
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.registry import Change as RegistryChange
from strongroom.service.access.shape import BREAK_GLASS, SESSION
from strongroom.service.entries import Change

FRAME = struct.Struct(">cI")


@pytest.fixture
def site(tmp_path):
    made = BackedUp(tmp_path / "site")
    made.write(region="eu", other="x")
    made.write(region="us")
    return made


@pytest.fixture
def backed_up(site):
    site.back_up()
    return site


def parts_of(file):
    """Give the parts of a backup: [kind, bytes], and what stands before them."""
    data = file.read_bytes()
    start, at, found = data[:4], 4, []
    while at < len(data):
        kind, length = FRAME.unpack_from(data, at)
        at += FRAME.size
        found.append([kind, data[at : at + length]])
        at += length
    return start, found


def put_together(file, start, found):
    file.write_bytes(start + b"".join(FRAME.pack(kind, len(data)) + data for kind, data in found))


# --- the way there and back ----------------------------------------------------------------------


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_what_was_backed_up_from_any_database_stands_in_any_other(source, target, tmp_path):
    if source != target or source == "postgresql":
        site = BackedUp(tmp_path / "site", place=home(source, tmp_path))
        names = {"a": "1", "A": "2", "é": "ü\n\0", "z ": "", "\U0001d518": "x" * 70_000}
        with site.room(create=True) as room:
            room.entries.write_many(
                [Change(ref=Ref("variable", name), secret=Secret(text)) for name, text in names.items()]
            )
        site.delete("A")
        before = site.read()
        site.back_up()
        place = home(target, tmp_path)
        site.restore(to=place)
        there = site.at(place)
        assert there.read() == before
        there.write(later="y")
        assert there.read() == before | {"later": ("y", 1)}


def test_restore_brings_back_values_versions_and_deletions_of_then(backed_up):
    before = backed_up.read()
    backed_up.write(region="moon", new="n")
    backed_up.delete("other")
    backed_up.restore(accepts=True)
    assert backed_up.read() == before


def test_backup_of_two_deployments_and_a_team_brings_all_of_them_back(tmp_path):
    config = 'deployment = "prod"\n[store]\npath = "s.db"\n[deployments.staging.store]\npath = "s.db"\n'
    prod = BackedUp(tmp_path / "site", config=config)
    staging = BackedUp(tmp_path / "site", config=config)
    staging.settings = staging.loaded(deployment="staging")
    prod.write(region="eu")
    staging.write(region="test")
    with prod.room() as room:
        room.entries.write(Change(ref=Ref("variable", "of_team", "data"), secret=Secret("t")))
    made = prod.back_up()
    assert made.manifest.deployments == ("prod", "staging")
    prod.write(region="changed")
    staging.write(region="changed")
    checked = prod.restore(accepts=True)
    assert [(span.deployment, len(span.changes)) for span in checked.spans] == [("prod", 1), ("staging", 1)]
    assert prod.read() == {"region": ("eu", 1)}
    assert staging.read() == {"region": ("test", 1)}
    with prod.room() as room:
        assert room.entries.reveal(Ref("variable", "of_team", "data"), reason="t").secret.reveal() == "t"


def test_deployment_that_came_after_the_backup_is_not_lost_unless_accepted(tmp_path):
    config = 'deployment = "prod"\n[store]\npath = "s.db"\n[deployments.staging.store]\npath = "s.db"\n'
    prod = BackedUp(tmp_path / "site", config=config)
    staging = BackedUp(tmp_path / "site", config=config)
    staging.settings = staging.loaded(deployment="staging")
    prod.write(region="eu")
    prod.back_up()
    assert [span.deployment for span in prod.verify().spans] == ["prod"]
    staging.write(region="test")
    checked = prod.verify()
    assert [(span.deployment, span.is_lossless) for span in checked.spans] == [
        ("prod", True),
        ("staging", False),
    ]
    assert checked.spans[1].entries == (Ref("variable", "region"),)
    with pytest.raises(ConflictError, match="loses changes that were acknowledged"):
        prod.restore()
    assert staging.read() == {"region": ("test", 1)}
    # Whose record nobody here knows is asked of the store itself.
    (tmp_path / "site" / "strongroom.toml").write_text('deployment = "prod"\n[store]\npath = "s.db"\n')
    prod.settings = prod.loaded()
    with pytest.raises(ConflictError, match="that are not in the backup: staging; nothing was changed"):
        prod.restore()
    assert staging.read() == {"region": ("test", 1)}
    prod.restore(accepts=True)
    with pytest.raises(SealedError):
        staging.read()


def test_backup_of_a_deployment_that_the_settings_do_not_name_is_refused(tmp_path):
    site = BackedUp(tmp_path / "site")
    site.write(region="eu")
    stranger = BackedUp(
        tmp_path / "site", config='deployment = "stranger"\n[store]\npath = "room/store.db"\n'
    )
    stranger.write(a="b")
    with pytest.raises(SealedError, match="holds the deployment default too"):
        stranger.back_up()
    assert not stranger.file.exists()


def test_lost_key_file_is_survived_and_another_is_made(backed_up):
    before = backed_up.read()
    key = backed_up.settings.store.wrappers[0].path
    lost = key.read_bytes()
    key.unlink()
    with pytest.raises(SealedError):
        backed_up.read()
    backed_up.restore()
    assert backed_up.read() == before
    assert key.read_bytes() != lost


def test_lost_store_is_brought_back_to_its_own_place(backed_up):
    before = backed_up.read()
    for path in backed_up.settings.store.path.parent.glob("store.db*"):
        path.unlink()
    backed_up.restore()
    assert backed_up.read() == before


def test_everything_lost_but_backup_identity_and_key_is_survived_on_another_host(site, tmp_path):
    made = site.back_up()
    before = site.read()
    elsewhere = BackedUp(tmp_path / "elsewhere")
    with pytest.raises(InvalidInputError, match="nothing here tells whether the backup is yours"):
        elsewhere.restore(site.file)
    checked = elsewhere.verify(site.file, keys=[made.key])
    assert "nobody can tell" in checked.spans[0].trouble
    with pytest.raises(ConflictError, match="or may"):
        elsewhere.restore(site.file, keys=[made.key])
    elsewhere.restore(site.file, keys=[made.key], accepts=True)
    assert elsewhere.read() == before


def test_damaged_store_is_told_and_left_for_the_operator_to_move(backed_up):
    path = backed_up.settings.store.path
    for extra in path.parent.glob("store.db-*"):
        extra.unlink()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(BackendConfigError, match="not a store"):
        backed_up.restore()
    assert path.read_bytes().startswith(b"no database")
    path.rename(path.with_name("damaged"))
    backed_up.restore()
    assert backed_up.read()["region"] == ("us", 2)


def test_writers_go_on_while_a_backup_is_made_and_it_holds_one_moment(site):
    ended = threading.Event()

    def write():
        number = 0
        while not ended.is_set():
            site.write(left=str(number), right=str(number))
            number += 1

    writer = threading.Thread(target=write)
    site.write(left="0", right="0", **{f"n{number}": "x" for number in range(600)})
    writer.start()
    try:
        for number in range(3):
            site.back_up(site.folder / f"{number}.srb")
    finally:
        ended.set()
        writer.join()
    for number in range(3):
        site.restore(site.folder / f"{number}.srb", accepts=True)
        found = site.read()
        assert found["left"] == found["right"]


# --- what is lost --------------------------------------------------------------------------------


def test_span_names_exactly_the_changes_since(backed_up):
    backed_up.write(region="moon", new="n")
    backed_up.delete("other")
    (span,) = backed_up.verify().spans
    assert [(lost.action, lost.ref.name, lost.version) for lost in span.changes] == [
        ("write", "region", "3"),
        ("write", "new", "1"),
        ("delete", "other", None),
    ]
    assert span.since < span.changes[0].at <= span.until == span.changes[-1].at
    assert not span.trouble


def test_nothing_changed_since_is_told_and_restored_without_more(backed_up):
    (span,) = backed_up.verify().spans
    assert span.is_lossless
    backed_up.read()
    backed_up.restore()


def test_CR14_restore_behind_acknowledged_changes_is_refused_unless_accepted_and_recorded(backed_up):
    backed_up.write(region="moon")
    with pytest.raises(ConflictError, match="loses changes that were acknowledged") as refusal:
        backed_up.restore()
    assert "--accept-rollback" in refusal.value.hint
    assert backed_up.read()["region"] == ("moon", 3)
    backed_up.restore(accepts=True)
    assert backed_up.read()["region"] == ("us", 2)
    told = [record for record in backed_up.records(40) if record[2].startswith(("restore", "conflict"))]
    assert [(action, outcome) for action, outcome, _ in told] == [
        ("administer", "begun"),
        ("administer", "failed"),
        ("administer", "begun"),
        ("administer", "done"),
    ]
    assert "rollback not accepted" in told[0][2]
    assert "1 changes since are lost" in told[3][2]
    assert "rollback accepted" in told[3][2]


def test_what_was_lost_in_a_restore_is_not_lost_again_by_the_same_backup(backed_up):
    backed_up.write(region="moon")
    backed_up.restore(accepts=True)
    assert backed_up.verify().spans[0].is_lossless
    backed_up.write(region="mars")
    assert [lost.version for lost in backed_up.verify().spans[0].changes] == ["3"]


def test_older_backup_tells_of_the_restore_of_a_newer_one(site):
    site.back_up(site.folder / "old.srb")
    site.write(region="moon")
    site.back_up(site.folder / "new.srb")
    site.restore(site.folder / "new.srb")
    (span,) = site.verify(site.folder / "old.srb").spans
    assert [lost.action for lost in span.changes] == ["write", "administer"]


def test_record_that_was_set_back_is_noticed(backed_up):
    folder = backed_up.settings.audit.path
    (segment,) = folder.glob("0*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:2]))
    last = json.loads(lines[1])
    head = json.dumps({"hash": last["hash"], "seq": 1}).encode()
    (folder / "head").write_bytes(head.ljust(127) + b"\n")
    (span,) = backed_up.verify().spans
    assert "set back" in span.trouble
    with pytest.raises(ConflictError):
        backed_up.restore()


def test_record_that_was_changed_is_noticed(backed_up):
    (segment,) = backed_up.settings.audit.path.glob("0*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"begun"', b'"ended"', 1))
    (span,) = backed_up.verify().spans
    assert "not whole" in span.trouble


# --- who follows, who may ------------------------------------------------------------------------


def test_who_follows_the_store_is_told_to_read_everything_again(backed_up):
    with open_house(backed_up.settings, environ=backed_up.environ) as house:
        deployment = house.deployment()
        feed = deployment.feed
        backed_up.write(region="moon")
        feed.poll()
        last, gaps = feed.last, feed.gaps
        backed_up.restore(accepts=True)
        feed.poll()
        assert feed.gaps == gaps + 1
        assert feed.since(last)[1]
        assert feed.last > last
        backed_up.write(region="mars")
        feed.poll()
        changes, is_gap = feed.since(feed.last - 1)
        assert ([change.ref.name for change in changes], is_gap) == (["region"], False)


def test_people_and_policies_of_then_are_believed_though_they_are_older(site):
    with site.room() as room:
        room.access.people.add("anna")
    site.back_up()
    with site.room() as room:
        room.access.people.add("bert")
        assert not room.access.problems()
    site.restore(accepts=True)
    with site.room() as room:
        assert not room.access.problems()
        assert [person.name for person in room.access.people.list()] == ["anna"]
        room.access.people.add("carl")
        assert not room.access.problems()


def test_time_before_there_was_anybody_is_believed_too(site):
    site.back_up()
    with site.room() as room:
        room.access.people.add("anna")
    site.restore(accepts=True)
    with site.room() as room:
        assert not room.access.problems()
        assert room.access.people.list() == []
        room.access.people.add("bert")
        assert not room.access.problems()


def test_server_that_runs_goes_on_with_who_may_of_then(site):
    with site.room() as room:
        room.access.people.add("anna")
    site.back_up()
    with open_house(site.settings, environ=site.environ) as house:
        access = house.deployment().root.access
        access.people.add("bert")
        assert [person.name for person in access.people.list()] == ["anna", "bert"]
        site.restore(accepts=True)
        house.deployment().registry.look()
        assert not access.problems()
        assert [person.name for person in access.people.list()] == ["anna"]


def test_sessions_and_broken_glass_of_then_do_not_come_back(site):
    with site.room() as room:
        room.access.people.add("anna")
        registry = room.access._gate.registry
        registry.put_many([RegistryChange(SESSION, "s", b"{}"), RegistryChange(BREAK_GLASS, "anna", b"{}")])
    site.back_up()
    site.restore()
    with site.room() as room:
        found = room.access._gate.registry.snapshot()
        assert not found.of(SESSION)
        assert not found.of(BREAK_GLASS)


# --- bad input: one clear error each, nothing changed -----------------------------------------------


def unchanged(site, expected, match):
    """See that *site* refuses its backup as *expected*, and that its room is as before."""
    before = site.read()
    with pytest.raises(expected, match=match):
        site.restore(accepts=True)
    with pytest.raises(expected, match=match):
        site.verify()
    assert site.read() == before
    assert not list(site.folder.rglob(".strongroom-restore-*"))


def test_backup_that_is_cut_short_anywhere_is_refused(backed_up):
    whole = backed_up.file.read_bytes()
    start, parts = parts_of(backed_up.file)
    boundaries, at = [], len(start)
    for _, data in parts:
        boundaries += [at, at + 2, at + FRAME.size, at + FRAME.size + len(data) // 2]
        at += FRAME.size + len(data)
    for boundary in boundaries:
        backed_up.file.write_bytes(whole[:boundary])
        with pytest.raises(TamperedError, match="cut short"):
            backed_up.verify(opened=False)
    unchanged(backed_up, TamperedError, "cut short")


def test_backup_with_its_chunks_in_another_order_is_refused(backed_up):
    start, parts = parts_of(backed_up.file)
    parts[1], parts[2] = parts[2], parts[1]
    put_together(backed_up.file, start, parts)
    unchanged(backed_up, TamperedError, "another order")


def test_backup_without_one_of_its_chunks_is_refused(backed_up):
    start, parts = parts_of(backed_up.file)
    put_together(backed_up.file, start, [*parts[:2], *parts[3:]])
    unchanged(backed_up, TamperedError, "cut short")


def test_backup_with_a_chunk_twice_is_refused(backed_up):
    start, parts = parts_of(backed_up.file)
    put_together(backed_up.file, start, [*parts[:2], *parts[1:]])
    unchanged(backed_up, TamperedError, "damaged")


@pytest.mark.parametrize("which", [0, 1, 2])
def test_backup_with_a_changed_byte_in_header_or_chunk_is_refused(backed_up, which):
    start, parts = parts_of(backed_up.file)
    data = bytearray(parts[which][1])
    data[len(data) // 2] ^= 1
    parts[which][1] = bytes(data)
    put_together(backed_up.file, start, parts)
    unchanged(backed_up, TamperedError, "damaged")


def test_backup_whose_manifest_was_changed_is_not_believed(backed_up):
    start, parts = parts_of(backed_up.file)
    parts[-1][1] = parts[-1][1].replace(b'"sequence":', b'"sequence":1')
    put_together(backed_up.file, start, parts)
    unchanged(backed_up, TamperedError, "not signed by a key that is known here")


def test_backup_goes_on_behind_its_end_and_is_refused(backed_up):
    with backed_up.file.open("ab") as file:
        file.write(FRAME.pack(b"C", 4) + b"more")
    unchanged(backed_up, TamperedError, "damaged")


def test_foreign_backup_is_refused(backed_up, tmp_path):
    foreign = BackedUp(tmp_path / "foreign")
    foreign.write(region="evil")
    foreign.back_up()
    backed_up.file.write_bytes(foreign.file.read_bytes())
    unchanged(backed_up, TamperedError, "not signed by a key that is known here")


def test_another_store_is_never_overwritten(backed_up, tmp_path):
    other = BackedUp(tmp_path / "other")
    other.write(region="theirs")
    with pytest.raises(ConflictError, match="another store"):
        backed_up.restore(to=other.settings.store.path)
    assert other.read() == {"region": ("theirs", 1)}


def test_backup_of_a_newer_format_is_told_as_that(backed_up):
    data = bytearray(backed_up.file.read_bytes())
    data[3] = 2
    backed_up.file.write_bytes(bytes(data))
    unchanged(backed_up, InvalidInputError, "newer release")


def rewritten(site, change, *, keeps=lambda table: True):
    """Put one in the place of a backup that says what *change* makes of its manifest, signed by its key."""
    opening, to = Identities(identity()[0]), Recipients([identity()[1]])
    start, parts = parts_of(site.file)
    header, *sealed, manifest = [data for _, data in parts]
    mark, origin, line = manifest.decode().partition("\n\n")[0].split("\n")
    said = json.loads(line)
    backup, kept = bytes.fromhex(said["id"]), []
    for data in sealed:
        _, _, table, rows = msgspec.msgpack.decode(opening.open(data))
        if keeps(table):
            kept.append(to.seal(msgspec.msgpack.encode([backup, len(kept), table, rows])))
    said["chunks"] = [sha256(data).hexdigest() for data in kept]
    said["tables"] = {name: table for name, table in said["tables"].items() if keeps(name)}
    change(said)
    text = f"{mark}\n{origin}\n{json.dumps(said, sort_keys=True, separators=(',', ':'))}\n"
    signer = Signer.parse(site.settings.audit.checkpoint.key.read_text())
    parts = [[b"H", header], *([b"C", data] for data in kept), [b"M", signer.sign(text).format().encode()]]
    put_together(site.file, start, parts)


def test_backup_of_a_newer_schema_is_told_as_that(backed_up):
    rewritten(backed_up, lambda said: said.update(schema="9999"))
    before = backed_up.read()
    with pytest.raises(InvalidInputError, match="newer release"):
        backed_up.restore(accepts=True)
    assert backed_up.read() == before


def test_backup_of_an_older_schema_is_brought_up_to_date_on_its_way(backed_up, caplog):
    before = backed_up.read()
    rewritten(
        backed_up,
        lambda said: said.update(schema="0002"),
        keeps=lambda table: table not in ("kek_uses", "key_jobs"),
    )
    backed_up.write(region="moon")
    backed_up.restore(accepts=True)
    assert backed_up.read() == before


def test_backup_whose_rows_are_not_what_its_manifest_says_is_refused_though_it_is_signed(backed_up):
    rewritten(backed_up, lambda said: said["tables"]["entries"].update(rows=1))
    unchanged_when_opened(backed_up, TamperedError, "not what its manifest says")


def test_backup_without_its_keys_is_refused(backed_up):
    rewritten(backed_up, lambda said: None, keeps=lambda table: table != "recovery")
    unchanged_when_opened(backed_up, SealedError, "every key")


def unchanged_when_opened(site, expected, match):
    """See that *site* refuses what its own key signed, once it is opened."""
    before = site.read()
    with pytest.raises(expected, match=match):
        site.restore(accepts=True)
    assert site.read() == before


def test_another_identity_opens_nothing(backed_up):
    with pytest.raises(SealedError, match="none of those the backup was made for"):
        backed_up.restore(secret=new_identity()[0])


@pytest.mark.parametrize("text", ["", "# only a comment", "AGE-SECRET-KEY-1NONE", "hunter2hunter2"])
def test_file_without_identity_is_refused_without_showing_it(backed_up, text):
    with pytest.raises(InvalidInputError) as refusal:
        backed_up.restore(secret=Secret(text))
    assert not text.startswith("hunter2") or text not in f"{refusal.value} {refusal.value.hint}"


@pytest.mark.parametrize("data", [b"", b"SR", b"PK\x03\x04 another file", b"SRB"])
def test_file_that_is_no_backup_is_refused(backed_up, data):
    backed_up.file.write_bytes(data)
    with pytest.raises((InvalidInputError, TamperedError)):
        backed_up.verify()


def test_missing_file_is_told(backed_up):
    backed_up.file.unlink()
    with pytest.raises(InvalidInputError, match="no such file"):
        backed_up.verify()


def test_backup_never_takes_the_place_of_a_file(backed_up):
    before = backed_up.file.read_bytes()
    with pytest.raises(ConflictError, match="exists already"):
        backed_up.back_up()
    assert backed_up.file.read_bytes() == before


def test_tampered_row_is_found_by_the_drill_and_not_brought_back(site):
    with sqlite3.connect(site.settings.store.path) as connection:
        connection.execute("UPDATE entries SET owner = 'mallory' WHERE name = 'other'")
    connection.close()
    site.back_up()
    with pytest.raises(TamperedError, match="other"):
        site.drill()
    with pytest.raises(TamperedError, match="other"):
        site.restore(accepts=True)


def test_wrong_recipient_is_refused_without_showing_it(site):
    secret = identity()[0].reveal()
    with site.desk() as desk, pytest.raises(InvalidInputError) as refusal:
        desk.create(site.file, recipients=[secret], progress=lambda *_: None)
    assert secret not in str(refusal.value)
    assert not site.file.exists()


def test_backup_without_recipient_is_refused(site):
    with site.desk() as desk, pytest.raises(InvalidInputError, match="no recovery recipient"):
        desk.create(site.file, progress=lambda *_: None)


# --- nothing to read -----------------------------------------------------------------------------


def test_no_value_key_or_name_stands_in_the_file(site):
    site.write(payroll_password="hunter2hunter2hunter2")
    site.back_up()
    data = site.file.read_bytes()
    key = site.settings.store.wrappers[0].path.read_text().split()[2]
    for text in ("hunter2", "payroll_password", key):
        assert text.encode() not in data
    assert site.file.stat().st_mode & 0o777 == 0o600


def test_drill_opens_everything_records_itself_and_changes_nothing(backed_up):
    backed_up.write(region="moon")
    store = backed_up.settings.store.path
    before = backed_up.read()
    drilled = backed_up.drill()
    assert drilled.checked.proven["default"].versions == 3
    assert len(drilled.checked.spans[0].changes) == 1
    assert backed_up.read() == before
    assert ("administer", "done", "backup: drill") in backed_up.records()
    assert {path.name for path in store.parent.iterdir()} >= {"store.db", "key"}
    assert not list(backed_up.folder.rglob(".strongroom-restore-*"))


def test_backup_from_the_midst_of_a_rotation_and_after_it_is_brought_back(site):
    with site.room() as room:
        room.keys.rotate(reason="test")
    site.back_up(site.folder / "midst.srb")
    before = site.read()
    with site.room() as room:
        room.keys.rewrap()
        (old, _) = room.keys.status()
        room.keys.destroy(old.id, reason="test")
    assert site.read() == before
    site.back_up()
    site.restore()
    assert site.read() == before
    with site.room() as room:
        assert [key.state for key in room.keys.status()] == ["destroyed", "active"]
    site.restore(site.folder / "midst.srb", accepts=True)
    assert site.read() == before


def test_use_of_a_key_is_never_counted_down(site):
    site.back_up()
    site.write(**{f"n{number}": "x" for number in range(50)})
    with site.room() as room:
        (before,) = room.keys.status()
    site.restore(accepts=True)
    with site.room() as room:
        (after,) = room.keys.status()
    assert after.wraps >= before.wraps


def test_any_of_several_recipients_opens_a_backup(site):
    other, recipient = new_identity()
    with site.desk() as desk:
        desk.create(site.file, recipients=[identity()[1], recipient], progress=lambda *_: None)
    assert site.verify().proven["default"].versions == 3
    site.restore(secret=other)


def test_unknown_signer_is_not_believed_by_a_key_of_another_name(backed_up):
    stranger = new_signer("strongroom/default/0000000000000000").verifier.format()
    with pytest.raises(TamperedError, match="not signed"):
        backed_up.verify(keys=[stranger])
    with pytest.raises(InvalidInputError, match="no verifier key"):
        backed_up.verify(keys=["nonsense"])
