"""
An HTTP service that has files, in ranges or whole, and pages that link to them.

    with web_service(kind=Shelf) as shelf:
        shelf.files["/data/a.csv"] = b"…"
        shelf.pages["/data/"] = '<a href="a.csv">'
        shelf.users["app"] = "secret"
        shelf.has_ranges = False            # and says no length either
"""

from __future__ import annotations

import re

from parts.web_service import Asked, Service, _Handler


class Shelf(Service):
    def __init__(self, context=None):
        super().__init__(context)
        self.RequestHandlerClass = _Files
        self.files, self.pages, self.has_ranges = {}, {}, True


class _Files(_Handler):
    def do_any(self):
        shelf = self.server
        headers = {name.lower(): value for name, value in self.headers.items()}
        who = self._who(headers)
        shelf.asked.append(Asked(self.command, self.path, headers, b"", who))
        if who is None and not shelf.is_open:
            self.answer(401, {"WWW-Authenticate": 'Basic realm="tests"'}, b"")
        elif self.path in shelf.pages:
            self.answer(200, {"Content-Type": "text/html"}, shelf.pages[self.path].encode())
        elif self.path not in shelf.files:
            self.answer(404, {}, b"")
        elif self.command == "HEAD" and not shelf.has_ranges:
            self.answer(405, {}, b"")
        else:
            self._file(shelf.files[self.path], headers.get("range") if shelf.has_ranges else None)

    do_GET = do_HEAD = do_any  # noqa: N815 -- http.server's names

    def _file(self, data, asked):
        said = {"Accept-Ranges": "bytes"} if self.server.has_ranges else {}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
        if found is None:
            self.answer(200, said, data)
            return
        start, end = int(found[1]), int(found[2] or len(data) - 1)
        if start >= len(data):
            self.answer(416, said, b"")
            return
        part = data[start : end + 1]
        self.answer(
            206, {**said, "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"}, part
        )
