"""The promise of a backend: injective names, one broad except, and finding a kind."""

import pkgutil
import sys
import types
from datetime import datetime, timedelta, timezone
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import strongroom.backends
from strongroom.backend import Fetched, Naming, PathBackend, check_size, ephemeral_version, kinds, load
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
)
from strongroom.model.ref import Ref

CANARY = "cAnArY-91b7"
ROOT = Path(__file__).parents[1]
AIRFLOW = Naming({"connection": "airflow/connections", "variable": "airflow/variables"}, team_separator="--")

NESTED = Naming({"connection": "airflow/connections", "variable": "airflow"})
MOUNTS = Naming({"connection": "c", "variable": "v"}, team_separator=":", name_leads=True)


def clock():
    return datetime(2026, 1, 1, tzinfo=timezone.utc)


# --- Naming ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("naming", "ref", "path"),
    [
        (AIRFLOW, Ref("connection", "orders_db"), "airflow/connections/orders_db"),
        (AIRFLOW, Ref("variable", "a/b c"), "airflow/variables/a/b c"),
        (AIRFLOW, Ref("variable", "x", "data"), "airflow/variables/data--x"),
        (AIRFLOW, Ref("variable", "data--x"), None),
        (AIRFLOW, Ref("variable", "-x", "a"), "airflow/variables/a---x"),
        (AIRFLOW, Ref("variable", "x", "a--b"), None),
        (AIRFLOW, Ref("config", "x"), None),
        (Naming({"variable": ""}), Ref("variable", "x"), "x"),
        (Naming({"variable": None}), Ref("variable", "x"), None),
        (Naming({"variable": "v"}), Ref("variable", "x", "data"), None),
        (Naming({"variable": "v"}, separator="-"), Ref("variable", "x"), "v-x"),
        (Naming({"variable": "v"}, is_spellable=str.isidentifier), Ref("variable", "x"), None),
        (NESTED, Ref("variable", "x"), "airflow/x"),
        (NESTED, Ref("connection", "x"), "airflow/connections/x"),
        (NESTED, Ref("variable", "connections/x"), None),
        (NESTED, Ref("variable", "connections_x"), "airflow/connections_x"),
        (MOUNTS, Ref("variable", "kv/a/b"), "kv/v/a/b"),
        (MOUNTS, Ref("variable", "kv/a", "data"), "kv/v/data:a"),
        (MOUNTS, Ref("variable", "kv"), None),
    ],
)
def test_path_is_prefix_team_and_name_or_nothing(naming, ref, path):
    assert naming.path(ref) == path


def test_name_a_store_cannot_spell_is_refused_for_writing_and_names_the_store():
    with pytest.raises(InvalidInputError, match="vault") as caught:
        AIRFLOW.spell(Ref("variable", "data--x"), "vault")
    assert caught.value.hint
    assert AIRFLOW.spell(Ref("variable", "x"), "vault") == "airflow/variables/x"


MANY = Naming({"connection": ("many#", "own"), "variable": "vars#"}, team_separator="--")


def test_secrets_that_hold_many_are_told_from_what_the_other_paths_begin_with():
    assert MANY.secrets() == ("many", "vars")
    assert MANY.beginnings() == MANY.beginnings("connection") == ("own/",)
    assert MANY.beginnings("connection", "data") == ("own/data--",)
    assert MANY.beginnings("variable") == MANY.beginnings("config") == ()
    assert MOUNTS.secrets() == MOUNTS.beginnings() == ()


def test_path_stands_in_a_secret_of_its_own_or_in_one_that_holds_many():
    assert [MANY.secret(path) for path in MANY.paths(Ref("connection", "x"))] == ["many", "own/x"]


@pytest.mark.parametrize(
    "prefixes",
    [
        {"connection": "a", "variable": "a"},
        {"connection": ("b", "a"), "variable": ("c", "a")},
        {"connection": "", "variable": ""},
    ],
)
def test_prefixes_under_which_kinds_could_meet_are_refused(prefixes):
    with pytest.raises(BackendConfigError):
        Naming(prefixes)


names = st.text(st.sampled_from("ab-_/x. "), min_size=1, max_size=6)
teams = st.none() | st.text(st.sampled_from("ab-_"), min_size=1, max_size=6)


def ref_or_none(kind, name, team):
    try:
        return Ref(kind, name, team)
    except InvalidInputError:
        return None


@given(
    st.lists(st.builds(ref_or_none, st.sampled_from(["connection", "variable"]), names, teams), max_size=40),
    st.sampled_from([None, "--", "-", "_", "/", "___"]),
    st.sampled_from(
        [
            {"connection": "c", "variable": "v"},
            {"connection": "", "variable": "a"},
            {"connection": ("a/b", "a"), "variable": ("", "b")},
        ]
    ),
    st.booleans(),
)
def test_two_refs_never_share_a_path(refs, separator, prefixes, name_leads):
    naming = Naming(prefixes, team_separator=separator, name_leads=name_leads)
    owners = {}
    for ref in {ref for ref in refs if ref is not None}:
        for path in naming.paths(ref):
            assert owners.setdefault(path, ref) == ref


@given(
    st.builds(ref_or_none, st.sampled_from(["connection", "variable"]), names, teams),
    st.sampled_from([None, "--", "-", "/"]),
    st.sampled_from(
        [
            {"connection": "c", "variable": "v"},
            {"connection": "", "variable": "a"},
            {"connection": ("a/b", "a"), "variable": ("", "b")},
        ]
    ),
)
def test_path_gives_its_ref_back_and_no_other(ref, separator, prefixes):
    naming = Naming(prefixes, team_separator=separator)
    for path in naming.paths(ref) if ref is not None else ():
        assert any(path.startswith(folder) for folder in naming.folders(ref.kind, ref.team))
        assert naming.ref(path, ref.kind, ref.team) == ref


@given(st.text(st.sampled_from("abcv-/. "), max_size=8), st.sampled_from(["connection", "variable"]), teams)
def test_ref_of_any_path_has_that_path_or_is_none(path, kind, team):
    naming = Naming({"connection": ("a/b", "a"), "variable": ("", "b")}, team_separator="/")
    ref = naming.ref(path, kind, team)
    assert ref is None or path in naming.paths(ref)


def test_names_that_lead_have_no_folder():
    assert MOUNTS.folders("variable") == ()
    assert MOUNTS.ref("mnt/v/x", "variable") is None


def test_kinds_share_a_prefix_only_where_they_may():
    shared = Naming({"connection": ("c", "all"), "variable": ("v", "all")}, may_share=True)
    assert shared.paths(Ref("connection", "x")) == ("c/x", "all/x")
    assert shared.paths(Ref("variable", "x")) == ("v/x", "all/x")


def test_several_prefixes_give_their_paths_in_order():
    naming = Naming({"variable": ("team", "shared", "team")})
    assert naming.paths(Ref("variable", "x")) == ("team/x", "shared/x")
    assert naming.path(Ref("variable", "x")) == "team/x"


# --- PathBackend -------------------------------------------------------------------------------


class Paths(PathBackend):
    """A foreign store whose one answer the test decides."""

    def __init__(self, answer):
        super().__init__("paths", None, AIRFLOW, clock)
        self.answer = answer
        self.asked = []

    def _fetch(self, path):
        self.asked.append(path)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def test_fetched_text_becomes_an_entry_with_its_origin():
    backend = Paths(Fetched(text=CANARY, version="7", lifetime=timedelta(minutes=1)))
    entry = backend.read(Ref("variable", "x"))
    assert backend.asked == ["airflow/variables/x"]
    assert (entry.secret.reveal(), entry.version, entry.lifetime) == (CANARY, "7", timedelta(minutes=1))
    assert (entry.backend, entry.read_at) == ("paths", clock())
    assert CANARY not in repr(entry) + repr(backend.answer)


def test_name_that_cannot_be_spelled_is_absent_without_a_call():
    backend = Paths(Fetched(text="x"))
    assert backend.read(Ref("variable", "data--x")) is None
    assert backend.asked == []


def test_several_paths_are_asked_in_order_until_one_holds_something():
    backend = Paths(None)
    backend.naming = Naming({"variable": ("team", "shared")})
    assert backend.read(Ref("variable", "x")) is None
    assert backend.asked == ["team/x", "shared/x"]
    backend.answer = Fetched(text="x")
    assert backend.read(Ref("variable", "x")).secret.reveal() == "x"
    assert backend.asked[2:] == ["team/x"]


def test_nothing_fetched_is_absent():
    assert Paths(None).read(Ref("variable", "x")) is None


def test_foreign_error_is_unavailable_and_only_its_class_is_told():
    with pytest.raises(BackendUnavailableError, match="ValueError") as caught:
        Paths(ValueError(CANARY)).read(Ref("variable", "x"))
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


def test_no_frame_of_a_malformed_entry_holds_its_value():
    with pytest.raises(MalformedEntryError) as caught:
        Paths(Fetched(text=CANARY + "x" * 1_100_000)).read(Ref("variable", "x"))
    frames = caught.tb.tb_next
    told = []
    while frames is not None:
        told.append(repr(list(frames.tb_frame.f_locals.values())))
        frames = frames.tb_next
    assert told
    assert CANARY not in "".join(told)


def test_own_error_passes_unchanged():
    error = AccessDeniedError("no", reason="rule")
    with pytest.raises(AccessDeniedError) as caught:
        Paths(error).read(Ref("variable", "x"))
    assert caught.value is error


def test_interrupt_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        Paths(KeyboardInterrupt()).read(Ref("variable", "x"))


def test_text_over_one_mebibyte_is_malformed():
    check_size("é" * 524_288, backend="b", ref=Ref("variable", "x"))
    with pytest.raises(MalformedEntryError) as caught:
        Paths(Fetched(text="é" * 524_289)).read(Ref("variable", "x"))
    assert caught.value.backend == "paths"


def test_ephemeral_version_follows_key_and_text():
    key, other = b"k" * 16, b"o" * 16
    assert ephemeral_version(key, "a") == ephemeral_version(key, "a")
    assert len({ephemeral_version(key, "a"), ephemeral_version(key, "b"), ephemeral_version(other, "a")}) == 3


# --- load --------------------------------------------------------------------------------------


@pytest.fixture
def stranger(monkeypatch):
    """Install a stranger's entry point without installing a package."""

    def install(found):
        point = EntryPoint("strange", "strange_package.backend:BACKEND", "strongroom.backends")
        monkeypatch.setattr(
            "importlib.metadata.entry_points",
            lambda group, name=None: [point] if name in (None, "strange") else [],
        )
        package = types.ModuleType("strange_package.backend")
        package.BACKEND = found
        monkeypatch.setitem(sys.modules, "strange_package", types.ModuleType("strange_package"))
        monkeypatch.setitem(sys.modules, "strange_package.backend", package)

    return install


def test_own_backend_is_found_by_its_file_name():
    assert {load(kind).__name__ for kind in ("env", "file", "native")} == {"Env", "File", "Native"}


def test_strangers_backend_is_found_by_its_entry_point(stranger):
    stranger(Paths)
    assert load("strange") is Paths
    assert "strange" in kinds()


def test_strangers_entry_point_that_is_no_backend_is_refused(stranger):
    stranger(object)
    with pytest.raises(BackendConfigError, match="is not a Backend"):
        load("strange")


@pytest.mark.parametrize("kind", ["nope", "", "../env", "_private", "env.x", "x" * 100])
def test_unknown_kind_is_refused_and_the_known_are_named(kind):
    with pytest.raises(BackendConfigError) as caught:
        load(kind)
    assert "env" in caught.value.hint
    assert "file" in caught.value.hint


def test_missing_package_names_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "strongroom.backends.native", raising=False)
    monkeypatch.setitem(sys.modules, "strongroom.backends.native", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    with pytest.raises(BackendConfigError, match="needs the package") as caught:
        load("native")
    assert caught.value.hint == "pip install 'strongroom[store]'"


def test_every_backend_has_its_page_and_its_test():
    for info in pkgutil.iter_modules(strongroom.backends.__path__):
        assert (ROOT / "docs" / "backends" / f"{info.name}.md").is_file(), info.name
        assert (ROOT / "tests" / "backends" / f"test_{info.name}.py").is_file(), info.name
