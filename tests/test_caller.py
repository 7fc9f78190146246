"""What a client takes for an answer, what it never shows, and that it keeps nothing."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import ssl
import subprocess
import sys
import threading
import traceback
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

import strongroom
from parts.api import native as serving
from parts.certificates import Authority
from parts.proxy import CLOSE, RESET, Scripted, reply
from strongroom import errors, remote
from strongroom.caller import Client, Credential, ServerAddress, error_of
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotAuthenticatedError,
    NotFoundError,
    NotRecordedError,
    RateLimitedError,
    SettingsError,
    StrongroomError,
)
from strongroom.model.entry import MUST_BE_ABSENT, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action, Scope
from strongroom.remote import around, host, kept, listed, people, reads, recorded, ruled, tested
from strongroom.remote import keys as far_keys
from strongroom.service import (
    access,
    audit,
    backends,
    connection_tests,
    deployments,
    entries,
    inventory,
    keys,
    lookup,
    policies,
)
from strongroom.service.entries import Change
from strongroom.service.policies import approvals, grants
from strongroom.wire.access import WhoAmI
from strongroom.wire.failure import STATUS, members_of
from strongroom.wire.shape import Problem

CANARY = "srm_t_c4nary0000000000000000000000000000000000000000000"
VALUE = "v4lue-c4nary-91"
JSON = {"Content-Type": "application/json"}
REGION = Ref("variable", "region")
PATIENCE = 10.0
WHO = {
    "deployment": "default",
    "actor": "service:ci",
    "how": "token",
    "assurance": 1,
    "roles": [],
    "scope": None,
    "expires_at": None,
}


def said(status, body, headers=None):
    data = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    return reply(status, JSON | (headers or {}), data)


def problem(code, message="no", **more):
    return {"error": {"code": code, "message": message, **more}}


@contextmanager
def scripted(*answers):
    """A server that says *answers*, the last again and again, and a room of it; gives what was asked."""
    asked = []

    def say(request):
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    with Scripted(say) as server:
        environ = {"STRONGROOM_URL": server.url(), "STRONGROOM_TOKEN": CANARY}
        with remote.open_room(environ=environ) as room:
            yield room, asked


def found(value=VALUE, ref=REGION, **more):
    result = {"kind": ref.kind, "name": ref.name, "team": ref.team, "outcome": "found", "value": value}
    return {"results": [result | more]}


# --- what is an answer, and what is none ---------------------------------------------------------------


FOREIGN = [
    reply(200, {"Content-Type": "text/html"}, b"<html>welcome</html>"),
    said(200, {"results": []}),
    said(200, {"results": [{"kind": "variable"}]}),
    said(200, found(ref=Ref("variable", "other"))),
    said(200, found(ref=Ref("connection", "region"))),
    said(200, {"results": found()["results"] * 2}),
    said(200, [1, 2]),
    said(200, b"[" * 5000),
    said(200, b'{"results":[{"kind":"variable","name":"region","outcome":"perhaps"}]}'),
    reply(204),
    said(404, problem("not_found")),
    said(404, b"404 page not found"),
    reply(403, {"Content-Type": "text/html"}, b"<html>forbidden by the proxy</html>"),
    reply(401, {"Content-Type": "text/html"}, b"<html>who are you</html>"),
    reply(301, {"Location": "https://evil.example.com/v1/read"}),
    reply(307, {"Location": "/v1/elsewhere"}),
    reply(502, {"Content-Type": "text/html"}, b"<html>bad gateway</html>"),
    reply(503, {}, b""),
    said(500, problem("error")),
    said(599, problem("a_code_nobody_knows_here")),
    [CLOSE],
    [RESET],
    [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", CLOSE],
    b"not http at all\r\n\r\n",
]


@pytest.mark.parametrize("answer", FOREIGN, ids=range(len(FOREIGN)))
def test_what_is_no_answer_of_a_server_is_unavailable_and_never_absent(answer):
    with (
        scripted(answer) as (room, _),
        pytest.raises((BackendUnavailableError, BackendConfigError)) as caught,
    ):
        room.lookup.find(REGION)
    assert not isinstance(caught.value, NotFoundError)
    assert CANARY not in everything(caught.value)


def test_absent_is_only_what_the_server_says_of_that_name():
    with scripted(said(200, found(None, outcome="absent"))) as (room, _):
        assert room.lookup.find(REGION) is None
        with pytest.raises(NotFoundError, match="is in no backend"):
            room.lookup.entry(REGION)


def test_found_without_a_value_is_no_answer():
    with scripted(said(200, found(None))) as (room, _), pytest.raises(BackendUnavailableError):
        room.lookup.find(REGION)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("denied", AccessDeniedError),
        ("unavailable", BackendUnavailableError),
        ("invalid", MalformedEntryError),
    ],
)
def test_an_outcome_without_its_reason_is_still_that_outcome(outcome, kind):
    with scripted(said(200, found(None, outcome=outcome))) as (room, _), pytest.raises(kind):
        room.lookup.find(REGION)


def example_of(kind):
    evidence = {
        "AccessDeniedError": {"reason": "r"},
        "BackendUnavailableError": {"backend": "b", "retry_after": timedelta(seconds=3)},
        "RateLimitedError": {"retry_after": timedelta(seconds=3)},
        "MalformedEntryError": {"backend": "b", "ref": "r"},
        "NotRecordedError": {"folder": "f"},
    }
    return kind("message", hint="hint", **evidence.get(kind.__name__, {}))


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "StrongroomError"])
def test_every_error_of_a_server_comes_back_as_itself(name):
    kind = getattr(errors, name)
    told = msgspec.convert(members_of(example_of(kind)), Problem)
    back = error_of(told)
    # Wrong settings of a server are none of this machine's.
    assert type(back) is (BackendConfigError if kind is SettingsError else kind)
    if kind is NotRecordedError:  # names a folder of the server: that is for its log
        assert "folder" not in str(back)
        assert back.hint == "the log tells why"
    else:
        assert (str(back), back.hint) == ("message", "hint")
    if kind in (BackendUnavailableError, RateLimitedError):
        assert back.retry_after == timedelta(seconds=3)


def test_every_code_of_the_server_is_known():
    codes = {kind.code for kind in STATUS if kind is not StrongroomError}
    mean = {code: type(error_of(Problem(code=code, message=""))) for code in codes}
    unavailable = {code for code, kind in mean.items() if kind is BackendUnavailableError}
    assert unavailable == {"backend_unavailable", "request_timeout"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, AccessDeniedError),
        (409, ConflictError),
        (422, InvalidInputError),
        (404, BackendUnavailableError),
    ],
)
def test_a_code_of_a_newer_server_means_what_its_status_says(status, kind):
    with scripted(said(status, problem("newer_than_this"))) as (room, _), pytest.raises(kind):
        room.entries.describe(REGION)


def test_an_address_that_is_none_is_not_an_absent_entry():
    nowhere = said(404, problem("not_found", "there is nothing at this address"))
    with scripted(nowhere) as (room, _), pytest.raises(BackendConfigError, match="does not know what"):
        room.entries.describe(REGION)


def test_trouble_behind_the_server_does_not_close_the_way_to_it():
    answers = [said(503, problem("backend_unavailable"))] * 8 + [said(200, WHO)]
    with scripted(*answers) as (room, asked):
        for _ in range(8):
            with pytest.raises(BackendUnavailableError):
                room.entries.describe(REGION)
        assert room.access.whoami().actor == "service:ci"
        assert len(asked) == 9


ROW = {
    "kind": "variable", "name": "region", "team": None, "backend": "native", "shadowed": [],
    "shadowed_by": None,
    "version": "1", "changed_at": None, "description": None, "tags": [], "owner": None, "conn_type": None,
    "remind_at": None, "not_after": None, "expires_at": None, "references": False, "is_deleted": False,
    "state": "ok", "problem": "",
}  # fmt: skip
VIEW = ROW | {"read_at": "2026-11-21T12:00:00Z", "size": 3, "connection": None, "overlay": {}}
SEEN = {"kind": "variable", "name": "other", "team": None, "backend": "native", "version": "1"}


def listing(*rows, cursor=None):
    return {"entries": list(rows), "cursor": cursor, "troubles": [], "not_listable": []}


def nested(depth):
    told = dict.fromkeys(("team", "backend", "version", "remembered")) | {
        "kind": "variable", "name": "region", "outcome": "found", "reason": "", "shadows": [], "policies": [],
        "steps": [], "not_asked": [],
    }  # fmt: skip
    return told | {"references": [nested(depth - 1)] if depth else []}


@pytest.mark.parametrize(
    ("answer", "ask"),
    [
        (VIEW | {"name": "other"}, lambda room: room.entries.describe(REGION)),
        (VIEW | {"kind": "connection"}, lambda room: room.entries.describe(REGION)),
        (VIEW | {"team": "data"}, lambda room: room.entries.describe(REGION)),
        (SEEN | {"value": VALUE, "connection": None}, lambda room: room.entries.reveal(REGION, reason="why")),
        (VIEW | {"name": "../x"}, lambda room: room.entries.describe(REGION)),
        (listing(ROW | {"name": "a//b"}), lambda room: room.inventory.page()),
        (listing(ROW, cursor="again"), lambda room: room.inventory.page()),
        (listing(ROW, ROW | {"name": "a"}), lambda room: room.inventory.page()),
        (nested(60), lambda room: room.lookup.explain(REGION)),
    ],
)
def test_an_answer_that_cannot_be_is_unavailable(answer, ask):
    with scripted(said(200, answer)) as (room, _), pytest.raises(BackendUnavailableError) as caught:
        ask(room)
    assert VALUE not in everything(caught.value)


# --- what never shows -----------------------------------------------------------------------------------


def everything(error):
    return "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error.__context__)


def test_RT22_a_token_in_a_servers_words_is_not_shown():
    answer = said(403, problem("access_denied", f"no {CANARY}\x1b[2J\nfor you" + "x" * 5000, hint=CANARY))
    with scripted(answer) as (room, _), pytest.raises(AccessDeniedError) as caught:
        room.entries.describe(REGION)
    assert "c4nary" not in str(caught.value) + str(caught.value.hint) + caught.value.reason
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) <= 1000


@pytest.mark.parametrize("answer", FOREIGN, ids=range(len(FOREIGN)))
def test_RT22_no_frame_log_or_repr_holds_token_or_value(answer):
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger("strongroom").addHandler(handler)
    try:
        with scripted(answer) as (room, _), pytest.raises(StrongroomError) as caught:
            room.entries.write(Change(ref=REGION, secret=Secret(VALUE)))
    finally:
        logging.getLogger("strongroom").removeHandler(handler)
    shown = log.getvalue() + everything(caught.value)
    frame = caught.value.__traceback__
    while frame is not None:
        if "/src/strongroom/" in frame.tb_frame.f_code.co_filename:
            shown += repr(frame.tb_frame.f_locals)
        frame = frame.tb_next
    assert CANARY not in shown
    assert VALUE not in shown


def test_a_redirect_takes_no_token_along():
    with Scripted(lambda _: said(200, WHO)) as elsewhere:
        target = reply(307, {"Location": elsewhere.url() + "/v1/whoami"})
        with scripted(target) as (room, asked), pytest.raises(BackendUnavailableError):
            room.access.whoami()
        assert len(asked) == 1
        assert b"Bearer " + CANARY.encode() in asked[0]


# --- tokens ---------------------------------------------------------------------------------------------


def test_a_token_file_that_was_renewed_is_used_at_once(tmp_path):
    file = tmp_path / "token"
    file.write_text("old\n")
    file.chmod(0o600)
    asked = []

    def say(request):
        asked.append(request)
        if b"Bearer new" in request:
            return said(200, WHO)
        file.write_text("new\n")
        return said(401, problem("not_authenticated"))

    with Scripted(say) as server:
        client = Client(ServerAddress(server.url()), Credential(file=file))
        assert client.get("/whoami", WhoAmI).actor == "service:ci"
        client.close()
    assert len(asked) == 2


def test_a_token_that_is_refused_is_asked_with_once(tmp_path):
    with scripted(said(401, problem("not_authenticated"))) as (room, asked):
        with pytest.raises(NotAuthenticatedError) as caught:
            room.lookup.find(REGION)
        assert len(asked) == 1
    assert "STRONGROOM_TOKEN" in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_token_file_that_others_may_read_is_refused(mode, tmp_path):
    file = tmp_path / "token"
    file.write_text("t")
    file.chmod(mode)
    client = Client(ServerAddress("http://127.0.0.1:1"), Credential(file=file))
    with pytest.raises(SettingsError, match="may be read or changed by others"):
        client.get("/whoami", WhoAmI)


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "http://10.0.0.1", "http://127.0.0.1.example.com", "http://localhost.example.com"],
)
def test_plain_http_goes_to_this_machine_alone(url):
    with pytest.raises(SettingsError, match="http to another machine"):
        Client(ServerAddress(url))
    Client(ServerAddress(url, allows_plain_http=True)).close()


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.9:1", "http://[::1]:1", "https://h"])
def test_loopback_and_https_need_no_word(url):
    Client(ServerAddress(url)).close()


# --- changes --------------------------------------------------------------------------------------------


def test_a_change_that_got_no_answer_is_sent_again_with_the_same_key():
    written = {"kind": "variable", "name": "region", "team": None, "backend": "native", "version": "1"}
    with scripted(said(200, WHO), [CLOSE], said(200, written)) as (room, asked):
        room.access.whoami()
        room.entries.write(Change(ref=REGION, secret=Secret(VALUE)))
    keys = [re.search(rb"Idempotency-Key: (\w+)", request)[1] for request in asked[1:]]
    assert len(keys) == 2
    assert keys[0] == keys[1]


def test_what_takes_away_is_not_asked_twice():
    with scripted(said(200, WHO), [CLOSE]) as (room, asked):
        room.access.whoami()
        for take_away in (
            lambda: room.access.tokens.revoke("ci"),
            lambda: room.access.people.delete("anna"),
            lambda: room.access.roles.revoke("op", "person:anna"),
            lambda: room.access.sessions.revoke("0" * 16),
        ):
            before = len(asked)
            with pytest.raises(BackendUnavailableError):
                take_away()
            assert len(asked) == before + 1


@pytest.mark.parametrize(
    ("expected", "header"),
    [("7", b'If-Match: "7"'), (MUST_BE_ABSENT, b"If-None-Match: *"), ('a"b%', b'If-Match: "a%22b%25"')],
)
def test_what_must_stand_is_said_in_a_header(expected, header):
    with scripted(said(412, problem("precondition_failed"))) as (room, asked), pytest.raises(ConflictError):
        room.entries.write(Change(ref=REGION, secret=Secret("x"), expected_version=expected))
    assert header in asked[0]


def test_a_name_is_escaped_into_its_path():
    with scripted(said(404, problem("not_found"))) as (room, asked), pytest.raises(NotFoundError):
        room.entries.describe(Ref("variable", "a b/c#d?e%f:é", "data"))
    assert b"GET /v1/entries/variable/a%20b/c%23d%3Fe%25f%3A%C3%A9?team=data HTTP/1.1" in asked[0]


# --- a noun for a noun ----------------------------------------------------------------------------------

NOUNS = [
    (lookup.Lookup, reads.RemoteLookup),
    (lookup.Lookup, host.HostLookup),
    (entries.Entries, kept.RemoteEntries),
    (inventory.Inventory, listed.RemoteInventory),
    (backends.Backends, around.RemoteBackends),
    (keys.Keys, far_keys.RemoteKeys),
    (deployments.Deployments, around.RemoteDeployments),
    (connection_tests.ConnectionTests, tested.RemoteConnectionTests),
    (audit.AuditTrail, recorded.RemoteAudit),
    (access.Access, people.RemoteAccess),
    (access.People, people._People),
    (access.Tokens, people._Tokens),
    (access.Services, people._Services),
    (access.Agents, people._Agents),
    (access.Roles, people._Roles),
    (access.Sessions, people._Sessions),
    (access.BreakGlass, people._BreakGlass),
    (policies.Policies, ruled.RemotePolicies),
    (grants.Grants, ruled._Grants),
    (approvals.Approvals, ruled._Approvals),
]
# Made of what is laid anew; or refused with a word of where it is done, for what they would look into.
INHERITED = {
    "Lookup": {"entry", "variable", "variable_entry", "json_of", "avariable_entry", "parsed"},
    "Inventory": {"page"},
    "AuditTrail": {"tail", "readers"}
    | {"sign", "hold", "lift", "retain", "known_keys", "prove", "proof", "checkpoints"},
    "Access": {"as_actor", "memory", "is_fresh", "is_prompt", "is_silent"},  # of the server's own process
    "Policies": {"as_actor", "is_fresh"},
    "Grants": {"write"},
}


@pytest.mark.parametrize(("local", "far"), NOUNS, ids=lambda kind: kind.__name__)
def test_every_verb_of_a_noun_is_laid_anew_for_a_server(local, far):
    verbs = {
        name for name, what in vars(local).items() if not name.startswith("_") and not isinstance(what, type)
    }
    own = {name for kind in far.__mro__[: far.__mro__.index(local)] for name in vars(kind)}
    assert verbs - own == INHERITED.get(local.__name__, set())


# --- with a real server -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


def environ_of(server, name, role="admin", **more):
    scope = Scope(actions=tuple(action.value for action in Action))
    token = server.token(name, role, scope=scope)
    return {"STRONGROOM_URL": server.address, "STRONGROOM_TOKEN": token, **more}


def put(room, name, text=VALUE, kind="variable", **more):
    return room.entries.write(Change(ref=Ref(kind, name), secret=Secret(text), **more))


def test_the_python_face_asks_the_server(server):
    environ = environ_of(server, "face")
    with strongroom.open_room(environ=environ) as room:
        put(room, "face_region", "eu")
        put(room, "face_json", '{"a": 1}')
        put(room, "face_db", "postgres://svc:pw@db:5432/orders", "connection")
        with strongroom.use_room(room):
            assert strongroom.variable("face_region") == "eu"
            assert strongroom.variable("face_{what}", what="region") == "eu"
            assert strongroom.variable("face_json", json=True) == {"a": 1}
            assert strongroom.variable("face_none", default=7) == 7
            assert strongroom.connection("face_db").password == Secret("pw")
            with pytest.raises(NotFoundError):
                strongroom.variable("face_none")

            async def both():
                return await asyncio.gather(
                    strongroom.avariable("face_region"),
                    strongroom.avariable("face_none", default=None),
                    strongroom.aconnection("face_db"),
                )

            assert asyncio.run(both())[:2] == ["eu", None]


def test_no_value_is_kept_and_each_use_is_the_servers_to_decide(server):
    environ = environ_of(server, "keeps-nothing")
    with strongroom.open_room(environ=environ) as room:
        put(room, "kept_nowhere")
        assert room.lookup.variable("kept_nowhere") == VALUE
        assert room.lookup.peek(("variable", "kept_nowhere", None)) is None
        assert VALUE not in repr(vars(room)) + repr(vars(room.lookup))
        server.house.deployment(None).root.access.tokens.revoke("keeps-nothing")
        with pytest.raises(NotAuthenticatedError):
            room.lookup.variable("kept_nowhere")


def test_everything_that_stands_beside_a_value_comes_back(server):
    with strongroom.open_room(environ=environ_of(server, "facts")) as room:
        facts = Metadata(description="d", tags=("a", "b"), owner="o")
        put(room, "with_facts", metadata=facts)
        assert room.entries.describe(Ref("variable", "with_facts")).metadata == facts
        put(room, "with_facts", "other")
        assert room.entries.describe(Ref("variable", "with_facts")).metadata == facts
        room.entries.write(
            Change(ref=Ref("variable", "with_facts"), secret=None, metadata=Metadata(owner="p"))
        )
        assert room.lookup.variable("with_facts") == "other"
        assert room.entries.describe(Ref("variable", "with_facts")).metadata == Metadata(owner="p")


def test_hidden_secrets_stay_where_a_form_still_hides_them(server):
    with strongroom.open_room(environ=environ_of(server, "hides")) as room:
        put(room, "form", "postgres://svc:pw@db:5432/orders?token=t0", "connection")
        seen = room.entries.describe(Ref("connection", "form"))
        assert seen.connection.password == Secret("***")
        text = seen.connection.replace(host="db2").format("json").reveal()
        put(room, "form", text, "connection", expected_version=seen.version)
        after = room.lookup.connection("form")
        assert (after.host, after.password) == ("db2", Secret("pw"))
        put(room, "stars", "***")
        assert room.lookup.variable("stars") == "***"
        with pytest.raises(ConflictError):
            put(room, "form", text, "connection", expected_version=seen.version)


def test_a_listing_of_many_goes_on_where_a_page_ended(server):
    with strongroom.open_room(environ=environ_of(server, "lists")) as room:
        changes = [
            Change(ref=Ref("variable", f"many{number:04}"), secret=Secret("x")) for number in range(1203)
        ]
        assert len(room.entries.write_many(changes)) == 1203
        names, after = [], ""
        while page := room.entries.list("variable", prefix="many", after=after, limit=500):
            names += [row.ref.name for row in page]
            after = names[-1]
        assert names == [change.ref.name for change in changes]
        assert (
            room.entries.list("variable", prefix="many", after="many1200", limit=9)[0].ref.name == "many1201"
        )
        pages = list(room.inventory.pages("variable", team=None, size=400))
        assert [len(page) for page in pages[:-1]] == [400] * (len(pages) - 1)


def test_what_was_deleted_is_listed(server):
    with strongroom.open_room(environ=environ_of(server, "deletes")) as room:
        for name in ("gone1", "gone2", "gone3"):
            put(room, name)
            room.entries.delete(Ref("variable", name))
        listed = room.inventory.deleted("variable", prefix="gone", limit=2)
        assert [row.ref.name for row in listed] == ["gone1", "gone2"]
        rest = room.inventory.deleted("variable", prefix="gone", after=listed[-1].ref)
        assert [row.ref.name for row in rest] == ["gone3"]


def test_a_batch_that_conflicts_writes_nothing(server):
    with strongroom.open_room(environ=environ_of(server, "batch")) as room:
        put(room, "batch2")
        changes = [
            Change(ref=Ref("variable", f"batch{number}"), secret=Secret("x"), expected_version=MUST_BE_ABSENT)
            for number in range(4)
        ]
        with pytest.raises(ConflictError):
            room.entries.write_many(changes)
        assert room.lookup.find(Ref("variable", "batch1")) is None


def test_what_is_done_only_beside_the_store_says_so(server):
    with strongroom.open_room(environ=environ_of(server, "far")) as room:
        for act in (
            lambda: room.reader,
            lambda: room.changes,
            lambda: room.access.login_link("anna"),
            room.access.problems,
            lambda: room.as_actor(server.house.deployment(None).root.actor),
        ):
            with pytest.raises(SettingsError, match="only on the machine that has the store"):
                act()


def test_following_reads_when_the_version_is_another(server):
    with strongroom.open_room(environ=environ_of(server, "follows")) as room:
        put(room, "followed", "one")
        changed = threading.Event()
        ref = Ref("variable", "followed")
        with room.lookup.follow(ref, lambda _: changed.set(), interval=timedelta(milliseconds=20)) as follow:
            assert follow.current.secret == Secret("one")
            put(room, "followed", "two")
            assert changed.wait(PATIENCE)
            assert follow.current.secret == Secret("two")


def test_a_forked_child_asks_on_connections_of_its_own(server):
    with strongroom.open_room(environ=environ_of(server, "forks")) as room:
        put(room, "forked", "v")
        assert room.lookup.variable("forked") == "v"
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                good = all(room.lookup.variable("forked") == "v" for _ in range(20))
                os._exit(0 if good else 1)
            children.append(child)
        assert all(room.lookup.variable("forked") == "v" for _ in range(20))
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


def test_many_threads_may_ask_at_once(server):
    with strongroom.open_room(environ=environ_of(server, "threads")) as room:
        put(room, "shared", "v")
        wrong = []

        def ask():
            wrong.extend(text for _ in range(20) if (text := room.lookup.variable("shared")) != "v")

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert wrong == []


def test_another_deployment_is_asked_by_its_name(tmp_path):
    settings = 'deployment = "prod"\n[deployments.staging]\n'
    with serving(tmp_path, settings) as server:
        scope = Scope(actions=("read", "write", "describe", "list"))
        tokens = {
            name: server.token("ci", "admin", deployment=name, scope=scope) for name in ("prod", "staging")
        }
        for name, token in tokens.items():
            environ = {"STRONGROOM_URL": server.address, "STRONGROOM_TOKEN": token}
            with strongroom.open_room(environ=environ, deployment=name) as room:
                put(room, "where", name)
        for name, token in tokens.items():
            environ = {
                "STRONGROOM_URL": server.address,
                "STRONGROOM_TOKEN": token,
                "STRONGROOM_DEPLOYMENT": name,
            }
            with strongroom.open_room(environ=environ) as room:
                assert room.lookup.variable("where") == name
        environ = {"STRONGROOM_URL": server.address, "STRONGROOM_TOKEN": tokens["prod"]}
        with (
            strongroom.open_room(environ=environ, deployment="staging") as room,
            pytest.raises(NotAuthenticatedError),
        ):
            room.lookup.variable("where")
        with (
            strongroom.open_room(environ=environ, deployment="nowhere") as room,
            pytest.raises(NotAuthenticatedError),
        ):
            room.lookup.variable("where")


def test_the_server_has_the_words_that_a_wrong_address_is_known_by(server):
    environ = environ_of(server, "elsewhere")
    environ["STRONGROOM_URL"] += "/below"
    with strongroom.open_room(environ=environ) as room:
        for ask in (room.lookup.variable, lambda name: room.entries.describe(Ref("variable", name))):
            with pytest.raises(BackendConfigError, match="does not know what was asked"):
                ask("x")


def test_a_certificate_that_cannot_be_checked_says_which_setting_names_its_authority(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Scripted(lambda _: said(200, WHO), tls=context) as server:
        environ = {"STRONGROOM_URL": server.url("https"), "STRONGROOM_TOKEN": CANARY}
        with strongroom.open_room(environ=environ) as room, pytest.raises(BackendUnavailableError) as caught:
            room.access.whoami()
        assert "is signed by an authority that is not trusted here" in str(caught.value)
        assert caught.value.hint == (
            "set STRONGROOM_CA, or --ca of strongroom login, to the PEM file of the authority that signed it"
        )
        for setting, words in (
            ("--url", "set --ca to the PEM file"),
            ("agent.server.url", "set agent.server.ca to the PEM file"),
            ("the enrolment of this agent", "set --ca of strongroom agent enrol --again to the PEM file"),
        ):
            with pytest.raises(BackendUnavailableError) as caught:
                Client(ServerAddress(server.url("https"), setting=setting)).get("/whoami", WhoAmI)
            assert caught.value.hint.startswith(words)
        with strongroom.open_room(environ=environ | {"STRONGROOM_CA": str(authority.file)}) as room:
            assert room.access.whoami().actor == "service:ci"
        with (
            strongroom.open_room(
                environ=environ
                | {
                    "STRONGROOM_CA": str(authority.file),
                    "STRONGROOM_URL": server.url("https").replace("127.0.0.1", "localhost"),
                }
            ) as room,
            pytest.raises(BackendUnavailableError, match="certificate that is for another host name"),
        ):
            room.access.whoami()


def test_a_process_that_asks_a_server_loads_no_store(server):
    source = str(Path(strongroom.__file__).parent.parent)
    script = (
        "import sys, strongroom\n"
        "try: strongroom.variable('nothing_here')\n"
        "except strongroom.NotFoundError: pass\n"
        "print(*[name for name in sys.modules if name.startswith(('sqlalchemy', 'cedarpy', "
        "'strongroom.store', "
        "'strongroom.barrier', 'strongroom.crypto', 'strongroom.assembly', 'strongroom.server'))])"
    )
    environ = environ_of(server, "light") | {"PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
