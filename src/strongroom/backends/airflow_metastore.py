"""
Airflow's own metadata database as a backend, read as Airflow reads it. Never written.

Rules of this file:

1. Nothing is opened, run or looked up before something is asked for: a database that is down, or a
   command that fails, hurts nobody but who asks for it.
2. A row that cannot be opened is *invalid*, never absent: no other place may answer for it.
3. A row in plain text is read as Airflow reads it; its state tells.

What a row becomes, and where that differs from Airflow's own object: docs/backends/airflow_metastore.md.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.backend import Backend, Health, check_size, ephemeral_version
from strongroom.errors import BackendConfigError, InvalidInputError, MalformedEntryError, StrongroomError
from strongroom.model.entry import Entry, EntryState, Summary
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.vendors.airflow import AirflowConfig
from strongroom.vendors.database_url import DatabaseUrl
from strongroom.vendors.metadata import MetadataDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from strongroom.model.held import Held
    from strongroom.model.ref import Kind

__all__ = ["BACKEND", "AirflowMetastore", "MetastoreOptions"]

_LEAST_TIMEOUT = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetastoreOptions:
    """
    Where the database is and what opens it; what is unsaid is what Airflow's configuration says.

    Args:
        sql_alchemy_conn: the database's URL, as Airflow has it.
        path: a SQLite file, instead.
        airflow_home: the folder of the Airflow whose configuration is read, instead of the environment's.
        fernet_key: Airflow's comma list of keys, the newest first.
        fernet_keys: the same as a list.
        schema: where the tables are, if not where the database's user looks first.
        timeout: for connecting and for each question, in seconds.
    """

    sql_alchemy_conn: Secret[str] | None = None
    path: Path | None = None
    airflow_home: Path | None = None
    fernet_key: Secret[str] | None = None
    fernet_keys: tuple[Secret[str], ...] = ()
    schema: str | None = None
    timeout: timedelta = timedelta(seconds=3)


class AirflowMetastore(Backend):
    """
    The connections and variables of an Airflow, read only.

    A version is a hash under a key of this process: the database keeps none.

    Trust: whoever may write the database decides what is read here, as he does for Airflow.
    Threads: safe, and after a fork; up to eight connections a process.
    Consistency: a read sees what is committed when it starts.

    Raises:
        BackendConfigError: options that exclude each other.
    """

    options_type = MetastoreOptions
    needs_environ = True
    needs_secret = True

    def __init__(
        self,
        name: str,
        options: MetastoreOptions,
        environ: Mapping[str, str],
        clock: Callable[[], datetime],
        secret: Callable[[AirflowConfig, str], Secret[str] | None] | None = None,
    ) -> None:
        """
        Take note of where it is.

        Args:
            name: its name in the settings.
            options: what the settings say.
            environ: where an Airflow is looked for.
            clock: gives the time, UTC.
            secret: looks a `…_secret` of the configuration up in Airflow's own secrets backend.
        """
        _check(name, options)
        self.name = name
        self.options = options
        self._environ = environ
        self._clock = clock
        self._secret = secret
        self._key = secrets.token_bytes(16)
        # Not behind a lock, which a forked child could find held for ever.
        self._opened: dict[str, MetadataDatabase] = {}

    def read(self, ref: Ref) -> Entry | None:
        if ref.kind == "config":
            return None
        held = self._database().read(ref.kind, ref.name, ref.team)
        if held is None:
            return None
        if held.secret is None:
            raise MalformedEntryError(
                f"{ref} in the backend {self.name} cannot be read: {held.problem}",
                backend=self.name,
                ref=str(ref),
                hint=held.hint,
            )
        text = held.secret.reveal()
        check_size(text, backend=self.name, ref=ref)
        return Entry(
            ref=ref,
            secret=held.secret,
            backend=self.name,
            version=ephemeral_version(self._key, text),
            read_at=self._clock(),
            metadata=held.metadata,
        )

    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        """Give the rows with a legal name; `state` and `problem` tell of those that cannot be read."""
        if kind == "config":
            return []
        rows = self._database().rows(kind, after=after or None, prefix=prefix)
        summaries = (summary for held in rows if held.team == team for summary in self._summary(held))
        return list(islice(summaries, limit))

    def dump(self, kind: Kind) -> Iterator[Held]:
        return iter(()) if kind == "config" else self._database().rows(kind)

    def check(self) -> Health:
        """Read every row, and tell how many cannot be opened and how many are in plain text."""
        try:
            held = Counter(held.state for kind in ("connection", "variable") for held in self.dump(kind))
        except StrongroomError as error:
            return Health.failed(error)
        total = sum(held.values())
        told = [f"{held[state]} {words}" for state, words in _WORDS.items() if held[state]]
        message = f"of {total} entries {', '.join(told)}" if told else ""
        # With the wrong key nothing that is encrypted can be opened: then it does not work as it is set.
        is_useless = bool(total) and total == held[EntryState.WRONG_KEY]
        return Health(
            status="error" if is_useless else "ready",
            message=message,
            may={"read": "yes", "list": "yes", "write": "no"},
        )

    def close(self) -> None:
        for opened in tuple(self._opened.values()):
            opened.close()

    def _summary(self, held: Held) -> Iterator[Summary]:
        try:
            ref = Ref(held.kind, held.name, held.team)
        except InvalidInputError:
            return  # no read could ask for it; `airflow import` offers another name
        if ref.name != held.name:
            return  # normalised, it is another name
        yield Summary(
            ref=ref,
            backend=self.name,
            metadata=held.metadata,
            state=held.state,
            problem=held.problem,
        )

    # --- finding the database ---------------------------------------------------------------------

    def _database(self) -> MetadataDatabase:
        # `setdefault` is atomic: of several threads that come first one wins, and nothing is open yet.
        return self._opened.get(self.name) or self._opened.setdefault(self.name, self._open())

    def _open(self) -> MetadataDatabase:
        options = self.options
        config = None if self._says_all() else self._config()
        keys = self._keys(config)
        where: Secret[str] | DatabaseUrl | None = options.sql_alchemy_conn
        schema = options.schema
        if options.path is not None:
            where = DatabaseUrl(dialect="sqlite", database=str(options.path.absolute()))
        elif where is None:
            found = self._found(config)
            where, schema = found.database_url, schema or _schema(found)
        return MetadataDatabase.open(where, keys, place=self.name, timeout=options.timeout, schema=schema)

    def _says_all(self) -> bool:
        options = self.options
        has_key = options.fernet_key is not None or bool(options.fernet_keys)
        return has_key and (options.sql_alchemy_conn is not None or options.path is not None)

    def _keys(self, config: AirflowConfig | None) -> tuple[Secret[str], ...]:
        said = (self.options.fernet_key,) if self.options.fernet_key is not None else self.options.fernet_keys
        if not said:
            return config.fernet_keys if config is not None else ()
        parts = [part.strip() for secret in said for part in secret.reveal().split(",")]
        return tuple(Secret(part) for part in parts if part)

    def _config(self) -> AirflowConfig | None:
        lookup = None if self._secret is None else self._look_up
        try:
            return AirflowConfig.find(self._environ, home=self.options.airflow_home, secret=lookup)
        except BackendConfigError as error:
            refused = error.with_traceback(None)  # the frames below hold the environment
        raise refused

    def _look_up(self, name: str) -> Secret[str] | None:
        # Without a way to look up: the one in hand must not ask itself.
        config = AirflowConfig.find(self._environ, home=self.options.airflow_home)
        return None if config is None or self._secret is None else self._secret(config, name)

    def _found(self, config: AirflowConfig | None) -> AirflowConfig:
        if config is None:
            where = f" in {self.options.airflow_home}" if self.options.airflow_home else ""
            raise BackendConfigError(
                f"no Airflow is found{where}, which the backend {self.name} would read",
                hint="set AIRFLOW_HOME, or say airflow_home, path or sql_alchemy_conn"
                " (airflow import: --home, --database or --database-url-file)",
            )
        return config


def _schema(config: AirflowConfig) -> str | None:
    said = config.get("database", "sql_alchemy_schema")
    return None if said is None else said.reveal().strip() or None


_WORDS = {
    EntryState.PLAIN_TEXT: "in plain text",
    EntryState.WRONG_KEY: "sealed by another Fernet key",
    EntryState.NOT_A_TOKEN: "marked as encrypted, but no Fernet token",
    EntryState.UNPARSABLE: "that cannot be read",
}


def _check(name: str, options: MetastoreOptions) -> None:
    if options.sql_alchemy_conn is not None and options.path is not None:
        raise BackendConfigError(
            f"both sql_alchemy_conn and path are set for the backend {name}", hint="keep one of them"
        )
    if options.fernet_key is not None and options.fernet_keys:
        raise BackendConfigError(
            f"both fernet_key and fernet_keys are set for the backend {name}", hint="keep fernet_keys"
        )
    if options.timeout < _LEAST_TIMEOUT:
        raise BackendConfigError(
            f"the timeout of the backend {name} is under 0.1 s", hint="3 is a good start"
        )


BACKEND = AirflowMetastore
