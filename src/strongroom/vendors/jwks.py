"""
The keys of one issuer: from a file, an address, or its discovery document, and kept.

Not for what is checked with them (`jwt.py`).

Rules of this file:

1. Where keys are is the operator's word, or that of a discovery document at an address of his: never a
   token's.
2. However many ask, and for however many names nobody has, an issuer is asked once in 30 s, by one at a time.
3. A set is asked for anew once it is 4 min old, so that a key which was taken away is refused within 5 min.
   While the issuer gives no answer the last good set counts, for a day.
4. An answer that is no set of keys is no answer.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.errors import BackendConfigError, BackendUnavailableError, StrongroomError
from strongroom.holding import boot_seconds
from strongroom.vendors.jwt import keys_of
from strongroom.vendors.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from strongroom.vendors.jwt import PublicKey

__all__ = ["FileKeys", "UrlKeys", "discovered"]

_MAX_BYTES = 256 * 1024
_ASK_SECONDS = 30.0  # between two questions
_FRESH_SECONDS = 240.0
_GOOD_SECONDS = 86_400.0  # the last good set counts without an answer
_WAIT_SECONDS = 2.0  # for another's question
_LOOK_SECONDS = 1.0  # between two looks at a file
_OK = 200
_WELL_KNOWN = "/.well-known/openid-configuration"


class UrlKeys:
    """
    The keys of an issuer that is asked for them.

    Trust: what is answered is data from outside, bounded and checked for shape; that it is the issuer's is
    the word of its certificate.
    Threads: safe.

    Args:
        name: the issuer's in the settings, for messages.
        url: where the set is; None to ask the issuer's discovery document.
        issuer: to the letter.
        ca: the authority of its certificate; the system's if unsaid.
        timer: seconds that only go up.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str | None,
        issuer: str,
        ca: Path | None = None,
        timer: Callable[[], float] = boot_seconds,
    ) -> None:
        self.generation = 0
        self._name = name
        self._url = url
        self._issuer = issuer
        self._timer = timer
        self._origins = Origins(f"issuer {name}", ca=ca, max_body_bytes=_MAX_BYTES, clock=timer)
        self._keys: dict[str, PublicKey] = {}
        self._good_at: float | None = None
        self._asked_at: float | None = None
        self._failure: StrongroomError | None = None
        self._flight = threading.Lock()

    def __repr__(self) -> str:
        return f"UrlKeys({self._name!r})"

    def find(self, kid: str) -> PublicKey | None:
        """
        Give the key of that name; None where the issuer has none. May ask the issuer.

        Raises:
            BackendUnavailableError: it gave no set of keys for a day, or never.
        """
        found = self._keys.get(kid)
        if found is None or not self._is_within(_FRESH_SECONDS):
            # Whoever has a good key goes on with it while another asks; who has none waits a moment for the
            # answer, and no longer: anybody can name a key that nobody has.
            is_good = found is not None and self._is_within(_GOOD_SECONDS)
            self._ask(0.0 if is_good else _WAIT_SECONDS)
            found = self._keys.get(kid)
        if not self._is_within(_GOOD_SECONDS):
            raise self._unavailable()
        return found

    def only(self) -> PublicKey | None:
        """Give the one key the issuer has; None where it has several, or none. As `find`."""
        self.find("")
        found = self._keys
        return next(iter(found.values())) if len(found) == 1 else None

    def close(self) -> None:
        """Let go of connections. Safe to call twice."""
        self._origins.close()

    def _is_within(self, seconds: float) -> bool:
        return self._good_at is not None and self._timer() - self._good_at < seconds

    def _ask(self, patience: float) -> None:
        """Ask the issuer, if nobody does; else wait at most *patience* seconds for who does."""
        if not self._flight.acquire(timeout=patience):
            return
        try:
            now = self._timer()
            if self._asked_at is not None and now - self._asked_at < _ASK_SECONDS:
                return
            self._asked_at = now
            try:
                keys = keys_of(self._fetched())
            except ValueError:
                self._failed(_no_keys(self._name))
            except StrongroomError as error:
                self._failed(error)
            else:
                self._take(keys, now)
        finally:
            self._flight.release()

    def _take(self, keys: dict[str, PublicKey], now: float) -> None:
        self._failure, self._good_at = None, now
        if _names(keys) != _names(self._keys):
            self._keys = keys
            self.generation += 1

    def _failed(self, error: StrongroomError) -> None:
        import logging  # noqa: PLC0415 -- as in `transport.py`

        if self._failure is None:
            logging.getLogger("strongroom.identity").warning(
                "the issuer %s gives no keys: %s", self._name, error
            )
        self._failure = error

    def _fetched(self) -> bytes:
        url = self._url
        if url is None:
            said = discovered(self._origins, self._issuer, name=self._name).get("jwks_uri")
            url = said if isinstance(said, str) else ""
            if not _may_follow(self._issuer, url):
                raise BackendConfigError(
                    f"the issuer {self._name} names no address of its keys that may be asked",
                    hint="set jwks_url, or jwks for a file",
                )
        return _body(self._origins, url, self._name)

    def _unavailable(self) -> BackendUnavailableError:
        asked_at = self._timer() if self._asked_at is None else self._asked_at
        left = max(1.0, asked_at + _ASK_SECONDS - self._timer())
        return BackendUnavailableError(
            f"the issuer {self._name} gives no keys, so its tokens cannot be checked now",
            backend=f"issuer {self._name}",
            retry_after=timedelta(seconds=left),
            hint=self._failure.hint if self._failure is not None else None,
        )


class FileKeys:
    """
    The keys of an issuer, in a file that is read again when it changes.

    Threads: safe.

    Args:
        name: the issuer's in the settings, for messages.
        path: of the file.
        timer: seconds that only go up.

    Raises:
        BackendConfigError: it cannot be read, is no set of keys, or anybody may change it.
    """

    def __init__(self, name: str, path: Path, *, timer: Callable[[], float] = boot_seconds) -> None:
        self.generation = 0
        self._name = name
        self._path = path
        self._timer = timer
        self._looked_at = timer()
        self._seen, self._keys = self._read()

    def __repr__(self) -> str:
        return f"FileKeys({self._name!r})"

    def find(self, kid: str) -> PublicKey | None:
        """Give the key of that name; None where there is none. A file that became none is looked past."""
        now = self._timer()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self._look()
        return self._keys.get(kid)

    def only(self) -> PublicKey | None:
        """Give the one key there is; None where there are several, or none."""
        self.find("")
        found = self._keys
        return next(iter(found.values())) if len(found) == 1 else None

    def close(self) -> None:
        """Do nothing: a file is not held."""

    def _look(self) -> None:
        import logging  # noqa: PLC0415 -- as in `transport.py`

        try:
            if _signature(self._path.stat()) == self._seen:
                return
            seen, keys = self._read()
        except (OSError, BackendConfigError):
            logging.getLogger("strongroom.identity").warning(
                "the keys of the issuer %s are not read again: the file is gone, or no set of keys",
                self._name,
            )
            return
        self._seen = seen
        if _names(keys) != _names(self._keys):
            self._keys = keys
            self.generation += 1

    def _read(self) -> tuple[tuple[int, ...], dict[str, PublicKey]]:
        try:
            # A FIFO in its place would wait for a writer.
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(file, "rb") as opened:
                found = os.fstat(file)
                data = opened.read(_MAX_BYTES + 1) if stat.S_ISREG(found.st_mode) else b""
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            raise BackendConfigError(
                f"the keys of the issuer {self._name} cannot be read ({why})",
                hint=f"jwks of access.issuer.{self._name} names the file",
            ) from None
        if found.st_mode & stat.S_IWOTH:
            raise BackendConfigError(
                f"the keys of the issuer {self._name} stand in a file that anybody may change",
                hint="chmod o-w",
            )
        try:
            return _signature(found), keys_of(data if len(data) <= _MAX_BYTES else b"")
        except ValueError:
            raise _no_keys(self._name) from None


def discovered(origins: Origins, issuer: str, *, name: str) -> Mapping[str, Any]:
    """
    Give the discovery document of *issuer* (OpenID Connect Discovery 1.0 §4).

    Args:
        origins: asks it.
        issuer: to the letter; the document must name the same.
        name: of the issuer in the settings, for messages.

    Raises:
        BackendUnavailableError: no answer, or none of its own.
        BackendConfigError: it is another issuer's.
    """
    data = _body(origins, issuer.rstrip("/") + _WELL_KNOWN, name)
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise BackendUnavailableError(
            f"the issuer {name} answers with no discovery document", backend=f"issuer {name}"
        )
    if said.get("issuer") != issuer:
        raise BackendConfigError(
            f"the discovery document of the issuer {name} is of another issuer",
            hint="set issuer as the document writes it, to the letter",
        )
    return said


def _body(origins: Origins, url: str, name: str) -> bytes:
    reply = origins.request("GET", url, {"Accept": "application/json"})
    if reply.status != _OK:
        raise BackendUnavailableError(
            f"the issuer {name} answers with status {reply.status}", backend=f"issuer {name}"
        )
    return bytes(reply.body)


def _may_follow(issuer: str, url: str) -> bool:
    """Tell whether an issuer's document may send us to *url*: never from TLS to bare HTTP."""
    try:
        parts = urlsplit(url)
        is_plain = parts.username is None and parts.password is None and bool(parts.hostname)
    except ValueError:
        return False
    secure = ("https",) if issuer.startswith("https://") else ("https", "http")
    return is_plain and parts.scheme in secure and not parts.fragment


def _names(keys: Mapping[str, PublicKey]) -> dict[str, tuple[object, ...]]:
    """Give what two sets of keys are told apart by."""
    return {name: (key.kind, key.alg, key.key.thumbprint()) for name, key in keys.items()}


def _no_keys(name: str) -> BackendConfigError:
    return BackendConfigError(
        f"what the issuer {name} is said to have for keys is no set of keys (JWKS)",
        hint='{ "keys": [ … ] }, 256 keys and 256 KiB at most',
    )


def _signature(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
