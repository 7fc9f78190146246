"""What an agent does to its own process before it holds a secret."""

import os
import subprocess
import sys

import pytest

from strongroom.agent.hygiene import account_of, most_connections
from strongroom.errors import SettingsError

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
_PR_GET_DUMPABLE = 3  # linux/prctl.h

SECURE = """
import ctypes, os, resource
from strongroom.agent.hygiene import account_of, become, secure
secure()
become({account})
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))
core = resource.getrlimit(resource.RLIMIT_CORE)
print(core, oct(os.umask(0)), os.getresuid(), os.getresgid(), os.getgroups())
"""


def told(account="None"):
    done = subprocess.run(
        [sys.executable, "-c", SECURE.format(account=account)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_LK07_nobody_looks_into_its_memory_and_no_core_is_written():
    dumpable_and_no_new_privileges, rest = told()
    assert dumpable_and_no_new_privileges == "0 1"
    assert rest.startswith("(0, 0) 0o77 ")


def test_an_ordinary_process_can_be_looked_into():
    # What the test above reads would say so. Not of this process: another test may have closed it.
    code = f"import ctypes; print(ctypes.CDLL(None).prctl({_PR_GET_DUMPABLE}, 0, 0, 0, 0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@only_root
def test_another_user_is_become_for_good_with_his_groups_and_is_not_looked_into_either():
    account = account_of("nobody")
    dumpable, rest = told('account_of("nobody")')
    assert dumpable == "0 1"
    assert f"({account.uid}, {account.uid}, {account.uid})" in rest
    assert f"({account.gid}, {account.gid}, {account.gid})" in rest
    assert rest.endswith(f"[{account.gid}]")


@only_root
def test_a_user_may_be_named_by_number():
    assert account_of(str(account_of("nobody").uid)) == account_of("nobody")


@pytest.mark.parametrize("name", ["no such user here", "4294967294", "99999999999999999999"])
def test_a_user_that_nobody_knows_is_refused(name):
    with pytest.raises(SettingsError) as caught:
        account_of(name)
    assert caught.value.key == "agent.user"


def test_there_may_be_as_many_connections_as_files_can_be_opened():
    assert most_connections(10) == 10
    assert 16 <= most_connections(10**9) < 10**9
