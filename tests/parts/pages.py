"""
Pages asked for over HTTP, as a browser without script asks: with its cookies, and the token of a form.

    pages = Pages(server, ADA)
    answer = pages.get("/backends")
    answer = pages.post("/backends", {"act": "check"})
"""

from __future__ import annotations

import gzip
import http.client
import re
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from parts.browser import ADA, signed_in

_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass
class Page:
    status: int
    headers: dict[str, str]
    text: str


class Pages:
    """
    One browser of one actor.

    Args:
        deployment: where its session is; the first if unsaid.
    """

    def __init__(self, server, actor=ADA, *, deployment=None, others=()):
        self._host = urlsplit(server.address).netloc
        cookies = [signed_in(server, actor, deployment=deployment)]
        cookies += [signed_in(server, actor, deployment=one) for one in others]
        self.cookies = {one["name"]: one["value"] for one in cookies}
        self._token = ""
        self._home = "" if deployment is None else f"/d/{deployment}"

    def get(self, path, **headers):
        """Ask for *path*; headers are written with underscores."""
        return self._ask("GET", path, None, headers)

    def post(self, path, typed, **headers):
        """Send a form from one of our own pages: a value that is a list is a field for each."""
        if not self._token:
            self.get(f"{self._home}/backends")
        body = urlencode({"csrf": self._token, **typed}, doseq=True)
        headers = {
            "Content_Type": "application/x-www-form-urlencoded",
            "Sec_Fetch_Site": "same-origin",
            **headers,
        }
        return self._ask("POST", path, body, headers)

    def _ask(self, method, path, body, headers):
        connection = http.client.HTTPConnection(self._host, timeout=20)
        try:
            said = {name.replace("_", "-"): value for name, value in headers.items()}
            cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            connection.request(method, path, body, {"Cookie": cookie, **said})
            answer = connection.getresponse()
            content = answer.read()
            self._keep(answer)
            if answer.getheader("content-encoding") == "gzip":
                content = gzip.decompress(content)
            text = content.decode()
            found = _TOKEN.search(text)
            self._token = found[1] if found else self._token
            return Page(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)
        finally:
            connection.close()

    def _keep(self, answer):
        for said in answer.msg.get_all("set-cookie") or ():
            name, _, value = said.partition(";")[0].partition("=")
            if value and "Max-Age=0" not in said:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
