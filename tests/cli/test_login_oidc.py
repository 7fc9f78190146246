"""`strongroom login --oidc`: a real server, real identity providers, a browser, a terminal."""

from __future__ import annotations

import os
import re
import stat
import threading

import pytest

from parts.agent import until
from parts.oidc import Browser, mock_provider, strict_provider  # noqa: F401 -- fixtures
from parts.openbao import free_port
from parts.server import serving
from terminal import on_terminal

SECRET = "s3cret-canary"
MARK = re.compile(r"[A-Z2-7]{4}-[A-Z2-7]{4}")


class Place:
    """A server that has its people from a provider, and a user of its commands."""

    def __init__(self, folder, provider, server, url):
        self.provider = provider
        self.server = server
        self.url = url
        self.home = folder / "home"
        self.home.mkdir()
        self._opened = self.home / "opened"
        opener = self.home / "browser"
        opener.write_text(
            f'#!/bin/sh\nprintf %s "$1" >"{self._opened}.new"\nmv "{self._opened}.new" "{self._opened}"\n'
        )
        opener.chmod(opener.stat().st_mode | stat.S_IXUSR)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "STRONGROOM_HOME": str(self.home),
            "BROWSER": str(opener),
        }
        self.browser = Browser()

    def log_in_there(self, url, name="anna"):
        """Go where a program sends a browser, log in at the provider, and give the page it ends on."""
        return self.provider.log_in(self.browser, self.browser.get(url), name)

    def follow_when_opened(self, name="anna"):
        """Follow beside the test where the program opens a browser, up to the link that lets it in."""
        pages = []

        def work():
            until(self._opened.exists, what="a browser to be opened")
            page = self.log_in_there(self._opened.read_text(), name)
            self._opened.unlink()
            pages.append(page)
            if "<a href" in page.text:
                pages.append(self.browser.get(page.link))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return pages, thread


@pytest.fixture(params=["mock", "strict"])
def place(request, tmp_path):
    provider = request.getfixturevalue(f"{request.param}_provider")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    provider.person("anna", groups=["data"])
    settings = 'deployment = "prod"\n' + provider.settings(url, roles={"data": ["admin"]})
    served = tmp_path / "served"
    served.mkdir()
    with serving(served, settings, port=port) as server:
        yield Place(tmp_path, provider, server, url)


def test_a_browser_here_comes_back_to_the_program(place):
    pages, thread = place.follow_when_opened()
    seen = on_terminal(["login", place.url, "--oidc"], place.environ)
    thread.join(30)
    assert seen.code == 0, seen.text
    assert "logged in as person:anna" in seen.text
    assert "may be closed" in pages[-1].text
    (mark,) = set(MARK.findall(seen.text))
    assert mark in pages[0].text  # the person compares the two
    again = on_terminal(["--profile", "default", "whoami"], place.environ)
    assert "person:anna" in again.text


def test_without_a_browser_a_person_brings_the_code(place):
    def brought(shown):
        page = place.log_in_there(re.search(r"http://\S+/v1/login/oidc\?\S+", shown)[0])
        return re.search(r"<code>(srm_l_\S+)</code>", page.text)[1] + "\n"

    answers = [("code of that page: ", brought)]
    seen = on_terminal(["login", place.url, "--no-browser"], place.environ, answers=answers)
    assert seen.code == 0, seen.text
    assert "logged in as person:anna" in seen.text
    assert "srm_l_" not in seen.text
