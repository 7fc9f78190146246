"""What the registry needs of a barrier, and what it says where that finds something changed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from strongroom.errors import TamperedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HINT = "find out who could write the store; then, on its host: strongroom access check"
_PREFIX = "the registry of who may was changed by hand: "


class Seal(Protocol):
    """What the registry needs of a barrier: MACs under the key of the deployment."""

    def mac_row(self, table: str, columns: Iterable[object]) -> bytes:
        """Authenticate a row."""
        ...

    def check_row(self, table: str, columns: Iterable[object], mac: object) -> None:
        """Compare in constant time; raise TamperedError."""
        ...


def refusal() -> TamperedError:
    """Give what is told to whoever asks, known or not: that it is so, and not which name it is about."""
    return TamperedError(_PREFIX.rstrip(": "), hint=_HINT)


def tampered(what: str) -> TamperedError:
    """Give the error that says *what* was changed."""
    return TamperedError(f"{_PREFIX}{what}", hint=_HINT)


def older() -> TamperedError:
    """Give the error of a state that was put back."""
    return tampered("it is older than what was acknowledged, as after an old copy was brought back")


def clause(error: TamperedError) -> str:
    """Give what *error* says was changed, as one of many."""
    return str(error).removeprefix(_PREFIX)
