"""What sockets, the DNS and TLS say, as a step and a reason, and options read as what they are."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from strongroom.errors import BackendConfigError
from strongroom.live.fields import Options
from strongroom.live.reaching import cause_of
from strongroom.model.connection import Connection
from strongroom.model.extra import Extra


def verification(code):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def tls(reason, library="SSL"):
    error = ssl.SSLError(1, f"[{library}: {reason}]")
    error.reason, error.library = reason, library
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no name"), ("name", "unknown")),
        (socket.gaierror(socket.EAI_AGAIN, "later"), ("name", "unavailable")),
        (ConnectionRefusedError(), ("tcp", "refused")),
        (TimeoutError("timed out"), ("tcp", "timeout")),
        (TimeoutError("_ssl.c:1: The handshake operation timed out"), ("tls", "timeout")),
        (OSError(errno.EHOSTUNREACH, "no route"), ("tcp", "unavailable")),
        (OSError("Multiple exceptions"), ("tcp", "unavailable")),
        (ConnectionResetError(), ("authentication", "other")),
        (verification(10), ("tls", "expired")),
        (verification(62), ("tls", "wrong_host")),
        (verification(64), ("tls", "wrong_host")),
        (verification(18), ("tls", "untrusted")),
        (tls("WRONG_VERSION_NUMBER"), ("tls", "plaintext")),
        (tls("UNSUPPORTED_PROTOCOL"), ("tls", "other")),
        (tls("NO_CERTIFICATE_OR_CRL_FOUND", "X509"), ("tls", "malformed")),
        (tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), ("authentication", "missing")),
        (tls("SSLV3_ALERT_CERTIFICATE_EXPIRED"), ("authentication", "credentials")),
        (FileNotFoundError(errno.ENOENT, "no such file"), ("tls", "malformed")),
        (PermissionError(errno.EACCES, "denied"), ("tls", "malformed")),
        (ValueError("something else"), None),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_each_thing_that_python_says_is_a_step_and_a_reason(error, cause):
    assert cause_of(error) == cause


def test_what_a_driver_wrapped_is_found_and_a_circle_is_left():
    outer, inner = RuntimeError("the driver's"), ConnectionRefusedError()
    outer.__context__ = ValueError("between")
    outer.__context__.__cause__ = inner
    assert cause_of(outer) == ("tcp", "refused")
    inner_less = ValueError()
    inner_less.__context__ = RuntimeError()
    inner_less.__context__.__context__ = inner_less
    assert cause_of(inner_less) is None


def test_a_name_that_no_dns_could_hold_is_unknown():
    with pytest.raises(UnicodeError) as caught:
        socket.getaddrinfo("a" * 70 + ".example", 1)
    assert cause_of(caught.value) == ("name", "unknown")


def options(**extra):
    return Options("orders", Connection(conn_type="redis", extra=Extra(extra)))


@pytest.mark.parametrize("said", [True, "true", "True", " on ", 1, "1", "yes"])
def test_a_yes_is_one_however_a_form_saved_it(said):
    assert options(ssl=said).flag("ssl", default=False) is True


@pytest.mark.parametrize("said", [False, "false", "off", 0, "0", "no"])
def test_a_no_is_one_however_a_form_saved_it(said):
    assert options(ssl=said).flag("ssl", default=True) is False


def test_what_is_empty_counts_as_not_said():
    empty = options(a="", b=None)
    assert (empty.text("a"), empty.text("b"), empty.text("c")) == (None, None, None)
    assert (empty.flag("a", default=True), empty.flag("b", default=True)) == (True, True)
    assert (empty.number("a", default=3), empty.document("a"), empty.has("b")) == (3, None, False)
    assert Options("orders", Connection(conn_type="redis")).text("a") is None


def test_numbers_and_documents_may_be_texts():
    said = options(n="3", x=0.5, d='{"a": [1]}', e=["b"], o={"c": [[1]]})
    assert (said.number("n", default=0), said.number("x", default=0)) == (3, 0.5)
    assert (said.document("d"), said.document("e"), said.document("o")) == ({"a": [1]}, ["b"], {"c": [[1]]})


@pytest.mark.parametrize(
    "read",
    [
        lambda said: said.text("list"),
        lambda said: said.text("yes"),
        lambda said: said.flag("word", default=True),
        lambda said: said.number("word", default=1),
        lambda said: said.number("less", default=1),
        lambda said: said.number("yes", default=1),
        lambda said: said.number("list", default=1),
        lambda said: said.document("word"),
        lambda said: said.document("less"),
    ],
)
def test_what_is_something_else_is_named_and_not_shown(read):
    said = options(list=["tell-nobody"], word="tell-nobody", less=-1, yes=True)
    with pytest.raises(BackendConfigError) as caught:
        read(said)
    assert "extra." in str(caught.value)
    assert "tell-nobody" not in f"{caught.value}{caught.value.hint}"
    assert (caught.value.step, caught.value.reason) == ("options", "malformed")
