"""
What is wrong with what somebody sends is told in a page that says so: over every form of the pages.

They are tests of a class: they walk every POST route, so that a form that is added is held to them too.
"""

from __future__ import annotations

import copy
import re
from contextlib import contextmanager
from html import unescape

import pytest

from parts.browser import ADA, MEI, furnished
from parts.seat import Seat
from strongroom.server import ui

FORMS = sorted({one.path for one in ui.ENDPOINTS if one.method == "POST"})
# One ends a session, one begins it, and these take nothing that could be wrong, or are anybody's own.
OWN = ("/sign-in", "/sign-out", "/stay", "/prove", "/settings/you", "/settings/theme", "/settings/password")
OWN += ("/settings/sessions/end-all",)
NAMES = (
    *("name", "comment", "reason", "text", "q", "owner", "tag", "team", "typed", "role", "id", "old", "new"),
    *("url", "value", "path", "kind", "act", "actor", "lifetime", "password", "code", "to", "mark"),
)
TROUBLE = (
    r'<p class="err"[^>]*>(.+?)</p>',
    r'<div class="said">(.+?)</div>',
    r'<div class="banner (?:bad|warn|info)" role="(?:alert|status)">(.+?)</div>',
    r'<[a-z]+ class="(?:errors|verdict)[^>]*>(.+?)</(?:div|section|p)>',
    r'<[a-z]+ [^>]*role="alert"[^>]*>(.+?)</(?:div|section|p)>',
)
MACHINE = re.compile(r'Traceback|"error"\s*:|Error\b.*\bat 0x|InvalidInput|NoneType|msgspec', re.IGNORECASE)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("wrong"), entries=False) as server:
        yield server


def filled(path):
    return re.sub(r"\{[^}]*\}", "x", path.replace("{kind}", "variable"))


def troubles(answer):
    """Give what a page says is wrong: texts in the places where pages say so."""
    main = answer.body.decode().partition("<main")[2]
    beside = answer.body.decode().partition('id="banners"')[2].partition("<main")[0]
    found = [text for shape in TROUBLE for text in re.findall(shape, beside + main, re.DOTALL)]
    plain = [" ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split()) for text in found]
    return [text for text in plain if len(text) >= 12]  # a sentence, not a mark


def judged(path, answer, *, may_pass=True):
    """Hold an answer to what a person needs of it."""
    body = answer.body.decode()
    assert answer.status < 500, f"{path}: {answer.status}: {body[:2000]}"
    if answer.status in (200, 303):
        assert may_pass, f"{path} took it: {answer.status}"
        return
    assert answer.headers["content-type"].startswith("text/html"), f"{path}: {body[:300]}"
    assert re.search(r"<h1[^>]*>[^<]*\w", body), f"{path} has no head"
    assert troubles(answer), f"{path} ({answer.status}) does not say what is wrong"
    assert MACHINE.search(re.sub(r"<[^>]+>", " ", body)) is None, f"{path} speaks to a machine"


@contextmanager
def signed_in_throughout(house, actor):
    seat = Seat(house, actor)
    assert seat.get("/settings/you").status == 200
    yield seat
    assert seat.get("/settings/you").status == 200, "the answers from there on were about the session"


@pytest.fixture(scope="module")
def ada(house):
    with signed_in_throughout(house, ADA) as seat:
        yield seat


@pytest.fixture(scope="module")
def mei(house):
    with signed_in_throughout(house, MEI) as seat:
        yield seat


def sender(path, house, ada):
    """Give who sends to *path*: Ada, or where her sessions would end with it, somebody who comes in anew."""
    return ada if path not in ("/sign-out", "/settings/sessions/end-all") else Seat(house, "local:0")


@pytest.mark.parametrize("path", FORMS)
def test_whatever_is_wrong_with_a_form_is_told_in_a_page(house, ada, path):
    for typed in (
        {},
        {"surprise": "x"},
        dict.fromkeys(NAMES, ""),
        dict.fromkeys(NAMES, "x" * 70_000),
        {"name": "\0", "id": "\0", "comment": "\0"},
        {"name": ["a", "b"], "id": ["a", "b"]},
    ):
        judged(path, sender(path, house, ada).post(filled(path), typed))


@pytest.mark.parametrize("path", FORMS)
def test_what_is_too_large_or_no_form_is_told_in_a_page(house, ada, path):
    seat = sender(path, house, ada)
    many = {f"f{number}": "" for number in range(5_000)}
    judged(path, seat.post(filled(path), many), may_pass=False)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    judged(path, seat.post(filled(path), {"a": "b"}, headers=headers), may_pass=False)
    judged(path, seat.post(filled(path), {}, headers={"Content-Type": "application/json"}), may_pass=False)


@pytest.mark.parametrize("path", [one for one in FORMS if one not in OWN])
def test_who_may_not_is_told_so_in_a_page_and_whom_to_ask(mei, path):
    answer = mei.post(filled(path), {})
    judged(path, answer, may_pass=path == "/access/check")
    if answer.status == 403:
        assert "alice" in answer.body.decode(), f"{path} names nobody to ask"


@pytest.mark.parametrize("path", [one for one in FORMS if one not in ("/sign-in", "/sign-out")])
def test_a_session_that_ended_keeps_what_was_typed_into_any_form(ada, path):
    seat = copy.copy(ada)
    seat._cookies = {name: value for name, value in ada._cookies.items() if name != "strongroom"}
    typed = {"name": 'a "quoted" & <b>', "comment": "one\r\ntwo"}
    answer = seat.post(filled(path), typed)
    assert answer.status == 401, path
    text = answer.body.decode()
    assert "Your session ended" in text
    assert 'name="kept.name" value="a &#34;quoted&#34; &amp; &lt;b&gt;"' in text
    assert 'name="kept.comment" value="one' in text
    assert f'name="to" value="{filled(path)}"' in text


def test_an_error_of_a_form_speaks_of_the_form_and_gives_a_command_as_one(ada):
    answer = ada.post("/inventory/delete", {})
    assert "question mark" not in answer.body.decode()
    answer = ada.post("/access/grant/end/x", {})
    assert "<code>strongroom access grants list</code>" in answer.body.decode()
