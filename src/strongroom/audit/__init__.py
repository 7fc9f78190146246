"""
What happened: an append-only, hash-chained log of canonical JSON, shared by processes.

Not for values: a record names what was asked for and how it ended. Not for deciding either
(`service/guard.py`).

| file | is for |
|---|---|
| `record.py`, `line.py` | what a record is, and its one line |
| `log.py` | appending, and the end of the log |
| `uses.py` | which uses are on record, and how often |
| `writer.py`, `channel.py`, `desk.py`, `plan.py`, `duties.py` | the process that owns appending in a server, the way to it, and what it does besides |
| `tree.py`, `note.py`, `checkpoint.py` | signed checkpoints over a Merkle tree |
| `witness.py`, `sink.py` | copies elsewhere: of checkpoints, of records |
| `verify.py` | proving all of it |
| `follow.py`, `query.py`, `export.py`, `retention.py` | reading on, finding, handing over, letting old ones go |
"""

from strongroom.audit.log import AuditLog
from strongroom.audit.record import Event, Record, RefUse, Verdict

__all__ = ["AuditLog", "Event", "Record", "RefUse", "Verdict"]
