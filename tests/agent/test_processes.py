"""
Every way in which programs make processes: forked under threads, spawned, from a fork server, by exec, and as
the prefork workers of gunicorn and Celery. None shares a connection, none hangs, each has its value.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

from parts.agent import ROOT, agent, missing, until

FORKS = int(os.environ.get("STRONGROOM_FORKS", "500"))
WORKERS = ROOT / ".venv-workers"
MISSING = "gunicorn and Celery are not here: run scripts/make-peers"
ENVIRON = {f"AIRFLOW_VAR_V{number}": f"value {number}" for number in range(10)}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with agent(tmp_path_factory.mktemp("agent"), 'chain = ["env"]\n', environ=ENVIRON) as running:
        yield running


# --- fork ------------------------------------------------------------------------------------------------

FORKING = r"""
import os, sys, threading, time
import strongroom
forks, threads = int(sys.argv[1]), 4
assert strongroom.variable("v0") == "value 0"
ended = threading.Event()
counts, trouble = [0] * threads, []
def read(index):
    while not ended.is_set():
        name = (index * 3 + counts[index]) % 10
        got = strongroom.variable(f"v{name}")
        if got != f"value {name}":
            trouble.append(got)
        counts[index] += 1
running = [threading.Thread(target=read, args=(index,)) for index in range(threads)]
for one in running:
    one.start()
def child(number):
    # A child that hangs is ended by the alarm and fails the parent.
    import signal
    signal.alarm(30)
    for name in (number % 10, (number + 1) % 10):
        if strongroom.variable(f"v{name}") != f"value {name}":
            return 1
    return 0
failed = 0
for number in range(forks):
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = child(number)
        finally:
            os._exit(code)
    failed += os.waitpid(pid, 0)[1] != 0
ended.set()
for one in running:
    one.join(30)
assert not any(one.is_alive() for one in running)
assert not trouble, trouble[:3]
print(forks - failed, min(counts))
"""


def test_forks_under_threads_that_read_all_have_their_values(one):
    done, slowest = one.python(FORKING, FORKS, seconds=60 + FORKS / 20).split()
    assert int(done) == FORKS
    assert int(slowest) > 0  # the parent's threads went on beside them
    print(f"{FORKS} forks under 4 reading threads, each read 2 values; the slowest thread read {slowest}")


FORKING_AT_ONCE = r"""
import os, strongroom
assert strongroom.variable("v1") == "value 1"
# They all come from one connected parent and read at the same time: a shared socket would mix answers.
pids = []
for number in range(60):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            names = [(number + step) % 10 for step in range(40)]
            code = 0 if all(strongroom.variable(f"v{n}") == f"value {n}" for n in names) else 3
        finally:
            os._exit(code)
    pids.append(pid)
print(sorted({os.waitpid(pid, 0)[1] for pid in pids}), strongroom.variable("v2"))
"""


def test_children_of_one_connected_parent_never_get_each_others_answers(one):
    assert one.python(FORKING_AT_ONCE) == "[0] value 2"


FORKING_IN_A_LOOP = r"""
import asyncio, os, strongroom
async def main():
    assert await strongroom.avariable("v1") == "value 1"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if strongroom.variable("v2") == "value 2" else 3
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    assert await strongroom.avariable("v3") == "value 3"
    return status
print(asyncio.run(main()))
"""


def test_a_fork_inside_a_running_loop_reads_for_itself(one):
    assert one.python(FORKING_IN_A_LOOP) == "0"


# --- multiprocessing and exec ----------------------------------------------------------------------------

POOL = r"""
import multiprocessing, os, sys
import strongroom
def read(number):
    return os.getpid(), strongroom.variable(f"v{number % 10}")
if __name__ == "__main__":
    assert strongroom.variable("v0") == "value 0"
    with multiprocessing.get_context(sys.argv[1]).Pool(3) as pool:
        found = pool.map(read, range(60), chunksize=5)
    assert [text for _, text in found] == [f"value {number % 10}" for number in range(60)], found
    assert os.getpid() not in {pid for pid, _ in found}
    print("all")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_multiprocessing_read(one, method):
    program = one.home / "pool.py"
    program.write_text(POOL)
    assert run(one, program, method) == "all"


def run(one, program, *arguments):
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        env=one.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


EXEC = r"""
import os, sys
import strongroom
def sockets():
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    return sum(link.startswith("socket:") for link in links)
before = sockets()
assert strongroom.variable("v1") == "value 1"
if len(sys.argv) == 2:
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], sys.argv[1], "again"])
print(before, sockets())
"""


def test_exec_inherits_no_connection_and_reads_again(one):
    before, after = one.python(EXEC, EXEC).split()
    assert before == "0"
    assert int(after) >= 1


# --- prefork workers -------------------------------------------------------------------------------------


def workers():
    """Give where the programs of the workers' environment stand."""
    if not (WORKERS / ".done").exists():
        missing(MISSING)
    return WORKERS / "bin"


def worker_environ(one, home):
    """Give the environment of a worker: it has this checkout and nothing that Strongroom depends on."""
    return one.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{home}", "PYTHONUTF8": "1"}


APP = r"""
import os
import strongroom
FIRST = strongroom.variable("v0")           # in the master, before it forks
def app(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    text = f"{os.getpid()} {os.getppid()} {FIRST} {strongroom.variable(name)}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""


@contextmanager
def gunicorn(one, home, kind):
    (home / "wsgi.py").write_text(APP)
    command = [workers() / "gunicorn", "--preload", "--workers", "3", "--worker-class", kind]
    command += ["--bind", "127.0.0.1:0", "--no-control-socket", "wsgi:app"]
    log = home / "gunicorn.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(part) for part in command], env=worker_environ(one, home), cwd=home, stderr=file, stdout=file
        )
    try:

        def address():
            for line in log.read_text().splitlines():
                if "Listening at: " in line:
                    return line.partition("Listening at: ")[2].split()[0]
            return None

        yield until(address, what="gunicorn", alive=process, told=log.read_text), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def ask(address, name):
    with urllib.request.urlopen(f"{address}/{name}", timeout=20) as answer:
        pid, parent, first, text = answer.read().decode().replace("value ", "").split()
    return int(pid), int(parent), first, text


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_workers_of_gunicorn_read_after_the_master_did(one, tmp_path, kind):
    with gunicorn(one, tmp_path, kind) as (address, process):
        found = [ask(address, f"v{number % 10}") for number in range(100)]
    assert [text for *_, text in found] == [str(number % 10) for number in range(100)]
    assert {(parent, first) for _, parent, first, _ in found} == {(process.pid, "0")}
    assert process.pid not in {pid for pid, *_ in found}


TASKS = r"""
import os
from celery import Celery
import strongroom
FIRST = strongroom.variable("v0")           # in the worker's parent, before it forks its pool
app = Celery("tasks", broker="filesystem://", backend="file://" + os.environ["FOLDER"] + "/results")
app.conf.broker_transport_options = {
    "data_folder_in": os.environ["FOLDER"] + "/queue",
    "data_folder_out": os.environ["FOLDER"] + "/queue",
    "control_folder": os.environ["FOLDER"] + "/control",
}
app.conf.update(task_acks_late=False, broker_connection_retry_on_startup=False)
@app.task
def read(name):
    return [os.getpid(), os.getppid(), FIRST, strongroom.variable(name)]
"""

SEND = r"""
import json
from tasks import read
sent = [read.delay(f"v{number % 10}") for number in range(40)]
print(json.dumps([one.get(timeout=40) for one in sent]))
"""


@contextmanager
def celery(one, home):
    for name in ("queue", "control", "results"):
        (home / name).mkdir()
    (home / "tasks.py").write_text(TASKS)
    environ = worker_environ(one, home) | {"FOLDER": str(home)}
    command = [workers() / "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "3"]
    command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    log = home / "celery.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(part) for part in command], env=environ, cwd=home, stderr=file, stdout=file
        )
    try:
        until(lambda: " ready." in log.read_text(), what="celery", alive=process, told=log.read_text)
        yield environ, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_prefork_workers_of_celery_read_after_their_parent_did(one, tmp_path):
    with celery(one, tmp_path) as (environ, process):
        done = subprocess.run(
            [str(workers() / "python"), "-c", SEND],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr}\n{(tmp_path / 'celery.log').read_text()}"
    found = json.loads(done.stdout)
    assert [text for *_, text in found] == [f"value {number % 10}" for number in range(40)]
    assert {first for _, _, first, _ in found} == {"value 0"}
    assert process.pid not in {pid for pid, *_ in found}
    assert len({pid for pid, *_ in found}) > 1


def test_the_way_to_a_value_needs_nothing_but_python(one, tmp_path):
    environ = worker_environ(one, tmp_path) | {"PYTHONPATH": str(ROOT / "src")}
    program = "import strongroom; print(strongroom.variable('v1'))"
    found = one.python(program, executable=str(workers() / "python"), environ=environ)
    assert found == "value 1"
    lacking = one.python(
        "import importlib.util as u; print(*(u.find_spec(n) is None for n in ('msgspec', 'cryptography')))",
        executable=str(workers() / "python"),
        environ=environ,
    )
    assert lacking == "True True"
