"""
What looks wrong in a connection's texts by themselves: secrets in plain view, stray and encoded characters,
schemes, ports and references where none belong.

Not for what a type asks for: `lint.py`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from strongroom.insight.leak import kind_of_secret
from strongroom.insight.remark import Remark
from strongroom.insight.sheet import LEAST_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.catalog.field import Field
    from strongroom.insight.remark import Weight
    from strongroom.insight.sheet import Sheet

__all__ = ["remarks"]

_PLACES = ("host", "login", "schema")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_RESERVED_ESCAPE = re.compile(r"%(?:2[13456789ABCF]|3[ABDF]|40|5[BD]|20|7[CE])", re.IGNORECASE)
_UNENCODED = re.compile(r"[:/?#\[\]@!$&'()*+,;= ]|%(?![0-9A-Fa-f]{2})")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://|jdbc:", re.IGNORECASE)
_NO_HOST = re.compile("[ \u00a0@#\"'<>]")
_PORT_AT_END = re.compile(r"[^:,\s/]+:[0-9]{1,5}")
_REFERENCE = re.compile(r"(?<!\$)(?:\$\$)*\$\{(?:connection\.[^/{}\s]+|variable)/[^{}\r\n]+\}")
_MASK = "***"

# Types whose hook puts the host into a URL or a socket itself.
_BARE_HOST = frozenset(
    {
        "postgres", "mysql", "mssql", "oracle", "redis", "mongo", "cassandra", "redshift", "clickhouse",
        "teradata", "vertica", "exasol", "trino", "presto", "hiveserver2", "hive_metastore", "hive_cli",
        "impala", "ssh", "sftp", "ftp", "samba", "smtp", "imap", "gcpcloudsqldb", "drill",
    }
)  # fmt: skip
# Of these the ones whose host is nothing but a name, an address or the path of a socket.
_NO_PATH = frozenset({"postgres", "mysql", "redis", "redshift", "ssh", "sftp", "ftp", "smtp", "imap"})
_PORTS = {
    22: "ssh", 1433: "mssql", 1521: "oracle", 3306: "mysql", 5432: "postgres", 5439: "redshift",
    6379: "redis", 27017: "mongo",
}  # fmt: skip
# Servers that speak another's protocol on its port.
_SAME_PORT = {("ssh", "sftp"), ("postgres", "redshift"), ("redshift", "postgres"), ("ssh", "git")}
_HTTPS_PORT = 443


def remarks(sheet: Sheet) -> Iterator[Remark]:
    """Give what looks wrong in the texts of *sheet*, in no order."""
    yield from _exposed(sheet)
    yield from _stray(sheet)
    yield from _encoded(sheet)
    yield from _host(sheet)
    yield from _port(sheet)
    yield from _masked(sheet)
    yield from _dormant(sheet)


# --- secrets in plain view -------------------------------------------------------------------------


def _exposed(sheet: Sheet) -> Iterator[Remark]:
    password = sheet.standard.get("password")
    for path, text in _plain_texts(sheet):
        if text == password:
            # Often both are the word of an example; a token in both places is worse.
            what = f"{path} is the same as the password, and shown"
            yield Remark("L7", "warning", path, what, "choose a password that nobody can read off")
            continue
        kind = kind_of_secret(text) or ("the password itself" if _holds(text, password) else None)
        if kind is not None:
            yield Remark(
                "L7",
                "error",
                path,
                f"{path} holds {kind}, and everybody who may list connections sees it",
                "put it into the password, or where the type keeps it secret, and write a new one",
            )


def _plain_texts(sheet: Sheet) -> Iterator[tuple[str, str]]:
    """Give path and text of what is shown."""
    for path, field, text in sheet.texts:
        if path in _PLACES:
            is_shown = sheet.kind is None or sheet.kind.is_public((path,))
        else:
            is_shown = field is not None and field.is_public
        if is_shown:
            yield path, text
    if sheet.description:
        yield "description", sheet.description


def _holds(text: str, password: object) -> bool:
    return isinstance(password, str) and len(password) >= LEAST_PASSWORD and password in text


# --- characters ------------------------------------------------------------------------------------


def _stray(sheet: Sheet) -> Iterator[Remark]:
    for path, field, text in sheet.texts:
        if path in _PLACES and any(unicodedata.category(one) in ("Cc", "Cf") for one in text.strip()):
            yield Remark(
                "L8", "error", path, f"{path} holds a control or invisible character", "type it anew"
            )
        elif text != text.strip() and not _may_have_lines(field):
            has_break = text.endswith(("\n", "\r"))
            end = "ends with a line break" if has_break else "begins or ends with white space"
            # A blank may belong to a password; a line break comes from the file or echo it was read of.
            level: Weight = "note" if path == "password" and not has_break else "warning"
            yield Remark("L8", level, path, f"{path} {end}", "write it without, if it is not meant")


def _may_have_lines(field: Field | None) -> bool:
    # What is not known may be a key or a document, which end with a line break.
    return field is None or field.type in ("multiline", "json")


def _encoded(sheet: Sheet) -> Iterator[Remark]:
    for name in _PLACES:
        text = sheet.standard.get(name)
        if isinstance(text, str) and sheet.is_known(text) and _is_encoded(name, text):
            what = f"{name} holds a percent-encoded character, which only belongs into a URI"
            yield Remark("L9", "warning", name, what, "write the character itself")
    password = sheet.standard.get("password")
    # A password may hold anything; one with nothing that would need encoding, but with what it would become:
    if isinstance(password, str) and _RESERVED_ESCAPE.search(password) and not _UNENCODED.search(password):
        what = "password looks percent-encoded, as it is only written in a URI"
        yield Remark("L9", "note", "password", what, "if it is not meant so, write it as it is")


def _is_encoded(name: str, text: str) -> bool:
    if _URL.match(text):
        return False  # a URL has its own encoding
    zone = "%25" if name == "host" and ":" in text else None  # of an IPv6 address
    return any(found[0] != zone for found in _ESCAPE.finditer(text))


# --- host and port ---------------------------------------------------------------------------------


def _host(sheet: Sheet) -> Iterator[Remark]:
    host = sheet.standard.get("host")
    if sheet.kind is None or sheet.kind.name not in _BARE_HOST or not isinstance(host, str):
        return
    if not sheet.is_known(host):
        return
    if _URL.match(host):
        what = f"host is a whole address, and {sheet.kind.name} wants the bare name"
        yield Remark("L10", "error", "host", what, "leave out everything before and behind the name")
    elif kind_of_secret(host) or "${" in host or "(" in host:
        return  # told as what it is; and a descriptor of Oracle may hold anything
    elif _NO_HOST.search(host.strip()):
        what = "host holds a character that no name of a host has"
        fix = "was it cut out of a URI? There a password with @, /, # or ? has to be percent-encoded"
        yield Remark("L8", "warning", "host", what, fix)
    elif "/" in host and not host.startswith("/") and sheet.kind.name in _NO_PATH:
        what = "host holds a /, and is the bare name"
        yield Remark("L10", "error", "host", what, "leave out what follows it; a database is the schema")
    elif _PORT_AT_END.fullmatch(host) and sheet.kind.standard_field("port") is not None:
        yield Remark("L11", "warning", "host", "host holds a port", "write it into the field port")


def _port(sheet: Sheet) -> Iterator[Remark]:
    port, kind = sheet.standard.get("port"), sheet.kind
    if kind is None or not isinstance(port, int):
        return
    if port == 0:
        yield Remark("L11", "warning", "port", "port is 0, which nothing can be reached at")
        return
    usual = kind.standard_field("port")
    other = _PORTS.get(port)
    is_foreign = other not in (None, kind.name) and (other, kind.name) not in _SAME_PORT
    if is_foreign and usual is not None and usual.default not in (None, port):
        what = f"port is the usual one of {other}; that of {kind.name} is {usual.default}"
        yield Remark("L11", "note", "port", what)
    if kind.name == "http" and port == _HTTPS_PORT and not _is_https(sheet):
        what = "port is that of https, and the host is asked by http"
        yield Remark("L11", "warning", "schema", what, "say https in schema, or before the host")


def _is_https(sheet: Sheet) -> bool:
    host, schema = str(sheet.standard.get("host", "")), str(sheet.standard.get("schema", ""))
    return "://" in host or schema.lower() == "https" or sheet.extends or not sheet.is_known(schema)


# --- what stands for something else ----------------------------------------------------------------


def _masked(sheet: Sheet) -> Iterator[Remark]:
    masked = [path for path, _, text in sheet.texts if text == _MASK]
    for path in masked:
        what = f"{path} is {_MASK}, which stands for a value that was hidden"
        yield Remark("L17", "warning", path, what, "write the value, if this is none")


def _dormant(sheet: Sheet) -> Iterator[Remark]:
    if sheet.has_references:
        return
    for path, _, text in sheet.texts:
        if _REFERENCE.search(text):
            what = f"{path} holds a reference, and this connection's references are off"
            yield Remark(
                "L18", "warning", path, what, "write it with --references, or $${ for the text itself"
            )
