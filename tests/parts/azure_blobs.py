"""
Azure's blob storage in this process, as far as files need it, and strict about who asks.

    with Blobs(azure) as blobs:               # `azure` of parts.azure knows the tokens
        blobs.url, blobs.containers, blobs.asked

It answers as the REST API does: signatures by the account's key, checked by the SDK's own code, shared access
signatures, tokens, pages, ranges and blocks. What it must not be sent it notes in `wrong`.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from datetime import datetime, timezone
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from azure.core.pipeline.transport import HttpRequest
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy

ACCOUNT = "lakeofhome"
AUDIENCE = "https://storage.azure.com"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_BLOCK = re.compile(rb"<Latest>([^<]+)</Latest>")
_PAGE = 2
_SKEW_SECONDS = 900


class Asked(NamedTuple):
    """One request: its method, its path, and how it was signed; None for not at all."""

    method: str
    path: str
    how: str | None


def key(word):
    """Give a key of an account that *word* makes."""
    return base64.b64encode(hashlib.sha512(word.encode()).digest()).decode()


class Blobs:
    """
    Attributes:
        containers: contents by name, by container.
        keys: the account's, that count now.
        signatures: shared access signatures that count now, as they stand in an address.
        clients: of applications that may ask.
        asked: each request.
        refuse: how many of the next requests are refused whoever asks.
        leads: where the next question for contents is led, in place of an answer.
        wrong: what was sent and must not have been.
    """

    def __init__(self, azure):
        self.azure = azure
        self._http = _Server(("127.0.0.1", 0), _handler_of(self))
        self.origin = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.url = f"{self.origin}/{ACCOUNT}"
        self.forget()

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    def forget(self):
        self.containers, self.keys, self.signatures = {"lake": {}}, {key("first")}, set()
        self.public, self.asked, self.wrong, self.refuse, self.leads = set(), [], [], 0, None
        self.clients = None
        self._blocks = {}

    # --- who asks ---

    def answer(self, method, target, headers, body):
        """Give status, headers and body."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        path = [unquote(each) for each in parts.path.strip("/").split("/", 2)]
        how, refusal = self._how(method, target, headers, query, path)
        self.asked.append(Asked(method, parts.path, how if refusal is None else "refused"))
        if "x-ms-version" not in headers:
            self.wrong.append("a request without x-ms-version")
        if self.refuse and refusal is None:
            self.refuse -= 1
            refusal = (403, "AuthenticationFailed")
        if refusal is not None:
            return _error(*refusal)
        if path[0] != ACCOUNT:
            return _error(400, "InvalidUri")
        return self._of(method, path[1:], query, headers, body)

    def _how(self, method, target, headers, query, path):
        scheme, _, shown = headers.get("Authorization", "").partition(" ")
        if "sig" in query:
            given = {
                one for one in urlsplit(target).query.split("&") if one.startswith(("sig=", "sv=", "se="))
            }
            is_good = any(given == set(one.split("&")) for one in self.signatures) and not scheme
            return "signature", None if is_good else (403, "AuthenticationFailed")
        if scheme == "SharedKey":
            is_good = self._is_signed(method, target, headers, shown)
            return "key", None if is_good else (403, "AuthenticationFailed")
        if scheme == "Bearer":
            client, audience, ends = self.azure.tokens.get(shown, (None, None, 0))
            is_good = audience == AUDIENCE and ends > time.time()
            return client, None if is_good else (401, "InvalidAuthenticationInfo")
        is_public = method in ("GET", "HEAD") and path[1:2] and path[1] in self.public
        return None, None if is_public else (401, "NoAuthenticationInformation")

    def _is_signed(self, method, target, headers, shown):
        account, _, signature = shown.partition(":")
        said = parsedate_to_datetime(headers["x-ms-date"])
        if account != ACCOUNT or abs(time.time() - said.timestamp()) > _SKEW_SECONDS:
            return False
        given = {name.lower(): value for name, value in headers.items()}
        # The SDK signs the range that it asks for by a header of its own; the service signs both.
        request = HttpRequest(method, self.origin + target, headers=given)
        for one in self.keys:
            told = SimpleNamespace(http_request=request, context=SimpleNamespace(transport=None))
            SharedKeyCredentialPolicy(ACCOUNT, one).on_request(told)
            if request.headers["Authorization"] == f"SharedKey {ACCOUNT}:{signature}":
                return True
        return False

    # --- what is asked ---

    def _of(self, method, path, query, headers, body):
        if not path or not path[0]:
            return self._containers()
        if len(path) == 1 or query.get("restype") == "container":
            return self._of_container(method, path[0], query)
        if path[0] not in self.containers:
            return _error(404, "ContainerNotFound")
        return self._of_blob(method, path[0], path[1], query, headers, body)

    def _containers(self):
        every = "".join(
            f"<Container><Name>{name}</Name>{_PROPERTIES}</Container>" for name in self.containers
        )
        return _xml(f"<Containers>{every}</Containers><NextMarker/>")

    def _of_container(self, method, name, query):
        if method == "PUT":
            if name in self.containers:
                return _error(409, "ContainerAlreadyExists")
            self.containers[name] = {}
            return 201, {}, b""
        if name not in self.containers:
            return _error(404, "ContainerNotFound")
        if method == "DELETE":
            del self.containers[name]
            return 202, {}, b""
        if query.get("comp") != "list":
            return 200, _stamps(b""), b""
        return self._list(name, query)

    def _list(self, container, query):
        prefix, mark = query.get("prefix", ""), query.get("delimiter", "")
        found = {}
        for name, data in sorted(self.containers[container].items()):
            rest = name[len(prefix) :]
            if not name.startswith(prefix):
                continue
            if mark and mark in rest:
                below = prefix + rest.partition(mark)[0] + mark
                found[below] = f"<BlobPrefix><Name>{escape(below)}</Name></BlobPrefix>"
            else:
                told = f"<Content-Length>{len(data)}</Content-Length><BlobType>BlockBlob</BlobType>"
                inner = _PROPERTIES.replace("</Properties>", f"{told}</Properties>")
                found[name] = f"<Blob><Name>{escape(name)}</Name>{inner}</Blob>"
        start = int(query.get("marker") or 0)
        page = "".join([found[name] for name in sorted(found)][start : start + _PAGE])
        more = str(start + _PAGE) if start + _PAGE < len(found) else ""
        return _xml(
            f"<Prefix>{escape(prefix)}</Prefix><Blobs>{page}</Blobs><NextMarker>{more}</NextMarker>",
            f' ContainerName="{container}"',
        )

    def _of_blob(self, method, container, name, query, headers, body):  # noqa: PLR0911 -- one a question
        blobs = self.containers[container]
        if method == "PUT":
            return self._put(container, name, query, headers, body)
        if name not in blobs:
            return _error(404, "BlobNotFound")
        data = blobs[name]
        if method == "DELETE":
            del blobs[name]
            return 202, {}, b""
        if method == "HEAD":
            return 200, {**_stamps(data), "Content-Length": str(len(data))}, b""
        if self.leads is not None:
            where, self.leads = self.leads, None
            return 307, {"Location": where}, b""
        found = _RANGE.fullmatch(headers.get("x-ms-range") or headers.get("Range") or "")
        if found is None:
            return 200, _stamps(data), data
        begin, end = int(found[1]), int(found[2] or len(data) - 1)
        if begin >= len(data):
            return _error(416, "InvalidRange")
        part = data[begin : end + 1]
        where = f"bytes {begin}-{begin + len(part) - 1}/{len(data)}"
        return 206, {**_stamps(data), "Content-Range": where}, part

    def _put(self, container, name, query, headers, body):
        if query.get("comp") == "block":
            self._blocks[container, name, query["blockid"]] = body
            return 201, {}, b""
        if query.get("comp") == "blocklist":
            ids = [one.decode() for one in _BLOCK.findall(body)]
            body = b"".join(self._blocks.pop((container, name, one)) for one in ids)
        elif headers.get("x-ms-blob-type") != "BlockBlob":
            return _error(400, "InvalidHeaderValue")
        self.containers[container][name] = body
        return 201, _stamps(body), b""


_NOW = format_datetime(datetime(2026, 1, 1, tzinfo=timezone.utc), usegmt=True)
_PROPERTIES = f"<Properties><Last-Modified>{_NOW}</Last-Modified><Etag>0x1</Etag></Properties>"


def _stamps(data):
    tag = hashlib.sha256(data).hexdigest()[:12]
    kind = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
    return {"ETag": f'"0x{tag}"', "Last-Modified": _NOW, "x-ms-creation-time": _NOW, **kind}


def _xml(inner, more=""):
    text = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults{more}>{inner}</EnumerationResults>'
    return 200, {"Content-Type": "application/xml"}, text.encode()


def _error(status, code):
    words = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>words</Message></Error>'
    )
    more = {"WWW-Authenticate": "Bearer resource_id=https://storage.azure.com"} if status == 401 else {}
    return status, {"Content-Type": "application/xml", "x-ms-error-code": code, **more}, words.encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _handler_of(blobs):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, data = blobs.answer(self.command, self.path, self.headers, body)
            told = {"x-ms-version": "2026-01-01", "Content-Length": str(len(data)), **headers}
            head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
            sent = b"" if self.command == "HEAD" else data
            self.wfile.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + sent)

        do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = answer  # noqa: N815 -- the library's names

        def log_message(self, *_args):
            pass

    return Handler
