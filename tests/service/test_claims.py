"""For which run a room's reads are recorded: in this process, and at a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

import strongroom
from parts.oracle import records_in
from parts.server import serving
from strongroom.assembly import create_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action, Actor, Assurance, OwnerPolicy, Run, Scope
from strongroom.service.entries import Change

REF = Ref("variable", "region")
SAID = Run(Assurance.CLAIMED, "etl", "load", "r1", 3, 2, "main", "ti-1", "3f2a", "pay", "task")
RECORDED = {
    "dag_id": "etl",
    "task_id": "load",
    "run_id": "r1",
    "map_index": 3,
    "try_number": 2,
    "bundle": "main",
    "ti_id": "ti-1",
    "bundle_version": "3f2a",
    "team": "pay",
    "source": "task",
    "assurance": 0,
}


def runs_in(folder):
    return [
        record.run for record in records_in(folder) if record.action == "read" and record.name == "region"
    ]


def test_a_room_of_this_process_records_for_which_run_it_read(tmp_path):
    environ = {"HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)}
    settings = tmp_path / "strongroom.toml"
    settings.touch(mode=0o600)
    settings.write_text('chain = ["native"]\n[cache]\nttl = 0\n')
    with create_room(settings, environ=environ) as room:
        room.entries.write(Change(ref=REF, secret=Secret("eu")))
        now = [None]
        room.lookup.claim_by(lambda: now[0])
        for now[0] in (None, SAID, SAID._replace(dag_id="other")):
            assert room.lookup.find(REF).secret.reveal() == "eu"
    found = runs_in(next(tmp_path.rglob("audit")))[-3:]
    assert found == [None, RECORDED, {**RECORDED, "dag_id": "other"}]


def test_a_server_is_told_for_which_run_each_read_is(tmp_path):
    with serving(tmp_path) as server:
        scope = Scope(actions=("read", "write", "describe", "list"))
        environ = {
            "STRONGROOM_URL": server.address,
            "STRONGROOM_TOKEN": server.token("ci", "admin", scope=scope),
        }
        with strongroom.open_room(environ=environ) as room:
            room.entries.write(Change(ref=REF, secret=Secret("eu")))
            room.lookup.find(REF)
            now = [SAID]
            room.lookup.claim_by(lambda: now[0])
            assert room.lookup.find(REF).secret.reveal() == "eu"
            now[0] = None
            room.lookup.find(REF)
    found = [run for folder in tmp_path.rglob("audit") for run in runs_in(folder)]
    assert RECORDED in found
    assert None in found


@pytest.mark.parametrize("run", [None, SAID])
def test_the_owner_is_himself_in_whatever_run_he_says_he_is(run):

    owner = Actor("local:1", Assurance.HOST_USER)
    policy = OwnerPolicy(owner)
    assert policy.decide(replace(owner, run=run), Action.READ, REF).is_allowed
    assert not policy.decide(Actor("local:2", Assurance.HOST_USER, run=run), Action.READ, REF).is_allowed
