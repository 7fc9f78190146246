"""
The page behind a login link: it takes the code out of the address and trades it for a session.

The code stands in the fragment (`/login#code=…`), which a browser sends to nobody, so it is in no log and
in no `Referer`. The page posts it once, takes it out of the history, and says who is signed in.
"""

from __future__ import annotations

import base64
import hashlib

from strongroom.server.endpoint import Answer, Call, Endpoint

__all__ = ["ENDPOINT", "PAGE"]

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 0; min-height: 100vh; display: grid; place-items: center }
main { max-width: 28rem; padding: 2rem }
h1 { font-size: 1.25rem; margin: 0 0 .5rem }
p { margin: 0 }
"""
_SCRIPT = """
"use strict";
(async () => {
  const say = (title, text) => {
    document.getElementById("title").textContent = title;
    document.getElementById("text").textContent = text;
  };
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  history.replaceState(null, "", location.pathname);
  const json = { "Accept": "application/json" };
  try {
    if (code) {
      const answer = await fetch("v1/login/code", {
        method: "POST", credentials: "same-origin", redirect: "error",
        headers: { ...json, "Content-Type": "application/json" }, body: JSON.stringify({ code }),
      });
      if (!answer.ok) {
        const { error } = await answer.json();
        const told = [error.message, error.hint].filter(Boolean).join(": ");
        say("Not signed in", told[0].toUpperCase() + told.slice(1) + "." + (answer.status === 401
          ? " A link is good once, for ten minutes: strongroom up prints another." : ""));
        return;
      }
    }
    const who = await fetch("v1/whoami", { credentials: "same-origin", redirect: "error", headers: json });
    if (!who.ok) {
      say("Not signed in", "Open the link that strongroom up prints. It is good for one use.");
      const ways = await fetch("v1/login/ways", { redirect: "error", headers: json });
      if (ways.ok && (await ways.json()).oidc) {
        say("Not signed in", "Sign in here, or open the link that strongroom up prints (good for one use).");
        document.getElementById("oidc").hidden = false;
      }
      return;
    }
    const found = await who.json();
    say("Signed in", "You are " + found.actor + ", in " + found.deployment + ". This browser may ask the API"
      + " until the session ends; the page may be closed.");
  } catch {
    say("Not signed in", "The server gave no answer.");
  }
})();
"""
PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Strongroom</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1 id="title">Signing in</h1>
<p id="text" role="status">One moment.</p>
<p id="oidc" hidden><a href="v1/login/oidc">Sign in with the identity provider</a></p>
<noscript><p>This page needs JavaScript to take the code out of its address.</p></noscript>
</main>
<script>{_SCRIPT}</script>
</body>
</html>
""".encode()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# Nothing may run or load here but the two texts above, and nothing be asked but this server.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_hash(_SCRIPT)}",
        f"style-src {_hash(_STYLE)}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)


def _page(_call: Call) -> Answer:
    return Answer(PAGE, headers={"content-security-policy": _POLICY}, media_type="text/html; charset=utf-8")


ENDPOINT = Endpoint(
    "GET", "/login", _page, "Trade the code of a login link for a session", "login", is_public=True
)
