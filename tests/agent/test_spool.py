"""The agent's own record: kept at once, synced soon, bounded, handed on once, and whole after any kill."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from datetime import datetime, timezone

import pytest
from msgspec.structs import replace

from audit_parts import event, until
from strongroom.audit import AuditLog
from strongroom.audit.adopted import chain_of, read
from strongroom.audit.delivery import Delivery
from strongroom.audit.intake import Intake
from strongroom.audit.line import spell_quickly
from strongroom.audit.record import ZERO, RefUse, read_line
from strongroom.audit.spool import DROPPED, Spool
from strongroom.audit.verify import verify_log
from strongroom.errors import BackendUnavailableError, ConflictError, InvalidInputError, NotRecordedError

AGENT = "agent:host-1"
MIB = 1_048_576


def now():
    return datetime.now(timezone.utc)


@pytest.fixture
def opened():
    """Opens spools and closes them at the end."""
    made = []

    def open_(folder, **options):
        spool = Spool(folder, deployment="prod", clock=now, speller=spell_quickly, **options)
        made.append(spool)
        return spool

    yield open_
    for spool in made:
        spool.close()


def fill(spool):
    """Append for three users in turn, of whom none has half of it."""
    for user in range(3):
        spool.append(event(actor=f"local:{user}"))


def log_of(folder):
    return AuditLog(folder, deployment="prod", clock=now, speller=spell_quickly)


def records(folder):
    return log_of(folder).tail(100_000)


def names(folder):
    return [record.name for record in records(folder) if record.action == "read"]


# --- what is kept, and when ----------------------------------------------------------------------------


def test_a_record_is_with_the_kernel_before_append_returns(tmp_path, opened):
    spool = opened(tmp_path / "audit")
    for number in range(5):
        spool.append(event(f"n{number}"))
        assert names(tmp_path / "audit") == [f"n{each}" for each in range(number + 1)]


def test_it_is_on_the_disk_soon_after_without_anybody_waiting(tmp_path, opened):
    spool = opened(tmp_path / "audit")
    spool.append(event())
    until(lambda: spool.durable == 1)
    assert verify_log(tmp_path / "audit").is_ok


def test_a_strict_record_is_on_the_disk_when_append_returns(tmp_path, opened):
    spool = opened(tmp_path / "audit")
    spool.append(event("a"))
    spool.append_strict(event("b"))
    assert spool.durable == 2


def test_where_everything_is_durable_every_append_waits(tmp_path, opened):
    spool = opened(tmp_path / "audit", is_durable=True)
    spool.append(event("a"))
    assert spool.durable == 1

    async def many():
        await asyncio.gather(*(_awaited(spool.aappend(event(f"n{each}"))) for each in range(50)))
        return spool.durable

    assert asyncio.run(many()) == 51
    assert verify_log(tmp_path / "audit").count == 51


async def _awaited(waits):
    await waits


def test_a_record_for_the_kernel_needs_no_turn_of_the_loop(tmp_path, opened):
    spool = opened(tmp_path / "audit")

    async def one():
        turns = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        await spool.aappend(event())
        return list(turns)

    assert asyncio.run(one()) == []


def test_a_loop_is_told_by_a_call_once_its_record_is_on_the_disk(tmp_path, opened):
    spool = opened(tmp_path / "audit", is_durable=True)

    async def one():
        told = asyncio.get_running_loop().create_future()
        spool.record([event()], lambda error: told.set_result((error, spool.folder, threading.get_ident())))
        assert not told.done()
        return await told

    assert asyncio.run(one()) == (None, tmp_path / "audit", threading.get_ident())
    assert names(tmp_path / "audit") == [event().name]


def test_a_loop_is_told_at_once_where_nothing_is_waited_for_or_nothing_can_be_recorded(tmp_path, opened):
    spool, told = opened(tmp_path / "audit"), []

    async def both():
        spool.record([event("a")], told.append)
        assert told == [None]
        spool.close()
        spool.record([event("b")], told.append, is_strict=True)

    asyncio.run(both())
    assert isinstance(told[1], NotRecordedError)
    assert names(tmp_path / "audit") == ["a"]


def test_threads_and_loops_write_one_chain(tmp_path, opened):
    spool = opened(tmp_path / "audit")

    def work(number):
        for each in range(50):
            (spool.append if each % 2 else spool.append_strict)(event(f"{number}-{each}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spool.close()
    assert len(names(tmp_path / "audit")) == 200
    assert verify_log(tmp_path / "audit").count == 200


def test_the_log_verifies_while_it_is_written(tmp_path, opened):
    spool = opened(tmp_path / "audit", max_bytes=MIB)
    ended = threading.Event()

    def work():
        while not ended.is_set():
            spool.append(event())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            verdict = verify_log(tmp_path / "audit")
            assert verdict.is_ok, verdict
    finally:
        ended.set()
        thread.join()


def test_a_record_goes_on_in_the_next_segment(tmp_path, opened):
    spool = opened(tmp_path / "audit", max_bytes=MIB)
    for number in range(1000):
        spool.append(event(f"n{number}"))
        if number % 100 == 0:
            spool.append_strict(event(f"n{number}"))
    spool.close()
    assert len(list((tmp_path / "audit").glob("*.jsonl"))) > 1
    assert verify_log(tmp_path / "audit").count == 1010


def test_it_goes_on_where_it_ended_and_tells_of_an_end_without_a_word(tmp_path, opened):
    folder = tmp_path / "audit"
    one = opened(folder)
    one.append(event("a"))
    one.close()
    two = opened(folder)
    two.append(event("b"))
    assert [record.action for record in records(folder)] == ["read", "read"]
    copy = tmp_path / "copy"
    until(lambda: two.durable == 2)
    shutil.copytree(folder, copy)
    three = opened(copy)
    three.append(event("c"))
    assert [record.action for record in records(copy)] == ["read", "read", "resume", "read"]
    three.close()
    assert verify_log(copy).is_ok


def test_two_agents_never_write_to_one_folder(tmp_path, opened):
    opened(tmp_path / "audit").append(event("a"))
    with pytest.raises(NotRecordedError, match="another agent"):
        opened(tmp_path / "audit").append_strict(event("b"))
    assert names(tmp_path / "audit") == ["a"]


def test_a_closed_spool_takes_nothing(tmp_path, opened):
    spool = opened(tmp_path / "audit")
    spool.append(event())
    spool.close()
    spool.close()
    with pytest.raises(NotRecordedError, match="closed"):
        spool.append_strict(event())


# --- full ----------------------------------------------------------------------------------------------


def test_a_full_spool_refuses_what_is_strict_and_counts_the_rest(tmp_path, opened):
    told = []
    spool = opened(tmp_path / "audit", max_bytes=100_000, on_trouble=told.append)
    while spool.status()["bytes"] < 130_000 and not spool.status()["unrecorded"]:
        fill(spool)
    until(lambda: is_refused(spool))
    spool.append(event(), event(count=5))
    before = spool.status()["unrecorded"]
    spool.append(event())
    assert spool.status()["unrecorded"] in (before + 1, 0)
    until(lambda: any("full" in text for text in told))
    until(lambda: spool.let_go(spool.durable - 1) or not spool.status()["unrecorded"])
    until(lambda: spool.let_go(spool.durable - 1) or spool.status()["bytes"] < 100_000)
    told_of = [record for record in records(tmp_path / "audit") if record.action == DROPPED]
    assert {record.outcome for record in told_of} == {"failed"}
    assert sum(record.count for record in told_of) >= 7
    assert all(record.since <= record.until for record in told_of)
    spool.append_strict(event("after"))
    until(lambda: told[-1] == "records are written again")


def test_DS08_one_user_alone_cannot_fill_it_and_others_are_recorded(tmp_path, opened, server):
    spool = opened(tmp_path / "audit", max_bytes=100_000)
    server.mood = "down"
    carried(spool, server)
    flood, other = event(actor="local:1001"), event("orders_db", actor="local:1002")
    while not spool.status()["unrecorded"]:
        spool.append(flood)
    assert 70_000 < spool.status()["bytes"] < 80_000
    with pytest.raises(NotRecordedError, match="the last quarter"):
        spool.append_strict(flood)
    for _ in range(40):
        spool.append_strict(other)
    assert spool.status()["trouble"] == ""
    server.mood = "well"
    until(lambda: spool.status()["bytes"] < 50_000)
    spool.append_strict(flood)
    spool.close()
    (dropped, *_) = [record for record in records(tmp_path / "audit") if record.action == DROPPED] or [
        record for record in records(server.folder) if record.action == DROPPED
    ]
    assert "one user" in dropped.reason


def test_where_everything_is_durable_a_full_spool_refuses_everything(tmp_path, opened):
    spool = opened(tmp_path / "audit", max_bytes=50_000, is_durable=True)
    user = 0
    while spool.status()["bytes"] < 50_000:
        spool.append(event(actor=f"local:{user % 3}"))
        user += 1
    with pytest.raises(NotRecordedError, match="full"):
        spool.append(event())
    assert spool.status()["unrecorded"] == 0


def test_what_was_served_unrecorded_outlives_a_crash(tmp_path, opened):
    folder = tmp_path / "audit"
    spool = opened(folder)
    spool.append(event("before"))
    spool.close()
    # As it stands where a process was killed while it counted.
    said = json.dumps({"count": 2, "since": "2026-01-01T00:00:00.000000Z"}).encode()
    (folder / "unrecorded").write_bytes(said.ljust(127) + b"\n")
    for name in ("after", "again"):
        after = opened(folder)
        after.append(event(name))
        after.close()
        assert [record.count for record in records(folder) if record.action == DROPPED] == [2]
    # And where it was killed between telling and saying so.
    shutil.copytree(folder, tmp_path / "copy")
    log = log_of(tmp_path / "copy")
    log.append(event(action=DROPPED, outcome="failed", count=2, since="2026-01-01T00:00:00.000000Z"))
    log.close()
    (tmp_path / "copy" / "unrecorded").write_bytes(said.ljust(127) + b"\n")
    opened(tmp_path / "copy").append(event("last"))
    assert [record.count for record in records(tmp_path / "copy") if record.action == DROPPED] == [2, 2]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("needs to mount a tmpfs")
        pytest.skip("needs to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_F07_a_full_disk_is_like_a_full_spool_and_is_over_by_itself(small_disk, opened):
    spool = opened(small_disk / "audit")
    spool.append_strict(event("before"))
    (small_disk / "ballast").write_bytes(b"x" * 400_000)
    while not spool.status()["unrecorded"]:
        spool.append(event("much" * 50))
    with pytest.raises(NotRecordedError):
        spool.append_strict(event("strict"))
    (small_disk / "ballast").unlink()
    until(lambda: spool.status()["unrecorded"] == 0)
    spool.append_strict(event("after"))
    spool.close()
    assert verify_log(small_disk / "audit").is_ok
    assert [record.action for record in records(small_disk / "audit")].count(DROPPED) == 1
    assert names(small_disk / "audit")[-1] == "after"


# --- what becomes of the files -------------------------------------------------------------------------


def is_refused(spool):
    try:
        spool.append_strict(event("b"))
    except NotRecordedError:
        return True
    return False


def test_AU05_a_folder_that_was_replaced_is_not_silently_begun_anew(tmp_path, opened):
    folder = tmp_path / "audit"
    spool = opened(folder)
    spool.append_strict(event("a"))
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    until(lambda: is_refused(spool), seconds=1)
    assert is_refused(spool)
    assert not list(folder.glob("*.jsonl"))


def test_AU05_behind_a_segment_that_was_removed_the_chain_goes_on_and_verifying_names_the_gap(
    tmp_path, opened
):
    folder = tmp_path / "audit"
    spool = opened(folder)
    spool.append_strict(event("a"))
    next(folder.glob("*.jsonl")).unlink()
    until(lambda: is_refused(spool), seconds=1)
    until(lambda: not spool.status()["trouble"])
    spool.append_strict(event("c"))
    spool.close()
    verdict = verify_log(folder)
    assert (verdict.is_ok, verdict.index) == (False, 0)


# --- handing on ----------------------------------------------------------------------------------------


class Server:
    """The server's side of a delivery, with moods."""

    def __init__(self, folder):
        self.folder = folder
        self.log = log_of(folder)
        self.intake = Intake(folder, self.log)
        self.mood = "well"
        self.requests = 0

    def deliver(self, chain, lines):
        self.requests += 1
        if self.mood == "down":
            raise BackendUnavailableError("no answer", backend="server")
        if self.mood == "gone":
            return 10**6
        try:
            last = self.intake.take(AGENT, chain, lines)
        except ConflictError as error:
            raise ConflictError(str(error), current_version=str(self.last(chain))) from None
        if self.mood == "lost answer":
            raise BackendUnavailableError("the answer was lost", backend="server")
        return last

    def last(self, chain):
        return self.intake.take(AGENT, chain, [])

    def restart(self):
        self.intake = Intake(self.folder, self.log)

    def numbers(self):
        return [record.agent["seq"] for record in records(self.folder) if record.agent]


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path / "server")


def carried(spool, server, **options):
    delivery = Delivery(spool, server.deliver, **options)
    spool.hand_on(delivery)
    return delivery


def test_every_record_comes_to_the_server_once_and_names_the_agent(tmp_path, opened, server):
    spool = opened(tmp_path / "audit")
    carried(spool, server)
    for number in range(20):
        spool.append(event(f"n{number}", actor="local:1000", run={"assurance": 0, "dag_id": "daily"}))
    spool.close()
    assert server.numbers() == list(range(20))
    first = next(record for record in records(server.folder) if record.agent)
    mine = records(tmp_path / "audit")[0]
    assert (first.actor, first.agent["user"], first.name, first.run) == (AGENT, "local:1000", "n0", mine.run)
    assert (first.agent["digest"], first.agent["chain"]) == (mine.hash, chain_of(mine.hash))
    assert verify_log(server.folder).is_ok


def test_an_answer_that_is_lost_doubles_nothing(tmp_path, opened, server):
    spool = opened(tmp_path / "audit")
    server.mood = "lost answer"
    delivery = carried(spool, server)
    spool.append_strict(event("a"), event("b"))
    until(lambda: server.requests >= 2)
    assert "answer was lost" in delivery.status()["delivery"]
    server.mood = "well"
    spool.append_strict(event("c"))
    until(lambda: delivery.status()["waiting"] == 0)
    assert server.numbers() == [0, 1, 2]
    assert verify_log(server.folder).is_ok


def test_a_server_that_starts_anew_knows_what_it_has_from_its_log(tmp_path, opened, server):
    spool = opened(tmp_path / "audit")
    carried(spool, server)
    spool.append_strict(event("a"))
    until(lambda: server.numbers() == [0])
    for file in (server.folder / "agents", None):
        if file is not None:
            file.unlink()
        server.restart()
        (chain,) = {record.agent["chain"] for record in records(server.folder) if record.agent}
        assert server.last(chain) == 0


def test_an_agent_that_lost_its_mark_doubles_nothing(tmp_path, opened, server):
    folder = tmp_path / "audit"
    one = opened(folder)
    carried(one, server)
    one.append_strict(event("a"), event("b"))
    one.close()
    (folder / "delivered").unlink()
    two = opened(folder)
    carried(two, server)
    two.append(event("c"))
    two.close()
    assert server.numbers() == [0, 1, 2]


def test_segments_that_the_server_has_are_removed_and_the_rest_verifies(tmp_path, opened, server):
    folder = tmp_path / "audit"
    spool = opened(folder, max_bytes=MIB)
    server.mood = "down"
    carried(spool, server)
    for _ in range(60):
        for _ in range(20):
            spool.append(event())
        spool.append_strict(event())
    assert (folder / f"{0:020d}.jsonl").exists()
    server.mood = "well"
    until(lambda: not (folder / f"{0:020d}.jsonl").exists())
    until(lambda: spool.status()["waiting"] == 0)
    spool.append_strict(event("after"))
    spool.close()
    verdict = verify_log(folder)
    assert verdict.is_ok, verdict
    assert verdict.first > 0
    assert server.numbers() == list(range(verdict.first + verdict.count))
    again = opened(folder, max_bytes=MIB)
    carried(again, server)
    again.append(event("again"))
    again.close()
    assert len(server.numbers()) == verdict.first + verdict.count + 1


def test_a_full_spool_goes_on_once_the_server_is_back(tmp_path, opened, server):
    spool = opened(tmp_path / "audit", max_bytes=100_000)
    server.mood = "down"
    carried(spool, server)
    while not spool.status()["unrecorded"]:
        fill(spool)
    server.mood = "well"
    until(lambda: spool.status()["unrecorded"] == 0)
    until(lambda: not is_refused(spool))
    spool.close()
    assert server.numbers() == list(range(len(server.numbers())))
    dropped = [record for record in records(server.folder) if record.action == DROPPED]
    assert {record.actor for record in dropped} == {AGENT}


def test_a_server_that_has_less_than_it_said_gets_it_again(tmp_path, opened, server):
    """As after a backup was restored."""
    spool = opened(tmp_path / "audit")
    carried(spool, server)
    spool.append_strict(event("a"), event("b"))
    until(lambda: spool.status()["delivered"] == 2)
    shutil.rmtree(server.folder)
    server.log.close()
    server.log = log_of(server.folder)
    server.restart()
    spool.append_strict(event("c"))
    until(lambda: spool.status()["delivered"] == 3)
    assert server.numbers() == [0, 1, 2]


def test_a_server_that_has_more_than_there_is_here_is_an_alarm(tmp_path, opened, server):
    """As where this folder is an old copy."""
    spool = opened(tmp_path / "audit")
    server.mood = "gone"
    told = []
    carried(spool, server, on_trouble=told.append)
    spool.append_strict(event("a"))
    until(lambda: told)
    assert "which is not here" in told[0]
    assert (tmp_path / "audit" / f"{0:020d}.jsonl").exists()


# --- killed at any moment ------------------------------------------------------------------------------

PROGRAM = """
import os, socket, sys
from datetime import datetime, timezone
from pathlib import Path
from strongroom.audit import Event
from strongroom.audit.delivery import Delivery
from strongroom.audit.intake import Intake
from strongroom.audit.log import AuditLog
from strongroom.audit.line import spell_quickly
from strongroom.audit.spool import Spool
def clock(): return datetime.now(timezone.utc)
top = Path(sys.argv[1])
say = socket.socket(fileno=int(sys.argv[2]))
options = {"deployment": "d", "clock": clock, "speller": spell_quickly}
server = AuditLog(top / "server", segment_bytes=6000, **options)
intake = Intake(top / "server", server)
spool = Spool(top / "agent", max_bytes=60_000, **options)
spool.hand_on(Delivery(spool, lambda chain, lines: intake.take("agent:host-1", chain, lines)))
for number in range(60):
    plain = {"actor": "local:1", "assurance": 1, "action": "read", "outcome": "found", "kind": "variable"}
    event = Event(name=str(number), **plain)
    (spool.append_strict if number % 7 == 3 else spool.append)(event)
    say.send(f"{number} ".encode())
spool.close()
server.close()
"""
PLACES = {
    "pwrite64": (1, 2, 3, 10, 25, 60, 90),
    "fdatasync": (1, 2, 4, 9),
    "fsync": (1, 2, 4),
    "ftruncate": (1, 2),
    "rename": (1, 2),
    "unlink": (1, 2),
    "flock": (3, 20, 40),
}
# Of each call an early and a late one are in the suite, and the others in trials.
IN_TRIALS = {("pwrite64", 2), ("pwrite64", 3), ("pwrite64", 25), ("pwrite64", 90), ("fdatasync", 2)}
IN_TRIALS |= {("fdatasync", 4), ("fsync", 2), ("flock", 20)}
CASES = [
    pytest.param(call, at, marks=pytest.mark.trial if (call, at) in IN_TRIALS else ())
    for call, places in PLACES.items()
    for at in places
]


def struck(top, call, at, strike="signal=KILL"):
    """Run the program until it is struck; give the numbers it was answered for."""
    if shutil.which("strace") is None:
        if os.environ.get("CI"):
            pytest.fail("needs strace: apt install strace")
        pytest.skip("needs strace: apt install strace")
    mine, theirs = socket.socketpair()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:{strike}:when={at}"]
    command += [sys.executable, "-c", PROGRAM, str(top), str(theirs.fileno())]
    done = subprocess.run(
        command,
        pass_fds=[theirs.fileno()],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    theirs.close()
    text = b""
    while part := mine.recv(65_536):
        text += part
    mine.close()
    return [int(number) for number in text.split()], done


@pytest.mark.parametrize(("call", "at"), CASES)
def test_F03_AU09_a_kill_at_any_call_loses_and_doubles_nothing(tmp_path, opened, call, at):
    answered, done = struck(tmp_path, call, at)
    assert done.returncode != 0 or len(answered) == 60, done.stderr
    server = Server(tmp_path / "server")
    spool = opened(tmp_path / "agent", max_bytes=60_000)
    carried(spool, server)
    spool.append_strict(event("after"))
    until(lambda: spool.status()["waiting"] == 0)
    spool.close()
    delivered = [record for record in records(server.folder) if record.agent]
    assert [record.agent["seq"] for record in delivered] == list(range(len(delivered)))
    said = [int(record.name) for record in delivered if (record.name or "").isdigit()]
    assert said == list(range(len(said)))
    assert len(said) >= len(answered)
    for folder in (tmp_path / "agent", server.folder):
        assert verify_log(folder).is_ok


def test_the_program_unharmed(tmp_path):
    answered, done = struck(tmp_path, "openat", 60_000)
    assert (answered, done.returncode) == (list(range(60)), 0), done.stderr
    assert len([record for record in records(tmp_path / "server") if record.agent]) == 60


# --- the server's side ---------------------------------------------------------------------------------


def lines_of(folder):
    return [
        line
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_bytes().rstrip(b"\0").split(b"\n")
        if line
    ]


@pytest.fixture
def chain(tmp_path):
    """Ten lines of an agent's log, and its name."""
    log = log_of(tmp_path / "agent")
    for number in range(10):
        log.append(event(f"n{number}", actor="local:1000"))
    log.close()
    lines = lines_of(tmp_path / "agent")
    return chain_of(read_line(lines[0]).hash), lines


def test_AU07_a_gap_is_refused_and_an_alarm_recorded_once(server, chain):
    name, lines = chain
    server.intake.take(AGENT, name, lines[:3])
    for _ in range(2):
        with pytest.raises(ConflictError, match="record 3 is missing") as caught:
            server.intake.take(AGENT, name, lines[4:])
        assert caught.value.current_version == "2"
    alarms = [record for record in records(server.folder) if record.reason.startswith("alarm:")]
    assert [alarm.actor for alarm in alarms] == [AGENT]
    assert server.intake.take(AGENT, name, lines[3:]) == 9


def test_AU07_a_fork_is_refused_and_an_alarm_recorded(tmp_path, server, chain):
    name, lines = chain
    server.intake.take(AGENT, name, lines[:5])
    fork = tmp_path / "fork"
    shutil.copytree(tmp_path / "agent", fork)
    segment = next(fork.glob("*.jsonl"))
    segment.write_bytes(b"".join(line + b"\n" for line in lines[:4]))
    (fork / "head").unlink()
    log = log_of(fork)
    log.append(event("another"), event("and one more"))
    forked = lines_of(fork)
    with pytest.raises(ConflictError, match="another than the one on record"):
        server.intake.take(AGENT, name, forked[4:])
    assert server.numbers() == list(range(5))


def test_the_first_records_of_a_chain_must_not_be_missing(server, chain):
    name, lines = chain
    with pytest.raises(ConflictError, match="before number 2 are missing"):
        server.intake.take(AGENT, name, lines[2:])
    assert server.last(name) == -1


def test_a_chain_that_begins_anew_is_taken_and_an_alarm(tmp_path, server, chain):
    name, lines = chain
    server.intake.take(AGENT, name, lines)
    log = log_of(tmp_path / "reinstalled")
    log.append(event("fresh"))
    (fresh,) = lines_of(tmp_path / "reinstalled")
    assert server.intake.take(AGENT, chain_of(read_line(fresh).hash), [fresh]) == 0
    (alarm,) = [r.reason for r in records(server.folder) if r.reason.startswith("alarm:")]
    assert alarm.startswith(f"alarm: the records of {AGENT}: it begins a chain anew")
    assert verify_log(server.folder).is_ok


def test_a_line_that_was_changed_is_refused_and_nothing_of_it_told(server, chain):
    name, lines = chain
    for wrong in (
        lines[0].replace(b"n0", b"x0"),
        lines[0] + b" ",
        b"{}",
        b"\xff",
        b"[" * 5000,
        lines[0].replace(b'"actor"', b'"Actor"'),
    ):
        with pytest.raises(Exception, match="no record of an agent") as caught:
            server.intake.take(AGENT, name, [wrong])
        assert "x0" not in str(caught.value)
    assert server.last(name) == -1


@pytest.mark.parametrize(
    "wrong",
    [
        {"actor": "local:" + "9" * 250},
        {"at": "2" * 251},
        {"deployment": "d" * 251},
        {"assurance": 2**63},
        {"count": 10**30},
        {"run": {"map_index": 2**64}},
        {"refs": (RefUse("variable", "n", uses=10**20),)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_line_that_the_log_could_not_hold_whole_is_refused_and_the_log_verifies(server, wrong):
    beside = {"at": "2026-01-31T12:00:00.000000Z", "deployment": "d"}
    said = {name: value for name, value in wrong.items() if name not in beside}
    beside |= {name: value for name, value in wrong.items() if name in beside}
    line, digest = spell_quickly(event("n", **said), seq=0, prev=ZERO, **beside)
    with pytest.raises(InvalidInputError, match="no record of an agent"):
        server.intake.take(AGENT, chain_of(digest), [line[:-1]])
    server.log.append(event("after"))
    assert verify_log(server.folder).is_ok


def test_lines_out_of_order_are_refused(server, chain):
    name, lines = chain
    for wrong in ([lines[1], lines[0]], [lines[0], lines[2]], [lines[0], lines[0]]):
        with pytest.raises(Exception, match="do not follow each other"):
            server.intake.take(AGENT, name, wrong)


def test_what_is_not_known_to_be_written_is_looked_up_before_more_is_taken(tmp_path, chain):
    name, lines = chain
    log = log_of(tmp_path / "server")

    class Losing:
        """Writes, and forgets to say so."""

        loses = False

        def append(self, *events):
            log.append(*events)
            if self.loses and events[0].agent:
                raise NotRecordedError("no answer", folder="")

    recorder = Losing()
    intake = Intake(tmp_path / "server", recorder)
    recorder.loses = True
    with pytest.raises(NotRecordedError):
        intake.take(AGENT, name, lines[:4])
    recorder.loses = False
    assert intake.take(AGENT, name, lines) == 9
    assert [r.agent["seq"] for r in records(tmp_path / "server") if r.agent] == list(range(10))
    assert verify_log(tmp_path / "server").is_ok


@pytest.mark.parametrize("what", ["gap", "twice", "changed", "order"])
def test_AU01_verifying_finds_what_is_wrong_in_an_agents_chain(tmp_path, chain, what):
    """Whoever owns the server's files and writes its chain anew cannot do it with an agent's."""
    name, lines = chain
    events = [read(line, agent=AGENT, chain=name).event for line in lines]
    if what == "gap":
        del events[3]
    elif what == "twice":
        events.insert(3, events[2])
    elif what == "order":
        events[3], events[4] = events[4], events[3]
    else:
        events[3] = replace(events[3], name="another")
    log = log_of(tmp_path / "server")
    log.append(*events)
    verdict = verify_log(tmp_path / "server")
    assert (verdict.is_ok, verdict.index) == (False, 3), verdict
    assert AGENT in verdict.reason
