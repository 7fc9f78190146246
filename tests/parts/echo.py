"""
A server that is none: it gives back what it was sent, or something made of that.

    with echo() as port: …
    with echo(lambda asked: b"HTTP/1.1 200 OK\r\n" + asked) as port: …
"""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress


@contextmanager
def echo(answer=lambda asked: asked):
    """Answer every connection once with *answer* of the head that came, and close it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(listening, answer), daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _serve(listening, answer):
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            connection.settimeout(10)
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += connection.recv(65536)
            connection.sendall(answer(asked))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
