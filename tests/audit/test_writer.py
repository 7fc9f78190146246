"""The process that owns appending: what it is given is durable or refused, whatever becomes of it."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from audit_parts import WAIT_SECONDS, event, reading, until, written
from strongroom.audit import AuditLog
from strongroom.audit.desk import Plan
from strongroom.audit.writer import Writer
from strongroom.errors import NotRecordedError


def names_in(folder):
    log = reading(folder)
    verdict = log.verify()
    assert verdict.is_ok, verdict
    return [record.name for record in log.tail(verdict.count) if record.action != "resume"]


def test_what_was_answered_for_is_in_the_log_in_order(tmp_path):
    folder = tmp_path / "audit"
    with written(folder) as (_, log, _troubles):
        log.append(event("a"), event("b"))
        log.append()
        log.append(event("c"))
        assert names_in(folder) == ["a", "b", "c"]
    assert names_in(folder) == ["a", "b", "c"]
    assert {path.name for path in folder.iterdir()} == {"lock", "head", f"{0:020d}.jsonl"}
    assert not (folder / f"{0:020d}.jsonl").read_bytes().endswith(b"\0")


def test_a_loop_and_threads_and_other_processes_append_to_one_chain(tmp_path):
    folder = tmp_path / "audit"
    with written(folder) as (_, log, _troubles):
        other = AuditLog(
            folder, deployment="prod", clock=lambda: __import__("datetime").datetime.now().astimezone()
        )

        async def many(who):
            for number in range(50):
                await log.aappend(event(f"loop-{who}-{number}"))

        async def loop():
            await asyncio.gather(*(many(who) for who in range(8)))

        def thread():
            for number in range(50):
                log.append(event(f"thread-{number}"))

        def beside():
            for number in range(50):
                other.append(event(f"beside-{number}"))

        threads = [threading.Thread(target=work) for work in (thread, thread, beside)]
        for each in threads:
            each.start()
        asyncio.run(loop())
        asyncio.run(loop())
        for each in threads:
            each.join()
        other.close()
        assert log.lag() == (0, 0.0)
    assert len(names_in(folder)) == 2 * 8 * 50 + 3 * 50


def test_an_event_that_is_none_is_refused_and_stops_nobody(tmp_path):
    with written(tmp_path / "audit") as (_, log, _troubles):
        waiting = [log.submit(event(reason=b"bytes")), log.submit(event("good"))]
        with pytest.raises(NotRecordedError, match="no record"):
            waiting[0].result()
        assert waiting[1].result() is None
        log.append(event("half \ud800"))
    assert names_in(tmp_path / "audit") == ["good", "half ?"]


def test_AU09_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path):
    folder = tmp_path / "audit"
    acknowledged, refused = [], 0
    with written(folder) as (writer, log, troubles):

        async def one(who):
            nonlocal refused
            for number in range(400):
                name = f"{who}-{number}"
                try:
                    await log.aappend(event(name))
                except NotRecordedError:
                    refused += 1
                else:
                    acknowledged.append(name)

        async def killer():
            for _ in range(3):
                pid, before = writer.pid, len(acknowledged)
                while len(acknowledged) < before + 200:  # noqa: ASYNC110 -- a poll, as tests do
                    await asyncio.sleep(0.001)
                os.kill(pid, signal.SIGKILL)
                while writer.pid == pid:  # noqa: ASYNC110 -- a poll, as tests do
                    await asyncio.sleep(0.01)

        async def all_of_it():
            await asyncio.gather(killer(), *(one(who) for who in range(8)))

        asyncio.run(all_of_it())
        assert writer.restarts == 3
        assert any("started anew" in each for each in troubles)
        log.append(event("after"))
    recorded = names_in(folder)
    assert set(acknowledged) <= set(recorded)
    assert len(acknowledged) + refused == 3200
    resumes = [record for record in reading(folder).tail(100_000) if record.action == "resume"]
    assert len(resumes) == 3
    assert "may have had no answer" in resumes[0].reason


def test_threads_that_wait_when_the_process_dies_are_told_and_the_next_record_goes_through(tmp_path):
    with written(tmp_path / "audit") as (writer, log, _troubles):
        log.append(event("first"))
        os.kill(writer.pid, signal.SIGSTOP)
        waiting = [log.submit(event(f"lost-{number}")) for number in range(5)]
        os.kill(writer.pid, signal.SIGKILL)
        for each in waiting:
            with pytest.raises(NotRecordedError, match="ended"):
                each.result(WAIT_SECONDS)
        log.append(event("next"))
    assert names_in(tmp_path / "audit") == ["first", "next"]


def test_nobody_waits_for_longer_than_five_seconds_for_a_process_that_hangs(tmp_path):
    with written(tmp_path / "audit") as (writer, log, _troubles):
        log.append(event("first"))
        os.kill(writer.pid, signal.SIGSTOP)

        async def waits():
            with pytest.raises(NotRecordedError, match="within 5 s"):
                await log.aappend(event("in a loop"))

        began = time.monotonic()
        thread = threading.Thread(target=lambda: asyncio.run(waits()))
        thread.start()
        with pytest.raises(NotRecordedError, match="within 5 s"):
            log.append(event("in a thread"))
        thread.join()
        assert 4 < time.monotonic() - began < 9
        os.kill(writer.pid, signal.SIGCONT)
        log.append(event("after"))
    # What was handed over may be there though nobody was answered for it: an entry without a response.
    assert {"first", "after"} <= set(names_in(tmp_path / "audit"))


def test_a_cancelled_request_cancels_nobody_elses(tmp_path):
    with written(tmp_path / "audit") as (_, log, _troubles):

        async def all_of_it():
            tasks = [asyncio.ensure_future(_one(log, number)) for number in range(10)]
            await asyncio.sleep(0)
            tasks[3].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        done = asyncio.run(all_of_it())
        assert isinstance(done[3], asyncio.CancelledError)
        assert done[:3] + done[4:] == [None] * 9


async def _one(log, number):
    await log.aappend(event(f"n{number}"))


def test_the_server_killed_with_its_group_leaves_what_it_handed_over_and_the_next_one_says_so(tmp_path):
    folder = tmp_path / "audit"
    program = (
        "import sys, os, signal; from pathlib import Path; from audit_parts import event\n"
        "from strongroom.audit.writer import Writer; from strongroom.audit.desk import Plan\n"
        "log = Writer().open(Plan(folder=Path(sys.argv[1]), deployment='prod'))\n"
        "log.append(event('answered')); log.submit(event('handed over'))\n"
        "print(log._writer.pid, flush=True)\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert names_in(folder) == ["answered", "handed over"]
    # It ended as it should, having written everything: there is nothing to say.
    with written(folder) as (_, log, _troubles):
        log.append(event("again"))
    assert names_in(folder) == ["answered", "handed over", "again"]


@pytest.fixture
def small_disk():
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = Path(tempfile.mkdtemp(prefix="strongroom-small-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "strongroom-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this sandbox lets not even root mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    shutil.rmtree(folder)


def test_AU05_F07_a_full_disk_refuses_and_recovers_without_a_restart(small_disk):
    folder = small_disk / "audit"
    with written(folder) as (writer, log, troubles):
        log.append(event("before"))
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 4096):
                    pass
            except OSError:
                pass
        recorded = ["before"]
        with pytest.raises(NotRecordedError, match="no space left"):  # noqa: PT012 -- the room taken before is used up
            for number in range(200):
                name = f"{number}-" + "x" * 200
                log.append(*(event(name) for _ in range(50)))
                recorded += [name] * 50
        until(lambda: any("no space left" in each for each in troubles))
        filler.unlink()
        log.append(event("after"))
        recorded.append("after")
        until(lambda: any("written again" in each for each in troubles))
        assert writer.restarts == 0
    assert names_in(folder) == recorded


@pytest.mark.parametrize("how", ["unlink", "rename", "folder"])
def test_AU05_a_log_that_is_taken_away_is_noticed_within_a_second_without_any_record(tmp_path, how):
    folder = tmp_path / "audit"
    with written(folder) as (_, log, troubles):
        log.append(event("first"))
        (segment,) = folder.glob("*.jsonl")
        began = time.monotonic()
        if how == "unlink":
            segment.unlink()
        elif how == "rename":
            segment.rename(tmp_path / "elsewhere")
        else:
            folder.rename(tmp_path / "elsewhere")
        until(lambda: troubles)
        print(f"{how}: noticed after {time.monotonic() - began:.2f} s")
        if how == "folder":
            with pytest.raises(NotRecordedError):
                log.append(event("lost"))
        else:
            log.append(event("goes on behind the gap"))
            verdict = reading(folder).verify()
            assert (verdict.is_ok, verdict.index) == (False, 0)


def test_AU05_a_folder_that_cannot_be_written_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "audit").write_text("a file where the folder should be")
    with written(tmp_path / "audit") as (_, log, _troubles):
        with pytest.raises(NotRecordedError, match="audit") as caught:
            log.append(event("x"))
        assert "audit.path" in caught.value.hint


def test_several_logs_share_one_process(tmp_path):
    writer = Writer()
    logs = [writer.open(Plan(folder=tmp_path / name, deployment=name)) for name in "abc"]
    for log in logs:
        log.append(event(log.plan.deployment))
    pid = writer.pid
    for log in logs:
        log.close()
    assert not Path(f"/proc/{pid}").exists()
    for name in "abc":
        assert names_in(tmp_path / name) == [name]
        assert reading(tmp_path / name).tail(1)[0].deployment == name
    with pytest.raises(NotRecordedError, match="closed"):
        logs[0].append(event("late"))


def test_a_flood_of_other_records_loses_none(tmp_path):
    folder = tmp_path / "audit"
    with written(folder) as (_, log, _troubles):
        waiting = [log.submit(event(f"flood-{number}", outcome="denied")) for number in range(5000)]
        log.append(event("the one that counts"))
        for each in waiting:
            each.result(WAIT_SECONDS)
    assert len(names_in(folder)) == 5001


def test_the_process_is_told_nothing_in_its_arguments_or_its_environment(tmp_path):
    duties = {"sinks": [{"kind": "http", "name": "siem", "url": "http://127.0.0.1:9/", "token": "hunter2"}]}
    with written(tmp_path / "audit", duties=duties) as (writer, log, _troubles):
        log.append(event())
        for name in ("cmdline", "environ"):
            with suppress(PermissionError):  # a process that cannot be looked into tells nothing
                assert b"hunter2" not in Path(f"/proc/{writer.pid}/{name}").read_bytes()
        assert "hunter2" not in repr(log.plan)
