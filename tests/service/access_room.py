"""What the tests of access stand on: a registry in a real store, a real log, and a clock that moves."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from native_room import Clock, copy_store, make_barrier
from strongroom.audit import AuditLog
from strongroom.crypto._primitives import ed25519_check
from strongroom.crypto.wrapping import stretch
from strongroom.model.secret import Secret
from strongroom.policy import Actor, Assurance, Decision, Role
from strongroom.registry import Registry
from strongroom.service.access import Access, Lifetimes, open_access
from strongroom.service.access.password import CHEAP
from strongroom.service.guard import Guard

OWNER = Actor("local:1000", Assurance.HOST_USER)
GOOD = Secret("correct horse battery")
OTHER = Secret("another good password")
HERE, THERE = "10.0.0.1", "10.0.0.2"


class AdminPolicy:
    """Administrators and local owners may everything, others nothing."""

    needs_facts = False

    def decide(self, actor, action, ref, facts=None):
        is_allowed = actor.id.startswith("local:") or Role("admin") in actor.roles
        return Decision(is_allowed=is_allowed, reason="a test's rule")


class Desk:
    """Opens the access of one deployment as often as there would be processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.opened = []
        self.store = copy_store(folder / "room")

    def open(
        self,
        *,
        deployment: str = "prod",
        cost=CHEAP,
        policy=None,
        lifetimes: Lifetimes | None = None,
        workloads=None,
        around=lambda store: store,
        recorder=lambda log: log,
        **remembers,
    ) -> Access:
        barrier = make_barrier(self.store, deployment=deployment, clock=self.clock)
        anchor = self.folder / f"{deployment}.anchor"
        self.alarms = []
        registry = Registry(
            around(barrier.store),
            barrier,
            deployment=deployment,
            anchor=anchor,
            on_alarm=self.alarms.append,
            **remembers,
        )
        log = AuditLog(self.folder / "audit", deployment=deployment, clock=self.clock)
        guard = Guard(policy or AdminPolicy(), recorder(log))
        access = open_access(
            registry,
            guard,
            OWNER,
            clock=self.clock,
            stretch=stretch,
            check=ed25519_check,
            cost=cost,
            lifetimes=lifetimes,
            workloads=workloads,
        )
        self.opened.append((registry, barrier, log))
        return access

    def forward(self, **by: float) -> None:
        self.clock.now += timedelta(**by)

    def records(self, n: int = 200):
        return AuditLog(self.folder / "audit", deployment="prod", clock=self.clock).tail(n)

    def told(self):
        return [(record.actor, record.action, record.outcome, record.reason) for record in self.records()]

    def text(self) -> str:
        """Everything this room has written anywhere."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return "\n".join(path.read_bytes().decode("latin-1") for path in files)

    def close(self) -> None:
        for registry, barrier, log in self.opened:
            registry.close()
            barrier.close()
            log.close()
