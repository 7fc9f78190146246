"""
What a store needs once before a backend can use it: its least policy, and for Vault a role to log in as.

Not for which backend is meant, nor for making it (`assembly/provisioning.py`).

Rules of this file:

1. What is there as it should be is left alone; what is there as another is changed only by name.
2. Where something fails half-way, the error says what is done already. Doing it again goes on from there.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from strongroom.errors import NotAuthenticatedError, StrongroomError
from strongroom.vendors.vault_setup import RoleIds, SetupPart, VaultSetup, VaultWish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["VERBS", "LeastPolicy", "RoleIds", "SetupPart", "VaultProvisioning", "VaultWish", "Verb"]

Verb = Literal["read", "list", "write"]
VERBS: tuple[Verb, ...] = ("read", "list", "write")


class LeastPolicy:
    """
    The least policy of one backend.

    Args:
        name: of the backend.
        kind: of the backend.
        text: of the policy, as the store or its tool takes it.
    """

    def __init__(self, *, name: str, kind: str, text: str) -> None:
        self.name = name
        self.kind = kind
        self.text = text


class VaultProvisioning(LeastPolicy):
    """
    The policy and the role of a backend over a Vault or OpenBao.

    Args:
        name: of the backend.
        url: of the server.
        wish: what there should be.
        setup: does it, as an administrator.
        close: lets go of the server, and of the administrator's token.
    """

    def __init__(
        self, *, name: str, url: str, wish: VaultWish, setup: VaultSetup, close: Callable[[], None]
    ) -> None:
        super().__init__(name=name, kind="vault", text=wish.rules)
        self.url = url
        self.wish = wish
        self._setup = setup
        self._close = close

    def __enter__(self) -> VaultProvisioning:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def look(self) -> tuple[SetupPart, ...]:
        """
        Tell what is there, what is missing and what is another.

        Raises:
            AccessDeniedError, NotAuthenticatedError, BackendConfigError, BackendUnavailableError: as their
                names say.
        """
        try:
            return self._setup.look()
        except NotAuthenticatedError:
            # The session calls it the token of the backend, and names a setting that it is not from.
            refusal = NotAuthenticatedError(
                f"the server of the backend {self.name} does not know the administrator's token",
                hint="give one that lives, of the namespace of the backend",
            )
        raise refusal

    def make(self, parts: Sequence[SetupPart]) -> None:
        """
        Make what is missing and change what is another.

        Args:
            parts: what `look` gave.

        Raises:
            As `look`; the hint says which parts are done.
        """
        done: list[str] = []
        for part in parts:
            with _telling(done):
                self._setup.make(part)
            done.append(str(part))

    def is_good(self, ids: RoleIds) -> bool:
        """
        Tell whether *ids* log in as the role still.

        Raises:
            As `look`.
        """
        return self._setup.is_good(ids)

    def issue(self) -> RoleIds:
        """
        Give the id of the role, and a new secret_id; older ones stay good.

        Raises:
            As `look`.
        """
        return RoleIds(self._setup.role_id(), self._setup.secret_id())

    def withdraw(self, ids: RoleIds) -> None:
        """Take a secret_id back that could not be kept; where that fails too, it ends as it would have."""
        with suppress(StrongroomError):
            self._setup.destroy(ids.secret_id)


@contextmanager
def _telling(done: Sequence[str]) -> Iterator[None]:
    """Let an error pass with what was done before it in its hint."""
    try:
        yield
    except StrongroomError as error:
        if done:
            before = f"{error.hint}; " if error.hint else ""
            error.hint = f"{before}done already: {', '.join(done)}; doing it again goes on from there"
        raise
