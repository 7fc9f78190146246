"""The Python programs of the examples, run as they stand."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "python"
BASIC = "Basic cm9ib3Q6cEB0"  # robot:p@t


class Billing(BaseHTTPRequestHandler):
    """An API that takes orders of who proves who he is."""

    taken: list[object]

    def log_message(self, *_arguments):
        """Say nothing."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_known = self.headers["Authorization"] == BASIC
        if is_known:
            self.taken.append([self.path, json.loads(body)])
        self.send_response(201 if is_known else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def billing():
    handler = type("Handler", (Billing,), {"taken": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_port, handler.taken
        finally:
            server.shutdown()
            thread.join(10)


def test_orders_are_sent_once_with_two_live_clients(tmp_path):
    file = tmp_path / "orders.db"
    with closing(sqlite3.connect(file)) as opened, opened:
        opened.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, sent INTEGER DEFAULT 0)")
        opened.executemany("INSERT INTO orders (item) VALUES (?)", [("tea",), ("milk",)])
    with billing() as (port, taken):
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "STRONGROOM_HOME": str(tmp_path),
            "AIRFLOW_CONN_ORDERS_DB": json.dumps({"conn_type": "sqlite", "host": str(file)}),
            "AIRFLOW_CONN_BILLING_API": f"http://robot:p%40t@127.0.0.1:{port}",
        }
        command = [sys.executable, "-W", "error", EXAMPLES / "send_orders.py", "--once"]
        said = [
            subprocess.run(
                command, env=environ, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
            )
            for _ in range(2)
        ]
    assert [(done.returncode, done.stdout, done.stderr) for done in said] == [
        (0, "sent 2\n", ""),
        (0, "sent 0\n", ""),
    ]
    assert taken == [["/orders", {"id": 1, "item": "tea"}], ["/orders", {"id": 2, "item": "milk"}]]
