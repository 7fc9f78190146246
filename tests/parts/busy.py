"""A house in use, for pictures: versions, reads, refusals, tokens, policies and people of some weeks."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from parts.offices import asked_for, peopled
from parts.seat import Seat
from strongroom.errors import StrongroomError
from strongroom.live.probe import Step
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.service.entries import Change
from strongroom.service.policies import Draft
from strongroom.service.series import Minute
from strongroom.service.trials import Trial

_PASSWORD = "a sentence of five words"
_PEOPLE = (("bob", "op"), ("frank", "user"), ("carol", "viewer"))
_TOKENS = (("etl-prod", "reader"), ("backfill", "user"), ("dashboards", "viewer"))
_POLICY = """@id("pii-needs-a-person")
forbid (principal is Service, action == Action::"reveal", resource is Entry)
when { resource.tags.contains("pii") };"""
_READ = ("region", "cutoff_hour", "postgres_2.v2", "snowflake_1", "aws_0", "limits")


def busied(server):
    """Let *server* look as after a while of work."""
    root = server.house.deployment().root
    for name, role in _PEOPLE:
        with suppress(StrongroomError):
            root.access.people.add(name, Secret(_PASSWORD), roles=[Role(role)])
    tokens = [server.token(name, role) for name, role in _TOKENS]
    with suppress(StrongroomError):
        root.policies.put(Draft(_POLICY, comment="reveals are for people"))
    _day(server)
    peopled(server)
    asked_for(server)
    _versions(root)
    _orders(server)
    _tests(server)
    refs = [{"kind": kind, "name": name} for name in _READ for kind in ("variable", "connection")]
    run = {"dag_id": "orders_daily", "task_id": "load_facts"}
    asked = [{"kind": "connection", "name": "orders_db"}]
    server.ask("POST", "/v1/read", {"refs": asked, "run": run}, token=tokens[0])
    server.ask("POST", "/v1/read", {"refs": asked, "run": run | {"task_id": "upsert"}}, token=tokens[0])
    server.ask("POST", "/v1/read", {"refs": asked}, token=tokens[2])
    for token, several in ((0, refs), (1, refs[:1]), (0, refs), (2, refs[2:4]), (0, refs[:4])):
        server.ask("POST", "/v1/read", {"refs": several}, token=tokens[token])
    server.ask("POST", "/v1/read", {"refs": refs[:1]}, token="srm_no_such_token")


def _day(server):
    """Let the server have counted for a day: more by day than by night, and a store that was away at 2."""
    ring = server.house.deployment().ring
    now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    ring._began = now - timedelta(days=2)
    for back in range(1439, 0, -1):
        at = now - timedelta(minutes=back)
        daily = 800 - 600 * math.cos((at.hour * 60 + at.minute - 120) / 1440 * 2 * math.pi)
        cache = int(
            daily + 60 * math.sin(back / 47) + 25 * math.sin(back / 3) + (70 if at.minute % 15 == 0 else 0)
        )
        is_away = at.hour == 1 and 14 <= at.minute < 34
        misses = 20 + cache // 30
        ring._kept.append(
            Minute(at, cache, 0 if is_away else misses, misses if is_away else 0, at.minute == 7)
        )


def _tests(server):
    """Let one connection have been tested: from the server while its password was old, then from an agent."""
    ref, trials = Ref("connection", "orders_db"), server.house.deployment().trials
    now = datetime.now(timezone.utc)
    before = (Step("name", "ok", "", 0.6), Step("tcp", "ok", "", 0.4), Step("tls", "ok", "", 5.1, 61))
    let_in = (Step("authentication", "ok", "", 12.8), Step("read", "ok", "", 1.1))
    refused = Step("authentication", "failed", "credentials", 11.9)
    for hours, place, steps in (
        (30, "server", (*before, *let_in)),
        (26, "agent:worker-1", (*before, *let_in)),
        (2, "agent:worker-1", (*before, refused)),
    ):
        is_ok = steps[-1].outcome == "ok"
        trials.keep(ref, Trial(now - timedelta(hours=hours), "person:alice", place, is_ok, "1", steps))


def _versions(root):
    """Change one variable some times, each with a reason."""
    for at, (text, why) in enumerate(
        (("17", "as in staging"), ("18", "the bank closes later"), ("16", "winter"))
    ):
        ref = Ref("variable", "number")
        with suppress(StrongroomError):
            root.entries.write(
                Change(ref=ref, secret=Secret(f"{text}{at}")), to="native", force=True, comment=why
            )


_ORDERS = (
    (
        "person:dave",
        "Promoted from staging",
        {"host": "10.20.0.4", "password": "a"},
        {"sslmode": "require"},
    ),
    (
        "person:alice",
        "Moved to verify-full; new host name",
        {"host": "orders-db.example.com", "password": "b"},
        {"sslmode": "verify-full", "sslrootcert": "/etc/ssl/certs/corp-ca.pem", "connect_timeout": "10"},
    ),
    (
        "person:alice",
        "Password changed after the vendor's notice",
        {"host": "orders-db.example.com", "password": "c"},
        {"sslmode": "verify-full", "sslrootcert": "/etc/ssl/certs/corp-ca.pem", "connect_timeout": "30"},
    ),
)


def _orders(server):
    """Change one connection some times, by several people."""
    plain = {"conn_type": "postgres", "login": "etl_writer", "schema": "orders", "port": 5432}
    root = server.house.deployment().root
    for who, why, fields, extra in _ORDERS:
        person = root.as_actor(replace(Seat(server, "person:alice").actor, id=who))
        text = json.dumps({**plain, **fields, "extra": extra})
        facts = Metadata(owner="alice", tags=("pci",), description="Order facts, write side")
        change = Change(ref=Ref("connection", "orders_db"), secret=Secret(text), metadata=facts)
        person.entries.write(change, to="native", comment=why)
