"""A template is filled in so that every value stands where its reference stood, and nothing else changes."""

from __future__ import annotations

import json
import subprocess
import sys
from configparser import RawConfigParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from strongroom.errors import InvalidInputError
from strongroom.model.dotenv import parse_dotenv
from strongroom.model.filling import Escape, escape_of, fill, quoted_for_env, references_in
from strongroom.model.template import Reference

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PASSWORD = "${connection.password/db}"
NASTY = [
    "plain", "", " blank ", 'quo"te', "apo'strophe", "back\\slash", "a\nb", "a\r\nb", "tab\t", "ünïcode",
    "🔑",
    "#no comment", "a: b", "- x", "{x}", "[x]", "x, y", "yes", "null", "123", "0x1f", "~", "*a", "&a", "!tag",
    "%d", "@at", "`tick`", "$HOME", "$(id)", "${HOME}", "a # b", "a;b", "a=b", "</x>", "&amp;", "<!--", "]]>",
    "\u2028", "\x7f", "\x85", "\ufeff", "\x01", '"', "'", "\\", '\\"', '", "admin": true, "x": "',
    "a\n  admin: yes",
    "x\n[other]\ny=1", "'; rm -rf /; '", '"; id; "', "EOF\n",
]  # fmt: skip


def filled(text: str, escape: Escape, value: str) -> str | None:
    """Fill in *value*; None where that is refused, in words that do not tell it."""
    try:
        return fill(text, escape, lambda _reference: value)
    except InvalidInputError as error:
        if len(value) > 5 and value in f"{error} {error.hint}":
            raise
        return None


def yaml(text):
    return YAML(typ="safe", pure=True).load(text)


def ini(text):
    reader = RawConfigParser()
    reader.read_string(text)
    return dict(reader["s"])


READ = {
    "json": (json.loads, '{"p": "%s", "n": 1, "q": ["a%sb"]}', {"p": "{0}", "n": 1, "q": ["a{0}b"]}),
    "bare json": (json.loads, '{"p": %s, "n": [%s]}', {"p": "{0}", "n": ["{0}"]}),
    "yaml": (yaml, 'p: "%s"\nq: ["a%sb"]\n', {"p": "{0}", "q": ["a{0}b"]}),
    "single yaml": (yaml, "p: '%s'\nq: x # don't\n", {"p": "{0}", "q": "x"}),
    "bare yaml": (yaml, "p: %s\nl:\n  - %s # it's\nq: don't\n", {"p": "{0}", "l": ["{0}"], "q": "don't"}),
    "toml": (tomllib.loads, 'p = "%s"\n[t]\nq = ["a%sb"]\n', {"p": "{0}", "t": {"q": ["a{0}b"]}}),
    "single toml": (tomllib.loads, "p = '%s' # it's\n", {"p": "{0}"}),
    "bare toml": (tomllib.loads, "p = %s\n", {"p": "{0}"}),
    "ini": (ini, "[s]\np = %s\nq: a%sb\n", {"p": "{0}", "q": "a{0}b"}),
    "env": (parse_dotenv, 'P="%s"\nQ=x # don\'t\n', {"P": "{0}", "Q": "x # don't"}),
    "single env": (parse_dotenv, "P='%s'\n", {"P": "{0}"}),
    "bare env": (parse_dotenv, "# it's\nexport P=%s\nQ=1\n", {"P": "{0}", "Q": "1"}),
}


def expected(shape, value):
    if isinstance(shape, str):
        return shape.replace("{0}", value)
    if isinstance(shape, dict):
        return {key: expected(inner, value) for key, inner in shape.items()}
    return [expected(inner, value) for inner in shape] if isinstance(shape, list) else shape


@pytest.mark.parametrize("case", READ)
def test_a_value_stands_in_its_place_or_is_refused(case):
    read, text, shape = READ[case]
    for value in NASTY:
        found = filled(text.replace("%s", PASSWORD), case.split()[-1], value)
        if found is not None:
            assert read(found) == expected(shape, value)


@pytest.mark.parametrize("case", ["json", "bare json", "yaml", "bare yaml", "toml", "bare toml"])
def test_quotes_take_any_value(case):
    read, text, shape = READ[case]
    for value in NASTY:
        assert read(filled(text.replace("%s", PASSWORD), case.split()[-1], value)) == expected(shape, value)


@settings(max_examples=50)
@given(value=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_stands_in_its_place_or_is_refused(value):
    for read, text, shape in READ.values():
        escape = next(case.split()[-1] for case, row in READ.items() if row[1] is text)
        found = filled(text.replace("%s", PASSWORD), escape, value)
        if found is not None:
            assert read(found) == expected(shape, value)


@pytest.mark.parametrize("value", NASTY)
def test_in_xml_a_value_stays_text(value):
    text = filled(f'<a b="{PASSWORD}"><c>x{PASSWORD}</c></a>', "xml", value)
    if text is None:
        assert value == "\x01"
        return
    root = ET.fromstring(text)
    assert (root.get("b"), root[0].text, len(root), len(root[0])) == (value, "x" + value, 1, 0)


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_a_real_shell_reads_exactly_the_value(quote):
    values = [value for value in NASTY if "\x01" not in value]
    script = "".join(f"printf '%s\\0' {quote}${{variable/v{n}}}{quote}\n" for n in range(len(values)))
    text = fill(script, "shell", lambda reference: values[int(reference.name[1:])])
    done = subprocess.run(["sh", "-c", text], capture_output=True, check=True, env={"HOME": "/nowhere"})
    assert done.stdout.decode().split("\0")[:-1] == values
    assert done.stderr == b""


@pytest.mark.parametrize(
    "script",
    [
        'a="$(echo %s)"',
        'a="`echo %s`"',
        "a=$((%s))",
        "((%s)); true",
        "a=$[%s]",
        'a="$(\n  echo %s\n)"',
        "a=`\necho %s`",
        'a="$(echo ")" %s)"',
    ],
)
def test_what_a_shell_would_evaluate_once_more_is_refused(script):
    for value in ("a&&touch pwned", "$(touch pwned)", '" ; touch pwned ; "', "a", "5"):
        assert filled(f"{script}\n" % PASSWORD, "shell", value) is None


@pytest.mark.parametrize(
    "script",
    ["# what a `tick\na='%s'", 'now=$(date)\na="%s"', "n=$((1 + (2)))\na=%s", "f() { (cd /); }\na=%s"],
)
def test_behind_what_a_shell_has_evaluated_a_value_stands_as_ever(script):
    text = filled(f'{script}\nprintf %s "$a"\n'.replace("%s", PASSWORD, 1), "shell", "it's $(id)")
    done = subprocess.run(["sh", "-c", text], capture_output=True, check=True, text=True)
    assert done.stdout == "it's $(id)"


def test_a_port_that_stands_bare_is_a_number_and_a_password_of_digits_is_none():
    port, password = "${connection.port/db}", PASSWORD
    for escape, text, read in (
        ("json", f'{{"a": {port}, "b": {password}, "c": "{port}"}}', json.loads),
        ("yaml", f"a: {port}\nb: {password}\nc: '{port}'\n", yaml),
        ("toml", f'a = {port}\nb = {password}\nc = "{port}"\n', tomllib.loads),
    ):
        assert read(filled(text, escape, "5432")) == {"a": 5432, "b": "5432", "c": "5432"}


@pytest.mark.parametrize(
    ("escape", "text"),
    [
        ("yaml", f"a: http://x/{PASSWORD}/y\n"),
        ("yaml", f"a: |\n  {PASSWORD}\n"),
        ("yaml", f"a: >\n  say {PASSWORD}\n"),
        ("toml", f"{PASSWORD} = 1\n"),
        ("xml", f"<a><!-- {PASSWORD} --></a>"),
        ("ini", f"[s]\na = {PASSWORD}\n"),
        ("env", f"A=x{PASSWORD}\n"),
    ],
)
def test_a_value_that_would_break_out_is_refused_with_a_way_out(escape, text):
    with pytest.raises(InvalidInputError, match="cannot stand where the template puts it") as caught:
        fill(text, escape, lambda _reference: 's3cret --> x\n <b>: "y"')
    assert caught.value.hint
    assert "s3cret" not in str(caught.value)


def test_in_the_middle_of_a_bare_value_a_plain_one_may_stand():
    assert filled("u: http://x/${variable/path}/y\n", "yaml", "v1.2") == "u: http://x/v1.2/y\n"


def test_a_template_that_is_not_of_its_format_says_so():
    for escape, text in (("json", "{'a': "), ("yaml", "a: [ "), ("toml", "a"), ("shell", "cat <<E\n")):
        with pytest.raises(InvalidInputError, match=f"the template is not {escape}"):
            fill(text + PASSWORD, escape, lambda _reference: "x")


def test_what_holds_no_reference_is_left_as_it_is():
    assert fill("no ${ here: $${HOME}".replace("${ ", "$ "), "text", lambda _: "x") == "no $ here: ${HOME}"
    assert fill("{broken", "json", lambda _reference: "x") == "{broken"


def test_references_are_told_once_each_and_malformed_ones_refused():
    text = f"{PASSWORD} ${{variable/a}} {PASSWORD} ${{connection.extra.key/db}}"
    assert references_in(text) == (
        Reference("connection", "password", "db"),
        Reference("variable", None, "a"),
        Reference("connection", "extra.key", "db"),
    )
    with pytest.raises(InvalidInputError) as caught:
        references_in("a ${HOME}")
    assert caught.value.offset == 2


def test_a_nul_is_refused_everywhere():
    for escape in ("text", "json", "xml", "shell"):
        assert filled(f'"{PASSWORD}"', escape, "a\0b") is None


@pytest.mark.parametrize(
    ("name", "escape"),
    [
        ("a.json", "json"), ("b.YML", "yaml"), ("/etc/x.d/c.toml", "toml"), (".env", "env"),
        ("prod.env", "env"),
        ("x.cfg", "ini"), ("run.sh", "shell"), ("a.xml", "xml"), ("pgpass", "text"), ("a.conf", "text"),
    ],
)  # fmt: skip
def test_the_ending_of_a_name_says_how_values_are_written(name, escape):
    assert escape_of(name) == escape


@pytest.mark.parametrize("value", NASTY)
def test_a_line_of_an_env_file_reads_back(value):
    assert parse_dotenv(f"A={quoted_for_env(value)}\nB=1\n") == {"A": value, "B": "1"}
