"""
A proxy that tunnels (CONNECT) every name to one port of this machine, so that a test can be whoever it likes.

    with tunnel(port) as proxy:
        proxy.url          # for HTTPS_PROXY
        proxy.asked        # the names and ports it was asked for
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Tunnel(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.port = port
        self.asked = []


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_arguments):
        """Say nothing."""

    def do_CONNECT(self):
        self.server.asked.append(self.path)
        with socket.create_connection(("127.0.0.1", self.server.port)) as there:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: there, there: self.connection}
            while True:
                for end in select.select(list(ends), [], [], 30)[0]:
                    part = end.recv(65536)
                    if not part:
                        return
                    ends[end].sendall(part)


@contextmanager
def tunnel(port):
    """Run one for the block."""
    server = Tunnel(port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
