import shutil
from datetime import timedelta

import pytest

from audit_parts import NOW, Clock, event, keeper_of, open_log
from strongroom.audit import retention
from strongroom.audit.retention import hold, hold_of, lift, retain
from strongroom.audit.verify import verify_log
from strongroom.errors import AccessDeniedError, TamperedError


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    log = open_log(tmp_path / "audit", clock, segment_bytes=2000)
    for number in range(60):
        log.append(event(f"n{number}"))
        clock.now += timedelta(days=1)
    yield log
    log.close()


@pytest.fixture
def keeper(log, tmp_path, clock):
    return keeper_of(log.folder, tmp_path / "keys" / "audit.key", clock)


def after(days):
    return NOW + timedelta(days=days)


def test_old_segments_are_archived_and_both_halves_verify(log, keeper, tmp_path):
    archive = tmp_path / "archive"
    first = retain(keeper, after(20), archive)
    assert first.segments > 1
    assert 10 < first.first == first.records <= 20
    verdict = verify_log(log.folder)
    assert (verdict.is_ok, verdict.first, verdict.count, verdict.signed) == (
        True,
        first.first,
        60 - first.first,
        60,
    )
    old = verify_log(archive)
    assert (old.is_ok, old.first, old.count) == (True, 0, first.first)
    log.append(event("later"))
    second = retain(keeper, after(40), archive)
    assert second.first > first.first
    assert verify_log(log.folder).count == 61 - second.first
    assert verify_log(archive).count == second.first
    assert keeper.sign().checkpoint.size == 61
    assert verify_log(log.folder).is_ok


def test_what_is_removed_is_accounted_for_and_the_log_still_verifies(log, keeper):
    done = retain(keeper, after(30), None)
    verdict = verify_log(log.folder)
    assert (verdict.is_ok, verdict.first) == (True, done.first)
    assert retain(keeper, after(30), None).segments == 0


def test_records_taken_away_without_an_account_or_with_a_forged_one_are_missed(log, keeper, tmp_path):
    shutil.copytree(log.folder, tmp_path / "before")
    done = retain(keeper, after(30), None)
    kept = (log.folder / "kept").read_text()
    names = sorted(path.name for path in log.folder.glob("*.jsonl"))
    (log.folder / names[0]).unlink()
    verdict = verify_log(log.folder)
    assert (verdict.is_ok, verdict.index) == (False, done.first)
    (log.folder / "kept").write_text(kept.replace(f"\n{done.first}\n", f"\n{done.first + 1}\n"))
    assert not verify_log(log.folder).is_ok
    (log.folder / "kept").unlink()
    assert verify_log(log.folder).index == 0


def test_a_hold_refuses_until_it_is_lifted(log, keeper, clock):
    held = hold(log.folder, "person:anna", "case 4711", clock())
    assert hold(log.folder, "person:ben", "another", clock()) == held == hold_of(log.folder)
    before = sorted(log.folder.iterdir())
    with pytest.raises(AccessDeniedError, match="held") as caught:
        retain(keeper, after(30), None)
    assert caught.value.reason == "legal hold"
    assert {path.name for path in log.folder.glob("*.jsonl")} == {
        path.name for path in before if path.suffix == ".jsonl"
    }
    assert lift(log.folder) == held
    assert lift(log.folder) is None
    assert retain(keeper, after(30), None).segments


def test_a_hold_that_cannot_be_understood_is_a_hold(log, keeper):
    (log.folder / "hold").write_bytes(b"{")
    with pytest.raises(AccessDeniedError):
        retain(keeper, after(30), None)


def test_nothing_of_a_log_that_is_not_whole_is_let_go(log, keeper):
    keeper.sign()
    first = min(log.folder.glob("*.jsonl"))
    data = first.read_bytes()
    first.write_bytes(data.replace(b"n1", b"nX", 1))
    with pytest.raises(TamperedError, match="not whole at record 1"):
        retain(keeper, after(30), None)
    assert first.exists()


def test_only_old_whole_segments_go_and_never_the_last(log, keeper):
    assert retain(keeper, after(0), None).segments == 0
    done = retain(keeper, after(1000), None)
    assert [int(path.stem) for path in log.folder.glob("*.jsonl")] == [done.first]
    assert verify_log(log.folder).is_ok


def test_what_a_crash_left_of_segments_that_went_is_passed_over_and_cleared(log, keeper, tmp_path):
    shutil.copytree(log.folder, tmp_path / "before")
    retain(keeper, after(20), None)
    for path in (tmp_path / "before").glob("*.jsonl"):
        if not (log.folder / path.name).exists():
            shutil.copy(path, log.folder / path.name)
    assert verify_log(log.folder).is_ok
    assert retain(keeper, after(40), None).segments
    assert verify_log(log.folder).is_ok
    assert retention.hold_of(log.folder) is None
