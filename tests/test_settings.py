from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import SettingsError, StrongroomError
from strongroom.model.secret import Secret
from strongroom.settings import (
    AuditSettings,
    BackendSettings,
    CacheSettings,
    KeySettings,
    LookupSettings,
    SecretSource,
    StoreSettings,
    WrapperSettings,
    consent,
    load,
    options,
    resolve,
)
from strongroom.settings import source as secrets
from strongroom.settings.access import CertificateSettings, IssuerSettings, ReviewSettings
from strongroom.settings.agent import AgentServerSettings, AgentSettings, FileSettings, LastGoodSettings
from strongroom.settings.audit import CheckpointSettings, RetentionSettings, SinkSettings, WitnessSettings
from strongroom.settings.shape import TOP_KEYS

CANARY = "canary-7f3a"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def environ(home):
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


@pytest.fixture
def read(tmp_path, environ):
    """Read settings from a text, with more of an environment."""

    def read(text: str = "", deployment: str | None = None, **more: str):
        path = tmp_path / "strongroom.toml"
        path.write_text(text)
        return load(path, environ={**environ, **more}, cwd=tmp_path, deployment=deployment)

    return read


def refusal(read, text: str, **more: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(text, **more)
    assert CANARY not in f"{caught.value} {caught.value.hint} {caught.value.key}"
    return caught.value


# --- defaults and places -----------------------------------------------------------------------------


def test_no_file_at_all_works(tmp_path, environ, home):
    found = load(environ=environ, cwd=tmp_path)
    assert (found.deployment, found.chain, found.write_to, found.source) == ("default", (), None, None)
    assert found.store.path == home / ".local/share/strongroom/default/store.db"
    assert found.audit.path == home / ".local/share/strongroom/default/audit"
    assert found.store.wrappers == (
        WrapperSettings(kind="file", path=home / ".config/strongroom/default.key"),
    )
    assert found.cache == CacheSettings()


def test_xdg_folders_are_honoured_where_they_are_absolute(tmp_path, environ):
    environ |= {"XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "relative"}
    found = load(environ=environ, cwd=tmp_path)
    assert found.store.path == Path("/data/strongroom/default/store.db")
    assert found.store.wrappers[0].path == Path(environ["HOME"], ".config/strongroom/default.key")


def test_strongroom_home_puts_everything_under_one_folder(tmp_path):
    found = load(environ={"STRONGROOM_HOME": "/srv/room"}, cwd=tmp_path)
    assert found.store.path == Path("/srv/room/store.db")
    assert found.audit.path == Path("/srv/room/audit")
    assert found.store.wrappers[0].path == Path("/srv/room/key")


def test_deployments_do_not_share_places(read):
    text = 'deployment = "prod"\n[deployments.staging]\n'
    first, second = read(text), read(text, deployment="staging")
    assert {first.store.path, first.audit.path} & {second.store.path, second.audit.path} == set()
    first, second = (read(text, deployment=name, STRONGROOM_HOME="/srv") for name in ("prod", "staging"))
    assert (first.store.path, second.store.path) == (Path("/srv/store.db"), Path("/srv/staging/store.db"))


def test_without_a_home_the_account_decides(tmp_path):
    assert load(environ={}, cwd=tmp_path).store.path.is_absolute()


# --- finding the file --------------------------------------------------------------------------------


def place(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'deployment = "{name}"\n')
    return path


def test_the_first_file_found_counts(tmp_path, environ, home):
    system, user = tmp_path / "etc", home / ".config"
    environ["XDG_CONFIG_DIRS"] = f"relative:{system}"
    place(system / "strongroom/strongroom.toml", "system")
    assert load(environ=environ, cwd=tmp_path).deployment == "system"
    place(user / "strongroom/strongroom.toml", "user")
    assert load(environ=environ, cwd=tmp_path).deployment == "user"
    place(tmp_path / "strongroom.toml", "here")
    assert load(environ=environ, cwd=tmp_path).deployment == "here"
    environ["STRONGROOM_CONFIG"] = str(place(tmp_path / "named.toml", "named"))
    assert load(environ=environ, cwd=tmp_path).deployment == "named"
    found = load(place(tmp_path / "given.toml", "given"), environ=environ, cwd=tmp_path)
    assert (found.deployment, found.source) == ("given", tmp_path / "given.toml")


def test_strongroom_home_stands_for_the_users_folder(tmp_path, environ, home):
    place(home / ".config/strongroom/strongroom.toml", "user")
    environ["STRONGROOM_HOME"] = str(tmp_path / "room")
    assert load(environ=environ, cwd=tmp_path).deployment == "default"
    place(tmp_path / "room/strongroom.toml", "room")
    assert load(environ=environ, cwd=tmp_path).deployment == "room"


def test_a_named_file_that_is_not_there_is_an_error(tmp_path, environ):
    with pytest.raises(SettingsError, match="no such file"):
        load("none.toml", environ=environ, cwd=tmp_path)
    with pytest.raises(SettingsError, match="no such file"):
        load(environ={**environ, "STRONGROOM_CONFIG": "none.toml"}, cwd=tmp_path)


def test_a_folder_is_no_settings_file(tmp_path, environ):
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path, environ=environ, cwd=tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_only_read_when_it_is_named(tmp_path, environ):
    path = place(tmp_path / "strongroom.toml", "foreign")
    os.chown(path, 4321, -1)
    with pytest.raises(SettingsError, match="belongs to another user") as caught:
        load(environ=environ, cwd=tmp_path)
    assert "--config" in caught.value.hint
    assert load(path, environ=environ, cwd=tmp_path).deployment == "foreign"


def test_a_file_that_anybody_may_change_is_refused(tmp_path, environ):
    path = place(tmp_path / "strongroom.toml", "prod")
    path.chmod(0o666)
    with pytest.raises(SettingsError, match="changed by anybody") as caught:
        load(environ=environ, cwd=tmp_path)
    assert caught.value.hint == f"chmod o-w {path}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (f'[cache\nttl = "{CANARY}"'.encode(), "not TOML at line 1"),
        (f'key = "{CANARY}'.encode(), "not TOML at"),
        (f"{CANARY}".encode(), "not TOML at"),
        (b"[cache]\nttl = 1\n[cache]\n", "not TOML at line 3"),
        (b'deployment = "\xff"', "not UTF-8"),
        (b"#" * (1_048_576 + 1), "more than 1048576 bytes"),
        (b"a = " + b"[" * 100_000, "not TOML"),
    ],
)
def test_a_file_that_is_not_toml_is_refused_without_its_text(tmp_path, environ, data, message):
    path = tmp_path / "strongroom.toml"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=message) as caught:
        load(environ=environ, cwd=tmp_path)
    assert CANARY not in str(caught.value)


def test_a_byte_order_mark_and_carriage_returns_are_taken(tmp_path, environ):
    (tmp_path / "strongroom.toml").write_bytes(b'\xef\xbb\xbfdeployment = "prod"\r\n')
    assert load(environ=environ, cwd=tmp_path).deployment == "prod"


# --- what it may say ---------------------------------------------------------------------------------

FULL = """
deployment = "prod"
chain = ["env", "vault", "native"]
write_to = "native"

[backend.vault]
kind = "some_vault"
url = "https://vault.example.com"
match = ["prod/*", "shared_*"]
kinds = ["connection"]
on_unavailable = "next"
team_fallback = false
references = true
timeout_seconds = 1.5

[cache]
ttl = 60
stale_if_error = 0
absent_ttl = 2.5
max_entries = 5

[lookup]
timeout_seconds = 1
deadline_seconds = 4
dialect = "sdk"

[store]
path = "data/store.db"
wrappers = [{ kind = "file", path = "key" }, { kind = "passphrase", passphrase = { env = "PASS" } }]

[audit]
path = "/var/log/strongroom"
"""


def test_everything_may_be_said(read, tmp_path):
    found = read(FULL)
    assert (found.deployment, found.chain, found.write_to) == ("prod", ("env", "vault", "native"), "native")
    vault = found.backend["vault"]
    assert vault == BackendSettings(
        name="vault",
        kind="some_vault",
        match=("prod/*", "shared_*"),
        kinds=("connection",),
        on_unavailable="next",
        team_fallback=False,
        references=True,
        timeout_seconds=1.5,
        options={"url": "https://vault.example.com"},
        folder=tmp_path,
    )
    assert found.backend["env"].kind == "env"
    assert found.cache == CacheSettings(ttl=60, stale_if_error=0, absent_ttl=2.5, max_entries=5)
    assert found.lookup == LookupSettings(timeout_seconds=1, deadline_seconds=4, dialect="sdk")
    assert found.store.path == tmp_path / "data/store.db"
    file, passphrase = found.store.wrappers
    assert (file.kind, file.path) == ("file", tmp_path / "key")
    assert passphrase.passphrase == SecretSource(
        kind="env", argument=("PASS",), key="store.wrappers.passphrase"
    )
    assert found.audit.path == Path("/var/log/strongroom")


def test_a_store_may_be_a_servers_and_says_its_place_without_a_password(read):
    found = read(
        "[store]\nurl = 'postgresql://me@db.example/x?sslmode=require'\npassword = { env = 'PW' }"
    ).store
    assert found.url == found.place == "postgresql://me@db.example/x?sslmode=require"
    assert found.password == SecretSource(kind="env", argument=("PW",), key="store.password")
    assert found.may_exist


def test_a_store_may_be_a_file_by_its_url(read):
    found = read("[store]\nurl = 'sqlite:////srv/store.db'").store
    assert (found.url, found.path, found.place) == (None, Path("/srv/store.db"), "/srv/store.db")
    assert not found.may_exist


def test_everything_may_be_overridden(read, tmp_path):
    found = read(
        FULL,
        STRONGROOM__CHAIN='["native", "vault"]',
        STRONGROOM__WRITE_TO="vault",
        STRONGROOM__BACKEND__VAULT__URL="https://other.example.com",
        STRONGROOM__BACKEND__VAULT__MATCH="a*, b*",
        STRONGROOM__BACKEND__VAULT__TEAM_FALLBACK="True",
        STRONGROOM__CACHE__TTL="7.5",
        STRONGROOM__CACHE__MAX_ENTRIES="9",
        STRONGROOM__LOOKUP__DIALECT="core",
        STRONGROOM__STORE__WRAPPERS='[{ kind = "passphrase" }]',
        STRONGROOM__AUDIT__PATH="log",
    )
    assert (found.chain, found.write_to) == (("native", "vault"), "vault")
    vault = found.backend["vault"]
    assert (vault.match, vault.team_fallback, vault.options) == (
        ("a*", "b*"),
        True,
        {"url": "https://other.example.com"},
    )
    assert (found.cache.ttl, found.cache.max_entries, found.lookup.dialect) == (7.5, 9, "core")
    assert found.store.wrappers == (WrapperSettings(kind="passphrase"),)
    assert found.audit.path == tmp_path / "log"


def test_the_environment_alone_may_say_it(tmp_path, environ):
    environ |= {"STRONGROOM__CHAIN": "env,vault", "STRONGROOM__BACKEND__VAULT__KIND": "other"}
    found = load(environ=environ, cwd=tmp_path)
    assert found.chain == ("env", "vault")
    assert found.backend["vault"].kind == "other"


def test_an_override_does_not_reach_another_deployment(read):
    text = "[cache]\nttl = 1\n[deployments.staging.cache]\nttl = 2\n"
    more = {"STRONGROOM__CACHE__ABSENT_TTL": "5"}
    assert read(text, **more).cache == CacheSettings(ttl=1, absent_ttl=5)
    assert read(text, deployment="staging", **more).cache == CacheSettings(ttl=2, absent_ttl=5)


def test_a_deployment_is_chosen_by_name(read):
    text = 'deployment = "prod"\n[cache]\nttl = 1\n[deployments.staging.cache]\nttl = 2\n'
    assert read(text).others == ("staging",)
    assert read(text, deployment="prod").cache.ttl == 1
    found = read(text, STRONGROOM_DEPLOYMENT="staging")
    assert (found.deployment, found.cache.ttl, found.others) == ("staging", 2, ("prod",))
    with pytest.raises(SettingsError, match="no deployment stagin") as caught:
        read(text, deployment="stagin")
    assert caught.value.hint == "did you mean staging?"


def test_without_a_file_any_deployment_has_places_of_its_own(tmp_path, environ):
    found = load(environ=environ, cwd=tmp_path, deployment="scratch")
    assert found.store.path.parent.name == "scratch"


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("cach = 1", "cach", "no setting cach"),
        ("[cache]\nttll = 1", "cache.ttll", "no setting cache.ttll"),
        ("[cache]\nttl = 'long'", "cache.ttl", "must be a number"),
        ("[cache]\nttl = true", "cache.ttl", "must be a number"),
        ("[cache]\nttl = inf", "cache.ttl", "must be a number"),
        ("[cache]\nttl = nan", "cache.ttl", "must be a number"),
        ("[cache]\nttl = -1", "cache.ttl", "at least 0"),
        ("[cache]\nmax_entries = 0", "cache.max_entries", "at least 1"),
        ("[cache]\nmax_entries = 1.5", "cache.max_entries", "whole number"),
        ("cache = 1", "cache", "must be a table"),
        ("[lookup]\ntimeout_seconds = 0", "lookup.timeout_seconds", "more than 0"),
        ("[lookup]\ndeadline_seconds = 0", "lookup.deadline_seconds", "more than 0"),
        ("[lookup]\ndialect = 'other'", "lookup.dialect", "one of core, sdk"),
        ("chain = 'env'", "chain", "must be a list"),
        ("chain = [1]", "chain", "must be text"),
        ("chain = ['env', 'env']", "chain", "twice"),
        ("chain = ['en v']", "chain", "the name of a backend"),
        ("chain = ['env']\nwrite_to = 'nativ'", "write_to", "no write_to nativ"),
        ("[backend]\nvault = 1", "backend.vault", "must be a table"),
        ("[backend.vault]\nmatch = 'x'", "backend.vault.match", "must be a list"),
        ("[backend.vault]\nkinds = ['secret']", "backend.vault.kinds", "one of connection"),
        ("[backend.vault]\non_unavailable = 'ask'", "backend.vault.on_unavailable", "stale, stop, next"),
        ("[backend.vault]\nreferences = 'yes'", "backend.vault.references", "true or false"),
        ("[backend.vault]\ntimeout_seconds = 0", "backend.vault.timeout_seconds", "more than 0"),
        ("[store]\npath = ''", "store.path", "must be a path"),
        ("[store]\npath = 1", "store.path", "must be text"),
        ("[store]\nurl = 'postgresql://me:pw@db/x'", "store.url", "holds a password"),
        ("[store]\nurl = 'postgresql://me:@db/x'", "store.url", "holds a password"),
        ("[store]\nurl = 'mariadb://me@db/x?a=b&password=pw'", "store.url", "holds a password"),
        ("[store]\nurl = 'oracle://me@db/x'", "store.url", "no address of a store"),
        ("[store]\nurl = '/srv/store.db'", "store.url", "no address of a store"),
        ("[store]\nurl = 'sqlite:///a'\npath = 'b'", "store.url", "both name a file"),
        ("[store]\npassword = { env = 'X' }", "store.password", "a store in a file has no password"),
        ("[store]\nwrappers = []", "store.wrappers", "needs a wrapper"),
        ("[store]\nwrappers = [{}]", "store.wrappers.kind", "is missing"),
        ("[store]\nwrappers = [{ kind = 'kms' }]", "store.wrappers.kind", "one of file, passphrase"),
        ("[store]\nwrappers = [{ kind = 'passphrase', path = 'x' }]", "store.wrappers.path", "has no path"),
        (
            "[store]\nwrappers = [{ kind = 'file', passphrase = { env = 'X' } }]",
            "store.wrappers.passphrase",
            "has no passphrase",
        ),
        ("deployment = 'No Such'", "deployment", "a deployment name has"),
        ("[deployment.staging]", "deployment", "the name of the first"),
        ("deployments = 1", "deployments", "must hold tables"),
        ("deployments = { a = 1 }", "deployments", "must hold tables"),
        ("deployment = 'a'\n[deployments.a]", "deployments.a", "twice"),
        ("[deployments.'A B']", "deployments", "a deployment name has"),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_key(read, text, key, message):
    error = refusal(read, text)
    assert error.key == key
    assert message in str(error)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("STRONGROOM__", "names no setting"),
        ("STRONGROOM__DEPLOYMENT", "names no setting"),
        ("STRONGROOM__CACHE__", "names no setting"),
        ("STRONGROOM____TTL", "names no setting"),
        ("STRONGROOM__CACHE__TTL__X", "which is not a table"),
        ("STRONGROOM__CACHE__TTLL", "no setting cache.ttll"),
        ("STRONGROOM__CACHE__TTL", "must be a number"),
        ("STRONGROOM__BACKEND__VAULT__REFERENCES", "true or false"),
        ("STRONGROOM__STORE__WRAPPERS", "written as in the file"),
    ],
)
def test_a_wrong_override_is_refused_without_its_value(read, variable, message):
    with pytest.raises(SettingsError, match=message) as caught:
        read("[cache]\nttl = 1", **{variable: CANARY})
    assert CANARY not in f"{caught.value} {caught.value.hint}"


def test_the_nearest_name_is_offered(read):
    assert refusal(read, "[cache]\nstale_on_error = 1").hint == "did you mean cache.stale_if_error?"
    assert "known: " in refusal(read, "[cache]\nxyz = 1").hint


def test_a_key_that_looks_like_a_secret_is_not_repeated(read):
    error = refusal(read, f'[cache]\n"postgres://{CANARY}" = 1')
    assert "…" in str(error)


@given(st.text(max_size=40))
def test_any_text_is_settings_or_a_settings_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "strongroom.toml"
    path.write_text(text, "utf-8", "replace")
    with suppress(SettingsError):
        load(path, environ={"HOME": "/home/nobody"}, cwd=path.parent)


# --- options of a backend ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """Nested options."""

    method: Literal["token", "approle"] = "token"
    secret_id: Secret[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultOptions:
    """Options as a backend has them."""

    url: str
    token: Secret[str]
    auth: Inner = Inner()
    tries: int = 3
    verify: bool = True
    patience: timedelta = timedelta(seconds=1)
    ca: Path | None = None
    mounts: list[str] = field(default_factory=list)
    labels: Mapping[str, str] = field(default_factory=dict)
    anything: object = None


def vault(read, text: str, **more: str) -> VaultOptions:
    found = read(f'[backend.vault]\nurl = "u"\n{text}', **more)
    return options(found.backend["vault"], VaultOptions, environ={**os.environ, **more})


def test_options_are_made_of_what_remains(read, tmp_path):
    made = vault(
        read,
        """
        token = { env = "TOKEN" }
        auth = { method = "approle", secret_id = { env = "TOKEN" } }
        tries = 5
        verify = false
        patience = 2.5
        ca = "ca.pem"
        mounts = ["a", "b"]
        labels = { a = "b" }
        anything = [1, "x"]
        match = ["*"]
        """,
        TOKEN=CANARY,
    )
    assert made.token == Secret(CANARY)
    assert made.auth == Inner(method="approle", secret_id=Secret(CANARY))
    assert (made.tries, made.verify, made.patience) == (5, False, timedelta(seconds=2.5))
    assert (made.ca, made.mounts, made.labels) == (tmp_path / "ca.pem", ["a", "b"], {"a": "b"})
    assert made.anything == [1, "x"]
    assert CANARY not in repr(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Options that may be written in several ways."""

    verify: bool | Path = True
    paths: bool | tuple[str, ...] | str | None = "x"
    secret: Callable[[], Secret[str]] | Secret[str] | None = None


def choices(read, text: str, **more: str) -> Choices:
    found = read(f"[backend.vault]\n{text}", **more)
    return options(found.backend["vault"], Choices, environ=more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('verify = "ca.pem"', ("verify", "ca.pem")),
        ("verify = false", ("verify", False)),
        ('paths = ["a", "b"]', ("paths", ("a", "b"))),
        ('paths = "a"', ("paths", "a")),
        ("paths = false", ("paths", False)),
    ],
)
def test_option_of_several_types_is_the_first_that_fits(read, tmp_path, text, expected):
    name, value = expected
    made = getattr(choices(read, text), name)
    assert made == (tmp_path / value if name == "verify" and value else value)


def test_option_of_several_types_may_stand_in_the_environment(read, tmp_path):
    made = choices(
        read, "", STRONGROOM__BACKEND__VAULT__VERIFY="ca.pem", STRONGROOM__BACKEND__VAULT__PATHS="a,b"
    )
    assert (made.verify, made.paths) == (tmp_path / "ca.pem", ("a", "b"))


def test_option_that_may_be_nothing_takes_nothing(read):
    found = read("[backend.vault]")
    assert options(replace(found.backend["vault"], options={"paths": None}), Choices).paths is None


def test_option_of_several_types_that_fits_none_is_refused(read):
    with pytest.raises(SettingsError, match="must be text"):
        choices(read, "paths = 5")


def test_secret_that_may_be_fetched_again_is_fetched_when_asked_for(read, tmp_path):
    file = tmp_path / "secret"
    made = choices(read, f'secret = {{ file = "{file}" }}')
    for text in ("first", "second"):
        file.touch(0o600)
        file.write_text(text)
        assert made.secret().reveal() == text
    assert "second" not in repr(made)


def test_secret_that_may_be_fetched_again_does_not_print_where_it_may_come_from(read):
    made = choices(read, 'secret = { env = "TOKEN" }', TOKEN=CANARY)
    assert made.secret() == Secret(CANARY)
    assert CANARY not in repr(made)


def test_options_may_stand_in_the_environment(read):
    made = vault(
        read,
        "",
        STRONGROOM__BACKEND__VAULT__TOKEN=CANARY,
        STRONGROOM__BACKEND__VAULT__TRIES="7",
        STRONGROOM__BACKEND__VAULT__LABELS='{ a = "b" }',
        STRONGROOM__BACKEND__VAULT__AUTH='{ method = "approle" }',
    )
    assert (made.token, made.tries, made.labels, made.auth.method) == (
        Secret(CANARY),
        7,
        {"a": "b"},
        "approle",
    )


def test_the_settings_of_a_backend_do_not_print_its_options(read):
    found = read("", STRONGROOM__BACKEND__VAULT__TOKEN=CANARY)
    assert CANARY not in repr(found)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (f'token = "{CANARY}"', "backend.vault.token", "fetched from elsewhere"),
        ("token = 1", "backend.vault.token", "must be a table"),
        ("token = {}", "backend.vault.token", "one of { file"),
        (f'token = {{ value = "{CANARY}" }}', "backend.vault.token", "one of { file"),
        ('token = { env = "A", file = "b" }', "backend.vault.token", "one of { file"),
        ("token = { command = [] }", "backend.vault.token", "a program and its arguments|must be"),
        (f'token = {{ command = "{CANARY}" }}', "backend.vault.token.command", "must be a list"),
        ("token = { env = 1 }", "backend.vault.token.env", "must be text"),
        ("", "backend.vault.token", "is missing"),
        ("tokn = 1", "backend.vault.tokn", "no setting"),
        (f'token = {{ env = "T" }}\ntries = "{CANARY}"', "backend.vault.tries", "whole number"),
        ('token = { env = "T" }\nauth = { method = "x" }', "backend.vault.auth.method", "one of token"),
        ('token = { env = "T" }\nauth = { metod = "x" }', "backend.vault.auth.metod", "no setting"),
    ],
)
def test_wrong_options_are_refused_by_their_key_and_without_their_value(read, text, key, message):
    with pytest.raises(SettingsError) as caught:
        vault(read, text, T="t")
    assert caught.value.key in (key, f"{key}.command")
    assert any(part in str(caught.value) for part in message.split("|"))
    assert CANARY not in f"{caught.value} {caught.value.hint}"


def test_a_secret_written_out_is_refused_with_how_to_write_it(read):
    with pytest.raises(SettingsError) as caught:
        vault(read, f'token = "{CANARY}"')
    for form in ("{ file =", "{ env =", "{ command ="):
        assert form in caught.value.hint


# --- secrets of the settings -------------------------------------------------------------------------


def source(kind: str, *argument: str) -> SecretSource:
    return SecretSource(kind=kind, argument=argument, key="backend.vault.token")


def secret_file(tmp_path: Path, data: bytes = CANARY.encode() + b"\n", mode: int = 0o600) -> SecretSource:
    path = tmp_path / "secret"
    path.write_bytes(data)
    path.chmod(mode)
    return source("file", str(path))


def python(script: str) -> SecretSource:
    return source("command", sys.executable, "-c", script)


def test_a_secret_comes_from_a_file(tmp_path):
    assert resolve(secret_file(tmp_path)) == Secret(CANARY)


@pytest.mark.parametrize(
    ("data", "text"), [(b"a\n\n", "a\n"), (b"a\r\n", "a"), (b" a ", " a "), (b"a\nb", "a\nb")]
)
def test_one_newline_at_the_end_is_dropped(tmp_path, data, text):
    assert resolve(secret_file(tmp_path, data)) == Secret(text)


def test_a_secret_comes_from_the_environment():
    assert resolve(source("env", "TOKEN"), environ={"TOKEN": CANARY}) == Secret(CANARY)


def test_a_secret_comes_from_a_command_without_a_shell():
    assert resolve(python(f"import sys; print('{CANARY}'); sys.stderr.write('noise')")) == Secret(CANARY)
    assert resolve(source("command", "echo", "$HOME;x")) == Secret("$HOME;x")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (source("env", "NONE"), "the variable NONE, which is not set"),
        (source("file", "/none"), "no such file"),
        (source("file", "/dev/null"), "not a regular file"),
        (source("command", "/none"), "cannot be started"),
        (python("raise SystemExit(3)"), "failed"),
        (python(f"raise SystemExit('{CANARY}')"), "failed"),
        (python("print()"), "empty"),
        (python("import os; os.write(1, b'\\xff')"), "not UTF-8"),
        (python("print('x' * 70_000)"), "more than 65536 bytes"),
        (python("while True: print('x' * 70_000)"), "more than 65536 bytes"),
    ],
)
def test_a_secret_that_cannot_be_had_is_an_error_that_names_the_setting(made, message):
    with pytest.raises(SettingsError, match=message) as caught:
        resolve(made, environ={})
    assert caught.value.key == "backend.vault.token"
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_secret_file_open_to_others_is_refused(tmp_path, mode):
    with pytest.raises(SettingsError, match="by others") as caught:
        resolve(secret_file(tmp_path, mode=mode))
    assert caught.value.hint.startswith("chmod 600 ")


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "empty"), (b"\xff", "not UTF-8"), (b"x" * 65_537, "65536 bytes")]
)
def test_a_secret_file_without_a_sound_text_is_refused(tmp_path, data, message):
    with pytest.raises(SettingsError, match=message):
        resolve(secret_file(tmp_path, data))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_secret_file_of_another_user_is_refused(tmp_path):
    made = secret_file(tmp_path)
    os.chown(made.argument[0], 4321, -1)
    with pytest.raises(SettingsError, match="belongs to another user"):
        resolve(made)


def test_a_command_that_does_not_end_is_given_up(monkeypatch):
    monkeypatch.setattr(secrets, "COMMAND_SECONDS", 0.2)
    with pytest.raises(SettingsError, match="did not end"):
        resolve(python("import time; time.sleep(60)"))


def test_a_source_prints_neither_its_argument_nor_anything_else(tmp_path):
    assert CANARY not in repr(source("text", CANARY))


def test_settings_errors_are_errors_of_ours():
    assert issubclass(SettingsError, StrongroomError)


# --- the page ----------------------------------------------------------------------------------------

PAGE = Path(__file__).parent.parent / "docs/settings.md"
SECTIONS = {
    "cache": CacheSettings,
    "lookup": LookupSettings,
    "store": StoreSettings,
    "store.wrappers": WrapperSettings,
    "audit": AuditSettings,
    "audit.checkpoint": CheckpointSettings,
    "audit.retention": RetentionSettings,
    "keys": KeySettings,
    "backend.NAME": BackendSettings,
    "agent": AgentSettings,
    "agent.server": AgentServerSettings,
    "agent.last_good": LastGoodSettings,
    "agent.file.NAME": FileSettings,
    "access.issuer.NAME": IssuerSettings,
    "access.kubernetes": ReviewSettings,
    "access.certificates": CertificateSettings,
}
TOP = ("deployment", "deployments", *TOP_KEYS)
NOT_SETTINGS = {
    "store.wrappers": {"options", "folder"},
    "backend.NAME": {"name", "options", "folder"},
}


@pytest.mark.parametrize(
    "key",
    [
        *(
            key
            for key in TOP
            if key not in ("backend", "cache", "lookup", "store", "audit", "agent", "access")
        ),
        *(
            f"{section}.{member.name}"
            for section, shape in SECTIONS.items()
            for member in fields(shape)
            if member.name not in NOT_SETTINGS.get(section, ())
        ),
        *(f"{{ {kind} = " for kind in ("file", "env", "command")),
        "STRONGROOM_CONFIG",
        "STRONGROOM_HOME",
        "STRONGROOM_DEPLOYMENT",
        "STRONGROOM_SOCKET",
        "STRONGROOM_URL",
        "STRONGROOM__SECTION__KEY",
    ],
)
def test_every_setting_is_documented(key):
    assert f"`{key}" in PAGE.read_text()


@pytest.mark.parametrize(("section", "shape"), [("witnesses", WitnessSettings), ("sinks", SinkSettings)])
def test_every_setting_of_what_records_are_copied_to_is_documented(section, shape):
    (row,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `audit.{section}` ")]
    for member in fields(shape):
        assert re.search(rf"\b{member.name}\b", row), f"audit.{section} says nothing of {member.name}"


def test_every_default_in_the_page_is_the_default():
    page = PAGE.read_text()
    for section, shape in (("cache", CacheSettings), ("lookup", LookupSettings)):
        for member in fields(shape):
            default = member.default if isinstance(member.default, str) else f"{member.default:g}"
            shown = f"{member.default:_}" if isinstance(member.default, int) else default
            assert f"| `{section}.{member.name}` | `{shown}` |" in page


# --- numbers and paths that nothing can hold -----------------------------------------------------


@pytest.mark.parametrize("number", ["1e300", "1e10", "9" * 400, "9" * 5000])
@pytest.mark.parametrize(
    "key",
    [
        "cache.ttl",
        "cache.stale_if_error",
        "cache.absent_ttl",
        "cache.max_entries",
        "lookup.timeout_seconds",
        "lookup.deadline_seconds",
        "backend.env.timeout_seconds",
    ],
)
def test_a_number_too_large_for_a_clock_is_refused(read, key, number):
    with pytest.raises(SettingsError):
        read(f"{key} = {number}")
    if "." not in number and "e" not in number:
        with pytest.raises(SettingsError):
            read(**{f"STRONGROOM__{key.upper().replace('.', '__')}": number})


def test_a_home_that_nobody_has_is_refused_by_key(read):
    with pytest.raises(SettingsError, match=r"store\.path must be a path") as caught:
        read("store.path = '~nobody-of-that-name/store.db'")
    assert caught.value.key == "store.path"


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_cannot_be_a_path_is_refused(tmp_path, environ, text):
    with pytest.raises(SettingsError, match="STRONGROOM_CONFIG is not a path"):
        load(text, environ=environ, cwd=tmp_path)
    with pytest.raises(SettingsError, match="STRONGROOM_HOME is not a path"):
        load(environ={**environ, "STRONGROOM_HOME": text}, cwd=tmp_path)


def test_a_whole_table_comes_from_the_environment_as_toml(read):
    assert read(STRONGROOM__CACHE="{ ttl = 7 }").cache.ttl == 7
    found = read(STRONGROOM__BACKEND__SHARED="{ kind = 'env', match = ['a*'] }", STRONGROOM__CHAIN="shared")
    assert (found.backend["shared"].kind, found.backend["shared"].match) == ("env", ("a*",))
    with pytest.raises(SettingsError, match="cache must be written as in the file"):
        read(STRONGROOM__CACHE="ttl 7")


def test_a_chain_of_nothing_is_refused(tmp_path):
    (tmp_path / "strongroom.toml").write_text("chain = []\n")
    with pytest.raises(SettingsError, match="chain names no backend"):
        load(environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path)


# --- what is only mine -------------------------------------------------------------------------------


def personal(folder: Path, text: str) -> Path:
    inner = folder / ".strongroom"
    inner.mkdir(mode=0o700, parents=True)
    path = inner / "strongroom.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_what_is_only_mine_is_laid_over_the_teams_file(tmp_path, environ):
    (tmp_path / "strongroom.toml").write_text(
        'chain = ["env", "vault"]\n[cache]\nttl = 60\nabsent_ttl = 5\n[backend.vault]\nurl = "https://v"\n'
    )
    mine = personal(
        tmp_path, 'chain = ["env", "dotenv", "vault"]\n[cache]\nttl = 1\n[backend.dotenv]\nkind = "file"\n'
    )
    consent(environ=environ, cwd=tmp_path).give()
    found = load(environ=environ, cwd=tmp_path)
    assert found.chain == ("env", "dotenv", "vault")
    assert (found.cache.ttl, found.cache.absent_ttl) == (1, 5)
    assert set(found.backend) == {"env", "vault", "dotenv"}
    assert (found.source, found.personal) == (tmp_path / "strongroom.toml", mine)


def test_what_is_only_mine_works_without_a_teams_file_and_below_the_environment(tmp_path, environ):
    mine = personal(tmp_path, "[cache]\nttl = 1\nabsent_ttl = 2\n")
    found = load(environ={**environ, "STRONGROOM__CACHE__TTL": "7"}, cwd=tmp_path, deployment="scratch")
    assert (found.deployment, found.source, found.personal) == ("scratch", None, mine)
    assert (found.cache.ttl, found.cache.absent_ttl) == (7, 2)


def test_paths_of_each_file_are_relative_to_its_own_folder(tmp_path, environ):
    (tmp_path / "strongroom.toml").write_text(
        '[audit]\npath = "audit"\n[backend.a]\nkind = "file"\nplace = "team.json"\n'
    )
    personal(tmp_path, '[store]\npath = "store.db"\n[backend.a]\npassword = { file = "token" }\n')
    found = load(environ=environ, cwd=tmp_path)
    assert found.audit.path == tmp_path / "audit"
    assert found.store.path == tmp_path / ".strongroom/store.db"
    token = tmp_path / ".strongroom/token"
    token.write_text(CANARY)
    token.chmod(0o600)
    made = options(found.backend["a"], Placed, environ=environ)
    assert (made.place, made.password) == (tmp_path / "team.json", Secret(CANARY))


@dataclass(frozen=True, kw_only=True)
class Placed:
    place: Path
    password: Secret


def test_where_a_secret_comes_from_is_replaced_as_a_whole(tmp_path, environ):
    (tmp_path / "strongroom.toml").write_text('[backend.a]\npassword = { env = "TOKEN" }\nplace = "x"\n')
    personal(tmp_path, '[backend.a]\npassword = { command = ["printf", "mine"] }\n')
    consent(environ=environ, cwd=tmp_path).give()
    found = load(environ=environ, cwd=tmp_path)
    assert options(found.backend["a"], Placed, environ=environ).password == Secret("mine")


# --- what was only come across -----------------------------------------------------------------------

VAULT = '[backend.vault]\nurl = "https://v.example"\ntoken = { command = ["printf", "x"] }\n'


@pytest.mark.parametrize("where", ["strongroom.toml", ".strongroom/strongroom.toml"])
@pytest.mark.parametrize(
    ("text", "key"),
    [
        (VAULT, "backend.vault"),
        ('[backend.m]\nkind = "airflow_metastore"\n', "backend.m"),
        ('[backend.m]\nkind = "a_plug_in"\n', "backend.m"),
        ("[backend.m]\nkind = []\n", "backend.m"),
        ("[backend]\nm = 1\n", "backend.m"),
        ('chain = ["env", "vault"]\n', "backend.vault"),
        (f"[deployments.b]\n[deployments.b.{VAULT[1:]}", "deployments.b.backend.vault"),
        (
            "[store]\nwrappers = [{ kind = 'passphrase', passphrase = { command = ['x'] } }]\n",
            "store.wrappers",
        ),
        ("[store]\nurl = 'postgresql://me@db.example/x'\npassword = { file = '/f' }\n", "store.url"),
    ],
)
def test_what_a_file_that_was_come_across_runs_or_asks_counts_after_a_yes_only(
    tmp_path, environ, where, text, key
):
    path = tmp_path / where
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SettingsError) as caught:
        load(environ=environ, cwd=tmp_path)
    assert caught.value.key == key
    assert f"--config {path}" in (caught.value.hint or "")
    needed = consent(environ=environ, cwd=tmp_path)
    assert needed is not None
    assert not needed.is_given
    assert "\n".join(needed.told()).startswith(key)
    needed.give()
    assert needed.is_given
    assert consent(path, environ=environ, cwd=tmp_path) is None


def test_a_yes_holds_for_what_was_shown_and_for_that_folder_alone(tmp_path, environ, home):
    path = tmp_path / "strongroom.toml"
    path.write_text(VAULT)
    consent(environ=environ, cwd=tmp_path).give()
    path.write_text("[cache]\nttl = 7\n" + VAULT)
    assert load(environ=environ, cwd=tmp_path).cache.ttl == 7
    path.write_text(VAULT.replace("printf", "rm"))
    with pytest.raises(SettingsError, match="nobody agreed"):
        load(environ=environ, cwd=tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "strongroom.toml").write_text(VAULT)
    with pytest.raises(SettingsError, match="nobody agreed"):
        load(environ=environ, cwd=other)
    (kept,) = (home / ".config/strongroom/agreed").iterdir()
    assert (stat.S_IMODE(kept.stat().st_mode), stat.S_IMODE(kept.parent.stat().st_mode)) == (0o600, 0o700)
    kept.chmod(0o666)
    path.write_text(VAULT)
    with pytest.raises(SettingsError, match="nobody agreed"):
        load(environ=environ, cwd=tmp_path)


def test_who_names_a_file_or_keeps_it_as_his_own_agreed_to_it(tmp_path, environ, home):
    path = tmp_path / "strongroom.toml"
    path.write_text(VAULT)
    assert "vault" in load(path, environ=environ, cwd=tmp_path).backend
    assert "vault" in load(environ={**environ, "STRONGROOM_CONFIG": str(path)}, cwd=tmp_path).backend
    assert "vault" in load(environ={**environ, "STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path).backend
    own = home / ".config/strongroom/strongroom.toml"
    own.parent.mkdir(parents=True)
    own.write_text(VAULT)
    (tmp_path / "other").mkdir()
    assert "vault" in load(environ=environ, cwd=tmp_path / "other").backend


def test_what_stays_on_this_machine_and_runs_nothing_needs_no_yes(tmp_path, environ):
    (tmp_path / "strongroom.toml").write_text(
        'chain = ["env", "native", "f"]\n[backend.f]\nkind = "file"\nenvironment = ".env"\n'
        '[store]\nwrappers = [{ kind = "passphrase", passphrase = { file = "p" } }]\n'
    )
    assert load(environ=environ, cwd=tmp_path).chain == ("env", "native", "f")


def test_what_is_told_of_a_file_names_commands_files_variables_and_hosts_and_no_other_text(tmp_path, environ):
    (tmp_path / "strongroom.toml").write_text(
        f'[backend.v]\nkind = "vault"\nurl = "https://u:{CANARY}@v.example:8200/{CANARY}"\n'
        f'token = "{CANARY}"\nsecret_id = {{ env = "ID" }}\npassword = {{ file = "/f" }}\n'
        'jwt = { command = ["sh", "-c", "x"] }\n'
    )
    told = list(consent(environ=environ, cwd=tmp_path).told())
    assert told == [
        "backend.v (vault): asks https://v.example:8200; takes the variable ID; reads /f; runs sh -c x"
    ]


def test_a_working_directory_that_was_deleted_is_told(tmp_path, environ, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SettingsError, match="working directory is not there"):
        load(environ=environ)


def test_beside_a_named_file_only_what_stands_beside_it_is_laid_over_it(tmp_path, environ):
    personal(tmp_path, "[cache]\nttl = 1\n")
    there = tmp_path / "there"
    beside = personal(there, "[cache]\nttl = 2\n")
    (there / "strongroom.toml").write_text("")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/strongroom.toml").write_text("")
    named = load(there / "strongroom.toml", environ=environ, cwd=tmp_path)
    assert (named.cache.ttl, named.personal) == (2, beside)
    by_variable = {**environ, "STRONGROOM_CONFIG": "elsewhere/strongroom.toml"}
    assert load(environ=by_variable, cwd=tmp_path).personal is None
    assert load(environ=environ, cwd=tmp_path).cache.ttl == 1


def test_what_is_only_mine_in_this_folder_lies_over_the_users_own_file_too(tmp_path, environ, home):
    (home / ".config/strongroom").mkdir(parents=True)
    (home / ".config/strongroom/strongroom.toml").write_text("[cache]\nttl = 9\nabsent_ttl = 8\n")
    personal(tmp_path, "[cache]\nttl = 1\n")
    found = load(environ=environ, cwd=tmp_path)
    assert (found.cache.ttl, found.cache.absent_ttl) == (1, 8)


@pytest.mark.parametrize(
    ("name", "mode"), [("strongroom.toml", 0o640), ("strongroom.toml", 0o602), ("", 0o770)]
)
def test_what_is_only_mine_is_refused_where_others_may_read_or_change_it(tmp_path, environ, name, mode):
    path = personal(tmp_path, f'[backend.a]\npassword = "{CANARY}"\n').parent / name
    path.chmod(mode)
    with pytest.raises(SettingsError, match="open to others") as caught:
        load(environ=environ, cwd=tmp_path)
    assert caught.value.hint == f"chmod {'600' if name else '700'} {path}"
    assert CANARY not in str(caught.value)


def test_what_is_only_mine_is_never_reached_through_a_link(tmp_path, environ):
    mine = personal(tmp_path / "project", "[cache]\nttl = 1\n")
    (tmp_path / ".strongroom").symlink_to(mine.parent)
    with pytest.raises(SettingsError, match="no plain folder"):
        load(environ=environ, cwd=tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_is_only_somebody_elses_is_passed_over(tmp_path, environ):
    path = personal(tmp_path, "[cache]\nttl = 1\n")
    os.chown(path, 12345, 12345)
    found = load(environ=environ, cwd=tmp_path)
    assert (found.cache.ttl, found.personal) == (300, None)


# --- tables given -------------------------------------------------------------------------------------


def test_tables_may_be_given_and_hold_secrets_in_memory(tmp_path, environ):
    secret = SecretSource(kind="text", argument=(CANARY,), key="")
    tables = {"chain": ["a"], "backend": {"a": {"kind": "file", "place": "here", "password": secret}}}
    found = load(environ=environ, cwd=tmp_path, tables=tables)
    assert found.chain == ("a",)
    assert CANARY not in repr(found)
    made = options(found.backend["a"], Placed, environ=environ)
    assert (made.place, made.password) == (tmp_path / "here", Secret(CANARY))
    assert tables["backend"]["a"] == {"kind": "file", "place": "here", "password": secret}


def test_tables_given_are_laid_over_the_files_and_below_the_environment(tmp_path, environ):
    (tmp_path / "strongroom.toml").write_text("[cache]\nttl = 60\nabsent_ttl = 5\n")
    given = {**environ, "STRONGROOM__CACHE__TTL": "7"}
    found = load(environ=given, cwd=tmp_path, tables={"cache": {"ttl": 1, "stale_if_error": 3}})
    assert (found.cache.ttl, found.cache.stale_if_error, found.cache.absent_ttl) == (7, 3, 5)


def test_a_secret_written_out_in_tables_is_refused(tmp_path, environ):
    found = load(environ=environ, cwd=tmp_path, tables={"backend": {"a": {"place": "x", "password": CANARY}}})
    with pytest.raises(SettingsError, match="not written out") as caught:
        options(found.backend["a"], Placed, environ=environ)
    assert CANARY not in f"{caught.value} {caught.value.hint}"


def test_the_name_of_a_deployment_is_plain_text_wherever_it_stands(tmp_path):
    folder = tmp_path / ".strongroom"
    folder.mkdir(mode=0o700)
    file = folder / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text('deployment = "mine"\n[deployments.other]\nchain = ["env"]\n')
    for wanted in (None, "other"):
        found = load(environ={"HOME": str(tmp_path)}, cwd=tmp_path, deployment=wanted)
        assert {type(name) for name in (found.deployment, *found.others)} == {str}
