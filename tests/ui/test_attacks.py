"""
What attackers try with pages, over all of them: rows UI01 to UI10 and RT27 to RT33 of the attack programme.

They are tests of classes: they walk every route of the pages, so that a page that is added is held to
them too.
"""

from __future__ import annotations

import re
import subprocess
from datetime import timedelta
from html import unescape
from urllib.parse import quote

import msgspec
import pytest

from parts.browser import ADA, PASSWORD, browsing, furnished
from parts.seat import Seat
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.server import ui
from strongroom.server.ui.sign_in import safe_path
from strongroom.service.entries import Change

CANARY = "kanarie-7f3a9c"
HOSTILE = (
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    "</title><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}${7*7}",
    "\u202e\u0000<b>",
)
ELSEWHERE = (
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "/\t/evil.example",
    "/%09/evil.example",
    "/%5cevil.example",
    "/%2f%2fevil.example/..",
    "https://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "\\\\evil.example",
    "/..//evil.example",
    "/d/prod//evil.example",
    "/sign-out",
    "/v1/whoami",
    "/static/x/app.js",
    "/\r\nset-cookie: a=b",
    "/" + "x" * 5000,
    " //evil.example",
    "/\u2215evil",
)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("attacked"), entries=False) as server:
        room = server.house.deployment().root
        for kind, name in (("variable", "x"), ("connection", "db")):
            text = CANARY if kind == "variable" else f'{{"conn_type": "http", "password": "{CANARY}"}}'
            room.entries.write(
                Change(ref=Ref(kind, name), secret=Secret(text), metadata=Metadata(owner="alice")),
                to="native",
                comment="of the test",
            )
        yield server


@pytest.fixture
def ada(house):
    seat = Seat(house, ADA)
    seat.get("/settings/you")
    return seat


def filled(path):
    """Give a path of the routes with something in each place."""
    there = path.replace("{kind}", "variable").replace("{digest}", "0" * 16)
    return re.sub(r"\{[^}]*\}", "x", there)


def pages(method):
    return sorted({one.path for one in ui.ENDPOINTS if one.method == method and not one.stream})


@pytest.fixture(scope="module")
def walked(house):
    """What an administrator is answered by every page, by path."""
    seat = Seat(house, ADA)
    return {path: seat.get(filled(path)) for path in pages("GET")}


POSTS = [path for path in pages("POST") if path not in ("/sign-in", "/sign-out")]


# --- UI01, RT32: what is stored or typed is shown as it is, and nothing of it runs ------


@pytest.mark.parametrize("path", [one for one in pages("GET") if not one.startswith("/static")])
def test_UI02_RT32_what_stands_in_an_address_is_inert(ada, path):
    names = ("q", "next", "origin", "team", "page", "tab", "who", "kind", "sort", "from", "why", "name")
    text = "".join(HOSTILE[:5])
    for query in (
        "&".join(f"{name}={quote(text)}" for name in names),
        f"q={quote(text)}",
        f"next={quote(text)}",
    ):
        answer = ada.get(f"{filled(path)}?{query}")
        assert answer.status < 500, f"{path}?{query}"
        body = answer.body.decode()
        assert "<script>alert" not in body
        assert "<img src=x" not in body
        assert "<svg/onload" not in body
        assert "evil" not in answer.headers.get("location", "")


@pytest.mark.parametrize("path", POSTS)
def test_UI01_RT32_what_is_typed_into_any_form_comes_back_inert(house, path):
    seat = Seat(house, ADA)
    seat.get("/settings/you")
    for text in ("".join(HOSTILE[:5]), HOSTILE[5]):
        names = (
            "name",
            "comment",
            "reason",
            "text",
            "q",
            "owner",
            "tag",
            "team",
            "typed",
            "mark",
            "role",
            "host",
        )
        answer = seat.post(filled(path), dict.fromkeys(names, text))
        assert answer.status < 500, path
        body = answer.body.decode()
        assert "<script>alert" not in body
        assert "<img src=x" not in body
        assert "<svg/onload" not in body


def test_RT32_no_page_has_a_script_style_or_handler_of_its_own(walked):
    for path, answer in walked.items():
        if path.startswith(("/static", "/login")):
            continue
        body = answer.body.decode()
        assert re.search(r"<script(?! src=\"/static/)", body) is None, path
        assert re.search(r"<style|\sstyle=|\son[a-z]+=\"|hx-on|javascript:|srcdoc", body) is None, path


# --- UI03, RT31: a change comes from our own pages ------


ELSEWISE = (
    ({"Sec-Fetch-Site": "cross-site"}, None),
    ({"Sec-Fetch-Site": None}, None),
    ({}, ""),
    ({"Sec-Fetch-Site": "same-site"}, None),
    ({"Sec-Fetch-Site": None, "Origin": "http://evil.example"}, None),
    ({"Sec-Fetch-Site": None, "Origin": "null"}, None),
    ({}, "A" * 86 + "=="),
    ({"Content-Type": "text/plain"}, None),
    ({"Content-Type": "application/json"}, None),
)


@pytest.mark.parametrize("path", POSTS)
def test_UI03_RT31_a_form_from_elsewhere_or_without_its_token_changes_nothing(house, ada, path):
    before = revision(house)
    # What is refused before any handler is the same for all: each form is held to a few, one to all of it.
    for headers, csrf in ELSEWISE if path == "/access/people" else ELSEWISE[:3]:
        answer = ada.post(filled(path), {"name": "x", "id": "x"}, csrf=csrf, headers=headers)
        assert answer.status in (400, 403, 415), f"{path} answered {answer.status} to {headers}"
        assert not any(one.startswith("strongroom=") for one in answer.headers.get_all("set-cookie") or ())
    assert revision(house) == before


def revision(house):
    place = house.house.deployment()
    return place.registry.snapshot().revision, place.feed.last


def test_UI03_the_token_of_one_person_or_browser_is_not_that_of_another(house, ada):
    mei = Seat(house, "person:dave")
    mei.get("/settings/you")
    assert ada.post("/settings/you", {"theme": "dark"}, csrf=mei.csrf).status == 403
    other = Seat(house, ADA)
    other.get("/settings/you")
    assert ada.post("/settings/you", {"theme": "dark"}, csrf=other.csrf).status == 403
    assert ada.post("/settings/you", {"theme": "dark"}).status == 303


def test_UI03_nobody_is_signed_in_as_somebody_else_unseen(house):
    nobody = Seat(house, None)
    nobody.get("/sign-in")
    typed = {"name": "alice", "password": PASSWORD}
    for headers, csrf in (
        ({"Sec-Fetch-Site": "cross-site"}, None),
        ({"Sec-Fetch-Site": None}, None),
        ({"Sec-Fetch-Site": None, "Origin": "http://evil.example"}, None),
        ({}, ""),
    ):
        answer = nobody.post("/sign-in", typed, headers=headers, csrf=csrf)
        assert answer.status == 403
        assert "strongroom=" not in str(answer.headers.get_all("set-cookie"))


def test_UI03_no_page_changes_anything_when_it_is_only_asked_for(house, ada):
    before = revision(house)
    for path in pages("GET"):
        ada.get(filled(path))
    assert revision(house) == before


# --- UI04: what every answer says to a browser ------


def test_UI04_every_page_and_every_error_of_one_is_framed_by_nobody_and_sniffed_by_nobody(house, ada, walked):
    answers = [*walked.values()]
    answers += [ada.post(filled(path), csrf="") for path in POSTS]
    answers += [house.ask("GET", filled(path)) for path in pages("GET")]
    for answer in answers:
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "service-worker-allowed" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


# --- UI06: what a browser keeps ------


def test_UI06_no_page_is_kept_and_each_differs_by_who_asks(walked):
    for path, answer in walked.items():
        if path.startswith("/static"):
            continue
        assert answer.headers["cache-control"] == "no-store", path
        if answer.headers.get("content-type", "").startswith("text/html"):
            assert {"Cookie", "HX-Request"} <= {one.strip() for one in answer.headers["vary"].split(",")}, (
                path
            )


def test_UI06_a_field_for_a_secret_is_filled_by_nobody_but_a_password_manager(ada):
    for path in ("/sign-in", "/settings/you", "/entries/new", "/access/add/person"):
        for field in re.findall(r"<input[^>]*type=\"password\"[^>]*>", ada.get(path).body.decode()):
            assert re.search(r'autocomplete="(off|new-password|current-password)"', field), f"{path}: {field}"
            assert re.search(r'value="[^"]', field) is None


def test_UI06_going_back_after_signing_out_shows_nothing(house, chromium):
    with browsing(chromium, house, allowed=("401", "EventSource")) as page:
        page.goto("/settings/sessions")
        page.goto("/settings/you")
        page.click("button:text('Sign out')")
        page.wait_for_url("**/sign-in*")
        page.go_back()
        page.wait_for_url("**/sign-in*")
        assert page.locator("text=Known as").count() == 0


# --- UI07: a value is nowhere before it is revealed ------


def test_UI07_UI08_no_page_holds_a_value_that_nobody_revealed(house, ada):
    found = set(pages("GET"))
    for path in found:
        for kind, name in (("variable", "x"), ("connection", "db")):
            there = re.sub(r"\{[^}]*\}", name, path.replace("{kind}", kind))
            # A page without tabs says the same whatever is asked for.
            for tab in ("form", "json", "uri", "env", "history") if "/entries/{" in path else ("form",):
                answer = ada.get(f"{there}?tab={tab}")
                said = answer.body.decode("utf-8", "replace") + str(answer.headers)
                assert CANARY not in said, f"{there}, {tab}"
    assert CANARY not in house.log


def test_UI07_nothing_is_kept_in_the_storage_of_a_browser(house, chromium):
    with browsing(chromium, house) as page:
        for path in ("/", "/entries/variable/x", "/settings/you"):
            page.goto(path)
            # htmx keeps the address of the page, and nothing it was answered.
            kept = page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }])")
            assert set(re.findall(r'"([^"]+)":', kept)) <= {"htmx-current-path-for-history"}
            assert CANARY not in kept
            assert CANARY not in page.content()
        assert page.evaluate("navigator.serviceWorker.getRegistrations().then((all) => all.length)") == 0
        assert CANARY not in page.evaluate("document.cookie")
        assert "srm_s_" not in page.evaluate("document.cookie")


# --- UI10: nothing from elsewhere ------


def test_UI10_no_page_names_another_host_to_load_from(walked):
    for path, answer in walked.items():
        if path.startswith("/static"):
            continue
        body = answer.body.decode()
        for where in re.findall(r'(?:src|href|action|poster|data)="([^"]*)"', body):
            assert re.match(r"/(?!/)|[#?]", where), f"{path}: {where}"


# --- RT29, RT30: cookies ------


def test_RT29_every_cookie_of_ours_is_of_this_host_and_kept_from_others(house):
    seat = Seat(house, None)
    answers = [seat.get("/sign-in"), seat.post("/sign-in", {"name": "alice", "password": PASSWORD})]
    answers += [seat.get("/settings/you"), seat.post("/settings/you", {"theme": "dark", "keys": "off"})]
    for said in (one for answer in answers for one in answer.headers.get_all("set-cookie") or ()):
        assert "Path=/" in said
        assert "Domain" not in said
        assert "SameSite=" in said
        if not said.startswith(("theme=", "keys=")):  # which our own script keeps too
            assert "HttpOnly" in said
            assert "SameSite=Strict" in said


# --- RT33: one goes on only here ------


@pytest.mark.parametrize("there", ELSEWHERE)
def test_RT33_one_never_goes_on_to_another_place(house, ada, there):
    assert safe_path(there) == ""
    nobody = Seat(house, None)
    nobody.get("/sign-in")
    typed = {"name": "alice", "password": PASSWORD, "next": there}
    answer = nobody.post("/sign-in", typed)
    assert (answer.status, answer.headers.get("location")) in ((303, "/"), (422, None)), there
    if "\n" not in there and len(there) < 4000:
        answer = ada.get(f"/sign-in?next={quote(there)}")
        assert answer.headers["location"] == "/"
    answer = ada.post("/settings/theme", {"theme": "dark", "next": there})
    assert answer.headers.get("location") in ("/settings/you", None)


@pytest.mark.parametrize(
    "path", ["/", "/inventory?q=a%20b&page=2", "/d/staging/", "/entries/variable/a/b?tab=history"]
)
def test_RT33_one_goes_on_to_a_page_of_ours(path):
    assert safe_path(path) == path


@pytest.mark.parametrize(
    "there", ["//evil.example/x", "/%2f%2fevil.example", "///evil.example", "/\\evil.example"]
)
def test_RT33_a_link_from_another_site_goes_on_only_here(house, ada, there):
    given = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site"}
    for answer in (house.ask("GET", there, headers=given), ada.get(there, headers=given)):
        said = re.findall(r'(?:url=|href="|action="|value=")(/[^"]*)', answer.body.decode())
        assert said
        assert [one for one in said if re.match(r"/[/\\]", one)] == []


def test_RT33_an_address_that_is_none_leads_nowhere_and_breaks_nothing(ada):
    mark = {"act": "owner", "mark": "native/variable/-/x", "back": "http://[::1"}
    answer = ada.post("/inventory/marked", mark)
    assert answer.status == 200
    assert b'href="/inventory"' in answer.body
    answer = ada.get("/entries/variable/x", htmx="main", headers={"HX-Current-URL": "http://[::1"})
    assert answer.status == 200


def test_RT33_nobody_is_sent_round_in_circles_to_a_deployment_that_is_not_there(house):
    for path in ("/d/nope/sign-in", "/d/nope/", "/d/nope/inventory"):
        answer = house.ask("GET", path, headers={"Accept": "text/html"})
        assert (answer.status, answer.headers.get("location")) == (404, None)


# --- UI03: a link with a code ------


@pytest.mark.parametrize(
    ("site", "waits"), [("none", False), ("same-origin", False), ("cross-site", True), (None, True)]
)
def test_UI03_a_link_of_another_site_signs_nobody_in_by_itself(house, site, waits):
    answer = Seat(house, None).get("/login", headers={"Sec-Fetch-Site": site})
    assert (b'id="by-code" data-waits' in answer.body) is waits


# --- AA14: what needs a proof of the last minutes ------


ASKED_AGAIN = (
    *((filled(one.path), {}) for one in ui.ENDPOINTS if one.needs_proof),
    ("/access/person/enable/dave", {}),
    ("/access/person/unlink/dave", {"typed": "dave"}),
    ("/access/password/dave", {"password": "five other plain words here"}),
    ("/backends", {"names": ["native", "env"]}),
    ("/backends/native", {"act": "pause", "reason": "drill", "seconds": "60"}),
    ("/backends/native", {"act": "settings", "match": "a*"}),
    ("/reveal/variable/x", {"part": "value", "act": "show", "reason": "a look"}),
)


def test_AA14_what_gives_or_shows_something_asks_for_a_proof_of_the_last_minutes(house):
    left = Seat(house, ADA, proven=timedelta(hours=2))
    left.get("/settings/you")
    before = revision(house)
    for path, fields in ASKED_AGAIN:
        answer = left.post(path, fields)
        assert answer.status == 403, path
        assert b'name="proof_password"' in answer.body, path
        assert CANARY not in answer.body.decode()
        wrong = left.post(path, {**fields, "proof_password": "no such words at all"})
        assert wrong.status in (403, 429), path
    assert revision(house)[0] == before[0]


# --- what is copied into a shell ------


def test_what_is_copied_into_a_shell_runs_nothing_whatever_an_entry_is_called(house, ada):
    name = 'a"$(id)`id`;id'
    ref = Ref("connection", name)
    text = Secret('{"conn_type": "http"}')
    house.house.deployment().root.entries.write(
        Change(ref=ref, secret=text, metadata=Metadata()), to="native"
    )
    there = quote(name)
    marked = {"act": "delete", "mark": f"native/connection/-/{name}", "back": ""}
    pages_ = [ada.get(f"/{one}/connection/{there}") for one in ("edit", "entries", "reveal")]
    pages_ += [ada.get(f"/explain?kind=connection&name={there}"), ada.post("/inventory/marked", marked)]
    pages_ += [ada.get(f"/entries/new?kind={kind}&name={there}") for kind in ("connection", "variable")]
    for answer in pages_:
        assert answer.status == 200
        twin = re.search(r'<footer class="twin".*?</footer>', answer.body.decode(), re.DOTALL)
        commands = [unescape(one) for one in re.findall(r'data-copy="([^"]*)"', twin[0])]
        assert len(commands) == 2
        for one in commands:
            run = subprocess.run(  # a shell is what it is copied into
                f"curl() {{ :; }}; strongroom() {{ :; }}; {one}",
                shell=True,
                executable="/bin/bash",
                env={"PATH": "", "STRONGROOM_URL": "", "TOKEN": ""},
                capture_output=True,
                check=True,
            )
            assert (run.stdout, run.stderr) == (b"", b"")
    house.house.deployment().root.entries.delete(ref, at="native")


# --- addresses that say anything ------


@pytest.mark.parametrize("path", [one for one in pages("GET") if not one.startswith("/static")])
def test_no_words_in_an_address_break_a_page(house, ada, path):
    asks = next(one.asks for one in ui.ENDPOINTS if (one.method, one.path) == ("GET", path))
    names = [one.encode_name for one in msgspec.structs.fields(asks)] if asks is not None else []
    for name in names:
        for value in ("", "nothing", HOSTILE[0], "-1", "9223372036854775807", "9" * 30, "http://[", "\u0663"):
            answer = ada.get(f"{filled(path)}?{name}={quote(value, safe='')}")
            assert answer.status < 500, f"{path}?{name}={value}"
