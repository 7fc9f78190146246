"""
A network of its own for processes of a test, in which the kernel itself loses what it is told to lose.

    with namespace() as network, Proxy("127.0.0.1", port, make_socket=network.socket) as proxy:
        with agent(…, prefix=network.prefix) as one:    # it has the proxy's port, and nothing else
            network.drop(to=proxy.port)                 # requests vanish, nothing is said to anybody
            network.drop(of=proxy.port)                 # requests arrive, answers vanish
            network.refuse(proxy.port)                  # both are met with a reset
            network.heal()

Only its loopback is there. A unix socket is reached from outside, so the test may ask the agent. Needs root,
`unshare`, `nsenter`, `ip` and `nft`; without them tests skip, and fail where `CI` is set.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from parts.agent import missing, until

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_TABLE = "inet partition"
_NETWORK = 0x40000000  # CLONE_NEWNET


class Namespace:
    """The network of the process *pid*."""

    def __init__(self, pid):
        self._file = Path(f"/proc/{pid}/ns/net")
        self.prefix = ("nsenter", f"--net={self._file}", "--")
        self._nft(f"add table {_TABLE}")
        self._nft(f"add chain {_TABLE} came {{ type filter hook input priority 0; }}")

    def socket(self):
        """Give a new TCP socket of this network to a process that is outside."""
        # A thread enters it alone, makes the socket, and ends.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._socket).result()

    def _socket(self):
        with self._file.open("rb") as file:
            assert ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _NETWORK) == 0, ctypes.get_errno()
        return socket.socket()

    def drop(self, *, to=None, of=None):
        """Lose what is sent to the port *to*, or what is sent by the port *of*."""
        which = f"tcp dport {to}" if to is not None else f"tcp sport {of}"
        self._nft(f"add rule {_TABLE} came {which} drop")

    def refuse(self, port):
        """Meet what is sent to *port* with a reset."""
        self._nft(f"add rule {_TABLE} came tcp dport {port} reject with tcp reset")

    def heal(self):
        self._nft(f"flush chain {_TABLE} came")

    def _nft(self, rule):
        self.run("nft", *rule.split())

    def run(self, *command):
        done = subprocess.run(
            [*self.prefix, *command],
            env={"PATH": _PATH},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def namespace():
    """Make a network whose loopback is up, gone with the block."""
    needed = ("unshare", "nsenter", "ip", "nft")
    lacking = [name for name in needed if shutil.which(name, path=_PATH) is None]
    if lacking:
        missing(f"a network namespace needs {', '.join(lacking)}: run scripts/system-packages")
    if os.geteuid() != 0:
        missing("a network namespace needs root")
    # `cat` waits for the end of its input: it ends with the test, however that ends.
    holder = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec cat"],
        env={"PATH": _PATH},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if holder.stdout.readline() != "up\n":
            missing(f"no network namespace here: {holder.stderr.read().strip()}")
        try:
            network = Namespace(holder.pid)
        except AssertionError as error:
            missing(f"nft does not work in a network namespace here: {error}")
        yield network
    finally:
        holder.stdin.close()
        until(lambda: holder.poll() is not None, what="the namespace to end")
        holder.stdout.close()
        holder.stderr.close()
