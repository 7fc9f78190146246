"""The client of an agent beside everything that an agent, a socket, a fork or a signal may do to it."""

from __future__ import annotations

import copy
import os
import pickle
import pprint
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
from rich.pretty import pretty_repr

import strongroom
from parts.peer import Peer, error, refused, text, usual
from strongroom import errors
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient, run_in

SOURCE = str(Path(strongroom.__file__).parent.parent)
CANARY = "canary-17-of-an-answer"
QUICK = {"patience": 0.05, "timeout": 0.3}


@pytest.fixture
def peer(tmp_path):
    with Peer(tmp_path) as running:
        yield running


def instead(type_, answer):
    """Answer frames of one type by *answer* (given the id), the others as usual."""

    def answered(line, seen, number, payload):
        return answer(number) if seen == type_ else usual(line, seen, number, payload)

    return answered


# --- reading ---------------------------------------------------------------------------------------------


def test_a_variable_costs_one_exchange_with_the_greeting_ahead(peer):
    client = AgentClient(peer.path)
    assert client.variable("region") == "region"
    assert client.variable("größe") == "größe"
    assert [type_ for type_, _, _ in peer.seen] == [frames.HELLO, frames.READ, frames.READ]
    assert peer.lines == 1


def test_every_read_asks_again_and_nothing_is_kept(peer):
    client = AgentClient(peer.path)
    values = iter("abc")
    peer.answer = instead(frames.READ, lambda number: text(number, next(values)))
    assert [client.variable("x") for _ in range(3)] == ["a", "b", "c"]


def test_a_connection_comes_field_by_field_as_the_one_class(peer):
    fields = ("postgres", None, "db", "svc", "pw", "orders", 5432, '{"sslmode": "require"}')
    body = frames.pack_fields("vault", "3", fields)
    peer.answer = instead(frames.READ, lambda number: frames.pack_answer(number, frames.FOUND, body))
    found = AgentClient(peer.path).connection("orders_db")
    assert type(found) is strongroom.Connection
    assert found == strongroom.Connection.parse("postgres://svc:pw@db:5432/orders?sslmode=require")
    assert found.extra["sslmode"].reveal() == "require"
    assert "pw" not in repr(found)


def test_an_answer_tells_age_source_version_and_outcome(peer):
    peer.answer = instead(frames.READ, lambda number: text(number, "v", flags=frames.STALE | frames.CACHED))
    answer = AgentClient(peer.path).read("variable", "x")
    assert (answer.backend, answer.version, answer.age_ms, answer.ttl_ms) == ("fake", "1", 0, 1000)
    assert (answer.outcome, answer.flags) == (frames.FOUND, frames.STALE | frames.CACHED)


@pytest.mark.parametrize("serialise", [pickle.dumps, copy.copy, copy.deepcopy])
def test_LK02_an_answer_shows_nothing_and_is_not_written_down(serialise):
    answer = frames.Answer(frames.FOUND)
    answer.text, answer.fields = CANARY, ("postgres", None, None, None, CANARY, None, None, None)
    shown = (repr(answer), str(answer), f"{answer}", pprint.pformat([answer]), pretty_repr({"a": answer}))
    assert not any(CANARY in text for text in shown)
    with pytest.raises(TypeError, match="cannot be pickled"):
        serialise(answer)


def test_many_come_in_one_exchange_and_in_parts(peer):
    client = AgentClient(peer.path)
    refs = [("variable", f"v{number}", None) for number in range(2500)]
    assert [answer.text for answer in client.read_many(refs)] == [name for _, name, _ in refs]

    def parts(number):
        one = frames.pack_result(frames.FOUND, frames.pack_text(None, None, "a"))
        two = frames.pack_result(frames.ABSENT, frames.pack_nothing())
        first = frames.frame(
            frames.READ_MANY | frames.ANSWER, number, frames.pack_results(0, [one], has_more=True)
        )
        return first + frames.frame(frames.READ_MANY | frames.ANSWER, number, frames.pack_results(1, [two]))

    peer.answer = instead(frames.READ_MANY, parts)
    assert [answer.text for answer in client.read_many(refs[:2])] == ["a", None]


def test_an_answer_in_more_parts_than_there_are_names_is_no_agents(peer):
    part = frames.pack_results(0, [], has_more=True)
    peer.answer = instead(
        frames.READ_MANY,
        lambda number: frames.frame(frames.READ_MANY | frames.ANSWER, number, part) * 10,
    )
    with pytest.raises(errors.BackendUnavailableError, match="does not speak as an agent"):
        AgentClient(peer.path).read_many([("variable", "a", None), ("variable", "b", None)])


def test_a_batch_that_is_not_whole_is_no_answer(peer):
    one = frames.pack_result(frames.FOUND, frames.pack_text(None, None, "a"))
    for payload in (frames.pack_results(0, [one]), frames.pack_results(1, [one, one]), b"\x00"):
        peer.answer = instead(
            frames.READ_MANY,
            lambda number, payload=payload: frames.frame(frames.READ_MANY | frames.ANSWER, number, payload),
        )
        with pytest.raises(errors.BackendUnavailableError, match="does not speak as an agent"):
            AgentClient(peer.path).read_many([("variable", "a", None), ("variable", "b", None)])


def test_a_value_of_a_mebibyte_comes_whole(peer):
    value = "x€" * 262_144
    peer.answer = instead(frames.READ, lambda number: text(number, value))
    assert AgentClient(peer.path).variable("large") == value


def test_an_answer_in_pieces_is_put_together(peer):
    def slowly(line, type_, number, payload):
        for byte in usual(line, type_, number, payload):
            line.sendall(bytes((byte,)))
        return b""

    peer.answer = slowly
    assert AgentClient(peer.path).variable("region") == "region"


def test_notices_and_strange_frames_in_between_are_passed_over(peer):
    def chatty(line, type_, number, payload):
        notice = frames.frame(frames.NOTICE, 0, frames.pack_notice("variable", "x"))
        later = frames.frame(0x7E, 77, b"of a later minor version")
        return notice + later + usual(line, type_, number, payload)

    peer.answer = chatty
    assert AgentClient(peer.path).variable("region") == "region"


# --- what is not given -------------------------------------------------------------------------------------


REFUSALS = [
    getattr(errors, name) for name in errors.__all__ if name not in ("StrongroomError", "SettingsError")
]


@pytest.mark.parametrize(
    ("code", "kind"),
    # The settings of an agent are not the caller's.
    [*((kind.code, kind) for kind in REFUSALS), ("settings", errors.BackendConfigError)],
)
def test_every_refusal_is_the_error_it_tells_of(peer, code, kind):
    peer.answer = instead(
        frames.READ, lambda number: refused(number, code, "because", hint="do this", outcome=frames.INVALID)
    )
    with pytest.raises(kind, match="because") as caught:
        AgentClient(peer.path).variable("x")
    assert caught.value.hint == "do this"


def test_a_refusal_tells_its_reason_and_when_to_ask_again(peer):
    client = AgentClient(peer.path)
    peer.answer = instead(frames.READ, lambda number: refused(number, "access_denied", reason="policy p"))
    with pytest.raises(errors.AccessDeniedError) as caught:
        client.variable("x")
    assert caught.value.reason == "policy p"
    peer.answer = instead(
        frames.READ,
        lambda number: refused(number, "backend_unavailable", retry_ms=2500, outcome=frames.UNAVAILABLE),
    )
    with pytest.raises(errors.BackendUnavailableError) as caught:
        client.variable("x")
    assert caught.value.retry_after.total_seconds() == 2.5
    assert peer.lines == 1


def test_absent_is_none_and_an_unknown_code_is_never_absent(peer):
    client = AgentClient(peer.path)
    peer.answer = instead(
        frames.READ, lambda number: frames.pack_answer(number, frames.ABSENT, frames.pack_nothing())
    )
    assert client.variable("x") is None
    assert client.connection("x") is None
    assert client.variable_json("x") is None
    peer.answer = instead(frames.READ, lambda number: error(number, "of_a_later_version"))
    with pytest.raises(errors.BackendUnavailableError):
        client.variable("x")


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x01\x00",
        frames.frame(frames.READ | frames.ANSWER, 3, b"\x09"),
        frames.frame(frames.READ | frames.ANSWER, 3, b"\x00\x00canary-1"),
        frames.frame(frames.HELLO | frames.ANSWER, 1, b"SRM\x02\x00"),
        frames.frame(frames.HELLO | frames.ANSWER, 1, b"XYZ"),
        frames.frame(frames.ERROR, 3, b"\x00"),
    ],
)
def test_what_is_no_answer_is_unavailable_and_shows_nothing_of_it(peer, broken):
    peer.answer = lambda *_told: broken
    with pytest.raises(errors.BackendUnavailableError) as caught:
        AgentClient(peer.path, **QUICK).variable("x")
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_a_name_that_is_none_is_refused_as_everywhere(peer):
    peer.answer = instead(
        frames.READ, lambda number: refused(number, "invalid_input", "x", outcome=frames.INVALID)
    )
    with pytest.raises(errors.InvalidInputError) as caught:
        AgentClient(peer.path).variable("a/../b")
    assert caught.value.offset == 2
    for name in (5, None, "a" * 70_000, "\ud800", b"x"):
        with pytest.raises(errors.InvalidInputError):
            AgentClient(peer.path).variable(name)
    assert len(peer.names()) == 1


def test_json_is_parsed_here_and_what_is_none_is_malformed(peer):
    client = AgentClient(peer.path)
    peer.answer = instead(frames.READ, lambda number: text(number, '{"a": [1]}'))
    assert client.variable_json("x") == ({"a": [1]},)
    peer.answer = instead(frames.READ, lambda number: text(number, "canary-1"))
    with pytest.raises(errors.MalformedEntryError, match="in the backend fake is no JSON") as caught:
        client.variable_json("x")
    assert "canary" not in "".join(traceback.format_exception(caught.value))


# --- whom it speaks to -------------------------------------------------------------------------------------


def test_nothing_is_sent_into_a_folder_that_others_may_write(peer):
    peer.folder.chmod(0o777)
    with pytest.raises(errors.SettingsError, match="others than root and me"):
        AgentClient(peer.path).variable("x")
    peer.folder.chmod(0o770)
    with pytest.raises(errors.SettingsError):
        AgentClient(peer.path).variable("x")
    assert peer.lines == 0


def test_a_link_a_file_and_a_relative_path_are_no_socket(peer, tmp_path):
    link = tmp_path / "run" / "link.sock"
    link.symlink_to(peer.path)
    plain = tmp_path / "run" / "plain.sock"
    plain.touch()
    for path in (link, plain):
        with pytest.raises(errors.SettingsError, match="is no socket"):
            AgentClient(str(path)).variable("x")
    for path in ("agent.sock", "", "/" + "x" * 110):
        with pytest.raises(errors.SettingsError, match="absolute"):
            AgentClient(path).variable("x")
    assert peer.lines == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_process_of_another_user_is_not_spoken_to(tmp_path):
    # It listens where only root and I could have put a socket; credentials are those at listen time.
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    squat = """
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1] + "/agent.sock")
os.setuid(12345)
server.listen()
print("ready", flush=True)
line, _ = server.accept()
print(line.recv(100) or "nothing", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", squat, folder], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(errors.AccessDeniedError, match="of the user 12345"):
            AgentClient(str(folder / "agent.sock")).variable("x")
        assert other.stdout.readline() == "nothing\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_user_who_may_not_open_the_socket_is_told_whom_to_ask(peer):
    script = """
import os, sys
sys.path.insert(0, sys.argv[1])
import strongroom.caller.refusal  # the project's folder may be closed to that user
from strongroom.caller.agent import AgentClient
from strongroom import errors
os.setuid(12345)
try:
    AgentClient(sys.argv[2]).variable("x")
except errors.AccessDeniedError as error:
    print(error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, SOURCE, peer.path], capture_output=True, text=True, check=True
    )
    assert "[agent] users or groups" in done.stdout


# --- breaking off, and coming back -------------------------------------------------------------------------


def test_an_agent_that_restarts_is_found_again(peer):
    client = AgentClient(peer.path)
    assert client.variable("a") == "a"
    peer.stop()
    timer = threading.Timer(0.3, peer.start)
    timer.start()
    assert client.variable("b") == "b"
    timer.join()
    peer.drop()
    assert client.variable("c") == "c"


def test_a_question_that_breaks_off_is_asked_again_but_not_for_ever(peer):
    client = AgentClient(peer.path)
    times = iter([None, None])

    def closing(line, type_, number, payload):
        if type_ == frames.READ and next(times, usual) is None:
            return None
        return usual(line, type_, number, payload)

    peer.answer = closing
    assert client.variable("a") == "a"
    peer.answer = instead(frames.READ, lambda _number: None)
    with pytest.raises(errors.BackendUnavailableError, match="no agent answers"):
        client.variable("poison")
    assert peer.names().count("poison") <= 7


def test_an_agent_that_is_away_is_waited_for_once_and_then_told_at_once(tmp_path):
    client = AgentClient(str(tmp_path / "agent.sock"), patience=0.2)
    started = time.monotonic()
    with pytest.raises(errors.BackendUnavailableError, match="no agent answers"):
        client.variable("a")
    assert time.monotonic() - started >= 0.2
    started = time.monotonic()
    for _ in range(50):
        with pytest.raises(errors.BackendUnavailableError):
            client.variable("a")
    assert time.monotonic() - started < 5


def test_a_late_answer_is_unavailable_and_never_anybody_elses(peer):
    client = AgentClient(peer.path, timeout=1)
    assert client.variable("first") == "first"
    peer.answer = lambda *_told: b""
    with pytest.raises(errors.BackendUnavailableError, match="not answered in time"):
        client.variable("late")
    # The answer comes on the connection that was given up.
    peer.say(text(3, "somebody else's"))
    peer.answer = usual
    assert client.variable("next") == "next"


def test_an_exception_of_a_signal_in_the_middle_costs_the_connection_alone(peer):
    client = AgentClient(peer.path)
    assert client.variable("first") == "first"

    class AlarmError(Exception):
        pass

    def ring(_number, _frame):
        raise AlarmError

    asked = threading.Event()

    def hang(line, type_, number, payload):
        asked.set()
        return b""

    peer.answer = hang
    before = signal.signal(signal.SIGUSR1, ring)
    try:
        me = threading.main_thread().ident
        threading.Thread(target=lambda: (asked.wait(10), signal.pthread_kill(me, signal.SIGUSR1))).start()
        with pytest.raises(AlarmError):
            client.variable("interrupted")
    finally:
        signal.signal(signal.SIGUSR1, before)
    peer.say(text(3, "the interrupted one's"))
    peer.answer = usual
    assert client.variable("next") == "next"


def test_who_is_turned_away_is_told_why(peer):
    def turned(line, _type, _number, _payload):
        line.sendall(error(0, "access_denied", "the user 12 may not ask this agent", reason="users"))

    peer.answer = turned
    with pytest.raises(errors.AccessDeniedError, match="the user 12 may not ask"):
        AgentClient(peer.path).variable("x")


def test_another_major_version_is_told_in_the_agents_words(peer):
    peer.answer = lambda *_told: error(1, "unsupported_version", "the client speaks 1.0 and this agent 2.0")
    with pytest.raises(errors.BackendConfigError, match=r"1\.0 and this agent 2\.0"):
        AgentClient(peer.path).variable("x")


def test_an_agent_without_room_is_asked_again_while_patience_lasts(peer):
    full = iter([True, True])

    def answered(line, type_, number, payload):
        if type_ == frames.HELLO and next(full, None):
            line.sendall(error(0, "overloaded", "no room"))
            return None
        return usual(line, type_, number, payload)

    peer.answer = answered
    assert AgentClient(peer.path).variable("x") == "x"
    peer.answer = lambda *_told: error(0, "overloaded", "no room")
    with pytest.raises(errors.BackendUnavailableError, match="no room"):
        AgentClient(peer.path, **QUICK).variable("x")


# --- runs --------------------------------------------------------------------------------------------------


def test_what_the_environment_says_of_the_run_goes_along_as_a_claim(peer):
    environ = {
        "AIRFLOW_CTX_DAG_ID": "etl",
        "AIRFLOW_CTX_TASK_ID": "load",
        "AIRFLOW_CTX_DAG_RUN_ID": "manual__1",
        "AIRFLOW_CTX_TRY_NUMBER": "2",
    }
    AgentClient(peer.path, environ=environ).variable("x")
    (claim,) = [payload for type_, _, payload in peer.seen if type_ == frames.CLAIM]
    assert frames.read_claim(claim) == ("etl", "load", "manual__1", None, 2, None, None, None, None, "task")
    assert run_in({}) is None
    assert run_in({"AIRFLOW_CTX_DAG_ID": "etl", "AIRFLOW_CTX_TRY_NUMBER": "two"})[4] is None


def test_a_claim_holds_for_every_question_after_it(peer):
    client = AgentClient(peer.path)
    client.variable("before")
    client.claim(("etl", None, None, None, None, None))
    client.variable("after")
    assert [type_ for type_, _, _ in peer.seen][2:] == [frames.HELLO, frames.CLAIM, frames.READ]


# --- threads, forks, and other programs --------------------------------------------------------------------


def test_threads_share_connections_and_never_answers(peer):
    client = AgentClient(peer.path)
    wrong = []

    def read(index):
        for number in range(50):
            name = f"{index}-{number}"
            if client.variable(name) != name:
                wrong.append(name)

    threads = [threading.Thread(target=read, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert peer.lines <= 12


def test_a_forked_child_opens_its_own_and_leaves_the_parents_alone(peer):
    client = AgentClient(peer.path)
    client.variable("parent")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, client.variable("child").encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"child"
    os.close(reading)
    os.close(writing)
    assert client.variable("parent") == "parent"
    assert peer.lines == 2


SOCKETS = """
import os
def is_socket(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    except OSError:
        return False  # the one the folder was read with
print(sum(map(is_socket, os.listdir("/proc/self/fd"))))
"""


def test_an_executed_program_inherits_no_connection(peer):
    client = AgentClient(peer.path)
    client.variable("x")
    done = subprocess.run(
        [sys.executable, "-c", SOCKETS],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        close_fds=False,
    )
    assert done.stdout.strip() == "0"


def test_a_program_that_lets_sigpipe_kill_outlives_an_agent_that_ends(peer):
    script = """
import signal, sys, strongroom
from strongroom.caller.agent import AgentClient
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
client = AgentClient(sys.argv[1], patience=0.1)
client.variable("x")
print("ready", flush=True)
sys.stdin.readline()
try:
    client.variable("x")
except strongroom.BackendUnavailableError:
    print("alive", flush=True)
"""
    command = [sys.executable, "-W", "error", "-c", script, peer.path]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": SOURCE}
    ) as program:
        assert program.stdout.readline() == "ready\n"
        peer.stop()
        out, _ = program.communicate("go\n", timeout=30)
    assert out == "alive\n"


ALLOWED = {
    "__future__",
    "_socket",
    "strongroom",
    "strongroom.caller",
    "strongroom.caller.agent",
    "strongroom.caller.channel",
    "strongroom.caller.frames",
    "strongroom.errors",
    "strongroom.place",
}
CONNECTION = {"_operator", "strongroom.model", "strongroom.model.connection", "strongroom.model.secret"}
LOADED = """
import os, sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import strongroom
{}
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize(
    ("what", "more"),
    [
        ("strongroom.variable('region')", set()),
        ("strongroom.variable('none', 'default')", set()),
        ("strongroom.connection('orders_db')", CONNECTION),
    ],
)
def test_the_way_to_a_value_imports_next_to_nothing(peer, what, more):
    def answered(line, type_, number, payload):
        if type_ != frames.READ:
            return usual(line, type_, number, payload)
        kind, name, _, _ = frames.read_read(payload)
        if name == "none":
            return frames.pack_answer(number, frames.ABSENT, frames.pack_nothing())
        if kind == "connection":
            body = frames.pack_fields("f", "1", ("a", None, "h", None, "pw", None, 1, "{}"))
            return frames.pack_answer(number, frames.FOUND, body)
        return text(number, name)

    peer.answer = answered
    # Without site: an editable install imports on its own account.
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", LOADED.format(what), SOURCE],
        capture_output=True,
        text=True,
        check=False,
        env={"STRONGROOM_SOCKET": peer.path},
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= ALLOWED | more
