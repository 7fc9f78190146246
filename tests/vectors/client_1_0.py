"""
A client of protocol 1.0, frozen: what it sends and how it reads answers never changes.

It imports nothing of Strongroom and stands for every client that is out there: an agent that does not serve it
has broken the promise of docs/protocol.md. `python client_1_0.py SOCKET NAME…` prints what it got, as JSON.
"""

import json
import socket
import struct
import sys

HELLO, READ, READ_MANY, CLAIM, PING, ANSWER, ERROR = 0x01, 0x02, 0x03, 0x04, 0x09, 0x80, 0xFF
KINDS = {"connection": 1, "variable": 2, "config": 3}
OUTCOMES = ("found", "absent", "denied", "unavailable", "invalid")
FIELDS = ("conn_type", "description", "host", "login", "password", "schema")


def short(text):
    data = text.encode()
    return struct.pack(">H", len(data)) + data


class Client:
    """One connection."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")
        self.number = 0

    def send(self, kind, payload=b""):
        self.number += 1
        self.socket.sendall(struct.pack(">IBI", len(payload) + 5, kind, self.number) + payload)
        return self.number

    def receive(self):
        (length,) = struct.unpack(">I", self.stream.read(4))
        kind, number = struct.unpack(">BI", self.stream.read(5))
        return kind, number, self.stream.read(length - 5)

    def ask(self, kind, payload=b""):
        number = self.send(kind, payload)
        got, of, answer = self.receive()
        assert (got, of) == (kind | ANSWER, number), (got, of)
        return answer

    def hello(self):
        answer = self.ask(HELLO, b"SRM\x01\x00" + short("1.0.0") + b"\0\0\0\0")
        assert answer[:4] == b"SRM\x01"
        return answer[4]  # the agent's minor version

    def read(self, kind, name):
        return state(self.ask(READ, bytes((KINDS[kind], 0)) + b"\xff\xff" + short(name)))

    def read_many(self, names):
        refs = b"".join(b"\x02\xff\xff" + short(name) for name in names)
        number = self.send(READ_MANY, b"\0" + struct.pack(">H", len(names)) + refs)
        found = []
        while True:
            kind, of, payload = self.receive()
            assert (kind, of) == (READ_MANY | ANSWER, number)
            more, first, count = struct.unpack_from(">BHH", payload)
            assert first == len(found)
            at = 5
            for _ in range(count):
                (length,) = struct.unpack_from(">I", payload, at)
                found.append(state(payload[at + 4 : at + 4 + length]))
                at += 4 + length
            if not more & 1:
                return found

    def claim(self, dag_id):
        run = short(dag_id) + b"\xff\xff" * 2 + b"\x80\0\0\0" * 2 + b"\xff\xff"
        self.ask(CLAIM, run)


def state(payload):
    outcome, flags, age, ttl = struct.unpack_from(">BBII", payload)
    backend, at = maybe_short(payload, 10)
    version, at = maybe_short(payload, at)
    form = payload[at]
    value = None
    if form == 1:
        value, _ = maybe_long(payload, at + 1)
    elif form == 2:
        value, at = {}, at + 1
        for name in FIELDS:
            value[name], at = maybe_long(payload, at)
        (port,) = struct.unpack_from(">i", payload, at)
        value["port"] = None if port < 0 else port
        value["extra"], _ = maybe_long(payload, at + 4)
    elif form == 3:
        value, _ = maybe_short(payload, at + 1)  # the code of the refusal
    return [OUTCOMES[outcome], backend, value]


def maybe_short(payload, at):
    (length,) = struct.unpack_from(">H", payload, at)
    if length == 0xFFFF:
        return None, at + 2
    return payload[at + 2 : at + 2 + length].decode(), at + 2 + length


def maybe_long(payload, at):
    (length,) = struct.unpack_from(">I", payload, at)
    if length == 0xFFFFFFFF:
        return None, at + 4
    return payload[at + 4 : at + 4 + length].decode(), at + 4 + length


if __name__ == "__main__":
    client = Client(sys.argv[1])
    client.hello()
    client.ask(PING)
    client.claim("frozen")
    found = {name: client.read(*name.split(":")) for name in sys.argv[2:]}
    found["many"] = client.read_many([name.partition(":")[2] for name in sys.argv[2:]])
    print(json.dumps(found))
