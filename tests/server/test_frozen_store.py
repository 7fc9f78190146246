"""A server whose database takes what it is sent and answers nothing: who asks waits, and nobody else."""

from __future__ import annotations

import threading

import pytest

from parts.bell import until
from parts.restartable import restartable
from parts.server import serving
from strongroom.errors import BackendUnavailableError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.store import postgres, postgres_session

REGION = {"refs": [{"kind": "variable", "name": "region"}]}
HANGS_MILLISECONDS = 20_000  # longer than anything here takes that does not wait for it


@pytest.fixture(scope="module")
def database():
    with restartable("postgresql") as database:
        yield database


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen")
    settings = (
        f'chain = ["native"]\n[store]\nurl = "{database.place}"\n'
        f'wrappers = [{{ kind = "file", path = "{folder}/key" }}]\n'
    )
    with serving(folder, settings) as server:
        entries = server.house.deployment().root.entries
        entries.write(Change(ref=Ref("variable", "region"), secret=Secret("eu")))
        yield server


def patience(monkeypatch, milliseconds):
    for module in (postgres, postgres_session):
        monkeypatch.setattr(module, "READ_MILLISECONDS", milliseconds)


def stale(registry):
    until(lambda: not registry.is_fresh)


def test_nobody_else_waits_for_a_database_that_hangs(server, database, monkeypatch):
    token = server.token()
    registry = server.house.deployment().registry
    asked = [("GET", "/v1/whoami", None), ("POST", "/v1/read", REGION), ("GET", "/v1/entries", None)] * 2
    for one in asked:
        assert server.ask(*one, token=token).status == 200
    patience(monkeypatch, HANGS_MILLISECONDS)
    answered = []

    def ask(one):
        answered.append(server.ask(*one, token=token).status)

    stream = server.connect()
    stream.request("GET", "/v1/changes", headers={"Authorization": f"Bearer {token}"})
    assert stream.getresponse().status == 200
    threads = [threading.Thread(target=ask, args=(one,)) for one in asked]
    with database.frozen():
        stale(registry)
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert server.ask("GET", "/health/live").status == 200
        assert answered == []
    for thread in threads:
        thread.join()
    assert answered == [200] * len(asked)
    stream.close()


def test_however_many_ask_a_silent_database_they_wait_for_one_question(server, database, monkeypatch):
    registry = server.house.deployment().registry
    patience(monkeypatch, 1000)
    questions, version, come = [], registry._store.data_version, threading.Barrier(8)

    def data_version():
        questions.append(threading.get_ident())
        return version()

    def look():
        come.wait()
        with pytest.raises(BackendUnavailableError):
            registry.look()
        told.append(True)

    told = []
    threads = [threading.Thread(target=look) for _ in range(8)]
    with database.frozen():
        stale(registry)
        monkeypatch.setattr(registry._store, "data_version", data_version)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        of_theirs = [one for one in questions if one in {thread.ident for thread in threads}]
    assert len(told) == 8
    assert len(of_theirs) <= 2  # one may have begun before the last of them came
