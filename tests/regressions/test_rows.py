"""Rows of the attack table that no other file proves: AA17, NM03, NM06, IN14, DS04."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from parts.api import asking
from strongroom.policy import Scope

CANARY = "c4n4ry-Zq8"


def read(every, *names, role="admin", token=None, kind="variable"):
    refs = [{"kind": kind, "name": name} for name in names]
    answer = every.ask("POST", "/read", {"refs": refs}, role=role, token=token)
    assert answer.status == 200, answer.body
    return answer.json()["results"]


# --- AA17: an error and a value ---------------------------------------------------------------------------


def test_AA17_whatever_the_outcome_an_answer_holds_a_value_or_a_reason_and_never_both(tmp_path):
    file = tmp_path / "variables.json"
    file.write_text("{}")
    settings = f"""
chain = ["native", "file"]
[backend.file]
variables = "{file}"
[server.limits]
identity_per_second = 0
"""
    with asking(tmp_path, settings) as place:
        place.put("variable", "here", {"value": CANARY})
        place.put("variable", "nothing", {"value": "x"})
        place.put("variable", "refers", {"value": f"{CANARY}${{variable/nothing}}", "references": True})
        assert place.ask("DELETE", "/entries/variable/nothing").status == 200
        token = place.server.token("bounded", "reader", scope=Scope(("read",), names=("refers",)))
        found = read(place, "here", "absent", "refers", "a/../b") + read(place, "here", token=token)
        file.write_text('{"absent-now": "')
        found += read(place, "another")
        outcomes = [one["outcome"] for one in found]
        assert outcomes == ["found", "absent", "invalid", "invalid", "denied", "unavailable"]
        for one in found:
            assert ("value" in one) is (one["outcome"] == "found")
            assert ("error" in one) is (one["outcome"] not in ("found", "absent"))
        assert CANARY not in json.dumps(found[1:])


# --- NM03: letters that are none --------------------------------------------------------------------------

LETTERS = ["\x00", "\r", "\n", "\t", "\x7f", "\x85", "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800"]
PLACES = {
    "POST /v1/entries": lambda name: {"changes": [{"kind": "variable", "name": name, "value": "x"}]},
    "POST /v1/actors": lambda name: {"name": name},
    "POST /v1/tokens": lambda name: {"name": name},
    "POST /v1/can": lambda name: {"action": "read", "kind": "variable", "name": name},
    "POST /v1/policies": lambda name: {"id": name, "text": "permit(principal, action, resource);"},
    "POST /api/v2/variables": lambda name: {"key": name, "value": "x"},
    "POST /api/v2/connections": lambda name: {"connection_id": name, "conn_type": "http"},
    "POST /api/v1/variables": lambda name: {"key": name, "value": "x"},
    "POST /api/v1/connections": lambda name: {"connection_id": name, "conn_type": "http"},
}


@pytest.mark.parametrize("letter", LETTERS, ids=ascii)
def test_NM03_a_name_with_letters_that_do_not_show_is_refused_wherever_one_is_taken(every, letter):
    name = f"nm03{letter}x"
    for place, body in PLACES.items():
        method, path = place.split()
        answer = every.server.ask(method, path, body(name), token=every.tokens["admin"])
        assert answer.status in (400, 422), f"{place} answered {answer.status} to {name!a}"
    if letter != "\ud800":  # no name at all: the whole body is refused
        (result,) = read(every, name)
        assert result["outcome"] == "invalid"


# --- NM06: names that are one in capitals -----------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("nm06_stra\u00dfe", "nm06_strasse"),
        ("nm06_\u0131d", "nm06_id"),
        ("nm06_\ufb01x", "nm06_fix"),
        ("nm06_k", "nm06_K"),
    ],
    ids=ascii,
)
def test_NM06_names_that_are_one_in_capitals_are_told(every, names):
    for name in names:
        every.put("variable", name, {"value": "x"})
    clashes = every.ask("GET", "/inventory/clashes").json()["clashes"]
    assert [one for one in clashes if set(names) <= set(one["names"])], clashes


# --- IN14: text that other products run -------------------------------------------------------------------

PROGRAMS = [
    "{{ 7 * 7 }}",
    "{% raw %}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
    "{0.__class__}",
    "{e.__traceback__}",
    "%(name)s %n",
    "$(id)",
    "`id`",
    "=1+1",
]


@pytest.mark.parametrize("text", PROGRAMS)
def test_IN14_what_looks_like_a_program_is_text(every, text):
    name = f"in14-{PROGRAMS.index(text)}"
    public = {"description": text, "owner": text, "tags": [text], "comment": text}
    every.put("variable", name, {"value": text, **public})
    seen = every.ask("GET", f"/entries/variable/{name}").json()
    assert (seen["description"], seen["owner"], seen["tags"]) == (text, text, [text])
    assert every.ask("GET", f"/history/variable/{name}").json()["versions"][0]["comment"] == text
    assert read(every, name)[0]["value"] == text
    airflow = every.server.ask("GET", f"/api/v2/variables/{name}", token=every.tokens["admin"]).json()
    assert airflow["description"] == text


@pytest.mark.parametrize("text", PROGRAMS)
def test_IN14_a_name_that_looks_like_a_program_is_a_name_or_refused(every, text):
    path = f"/entries/variable/{quote(text, safe='')}"
    written = every.ask("PUT", path, {"value": CANARY})
    if written.status == 200:
        assert every.ask("GET", path).json()["name"] == text
    else:
        assert written.status == 400
        assert b"49" not in written.body
        assert b"class" not in written.body


# --- DS04: asked for before it is there -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/entries/variable/NAME", "/api/v2/variables"])
def test_DS04_what_was_asked_for_before_it_was_created_is_found_at_once(every, path):
    name = f"ds04-{len(path)}"
    for _ in range(3):
        assert read(every, name)[0]["outcome"] == "absent"
    body = {"value": "x"} if "NAME" in path else {"key": name, "value": "x"}
    method = "PUT" if "NAME" in path else "POST"
    answer = every.server.ask(method, path.replace("NAME", name), body, token=every.tokens["admin"])
    assert answer.status in (200, 201), answer.body
    assert read(every, name)[0]["outcome"] == "found"
