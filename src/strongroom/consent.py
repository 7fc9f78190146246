"""
Who agreed to the settings that stand in a folder somebody only walked into.

A checkout may bring a `strongroom.toml` that its user never read. Tables of it that run a command, fetch
a secret or send one somewhere count only once he agreed to them.

Rules of this file:

1. Naming a file is agreeing to it (`settings/`); so is a yes to `strongroom up`, which is kept here:
   outside of the folder, under the user's own, where no checkout can put it.
2. Agreed to is what was shown: any change of such a table has to be agreed to again, a change of anything
   else (how long to remember, names, patterns) has not.
3. Kinds that are known to stay on this machine and to run nothing need no consent; every other kind does,
   ours and plug-ins'.

Described in docs/settings.md, "Settings you only came across".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Consent", "reach"]

_LOCAL_KINDS = frozenset({"env", "file", "native"})
_LOCAL_WRAPPERS = frozenset({"file", "passphrase", "credential"})
_OF_A_SERVER = ("url", "password")  # of the store: ask over the network, and with what
_OF_AUDIT = ("witnesses", "sinks", "retention")  # they send, write and remove
_OF_AN_AGENT = ("server", "file", "users", "groups", "tcp", "tcp_token", "user")  # let in, ask, write, run
_MAX_BYTES = 4096  # of a kept consent: a digest and a path
Parts = Mapping[str, Any]


def reach(tables: Parts) -> dict[str, Any]:
    """
    Give the parts of settings that need consent, by key: `backend.vault`, `store.wrappers`.

    Args:
        tables: as they were parsed, not checked yet.
    """
    deployments = tables.get("deployments")
    parts = dict(_of_deployment(tables, ""))
    for name, table in deployments.items() if isinstance(deployments, Mapping) else ():
        if isinstance(table, Mapping):
            parts.update(_of_deployment(table, f"deployments.{name}."))
    return parts


def _of_deployment(tables: Parts, prefix: str) -> Iterator[tuple[str, Any]]:
    backends = tables.get("backend")
    backends = dict(backends) if isinstance(backends, Mapping) else {}
    chain = tables.get("chain")
    for name in chain if isinstance(chain, list) else ():
        if isinstance(name, str):
            backends.setdefault(name, {})  # a backend without a table is the kind of its name
    for name, table in backends.items():
        kind = table.get("kind", name) if isinstance(table, Mapping) else name
        if not isinstance(kind, str) or kind not in _LOCAL_KINDS:
            yield f"{prefix}backend.{name}", table
    yield from _told_elsewhere(tables, prefix)
    store = tables.get("store")
    wrappers = store.get("wrappers") if isinstance(store, Mapping) else None
    # A passphrase from a file or a variable stays on this machine; a key service is asked over the network.
    if any(_reaches_out(one) for one in wrappers or () if isinstance(wrappers, list)):
        yield f"{prefix}store.wrappers", wrappers
    server = {key: store[key] for key in _OF_A_SERVER if key in store} if isinstance(store, Mapping) else {}
    if server:
        yield f"{prefix}store.url", server


def _told_elsewhere(tables: Parts, prefix: str) -> Iterator[tuple[str, Any]]:
    """Give what has records and traces sent somewhere, and who is let in by whose word."""
    for table, keys in (("audit", _OF_AUDIT), ("agent", _OF_AN_AGENT)):
        given = tables.get(table)
        for key in keys if isinstance(given, Mapping) else ():
            if given is not None and given.get(key):
                yield f"{prefix}{table}.{key}", given[key]
    for table in ("traces", "access"):
        if tables.get(table):
            yield f"{prefix}{table}", tables[table]


def _reaches_out(wrapper: object) -> bool:
    kind = wrapper.get("kind") if isinstance(wrapper, Mapping) else None
    return (isinstance(kind, str) and kind not in _LOCAL_WRAPPERS) or "command" in _passphrase(wrapper)


def _passphrase(wrapper: object) -> Parts:
    found = wrapper.get("passphrase") if isinstance(wrapper, Mapping) else None
    return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """
    What the settings in one folder need a yes for.

    Args:
        file: the settings file; the personal one where it stands alone.
        home: the user's own folder, where a yes is kept.
        parts: from `reach`.
    """

    file: Path
    home: Path
    parts: Parts = field(repr=False)

    @property
    def is_given(self) -> bool:
        """Tell whether it was agreed to just these parts."""
        try:
            handle = os.open(self._kept, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        with os.fdopen(handle, "rb") as opened:
            found = os.fstat(handle)
            is_ours = found.st_uid == os.geteuid() and not found.st_mode & 0o022
            return is_ours and stat.S_ISREG(found.st_mode) and opened.read(_MAX_BYTES) == self._record

    def give(self) -> None:
        """
        Keep a yes to these parts, in place of an earlier one for this folder.

        Raises:
            OSError: it cannot be kept.
        """
        import secrets  # noqa: PLC0415 -- a yes is rare

        folder = self._kept.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f".{secrets.token_hex(8)}"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(self._record)
            draft.replace(self._kept)
        finally:
            draft.unlink(missing_ok=True)

    def told(self) -> Iterator[str]:
        """
        Say in lines what the parts do: what they run and read, and whom they ask. A text that is none of
        these may be a secret in the wrong place, and is left out.
        """
        for key, part in self.parts.items():
            kind = part.get("kind") if isinstance(part, Mapping) else None
            acts = "; ".join(_acts(part))
            yield f"{key}{f' ({kind})' if isinstance(kind, str) else ''}{f': {acts}' if acts else ''}"

    @property
    def _folder(self) -> bytes:
        return os.fsencode(os.path.realpath(self.file.parent))

    @property
    def _kept(self) -> Path:
        return self.home / "agreed" / _digest(self._folder)[:32]

    @property
    def _record(self) -> bytes:
        import json  # noqa: PLC0415 -- most settings need no consent

        text = json.dumps(self.parts, sort_keys=True, default=str)
        return f"{_digest(text.encode())}\n".encode()


def _digest(data: bytes) -> str:
    import hashlib  # noqa: PLC0415 -- as json

    return hashlib.sha256(data).hexdigest()


def _acts(value: object, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _acts(item, str(name))
    elif key == "command" and isinstance(value, list):
        yield f"runs {' '.join(map(str, value))}"
    elif isinstance(value, list):
        for item in value:
            yield from _acts(item, key)
    elif key in ("file", "airflow_home") or key.endswith("path"):
        yield f"reads {value}"
    elif key == "env":
        yield f"takes the variable {value}"
    elif isinstance(value, str) and "://" in value:
        yield f"asks {_host(value)}"


def _host(url: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 -- as `secrets`

    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"
