"""
`strongroom access`: who there is, how each proves it, and what each may.

The subgroups stand in files of their own, each with an `attach`: a new one is named in `_ELSEWHERE`.
"""

from __future__ import annotations

from importlib import import_module

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Yes
from strongroom.cli.output import sentence
from strongroom.cli.session import Session
from strongroom.errors import TamperedError

app = noun(
    "access",
    """
    Keep who may: people, tokens, agents, roles, policies, grants.

    On the host of the store this works as its owner, whatever policies say: the first administrator is
    made here, and whoever locked himself out comes back in here. Every act is recorded.

    Example:
      $ strongroom access people add anna --role admin
      $ strongroom access tokens issue --name ci --role reader --expires 90d
    """,
)

_ELSEWHERE = (
    "people",
    "tokens",
    "services",
    "agents",
    "roles",
    "groups",
    "logins",
    "rights",
    "policies",
    "grants",
    "approvals",
    "break_glass",
)
"""Files of `cli/` whose `attach(app)` declares subgroups or commands of `access`."""

for _name in _ELSEWHERE:
    import_module(f"strongroom.cli.{_name}").attach(app)


@command(app, "check")
def check(context: typer.Context) -> None:
    """
    Check that nobody changed who may by hand in the store.

    Every row is authenticated, and all of them together. Ends with 9 if one is not as it was written: then
    nobody is let in until it is put right or accepted.

    Example:
      $ strongroom access check
    """
    session: Session = context.obj
    with session.room() as room:
        problems = room.access.problems()
    if problems:
        raise TamperedError(
            f"who may was changed by hand: {'; '.join(problems)}",
            hint="find out who could write the store; then bring a backup back, or strongroom access accept",
        )
    sentence(session, "the rows of who may are as they were written", {"ok": True})


@command(app, "accept")
def accept(context: typer.Context, *, yes: Yes = False) -> None:
    """
    Take who may as it stands for right.

    For when somebody was at the store, or an old copy of it was brought back on purpose. What is not
    authentic is dropped, and every session and login link ends. What was deleted by hand stays deleted, and
    what was put back stays put back: look through people, tokens, roles and policies after it.

    Example:
      $ strongroom access check
      $ strongroom access accept
    """
    session: Session = context.obj
    with session.room() as room:
        problems = room.access.problems()
        if not problems:
            sentence(session, "there is nothing to accept", {"accepted": []})
            return
        for problem in problems:
            terminal.note(problem, session)
        terminal.confirm("take who may as it stands for right", is_agreed=yes)
        accepted = room.access.accept()
    sentence(
        session,
        "accepted; look through people, tokens, roles and policies now",
        {"accepted": accepted},
    )
