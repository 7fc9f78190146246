"""
Real OpenID providers for tests, each a process of its own, and a browser that goes to them.

    from parts.oidc import mock_provider, strict_provider     # fixtures, one of each a process

    def test_something(strict_provider, tmp_path):
        client = strict_provider.client("http://127.0.0.1:8250")
        strict_provider.person("anna", groups=["data"])
        browser = Browser()
        page = strict_provider.log_in(browser, browser.get(address), "anna")

`mock_provider` is pip's oidc-provider-mock, `strict_provider` npm's oidc-provider. Without them tests skip,
and fail where `CI` is set. They listen on free ports of 127.0.0.1 and are ended by their process id.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from html import unescape
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import pytest

from parts.openbao import free_port

START_SECONDS = 30
_HERE = Path(__file__).parents[1]
_STRICT = _HERE.parent / ".venv-oidc" / "node_modules" / "oidc-provider"
_FORM = re.compile(r"<form([^>]*)>(.*?)</form>", re.DOTALL)
_INPUT = re.compile(r"<input([^>]*)>")
_ATTRIBUTE = re.compile(r'([a-z-]+)="([^"]*)"')
_MAX_STEPS = 12


@pytest.fixture(scope="session")
def mock_provider():
    """A provider that lets anybody in as whomever he says, and knows no client."""
    with _running(Mock) as provider:
        yield provider


@pytest.fixture(scope="session")
def strict_provider():
    """A provider as one would run it: it demands PKCE and knows its clients' addresses to the letter."""
    with _running(Strict) as provider:
        yield provider


class _running:  # noqa: N801 -- as `contextmanager` gives one, of a class
    """Give the one provider of a kind there is in this process, made by the first who asks."""

    _made: dict = {}  # noqa: RUF012 -- of all

    def __init__(self, kind):
        self._kind = kind

    def __enter__(self):
        provider, users = self._made.get(self._kind) or (self._kind(), 0)
        self._made[self._kind] = (provider, users + 1)
        return provider

    def __exit__(self, *_details):
        provider, users = self._made[self._kind]
        self._made[self._kind] = (provider, users - 1)
        if users == 1:
            del self._made[self._kind]
            provider.stop()


class Page:
    """What a browser shows."""

    def __init__(self, url, status, headers, body):
        self.url = url
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self):
        return self.body.decode()

    @property
    def link(self):
        """Where the one link leads that lets a program in."""
        (found,) = re.findall(r'<a class="btn main" href="([^"]+)" rel="noreferrer"', self.text)
        return unescape(found)

    def form(self):
        """Give where its form goes and what it holds."""
        attributes, inside = _FORM.search(self.text).groups()
        action = dict(_ATTRIBUTE.findall(attributes)).get("action") or self.url
        fields = {}
        for found in map(dict, map(_ATTRIBUTE.findall, _INPUT.findall(inside))):
            if "name" in found:
                fields[found["name"]] = unescape(found.get("value", ""))
        return urljoin(self.url, unescape(action)), fields


class Browser:
    """A browser: it follows where it is sent and keeps cookies, each for its host and port."""

    def __init__(self):
        self.cookies = {}
        self.sent = []  # every address it was sent to

    def get(self, url, *, headers=None, follow=True):
        return self.ask("GET", url, headers=headers, follow=follow)

    def post(self, url, fields, *, headers=None, follow=True):
        return self.ask("POST", url, fields, headers=headers, follow=follow)

    def ask(self, method, url, fields=None, *, headers=None, follow=True):
        for _ in range(_MAX_STEPS):
            page = self._once(method, url, fields, headers)
            if page.status not in (301, 302, 303, 307) or not follow:
                return page
            method, fields, headers = "GET", None, {"Sec-Fetch-Site": "cross-site"}
            url = urljoin(url, page.headers["Location"])
            self.sent.append(url)
        raise AssertionError("a browser is sent around in a circle")

    def _once(self, method, url, fields, headers):
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        said = {"Sec-Fetch-Site": "none", **(headers or {})}
        kept = self.cookies.setdefault(parts.netloc, {})
        mine = [f"{name}={value}" for name, (value, path) in kept.items() if parts.path.startswith(path)]
        if mine:
            said["Cookie"] = "; ".join(mine)
        body = None
        if fields is not None:
            body = urlencode(fields)
            said["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, f"{parts.path or '/'}?{parts.query}", body, said)
            answer = connection.getresponse()
            for text in answer.headers.get_all("Set-Cookie", []):
                for name, morsel in SimpleCookie(text).items():
                    kept[name] = (morsel.value, morsel["path"] or "/")
                    if morsel["max-age"] == "0" or "1970" in morsel["expires"] or not morsel.value:
                        del kept[name]
            return Page(url, answer.status, answer.headers, answer.read())
        finally:
            connection.close()


class _Provider:
    """A provider's process."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-oidc-"))
        self.port = free_port()
        self._log = (self.folder / "log").open("wb")
        self._process = None

    @property
    def issuer(self):
        return f"http://127.0.0.1:{self.port}"

    def run(self, *command, **environ):
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **environ},
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError):
                if Browser().get(f"{self.issuer}/.well-known/openid-configuration").status == 200:
                    return
            time.sleep(0.02)
        raise AssertionError(f"the provider did not start: {(self.folder / 'log').read_text()}")

    def kill(self):
        """End it, and keep its files: whoever asks it gets no answer."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def settings(self, public_url, **more):
        """Give the table of a deployment that has its people from here."""
        said = {"issuer": self.issuer, "public_url": public_url, **self.client(public_url), **more}
        return "[access.oidc]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in said.items())


class Mock(_Provider):
    """pip's oidc-provider-mock."""

    def __init__(self):
        super().__init__()
        program = Path(sys.executable).with_name("oidc-provider-mock")
        if not program.exists():
            (pytest.fail if os.environ.get("CI") else pytest.skip)("no oidc-provider-mock beside this Python")
        self.run(
            str(program), "--port", str(self.port), "--require-nonce", "true", AUTHLIB_INSECURE_TRANSPORT="1"
        )

    def client(self, _public_url, **_more):
        file = self.folder / "secret"
        file.touch(mode=0o600)
        file.write_text("any will do")
        return {"client_id": "strongroom", "client_secret": {"file": str(file)}}

    def person(self, name, *, subject=None, **claims):
        """Let there be a person, who logs in as his subject."""
        body = json.dumps({"preferred_username": name, **claims}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            subject = subject or f"sub-of-{name}"
            connection.request("PUT", f"/users/{subject}", body, {"Content-Type": "application/json"})
            assert connection.getresponse().status == 204
        finally:
            connection.close()

    def log_in(self, browser, page, name, *, subject=None):
        """Type into the provider's page who one is, and give where that ends."""
        return browser.post(page.url, {"sub": subject or f"sub-of-{name}"})

    def refuse(self, browser, page):
        """Refuse, there."""
        return browser.post(page.url, {"action": "deny"})


class Strict(_Provider):
    """
    npm's oidc-provider.

    Args:
        userinfo_only: ID tokens hold nothing but who it is, as the standard has it.
    """

    def __init__(self, *, userinfo_only=False):
        super().__init__()
        node = shutil.which("node")
        if node is None or not _STRICT.exists():
            (pytest.fail if os.environ.get("CI") else pytest.skip)("no oidc-provider: scripts/make-peers")
        self._accounts = self.folder / "accounts.json"
        self._accounts.write_text("{}")
        said = {"port": self.port, "accounts": str(self._accounts), "userinfo_only": userinfo_only}
        (self.folder / "settings.json").write_text(json.dumps(said))
        script = _HERE / "clients" / "oidc" / "provider.mjs"
        self.run(node, str(script), str(_STRICT), str(self.folder / "settings.json"))

    def client(self, public_url, *, place="", auth="basic", **more):
        """Register a client whose browsers come back to *public_url*, and give how it is known."""
        asked = {
            "redirect_uris": [f"{public_url}{place}/v1/login/oidc/callback"],
            "post_logout_redirect_uris": [f"{public_url}{place}/login"],
            "backchannel_logout_uri": f"{public_url}{place}/v1/login/oidc/logout",
            "backchannel_logout_session_required": True,
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none" if auth == "none" else f"client_secret_{auth}",
            **more,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/reg", json.dumps(asked), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            made = json.loads(answer.read())
            assert answer.status == 201, made
        finally:
            connection.close()
        known = {"client_id": made["client_id"]}
        if "client_secret" not in made:
            return known
        file = self.folder / made["client_id"]
        file.touch(mode=0o600)
        file.write_text(made["client_secret"])
        return known | {"client_secret": {"file": str(file)}, "client_auth": auth}

    def person(self, name, *, login=None, **claims):
        """Let there be a person, who logs in as *login* with any password."""
        known = json.loads(self._accounts.read_text())
        known[login or name] = {"preferred_username": name, **claims}
        beside = self._accounts.with_suffix(".new")
        beside.write_text(json.dumps(known))
        beside.rename(self._accounts)

    def log_in(self, browser, page, name):
        """Type name and password into the provider's page, agree to everything, and give where that ends."""
        for _ in range(_MAX_STEPS):
            if urlsplit(page.url).netloc != urlsplit(self.issuer).netloc or "<form" not in page.text:
                return page
            action, fields = page.form()
            if "login" in fields:
                fields |= {"login": name, "password": "any"}
            page = browser.post(action, fields, headers={"Sec-Fetch-Site": "same-origin"})
        raise AssertionError("the provider asks and asks")

    def refuse(self, browser, page):
        """Refuse, there."""
        (found,) = re.findall(r'<a href="([^"]*/abort)"', page.text)
        return browser.get(urljoin(page.url, unescape(found)))


def _toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)
