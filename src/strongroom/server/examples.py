"""One example of every body and answer of the API, as they stand in the OpenAPI document and docs/api.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.wire import shapes as wire

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXAMPLES"]

_AT = "2026-11-21T12:00:00Z"
_LATER = "2027-02-19T12:00:00Z"
_KEY = {
    "id": "9c1e" * 8,
    "number": 1,
    "team": None,
    "state": "active",
    "wrapped_by": ["file /etc/strongroom/key"],
    "sealed_versions": 300,
    "created_at": _AT,
    "wraps": 412,
    "replaced_at": None,
    "due_at": _LATER,
}
_KEY_JOB = {
    "state": "running",
    "started_at": _AT,
    "started_by": "person:anna",
    "total": 300,
    "done": 120,
    "damaged": 0,
    "is_at_work": True,
    "finished_at": None,
}
_TEST = {
    "at": _AT,
    "by": "person:anna",
    "place": "server",
    "status": "failed",
    "failed": "tls",
    "message": "failed at tls: it leads to a service whose certificate has expired",
    "advice": "have it renewed there",
    "version": "4",
    "steps": [
        {"name": "tcp", "outcome": "ok", "reason": "", "milliseconds": 1.2, "days_left": None},
        {"name": "tls", "outcome": "failed", "reason": "expired", "milliseconds": 4.8, "days_left": -3},
    ],
    "order": "",
    "until": None,
}
_ORDERS = {"kind": "connection", "name": "orders_db", "team": None}
_FACTS = {
    "description": "orders, read only",
    "tags": ["pii"],
    "owner": "data-team",
    "conn_type": "postgres",
    "remind_at": None,
    "not_after": None,
    "expires_at": None,
    "references": False,
}
_FIELDS = {
    "conn_type": "postgres",
    "description": None,
    "host": "db.example.com",
    "login": "reader",
    "password": "***",
    "schema": "orders",
    "port": 5432,
    "extra": {"sslmode": "require"},
}
_ROW = {
    **_ORDERS,
    "backend": "native",
    "shadowed": [],
    "shadowed_by": None,
    "version": "3",
    "changed_at": _AT,
    **_FACTS,
    "is_deleted": False,
    "state": "ok",
    "problem": "",
}
_PAGE = {"entries": [_ROW], "cursor": None, "troubles": [], "not_listable": []}
_WRITTEN = {**_ORDERS, "backend": "native", "version": "4", "kept": ["password"]}
_ROLE = {"name": "op", "team": None}
_SCOPE = {"actions": ["read"], "kinds": ["connection"], "names": ["prod/*"], "teams": []}
_ACTOR = {
    "id": "person:anna",
    "name": "anna",
    "is_enabled": True,
    "is_locked": False,
    "has_password": True,
    "roles": [_ROLE],
    "sessions": 1,
    "created_at": _AT,
    "created_by": "local:1000",
    "last_login_at": None,
}
_SERVICE = {
    "name": "deployer",
    "actor": "service:deployer",
    "roles": [{"name": "reader", "team": None}],
    "issuers": ["github"],
    "has_token": False,
    "is_enabled": True,
    "last_used_at": "2026-11-21T12:00:00Z",
    "source": "10.0.0.7",
}
_TOKEN = {
    "id": "t_6f1c",
    "name": "ci",
    "actor": "service:ci",
    "roles": [_ROLE],
    "scope": _SCOPE,
    "comment": "",
    "created_at": _AT,
    "created_by": "person:anna",
    "expires_at": _LATER,
    "is_expired": False,
    "last_used_at": None,
    "source": "",
}
_GLASS = {
    "actor": "person:olga",
    "reason": "INC-42: nobody of the admins answers",
    "begun_at": "2026-11-21T12:00:00Z",
    "expires_at": "2026-11-21T13:00:00Z",
    "source": "10.0.0.7",
}
_SESSION = {
    "id": "s_81be",
    "actor": "person:anna",
    "how": "password",
    "created_at": _AT,
    "last_used_at": _AT,
    "expires_at": "2026-11-21T20:00:00Z",
    "source": "192.0.2.7",
    "is_current": True,
}
_INVITATION = {
    "name": "host-2",
    "roles": [{"name": "reader", "team": None}],
    "scope": None,
    "comment": "",
    "invited_by": "person:anna",
    "expires_at": "2026-11-21T12:10:00Z",
}
_AGENT = {
    "name": "host-1",
    "actor": "agent:host-1",
    "roles": [{"name": "reader", "team": None}],
    "scope": _SCOPE,
    "comment": "the scheduler's machine",
    "fingerprint": "3f9a11c04be6d270",
    "enrolled_at": _AT,
    "invited_by": "person:anna",
    "sessions": 1,
    "last_login_at": _AT,
    "source": "192.0.2.7",
}
_BYTES_16, _BYTES_32 = "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
_SIGNATURE = "A" * 86 + "=="
_MEMBER = {"actor": "person:anna", "team": None, "created_at": _AT, "created_by": "local:1000"}
_POLICY_TEXT = (
    '@id("orders-readers")\npermit (principal in Role::"user", action == Action::"read", resource is Entry)\n'
    'when { resource.name == "orders_db" };'
)
_POLICY = {
    "id": "orders-readers",
    "text": _POLICY_TEXT,
    "description": "who reads orders",
    "is_enabled": True,
    "is_shipped": False,
    "version": "12",
    "changed_at": _AT,
    "changed_by": "person:anna",
}
_DECISION = {
    "is_allowed": True,
    "reason": "allowed by orders-readers",
    "policies": ["orders-readers"],
    "revision": "6f1e2a9c04d7",
}
_DENIAL = {"is_allowed": False, "reason": "no policy allows it", "policies": [], "revision": "6f1e2a9c04d7"}
_QUESTION = {"action": "read", "kind": "connection", "name": "orders_db", "actor": "service:ci"}
_MAY = {
    "actor": "service:ci",
    "kind": "connection",
    "name": "orders_db",
    "team": None,
    "actions": ["list", "describe", "read"],
    "policies": ["orders-readers"],
    "depends_on": [],
}
_GRANT = {
    "id": "g_20af",
    "actor": "person:anna",
    "actions": ["reveal"],
    "kinds": ["connection"],
    "names": ["prod/*"],
    "team": None,
    "reason": "incident 4711",
    "created_at": _AT,
    "created_by": "person:otto",
    "ends_at": "2026-11-21T14:00:00Z",
}
_APPROVAL = {
    "id": "a_33d0",
    "action": "reveal",
    **_ORDERS,
    "actor": "person:anna",
    "reason": "checking the port",
    "state": "pending",
    "content": {"version": "3"},
    "content_hash": "5b1f" * 16,
    "created_at": _AT,
    "ends_at": "2026-11-28T12:00:00Z",
    "decided_by": None,
    "decided_at": None,
}
_RECORD: dict[str, Any] = {
    "seq": 17,
    "at": _AT,
    "actor": "service:ci",
    "assurance": 1,
    "action": "read",
    "outcome": "found",
    **_ORDERS,
    "reason": "",
    "backend": "native",
    "version": "3",
    "hash": "0f3a" * 16,
    "prev": "77c1" * 16,
    "source": "192.0.2.7",
    "policies": ["reader"],
}
_BACKEND = {
    "order": 1,
    "name": "native",
    "kind": "native",
    "abilities": ["read", "write", "list", "versions", "check"],
    "match": [],
    "kinds": ["connection", "variable"],
    "on_unavailable": "stale",
    "team_fallback": True,
    "references": False,
    "is_read_only": False,
    "timeout_seconds": 3.0,
    "is_local": True,
    "is_adjusted": False,
    "pause": None,
    "figures": {
        "asked": 3474,
        "outcomes": {"found": 3460, "absent": 14},
        "median_ms": 0.09,
        "slowest_ms": 0.41,
        "answered_seconds": 2.5,
        "silent_seconds": None,
    },
}
_PAUSE = {
    "backend": "vault",
    "since": _AT,
    "until": "2026-11-21T12:05:00Z",
    "by": "person:anna",
    "reason": "fire drill of the platform team",
}
_DEPLOYMENT = {"name": "prod", "is_first": True, "chain": ["env", "vault", "native"], "is_read_only": False}
_CHANGED = {**_ORDERS, "version": "4"}

EXAMPLES: Mapping[type, Any] = {
    wire.Failure: {"error": {"code": "not_found", "message": 'connection "orders_db" is nowhere'}},
    wire.ReadRequest: {
        "refs": [{"kind": "connection", "name": "orders_db"}, {"kind": "variable", "name": "region"}],
        "run": {"dag_id": "orders", "task_id": "load"},
    },
    wire.ReadAnswer: {
        "results": [
            {
                "kind": "connection",
                "name": "orders_db",
                "outcome": "found",
                "value": '{"conn_type":"postgres","host":"db.example.com"}',
                "version": "3",
                "backend": "native",
                "age": 12.5,
                "ttl": 287.5,
            },
            {"kind": "variable", "name": "region", "outcome": "absent"},
        ]
    },
    wire.EntryPage: _PAGE,
    wire.EntryView: {
        **{key: value for key, value in _ROW.items() if key not in ("is_deleted", "state", "shadowed_by")},
        "read_at": _AT,
        "size": 212,
        "connection": _FIELDS,
        "overlay": {},
        "problem": None,
    },
    wire.WriteEntry: {
        "connection": {**_FIELDS, "host": "db2.example.com"},
        "tags": ["pii"],
        "comment": "moved to the new host",
    },
    wire.EntryWritten: _WRITTEN,
    wire.EditEntry: {
        "changes": {"host": "db2.example.com", "extra.sslmode": "verify-full", "tags": ["pii"]},
        "seen": "4",
        "comment": "moved to the new host",
    },
    wire.EntryEdited: {**_ORDERS, "backend": "native", "version": "6", "merged": ["port"]},
    wire.WriteBatch: {
        "changes": [{"kind": "variable", "name": "region", "value": "eu-west-1", "expected_version": ""}],
        "comment": "import",
    },
    wire.BatchWritten: {"written": [_WRITTEN], "refused": []},
    wire.History: {
        **_ORDERS,
        "versions": [
            {
                "version": "3",
                "created_at": _AT,
                "author": "person:anna",
                "comment": "moved to the new host",
                "is_current": True,
                "same_as": None,
            }
        ],
    },
    wire.Difference: {
        **_ORDERS,
        "from": "2",
        "to": "3",
        "is_same": False,
        "fields": [{"field": "host", "change": "changed"}],
    },
    wire.RollbackRequest: {"version": "2", "comment": "the new host is not ready"},
    wire.RevealRequest: {"reason": "checking the port"},
    wire.Revealed: {
        **_ORDERS,
        "backend": "native",
        "version": "3",
        "value": '{"conn_type":"postgres","host":"db.example.com"}',
        "connection": {"conn_type": "postgres", "host": "db.example.com"},
    },
    wire.TestResult: _TEST,
    wire.Tests: {"tests": [_TEST], "on": ["server", "agent:worker-1"]},
    wire.FailingTests: {"tests": [{"name": "orders_db", "team": None, "test": _TEST}]},
    wire.AgentTested: {
        "order": "GTsvQ1vJ0m0f3t5l7hPZqw",
        "version": "4",
        "steps": [{"name": "tcp", "outcome": "ok", "reason": "", "milliseconds": 1.2, "days_left": None}],
    },
    wire.Explained: {
        **_ORDERS,
        "outcome": "found",
        "backend": "native",
        "version": "3",
        "shadows": [],
        "policies": ["orders-readers"],
        "reason": "",
        "references": [],
        "remembered": {"backend": "native", "version": "3", "age_seconds": 12.5, "fresh": True},
        "steps": [
            {
                "backend": "native",
                "team": None,
                "outcome": "found",
                "milliseconds": 0.081,
                "version": "3",
                "age_seconds": 0.0,
                "cached": True,
                "shadowed": False,
                "reason": "",
                "place": "",
            }
        ],
        "not_asked": [{"backend": "vault", "reason": "its match has no such name"}],
        "may_read": True,
        "decision": "allowed by orders-readers",
        "decided_ms": 0.08,
    },
    wire.Counted: {
        "connections": 212,
        "variables": 88,
        "places": 2,
        "shadowed": 3,
        "unreadable": 1,
        "clashes": 0,
        "troubles": [],
    },
    wire.Clashes: {
        "clashes": [
            {
                "backend": "env",
                "kind": "variable",
                "team": None,
                "names": ["Region", "region"],
                "spelling": "AIRFLOW_VAR_REGION",
                "problem": "env cannot keep them apart",
            }
        ]
    },
    wire.WhoAmI: {
        "deployment": "prod",
        "actor": "person:anna",
        "how": "session",
        "assurance": 1,
        "roles": [_ROLE],
        "scope": None,
        "expires_at": "2026-11-21T20:00:00Z",
        "proven_at": "2026-11-21T12:00:00Z",
        "break_glass": None,
    },
    wire.Login: {"name": "anna", "password": "correct horse battery staple"},
    wire.CodeLogin: {"code": "2f7c-9d41-77b0"},
    wire.LoginWays: {"local": True, "oidc": True},
    wire.LoggedOut: {"provider_logout": "https://id.example.com/session/end?client_id=strongroom"},
    wire.GlassRequest: {"reason": "INC-42: nobody of the admins answers", "seconds": 3600},
    wire.GlassRow: _GLASS,
    wire.Glasses: {"break_glass": [_GLASS]},
    wire.SessionGiven: {
        "token": "srm_s_…",
        "id": "s_81be",
        "actor": "person:anna",
        "expires_at": "2026-11-21T20:00:00Z",
    },
    wire.Sessions: {"sessions": [_SESSION]},
    wire.Actors: {"actors": [_ACTOR]},
    wire.ActorRow: _ACTOR,
    wire.NewActor: {"name": "anna", "password": "correct horse battery staple", "roles": [{"name": "user"}]},
    wire.PatchActor: {"is_enabled": False},
    wire.NewPassword: {"password": "four other plain words", "old_password": "correct horse battery staple"},
    wire.Groups: {
        "has_provider": True,
        "groups": [{"name": "data", "roles": [{"name": "op", "team": "data"}]}],
        "members": [{"actor": "person:anna", "role": {"name": "op", "team": "data"}, "since": _AT}],
    },
    wire.Tokens: {"tokens": [_TOKEN]},
    wire.Services: {"services": [_SERVICE]},
    wire.ServiceRow: _SERVICE,
    wire.PatchService: {"is_enabled": False},
    wire.NewToken: {"name": "ci", "roles": [{"name": "user"}], "expires_in": 7_776_000, "scope": _SCOPE},
    wire.TokenIssued: {**_TOKEN, "token": "srm_t_…"},
    wire.Agents: {"agents": [_AGENT], "invitations": [_INVITATION]},
    wire.InviteAgent: {"name": "host-2", "roles": [{"name": "reader"}]},
    wire.AgentInvited: {
        "token": "srm_e_…",
        "name": "host-2",
        "actor": "agent:host-2",
        "expires_at": "2026-11-21T12:10:00Z",
    },
    wire.EnrolAgent: {
        "code": "srm_e_…",
        "public_key": _BYTES_32,
        "fingerprint": _BYTES_32,
        "signature": _SIGNATURE,
    },
    wire.AgentEnrolled: {"name": "host-2", "actor": "agent:host-2", "deployment": "prod"},
    wire.AgentLogin: {
        "name": "host-2",
        "at": 1_795_262_400_000_000,
        "nonce": _BYTES_16,
        "fingerprint": _BYTES_32,
        "signature": _SIGNATURE,
    },
    wire.AgentSession: {
        "token": "srm_s_…",
        "id": "81be6f1c20af33d0",
        "actor": "agent:host-2",
        "expires_at": "2026-11-21T12:15:00Z",
        "lifetime": 900.0,
    },
    wire.AskAgent: {
        "questions": [
            {
                "user": "local:50000",
                "action": "read",
                "kind": "connection",
                "name": "orders",
                "run": {"dag_id": "daily", "task_id": "load"},
            }
        ]
    },
    wire.AgentRulings: {
        "revision": "6f1e2a9c04d7",
        "rulings": [
            {
                "is_allowed": True,
                "reason": "allowed by reader",
                "policies": ["reader"],
                "depends_on_run": False,
            }
        ],
    },
    wire.VerifyRun: {
        "token": "eyJhbGciOiJFZERTQSIs…",
        "run": {
            "dag_id": "daily",
            "task_id": "load",
            "run_id": "scheduled__2026-11-21T00:00:00+00:00",
            "map_index": -1,
            "try_number": 1,
            "bundle": "dags-folder",
            "ti_id": "019a9c1e-6f2b-7d30-9a41-5b7f0c2d8e16",
            "source": "task",
        },
        "attempt": "5f0c4be1a2d7439e",
    },
    wire.RenewRun: {"receipt": "AAECAwQ…"},
    wire.RunVerified: {
        "receipt": "AAECAwQ…",
        "run": {
            "dag_id": "daily",
            "task_id": "load",
            "run_id": "scheduled__2026-11-21T00:00:00+00:00",
            "map_index": -1,
            "try_number": 1,
            "bundle": "dags-folder",
            "ti_id": "019a9c1e-6f2b-7d30-9a41-5b7f0c2d8e16",
            "bundle_version": None,
            "team": None,
            "source": "task",
        },
        "assurance": 2,
        "lifetime": 600.0,
    },
    wire.WriteAsAgent: {
        "user": "local:50000",
        "changes": [
            {
                "kind": "variable",
                "name": "token",
                "value": "…",
                "is_literal": True,
                "expected_version": "3",
                "over": {"expires_at": "2026-11-21T13:00:00Z"},
            }
        ],
        "run": {"dag_id": "daily", "task_id": "load"},
        "comment": "renewed",
    },
    wire.DeliverRecords: {"chain": "9c1d" * 4, "lines": []},
    wire.RecordsDelivered: {"last": 4710},
    wire.Roles: {"roles": [{"name": "op", "members": [_MEMBER]}]},
    wire.Policies: {"revision": "6f1e2a9c04d7", "policies": [_POLICY]},
    wire.PolicyRow: _POLICY,
    wire.PatchPolicy: {"is_enabled": False, "comment": "everybody has a role of his own"},
    wire.PolicyText: {"id": "orders-readers", "text": _POLICY_TEXT, "description": "who reads orders"},
    wire.Validated: {
        "is_valid": False,
        "remarks": [
            {
                "severity": "error",
                "message": "there is no such action",
                "hint": "one of list, describe, read, …",
                "policy": "orders-readers",
                "line": 3,
                "column": 13,
            }
        ],
    },
    wire.SimulateRequest: {"put": [{"text": _POLICY_TEXT}], "delete": [], "questions": [_QUESTION]},
    wire.Simulated: {
        "before": [_DENIAL],
        "after": [_DECISION],
        "flips": [],
        "total": 0,
        "actors": 0,
        "entries": 0,
        "is_complete": True,
    },
    wire.CanRequest: _QUESTION,
    wire.DecisionRow: _DECISION,
    wire.WhyRow: {
        "actor": "person:vera",
        "roles": [{"name": "viewer", "team": None}],
        "is_allowed": False,
        "reason": "no policy allows it",
        "policies": [],
        "weighed": [
            {
                "id": "op",
                "is_permit": True,
                "description": "keeps connections and variables",
                "misses": ["who"],
                "needs": 'Role::"op"',
            }
        ],
        "depends_on": [],
        "revision": "086c9aa3b277",
    },
    wire.EntryAccess: {**_ORDERS, "actors": [_MAY]},
    wire.ActorAccess: {"actor": "service:ci", "entries": [_MAY], "cursor": None},
    wire.Grants: {"grants": [_GRANT]},
    wire.NewGrant: {
        "actor": "person:anna",
        "actions": ["reveal"],
        "names": ["prod/*"],
        "seconds": 7200,
        "reason": "incident 4711",
    },
    wire.GrantRow: _GRANT,
    wire.Approvals: {"approvals": [_APPROVAL]},
    wire.ApprovalRow: _APPROVAL,
    wire.Approve: {"content_hash": "5b1f" * 16},
    wire.Switches: {"switches": {"two-person-reveal": True, "two-person-changes": False}},
    wire.SetSwitch: {"is_on": True},
    wire.AuditPage: {"records": [_RECORD], "cursor": None},
    wire.AuditState: {
        "count": 18,
        "head": "0f3a" * 16,
        "checkpoint": 18,
        "checkpoint_at": _AT,
        "is_writable": True,
        "hold": None,
        "more": {},
    },
    wire.Verified: {
        "is_ok": True,
        "count": 18,
        "index": None,
        "reason": "",
        "repairs": [],
        "first": 0,
        "signed": 18,
        "checkpoints": 1,
        "witnesses": [],
    },
    wire.Backends: {
        "backends": [_BACKEND],
        "managed": "server",
        "version": "17",
        "changed_at": _AT,
        "changed_by": "person:anna",
    },
    wire.ArrangeBackends: {"names": ["env", "native", "vault"], "reason": "vault last while it moves"},
    wire.AdjustBackend: {"on_unavailable": "next", "timeout_seconds": 1.5, "reason": "vault is moving"},
    wire.PauseBackend: {"seconds": 300, "reason": "fire drill of the platform team"},
    wire.PauseRow: _PAUSE,
    wire.RunQuery: {"run": "scheduled__2026-11-21T11:00:00+00:00", "dag": "orders_daily"},
    wire.Sightings: {
        "sightings": [
            {
                **_ORDERS,
                "outcome": "found",
                "version": "7",
                "backend": "vault",
                "dag": "orders_daily",
                "task": "load_facts",
                "uses": 3,
                "first_at": "2026-11-21T11:00:12.000000Z",
                "last_at": "2026-11-21T11:04:40.000000Z",
                "level": "L2",
                "actor": "agent:worker-04",
            }
        ],
        "cursor": None,
    },
    wire.FindQuery: {"q": "orders #pci", "health": ["unreadable", "soon"], "sort": "age", "limit": 50},
    wire.FoundPage: {
        "entries": [{**_ROW, "health": "healthy", "clash": None, "place": 2, "read_at": _AT}],
        "total": 1,
        "all": 91,
        "attention": 9,
        "counts": {"health": {"healthy": 1}, "source": {"native": 1}, "kind": {"connection": 1}},
        "silent": [],
        "unread": [],
        "not_listable": [],
    },
    wire.SeriesQuery: {"minutes": 60},
    wire.Series: {
        "since": _AT,
        "until": "2026-11-21T12:00:40Z",
        "minutes": [{"at": _AT, "cache": 1180, "backend": 21, "stale": 0, "refused": 1}],
    },
    wire.CheckedBackends: {
        "backends": [
            {
                "name": "vault",
                "status": "ready",
                "message": "",
                "milliseconds": 3.2,
                "ends": {"token": _LATER},
                "renewed": ["token"],
                "identity": "approle-airflow",
                "is_reachable": True,
                "may": {"read": "yes", "list": "yes", "write": "no"},
            }
        ]
    },
    wire.CompareQuery: {"between": "prod,staging", "only": "differing"},
    wire.Compared: {
        "deployments": ["prod", "staging"],
        "entries": [91, 81],
        "same": [91, 73],
        "lines": [
            {
                **_ORDERS,
                "conn_type": "postgres",
                "cells": [
                    {"state": "same", "letter": "A", "fields": [], "version": "7"},
                    {"state": "differs", "letter": "B", "fields": ["host", "password"], "version": "2"},
                ],
            }
        ],
        "total": 1,
        "counts": {"all": 91, "differing": 1, "missing": 10},
        "compared": [172, 172],
    },
    wire.Deployments: {"deployments": [_DEPLOYMENT]},
    wire.DeploymentView: {**_DEPLOYMENT, "teams": ["data"], "connections": 212, "variables": 88},
    wire.Keys: {"keys": [_KEY], "job": None},
    wire.BackupMade: {
        "file": "prod-20261121T120000Z.srb",
        "id": "5e0c" * 8,
        "at": "2026-11-21T12:00:00.000000Z",
        "size": 183_204,
        "key": "strongroom/prod/4234866ee0c27fa4+cc382822+ATbti8cT7ADb7E7ZYBIcglG7lJUsBqnGlm4UG/C/D6uy",
        "deployments": ["prod"],
        "entries": 300,
        "versions": 412,
        "recipients": ["age19lhnntjkmfwcv59j3pukfyc5juwlx9c5rkkqfkeyumay4tn5c3aqty95c0"],
    },
    wire.Backups: {"backups": [{"file": "prod-20261121T120000Z.srb", "size": 183_204, "finished_at": _AT}]},
    wire.RotateKeys: {"team": "data", "reason": "left the company: anna"},
    wire.RotatedKeys: {
        "keys": [{"team": "data", "number": 2, "id": "4b70" * 8, "replaced": "9c1e" * 8}],
        "job": _KEY_JOB,
    },
    wire.WrapKeys: {"reason": "a second key service"},
    wire.KeyRemains: {
        "key": "9c1e" * 8,
        "state": "deactivated",
        "versions": 0,
        "entries": 0,
        "registry": 0,
        "passwords": 1,
    },
    wire.DestroyKey: {"reason": "retired in spring"},
    wire.ChangeRow: _CHANGED,
    wire.ConfigView: {"settings": {"deployment": "prod", "chain": ["env", "vault", "native"]}},
    wire.ModeView: {"is_read_only": False, "log_level": "info"},
    wire.SealView: {
        "is_sealed": True,
        "is_by_hand": False,
        "takes_passphrase": False,
        "since": _AT,
        "retry_after": 12.5,
    },
    wire.SetSeal: {"reason": "a host was stolen"},
    wire.Unseal: {"passphrase": "correct horse battery staple"},
    wire.SetMode: {"is_read_only": True, "reason": "moving the store"},
}
