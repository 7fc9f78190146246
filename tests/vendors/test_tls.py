"""TLS against real handshakes: who is trusted, whom we say we are, and what is told when it fails."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import pytest

from parts.certificates import DAY, Authority, server_context
from parts.proxy import CLOSE, Proxy, Scripted, reply, reset
from strongroom.errors import BackendConfigError, BackendUnavailableError
from strongroom.vendors.transport import Transport, TransportOptions

OK = reply(200, {}, b"{}")


class Known:
    """One authority, one that nobody trusts, and servers of both."""

    def __init__(self, folder):
        self.folder = folder
        self.trusted = Authority(folder, "trusted")
        self.stranger = Authority(folder, "stranger")
        self.server = self.trusted.issue("server", "127.0.0.1", "localhost")
        self.of_stranger = self.stranger.issue("of-stranger", "127.0.0.1")
        self.expired = self.trusted.issue("expired", "127.0.0.1", lasts=-DAY)
        self.elsewhere = self.trusted.issue("elsewhere", "10.9.8.7", "elsewhere.example.com")
        self.client = self.trusted.issue("client")
        self.foreign_client = self.stranger.issue("foreign-client")


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return Known(tmp_path_factory.mktemp("certificates"))


def to(server, known, **options):
    options = {"ca": known.trusted.file, "timeout": timedelta(seconds=5), **options}
    return Transport(TransportOptions(place="vault", url=server.url("https"), **options))


@contextmanager
def serving(known, shown=None, *, say=lambda _: OK, client_ca=None, context=None, **options):
    context = context or server_context(*(shown or known.server), client_ca=client_ca)
    with Scripted(say, tls=context) as server:
        transport = to(server, known, **options)
        try:
            yield server, transport
        finally:
            transport.close()


def get(transport):
    return transport.request("GET", "/v1/x", headers={"X-Vault-Token": "t"})


def fails(transport, kind=BackendUnavailableError):
    with pytest.raises(kind) as caught:
        get(transport)
    return caught.value


def until(what):
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.005)


# --- trust -------------------------------------------------------------------------------------


def test_a_server_of_our_authority_is_spoken_to_and_its_end_known(known):
    with serving(known) as (server, transport):
        assert transport.certificate_ends is None
        for _ in range(3):
            assert get(transport).status == 200
        assert server.connections == 1
        assert abs(transport.certificate_ends - datetime.now(timezone.utc) - DAY) < timedelta(minutes=10)
        assert transport.certificate_ends.tzinfo is not None


def test_a_host_name_is_checked_as_a_name(known):
    with Scripted(lambda _: OK, tls=server_context(*known.server)) as server:
        url = f"https://localhost:{server.port}"
        transport = Transport(TransportOptions(place="vault", url=url, ca=known.trusted.file))
        assert get(transport).status == 200
        transport.close()


@pytest.mark.parametrize(
    ("shown", "words", "hint"),
    [
        ("of_stranger", "authority that is not trusted here", "set ca"),
        ("expired", "has expired", "renewed"),
        ("elsewhere", "for another address", "url"),
    ],
)
def test_a_certificate_that_is_not_right_gets_no_request_and_one_clear_word(known, shown, words, hint):
    with serving(known, getattr(known, shown)) as (server, transport):
        error = fails(transport)
        assert words in str(error)
        assert hint in error.hint
        assert "127.0.0.1" not in str(error) + error.hint
        assert server.requests == 0
        assert transport.certificate_ends is None


def test_another_host_name_is_told_as_such(known):
    with Scripted(lambda _: OK, tls=server_context(*known.elsewhere)) as server:
        url = f"https://localhost:{server.port}"
        transport = Transport(TransportOptions(place="vault", url=url, ca=known.trusted.file))
        assert "for another host name" in str(fails(transport))


def test_without_a_ca_of_ours_the_systems_are_asked_and_know_nothing_of_it(known):
    with serving(known, ca=None) as (server, transport):
        error = fails(transport)
        assert "not trusted" in str(error) or "signed by itself" in str(error)
        assert "set ca to" in error.hint
        assert server.requests == 0


def test_without_checking_everybody_is_spoken_to_and_no_end_known(known):
    for shown in (known.of_stranger, known.expired, known.elsewhere):
        with serving(known, shown, ca=None, verify=False) as (_, transport):
            assert get(transport).status == 200
            assert transport.certificate_ends is None


def test_a_folder_of_authorities_is_read_whatever_its_files_are_called(known, tmp_path):
    (tmp_path / "one.pem").write_bytes(known.stranger.file.read_bytes())
    (tmp_path / "two").write_bytes(known.trusted.file.read_bytes())
    with serving(known, ca=tmp_path) as (_, transport):
        assert get(transport).status == 200


def test_a_bundle_may_hold_names_in_any_alphabet(known, tmp_path):
    ca = tmp_path / "bundle.pem"
    ca.write_bytes(
        "# Főtanúsítvány\n".encode() + known.stranger.file.read_bytes() + known.trusted.file.read_bytes()
    )
    with serving(known, ca=ca) as (_, transport):
        assert get(transport).status == 200


def test_a_ca_that_is_replaced_is_read_for_the_next_connection(known, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(known.stranger.file.read_bytes())
    with serving(known, ca=ca) as (_, transport):
        assert "not trusted" in str(fails(transport))
        new = tmp_path / "new.pem"
        new.write_bytes(known.trusted.file.read_bytes())
        new.replace(ca)
        assert get(transport).status == 200


UNUSABLE = {
    "missing": None,
    "empty": b"",
    "no PEM": b"hello\n",
    "half a PEM": b"-----BEGIN CERTIFICATE-----\nAAAA\n",
    "not base64": b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE)
def test_a_ca_that_cannot_be_read_is_never_replaced_by_the_systems(known, tmp_path, content):
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_bytes(content)
    with serving(known, ca=ca) as (server, transport):
        error = fails(transport, BackendConfigError)
        assert str(error) == f"the file {ca} for TLS of the backend vault cannot be used"
        assert "PEM" in error.hint
        assert server.requests == 0


def test_a_ca_that_cannot_even_be_looked_at_is_told_by_its_name(known, tmp_path):
    with serving(known, ca=tmp_path / ("x" * 300)) as (server, transport):  # longer than a name can be
        assert "cannot be used" in str(fails(transport, BackendConfigError))
        assert server.requests == 0


def test_a_folder_without_authorities_is_no_trust(known, tmp_path):
    with serving(known, ca=tmp_path) as (server, transport):
        fails(transport, BackendConfigError)
        assert server.requests == 0


def test_a_ca_that_only_signs_nothing_is_no_trust(known, tmp_path):
    with serving(known, ca=known.client[0]) as (server, transport):
        fails(transport, BackendConfigError)
        assert server.requests == 0


def test_what_is_no_plain_file_is_not_waited_for(known, tmp_path):
    fifo = tmp_path / "ca.pem"
    os.mkfifo(fifo)
    for options in (
        {"ca": fifo},
        {"client_cert": fifo},
        {"client_cert": known.client[0], "client_key": fifo},
    ):
        with serving(known, **options) as (server, transport):
            assert "cannot be used" in str(fails(transport, BackendConfigError))
            assert server.requests == 0


# --- who we are --------------------------------------------------------------------------------


def test_a_client_certificate_is_shown(known, tmp_path):
    certificate, key = known.client
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    for options in ({"client_cert": certificate, "client_key": key}, {"client_cert": both}):
        with serving(known, client_ca=known.trusted.file, **options) as (_, transport):
            assert get(transport).status == 200


@pytest.mark.parametrize("shown", [None, "foreign_client"])
def test_a_server_that_wants_another_client_is_told_with_what_to_change(known, shown):
    options = {}
    if shown:
        options["client_cert"], options["client_key"] = getattr(known, shown)
    with serving(known, client_ca=known.trusted.file, **options) as (server, transport):
        error = fails(transport)
        assert "refuses the TLS connection" in str(error)
        assert "client certificate" in error.hint
        assert server.requests == 0


def test_a_client_certificate_that_cannot_be_used_is_told_and_no_password_asked_for(known, tmp_path):
    certificate, key = known.trusted.issue("locked", password=b"hunter2")
    wrong = tmp_path / "wrong.key"
    wrong.write_bytes(known.server[1].read_bytes())
    missing = tmp_path / "missing.key"
    empty = tmp_path / "empty.crt"
    empty.write_bytes(b"")
    for options in (
        {"client_cert": certificate, "client_key": key},
        {"client_cert": certificate, "client_key": wrong},
        {"client_cert": certificate, "client_key": missing},
        {"client_cert": empty},
    ):
        with serving(known, **options) as (server, transport):
            error = fails(transport, BackendConfigError)
            assert "cannot be used" in str(error)
            assert "BEGIN" not in "".join(traceback.format_exception(error))
            assert server.requests == 0


# --- what is not TLS as we speak it ------------------------------------------------------------


def test_nothing_older_than_tls_1_2_is_spoken(known):
    context = server_context(*known.server)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with serving(known, context=context) as (server, transport):
        assert "TLS" in str(fails(transport))
        assert server.requests == 0


def test_tls_1_2_is_spoken(known):
    context = server_context(*known.server)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(known, context=context) as (server, transport):
        assert get(transport).status == get(transport).status == 200
        assert server.connections == 1


def test_a_server_that_answers_a_handshake_in_plain_text_is_told_to_be_http(known):
    def answer(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    class Plain(Scripted):
        def serve(self, connection):
            answer(connection)

    with Plain(None) as server:
        error = fails(to(server, known))
        assert "does not speak TLS" in str(error)
        assert "http:" in error.hint


def test_a_server_that_hangs_up_in_the_handshake_is_told(known):
    class Gone(Scripted):
        def serve(self, connection):
            connection.recv(65536)

    with Gone(None) as server:
        assert "without an answer" in str(fails(to(server, known)))


def test_a_server_that_resets_at_once_is_an_outage_wherever_it_is_noticed(known):
    class Cutting(Scripted):
        def serve(self, connection):
            reset(connection)

    with Cutting(None) as server:
        for _ in range(40):
            transport = to(server, known)
            assert "reached" in str(fails(transport)) or "without an answer" in str(fails(transport))


# --- faults under TLS --------------------------------------------------------------------------


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("mode", ["refuse", "hang", "drip", "half", "reset", "drop"])
def test_every_fault_under_tls_is_an_outage_and_passes_with_the_fault(known, mode, is_kept):
    context = server_context(*known.server)
    with Scripted(lambda _: OK, tls=context) as server, Proxy("127.0.0.1", server.port, is_tls=True) as proxy:
        bounds = {"timeout": timedelta(seconds=0.5), "total_timeout": timedelta(seconds=0.6)}
        transport = to(proxy, known, **bounds)
        if is_kept:
            get(transport)
        proxy.become(mode)
        error = fails(transport)
        assert error.backend == "vault"
        assert "error" not in str(error), "a number of OpenSSL was taken for one of the system"
        proxy.become("pass")
        assert get(transport).status == 200
        transport.close()


def test_a_body_cut_under_tls_is_no_answer(known):
    with serving(known, say=lambda _: [OK[:-1], CLOSE]) as (_, transport):
        assert "in the middle" in str(fails(transport))


def test_a_kept_connection_closed_under_tls_is_replaced(known):
    with serving(known, say=lambda _: [OK, CLOSE]) as (server, transport):
        for count in range(1, 4):
            assert get(transport).status == 200
            until(lambda: len(server._open) == 0)
            assert (server.requests, server.connections) == (count, count)


def test_large_bodies_pass_under_tls_both_ways(known):
    def echo(request):
        return reply(200, {}, request.split(b"\r\n\r\n", 1)[1])

    body = os.urandom(2_000_000)
    with serving(known, say=echo) as (_, transport):
        assert transport.request("PUT", "/v1/x", body=body).body == body


FORK = """
import os, sys
from pathlib import Path
from strongroom.vendors.transport import Transport, TransportOptions

transport = Transport(TransportOptions(place="vault", url=sys.argv[1], ca=Path(sys.argv[2])))
assert transport.request("GET", "/parent").status == 200
child = os.fork()
if child == 0:
    assert transport.request("GET", "/child").status == 200
    transport.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert transport.request("GET", "/parent").status == 200
transport.close()
"""


def test_a_forked_child_leaves_the_parents_tls_alone(known):
    with Scripted(lambda _: OK, tls=server_context(*known.server)) as server:
        script = [sys.executable, "-W", "error", "-c", FORK, server.url("https"), str(known.trusted.file)]
        subprocess.run(script, timeout=60, check=True)
        assert server.lines == ["GET /parent", "GET /child", "GET /parent"]
        assert server.connections == 2
