"""
Where copies stand: `.strongroom/dev`, with their store, its key, their record and what is known of them.

Not for copying (`pull.py`) or for files of other tools (`files.py`).

Rules of this file:

1. The folder is mine alone (0700), beside a `.gitignore` that keeps all of `.strongroom` out of git, and is
   no link.
2. The file that makes the copies count, `strongroom.toml`, is written last and removed first.
3. What is removed is overwritten before, the key of the store before the store: without it the store is
   noise, on disks too that keep overwritten blocks.
4. Of the copies only names, reasons and dates are written down beside the store.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from strongroom.errors import ConflictError, InvalidInputError
from strongroom.model.ref import Kind
from strongroom.settings import COPIES_FOLDER, FILE_NAME, PERSONAL_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Folder", "Into", "Missing", "State", "erase", "put"]

Into = Literal["store", "env", "airflow-settings"]

_STATE = "state.json"
_LOCK = "lock"
_STORE = "store.db"
_KEY = "key"
_AUDIT = "audit"
_BLOCK = 65_536  # bytes overwritten at once
_MAX_STATE_BYTES = 16_777_216  # 16 MiB: a line for each of 100,000 names
_SETTINGS = """\
# Copies that `strongroom dev` made, laid over your other settings: `strongroom dev clean` removes them.
deployment = {deployment}
chain = {chain}
write_to = "native"

[store]
path = "store.db"
wrappers = [{{ kind = "file", path = "key" }}]

[audit]
path = "audit"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """
    An entry that is there and was not copied.

    Args:
        reason: why, in the words of whoever decided.
    """

    kind: Kind
    name: str
    reason: str
    is_denied: bool
    team: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """
    What is known of the copies that stand here.

    Args:
        source: where they are from, in words; another source needs a clean folder.
        into: what they are kept in.
        began: when the last pull began (UTC).
        ended: when it ended; None where it was interrupted.
        expires: until when its copies are good (UTC).
        copied: how many it made or kept.
        missing: what it did not.
        files: written beside the folder, relative to the project.
    """

    source: str
    into: Into = "store"
    began: datetime
    ended: datetime | None = None
    expires: datetime
    copied: int = 0
    missing: tuple[Missing, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Folder:
    """
    The folder of the copies of one project.

    Args:
        project: the project's folder, absolute.
    """

    project: Path
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.project / COPIES_FOLDER)

    @property
    def settings(self) -> Path:
        """The file that makes the copies count."""
        return self.path / FILE_NAME

    @property
    def key(self) -> Path:
        """The key of their store."""
        return self.path / _KEY

    @property
    def store(self) -> Path:
        """Their store."""
        return self.path / _STORE

    def tables(self) -> dict[str, Any]:
        """Give the settings of the copies alone, as `settings.load(tables=…)` takes them."""
        return {
            "chain": ["native"],
            "write_to": "native",
            "store": {"path": str(self.store), "wrappers": [{"kind": "file", "path": str(self.key)}]},
            "audit": {"path": str(self.path / _AUDIT)},
        }

    def make(self) -> None:
        """
        Make the folder, where it is missing.

        Raises:
            InvalidInputError: it cannot be made, or is not mine alone.
        """
        personal = self.project / PERSONAL_FOLDER
        try:
            for folder in (personal, self.path):
                folder.mkdir(mode=0o700, exist_ok=True)
                _check_mine(folder)
            self.path.chmod(0o700)
            if not os.path.lexists(personal / ".gitignore"):
                put(personal / ".gitignore", "*\n")
        except OSError as error:
            raise _cannot(self.path, "made", error) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Keep others from changing the copies meanwhile.

        Raises:
            ConflictError: somebody does just now.
        """
        handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError(
                    "another strongroom dev works in this folder just now", hint="wait until it has ended"
                ) from None
            yield
        finally:
            os.close(handle)

    # --- what is known ---------------------------------------------------------------------------

    def state(self) -> State | None:
        """
        Give what is known of the copies; None where there are none.

        Raises:
            InvalidInputError: it cannot be read.
        """
        path = self.path / _STATE
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _cannot(path, "read", error) from None
        with os.fdopen(handle, "rb") as opened:
            data = opened.read(_MAX_STATE_BYTES)
        try:
            return _state_in(json.loads(data))
        except (ValueError, TypeError, KeyError):
            raise InvalidInputError(
                f"{path} is not what strongroom dev wrote", hint="strongroom dev clean removes all of it"
            ) from None

    def note(self, state: State) -> None:
        """
        Write down what is known.

        Raises:
            InvalidInputError: it cannot be written.
        """
        told = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(state).items()
        }
        put(self.path / _STATE, json.dumps({"version": 1, **told}, indent=1) + "\n")

    def lay(self, chain: tuple[str, ...], deployment: str) -> None:
        """Let the copies count from now on: *chain* is what is asked, for the settings' first deployment."""
        text = _SETTINGS.format(chain=json.dumps(list(chain)), deployment=json.dumps(deployment))
        put(self.settings, text)

    # --- removing --------------------------------------------------------------------------------

    def forget_store(self) -> None:
        """Remove the store of the copies, its key first; what is known of them stays."""
        erase(self.settings)
        erase(self.key)
        for path in (*self.path.glob(f"{_STORE}*"), *self.path.glob(f"{_KEY}-*")):
            erase(path)
        audit = self.path / _AUDIT
        if audit.is_dir() and not audit.is_symlink():
            _erase_all(audit)

    def remove(self) -> tuple[str, ...]:
        """
        Remove everything that was made here, and give the names of what is left since it is not ours.

        Raises:
            InvalidInputError: something cannot be removed.
        """
        if not self.path.is_dir() or self.path.is_symlink():
            return ()
        try:
            self.forget_store()
            for name in (_STATE, _LOCK):
                erase(self.path / name)
            for draft in self.path.glob(".strongroom.*"):
                erase(draft)
            left = tuple(sorted(path.name for path in self.path.iterdir()))
            if not left:
                self.path.rmdir()
        except OSError as error:
            raise _cannot(self.path, "removed", error) from None
        self._drop_personal()
        return left

    def _drop_personal(self) -> None:
        """Remove `.strongroom` too where it holds nothing but its `.gitignore`."""
        personal = self.project / PERSONAL_FOLDER
        with suppress(OSError):
            if [path.name for path in personal.iterdir()] == [".gitignore"]:
                (personal / ".gitignore").unlink()
                personal.rmdir()


# --- files ---------------------------------------------------------------------------------------------


def put(path: Path, text: str) -> None:
    """
    Write *path* whole or not at all, for me alone; what stood there is overwritten.

    Raises:
        InvalidInputError: it cannot be written.
    """
    draft = path.with_name(f".strongroom.{secrets.token_hex(8)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as opened:
            os.fchmod(handle, 0o600)
            opened.write(text.encode())
            opened.flush()
            os.fsync(handle)
        with _overwritten(path):
            draft.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _cannot(path, "written", error) from None
    finally:
        draft.unlink(missing_ok=True)


def erase(path: Path) -> None:
    """
    Overwrite a file and remove it; a link is only removed, and nothing happens where nothing is.

    Raises:
        OSError: it cannot be removed.
    """
    with _overwritten(path):
        path.unlink(missing_ok=True)


@contextmanager
def _overwritten(path: Path) -> Iterator[None]:
    """Overwrite the file that stands at *path* now, once it has lost that name and has no other."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # nothing, a link, or not to be written: then it is only removed
        yield
        return
    try:
        yield
        found = os.fstat(handle)
        if stat.S_ISREG(found.st_mode) and not found.st_nlink:
            for start in range(0, found.st_size, _BLOCK):
                os.pwrite(handle, bytes(min(_BLOCK, found.st_size - start)), start)
            os.fsync(handle)
    finally:
        os.close(handle)


def _erase_all(folder: Path) -> None:
    for inner in folder.iterdir():
        if inner.is_dir() and not inner.is_symlink():
            _erase_all(inner)
        else:
            erase(inner)
    folder.rmdir()


def _check_mine(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise InvalidInputError(
            f"{folder} is not mine alone", hint="it has to be a folder of yours that nobody else may write"
        )


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot(path: Path, what: str, error: OSError) -> InvalidInputError:
    reason = os.strerror(error.errno).lower() if error.errno else "no such place"
    return InvalidInputError(f"{path} cannot be {what}: {reason}")


def _state_in(told: Mapping[str, Any]) -> State:
    if told["version"] != 1 or told["into"] not in ("store", "env", "airflow-settings"):
        raise ValueError
    return State(
        source=str(told["source"]),
        into=told["into"],
        began=_moment(told["began"]),
        ended=None if told["ended"] is None else _moment(told["ended"]),
        expires=_moment(told["expires"]),
        copied=int(told["copied"]),
        missing=tuple(Missing(**one) for one in told["missing"]),
        files=tuple(map(str, told["files"])),
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(timezone.utc)
