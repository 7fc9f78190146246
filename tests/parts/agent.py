"""
A real host agent for tests: a process of its own, asked on its socket.

    from parts.agent import agent

    def test_something(tmp_path):
        with agent(tmp_path, SETTINGS) as one:
            assert one.python("import strongroom; print(strongroom.variable('region'))") == "eu"
            one.kill()                       # SIGKILL, and it is dead when this returns
            one.start()                      # again, on the same socket and state

`one.socket` and `one.http` are where it listens, `one.pid` who it is, `one.environ` what a process needs
to ask it, `one.status()` what it tells of itself, `one.log()` what it has logged. Nothing of it touches the
user's home, and it is ended by its process id.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from parts import warm

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 20
_LONGEST = (
    90  # characters of a socket's path that leave room for what is made beside it; the kernel takes 107
)


class Agent:
    """
    An agent's process, and what a test may want of it.

    Attributes:
        home: the folder of its settings, state and log.
        socket, http: where it listens.
        environ: of processes that ask it.
        pid: of its process; the one of a wrapper in front of it, if there is one, is never given.
    """

    def __init__(self, home, settings, *, environ=None, options=(), prefix=(), is_cold=False):
        self.home = Path(home)
        self.settings = self.home / "agent.toml"
        self.configure(settings)
        self._short = None
        folder = self.home / "run"
        if len(str(folder)) > _LONGEST:
            self._short = Path(tempfile.mkdtemp(prefix="srm-"))
            folder = self._short / "run"
        self.socket = folder / "agent.sock"
        self.http = folder / "http.sock"
        self._log = self.home / "agent.log"
        self._options = [str(option) for option in options]
        self._prefix = [str(part) for part in prefix]
        self._given = environ or {}
        # What is put in front of it, or what its linker and its Python are told, takes a start of its own.
        is_told = any(name.startswith(("LD_", "MALLOC_", "PYTHON")) for name in self._given)
        self._is_cold = is_cold or bool(self._prefix) or is_told
        self._process = None

    # --- what is said to it --------------------------------------------------------------------------

    def configure(self, settings):
        """Write other settings, for the next start or SIGHUP."""
        self.settings.touch(mode=0o600)
        self.settings.write_text(settings)

    @property
    def environ(self):
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "STRONGROOM_SOCKET": str(self.socket),
        }

    @property
    def _own(self):
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "STRONGROOM_HOME": str(self.home),
            "STRONGROOM_CONFIG": str(self.settings),
            **self._given,
        }

    def enrol(self, server, *, url=None, roles=("admin",), name="host", **invitation):
        """
        Enrol it with a server that a test runs (`parts.server.Running`), before it is started.

        Args:
            url: where the agent finds the server: a proxy in front of it; its own address if unsaid.
            roles: of the agent.
            invitation: more of what `access.agents.invite` takes.
        """
        from strongroom.agent.enrol import enrol  # noqa: PLC0415 -- the harness alone needs it
        from strongroom.caller.address import ServerAddress  # noqa: PLC0415
        from strongroom.policy import Role  # noqa: PLC0415

        access = server.house.deployment().root.access
        invited = access.agents.invite(name, roles=[Role(role) for role in roles], **invitation)
        enrol(self.home / "agent", ServerAddress(url or server.address), invited.code)

    def command(self, *arguments, given=None):
        """Run a command of ours as its user, and give what it printed."""
        done = warm.run(
            arguments,
            env=self._own,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.home,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # --- its life ------------------------------------------------------------------------------------

    def start(self, *, wait=True):
        """Start it and wait until somebody answers on its socket."""
        said = ["agent", "--socket", str(self.socket), *self._options]
        with self._log.open("ab") as log:
            how = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": self.home}
            if self._is_cold:
                command = [*self._prefix, sys.executable, "-m", "strongroom", *said]
                self._process = subprocess.Popen(command, env=self._own, **how)
            else:
                self._process = warm.Popen(said, env=self._own, **how)
        if wait:
            until(self.answers, what="the agent to answer", alive=self._process, told=self.log)
        return self

    @property
    def pid(self):
        return self._process.pid

    @property
    def audit(self):
        """Give the folder of its record."""
        return self.home / "agent" / "audit"

    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def answers(self):
        """Tell whether somebody accepts on its socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
            return True

    def kill(self):
        """End it as a crash would: SIGKILL."""
        self._process.kill()
        self._process.wait(START_SECONDS)

    def signal(self, number):
        self._process.send_signal(number)

    def stop(self):
        """End it as a service manager would, and give its exit status."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)  # one that a test has stopped cannot end
            self._process.terminate()
            try:
                self._process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the agent did not end: {self.log()}") from None
        return self._process.returncode

    def close(self):
        try:
            self.stop()
        finally:
            if self._short is not None:
                shutil.rmtree(self._short, ignore_errors=True)

    # --- what it tells -------------------------------------------------------------------------------

    def log(self):
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def status(self):
        """Give what it tells its own user of itself."""
        return self.admin({"do": "status"})

    def admin(self, order):
        """Give the answer to an order that only its own user and root may give."""
        client = self.client()
        try:
            return client.admin(order)
        finally:
            client.close()

    def client(self):
        """Give a client of it in this process."""
        from strongroom.caller.agent import AgentClient  # noqa: PLC0415 -- the harness alone needs it

        return AgentClient(str(self.socket))

    def python(self, program, *arguments, executable=sys.executable, environ=None, seconds=60):
        """Run *program* in a process that asks it, and give what it printed."""
        done = subprocess.run(
            [executable, "-c", program, *map(str, arguments)],
            env=self.environ | (environ or {}),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            cwd=self.home,
        )
        assert done.returncode == 0, f"{done.stderr}\n{self.log()}"
        return done.stdout.strip()

    def memory_kb(self):
        """Give its resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def descriptors(self):
        """Give how many descriptors it holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208 -- a count


@contextmanager
def agent(
    home, settings='chain = ["env"]\n', *, environ=None, options=(), prefix=(), start=True, is_cold=False
):
    """
    Run an agent whose settings, state and socket stand in the folder *home*.

    Args:
        settings: text of its settings file.
        environ: what it finds in its environment beside `HOME` and `PATH`.
        options: more of its command line.
        prefix: a command that runs it, and becomes it (`env`, `nsenter`, not a parent that stays).
        start: start it at once.
        is_cold: start an interpreter for it, where what that shows of itself is looked at: `/proc`, memory.
    """
    one = Agent(home, settings, environ=environ, options=options, prefix=prefix, is_cold=is_cold)
    try:
        if start:
            one.start()
        yield one
    finally:
        one.close()


def until(is_so, *, what="it", alive=None, told=None, seconds=START_SECONDS):
    """Ask *is_so* again and again until it is; fails after *seconds*, or when the process *alive* is not."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        shown = told() if told else ""
        assert alive is None or alive.poll() is None, f"waited for {what}, but it ended: {shown}"
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}: {shown}"
        time.sleep(0.01)
    return found


def missing(reason):
    """Skip for want of a program; a failure where `CI` is set."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
