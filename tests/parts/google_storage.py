"""
Google Cloud Storage's JSON API in this process, as far as files need it, and strict about who asks.

    with Storage(google) as storage:          # `google` of parts.google knows the tokens; or with TLS
        storage.url, storage.files, storage.asked

It answers as the service does: pages, delimiters, ranges, uploads in one part and resumed ones. What it must
not be sent it notes in `wrong`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from parts.google_model import Fault

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Asked(NamedTuple):
    """One request: its method, its path, and who it was; None for nobody."""

    method: str
    path: str
    who: str | None


class Storage:
    """
    Attributes:
        buckets: contents by name, by bucket.
        public: buckets that anybody may read.
        asked: each request.
        refuse: how many of the next requests have a 401 whoever asks.
        leads: where the next question for contents is led, in place of an answer.
        wrong: what was sent and must not have been.
        before: called with each request before it is looked at.
    """

    def __init__(self, google, context=None):
        self.google = google
        self._http = _Server(("127.0.0.1", 0), _handler_of(self))
        if context is not None:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._http.server_address[1]}"
        self.forget()

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    def forget(self):
        self.buckets, self.public, self.asked, self.wrong = {"lake": {}}, set(), [], []
        self.refuse, self.leads, self.before = 0, None, lambda _asked: None
        self._uploads, self.generation = {}, 1

    def answer(self, method, target, headers, body):
        """Give status, headers and body."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if "access_token" in query or "Bearer" in target:
            self.wrong.append("a token in an address")
        self.before(target)
        try:
            who = self.google.known(headers["Authorization"]) if "Authorization" in headers else None
        except Fault:
            self.asked.append(Asked(method, parts.path, "refused"))
            return _error(401, "Invalid Credentials")
        self.asked.append(Asked(method, parts.path, who))
        if self.refuse:
            self.refuse -= 1
            return _error(401, "Invalid Credentials")
        path = [unquote(each) for each in parts.path.strip("/").split("/")]
        if who is None and not self._is_public(method, path):
            return _error(401, "Anonymous caller does not have storage.objects.get access")
        if path[:4] == ["upload", "storage", "v1", "b"]:
            return self._upload(path[4], query, headers, body)
        if path[:2] == ["download", "storage"]:
            path = path[1:]
        if path[:3] != ["storage", "v1", "b"]:
            return _error(404, "Not Found")
        return self._of_bucket(method, path[3:], query, headers, body)

    def _is_public(self, method, path):
        return method == "GET" and any(each in self.public for each in path)

    def _of_bucket(self, method, path, query, headers, body):  # noqa: PLR0911 -- one a question
        if not path:
            if method == "POST":
                assert query["project"]
                self.buckets.setdefault(json.loads(body)["name"], {})
                return _said({})
            assert query["project"]
            return _said(
                {
                    "kind": "storage#buckets",
                    "items": [{"name": name, "id": name} for name in sorted(self.buckets)],
                }
            )
        files = self.buckets.get(path[0])
        if files is None:
            return _error(404, "The specified bucket does not exist.")
        if len(path) == 1:
            return _said({"name": path[0], "id": path[0], "storageClass": "STANDARD"})
        name = path[2] if len(path) > 2 else None
        if name is None:
            return self._list(path[0], files, query)
        if name not in files:
            return _error(404, f"No such object: {path[0]}/{name}")
        if method == "DELETE":
            del files[name]
            return 204, {}, b""
        if query.get("alt") == "media":
            return self._content(files[name], headers)
        return _said(_item(path[0], name, files[name]))

    def _list(self, bucket, files, query):
        prefix, mark = query.get("prefix", ""), query.get("delimiter", "")
        items, prefixes = [], set()
        for name in sorted(files):
            rest = name[len(prefix) :]
            if not name.startswith(prefix):
                continue
            if mark and mark in rest:
                prefixes.add(prefix + rest.partition(mark)[0] + mark)
            else:
                items.append(_item(bucket, name, files[name]))
        start = int(query.get("pageToken", 0))
        found = {"items": items[start : start + 2], "prefixes": sorted(prefixes)}
        if start + 2 < len(items):
            found["nextPageToken"] = str(start + 2)
        return _said(found)

    def _content(self, data, headers):
        if self.leads is not None:
            where, self.leads = self.leads, None
            return 302, {"Location": where}, b""
        found = _RANGE.fullmatch(headers.get("Range", ""))
        if found is None:
            return 200, _sums(data), data
        begin, end = int(found[1]), int(found[2] or len(data) - 1)
        if begin >= len(data):
            return 416, {}, b""
        part = data[begin : end + 1]
        return 206, {"Content-Range": f"bytes {begin}-{begin + len(part) - 1}/{len(data)}"}, part

    def _upload(self, bucket, query, headers, body):
        if query.get("uploadType") == "multipart":
            mark = headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
            _, told, data, _ = body.split(b"--" + mark)
            name = json.loads(told.partition(b"\n\n")[2] or told.partition(b"\r\n\r\n")[2])["name"]
            content = data.partition(b"\n\n")[2] or data.partition(b"\r\n\r\n")[2]
            return self._stored(bucket, name, content.removesuffix(b"\n").removesuffix(b"\r"))
        if query.get("uploadType") == "media":
            return self._stored(bucket, query["name"], body)
        upload = query.get("upload_id")
        if upload is None:
            upload = str(len(self._uploads))
            self._uploads[upload] = (bucket, query.get("name") or json.loads(body)["name"], b"")
            where = f"{self.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={upload}"
            return 200, {"Location": where}, b""
        bucket, name, data = self._uploads[upload]
        self._uploads[upload] = (bucket, name, data + body)
        if headers.get("Content-Range", "").endswith("/*"):
            return 308, {"Range": f"bytes=0-{len(data + body) - 1}"}, b""
        return self._stored(bucket, name, data + body)

    def _stored(self, bucket, name, data):
        self.buckets[bucket][name] = data
        return _said(_item(bucket, name, data))


def _sums(data):
    return {"X-Goog-Hash": f"md5={base64.b64encode(hashlib.md5(data).digest()).decode()}"}


def _item(bucket, name, data):
    now = datetime(2026, 1, 1, tzinfo=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    said = {"kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(data))}
    sums = {"md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode()}
    return {**said, **sums, "generation": "1", "metageneration": "1", "updated": now, "timeCreated": now}


def _said(found):
    return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()


def _error(status, words):
    said = {"error": {"code": status, "message": words, "errors": []}}
    return status, {"Content-Type": "application/json"}, json.dumps(said).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """Whoever does not trust the certificate hangs up."""


def _handler_of(storage):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, data = storage.answer(self.command, self.path, self.headers, body)
            told = {**headers, "Content-Length": str(len(data))}
            head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
            self.wfile.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815 -- the library's names

        def log_message(self, *_args):
            pass

    return Handler
