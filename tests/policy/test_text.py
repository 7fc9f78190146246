"""What is counted before a parser sees it: a text that nests deeply would end the whole process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from strongroom.errors import InvalidInputError
from strongroom.policy.cedar import parse
from strongroom.policy.text import MAX_STATEMENTS, MAX_TEXT, check_text, place_of, statements

DEEP = {
    "brackets": "(" * 25 + "true" + ")" * 25,
    "sets": "[" * 25 + "]" * 25 + " == []",
    "records": "{a: " * 25 + "1" + "}" * 25 + " == 1",
    "and": " && ".join(["true"] * 200),
    "or": " || ".join(["false"] * 200),
    "plus": "1" + " + 1" * 200 + " > 0",
    "if": "if true then " * 200 + "true" + " else true" * 200,
    "not": "!(" * 30 + "true" + ")" * 30,
    "attributes": "context" + ".a" * 300 + " == 1",
    "subscripts": "context" + '["a"]' * 300 + " == 1",
    "calls": "context" + ".contains(1)" * 300,
    "has": "context has " + "a." * 300 + "a",
    "conditions": "true } " + "when { true } " * 200 + "when { true",
}


def policy(body):
    return f"permit (principal, action, resource) when {{ {body} }};"


@pytest.mark.parametrize("shape", DEEP)
def test_PO09_text_that_nests_too_deeply_is_refused_before_it_is_parsed(shape):
    with pytest.raises(InvalidInputError) as refused:
        check_text(policy(DEEP[shape]))
    assert refused.value.limit is not None
    assert refused.value.offset is not None


@pytest.mark.parametrize("shape", ["brackets", "and", "if", "attributes", "subscripts", "sets"])
def test_PO09_the_deepest_text_that_is_let_through_ends_no_process(shape):
    body = {
        "brackets": "(" * 22 + "true" + ")" * 22,
        "and": " && ".join(["true"] * 44),
        "if": "if true then " * 44 + "true" + " else true" * 44,
        "attributes": "context" + ".a" * 8 + " == 1",
        "subscripts": "context" + '["a"]' * 44 + " == 1",
        "sets": "[" * 22 + "]" * 22 + " == []",
    }[shape]
    check_text(policy(body))
    # In a thread of 512 KiB, as a server might give it, and in a process of its own.
    program = (
        "import sys, threading\n"
        "from strongroom.policy.cedar import CedarPolicy, parse, validate\n"
        "from strongroom.policy import Action, Actor\n"
        "text = sys.stdin.read()\n"
        "def work():\n"
        "    validate('p', text)\n"
        "    policy = CedarPolicy(parse('p', text), revision='1', deployment='prod')\n"
        "    print(policy.decide(Actor('person:a'), Action.READ, None).reason)\n"
        "threading.stack_size(512 * 1024)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start(); thread.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=policy(body),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    "character", ["\r", "\x00", "\x1b", "\u202e", "\u200b", "\u2028", "\ufeff", "\u0085"]
)
def test_what_cannot_be_seen_is_refused_where_it_stands(character):
    with pytest.raises(InvalidInputError, match="invisible or control") as refused:
        check_text(f"// a comment {character} permit (principal, action, resource);")
    assert refused.value.offset == 13


def test_comment_hides_nothing_from_the_count():
    # A carriage return would end the comment for one reader and not for another.
    with pytest.raises(InvalidInputError):
        check_text("// x \r" + "(" * 1000)
    check_text("// " + "(" * 1000 + "\npermit (principal, action, resource);")
    check_text(policy('resource.name == "' + "(" * 1000 + '"'))


def test_line_ends_of_another_system_are_taken():
    assert check_text("permit (principal,\r\naction, resource);") == "permit (principal,\naction, resource);"


@pytest.mark.parametrize("count", [50, 127])
def test_PO09_chain_that_the_engine_could_not_read_back_is_refused(count):
    text = policy(" && ".join(["true"] * count))
    check_text(text)
    with pytest.raises(InvalidInputError, match="too many conditions") as refused:
        parse("p", text)
    assert refused.value.limit is not None


def test_text_that_is_too_long_is_refused():
    with pytest.raises(InvalidInputError, match="at most 65536") as refused:
        check_text(" " * (MAX_TEXT + 1))
    assert refused.value.limit == MAX_TEXT


def test_too_many_statements_are_refused():
    one = "permit (principal, action, resource);\n"
    check_text(one * MAX_STATEMENTS)
    with pytest.raises(InvalidInputError, match="more than 50 statements"):
        check_text(one * (MAX_STATEMENTS + 1))


@pytest.mark.parametrize("text", ['"without an end', "permit `x`", "permit (principal); #", "'x'"])
def test_text_that_is_no_cedar_is_refused_without_a_parser(text):
    with pytest.raises(InvalidInputError):
        check_text(text)


def test_statements_are_told_with_where_they_begin():
    text = "// first\npermit (a);\n\n  forbid (b); trailing"
    assert list(statements(text)) == [(9, "permit (a);"), (24, "forbid (b);"), (36, "trailing")]
    assert place_of(text, 24) == (4, 3)
    assert place_of(text, 0) == (1, 1)


@pytest.mark.parametrize(
    "text", ["", "   ", "// nothing", "hello", "permit", "permit (principal, action, resource)", 7, None]
)
def test_what_is_no_policy_is_refused_and_not_quoted(text):
    with pytest.raises(InvalidInputError) as refused:
        parse("p", text)
    assert "hello" not in str(refused.value)


def test_slots_of_templates_are_refused():
    with pytest.raises(InvalidInputError, match="slots"):
        parse("p", "permit (principal == ?principal, action, resource);")
