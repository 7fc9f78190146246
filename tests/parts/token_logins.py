"""
A PostgreSQL that lets in by token, as those of the clouds do: over TLS, asking who knows tokens.

    with token_logins(folder) as gate:
        gate.knows = lambda user, password: …    # asked at each login
        gate.place                               # host, port and TLS, as fields of a connection
        gate.asked                               # (user, password) of each login

It is Debian's server, whose way to ask is LDAP; here that is a socket which takes binds and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import socketserver
import threading
from contextlib import contextmanager
from urllib.parse import parse_qsl, quote, urlsplit

from parts.certificates import Authority
from parts.postgres_tls import tls_server

USER = "etl"


class _Bind(socketserver.StreamRequestHandler):
    """One conversation: binds (RFC 4511 §4.2), each answered."""

    def handle(self):
        while (message := self._read()) is not None:
            number, operation = message[:3], message[3:]
            if operation[:1] != b"\x60":  # an unbind
                return
            _, name, password = _parts(_content(operation))
            user = name.decode().removeprefix("uid=")
            gate = self.server.gate
            gate.asked.append((user, password.decode()))
            code = 0 if gate.knows(user, password.decode()) else 49  # invalidCredentials
            answer = number + b"\x61\x07\x0a\x01" + bytes([code]) + b"\x04\x00\x04\x00"
            self.wfile.write(b"\x30" + bytes([len(answer)]) + answer)

    def _read(self):
        head = self.rfile.read(2)
        if len(head) < 2:
            return None
        size = head[1]
        if size & 0x80:
            size = int.from_bytes(self.rfile.read(size & 0x7F), "big")
        return self.rfile.read(size)


def _content(element):
    return _split(element)[0]


def _split(data):
    """Give the content of the first element of BER in *data*, and what follows it."""
    size, start = data[1], 2
    if size & 0x80:
        start = 2 + (size & 0x7F)
        size = int.from_bytes(data[2:start], "big")
    return data[start : start + size], data[start + size :]


def _parts(data):
    while data:
        part, data = _split(data)
        yield part


class Gate:
    """
    Attributes:
        knows: tells of user and password whether they are let in; a test sets it.
        asked: what it was asked.
        place: where the database is.
    """

    def __init__(self, database, authority):
        self.knows = lambda _user, _password: False
        self.asked = []
        self.database = database
        self.ca = str(authority.file)
        self.place = {"host": "127.0.0.1", "port": database.port, "schema": "store"}


@contextmanager
def token_logins(folder):
    """Run one for the block."""
    authority = Authority(folder)
    with (
        tls_server(authority) as database,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Bind) as directory,
    ):
        directory.daemon_threads = True
        directory.gate = Gate(database, authority)
        threading.Thread(target=directory.serve_forever, daemon=True).start()
        rules = database.folder / "data" / "pg_hba.conf"
        ldap = f'ldap ldapserver=127.0.0.1 ldapport={directory.server_address[1]} ldapprefix="uid="'
        rules.write_text(f"hostssl all {USER} 127.0.0.1/32 {ldap}\n{rules.read_text()}")
        database.run(f"CREATE USER {USER}", "SELECT pg_reload_conf()")
        try:
            yield directory.gate
        finally:
            directory.shutdown()


def is_signed(token, user, place, key, secret, region):
    """Tell whether *token* lets *user* into the RDS at *place*, as AWS would (Signature Version 4)."""
    url = urlsplit(f"https://{token}")
    said = dict(parse_qsl(url.query))
    signature = said.pop("X-Amz-Signature", "")
    scope = f"{said.get('X-Amz-Date', '')[:8]}/{region}/rds-db/aws4_request"
    if (url.netloc, said.get("Action"), said.get("DBUser")) != (place, "connect", user):
        return False
    if said.get("X-Amz-Credential") != f"{key}/{scope}":
        return False
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(said[name], safe='-_.~')}" for name in sorted(said))
    nothing = hashlib.sha256(b"").hexdigest()
    request = f"GET\n/\n{query}\nhost:{place}\n\nhost\n{nothing}"
    date, hashed = said["X-Amz-Date"], hashlib.sha256(request.encode()).hexdigest()
    signing = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    return hmac.compare_digest(signing.hex(), signature)
