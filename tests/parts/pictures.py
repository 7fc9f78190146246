"""Every page as it is photographed and judged: `scripts/ui_screenshots.py`, `tests/ui/test_barriers.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from parts.browser import DATA, settled

if TYPE_CHECKING:
    from collections.abc import Callable


CONNECTIONS = DATA / "connections.json"


class Picture(NamedTuple):
    """
    One page as it is photographed.

    Args:
        path: below the first deployment.
        act: what is done with it first.
        is_full: the whole page, not what fits the window.
        actor: who looks; None for nobody.
    """

    path: str
    act: Callable[[Any], object] | None = None
    is_full: bool = False
    actor: str | None = "person:alice"


def _drawn(page):
    page.locator(".zoomed").wait_for()
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def _palette(page):
    page.keyboard.press("Control+k")
    page.fill("#palette-q", "post")
    page.wait_for_selector("#pg-entries")


def _marked(page):
    for at in (1, 4, 8):
        box = page.locator("[data-mark]").nth(at)
        if box.count() and box.is_visible():
            box.check()


def _misspelt(page):
    text = page.input_value("#f-text")
    page.fill("#f-text", text.replace('"list"', '"lst"'))
    page.wait_for_selector("#remarks li.bad")


def _opened(page):
    page.locator("#lines a.nm").first.click()
    page.wait_for_selector("#drawer")


def _history(page):
    if page.viewport_size["width"] < 992:
        page.goto("/entries/connection/orders_db?tab=history")
        return
    page.wait_for_selector("#drawer")
    page.locator("#drawer .tabs a", has_text="History").click()
    page.wait_for_selector("#versions")


def _reveal(page):
    page.get_by_role("link", name="Reveal password").click()
    page.wait_for_selector("form.why")
    page.fill("form.why input[name=reason]", "checking the port with the vendor")


def _mistyped(page):
    """Fill the form in as people do: a host, a port that ends in a letter, a weaker TLS."""
    page.fill("#f-host", "orders-db.example.com")
    page.fill("#f-port", "5432O")
    page.select_option("#f-extra-sslmode", "disable")
    page.wait_for_selector("#say-f-port .err")
    page.wait_for_selector("#say-f-extra-sslmode .note")


def _reviewed(page):
    page.fill("#f-host", "orders-db.example.com")
    page.select_option("#f-extra-sslmode", "verify-full")
    page.click(".formfoot .btn.main")
    page.wait_for_selector("#save-form", state="attached")


def _pasted(page):
    page.fill("#paste", "PGPASSWORD='p' psql -h orders-db.example.com -p 5432 -U etl_writer -d orders")
    page.click("[data-paste-read]")
    page.wait_for_selector(".paste .st.ok")


_ENV = """AIRFLOW_CONN_ORDERS_DB=postgres://u:p@orders-db.example.com/orders
AIRFLOW_CONN_BILLING
AIRFLOW_VAR_CUTOFF=18
"""


def _brought(page):
    files = [
        {"name": ".env.production", "mimeType": "text/plain", "buffer": _ENV.encode()},
        {"name": "connections.json", "mimeType": "application/json", "buffer": CONNECTIONS.read_bytes()},
    ]
    page.set_input_files("#files", files)
    page.click(".btn.main")
    page.wait_for_selector("#import-form", state="attached")


def _planned(page):
    _brought(page)
    page.click(".formfoot .btn.main")
    page.wait_for_selector("#run-form", state="attached")


PICTURES = {
    "overview": Picture("/", _drawn),
    "inventory": Picture("/inventory"),
    "inventory-marked": Picture("/inventory", _marked),
    "inventory-attention": Picture("/inventory?health=unreadable&health=failed&health=clash&health=soon"),
    "palette": Picture("/", _palette),
    "entry": Picture("/entries/connection/orders_db"),
    "entry-drawer": Picture("/inventory?owner=alice&open=native/connection/-/orders_db", _history),
    "entry-history": Picture("/entries/connection/orders_db?tab=history"),
    "entry-used": Picture("/entries/connection/orders_db?tab=used"),
    "entry-reveal": Picture("/entries/connection/orders_db", _reveal),
    "entry-resolution": Picture("/entries/variable/region?tab=resolution"),
    "entry-access": Picture("/entries/connection/orders_db?tab=access"),
    "entry-tests": Picture("/entries/connection/orders_db?tab=tests"),
    "entry-json": Picture("/entries/connection/orders_db?tab=json"),
    "form": Picture("/edit/connection/postgres_2.v2", _mistyped),
    "form-new": Picture("/entries/new?kind=connection&type=postgres", _pasted),
    "form-review": Picture("/edit/connection/postgres_2.v2", _reviewed),
    "form-variable": Picture("/edit/variable/number"),
    "import": Picture("/import"),
    "import-sorted": Picture("/import", _brought),
    "import-plan": Picture("/import", _planned),
    "explain": Picture("/explain?kind=variable&name=region"),
    "deployments": Picture("/deployments"),
    "backends": Picture("/backends"),
    "backends-one": Picture("/backends/native"),
    "explain-run": Picture("/explain?kind=variable&name=region&dag=orders_daily&task=load_facts"),
    "access-people": Picture("/access/people"),
    "access-groups": Picture("/access/groups"),
    "access-services": Picture("/access/services"),
    "access-tokens": Picture("/access/tokens"),
    "access-roles": Picture("/access/roles"),
    "access-policies": Picture("/access/policies"),
    "access-person": Picture("/access/people/erin"),
    "access-service": Picture("/access/services/ci"),
    "access-token-new": Picture("/access/add/token"),
    "access-policy": Picture("/access/policies/finance-reads", _misspelt),
    "access-policy-shipped": Picture("/access/policies/op"),
    "access-grants": Picture("/access/grants"),
    "access-tester": Picture(
        "/access/tester?who=person:erin&action=reveal&kind=connection&name=finance/ledger"
    ),
    "access-approvals": Picture("/access/approvals"),
    "access-approval": Picture("/access/approvals", _opened),
    "access-break-glass": Picture("/access/break-glass"),
    "audit": Picture("/audit"),
    "agents": Picture("/agents"),
    "settings-you": Picture("/settings/you"),
    "settings-sessions": Picture("/settings/sessions"),
    "settings-keys": Picture("/settings/keys"),
    "settings-backup": Picture("/settings/backup"),
    "settings-doctor": Picture("/settings/doctor"),
    "sign-in": Picture("/sign-in", actor=None),
    "keys": Picture("/keys"),
    "search": Picture("/search?q=post"),
}

KEPT = (
    "overview",
    "inventory",
    "inventory-marked",
    "palette",
    "entry",
    "entry-drawer",
    "entry-reveal",
    "form",
    "import",
    "explain",
    "deployments",
    "backends",
    "access-people",
    "access-policy",
    "access-tester",
    "access-approval",
    "audit",
    "settings-keys",
    "sign-in",
)
"""Those whose pictures stand in docs/screenshots: each shows something the others do not."""


def shown(page, picture):
    """Let *page* show *picture*; fails where it does not answer."""
    answer = page.goto(picture.path)
    assert answer is not None
    assert answer.status == 200, f"answered {answer.status}"
    if picture.act is not None:
        picture.act(page)
    settled(page)
