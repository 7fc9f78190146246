"""The process that serves: how it starts, listens, drains and ends, and what `up` does with it."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import fields
from pathlib import Path

import pytest

from cli_shell import Shell
from parts import warm
from parts.certificates import Authority
from strongroom.errors import SettingsError
from strongroom.server import tls
from strongroom.server.serve import listen
from strongroom.settings import LimitSettings, ServerSettings, check_reach, load

SECONDS = 30


@pytest.fixture
def home(tmp_path):
    here(tmp_path, "init")
    yield tmp_path
    here(tmp_path, "serve --stop")


def here(home, line):
    """Run a command in this process: what a server stands on, or what ends one that a test left."""
    shell = Shell(home)
    shell.environ = environ(home)
    done = shell(line)
    assert done.code == 0, done.err


def environ(home, **more):
    given = {name.upper(): value for name, value in more.items()}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "STRONGROOM_HOME": str(home), **given}


def strongroom(home, *arguments, code=0, **more):
    """Run one command to its end, and give what it wrote."""
    given = {"env": environ(home, **more), "cwd": home, "capture_output": True, "text": True}
    done = warm.run(arguments, **given, timeout=SECONDS)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def process(home, *arguments, is_cold=False, **more):
    """A server in the foreground, and its address once it says it serves."""
    given = {"env": environ(home, **more), "cwd": home, "stdout": subprocess.PIPE, "text": True}
    with (home / "stderr").open("w") as errors:
        if is_cold:
            argv = [sys.executable, "-m", "strongroom", "serve", *arguments]
            running = subprocess.Popen(argv, stderr=errors, **given)
        else:
            running = warm.Popen(["serve", *arguments], stderr=errors, **given)
        try:
            line = running.stdout.readline()
            assert line, (home / "stderr").read_text()
            yield running, re.match(r"serving at (\S+);", line)[1]
        finally:
            with running.stdout:
                if running.poll() is None:
                    running.send_signal(signal.SIGTERM)
                assert running.wait(SECONDS) == 0, (home / "stderr").read_text()


def ask(address, path="/health/ready", *, context=None, **headers):
    scheme, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    host = host.strip("[]")
    made = (
        http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
        if scheme == "https"
        else http.client.HTTPConnection(host, int(port), timeout=10)
    )
    with closing(made):
        made.request("GET", path, headers=headers)
        answer = made.getresponse()
        return answer.status, answer.read()


# --- start and end ---------------------------------------------------------------------------------------


def test_it_says_where_it_serves_and_ends_with_success_when_told(home):
    with process(home, "--port", "0", is_cold=True) as (running, address):
        assert address.startswith("http://127.0.0.1:")
        assert ask(address)[0] == 200
        other = strongroom(home, "serve", "--port", "0", code=5)
        assert f"already at {address}" in other
        if sys.platform == "linux":
            limits = Path(f"/proc/{running.pid}/limits").read_text()
            assert re.search(r"Max core file size\s+0\s+0", limits)
    log = [json.loads(line) for line in (home / "stderr").read_text().splitlines()]
    assert [line["event"] for line in log if line["event"] in ("serving", "draining", "ended")] == [
        "serving",
        "draining",
        "ended",
    ]


def test_ctrl_c_drains_and_is_a_success(home):
    with process(home, "--port", "0") as (running, address):
        assert ask(address)[0] == 200
        running.send_signal(signal.SIGINT)
        assert running.wait(SECONDS) == 0


def test_a_port_that_is_taken_is_told_with_what_to_do(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = strongroom(home, "serve", "--port", str(taken.getsockname()[1]), code=7)
    assert "cannot listen on 127.0.0.1 port" in told
    assert "hint: choose another with --port" in told


def test_without_a_store_it_is_told_what_to_type(tmp_path):
    assert "strongroom init" in strongroom(tmp_path, "serve", "--port", "0", code=7)


def test_a_server_serves_every_deployment(home):
    assert "leave --deployment out" in strongroom(home, "--deployment", "x", "serve", code=2)


def test_its_memory_is_not_to_be_looked_into():
    program = """
import ctypes, resource
from strongroom.server.serve import harden
harden()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""
    if sys.platform != "linux":
        pytest.skip("prctl is Linux's")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split(None, 1) == ["0", "(0, 0)\n"]


def test_a_flood_of_logins_leaves_its_memory_to_others():
    program = """
import threading
from strongroom.crypto.wrapping import stretch
from strongroom.server.serve import give_back

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

def work():
    for _ in range(2):
        with two_at_once:
            stretch(b"guess", bytes(16), memory_kib=19_456, iterations=1, lanes=1)

give_back()
two_at_once = threading.Semaphore(2)
before = resident()
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident() - before)
"""
    if sys.platform != "linux":
        pytest.skip("mallopt is glibc's")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2 * 19_456


# --- where it listens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "db.example.com"])
def test_plain_http_is_not_spoken_to_other_machines_unless_that_was_said(host):
    with pytest.raises(SettingsError, match="plain HTTP") as raised:
        check_reach(ServerSettings(host=host))
    assert raised.value.key == "server.host"
    check_reach(ServerSettings(host=host, allow_plain_http=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_tls(host):
    check_reach(ServerSettings(host=host))


def test_a_name_with_several_addresses_is_bound_on_one_port():
    made = listen(ServerSettings(host="localhost", port=0))
    try:
        assert len({each.getsockname()[1] for each in made}) == 1
    finally:
        for each in made:
            each.close()


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("port = 70000", "server.port"),
        ("port = -1", "server.port"),
        ("max_connections = 0", "server.max_connections"),
        ("receipt_seconds = 0", "server.receipt_seconds"),
        ("threads = 0", "server.threads"),
        ('tls_cert = "c.pem"', "server.tls_key"),
        ('tls_key = "k.pem"', "server.tls_cert"),
        ('trusted_proxies = ["10.0.0.0/33"]', "server.trusted_proxies"),
        ('trusted_proxies = ["proxy"]', "server.trusted_proxies"),
        ('allowed_hosts = ["*"]', "server.allowed_hosts"),
        ('allowed_hosts = ["a:80"]', "server.allowed_hosts"),
        ('log_level = "loud"', "server.log_level"),
        ("nothing = 1", "server.nothing"),
        ("[server.limits]\nidentity_burst = 0", "server.limits.identity_burst"),
        ("[server.limits]\nread_per_second = -1", "server.limits.read_per_second"),
        ('[server.limits]\npaths = { "x" = 1 }', "server.limits.paths"),
        ('[server.limits]\npaths = { "/x" = "fast" }', "server.limits.paths"),
        ("[server.limits]\nother = 1", "server.limits.other"),
    ],
)
def test_a_setting_that_cannot_be_right_is_named(tmp_path, table, key):
    file = tmp_path / "strongroom.toml"
    file.write_text(f"[server]\n{table}\n")
    with pytest.raises(SettingsError) as raised:
        load(file, environ={"HOME": str(tmp_path)})
    assert raised.value.key == key


def test_every_setting_of_the_server_is_described():
    manual = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    names = [f"server.{member.name}" for member in fields(ServerSettings) if member.name != "limits"]
    names += [f"server.limits.{member.name}" for member in fields(LimitSettings)]
    for name in names:
        assert f"| `{name}` |" in manual, f"docs/settings.md says nothing of {name}"


def test_the_server_stands_once_at_the_top_of_the_file(tmp_path):
    file = tmp_path / "strongroom.toml"
    file.write_text("[deployments.staging.server]\nport = 1\n")
    with pytest.raises(SettingsError, match="at the top") as raised:
        load(file, environ={"HOME": str(tmp_path)}, deployment="staging")
    assert raised.value.key == "deployments.staging.server"


# --- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path):
    """A certificate for 127.0.0.1 with its key, closed as it must be, and what trusts it."""
    return Pair(tmp_path, Authority(folder(tmp_path / "authority")))


def folder(path):
    path.mkdir()
    return path


class Pair:
    def __init__(self, folder, authority):
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self._authority = authority
        self.renew()
        self.context = ssl.create_default_context(cafile=str(authority.file))

    def renew(self):
        cert, key = self._authority.issue("server", "127.0.0.1")
        for path, source in ((self.cert, cert), (self.key, key)):
            path.write_bytes(source.read_bytes())
            path.chmod(0o600)

    @property
    def environ(self):
        return {
            "strongroom__server__tls_cert": str(self.cert),
            "strongroom__server__tls_key": str(self.key),
        }

    @property
    def settings(self):
        return ServerSettings(tls_cert=self.cert, tls_key=self.key)


def test_TL_it_speaks_tls_of_today_and_takes_a_new_certificate_while_it_runs(home, pair):
    with process(home, "--port", "0", **pair.environ) as (running, address):
        assert address.startswith("https://")
        assert ask(address, context=pair.context)[0] == 200
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLS"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(address, context=old)
        before = serial(address, pair.context)
        pair.renew()
        running.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + SECONDS
        while serial(address, pair.context) == before:
            assert time.monotonic() < deadline, "the certificate was not taken"
            time.sleep(0.05)
        pair.key.chmod(0o644)
        running.send_signal(signal.SIGHUP)
        while "was not reloaded" not in (home / "stderr").read_text():
            assert time.monotonic() < deadline, "a key open to others was taken"
            time.sleep(0.05)
        assert ask(address, context=pair.context)[0] == 200


def serial(address, context):
    host, _, port = address.removeprefix("https://").rpartition(":")
    plain = socket.create_connection((host, int(port)), 10)
    with context.wrap_socket(plain, server_hostname=host) as secure:
        return secure.getpeercert()["serialNumber"]


def test_TL02_a_pair_that_cannot_be_right_ends_the_start(pair):
    def refused(**more):
        settings = ServerSettings(**{"tls_cert": pair.cert, "tls_key": pair.key} | more)
        with pytest.raises(SettingsError) as raised:
            tls.context_of(settings)
        return str(raised.value)

    assert tls.context_of(pair.settings) is not None
    assert "cannot be read" in refused(tls_cert=pair.cert.with_name("none"))
    assert "is no file" in refused(tls_key=pair.key.parent)
    pair.key.chmod(0o640)
    assert "open to others" in refused()
    pair.key.chmod(0o600)
    pair.cert.chmod(0o622)
    assert "open to others" in refused()
    pair.cert.chmod(0o644)
    empty = pair.cert.with_name("empty.pem")
    empty.touch(mode=0o600)
    assert "no certificate and its key" in refused(tls_cert=empty)
    other = Authority(folder(pair.cert.with_name("other"))).issue("other")[1]
    other.chmod(0o600)
    assert "no certificate and its key" in refused(tls_key=other)


def test_TL07_a_handshake_that_does_not_end_is_closed(home, pair):
    with process(home, "--port", "0", strongroom__server__receipt_seconds="1", **pair.environ) as (
        _,
        address,
    ):
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 10) as silent:
            assert silent.recv(1) == b""
        assert ask(address, context=pair.context)[0] == 200


def test_TL07_DS09_handshakes_that_do_not_end_keep_nobody_out(home, pair):
    more = {"strongroom__server__max_connections": "20", **pair.environ}
    with process(home, "--port", "0", **more) as (_, address), ExitStack() as stack:
        port = int(address.rpartition(":")[2])
        for index in range(60):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            if index % 2:
                line.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        for _ in range(10):
            assert ask(address, context=pair.context)[0] == 200
        plain = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        plain.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP/1.1 200" not in plain.recv(65536)


# --- behind: what `up` starts ------------------------------------------------------------------------


def test_up_starts_it_behind_reuses_it_and_its_link_signs_in_once(home):
    first = strongroom(home, "up", "--no", strongroom__server__port="0")
    address, code = re.search(r"(http://127\.0\.0\.1:\d+)/login#code=(\S+)", first).groups()
    assert ask(address)[0] == 200
    second = strongroom(home, "up", "--no", strongroom__server__port="0")
    assert f"already runs at {address}" in second
    assert ask(address, "/login")[0] == 200

    def sign_in():
        host, _, port = address.removeprefix("http://").rpartition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
            body = json.dumps({"code": code})
            connection.request("POST", "/v1/login/code", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers["set-cookie"]

    status, cookie = sign_in()
    assert status == 200
    assert cookie.startswith("strongroom=srm_s_")
    session = cookie.partition(";")[0]
    status, body = ask(address, "/v1/whoami", Cookie=session)
    assert (status, json.loads(body)["actor"]) == (200, f"local:{os.geteuid()}")
    assert sign_in()[0] == 401
    assert "ended the server" in strongroom(home, "serve", "--stop")
    with pytest.raises(ConnectionRefusedError):
        ask(address)
    # It comes back, and whoever was signed in is signed in still.
    port = address.rpartition(":")[2]
    third = strongroom(home, "up", "--no", strongroom__server__port=port)
    assert f"the server runs at {address}" in third
    assert ask(address, "/v1/whoami", Cookie=session)[0] == 200
    assert code not in (home / "server.log").read_text()
    assert (home / "server.log").stat().st_mode & 0o077 == 0


def test_up_takes_another_port_where_its_own_is_taken(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = strongroom(home, "up", "--no", strongroom__server__port=str(port))
    address = re.search(r"the server runs at (\S+);", told)[1]
    assert address != f"http://127.0.0.1:{port}"
    assert ask(address)[0] == 200


def test_a_second_server_is_refused_and_the_first_is_still_found(home):
    with process(home, "--port", "0") as (running, address):
        for _ in range(2):
            assert f"already at {address}" in strongroom(home, "serve", "--port", "0", code=5)
        assert f"ended the server at {address}" in strongroom(home, "serve", "--stop")
        running.wait(SECONDS)  # or another signal would meet a process that heeds none any more


def test_the_link_of_another_deployment_signs_in_there_by_a_name_the_server_answers_for(home):
    (home / "strongroom.toml").write_text(
        'deployment = "prod"\n[server]\nport = 0\nallowed_hosts = ["localhost"]\n'
        '[deployments.staging]\nchain = ["native"]\n'
    )
    here(home, "init")
    here(home, "init --deployment staging")
    links = [strongroom(home, "up", "--no", "--deployment", name) for name in ("prod", "staging", "prod")]
    found = [re.search(r"http://localhost:(\d+)(\S*)/login#code=(\S+)", told).groups() for told in links]
    assert [place for _, place, _ in found] == ["", "/d/staging", ""]
    assert len({port for port, _, _ in found}) == 1
    port, place, code = found[1]
    with closing(http.client.HTTPConnection("localhost", int(port), timeout=10)) as connection:
        body = json.dumps({"code": code})
        connection.request("POST", f"{place}/v1/login/code", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200


def test_programs_are_told_the_address_and_no_link(home):
    told = json.loads(strongroom(home, "up", "--no", "--output", "json", strongroom__server__port="0"))
    assert told["server"]["address"].startswith("http://127.0.0.1:")
    assert "code=" not in json.dumps(told)


def test_up_starts_nothing_where_that_was_said(home):
    assert "the server" not in strongroom(home, "up", "--no", "--no-serve")
    assert "the server" not in strongroom(home, "up", "--no", strongroom__server__autostart="false")
    assert "no server runs" in strongroom(home, "serve", "--stop")


def test_up_tells_why_no_server_starts_and_goes_on(home):
    told = strongroom(home, "up", "--no", strongroom__server__host="0.0.0.0")
    assert "no server: the server did not start: the server would speak plain HTTP" in told
    assert "strongroom doctor" in told


def test_a_server_that_was_killed_leaves_nothing_in_the_way(home):
    with process(home, "--port", "0") as (running, address):
        assert ask(address)[0] == 200
        running.kill()
        running.wait(SECONDS)
        running.returncode = 0  # as it was meant
    with process(home, "--port", "0") as (_, address):
        assert ask(address)[0] == 200


def test_four_that_start_at_once_are_one_server(home):
    told = []
    threads = [
        threading.Thread(
            target=lambda: told.append(strongroom(home, "up", "--no", strongroom__server__port="0"))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({re.search(r"runs at (\S+);", text)[1] for text in told}) == 1


def test_more_connections_than_open_files_allow_are_not_promised(home):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def fewer():
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))

    argv = [sys.executable, "-m", "strongroom", "serve", "--port", "0"]
    running = subprocess.Popen(
        argv,
        env=environ(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=fewer,  # noqa: PLW1509 -- nothing else runs in the test's process then
    )
    assert running.stdout.readline()
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=SECONDS)
    line = next(json.loads(line) for line in errors.splitlines() if "fewer connections" in line)
    assert line["most"] == 256
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
