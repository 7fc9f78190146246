"""How a session of a role is called: by the run it serves, in what AWS takes for a name. Pure: no I/O."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.live.around import Run

__all__ = ["MAX_NAME", "session_name"]

MAX_NAME = 64  # STS API, RoleSessionName
_NOT_ALLOWED = re.compile(r"[^\w+=,.@-]", re.ASCII)
_MARK = 8  # "=" and seven digits of a hash, where a name was cut
_MIN_NAME = 2


def session_name(run: Run | None, connection: str) -> str:
    """
    Give `dag_id@run_id` for *run*, else `strongroom@` and the name of the *connection*.

    What AWS takes in no name becomes `-`. One that is too long is cut, the run's id from its front and the
    DAG's from its end, and gets a mark that differs with what was cut: CloudTrail tells two runs apart still.

    Returns:
        2 to 64 characters of `A-Za-z0-9_+=,.@-`.
    """
    dag_id = run.dag_id if run is not None else None
    run_id = run.run_id if run is not None else None
    first, last = (dag_id or "strongroom", run_id) if dag_id or run_id else ("strongroom", connection)
    whole = first if not last else f"{first}@{last}"
    clean = _NOT_ALLOWED.sub("-", whole)
    if len(clean) <= MAX_NAME:
        return clean if len(clean) >= _MIN_NAME else f"{clean}@"
    mark = "=" + sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[: _MARK - 1]
    room = MAX_NAME - _MARK - 1
    first, last = (_NOT_ALLOWED.sub("-", one or "") for one in (first, last))
    kept = max(room - len(first), room * 2 // 3) if last else 0  # of the run's id
    kept = min(kept, len(last))
    return f"{first[: room - kept]}@{last[len(last) - kept :]}{mark}"
