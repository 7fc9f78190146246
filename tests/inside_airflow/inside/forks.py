"""
Start processes of one Airflow quickly: `python forks.py`, told in lines of JSON what to start.

What Airflow stands on takes it three seconds of a core to load, in every process anew. Here it is loaded
once, and nothing of Airflow or of ours: a process that is asked for is a fork, with the environment,
arguments, folder and output that were told, and begins where `python` would begin with the program.

    {"program": ["stage.py", …] or ["-m", "airflow", …], "environ": {…}, "folder": …, "out": …, "err": …}

It answers `{"pid": …}` at once, and `{"pid": …, "status": …}` when that process has ended.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

# What takes longest to load of what both versions load; what one has not is left out there.
_BELOW_AIRFLOW = (
    "a2wsgi",
    "aiohttp",
    "asgiref",
    "cadwyn",
    "cron_descriptor",
    "croniter",
    "cryptography.x509",
    "dill",
    "fastapi",
    "flask",
    "fsspec",
    "httpx",
    "importlib_metadata",
    "itsdangerous",
    "jinja2.sandbox",
    "jsonschema",
    "jwt",
    "libcst.metadata",
    "msgspec",
    "opentelemetry.sdk.trace",
    "pathspec",
    "pendulum",
    "psutil",
    "pydantic.v1",
    "re2",
    "requests",
    "rich.console",
    "rich.syntax",
    "rich.table",
    "sqlalchemy.dialects.mysql",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.orm",
    "structlog",
    "svcs.fastapi",
    "tabulate",
    "tenacity",
    "unittest.mock",
    "upath",
    "yaml",
)
_LINE = 65536


def serve():
    """Start what is asked for until nobody asks; gives, in a process that was started, its program."""
    ended, wakes = socket.socketpair()
    for one in (ended, wakes):
        one.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes.fileno())
    asked, children = b"", set()
    while True:
        ready, _, _ = select.select([0, ended], [], [])
        if ended in ready:
            with suppress(BlockingIOError):
                ended.recv(_LINE)
            for pid in list(children):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    children.remove(pid)
                    _answer(pid=pid, status=os.waitstatus_to_exitcode(status))
        if 0 in ready:
            read = os.read(0, _LINE)
            if not read:
                sys.exit()
            *lines, asked = (asked + read).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    ended.close()
                    wakes.close()
                    return _become(**json.loads(line))
                children.add(pid)
                _answer(pid=pid)


def _answer(**told):
    os.write(1, json.dumps(told).encode() + b"\n")


def _become(program, environ, folder, out, err):
    os.setsid()
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    path = [part for part in environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    is_module = program[0] == "-m"
    sys.path[:1] = [folder if is_module else str(Path(program[0]).parent), *path]
    sys.argv[:] = program[1:] if is_module else program
    gc.enable()
    return program


def load():
    """Load what Airflow stands on."""
    gc.disable()  # nothing of it goes away again
    for name in _BELOW_AIRFLOW:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    strangers = [name for name in sys.modules if name.partition(".")[0] in ("airflow", "strongroom")]
    if strangers:
        raise SystemExit(f"loaded too early: {strangers}")


if __name__ == "__main__":
    load()
    first, *_ = found = serve()
    if first == "-m":
        runpy.run_module(found[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")
