"""A secret does not print."""

from __future__ import annotations

import copy
import copyreg
import dataclasses
import json
import logging
import marshal
import os
import pickle
import pprint
import string
import subprocess
import sys
import traceback

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from strongroom.model.secret import Secret

CANARY = "canary-51b8"
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()


@dataclasses.dataclass
class Holder:
    secret: Secret[str]


SHOWS = {
    "repr": repr,
    "str": str,
    "format": format,
    "format with a width": "{:>80}".format,
    "format with a conversion": "{0!r} {0!s} {0!a}".format,
    "percent": lambda secret: f"{secret!s} {secret!r}" + "%s %r %a" % (secret, secret, secret),  # noqa: UP031
    "template": lambda secret: string.Template("$x").substitute(x=secret),
    "pprint": pprint.pformat,
    "rich": pretty_repr,
    "list": lambda secret: str([secret, {"a": secret}, (secret,)]),
    "dataclass": lambda secret: repr(Holder(secret)),
    "asdict": lambda secret: repr(dataclasses.asdict(Holder(secret))),
    "astuple": lambda secret: repr(dataclasses.astuple(Holder(secret))),
    "copies": lambda secret: repr([copy.copy(secret), copy.deepcopy([secret])]),
    "json with str": lambda secret: json.dumps(secret, default=str),
    "json with repr": lambda secret: json.dumps({"a": [secret]}, default=repr),
    "msgspec with str": lambda secret: msgspec.json.encode(secret, enc_hook=str).decode(),
    "dir": lambda secret: str(dir(secret)) + str(type(secret).__dict__),
    "log record": lambda secret: logging.LogRecord("n", 20, "p", 1, "%s", (secret,), None).getMessage(),
    "exception": lambda secret: "".join(traceback.format_exception(ValueError(secret))),
}


@pytest.mark.parametrize("show", SHOWS.values(), ids=SHOWS)
@pytest.mark.parametrize("value", [CANARY, CANARY.encode(), [CANARY], {CANARY: CANARY}], ids=type)
def test_no_way_of_showing_it_shows_the_value(show, value):
    assert CANARY not in show(Secret(value))


@pytest.mark.parametrize(
    "serialise",
    [
        json.dumps,
        json.JSONEncoder().encode,
        marshal.dumps,
        msgspec.json.encode,
        msgspec.msgpack.encode,
        msgspec.to_builtins,
        pickle.dumps,
        *(lambda secret, protocol=protocol: pickle.dumps(secret, protocol) for protocol in range(6)),
        lambda secret: pickle.dumps(Holder(secret)),
        lambda secret: msgspec.json.encode(Holder(secret)),
        lambda secret: secret.__reduce__(),
        lambda secret: secret.__getstate__(),
        lambda secret: copyreg.__reduce_ex__(secret, 2),
        vars,
        hash,
        list,
        len,
    ],
)
def test_every_way_of_serialising_it_fails_without_telling(serialise):
    with pytest.raises((TypeError, ValueError)) as caught:
        serialise(Secret(CANARY))
    assert CANARY not in str(caught.value)


ASSERTING = """
import os
from strongroom.model.connection import Connection
from strongroom.model.secret import Secret

def test_secret():
    one, other = (Secret(os.environ["PLANTED"] + letter) for letter in "ab")
    assert one == other

def test_connection():
    one, other = (Connection(login=os.environ["PLANTED"] + letter) for letter in "ab")
    assert one == other
"""


def test_a_failed_assertion_does_not_show_it(tmp_path):
    (tmp_path / "test_it.py").write_text(ASSERTING, encoding="utf-8")
    plugins = ["-p", "no:cacheprovider", "-p", "no:strongroom"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-vv", "--tb=long", "--showlocals", *plugins, "."],
        cwd=tmp_path,
        env={**os.environ, "PLANTED": CANARY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 failed" in ran.stdout
    assert CANARY not in ran.stdout + ran.stderr


def test_reveal_is_the_way_out():
    assert Secret(CANARY).reveal() == CANARY


@given(VALUES, VALUES)
def test_two_secrets_are_equal_when_type_and_value_are(one, other):
    is_same = type(one) is type(other) and repr(one) == repr(other)
    assert (Secret(one) == Secret(other)) is is_same


def test_a_secret_is_not_equal_to_its_value():
    assert Secret("x") != "x"
    assert Secret("\ud800") == Secret("\ud800")


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        ("", False),
        (None, False),
        (b"", False),
        ("x", True),
        (b"x", True),
        (0, True),
        (False, True),
        ([], True),
    ],
)
def test_a_secret_is_true_unless_empty_or_none(value, truth):
    assert bool(Secret(value)) is truth


def test_a_secret_cannot_be_changed_subclassed_or_nested():
    secret = Secret("x")
    with pytest.raises(AttributeError):
        secret._value = "y"
    with pytest.raises(AttributeError):
        del secret._value
    with pytest.raises(AttributeError):
        secret.other = 1
    with pytest.raises(TypeError):
        type("Loud", (Secret,), {})
    with pytest.raises(TypeError):
        Secret(secret)
    assert secret.reveal() == "x"


def test_a_copy_is_the_same_object():
    secret = Secret(["x"])
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": secret})["a"] is secret


def test_importing_it_loads_nothing_a_fresh_python_has_not():
    code = (
        "import sys; before = set(sys.modules); import strongroom.model.secret;"
        "print(*(name for name in set(sys.modules) - before if not name.startswith('strongroom')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) <= {"__future__", "_operator"}
