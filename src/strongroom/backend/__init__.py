"""
The promise of a backend: a place that may hold an Entry.

Rules of this file:

1. Reading is the promise; writing, listing, history and checking are optional abilities, each a
   small Protocol, so that no backend carries stubs.
2. Returning is *mine*; None is *not mine*; raising is *trouble*. A denial (`AccessDeniedError`) is
   final: the chain asks nobody else.
3. Names of a foreign store are built here (`Naming`) and nowhere else, and never parsed back.
4. Backends are synchronous; `asynchronous.py` is the one bridge to asyncio.
"""

from __future__ import annotations

from strongroom.backend.kind import kinds, load
from strongroom.backend.naming import Naming
from strongroom.backend.path import PathBackend, check_size, ephemeral_version
from strongroom.backend.promise import (
    Backend,
    Batched,
    Checkable,
    Dumpable,
    Fetched,
    Folding,
    Health,
    Lending,
    Listable,
    Outlining,
    Provisioning,
    Recoverable,
    Versioned,
    Watchable,
    Watched,
    Writable,
)
from strongroom.backend.writing import WritingPathBackend

__all__ = [
    "Backend",
    "Batched",
    "Checkable",
    "Dumpable",
    "Fetched",
    "Folding",
    "Health",
    "Lending",
    "Listable",
    "Naming",
    "Outlining",
    "PathBackend",
    "Provisioning",
    "Recoverable",
    "Versioned",
    "Watchable",
    "Watched",
    "Writable",
    "WritingPathBackend",
    "check_size",
    "ephemeral_version",
    "kinds",
    "load",
]
