"""The audit trail as one actor sees it: filtered, in pages, proven, held."""

import json
from datetime import timedelta

import pytest

from audit_parts import NOW, Clock, event, keeper_of, open_log
from strongroom.audit import AuditLog, RefUse
from strongroom.audit.query import Filter
from strongroom.audit.witness import FileWitness
from strongroom.errors import AccessDeniedError, BackendConfigError, InvalidInputError
from strongroom.policy import Action, Actor, Decision
from strongroom.service.audit import AuditTrail
from strongroom.service.guard import Guard
from strongroom.settings import AuditSettings
from strongroom.settings.audit import CheckpointSettings, WitnessSettings


class Names:
    """A policy by which an actor may look at the entries that begin with his name, and the boss at all."""

    needs_facts = False

    def decide(self, actor, action, ref, facts=None):
        is_boss = actor.id == "boss"
        is_allowed = is_boss or (action is Action.DESCRIBE and (ref is None or ref.name.startswith(actor.id)))
        if actor.id == "stranger":
            is_allowed = False
        return Decision(is_allowed=is_allowed, reason="by name", policies=("names",))

    def covers(self, actor, action):
        return actor.id == "boss"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    log = open_log(tmp_path / "audit", clock, segment_bytes=3000)
    for number in range(40):
        clock.now += timedelta(days=1)
        log.append(event(f"{'anna' if number % 2 else 'ben'}-{number}", reason="why"))
    log.append(event(None, kind=None, action="administer", outcome="done", reason="about the room"))
    log.append(
        event(
            None, kind=None, outcome="found", refs=(RefUse("variable", "anna-x"), RefUse("variable", "ben-x"))
        )
    )
    log.append(event("not ours", team="data"))
    yield log
    log.close()


def trail_of(log, who="boss", settings=None):
    return AuditTrail(log, Guard(Names(), log), Actor(who), settings)


def settings_of(tmp_path, *witnesses):
    return AuditSettings(
        path=tmp_path / "audit",
        checkpoint=CheckpointSettings(key=tmp_path / "keys" / "audit.key"),
        witnesses=witnesses,
    )


def test_an_administrator_sees_every_record_and_others_what_is_about_their_entries(log):
    assert len(trail_of(log).query(Filter(), limit=100).records) == 43
    page = trail_of(log, "anna").query(Filter(), limit=100)
    assert len(page.records) == 21
    assert all(
        record.name.startswith("anna") if record.name else [ref.name for ref in record.refs] == ["anna-x"]
        for record in page.records
    )
    assert trail_of(log, "anna").tail(3)[-1].refs == (RefUse("variable", "anna-x"),)


def test_what_may_not_be_seen_is_in_no_page_no_export_and_no_count(log):
    trail = trail_of(log, "anna")
    for form in ("jsonl", "csv", "syslog", "ocsf"):
        text = b"".join(trail.export(form, Filter())).decode()
        assert "anna-1" in text
        assert "ben" not in text
        assert "about the room" not in text
    assert not trail.query(Filter(name="ben-2")).records
    assert not trail.query(Filter(name="ben-x")).records


def test_who_may_not_describe_the_room_may_not_look_and_the_refusal_is_recorded(log):
    trail = trail_of(log, "stranger")
    for act in (
        lambda: trail.query(Filter()),
        lambda: trail.export("jsonl", Filter()),
        trail.state,
        trail.verify,
        trail.tail,
        trail.sign,
        lambda: trail.hold("x"),
    ):
        with pytest.raises((AccessDeniedError, BackendConfigError)):
            act()
    with pytest.raises(AccessDeniedError):
        trail.query(Filter())
    assert log.tail(1)[0].outcome == "denied"


def test_a_reader_may_not_hold_sign_or_let_go(log, tmp_path):
    trail = trail_of(log, "anna", settings_of(tmp_path))
    for act in (
        trail.sign,
        lambda: trail.hold("x"),
        lambda: trail.lift("x"),
        lambda: trail.retain(before=NOW, archive=None),
    ):
        with pytest.raises(AccessDeniedError):
            act()
    assert not (tmp_path / "keys").exists()
    assert not (log.folder / "hold").exists()


def test_pages_go_on_until_the_end_and_limits_are_kept(log):
    trail, seen, start = trail_of(log), [], None
    while True:
        page = trail.query(Filter(action="read"), limit=9, start=start)
        assert len(page.records) <= 9
        seen += [record.seq for record in page.records]
        start = page.next
        if start is None:
            break
    assert seen == [42, 41, *range(39, -1, -1)]
    for limit in (0, 1001):
        with pytest.raises(InvalidInputError, match="limit"):
            trail.query(Filter(), limit=limit)
    with pytest.raises(InvalidInputError, match="form"):
        trail.export("xml", Filter())


def test_another_deployments_records_in_the_same_folder_are_nobodys_business(log, clock):
    other = AuditLog(log.folder, deployment="staging", clock=clock)
    other.append(event("anna-staging"))
    other.close()
    for who in ("boss", "anna"):
        assert not trail_of(log, who).query(Filter(name="anna-staging")).records
        assert b"staging" not in b"".join(trail_of(log, who).export("jsonl", Filter()))


def test_the_state_tells_size_signature_and_hold(log, tmp_path):
    trail = trail_of(log, settings=settings_of(tmp_path))
    before = trail.state()
    assert (before.count, before.checkpoint, before.hold, before.is_writable) == (43, None, None, True)
    assert before.head == log.tail(1)[0].hash
    trail.sign()
    trail.hold("case 4711")
    after = trail.state()
    assert after.checkpoint == 44  # with the record that signing began
    assert after.checkpoint_at.tzinfo is not None
    assert (after.hold.actor, after.hold.reason) == ("boss", "case 4711")


def test_administering_the_log_is_recorded_before_and_after(log, tmp_path):
    trail = trail_of(log, settings=settings_of(tmp_path))
    trail.hold("case 4711")
    trail.lift("closed")
    told = [(record.action, record.outcome, record.reason) for record in log.tail(4)]
    assert told == [
        ("administer", "begun", "audit: hold: case 4711"),
        ("administer", "done", "audit: hold: case 4711"),
        ("administer", "begun", "audit: lift the hold: closed"),
        ("administer", "done", "audit: lift the hold: closed"),
    ]


def test_old_records_go_only_where_nothing_holds_them_and_the_log_verifies(log, tmp_path):
    trail = trail_of(log, settings=settings_of(tmp_path))
    trail.hold("case 4711")
    with pytest.raises(AccessDeniedError, match="held"):
        trail.retain(before=NOW + timedelta(days=30), archive=tmp_path / "archive")
    trail.lift("closed")
    done = trail.retain(before=NOW + timedelta(days=30), archive=tmp_path / "archive")
    assert done.records > 0
    verdict = trail.verify()
    assert (verdict.is_ok, verdict.first) == (True, done.first)
    with pytest.raises(InvalidInputError, match="last day"):
        trail.retain(before=NOW + timedelta(days=36500), archive=None)


def test_verify_looks_beside_the_key_and_at_the_witnesses_there_are(log, tmp_path):
    witness = WitnessSettings(kind="file", name="disk", path=tmp_path / "notes")
    trail = trail_of(log, settings=settings_of(tmp_path, witness))
    trail.sign()
    keeper = keeper_of(log.folder, tmp_path / "keys" / "audit.key")
    FileWitness("disk", tmp_path / "notes").show(keeper.sign(), keeper)
    progress = []
    verdict = trail.verify(progress=progress.append)
    assert verdict.is_ok
    assert verdict.witnesses == (f"what is kept beside {keeper.key}", "the witness disk")
    assert progress
    public = (tmp_path / "keys" / "audit.key.pub").read_text().strip()
    assert trail.verify(keys=[public], witnesses=[tmp_path / "notes"]).is_ok
    for options in ({"keys": ["nonsense"]}, {"witnesses": [tmp_path / "nowhere"]}):
        with pytest.raises(InvalidInputError):
            trail.verify(**options)


def test_an_export_gives_lines_that_can_be_proven_to_who_sees_all(log):
    lines = b"".join(trail_of(log).export("jsonl", Filter()))
    whole = b"".join(path.read_bytes() for path in sorted(log.folder.glob("*.jsonl")))
    assert lines == whole
    assert json.loads(lines.splitlines()[0])["seq"] == 0
