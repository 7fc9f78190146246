import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_parts import event, open_log
from strongroom.audit import RefUse
from strongroom.audit.channel import encode as encode_frame
from strongroom.audit.channel import frames
from strongroom.audit.line import decode, encode, spell_quickly
from strongroom.audit.record import MAX_LINE_BYTES, ZERO, Event, read_line, spell

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
maybe = st.none() | text
refs = st.builds(RefUse, text, text, maybe, text, maybe, maybe, st.integers(0, 10**9))
runs = st.none() | st.dictionaries(
    st.sampled_from(["assurance", "bundle", "dag_id", "map_index", "other", "run_id"]),
    text | st.integers(0, 9),
).map(lambda run: {key: 1 if key in ("assurance", "map_index") else str(value) for key, value in run.items()})
events = st.builds(
    Event,
    actor=text,
    assurance=st.integers(0, 4),
    action=text,
    outcome=text,
    kind=maybe,
    name=maybe,
    team=maybe,
    reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=700),
    backend=maybe,
    version=maybe,
    request=maybe,
    source=maybe,
    run=runs,
    policies=st.lists(text, max_size=3).map(tuple),
    count=st.none() | st.integers(0, 10**12),
    since=maybe,
    until=maybe,
    refs=st.lists(refs, max_size=3).map(tuple),
)


@given(events)
def test_both_spellers_give_the_same_canonical_line_that_reads_back(found):
    line, digest = spell(found, 7, "2026-01-01T00:00:00.000000Z", ZERO, "prod")
    assert (line, digest) == spell_quickly(found, 7, "2026-01-01T00:00:00.000000Z", ZERO, "prod")
    assert encode(decode(line)) + b"\n" == line
    members = json.loads(line)
    assert list(members) == sorted(members)
    assert read_line(line).hash == digest


def test_a_line_of_before_has_no_member_that_came_later():
    line, _ = spell(event(), 0, "2026-01-01T00:00:00.000000Z", ZERO, "prod")
    assert set(json.loads(line)) == {
        *("action", "actor", "assurance", "at", "backend", "deployment", "hash", "kind", "name", "outcome"),
        *("prev", "reason", "seq", "team", "version"),
    }


OLD = (
    b'{"action":"read","actor":"local:1000","assurance":1,"at":"2026-01-01T00:00:00.000000Z",'
    b'"backend":"native","deployment":"prod","hash":"%b","kind":"connection","name":"orders_db",'
    b'"outcome":"found","prev":"%b","reason":"","seq":0,"team":null,"version":"3"}\n'
)


def test_a_log_written_before_still_verifies_and_goes_on(tmp_path):
    body = OLD.replace(b'"hash":"%b",', b"") % ZERO.encode()
    digest = hashlib.sha256(body[:-1]).hexdigest()
    folder = tmp_path / "audit"
    folder.mkdir(mode=0o700)
    (folder / f"{0:020d}.jsonl").write_bytes(OLD % (digest.encode(), ZERO.encode()))
    (folder / "head").write_bytes(json.dumps({"hash": digest, "seq": 0}).encode().ljust(127) + b"\n")
    (folder / "lock").touch()
    log = open_log(folder)
    assert (log.verify().is_ok, log.verify().count) == (True, 1)
    log.append(event("next", policies=("p",), request="r1", source="10.0.0.1", count=3))
    assert (log.verify().is_ok, log.verify().count) == (True, 2)
    assert log.tail(1)[0].policies == ("p",)
    log.close()


def test_the_widest_record_is_a_line_that_verifies(tmp_path):
    log = open_log(tmp_path / "audit")
    wide = "\U0001f600" * 250
    many = tuple(RefUse("connection", wide, wide, "found", wide, wide, 10**9) for _ in range(150))
    log.append(
        event(wide, reason="\x01" * 900, policies=(wide * 2,) * 50, refs=many, run={"dag_id": wide * 3})
    )
    assert max(map(len, log.folder.joinpath(f"{0:020d}.jsonl").read_bytes().splitlines())) < MAX_LINE_BYTES
    assert log.verify().is_ok
    (record,) = log.tail(1)
    assert (len(record.refs), len(record.policies), len(record.run["dag_id"])) == (100, 32, 250)
    log.close()


@pytest.mark.parametrize("found", [b"hunter2", {"a": "hunter2"}, ["hunter2"], 7])
def test_AU04_a_value_of_any_type_has_no_member_to_stand_in(found):
    with pytest.raises(TypeError):
        Event(actor="a", assurance=1, action="write", outcome="done", value=found)
    with pytest.raises(TypeError, match="reason of a record is text"):
        spell(event(reason=found), 0, "t", ZERO, "prod")
    assert frames(encode_frame([event(reason=found)])) == ([None], b"")


def test_AU04_what_is_no_member_of_a_run_is_dropped():
    line, _ = spell(event(run={"dag_id": "d", "password": "hunter2"}), 0, "t", ZERO, "prod")
    assert b"hunter2" not in line
