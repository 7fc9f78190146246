"""
What an installed Airflow says of itself: `airflow.cfg` and `AIRFLOW__SECTION__KEY`. Imports no Airflow.

Not for Airflow's database (`metadata.py`) or for building its secrets backend.

Rules of this file:

1. Nothing is run or looked up before its value is asked for; `source` tells where a value comes from
   without fetching it.
2. The order is Airflow's: the environment (`KEY`, `KEY_CMD`, `KEY_SECRET`), the file, the file's
   `key_cmd`, the file's `key_secret`, the default; at each step the deprecated place after the new one.
3. Only what is handed in is read: the environment given, and the one file.
4. No value, command or foreign exception text stands in a message, nor in a frame of its traceback.
5. A command of the file is run only where nobody but this user and root could have written it there.

Source: airflow/configuration.py and airflow/_shared/configuration/parser.py of 3.3.2, and 2.11.2.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import stat
from configparser import ConfigParser, InterpolationError
from configparser import Error as ConfigParserError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from strongroom.errors import BackendConfigError, SettingsError
from strongroom.model.secret import Secret
from strongroom.settings import output_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["AirflowConfig", "Origin", "SecretsBackend"]

Origin = Literal["environment", "file", "command", "secret", "default"]

_MAX_FILE_BYTES = 1_048_576  # 1 MiB: what Airflow writes by itself is 0.1 MiB
_MAX_OUTPUT_BYTES = 65_536  # of a command
_MAX_ROUNDS = 32  # of expanding variables that hold variables
_PREFIX = "AIRFLOW__"
_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)  # as os.path.expandvars
# Where `_CMD` and `_SECRET` mean something: what Airflow calls sensitive, in 3.3 and 2.11.
_SENSITIVE = frozenset(
    {
        ("api", "secret_key"),
        ("api_auth", "jwt_secret"),
        ("celery", "broker_url"),
        ("celery", "result_backend"),
        ("core", "fernet_key"),
        ("core", "internal_api_secret_key"),
        ("core", "sql_alchemy_conn"),
        ("database", "sql_alchemy_conn"),
        ("database", "sql_alchemy_conn_async"),
        ("secrets", "backend_kwargs"),
        ("sentry", "sentry_dsn"),
        ("smtp", "smtp_password"),
        ("webserver", "secret_key"),
        ("workers", "secrets_backend_kwargs"),
    }
)
_DEPRECATED = {
    ("database", "sql_alchemy_conn"): ("core", "sql_alchemy_conn"),
    ("api", "secret_key"): ("webserver", "secret_key"),
}
_NEW = {old: new for new, old in _DEPRECATED.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsBackend:
    """
    The one secrets backend an Airflow asks before the environment and its database.

    Args:
        class_path: dotted path of the class.
        kwargs: its keyword arguments; values from `…_BACKEND_KWARG__KEY` are text.
        section: where it stands: `secrets`, or `workers` (3.x) where tasks have one of their own.
        problems: what Airflow passes over with a warning at most, such as kwargs that are no JSON object;
            no value.
    """

    class_path: str
    kwargs: dict[str, object] = field(repr=False)
    section: Literal["secrets", "workers"] = "secrets"
    problems: tuple[str, ...] = ()


class AirflowConfig:
    """
    The configuration of one Airflow.

    Attributes:
        home: Airflow's home folder; it need not exist.
        file: its `airflow.cfg`, or None where there is none.

    Threads: immutable; values are fetched anew each time they are asked for.
    """

    def __init__(
        self,
        home: Path,
        file: Path | None,
        environ: Mapping[str, str],
        secret: Callable[[str], Secret[str] | None] | None = None,
    ) -> None:
        """
        Read *file*.

        Args:
            home: Airflow's home folder.
            file: its `airflow.cfg`, or None.
            environ: the environment Airflow has.
            secret: looks a `…_secret` up in Airflow's secrets backend: name to text.

        Raises:
            BackendConfigError: the file cannot be read, or Airflow could not read it.
        """
        self.home = home
        self.file = file
        self._environ = environ
        self._secret = secret
        try:
            self._parser = _read(file)
        except BackendConfigError as error:
            refused = _bare(error)
        else:
            return
        raise refused

    @classmethod
    def find(
        cls,
        environ: Mapping[str, str],
        *,
        home: Path | None = None,
        secret: Callable[[str], Secret[str] | None] | None = None,
    ) -> AirflowConfig | None:
        """
        Find the Airflow of *environ*, or None where nothing says that there is one.

        Looked for: `AIRFLOW_CONFIG` (a file), `AIRFLOW_HOME` (a folder), `~/airflow` with the `HOME` of
        *environ*. An `airflow.cfg`, an `airflow.db` or any variable `AIRFLOW__…__…` is an Airflow. As in
        Airflow, such a variable wins over the file, whichever home it is.

        Args:
            environ: the environment.
            home: Airflow's home folder (no person's), instead of `AIRFLOW_HOME`.
            secret: as the constructor.

        Raises:
            BackendConfigError: as the constructor.
        """
        own = Path(_expanded(environ.get("AIRFLOW_HOME", "~/airflow"), environ))
        folder = home or own
        # The file that the environment names belongs to the Airflow of the environment.
        named = environ.get("AIRFLOW_CONFIG") if folder == own else None
        file = folder / "airflow.cfg" if named is None else Path(_expanded(named, environ))
        is_named = home is not None or not {"AIRFLOW_HOME", "AIRFLOW_CONFIG"}.isdisjoint(environ)
        is_there = _is_file(file, is_named=is_named)
        has_database = is_there or _is_file(folder / "airflow.db", is_named=is_named)
        if not has_database and not _is_configured(environ):
            return None
        return cls(folder, file if is_there else None, environ, secret)

    def get(self, section: str, key: str) -> Secret[str] | None:
        """
        Give a value as Airflow would, or None where nothing says it. One newline at the end of what a
        command writes is dropped.

        Raises:
            BackendConfigError: its command fails, its secret cannot be looked up here, or the file holds
                a `%` that Airflow cannot read.
        """
        try:
            values = (fetch() for _, fetch in self._places(section, key))
            found = next((Secret(value) for value in values if value is not None), None)
        except BackendConfigError as error:
            refused = _bare(error)
        else:
            return found
        raise refused

    def source(self, section: str, key: str) -> Origin | None:
        """Tell where `get` looks first for a value, running nothing; None where nothing says it."""
        return next((origin for origin, _ in self._places(section, key)), None)

    @property
    def fernet_keys(self) -> tuple[Secret[str], ...]:
        """
        The keys of `[core] fernet_key`, newest first; () where it is empty: Airflow stores plain text.

        Raises:
            BackendConfigError: as `get`.
        """
        found = self.get("core", "fernet_key")
        text = "" if found is None else found.reveal().strip()
        return tuple(Secret(part.strip()) for part in text.split(",")) if text else ()

    @property
    def database_url(self) -> Secret[str]:
        """
        The SQLAlchemy URL of the metadata database.

        Raises:
            BackendConfigError: as `get`.
        """
        found = self.get("database", "sql_alchemy_conn")
        return found or Secret(self._default("database", "sql_alchemy_conn") or "")

    def secrets_backend(self, *, is_worker: bool = False, may_run: bool = True) -> SecretsBackend | None:
        """
        Give Airflow's secrets backend, or None where it has none of its own.

        Args:
            is_worker: the one tasks ask in 3.x: `[workers] secrets_backend`, else `[secrets] backend`.
            may_run: False fetches no keyword arguments that a command or a secret holds, and says so.

        Raises:
            BackendConfigError: as `get`, for the name of the class.
        """
        if is_worker:
            found = self._secrets_backend("workers", "secrets_backend", may_run=may_run)
            if found is not None:
                return found
        return self._secrets_backend("secrets", "backend", may_run=may_run)

    def single_kwargs(self, section: str, option: str) -> list[str]:
        """Give the variables that set one argument each of a secrets backend: `…_KWARG__KEY`."""
        head = f"{_variable(section, option)}_KWARG__"
        return sorted(name for name in self._environ if name.startswith(head) and len(name) > len(head))

    def __repr__(self) -> str:
        return f"AirflowConfig(home={str(self.home)!r}, file={str(self.file) if self.file else None!r})"

    def _secrets_backend(
        self, section: Literal["secrets", "workers"], key: str, *, may_run: bool
    ) -> SecretsBackend | None:
        named = self.get(section, key)
        if named is None or not named.reveal().strip():
            return None
        kwargs, problems = self._kwargs(section, f"{key}_kwargs", may_run=may_run)
        # A raw text by key wins over the JSON (Airflow 3.1).
        for name in self.single_kwargs(section, key):
            kwargs[name.partition("_KWARG__")[2].lower()] = self._environ[name]
        return SecretsBackend(
            class_path=named.reveal().strip(), kwargs=kwargs, section=section, problems=problems
        )

    def _kwargs(self, section: str, key: str, *, may_run: bool) -> tuple[dict[str, object], tuple[str, ...]]:
        where = f"[{section}] {key}"
        if not may_run and self.source(section, key) in {"command", "secret"}:
            return {}, (f"{where} comes from a {self.source(section, key)}, which was not asked",)
        try:
            found = self.get(section, key)
            made = json.loads(found.reveal()) if found else {}
        except BackendConfigError as error:
            return {}, (str(error),)
        except (ValueError, RecursionError):
            return {}, (f"{where} is not JSON, so Airflow goes on with no arguments at all",)
        if not isinstance(made, dict):
            return {}, (f"{where} is not a JSON object, so Airflow goes on with no arguments at all",)
        return made, ()

    # --- where a value may stand ------------------------------------------------------------------

    def _places(self, section: str, key: str) -> Iterator[tuple[Origin, Callable[[], str | None]]]:
        """Give each place that says this value, in Airflow's order; fetching gives None to look further."""
        new = _NEW.get((section.lower(), key.lower()), (section.lower(), key.lower()))
        places = [new, *([_DEPRECATED[new]] if new in _DEPRECATED else [])]
        for place in places:
            yield from self._in_environment(*place)
        for place in places:
            if self._parser.has_option(*place):
                yield "file", lambda place=place: self._expanded(self._stored(*place))  # type: ignore[misc]  # bound now
        for suffix in ("cmd", "secret"):
            for place in places:
                yield from self._in_file(*place, suffix)
        default = self._default(*new)
        if default is not None:
            yield "default", lambda: default

    def _in_environment(self, section: str, key: str) -> Iterator[tuple[Origin, Callable[[], str | None]]]:
        name = _variable(section, key)
        if name in self._environ:
            yield "environment", lambda: self._expanded(self._environ[name])
        if (section, key) not in _SENSITIVE:
            return
        if f"{name}_CMD" in self._environ:
            yield "command", lambda: self._run(self._environ[f"{name}_CMD"], f"{name}_CMD")
        if f"{name}_SECRET" in self._environ:
            yield "secret", lambda: self._look_up(self._environ[f"{name}_SECRET"], f"{name}_SECRET")

    def _in_file(
        self, section: str, key: str, suffix: str
    ) -> Iterator[tuple[Origin, Callable[[], str | None]]]:
        option = f"{key}_{suffix}"
        if (section, key) not in _SENSITIVE or not self._parser.has_option(section, option):
            return
        where = f"[{section}] {option}"
        # As Airflow: an empty answer of the file's command or secret is none.
        if suffix == "cmd":
            yield "command", lambda: self._run_trusted(self._stored(section, option), where) or None
        else:
            yield "secret", lambda: self._look_up(self._stored(section, option), where) or None

    def _default(self, section: str, key: str) -> str | None:
        if (section, key) == ("database", "sql_alchemy_conn"):
            return f"sqlite:///{self.home}/airflow.db"
        return "" if (section, key) == ("core", "fernet_key") else None

    # --- fetching it ------------------------------------------------------------------------------

    def _stored(self, section: str, option: str) -> str:
        try:
            return self._parser.get(section, option)
        except InterpolationError:
            raise BackendConfigError(
                f"[{section}] {option} in {self.file} holds a % that Airflow cannot read",
                hint="write %% for a %",
            ) from None

    def _expanded(self, text: str) -> str:
        return _expanded(text, self._environ)

    def _run_trusted(self, command: str, where: str) -> str:
        status = None if self.file is None else self.file.stat()
        if status is not None and (status.st_mode & stat.S_IWOTH or status.st_uid not in (0, os.geteuid())):
            raise BackendConfigError(
                f"the command for {where} is not run: others than this user may write {self.file}",
                hint="run this as the user the file belongs to, or give the value itself:"
                " { file = … }, { env = … } or { command = […] }",
            )
        return self._run(command, where)

    def _run(self, command: str, where: str) -> str:
        try:
            words = shlex.split(command)
            output = output_of(words, where, environ=self._environ) if words else b""
        except ValueError:  # a quotation mark without its end
            raise BackendConfigError(f"the command for {where} has a quotation mark without an end") from None
        except SettingsError as error:
            raise BackendConfigError(
                str(error), hint="run it by hand as the user that runs this, and mend what it says"
            ) from None
        if len(output) > _MAX_OUTPUT_BYTES:
            raise BackendConfigError(f"the command for {where} writes more than {_MAX_OUTPUT_BYTES} bytes")
        return output.decode("utf-8", "ignore").removesuffix("\n").removesuffix("\r")

    def _look_up(self, name: str, where: str) -> str | None:
        if self._secret is None:
            raise BackendConfigError(
                f"{where} names a secret of Airflow's secrets backend, which is not asked from here",
                hint="give the value itself: { file = … }, { env = … } or { command = […] }",
            )
        found = self._secret(name)
        return None if found is None else found.reveal()


def _bare(error: BackendConfigError) -> BackendConfigError:
    """Give *error* without the frames it went through: they hold values, and reporters show frames."""
    error.__context__ = None
    return error.with_traceback(None)


def _is_file(path: Path, *, is_named: bool) -> bool:
    """Tell whether there is a file; where this user may not look, there is none unless it was named."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except PermissionError:
        if not is_named:
            return False
    except (OSError, ValueError):
        return False
    raise BackendConfigError(
        f"{path} cannot be looked at (PermissionError)", hint=f"let this user search {path.parent}"
    )


def _is_configured(environ: Mapping[str, str]) -> bool:
    return any(name.startswith(_PREFIX) and "__" in name[len(_PREFIX) :] for name in environ)


def _variable(section: str, key: str) -> str:
    return f"{_PREFIX}{section.replace('.', '_').upper()}__{key.upper()}"


class _Parser(ConfigParser):
    """As Airflow's: `%` interpolates, and names of options keep their case."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _read(file: Path | None) -> ConfigParser:
    parser = _Parser()
    if file is None:
        return parser
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BackendConfigError(
            f"{file} cannot be read ({type(error).__name__})", hint=f"let this user read {file}"
        ) from None
    if len(data) > _MAX_FILE_BYTES:
        raise BackendConfigError(f"{file} has more than {_MAX_FILE_BYTES} bytes")
    try:
        parser.read_string(data.decode("utf-8"))
    except (ConfigParserError, UnicodeDecodeError) as error:
        # These quote the line they stumble over.
        line = getattr(error, "lineno", None)
        where = f"{file}, line {line}," if isinstance(line, int) else str(file)
        raise BackendConfigError(
            f"{where} is not what Airflow could read ({type(error).__name__})", hint=f"mend {file}"
        ) from None
    return parser


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    """Expand `$NAME`, `${NAME}` and a leading `~` until nothing changes, as Airflow does."""
    for _ in range(_MAX_ROUNDS):
        before = text
        text = _VARIABLE.sub(lambda found: environ.get(found[1] or found[2], found[0]), text)
        text = _with_home(text, environ)
        if text == before:
            return text
        if len(text) > _MAX_FILE_BYTES:
            break
    raise BackendConfigError(
        "a value of Airflow's configuration names a variable that names itself",
        hint="look for $NAME in airflow.cfg and in the AIRFLOW__ variables",
    )


def _with_home(text: str, environ: Mapping[str, str]) -> str:
    if not text.startswith("~"):
        return text
    user, slash, rest = text[1:].partition("/")
    home = environ.get("HOME") if not user else None
    if home is None:
        try:
            home = pwd.getpwnam(user).pw_dir if user else None
        except (KeyError, ValueError):
            home = None
    return text if home is None else f"{home.rstrip('/')}{slash}{rest}"
