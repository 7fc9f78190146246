"""
Settings → objects: the only package that names concrete classes.

Not for deciding anything: it reads settings, makes the parts, and joins them.

Rules of this package:

1. Opening makes nothing: no store, no key, no folder. `create_room` makes what is missing and
   never overwrites; a key is never made beside a store that has one already.
2. What a room does not need is not imported: reading loads no writer, and no house.
3. Clock and environment come in here and are passed down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.assembly.room import (
    create_room,
    open_audit,
    open_audit_copy,
    open_backend,
    open_doctor,
    open_room,
    require_store_tools,
    room_of,
)
from strongroom.assembly.ways import local_owner

if TYPE_CHECKING:
    from strongroom.assembly.host import open_host
    from strongroom.assembly.house import open_house
    from strongroom.assembly.stores import open_stores, place_at

__all__ = [
    "create_room",
    "local_owner",
    "open_audit",
    "open_audit_copy",
    "open_backend",
    "open_doctor",
    "open_host",
    "open_house",
    "open_room",
    "open_stores",
    "place_at",
    "require_store_tools",
    "room_of",
]


def __getattr__(name: str) -> object:
    if name == "open_house":
        from strongroom.assembly import house  # noqa: PLC0415 -- only who serves loads it

        return house.open_house
    if name == "open_host":
        from strongroom.assembly import host  # noqa: PLC0415 -- as above

        return host.open_host
    if name in ("open_stores", "place_at"):
        from strongroom.assembly import stores  # noqa: PLC0415 -- as above

        return getattr(stores, name)
    raise AttributeError(f"module 'strongroom.assembly' has no attribute {name!r}")
