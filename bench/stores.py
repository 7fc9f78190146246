"""
The foreign stores to measure against, each in a process of its own: OpenBao, moto, and fakes of the tests.

`python -m bench.stores KIND` starts one, prints what a backend must be told to reach it as one line of JSON,
and runs until its input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).parent.parent / "tests"


def vault() -> dict[str, Any]:
    from parts.openbao import Dev  # noqa: PLC0415 -- on the path in the child alone

    server = Dev()
    _kept.append(server)
    return {"port": server.port, "token": server.root}


def aws() -> dict[str, Any]:
    from parts.aws import KEY, REGION, SECRET, Moto  # noqa: PLC0415 -- on the path in the child alone

    server = Moto()
    _kept.append(server)
    return {"port": server.port, "key": KEY, "secret": SECRET, "region": REGION}


def google() -> dict[str, Any]:
    from parts.google import Google  # noqa: PLC0415 -- on the path in the child alone

    server = Google()
    _kept.append(server)
    project = server.project()
    return {"port": server.http_port, "grpc": server.grpc_port, "project": project, "key": server.key()}


def azure() -> dict[str, Any]:
    from parts.azure import CLIENT, SECRET, TENANT, Azure  # noqa: PLC0415 -- on the path in the child alone
    from parts.certificates import Authority  # noqa: PLC0415 -- on the path in the child alone

    authority = Authority(Path(tempfile.mkdtemp(prefix="srm-azure-")))
    server = Azure(authority)
    server.__enter__()
    _kept.append(server)
    certificate = authority.issue("server", "127.0.0.1")
    return {
        "port": server.plain_port,
        "ca": str(authority.file),
        "certificate": [str(part) for part in certificate],
        "tenant": TENANT,
        "client": CLIENT,
        "secret": SECRET,
    }


def kubernetes() -> dict[str, Any]:
    from parts.kubernetes import Cluster  # noqa: PLC0415 -- on the path in the child alone

    server = Cluster(Path(tempfile.mkdtemp(prefix="srm-cluster-")))
    server.__enter__()
    _kept.append(server)
    return {"port": server.plain_port, "token": "root-token"}


def postgresql() -> dict[str, Any]:
    from parts import databases  # noqa: PLC0415 -- on the path in the child alone

    server = databases.postgresql()
    server.run("CREATE DATABASE bench")
    _kept.append(Stopped(databases.stop_all))
    return {"socket": server.socket, "database": "bench", "user": "postgres"}


def rotating() -> dict[str, Any]:
    from parts import databases  # noqa: PLC0415 -- on the path in the child alone
    from parts.rotating import Rotating  # noqa: PLC0415 -- as above

    role = Rotating()
    _kept.append(Stopped(databases.stop_all))
    return {"connection": role.connection}


class Stopped(NamedTuple):
    stop: Callable[[], None]


_kept: list[Any] = []
STORES = {one.__name__: one for one in (vault, aws, google, azure, kubernetes, postgresql, rotating)}


@contextmanager
def store(kind: str) -> Iterator[dict[str, Any]]:
    """Run the store *kind* and give how to reach it."""
    command = [sys.executable, "-m", "bench.stores", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        try:
            yield json.loads(child.stdout.readline())
        finally:
            child.stdin.close()
            child.wait(20)


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    print(json.dumps(STORES[sys.argv[1]]()), flush=True)
    sys.stdin.read()
    for one in _kept:
        stop = getattr(one, "stop", None) or (lambda one=one: one.__exit__(None, None, None))
        stop()
