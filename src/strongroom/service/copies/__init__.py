"""
Copies of a deployment's entries for work on one machine: `strongroom dev`.

`pull` makes them in a store of their own, `Folder` is where that store stands and what is known of it,
`files` writes them as files that other tools read.
"""

from __future__ import annotations

from strongroom.service.copies.folder import Folder, Into, Missing, State
from strongroom.service.copies.pull import Line, Pull, pull

__all__ = ["Folder", "Into", "Line", "Missing", "Pull", "State", "pull"]
