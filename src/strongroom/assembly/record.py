"""The record of an agent: in its state folder, and from there to its server, where it has one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.assembly.deciding import server_of
from strongroom.assembly.upstream import deliverer
from strongroom.assembly.ways import now
from strongroom.audit.delivery import Delivery
from strongroom.audit.line import spell_quickly
from strongroom.audit.spool import Spool
from strongroom.errors import NotRecordedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.settings import Settings

__all__ = ["open_record"]

_FOLDER = "audit"


def open_record(settings: Settings, on_trouble: Callable[[str], None]) -> Spool:
    """
    Open the record of the agent of *settings*.

    Args:
        settings: its own.
        on_trouble: told in one sentence what is wrong with the record or its delivery, and when that is over.

    Raises:
        BackendConfigError, SettingsError: as `deciding.server_of`.
    """
    client = server_of(settings)
    spool = Spool(
        settings.agent.state / _FOLDER,
        deployment=settings.deployment,
        clock=now,
        is_durable=settings.agent.audit == "durable",
        # Without a server nobody takes records away: then this is the log, as anywhere else.
        max_bytes=None if client is None else settings.agent.spool_bytes,
        on_trouble=on_trouble,
        speller=spell_quickly,
    )
    if client is not None:
        spool.hand_on(Delivery(spool, deliverer(client), on_trouble=on_trouble))
    with suppress(NotRecordedError):
        spool.start()  # what is wrong is told, stands in the status, and is tried again by itself
    return spool
