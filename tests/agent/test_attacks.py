"""
The agent under attack: rows LO, DS and LK of the threat list, and bad input, against a real process.

The other user is one that nothing belongs to; without root he cannot be become, and those tests skip.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import pwd
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parts import warm
from parts.agent import ROOT, agent, missing, until
from parts.oracle import records_in
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient
from strongroom.errors import BackendUnavailableError, StrongroomError

OTHER = 54321
HELLO = frames.frame(frames.HELLO, 1, frames.pack_hello("attack"))
PING = frames.frame(frames.PING, 77, b"still there")
ENVIRON = {"AIRFLOW_VAR_REGION": "eu", "AIRFLOW_VAR_ZONE": "eu-1"}
CANARY = "canary-5f0e9b-never-to-be-seen"
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def open_folder():
    """A folder that other users reach, as /run is."""
    folder = Path(tempfile.mkdtemp(prefix="srm-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with agent(tmp_path_factory.mktemp("shared"), environ=ENVIRON) as one:
        yield one


def speak(path, data, *, seconds=20):
    """Send bytes on a connection of their own and give the frames that come back until it is closed."""
    with connected(path, seconds) as connection:
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return frames_of(rest_of(connection))


def connected(path, seconds=20):
    found = socket.socket(socket.AF_UNIX)
    found.settimeout(seconds)
    until(lambda: _is_let_in(found, path), what="room in the queue")
    return found


def _is_let_in(connection, path):
    # A full queue is told at once to whoever has a timeout.
    with contextlib.suppress(BlockingIOError):
        connection.connect(str(path))
        return True
    return False


def rest_of(connection):
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            found += part
    return found


def frames_of(data):
    found, at = [], 0
    while at < len(data):
        one = frames.take(data, at, frames.MAX_ANSWER_BYTES)
        assert one is not None, "a frame is cut off"
        found.append(one[:3])
        at = one[3]
    return found


def refusal(found):
    """Give the code of the one ERROR in *found*."""
    (code,) = [frames.read_refusal(payload).code for type_, _, payload in found if type_ == frames.ERROR]
    return code


def is_well(one):
    """Tell whether an honest client is served."""
    return one.python("import strongroom; print(strongroom.variable('region'))") == "eu"


DROPPED = """
import contextlib, json, os, socket, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
{body}
"""


def as_other(body, *arguments, uid=OTHER, **more):
    """Run *body* in a bare interpreter as another user and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", DROPPED.format(uid=uid, body=body), *map(str, arguments)],
        capture_output=True,
        timeout=60,
        check=False,
        **more,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


HEAR = """
with socket.socket(socket.AF_UNIX) as one:
    one.connect(sys.argv[1])
    with contextlib.suppress(BrokenPipeError):
        one.sendall(bytes.fromhex(sys.argv[2]))
        one.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionResetError):  # what was sent and nobody read
        while part := one.recv(65536):
            sys.stdout.buffer.write(part)
"""
WHOAMI = b"GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


# --- LO: the local host ----------------------------------------------------------------------------------


@only_root
def test_LO02_another_user_is_refused_on_both_sockets_and_it_is_on_record(open_folder):
    settings = 'chain = ["env"]\n[agent]\nusers = [54322]\n'
    with agent(open_folder, settings, environ=ENVIRON) as one:
        question = HELLO + frames.pack_read(9, "variable", "region")
        often = "for _ in range(30):" + HEAR.replace("\n", "\n    ")
        told = frames_of(as_other(often, one.socket, question.hex()))
        codes = [frames.read_refusal(payload).code for type_, _, payload in told if type_ == frames.ERROR]
        assert codes == ["access_denied"] * 30
        answer = as_other(HEAR, one.http, WHOAMI.hex())
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b'"eu"' not in answer
        assert is_well(one), "others are served on"
        found = as_other(HEAR, one.socket, (question).hex(), uid=54322)
        assert frames.read_answer(frames_of(found)[-1][2]).text == "eu"
        assert b"local:54322" in as_other(HEAR, one.http, WHOAMI.hex(), uid=54322)
        one.stop()
        told = [record for record in records_of(one) if record.actor == f"local:{OTHER}"]
        assert 1 <= len(told) <= 3, "many of one user are recorded together"


def records_of(one):
    found = []
    for folder in {path.parent for path in (one.home / "agent").rglob("*") if path.is_file()}:
        with contextlib.suppress(StrongroomError, OSError, ValueError):
            found += records_in(folder)
    return found


@only_root
def test_LO02_without_users_in_the_settings_nobody_else_reaches_the_sockets(open_folder):
    with agent(open_folder, environ=ENVIRON) as one:
        body = """
for path in sys.argv[1:]:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
    except PermissionError:
        print("refused")
"""
        assert as_other(body, one.socket, one.http).split() == [b"refused"] * 2


@only_root
def test_LO03_identity_is_that_of_who_connected_whoever_has_the_descriptor_now(open_folder):
    settings = f'chain = ["env"]\n[agent]\nusers = [{OTHER}]\n'
    with agent(open_folder, settings, environ=ENVIRON) as one:
        ours, theirs = socket.socketpair()
        body = """
channel = socket.socket(fileno=int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as one:
    one.connect(sys.argv[1])
    socket.send_fds(channel, [b"x"], [one.fileno()])
"""
        as_other(body, one.http, theirs.fileno(), pass_fds=[theirs.fileno()])
        _, found, _, _ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=found[0]) as given:
            given.sendall(WHOAMI)
            assert f"local:{OTHER}".encode() in rest_of(given), "root was taken for who connected"
        with connected(one.http) as kept:
            # What root opened stays root's in the child it is left to, across setuid and exec.
            body = """
one = socket.socket(fileno=int(sys.argv[1]))
one.setblocking(True)
one.sendall(bytes.fromhex(sys.argv[2]))
while part := one.recv(65536):
    sys.stdout.buffer.write(part)
"""
            told = as_other(body, kept.fileno(), WHOAMI.hex(), pass_fds=[kept.fileno()])
            assert b'"local:0"' in told
        ours.close()
        theirs.close()


@only_root
def test_LO04_who_comes_from_another_user_namespace_is_nobody_unless_he_is_known_here(open_folder):
    unshare = shutil.which("unshare") or missing("unshare is missing")
    tried = subprocess.run([unshare, "-U", "-r", "true"], capture_output=True, check=False)
    if tried.returncode:
        missing("user namespaces cannot be made here")
    # The agent lives in a namespace that knows root alone; whoever else comes in has no number there. What
    # such a one is called there, 65534, is in the settings: it names everybody who is not known.
    settings = 'chain = ["env"]\n[agent]\nusers = [65534, 54321]\n'
    with agent(open_folder, settings, environ=ENVIRON, prefix=[unshare, "-U", "-r"]) as one:
        assert is_well(one)
        found = frames_of(as_other(HEAR, one.socket, HELLO.hex()))
        assert found[0][0] == frames.ERROR, "whoever is not known in the agent's namespace was let in"
        assert refusal(found) == "access_denied"
        assert as_other(HEAR, one.http, WHOAMI.hex()).startswith(b"HTTP/1.1 403 ")


IMPOSTOR = """
one = socket.socket(socket.AF_UNIX)
one.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
one.listen(8)
print("listening", flush=True)
while True:
    there, _ = one.accept()
    print(len(there.recv(4096)), flush=True)
"""


@only_root
@pytest.mark.parametrize("place", ["anybody's", "anybody's own", "his", "his group's"])
def test_LO06_whoever_put_himself_where_an_agent_should_be_is_told_nothing(open_folder, place):
    folder = open_folder / "run"
    if place == "his":
        folder = open_folder / "his" / "run"
        folder.parent.mkdir()
        os.chown(folder.parent, OTHER, OTHER)
    folder.mkdir()
    folder.chmod({"anybody's": 0o777, "anybody's own": 0o1777, "his": 0o755, "his group's": 0o775}[place])
    os.chown(folder, *{"his": (OTHER, OTHER), "his group's": (0, OTHER)}.get(place, (0, 0)))
    command = [sys.executable, "-I", "-S", "-c", DROPPED.format(uid=OTHER, body=IMPOSTOR)]
    with subprocess.Popen([*command, str(folder / "agent.sock")], stdout=subprocess.PIPE) as impostor:
        try:
            assert impostor.stdout.readline() == b"listening\n"
            with pytest.raises(StrongroomError) as caught:
                AgentClient(str(folder / "agent.sock"), patience=0.0).read("variable", "region")
            assert not isinstance(caught.value, BackendUnavailableError), "it was asked"
        finally:
            impostor.kill()
        assert impostor.stdout.read() in (b"", b"0\n"), "it was told something"


def test_LO06_a_folder_that_others_may_change_is_not_trusted_whoever_answers_there(open_folder):
    folder = open_folder / "run"
    with agent(open_folder, environ=ENVIRON) as one:
        client = one.client()
        assert client.read("variable", "region").text == "eu"
        folder.chmod(0o777)
        client.close()
        with pytest.raises(StrongroomError, match="others than root and me"):
            one.client().read("variable", "region")
        folder.chmod(0o700)


def files_under(folder):
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def with_canary(home, more=""):
    entries = home / "entries.json"
    entries.touch(mode=0o600)
    connection = {"conn_type": "postgres", "host": "db", "password": CANARY, "extra": {"token": CANARY}}
    entries.write_text(json.dumps({"secret": CANARY, "region": "eu", "parts": f"{CANARY}-again"}))
    connections = home / "connections.json"
    connections.touch(mode=0o600)
    connections.write_text(json.dumps({"db": connection, "broken": f"postgres_x://u:{CANARY}@[h"}))
    settings = f"""
chain = ["file"]
{more}
[backend.file]
kind = "file"
variables = "{entries}"
connections = "{connections}"
"""
    return settings, {entries, connections}


def read_everything(one):
    """Read the canary by every way there is, well and badly."""
    client = one.client()
    for _ in range(2):
        assert client.read("variable", "secret").text == CANARY
        client.read("connection", "db")
        client.read("connection", "broken")
        client.read_many([("variable", "secret", None), ("connection", "db", None), ("variable", "no", None)])
    told = client.explain("connection", "db") + client.explain("variable", "secret")
    told += json.dumps(client.admin({"do": "status"}))
    client.close()
    refs = [{"kind": "variable", "name": "secret"}, {"kind": "connection", "name": "broken"}]
    body = json.dumps({"refs": refs}).encode()
    head = b"POST /v1/read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    answer = http(one, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert answer.count(CANARY.encode()) == 2, "the variable, and the text of what is no connection"
    for path in ("/metrics", "/v1/whoami", "/v1/explain/connection/db", "/v1/explain/connection/broken"):
        told += http(one, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()).decode()
    told += http(one, head + b"Content-Length: 5\r\n\r\n{bad}").decode()
    return told


def http(one, data):
    with connected(one.http) as connection:
        connection.sendall(data)
        return rest_of(connection)


def test_LO07_nothing_that_was_read_stands_on_the_disk(tmp_path):
    settings, own = with_canary(tmp_path)
    with agent(tmp_path, settings) as one:
        read_everything(one)
        one.stop()
    for file in files_under(tmp_path):
        assert file in own or CANARY.encode() not in file.read_bytes(), file


def test_LO07_the_last_good_copy_is_sealed_and_its_owners_alone(tmp_path):
    key = tmp_path / "key"
    settings, own = with_canary(tmp_path, f'[agent.last_good]\nkey = {{ file = "{key}" }}\n')
    with agent(tmp_path, settings) as one:
        read_everything(one)
        until(lambda: one.status()["last_good"]["written_at"], what="the last good copy")
        one.stop()
    copies = [file for file in files_under(tmp_path) if "good" in file.name.lower()]
    assert copies, files_under(tmp_path)
    for file in files_under(tmp_path):
        assert file in own or CANARY.encode() not in file.read_bytes(), file
    for file in [*copies, key]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_LO08_under_an_open_umask_nothing_is_open_to_others(tmp_path):
    prefix = ["/bin/sh", "-c", 'umask 0; exec "$@"', "sh"]
    with agent(tmp_path, environ=ENVIRON, prefix=prefix) as one:
        assert is_well(one)
        http(one, WHOAMI)
        one.status()
        given = {one.settings, one._log}  # made by the test
        for path in tmp_path.rglob("*"):
            found = path.lstat()
            if path in given or path.is_symlink() or "__pycache__" in path.parts:
                continue
            assert not found.st_mode & 0o077, f"{path} {found.st_mode:o}"
        assert stat.S_IMODE(one.socket.lstat().st_mode) == 0o600
        assert stat.S_IMODE(one.http.lstat().st_mode) == 0o600


# --- DS: too much ----------------------------------------------------------------------------------------


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 12_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Store:
    """A store of variables over HTTP, as Vault has it, that counts, and that waits for whom it is told to."""

    def __init__(self):
        self.asked = []
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()
        self._bound = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._bound.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._bound.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with connection, contextlib.suppress(OSError):
            reader = connection.makefile("rb")
            while line := reader.readline():
                while reader.readline().strip():
                    pass
                path = line.split()[1].decode()
                name = path.rpartition("/")[2]
                if "/data/" in path:
                    with self._lock:
                        self.asked.append(path)
                    self.gate.wait(30)
                    status, body = (
                        200,
                        {"data": {"data": {"value": f"of {name}"}, "metadata": {"version": 1}}},
                    )
                    if name.startswith("missing"):
                        status, body = 404, {"errors": []}
                else:
                    status, body = 404, {"errors": []}
                sent = json.dumps(body).encode()
                connection.sendall(
                    b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(sent)) + sent
                )

    def settings(self, more=""):
        return f"""
chain = ["vault"]
{more}
[backend.vault]
kind = "vault"
url = "{self.url}"
token = {{ env = "TOKEN" }}
mount_point = "kv"
"""

    def close(self):
        self.gate.set()
        self._bound.close()


@pytest.fixture
def store():
    found = Store()
    yield found
    found.close()


def test_DS01_two_hundred_cold_clients_ask_the_store_once_for_each_of_20_names(tmp_path, store):
    with agent(tmp_path, store.settings(), environ={"TOKEN": "t"}) as one:
        names = [f"name{number}" for number in range(20)]
        store.gate.clear()  # all of them come while nothing is known yet
        question = HELLO + b"".join(
            frames.pack_read(number + 2, "variable", name) for number, name in enumerate(names)
        )
        with contextlib.ExitStack() as held:
            clients = [held.enter_context(connected(one.socket)) for _ in range(200)]
            for client in clients:
                client.sendall(question)
            until(lambda: store.asked, what="the first question")
            store.gate.set()
            for client in clients:
                data = b""
                while data.count(b"of name") < len(names):
                    data += client.recv(65536)
        assert sorted(store.asked) == sorted(set(store.asked))
        assert len(store.asked) == len(names)


def test_DS03_names_that_are_nowhere_fill_a_table_of_their_own_and_push_nothing_out(tmp_path):
    rounds = int(os.environ.get("STRONGROOM_ABSENT", "30000")) // 1000
    with agent(tmp_path, environ=ENVIRON) as one:
        client = one.client()
        client.read("variable", "region")
        before = one.memory_kb()
        for number in range(rounds):
            refs = [("variable", f"missing-{number}-{index}-{'x' * 100}", None) for index in range(1000)]
            assert {answer.outcome for answer in client.read_many(refs)} == {frames.ABSENT}
        cache = one.status()["cache"]
        assert cache["absences"] <= 20_000, cache
        assert cache["entries"] == 1
        misses = cache["misses"]
        assert client.read("variable", "region").text == "eu"
        assert one.status()["cache"]["misses"] == misses, "what was read was pushed out"
        grown = one.memory_kb() - before
        print(f"{rounds * 1000} absent names: {grown} KiB more, {cache['absences']} remembered")
        assert grown < 100 * 1024
        client.close()


def test_DS04_what_was_asked_for_before_it_was_there_is_found_soon_after(tmp_path):
    entries = tmp_path / "entries.json"
    entries.write_text("{}")
    settings = (
        f'chain = ["file"]\n[cache]\nabsent_ttl = 1\n[backend.file]\nkind = "file"\nvariables = "{entries}"\n'
    )
    with agent(tmp_path, settings) as one:
        client = one.client()
        assert client.read("variable", "later").outcome == frames.ABSENT
        entries.write_text('{"later": "here"}')
        client.admin({"do": "flush", "kind": "variable", "name": "later"})
        assert client.read("variable", "later").text == "here", "an administrator has it at once"
        assert client.read("variable", "more").outcome == frames.ABSENT
        entries.write_text('{"later": "here", "more": "too"}')
        until(lambda: client.read("variable", "more").text == "too", what="the absence to end", seconds=10)
        client.close()


def test_DS07_one_slow_backend_holds_up_nobody_who_asks_another(tmp_path, store):
    more = store.settings().partition("\n[")[2]
    settings = f'chain = ["vault", "env"]\n[{more}match = ["slow*"]\ntimeout = 10\n'
    with agent(tmp_path, settings, environ=ENVIRON | {"TOKEN": "t"}) as one:
        store.gate.clear()
        with contextlib.ExitStack() as held:
            waiting = []
            for number in range(50):
                client = held.enter_context(connected(one.socket))
                client.sendall(HELLO + frames.pack_read(2, "variable", f"slow{number}"))
                waiting.append(client)
            until(lambda: store.asked, what="the slow backend to be asked")
            for _ in range(20):
                assert is_served(one), "others wait for the slow one"
            assert not store.gate.is_set()
            store.gate.set()
            assert [answer_on(client) for client in waiting].count(b"") == 0


def is_served(one):
    with connected(one.socket, 5) as quick:
        quick.sendall(HELLO + frames.pack_read(2, "variable", "zone"))
        return b"eu-1" in answer_on(quick)


def answer_on(client):
    data = b""
    while len(parts := whole(data)) < 2:
        part = client.recv(65536)
        if not part:
            return b""
        data += part
    return parts[1]


def whole(data):
    found, at = [], 0
    while (one := frames.take(data, at, frames.MAX_ANSWER_BYTES)) is not None:
        found.append(one[2])
        at = one[3]
    return found


def test_DS09_five_thousand_idle_connections_cost_little_and_hold_up_nobody(tmp_path, many_files):
    count = min(5000, many_files - 500)
    settings = 'chain = ["env"]\n[agent]\nmax_connections = 8000\nmax_of_one_user = 8000\n'
    with agent(tmp_path, settings, environ=ENVIRON, is_cold=True) as one:
        assert is_well(one)
        before, files = one.memory_kb(), one.descriptors()
        with contextlib.ExitStack() as held:
            for _ in range(count):
                held.enter_context(connected(one.socket)).sendall(HELLO)
            until(lambda: one.status()["connections"] >= count, what="all to be in")
            assert is_well(one)
            grown = one.memory_kb() - before
            print(f"{count} idle connections: {grown / count:.1f} KiB each")
            assert grown < count * 16
        until(lambda: one.descriptors() <= files + 2, what="what they held to be let go of")
        assert is_well(one)


def test_DS09_out_of_descriptors_it_refuses_what_is_new_and_recovers(tmp_path):
    prlimit = shutil.which("prlimit") or missing("prlimit is missing: it comes with util-linux")
    prefix = [prlimit, "--nofile=400:400"]
    with agent(tmp_path, environ=ENVIRON, prefix=prefix) as one, contextlib.ExitStack() as held:
        honest = one.client()
        assert honest.read("variable", "region").text == "eu"
        refused = 0
        for _ in range(600):
            client = held.enter_context(connected(one.socket))
            with contextlib.suppress(OSError):
                client.sendall(HELLO)
            client.settimeout(0.01)
            with contextlib.suppress(OSError, frames.BrokenFrameError):
                refused += any(type_ == frames.ERROR for type_, _, _ in frames_of(client.recv(4096)))
        assert refused, "nobody was told that there is no room"
        assert honest.read("variable", "zone").text == "eu-1", "who was in is served on"
        held.close()
        until(lambda: is_served(one), what="room again")
        assert is_well(one)
        honest.close()


# --- LK: leaks -------------------------------------------------------------------------------------------


def test_LK01_a_secret_is_in_its_answers_and_nowhere_else(tmp_path):
    settings, own = with_canary(tmp_path, '[agent]\nlog_level = "debug"\n')
    with agent(tmp_path, settings, is_cold=True) as one:
        told = read_everything(one)
        assert CANARY not in told
        assert CANARY not in one.log()
        process = Path("/proc") / str(one.pid)
        for name in ("environ", "cmdline", "maps", "status", "comm"):
            with contextlib.suppress(PermissionError):
                assert CANARY.encode() not in (process / name).read_bytes(), name
        with contextlib.suppress(PermissionError):
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    assert CANARY not in str(link.readlink())
        for file in files_under(tmp_path):
            assert file in own or CANARY.encode() not in file.read_bytes(), file
        one.stop()
    for file in files_under(tmp_path):
        assert file in own or CANARY.encode() not in file.read_bytes(), file


def garbage(canary):
    """Texts that are no connection, each in its own way."""
    yield f"postgres_x://u:{canary}@h/db"
    yield f"postgresql://u:{canary}@[::1/db"
    yield f"postgresql://u:{canary}@h:99999999/db"
    yield f"postgresql://u:{canary}@h:port/db"
    yield f"://{canary}"
    yield f'{{"conn_type": "postgres", "password": "{canary}"'
    yield f'{{"password": "{canary}", "password": "{canary}"}}'
    yield f'["{canary}"]'
    yield f'{{"conn_type": "postgres", "port": "{canary}"}}'
    yield f'{{"conn_type": 7, "password": "{canary}"}}'
    yield f'{{"conn_type": "postgres", "extra": "{{{canary}"}}'
    yield f"{canary}\x00"
    yield canary


def test_LK03_whatever_is_wrong_with_a_value_no_error_and_no_log_holds_any_of_it(tmp_path):
    connections = tmp_path / "connections.json"
    texts = {f"c{number}": text for number, text in enumerate(garbage(CANARY))}
    connections.write_text(json.dumps(texts))
    settings = f"""
chain = ["file"]
[agent]
log_level = "debug"
[backend.file]
kind = "file"
connections = "{connections}"
"""
    with agent(tmp_path, settings) as one:
        client = one.client()
        refused = 0
        for name in texts:
            for flags in (0, frames.SDK, frames.BYPASS_CACHE):
                answer = client.read("connection", name, flags=flags)
                if answer.refusal is not None:
                    refused += 1
                    assert CANARY not in f"{answer.refusal.message}{answer.refusal.hint}{answer!r}"
            with contextlib.suppress(StrongroomError):
                client.connection(name)
            asked = f"GET /v1/explain/connection/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            told = http(one, asked.encode())
            assert CANARY.encode() not in told
        assert refused >= len(texts), "hardly anything was wrong"
        assert CANARY not in one.log()
        program = """
import sys, traceback, strongroom
for name in sys.argv[1:]:
    try:
        strongroom.connection(name)
    except strongroom.errors.StrongroomError:
        traceback.print_exc(file=sys.stdout)
"""
        shown = one.python(program, *texts)
        assert "Error" in shown
        assert CANARY not in shown
        client.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ["agent", "--tcp-token", CANARY],
        ["agent", "--token", CANARY],
        ["agent", f"--token={CANARY}"],
        ["agent", "enrol", "--url", "https://example.com", "--code", CANARY],
    ],
)
def test_LK05_no_command_of_the_agent_takes_a_secret_as_an_argument(tmp_path, arguments):
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)}
    done = warm.run(
        arguments,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2
    assert CANARY not in done.stdout + done.stderr


def test_LK07_no_core_of_it_is_written_and_nobody_of_its_user_looks_into_it(shared):
    limits = Path(f"/proc/{shared.pid}/limits").read_text()
    (core,) = [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core == ["0", "0"]
    # Who is not root reads nothing of a process that is not dumpable, though it is his own: ptrace(2).
    if os.geteuid() != 0:
        with pytest.raises(PermissionError):
            Path(f"/proc/{shared.pid}/environ").read_bytes()


@only_root
def test_LK07_another_process_of_its_own_user_reads_nothing_of_it(open_folder):
    settings = 'chain = ["env"]\n[agent]\nuser = "nobody"\nstate = "state"\n'
    reaches = all(
        each.stat().st_mode & 0o001 for each in (Path(sys.base_prefix), *Path(sys.base_prefix).parents)
    )
    if not reaches:
        # The interpreter cannot be read by others here: what is read of is a process that became the other
        # user itself, as the agent does.
        program = "import sys\nfrom strongroom.agent import hygiene\nhygiene.secure()\n"
        program += (
            "hygiene.become(hygiene.account_of('nobody'))\nprint('there', flush=True)\nsys.stdin.read()"
        )
        environ = {"PATH": os.environ["PATH"], "CANARY": CANARY, "PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-c", program]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=open_folder
        ) as process:
            assert process.stdout.readline() == b"there\n"
            assert look_into(process.pid) == {b"refused"}
            process.stdin.close()
        return
    with agent(open_folder, settings, environ=ENVIRON) as one:
        assert look_into(one.pid) == {b"refused"}


def look_into(pid):
    body = """
for name in ("environ", "mem", "maps", "fd", "cwd"):
    path = f"/proc/{sys.argv[1]}/{name}"
    try:
        os.listdir(path) if name == "fd" else os.readlink(path) if name == "cwd" else open(path, "rb").read(1)
        print(name)
    except PermissionError:
        print("refused")
"""
    return set(as_other(body, pid, uid=pwd.getpwnam("nobody").pw_uid).split())


# --- bad input -------------------------------------------------------------------------------------------


BAD = {
    "oversized": (HELLO + b"\x7f\xff\xff\xff\x02\x00\x00\x00\x09", "too_large"),
    "one byte over": (
        HELLO + (frames.MAX_REQUEST_BYTES + 1).to_bytes(4, "big") + b"\x02\x00\x00\x00\x09",
        "too_large",
    ),
    "too short for a head": (HELLO + b"\x00\x00\x00\x01\x02", "malformed_frame"),
    "no length": (HELLO + b"\x00\x00\x00\x00\x02", "malformed_frame"),
    "another magic": (
        frames.frame(frames.HELLO, 1, b"XYZ" + frames.pack_hello("x")[3:]),
        "unsupported_version",
    ),
    "an unknown version": (
        frames.frame(frames.HELLO, 1, frames.pack_hello("x", major=9)),
        "unsupported_version",
    ),
    "no hello": (frames.pack_read(9, "variable", "region"), "malformed_frame"),
    "HTTP": (WHOAMI, None),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600), None),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_frame_is_refused_by_one_error_and_others_are_served_on(shared, name):
    data, code = BAD[name]
    found = speak(shared.socket, data)
    assert refusal(found) in ((code,) if code else ("too_large", "malformed_frame"))
    assert found[-1][0] == frames.ERROR, "something came after the refusal"
    assert is_served(shared)


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 8, 9, 12, 20])
def test_a_frame_that_is_cut_off_is_answered_by_nobody(shared, cut):
    question = frames.pack_read(9, "variable", "region")
    found = speak(shared.socket, HELLO + question[:cut])
    assert [type_ for type_, _, _ in found] == [frames.HELLO | frames.ANSWER]
    assert is_served(shared)


def test_slow_frames_end_in_time_while_others_are_served(shared):
    with contextlib.ExitStack() as held:
        slow = [held.enter_context(connected(shared.socket)) for _ in range(200)]
        for one in slow:
            one.sendall(HELLO)
            one.sendall(b"\x00\x00")
        web = held.enter_context(connected(shared.http))
        web.sendall(b"GET /v1/whoami HTTP/1.1\r\nX: ")
        left = set(slow)

        def drip():
            assert is_served(shared)
            for one in list(left):
                with contextlib.suppress(OSError):
                    one.sendall(b"")
                one.settimeout(0.001)
                with contextlib.suppress(TimeoutError, ConnectionResetError):
                    if b"timeout" in one.recv(4096):
                        left.discard(one)
            return not left

        until(drip, what="the slow ones to be ended")
        answer = rest_of(web)
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_an_agent_started_twice_says_who_is_there_and_the_first_goes_on(shared):
    command = ["agent", "--socket", str(shared.socket)]
    done = warm.run(
        command, env=shared._own, capture_output=True, text=True, timeout=60, check=False, cwd=shared.home
    )
    assert done.returncode == 5, done.stderr
    assert str(shared.pid) in done.stderr
    assert "Traceback" not in done.stderr
    assert is_well(shared)


def test_ten_agents_started_at_once_are_one_agent(tmp_path):
    with agent(tmp_path, environ=ENVIRON, start=False) as one:
        command = ["agent", "--socket", str(one.socket)]
        tried = [
            warm.Popen(
                command, env=one._own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
            )
            for _ in range(6)
        ]
        try:
            until(lambda: sum(process.poll() is None for process in tried) == 1, what="one to be left")
            until(one.answers, what="it to answer")
            assert {process.returncode for process in tried if process.poll() is not None} == {5}
            assert is_well(one)
        finally:
            for process in tried:
                process.terminate()
                process.wait(20)


@pytest.mark.parametrize(
    "thing", ["a file", "a link to a file", "a link to nothing", "a folder", "a link for a folder"]
)
def test_what_stands_in_the_place_of_the_socket_is_left_as_it_is(tmp_path, thing):
    with agent(tmp_path, environ=ENVIRON, start=False) as one:
        folder = one.socket.parent
        victim = tmp_path / "victim"
        victim.write_text("precious")
        folder.mkdir(mode=0o700)
        if thing == "a file":
            one.socket.write_text("precious")
        elif thing == "a link to a file":
            one.socket.symlink_to(victim)
        elif thing == "a link to nothing":
            one.socket.symlink_to(tmp_path / "nothing")
        elif thing == "a folder":
            one.socket.mkdir()
        else:
            folder.rmdir()
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            folder.symlink_to(tmp_path / "elsewhere")
        one.start(wait=False)
        until(lambda: not one.is_running(), what="it to give up")
        assert one.stop() == 7, one.log()
        assert "Traceback" not in one.log()
        assert victim.read_text() == "precious"
        assert not (tmp_path / "nothing").exists()
        assert thing != "a file" or one.socket.read_text() == "precious"


def test_descriptors_that_come_along_are_closed_and_not_kept(shared):
    before = shared.descriptors()
    with connected(shared.socket) as one:
        read, write = os.pipe()
        one.sendall(HELLO)
        rights = array.array("i", [read] * 64)
        for _ in range(20):
            one.sendmsg([PING], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        os.close(read)
        os.close(write)
    until(lambda: shared.descriptors() <= before, what="them to be let go of")
    assert is_served(shared)


def test_five_hundred_who_come_and_go_leave_nothing_behind(shared):
    before = shared.descriptors()

    def come(number):
        with contextlib.suppress(OSError), connected(shared.socket) as one:
            one.sendall((HELLO + PING)[: number % 40])
        with contextlib.suppress(OSError), connected(shared.http) as one:
            one.sendall(WHOAMI[: number % 60])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come, range(500)))
    until(lambda: shared.descriptors() <= before, what="what they held to be let go of")
    assert is_well(shared)
