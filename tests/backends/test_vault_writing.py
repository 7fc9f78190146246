"""What is written to Vault, lent by it, wrapped by it and allowed by it, against a real OpenBao."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from itertools import combinations

import pytest

from parts.databases import wait_for
from parts.openbao_kv import Lending
from parts.proxy import Proxy
from strongroom.backend import Batched, Provisioning, Versioned, Writable
from strongroom.backends.vault import Vault, VaultOptions
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    ReadOnlyError,
)
from strongroom.model.connection import Connection
from strongroom.model.entry import MUST_BE_ABSENT, Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY
from strongroom.vendors.sessions import Sessions

URI = "postgres://u:p@db.example:5432/sales?sslmode=require"


def clock():
    return datetime.now(timezone.utc)


@pytest.fixture
def proxy(bao):
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield proxy


@pytest.fixture
def opened(bao):
    """Make a backend over a fresh mount as root, or with the options given."""
    made = []

    def make(version=2, *, url=None, token=None, sessions=None, **options):
        options = {"mount_point": None, **options} if "mount_point" in options else options
        options = {"mount_point": bao.mount(version), "kv_engine_version": version, **options}
        backend = Vault(
            "vault",
            VaultOptions(url=url or bao.url, token=Secret(token or bao.root), **options),
            clock,
            sessions,
        )
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()


def variable(name, team=None):
    return Ref("variable", name, team)


def connection(name):
    return Ref("connection", name)


def draft(ref, text, expected=None):
    return Draft(ref=ref, secret=Secret(text), expected_version=expected, author="ada")


def write(backend, ref, text, expected=None):
    return backend.write(draft(ref, text, expected))


def text(backend, ref):
    entry = backend.read(ref)
    return None if entry is None else entry.secret.reveal()


def held(bao, backend, path):
    """Give what stands in the engine itself."""
    version = backend.options.kv_engine_version
    door = "data/" if version == 2 else ""
    data = bao.api("GET", f"{backend.options.mount_point}/{door}{path}")["data"]
    return data["data"] if version == 2 else data


# --- shapes ------------------------------------------------------------------------------------------

JSON = '{"conn_type": "postgres", "host": "db.example", "extra": {"a": [1, true]}}'


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("shape", "given", "stands"),
    [
        ("given", URI, {"conn_uri": URI}),
        ("given", JSON, {"conn_uri": JSON}),
        ("uri", URI, {"conn_uri": URI}),
        ("json", JSON, {"conn_uri": JSON}),
        ("fields", JSON, {"conn_type": "postgres", "host": "db.example", "extra": {"a": [1, True]}}),
        (
            "fields",
            URI,
            {
                "conn_type": "postgres",
                "login": "u",
                "password": "p",
                "host": "db.example",
                "port": 5432,
                "schema": "sales",
                "extra": {"sslmode": "require"},
            },
        ),
    ],
)
def test_connection_is_written_in_its_shape_and_read_as_it_was(bao, opened, version, shape, given, stands):
    backend = opened(version, connection_shape=shape)
    write(backend, connection("db"), given)
    assert held(bao, backend, "connections/db") == stands
    assert Connection.parse(text(backend, connection("db"))) == Connection.parse(given)


def test_connection_that_a_uri_would_lose_something_of_is_refused_before_anything_is_sent(opened, proxy):
    backend = opened(url=proxy.url(), connection_shape="uri")
    with pytest.raises(InvalidInputError) as caught:
        write(backend, connection("db"), json.dumps({"conn_type": "http", "description": CANARY}))
    assert CANARY not in str(caught.value) + repr(vars(caught.value))
    with pytest.raises(InvalidInputError, match="is empty"):
        write(opened(), connection("db"), "")
    assert proxy.requests == 0


# --- comparing and setting ---------------------------------------------------------------------------


def test_of_many_who_write_over_the_same_version_one_wins(opened):
    backend = opened()
    first = write(backend, variable("v"), "0")

    def attempt(number):
        try:
            return write(backend, variable("v"), str(number), first)
        except ConflictError:
            return None

    with ThreadPoolExecutor(8) as pool:
        versions = [version for version in pool.map(attempt, range(8)) if version]
    assert len(versions) == 1
    assert backend.read(variable("v")).version == versions[0]


def test_write_over_a_version_that_was_deleted_conflicts(opened):
    backend = opened()
    version = write(backend, variable("v"), "x")
    backend.delete(variable("v"), author="ada")
    with pytest.raises(ConflictError) as caught:
        write(backend, variable("v"), "y", version)
    assert caught.value.current_version is None
    assert write(backend, variable("v"), "y", MUST_BE_ABSENT) == "2"


@pytest.mark.parametrize("expected", ["no-such", "0", "-1", "9" * 30, "1e0", "٣"])
def test_version_that_never_was_conflicts_and_is_not_found(opened, expected):
    backend = opened()
    write(backend, variable("v"), "x")
    with pytest.raises(ConflictError):
        write(backend, variable("v"), "y", expected)
    with pytest.raises(ConflictError):
        backend.delete(variable("v"), expected_version=expected, author="ada")
    with pytest.raises(NotFoundError):
        backend.read_version(variable("v"), expected)


def test_mount_that_insists_on_a_version_is_written_whatever_stands(bao, opened):
    backend = opened()
    bao.api("POST", f"{backend.options.mount_point}/config", {"cas_required": True})
    assert [write(backend, variable("v"), one) for one in "ab"] == ["1", "2"]
    assert write(backend, variable("w"), "x", MUST_BE_ABSENT) == "1"


def test_deleting_a_version_leaves_what_was_written_meanwhile(bao, opened, proxy):
    backend = opened(url=proxy.url())
    version = write(backend, variable("v"), "old")
    assert backend.delete(variable("v"), expected_version=version, author="ada")
    # As if written in between: that very version was deleted, and nothing after it.
    assert proxy.lines[-1] == f"POST /v1/{backend.options.mount_point}/delete/variables/v"
    write(backend, variable("v"), "new")
    assert text(backend, variable("v")) == "new"


def test_destroyed_version_is_told_and_cannot_be_brought_back(bao, opened):
    backend = opened()
    write(backend, variable("v"), "x")
    bao.api("POST", f"{backend.options.mount_point}/destroy/variables/v", {"versions": [1]})
    assert [(info.comment, info.is_current) for info in backend.history(variable("v"))] == [
        ("destroyed", False)
    ]
    with pytest.raises(NotFoundError, match="was destroyed"):
        backend.undelete(variable("v"), author="ada")
    assert backend.delete(variable("v"), author="ada") is False


def test_version_that_is_to_be_deleted_later_stands_until_then(bao, opened):
    backend = opened()
    mount = backend.options.mount_point
    bao.api("POST", f"{mount}/metadata/variables/v", {"delete_version_after": "1h"})
    version = write(backend, variable("v"), "x")
    assert write(backend, variable("v"), "y", version) == "2"
    assert backend.history(variable("v"))[0].is_current


def test_write_whose_answer_is_lost_is_made_once(opened, proxy):
    backend = opened(url=proxy.url(), timeout=timedelta(seconds=0.3))
    write(backend, variable("v"), "old")
    proxy.become("mute")
    with pytest.raises(BackendUnavailableError):
        write(backend, variable("v"), CANARY)
    proxy.become("pass")
    assert len(backend.history(variable("v"))) == 2


def test_value_larger_than_the_storage_holds_is_refused_by_its_limit(bao_raft):
    options = VaultOptions(
        url=bao_raft.url,
        token=Secret(bao_raft.root),
        mount_point=bao_raft.mount(),
        ca=bao_raft.ca,
        timeout=timedelta(seconds=30),  # it takes six megabytes in before it says no
    )
    backend = Vault("vault", options, clock)
    with pytest.raises(InvalidInputError, match="larger than the backend vault holds") as caught:
        write(backend, variable("v"), "\x01" * 1_000_000)
    assert caught.value.limit
    assert backend.read(variable("v")) is None
    backend.close()


# --- where it may be written -------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_name_leads_a_write_to_its_mount_and_to_no_other_engine(bao, opened, version):
    backend, mount = opened(version, mount_point=None, variables_path=""), bao.mount(version)
    write(backend, variable(f"{mount}/deep/v"), "x")
    assert text(backend, variable(f"{mount}/deep/v")) == "x"
    assert backend.delete(variable(f"{mount}/deep/v"), author="ada")
    before = bao.tokens()
    for name in ("auth/token/create", "sys/policies/acl/mine", "identity/entity", "cubbyhole/x", "nowhere/x"):
        with pytest.raises((BackendConfigError, AccessDeniedError)):
            write(backend, variable(name), "x")
        with pytest.raises((BackendConfigError, AccessDeniedError)):
            backend.delete(variable(name), author="ada")
    assert bao.tokens() == before


def test_what_stands_below_a_path_that_kinds_share_is_not_changed(bao, opened):
    backend = opened(global_secrets_path="common")
    mount = backend.options.mount_point
    bao.put(mount, "common/db", {"conn_uri": URI})
    write(backend, variable("db"), "x")
    with pytest.raises(ReadOnlyError, match="that kinds share"):
        backend.delete(variable("db"), author="ada")
    assert text(backend, connection("db")) == URI
    write(backend, variable("own"), "x")
    assert backend.delete(variable("own"), author="ada")


def test_secret_of_many_kinds_is_not_changed_and_the_longest_prefix_says_whose_a_path_is(bao, opened):
    backend = opened(connections_path="all#", variables_path="all#", config_path=False)
    bao.put(backend.options.mount_point, "all", {"db": URI})
    assert text(backend, connection("db")) == URI
    for deed in (
        lambda: write(backend, variable("db"), "x"),
        lambda: backend.delete(variable("db"), author="ada"),
    ):
        with pytest.raises(ReadOnlyError, match="that kinds share"):
            deed()
    assert text(backend, connection("db")) == URI
    own = opened(connections_path="", config_path="", variables_path="variables")
    write(own, variable("v"), "x")
    with pytest.raises(ReadOnlyError):
        write(own, connection("db"), URI)
    led = opened(mount_point=None, connections_path="c", config_path="c")
    with pytest.raises(ReadOnlyError):
        write(led, connection(f"{backend.options.mount_point}/db"), URI)


def test_write_to_the_other_version_of_the_engine_says_which(bao, opened):
    for real in (1, 2):
        backend = opened(3 - real, mount_point=bao.mount(real))
        with pytest.raises(BackendConfigError) as caught:
            write(backend, variable("v"), "x")
        assert caught.value.hint == f"set kv_engine_version = {real}"


@pytest.mark.parametrize(
    "name", ["data", "metadata", "undelete", "a#b", "a?version=1", "a%2Fb", "+", "*", "~"]
)
def test_words_of_the_engine_are_names_like_any(bao, opened, name):
    backend = opened()
    write(backend, variable(name), name)
    assert bao.api("LIST", f"{backend.options.mount_point}/metadata/variables")["data"]["keys"] == [name]
    assert text(backend, variable(name)) == name
    assert backend.delete(variable(name), author="ada")
    assert backend.undelete(variable(name), author="ada") == "1"


# --- one secret that holds many ----------------------------------------------------------------------


def test_secret_that_holds_many_is_fetched_once_and_listed_by_its_keys(bao, opened, proxy):
    backend = opened(url=proxy.url(), connections_path="airflow/connections#")
    mount = backend.options.mount_point
    bao.put(mount, "airflow/connections", {"a": URI, "b": {"conn_type": "http", "host": "h"}, "c": None})
    refs = [connection(name) for name in ("a", "b", "none", "c")]
    proxy.lines.clear()
    first, second, third, fourth = backend.read_many(refs)
    assert proxy.lines == [f"GET /v1/{mount}/data/airflow/connections"]
    assert (first.secret.reveal(), third) == (URI, None)
    assert Connection.parse(second.secret.reveal()).host == "h"
    assert isinstance(fourth, MalformedEntryError)
    assert [row.ref.name for row in backend.list("connection")] == ["a", "b", "c"]


def test_two_who_change_one_secret_lose_nothing(opened):
    backend = opened(variables_path="airflow#")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: write(backend, variable(f"v{number}"), str(number)), range(6)))
    assert [text(backend, variable(f"v{number}")) for number in range(6)] == list("012345")


def test_last_entry_of_a_secret_that_holds_many_can_be_deleted(bao, opened):
    for version in (1, 2):
        backend = opened(version, variables_path="airflow#")
        write(backend, variable("a"), "1")
        assert backend.delete(variable("a"), author="ada")
        assert backend.read(variable("a")) is None
        assert backend.list("variable") == []
        write(backend, variable("b"), "2")
        assert [row.ref.name for row in backend.list("variable")] == ["b"]


def test_undelete_in_a_secret_that_holds_many_leaves_the_others(opened):
    backend = opened(variables_path="airflow#")
    write(backend, variable("a"), "1")
    write(backend, variable("b"), "old")
    write(backend, variable("b"), "last")
    backend.delete(variable("b"), author="ada")
    write(backend, variable("a"), "2")
    with pytest.raises(ConflictError):
        backend.undelete(variable("a"), author="ada")
    version = backend.undelete(variable("b"), author="ada")
    assert backend.read(variable("b")).version == version
    assert (text(backend, variable("a")), text(backend, variable("b"))) == ("2", "last")
    with pytest.raises(NotFoundError):
        backend.undelete(variable("never"), author="ada")


# --- many at once ------------------------------------------------------------------------------------


def test_many_are_read_on_several_connections_each_with_its_own_refusal(bao, opened, proxy):
    mount = bao.mount()
    rules = f"""path "{mount}/data/variables/*" {{ capabilities = ["read"] }}
    path "{mount}/data/variables/closed" {{ capabilities = ["deny"] }}"""
    backend = opened(url=proxy.url(), token=bao.token(bao.policy(rules)), mount_point=mount)
    for number in range(40):
        bao.put(mount, f"variables/v{number}", {"value": str(number)})
    assert isinstance(backend, Batched)
    names = [*(f"v{number}" for number in range(40)), "closed", "none"]
    found = backend.read_many([variable(name) for name in names])
    assert [entry.secret.reveal() for entry in found[:40]] == [str(number) for number in range(40)]
    assert isinstance(found[40], AccessDeniedError)
    assert found[41] is None
    assert proxy.connections > 4


def test_backends_with_the_same_access_share_one_login(bao, opened, proxy):
    mount = bao.mount()
    role = bao.role(bao.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}'))
    sessions, secret_id = Sessions(), Secret(role.secret_id())
    table = {
        "url": proxy.url(),
        "auth_type": "approle",
        "auth_mount_point": role.mount,
        "role_id": role.role_id,
        "secret_id": secret_id,
        "mount_point": mount,
    }
    one, other = (
        Vault("vault", VaultOptions(**table, variables_path=path), clock, sessions) for path in ("a", "b")
    )
    for backend in (one, other):
        assert backend.read(variable("v")) is None
    one.close()
    assert other.read(variable("v")) is None
    other.close()
    assert len([line for line in proxy.lines if line.endswith("/login")]) == 1


# --- wrapped answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_what_must_come_wrapped_is_unwrapped_once(bao, opened, proxy, version):
    mount = bao.mount(version)
    door = "data/" if version == 2 else ""
    bao.put(mount, "variables/v", {"value": CANARY}, version=version)
    rules = f"""path "{mount}/{door}variables/*" {{
      capabilities = ["read"]
      min_wrapping_ttl = "1s"
      max_wrapping_ttl = "90s"
    }}"""
    token = bao.token(bao.policy(rules))
    with pytest.raises(AccessDeniedError):
        opened(version, token=token, mount_point=mount).read(variable("v"))
    backend = opened(version, url=proxy.url(), token=token, mount_point=mount, wrap_ttl=timedelta(seconds=30))
    proxy.lines.clear()
    assert text(backend, variable("v")) == CANARY
    assert backend.read(variable("none")) is None
    assert [line for line in proxy.lines if "internal" not in line] == [
        f"GET /v1/{mount}/{door}variables/v",
        "POST /v1/sys/wrapping/unwrap",
        f"GET /v1/{mount}/{door}variables/none",
    ]


def test_answer_that_was_wrapped_elsewhere_is_no_answer(bao, opened, proxy):
    backend = opened(url=proxy.url(), wrap_ttl=timedelta(seconds=30))
    bao.put(backend.options.mount_point, "variables/other", {"value": CANARY})
    wrapped = bao.api("GET", f"{backend.options.mount_point}/data/variables/other", wrap="30s")
    proxy.answer(200, body=json.dumps(wrapped).encode(), times=1)
    with pytest.raises(BackendUnavailableError, match="another shape"):
        backend.read(variable("v"))
    # It was not spent: whoever it was meant for can still open it.
    opened_again = bao.api("POST", "sys/wrapping/unwrap", {"token": wrapped["wrap_info"]["token"]})
    assert opened_again["data"]["data"] == {"value": CANARY}


# --- lent credentials --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lending(bao):
    return Lending(bao)


@pytest.mark.parametrize("stored", ["postgres://db.example:5432/sales?sslmode=require", JSON])
def test_login_and_password_come_from_one_lease_and_the_rest_from_what_is_stored(
    bao, opened, lending, stored
):
    backend = opened(dynamic={"orders_db": lending.role(default_ttl="1h", max_ttl="24h")})
    assert backend.read(connection("orders_db")) is None  # nothing is lent for what is not there
    write(backend, connection("orders_db"), stored)
    entry = backend.read(connection("orders_db"))
    found, plain = Connection.parse(entry.secret.reveal()), Connection.parse(stored)
    assert lending.can_log_in(found.login, found.password.reveal())
    assert found.replace(login=None, password=None) == plain.replace(login=None, password=None)
    assert timedelta(minutes=30) < entry.lifetime <= timedelta(minutes=40)
    again = backend.read(connection("orders_db"))
    assert (again.version, again.secret) == (entry.version, entry.secret)
    backend.close()
    assert found.login not in lending.logins()


def test_what_was_lent_is_not_stored_when_it_is_written_back(bao, opened, lending):
    backend = opened(dynamic={"orders_db": lending.role(default_ttl="1h")})
    write(backend, connection("orders_db"), URI)
    assert held(bao, backend, "connections/orders_db") == {
        "conn_uri": "postgres://db.example:5432/sales?sslmode=require"
    }
    entry = backend.read(connection("orders_db"))
    changed = Connection.parse(entry.secret.reveal()).replace(host="other.example").format("json").reveal()
    # The version that was read is the one that stands: what was lent with it does not count.
    version = write(backend, connection("orders_db"), changed, entry.version)
    assert version == "2"
    stands = held(bao, backend, "connections/orders_db")["conn_uri"]
    assert Connection.parse(stands).login is None
    assert Connection.parse(stands).password is None
    assert Connection.parse(text(backend, connection("orders_db"))).host == "other.example"
    with pytest.raises(ConflictError):
        write(backend, connection("orders_db"), changed, entry.version)
    assert backend.read_version(connection("orders_db"), "1").lifetime is None


def test_value_that_points_at_a_path_is_a_value_and_nothing_is_lent(bao, opened, lending, proxy):
    path = lending.role()
    backend = opened(url=proxy.url())
    mount = backend.options.mount_point
    bao.put(mount, "connections/db", {"conn_uri": f"vault://{path}", "dynamic": path, "path": path})
    assert text(backend, connection("db")) == f"vault://{path}"
    assert not [line for line in proxy.lines if "creds" in line]


def test_connection_in_a_secret_that_holds_many_and_of_a_team_may_be_lent_too(bao, opened, lending):
    path = lending.role(default_ttl="1h")
    backend = opened(connections_path="airflow#", dynamic={"db": path})
    bao.put(backend.options.mount_point, "airflow", {"db": "postgres://h", "other": URI})
    one, other = backend.read_many([connection("db"), connection("other")])
    login = Connection.parse(one.secret.reveal()).login
    assert login in lending.logins()
    assert other.secret.reveal() == URI
    team = opened(use_team_secrets_path=True, dynamic={"data/db": path})
    ref = Ref("connection", "db", "data")
    write(team, ref, "postgres://h")
    write(team, connection("db"), URI)
    assert Connection.parse(text(team, ref)).login in lending.logins()
    assert text(team, connection("db")) == URI


def test_lent_login_of_a_stored_text_that_is_no_connection_is_malformed(bao, opened, lending):
    backend = opened(dynamic={"db": lending.role(default_ttl="1h")})
    bao.put(backend.options.mount_point, "connections/db", {"conn_uri": f"{CANARY} no uri"})
    with pytest.raises(MalformedEntryError) as caught:
        backend.read(connection("db"))
    assert CANARY not in str(caught.value) + repr(vars(caught.value))


@pytest.mark.parametrize(
    "dynamic",
    [
        {"db": "../sys/health"},
        {"db": "database"},
        {"db": "database//creds"},
        {"db": "database/creds/.."},
        {"db": ""},
        {"db": 5},
        {"db": "database/creds/a\nb"},
        {"../db": "database/creds/r"},
        {"": "database/creds/r"},
        {"no\u00a0break": "database/creds/r"},
    ],
)
def test_dynamic_that_cannot_be_meant_is_refused_at_the_start(opened, dynamic):
    with pytest.raises(BackendConfigError, match=r"backend\.vault\.dynamic"):
        opened(dynamic=dynamic)


@pytest.mark.parametrize("wrap_ttl", [timedelta(0), timedelta(seconds=-1), timedelta(days=2)])
def test_wrapping_for_no_time_or_for_days_is_refused(opened, wrap_ttl):
    with pytest.raises(BackendConfigError, match="wrap_ttl"):
        opened(wrap_ttl=wrap_ttl)


def test_no_lease_id_login_or_password_is_logged_or_shown(opened, lending, caplog):
    with caplog.at_level(logging.DEBUG):
        backend = opened(dynamic={"db": lending.role(default_ttl="1h")})
        write(backend, connection("db"), "postgres://h")
        entry = backend.read(connection("db"))
        (line,) = (line for book in backend._leases()._books.values() for line in book.values())
        lease_id = line.lease.id.reveal()
        backend.close()
    found = Connection.parse(entry.secret.reveal())
    shown = caplog.text + repr(entry) + repr(backend) + repr(vars(backend)) + repr(line)
    assert not [one for one in (lease_id, found.login, found.password.reveal()) if one in shown]


# --- policies and checking ---------------------------------------------------------------------------

VERBS = [verbs for size in range(4) for verbs in combinations(("read", "list", "write"), size)]


def deeds(backend):
    """What each verb is to allow."""
    ref = variable("v")
    return {
        "read": [lambda: backend.read(ref), lambda: backend.read_many([ref, variable("none")])],
        "list": [lambda: backend.list("variable"), lambda: backend.list("connection")],
        "write": [
            lambda: write(backend, ref, "new"),
            lambda: write(backend, variable("fresh"), "x"),
            lambda: backend.delete(ref, author="ada"),
        ],
        "versioned": [
            lambda: write(backend, variable("first"), "x", MUST_BE_ABSENT),
            lambda: write(backend, variable("known"), "y", "1"),
            lambda: backend.delete(variable("doomed"), expected_version="1", author="ada"),
            lambda: backend.undelete(variable("deleted"), author="ada"),
        ],
    }


def outcome(deed):
    try:
        found = deed()
    except AccessDeniedError:
        return "denied"
    refused = isinstance(found, list) and any(isinstance(one, AccessDeniedError) for one in found)
    return "denied" if refused else "done"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("verbs", VERBS, ids=lambda verbs: "+".join(verbs) or "none")
def test_token_with_the_least_policy_can_do_that_and_nothing_else(bao, opened, version, verbs):
    mount = bao.mount(version)
    root = opened(version, mount_point=mount)
    assert isinstance(root, Provisioning)
    for name in ("v", "known", "doomed", "deleted"):
        write(root, variable(name), "x")
    root.delete(variable("deleted"), author="ada")
    rules = root.least_policy(verbs) or f'path "{mount}/nothing" {{ capabilities = ["read"] }}'
    backend = opened(version, token=bao.token(bao.policy(rules)), mount_point=mount)
    every = deeds(backend)
    every["versioned"] = every["versioned"] if version == 2 else []
    for verb, mine in every.items():
        # Without versions only a value tells whether there is anything to delete.
        may = verb in verbs or (verb == "versioned" and "write" in verbs)
        may = may or (version == 1 and verb == "read" and "write" in verbs)
        assert {outcome(deed) for deed in mine} <= {"done" if may else "denied"}, verb
    elsewhere = opened(
        version, token=bao.token(bao.policy(rules)), mount_point=mount, variables_path="elsewhere"
    )
    for verb in ("read", "list", "write"):
        assert outcome(deeds(elsewhere)[verb][0]) == "denied"
    health = backend.check()
    told = {verb: "yes" if verb in verbs else "no" for verb in ("read", "list", "write")}
    if version == 1 and "write" in verbs:
        told["read"] = "yes"
    assert dict(health.may) == told
    assert health.status == ("ready" if told["read"] == "yes" else "unknown")


def test_least_policy_names_everything_that_is_set(opened):
    backend = opened(
        mount_point="team/kv",
        connections_path=("first", "airflow/connections#"),
        variables_path="",
        config_path=False,
        dynamic={"db": "database/creds/ro"},
        wrap_ttl=timedelta(seconds=30),
    )
    assert backend.least_policy(["read"]) == (
        'path "team/kv/data/first/*"             { capabilities = ["read"] }\n'
        'path "team/kv/data/*"                   { capabilities = ["read"] }\n'
        'path "team/kv/data/airflow/connections" { capabilities = ["read"] }\n'
        'path "database/creds/ro"                { capabilities = ["read"] }\n'
        'path "sys/leases/renew"                 { capabilities = ["update"] }\n'
        'path "sys/leases/revoke"                { capabilities = ["update"] }\n'
        'path "sys/wrapping/unwrap"              { capabilities = ["update"] }\n'
    )
    assert backend.least_policy([]) == ""


@pytest.mark.parametrize("path", ["a*", "+/b", "{{identity.entity.name}}", "a/+"])
def test_path_that_means_more_in_a_policy_is_not_written_into_one(opened, path):
    with pytest.raises(BackendConfigError, match="cannot name one of its paths exactly"):
        opened(variables_path=path).least_policy(["read"])


def test_lent_credentials_work_with_the_least_policy_alone(bao, opened, lending):
    mount, path = bao.mount(), lending.role(default_ttl="1h")
    bao.put(mount, "connections/db", {"conn_uri": "postgres://h"})
    rules = opened(mount_point=mount, dynamic={"db": path}).least_policy(["read"])
    token = bao.token(bao.policy(rules), no_default_policy=True)
    backend = opened(mount_point=mount, dynamic={"db": path}, token=token)
    login = Connection.parse(text(backend, connection("db"))).login
    assert login in lending.logins()
    backend.close()
    wait_for(lambda: login not in lending.logins())


def test_check_tells_who_we_are_and_the_lines_that_a_policy_lacks(bao, opened, proxy):
    mount = bao.mount()
    token = bao.token(
        bao.policy(f'path "{mount}/data/variables/*" {{ capabilities = ["read"] }}'), display_name="scheduler"
    )
    backend = opened(token=token, mount_point=mount, url=proxy.url(), config_path=False)
    health = backend.check()
    assert (health.status, health.identity) == ("ready", "token-scheduler")
    assert dict(health.may) == {"read": "yes", "list": "no", "write": "no"}
    assert (
        f'to read it lacks path "{mount}/data/connections/*" {{ capabilities = ["read"] }}' in health.message
    )
    assert f'to list it lacks path "{mount}/metadata/connections/*"' in health.message
    assert not [line for line in proxy.lines if line.startswith(("POST", "PUT", "DELETE")) and mount in line]


def test_check_cannot_tell_what_a_token_may_that_may_not_ask(bao, opened):
    mount = bao.mount()
    policy = bao.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}')
    health = opened(token=bao.token(policy, no_default_policy=True), mount_point=mount).check()
    assert (health.status, set(health.may.values()), health.identity) == ("ready", {"unknown"}, "")


def test_abilities_are_those_of_the_engine(opened):
    for version in (1, 2):
        backend = opened(version)
        assert isinstance(backend, Writable)
        assert isinstance(backend, Versioned) is (version == 2)
        assert backend.has_compare_and_set is (version == 2)


def test_namespace_holds_what_is_written_and_wrapped_there(bao, opened):
    bao.api("POST", "sys/namespaces/space")
    mount = bao.mount(namespace="space")
    backend = opened(mount_point=mount, namespace="space", wrap_ttl=timedelta(seconds=30))
    assert write(backend, variable("v"), "x") == "1"
    assert text(backend, variable("v")) == "x"
    assert [row.ref.name for row in backend.list("variable")] == ["v"]
    health = backend.check()
    assert (health.status, set(health.may.values())) == ("ready", {"yes"})
    assert backend.delete(variable("v"), author="ada")
    other = opened(mount_point=mount, namespace="nowhere")
    with pytest.raises(BackendConfigError, match="no such namespace"):
        write(other, variable("v"), "x")
