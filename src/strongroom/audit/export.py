"""
Records in the forms that others read: lines as they are, CSV, syslog, OCSF.

Pure. What a record says goes out as it stands, and never as something that a reader would run: no formula in
CSV, no line break in syslog.

Source: RFC 4180, RFC 5424, OCSF 1.3 (API Activity, class 6003).
"""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from strongroom.audit.record import Record

__all__ = ["FORMS", "MEDIA_TYPES", "export", "ocsf", "syslog"]

FORMS = ("jsonl", "csv", "syslog", "ocsf")
MEDIA_TYPES = {
    "jsonl": "application/jsonl",
    "csv": "text/csv; charset=utf-8",
    "syslog": "text/plain; charset=utf-8",
    "ocsf": "application/jsonl",
}
_COLUMNS = (
    "seq",
    "at",
    "deployment",
    "actor",
    "agent",
    "assurance",
    "action",
    "outcome",
    "kind",
    "name",
    "team",
    "reason",
    "backend",
    "version",
    "request",
    "source",
    "run",
    "policies",
    "count",
    "since",
    "until",
    "refs",
    "prev",
    "hash",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
_FACILITY = 10  # security and authorisation
_SEVERITIES = {
    "denied": 4,
    "failed": 3,
    "unavailable": 4,
    "invalid": 4,
}  # warning and error; else informational
_INFORMATIONAL = 6
_ENTERPRISE = "strongroom@32473"  # the number of RFC 5612 for documentation: we have none of our own
# OCSF: update, delete; else read.
_ACTIVITIES = {"write": 3, "rotate": 3, "delete": 4, "administer": 3, "break_glass": 3}
_READ = 2
_CLASS = 6003
_STATUS = {"denied": 2, "failed": 2, "unavailable": 2, "invalid": 2}  # failure; else success
_OCSF_SEVERITIES = {"denied": 3, "failed": 3, "unavailable": 2, "invalid": 2}


def export(form: str, records: Iterable[tuple[Record, bytes]]) -> Iterator[bytes]:
    """Give *records*, each with its line, in one of `FORMS`, a piece at a time."""
    if form == "csv":
        yield _csv(_COLUMNS)
        for record, _ in records:
            yield _csv([_cell(getattr(record, name)) for name in _COLUMNS])
        return
    spell: Callable[[Record, bytes], bytes] = {
        "jsonl": lambda _record, line: line,
        "syslog": lambda record, _line: syslog(record).encode() + b"\n",
        "ocsf": lambda record, _line: json.dumps(ocsf(record), ensure_ascii=False).encode() + b"\n",
    }[form]
    for record, line in records:
        yield spell(record, line)


def _csv(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def _cell(found: Any) -> str:  # noqa: ANN401 -- a member of a record
    if found is None or found == ():
        return ""
    if isinstance(found, int):
        return str(found)
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    # A spreadsheet runs what begins so; an apostrophe makes it text.
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def syslog(record: Record) -> str:
    """Give *record* as one message of RFC 5424, without a line break."""
    priority = _FACILITY * 8 + _SEVERITIES.get(record.outcome, _INFORMATIONAL)
    members = {
        name: getattr(record, name)
        for name in _COLUMNS
        if name not in ("at", "refs", "run", "policies", "agent")
    }
    said = " ".join(
        f'{name}="{_escape(str(value))}"' for name, value in members.items() if value not in (None, "")
    )
    what = f"{record.action} {record.outcome}"
    if record.name is not None:
        what += f" {record.kind} {record.name}"
    elif record.refs:
        what += f" {len(record.refs)} entries: {', '.join(f'{ref.kind} {ref.name}' for ref in record.refs)}"
    text = _plain(what)
    return f"<{priority}>1 {record.at} - strongroom - {record.seq} [{_ENTERPRISE} {said}] \ufeff{text}"


def _escape(text: str) -> str:
    # RFC 5424 §6.3.3
    return _plain(text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]"))


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def ocsf(record: Record) -> dict[str, Any]:
    """Give *record* as an event of OCSF."""
    activity = _ACTIVITIES.get(record.action, _READ)
    event: dict[str, Any] = {
        "activity_id": activity,
        "category_uid": 6,
        "class_uid": _CLASS,
        "type_uid": _CLASS * 100 + activity,
        "time": _milliseconds(record.at),
        "severity_id": _OCSF_SEVERITIES.get(record.outcome, 1),
        "status_id": _STATUS.get(record.outcome, 1),
        "status_code": record.outcome,
        "status_detail": record.reason,
        "count": record.count or 1,
        "actor": {"user": {"uid": record.actor, "name": record.actor}},
        "api": {"operation": record.action, "service": {"name": "strongroom"}},
        "metadata": {
            "version": "1.3.0",
            "product": {"name": "Strongroom", "vendor_name": "Strongroom"},
            "uid": record.hash,
            "sequence": record.seq,
            "log_name": record.deployment,
        },
        "resources": _resources(record),
        "unmapped": {"assurance": record.assurance, "backend": record.backend, "prev": record.prev},
    }
    _add_what_is_said(event, record)
    return event


def _resources(record: Record) -> list[dict[str, Any]]:
    refs = record.refs if record.name is None else (record,)
    return [
        {"name": ref.name, "type": ref.kind, "group": {"name": ref.team or ""}, "version": ref.version}
        for ref in refs
    ]


def _add_what_is_said(event: dict[str, Any], record: Record) -> None:
    """Add the members that stand only where there is something to say."""
    if record.request:
        event["api"]["request"] = {"uid": record.request}
    if record.source:
        event["src_endpoint"] = {"ip": record.source}
    if record.policies:
        event["authorizations"] = [{"policy": {"name": policy}} for policy in record.policies]
    if record.run:
        event["unmapped"]["run"] = dict(record.run)
    if record.agent:
        event["unmapped"]["agent"] = dict(record.agent)
    for name, member in (("start_time", record.since), ("end_time", record.until)):
        if member:
            event[name] = _milliseconds(member)


def _milliseconds(text: str) -> int:
    try:
        when = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return 0
    return round(when.timestamp() * 1000)
