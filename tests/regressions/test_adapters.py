"""
What is tried on every store of others: names that climb, names that meet, addresses that are none, and a
store that refuses or is silent above another that would answer.

No store runs here: what could reach one is looked at on the way, by a server that says what it is told.
"""

import os
import random
from contextlib import closing
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parts.proxy import Scripted, reply
from strongroom.backend import load
from strongroom.chain import Chain, Link
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.fakes import Memory
from strongroom.vendors.sessions import Sessions

KINDS = ("connection", "variable", "config")
NOWHERE = "http://127.0.0.1:1"
AWS = {"region_name": "eu-west-1", "aws_access_key_id": Secret("AKIA"), "aws_secret_access_key": Secret("s")}
HELD = {"connections_prefix": "held/connections#", "variables_prefix": "held/variables#"}
ADAPTERS = {
    "vault": ("vault", {"token": Secret("t"), "url": NOWHERE}),
    "vault with teams": ("vault", {"token": Secret("t"), "url": NOWHERE, "use_team_secrets_path": True}),
    "vault by mount in the name": (
        "vault",
        {"token": Secret("t"), "url": NOWHERE, "mount_point": None, "use_team_secrets_path": True},
    ),
    "aws_secrets_manager": ("aws_secrets_manager", {**AWS, "endpoint_url": NOWHERE}),
    "aws_secrets_manager with teams": (
        "aws_secrets_manager",
        {**AWS, "endpoint_url": NOWHERE, "use_team_secrets_path": True},
    ),
    "aws_secrets_manager in one secret": ("aws_secrets_manager", {**AWS, "endpoint_url": NOWHERE, **HELD}),
    "aws_parameter_store": ("aws_parameter_store", {**AWS, "endpoint_url": NOWHERE}),
    "aws_parameter_store with teams": (
        "aws_parameter_store",
        {**AWS, "endpoint_url": NOWHERE, "use_team_secrets_path": True},
    ),
    "gcp_secret_manager": ("gcp_secret_manager", {"project_id": "home", "endpoint": NOWHERE}),
    "gcp_secret_manager with teams": (
        "gcp_secret_manager",
        {"project_id": "home", "endpoint": NOWHERE, "use_team_secrets_path": True},
    ),
    "azure_key_vault": ("azure_key_vault", {"vault_url": "https://home.vault.azure.net"}),
    "azure_key_vault with teams": (
        "azure_key_vault",
        {"vault_url": "https://home.vault.azure.net", "use_team_secrets_path": True},
    ),
    "kubernetes by name": (
        "kubernetes",
        {"url": NOWHERE, "token": Secret("t"), "namespace": "airflow", "find": "name"},
    ),
    "kubernetes by name with teams": (
        "kubernetes",
        {
            "url": NOWHERE,
            "token": Secret("t"),
            "namespace": "airflow",
            "find": "name",
            "use_team_secrets_path": True,
        },
    ),
    "kubernetes by label": ("kubernetes", {"url": NOWHERE, "token": Secret("t"), "namespace": "airflow"}),
}
NAMES = st.text(st.sampled_from("aB-_./#:é "), min_size=1, max_size=7)
TEAMS = st.none() | st.text(st.sampled_from("ab-_"), min_size=1, max_size=3)


def clock():
    return datetime.now(timezone.utc)


def found_or_skip(kind):
    """Give the class of *kind*, or skip; where `CI` is set its SDK must be installed."""
    try:
        return load(kind)
    except BackendConfigError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{error}: {error.hint}")


def made(adapter, **more):
    kind, said = ADAPTERS[adapter]
    found = found_or_skip(kind)
    needs = {"environ": {}} if getattr(found, "needs_environ", False) else {}
    options = found.options_type(**{"timeout": timedelta(seconds=2), **said, **more})
    return found("mine", options, clock=clock, **needs)


@pytest.fixture(params=ADAPTERS)
def backend(request):
    with closing(made(request.param)) as backend:
        yield backend


def refs_of(kind, name, team):
    try:
        return Ref(kind, name, team)
    except InvalidInputError:
        return None


# --- PO04, NM: how a name is spelled -------------------------------------------------------------------


def test_PO04_no_two_names_of_an_adapter_meet_in_one_path(backend):
    letters, draw = "ab-_./#: A", random.Random(7)
    by_path = {}
    count = 0
    for _ in range(12_000):  # every pair of those it can spell
        name = "".join(draw.choices(letters, k=draw.randint(1, 6)))
        team = draw.choice([None, "a", "b", "a-", "-a", "a-b", "a_b"])
        ref = refs_of(draw.choice(KINDS), name, team)
        for path in backend.naming.paths(ref) if ref else ():
            count += 1
            meets = by_path.setdefault(path, ref)
            if backend.naming.may_share:  # what is stored tells kinds apart
                assert (meets.name, meets.team) == (ref.name, ref.team), path
            else:
                assert meets == ref, path
    assert count > 200


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.tuples(st.sampled_from(KINDS), NAMES, TEAMS), min_size=1, max_size=12))
def test_NM10_path_is_read_back_to_the_name_it_was_made_of(names):
    for adapter in ADAPTERS:
        with closing(made(adapter)) as backend:
            for kind, name, team in names:
                ref = refs_of(kind, name, team)
                for path in backend.naming.paths(ref) if ref and not backend.naming.name_leads else ():
                    assert backend.naming.ref(path, kind, team) == ref, (adapter, path)


def test_NM08_words_that_stores_use_themselves_are_names_like_others(backend):
    words = ("metadata", "data", "versions", "sys", "latest", "AWSCURRENT", "config", "undelete", "secrets")
    paths = [path for word in words for path in backend.naming.paths(Ref("variable", f"kv/{word}"))]
    paths += [path for word in words for path in backend.naming.paths(Ref("variable", word))]
    assert len(set(paths)) == len(paths)
    assert paths


def test_NM12_a_connection_and_a_variable_of_one_name_have_paths_of_their_own(backend):
    for name in ("twin", "kv/twin"):
        paths = [path for kind in KINDS for path in backend.naming.paths(Ref(kind, name))]
        assert len(set(paths)) == len(paths)


def test_NM07_name_over_a_limit_of_the_store_is_refused_with_the_store_named_and_nothing_is_asked(backend):
    for name in ("n" * 250, f"kv/{'n' * 240}"):
        ref = Ref("variable", name)
        if backend.naming.paths(ref):
            continue  # it can hold it
        assert backend.read(ref) is None
        with pytest.raises(InvalidInputError, match="the backend mine cannot hold the name"):
            backend.write(Draft(ref=ref, secret=Secret("x"), author="me"))


# --- NM02: names that climb, on the wire ---------------------------------------------------------------

CLIMBING = (
    "../x",
    "../../sys/seal-status",
    "a/../../x",
    "./x",
    "a/./b",
    "a//b",
    "/etc/passwd",
    "x/",
    "..",
    ".",
    "..\\x",
    "..;/x",
    "%2e%2e/x",
    "%2e%2e%2fx",
    "%252e%252e%252fx",
    "x%00",
    "%c0%ae%c0%ae/x",
    "x;y=z",
    "x?list=true",
    "x#y",
    "x&y=z",
    "kv/../../sys/seal-status",
    "kv/%2e%2e/x",
)
OVER_HTTP = [
    "vault",
    "vault with teams",
    "vault by mount in the name",
    "kubernetes by name",
    "kubernetes by label",
]


@pytest.mark.parametrize("adapter", OVER_HTTP)
def test_NM02_name_that_climbs_reaches_nothing_but_its_own_place(adapter):
    with (
        Scripted(lambda _: reply(404, {"Content-Type": "application/json"}, b'{"errors": []}')) as server,
        closing(made(adapter, url=server.url())) as backend,
    ):
        for name in CLIMBING:
            for ref in filter(None, (refs_of("variable", name, None), refs_of("connection", name, "data"))):
                try:
                    assert backend.read(ref) is None
                except StrongroomError:
                    pass
                else:
                    assert backend.read_many([ref]) == [None]
        assert server.refused == 0
        for line in server.lines:
            _assert_at_home(line.partition(" ")[2], adapter)


def _assert_at_home(target, adapter):
    path, _, query = target.partition("?")
    told = unquote(path)
    assert not {".", ".."} & set(told.split("/")), target
    assert "#" not in target
    assert "list=true" not in query or adapter.startswith("kubernetes"), target
    homes = ("/v1/secret/", "/v1/kv/", "/v1/sys/internal/", "/v1/sys/mounts")
    if adapter.startswith("kubernetes"):
        homes = ("/api/v1/namespaces/airflow/secrets",)
    elif "mount" in adapter:
        homes = ("/v1/",)
        assert "/data/" in told or told.startswith(homes) or told.startswith("/v1/sys/internal/"), target
    assert told.startswith(homes), target


@pytest.mark.parametrize(
    "adapter", [one for one in ADAPTERS if one.partition("_")[0] in ("gcp", "azure", "aws")]
)
def test_NM02_name_that_climbs_is_no_word_of_the_stores_grammar_or_stands_in_a_body(adapter):
    with closing(made(adapter)) as backend:
        for name in CLIMBING:
            ref = refs_of("variable", name, None)
            for path in backend.naming.paths(ref) if ref else ():
                holder = backend.naming.holder(path)
                spelled = path if holder is None else holder[0]
                assert not {"?", "#", "%", ";", "&", "\\", "\0"} & set(spelled), path
                # Names of AWS stand in the body of a request and never in its path.
                assert adapter.startswith("aws") or "/" not in spelled, path


# --- SS03: addresses that are none ---------------------------------------------------------------------

ADDRESSES = {
    "vault": "url",
    "aws_secrets_manager": "endpoint_url",
    "aws_parameter_store": "endpoint_url",
    "gcp_secret_manager": "endpoint",
    "azure_key_vault": "vault_url",
    "kubernetes by name": "url",
}
FOREIGN = (
    "file:///etc/passwd",
    "gopher://127.0.0.1/x",
    "ldap://127.0.0.1",
    "jdbc:postgresql://127.0.0.1/x",
    "http+unix://%2Frun%2Fx.sock",
    "unix:///run/x.sock",
    "http://user:cAnArY@127.0.0.1",
    "//127.0.0.1",
    "http://",
    "http://127.0.0.1:1/#x",
    "http://127.0.0.1:1 .evil.example",
    "https://127.0.0.1:1\\@evil.example",
)


@pytest.mark.parametrize("adapter", ADDRESSES)
@pytest.mark.parametrize("url", FOREIGN)
def test_SS03_address_that_is_none_is_refused_and_not_shown(adapter, url):
    with pytest.raises((BackendConfigError, InvalidInputError)) as caught:  # noqa: PT012 -- at the latest when asked
        backend = made(adapter, **{ADDRESSES[adapter]: url})
        with closing(backend):
            backend.read(Ref("variable", "held"))
    assert "cAnArY" not in f"{caught.value} {caught.value.hint}"


# --- PO05, PO06: nobody answers in another's place -----------------------------------------------------

ANSWERS = {
    "vault": (403, b'{"errors": ["permission denied"]}'),
    "aws_secrets_manager": (400, b'{"__type": "AccessDeniedException", "message": "no"}'),
    "aws_parameter_store": (400, b'{"__type": "AccessDeniedException", "message": "no"}'),
    "kubernetes by name": (
        403,
        b'{"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403}',
    ),
    "kubernetes by label": (
        403,
        b'{"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403}',
    ),
}
SILENT = (503, b"{}")
DENIALS = (AccessDeniedError, NotAuthenticatedError)  # a server that refuses all refuses the token too


def below(server, adapter, **link):
    """Give a chain of the adapter, asking *server*, above a memory that would answer with something older."""
    where = {"aws_secrets_manager": "endpoint_url", "aws_parameter_store": "endpoint_url"}.get(adapter, "url")
    first = made(adapter, **{where: server.url()})
    second = Memory("second", {Ref("variable", "held"): "older"})
    return Chain([Link(backend=first, **link), Link(backend=second)], clock=clock), second


@pytest.mark.parametrize("adapter", ANSWERS)
@pytest.mark.parametrize("rule", ["stale", "stop", "next"])
def test_PO05_denial_ends_the_lookup_whoever_stands_below(adapter, rule):
    status, body = ANSWERS[adapter]
    with Scripted(lambda _: reply(status, {"Content-Type": "application/json"}, body)) as server:
        chain, second = below(server, adapter, on_unavailable=rule)
        with closing(chain):
            with pytest.raises(DENIALS):
                chain.read(Ref("variable", "held"))
            assert isinstance(chain.read_many([Ref("variable", "held")])[0], DENIALS)
            assert second.calls == []


@pytest.mark.parametrize("adapter", ANSWERS)
def test_PO06_silence_is_never_answered_by_an_older_value_from_below(adapter):
    status, body = SILENT
    with Scripted(lambda _: reply(status, {"Content-Type": "application/json"}, body)) as server:
        chain, second = below(server, adapter)
        refs = [Ref("variable", "held"), Ref("variable", "nobody")]
        with closing(chain):
            with pytest.raises(BackendUnavailableError):
                chain.read(refs[0])
            assert all(isinstance(one, BackendUnavailableError) for one in chain.read_many(refs))
            assert second.calls == []


# --- SS08, SS09: nothing goes elsewhere ----------------------------------------------------------------


@pytest.mark.parametrize("adapter", ANSWERS)
def test_SS08_redirect_of_a_store_is_not_followed_and_nothing_is_sent_there(adapter):
    with Scripted(lambda _: reply(200, body=b"{}")) as elsewhere:
        away = reply(307, {"Location": f"{elsewhere.url()}/v1/x"})
        with Scripted(lambda _: away) as server:
            chain, second = below(server, adapter)
            with closing(chain), pytest.raises(BackendUnavailableError):
                chain.read(Ref("variable", "held"))
            assert (elsewhere.connections, second.calls) == (0, [])


@pytest.mark.parametrize("adapter", ANSWERS)
def test_SS09_proxies_of_the_environment_are_not_used(adapter, monkeypatch):
    status, body = ANSWERS[adapter]
    said = reply(status, {"Content-Type": "application/json"}, body)
    with Scripted(lambda _: reply(200, body=b"{}")) as elsewhere, Scripted(lambda _: said) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.url())
        chain, _ = below(server, adapter)
        with closing(chain), pytest.raises(DENIALS):
            chain.read(Ref("variable", "held"))
        assert elsewhere.connections == 0
        assert server.requests > 0


# --- one session a vendor ------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", sorted(ADDRESSES))
def test_backends_with_the_same_access_share_a_session_until_the_last_is_closed(adapter):
    kind, said = ADAPTERS[adapter]
    found, sessions = found_or_skip(kind), Sessions()
    assert found.needs_sessions
    needs = {"environ": {}} if getattr(found, "needs_environ", False) else {}
    prefix = next(one.name for one in fields(found.options_type) if one.name.startswith("variables_p"))

    def one(name, **more):
        return found(name, found.options_type(**{**said, **more}), clock=clock, sessions=sessions, **needs)

    first, second = one("first"), one("second", **{prefix: "elsewhere"})
    assert len(sessions._shared) == 1
    other = one("other", timeout=timedelta(seconds=9))
    assert len(sessions._shared) == 2
    for backend in (first, first, other):
        backend.close()
    assert len(sessions._shared) == 1
    second.close()
    assert sessions._shared == []


# --- least policy, in the docs -------------------------------------------------------------------------

DOCS = Path(__file__).parents[2] / "docs" / "backends"


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in ADAPTERS.values()}))
def test_least_policy_of_a_store_stands_on_its_page(kind):
    adapter = next(name for name, (of, _) in ADAPTERS.items() if of == kind)
    page = (DOCS / f"{kind}.md").read_text(encoding="utf-8")
    with closing(made(adapter)) as backend:
        policy = backend.least_policy(("read", "list", "write"))
    assert "least policy" in page.lower() or "backends setup" in page
    words = {word for word in _words(policy) if word in _PERMISSIONS}
    assert words
    assert words <= set(_words(page)), sorted(words - set(_words(page)))


def _words(text):
    return [word.strip("\"',:;()[]{}`|<>*.") for word in text.split()]


_PERMISSIONS = {
    *("read", "list", "create", "update", "delete", "get", "set", "watch", "patch"),
    *(f"secretsmanager:{verb}" for verb in ("GetSecretValue", "BatchGetSecretValue", "ListSecrets")),
    *(f"secretsmanager:{verb}" for verb in ("CreateSecret", "PutSecretValue", "DeleteSecret")),
    *(f"ssm:{verb}" for verb in ("GetParameter", "GetParameters", "GetParametersByPath", "PutParameter")),
    "roles/secretmanager.secretAccessor",
    "roles/secretmanager.viewer",
    "secretmanager.versions.access",
    "secretmanager.secrets.list",
}
