"""
Invented entries for the comparison: names, connections of random fields, and the texts they come in.

Texts are written here with `json` and `quote` alone, so that nothing of ours stands on both sides.
"""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref

PIECES = ["p@ss", "%41", "+", "/", "//", ":", "?", "#", "[", "::1", "\u00fc", "\U0001f511", "'", '"', "\\"]
WORD = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=10),
    st.lists(st.sampled_from(PIECES), max_size=4).map("".join),
)
LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORD
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORD, inner, max_size=2), max_leaves=5
)
TYPES = st.sampled_from(["postgres", "http", "google_cloud_platform", "mssql+odbc", "aws", "x.y"])
# What a file or a database keeps as it is, and a text normalises (B6).
FIELDS = st.fixed_dictionaries(
    {"conn_type": TYPES},
    optional={
        "description": WORD | st.none(),
        "host": WORD | st.none(),
        "login": WORD | st.none(),
        "password": WORD | st.none(),
        "schema": WORD | st.none(),
        "port": st.none() | st.integers(1, 65535),
        "extra": st.dictionaries(WORD, VALUE, max_size=3),
    },
)


def _json(fields, layout, *, is_text):
    fields = dict(fields)
    if is_text and "extra" in fields:
        fields["extra"] = json.dumps(fields["extra"])
    return json.dumps(fields, **layout)


def _uri(fields):
    def word(key):
        return quote(fields.get(key) or "", safe="")

    login, password, port = word("login"), word("password"), fields.get("port")
    place = f"{login}:{password}@" if password else f"{login}@" if login else ""
    place += word("host") + (f":{port}" if port else "")
    extra = fields.get("extra") or {}
    is_flat = all(isinstance(value, str) for value in extra.values())
    query = urlencode(extra if is_flat else {"__extra__": json.dumps(extra)}) if extra else ""
    kind = fields["conn_type"].replace("_", "-")
    return f"{kind}://{place}/{word('schema')}" + (f"?{query}" if query else "")


# Pieces of URIs in any order: most are refused, and what is read must be read alike.
URI_PIECES = (
    *("postgres", "http", "a-b", "host", "Host", "u", "p", "5432", "99999", "[::1]", "a=1", "a={}"),
    *("__extra__=", "true", "null", "%2F", "%40", "%zz", "%", ":", "://", "/", "//", "@", "?", "#", "&"),
    *("=", "[", "]", ".", "-", "_", "+"),
)
SOUP = st.lists(st.sampled_from(URI_PIECES), min_size=1, max_size=12).map("".join)
LAYOUT = st.sampled_from([{}, {"indent": 2}, {"ensure_ascii": False}])
URI = FIELDS.map(_uri) | SOUP
TEXT = st.builds(_json, FIELDS, LAYOUT, is_text=st.booleans()) | URI


def _is_name(text):
    try:
        return Ref("variable", text).name == text  # in NFC already: B2
    except InvalidInputError:
        return False


NAME = (
    st.text(st.sampled_from("abzAZ019_-./ :#%*\u00e9\u00df\u4e2d") | st.characters(), min_size=1, max_size=12)
    .filter(_is_name)
    .filter(lambda name: not {"=", "\0"} & set(name))
)
