"""SSH and SFTP clients against a real OpenSSH: passwords, keys, host keys, rotation, and what is told."""

from __future__ import annotations

import os
import socket
import stat
import threading
import traceback
import warnings
from contextlib import closing, contextmanager

import pytest

import strongroom
from parts.databases import wait_for
from parts.held import kept
from parts.openssh import KINDS, PASSWORD, USER, make_key, ssh_server
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.model.connection import Connection
from strongroom.model.extra import Extra
from strongroom.model.secret import Secret

paramiko = pytest.importorskip("paramiko")

from strongroom.live import ssh as family  # noqa: E402 -- after its library


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with ssh_server(tmp_path_factory.mktemp("ssh")) as machine:
        yield machine


@pytest.fixture
def server(machine):
    machine.change_password(PASSWORD)
    machine.allow()
    return machine


def fields(server, **others):
    extra = {"host_key": server.host_keys["ed25519"], **others.pop("extra", {})}
    standard = {"host": "127.0.0.1", "port": server.port, "login": USER, "password": PASSWORD, **others}
    return {
        "conn_type": "ssh",
        "extra": {key: value for key, value in extra.items() if value is not None},
        **standard,
    }


@contextmanager
def opened(given, driver="ssh", **options):
    """Give a client of a connection of those fields."""
    with (
        kept("edge", **given) as stored,
        family.client(stored.held, stored.asked(driver=driver, **options)) as client,
    ):
        yield client


@pytest.fixture
def stored(server):
    with kept("edge", **fields(server)) as stored:
        yield stored


@pytest.fixture
def client(stored):
    with family.client(stored.held, stored.asked(driver="ssh")) as client:
        yield client


@pytest.fixture
def files(stored):
    with family.client(stored.held, stored.asked(driver="sftp")) as files:
        yield files


def cut(server):
    """Cut every line to *server*, and wait until the library has seen that."""
    lines = [thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport)]
    lines = [line for line in lines if line.is_active() and line.getpeername()[1] == server.port]
    server.end_lines()
    for line in lines:
        line.join(10)


def said(client, command="echo hello"):
    _, out, _ = client.exec_command(command)
    return out.read().decode().strip()


def framed(error):
    """Give what an error report with the locals of every frame of ours would show."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return "".join(repr(frame.f_locals) for frame in frames if frame.f_code.co_filename != __file__)


def refused(work):
    with pytest.raises(strongroom.StrongroomError) as caught:
        work()
    error = caught.value
    shown = f"{error!r} {error.hint} {vars(error)} {''.join(traceback.format_exception(error))}"
    assert PASSWORD not in shown + framed(error)
    assert "paramiko.ssh_exception" not in shown
    return error


def what(error):
    return (error.step, error.reason)


# --- the main path ------------------------------------------------------------------------------


def test_clients_of_a_connection_in_the_room_run_commands_and_move_files(server, tmp_path):
    given = fields(server)
    given |= {"password": Secret(given["password"]), "extra": Extra(given["extra"])}
    environ = {
        "HOME": str(tmp_path),
        "STRONGROOM__CHAIN": '["env"]',
        "AIRFLOW_CONN_EDGE": Connection(**given).format("json").reveal(),
    }
    (tmp_path / "local").write_text("a file")
    with (
        strongroom.open_room(environ=environ) as room,
        strongroom.use_room(room),
        strongroom.client("edge") as shell,
        strongroom.client("edge", driver="sftp") as files,
    ):
        assert isinstance(shell, paramiko.SSHClient)
        assert isinstance(files, paramiko.SFTPClient)
        assert said(shell) == "hello"
        files.put(str(tmp_path / "local"), "remote")
        with files.open("remote") as remote:
            assert remote.read() == b"a file"
        assert said(shell, "cat remote") == "a file"


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_in_the_connection_signs_in(server, tmp_path, kind):
    private, public = make_key(tmp_path / "key", kind)
    server.allow(public)
    with opened(fields(server, password=None, extra={"private_key": private})) as client:
        assert said(client) == "hello"


def test_a_key_in_the_old_form_signs_in(server, tmp_path):
    private, public = make_key(tmp_path / "key", "rsa", form="PEM")
    assert "BEGIN RSA PRIVATE KEY" in private
    server.allow(public)
    with opened(fields(server, password=None, extra={"private_key": private})) as client:
        assert said(client) == "hello"


def test_a_passphrase_opens_a_key(server, tmp_path):
    private, public = make_key(tmp_path / "key", passphrase="open sesame")
    server.allow(public)
    extra = {"private_key": private, "private_key_passphrase": "open sesame"}
    with opened(fields(server, password=None, extra=extra)) as client:
        assert said(client) == "hello"


def test_the_password_opens_the_file_of_a_key_and_is_not_sent(server, tmp_path):
    make_key(tmp_path / "key", passphrase=PASSWORD)  # which is the user's password, too
    with opened(fields(server, extra={"key_file": str(tmp_path / "key")})) as client:
        assert what(refused(client.connect)) == ("authentication", "credentials")
    before = server.count("Accepted publickey")
    server.allow(" ".join((tmp_path / "key.pub").read_text().split()[:2]))
    with opened(fields(server, extra={"key_file": str(tmp_path / "key")})) as client:
        assert said(client) == "hello"
    assert server.count("Accepted publickey") == before + 1


def test_a_certificate_beside_the_file_of_a_key_signs_in(server, tmp_path):
    make_key(tmp_path / "key")
    server.certify(tmp_path / "key")
    with opened(fields(server, password=None, extra={"key_file": str(tmp_path / "key")})) as client:
        assert said(client) == "hello"


def test_options_reach_the_library(server):
    made = []

    def sock():
        made.append(socket.create_connection(("127.0.0.1", server.port)))
        return made[-1]

    with opened(fields(server, host="behind.example", port=22), sock=sock, compress=False) as client:
        assert said(client) == "hello"
        assert client.get_transport().remote_compression == "none"
        cut(server)
        assert said(client) == "hello"
    assert len(made) == 2


@pytest.mark.parametrize("option", ["password", "pkey", "hostname", "key_filename", "no_such"])
def test_an_option_that_the_connection_says_or_nobody_knows_is_refused(stored, option):
    error = refused(lambda: family.client(stored.held, stored.asked(driver="ssh", **{option: "x"})))
    assert isinstance(error, BackendConfigError)
    assert what(error) == ("options", "unknown")


# --- host keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_host_key_of_the_connection_is_the_right_one(server, kind):
    with opened(fields(server, extra={"host_key": server.host_keys[kind]})) as client:
        client.connect()


def test_a_host_key_says_its_kind_by_itself(server):
    with opened(fields(server, extra={"host_key": server.host_keys["ecdsa"].split()[1]})) as client:
        client.connect()


def test_a_machine_with_another_host_key_is_refused_and_gets_no_password(server, tmp_path):
    _, other = make_key(tmp_path / "other")
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_keys['ed25519']}\n")
    tried = server.count(f"password for {USER}")
    with opened(fields(server, extra={"host_key": other, "known_hosts": str(known)})) as client:
        error = refused(client.connect)
    assert isinstance(error, BackendConfigError)
    assert what(error) == ("tls", "untrusted")
    assert "another host key" in error.hint
    assert server.count(f"password for {USER}") == tried


def test_a_machine_that_nobody_knows_is_refused_and_gets_no_password(server, tmp_path):
    (tmp_path / "empty").touch()
    tried = server.count(f"password for {USER}")
    extra = {"host_key": None, "known_hosts": str(tmp_path / "empty")}
    with opened(fields(server, extra=extra)) as client:
        error = refused(client.connect)
    assert what(error) == ("tls", "untrusted")
    assert "host_key" in error.hint
    assert server.count(f"password for {USER}") == tried


def test_known_hosts_are_asked_where_the_connection_names_no_key(server, tmp_path):
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_keys['rsa']}\n")
    with opened(fields(server, extra={"host_key": None, "known_hosts": str(known)})) as client:
        assert said(client) == "hello"
    _, other = make_key(tmp_path / "other")
    known.write_text(f"[127.0.0.1]:{server.port} {other}\n")
    with opened(fields(server, extra={"host_key": None, "known_hosts": str(known)})) as client:
        assert what(refused(client.connect)) == ("tls", "untrusted")


def test_any_host_key_is_taken_where_the_connection_says_so_but_no_other_one_after_it(server, tmp_path):
    extra = {"host_key": None, "known_hosts": "/dev/null", "no_host_key_check": "true"}
    ports = iter([server.port])
    with ssh_server(tmp_path) as other:

        def sock():
            return socket.create_connection(("127.0.0.1", next(ports, other.port)))

        with opened(fields(server, extra=extra), sock=sock) as client:
            assert said(client) == "hello"
            cut(server)
            error = refused(client.connect)
        assert what(error) == ("tls", "untrusted")
        assert other.count(f"password for {USER}") == 0


@pytest.mark.parametrize(
    "extra",
    [
        {"host_key": "ssh-ed25519 not-base64!"},
        {"host_key": "ssh-ed25519 AAAA"},
        {"no_host_key_check": True},
        {"host_key": None, "known_hosts": "/nowhere/known_hosts"},
        {"ciphers": ["no-such-cipher"]},
        {"private_key": "no key"},
        {"key_file": "/nowhere/key"},
        {"conn_timeout": "soon"},
    ],
    ids=lambda extra: list(extra)[-1],
)
def test_a_field_that_cannot_be_read_is_named(server, extra):
    with opened(fields(server, extra=extra)) as client:
        error = refused(client.connect)
    assert what(error) == ("options", "malformed")
    named = "host_key" if "no_host_key_check" in extra else list(extra)[-1]
    assert f"extra.{named}" in str(error)


def test_a_passphrase_that_is_missing_or_wrong_is_named(server, tmp_path):
    private, _ = make_key(tmp_path / "key", passphrase="open sesame")
    for extra in (
        {"private_key": private},
        {"private_key": private, "private_key_passphrase": "another"},
        {"key_file": str(tmp_path / "key")},
    ):
        with opened(fields(server, password=None, extra=extra)) as client:
            error = refused(client.connect)
        assert what(error) == ("options", "malformed")
        assert "extra.private_key_passphrase" in str(error)


def test_no_command_of_a_connection_is_run(server, tmp_path):
    with opened(fields(server, extra={"host_proxy_cmd": f"touch {tmp_path}/ran"})) as client:
        assert what(refused(client.connect)) == ("options", "unknown")
    assert not (tmp_path / "ran").exists()


# --- following ----------------------------------------------------------------------------------


def test_new_commands_use_the_new_password_and_one_under_way_finishes(server, stored, client):
    into, out, _ = client.exec_command("read word; echo $word")
    before = set(server.lines())
    server.change_password("two")
    stored.write(**fields(server, password="two"))
    stored.tell()
    failed = server.count("Failed password")
    assert said(client) == "hello"
    assert len(set(server.lines()) - before) == 1
    into.write("finished\n")
    into.flush()
    assert out.read() == b"finished\n"
    wait_for(lambda: out.channel.closed)
    assert said(client) == "hello"
    assert before.isdisjoint(gone(server, before))
    assert server.count("Failed password") == failed
    assert stored.questions == 0


def gone(server, lines):
    """Wait until those lines are no more; give what there is then."""
    wait_for(lambda: not lines & set(server.lines()))
    return set(server.lines())


def test_a_refusal_asks_once_and_tries_once_more(server, stored, client):
    assert said(client) == "hello"
    server.change_password("two")
    stored.write(**fields(server, password="two"))
    cut(server)
    failed = server.count("Failed password")
    assert said(client) == "hello"
    assert stored.questions == 1
    assert server.count("Failed password") == failed + 1


def test_a_refusal_without_anything_newer_is_told_and_not_tried_again(server, stored, client):
    server.change_password("two")
    failed = server.count("Failed password")
    error = refused(lambda: client.exec_command("true"))
    assert isinstance(error, AccessDeniedError)
    assert what(error) == ("authentication", "credentials")
    assert stored.questions == 1
    assert server.count("Failed password") == failed + 1


def test_newer_credentials_that_are_refused_too_are_not_tried_again(server, stored, client):
    server.change_password("three")
    stored.write(**fields(server, password="two"))
    failed = server.count("Failed password")
    assert what(refused(client.connect)) == ("authentication", "credentials")
    assert server.count("Failed password") == failed + 2


def test_a_broken_line_is_made_anew_for_the_next_command(server, client):
    assert said(client) == "hello"
    cut(server)
    assert said(client) == "hello"


def test_a_rotation_from_a_password_to_a_key_is_followed(server, stored, client, tmp_path):
    assert said(client) == "hello"
    private, public = make_key(tmp_path / "key")
    server.allow(public)
    server.change_password("nobody knows")
    stored.write(**fields(server, password=None, extra={"private_key": private}))
    stored.tell()
    assert said(client) == "hello"


def test_files_that_are_open_stay_with_their_session_and_new_ones_get_the_new_password(server, stored, files):
    files.mkdir("here")
    files.chdir("here")
    with files.open("open", "w") as written:
        written.write("before, ")
        before = set(server.lines())
        server.change_password("two")
        stored.write(**fields(server, password="two"))
        stored.tell()
        assert files.listdir() == ["open"]
        assert len(set(server.lines()) - before) == 1
        written.write("and after")
    assert files.getcwd() == f"{server.home}/here"
    with files.open("open") as read:
        assert read.read() == b"before, and after"
    assert stat.S_ISREG(files.stat("open").st_mode)
    files.remove("open")
    files.chdir(None)
    files.rmdir("here")


def test_a_session_of_files_that_broke_is_opened_anew(server, files):
    files.listdir()
    cut(server)
    files.listdir()


def test_threads_under_a_rotation_lose_no_command(server, stored, client):
    begun = threading.Barrier(5)
    heard, failed = [], []

    def work():
        begun.wait(10)
        for _ in range(5):
            try:
                heard.append(said(client))
            except Exception as error:  # noqa: BLE001 -- any is one too many
                failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert said(client) == "hello"
    begun.wait(10)
    server.change_password("two")
    stored.write(**fields(server, password="two"))
    stored.tell()
    for thread in threads:
        thread.join(30)
    assert not failed
    assert heard == ["hello"] * 20


def test_a_forked_child_has_a_line_of_its_own(client, files):
    assert said(client) == "hello"
    files.listdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        try:
            files.listdir()
            os._exit(0 if said(client) == "hello" else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert said(client) == "hello"
    files.listdir()


def test_closing_ends_lines_and_following(server, stored):
    client = family.client(stored.held, stored.asked(driver="ssh"))
    assert said(client) == "hello"
    before = set(server.lines())
    client.close()
    client.close()
    assert gone(server, before).isdisjoint(before)
    assert not stored.held._clients


def test_a_command_ends_in_the_time_that_the_connection_gives_it(server):
    with opened(fields(server, extra={"cmd_timeout": 0.2})) as client:
        _, out, _ = client.exec_command("sleep 20")
        with pytest.raises(TimeoutError):
            out.read()


# --- trouble ------------------------------------------------------------------------------------


def test_a_machine_on_which_nothing_listens_is_unavailable(server):
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with opened(fields(server, port=port)) as client:
        error = refused(client.connect)
    assert isinstance(error, BackendUnavailableError)
    assert what(error) == ("tcp", "refused")


def test_a_service_that_is_no_ssh_is_told(server):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        given = fields(server, port=listener.getsockname()[1])
        with opened(given, banner_timeout=0.2) as client:
            assert what(refused(client.connect)) == ("authentication", "timeout")


def test_a_host_that_is_none_or_missing_is_told(server):
    with opened(fields(server, host="no-such-host.invalid")) as client:
        assert refused(client.connect).step == "name"
    with opened(fields(server, host=None)) as client:
        assert what(refused(client.connect)) == ("options", "missing")


def test_no_credentials_are_told(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # of whoever runs the tests: keys that are not ours
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with opened(fields(server, password=None)) as client:
        assert what(refused(client.connect)) == ("authentication", "missing")


def test_keys_of_this_machine_are_tried_only_where_the_connection_names_none(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    _, public = make_key(tmp_path / ".ssh" / "id_ed25519")
    server.allow(public)
    with opened(fields(server, password="wrong")) as client:
        assert what(refused(client.connect)) == ("authentication", "credentials")
    with opened(fields(server, password=None, extra={"look_for_keys": False})) as client:
        assert what(refused(client.connect)) == ("authentication", "missing")
    with opened(fields(server, password=None)) as client:
        assert said(client) == "hello"


def test_nothing_that_is_printed_or_logged_has_the_password(server, client, files, caplog):
    caplog.set_level("DEBUG")
    assert said(client) == "hello"
    files.listdir()
    shown = f"{client!r}{files!r}{vars(client)}{vars(files)}{caplog.text}"
    assert PASSWORD not in shown
