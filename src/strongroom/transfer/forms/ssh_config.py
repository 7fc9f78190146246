"""
`~/.ssh/config`: every host that is named without wildcards becomes a connection of its name.

As in OpenSSH the first value counts, from every `Host` block that matches, those with wildcards too. `Match`
blocks depend on the machine and are passed over.

Sources: man.openbsd.org/ssh_config; airflow/providers/ssh/hooks/ssh.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.transfer.forms.form import Form, Found, Look, connection, port_of, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM"]

_LINE = re.compile(r"([A-Za-z]{1,40})(?:[ \t]*=[ \t]*|[ \t]+)(.+)")
_WORD = re.compile(r'"([^"]*)"|([^\s"]+)')
_HEAD = re.compile(r"(?:host|match)[ \t]+[^=\s]", re.IGNORECASE)
_VALUE = re.compile(r'(?:"[^"]*"|[^\s"]+|[ \t]+(?!#)|")*')
_WILD = re.compile(r"[*?]")
_MAX_HOSTS = 1000
_MAX_WILD = 1000
_NOTED = {
    "include": "Include names other files, which were not read",
    "proxyjump": "ProxyJump has no place in a connection; the hook reads ProxyCommand from ~/.ssh/config",
    "proxycommand": "ProxyCommand has no place in a connection; the hook reads it from ~/.ssh/config",
    "certificatefile": "CertificateFile has no place in a connection",
}


class _Block(NamedTuple):
    patterns: tuple[str, ...]
    values: dict[str, str]
    offset: int

    def matches(self, alias: str) -> bool:
        positive = False
        for pattern in self.patterns:
            if pattern.startswith("!"):
                if _fits(pattern[1:], alias):
                    return False
            elif not positive:
                positive = _fits(pattern, alias)
        return positive


def _fits(pattern: str, text: str) -> bool:
    """Match `*` and `?` without a regular expression, whose time would not be bounded."""
    at = mark = star = kept = 0
    has_star = False
    while at < len(text):
        if mark < len(pattern) and pattern[mark] == "*":
            has_star, star, mark, kept = True, mark, mark + 1, at
        elif mark < len(pattern) and pattern[mark] in ("?", text[at]):
            at, mark = at + 1, mark + 1
        elif has_star:
            kept += 1
            at, mark = kept, star + 1
        else:
            return False
    return not pattern[mark:].strip("*")


def _blocks(text: str) -> tuple[list[_Block], int]:
    """Give the `Host` blocks, the first for what stands before any, and how many `Match` blocks there are."""
    blocks = [_Block(("*",), {}, 0)]
    matches = at = 0
    for raw in text.splitlines(keepends=True):
        line, offset, at = raw.strip(), at, at + len(raw)
        if not line or line[0] == "#":
            continue
        pair = _LINE.fullmatch(line)
        if pair is None:
            raise refused("a line is no keyword and value", offset=offset)
        keyword, value = pair[1].lower(), _without_comment(pair[2].strip())
        if keyword == "match":
            matches += 1
            blocks.append(_Block((), {}, offset))
        elif keyword == "host":
            blocks.append(_Block(tuple(filter(None, _words(value))), {}, offset))
        elif keyword not in ("hostname", "user", "identityfile"):
            blocks[-1].values.setdefault(keyword, value.strip('"'))
        else:
            blocks[-1].values.setdefault(keyword, next(_words(value), ""))
    return blocks, matches


def _without_comment(value: str) -> str:
    """Take off what follows a `#` between blanks, as OpenSSH does; in quotation marks it is none."""
    if " #" not in value and "\t#" not in value:
        return value
    match = _VALUE.match(value)
    return match[0].rstrip() if match else value


def _words(value: str) -> Iterator[str]:
    return (match[1] if match[1] is not None else match[2] for match in _WORD.finditer(value))


def _misfit(look: Look) -> str | None:
    return None if any(_HEAD.match(line) for line in look.lines) and not look.scheme else "has no line Host …"


def _parse(text: str, _dialect: Dialect) -> Found:
    blocks, matches = _blocks(text)
    aliases = {
        pattern: block.offset
        for block in blocks
        for pattern in block.patterns
        if not _WILD.search(pattern) and not pattern.startswith("!")
    }
    wild = [block for block in blocks if any(_WILD.search(one) or one[0] == "!" for one in block.patterns)]
    if len(aliases) > _MAX_HOSTS or sum(len(block.patterns) for block in wild) > _MAX_WILD:
        raise refused(f"there are more than {_MAX_HOSTS} hosts, or {_MAX_WILD} patterns")
    if not aliases:
        raise refused("no host is named without wildcards", offset=0)
    notes = dict.fromkeys(_passed(len(wild) - 1, matches))
    found: dict[str | None, Connection] = {}
    for alias, values in _values(blocks, wild, list(aliases)):
        found[alias], more = _connection(alias, values, aliases[alias])
        notes |= dict.fromkeys(more)
    return Found(found, tuple(notes))


def _passed(wild: int, matches: int) -> list[str]:
    notes = []
    if wild:
        blocks = f"{wild} Host block{'s' * (wild > 1)} with wildcards"
        notes.append(f"{blocks} counted for the hosts named, and became no connection")
    if matches:
        notes.append(f"{matches} Match block{'s' * (matches > 1)} passed over")
    return notes


def _values(
    blocks: list[_Block], wild: list[_Block], aliases: list[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Give what counts for each of *aliases*; only blocks that name it, or have wildcards, are asked."""
    order = {id(block): number for number, block in enumerate(blocks)}
    named: dict[str, dict[int, _Block]] = {}
    for block in blocks:
        for pattern in block.patterns:
            named.setdefault(pattern, {})[order[id(block)]] = block
    always = {order[id(block)]: block for block in wild}
    for alias in aliases:
        values: dict[str, str] = {}
        for _, block in sorted((named[alias] | always).items(), key=lambda item: item[0]):
            if block.matches(alias):
                values = block.values | values
        yield alias, values


def _connection(alias: str, values: dict[str, str], offset: int) -> tuple[Connection, list[str]]:
    notes = [note for key, note in _NOTED.items() if values.get(key, "none") != "none"]
    extra: dict[str, Any] = {}
    host = values.get("hostname", alias).replace("%h", alias).replace("%%", "%")
    if "identityfile" in values:
        extra["key_file"] = values["identityfile"]
        if values["identityfile"][:1] in "~%":
            notes.append(
                "IdentityFile begins with ~ or %, which the hook does not expand: write the whole path"
            )
    checking = values.get("stricthostkeychecking", "").lower()
    if checking in ("yes", "no", "off"):
        extra["no_host_key_check"] = checking != "yes"
    timeout = values.get("connecttimeout", "")
    if timeout.isascii() and timeout.isdecimal() and len(timeout) < 6:  # noqa: PLR2004 -- a day
        extra["conn_timeout"] = int(timeout)
    if values.get("compression", "").lower() in ("yes", "no"):
        extra["compress"] = values["compression"].lower() == "yes"
    if values.get("identitiesonly", "").lower() == "yes":
        extra["look_for_keys"] = False
    ciphers = values.get("ciphers", "")
    if ciphers and ciphers[0] not in "+-^":
        extra["ciphers"] = ciphers.split(",")
    port = port_of(values.get("port", ""), offset)
    return connection("ssh", extra, host=host, port=port, login=values.get("user")), notes


def _format(connection: Connection, name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    check = {True: "no", False: "yes"}.get(extra.get("no_host_key_check", ""))
    squeeze = {True: "yes", False: "no"}.get(extra.get("compress", ""))
    ciphers = extra.get("ciphers")
    lines = {
        "HostName": _quoted(connection.host),
        "Port": connection.port,
        "User": _quoted(connection.login),
        "IdentityFile": _quoted(extra.get("key_file")),
        "StrictHostKeyChecking": check,
        "ConnectTimeout": extra.get("conn_timeout"),
        "Compression": squeeze,
        "IdentitiesOnly": "yes" if extra.get("look_for_keys") is False else None,
        "Ciphers": ",".join(map(str, ciphers)) if isinstance(ciphers, list) else None,
    }
    shown = [f"    {key} {value}" for key, value in lines.items() if value is not None]
    return "\n".join([f"Host {name}", *shown])


def _quoted(value: object) -> str | None:
    if value is None:
        return None
    return f'"{value}"' if re.search(r"\s", str(value)) else str(value).replace("%", "%%")


FORM = Form(
    name="ssh",
    title="~/.ssh/config",
    example="Host bastion\n    HostName bastion.example.com\n    Port 2222\n    User svc\n"
    "    IdentityFile /home/svc/.ssh/id_ed25519",
    lacks="description; password; private keys that are not in a file",
    misfit=_misfit,
    parse=_parse,
    format=_format,
    has_name=True,
)
