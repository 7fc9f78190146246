"""
Command lines of clients: `psql`, `mysql`, `mongosh`, `redis-cli`, `aws configure set` and `curl`.

A password on such a line is taken; where the program asks for it, there is none, and that is told.

Sources: postgresql.org/docs/current/app-psql.html and libpq-envars.html; dev.mysql.com/doc/refman "Command
Options for Connecting to the Server"; mongodb.com/docs/mongodb-shell/reference/options;
redis.io/docs/latest/develop/tools/cli; docs.aws.amazon.com/cli/latest/reference/configure/set.html;
curl.se/docs/manpage.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.model.extra import Extra
from strongroom.transfer.forms import libpq_uri, mongodb, redis, web
from strongroom.transfer.forms.aws import of_keys
from strongroom.transfer.forms.command_option import (
    CURL,
    MONGOSH,
    MYSQL,
    PG_FLAGS,
    PG_OPTIONS,
    PG_VARIABLES,
    REDIS,
)
from strongroom.transfer.forms.form import Form, Found, Look, connection, port_of, refused, typed
from strongroom.transfer.forms.libpq import of_parameters
from strongroom.transfer.forms.libpq_keywords import parse_keywords
from strongroom.transfer.forms.words import Command, Options, parse_command, parse_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORMS", "PROGRAMS"]

_PROGRAMS = {
    "psql": ("psql", "pg_dump", "pg_isready"),
    "mysql": ("mysql", "mariadb", "mysqldump"),
    "mongosh": ("mongosh", "mongo"),
    "redis-cli": ("redis-cli", "valkey-cli"),
    "curl": ("curl",),
}


def _told(options: Options) -> list[str]:
    count = options.unknown
    return (
        [f"{count} option{'s' * (count > 1)} not known to say anything of a connection passed over"]
        if count
        else []
    )


def _asked(found: Connection) -> list[str]:
    return [] if found.password is not None else ["the command names no password; it would ask for it"]


def _psql(command: Command) -> Found:
    options = parse_options(command.arguments, PG_OPTIONS[command.name], flags=PG_FLAGS)
    given = {PG_VARIABLES[key]: value for key, value in command.environ.items() if key in PG_VARIABLES}
    said = dict(options.values)
    for key, word in zip(("dbname", "user"), options.rest, strict=False):
        said.setdefault(key, word)
    database = said.get("dbname", "")
    if database.startswith(("postgres://", "postgresql://")):
        del said["dbname"]
        found = libpq_uri.FORM.parse(database, "core").connections[None]
        found = _over(found, of_parameters(given | said))
    else:
        if "=" in database:
            said |= parse_keywords(said.pop("dbname"))
        found = of_parameters(given | said)
    return Found({None: found}, (*_told(options), *_asked(found)))


def _over(found: Connection, rest: Connection) -> Connection:
    """Fill from *rest* what *found* does not say."""
    names = ("host", "port", "schema", "login", "password", "extra")
    return found.replace(**{name: getattr(rest, name) for name in names if getattr(found, name) is None})


def _both(one: Connection, other: Connection) -> Connection:
    """Give what either says; what both say must be the same."""
    extra = one.extra.reveal() if one.extra is not None else {}
    more = other.extra.reveal() if other.extra is not None else {}
    names = ("host", "port", "schema", "login", "password")
    mine, theirs = ({name: getattr(each, name) for name in names} for each in (one, other))
    for said, also in ((mine, theirs), (extra, more)):
        if any(said[key] != value for key, value in also.items() if said.get(key) is not None is not value):
            raise refused("an option says another thing than the address", hint="keep one of the two")
    return _over(other.replace(extra=None), one).replace(extra=Extra(extra | more) if extra | more else None)


def _mysql(command: Command) -> Found:
    flags = dict.fromkeys(
        ["-B", "-N", "-s", "-C", "--batch", "--silent", "--compress", "--skip-column-names"], ""
    )
    options = parse_options(command.arguments, MYSQL, flags=flags, attached=frozenset({"-p", "--password"}))
    said: dict[str, Any] = dict(options.values)
    if len(options.rest) > 1:
        raise refused(
            "more than one word stands where the database does",
            hint="attach the password: --password=… or -p…",
        )
    if options.rest:
        said.setdefault("schema", options.rest[0])
    said["password"] = said.get("password") or command.environ.get("MYSQL_PWD")
    fields = {key: said.pop(key, None) for key in ("host", "login", "password", "schema")}
    port = port_of(said.pop("port", ""))
    files = {key: said.pop(key) for key in ("ca", "cert", "key", "cipher") if key in said}
    extra = typed("mysql", said) | ({"ssl": files} if files else {})
    found = connection("mysql", extra, port=port, **fields)
    return Found({None: found}, (*_told(options), *_asked(found)))


def _mongosh(command: Command) -> Found:
    options = parse_options(
        command.arguments,
        MONGOSH,
        flags={"--tls": "tls", "--ssl": "tls", "--quiet": "", "--norc": ""},
        prompts=frozenset({"-p", "--password"}),
    )
    said: dict[str, Any] = dict(options.values)
    place = options.rest[0] if options.rest else ""
    if "://" not in place:
        # As the shell takes it: a database, or host:port/database.
        host, slash, _database = place.partition("/")
        is_host = bool(slash) or ":" in host or "." in host
        place = f"mongodb://{place if is_host else '/' + place}" if place else "mongodb://"
    base = mongodb.FORM.parse(place, "core").connections[None]
    fields = {key: said.pop(key) for key in ("host", "login", "password") if key in said}
    port = port_of(said.pop("port", ""))
    extra = base.extra.reveal() if base.extra is not None else {}
    if said.pop("tls", None) is not None:
        extra["ssl"] = True
    extra |= typed("mongo", said)
    given = connection("mongo", extra, port=port, **fields)
    found = _over(given.replace(extra=None) if not extra else given, base)
    return Found({None: found}, (*_told(options), *_asked(found)))


def _redis(command: Command) -> Found:
    flags = {
        "--tls": "tls",
        "--insecure": "insecure",
        "--askpass": "",
        "-c": "cluster",
        "--no-auth-warning": "",
    }
    # redis-cli takes its first argument that is no option for the command to send.
    options = parse_options(command.arguments, REDIS, flags=flags)
    said: dict[str, Any] = dict(options.values)
    address = said.pop("url", None)
    fields = {key: said.pop(key, None) for key in ("host", "login", "password")}
    fields["password"] = fields["password"] or command.environ.get("REDISCLI_AUTH")
    port = port_of(said.pop("port", ""))
    if said.pop("tls", None) is not None:
        said["ssl"] = "true"
    if said.pop("insecure", None) is not None:
        said["ssl_cert_reqs"] = "none"
    if "cluster" in said:
        said["cluster"] = "true"
    found = connection("redis", typed("redis", said), port=port, **fields)
    if address is not None:
        found = _both(redis.FORM.parse(address, "core").connections[None], found)
    return Found({None: found}, (*_told(options), *_asked(found)))


def _headers(arguments: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Give the headers, which may be several, and the other arguments."""
    headers: dict[str, str] = {}
    kept: list[str] = []
    queue = list(reversed(arguments))
    while queue:
        word = queue.pop()
        if word in ("-H", "--header") and queue:
            name, _, value = queue.pop().partition(":")
            headers[name.strip()] = value.strip()
        else:
            kept.append(word)
    return headers, tuple(kept)


def _address(url: str | None, options: Options) -> str:
    """Give the one address; a word without `://` is one only where it cannot be an option's value."""
    whole = [word for word in options.rest if "://" in word]
    every = ([url] if url else []) + (whole or [word for word in options.rest if not url])
    places = {word.partition("://")[2].partition("/")[0] for word in every}
    if len(places) > 1 or (every and not (url or whole) and options.unknown):
        raise refused("it is not clear which word is the address", hint="leave the other options out")
    if not every:
        raise refused("the command names no address")
    return every[0] if "://" in every[0] else f"http://{every[0]}"


def _curl(command: Command) -> Found:
    flags = {
        "-k": "insecure",
        "--insecure": "insecure",
        "-s": "",
        "-S": "",
        "-L": "",
        "-i": "",
        "-v": "",
        "-f": "",
        "-G": "",
        "--get": "",
        "--fail": "",
        "--silent": "",
        "--show-error": "",
        "--location": "",
        "--compressed": "",
    }
    headers, kept = _headers(command.arguments)
    options = parse_options(kept, CURL, flags=flags)
    said: dict[str, Any] = dict(options.values)
    found, notes = web.of_address(_address(said.pop("url", None), options))
    login, _, password = said.pop("user", "").partition(":")
    for key, header, prefix in (("cookie", "Cookie", ""), ("bearer", "Authorization", "Bearer ")):
        if key in said:
            headers[header] = prefix + said.pop(key)
    extra: dict[str, Any] = headers | typed("http", said)
    if "agent" in extra:
        extra["User-Agent"] = extra.pop("agent")
    if extra.pop("insecure", None) is not None:
        extra["verify"] = False
    more = connection("http", extra, login=login, password=password)
    return Found({None: _over(found, more)}, (*notes, *_told(options)))


def _aws(text: str) -> Found:
    profiles: dict[str | None, dict[str, str]] = {}
    for line in text.splitlines():
        command = parse_command(line.strip())
        options = parse_options(command.arguments, {"--profile": "profile"})
        words = options.rest
        if command.name != "aws" or words[:2] != ("configure", "set") or len(words) != 4:  # noqa: PLR2004 -- key and value
            raise refused("a line is no `aws configure set KEY VALUE`", offset=text.find(line))
        head, dot, key = words[2].removeprefix("profile.").rpartition(".")
        profile = options.values.get("profile") or (head if dot else None)
        profiles.setdefault(profile, {})[key if dot else words[2]] = words[3]
    return Found({name: of_keys(given) for name, given in profiles.items()})


def _form(name: str, title: str, example: str, read: Callable[[Command], Found]) -> Form:
    programs = _PROGRAMS[name]

    def misfit(look: Look) -> str | None:
        return (
            None if look.command in programs and "\n" not in _joined(look.text) else f"is no command {name}"
        )

    def parse(text: str, _dialect: Dialect) -> Found:
        command = parse_command(text)
        if command.name not in programs:
            raise refused(f"is no command {name}", offset=0)
        return read(command)

    return Form(name=name, title=title, example=example, lacks="not written", misfit=misfit, parse=parse)


def _joined(text: str) -> str:
    return text.replace("\\\n", " ").replace("\\\r\n", " ")


def _misfit_aws(look: Look) -> str | None:
    return None if look.command == "aws" else "is no command aws configure set"


FORMS = (
    _form(
        "psql",
        "psql command",
        "PGPASSWORD='p@ss' psql -h db.example.com -p 5432 -U svc -d orders",
        _psql,
    ),
    _form(
        "mysql",
        "mysql command",
        "mysql -h db.example.com -P 3306 -u svc -p'p@ss' --ssl-mode=REQUIRED orders",
        _mysql,
    ),
    _form(
        "mongosh",
        "mongosh command",
        "mongosh 'mongodb://db.example.com:27017/orders' --username svc --password 'p@ss'",
        _mongosh,
    ),
    _form(
        "redis-cli",
        "redis-cli command",
        "redis-cli -h cache.example.com -p 6380 --tls --user svc -a 'p@ss' -n 2",
        _redis,
    ),
    _form(
        "curl",
        "curl command",
        "curl -u svc:p@ss -H 'Accept: application/json' https://api.example.com/v1",
        _curl,
    ),
    Form(
        name="aws-configure",
        title="aws configure set",
        example="aws configure set aws_access_key_id AKIAIOSFODNN7EXAMPLE --profile etl\n"
        "aws configure set aws_secret_access_key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY --profile etl",
        lacks="not written",
        misfit=_misfit_aws,
        parse=lambda text, _dialect: _aws(text),
    ),
)
PROGRAMS = frozenset({word for names in _PROGRAMS.values() for word in names} | {"aws"})
"""The names of the programs whose commands are read."""
