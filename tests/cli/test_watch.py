"""`strongroom run --watch`: a command that is started anew, or told, when what it was given changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from parts import warm
from parts.agent import until
from strongroom.cli.child import Given
from strongroom.cli.gift import plan, read_values
from strongroom.cli.run import _with_a_value
from strongroom.cli.watch import Following, signal_of
from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref

CANARY = "canary-3f9a71c2"
# Supervises a command that is given what each line of a pipe says.
SUPERVISE = """
import json, os, sys, threading
from strongroom.cli.child import Given, supervise
from strongroom.model.masking import Masker
from strongroom.model.secret import Secret

class Watch:
    def __init__(self, pipe, number):
        self.signal, self.pipe, self.pending = number, pipe, []
    def begin(self, wake):
        def look():
            for line in open(self.pipe):
                self.pending.append(made(json.loads(line)))
                wake()
        threading.Thread(target=look, daemon=True).start()
    def take(self):
        return self.pending.pop(0) if self.pending else None
    def close(self):
        pass

def made(given):
    files = given.get("files")
    return Given(
        {**os.environ, **given.get("environ", {})},
        None if files is None else {name: Secret(text) for name, text in files.items()},
        Masker(given["secrets"]) if "secrets" in given else None,
    )

command, first, pipe, number = (json.loads(word) for word in sys.argv[1:])
given = made(first)
watch = Watch(pipe, number)
sys.exit(supervise(command, given.environ, masker=given.masker, files=given.files, watch=watch))
"""
# Says what it was given, and which signals come; ends with TERM.
COMMAND = """
import os, signal, sys
def told(number, frame):
    print(signal.Signals(number).name, given(), flush=True)
    if number == signal.SIGTERM: sys.exit(9)
def given():
    folder = os.environ.get("STRONGROOM_FILES")
    return open(os.path.join(folder, "a")).read() if folder else os.environ.get("A")
for name in "HUP INT TERM USR1".split():
    signal.signal(getattr(signal, "SIG" + name), told)
print("start", given(), flush=True)
while True: signal.pause()
"""


class Running:
    """A supervised command whose values a test changes."""

    def __init__(self, folder: Path, first: dict, *, command=None, number=None) -> None:
        folder.chmod(0o700)
        pipe = folder / "pipe"
        os.mkfifo(pipe)
        command = command or [sys.executable, "-c", COMMAND]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, *map(json.dumps, (command, first, str(pipe), number))],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
        )
        self._pipe = pipe.open("w")

    def give(self, **given: object) -> None:
        self._pipe.write(json.dumps(given) + "\n")
        self._pipe.flush()

    def says(self) -> str:
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self._pipe.close()


@pytest.fixture
def start(tmp_path):
    started = []

    def start(first: dict, **how: object) -> Running:
        started.append(Running(tmp_path, first, **how))
        return started[-1]

    yield start
    for one in started:
        one.close()


# --- the command -----------------------------------------------------------------------------------


def test_a_command_is_started_anew_with_what_it_is_given_now(start):
    run = start({"environ": {"A": "one"}})
    assert run.says() == "start one"
    run.give(environ={"A": "two"})
    assert [run.says(), run.says()] == ["SIGTERM one", "start two"]
    run.give(environ={"A": "three"})
    assert [run.says(), run.says()] == ["SIGTERM two", "start three"]
    run.process.terminate()
    assert run.says() == "SIGTERM three"
    assert run.process.wait(20) == 9


def test_files_are_new_before_the_command_is_told_by_a_signal(start, tmp_path):
    run = start({"files": {"a": "one"}}, number=int(signal.SIGHUP))
    assert run.says() == "start one"
    run.give(files={"a": "two"})
    assert run.says() == "SIGHUP two"
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert oct((folder / "a").stat().st_mode & 0o7777) == "0o600"
    run.process.terminate()
    assert run.says() == "SIGTERM two"
    assert run.process.wait(20) == 9
    assert not folder.exists()


def test_a_command_that_ends_by_itself_is_not_started_again(start):
    run = start({"environ": {"A": "1"}}, command=["sh", "-c", "echo go; exit 5"])
    assert run.says() == "go"
    assert run.process.wait(20) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_ending_signal_while_it_is_started_anew_ends_the_run(start, number):
    # It takes its time to end, and says when it was told to.
    slow = (
        "import signal, sys, time\n"
        "def told(number, frame):\n"
        "    print(signal.Signals(number).name, flush=True)\n"
        "    told.count += 1\n"
        "    if told.count > 1: sys.exit(4)\n"
        "told.count = 0\n"
        "for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(each, told)\n"
        "print('start', flush=True)\n"
        "while True: signal.pause()\n"
    )
    run = start({"environ": {"A": "1"}}, command=[sys.executable, "-c", slow])
    assert run.says() == "start"
    run.give(environ={"A": "2"})
    assert run.says() == "SIGTERM"
    run.process.send_signal(number)
    assert run.says() == number.name
    assert run.process.wait(20) == 4


def test_signals_are_passed_on_to_the_command_that_runs_now(start):
    run = start({"environ": {"A": "1"}})
    run.says()
    run.give(environ={"A": "2"})
    assert [run.says(), run.says()] == ["SIGTERM 1", "start 2"]
    run.process.send_signal(signal.SIGUSR1)
    assert run.says() == "SIGUSR1 2"


def test_a_new_value_is_masked_from_the_moment_the_command_is_told(start):
    first = {"files": {"a": "old-secret"}, "secrets": ["old-secret"]}
    run = start(first, number=int(signal.SIGHUP))
    assert run.says() == "start ***"
    run.give(files={"a": "new-secret"}, secrets=["old-secret", "new-secret"])
    assert run.says() == "SIGHUP ***"


def test_what_is_started_anew_is_masked_too(start):
    run = start({"environ": {"A": "old-secret"}, "secrets": ["old-secret"]})
    assert run.says() == "start ***"
    run.give(environ={"A": "new-secret"}, secrets=["old-secret", "new-secret"])
    assert [run.says(), run.says()] == ["SIGTERM ***", "start ***"]


# --- what is followed ------------------------------------------------------------------------------


@pytest.fixture
def followed(tmp_path):
    """Follow two variables of a room in a folder; gives (change, following, woken, told)."""
    from strongroom.assembly import open_room  # noqa: PLC0415 -- only these tests open one

    path = tmp_path / "v.json"

    def change(**values: str) -> None:
        draft = tmp_path / "draft"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(values))
        draft.rename(path)

    change(a="1", b="2")
    config = tmp_path / "strongroom.toml"
    config.touch(mode=0o600)
    config.write_text('chain = ["vars"]\n[backend.vars]\nkind = "file"\nvariables = "v.json"\n')
    opened = []

    def room():
        opened.append(open_room(str(config), environ={"STRONGROOM_HOME": str(tmp_path / "home")}))
        return opened[-1]

    gifts = plan([Ref("variable", "a"), Ref("variable", "b")], [], team=None, is_files=True)
    with room() as first:
        values = read_values(gifts, first.lookup)
    woken, told = threading.Semaphore(0), []
    following = Following(
        room,
        gifts,
        values,
        make=lambda found: Given({}, found.texts),
        signal=None,
        tell=told.append,
        interval=timedelta(milliseconds=20),
    )
    yield change, following, woken, told
    following.close()


def texts(given: Given) -> list[str]:
    return [text.reveal() for text in given.files.values()]


def test_what_changes_is_read_again_and_whoever_waits_is_woken(followed):
    change, following, woken, told = followed
    following.begin(woken.release)
    change(a="1", b="3")
    assert woken.acquire(timeout=20)
    assert texts(following.take()) == ["1", "3"]
    assert following.take() is None
    assert told == []


def test_what_changed_before_it_was_followed_is_found(followed):
    change, following, woken, _ = followed
    change(a="0", b="2")
    following.begin(woken.release)
    assert woken.acquire(timeout=20)
    assert texts(following.take()) == ["0", "2"]


def test_trouble_disturbs_nothing_and_is_told_once(followed, tmp_path):
    change, following, woken, told = followed
    following._pause = lambda _seconds: threading.Event().wait(0.01)
    (tmp_path / "v.json").write_text("{")
    following.begin(woken.release)
    until(lambda: told)
    change(a="1", b="2")
    change(a="1", b="9")
    assert woken.acquire(timeout=20)
    assert texts(following.take()) == ["1", "9"]
    assert len(told) == 1


# --- the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("--watch -- ls", "--watch=restart -- ls"),
        ("--watch ls --watch", "--watch=restart ls --watch"),
        ("--watch=HUP -- ls", "--watch=HUP -- ls"),
        ("--connection --watch -- ls", "--connection --watch -- ls"),
        (
            "--mask --connection a --watch --files -- ls",
            "--mask --connection a --watch=restart --files -- ls",
        ),
        ("-- ls --watch", "-- ls --watch"),
    ],
)
def test_watch_alone_is_restart_and_takes_no_word_of_the_commands(line, found):
    assert _with_a_value(line.split(), {"--connection"}) == found.split()


def test_a_signal_is_named_as_people_name_it():
    assert signal_of("restart") is None
    assert signal_of("HUP") == signal_of("sighup") == signal.SIGHUP
    for wrong in ("KILL", "9", "", "HUP "):
        with pytest.raises(InvalidInputError, match="--watch is restart or the name of a signal"):
            signal_of(wrong)


def test_a_service_is_started_anew_when_its_password_is_rotated(tmp_path):
    home, values = tmp_path / "home", tmp_path / "v.json"
    config = tmp_path / "strongroom.toml"
    for path, text in (
        (config, f'chain = ["vars"]\n[backend.vars]\nkind = "file"\nvariables = "{values}"\n'),
        (values, json.dumps({"token": f"{CANARY}-1"})),
    ):
        path.touch(mode=0o600)
        path.write_text(text)
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "STRONGROOM_HOME": str(home)}
    script = f"trap 'exit 3' TERM; echo start ${{AIRFLOW_VAR_TOKEN#{CANARY}}}; while :; do sleep 0.05; done"
    command = ["--config", str(config), "run", "--watch"]
    process = warm.Popen(
        [*command, "--variable", "token", "--", "sh", "-c", script],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "start -1\n"
        draft = tmp_path / "draft"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps({"token": f"{CANARY}-2"}))
        draft.rename(values)
        assert process.stdout.readline() == "start -2\n"
        process.terminate()
        assert process.wait(20) == 3
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_too_many_entries_are_not_followed_one_by_one(tmp_path):
    environ = {f"AIRFLOW_VAR_V{n}": "x" for n in range(101)}
    environ |= {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)}
    command = ["run", "--all", "--watch", "--", "true"]
    done = warm.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--watch follows at most 100 entries" in done.stderr
