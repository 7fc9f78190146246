import fcntl
import json
import os
import shutil

import pytest

from audit_parts import Clock, HttpWitness, event, keeper_of, lines_in, open_log
from strongroom.audit import note
from strongroom.audit.checkpoint import evidence_beside, last_in, public_of
from strongroom.audit.note import Verifier
from strongroom.audit.tree import Frontier, leaf_of
from strongroom.audit.verify import verify_log
from strongroom.audit.witness import FileWitness, cosigned_path, evidence_at
from strongroom.audit.witness import HttpWitness as OverHttp
from strongroom.errors import BackendConfigError, BackendUnavailableError, TamperedError


@pytest.fixture
def log(tmp_path):
    log = open_log(tmp_path / "audit", Clock(), segment_bytes=4000)
    yield log
    log.close()


@pytest.fixture
def keeper(log, tmp_path):
    return keeper_of(log.folder, tmp_path / "keys" / "audit.key")


def fill(log, count, prefix="n"):
    for number in range(count):
        log.append(event(f"{prefix}{number}"))


def test_what_is_durable_is_signed_and_the_key_is_private(log, keeper):
    assert keeper.sign() is None
    fill(log, 30)
    signed = keeper.sign()
    assert (signed.checkpoint.size, keeper.pending()) == (30, 0)
    assert signed.checkpoint.origin.startswith("strongroom/prod/")
    assert keeper.key.stat().st_mode & 0o777 == 0o600
    assert keeper.key.parent.stat().st_mode & 0o777 == 0o700
    fill(log, 5)
    assert keeper.pending() == 5
    assert keeper_of(log.folder, keeper.key).sign().checkpoint.size == 35
    assert last_in(log.folder).size == 35
    verdict = verify_log(log.folder)
    assert (verdict.is_ok, verdict.signed, verdict.checkpoints) == (True, 35, 2)


def test_nothing_new_is_signed_once(log, keeper):
    fill(log, 3)
    first = keeper.sign()
    assert keeper.sign().note == first.note
    assert len(note.parse_notes((log.folder / "checkpoints").read_text())) == 1


@pytest.mark.parametrize("how", ["cut", "other", "head", "replaced"])
def test_a_log_that_does_not_go_on_where_the_last_checkpoint_ended_is_not_signed(log, keeper, how, tmp_path):
    fill(log, 20)
    keeper.sign()
    before = (log.folder / "checkpoints").read_bytes()
    fill(log, 2)
    log.close()
    last = max(log.folder.glob("*.jsonl"))
    if how == "cut":
        last.unlink()
        (log.folder / "head").write_bytes(b'{"hash":"%b","seq":3}' % (b"0" * 64))
    elif how == "other":
        data = last.read_bytes()
        last.write_bytes(data[:-500] + data[-500:].replace(b"native", b"narive"))
    elif how == "head":
        (log.folder / "head").write_bytes(b"{")
    else:
        shutil.rmtree(log.folder)
        again = open_log(log.folder)
        fill(again, 40, "other")
        again.close()
    with pytest.raises(TamperedError):
        keeper_of(log.folder, keeper.key).sign()
    if how != "replaced":
        assert (log.folder / "checkpoints").read_bytes() == before


def test_a_key_whose_making_was_killed_once_it_stood_is_never_written_to(log, keeper):
    fill(log, 1)
    keeper.sign()
    text = keeper.key.read_text()
    for path in (
        *keeper.key.parent.glob(f"{keeper.key.name}.*"),
        log.folder / "checkpoints",
        log.folder / "keys",
    ):
        path.unlink()
    os.link(keeper.key, keeper.key.with_name(f"{keeper.key.name}.new"))
    again = keeper_of(log.folder, keeper.key)
    assert again.sign().checkpoint.size == 1
    assert keeper.key.read_text() == text
    assert not keeper.key.with_name(f"{keeper.key.name}.new").exists()


def test_a_key_that_is_gone_open_or_damaged_is_refused_and_no_other_is_made(log, keeper):
    fill(log, 3)
    keeper.sign()
    fill(log, 1)
    text = keeper.key.read_bytes()
    keeper.key.chmod(0o644)
    with pytest.raises(BackendConfigError, match="open to others"):
        keeper.sign()
    keeper.key.chmod(0o600)
    keeper.key.write_bytes(text[:-9] + b"AAAAAAA=\n")
    with pytest.raises(BackendConfigError, match="damaged") as caught:
        keeper.sign()
    assert text[-30:-10].decode() not in str(caught.value)
    keeper.key.unlink()
    with pytest.raises((BackendConfigError, TamperedError)):
        keeper.sign()
    assert not keeper.key.exists()
    keeper.key.write_bytes(text)
    keeper.key.chmod(0o600)
    assert keeper.sign().checkpoint.size == 4


def test_state_that_was_put_back_or_forged_is_refused(log, keeper):
    fill(log, 3)
    keeper.sign()
    state = keeper.key.with_name("audit.key.state")
    found = json.loads(state.read_text())
    state.write_text(json.dumps({**found, "roots": ["00" * 32] * 2}))
    fill(log, 1)
    with pytest.raises(TamperedError):
        keeper.sign()
    state.unlink()
    with pytest.raises(TamperedError, match="gone"):
        keeper.sign()


def test_a_crash_between_keeping_and_publishing_loses_no_proof(log, keeper):
    fill(log, 3)
    keeper.sign()
    published = (log.folder / "checkpoints").read_bytes()
    fill(log, 3)
    keeper.sign()
    (log.folder / "checkpoints").write_bytes(published + b"strongroom/prod/half a no")
    verdict = verify_log(log.folder, evidence=lambda keys: [evidence_beside(keeper.key, keys)])
    assert (verdict.is_ok, verdict.signed) == (True, 6)
    fill(log, 1)
    keeper.sign()
    assert [
        note.parse_checkpoint(each).size
        for each in note.parse_notes((log.folder / "checkpoints").read_text())
    ] == [3, 7]


def test_records_of_every_process_are_signed_and_a_second_signer_waits_its_turn(log, keeper, tmp_path):
    fill(log, 2)
    (tmp_path / "keys").mkdir()
    with (tmp_path / "keys" / "audit.key.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BackendConfigError, match="busy"):
            keeper.sign()
    assert keeper.sign().checkpoint.size == 2


# --- witnesses -----------------------------------------------------------------------------------


@pytest.fixture
def witness():
    witness = HttpWitness()
    yield witness
    witness.close()


def test_a_file_elsewhere_gets_every_checkpoint_with_its_hashes(log, keeper, tmp_path):
    copy = FileWitness("file", tmp_path / "notes")
    for _ in range(4):
        fill(log, 7)
        copy.show(keeper.sign(), keeper)
    copy.show(keeper.sign(), keeper)
    assert (tmp_path / "notes").read_text() == (log.folder / "checkpoints").read_text()
    assert (tmp_path / "notes.tree").read_bytes() == keeper.tree.read_bytes()
    found = evidence_at("w", tmp_path / "notes", ())
    assert [each.size for each in found.checkpoints] == [7, 14, 21, 28]
    assert not found.fault


def test_a_witness_file_that_was_away_gets_what_it_missed(log, keeper, tmp_path):
    (tmp_path / "w").mkdir()
    copy = FileWitness("file", tmp_path / "w" / "notes")
    fill(log, 3)
    copy.show(keeper.sign(), keeper)
    (tmp_path / "w").rename(tmp_path / "away")
    fill(log, 3)
    with pytest.raises(BackendUnavailableError, match="no such file"):
        copy.show(keeper.sign(), keeper)
    (tmp_path / "away").rename(tmp_path / "w")
    copy.show(keeper.sign(), keeper)
    assert (tmp_path / "w" / "notes.tree").read_bytes() == keeper.tree.read_bytes()


def test_AU02_a_file_that_has_seen_more_or_something_else_is_an_alarm(log, keeper, tmp_path):
    copy = FileWitness("file", tmp_path / "notes")
    fill(log, 5)
    old = keeper.sign()
    fill(log, 5)
    copy.show(keeper.sign(), keeper)
    with pytest.raises(TamperedError, match="has seen 10 records, and the log has 5"):
        copy.show(old, keeper)
    other = open_log(tmp_path / "other" / "audit")
    fill(other, 3, "other")
    keeper2 = keeper_of(other.folder, tmp_path / "other" / "key")
    with pytest.raises(TamperedError, match="another log"):
        copy.show(keeper2.sign(), keeper2)
    other.close()


def forked(log, keeper, tmp_path):
    """Two histories of one log, signed by one key, that part after 5 records."""
    fill(log, 5)
    keeper.sign()
    log.close()
    for part in ("audit", "keys"):
        shutil.copytree(tmp_path / part, tmp_path / "fork" / part)
    other = open_log(tmp_path / "fork" / "audit", segment_bytes=4000)
    fill(other, 6, "other")
    other.close()
    fill(log, 3)
    return keeper_of(other.folder, tmp_path / "fork" / "keys" / "audit.key")


def test_AU02_two_heads_shown_to_two_viewers_fail_at_a_witness(log, keeper, tmp_path, witness):
    other = forked(log, keeper, tmp_path)
    over_http = OverHttp("w", witness.url, key=Verifier.parse(witness.key))
    copy = FileWitness("file", tmp_path / "notes")
    for each in (over_http, copy):
        each.show(keeper.sign(), keeper)
    with pytest.raises(TamperedError, match="refuses"):
        OverHttp("w", witness.url).show(other.sign(), other)
    with pytest.raises(TamperedError, match="forked"):
        copy.show(other.sign(), other)
    verdict = verify_log(other.folder, evidence=lambda keys: [evidence_at("w", tmp_path / "notes", keys)])
    assert (verdict.is_ok, verdict.index) == (False, 5)


def test_a_witness_over_http_checks_every_proof_and_its_word_is_kept(log, keeper, witness):
    over_http = OverHttp("w", witness.url, key=Verifier.parse(witness.key), token="t0k3n")
    for count in (1, 3, 4, 9, 20):
        fill(log, count)
        over_http.show(keeper.sign(), keeper)
    over_http.show(keeper.sign(), keeper)
    # A process that starts anew does not know what the witness has seen, and is told.
    fill(log, 1)
    OverHttp("w", witness.url).show(keeper.sign(), keeper)
    (kept,) = note.parse_notes(cosigned_path(keeper.key, "w").read_text())
    assert note.parse_checkpoint(kept).size == 38
    assert Verifier.parse(witness.key).has_signed(kept)
    assert public_of(keeper.key)[0].has_signed(kept)


def test_a_witness_that_is_down_or_signs_with_another_key_is_trouble(log, keeper, witness):
    fill(log, 1)
    witness.mood = "down"
    with pytest.raises(BackendUnavailableError):
        OverHttp("w", witness.url).show(keeper.sign(), keeper)
    witness.mood = "well"
    other = HttpWitness(name="other")
    with pytest.raises(TamperedError, match="own key"):
        OverHttp("w", witness.url, key=Verifier.parse(other.key)).show(keeper.sign(), keeper)
    other.close()


def test_lines_in_the_tree_are_those_of_the_log(log, keeper):
    fill(log, 13)
    tree = Frontier()
    for line in lines_in(log.folder):
        tree.push(leaf_of(line))
    assert keeper.sign().checkpoint.root == tree.root()
    assert keeper.tree.stat().st_size % 32 == 0
