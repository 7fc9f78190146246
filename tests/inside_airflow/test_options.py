"""What an operator says to the secrets backend: read, or refused by the name of the keyword."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.airflow.options import Options, options_of
from strongroom.errors import SettingsError

VAULT = "airflow.providers.hashicorp.secrets.vault.VaultBackend"
SECRETS_MANAGER = "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend"


def refused(**kwargs):
    with pytest.raises(SettingsError) as caught:
        options_of(kwargs)
    return caught.value


def test_without_keywords_nothing_is_named():
    assert options_of({}) == Options()
    assert not options_of({}).is_placed


@pytest.mark.parametrize(
    "kwargs",
    [
        {"socket": "/run/s"},
        {"url": "https://s"},
        {"settings": "/etc/s.toml"},
        {"chain": "env"},
        {"backend": "{}"} | {"chain": "env"},
    ],
)
def test_a_place_is_named_by_each_of_its_keywords(kwargs):
    assert options_of(kwargs).is_placed


def test_what_is_empty_or_null_counts_as_unsaid():
    assert options_of({"socket": "", "chain": None, "mode": "", "team": None}) == Options()


@pytest.mark.parametrize("chain", [["env", "vault"], '["env", "vault"]', "env,vault", " env , vault"])
def test_a_chain_is_a_list_json_text_or_names_with_commas(chain):
    assert options_of({"chain": chain}).chain == ("env", "vault")


def test_tables_of_backends_are_objects_or_json_text():
    tables = {"vault": {"url": "https://v", "kv_engine_version": 1}}
    for given_as in (tables, json.dumps(tables)):
        assert options_of({"chain": "vault", "backend": given_as}).backend == tables


def test_everything_may_be_text_as_variables_of_the_environment_give_it():
    plain = {
        "settings": "/etc/strongroom.toml",
        "deployment": "prod",
        "chain": ["env"],
        "mode": "shadow",
        "shadow_backend": VAULT,
        "shadow_backend_kwargs": {"url": "https://v"},
        "canary": ["etl_*"],
        "at_parse": "refuse",
        "on_unavailable": "next",
        "team": "data",
    }
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in plain.items()}
    assert options_of(texts) == options_of(plain)


# --- classes of Airflow's --------------------------------------------------------------------------------


def test_a_class_of_airflows_with_its_keywords_stands_in_a_chain():
    found = options_of({"chain": ["env", {"class": VAULT, "kwargs": {"url": "https://v"}}]})
    assert found.chain == ("env", "vault")
    assert found.backend == {
        "vault": {"kind": "airflow_class", "path": VAULT, "kwargs": {"url": "https://v"}}
    }


def test_a_class_may_stand_alone_and_twice():
    found = options_of({"chain": [VAULT, {"class": VAULT, "match": ["x_*"]}, SECRETS_MANAGER]})
    assert found.chain == ("vault", "vault_2", "secrets_manager")
    assert found.backend["vault_2"] == {"kind": "airflow_class", "path": VAULT, "match": ["x_*"]}


def test_an_item_may_say_its_name_or_a_kind_of_ours():
    found = options_of(
        {"chain": [{"class": VAULT, "name": "old"}, {"kind": "file", "connections": "/c.json"}]}
    )
    assert found.chain == ("old", "file")
    assert found.backend["file"] == {"kind": "file", "connections": "/c.json"}


@pytest.mark.parametrize(
    ("chain", "key"),
    [
        ([{"class": "VaultBackend"}], "chain[0].class"),
        ([{"class": VAULT, "kind": "vault"}], "chain[0].class"),
        (["env", {"kwargs": {}}], "chain[1]"),
        ([1], "chain[0]"),
        ([{"class": VAULT, "name": 1}], "chain[0].name"),
        ([{"class": VAULT, "kwargs": "{"}], "chain[0].kwargs"),
        ([{"kind": "file", "name": "x"}, {"kind": "file", "name": "x"}], "chain[1].name"),
        ([], "chain"),
        ('{"a": 1}', "chain"),
        ("[", "chain"),
        (7, "chain"),
    ],
)
def test_a_chain_that_cannot_be_is_refused_where_it_is_wrong(chain, key):
    assert refused(chain=chain).key == key


# --- refusals --------------------------------------------------------------------------------------------


def test_an_unknown_keyword_is_refused_with_the_nearest():
    assert refused(sokcet="/run/s").hint == "did you mean socket?"
    assert "socket" in refused(zzzzzz="1").hint


@pytest.mark.parametrize(
    ("kwargs", "key"),
    [
        ({"socket": "/s", "url": "https://s"}, "url"),
        ({"socket": "/s", "chain": "env"}, "chain"),
        ({"url": "https://s", "settings": "/s"}, "settings"),
        ({"url": "https://s", "token": "a", "token_file": "/t"}, "token"),
        ({"socket": "/s", "deployment": "prod"}, "deployment"),
        ({"token": "srm_t_x"}, "token"),
        ({"token_file": "/t"}, "token_file"),
        ({"ca": "/c"}, "ca"),
        ({"shadow_backend": VAULT}, "shadow_backend"),
        ({"canary": "etl"}, "canary"),
        ({"mode": "off"}, "mode"),
        ({"at_parse": "never"}, "at_parse"),
        ({"on_unavailable": "stale"}, "on_unavailable"),
        ({"socket": 1}, "socket"),
        ({"backend": {"vault": 1}}, "backend.vault"),
        ({"backend": "[]"}, "backend"),
        ({"canary": [1], "mode": "shadow"}, "canary"),
        ({"shadow_backend_kwargs": "x", "mode": "shadow"}, "shadow_backend_kwargs"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(kwargs, key):
    assert refused(**kwargs).key == key


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(Options.__dataclass_fields__)) | st.text(max_size=6)


@given(st.dictionaries(KEYS, JUNK | JUNK.map(json.dumps), max_size=6))
def test_whatever_is_said_gives_options_or_one_refusal(kwargs):
    try:
        said = options_of(kwargs)
    except SettingsError as error:
        said = error
    assert isinstance(said, Options) or (said.key is not None and "\n" not in str(said))


@pytest.mark.parametrize("key", ["token", "backend", "chain", "shadow_backend_kwargs", "mode"])
def test_a_refusal_never_holds_what_was_said(key):
    error = refused(url="https://s", **{key: ["{of-the-secret"]})
    assert "of-the-secret" not in f"{error} {error.hint}"


def test_options_print_the_names_of_what_was_said_alone():
    options = options_of({"url": "https://s", "token": "of-the-secret"})
    assert repr(options) == "Options(url, token, mode, on_unavailable)"


# --- the manual ------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent.parent / "docs" / "airflow.md").read_text(encoding="utf-8")


def test_the_page_tells_of_every_option_and_of_no_other():
    section = PAGE.partition("\n## Options\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(Options.__dataclass_fields__)


def test_the_chains_of_the_page_are_read():
    examples = re.findall(r"```json\n(\{\"chain\".*?)```", PAGE, re.DOTALL)
    assert examples
    for example in examples:
        assert options_of(json.loads(example)).chain
