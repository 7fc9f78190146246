"""`strongroom run` with real processes: environment, files, masking, signals, exit codes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from parts import warm
from strongroom.cli.folder import private_folder
from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret

SECRET = "s3cr@tPass"
SUPERVISE = """
import json, os, signal, sys
from strongroom.cli.child import CannotStartError, become, supervise
from strongroom.model.masking import Masker
from strongroom.model.secret import Secret
given = json.loads(sys.argv[1])
environ = {**os.environ, **given.get("environ", {})}
masker = Masker(given["secrets"]) if "secrets" in given else None
files = {name: Secret(text) for name, text in given["files"].items()} if "files" in given else None
if given.get("tell"):
    print(os.getpid(), flush=True)
if "ignored" in given:
    signal.signal(given["ignored"], signal.SIG_IGN)
if "umask" in given:
    os.umask(given["umask"])
if "terminal" in given:
    os.open(given["terminal"], os.O_RDWR)  # the first one a session opens becomes its own
try:
    if given.get("become"):
        become(given["command"], environ)
    sys.exit(supervise(given["command"], environ, masker=masker, files=files))
except CannotStartError as error:
    print(error, error.hint)
    sys.exit(error.exit_code)
"""
PYTHON = [sys.executable, "-c"]
# Says which signals come, one a line; ends with TERM.
LISTENER = """
import signal, sys
def told(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM: sys.exit(9)
for name in "HUP INT QUIT TERM USR1 USR2 WINCH".split():
    signal.signal(getattr(signal, "SIG" + name), told)
print("ready", flush=True)
while True: signal.pause()
"""


@pytest.fixture
def start():
    """Start a process that supervises a command; whatever is left of it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, popen: dict | None = None, **given) -> subprocess.Popen[bytes]:
        arguments = [*PYTHON, SUPERVISE, json.dumps({"command": command, **given})]
        pipes = {
            "args": arguments,
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "bufsize": 0,
        }
        started.append(subprocess.Popen(**(pipes | (popen or {}))))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


def finish(process: subprocess.Popen[bytes], given: bytes = b"") -> tuple[bytes, bytes, int]:
    out, err = process.communicate(given, timeout=60)
    return out, err, process.returncode


# --- exit codes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way", [{"become": True}, {"files": {}}, {"secrets": []}], ids=["become", "files", "mask"]
)
def test_the_exit_code_is_the_commands(start, way):
    assert finish(start("sh", "-c", "exit 37", **way))[2] == 37


@pytest.mark.parametrize("way", [{"files": {}}, {"secrets": []}], ids=["files", "mask"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_command_killed_by_a_signal_ends_with_128_and_its_number(start, way, number):
    assert finish(start("sh", "-c", f"kill -{int(number)} $$", **way))[2] == 128 + number


@pytest.mark.parametrize(
    "way", [{"become": True}, {"secrets": [], "files": {"a": "x"}}], ids=["become", "supervise"]
)
def test_a_command_that_is_not_there_is_127_and_one_that_cannot_run_126(start, way, tmp_path):
    for program, code, message in [
        ("no-such-program", 127, b"no-such-program: command not found None\n"),
        (str(tmp_path), 126, f"{tmp_path}: cannot be executed: permission denied None\n".encode()),
    ]:
        process = start(program, environ={"XDG_RUNTIME_DIR": str(tmp_path)}, **way)
        assert finish(process) == (message, b"", code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", [{"become": True}, {"secrets": []}], ids=["become", "mask"])
def test_values_too_large_for_an_environment_are_126_with_a_way_out(start, way):
    script = SUPERVISE.replace('given.get("environ", {})', '{"BIG": "x" * 300_000}')
    process = start("true", popen={"args": [*PYTHON, script, json.dumps({"command": ["true"], **way})]})
    out, _, code = finish(process)
    assert code == 126
    assert (
        out == b"true: the values are too large for an environment say --files to hand them over in files\n"
    )


# --- what the command sees ---------------------------------------------------------------------


def test_without_masking_and_files_the_process_becomes_the_command(start):
    out, _, _ = finish(start("sh", "-c", "echo $$", become=True, tell=True))
    before, after = out.split()
    assert before == after


@pytest.mark.parametrize(
    "way", [{"become": True}, {"files": {}}, {"secrets": []}], ids=["become", "files", "mask"]
)
def test_the_command_finds_signals_as_a_shell_leaves_them(start, way):
    out, _, _ = finish(start("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status", **way))
    # The C library's posix_spawn leaves two signals of its own (32, 33) ignored; no program sees them.
    masks = {line.split(b":")[0]: int(line.split()[1], 16) & 0x7FFFFFFF for line in out.splitlines()}
    assert masks == {b"SigBlk": 0, b"SigIgn": 0}


def test_a_signal_ignored_from_outside_stays_ignored(start):
    out, _, _ = finish(start("grep", "SigIgn", "/proc/self/status", secrets=[], ignored=signal.SIGHUP))
    assert int(out.split()[1], 16) & 0x7FFFFFFF == 1 << (signal.SIGHUP - 1)


def test_stdin_is_the_commands_own(start):
    assert finish(start("cat", secrets=[SECRET]), b"one\n\x00two")[0] == b"one\n\x00two"


# --- masking -----------------------------------------------------------------------------------


def test_stdout_and_stderr_are_masked_each_on_its_own(start):
    out, err, _ = finish(start("sh", "-c", f"echo out {SECRET}; echo err {SECRET} >&2", secrets=[SECRET]))
    assert (out, err) == (b"out ***\n", b"err ***\n")


def test_a_secret_written_in_two_pieces_is_masked_and_a_prompt_is_seen_at_once(start):
    script = 'printf "Password s3cr"; read x; printf "? "; read x; printf "got s3cr"; read x; echo "@tPass."'
    process = start("sh", "-c", script, secrets=[SECRET])
    for seen in (b"Password ", b"s3cr? ", b"got "):
        assert process.stdout.read(4096) == seen
        if seen != b"got ":
            process.stdin.write(b"\n")
    assert finish(process, b"\n")[0] == b"***.\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_written_before_a_kill_is_not_lost(start, number):
    script = (
        "import os, signal, sys\n"
        f"os.write(1, b'line of output {SECRET}\\n' * 50_000 + b'tail s3cr')\n"
        f"os.kill(os.getpid(), {int(number)})"
    )
    out, _, code = finish(start(*PYTHON, script, secrets=[SECRET]))
    assert out == b"line of output ***\n" * 50_000 + b"tail s3cr"
    assert code == 128 + number


def test_bytes_that_are_no_text_pass_unchanged(start):
    blob = bytes(range(256)) * 300
    assert finish(start("cat", secrets=[SECRET]), blob)[0] == blob


def test_when_the_reader_is_gone_the_command_gets_sigpipe(start):
    process = start("yes", secrets=[SECRET])
    assert process.stdout.read(2) == b"y\n"
    process.stdout.close()
    process.stdout = None
    assert process.wait(60) == 128 + signal.SIGPIPE


def test_masked_output_of_what_the_command_left_running_is_waited_for(start):
    process = start("sh", "-c", "exec 3<&0; { read x <&3; echo $x; } & exit 3", secrets=[SECRET])
    assert finish(process, f"late {SECRET}\n".encode()) == (b"late ***\n", b"", 3)


def test_an_ending_signal_ends_the_wait_for_what_the_command_left_running(start):
    # What is left running says so once the command is gone and its exit code was taken.
    left = "{ while kill -0 $$ 2>&-; do :; done; echo alone; read x <&3; }"
    process = start("sh", "-c", f"exec 3<&0; {left} & exit 3", secrets=[SECRET])
    assert process.stdout.readline() == b"alone\n"
    process.terminate()
    assert process.wait(60) == 3


# --- signals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH"])
@pytest.mark.parametrize("way", [{"files": {}}, {"secrets": []}], ids=["files", "mask"])
def test_a_signal_sent_to_us_is_passed_on(start, way, name):
    process = start(*PYTHON, LISTENER, **way)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.stdout.readline() == f"SIG{name}\n".encode()
    process.terminate()
    assert finish(process) == (b"SIGTERM\n", b"", 9)


def test_ctrl_c_on_a_terminal_reaches_the_command_once(start):
    ours, theirs = os.openpty()
    terminal = os.fdopen(ours, "r+b", buffering=0)

    popen = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    process = start(*PYTHON, LISTENER, secrets=[], terminal=os.ttyname(theirs), popen=popen)
    os.close(theirs)
    seen = b""
    with terminal:
        while b"ready" not in seen:
            seen += terminal.read(1)
        terminal.write(b"\x03")
        while seen.count(b"SIGINT") < 1:
            seen += terminal.read(1)
        # Whatever we would pass on for Ctrl-C comes before this, because signals are taken one by one.
        process.send_signal(signal.SIGUSR1)
        while b"SIGUSR1" not in seen:
            seen += terminal.read(1)
        process.terminate()
        assert process.wait(60) == 9
    assert seen.count(b"SIGINT") == 1


# --- files -------------------------------------------------------------------------------------


def private(tmp_path: Path) -> dict[str, str]:
    tmp_path.chmod(0o700)
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


def test_files_are_private_and_gone_when_the_command_has_ended(start, tmp_path):
    script = (
        "import json, os, sys\n"
        "top = os.environ['STRONGROOM_FILES']\n"
        "found = {}\n"
        "for folder, _, names in os.walk(top):\n"
        "    found[os.path.relpath(folder, top)] = oct(os.stat(folder).st_mode & 0o7777)\n"
        "    for name in names:\n"
        "        path = os.path.join(folder, name)\n"
        "        mode = oct(os.stat(path).st_mode & 0o7777)\n"
        "        found[os.path.relpath(path, top)] = [mode, open(path).read()]\n"
        "print(json.dumps([top, found]))"
    )
    process = start(
        *PYTHON, script,
        environ=private(tmp_path),
        files={"connections/orders_db": "päss\nword", "PGPASSWORD": SECRET},
        umask=0,
    )  # fmt: skip
    top, found = json.loads(finish(process)[0])
    assert found == {
        ".": "0o700",
        "connections": "0o700",
        "connections/orders_db": ["0o600", "päss\nword"],
        "PGPASSWORD": ["0o600", SECRET],
    }
    assert Path(top).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_files_are_gone_after_a_signal_to_us(start, tmp_path, number):
    process = start("sh", "-c", "echo ready; exec cat", environ=private(tmp_path), files={"a": SECRET})
    assert process.stdout.readline() == b"ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_files_are_gone_after_the_command_was_killed(start, tmp_path):
    finish(start("sh", "-c", "kill -9 $$", environ=private(tmp_path), files={"a": SECRET}))
    assert list(tmp_path.iterdir()) == []


def test_files_the_command_adds_or_removes_do_not_stop_the_removal(start, tmp_path):
    script = "cd $STRONGROOM_FILES; rm a; mkdir -p x/y; touch x/y/z; ln -s /etc x/etc"
    assert finish(start("sh", "-c", script, environ=private(tmp_path), files={"a": SECRET}))[1:] == (b"", 0)
    assert list(tmp_path.iterdir()) == []
    assert Path("/etc/passwd").exists()


def test_a_runtime_folder_others_may_enter_is_not_used(tmp_path):
    tmp_path.chmod(0o755)
    with private_folder({"a": Secret(SECRET)}, {"XDG_RUNTIME_DIR": str(tmp_path)}) as folder:
        assert folder.parent != tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    tmp_path.chmod(0o700)
    with (
        pytest.raises(InvalidInputError, match="cannot be written: file name too long") as caught,
        private_folder({"a": Secret(SECRET), "b" * 300: Secret(SECRET)}, {"XDG_RUNTIME_DIR": str(tmp_path)}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    assert SECRET not in str(caught.value)


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def strongroom(tmp_path):
    """Run `strongroom run` with a room that has only the environment."""
    home = tmp_path / "home"
    home.mkdir()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "STRONGROOM_HOME": str(home),
        "STRONGROOM_TOKEN": "srm_canary",
        "AIRFLOW_CONN_ORDERS_DB": "postgres://ana:s3cr%40tPass@db.example.com:5432/x?sslmode=require",
        "AIRFLOW_VAR_REGION": "eu-west-1",
        "AIRFLOW_VAR_PIN": "1234",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return warm.run(["run", *arguments], env=environ, capture_output=True, text=True, timeout=60)

    return run


def test_a_field_of_a_connection_becomes_the_variable_it_is_assigned_to(strongroom):
    done = strongroom("--as", "PGPASSWORD=orders_db.password", "--", "sh", "-c", "echo $PGPASSWORD")
    assert (done.stdout, done.stderr, done.returncode) == ("s3cr@tPass\n", "", 0)


def test_exactly_what_was_asked_for_is_added(strongroom):
    before = set(strongroom("--variable", "region", "--", "env").stdout.split("\n"))
    after = set(strongroom("--as", "A=variable/region", "--", "env").stdout.split("\n"))
    assert {line for line in after - before if not line.startswith("_=")} == {"A=eu-west-1"}
    assert not any("srm_canary" in line for line in after)


def test_masked_output_hides_the_password_in_every_form_that_was_handed_over(strongroom):
    script = "echo $AIRFLOW_CONN_ORDERS_DB; echo $P; printf %s $P | base64; exit 5"
    done = strongroom(
        "--connection", "orders_db", "--as", "P=orders_db.password", "--mask", "--", "sh", "-c", script
    )
    assert (done.stdout, done.returncode) == ("***\n***\n***\n", 5)


def test_a_value_that_cannot_be_masked_is_named_once_and_not_shown(strongroom):
    done = strongroom("--variable", "pin", "--mask", "--", "true")
    assert 'too short or too common to be masked: variable "pin"' in done.stderr
    assert "1234" not in done.stderr


def test_all_hands_over_everything_in_files(strongroom):
    script = "cd $STRONGROOM_FILES && cat variables/region connections/orders_db && pwd"
    done = strongroom("--all", "--files", "--", "sh", "-c", script)
    assert done.stdout.startswith("eu-west-1postgres://ana:")
    assert not Path(done.stdout.rsplit("x?sslmode=require", 1)[1].strip()).exists()


def test_naming_nothing_hands_over_everything(strongroom):
    done = strongroom("--", "env")
    assert "AIRFLOW_VAR_REGION=eu-west-1" in done.stdout
    assert "AIRFLOW_CONN_ORDERS_DB=postgres://ana:" in done.stdout


def test_options_of_the_command_are_its_own(strongroom):
    done = strongroom("--variable", "region", "sh", "-c", "echo $0 $@", "--mask", "--help")
    assert done.stdout == "--mask --help\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--variable", "region"], 2, "CMD... is missing"),
        (["--variable", "nowhere", "--", "true"], 3, 'variable "nowhere" is in no backend'),
        (["--connection", "a=b", "--", "true"], 2, 'connection "a=b" has a name that no variable'),
        (["--variable", "region", "--", "no-such-program"], 127, "no-such-program: command not found"),
        (["--variable", "region", "--mask", "--", "/"], 126, "/: cannot be executed"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(strongroom, arguments, code, message):
    done = strongroom(*arguments)
    assert (done.stdout, done.returncode) == ("", code)
    assert message in done.stderr


def test_help_says_who_can_read_an_environment_and_what_kill_9_leaves(strongroom):
    text = " ".join(strongroom("--help").stdout.split())
    assert "Every program of the same user can read a process's environment" in text
    assert "after kill -9 of strongroom itself they stay" in text
    assert "pipes instead of the terminal" in text
