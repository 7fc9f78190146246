"""
HTTP as bytes, for tests of whoever answers it: an answer, and what is no request to anybody.

    answer = exchange(connection, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status(answer) == 404
"""

from __future__ import annotations

import json
import socket
from http.client import HTTPMessage
from typing import NamedTuple

HOST = b"Host: localhost\r\n"


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The code of an error of ours."""
        return self.json()["error"]["code"]


def exchange(connection, data, *, shut=False):
    """Send bytes on *connection* and give all that comes back until it is closed."""
    connection.sendall(data)
    if shut:
        connection.shutdown(socket.SHUT_WR)
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def status(answer):
    return int(answer[9:12])


# What two readers could read differently, and what is no HTTP of ours, by what it is.
MALFORMED = {
    "a length beside chunks": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length twice": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a length with a sign": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc",
    "a length of no number": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x3\r\n\r\nabc",
    "chunks": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "chunks with an extension": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
    "another coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\nabc",
    "a coding in pieces": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a folded header": b"GET /health/live HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "a bare line feed": b"GET /health/live HTTP/1.1\nHost: localhost\n\n",
    "a bare line feed in the middle": b"GET /health/live HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "a bare carriage return": b"GET /health/live HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "a blank before the colon": b"GET /health/live HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a NUL": b"GET /health/live HTTP/1.1\r\nHost: a\0\r\n\r\n",
    "no host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health/live HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "an address with a host": b"GET http://evil.example/health/live HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address that is none": b"GET nowhere HTTP/1.1\r\n" + HOST + b"\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n",
    "an upgrade": b"GET /health/live HTTP/1.1\r\n"
    + HOST
    + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "an upgrade to HTTP/2": b"GET /health/live HTTP/1.1\r\n"
    + HOST
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /health/live\r\n\r\n",
    "bytes in the address": b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
}
