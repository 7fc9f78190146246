"""The keys of an issuer: asked for seldom, kept while it is down, and let go when it takes them away."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import datetime, timezone

import pytest

from parts.signing import AUDIENCE, KeyServer, Signer, claims
from strongroom.errors import BackendConfigError, BackendUnavailableError
from strongroom.vendors.jwks import FileKeys, UrlKeys, _may_follow
from strongroom.vendors.jwt import TokenError, Verifier

CANARY = "canary-in-an-answer"


@pytest.fixture
def server():
    with KeyServer(Signer("ed")) as found:
        yield found


class Timer:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def timer():
    return Timer()


@pytest.fixture
def keys(server, timer):
    found = UrlKeys("ci", url=f"{server.url}/jwks", issuer=server.issuer, timer=timer)
    yield found
    found.close()


def until(claim, seconds=10):
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_key_is_asked_for_once_and_kept(server, keys):
    for _ in range(5):
        assert keys.find("ed").kid == "ed"
    assert server.count() == 1


def test_the_discovery_document_says_where_keys_are(server, timer):
    keys = UrlKeys("ci", url=None, issuer=server.issuer, timer=timer)
    assert keys.find("ed").kid == "ed"
    assert server.asked == ["/.well-known/openid-configuration", "/jwks"]
    keys.close()


@pytest.mark.parametrize(
    "document",
    [
        b"{}",
        b"[]",
        b"{",
        b'{"issuer": "https://attacker.test", "jwks_uri": "https://attacker.test/jwks"}',
        b'{"issuer": "ISSUER", "jwks_uri": 7}',
        b'{"issuer": "ISSUER", "jwks_uri": "file:///etc/passwd"}',
        b'{"issuer": "ISSUER", "jwks_uri": "http://user:password@127.0.0.1/jwks"}',
        b'{"issuer": "ISSUER", "jwks_uri": "http://[::1"}',
    ],
)
def test_JW02_a_discovery_document_that_leads_elsewhere_is_not_followed(server, timer, document):
    said = document.replace(b"ISSUER", server.issuer.encode())
    server.say["/.well-known/openid-configuration"] = (200, {}, said)
    keys = UrlKeys("ci", url=None, issuer=server.issuer, timer=timer)
    with pytest.raises(BackendUnavailableError):
        keys.find("ed")
    assert server.count() == 0
    keys.close()


def test_an_issuer_over_tls_cannot_send_us_to_bare_http():
    assert not _may_follow("https://issuer.test", "http://issuer.test/jwks")
    assert _may_follow("https://issuer.test", "https://keys.issuer.test/jwks")


def test_JW06_ten_thousand_unknown_names_ask_once_in_thirty_seconds(server, keys, timer):
    assert keys.find("ed") is not None
    for number in range(10_000):
        assert keys.find(f"unknown-{number}") is None
    assert server.count() == 1
    timer.now += 31
    assert keys.find("unknown") is None
    assert server.count() == 2


def test_JW06_a_key_that_was_added_is_found_with_the_next_question(server, keys, timer):
    keys.find("ed")
    server.signer.add("new", "ed")
    assert keys.find("new") is None
    timer.now += 31
    assert keys.find("new").kid == "new"
    assert keys.generation == 2


def test_JW06_a_key_that_was_taken_away_is_refused_within_five_minutes(server, keys, timer):
    now = datetime.now(timezone.utc)
    checks = Verifier(
        issuer=server.issuer,
        audience=AUDIENCE,
        algorithms=["EdDSA"],
        keys=keys,
        clock=lambda: now,
        timer=timer,
    )
    token = server.signer.sign(claims(iss=server.issuer, now=int(now.timestamp())))
    assert checks.verify(token)
    server.signer.keys = {"other": server.signer.keys["ed"]}
    server.signer.keys["other"].kid = "other"
    refused_after = None
    for second in range(1, 301):
        timer.now += 1
        try:
            checks.verify(token)
        except TokenError:
            refused_after = second
            break
    assert refused_after is not None
    assert refused_after <= 300


def test_JW06_the_last_good_keys_count_for_a_day_while_the_issuer_is_down(server, keys, timer):
    keys.find("ed")
    server.say["/jwks"] = (500, {}, b"")
    for hours in range(1, 24):
        timer.now = 1000 + hours * 3600
        assert keys.find("ed").kid == "ed"
    timer.now = 1000 + 86_400
    with pytest.raises(BackendUnavailableError) as caught:
        keys.find("ed")
    assert caught.value.retry_after is not None


def test_an_issuer_that_comes_back_is_asked_again(server, keys, timer):
    server.say["/jwks"] = (503, {}, b"")
    with pytest.raises(BackendUnavailableError):
        keys.find("ed")
    del server.say["/jwks"]
    with pytest.raises(BackendUnavailableError):
        keys.find("ed")
    assert server.count() <= 2  # one question, and its one retry
    timer.now += 31
    assert keys.find("ed").kid == "ed"


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, b"no json " + CANARY.encode()),
        (200, {}, b'{"keys": 7}'),
        (200, {}, b'{"keys": [' + b"{}," * 300 + b"{}]}"),
        (200, {}, b"[" * 200_000),
        (200, {}, b'{"keys":[]}' + b" " * 300_000),
        (302, {"Location": "http://127.0.0.1:1/"}, b""),
        (404, {}, b""),
        (204, {}, b""),
    ],
)
def test_JW06_an_answer_that_is_no_set_of_keys_is_no_answer(server, keys, timer, answer, caplog):
    keys.find("ed")
    server.say["/jwks"] = answer
    timer.now += 300
    assert keys.find("ed").kid == "ed"
    assert keys.generation == 1
    assert CANARY not in caplog.text
    assert "the issuer ci gives no keys" in caplog.text


def test_a_set_without_any_key_takes_every_key_away(server, keys, timer):
    keys.find("ed")
    server.say["/jwks"] = (200, {}, b'{"keys":[]}')
    timer.now += 300
    assert keys.find("ed") is None


def test_JW06_however_many_ask_at_once_the_issuer_is_asked_once(server, keys):
    server.hold.clear()
    found = []
    threads = [threading.Thread(target=lambda: found.append(keys.find("ed"))) for _ in range(32)]
    for thread in threads:
        thread.start()
    until(lambda: server.count() == 1)
    server.hold.set()
    for thread in threads:
        thread.join(20)
    assert len(found) == 32
    assert None not in found
    assert server.count() == 1


def test_JW06_who_has_a_good_key_does_not_wait_for_a_slow_issuer(server, keys, timer):
    keys.find("ed")
    timer.now += 300
    server.hold.clear()
    asking = threading.Thread(target=keys.find, args=("ed",))
    asking.start()
    until(lambda: server.count() == 2)
    assert keys.find("ed").kid == "ed"
    server.hold.set()
    asking.join(20)


# --- a file -------------------------------------------------------------------------------------------


def test_a_file_is_read_again_when_it_changes(tmp_path, timer):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(Signer("ed").jwks))
    keys = FileKeys("ci", path, timer=timer)
    assert keys.find("ed").kid == "ed"
    path.write_text(json.dumps(Signer("p256").jwks))
    timer.now += 2
    assert keys.find("ed") is None
    assert keys.find("p256").kid == "p256"
    assert keys.generation == 1


@pytest.mark.parametrize("text", [None, "no keys"])
def test_a_file_that_became_none_is_looked_past(tmp_path, timer, text, caplog):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(Signer("ed").jwks))
    keys = FileKeys("ci", path, timer=timer)
    path.unlink()
    if text is not None:
        path.write_text(text)
    timer.now += 2
    assert keys.find("ed").kid == "ed"
    assert "not read again" in caplog.text


def test_a_file_that_cannot_be_right_is_refused_at_once(tmp_path):
    path = tmp_path / "jwks.json"
    with pytest.raises(BackendConfigError, match="cannot be read"):
        FileKeys("ci", path)
    path.write_text("{}")
    with pytest.raises(BackendConfigError, match="no set of keys"):
        FileKeys("ci", path)
    path.write_text(json.dumps(Signer("ed").jwks) + " " * 300_000)
    with pytest.raises(BackendConfigError, match="no set of keys"):
        FileKeys("ci", path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BackendConfigError, match="no set of keys"):
        FileKeys("ci", path)
    path.unlink()
    path.write_text(json.dumps(Signer("ed").jwks))
    path.chmod(0o666)
    with pytest.raises(BackendConfigError, match="anybody may change"):
        FileKeys("ci", path)
