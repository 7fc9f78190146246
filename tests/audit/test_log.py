from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit import AuditLog, Event, Record
from strongroom.audit import log as log_module
from strongroom.errors import BackendUnavailableError, NotRecordedError

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def event(name: str = "orders_db", **changes: object) -> Event:
    members: dict[str, object] = {
        "actor": "local:1000",
        "assurance": 1,
        "action": "read",
        "outcome": "found",
        "kind": "connection",
        "name": name,
        "backend": "native",
        "version": "3",
    }
    return Event(**{**members, **changes})


def open_log(folder: Path, **options: object) -> AuditLog:
    return AuditLog(folder, deployment="prod", clock=lambda: NOW, **options)


@pytest.fixture
def log(tmp_path):
    log = open_log(tmp_path / "audit")
    yield log
    log.close()


def lines(log: AuditLog) -> list[bytes]:
    return [
        line
        for path in sorted(log.folder.glob("*.jsonl"))
        for line in path.read_bytes().splitlines(keepends=True)
    ]


def replace(log: AuditLog, new: list[bytes]) -> None:
    first, *others = sorted(log.folder.glob("*.jsonl"))
    for path in others:
        path.unlink()
    first.write_bytes(b"".join(new))


def fill(log: AuditLog, count: int) -> None:
    for number in range(count):
        log.append(event(f"name-{number}"))


def test_an_empty_log_is_whole(log):
    assert log.verify().is_ok
    assert log.tail(5) == []


def test_a_record_says_who_did_what_to_what_and_how_it_ended(log):
    log.append(event(reason="because", team="data"))
    (record,) = log.tail(1)
    assert (record.seq, record.at, record.deployment) == (0, "2026-01-01T00:00:00.000000Z", "prod")
    assert (record.actor, record.assurance, record.action) == ("local:1000", 1, "read")
    assert (record.kind, record.name, record.team) == ("connection", "orders_db", "data")
    assert (record.outcome, record.reason, record.backend, record.version) == (
        "found",
        "because",
        "native",
        "3",
    )
    assert record.prev == "0" * 64


def test_a_line_is_canonical_json_with_its_hash(log):
    log.append(event('q"uo,"hash":"te', reason="tab\t ü \u2028 \x1f"))
    (line,) = lines(log)
    members = json.loads(line)
    assert (
        line
        == json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    )
    assert log.verify().is_ok


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_text_is_recorded_and_verified(tmp_path_factory, texts):
    log = open_log(tmp_path_factory.mktemp("log") / "audit")
    log.append(*(event(text, reason=text, actor=text) for text in texts))
    log.close()
    assert log.verify().is_ok
    assert [record.name for record in log.tail(9)] == texts


def test_a_lone_surrogate_does_not_stop_the_record(log):
    log.append(event(reason="\ud800"))
    assert log.verify().is_ok


def test_a_long_reason_is_cut(log):
    log.append(event(reason="x" * 5000))
    assert len(log.tail(1)[0].reason) == 500


def test_records_are_numbered_and_chained(log):
    fill(log, 3)
    records = log.tail(10)
    assert [record.seq for record in records] == [0, 1, 2]
    assert [record.prev for record in records[1:]] == [record.hash for record in records[:-1]]


def test_files_and_folder_are_private(log):
    previous = os.umask(0)
    try:
        log.append(event())
    finally:
        os.umask(previous)
    assert log.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in log.folder.iterdir()} == {0o600}


def test_the_log_goes_on_where_another_opening_left_it(log):
    log.append(event("first"))
    log.close()
    again = open_log(log.folder)
    again.append(event("second"))
    assert [record.seq for record in again.tail(5)] == [0, 1]
    log.append(event("third"))
    assert [record.name for record in log.tail(5)] == ["first", "second", "third"]
    assert log.verify().count == 3
    again.close()


def test_segments_follow_each_other_in_one_chain(tmp_path):
    log = open_log(tmp_path / "audit", segment_bytes=1000)
    fill(log, 20)
    assert len(list(log.folder.glob("*.jsonl"))) > 3
    assert log.verify().count == 20
    assert [record.seq for record in log.tail(12)] == list(range(8, 20))
    log.close()


def test_tail_reads_only_the_end(log, monkeypatch):
    log.append(*(event(f"name-{number}" * 20) for number in range(3000)))
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: read.append(size) or pread(file, size, at))
    assert [record.seq for record in log.tail(3)] == [2997, 2998, 2999]
    assert sum(read) <= 2 * 65_536


def test_tail_leaves_out_what_is_no_record(log):
    fill(log, 3)
    replace(log, [*lines(log)[:2], b"{]\n"])
    assert [record.seq for record in log.tail(5)] == [0, 1]


# --- attacks -------------------------------------------------------------------------------------


def forge(line: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(line), **changes}, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def edit(found: list[bytes], at: int) -> list[bytes]:
    return [*found[:at], forge(found[at], name="other"), *found[at + 1 :]]


def drop(found: list[bytes], at: int) -> list[bytes]:
    return [*found[:at], *found[at + 1 :]]


def insert(found: list[bytes], at: int) -> list[bytes]:
    return [*found[:at], forge(found[at], name="invented"), *found[at:]]


def reorder(found: list[bytes], at: int) -> list[bytes]:
    other = at + 1 if at + 1 < len(found) else at - 1
    swapped = list(found)
    swapped[at], swapped[other] = found[other], found[at]
    return swapped


def repeat(found: list[bytes], at: int) -> list[bytes]:
    return [*found[: at + 1], *found[at:]]


def cut_tail(found: list[bytes], at: int) -> list[bytes]:
    return found[:at]


def cut_head(found: list[bytes], at: int) -> list[bytes]:
    return found[at + 1 :]


def cut_inside(found: list[bytes], at: int) -> list[bytes]:
    return [*found[:at], found[at][:-20]]


def scribble(found: list[bytes], at: int) -> list[bytes]:
    return [*found[:at], b"\xff\x00 not json\n", *found[at + 1 :]]


def respace(found: list[bytes], at: int) -> list[bytes]:
    return [*found[:at], found[at].replace(b'","', b'", "', 1), *found[at + 1 :]]


ATTACKS = {
    edit: lambda at, _count: at,
    drop: lambda at, _count: at,
    insert: lambda at, _count: at,
    reorder: lambda at, count: at if at + 1 < count else at - 1,
    repeat: lambda at, _count: at + 1,
    cut_tail: lambda at, _count: at,
    cut_head: lambda _at, _count: 0,
    cut_inside: lambda at, _count: at,
    scribble: lambda at, _count: at,
    respace: lambda at, _count: at,
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_verify_names_the_first_bad_record(log, attack):
    chance = random.Random(f"audit {attack.__name__}")
    count = 30
    log.append(*(event(f"name-{number}") for number in range(count)))
    whole = lines(log)
    for at in {0, count - 1, *(chance.randrange(count) for _ in range(20))}:
        replace(log, attack(whole, at))
        verdict = log.verify()
        assert not verdict.is_ok
        assert (verdict.index, verdict.count) == (ATTACKS[attack](at, count),) * 2, verdict
        assert verdict.reason
    replace(log, whole)
    assert log.verify().is_ok


@pytest.mark.parametrize(
    "attack", [drop, cut_tail, cut_head, edit, cut_inside], ids=lambda attack: attack.__name__
)
def test_later_records_do_not_smooth_an_attack_over(log, attack):
    log.append(*(event(f"name-{number}") for number in range(10)))
    log.close()
    replace(log, attack(lines(log), 7))
    log.append(event("later"))
    log.append(event("later still"))
    verdict = log.verify()
    assert (verdict.is_ok, verdict.index) == (False, ATTACKS[attack](7, 10))


def test_a_rebuilt_end_does_not_match_the_head(log):
    fill(log, 5)
    head = (log.folder / "head").read_bytes()
    replace(log, lines(log)[:4])
    (log.folder / "head").write_bytes(b"")
    log.close()
    log.append(event("forged"))
    (log.folder / "head").write_bytes(head)
    assert log.verify().index == 4


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"seq": "x", "hash": 1}'])
def test_a_damaged_head_is_found_and_stays_found(log, damage):
    fill(log, 3)
    (log.folder / "head").write_bytes(damage)
    assert (log.verify().is_ok, log.verify().index) == (False, 3)
    log.close()
    log.append(event())
    assert (log.verify().is_ok, log.verify().index) == (False, 3)


def test_a_missing_head_is_found_and_stays_found(log):
    fill(log, 3)
    (log.folder / "head").unlink()
    assert (log.verify().is_ok, log.verify().index) == (False, 3)
    log.close()
    log.append(event())
    assert (log.verify().is_ok, log.verify().index) == (False, 3)


def test_a_missing_segment_is_found(tmp_path):
    log = open_log(tmp_path / "audit", segment_bytes=1000)
    fill(log, 20)
    first, second, *_ = sorted(log.folder.glob("*.jsonl"))
    at = int(second.stem)
    second.unlink()
    assert log.verify().index == at
    first.unlink()
    assert log.verify().index == 0
    log.close()


def test_all_segments_removed_is_found(log):
    fill(log, 4)
    log.close()
    for path in log.folder.glob("*.jsonl"):
        path.unlink()
    assert log.verify().index == 0
    log.append(event())
    assert log.verify().index == 0


# --- crashes -------------------------------------------------------------------------------------


def test_a_torn_end_is_cut_off_and_the_repair_is_recorded(log):
    fill(log, 3)
    log.close()
    (path,) = log.folder.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(lines(log)[0][:50])
    assert log.verify().is_ok  # nobody was answered for it
    log.append(event("after"))
    assert [(record.action, record.name) for record in log.tail(2)] == [("repair", None), ("read", "after")]
    verdict = log.verify()
    assert (verdict.is_ok, verdict.repairs, verdict.count) == (True, (3,), 5)


def test_a_crash_before_the_first_record_of_a_segment_loses_nothing(log):
    fill(log, 2)
    log.close()
    (log.folder / f"{2:020d}.jsonl").touch(mode=0o600)
    log.append(event())
    assert log.verify().count == 3
    assert [record.seq for record in log.tail(5)] == [0, 1, 2]


def test_a_crash_before_the_head_was_written_loses_nothing(log):
    fill(log, 2)
    head = (log.folder / "head").read_bytes()
    fill(log, 2)
    log.close()
    (log.folder / "head").write_bytes(head)
    assert log.verify().is_ok
    log.append(event())
    assert log.verify().count == 5


APPENDER = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from strongroom.audit import AuditLog, Event
def clock(): return datetime.now(timezone.utc)
log = AuditLog(Path(sys.argv[1]), deployment="d", clock=clock, segment_bytes=20_000)
for number in range(int(sys.argv[3])):
    name = f"{sys.argv[2]}-{number}"
    log.append(Event(actor="a", assurance=1, action="read", outcome="found", kind="variable", name=name))
    print(name, flush=True)
"""


def appender(folder: Path, who: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(folder), who, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_no_acknowledged_record_is_lost_by_kill_9(tmp_path):
    log = open_log(tmp_path / "audit", segment_bytes=20_000)
    chance = random.Random("kill")
    acknowledged: list[str] = []
    for trial in range(8):
        with appender(log.folder, str(trial), 1_000_000) as process:
            acknowledged.extend(process.stdout.readline().strip() for _ in range(chance.randrange(1, 60)))
            process.send_signal(signal.SIGKILL)
            acknowledged.extend(line for line in process.stdout.read().splitlines() if line)
    log.append(event())
    verdict = log.verify()
    assert verdict.is_ok, verdict
    recorded = {record.name for record in log.tail(verdict.count)}
    assert set(acknowledged) - {""} <= recorded
    log.close()


def test_processes_share_one_chain(tmp_path):
    log = open_log(tmp_path / "audit", segment_bytes=20_000)
    processes = [appender(log.folder, who, 150) for who in "abc"]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    verdict = log.verify()
    assert (verdict.is_ok, verdict.count) == (True, 450)
    assert len({record.name for record in log.tail(450)}) == 450


def test_threads_share_one_chain(log):
    threads = [threading.Thread(target=fill, args=(log, 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.verify().count == 200


def test_a_forked_child_appends_to_the_same_chain(log):
    log.append(event("parent"))
    child = os.fork()
    if child == 0:
        try:
            log.append(event("child"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    log.append(event("parent again"))
    assert [record.name for record in log.tail(5)] == ["parent", "child", "parent again"]
    assert log.verify().is_ok


# --- trouble -------------------------------------------------------------------------------------


def test_a_record_that_cannot_be_written_is_an_error_that_names_the_folder(tmp_path):
    (tmp_path / "audit").write_text("a file where the folder should be")
    log = open_log(tmp_path / "audit")
    with pytest.raises(NotRecordedError, match="audit") as caught:
        log.append(event("name-in-the-record"))
    assert caught.value.folder == str(tmp_path / "audit")
    assert "audit.path" in caught.value.hint
    assert "name-in-the-record" not in str(caught.value)


def test_half_a_batch_does_not_stay(log, monkeypatch):
    log.append(event("whole"))

    def full(_file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", full)
        with pytest.raises(NotRecordedError, match="no space left on device"):
            log.append(event("half"), event("a batch"))
    log.append(event("later"))
    assert [record.name for record in log.tail(5)] == ["whole", "later"]
    assert log.verify().is_ok


def test_a_removed_folder_is_not_silently_begun_anew(log):
    log.append(event())
    log.folder.rename(log.folder.with_name("elsewhere"))
    with pytest.raises(NotRecordedError):
        log.append(event())


def test_a_replaced_folder_is_refused(log):
    log.append(event())
    log.folder.rename(log.folder.with_name("elsewhere"))
    other = open_log(log.folder)
    other.append(event())
    with pytest.raises(NotRecordedError, match="stale"):
        log.append(event())
    other.close()


def test_a_segment_that_is_a_link_is_not_followed(log, tmp_path):
    log.append(event())
    log.close()
    (path,) = log.folder.glob("*.jsonl")
    path.rename(tmp_path / "stolen")
    path.symlink_to(tmp_path / "stolen")
    with pytest.raises(NotRecordedError):
        log.append(event())


def test_a_lock_that_is_never_given_back_does_not_hang_everybody(log, monkeypatch):
    log.append(event("before"))
    monkeypatch.setattr(log_module, "_LOCK_DELAYS_SECONDS", (0.0, 0.0))
    with (log.folder / "lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(NotRecordedError, match="timed out"):
            log.append(event("during"))
    log.append(event("after"))
    assert [record.name for record in log.tail(5)] == ["before", "after"]


def test_a_lock_that_is_never_given_back_does_not_hang_who_verifies(log, monkeypatch):
    log.append(event())
    monkeypatch.setattr(log_module, "_LOCK_DELAYS_SECONDS", (0.0, 0.0))
    with (log.folder / "lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BackendUnavailableError, match="timed out"):
            log.verify()
    assert log.verify().is_ok


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["99999999999999999999.jsonl", "head"])
def test_what_is_no_plain_file_in_the_folder_hangs_nobody_and_is_a_typed_error(log, make, name):
    log.append(event())
    log.close()
    (log.folder / name).unlink(missing_ok=True)
    make(log.folder / name)
    with pytest.raises(BackendUnavailableError, match="cannot be read"):
        log.verify()
    with pytest.raises(NotRecordedError):
        log.append(event())


def test_a_segment_that_cannot_be_read_is_not_an_empty_end(log):
    log.append(event())
    (log.folder / "99999999999999999999.jsonl").mkdir()
    with pytest.raises(BackendUnavailableError, match="cannot be read"):
        log.tail(3)


def test_a_named_pipe_in_place_of_the_lock_does_not_hang_who_verifies(log):
    log.append(event())
    log.close()
    (log.folder / "lock").unlink()
    os.mkfifo(log.folder / "lock")
    assert log.verify().is_ok


def test_a_version_of_any_length_leaves_a_log_that_verifies(log):
    log.append(event(version="v" * 100_000))
    assert log.verify().is_ok
    assert [record.version for record in log.tail(1)] == ["v" * 250]


def test_a_record_is_an_event_with_number_and_chain():
    assert issubclass(Record, Event)
