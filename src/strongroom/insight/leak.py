"""
Secrets where everybody looks: in a host, a login, a description, an option that is shown.

Rules of this file:

1. What is given is which kind of secret it looks like, in words; never a part of it.
2. Few false alarms before completeness: a word like `password` is not enough, a value has to follow.
"""

from __future__ import annotations

import re

__all__ = ["kind_of_secret"]

_MANY = 4096  # characters looked at: a longer one is a document, and its beginning tells
_USER_INFO = re.compile(r"(?:^|//)[^/@:\s]*:[^/@\s]+@")
_ASSIGNED = re.compile(
    # `password=…` in a connection string, `?token=…` in a URL, `password: …` in a sentence.
    r"(?:^|[?&;,\s])(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|account_?key|access_?key|sig"
    r"|shared_?access_?(?:key|signature)|client_?secret)\s{0,3}(?:=|:(?!//)\s{0,3})(?P<value>[^\s;&,]{4,})",
    re.IGNORECASE,
)
_NOT_A_VALUE = re.compile(
    r"[*.<{\[$%(].*|x{3,}.*|(?:see|ask|none|null|true|false|in|the|is|from|via)\b.*", re.IGNORECASE
)
_SHAPES = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY-----")),
    ("a signed token (JWT)", re.compile(r"(?<![\w.-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")),
    (
        "the address of a webhook, which is its key",
        re.compile(
            r"hooks\.slack\.com/(?:services|workflows|triggers)/\w{1,40}/\w{1,40}/\w{16}"
            r"|discord(?:app)?\.com/api/webhooks/[0-9]{5,30}/[\w-]{30}"
            r"|webhook\.office\.com/webhookb2/[\w@-]{30,200}/IncomingWebhook/\w{16}"
        ),
    ),
    (
        "a token",
        re.compile(
            r"(?<![A-Za-z0-9_])(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22}|glpat-[\w-]{20}"
            r"|xox[abeoprs]-[A-Za-z0-9-]{10}|hv[sbr]\.[\w-]{24}|srm_[\w-]{16}|dapi[0-9a-f]{32}"
            r"|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50}|hf_[A-Za-z0-9]{30}|Bearer\s{1,3}[\w.~+/-]{20}"
            r"|sk-[A-Za-z0-9_-]{32}|sk_live_[A-Za-z0-9]{16}|SG\.[\w-]{16,}\.[\w-]{16,}|AIza[\w-]{35})"
        ),
    ),
)


def kind_of_secret(text: str) -> str | None:
    """Give in words what secret stands in *text*, or None where nothing looks like one."""
    text = text[:_MANY]
    if _USER_INFO.search(text):
        return "a password before the @"
    if any(not _NOT_A_VALUE.match(found["value"]) for found in _ASSIGNED.finditer(text)):
        return "a password or key, by the name before it"
    return next((words for words, shape in _SHAPES if shape.search(text)), None)
