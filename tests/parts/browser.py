"""
A real browser before a real server: Debian's Chromium without a window, driven by Playwright.

    from parts.browser import browsing, furnished

    @pytest.fixture(scope="module")
    def house(tmp_path_factory):
        with furnished(tmp_path_factory.mktemp("house")) as server:
            yield server

    def test_a_page(house, chromium):
        with browsing(chromium, house, actor="person:ada") as page:
            page.goto("/inventory")
            assert axe(page) == []

`chromium` is one browser a worker (tests/ui/conftest.py); a page of `browsing` is signed in, in a window of
its own, and fails at its end where the console told of an error, a script raised, or anything was asked of
another host.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from parts.server import serving
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.server.auth import cookie_name
from strongroom.service.access.begun import Begun
from strongroom.service.entries import Change
from strongroom.service.transfer import ImportOptions

# The same engine without the windows of a browser, which cost four fifths of a visit; else the browser.
CHROMIUM = next(
    (path for path in map(Path, ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium")) if path.exists()),
    Path("/usr/bin/chromium"),
)
TREE = Path(__file__).resolve().parents[2]
AXE = TREE / ".venv-axe" / "node_modules" / "axe-core" / "axe.min.js"
DATA = TREE / "tests" / "data" / "airflow3"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)
WIDTHS = {1440: 900, 1024: 768, 360: 740}
THEMES = ("light", "dark")
LOOKS = tuple((theme, width) for theme in THEMES for width in WIDTHS)
# htmx tells so of a question that a later one took the place of, as when one types on.
_REPLACED = ("htmx:sendAbort", "htmx:afterRequest")
PASSWORD = "four plain words here"
ADA = "person:alice"
MEI = "person:dave"

SETTINGS = """
deployment = "prod"
chain = ["env", "native"]
managed = "server"

[server.limits]
identity_per_second = 0
stranger_per_second = 0

[deployments.staging]
chain = ["native"]
"""
ENVIRON = {
    "AIRFLOW_VAR_REGION": "eu-west-4",
    "AIRFLOW_VAR_CUTOFF_HOUR": "18",
    "AIRFLOW_CONN_BILLING_API": '{"conn_type": "http", "host": "billing.example.com"}',
}


def _absent(why):
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def launched():
    """Give one browser; without one the test is skipped, and fails where it must not be (`CI`)."""
    if not CHROMIUM.exists():
        _absent(f"no browser: {CHROMIUM} is not there")
    sync_api = pytest.importorskip("playwright.sync_api") if not os.environ.get("CI") else _playwright()
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def lent():
    """
    Give what lends one browser for the life of a worker: `with browser() as chromium: …`.

    While it is lent, Playwright's loop runs in this thread. In between it is hidden: other tests begin loops
    of their own.
    """
    with launched() as browser:
        loop = asyncio.get_running_loop()

        @contextmanager
        def borrowed():
            asyncio._set_running_loop(loop)
            try:
                yield browser
            finally:
                asyncio._set_running_loop(None)

        asyncio._set_running_loop(None)
        try:
            yield borrowed
        finally:
            asyncio._set_running_loop(loop)


def _playwright():
    import playwright.sync_api  # noqa: PLC0415 -- a part of the tests of pages alone

    return playwright.sync_api


@contextmanager
def furnished(folder, settings=SETTINGS, *, environ=None, entries=True, people=True):
    """
    Serve a house as people have it: 60 connections and 18 variables that Airflow wrote, two deployments.

    Args:
        entries: fill it; else it is empty, but for what the environment holds.
        people: let `alice` (admin) and `dave` (viewer) be there; both sign in with `PASSWORD`.
    """
    environ = ENVIRON if environ is None else environ
    shutil.copytree(_made(settings, environ, entries, people), folder, dirs_exist_ok=True)
    with serving(folder, settings, environ=environ, make=False) as server:
        yield server


_KEPT = ExitStack()
_HOUSES = {}


def _made(settings, environ, entries, people):
    """Give the folder of a house that nobody has changed yet: made once for a worker, and copied."""
    asked = (settings, tuple(sorted(environ.items())), entries, people)
    if asked not in _HOUSES:
        if not _HOUSES:
            atexit.register(_KEPT.close)
        folder = Path(_KEPT.enter_context(tempfile.TemporaryDirectory(prefix="strongroom-house-")))
        with serving(folder, settings, environ=environ) as server:
            _furnish(server, entries=entries, people=people)
        _HOUSES[asked] = folder
    return _HOUSES[asked]


def _furnish(server, *, entries, people):
    for name in server.house.names if people else ():
        known = server.house.deployment(name).root.access.people
        known.add("alice", Secret(PASSWORD), roles=[Role("admin")])
        known.add("dave", Secret(PASSWORD), roles=[Role("viewer")])
    for name in server.house.names if entries else ():
        _fill(server.house.deployment(name).root, is_whole=name == server.house.first)


def _fill(room, *, is_whole):
    """Bring in what Airflow wrote; then owners, tags and dates, and a copy that is shadowed."""
    options = ImportOptions(to="native", force=True, comment="moved from Airflow's own database")
    room.transfer.import_connections((DATA / "connections.json").read_bytes(), "json", options)
    room.transfer.import_variables((DATA / "variables.json").read_bytes(), "json", options)
    listed = [row for page in room.inventory.pages() for row in page] if is_whole else []
    rows = [row for row in listed if row.backend == "native"]
    now = datetime.now(timezone.utc)
    changes = []
    for at, row in enumerate(sorted(rows, key=lambda one: (one.ref.kind, one.ref.name))):
        over = {
            "owner": (None, "alice", "dave", "bob")[at % 4],
            "tags": ((), ("pci",), (), ("eu", "pii"), ())[at % 5],
            "description": None if at % 3 else "Order facts, write side",
        }
        if at % 9 == 4:
            over["not_after"] = now + timedelta(days=6 + at)
        changes.append(Change(ref=row.ref, secret=None, over=over))
    if changes:
        room.entries.write_many(changes, to="native", force=True, comment="owners and tags, by team")
        shadowed = Change(
            ref=Ref("variable", "region"), secret=Secret("eu-west-1"), metadata=Metadata(owner="alice")
        )
        room.entries.write(shadowed, to="native", force=True, comment="the value of last year")
    else:
        _differ(room)


def _differ(room):
    """Let another deployment hold less, and some of it otherwise."""
    for name in ("wasb_0", "spark_1", "kafka_2.v2"):
        room.entries.delete(Ref("connection", name))
    other = {"conn_type": "postgres", "host": "db.staging.example.com", "port": 5432, "login": "svc"}
    changes = [
        Change(ref=Ref("connection", "postgres_2.v2"), secret=Secret(json.dumps(other))),
        Change(ref=Ref("variable", "limits"), secret=Secret('{"max": 2}')),
        Change(ref=Ref("variable", "number"), secret=Secret("7")),
    ]
    room.entries.write_many(changes, to="native", force=True, comment="for staging")


def signed_in(server, actor=ADA, *, deployment=None, proven=timedelta()):
    """Begin a session of *actor*, and give the cookie that holds it."""
    gate = server.house.deployment(deployment).access._gate
    at = datetime.now(timezone.utc) - proven
    token = gate.begin(Begun(actor, "password", "127.0.0.1", None, [], [], at)).token.reveal()
    first = server.house.first
    return {
        "name": cookie_name(deployment or first, first, is_secure=False),
        "value": token,
        "domain": "127.0.0.1",
        "path": "/",
        "httpOnly": True,
        "sameSite": "Strict",
    }


@contextmanager
def browsing(
    chromium,
    server,
    actor=ADA,
    *,
    width=1440,
    theme="light",
    script=True,
    zone="Europe/Berlin",
    allowed=(),
    cookies=(),
):
    """
    Give a page in a window of its own, signed in to every deployment as *actor* (None: as nobody).

    Args:
        allowed: parts of console messages that are expected.
        cookies: more of them, as Playwright takes them.
    """
    context = chromium.new_context(
        base_url=server.address,
        viewport={"width": width, "height": WIDTHS.get(width, 900)},
        color_scheme=theme,
        java_script_enabled=script,
        timezone_id=zone,
        locale="en-GB",
        reduced_motion="reduce",
    )
    trouble = []
    try:
        context.set_default_timeout(10_000)
        for name in server.house.names if actor is not None else ():
            context.add_cookies([signed_in(server, actor, deployment=name)])
        if actor is not None:  # the page one signed in on has told the zone
            context.add_cookies([{"name": "tz", "value": zone, "url": server.address}])
        if cookies:
            context.add_cookies(list(cookies))
        page = context.new_page()
        page.on("console", lambda said: said.type == "error" and trouble.append(_told(said)))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "request", lambda asked: _is_ours(asked.url, server) or trouble.append(f"asked of {asked.url}")
        )
        yield page
    finally:
        context.close()
    left = [one for one in trouble if not any(part in one for part in (*allowed, *_REPLACED))]
    assert left == [], left


def _told(said):
    return f"{said.text} ({said.location.get('url', '')})"


def _is_ours(url, server):
    return url.startswith((server.address, "data:", "blob:", "about:"))


# What repeats is looked at twice, not fifty times: lines of the same parts, classes and attributes.
_AXE = """async ([without, only]) => {
    const seen = new Map();
    const alike = [...document.querySelectorAll("tbody > tr, li")].filter((row) => {
        const parts = [row, ...row.querySelectorAll("*")].map(
            (it) => `${it.localName} ${it.className} ${it.getAttributeNames()}`);
        const made = [row.parentElement.className, ...parts].join();
        seen.set(made, (seen.get(made) ?? 0) + 1);
        return seen.get(made) > 2 && !row.contains(document.activeElement);
    });
    axe.configure({ noHtml: true });
    const found = await axe.run({ include: [document], exclude: alike }, {
        resultTypes: ["violations"],
        rules: Object.fromEntries(without.map((id) => [id, { enabled: false }])),
        ...(only.length ? { runOnly: only } : {}),
    });
    return found.violations;
}"""


def axe(page, *, without=(), only=()):
    """
    Give what axe-core finds wrong with *page* as it stands now: rule, and where; [] for nothing.

    Args:
        without: rules that are left out.
        only: the rules that are asked; all of them if unsaid.
    """
    if not AXE.exists():
        _absent("axe-core is not there: npm install --prefix .venv-axe axe-core")
    if page.evaluate("typeof axe === 'undefined'"):  # half a megabyte, once for each document
        page.evaluate(AXE.read_text())
    return [
        f"{one['id']}: {node['target'][0]}: {node.get('failureSummary', '').splitlines()[-1].strip()}"
        for one in page.evaluate(_AXE, [list(without), list(only)])
        for node in one["nodes"]
    ]


def barriers(page):
    """
    Give what hinders anybody on *page* as it stands, by look; {} for nothing. Leaves it light, and 1440 wide.

    Of axe's rules contrast alone depends on the theme, so that dark is asked for it alone; all the rest is
    asked where the page is narrow, with its menu and small targets. Nothing scrolls sideways at any width.
    """
    found = {}
    for width in WIDTHS:
        turned(page, "light", width)
        found["light", width] = [f"{over} too wide" for over in [overflows(page)] if over]
    found["light", 360] += axe(page)
    turned(page, "dark", 1440)
    found["dark", 1440] = axe(page, only=["color-contrast"])
    turned(page, "light", 1440)
    return {look: wrong for look, wrong in found.items() if wrong}


def shot(page, name, folder, *, theme="light", full=False):
    """Photograph *page* into *folder* as `NAME-THEME-WIDTH.png`, and give the file."""
    width = page.viewport_size["width"]
    file = Path(folder) / f"{name}-{theme}-{width}.png"
    page.evaluate("document.fonts.ready")
    page.screenshot(path=str(file), full_page=full, animations="disabled", caret="hide")
    return file


def overflows(page):
    """Tell by how many pixels *page* scrolls sideways; 0 where it does not."""
    return page.evaluate(
        "Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth)"
    )


def settled(page):
    """Wait until htmx has nothing under way."""
    page.locator(".htmx-request, .htmx-swapping, .htmx-settling").first.wait_for(state="detached")


def turned(page, theme, width):
    """Show *page* in *theme* and *width*, as whoever turns the lamp on and the window smaller."""
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": WIDTHS.get(width, 900)})
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def looks(page, wanted=LOOKS):
    """
    Turn *page* to each theme and width, one after the other: `for theme, width in looks(page): …`.

    What differs by theme and width is the stylesheet's alone, so one visit shows all of them. Where a script
    draws by theme or acts by width, the page is visited anew for each.
    """
    for theme, width in wanted:
        turned(page, theme, width)
        yield theme, width
