"""
A server whose key is not to be had: it begins sealed, says so, opens by itself or when somebody asks, and
goes on with the keys it has while a key service is away. Rows F14 and F13 (KMS) of the faults.
"""

from __future__ import annotations

import io
import threading
from contextlib import closing, contextmanager

import pytest

from parts.homes import by_hand
from parts.homes import home as database
from parts.openbao import Dev, until
from parts.server import Running
from strongroom import assembly
from strongroom.errors import StrongroomError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.server.app import make_app
from strongroom.server.logs import Journal
from strongroom.server.serve import Server, recorders, tell_of_seal, uses_of
from strongroom.service.entries import Change
from strongroom.settings import load

REGION = {"refs": [{"kind": "variable", "name": "region"}]}
PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def a_vault():
    """A server of these tests' own: they seal it."""
    server = Dev()
    yield server
    server.stop()


@pytest.fixture
def vault(a_vault):
    a_vault.api("POST", "sys/mounts/transit", {"type": "transit"})
    yield a_vault
    if a_vault.health() == 503:
        a_vault.unseal()
    a_vault.api("DELETE", "sys/mounts/transit")


class Home:
    """A folder with settings, and a store that its wrappers opened once."""

    def __init__(self, folder, wrappers, more=""):
        self.folder = folder
        self.environ = {"HOME": str(folder), "STRONGROOM_HOME": str(folder)}
        self.file = folder / "strongroom.toml"
        self.write(wrappers, more)

    def write(self, wrappers, more="", store=""):
        self.file.touch(mode=0o600)
        self.file.write_text(f'chain = ["native"]\n[store]\nwrappers = [{wrappers}]\n{store}\n{more}')
        self.environ |= {"STRONGROOM_CONFIG": str(self.file), "STRONGROOM__SERVER__PORT": "0"}

    def make(self, ask=None):
        with assembly.create_room(self.file, environ=self.environ, passphrase=ask) as room:
            room.entries.write(Change(ref=Ref("variable", "region"), secret=Secret("eu")))
            return room.access.tokens.issue("ci", roles=[Role("admin")]).token.reveal()

    @contextmanager
    def serving(self, ask=None):
        found = load(self.file, environ=self.environ)
        lines = io.StringIO()
        journal = Journal("info", stream=lines)
        house = assembly.open_house(
            self.file,
            environ=self.environ,
            passphrase=ask,
            recorder=recorders(journal, self.environ),
            uses=uses_of,
            may_wait=True,
        )
        ready = threading.Event()
        try:
            house.seals.watch(lambda notice: tell_of_seal(journal, notice))
            house.start()
            app = make_app(house, found.server, journal=journal)
            server = Server(house, found.server, journal=journal, app=app, on_ready=lambda _: ready.set())
            thread = threading.Thread(target=server.run_until_told, daemon=True)
            thread.start()
            assert ready.wait(20)
            try:
                yield Running(server, house, lines)
            finally:
                server.should_exit = True
                thread.join(20)
        finally:
            house.close()
            journal.close()

    def records(self):
        with closing(assembly.open_audit(load(self.file, environ=self.environ))) as trail:
            return [(one.actor, one.outcome, one.reason) for one in trail.tail(50)]


def transit(server, key="strongroom"):
    return f'{{ kind = "transit", url = "{server.url}", key = "{key}", token = {{ file = "token" }} }}'


@pytest.fixture
def home(tmp_path, vault):
    vault.api("POST", "transit/keys/strongroom", {})
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(vault.root)
    return Home(tmp_path, transit(vault))


def is_sealed(server):
    return "default" in server.house.seals.names


def test_a_server_begins_sealed_while_its_key_service_gives_no_answer_and_opens_by_itself(home, vault):
    token = home.make()
    vault.seal()
    with home.serving() as server:
        answer = server.ask("POST", "/v1/read", REGION, token=token)
        assert (answer.status, answer.code) == (503, "sealed")
        assert server.ask("GET", "/v1/seal").json()["is_sealed"] is True
        assert int(answer.headers["retry-after"]) >= 1
        assert server.ask("GET", "/health/ready").json() == {"status": "sealed"}
        assert server.ask("GET", "/health/live").status == 200
        assert 'strongroom_sealed{deployment="default"} 1' in server.ask("GET", "/metrics").body.decode()
        vault.unseal()
        until(lambda: not is_sealed(server), what="the server to open")
        answer = server.ask("POST", "/v1/read", REGION, token=token)
        assert answer.json()["results"][0]["value"] == "eu"
        assert server.ask("GET", "/health/ready").json() == {"status": "ready"}
        assert 'strongroom_sealed{deployment="default"} 0' in server.ask("GET", "/metrics").body.decode()


def test_a_server_that_is_open_goes_on_while_its_key_service_is_away(home, vault):
    token = home.make()
    with home.serving() as server:
        vault.seal()
        until(lambda: vault.health() == 503, what="the key service to be sealed")
        answer = server.ask("PUT", "/v1/entries/variable/more", {"value": "x"}, token=token)
        assert answer.status in (200, 201)
        server.house.deployment().cache.clear()
        answer = server.ask("POST", "/v1/read", REGION, token=token)
        assert answer.json()["results"][0]["value"] == "eu"


def test_keys_are_kept_no_longer_than_is_said_without_a_key_service_and_it_opens_again(home, vault):
    token = home.make()
    home.write(transit(vault), store="keep_keys_seconds = 2")
    with home.serving() as server:
        vault.seal()
        until(lambda: is_sealed(server), what="the server to be sealed")
        answer = server.ask("POST", "/v1/read", REGION, token=token)
        assert (answer.status, answer.code) == (503, "sealed")
        assert server.logged(lambda line: line["event"].startswith("no outer key"))
        vault.unseal()
        until(lambda: not is_sealed(server), what="the server to open")
        assert server.ask("POST", "/v1/read", REGION, token=token).status == 200
    said = [reason for actor, _, reason in home.records() if actor == "strongroom:unseal"]
    assert any(reason.startswith("sealed: for ") for reason in said)
    assert any(reason.startswith("unsealed by itself after ") for reason in said)


@pytest.mark.parametrize("trouble", ["another key", "no key", "no rights", "too old"])
def test_a_wrong_or_missing_key_leaves_it_sealed_and_makes_none(home, vault, trouble):
    token = home.make()
    if trouble == "another key":
        vault.api("POST", "transit/keys/other", {})
        home.write(transit(vault, "other"))
    elif trouble == "no key":
        home.write(transit(vault, "nowhere"))
    elif trouble == "no rights":
        (home.folder / "token").write_text(vault.token())
    else:
        vault.api("POST", "transit/keys/strongroom/rotate")
        vault.api("POST", "transit/keys/strongroom/config", {"min_decryption_version": 2})
    before = vault.api("LIST", "transit/keys")["data"]["keys"]
    with home.serving() as server:
        answer = server.ask("POST", "/v1/read", REGION, token=token)
        assert (answer.status, answer.code) == (503, "sealed")
        line = server.logged(lambda line: line["event"] == "a deployment is sealed")
        assert "the key transit/keys/" in line["why"]
        assert server.ask("POST", "/v1/unseal", {}).status == 503
        if trouble == "too old":
            vault.api("POST", "transit/keys/strongroom/config", {"min_decryption_version": 1})
            until(lambda: not is_sealed(server), what="the server to open")
    assert vault.api("LIST", "transit/keys")["data"]["keys"] == before


def test_any_of_several_wrappers_opens(tmp_path, vault):
    vault.api("POST", "transit/keys/strongroom", {})
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(vault.root)
    both = f'{transit(vault)}, {{ kind = "file", path = "outer.key" }}'
    home = Home(tmp_path, both)
    token = home.make()
    vault.seal()
    with home.serving() as server:
        assert server.ask("POST", "/v1/read", REGION, token=token).status == 200
    vault.unseal()
    (tmp_path / "outer.key").rename(tmp_path / "lost")
    with home.serving() as server:
        assert server.ask("POST", "/v1/read", REGION, token=token).status == 200
    vault.seal()
    with home.serving() as server:
        assert server.ask("POST", "/v1/read", REGION, token=token).code == "sealed"
        line = server.logged(lambda line: line["event"] == "a deployment is sealed")
        assert "is missing" in line["why"]
        assert "the wrapper transit is sealed" in line["why"]


# --- by hand -----------------------------------------------------------------------------------------


@pytest.fixture
def locked(tmp_path):
    """A home whose key is a passphrase that is typed."""
    home = Home(tmp_path, '{ kind = "passphrase" }')
    home.token = home.make(lambda: Secret(PASSPHRASE))
    return home


def unseal(server, passphrase=None, **more):
    body = {} if passphrase is None else {"passphrase": passphrase}
    return server.ask("POST", "/v1/unseal", body, **more)


def test_a_passphrase_opens_it_and_a_wrong_one_makes_its_source_wait(locked):
    with locked.serving() as server:
        assert server.ask("POST", "/v1/read", REGION, token=locked.token).code == "sealed"
        assert server.ask("GET", "/v1/seal").json()["takes_passphrase"] is True
        answer = unseal(server, "not this one, but long")
        assert (answer.status, answer.code) == (401, "not_authenticated")
        until(lambda: unseal(server, PASSPHRASE).status == 200, what="the wait to end")
        assert server.ask("POST", "/v1/read", REGION, token=locked.token).status == 200
        assert PASSPHRASE not in server.log
    told = [one for one in locked.records() if one[0] == "strongroom:unseal"]
    assert [outcome for _, outcome, _ in told] == ["denied", "done"]
    assert "1 wrong passphrases" in told[-1][2]


def test_whoever_administers_seals_it_and_it_stays_so(home, vault):
    token = home.make()
    with home.serving() as server:
        reader = server.token("reader", "viewer")
        assert server.ask("POST", "/v1/seal", {}, token=reader).status == 403
        assert server.ask("POST", "/v1/seal", {}).status == 401
        answer = server.ask("POST", "/v1/seal", {"reason": "a drill"}, token=token)
        assert answer.json()["is_by_hand"] is True
        assert answer.json().get("retry_after") is None
        assert server.ask("POST", "/v1/read", REGION, token=token).code == "sealed"
        # Its key is there all the time, which opens nothing by itself, nor for whoever asks.
        answer = unseal(server)
        assert (answer.status, answer.code) == (401, "not_authenticated")
        answer = unseal(server, headers={"Authorization": f"Bearer {reader}"})
        assert (answer.status, answer.code) == (403, "access_denied")
        assert is_sealed(server)
        until(
            lambda: unseal(server, headers={"Authorization": f"Bearer {token}"}).status == 200,
            what="the wait to end",
        )
        assert server.ask("POST", "/v1/read", REGION, token=token).status == 200
        assert server.ask("PUT", "/v1/entries/variable/more", {"value": "x"}, token=token).status in (
            200,
            201,
        )
    said = [one for one in home.records() if "seal" in one[2]]
    assert ("service:ci", "begun", "seal: a drill") in said
    assert any(actor == "service:ci" and reason.startswith("unsealed after") for actor, _, reason in said)


def test_the_owner_of_the_machine_opens_it_with_a_code(home, vault):
    token = home.make()
    with home.serving() as server:
        assert server.ask("POST", "/v1/seal", {}, token=token).status == 200
        with assembly.open_room(home.file, environ=home.environ) as room:
            code = room.access.login_link().reveal()
        assert server.ask("POST", "/v1/unseal", {"code": code}).status == 200
        assert server.ask("POST", "/v1/seal", {}, token=token).status == 200
        assert server.ask("POST", "/v1/unseal", {"code": code}).status == 401


def test_a_passphrase_for_what_takes_none_is_refused(home, vault):
    home.make()
    vault.seal()
    with home.serving() as server:
        answer = unseal(server, PASSPHRASE)
        assert (answer.status, answer.code) == (400, "invalid_input")


def test_a_store_that_never_had_a_key_is_not_waited_for(tmp_path):
    home = Home(tmp_path, '{ kind = "file", path = "outer.key" }')
    with pytest.raises(StrongroomError) as caught, home.serving():
        pass
    assert caught.value.code in ("sealed", "backend_config")


def test_one_deployment_is_sealed_and_another_of_the_same_server_is_served(tmp_path):
    more = (
        f'[deployments.staging]\nchain = ["native"]\n[deployments.staging.store]\npath = "{tmp_path}/s.db"\n'
    )
    home = Home(tmp_path, '{ kind = "file", path = "outer.key" }', more)
    token = home.make()
    with assembly.create_room(home.file, environ=home.environ, deployment="staging") as room:
        other = room.access.tokens.issue("ci", roles=[Role("admin")]).token.reveal()
    (tmp_path / "outer.key").rename(tmp_path / "away")
    with home.serving() as server:
        assert server.ask("POST", "/v1/read", REGION, token=token).code == "sealed"
        assert server.ask("GET", "/d/staging/v1/whoami", token=other).status == 200
        assert server.ask("POST", "/d/staging/v1/read", REGION, token=other).status == 200
        # The server is asked for what it can answer; the figures tell which it cannot.
        assert server.ask("GET", "/health/ready").status == 200
        assert server.ask("GET", "/d/nowhere/v1/whoami", token=other).status == 401
        assert server.ask("GET", "/d/nowhere/v1/seal").status == 401
        (tmp_path / "away").rename(tmp_path / "outer.key")
        assert unseal(server).status in (200, 429)
        until(lambda: not is_sealed(server), what="the server to open")
        assert server.ask("POST", "/v1/read", REGION, token=token).json()["results"][0]["value"] == "eu"


def test_followers_are_let_go_and_requests_under_way_end_well(tmp_path):
    home = Home(tmp_path, '{ kind = "file", path = "outer.key" }')
    token = home.make()
    seen = set()
    with home.serving() as server:
        ended = threading.Event()

        def ask():
            while not ended.is_set():
                answer = server.ask("POST", "/v1/read", REGION, token=token)
                if answer.status != 200:
                    seen.add((answer.status, answer.code))
                    continue
                (result,) = answer.json()["results"]
                seen.add((200, result.get("value", result["outcome"])))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        header = {"Authorization": f"Bearer {token}"}
        for _ in range(5):
            assert server.ask("POST", "/v1/seal", {}, token=token).status == 200
            until(lambda: unseal(server, headers=header).status == 200, what="it to open")
        ended.set()
        for thread in threads:
            thread.join()
    # Nobody is denied, nothing absent, and no answer is another value.
    assert (200, "eu") in seen
    assert {one for one in seen if one[0] == 200} <= {(200, "eu"), (200, "unavailable")}
    refused = {(503, "sealed"), (503, "backend_unavailable"), (429, "rate_limited")}
    assert {one for one in seen if one[0] != 200} <= refused


def test_a_store_of_a_database_that_is_sealed_leaves_no_session_there(tmp_path):
    home = Home(tmp_path, '{ kind = "file", path = "outer.key" }')
    place = database("postgresql", tmp_path)
    home.write('{ kind = "file", path = "outer.key" }', store=f'url = "{place}"')
    token = home.make()
    with by_hand(place) as hand, home.serving() as server:

        def sessions():
            asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
            return hand.execute(asked + "pg_backend_pid()").fetchone()[0]

        header = {"Authorization": f"Bearer {token}"}
        for _ in range(2):
            until(lambda: sessions() > 1, what="it to listen")
            assert server.ask("POST", "/v1/seal", {}, token=token).status == 200
            until(lambda: sessions() == 0, what="its sessions to end")
            until(lambda: unseal(server, headers=header).status == 200, what="it to open")
