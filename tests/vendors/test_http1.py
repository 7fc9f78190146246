"""What is sent can be read in one way only; what comes is read strictly or not at all."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.model.secret import Secret
from strongroom.vendors.http1 import Failure, Reply, read_answer, spell_request

CANARY = "c4nary-hvs"


def spell(method="GET", target="/v1/x", headers=None, body=None):
    return spell_request(method, target, "vault:8200", headers or {}, body)


def read(*parts, method="GET", header=1000, body=1000):
    """Read what comes in *parts*; the connection ends after them."""
    coming = iter(parts)
    return read_answer(lambda: next(coming, b""), method=method, max_header_bytes=header, max_body_bytes=body)


def found(*parts, **bounds):
    reply, is_reusable = read(*parts, **bounds)
    return reply.status, reply.body, is_reusable


# --- requests ----------------------------------------------------------------------------------


def test_a_request_states_host_and_framing_once():
    sent = spell("POST", "/v1/auth/approle/login", {"X-Vault-Namespace": "a/b"}, b'{"role_id":"r"}')
    assert sent == (
        b"POST /v1/auth/approle/login HTTP/1.1\r\nHost: vault:8200\r\n"
        b"User-Agent: strongroom\r\nAccept-Encoding: identity\r\n"
        b'X-Vault-Namespace: a/b\r\nContent-Length: 15\r\n\r\n{"role_id":"r"}'
    )


def test_an_empty_body_is_sent_with_its_length_and_no_body_without():
    assert b"Content-Length: 0\r\n" in spell("POST", body=b"")
    assert b"Content-Length" not in spell("POST")


def test_secrets_are_sent_as_what_they_hold():
    sent = spell("POST", headers={"X-Vault-Token": Secret("tok")}, body=Secret(b"{}"))
    assert b"X-Vault-Token: tok\r\n" in sent
    assert sent.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize("method", ["", "get", "GET ", "GET\r\nX: y", "G" * 17, "GÉT"])
def test_a_method_is_capital_letters(method):
    with pytest.raises(InvalidInputError):
        spell(method)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "v1/x",
        "http://elsewhere/x",
        "/a b",
        "/a\r\nX-Vault-Token: y",
        "/a\nb",
        "/a\tb",
        "/a\0b",
        "/é",
        "/a#b",
        '/a"b',
        "/a/../b",
        "/a/./b",
        "/..",
        "/.",
        "/a/..?list=true",
        "/a/%2e%2E/b",
        "/a/.%2e",
        "/a/..;x/b",
        "/a\\..\\b",
        "/a%2F..%2Fb",
        "/a%5c..%5cb",
        "/a%zz",
        "/a%",
    ],
)
def test_a_path_that_could_be_read_as_another_is_refused_without_a_word_of_it(target):
    with pytest.raises(InvalidInputError) as caught:
        spell(target=target)
    assert not target.strip("/") or target not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    ["/", "/v1/a..b/.c/d.", "/v1/x?list=true&a=../b", "/v1/a%20b", "/v1/...", "/é".encode().hex().join("//")],
)
def test_a_path_that_cannot_be_misread_is_sent_as_it_is(target):
    assert spell(target=target).startswith(f"GET {target} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "é", "a\x7fb", f"{CANARY}\n"])
@pytest.mark.parametrize("hide", [str, Secret])
def test_a_header_value_with_a_line_break_is_refused_by_name_alone(value, hide):
    with pytest.raises(BackendConfigError, match="X-Vault-Token") as caught:
        spell(headers={"X-Vault-Token": hide(value)})
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert CANARY not in told


@pytest.mark.parametrize(
    "name",
    ["", "A B", "A:", "A\r\nB", "é", "Host", "content-length", "Transfer-Encoding", "Connection", "A" * 129],
)
def test_a_header_that_is_no_name_or_is_ours_is_refused(name):
    with pytest.raises(BackendConfigError, match="may not be set"):
        spell(headers={name: "x"})


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_whatever_is_asked_one_request_is_sent_or_none(target, name, value):
    try:
        sent = spell(target=f"/{target}", headers={name: value})
    except (InvalidInputError, BackendConfigError):
        return
    head, _, rest = sent.partition(b"\r\n\r\n")
    assert rest == b""
    assert head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n") == 4


# --- answers -----------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"


def test_an_answer_with_a_length_is_read_whole_from_any_pieces():
    whole = OK + b"Content-Length: 5\r\nX-A: b\r\n\r\nhello"
    for cut in range(1, len(whole)):
        assert found(whole[:cut], whole[cut:]) == (200, b"hello", True)
    assert found(*(whole[at : at + 1] for at in range(len(whole)))) == (200, b"hello", True)


def test_a_chunked_answer_is_read_whole_from_any_pieces():
    whole = OK + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n0A\r\nlo, world!\r\n0\r\n\r\n"
    for cut in range(1, len(whole)):
        assert found(whole[:cut], whole[cut:]) == (200, b"hello, world!", True)
    assert found(*(whole[at : at + 1] for at in range(len(whole)))) == (200, b"hello, world!", True)


def test_header_names_are_lower_case_and_what_comes_twice_is_joined():
    reply = read(OK + b"X-A: 1\r\nx-a:\t2 \r\nContent-Length: 0\r\nX-B:\r\n\r\n").reply
    assert reply.headers == {"x-a": "1, 2", "content-length": "0", "x-b": ""}


def test_interim_answers_are_passed_over_and_counted():
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert found(interim + hint + OK + b"Content-Length: 1\r\n\r\nx") == (200, b"x", True)
    with pytest.raises(Failure, match="interim"):
        read(interim * 9)
    with pytest.raises(Failure, match="header is over"):
        read(hint * 3 + OK + b"Content-Length: 0\r\n\r\n", header=100)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_needs_no_length(status):
    assert found(f"HTTP/1.1 {status} None\r\n\r\n".encode()) == (status, b"", True)


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("framing", ["Content-Length: 19", "Content-Length: 0", "Transfer-Encoding: chunked"])
def test_an_answer_that_has_no_body_and_states_one_ends_its_connection(status, framing):
    assert found(f"HTTP/1.1 {status} None\r\n{framing}\r\n\r\n".encode()) == (status, b"", False)


def test_a_change_of_protocol_nobody_asked_for_is_no_answer():
    with pytest.raises(Failure, match="another protocol"):
        read(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n")


def test_an_answer_to_head_has_no_body_whatever_length_it_states():
    assert found(OK + b"Content-Length: 999999\r\n\r\n", method="HEAD") == (200, b"", True)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n",
        OK + b"Content-Length: 1\r\nConnection: close\r\n",
        OK + b"Content-Length: 1\r\nConnection: x, Close\r\n",
    ],
)
def test_a_connection_that_ends_is_not_used_again(head):
    assert found(head + b"\r\nx") == (200, b"x", False)


def test_a_connection_on_which_more_came_than_was_said_is_not_used_again():
    assert found(OK + b"Content-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n") == (200, b"x", False)
    assert found(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nx") == (200, b"", False)
    assert found(OK + b"Content-Length: 2\r\n\r\n", b"xyz") == (200, b"xy", False)
    assert found(b"HTTP/1.1 204 None\r\n\r\nx") == (204, b"", False)


LENGTH = b"Content-Length: 1\r\n"
BROKEN = {
    "no status line": b"\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\n" + LENGTH + b"\r\nx",
    "version 0.9": b"HTTP/0.9 200 OK\r\n" + LENGTH + b"\r\nx",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n" + LENGTH + b"\r\nx",
    "a status above all": b"HTTP/1.1 600 OK\r\n" + LENGTH + b"\r\nx",
    "two spaces": b"HTTP/1.1  200 OK\r\n" + LENGTH + b"\r\nx",
    "a space before the colon": OK + b"Content-Length : 1\r\n\r\nx",
    "a line continued": OK + b"X-A: 1\r\n 2\r\n" + LENGTH + b"\r\nx",
    "a line continued at once": OK + b" X-A: 1\r\n" + LENGTH + b"\r\nx",
    "no colon": OK + b"X-A\r\n" + LENGTH + b"\r\nx",
    "no name": OK + b": x\r\n" + LENGTH + b"\r\nx",
    "a bare LF": OK + b"X-A: 1\nX-B: 2\r\n" + LENGTH + b"\r\nx",
    "a bare CR": OK + b"X-A: 1\rX-B: 2\r\n" + LENGTH + b"\r\nx",
    "a NUL": OK + b"X-A: 1\x002\r\n" + LENGTH + b"\r\nx",
    "two lengths": OK + LENGTH + LENGTH + b"\r\nx",
    "two different lengths": OK + LENGTH + b"Content-Length: 2\r\n\r\nx",
    "two codings": OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    "length and coding": OK + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "neither": OK + b"\r\nx",
    "a list of lengths": OK + b"Content-Length: 1, 1\r\n\r\nx",
    "a negative length": OK + b"Content-Length: -1\r\n\r\nx",
    "a signed length": OK + b"Content-Length: +1\r\n\r\nx",
    "a length with an underscore": OK + b"Content-Length: 1_0\r\n\r\n0123456789",
    "an empty length": OK + b"Content-Length:\r\n\r\nx",
    "a length in other digits": OK + b"Content-Length: \xd9\xa1\r\n\r\nx",
    "another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an identity coding": OK + b"Transfer-Encoding: identity\r\n\r\n",
    "an encoded body": OK + LENGTH + b"Content-Encoding: gzip\r\n\r\nx",
    "a chunk with an extension": OK + b"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n",
    "a signed chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n",
    "a hex prefix": OK + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
    "a chunk of nine digits": OK + b"Transfer-Encoding: chunked\r\n\r\n000000001\r\nx\r\n0\r\n\r\n",
    "a chunk that is longer than it says": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    "a chunk after a bare LF": OK + b"Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
    "a trailer": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_could_be_read_in_two_ways_is_not_read(data):
    with pytest.raises(Failure, match="not sound HTTP") as caught:
        read(data)
    assert not caught.value.is_unanswered
    assert caught.value.hint


HALVES = {
    "in the status line": b"HTTP/1.1 2",
    "in the header": OK + b"Content-Le",
    "before the body": OK + b"Content-Length: 5\r\n\r\n",
    "in the body": OK + b"Content-Length: 5\r\n\r\nhel",
    "in a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "in a chunk's size": OK + b"Transfer-Encoding: chunked\r\n\r\n5",
    "before the last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
    "in the last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
}


@pytest.mark.parametrize("data", HALVES.values(), ids=HALVES)
def test_half_an_answer_is_none(data):
    with pytest.raises(Failure, match="middle of its answer") as caught:
        read(data)
    assert not caught.value.is_unanswered


def test_no_answer_at_all_is_told_from_half_of_one():
    with pytest.raises(Failure, match="without an answer") as caught:
        read()
    assert caught.value.is_unanswered


def test_a_body_over_the_bound_is_refused_before_it_is_read():
    asked = []

    def receive():
        asked.append(1)
        return OK + b"Content-Length: 1001\r\n\r\n" if len(asked) == 1 else b"x" * 100

    with pytest.raises(Failure, match="body is over 1000 bytes"):
        read_answer(receive, method="GET", max_header_bytes=1000, max_body_bytes=1000)
    assert len(asked) == 1


def test_chunks_are_counted_together():
    start = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    assert read(start, b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n", body=100).reply.body == b"x" * 100
    with pytest.raises(Failure, match="body is over"):
        read(start + b"64\r\n" + b"x" * 100 + b"\r\n1\r\nx\r\n0\r\n\r\n", body=100)
    with pytest.raises(Failure, match="body is over"):
        read(start + b"FFFFFFFF\r\n")
    with pytest.raises(Failure, match="too many chunks"):
        read(start + b"1\r\nx\r\n" * 65_536 + b"0\r\n\r\n", body=10**6)


def test_a_header_without_end_is_refused_at_its_bound():
    asked = []

    def receive():
        asked.append(1)
        return OK + b"X-A: " if len(asked) == 1 else b"a" * 100

    with pytest.raises(Failure, match="header is over 1000 bytes"):
        read_answer(receive, method="GET", max_header_bytes=1000, max_body_bytes=1000)
    assert len(asked) < 15


HEAD_PIECES = [
    *(b"HTTP/1.1", b" 200", b" OK", b"\r\n", b"\n", b"X: y", b" ", b":", b"\x00", b"\xff"),
    *(b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Connection: close", b"Content-Encoding: gzip"),
    *(b"\r\n\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc", b"HTTP/1.1 100 C\r\n\r\n"),
]


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from(HEAD_PIECES)), max_size=30))
@example([OK, b"Content-Length: 3\r\n\r\nabc"])
def test_whatever_comes_is_an_answer_or_a_failure_and_never_past_its_bounds(parts):
    try:
        reply = read(*parts, header=200, body=50).reply
    except Failure:
        return
    assert 200 <= reply.status < 600
    assert len(reply.body) <= 50
    assert sum(len(name) + len(value) for name, value in reply.headers.items()) <= 200
    assert isinstance(reply.body, bytes)


@given(st.lists(st.sampled_from(HEAD_PIECES), max_size=12))
def test_how_an_answer_is_cut_into_pieces_does_not_matter(parts):
    def outcome(*pieces):
        try:
            reply = read(*pieces, header=200, body=50).reply
        except Failure as failure:
            return str(failure)
        return reply.status, reply.body, reply.headers

    whole = b"".join(parts)
    assert outcome(*(whole[at : at + 1] for at in range(len(whole)))) == outcome(*([whole] if whole else []))


# --- replies -----------------------------------------------------------------------------------


def test_a_reply_prints_as_its_status_alone():
    reply = Reply(200, {"x": CANARY}, CANARY.encode())
    assert repr(reply) == str(reply) == "Reply(200, …)"
