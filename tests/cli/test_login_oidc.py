"""`strongroom login --oidc`: a real server, real identity providers, a browser, a terminal."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import threading
from datetime import timedelta

import pytest

from parts import warm
from parts.agent import until
from parts.oidc import Browser, mock_provider, strict_provider  # noqa: F401 -- fixtures
from parts.openbao import free_port
from parts.server import serving
from strongroom.model.secret import Secret
from strongroom.policy import Role
from strongroom.remote import Profile, Profiles
from strongroom.service.access.begun import Begun
from terminal import on_terminal

SECRET = "s3cret-canary"
PASSWORD = "four plain words here"
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

    def put_secret(self):
        """Let there be a connection with a secret."""
        token = self.server.token("writer", "admin")
        body = {"value": f"postgres://u:{SECRET}@h/db"}
        answer = self.server.ask("PUT", "/v1/entries/connection/orders_db", body, token=token)
        assert answer.status in (200, 201), answer.body

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
            if 'rel="noreferrer"' in page.text:
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


whoever_provides = pytest.mark.parametrize("place", ["strict"], indirect=True)


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


def stale(place, *, by_browser):
    """Keep a profile of a session whose person proved long ago who she is."""
    gate = place.server.house.deployment().access._gate
    begun = gate.begin(
        Begun("person:anna", "oidc", "127.0.0.1", None, [], [], gate.clock() - timedelta(minutes=20))
    )
    profile = Profile(url=place.url, actor="person:anna", is_session=True, by_browser=by_browser)
    Profiles(place.environ).keep("default", profile, begun.token)
    return begun.identity.id


def reveal(place, **more):
    words = [
        "connections",
        "get",
        "orders_db",
        "--reveal",
        "--reason",
        "checking the port",
        "--profile",
        "default",
    ]
    return on_terminal(words, place.environ, **more)


def test_a_server_that_wants_a_fresh_proof_gets_one_by_browser_and_the_command_goes_on(place):
    place.log_in_there(f"{place.url}/v1/login/oidc")
    place.put_secret()
    before = stale(place, by_browser=True)
    _, thread = place.follow_when_opened()
    seen = reveal(place)
    thread.join(30)
    assert seen.code == 0, seen.text
    assert "once more that it is you" in seen.text
    assert SECRET in seen.text
    assert before not in [row.id for row in place.server.house.deployment().root.access.sessions.list()]
    assert reveal(place).code == 0  # the new session was kept


@whoever_provides
def test_a_server_that_wants_a_fresh_proof_gets_a_password_where_that_is_how(place):
    place.server.house.deployment().root.access.people.add("anna", Secret(PASSWORD), roles=[Role("admin")])
    place.put_secret()
    stale(place, by_browser=False)
    seen = reveal(place, answers=[("password of anna: ", PASSWORD + "\n")])
    assert seen.code == 0, seen.text
    assert SECRET in seen.text
    assert PASSWORD not in seen.text


@whoever_provides
def test_somebody_else_s_proof_does_not_do(place):
    place.log_in_there(f"{place.url}/v1/login/oidc")
    place.put_secret()
    place.provider.person("otto", groups=["data"])
    place.browser = Browser()
    stale(place, by_browser=True)
    _, thread = place.follow_when_opened("otto")
    seen = reveal(place)
    thread.join(30)
    assert seen.code == 4, seen.text
    assert "person:otto" in seen.text
    assert SECRET not in seen.text


@whoever_provides
def test_without_a_terminal_the_refusal_says_what_to_do(place):
    place.log_in_there(f"{place.url}/v1/login/oidc")
    place.put_secret()
    stale(place, by_browser=True)
    words = ["connections", "get", "orders_db", "--reveal", "--reason", "x", "--profile", "default"]
    done = warm.run(
        words,
        env=place.environ,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 4
    assert "5 minutes" in done.stderr
    assert "strongroom login" in done.stderr


@pytest.mark.parametrize(
    "words", [["--oidc", "--token-stdin"], ["--oidc", "--name", "anna"], ["--no-browser", "--password-stdin"]]
)
def test_ways_to_log_in_exclude_one_another(tmp_path, words):
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)}
    seen = on_terminal(["login", "http://127.0.0.1:1", *words], environ)
    assert seen.code == 2


def test_logout_says_where_it_goes_on(place):
    _, thread = place.follow_when_opened()
    on_terminal(["login", place.url, "--oidc"], place.environ)
    thread.join(30)
    seen = on_terminal(["logout"], place.environ)
    assert "is forgotten" in seen.text
    assert place.provider.issuer in seen.text
