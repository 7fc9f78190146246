"""What is not documented fails the build like any other bug."""

from __future__ import annotations

import pkgutil
import re
import runpy
from pathlib import Path

import pytest

import strongroom.backends
import strongroom.wrappers
from strongroom import errors
from strongroom.policy import Action
from strongroom.server import airflow_api, protocol
from strongroom.wire import failure as server_errors

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


def _names(package) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(package.__path__)]


@pytest.mark.parametrize("kind", _names(strongroom.backends))
def test_every_backend_has_its_page_and_its_test(kind):
    assert (DOCS / "backends" / f"{kind}.md").is_file()
    assert (ROOT / "tests" / "backends" / f"test_{kind}.py").is_file()


@pytest.mark.parametrize("kind", _names(strongroom.wrappers))
def test_every_wrapper_is_described_in_the_settings(kind):
    assert f"`{kind}`" in (DOCS / "settings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "StrongroomError"])
def test_every_error_is_documented_with_its_code(name):
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    assert f"`{name}`" in text
    assert f"`{getattr(errors, name).code}`" in text


def _answered_errors() -> list[tuple[int, str]]:
    """Give status and code of every error the server answers with, those before any route too."""
    own = (getattr(server_errors, name) for name in server_errors.__all__ if name.endswith("Error"))
    found = {
        (server_errors.STATUS[next(k for k in kind.__mro__ if k in server_errors.STATUS)], kind.code)
        for kind in (*server_errors.STATUS, *own)
    }
    source = Path(protocol.__file__).read_text(encoding="utf-8")
    written = re.findall(r'\((\d{3}), "(\w+)"', source)
    assert written
    return sorted(found | {(int(status), code) for status, code in written})


@pytest.mark.parametrize(("status", "code"), _answered_errors())
def test_every_error_of_the_server_is_documented_with_its_status(status, code):
    text = (DOCS / "server.md").read_text(encoding="utf-8")
    rows = re.findall(rf"^\| {status} \| ([^|]+) \|", text, re.MULTILINE)
    assert any(f"`{code}`" in row for row in rows), f"docs/server.md says nothing of {status} {code}"


@pytest.mark.parametrize(
    "path",
    sorted(
        {
            endpoint.path.partition("/{")[0]
            for table in (airflow_api.V2, airflow_api.V1, airflow_api.ROOT)
            for endpoint in table
        }
    ),
)
def test_every_route_of_airflows_apis_is_documented(path):
    # What follows a name is of the same row: one connection, one variable.
    text = (DOCS / "airflow-api.md").read_text(encoding="utf-8")
    assert re.search(rf"`(?:[A-Z]+ )?{re.escape(path)}`", text), f"docs/airflow-api.md says nothing of {path}"


@pytest.mark.parametrize("action", list(Action))
def test_every_action_is_documented(action):
    assert f"`{action.value}`" in (DOCS / "audit.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    for named in re.findall(r"`((?:src|tests|docs|bench|scripts)/[\w./-]+)`", text):
        assert (ROOT / named.rstrip("/")).exists(), f"{page.name} names {named}"


def test_every_decision_is_in_the_list_of_decisions():
    index = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
    for page in (DOCS / "adr").glob("0*.md"):
        assert page.name in index


@pytest.mark.parametrize("page", ["runs.md", "security.md"])
def test_what_a_verified_run_does_not_prove_is_printed(page):
    text = " ".join((DOCS / page).read_text(encoding="utf-8").split()).replace("*", "").lower()
    assert "exists and is running" in text
    assert "its author is honest" in text
    assert "dag code can find its own workload token" in text
    assert "root on the host sees everything" in text


def test_the_tables_of_live_clients_are_those_of_the_code():
    found = runpy.run_path(str(DOCS.parent / "scripts/live_manual.py"))
    text = (DOCS / "live.md").read_text(encoding="utf-8")
    assert found["page"](text) == text, "run scripts/live_manual.py"
