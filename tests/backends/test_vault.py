"""Vault and OpenBao as a backend, against a real OpenBao."""

import json
import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar

import pytest

from parts.faults import REF, TEXT, FaultContract
from parts.proxy import Proxy
from strongroom.backend import Checkable, Listable, load
from strongroom.backends.vault import Vault, VaultOptions
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    SettingsError,
)
from strongroom.model.connection import Connection
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.settings import load as load_settings
from strongroom.settings import options as options_of
from strongroom.testing.contract import CANARY, BackendContract
from strongroom.vendors.vault_options import VaultAuth


def clock():
    return datetime.now(timezone.utc)


class KeyValue(BackendContract):
    """The contract over one version of the engine, through a proxy that can be taken down."""

    version = 2
    keeps_teams = False
    more: ClassVar[dict] = {}

    @pytest.fixture(autouse=True)
    def server(self, bao):
        self.bao = bao
        self.mount = bao.mount(self.version)
        with Proxy("127.0.0.1", bao.port) as self.proxy:
            yield

    def make(self, tmp_path):
        return self.made(**self.more)

    def made(self, **more):
        options = VaultOptions(
            url=self.proxy.url(),
            token=Secret("not yet"),
            mount_point=self.mount,
            kv_engine_version=self.version,
            use_team_secrets_path=self.keeps_teams,
            **more,
        )
        # All that follows is done with the policy that the backend says it needs.
        self.mine = self.bao.policy(Vault("vault", options, clock).least_policy(("read", "list", "write")))
        return Vault("vault", replace(options, token=Secret(self.bao.token(self.mine))), clock)

    def make_holding(self, tmp_path):
        return self.made(connections_path="all/connections#", variables_path="all/variables#")

    def make_shaped(self, tmp_path, shape):
        return self.made(connection_shape=shape)

    def put(self, backend, ref, text):
        path = backend.naming.path(ref)
        if path is None:
            raise InvalidInputError("no such path")
        if backend.naming.holder(path):
            super().put(backend, ref, text)
            return
        held = {"conn_uri": text} if ref.kind == "connection" else {"value": text}
        self.bao.put(self.mount, path, held, version=self.version)

    def put_oversized(self, backend, ref, text):
        self.put(backend, ref, text)

    def remove(self, backend, ref):
        if backend.naming.holder(backend.naming.path(ref)):
            super().remove(backend, ref)
            return
        kept = "metadata/" if self.version == 2 else ""
        self.bao.api("DELETE", f"{self.mount}/{kept}{backend.naming.path(ref)}")

    def down(self, backend):
        self.proxy.become("refuse")

    def deny(self, backend, ref):
        below = "data/" if self.version == 2 else ""
        rules = f'path "{self.mount}/{below}connections/*" {{ capabilities = ["read"] }}'
        self.bao.api("PUT", f"sys/policies/acl/{self.mine}", {"policy": rules})


class TestVersion2(KeyValue):
    def test_history_is_newest_first_and_tells_repeats(self, backend):
        versions = [backend.write(self._draft("v", text)) for text in ("one", "two", "one")]
        history = backend.history(variable("v"))
        assert [info.version for info in history] == versions[::-1]
        assert [info.is_current for info in history] == [True, False, False]
        assert [info.same_as for info in history] == [versions[0], None, None]
        # The engine keeps no author: the server's audit log does.
        assert {info.author for info in history} == {""}

    def test_every_version_can_be_read(self, backend):
        one, two = (backend.write(self._draft("v", text)) for text in ("one", "two"))
        backend.delete(variable("v"), author="contract")
        assert backend.read_version(variable("v"), one).secret.reveal() == "one"
        # The engine gives nothing of a deleted version, until it is brought back.
        with pytest.raises(NotFoundError, match="no such version that can be read"):
            backend.read_version(variable("v"), two)
        assert backend.undelete(variable("v"), author="contract") == two
        assert backend.read_version(variable("v"), two).secret.reveal() == "two"


class TestVersion1(KeyValue):
    version = 1
    has_compare_and_set = False


class TestSecretsThatHoldMany(TestVersion2):
    """Each kind in one secret, with teams."""

    keeps_teams = True
    test_list_is_ordered_and_paged = None  # of names with "/", which are a team's here
    more: ClassVar[dict] = {
        "connections_path": "airflow/connections#",
        "variables_path": "airflow/variables#",
        "config_path": False,
    }
    test_text_of_one_mebibyte_is_held = None  # all of them together may be as large as that
    test_every_version_can_be_read = BackendContract.test_every_version_can_be_read

    def put_oversized(self, backend, ref, text):
        door = "data/" if self.version == 2 else ""
        _, found = self.bao.ask("GET", f"{self.mount}/{door}airflow/variables")
        data = found.get("data") or {}
        held = data.get("data", {}) if self.version == 2 else data
        self.bao.put(self.mount, "airflow/variables", {**held, ref.name: text}, version=self.version)

    def deny(self, backend, ref):
        rules = f'path "{self.mount}/elsewhere" {{ capabilities = ["read"] }}'
        self.bao.api("PUT", f"sys/policies/acl/{self.mine}", {"policy": rules})


class TestFaults(FaultContract):
    """Trouble on the way, with a login of which the server's answers are part."""

    def serve(self, request):
        bao = request.getfixturevalue("bao")
        self.mount = bao.mount()
        bao.put(self.mount, f"variables/{REF.name}", {"value": TEXT})
        for number in range(20):
            bao.put(self.mount, f"variables/many_{number}", {"value": "x"})
        self.role = bao.role(bao.policy(f'path "{self.mount}/*" {{ capabilities = ["read"] }}'))
        self.secret_id = Secret(self.role.secret_id())
        return bao.port

    def make(self, url, *, timeout, ca=None):
        options = VaultOptions(
            url=url,
            timeout=timeout,
            ca=ca,
            mount_point=self.mount,
            auth_type="approle",
            auth_mount_point=self.role.mount,
            role_id=self.role.role_id,
            secret_id=self.secret_id,
        )
        return Vault("vault", options, clock)


@pytest.fixture
def proxy(bao):
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield proxy


@pytest.fixture
def opened(bao):
    """Make a backend over a fresh mount as root, or with the options given."""
    made = []

    def make(version=2, *, url=None, token=None, **options):
        options = {"mount_point": None, **options} if "mount_point" in options else options
        options = {"mount_point": bao.mount(version), "kv_engine_version": version, **options}
        backend = Vault(
            "vault", VaultOptions(url=url or bao.url, token=Secret(token or bao.root), **options), clock
        )
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()


def connection(name, team=None):
    return Ref("connection", name, team)


def variable(name, team=None):
    return Ref("variable", name, team)


def text(backend, ref):
    entry = backend.read(ref)
    return None if entry is None else entry.secret.reveal()


# --- what is stored, and what Airflow makes of it ----------------------------------------------------


def test_conn_uri_is_given_verbatim_and_anything_beside_it_is_dropped(bao, opened):
    backend = opened()
    bao.put(backend.options.mount_point, "connections/db", {"conn_uri": " postgres://h/é ", "host": "x"})
    assert text(backend, connection("db")) == " postgres://h/é "


@pytest.mark.parametrize("empty", ["", None])
def test_empty_conn_uri_is_none(bao, opened, empty):
    backend = opened()
    bao.put(backend.options.mount_point, "connections/db", {"conn_uri": empty, "host": "x"})
    assert json.loads(text(backend, connection("db"))) == {"conn_uri": empty, "host": "x"}


def test_object_of_fields_is_dumped_as_json_and_reads_as_a_connection(bao, opened):
    backend = opened()
    held = {
        "conn_type": "postgres",
        "host": "db",
        "password": "pä/ss",
        "port": 5432,
        "extra": {"a": [1, None]},
    }
    bao.put(backend.options.mount_point, "connections/db", held)
    found = text(backend, connection("db"))
    # The server sorts the fields; Airflow dumps them as they come, so that is the same text.
    assert found == json.dumps(dict(sorted(held.items())))
    assert Connection.parse(found).password.reveal() == "pä/ss"


def test_conn_uri_that_is_no_text_is_malformed(bao, opened):
    backend = opened()
    bao.put(backend.options.mount_point, "connections/db", {"conn_uri": {"password": CANARY}})
    with pytest.raises(MalformedEntryError, match="conn_uri that is not text") as caught:
        backend.read(connection("db"))
    assert CANARY not in repr(vars(caught.value))


@pytest.mark.parametrize("kind", ["variable", "config"])
@pytest.mark.parametrize("held", [{}, {"val": CANARY}, {"value": None}])
def test_variable_without_the_field_value_is_malformed_and_names_it(bao, opened, held, kind):
    backend = opened()
    bao.put(backend.options.mount_point, {"variable": "variables/v", "config": "config/v"}[kind], held)
    with pytest.raises(MalformedEntryError, match='no field "value"') as caught:
        backend.read(Ref(kind, "v"))
    assert CANARY not in repr(vars(caught.value)) + str(caught.value)


@pytest.mark.parametrize("value", [5, 2.5, True, False, [], {"b": 1, "a": [None]}, 0, 1.5e300])
def test_variable_that_is_no_text_is_given_as_json(bao, opened, value):
    backend = opened()
    bao.put(backend.options.mount_point, "variables/v", {"value": value, "note": "dropped"})
    assert json.loads(text(backend, variable("v"))) == value


def test_empty_text_is_a_value(bao, opened):
    backend = opened()
    bao.put(backend.options.mount_point, "variables/v", {"value": ""})
    assert text(backend, variable("v")) == ""


def test_object_deeper_than_the_limit_is_malformed(bao, opened):
    backend, value = opened(), CANARY
    for _ in range(70):
        value = [value]
    bao.put(backend.options.mount_point, "variables/v", {"value": value})
    with pytest.raises(MalformedEntryError, match="levels deep") as caught:
        backend.read(variable("v"))
    assert CANARY not in repr(vars(caught.value))


# --- versions ----------------------------------------------------------------------------------------


def test_version_is_the_one_of_the_engine(bao, opened):
    backend = opened()
    for number in (1, 2, 3):
        bao.put(backend.options.mount_point, "variables/v", {"value": "same"})
        assert backend.read(variable("v")).version == str(number)


def test_version_of_an_engine_without_any_means_nothing_elsewhere(bao, opened):
    mount = bao.mount(1)
    bao.put(mount, "variables/v", {"value": "x"}, version=1)
    one, other = (opened(1, mount_point=mount) for _ in range(2))
    assert one.read(variable("v")).version == one.read(variable("v")).version
    assert one.read(variable("v")).version != other.read(variable("v")).version


def test_deleted_version_is_absent_and_so_is_a_destroyed_one(bao, opened):
    backend = opened()
    mount = backend.options.mount_point
    for name in ("deleted", "destroyed"):
        bao.put(mount, f"variables/{name}", {"value": CANARY})
    bao.api("DELETE", f"{mount}/data/variables/deleted")
    bao.api("POST", f"{mount}/destroy/variables/destroyed", {"versions": [1]})
    assert backend.read(variable("deleted")) is None
    assert backend.read(variable("destroyed")) is None


# --- where things stand ------------------------------------------------------------------------------


def test_several_paths_are_asked_in_order_until_one_holds_it(bao, opened, proxy):
    backend = opened(url=proxy.url(), variables_path=("own/", "shared"), global_secrets_path="common")
    mount = backend.options.mount_point
    for folder in ("shared", "common"):
        bao.put(mount, f"{folder}/v", {"value": folder})
    bao.put(mount, "common/w", {"value": "common"})
    assert (text(backend, variable("v")), text(backend, variable("w"))) == ("shared", "common")
    asked = [line for line in proxy.lines if "/data/" in line]
    assert asked == [
        f"GET /v1/{mount}/data/{path}" for path in ("own/v", "shared/v", "own/w", "shared/w", "common/w")
    ]


def test_global_secrets_path_serves_every_kind_by_its_fields(bao, opened):
    backend = opened(global_secrets_path="common/")
    mount = backend.options.mount_point
    bao.put(mount, "common/db", {"conn_uri": "http://h"})
    bao.put(mount, "common/v", {"value": "x"})
    assert (text(backend, connection("db")), text(backend, variable("v"))) == ("http://h", "x")
    with pytest.raises(MalformedEntryError):
        backend.read(variable("db"))
    with pytest.raises(BackendConfigError, match="share a path"):
        backend.list("variable")


@pytest.mark.parametrize("none", [None, False])
def test_kind_without_a_path_is_not_kept_and_nothing_is_asked(opened, proxy, none):
    backend = opened(url=proxy.url(), connections_path=none)
    assert backend.read(connection("db")) is None
    assert backend.list("connection") == []
    assert proxy.requests == 0


def test_empty_path_is_no_prefix(bao, opened):
    backend = opened(variables_path="")
    mount = backend.options.mount_point
    bao.put(mount, "v", {"value": "top"})
    bao.put(mount, "connections/db", {"value": "not a variable"})
    assert text(backend, variable("v")) == "top"
    # What belongs to connections cannot be reached as a variable.
    assert backend.read(variable("connections/db")) is None
    assert [row.ref.name for row in backend.list("variable")] == ["v"]


@pytest.mark.parametrize("version", [1, 2])
def test_name_leads_to_its_mount_where_none_is_named(bao, opened, version):
    mounts = [bao.mount(version) for _ in range(2)]
    backend = opened(version, mount_point=None)
    for mount in mounts:
        bao.put(mount, "variables/deep/v", {"value": mount}, version=version)
    assert [text(backend, variable(f"{mount}/deep/v")) for mount in mounts] == mounts
    assert backend.read(variable(f"{mounts[0]}/deep/none")) is None
    assert backend.read(variable("no_slash")) is None


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("prefix", ["variables", ""])
@pytest.mark.parametrize(
    "name",
    ["auth/token/lookup-self", "sys/health", "sys/mounts", "identity/oidc/.well-known/keys", "cubbyhole/x"],
)
def test_name_that_leads_reaches_nothing_but_key_value_engines(bao, opened, version, prefix, name):
    bao.api("POST", "cubbyhole/x", {"value": CANARY})
    backend = opened(version, mount_point="", variables_path=prefix)
    with suppress(BackendConfigError, AccessDeniedError):
        assert text(backend, variable(name)) is None


def test_names_that_climb_are_no_names(opened):
    for name in ("../connections/db", "a/../../sys/health", "a//b", "/a", "a/"):
        with pytest.raises(InvalidInputError):
            variable(name)


@pytest.mark.parametrize("version", [1, 2])
def test_teams_have_folders_and_global_names_hold_no_slash(bao, opened, version):
    backend = opened(version, use_team_secrets_path=True)
    mount = backend.options.mount_point
    for path, value in (("v", "global"), ("data/v", "data's"), ("data/deep/v", "deep"), ("web/v", "web's")):
        bao.put(mount, f"variables/{path}", {"value": value}, version=version)
    assert text(backend, variable("v")) == "global"
    assert text(backend, variable("v", "data")) == "data's"
    assert text(backend, variable("v", "web")) == "web's"
    assert backend.read(variable("v", "other")) is None
    assert backend.read(variable("data/v")) is None  # a global name does not reach a team's
    assert [row.ref for row in backend.list("variable")] == [variable("v")]
    assert [row.ref.name for row in backend.list("variable", team="data")] == ["deep/v", "v"]


def test_without_team_folders_a_team_has_nothing_here(bao, opened):
    backend = opened()
    bao.put(backend.options.mount_point, "variables/data/v", {"value": "x"})
    assert backend.read(variable("v", "data")) is None
    assert backend.list("variable", team="data") == []
    assert text(backend, variable("data/v")) == "x"


# --- listing -----------------------------------------------------------------------------------------


def test_listing_of_several_paths_gives_each_name_once(bao, opened):
    backend = opened(variables_path=("own", "shared"))
    mount = backend.options.mount_point
    for path in ("own/a", "own/c/d", "shared/a", "shared/b", "shared/c/e"):
        bao.put(mount, path, {"value": "x"})
    assert [row.ref.name for row in backend.list("variable")] == ["a", "b", "c/d", "c/e"]
    assert [row.ref.name for row in backend.list("variable", after="b", limit=1)] == ["c/d"]


@pytest.mark.parametrize(("version", "requests"), [(2, 3), (1, 1)])
def test_big_folder_is_listed_without_asking_again_for_what_was_given(bao, opened, proxy, version, requests):
    backend = opened(version, url=proxy.url())
    names = [f"n{number:04}" for number in range(1200)]
    for name in names:
        bao.put(backend.options.mount_point, f"variables/{name}", {"value": "x"}, version=version)
    listed = []
    while page := backend.list("variable", after=listed[-1] if listed else "", limit=600):
        listed += [row.ref.name for row in page]
    assert listed == names
    assert proxy.requests == requests


def test_name_the_server_cannot_hold_is_absent_and_not_asked_for(bao, opened, proxy):
    backend = opened(url=proxy.url())
    assert bao.ask("GET", f"{backend.options.mount_point}/data/variables/no\u00a0break")[0] == 400
    assert backend.read(variable("no\u00a0break")) is None
    assert proxy.requests == 0


def test_names_that_cannot_be_asked_for_are_not_listed(bao, opened):
    backend = opened()
    for name in ("fine", "back\\slash", "n" * 251):
        bao.put(backend.options.mount_point, f"variables/{name}", {"value": "x"})
    assert [row.ref.name for row in backend.list("variable")] == ["fine"]


def test_refused_listing_is_denied_and_not_empty(bao, opened):
    mount = bao.mount()
    token = bao.token(bao.policy(f'path "{mount}/data/*" {{ capabilities = ["read"] }}'))
    backend = opened(token=token, mount_point=mount)
    with pytest.raises(AccessDeniedError) as caught:
        backend.list("variable")
    assert caught.value.reason == f"list on {mount}/metadata/variables"
    assert f'path "{mount}/metadata/variables/*" {{ capabilities = ["list"] }}' in caught.value.hint


def test_listing_of_the_wrong_version_prints_the_right_setting(bao, opened):
    for real in (1, 2):
        backend = opened(3 - real, mount_point=bao.mount(real))
        with pytest.raises(BackendConfigError) as caught:
            backend.list("variable")
        assert caught.value.hint == f"set kv_engine_version = {real}"


def test_backend_whose_names_lead_does_not_claim_to_list(opened):
    assert isinstance(opened(), Listable)
    backend = opened(mount_point=None)
    assert not isinstance(backend, Listable)
    assert isinstance(backend, Checkable)
    assert issubclass(load("vault"), Vault)


# --- checking ----------------------------------------------------------------------------------------


def test_check_tells_policies_and_when_the_token_ends(bao, opened):
    mount = bao.mount()
    policy = bao.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}')
    health = opened(token=bao.token(policy, ttl="1h"), mount_point=mount).check()
    assert health.status == "ready"
    assert health.message.startswith("the token ends in ")
    assert f"default, {policy}" in health.message
    left = health.ends["token"] - clock()
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


def test_check_of_a_token_that_never_ends_or_may_not_look_says_so(bao, opened):
    assert opened().check().message == "the token never ends; policies root"
    mount = bao.mount()
    policy = bao.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}')
    health = opened(token=bao.token(policy, no_default_policy=True), mount_point=mount).check()
    assert (health.status, health.ends) == ("ready", {})
    assert "may not look itself up" in health.message


def test_check_of_a_mount_that_no_policy_names_is_an_error(bao, opened):
    health = opened(token=bao.token("default"), mount_point=bao.mount()).check()
    assert health.status == "error"
    assert "no policy of the token" in health.message


def test_check_tells_when_the_certificate_ends(bao_raft):
    options = VaultOptions(
        url=bao_raft.url, token=Secret(bao_raft.root), mount_point=bao_raft.mount(), ca=bao_raft.ca
    )
    backend = Vault("vault", options, clock)
    left = backend.check().ends["server certificate"] - clock()
    assert timedelta(days=28) < left < timedelta(days=31)
    backend.close()


# --- options -----------------------------------------------------------------------------------------


def made(tmp_path, table, **environ):
    """Make the backend as a settings file would."""
    file = tmp_path / "strongroom.toml"
    file.write_text(f'[backend.vault]\nurl = "https://vault.example:8200"\n{table}')
    found = load_settings(file, environ={"HOME": str(tmp_path), **environ}, cwd=tmp_path)
    options = options_of(found.backend["vault"], VaultOptions, environ=environ)
    backend = Vault("vault", options, clock)
    backend.close()
    return backend


ROLE = 'role_id = "r"\nsecret_id = { env = "S" }'
FLAT = f'auth_type = "approle"\n{ROLE}'


@pytest.mark.parametrize(
    "table",
    [
        FLAT,
        'auth = { method = "approle", role_id = "r", secret_id = { env = "S" } }',
        'auth_type = "approle"\nauth = { method = "approle", role_id = "r", secret_id = { env = "S" } }',
        'auth = { method = "approle", role_id = { env = "S" }, secret_id_wrapped = { env = "S" } }',
        'token = { env = "S" }',
        'auth_type = "token"\ntoken_path = "token"',
        'auth = { token_path = "token" }',
        'token = { env = "S" }\nconnections_path = ["a", "b"]\nvariables_path = false\nconfig_path = ""',
        'token = { env = "S" }\nmount_point = ""\nkv_engine_version = 1\nnamespace = "n"\ntimeout = 5',
        'token = { env = "S" }\nverify = false',
        'token = { env = "S" }\nwrap_ttl = 30\nconnection_shape = "fields"',
        'token = { env = "S" }\ndynamic = { "orders_db" = "database/creds/orders-ro" }',
    ],
)
def test_settings_of_either_spelling_are_read_and_print_no_secret(tmp_path, table):
    backend = made(tmp_path, table, S=CANARY)
    assert CANARY not in repr(backend.options) + repr(vars(backend))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "no token"),
        ('token = { env = "S" }\ntoken_path = "t"', "both token and token_path"),
        ('auth_type = "approle"', "without a role_id"),
        (f'{FLAT}\nsecret_id_wrapped = {{ env = "S" }}', "both secret_id and secret_id_wrapped"),
        (f'{FLAT}\ntoken = {{ env = "S" }}', "logs in by approle, which has no token"),
        (ROLE, "logs in by token, which has no role_id"),
        ('token = { env = "S" }\nkubernetes_role = "r"', "logs in by token, which has no kubernetes_role"),
        (f'auth_type = "{CANARY}"', "logs in by a method, which is not known here"),
        ('auth = { method = "magic" }', "known: token, approle"),
        (
            'auth_type = "token"\nauth = { method = "approle", role_id = "r" }',
            "both auth_type and auth.method",
        ),
        ('role_id = "q"\nauth = { method = "approle", role_id = "r" }', "both role_id and auth.role_id"),
        ('token = { env = "S" }\nkv_engine_version = 3', "must be 1 or 2"),
        ('token = { env = "S" }\nwrap_ttl = 0', "wrap_ttl must be above 0"),
        ('token = { env = "S" }\ndynamic = { "db" = "creds" }', "backend.vault.dynamic"),
        ('token = { env = "S" }\nconnections_path = true', "connections_path must be text or false"),
        ('token = { env = "S" }\nverify = "a"\nca = "b"', "in verify and in ca"),
        ('token = { env = "S" }\ncert = "a"\nclient_cert = "b"', "both cert and client_cert"),
        ('token = { env = "S" }\ncert = ["a", "b", "c"]', "cert must be one file"),
        ('token = { env = "S" }\ntimeout = 0', "timeout"),
    ],
)
def test_options_that_contradict_or_say_too_little_are_refused(tmp_path, table, message):
    with pytest.raises(BackendConfigError) as caught:
        made(tmp_path, table, S=CANARY)
    assert message in f"{caught.value} {caught.value.hint}"
    assert CANARY not in repr(vars(caught.value))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (f'token = "{CANARY}"', "not written out"),
        ('token = { env = "S" }\nurl2 = "x"', "there is no setting"),
        ('token = { env = "S" }\nverify = 5', "must be text"),
        ('token = { env = "MISSING" }', "not set"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(tmp_path, table, message):
    with pytest.raises(SettingsError, match=message) as caught:
        made(tmp_path, table, S="x")
    assert CANARY not in str(caught.value)


def test_url_with_a_password_in_it_is_refused():
    with pytest.raises(BackendConfigError) as caught:
        Vault("vault", VaultOptions(url=f"https://u:{CANARY}@h", token=Secret("x")), clock)
    assert CANARY not in repr(vars(caught.value)) + str(caught.value)


def test_ca_and_certificate_have_names_of_both_kinds(tmp_path):
    files = VaultOptions(
        url="https://h", auth=VaultAuth(token=Secret("x")), verify=Path("ca.pem"), cert=(Path("c"), Path("k"))
    )
    ours = VaultOptions(
        url="https://h",
        token=Secret("x"),
        ca=Path("ca.pem"),
        client_cert=Path("c"),
        client_key=Path("k"),
    )
    one, other = (Vault("vault", options, clock)._session.transport.options for options in (files, ours))
    assert one == other


def test_arguments_that_airflow_leaves_to_its_defaults_are_ours(opened):
    assert opened(kv_engine_version=None).check().status == "ready"


# --- the page about it -------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "backends" / "vault.md"


def test_policies_of_the_page_are_those_that_are_printed():
    blocks = re.findall(r"```hcl\n(.*?)```", PAGE.read_text(), re.DOTALL)
    printed = []
    for version in (2, 1):
        options = VaultOptions(url="https://h", token=Secret("x"), kv_engine_version=version)
        backend = Vault("vault", options, clock)
        printed += [backend.least_policy([verb]) for verb in ("read", "list", "write")]
        backend.close()
    assert [block for block in blocks if "secret/" in block] == printed


def test_every_option_stands_on_the_page():
    page = PAGE.read_text()
    names = [*VaultOptions.__dataclass_fields__, *VaultAuth.__dataclass_fields__]
    assert [name for name in names if f"`{name}`" not in page] == []
