"""
A real OpenSSH server on a port of 127.0.0.1, with a user who signs in by password or by key.

    with ssh_server(tmp_path) as server:
        server.change_password("new")
        server.allow(public_key)

It runs in a mount namespace of its own, in which /etc/passwd and /etc/shadow are the test's: nothing of the
machine is changed. That needs root; without it the test skips.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from parts import databases

USER = "app"
PASSWORD = "p w'\\:@%?#$ü"
_BEGIN = """
set -e
mount --make-rprivate /
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/shadow" /etc/shadow
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd
exec /usr/sbin/sshd -D -f "$1/sshd_config" -E "$1/log"
"""


class SshServer:
    """
    Attributes:
        port: of 127.0.0.1.
        home: the folder its user is in.
        host_keys: its public keys by kind (`ed25519`, `ecdsa`, `rsa`), as known_hosts has them.
    """

    def __init__(self, folder):
        if os.geteuid() != 0:
            pytest.skip("an OpenSSH server whose users are the test's needs root")
        if not Path("/usr/sbin/sshd").exists() or shutil.which("unshare") is None:
            databases.missing("sshd")
        self.folder, self.home, self.port = folder, folder / "home", _free_port()
        self.home.mkdir()
        self._authorized, self._log = folder / "authorized_keys", folder / "log"
        self._authorized.touch(mode=0o600)
        (folder / "passwd").write_text(
            f"{Path('/etc/passwd').read_text()}{USER}:x:0:0::{self.home}:/bin/sh\n"
        )
        (folder / "shadow").touch(mode=0o600)
        self.change_password(PASSWORD)
        self.host_keys = {kind: make_key(folder / f"host_{kind}", kind)[1] for kind in KINDS}
        self.authority = make_key(folder / "authority")
        (folder / "sshd_config").write_text(self._settings())
        self.process = None

    def _settings(self):
        settings = [
            *(f"HostKey {self.folder}/host_{kind}" for kind in KINDS),
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"AuthorizedKeysFile {self._authorized}",
            f"TrustedUserCAKeys {self.folder}/authority.pub",
            "PasswordAuthentication yes",
            "PermitRootLogin yes",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "PrintMotd no",
            "PidFile none",
            "LogLevel VERBOSE",
            "Subsystem sftp internal-sftp",
        ]
        return "\n".join([*settings, ""])

    def start(self):
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _BEGIN, "sh", str(self.folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        databases.wait_for(lambda: self._answers() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log()

    def _answers(self):
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self.port), 1)) as probe:
            return probe.recv(4) == b"SSH-"
        return False

    def change_password(self, password):
        """Change it; lines that are signed in stay so."""
        made = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], input=password.encode(), capture_output=True, check=True
        )
        # Written over, not replaced: what is mounted is this very file.
        (self.folder / "shadow").write_text(f"{USER}:{made.stdout.decode().strip()}:19000:0:99999:7:::\n")

    def allow(self, *public_keys):
        """Let these keys in, and no others."""
        self._authorized.write_text("".join(f"{key}\n" for key in public_keys))

    def certify(self, file):
        """Give the key in *file* a certificate, beside it."""
        command = ["ssh-keygen", "-q", "-s", self.folder / "authority", "-I", "test", "-n", USER]
        subprocess.run([*command, f"{file}.pub"], check=True)

    def lines(self):
        """Give the processes of the lines there are."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def end_lines(self):
        """Cut every line there is."""
        for pid in self.lines():
            os.kill(pid, signal.SIGKILL)
        databases.wait_for(lambda: not self.lines())

    def log(self):
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def count(self, words):
        """Count the lines of its log with these words."""
        return sum(words in line for line in self.log().splitlines())

    def stop(self):
        if self.process is None:
            return
        self.end_lines()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()


KINDS = ("ed25519", "ecdsa", "rsa")


def make_key(file, kind="ed25519", passphrase="", form="RFC4716"):
    """Make a key in *file*; give the text of both its halves."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-m", form, "-f", file]
    subprocess.run([*command, *(["-b", "2048"] if kind == "rsa" else [])], check=True)
    private, public = Path(file).read_text(), Path(f"{file}.pub").read_text()
    return private, " ".join(public.split()[:2])


@contextmanager
def ssh_server(folder):
    """Run one for the block."""
    server = SshServer(Path(folder))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
