"""
Join a stored connection with credentials that are lent for it, and take them apart again.

Not for getting credentials (`vault_lease.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.model.connection import Connection
from strongroom.model.extra import Extra

if TYPE_CHECKING:
    from strongroom.model.secret import Secret
    from strongroom.vendors.vault_lease import Leased

__all__ = ["joined", "without_lent"]

_TOKEN = "aws_session_token"  # noqa: S105 -- where Airflow's connections to AWS have it, in `extra`


def joined(text: str, leased: Leased) -> Secret[str]:
    """
    Give the connection *text* with login and password as *leased*, in JSON.

    Raises:
        InvalidInputError: *text* is no connection.
    """
    connection = Connection.parse(text)
    extra = connection.extra
    if leased.token is not None:
        extra = Extra({**({} if extra is None else extra.reveal()), _TOKEN: leased.token.reveal()})
    changed = connection.replace(login=leased.login.reveal(), password=leased.password, extra=extra)
    return changed.format("json")


def without_lent(text: str) -> str:
    """
    Give the connection *text* without what is lent: whoever reads, changes and writes it back brings it.

    Raises:
        InvalidInputError: *text* is no connection.
    """
    connection = Connection.parse(text)
    extra = connection.extra
    if connection.login is None and connection.password is None and (extra is None or _TOKEN not in extra):
        return text
    kept = None if extra is None else {key: value for key, value in extra.reveal().items() if key != _TOKEN}
    stored = connection.replace(login=None, password=None, extra=None if kept is None else Extra(kept))
    return stored.format("json" if text.strip().startswith("{") else "uri").reveal()
