"""
Somebody who sits before a page, without a browser: cookies kept, forms sent with their token.

    ada = Seat(house, "person:alice")
    assert ada.get("/inventory").status == 200
    assert ada.post("/rollback/variable/region", {"version": "1"}).status == 303
"""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urlencode

from parts.browser import ADA, signed_in

_TOKEN = re.compile(rb'name="csrf" value="([^"]*)"')


class Seat:
    """
    One browser's worth of cookies, signed in as *actor* (None: as nobody).

    Attributes:
        csrf: the token of the last page that had one.
    """

    def __init__(self, house, actor=ADA, *, deployment=None, proven=timedelta()):
        self.house = house
        self.csrf = ""
        self._cookies = {}
        if actor is not None:
            cookie = signed_in(house, actor, deployment=deployment, proven=proven)
            self._cookies[cookie["name"]] = cookie["value"]
            gate = house.house.deployment(deployment).access
            self.actor = gate.authenticate(cookie["value"], source="127.0.0.1").actor

    def ask(self, method, path, body=None, headers=None):
        """Send one request with the cookies; a header that is None is not sent."""
        given = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        given |= headers or {}
        answer = self.house.ask(
            method, path, body, headers={name: value for name, value in given.items() if value is not None}
        )
        for said in answer.headers.get_all("set-cookie") or ():
            name, _, value = said.partition(";")[0].partition("=")
            self._cookies[name] = value
        found = _TOKEN.search(answer.body)
        if found:
            self.csrf = found[1].decode()
        return answer

    def get(self, path, *, htmx=None, headers=None):
        """Ask for a page; *htmx*: the id of the part that is wanted."""
        return self.ask("GET", path, headers=_asked_by(htmx) | (headers or {}))

    def post(self, path, fields=None, *, htmx=None, csrf=None, headers=None):
        """Send a form, with the token of a page of ours unless *csrf* is another."""
        if not self.csrf:
            self.get("/search")
        token = self.csrf if csrf is None else csrf
        given = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
            "Accept": "text/html",
        }
        body = urlencode({**(fields or {}), "csrf": token}, doseq=True).encode()
        return self.ask("POST", path, body, given | _asked_by(htmx) | (headers or {}))


def _asked_by(htmx):
    return {} if htmx is None else {"HX-Request": "true", "HX-Target": htmx}
