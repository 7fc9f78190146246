"""
A value that is written anywhere reaches whoever follows it on a host: a callback, a rendered file, a command.

Nothing is asked for, flushed or restarted meanwhile, and lifetimes are too long to be the reason.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import pytest

from parts import warm
from parts.agent import agent, until
from parts.proxy import Proxy
from parts.server import serving
from strongroom.assembly import create_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

REGION = Ref("variable", "region")
SETTINGS = """
chain = ["{chain}"]
[cache]
ttl = 3600
[agent.file.region]
path = "{folder}/region"
variable = "region"
"""
# Says what it has, and each value it is called with.
FOLLOWER = """
import datetime, strongroom, time
def told(entry):
    print(entry.secret.reveal(), flush=True)
with strongroom.follow("region", told, kind="variable", interval=datetime.timedelta(hours=1)) as follow:
    told(follow.current)
    time.sleep(60)
"""
COMMAND = "trap 'exit 3' TERM; echo $AIRFLOW_VAR_REGION; while :; do sleep 0.05; done"


@contextmanager
def of_store(folder):
    """Run an agent on a store of ours; give it and what writes to the store, as another process would."""
    one_settings = SETTINGS.format(chain="native", folder=folder)
    with agent(folder, one_settings, start=False) as one:
        environ = {"HOME": str(folder), "STRONGROOM_HOME": str(folder)}
        with create_room(one.settings, environ=environ) as room:
            yield one, room.entries.write


@contextmanager
def of_server(folder):
    """The same of an agent that is enrolled with a server."""
    (folder / "server").mkdir()
    with (
        serving(folder / "server") as server,
        agent(folder, SETTINGS.format(chain="remote", folder=folder), start=False) as one,
    ):
        one.enrol(server)
        yield one, server.house.deployment().root.entries.write


@contextmanager
def lines_of(running):
    """Give what reads the lines of a process, which ends with the block."""
    try:
        yield lambda: running.stdout.readline().strip()
    finally:
        running.terminate()
        running.wait(20)
        running.stdout.close()


@pytest.mark.parametrize("place", [of_store, of_server])
def test_what_is_written_reaches_who_follows_files_and_commands(tmp_path, place):
    tmp_path.chmod(0o700)
    with place(tmp_path) as (one, write):
        write(Change(ref=REGION, secret=Secret("eu")))
        one.start()
        file = tmp_path / "region"
        until(lambda: file.exists() and file.read_text() == "eu", what="the file", told=one.log)
        run = ["run", "--watch", "--variable", "region", "--", "sh", "-c", COMMAND]
        how = {"env": one.environ, "stdout": subprocess.PIPE, "text": True, "cwd": one.home}
        with (
            lines_of(subprocess.Popen([sys.executable, "-c", FOLLOWER], **how)) as follower,
            lines_of(warm.Popen(run, **how)) as command,
        ):
            assert (follower(), command()) == ("eu", "eu")
            until(lambda: one.status()["followed"] == 1, what="the followers")
            write(Change(ref=REGION, secret=Secret("us")))
            assert (follower(), command()) == ("us", "us")
            until(lambda: file.read_text() == "us", what="the file")
            assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fault", ["refuse", "hang"])
def test_what_was_written_while_nobody_could_tell_is_served_once_that_is_over(tmp_path, fault):
    (tmp_path / "server").mkdir()
    with (
        serving(tmp_path / "server") as server,
        Proxy("127.0.0.1", server.port) as proxy,
        agent(tmp_path, SETTINGS.format(chain="remote", folder=tmp_path), start=False) as one,
    ):
        one.enrol(server, url=proxy.url())
        write = server.house.deployment().root.entries.write
        write(Change(ref=REGION, secret=Secret("eu")))
        client = one.start().client()
        until(lambda: one.status()["backends"][0]["watched"] == "live", what="the agent to listen")
        assert client.variable("region") == "eu"
        proxy.become(fault)
        proxy.cut()
        until(lambda: one.status()["backends"][0]["watched"] != "live", what="the agent to hear nothing")
        write(Change(ref=REGION, secret=Secret("us")))
        answer = client.read("variable", "region")
        assert (answer.text, answer.backend, answer.version) == ("eu", "remote", "1")
        proxy.become("pass")
        proxy.cut()
        until(lambda: client.variable("region") == "us", what="the change")
        client.close()
