"""
What happened: an append-only, hash-chained log of canonical JSON, shared by processes.

Not for values: a record names what was asked for and how it ended. Not for deciding either
(`service/guard.py`).

| file | is for |
|---|---|
| `record.py`, `line.py` | what a record is, and its one line |
| `log.py` | appending, and the end of the log |
| `uses.py`, `flood.py` | which uses are on record; attempts that are counted |
| `writer.py`, `channel.py`, `desk.py` | the process that owns appending in a server, and the way to it |
| `tree.py`, `note.py`, `checkpoint.py` | signed checkpoints over a Merkle tree |
| `witness.py`, `sink.py` | copies elsewhere: of checkpoints, of records |
| `verify.py` | proving all of it |
| `query.py`, `export.py`, `retention.py` | finding records, handing them over, letting old ones go |
"""

from strongroom.audit.log import AuditLog
from strongroom.audit.record import Event, Record, RefUse, Verdict

__all__ = ["AuditLog", "Event", "Record", "RefUse", "Verdict"]
