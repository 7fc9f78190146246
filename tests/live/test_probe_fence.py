"""What the process of a test cannot do, whichever library asks: each is tried in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from parts.trying import CANARY

BEGIN = """
import os, socket, sys
from strongroom.live.probing import fence
fence.harden()

def refuse():
    os.write(1, b"refused")
    os._exit(0)

fence.enclose(lambda address: address == "127.0.0.1", refuse)
"""
OUTSIDE = [
    "socket.create_connection(('127.0.0.2', 9))",
    "socket.create_connection(('::1', 9))",
    "socket.create_connection(('169.254.169.254', 80))",
    "socket.socket(socket.AF_UNIX).connect('/run/postgresql/.s.PGSQL.5432')",
    "socket.socket(socket.AF_UNIX).connect('\\0abstract')",
    "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.2', 53))",
    "socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('127.0.0.2', 53))",
]
FORBIDDEN = [
    "import subprocess; subprocess.Popen(['/bin/true'])",
    "os.system('true')",
    "os.execv('/bin/true', ['true'])",
    "os.posix_spawn('/bin/true', ['true'], {})",
    "os.fork()",
    "open('/etc/passwd')",
    "open(b'/etc/passwd')",
    "os.open('/etc/passwd', os.O_RDONLY)",
    "open(sys.prefix + '/../../../../../../../../etc/passwd')",
    "open('/proc/self/environ')",
    "import pathlib; pathlib.Path('/root/.ssh/id_rsa').read_text()",
    "open('/usr/share/../../etc/passwd')",
]


def run(code, before=""):
    """Give what *code* wrote, run behind the fence."""
    found = subprocess.run(
        [sys.executable, "-I", "-B", "-c", before + BEGIN + code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return found.stdout.decode()


def swallowing(code):
    """Do it as a library does that minds no error."""
    kinds = ("PermissionError", "forbidden"), ("BaseException", "?")
    return f"try:\n    {code}\n" + "".join(f"except {kind}:\n    print('{word}')\n" for kind, word in kinds)


@pytest.mark.parametrize("code", OUTSIDE)
def test_SS01_SS05_an_address_that_was_not_looked_at_ends_the_process(code):
    assert run(swallowing(code)) == "refused"


@pytest.mark.parametrize("code", FORBIDDEN)
def test_SS05_a_program_or_a_file_of_others_is_refused(code):
    assert run(swallowing(code)) == "forbidden\n"


def test_a_link_to_a_file_of_others_is_no_way_to_it(tmp_path):
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "own").write_text("own")
    (tmp_path / "secret").write_text(CANARY)
    (tmp_path / "library" / "link").symlink_to(tmp_path / "secret")
    folder = str(tmp_path / "library")
    before = f"import sys; sys.path.append({folder!r})\n"
    assert run(f"print(open({folder + '/own'!r}).read())", before) == "own\n"
    assert run(swallowing(f"open({folder + '/link'!r})"), before) == "forbidden\n"


def test_what_a_library_needs_is_there():
    loads = "import http.client, ssl, json, zoneinfo"
    uses = "zoneinfo.ZoneInfo('Europe/Rome'); ssl.create_default_context()"
    assert run(f"{loads}; {uses}; open(os.devnull, 'w').write('x'); print('there')") == "there\n"


def test_the_address_that_was_looked_at_is_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert run(f"socket.create_connection(('127.0.0.1', {port})); print('reached')") == "reached\n"
        server.accept()[0].close()


def test_a_test_leaves_no_core_no_large_file_and_has_an_end_to_its_memory():
    code = (
        "import resource; print(*(resource.getrlimit(n) for n in (resource.RLIMIT_CORE, resource.RLIMIT_AS)))"
    )
    assert run(code) == f"(0, 0) ({1 << 30}, {1 << 30})\n"
    large = "try:\n    bytearray(2 << 30)\nexcept MemoryError:\n    print('no')"
    assert run(large) == "no\n"


def test_SS05_nothing_of_the_user_that_a_test_runs_as_is_found_by_libraries_in_c():
    code = "fence.forget_user(); print(os.path.expanduser('~'), os.environ['PGPASSFILE'])"
    assert run(code) == "/nonexistent /dev/null\n"
