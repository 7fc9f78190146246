"""
A MySQL that lets in by token, as RDS does: over TLS alone, by the plug-in that sends a password as it is.

    with mysql_tokens(folder) as gate:
        gate.knows = lambda user, password: …    # asked at each login
        gate.place, gate.ca, gate.asked

It logs people in itself, and hands them on to a real MariaDB then.

Source: dev.mysql.com, "Connection Phase": Protocol::HandshakeV10 and HandshakeResponse41.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from contextlib import closing, contextmanager, suppress

from parts import databases
from parts.certificates import Authority, server_context

# LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB, PROTOCOL_41, SSL, TRANSACTIONS, SECURE_CONNECTION,
# MULTI_STATEMENTS, MULTI_RESULTS, PLUGIN_AUTH, CONNECT_ATTRS, PLUGIN_AUTH_LENENC_CLIENT_DATA
_ABLE = 0x1 | 0x4 | 0x8 | 0x200 | 0x800 | 0x2000 | 0x8000 | 0x10000 | 0x20000 | 0x80000 | 0x100000 | 0x200000
_SALT = b"s" * 20
_OK = bytes((0, 0, 0, 2, 0, 0, 0))
_REFUSED = b"\xff" + struct.pack("<H", 1045) + b"#28000Access denied"


class _Login(socketserver.BaseRequestHandler):
    def handle(self):
        with suppress(OSError):
            self._let_in()

    def _let_in(self):
        gate = self.server.gate
        self._send(0, self._greeting())
        if len(self._read()[1]) > 32:  # a whole answer, where a wish for TLS was due
            gate.asked_in_clear += 1
            return
        with closing(gate.context.wrap_socket(self.request, server_side=True)) as self.request:
            number, answer = self._read()
            user = answer[32:].partition(b"\0")[0].decode()
            self._send(number + 1, b"\xfemysql_clear_password\0" + _SALT + b"\0")
            number, password = self._read()
            password = password.rstrip(b"\0").decode()
            gate.asked.append((user, password))
            is_known = gate.knows(user, password)
            self._send(number + 1, _OK if is_known else _REFUSED)
            if is_known:
                self._hand_on()

    def _greeting(self):
        return (
            b"\x0a8.0.36\0"
            + struct.pack("<I", 1)
            + _SALT[:8]
            + b"\0"
            + struct.pack("<HBHHB", _ABLE & 0xFFFF, 45, 2, _ABLE >> 16, 21)
            + bytes(10)
            + _SALT[8:]
            + b"\0mysql_native_password\0"
        )

    def _hand_on(self):
        """Carry what is asked to MariaDB and what it answers back."""
        with databases.mariadb().admin() as behind:
            there = behind._sock

            def back():
                with suppress(OSError):
                    while data := there.recv(65536):
                        self.request.sendall(data)

            thread = threading.Thread(target=back, daemon=True)
            thread.start()
            while data := self.request.recv(65536):
                if data[4:5] == b"\x01":  # a goodbye, which ends this conversation alone
                    return
                there.sendall(data)

    def _send(self, number, payload):
        self.request.sendall(struct.pack("<I", len(payload))[:3] + bytes((number,)) + payload)

    def _read(self):
        head = self._exactly(4)
        return head[3], self._exactly(int.from_bytes(head[:3], "little"))

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.request.recv(size - len(data))
            if not part:
                raise ConnectionResetError
            data += part
        return data


class Gate:
    """
    Attributes:
        knows: tells of user and password whether they are let in; a test sets it.
        asked: what it was asked; `asked_in_clear` counts who did not wish for TLS.
        place, ca: where it is, and the file of who vouches for it.
    """

    def __init__(self, folder, port):
        authority = Authority(folder, "mysql")
        self.context = server_context(*authority.issue("mysql-server", "127.0.0.1"))
        self.ca = str(authority.file)
        self.knows = lambda _user, _password: False
        self.asked = []
        self.asked_in_clear = 0
        self.place = {"host": "127.0.0.1", "port": port}


@contextmanager
def mysql_tokens(folder):
    """Run one for the block."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Login) as server:
        server.daemon_threads = True
        server.gate = Gate(folder, server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.gate
        finally:
            server.shutdown()
