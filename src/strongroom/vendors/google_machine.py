"""
The account that a machine of Google's has, as google-auth's other credentials see it.

In place of google-auth's own, which reads the environment by itself and waits before it asks again.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from urllib.parse import quote

from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Machine"]


class Machine(Credentials):  # type: ignore[misc, unused-ignore]  # google-auth has no types on 3.10
    """
    Tokens of the machine's default account.

    Args:
        ask: gives what the metadata server holds at a path.
        scopes: of the tokens.
    """

    def __init__(self, ask: Callable[[str], str], scopes: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ask = ask
        self._asked_scopes = ",".join(scopes)

    def refresh(self, request: object) -> None:
        """
        Get a new token.

        Raises:
            RefreshError: what the metadata server gives is none.
        """
        del request
        scopes = quote(self._asked_scopes, safe=",")
        text = self._ask(f"instance/service-accounts/default/token?scopes={scopes}")
        try:
            held = json.loads(text)
            self.token = str(held["access_token"])
            ends = datetime.now(timezone.utc) + timedelta(seconds=int(held["expires_in"]))
        except (ValueError, KeyError, TypeError):
            raise RefreshError("no token") from None  # type: ignore[no-untyped-call]
        self.expiry = ends.replace(tzinfo=None)  # google-auth's times are UTC without saying so
