"""
What happened: an append-only, hash-chained log of canonical JSON, shared by processes.

Not for values: a record names what was asked for and how it ended. Not for deciding either
(`service/guard.py`).

| file | is for |
|---|---|
| `record.py`, `line.py` | what a record is, and its one line |
| `log.py` | appending, and the end of the log |
| `uses.py` | which uses are on record, and how often |
| `writer.py`, `channel.py`, `plan.py` | the process that owns appending in a server, and the way to it |
| `desk.py`, `duties.py` | what that process does: append, and what else there is |
| `tree.py`, `note.py`, `checkpoint.py` | signed checkpoints over a Merkle tree |
| `witness.py`, `sink.py` | copies elsewhere: of checkpoints, of records |
| `verify.py` | proving all of it |
| `follow.py`, `query.py` | reading on, finding records |
| `export.py`, `retention.py` | handing them over, letting old ones go |
"""

from strongroom.audit.log import AuditLog
from strongroom.audit.record import Event, Record, RefUse, Verdict

__all__ = ["AuditLog", "Event", "Record", "RefUse", "Verdict"]
