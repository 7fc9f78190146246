"""Entries and drafts carry a secret and never show it."""

from __future__ import annotations

import dataclasses
import json
import pickle
from datetime import datetime, timezone

import msgspec
import pytest

from strongroom.model.entry import MUST_BE_ABSENT, Draft, Entry, Metadata, Summary, VersionInfo
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

CANARY = "canary-77aa"
REF = Ref("connection", "orders_db", "data")
NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
ENTRY = Entry(ref=REF, secret=Secret(CANARY), backend="native", read_at=NOW, version="3")
DRAFT = Draft(ref=REF, secret=Secret(CANARY), author="local:1000")


@pytest.mark.parametrize("holder", [ENTRY, DRAFT], ids=["entry", "draft"])
def test_neither_shows_its_secret(holder):
    assert CANARY not in repr(holder) + str(dataclasses.asdict(holder)) + f"{holder!s:>300}"
    for serialise in (pickle.dumps, json.dumps, msgspec.json.encode):
        with pytest.raises(TypeError) as caught:
            serialise(holder)
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        ENTRY,
        DRAFT,
        Metadata(tags=("a",)),
        Summary(ref=REF, backend="native"),
        VersionInfo(version="1", created_at=NOW, author="x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_cannot_be_changed(value):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)


def test_what_is_public_survives_pickling():
    for value in (Metadata(owner="o", not_after=NOW), Summary(ref=REF, backend="b", changed_at=NOW)):
        assert pickle.loads(pickle.dumps(value)) == value


def test_no_version_is_the_mark_of_absence():
    assert MUST_BE_ABSENT == ""
    assert DRAFT.expected_version is None
