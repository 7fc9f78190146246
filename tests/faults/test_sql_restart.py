"""
A database that is killed and started again under many readers: nobody is told a wrong value, who asks an
agent for what it holds hears nothing of it, and everything is as it was afterwards.

1,000 readers ask a real server, and others an agent in front of it. What both remember is fresh for a moment
only, so that the database is asked all the time. How long answers take is printed, not judged.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parts import readers
from parts.agent import Agent
from parts.bell import until
from parts.process import ServerProcess
from parts.restartable import restartable
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.service.entries import Change

READERS = int(os.environ.get("STRONGROOM_READERS", "1000"))
SECONDS = float(os.environ.get("STRONGROOM_READ_SECONDS", "3"))  # before the kill
DOWN_SECONDS = 1.0
AFTER_SECONDS = float(os.environ.get("STRONGROOM_READ_SECONDS", "3"))
MOST_SECONDS = 60  # until all are served
NAMES = 200

AT_THE_AGENT = """
import sys, threading
import strongroom
met, count, is_on = [], [0], [True]
def read_on(first):
    while is_on[0]:
        for number in range(first, first + 10):
            try:
                found = strongroom.variable(f"v{number}")
            except Exception as error:
                met.append(repr(error))
            else:
                count[0] += 1
                if found != f"value of v{number}":
                    met.append("a wrong value")
for number in range(100):
    strongroom.variable(f"v{number}")  # from here on it is held
print("held", flush=True)
threads = [threading.Thread(target=read_on, args=(10 * number,)) for number in range(10)]
for thread in threads: thread.start()
sys.stdin.read()
is_on[0] = False
for thread in threads: thread.join()
print(count[0], len(met), met[:3], flush=True)
"""


@pytest.fixture(params=["postgresql", "mariadb"])
def database(request):
    with restartable(request.param) as server:
        yield server


@pytest.fixture
def server(database, tmp_path):
    home = tmp_path / "server"
    home.mkdir(mode=0o700)
    settings = f'chain = ["native"]\n[store]\nurl = "{database.place}"\n[cache]\nttl = 0.2\n'
    made = ServerProcess(home, settings + '[server]\nlog_level = "error"\n')
    made.make()
    with made.room() as room:
        (native,) = (link.backend for link in room._parts.chain.links)
        native.write_many(
            Draft(ref=Ref("variable", f"v{n}"), secret=Secret(f"value of v{n}"), author="test")
            for n in range(2 * NAMES)
        )
        made.token = room.access.tokens.issue("readers", roles=[Role("admin")]).token.reveal()
    yield made.start()
    made.stop()


@pytest.fixture
def agent(server, tmp_path):
    home = tmp_path / "agent"
    home.mkdir(mode=0o700)
    token = home / "token"
    token.touch(mode=0o600)
    token.write_text(server.token)
    made = Agent(
        home,
        'chain = ["server"]\n[backend.server]\nkind = "remote"\n'
        f'url = "{server.address}"\ntoken = {{ file = "{token}" }}\n[cache]\nttl = 0.5\n',
    )
    yield made.start()
    made.close()


def begun(command, environ):
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environ,
    )


def is_well(second):
    return second["answers"] > 0 and second["unavailable"] == 0


def test_database_killed_under_a_thousand_readers_costs_nobody_a_wrong_value(database, server, agent):
    at_agent = begun([sys.executable, "-c", AT_THE_AGENT], agent.environ)
    assert at_agent.stdout.readline() == "held\n"
    command = [sys.executable, str(Path(readers.__file__)), str(server.port), server.token]
    at_server = begun([*command, str(READERS), str(NAMES)], dict(os.environ))
    seconds = []

    def listen(how_long):
        end = time.time() + how_long
        while time.time() < end:
            seconds.append(json.loads(at_server.stdout.readline()))
        return len(seconds)

    def listen_until(are_well):
        while not are_well(seconds):
            assert len(seconds) < MOST_SECONDS + 2 * SECONDS, seconds
            seconds.append(json.loads(at_server.stdout.readline()))
        return len(seconds)

    listen(SECONDS)
    calm = listen_until(lambda seconds: seconds[-1]["answers"])
    database.kill()
    down = listen(DOWN_SECONDS)
    database.start()
    listen(AFTER_SECONDS)
    # Names nobody has asked for come from the database alone.
    with server.room() as room:
        until(lambda: room.lookup.variable(f"v{NAMES}") == f"value of v{NAMES}", 30)
        room.entries.write(Change(ref=Ref("variable", "after"), secret=Secret("written")))
    listen_until(lambda seconds: all(map(is_well, seconds[-2:])))
    told, _ = at_agent.communicate("", timeout=60)
    rest, _ = at_server.communicate("", timeout=60)
    seconds += [json.loads(line) for line in rest.splitlines()]
    reads, errors, _ = told.split(maxsplit=2)
    assert errors == "0", told
    assert int(reads) > 0
    assert [second["first_wrong"] for second in seconds if second["wrong"]] == []
    assert all(second["unavailable"] == 0 for second in seconds[:calm])
    assert seconds[-1]["unavailable"] == 0, seconds
    print(f"{READERS} readers: before {seconds[1:calm]}, down {seconds[calm:down]}, after {seconds[down:]}")
    print(f"at the agent: {reads} reads, {errors} errors")
