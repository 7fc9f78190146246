from __future__ import annotations

import gzip
import re
import shlex
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer
from starlette.routing import Match

from parts.browser import ADA, MEI, furnished
from parts.seat import Seat
from strongroom.cli.app import tree
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.server import ui
from strongroom.server.form import Form, check_token, read_form, token_of
from strongroom.server.ui.dates import dates_in, span, zone_of
from strongroom.server.ui.texts import catalogue, say
from strongroom.wire.failure import CrossSiteError, FieldError, MediaTypeError, TooLargeError

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xx"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("house"), entries=False) as server:
        yield server


@pytest.fixture(scope="module")
def ada(house):
    return Seat(house, ADA)


def pages():
    found = {one.path for one in ui.ENDPOINTS if one.method == "GET" and not one.stream}
    return sorted(one for one in found if not one.startswith(("/static", "/login", "/sign-in")))


def filled(path):
    return re.sub(r"\{[^}]*\}", "region", path.replace("{kind}", "variable"))


# --- how a page is answered --------------------------------------------------------------------------------


def test_a_page_is_whole_by_itself_and_a_part_for_htmx_and_whole_again_from_history(ada):
    whole = ada.get("/settings/you")
    part = ada.get("/settings/you", htmx="main")
    back = ada.get("/settings/you", htmx="main", headers={"HX-History-Restore-Request": "true"})
    assert whole.body.startswith(b"<!doctype html>")
    assert back.body.startswith(b"<!doctype html>")
    assert b"<html" not in part.body
    assert part.body.lstrip().startswith(b"<title>You")
    assert b'id="twin" hx-swap-oob="true"' in part.body
    assert {"HX-Request", "HX-Target"} <= set(whole.headers["vary"].split(", "))


def test_a_page_is_packed_for_whoever_takes_it_and_not_for_others(ada):
    plain = ada.get("/settings/you")
    assert "content-encoding" not in plain.headers
    packed = ada.get("/settings/you", headers={"Accept-Encoding": "br, gzip;q=0.8"})
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 2
    assert gzip.decompress(packed.body).startswith(b"<!doctype html>")
    assert "content-encoding" not in ada.get("/settings/you", headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_a_static_file_stands_at_an_address_of_its_release_and_is_kept_for_a_year(house, ada):
    style = re.search(rb'href="(/static/[0-9a-f]{16}/style\.css)"', ada.get("/settings/you").body)[1].decode()
    answer = house.ask("GET", style, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert b"@layer" in gzip.decompress(answer.body)
    old = house.ask("GET", "/static/0000000000000000/style.css")
    assert old.headers["cache-control"] == "no-cache"
    for path in ("style.cs", "../app.py", "%2e%2e/app.py", "vendor", "", "style.css/", "fonts/../style.css"):
        assert house.ask("GET", f"/static/0000000000000000/{path}").status in (303, 404)


def test_every_file_that_a_page_names_is_there(house, ada):
    named = set()
    for path in pages():
        named |= set(re.findall(r'"(/static/[^"#]+)', ada.get(filled(path)).body.decode()))
    assert named
    for path in named:
        assert house.ask("GET", path).status == 200, path


def test_an_address_that_is_nowhere_is_a_page_to_a_browser_and_a_message_to_a_program(house, ada):
    page = ada.get("/nowhere", headers={"Accept": "text/html"})
    assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert b"There is nothing here" in page.body
    assert house.ask("GET", "/nowhere").json()["error"]["code"] == "not_found"
    assert house.ask("GET", "/v1/nowhere", headers={"Accept": "application/json"}).status == 404


def test_a_link_from_another_site_is_followed_once_more_from_our_own(house):
    answer = house.ask("GET", "/settings/you?", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert b'http-equiv="refresh" content="0; url=/settings/you"' in answer.body
    assert b"person" not in answer.body
    assert house.ask("GET", "/settings/you", headers={"Sec-Fetch-Site": "same-origin"}).status == 303


def test_who_may_not_is_told_why_what_he_may_and_whom_to_ask(house):
    mei = Seat(house, MEI)
    answer = mei.get("/settings/sessions?who=everybody")
    text = re.sub(r"<[^>]+>", " ", answer.body.decode())
    assert answer.status == 403
    assert "no policy allows it" in text
    assert re.search(r"You may here\s+list", text)
    assert re.search(r"Ask\s+alice", text)
    part = mei.get("/settings/sessions?who=everybody", htmx="main")
    assert part.headers["hx-retarget"] == "#banners"
    assert b"Ask alice." in part.body


def test_a_sealed_deployment_says_so_in_a_page(house):
    place = house.house.deployment("staging")
    house.house.seals.seal("staging", place.root.actor)
    for path in ("/d/staging/settings/you", "/d/staging/sign-in"):
        answer = house.ask("GET", path, headers={"Accept": "text/html"})
        assert answer.status == 503
        assert b"This deployment is sealed" in answer.body
    assert house.ask("GET", "/sign-in").status == 200


# --- the same thing elsewhere ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", pages())
def test_the_command_and_the_call_of_every_page_are_there(house, ada, path):
    body = ada.get(filled(path)).body.decode()
    twin = re.search(r'<footer class="twin".*?</footer>', body, re.DOTALL)
    if twin is None:
        return
    from html import unescape  # noqa: PLC0415 -- beside its use

    command = unescape(re.search(r"<code>(.*?)</code>", twin[0])[1])
    resolve(shlex.split(command))
    for curl in re.findall(r'data-copy="(curl[^"]*)"', twin[0]):
        words = shlex.split(unescape(curl))
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        address = next(one for one in words if one.startswith("$STRONGROOM_URL"))
        called = urlsplit(address.removeprefix("$STRONGROOM_URL")).path
        assert is_route(house, method, called), f"{path}: {method} {called}"


@cache
def commands():
    """Give every command by its words."""
    root = tree()
    with root.make_context("strongroom", [], obj=Session(environ={}), resilient_parsing=True) as context:
        return dict(below(root, context, ()))


def below(group, context, words):
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        yield (*words, name), found
        if hasattr(found, "list_commands"):
            yield from below(found, typer.Context(found, parent=context, info_name=name), (*words, name))


def resolve(words):
    """Find the command that *words* are, and see that it has their options."""
    assert words[0] == "strongroom"
    upto = max(n for n in range(1, len(words) + 1) if n == 1 or tuple(words[1:n]) in commands())
    assert upto > 1, f"there is no command {' '.join(words)}"
    found = commands()[tuple(words[1:upto])]
    assert not hasattr(found, "list_commands"), f"{' '.join(words)} is no command but a group"
    known = {option for one in found.params for option in (*one.opts, *one.secondary_opts)}
    for word in words[upto:]:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{' '.join(words)}: {word}"


def is_route(house, method, path):
    scope = {"type": "http", "method": method, "path": path, "headers": [], "root_path": ""}
    return any(
        route.matches(scope)[0] is Match.FULL and method in resource._endpoints
        for resource, route in house.app.routes
    )


# --- texts -------------------------------------------------------------------------------------------------


def templates():
    return sorted(Path(str(files("strongroom.server.ui"))).rglob("*.html"))


def uncommented(file):
    return re.sub(r"\{#.*?#\}", "", file.read_text(), flags=re.DOTALL)


def test_every_text_a_template_names_is_in_the_catalogue():
    keys = catalogue()
    for file in templates():
        for key in re.findall(r"\bt\(\s*[\"']([a-z0-9_.]+)[\"']\s*[,)]", uncommented(file)):
            assert key in keys, f"{file.name}: {key}"


def test_a_text_escapes_what_is_put_into_it_and_has_plural_forms():
    assert say("you.role_team", role="<b>", team='"') == "&lt;b&gt; of &#34;"
    assert "code>strongroom up</code" in say("sign_in.have_code")
    assert say("sign_in.again_fields", count=1) == "1 field"
    assert say("sign_in.again_fields", count=2) == "2 fields"
    with pytest.raises(LookupError, match=r"no text nothing\.here"):
        say("nothing.here")


# --- moments -----------------------------------------------------------------------------------------------


def test_a_moment_is_shown_in_the_readers_zone_with_the_exact_one_beside():
    from datetime import datetime, timedelta, timezone  # noqa: PLC0415 -- beside their use

    now = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
    shown = dates_in(zone_of("Asia/Kathmandu"), now)
    at = datetime(2026, 11, 21, 10, 5, 9, tzinfo=timezone.utc)
    assert shown["when"](at) == (
        '<time datetime="2026-11-21T10:05:09Z" title="2026-11-21 15:50:09 +0545">21 Nov 15:50</time>'
    )
    assert ">21 Nov 2025<" in shown["day"](at.replace(year=2025))
    assert ">15:50:09<" in shown["clock"](at)
    assert ">25 h<" in shown["ago"](at) or ">1 d<" in shown["ago"](at)
    assert shown["when"](None) == "&ndash;"
    assert [span(timedelta(seconds=one)) for one in (0, 59, 60, 3600, 86400, 400 * 86400)] == [
        "0 s",
        "59 s",
        "1 min",
        "1 h",
        "1 d",
        "1 y",
    ]


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "/etc/localtime", "Not/AZone", "x" * 300, "a\0b", "Europe"]
)
def test_a_zone_that_is_none_is_utc(name):
    assert str(zone_of(name)) == "UTC"


# --- forms -------------------------------------------------------------------------------------------------


def test_a_form_is_read_in_both_its_shapes():
    form = read_form(b"a=1&a=2&b=%C3%A9%0D%0Ax&c=", URLENCODED)
    assert (form.all("a"), form.text("b"), form.text("c"), form.flag("c")) == (("1", "2"), "é\nx", "", False)
    body = (
        b'--xx\r\nContent-Disposition: form-data; name="a%22b"\r\n\r\none\r\ntwo\r\n'
        b'--xx\r\nContent-Disposition: form-data; name="f"; filename="x.env"\r\n'
        b"Content-Type: text/plain\r\n\r\n"
        b"A=\xff\r\n--xx--\r\n"
    )
    form = read_form(body, MULTIPART)
    assert form.text('a"b') == "one\ntwo"
    assert (form.file("f").name, form.file("f").content, form.file_count) == ("x.env", b"A=\xff", 1)
    assert "one" not in repr(form) + repr(form.file("f"))


@pytest.mark.parametrize(
    ("body", "media", "error"),
    [
        (b"{}", "application/json", MediaTypeError),
        (b"a=1", "text/plain", MediaTypeError),
        (b"a=%ff", URLENCODED, InvalidInputError),
        ("a=é".encode(), URLENCODED, InvalidInputError),
        (b"&".join(b"a=1" for _ in range(5000)), URLENCODED, TooLargeError),
        (b"--xx\r\n", MULTIPART, InvalidInputError),
        (b"--xx--", MULTIPART.replace("=xx", "="), InvalidInputError),
        (b"--xx\r\nno head\r\n--xx--\r\n", MULTIPART, InvalidInputError),
        (b"--xx\r\nContent-Disposition: form-data\r\n\r\n1\r\n--xx--\r\n", MULTIPART, InvalidInputError),
        (b"before\r\n--xx--\r\n", MULTIPART, InvalidInputError),
    ],
)
def test_what_is_no_form_is_refused(body, media, error):
    with pytest.raises(error):
        read_form(body, media)


def test_a_field_is_refused_that_is_too_long_not_known_or_twice():
    form = Form({"a": ["x" * 10], "b": ["1", "2"], "c": ["a\0"], "f.x": ["1"]})
    for name, most in (("a", 9), ("b", 9), ("c", 9)):
        with pytest.raises(FieldError):
            form.text(name, most=most)
    with pytest.raises(FieldError):
        form.only(("a", "b", "c"))
    assert form.only(("a", "b", "c", "f.")) is form


def test_a_token_is_another_each_time_and_good_for_one_browser_and_one_person():
    first, second = token_of("browser", ADA), token_of("browser", ADA)
    assert first != second
    for token in (first, second):
        check_token(["", token], "browser", [ADA])
    for given, browser, actor in (
        (first, "other", ADA),
        (first, "browser", MEI),
        (first[:-4], "browser", ADA),
        ("é", "browser", ADA),
        ("", "browser", ADA),
        (first, "", ADA),
    ):
        with pytest.raises(CrossSiteError):
            check_token([given], browser, [actor])
