"""
Plaintext that does not print.

`reveal()` is the only way out, so `grep reveal` lists every place where plaintext leaves.
Every task process imports this file: it is a plain class and imports only `_operator`, which
Python has loaded already.
"""

from __future__ import annotations

from _operator import _compare_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Generic, NoReturn, TypeVar

    T = TypeVar("T")

    class _Holder(Generic[T]):
        __slots__ = ()

else:

    class _Holder:
        __slots__ = ()

        def __class_getitem__(cls, _item: object) -> type:
            return cls


class Secret(_Holder["T"]):
    """
    Hold *value* so that it cannot be printed, formatted, pickled or serialised by accident.

    `repr`, `str` and `format` all give `Secret(…)`; pickling raises; JSON encoders and `asdict`
    find nothing to walk into; copies are the same object. Comparison takes the same time wherever
    the two differ (their lengths may show). Secrets are unhashable, because a hash is a
    fingerprint, and true unless empty or None, so that `if connection.password:` does what it says.

    Threads: immutable.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        if isinstance(value, Secret):
            raise TypeError("a Secret cannot hold a Secret")
        object.__setattr__(self, "_value", value)

    def reveal(self) -> T:
        """Give the plaintext."""
        return self._value  # type: ignore[attr-defined, no-any-return]  # set past our own guard

    def __repr__(self) -> str:
        return "Secret(…)"

    def __format__(self, _spec: str) -> str:
        return "Secret(…)"

    def __bool__(self) -> bool:
        value = self.reveal()
        return value is not None and not (isinstance(value, (str, bytes)) and len(value) == 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return _compare_digest(_comparable(self.reveal()), _comparable(other.reveal()))

    __hash__ = None  # type: ignore[assignment]  # a hash of plaintext would be a fingerprint

    def __copy__(self) -> Secret[T]:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Secret[T]:
        return self

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled; reveal() it where it is needed")

    def __getstate__(self) -> NoReturn:
        # Serialisers that are not pickle ask for this one.
        raise TypeError("a Secret cannot be serialised; reveal() it where it is needed")

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"a Secret is immutable; cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Secret is immutable; cannot delete {name}")

    def __init_subclass__(cls, **_kwargs: object) -> NoReturn:
        raise TypeError("Secret cannot be subclassed: a subclass could print")


def _comparable(value: object) -> bytes:
    # The type is part of the comparison: 1, True and "1" are three different values in an extra.
    if isinstance(value, bytes):
        return b"bytes:" + value
    text = value if isinstance(value, str) else repr(value)
    return f"{type(value).__name__}:{text}".encode("utf-8", "surrogatepass")
