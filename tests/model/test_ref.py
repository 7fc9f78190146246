"""Names: what may be asked for, checked in one place."""

from __future__ import annotations

import copy
import pickle
import unicodedata
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.ref import KINDS, MAX_NAME_CHARACTERS, Ref, check_deployment

LEGAL = {
    "plain": "orders_db",
    "path": "prod/team-a/orders_db",
    "space": "my db",
    "Airflow's punctuation": "a#b!c(d)e-f.g:h",
    "percent and star": "100%*",
    "dots that are no segment": "..a/b../...",
    "a hidden file": ".netrc",
    "letters of other scripts": "\u0437\u0430\u043a\u0430\u0437\u044b",
    "full width, which is another name": "\uff50\uff47",
    "emoji without invisible parts": "\U0001f511",
    "encoded traversal, which is just characters": "%2e%2e%2fx",
    "encoded NUL": "a%00b",
    "encoded overlong": "%c0%ae%c0%ae/x",
    "words that control other stores": "metadata",
    "data": "data/versions/latest",
    "quotes and dollars": "'\"`$(x)${y}{{z}}",
    "semicolon parameters": "a;b=c",
    "as long as may be": "n" * MAX_NAME_CHARACTERS,
}

REFUSED = {
    "empty": ("", None),
    "leading slash": ("/etc/passwd", 0),
    "trailing slash": ("a/", 2),
    "slash alone": ("/", 0),
    "empty segment": ("a//b", 2),
    "parent": ("..", 0),
    "traversal": ("../../etc/passwd", 0),
    "traversal inside": ("a/../b", 2),
    "traversal at the end": ("a/..", 2),
    "this folder": ("./a", 0),
    "backslash": ("..\\x", 2),
    "backslash inside": ("a\\b", 1),
    "NUL": ("a\x00b", 1),
    "trailing newline, which Airflow lets pass": ("a\n", 1),
    "carriage return": ("a\r", 1),
    "tab": ("a\tb", 1),
    "delete": ("a\x7f", 1),
    "C1 control": ("a\x85b", 1),
    "right-to-left override": ("a\u202eb", 1),
    "bidi isolate": ("\u2066a", 0),
    "zero-width space": ("a\u200bb", 1),
    "zero-width joiner": ("a\u200d", 1),
    "byte order mark": ("\ufeffa", 0),
    "soft hyphen": ("a\u00adb", 1),
    "line separator": ("a\u2028b", 1),
    "lone surrogate": ("a\ud800", 1),
    "variation selector": ("a\ufe0f", 1),
    "Hangul filler": ("\u3164", 0),
    "Braille blank": ("a\u2800", 1),
    "tag characters": ("a\U000e0041", 1),
    "control in a long name": ("n" * 249 + "\x00" + "n" * 60_000, 249),
}


@pytest.mark.parametrize("name", LEGAL.values(), ids=LEGAL)
@pytest.mark.parametrize("kind", KINDS)
def test_a_legal_name_is_kept_as_it_is(kind, name):
    assert Ref(kind, name) == (kind, name, None)


@pytest.mark.parametrize(("name", "offset"), REFUSED.values(), ids=REFUSED)
def test_a_name_outside_the_grammar_is_refused_and_the_place_told(name, offset):
    with pytest.raises(InvalidInputError) as caught:
        Ref("connection", name)
    assert caught.value.offset == offset


@pytest.mark.parametrize("length", [251, 1001, 65_536])
@pytest.mark.parametrize("letter", ["n", "\u00fc"])
def test_a_name_over_250_characters_is_refused_with_the_limit(length, letter):
    with pytest.raises(InvalidInputError) as caught:
        Ref("variable", letter * length)
    assert caught.value.limit == 250


def test_a_name_is_held_in_nfc_so_that_its_twins_are_one():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert Ref("variable", decomposed) == Ref("variable", composed)
    assert Ref("variable", decomposed).name == composed
    assert Ref("variable", "\u212a").name == "K"
    assert Ref("variable", "\u00e9" * 250) == Ref("variable", "e\u0301" * 250)


def test_the_same_name_of_two_kinds_is_two_refs():
    assert len({Ref(kind, "same") for kind in KINDS}) == len(KINDS)
    assert Ref("variable", "same") != Ref("variable", "same", "team")


@given(st.text(st.characters(), max_size=12))
def test_every_name_that_passes_is_harmless(name):
    try:
        ref = Ref("connection", name)
    except InvalidInputError:
        return
    assert unicodedata.is_normalized("NFC", ref.name)
    assert not {"", ".", ".."} & set(ref.name.split("/"))
    assert "\\" not in ref.name
    assert ref.name.encode()
    assert {unicodedata.category(letter) for letter in ref.name}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert Ref(*ref) == ref


@pytest.mark.parametrize("kind", ["", "connections", "Connection", None])
def test_an_unknown_kind_is_refused(kind):
    with pytest.raises(InvalidInputError):
        Ref(kind, "x")


@pytest.mark.parametrize("name", [None, 5, b"x", ("x",)])
def test_a_name_that_is_no_text_is_refused(name):
    with pytest.raises(InvalidInputError):
        Ref("connection", name)


@pytest.mark.parametrize("team", ["a", "A1", "data-team", "data_team", "0", "a" * 50])
def test_a_legal_team_is_kept(team):
    assert Ref("variable", "x", team).team == team


@pytest.mark.parametrize("team", ["", "-a", "a-", "_a", "a/b", "a b", "a\n", "\u00fc", "a" * 51, "..", 5])
def test_a_team_outside_its_grammar_is_refused(team):
    with pytest.raises(InvalidInputError):
        Ref("variable", "x", team)


@pytest.mark.parametrize("name", ["a", "prod", "team-a", "a_b", "0", "a" * 63])
def test_a_legal_deployment_is_given_back(name):
    assert check_deployment(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a/b", "..", "a.b", "a\n", "\u00fc", "a" * 64])
def test_a_deployment_outside_its_grammar_is_refused(name):
    with pytest.raises(InvalidInputError):
        check_deployment(name)


def test_a_ref_is_a_plain_key_and_sorts():
    ref = Ref("connection", "a", "team")
    assert {("connection", "a", "team"): 1}[ref] == 1
    refs = [Ref("variable", "a"), Ref("connection", "b"), Ref("connection", "a")]
    assert sorted(refs) == [refs[2], refs[1], refs[0]]


def test_a_ref_cannot_be_made_past_its_checks():
    ref = Ref("connection", "a")
    with pytest.raises(InvalidInputError):
        ref._replace(name="../x")
    with pytest.raises(InvalidInputError):
        Ref._make(("connection", "a\n", None))
    assert ref._replace(name="b") == Ref("connection", "b")
    assert type(ref._replace(name="b")) is Ref


def test_a_ref_survives_pickling_and_copying():
    ref = Ref("connection", "a/b", "team")
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert type(pickle.loads(pickle.dumps(ref))) is Ref
    assert copy.deepcopy(ref) == ref


def test_a_ref_reads_well_in_a_message():
    assert str(Ref("connection", "orders_db")) == 'connection "orders_db"'
    assert str(Ref("variable", "region", "data")) == 'variable "region" (team data)'


def test_a_member_of_an_enum_of_texts_is_the_text_it_stands_for():
    class Names(str, Enum):
        REGION = "region"

    ref = Ref("variable", Names.REGION)
    assert type(ref.name) is str
    assert str(ref) == 'variable "region"'
