"""
What the agent does to its own process: memory, limits, and the user it becomes.

What every long-running process of ours does stands in `service/process.py`.
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import SettingsError
from strongroom.service.process import forbid_new_privileges, give_back, harden, room_for_files
from strongroom.settings.source import reason

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SPARE_FILES", "Account", "account_of", "become", "give", "most_connections", "secure"]

SPARE_FILES = 256  # beside connections: record, log, backends, threads, the second socket


class Account(NamedTuple):
    """A user of this machine, as the agent becomes it."""

    name: str
    uid: int
    gid: int
    home: str


def secure() -> None:
    """Keep secrets in this process's memory, and privileges out of what it runs."""
    harden()
    give_back()
    os.umask(0o077)


def account_of(name: str) -> Account:
    """
    Give the user that the agent is to become.

    Raises:
        SettingsError: there is none of that name or number, or only root could become it.
    """
    try:
        found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        found = None
    if found is None:
        raise SettingsError("agent.user names nobody whom this machine knows", key="agent.user")
    account = Account(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)
    if os.geteuid() not in (0, account.uid):
        raise SettingsError(
            f"the agent cannot become {account.name}: only root can become another user",
            key="agent.user",
            hint="start it as that user, and leave agent.user out",
        )
    return account


def become(account: Account | None) -> None:
    """
    Be *account* from now on, for good; None stays who this process is. Either way no program it runs gains
    privileges.

    Raises:
        SettingsError: it could not be done completely.
    """
    if account is not None and os.geteuid() != account.uid:
        try:
            os.initgroups(account.name, account.gid)
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)
        except OSError as error:
            raise SettingsError(
                f"the agent cannot become {account.name} ({reason(error)})",
                key="agent.user",
            ) from None
        harden()  # the kernel lets others look in again when a process changes who it is
    forbid_new_privileges()


def give(path: Path, account: Account | None) -> None:
    """
    Let *path* belong to *account*.

    Raises:
        SettingsError: it cannot be given.
    """
    if account is None or os.geteuid() != 0:
        return
    try:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be given to {account.name} ({reason(error)})", key="agent.user"
        ) from None


def most_connections(wanted: int) -> int:
    """Raise the limit of open files as far as it goes, and give how many connections there may be."""
    return room_for_files(wanted, SPARE_FILES)
