"""
A kill at any write or sync of the audit log leaves a log that is whole and holds all that was acknowledged.

So does a kill while it is signed, and the next signature goes on.
"""

import os
import shutil
import socket
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from strongroom.audit import AuditLog, Event
from strongroom.audit.checkpoint import Keeper, evidence_beside
from strongroom.audit.verify import verify_log

PROGRAM = """
import os, sys
from datetime import datetime, timezone
from pathlib import Path
from strongroom.audit import AuditLog, Event
from strongroom.audit.checkpoint import Keeper
from strongroom.audit.line import spell_quickly
from strongroom.crypto import _primitives
def clock(): return datetime.now(timezone.utc)
top = Path(sys.argv[1])
sizes = {"segment_bytes": 3000, "room_bytes": 4096}
log = AuditLog(top / "audit", deployment="d", clock=clock, speller=spell_quickly, **sizes)
keeper = Keeper(top / "audit", top / "keys" / "key", deployment="d", clock=clock)
answers = int(sys.argv[2])
import socket
say = socket.socket(fileno=answers)
for number in range(40):
    plain = {"actor": "a", "assurance": 1, "action": "read", "outcome": "found", "kind": "variable"}
    log.append(*(Event(name=f"{number}-{each}", **plain) for each in range(3)))
    say.send(f"{number} ".encode())
    if number % 5 == 4:
        keeper.sign()
log.close()
"""
PLACES = {
    "pwrite64": (1, 2, 3, 9, 30, 60),
    "write": (1, 2, 3, 5),
    "fdatasync": (1, 2, 20),
    "fsync": (1, 3, 5, 8),
    "ftruncate": (1,),
    "rename": (1, 3),
}
# Of each call an early and a late one are in the suite, and the others in trials.
IN_TRIALS = {("pwrite64", 2), ("pwrite64", 9), ("pwrite64", 60), ("write", 2), ("write", 3), ("fdatasync", 2)}
IN_TRIALS |= {("fsync", 3), ("fsync", 8)}
CASES = [
    pytest.param(call, at, marks=pytest.mark.trial if (call, at) in IN_TRIALS else ())
    for call, places in PLACES.items()
    for at in places
]


def struck(top, call, at, strike="signal=KILL"):
    """Run the program until it is struck; give the numbers of the batches it was answered for."""
    if shutil.which("strace") is None:
        if os.environ.get("CI"):
            pytest.fail("needs strace: apt install strace")
        pytest.skip("needs strace: apt install strace")
    mine, theirs = socket.socketpair()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        os.devnull,
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:{strike}:when={at}",
    ]
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


def now():
    return datetime.now(timezone.utc)


def whole(top):
    """See that the log is whole, goes on, and is signed on; give the names in it."""
    folder, key = top / "audit", top / "keys" / "key"
    log = AuditLog(folder, deployment="d", clock=now)
    log.append(Event(actor="a", assurance=1, action="read", outcome="found", kind="variable", name="after"))
    Keeper(folder, key, deployment="d", clock=now).sign()

    def beside(keys):
        found = evidence_beside(key, keys)
        return [found] if found else []

    verdict = verify_log(folder, evidence=beside)
    assert verdict.is_ok, verdict
    assert verdict.signed == verdict.count
    names = [record.name for record in log.tail(verdict.count)]
    log.close()
    return names


@pytest.mark.parametrize(("call", "at"), CASES)
def test_AU09_F03_a_kill_at_any_call_loses_nothing_acknowledged(tmp_path, call, at):
    answered, done = struck(tmp_path, call, at)
    if not (tmp_path / "audit").exists():
        assert not answered
        return
    names = whole(tmp_path)
    for number in answered:
        assert [f"{number}-{each}" for each in range(3)] == [
            name for name in names if name is not None and name.startswith(f"{number}-")
        ]
    assert done.returncode != 0 or len(answered) == 40


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_F07_a_call_that_fails_refuses_its_batch_and_nothing_else(tmp_path, call):
    answered, done = struck(tmp_path, call, 12, "error=ENOSPC" if call == "pwrite64" else "error=EIO")
    assert "NotRecordedError" in done.stderr or len(answered) == 40
    names = whole(tmp_path)
    recorded = [number for number in range(40) if f"{number}-0" in names]
    assert set(answered) <= set(recorded)


def test_the_program_unharmed(tmp_path):
    answered, done = struck(tmp_path, "openat", 60_000)
    assert (answered, done.returncode) == (list(range(40)), 0), done.stderr
    assert len(whole(tmp_path)) == 121
    assert Path(tmp_path / "keys" / "key.tree").exists()
