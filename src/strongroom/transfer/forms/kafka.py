r"""
Kafka's client properties, of Java and of librdkafka: `bootstrap.servers=…`, a line each.

Airflow hands extra to librdkafka, which knows no JAAS: user and password are taken out of
`sasl.jaas.config`, and what only Java's client knows (key stores in JKS, serializers) is left out and told.

Lines: `key=value`, `key: value` or `key value`; `\` at the end goes on in the next; `#` and `!` begin
comments; `\` escapes a character.

Sources: java.util.Properties.load; kafka.apache.org/documentation "Producer Configs"; librdkafka's
CONFIGURATION.md and "Using SASL with librdkafka"; KIP-85 for JAAS.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from strongroom.transfer.forms.form import Form, Found, Look, connection, refused, typed
from strongroom.transfer.forms.url import spelled

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM", "parse_properties"]

_HEAD = re.compile(
    r"(?:bootstrap\.servers|metadata\.broker\.list|security\.protocol|sasl\.[\w.]{1,60})[ \t]*[=:]"
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_KEY = re.compile(r"((?:[^\\=:\s]|\\.)+)[ \t\f]*[=: \t\f]?[ \t\f]*", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_OPTION = re.compile(
    r"\s*(\w{1,64})\s*=\s*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|'([^'\\]*(?:\\.[^'\\]*)*)'|([^\s;\"']+))(?=[\s;]|$)"
)
_MODULE = re.compile(r"\s*[\w.$]{1,200}\s+(?:required|requisite|sufficient|optional)\b", re.IGNORECASE)
_JAAS = "sasl.jaas.config"
_RENAMED = {"metadata.broker.list": "bootstrap.servers", "sasl.mechanisms": "sasl.mechanism"}
_JAVA = re.compile(
    r"ssl\.(?:truststore|protocol|provider|enabled|keymanager|trustmanager|engine|secure|keystore\.type)[\w.]*"
    r"|(?:key|value)\.(?:de)?serializer|sasl\.(?:login|client\.callback|server)[\w.]*"
    r"|(?:interceptor|partitioner|metric)[\w.]*|default\.api\.timeout\.ms|max\.poll\.records"
)
_OAUTH = {"clientId": "sasl.oauthbearer.client.id", "clientSecret": "sasl.oauthbearer.client.secret"}


def parse_properties(text: str) -> dict[str, str]:
    """
    Give the properties by key.

    Raises:
        InvalidInputError: a line is no property, or a key stands twice.
    """
    found: dict[str, str] = {}
    for offset, line in _lines(text):
        match = None if line.startswith("[") else _KEY.match(line)  # a section is none of Java's
        if match is None:
            raise refused("a line is no property", offset=offset, hint="write key=value")
        key = _unescaped(match[1])
        if key in found:
            raise refused("a property stands twice", offset=offset, hint="keep one of the two")
        found[key] = _unescaped(line[match.end() :])
    return found


def _lines(text: str) -> list[tuple[int, str]]:
    """Give every line with its offset, those joined that go on in the next."""
    found: list[tuple[int, str]] = []
    parts: list[str] = []
    at = start = 0
    for raw in text.splitlines(keepends=True):
        line = raw.rstrip("\r\n").lstrip(" \t\f")
        if not parts:
            start = at
        at += len(raw)
        if not parts and (not line or line[0] in "#!"):
            continue
        goes_on = (len(line) - len(line.rstrip("\\"))) % 2 == 1
        parts.append(line[:-1] if goes_on else line)
        if not goes_on:
            found.append((start, "".join(parts)))
            parts = []
    return found + ([(start, "".join(parts))] if parts else [])


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        mark = match[1]
        return chr(int(mark[1:], 16)) if len(mark) > 1 else _ESCAPED.get(mark, mark)

    return _ESCAPE.sub(one, text) if "\\" in text else text


def _misfit(look: Look) -> str | None:
    if look.scheme or not any(_HEAD.match(line) for line in look.lines):
        return "has no line bootstrap.servers=, security.protocol= or sasl.…="
    return None


def _parse(text: str, _dialect: Dialect) -> Found:
    given = parse_properties(text)
    if not given:
        raise refused("there is no property", offset=0)
    jaas = given.pop(_JAAS, None)
    java = [key for key in given if _JAVA.fullmatch(key)]
    notes = []
    if java:
        notes.append(f"{len(java)} of Java's properties, which librdkafka does not know, left out")
    if any(key.startswith("ssl.truststore") for key in java):
        notes.append("a trust store of Java is none for librdkafka: say ssl.ca.location with a PEM file")
    plain = {_RENAMED.get(key, key): value for key, value in given.items() if key not in java}
    if jaas is not None:
        plain = _login(jaas) | plain
    return Found({None: connection("kafka", typed("kafka", plain))}, tuple(notes))


def _login(jaas: str) -> dict[str, str]:
    head = _MODULE.match(jaas)
    if head is None:
        raise refused(
            "sasl.jaas.config is no login module and its options", hint='Module required username="…";'
        )
    options = _options(jaas, head.end())
    names = {"username": "sasl.username", "password": "sasl.password", **_OAUTH}
    names |= {"principal": "sasl.kerberos.principal", "keyTab": "sasl.kerberos.keytab"}
    names |= {"serviceName": "sasl.kerberos.service.name"}
    found = {names[key]: value for key, value in options.items() if key in names}
    if not found:
        raise refused("sasl.jaas.config has no option that librdkafka knows", hint="as username and password")
    return found


def _options(jaas: str, at: int) -> dict[str, str]:
    """Give the options up to the `;`; a mark astray would else cut a password short."""
    found: dict[str, str] = {}
    while (match := _OPTION.match(jaas, at)) is not None:
        if match[1] in found:
            raise refused("an option of sasl.jaas.config stands twice", hint="keep one of the two")
        found[match[1]] = _option(match)
        at = match.end()
    if jaas[at:].strip(" \t\n;"):
        raise refused(
            "what follows in sasl.jaas.config is no option",
            hint='write name="value"; and \\\\ before a quote',
        )
    return found


def _option(match: re.Match[str]) -> str:
    quoted = match[2] if match[2] is not None else match[3]
    return match[4] if quoted is None else _ESCAPE.sub(r"\1", quoted)


def _format(connection: Connection, _name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    return "\n".join(
        f"{_escaped(key, is_key=True)}={_escaped(spelled(value))}" for key, value in extra.items()
    )


def _escaped(text: str, *, is_key: bool = False) -> str:
    marks: dict[str, Any] = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f"}
    # Line ends that Python knows and Java does not would cut the value in two when it is read here.
    marks |= {mark: f"\\u{ord(mark):04x}" for mark in "\x0b\x1c\x1d\x1e\x85\u2028\u2029"}
    if is_key:
        marks |= {mark: f"\\{mark}" for mark in "=: #!"}
    written = "".join(marks.get(character, character) for character in text)
    if written.endswith(" "):
        written = written[:-1] + "\\u0020"  # white space around a text is none of it
    return "\\" + written if written[:1] in (" ", "=", ":") else written


FORM = Form(
    name="kafka",
    title="Kafka properties",
    example="bootstrap.servers=kafka.example.com:9092\nsecurity.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
    'sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="svc" '
    'password="p@ss";',
    lacks="every field but extra; documents in extra",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
