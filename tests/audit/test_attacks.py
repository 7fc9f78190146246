"""
Attacks on a log: each is found, with the number of the first bad record.

First those that leave the chain broken, then those of somebody who may write every file of the log and makes
the chain anew, against what is kept beside the key and with a witness. `make trials` makes 1,000 of them.
"""

import json
import os
import random
import shutil
from typing import NamedTuple

import pytest

from audit_parts import Clock, event, keeper_of, lines_in, open_log
from strongroom.audit.checkpoint import evidence_beside, public_of
from strongroom.audit.line import spell_quickly
from strongroom.audit.record import ZERO, digest_of, read_line
from strongroom.audit.verify import verify_log
from strongroom.audit.witness import FileWitness, evidence_at

ATTACKS = int(os.environ.get("STRONGROOM_ATTACKS", "200"))
COUNT = 60
SIGNED = 50  # the rest came after the last checkpoint


class Scene(NamedTuple):
    folder: object
    key: object
    notes: object


def build(top, prefix="name"):
    clock = Clock()
    scene = Scene(top / "audit", top / "keys" / "audit.key", top / "elsewhere" / "notes")
    scene.notes.parent.mkdir(parents=True)
    log = open_log(scene.folder, clock, segment_bytes=5000)
    keeper, witness = keeper_of(scene.folder, scene.key, clock), FileWitness("file", scene.notes)
    chance = random.Random("batches")
    written = 0
    while written < COUNT:
        size = min(chance.randrange(1, 5), (SIGNED if written < SIGNED else COUNT) - written)
        log.append(*(event(f"{prefix}-{written + at}") for at in range(size)))
        written += size
        if written <= SIGNED and (written == SIGNED or chance.random() < 0.3):
            witness.show(keeper.sign(), keeper)
    log.close()
    return scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return build(tmp_path_factory.mktemp("whole"))


def verdict_of(scene, *, beside=True, witness=True):
    def evidence(keys):
        if beside:
            yield evidence_beside(scene.key, keys)
        if witness:
            yield evidence_at("the witness", scene.notes, keys)

    keys = public_of(scene.key) if beside else ()
    return verify_log(scene.folder, evidence=evidence, keys=keys)


def put(folder, lines, *, head=True):
    """Put *lines* in the place of the log, in segments as they were; *head* rewrites the head file, too."""
    names = sorted(folder.glob("*.jsonl"))
    starts = [int(name.stem) for name in names]
    for at, name in enumerate(names):
        end = starts[at + 1] if at + 1 < len(starts) else len(lines)
        part = b"".join(lines[starts[at] : end])
        if part:
            name.write_bytes(part)
        else:
            name.unlink()
    if head:
        last = read_line(lines[-1]) if lines else None
        told = {"hash": last.hash if last else ZERO, "seq": last.seq if last else -1}
        (folder / "head").write_bytes(json.dumps(told).encode().ljust(127) + b"\n")


def rebuilt(lines, start=0):
    """Number and chain *lines* anew from *start* on, so that each fits the one before."""
    made = list(lines[:start])
    prev = digest_of(made[-1][:-1]) if made else ZERO
    for seq, line in enumerate(lines[start:], start):
        record = read_line(line)
        new, prev = spell_quickly(record, seq, record.at, prev, record.deployment)
        made.append(new)
    return made


def forge(line, **changes):
    members = {**json.loads(line), **changes}
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode() + b"\n"


# Each gives the lines of an attack at a record, and which record is the first bad one.


def edit(lines, at):
    return [*lines[:at], forge(lines[at], name="other"), *lines[at + 1 :]], at


def drop(lines, at):
    return [*lines[:at], *lines[at + 1 :]], at


def insert(lines, at):
    return [*lines[:at], forge(lines[at], name="invented"), *lines[at:]], at


def reorder(lines, at):
    at = min(at, len(lines) - 2)
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]], at


def repeat(lines, at):
    return [*lines[: at + 1], *lines[at:]], at + 1


def cut_tail(lines, at):
    return lines[:at], at


def cut_head(lines, at):
    return lines[at + 1 :], 0


def fork(lines, at):
    """Another history from a record on, as long and as well made as the first."""
    return [*lines[:at], *(forge(line, actor="service:other") for line in lines[at:])], at


def replace_whole(lines, _at):
    return [forge(line, actor="service:other", name="x") for line in lines], 0


BROKEN = (edit, drop, insert, reorder, repeat, cut_tail, cut_head)
MADE_ANEW = (*BROKEN, fork, replace_whole)
CASES = [
    *((attack, False) for attack in BROKEN),
    *((attack, True) for attack in MADE_ANEW),
]


@pytest.mark.parametrize("seed", range(ATTACKS))
def test_AU01_AU02_every_attack_is_found_at_the_right_record(scene, tmp_path, seed):
    chance = random.Random(f"attack {seed}")
    attack, is_rebuilt = CASES[seed % len(CASES)]
    at = chance.randrange(SIGNED - 1)
    attacked = Scene(tmp_path / "audit", scene.key, scene.notes)
    shutil.copytree(scene.folder, attacked.folder)
    lines, first_bad = attack(lines_in(scene.folder), at)
    if is_rebuilt:
        lines = rebuilt(lines)
    put(attacked.folder, lines, head=is_rebuilt or chance.random() < 0.5)
    # What is beside the key, what the witness holds, or both: each alone is enough.
    beside = chance.random() < 0.6
    verdict = verdict_of(attacked, beside=beside, witness=not beside or chance.random() < 0.5)
    assert not verdict.is_ok, (attack.__name__, is_rebuilt, at)
    assert verdict.index == first_bad, (attack.__name__, is_rebuilt, at, beside, verdict)
    assert verdict.reason


def test_the_whole_log_is_whole(scene):
    verdict = verdict_of(scene)
    assert (verdict.is_ok, verdict.count, verdict.signed) == (True, COUNT, SIGNED)
    assert verdict.checkpoints >= 10


def test_AU01_a_replaced_log_with_a_key_of_its_own_fails_against_the_witness_alone(scene, tmp_path):
    other = build(tmp_path / "other", "another")
    assert verdict_of(other).is_ok
    verdict = verdict_of(Scene(other.folder, other.key, scene.notes))
    assert (verdict.is_ok, verdict.index) == (False, 0)
    assert "another log" in verdict.reason


def test_AU01_a_log_signed_anew_by_another_key_does_not_verify_with_the_one_that_is_known(scene, tmp_path):
    folder, key = tmp_path / "audit", tmp_path / "audit.key"
    shutil.copytree(scene.folder, folder)
    put(folder, rebuilt(edit(lines_in(folder), 10)[0]))
    (folder / "checkpoints").unlink()
    (folder / "keys").unlink()
    keeper_of(folder, key).sign()
    assert verify_log(folder).is_ok  # nobody else is asked
    verdict = verify_log(folder, keys=public_of(scene.key))
    assert (verdict.is_ok, "not signed by a key that is known" in verdict.reason) == (False, True)


def test_without_hashes_the_first_record_that_no_good_root_covers_is_named(scene, tmp_path):
    folder, notes = tmp_path / "audit", tmp_path / "notes"
    shutil.copytree(scene.folder, folder)
    shutil.copy(scene.notes, notes)
    put(folder, rebuilt(edit(lines_in(folder), 30)[0]))
    (folder / "checkpoints").unlink()
    verdict = verify_log(folder, evidence=lambda keys: [evidence_at("w", notes, keys)])
    assert not verdict.is_ok
    assert verdict.index <= 30
    assert "one of the records" in verdict.reason or verdict.index == 30


def test_forged_hashes_beside_a_witness_mislead_nobody(scene, tmp_path):
    folder, notes = tmp_path / "audit", tmp_path / "notes"
    shutil.copytree(scene.folder, folder)
    for suffix in ("", ".keys", ".tree"):
        shutil.copy(f"{scene.notes}{suffix}", f"{notes}{suffix}")
    tree = bytearray((tmp_path / "notes.tree").read_bytes())
    tree[0:32] = bytes(32)
    (tmp_path / "notes.tree").write_bytes(bytes(tree))
    assert verify_log(folder, evidence=lambda keys: [evidence_at("w", notes, keys)]).is_ok
    put(folder, rebuilt(edit(lines_in(folder), 30)[0]))
    verdict = verify_log(folder, evidence=lambda keys: [evidence_at("w", notes, keys)])
    assert not verdict.is_ok
    assert 0 < verdict.index <= 30


@pytest.mark.parametrize("name", ["checkpoints", "keys"])
def test_damaged_checkpoints_and_keys_are_found_and_the_records_are_not_blamed(scene, tmp_path, name):
    folder = tmp_path / "audit"
    shutil.copytree(scene.folder, folder)
    path = folder / name
    data = path.read_bytes()
    path.write_bytes(data.replace(b"strongroom", b"strangroom", 1))
    verdict = verify_log(folder)
    assert not verdict.is_ok
    assert "checkpoint" in verdict.reason or "keys" in verdict.reason


def test_checkpoints_removed_from_the_folder_are_missed_by_nobody_who_looks_beside_the_key(scene, tmp_path):
    folder = tmp_path / "audit"
    shutil.copytree(scene.folder, folder)
    (folder / "checkpoints").unlink()
    verdict = verdict_of(Scene(folder, scene.key, scene.notes), witness=False)
    assert (verdict.is_ok, verdict.signed) == (True, SIGNED)
    put(folder, rebuilt(edit(lines_in(folder), 3)[0]))
    assert verdict_of(Scene(folder, scene.key, scene.notes), witness=False).index == 3
