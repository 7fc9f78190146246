"""What tests of pages share: one browser a worker, and one house with real entries a module."""

from __future__ import annotations

import pytest

from parts.browser import browsing, furnished, lent


@pytest.fixture(scope="session")
def browser():
    with lent() as found:
        yield found


@pytest.fixture(scope="module")
def chromium(browser):
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A server with the 60 connections and 18 variables that Airflow wrote, and two people."""
    with furnished(tmp_path_factory.mktemp("house")) as server:
        yield server


@pytest.fixture
def page(chromium, house):
    """A window of an administrator, 1440 wide."""
    with browsing(chromium, house) as found:
        yield found
