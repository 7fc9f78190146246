"""
Faults on a real wire: a proxy in front of a real server, and a server that says what it is told to.

    with Proxy("127.0.0.1", port_of_the_server) as proxy:
        ask(f"http://127.0.0.1:{proxy.port}")        # passes through
        proxy.become("hang")                         # for what comes from now on, kept connections too
        proxy.answer(429, {"Retry-After": "7"})      # instead of the server; times=1 for once
        proxy.become("pass")
        proxy.requests, proxy.connections, proxy.lines

| mode | what happens |
|---|---|
| pass | bytes go through |
| refuse | nobody listens, and what was connected is ended: the server is down |
| hang | connections are accepted and requests read, and nothing is said |
| mute | requests reach the server, its answers vanish: a partition that is closed in one direction only |
| stall | whatever the server says comes `stall_seconds` late |
| drip | an answer comes a byte every `drip_seconds` |
| half | an answer's head and half of its body come, then the end |
| reset | a request is met with a reset |
| drop | a request is met with the end of the connection |

Requests are counted as HTTP/1.1 with Content-Length. Made with `is_tls=True` a proxy passes bytes
through unread: then `requests` stays 0, `answer` cannot be used, and modes act on the bytes
themselves (`hang`, `reset` and `drop` on those of kept connections and of handshakes alike). Given
`front`, a server's TLS context, it speaks TLS to whoever asks and plain HTTP to the server: all modes
and counts are those of HTTP.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress

MODES = ("pass", "refuse", "hang", "mute", "stall", "drip", "half", "reset", "drop", "answer")
_TICK = 0.02  # how soon a thread notices that it is to end


class Listener:
    """
    Accept on a free port of 127.0.0.1 and give each connection a thread of its own.

    Args:
        make_socket: makes the socket that listens; of another network, as `parts.namespace` has.
    """

    def __init__(self, make_socket=socket.socket):
        self._make_socket = make_socket
        self.connections = 0
        self.requests = 0
        self.lines = []  # "GET /v1/…" of each request, in order of their coming
        self.port = 0
        self._lock = threading.Lock()
        self._open = set()
        self._threads = []
        self._listening = None
        self._is_over = False
        self._listen()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def url(self, scheme="http"):
        return f"{scheme}://127.0.0.1:{self.port}"

    def stop(self):
        self._is_over = True
        self._deafen()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def cut(self):
        """End every connection there is."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def serve(self, connection):
        raise NotImplementedError

    def _listen(self):
        if self._listening is None:
            listening = self._make_socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", self.port))
            listening.listen(64)
            self.port = listening.getsockname()[1]
            self._listening = listening
            self._start(self._accept, listening)

    def _deafen(self):
        listening, self._listening = self._listening, None
        if listening is not None:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
            listening.close()

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening):
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, connection)

    def _serve(self, connection):
        with self._lock:
            self._open.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.serve(connection)
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _note(self, request):
        with self._lock:
            self.requests += 1
            self.lines.append(request.split(b"\r\n", 1)[0].decode("latin-1").removesuffix(" HTTP/1.1"))


class Proxy(Listener):
    """Stand in front of *host*:*port*."""

    def __init__(
        self,
        host,
        port,
        *,
        is_tls=False,
        front=None,
        drip_seconds=0.05,
        stall_seconds=5,
        make_socket=socket.socket,
    ):
        self._behind = (host, port)
        self._front = front
        self._is_tls = is_tls
        self._drip_seconds = drip_seconds
        self._stall_seconds = stall_seconds
        self._answer = b""
        self._times = None
        self.mode = "pass"
        super().__init__(make_socket)

    def become(self, mode):
        """Switch to *mode* for every byte from now on."""
        assert mode in MODES
        self.mode = mode
        if mode == "refuse":
            self._deafen()
            self.cut()
        else:
            self._listen()

    def answer(self, status, headers=None, body=b"", *, times=None):
        """Say this in place of the server, *times* times or until told otherwise."""
        assert not self._is_tls, "what passes through cannot be answered"
        self.say(reply(status, headers, body), times=times)

    def say(self, data, *, times=None):
        """Say these bytes, an answer or not, in place of the server."""
        self._answer = data
        self._times = times
        self.become("answer")

    def serve(self, connection):
        if self._front is None:
            self._serve_plain(connection)
            return
        with self._front.wrap_socket(connection, server_side=True) as secured:
            with self._lock:
                self._open.add(secured)
            try:
                self._serve_plain(secured)
            finally:
                with self._lock:
                    self._open.discard(secured)

    def _serve_plain(self, connection):
        behind = socket.create_connection(self._behind, timeout=5)
        with self._lock:
            self._open.add(behind)
        try:
            self._relay(connection, behind)
        finally:
            with self._lock:
                self._open.discard(behind)
            behind.close()

    def _relay(self, connection, behind):
        pending = b""
        while not self._is_over:
            for ready in select.select([connection, behind], [], [], _TICK)[0]:
                data = ready.recv(65536)
                if not data:
                    return
                if ready is not behind and self._front is not None:
                    while ready.pending():  # what is decrypted already wakes no select
                        data += ready.recv(65536)
                if ready is behind:
                    if not self._pass_back(connection, data):
                        return
                    continue
                requests, pending = ([data], b"") if self._is_tls else split(pending + data)
                for request in requests:
                    if not self._pass_on(connection, behind, request):
                        return

    def _pass_on(self, connection, behind, request):
        if not self._is_tls:
            self._note(request)
        mode = self.mode
        if mode == "reset":
            reset(connection)
        elif mode == "answer":
            # Counted before it is sent: whoever has the answer may ask again on another connection.
            if self._times is not None:
                self._times -= 1
                self.mode = "pass" if self._times <= 0 else mode
            connection.sendall(self._answer)
        elif mode != "hang":
            behind.sendall(request)
        return mode not in ("reset", "drop", "refuse")

    def _pass_back(self, connection, data):
        if self.mode == "drip":
            for at in range(len(data)):
                if self._is_over:
                    return False
                time.sleep(0 if self.mode == "pass" else self._drip_seconds)
                connection.sendall(data[at : at + 1])
        elif self.mode == "half":
            head = data.find(b"\r\n\r\n") + 4
            connection.sendall(data[: head + (len(data) - head) // 2] if head > 3 else data[: len(data) // 2])
            return False
        elif self.mode not in ("hang", "mute"):
            if self.mode == "stall":
                self._wait(self._stall_seconds)
            connection.sendall(data)
        return True

    def _wait(self, seconds):
        until = time.monotonic() + seconds
        while self.mode == "stall" and not self._is_over and time.monotonic() < until:
            time.sleep(_TICK)


class Scripted(Listener):
    """
    Answer each request with `say(request)`: bytes, a list of bytes sent one after the other, or None for
    silence; `CLOSE` or `RESET` in a list ends the connection there. Refuses what is not plain
    HTTP/1.1 by saying nothing and counting it in `refused`.
    """

    def __init__(self, say, *, tls=None):
        self.say = say
        self.refused = 0
        self.seen = []  # whole requests, as bytes
        self._tls = tls
        super().__init__()

    def serve(self, connection):
        if self._tls is not None:
            with suppress(ssl.SSLError), self._tls.wrap_socket(connection, server_side=True) as secured:
                with self._lock:
                    self._open.add(secured)
                try:
                    self._talk(secured)
                finally:
                    with self._lock:
                        self._open.discard(secured)
        else:
            self._talk(connection)

    def _talk(self, connection):
        pending = b""
        while data := connection.recv(65536):
            requests, pending = split(pending + data)
            for request in requests:
                self._note(request)
                self.seen.append(request)
                if not is_plain(request):
                    self.refused += 1
                    return
                if not self._send(connection, self.say(request)):
                    return

    def _send(self, connection, parts):
        for part in [parts] if isinstance(parts, bytes) else parts or []:
            if part is RESET:
                reset(connection)
            if part in (RESET, CLOSE):
                return False
            connection.sendall(part)
        return True


CLOSE = object()
RESET = object()


def reply(status, headers=None, body=b""):
    """Spell an answer with its length."""
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def reset(connection):
    """End with a reset in place of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def split(data):
    """Give the whole requests in *data* and what is left."""
    requests = []
    while (end := data.find(b"\r\n\r\n")) >= 0:
        size = end + 4 + _length(data[:end])
        if len(data) < size:
            break
        requests.append(data[:size])
        data = data[size:]
    return requests, data


def _length(head):
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def is_plain(request):
    """Tell whether a request is one that can be read in one way only."""
    head = request.split(b"\r\n\r\n", 1)[0]
    lines = head.split(b"\r\n")
    names = [line.split(b":", 1)[0].lower() for line in lines[1:]]
    return (
        lines[0].count(b" ") == 2
        and lines[0].endswith(b" HTTP/1.1")
        and names.count(b"host") == 1
        and names.count(b"content-length") <= 1
        and b"transfer-encoding" not in names
        and all(b":" in line and not line[:1].isspace() for line in lines[1:])
        and b"\n" not in b"".join(lines)
        and b"\r" not in b"".join(lines)
    )
