"""
The pages a browser sees that comes back from an identity provider. They hold no script.

A program that waits for a login is let in by a person who compares a mark and follows a link: a page that
went there by itself would let in whichever program sent the browser away.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from strongroom.model.pairing import mark_of
from strongroom.server.endpoint import Answer
from strongroom.wire.failure import headers_of, status_of, without_paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.errors import StrongroomError
    from strongroom.service.access.oidc import Handed

__all__ = ["refused", "signed_in", "to_program"]

_LOGIN = "../../../login"  # of the page that says who is signed in, from .../v1/login/oidc/callback
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 0; min-height: 100vh; display: grid; place-items: center }
main { max-width: 30rem; padding: 2rem }
h1 { font-size: 1.25rem; margin: 0 0 .5rem }
p { margin: 0 0 .75rem }
code { overflow-wrap: anywhere }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{_HASH}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def signed_in(cookies: Mapping[str, str]) -> Answer:
    """
    Give the page of a browser that is signed in: it goes on to the one that says as whom.

    That is not a redirect: the cookie of a session does not travel with a way that began elsewhere.
    """
    body = "<p>This page goes on by itself.</p>"
    return _page(
        "Signed in", body, headers=cookies, head=f'<meta http-equiv="refresh" content="0; url={_LOGIN}">'
    )


def to_program(handed: Handed, cookies: Mapping[str, str]) -> Answer:
    """Give the page that lets a person let his program in."""
    mark, code = mark_of(handed.program.challenge), handed.code.reveal()
    who = f"<p>A program asks to go on as <strong>{escape(handed.actor)}</strong>.</p>"
    check = f"<p>It must show this mark, and be one you started: <strong>{mark}</strong></p>"
    if handed.program.port is None:
        end = f"<p>If so, give it this code, good once and for two minutes:</p><p><code>{code}</code></p>"
    else:
        address = f"http://127.0.0.1:{handed.program.port}/?{urlencode({'code': code})}"
        end = f'<p>If so: <a href="{escape(address)}" rel="noreferrer">let it go on</a>.</p>'
    return _page("Signed in", who + check + end + "<p>If not, close this page.</p>", headers=cookies)


def refused(error: StrongroomError, cookies: Mapping[str, str]) -> Answer:
    """Give the page of a login that came to nothing."""
    told = ": ".join(filter(None, (without_paths(str(error)), without_paths(error.hint or ""))))
    more = {name.decode(): value.decode() for name, value in headers_of(error)}
    body = f"<p>{escape(told[:1].upper() + told[1:])}.</p>"
    return _page("Not signed in", body, status=status_of(error), headers={**more, **cookies})


def _page(
    title: str, body: str, *, status: int = 200, headers: Mapping[str, str] | None = None, head: str = ""
) -> Answer:
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Strongroom: {title.lower()}</title>
{head}
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""
    said = {"content-security-policy": _POLICY, "cache-control": "no-store", **(headers or {})}
    return Answer(text.encode(), status=status, headers=said, media_type="text/html; charset=utf-8")
