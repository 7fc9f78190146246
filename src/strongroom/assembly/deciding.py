"""
Who decides for an agent: its server; without one a Cedar file, or the operating system.

What the server tells of comes once: with the changes of the backend that asks it as this agent; by a stream
of its own only where no backend does.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from strongroom.assembly.upstream import ServerDecider, ServerRuns
from strongroom.cache import boot_seconds
from strongroom.errors import InvalidInputError, SettingsError
from strongroom.policy import HostPolicy
from strongroom.service.decisions import Decisions
from strongroom.service.kept import KeptDecisions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from strongroom.backend import Watched
    from strongroom.cache import Lifetimes
    from strongroom.caller.client import Client
    from strongroom.caller.stream import Hearing
    from strongroom.chain import Chain
    from strongroom.model.ref import Ref
    from strongroom.policy import Policy
    from strongroom.policy.rule import Remark
    from strongroom.settings import Settings

_KEY = "agent.policy"
_VERIFYING = timedelta(seconds=15)  # for a run to be verified, Airflow's answer included
_MAX_BYTES = 1_048_576  # 1 MiB; the parser of policies has bounds of its own
_NO_NAME = re.compile(r"[^a-z0-9._@-]+")


class Deciding(NamedTuple):
    """
    Who decides.

    Args:
        current: gives the policy that decides now.
        by: `server`, `file` or `owner`.
        start: begins what runs behind it, beside the chain it decides for; may be called twice.
        close: ends that; may be called twice.
        heard: hears what a backend of the chain tells of: (name, notice).
        kept: what of it the last good copy keeps; None for nothing.
        status: tells how it stands with the server; None where none decides.
        runs: has the server verify runs; None where there is none.
    """

    current: Callable[[], Policy]
    by: str
    start: Callable[[Chain], None] = lambda _chain: None
    close: Callable[[], None] = lambda: None
    heard: Callable[[str, Watched], None] = lambda _name, _notice: None
    kept: KeptDecisions | None = None
    status: Callable[[], Mapping[str, object]] | None = None
    runs: ServerRuns | None = None


def deciding_by(
    settings: Settings,
    lifetimes: Lifetimes,
    is_strict: Callable[[Ref], bool],
    on_trouble: Callable[[str], None] = lambda _text: None,
    on_test: Callable[[str, Ref, Client], None] = lambda _order, _ref, _client: None,
) -> Deciding:
    """
    Give who decides by *settings*.

    Args:
        settings: of the agent.
        lifetimes: how long values are served without the server; so long its decisions are good.
        is_strict: whether an entry is strict.
        on_trouble: told in one sentence when the server decides nothing, and when that is over.
        on_test: told of each test that the server asks for, with what it is answered by; it must not block.

    Raises:
        As `server_of` and `local_policy`.
    """
    # Who waits for a decision waits no longer than for a backend: a server that says nothing is trouble soon.
    client = server_of(settings, timeout=timedelta(seconds=settings.lookup.timeout_seconds))
    if client is None:
        policy = local_policy(settings)
        return Deciding(lambda: policy, "owner" if settings.agent.policy is None else "file")
    revoke_bound = timedelta(seconds=settings.agent.revoke_bound)
    bounds = (revoke_bound, lifetimes.ttl + lifetimes.stale_if_error)
    found = ServerPolicy(client, bounds, is_strict, on_trouble)
    found.on_test = on_test
    asked = found.decisions
    kept = None if settings.agent.last_good is None else KeptDecisions(asked)
    # The server asks Airflow before it answers.
    asking = server_of(settings, timeout=_VERIFYING)
    runs = None if asking is None else ServerRuns(asking)
    close = found.close if asking is None else partial(_each, found.close, asking.close)
    return Deciding(asked.current, "server", found.start, close, found.heard, kept, asked.status, runs)


def _each(*works: Callable[[], None]) -> None:
    for work in works:
        work()


def server_of(settings: Settings, *, timeout: timedelta | None = None) -> Client | None:
    """
    Give what asks the server this agent is enrolled with, as the agent; None where it has none.

    Args:
        settings: of the agent.
        timeout: as of `client_of`.

    Raises:
        SettingsError: a policy file is named beside the server.
        BackendConfigError: a server is named and no agent is enrolled, or the enrolment is not to be trusted.
    """
    from strongroom.caller import enrolled  # noqa: PLC0415 -- loads what speaks HTTP
    from strongroom.caller.address import ServerAddress  # noqa: PLC0415 -- as above

    agent = settings.agent
    if agent.server is None and enrolled.find(agent.state) is None:
        return None
    if agent.policy is not None:
        raise SettingsError(
            f"{_KEY}: an agent that is enrolled with a server has its decisions from there",
            key=_KEY,
            hint=f"leave {_KEY} out, or use another agent.state",
        )
    address = None
    if agent.server is not None:
        server = agent.server
        address = ServerAddress(server.url, server.deployment, server.ca, setting="agent.server.url")
    return enrolled.client_of(agent.state, address, timeout=timeout)


class ServerPolicy:
    """
    The decisions of the server, kept as long as it says so.

    Args:
        client: asks the server as the agent.
        bounds: how long decisions are good without a sign of it: on strict entries, on others.
        is_strict: whether an entry is strict.
        on_trouble: as of `deciding_by`.

    Attributes:
        on_test: as of `deciding_by`.
    """

    def __init__(
        self,
        client: Client,
        bounds: tuple[timedelta, timedelta],
        is_strict: Callable[[Ref], bool],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._client = client
        self._teller = ""
        self._hearing: Hearing | None = None
        self.on_test: Callable[[str, Ref, Client], None] = lambda _order, _ref, _client: None
        self.decisions = Decisions(
            ServerDecider(client),
            timer=boot_seconds,
            is_strict=is_strict,
            revoke_bound=bounds[0],
            stale_bound=bounds[1],
            on_trouble=on_trouble,
        )

    def start(self, chain: Chain) -> None:
        """Begin to hear of the server, by the backend of *chain* that does anyway. Safe to call twice."""
        from strongroom.backends.remote import Remote  # noqa: PLC0415 -- only who has a server
        from strongroom.caller.stream import Hearing  # noqa: PLC0415 -- as above

        self.decisions.start()
        for link in chain.links:
            if isinstance(link.backend, Remote) and link.backend.client.is_as(self._client):
                self._teller = link.name
                return
        if self._hearing is None:
            self._hearing = Hearing(self._client, self._heard)

    def close(self) -> None:
        """Let go. Safe to call twice."""
        if self._hearing is not None:
            self._hearing.end()
        self.decisions.close()
        self._client.close()

    def heard(self, name: str, notice: Watched) -> None:
        """Hear what the backend called *name* tells of, which is the server's word where it asks as we do."""
        if name == self._teller:
            self._heard(notice)

    def _heard(self, notice: Watched) -> None:
        if notice.is_gap:
            self.decisions.forget(None)
        if notice.refs:
            self.decisions.forget(list(notice.refs))
        if notice.policy is not None:
            self.decisions.heard(notice.policy)
        for order, ref in notice.tests:
            self.on_test(order, ref, self._client)


def local_policy(settings: Settings) -> Policy:
    """
    Give the policy of an agent without a server: that of `agent.policy`, else whoever may connect may read,
    and root and its own user may write.

    The file is one document, named by the file: `pay.cedar` is `pay`, and an `@id` in it begins with that.
    Nothing is allowed that nothing in it allows.

    Raises:
        SettingsError: the file cannot be read, or is no policy; says where in it.
    """
    path = settings.agent.policy
    if path is None:
        return HostPolicy(frozenset({"local:0", f"local:{os.geteuid()}"}))
    text = _read(path)
    from strongroom.policy.cedar import CedarPolicy, parse, validate  # noqa: PLC0415 -- an engine of 15 MB

    name = _NO_NAME.sub("-", path.stem.lower()).strip("-") or "policy"
    # What is only doubtful does not stop an agent; `access policies validate` says it.
    for remark in validate(name, text):
        if remark.severity == "error":
            raise _wrong(path, _said(remark), remark.hint)
    try:
        rules = parse(name, text)
        revision = sha256(text.encode()).hexdigest()[:12]
        return CedarPolicy(rules, revision=revision, deployment=settings.deployment)
    except InvalidInputError as error:
        raise _wrong(path, str(error), error.hint) from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _wrong(path, f"it cannot be read: {error.strerror or type(error).__name__}", None) from None
    if len(data) > _MAX_BYTES:
        raise _wrong(path, f"it is over {_MAX_BYTES} bytes", None)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _wrong(path, "it is not UTF-8", None) from None


def _said(remark: Remark) -> str:
    where = "" if remark.line is None else f"line {remark.line}: "
    return where + remark.message


def _wrong(path: Path, why: str, hint: str | None) -> SettingsError:
    return SettingsError(f"{_KEY}: {path.name} is no policy: {why}", key=_KEY, hint=hint)
