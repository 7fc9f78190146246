"""
A kill at any write or sync of a backup or a restore leaves the old or the new state, never a mixture, and
the next attempt succeeds.

How a victim is struck says test_kill.py, and of those before a database's server test_sql_kill.py.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import backup_victim
import victim
from faults import test_sql_kill as sql
from faults.test_kill import NO_LIMIT, missing, spread, traced
from parts.backups import BackedUp, identity
from parts.homes import home

# In three scenarios; `make trials` kills more often.
KILLS_EACH = max(4, int(os.environ.get("STRONGROOM_KILLS", "240")) // 24)


def victims(log, limit):
    environ = {"STRONGROOM_TEST_IDENTITY": identity()[0].reveal()}
    return traced(log, limit, program=backup_victim, environ=environ)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Give a folder by scenario, to be copied."""
    folder = tmp_path_factory.mktemp("seeds")
    for scenario in backup_victim.SCENARIOS:
        backup_victim.seed(folder / scenario, scenario)
    return folder


@pytest.fixture(scope="module")
def boundaries(seeds, tmp_path_factory):
    """The calls each scenario makes in order, when nobody kills it: (call, which one of its kind)."""
    if shutil.which("strace") is None:
        missing("needs strace: apt install strace")
    folder = tmp_path_factory.mktemp("count")
    pids = {}
    with victims(folder / "log", NO_LIMIT) as unharmed:
        for scenario in backup_victim.SCENARIOS:
            shutil.copytree(seeds / scenario, folder / scenario)
            _, pid, status = unharmed.run(scenario, folder / scenario)
            assert status == 0
            pids[str(pid)] = scenario
    found = {scenario: [] for scenario in backup_victim.SCENARIOS}
    for line in (folder / "log").read_text().splitlines():
        pid, call = line.partition("(")[0].split()[:2]
        if pid in pids and call in victim.CALLS:
            made = found[pids[pid]]
            made.append((call, 1 + sum(call == other for other, _ in made)))
    return found


@pytest.fixture(scope="module")
def killer(boundaries, tmp_path_factory):
    limit = 1 + max(count for made in boundaries.values() for _, count in made)
    with victims(tmp_path_factory.mktemp("kill") / "log", limit) as found:
        yield found


def struck(scenario, boundaries, killer, seeds, tmp_path):
    """Kill *scenario* at boundaries all over it; give each room after it, and whether it had answered."""
    for index, boundary in enumerate(spread(boundaries[scenario], KILLS_EACH)):
        folder = tmp_path / f"kill{index}"
        shutil.copytree(seeds / scenario, folder)
        acknowledged = killer.kill(scenario, folder, boundary)
        yield BackedUp(folder), bool(acknowledged), boundary
        shutil.rmtree(folder)


def proven(site):
    with site.room() as room:
        verdict = room.audit.verify()
        assert verdict.is_ok, verdict


OLD = {"a": ("changed", 2), "c": ("c of then", 1), "new": ("n", 1)}
NEW = {name: (f"{name} of then", 1) for name in "abc"}


def test_kill_while_backing_up_leaves_no_file_or_a_whole_one(boundaries, killer, seeds, tmp_path):
    ends = Counter()
    for site, is_acknowledged, boundary in struck("backup", boundaries, killer, seeds, tmp_path):
        assert site.read() == NEW, boundary
        if site.file.exists():
            assert site.verify().proven["default"].versions == 3, boundary
            ends["whole"] += 1
        else:
            assert not is_acknowledged, boundary
            site.back_up()
            assert site.verify().spans[0].is_lossless
            ends["none"] += 1
        proven(site)
    assert ends["none"]
    print(f"backup: {KILLS_EACH} kills over {len(boundaries['backup'])} boundaries, {dict(ends)}")


def test_kill_while_restoring_leaves_the_old_or_the_new_state(boundaries, killer, seeds, tmp_path):
    ends = Counter()
    for site, is_acknowledged, boundary in struck("restore", boundaries, killer, seeds, tmp_path):
        found = site.read()
        assert found == NEW or (found == OLD and not is_acknowledged), boundary
        ends["new" if found == NEW else "old"] += 1
        site.write(after="alive")
        proven(site)
        site.restore(accepts=True)
        assert site.read() == NEW
    assert ends["old"]
    assert ends["new"]
    print(f"restore: {KILLS_EACH} kills over {len(boundaries['restore'])} boundaries, {dict(ends)}")


def test_kill_while_restoring_what_was_lost_leaves_nothing_or_all(boundaries, killer, seeds, tmp_path):
    ends = Counter()
    for site, is_acknowledged, boundary in struck("restore_lost", boundaries, killer, seeds, tmp_path):
        site.restore(accepts=True)
        assert site.read() == NEW, boundary
        ends["answered" if is_acknowledged else "struck"] += 1
        proven(site)
    assert ends["struck"]
    print(f"lost: {KILLS_EACH} kills over {len(boundaries['restore_lost'])} boundaries, {dict(ends)}")


# --- before a database's server --------------------------------------------------------------------


@pytest.fixture(scope="module")
def remote_victims():
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mine.settimeout(60)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environ["STRONGROOM_TEST_IDENTITY"] = identity()[0].reveal()
    command = [sys.executable, str(Path(backup_victim.__file__)), str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environ)
    theirs.close()
    yield sql.Victim(mine)
    mine.close()
    process.wait(timeout=60)


@pytest.fixture
def proxied(tmp_path):
    made = []

    def proxy(kind):
        made.append(sql.Striking(kind, tmp_path))
        return made[-1]

    yield proxy
    for one in made:
        one.close()


@pytest.mark.parametrize("scenario", ["backup", "restore"])
@pytest.mark.parametrize("kind", sql.KINDS)
def test_kill_between_messages_to_a_server_leaves_the_old_or_the_new_state(
    kind, scenario, remote_victims, proxied, tmp_path
):
    proxy, kills, ends = proxied(kind), max(3, KILLS_EACH // 2), Counter()
    place = home(kind, tmp_path)
    site = backup_victim.seed(tmp_path / "site", "backup", place=place)
    if scenario == "restore":
        site.back_up()
    order = f"{scenario} {site.folder}"

    def strike(at):
        # A backup changes nothing, and after a restore all is as in the backup: one site serves every kill.
        if scenario == "backup":
            site.file.unlink(missing_ok=True)
        else:
            backup_victim.change(site)
        return remote_victims.run(order, sql.through(proxy, place), proxy, at)

    assert strike(None)[1] == 0
    for at in sql.spread(proxy, kills):
        (acknowledged,) = sql.struck(strike, proxy, at)
        if scenario == "backup":
            assert not site.file.exists()
            assert not acknowledged
            site.back_up()
            assert site.read() == NEW
        else:
            found = site.read()
            assert found == NEW or (found == OLD and not acknowledged), at
            ends["new" if found == NEW else "old"] += 1
            site.restore(accepts=True)
            assert site.read() == NEW
    print(f"{kind} {scenario}: {kills} kills over {proxy.said} messages, {dict(ends)}")
