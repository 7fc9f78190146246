"""Sessions with Vault: one login, its token, its renewal, against a real OpenBao."""

import gc
import json
import multiprocessing
import os
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest

from parts.openbao import until
from parts.proxy import Proxy, Scripted, reply
from strongroom.bulkhead import Bulkhead
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    RateLimitedError,
    SettingsError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.transport import Transport, TransportOptions
from strongroom.vendors.vault import VaultSession
from strongroom.vendors.vault_login import StaticToken, TokenFile
from strongroom.vendors.vault_login_approle import AppRole

FORK = multiprocessing.get_context("fork")
LOGIN = "POST /v1/auth/{}/login"


class Clock:
    """Seconds that a test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def proxy(bao):
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield proxy


@pytest.fixture
def kv(bao):
    """A mount with one entry, and a policy that may read it and no other."""
    mount = bao.mount()
    bao.put(mount, "variables/region", {"value": "eu"})
    policy = bao.policy(f'path "{mount}/data/variables/*" {{ capabilities = ["read"] }}')
    return mount, policy, f"/v1/{mount}/data/variables/region"


@pytest.fixture
def opened():
    """Make sessions over a URL and close them at the end."""
    made = []

    def make(url, login, **options):
        transport = Transport(TransportOptions(place="vault", url=url))
        session = VaultSession(login, transport, place="vault", **options)
        made.append((session, transport))
        return session

    yield make
    for session, transport in made:
        session.close()
        session.close()
        transport.close()


def approle(role, secret_id=None, **options):
    given = Secret(secret_id or role.secret_id())
    return AppRole(
        "vault", mount=role.mount, role_id=Secret(role.role_id), secret_id=lambda: given, **options
    )


def logins(proxy, role):
    return proxy.lines.count(LOGIN.format(role.mount))


def shown(error):
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


# --- logging in --------------------------------------------------------------------------------------


def test_static_token_is_used_as_it_is_and_nothing_else_is_asked(bao, proxy, kv, opened):
    session = opened(proxy.url(), StaticToken("vault", lambda: Secret(bao.token(kv[1]))))
    assert session.request("GET", kv[2]).status == 200
    assert proxy.lines == [f"GET {kv[2]}"]


def test_role_logs_in_once_and_then_one_request_a_read(bao, proxy, kv, opened):
    role = bao.role(kv[1])
    session = opened(proxy.url(), approle(role))
    for _ in range(3):
        assert session.request("GET", kv[2]).status == 200
    assert proxy.lines == [LOGIN.format(role.mount), *[f"GET {kv[2]}"] * 3]


def test_role_may_bind_no_secret_id(bao, proxy, kv, opened):
    role = bao.role(kv[1], bind_secret_id=False, token_bound_cidrs="127.0.0.1/32")
    login = AppRole("vault", mount=role.mount, role_id=Secret(role.role_id))
    assert opened(proxy.url(), login).request("GET", kv[2]).status == 200


def test_fifty_threads_share_one_login(bao, proxy, kv, opened):
    role = bao.role(kv[1])
    session = opened(proxy.url(), approle(role))
    together = threading.Barrier(50)

    def ask(_):
        together.wait(10)
        return session.request("GET", kv[2]).status

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(ask, range(50))) == [200] * 50
    assert logins(proxy, role) == 1


def test_fifty_threads_whose_token_died_share_one_login(bao, proxy, kv, opened):
    role = bao.role(kv[1])
    session = opened(proxy.url(), approle(role))
    session.request("GET", kv[2])
    bao.revoke(session.standing()[0].reveal())
    together = threading.Barrier(50)

    def ask(_):
        together.wait(10)
        return session.request("GET", kv[2]).status

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(ask, range(50))) == [200] * 50
    assert logins(proxy, role) == 2


def test_caller_with_little_time_breaks_off_no_login_that_others_wait_for(opened):
    asked, hurried = threading.Event(), threading.Event()

    def say(request):
        if b"/login " not in request:
            return reply(200, {}, b'{"request_id":"x"}')
        asked.set()
        assert hurried.wait(10)
        auth = b'{"client_token":"t","lease_duration":60,"renewable":true}'
        return reply(200, {}, b'{"request_id":"x","auth":' + auth + b"}")

    with Scripted(say) as server, ThreadPoolExecutor(1) as pool:
        session = opened(server.url(), AppRole("vault", mount="approle", role_id=Secret("r")))
        ask = partial(session.request, "GET", "/v1/x")
        place = Bulkhead("vault")
        with pytest.raises(BackendUnavailableError, match="within"):
            place.call(ask, 1)
        assert asked.wait(10)
        patient = pool.submit(ask)
        hurried.set()
        assert patient.result(10).status == 200
        assert server.lines.count("POST /v1/auth/approle/login") == 1
        place.close()


def test_one_failed_login_fails_all_who_wait_for_it_and_does_not_print(bao, proxy, kv, opened):
    role = bao.role(kv[1])
    session = opened(proxy.url(), approle(role, "no-such-secret-id"))
    together = threading.Barrier(20)

    def ask(_):
        together.wait(10)
        with pytest.raises(NotAuthenticatedError, match="AppRole refused the login") as caught:
            session.request("GET", kv[2])
        assert "secret_id" in caught.value.hint
        assert "no-such-secret-id" not in shown(caught.value)
        assert role.role_id not in shown(caught.value)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(ask, range(20)))
    assert logins(proxy, role) == 1


def test_wrong_role_is_not_authenticated(bao, proxy, kv, opened):
    role = bao.role(kv[1])
    login = AppRole(
        "vault", mount=role.mount, role_id=Secret("no-such-role"), secret_id=lambda: Secret(role.secret_id())
    )
    with pytest.raises(NotAuthenticatedError) as caught:
        opened(proxy.url(), login).request("GET", kv[2])
    assert "role_id" in caught.value.hint
    assert "no-such-role" not in shown(caught.value)


def test_mount_without_approle_names_the_setting(bao, proxy, kv, opened):
    login = AppRole("vault", mount="nothing-here", role_id=Secret("r"))
    with pytest.raises((NotAuthenticatedError, BackendConfigError)) as caught:
        opened(proxy.url(), login).request("GET", kv[2])
    assert "auth_mount_point" in caught.value.hint


@pytest.mark.parametrize("body", [b"{}", b'{"auth": null}', b'{"auth": {"client_token": 5}}', b"<html>"])
def test_login_that_gives_no_token_is_unavailable(opened, body):
    with Scripted(lambda _request: reply(200, {}, body)) as server:
        login = AppRole("vault", mount="approle", role_id=Secret("r"))
        with pytest.raises(BackendUnavailableError, match=r"no token|malformed JSON"):
            opened(server.url(), login).request("GET", "/v1/x")


# --- refusals are not repeated -----------------------------------------------------------------------


def test_refused_login_is_backed_off_from_5_seconds_up_to_60(bao, proxy, kv, opened):
    clock, role = Clock(), bao.role(kv[1])
    session = opened(proxy.url(), approle(role, "wrong"), clock=clock)
    tries = []
    begun = clock.now
    while clock.now < begun + 300:
        before = logins(proxy, role)
        with pytest.raises(NotAuthenticatedError):
            session.request("GET", kv[2])
        if logins(proxy, role) > before:
            tries.append(clock.now - begun)
        clock.now += 1
    assert tries == [0, 5, 15, 35, 75, 135, 195, 255]


def test_dead_token_of_the_settings_is_not_tried_again_at_once(bao, proxy, kv, opened):
    clock, token = Clock(), bao.token(kv[1])
    session = opened(proxy.url(), StaticToken("vault", lambda: Secret(token)), clock=clock)
    bao.revoke(token)
    for _ in range(5):
        with pytest.raises(NotAuthenticatedError, match="not valid any more") as caught:
            session.request("GET", kv[2])
    assert "backend.vault.token" in caught.value.hint
    assert token not in shown(caught.value)
    asked = len(proxy.lines)
    assert asked == 2  # the question, and whether the token lives
    clock.now += 5
    with pytest.raises(NotAuthenticatedError):
        session.request("GET", kv[2])
    assert len(proxy.lines) == asked + 2


def test_no_answer_is_no_refusal(bao, proxy, kv, opened):
    role = bao.role(kv[1])
    session = opened(proxy.url(), approle(role))
    proxy.become("refuse")
    with pytest.raises(BackendUnavailableError):
        session.request("GET", kv[2])
    proxy.become("pass")
    assert session.request("GET", kv[2]).status == 200


def test_login_that_is_asked_to_wait_waits(bao, proxy, kv, opened):
    clock, role = Clock(), bao.role(kv[1])
    session = opened(proxy.url(), approle(role), clock=clock)
    proxy.answer(429, {"Retry-After": "7"}, b'{"errors":["quota"]}', times=1)
    for seconds in (0, 6.5):
        clock.now = 1000 + seconds
        with pytest.raises(RateLimitedError) as caught:
            session.request("GET", kv[2])
        assert caught.value.retry_after.total_seconds() == 7
    clock.now = 1007
    assert session.request("GET", kv[2]).status == 200


def test_replaced_secret_id_is_taken_at_once(bao, proxy, kv, opened):
    role = bao.role(kv[1])
    source = ["used-up"]
    login = AppRole(
        "vault", mount=role.mount, role_id=Secret(role.role_id), secret_id=lambda: Secret(source[-1])
    )
    session = opened(proxy.url(), login)
    source.append(role.secret_id())
    assert session.request("GET", kv[2]).status == 200


def test_source_that_is_gone_leaves_what_was_fetched(bao, proxy, kv, opened):
    role, given = bao.role(kv[1]), ["wrong"]

    def fetch():
        if given:
            return Secret(given.pop())
        raise SettingsError("the secret file is gone")

    login = AppRole("vault", mount=role.mount, role_id=Secret(role.role_id), secret_id=fetch)
    with pytest.raises(NotAuthenticatedError):
        opened(proxy.url(), login).request("GET", kv[2])


# --- a token that dies -------------------------------------------------------------------------------


def test_token_revoked_behind_our_back_is_replaced_and_the_question_asked_again(
    bao,
    proxy,
    kv,
    opened,
):
    role = bao.role(kv[1])
    session = opened(proxy.url(), approle(role))
    session.request("GET", kv[2])
    bao.revoke(session.standing()[0].reveal())
    before = len(proxy.lines)
    assert session.request("GET", kv[2]).status == 200
    assert proxy.lines[before:] == [
        f"GET {kv[2]}",
        "GET /v1/auth/token/lookup-self",
        LOGIN.format(role.mount),
        f"GET {kv[2]}",
    ]


def test_living_token_that_may_not_is_denied_without_a_login(bao, proxy, kv, opened):
    role = bao.role(kv[1])
    session = opened(proxy.url(), approle(role))
    for _ in range(3):
        assert session.request("GET", f"/v1/{kv[0]}/data/other").status == 403
    assert logins(proxy, role) == 1


def test_token_that_may_not_look_itself_up_is_not_taken_for_dead(bao, proxy, kv, opened):
    role = bao.role(kv[1], token_no_default_policy=True)
    session = opened(proxy.url(), approle(role))
    for _ in range(3):
        assert session.request("GET", f"/v1/{kv[0]}/data/other").status == 403
    assert logins(proxy, role) == 1
    assert session.look() is None


def test_token_good_for_few_uses_is_replaced_when_they_are_used(bao, proxy, kv, opened):
    role = bao.role(kv[1], token_num_uses=2)
    session = opened(proxy.url(), approle(role))
    assert [session.request("GET", kv[2]).status for _ in range(7)] == [200] * 7


def test_token_past_its_life_is_replaced_before_it_is_used(bao, proxy, kv, opened):
    clock, role = Clock(), bao.role(kv[1], token_ttl="1h")
    session = opened(proxy.url(), approle(role), clock=clock)
    session.request("GET", kv[2])
    clock.now += 3601
    session.request("GET", kv[2])
    assert proxy.lines == [LOGIN.format(role.mount), f"GET {kv[2]}"] * 2


# --- files of tokens ---------------------------------------------------------------------------------


def write(path, text, mode=0o600):
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)


def test_token_file_is_read_again_when_it_changes(bao, proxy, kv, opened, tmp_path):
    file = tmp_path / "token"
    first, second = bao.token(kv[1]), bao.token(kv[1])
    write(file, f"{first}\n")
    session = opened(proxy.url(), TokenFile("vault", file))
    assert session.request("GET", kv[2]).status == 200
    bao.revoke(first)
    write(file, second)
    assert session.request("GET", kv[2]).status == 200
    assert proxy.lines == [f"GET {kv[2]}"] * 2


def test_refused_token_of_a_file_waits_for_no_pause_once_the_file_changed(
    bao,
    proxy,
    kv,
    opened,
    tmp_path,
):
    file = tmp_path / "token"
    write(file, "s.no-such-token")
    session = opened(proxy.url(), TokenFile("vault", file), clock=Clock())
    with pytest.raises(NotAuthenticatedError) as caught:
        session.request("GET", kv[2])
    assert "token_path" in caught.value.hint
    assert "no-such-token" not in shown(caught.value)
    write(file, bao.token(kv[1]))
    assert session.request("GET", kv[2]).status == 200


def test_token_serves_on_while_its_file_is_away_or_half_written(bao, proxy, kv, opened, tmp_path):
    file = tmp_path / "token"
    write(file, bao.token(kv[1]))
    session = opened(proxy.url(), TokenFile("vault", file))
    session.request("GET", kv[2])
    write(file, "")
    assert session.request("GET", kv[2]).status == 200
    file.unlink()
    assert session.request("GET", kv[2]).status == 200


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("s.x", 0o644, "read by everybody"),
        ("s.x", 0o660, "changed by others"),
        ("", 0o600, "is empty"),
        ("two words", 0o600, "what no token can"),
        ("s.\n.x", 0o600, "what no token can"),
        ("ünïcöde", 0o600, "what no token can"),
    ],
)
def test_token_file_that_cannot_be_trusted_is_refused(kv, opened, tmp_path, text, mode, message):
    file = tmp_path / "token"
    write(file, text, mode)
    with pytest.raises(NotAuthenticatedError, match=message):
        opened("http://127.0.0.1:9", TokenFile("vault", file)).request("GET", kv[2])


def test_missing_token_file_is_not_authenticated(opened, tmp_path):
    with pytest.raises(NotAuthenticatedError, match="cannot be read"):
        opened("http://127.0.0.1:9", TokenFile("vault", tmp_path / "none")).request("GET", "/v1/x")


def test_fifo_in_place_of_a_token_file_holds_nobody(opened, tmp_path):
    os.mkfifo(tmp_path / "token")
    with pytest.raises(NotAuthenticatedError, match="not a regular file"):
        opened("http://127.0.0.1:9", TokenFile("vault", tmp_path / "token")).request("GET", "/v1/x")


# --- wrapped secret ids ------------------------------------------------------------------------------


def wrapped(role, source):
    return AppRole(
        "vault", mount=role.mount, role_id=Secret(role.role_id), wrapped=lambda: Secret(source[-1])
    )


def test_wrapped_secret_id_is_unwrapped_once_for_all_logins(bao, proxy, kv, opened):
    role = bao.role(kv[1])
    session = opened(proxy.url(), wrapped(role, [role.wrapped()]))
    session.request("GET", kv[2])
    bao.revoke(session.standing()[0].reveal())
    assert session.request("GET", kv[2]).status == 200
    assert proxy.lines.count("POST /v1/sys/wrapping/unwrap") == 1
    assert logins(proxy, role) == 2


def test_used_wrapping_token_is_an_alarm(bao, proxy, kv, opened):
    role = bao.role(kv[1])
    token = role.wrapped()
    bao.api("POST", "sys/wrapping/unwrap", {}, token=token)
    with pytest.raises(NotAuthenticatedError, match="it was used, has expired") as caught:
        opened(proxy.url(), wrapped(role, [token])).request("GET", kv[2])
    assert "somebody has your secret_id" in caught.value.hint
    assert token not in shown(caught.value)
    assert "POST /v1/sys/wrapping/unwrap" not in proxy.lines


def test_wrapping_token_of_something_else_is_an_alarm_and_is_not_used(bao, proxy, kv, opened):
    role, other = bao.role(kv[1]), bao.role(kv[1])
    planted = bao.api("POST", "sys/wrapping/wrap", {"secret_id": "planted"}, wrap="60s")["wrap_info"]["token"]
    for token in (planted, other.wrapped()):
        with pytest.raises(NotAuthenticatedError, match="wraps something else"):
            opened(proxy.url(), wrapped(role, [token])).request("GET", kv[2])
    assert "POST /v1/sys/wrapping/unwrap" not in proxy.lines


def test_fresh_wrapping_token_replaces_a_refused_secret_id(bao, proxy, kv, opened):
    role = bao.role(kv[1], secret_id_num_uses=1)
    source = [role.wrapped()]
    session = opened(proxy.url(), wrapped(role, source))
    session.request("GET", kv[2])
    bao.revoke(session.standing()[0].reveal())
    source.append(role.wrapped())
    assert session.request("GET", kv[2]).status == 200


# --- renewal -----------------------------------------------------------------------------------------


def reads_until(session, path, is_so, what):
    """Read all the time, as a busy process does, until something is so; every read must succeed."""

    def read_and_look():
        assert session.request("GET", path).status == 200
        return is_so()

    until(read_and_look, what=what, seconds=20)


def renewals(proxy):
    return proxy.lines.count("POST /v1/auth/token/renew-self")


def test_token_is_renewed_at_two_thirds_of_its_life_and_lives_on(bao, proxy, kv, opened):
    role = bao.role(kv[1], token_ttl="2s", token_max_ttl="1h")
    session = opened(proxy.url(), approle(role))
    reads_until(session, kv[2], lambda: renewals(proxy) == 3, "the third renewal")
    assert logins(proxy, role) == 1
    assert "GET /v1/auth/token/lookup-self" not in proxy.lines  # no read met a dead token


def test_renewal_is_due_at_about_two_thirds_and_not_for_all_at_once(bao, proxy, kv, opened):
    clock, role = Clock(), bao.role(kv[1], token_ttl="1000s", token_max_ttl="10h")
    due = set()
    for _ in range(5):
        session = opened(proxy.url(), approle(role), clock=clock)
        session.request("GET", kv[2])
        due.add(session._tokens.act())
    assert len(due) == 5
    assert all(620 <= seconds <= 700 for seconds in due)
    assert renewals(proxy) == 0
    clock.now += 701
    assert session._tokens.act() == 0.0
    assert renewals(proxy) == 1
    assert 620 <= session._tokens.act() <= 700


def test_token_is_renewed_while_nobody_reads(bao, proxy, kv, opened):
    role = bao.role(kv[1], token_ttl="2s", token_max_ttl="1h")
    session = opened(proxy.url(), approle(role))
    for _ in range(2):  # the second starts the thread: a process that reads once needs none
        session.request("GET", kv[2])
    until(lambda: renewals(proxy) == 3, what="three renewals")
    assert session.request("GET", kv[2]).status == 200
    assert logins(proxy, role) == 1


def test_token_near_its_longest_life_is_replaced_before_it_ends(bao, proxy, kv, opened):
    role = bao.role(kv[1], token_ttl="2s", token_max_ttl="2s")
    session = opened(proxy.url(), approle(role))
    reads_until(session, kv[2], lambda: logins(proxy, role) == 3, "two more logins")
    assert "GET /v1/auth/token/lookup-self" not in proxy.lines  # no read met a dead token


def test_batch_token_is_replaced_because_it_cannot_be_renewed(bao, proxy, kv, opened):
    role = bao.role(kv[1], token_ttl="2s", token_type="batch")  # whole seconds: of one hardly any is left
    session = opened(proxy.url(), approle(role))
    reads_until(session, kv[2], lambda: logins(proxy, role) == 3, "two more logins")
    assert renewals(proxy) == 0


def test_token_of_the_settings_is_looked_up_late_and_renewed(bao, proxy, kv, opened):
    token = bao.token(kv[1], ttl="2s")
    session = opened(proxy.url(), StaticToken("vault", lambda: Secret(token)), look_after=0.2)
    reads_until(session, kv[2], lambda: renewals(proxy) == 2, "the second renewal")
    assert proxy.lines.count("GET /v1/auth/token/lookup-self") == 1


def test_renewal_that_fails_answers_no_refused_question(bao, kv, opened):
    """A read that is refused while a renewal hangs is denied, not told that the renewal failed."""
    renewing, refused, looked = threading.Event(), threading.Event(), threading.Event()

    def say(request):
        line = request.split(b" HTTP", 1)[0]
        if line.endswith(b"renew-self"):
            renewing.set()
            assert refused.wait(10)
            looked.wait(0.3)  # the refused one comes to wait for this
            return reply(503, {}, b'{"errors":["down"]}')
        if line.endswith(b"login"):
            auth = b'{"client_token":"t","lease_duration":60,"renewable":true}'
            return reply(200, {}, b'{"request_id":"x","auth":' + auth + b"}")
        if line.endswith(b"lookup-self"):
            looked.set()
            return reply(200, {}, b'{"request_id":"x","data":{"ttl":9}}')
        if line.endswith(b"denied"):
            refused.set()
            return reply(403, {}, b'{"errors":["1 error occurred: permission denied"]}')
        return reply(200, {}, b'{"request_id":"x"}')

    with Scripted(say) as server:
        clock = Clock()
        session = opened(server.url(), AppRole("vault", mount="approle", role_id=Secret("r")), clock=clock)
        assert session.request("GET", "/v1/open").status == 200
        clock.now += 45
        assert session.request("GET", "/v1/open").status == 200  # starts the thread that renews
        assert renewing.wait(10)
        assert session.request("GET", "/v1/denied").status == 403


@pytest.mark.parametrize("seconds", [10**12, 10**400])
def test_token_that_lives_longer_than_any_clock_is_a_token(opened, seconds):
    bodies = {
        "auth": {"client_token": "t", "lease_duration": seconds, "renewable": True},
        "data": {"ttl": seconds},
        "request_id": "x",
    }
    with Scripted(lambda _: reply(200, {}, json.dumps(bodies).encode())) as server:
        session = opened(server.url(), AppRole("vault", mount="approle", role_id=Secret("r")))
        assert session.look().seconds_left == 10 * 365 * 86_400
        assert session.look() is not None  # and whoever waits to renew it can


@pytest.mark.parametrize("mode", ["hang", "drop", "half", "refuse"])
def test_frames_of_a_login_that_fails_show_no_secret(bao, proxy, kv, mode):
    role = bao.role(kv[1])
    secret_id, wrapped = role.secret_id(), role.wrapped()
    transport = Transport(TransportOptions(place="vault", url=proxy.url(), timeout=timedelta(seconds=0.3)))
    plain = VaultSession(approle(role, secret_id), transport, place="vault")
    hidden = AppRole(
        "vault", mount=role.mount, role_id=Secret(role.role_id), wrapped=partial(Secret, wrapped)
    )
    proxy.become(mode)
    for session in (plain, VaultSession(hidden, transport, place="vault")):
        shown = frames(partial(session.request, "GET", kv[2]))
        assert not [word for word in (secret_id, wrapped, role.role_id) if word in shown]
    transport.close()


def frames(ask):
    """Give the frames of the error of *ask*, below this one, with what their names stand for."""
    with pytest.raises(BackendUnavailableError) as caught:
        ask()
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_child_that_closes_waits_for_no_thread_of_its_parent(bao, proxy, kv, opened):
    session = opened(proxy.url(), approle(bao.role(kv[1])))
    session.request("GET", kv[2])
    with session._tokens._desk().wake._cond:  # as its thread has it for a moment, and at a fork for ever
        child = FORK.Process(target=session.close)
        child.start()
    child.join(10)
    assert child.exitcode == 0


def test_failed_renewal_fails_no_read_and_is_told_once(bao, kv, opened, caplog):
    role = bao.role(kv[1], token_ttl="3s", token_max_ttl="1h")
    refused = []

    def say(request):
        line = request.split(b"\r\n", 1)[0].decode()
        if "renew-self" in line:
            refused.append(line)
            return reply(500, {}, b'{"errors":["internal error"]}')
        headers = {"Content-Type": "application/json"}
        if "/login" in line:
            auth = {"client_token": "s.fake", "lease_duration": 3, "renewable": True}
            return reply(200, headers, json.dumps({"auth": auth}).encode())
        return reply(200, headers, b'{"data":{}}')

    with Scripted(say) as server:
        session = opened(server.url(), approle(role))
        reads_until(session, "/v1/x", lambda: len(refused) >= 3, "three tries to renew")
    told = [record.getMessage() for record in caplog.records if record.name == "strongroom.vault"]
    assert told == ["the token of vault could not be renewed (backend_unavailable); it serves while it lives"]
    assert "s.fake" not in caplog.text


def test_dropped_session_ends_its_thread(bao, proxy, kv):
    role = bao.role(kv[1], token_ttl="1h")
    transport = Transport(TransportOptions(place="vault", url=proxy.url()))
    session = VaultSession(approle(role), transport, place="vault")
    for _ in range(2):
        session.request("GET", kv[2])
    keeper = next(iter(session._tokens._desks.values())).keeper
    assert keeper.is_alive()
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    keeper.join(10)
    assert not keeper.is_alive()
    transport.close()


def test_closed_session_ends_its_thread(bao, proxy, kv, opened):
    session = opened(proxy.url(), approle(bao.role(kv[1], token_ttl="1h")))
    for _ in range(2):
        session.request("GET", kv[2])
    keeper = next(iter(session._tokens._desks.values())).keeper
    session.close()
    keeper.join(10)
    assert not keeper.is_alive()


# --- processes ---------------------------------------------------------------------------------------


def ask_in_child(session, path, pipe):
    statuses = [session.request("GET", path).status for _ in range(2)]
    keeper = session._tokens._desks[os.getpid()].keeper
    pipe.send((statuses, keeper is not None and keeper.is_alive()))
    pipe.close()


def test_forked_child_has_the_token_and_a_thread_of_its_own(bao, proxy, kv, opened):
    role = bao.role(kv[1], token_ttl="1h")
    session = opened(proxy.url(), approle(role))
    for _ in range(2):
        session.request("GET", kv[2])
    mine, theirs = FORK.Pipe()
    child = FORK.Process(target=ask_in_child, args=(session, kv[2], theirs))
    child.start()
    assert mine.poll(20)
    assert mine.recv() == ([200, 200], True)
    child.join(10)
    assert session.request("GET", kv[2]).status == 200
    assert logins(proxy, role) == 1


def test_child_forked_during_a_login_logs_in_itself(bao, proxy, kv, opened):
    role = bao.role(kv[1], token_ttl="1h")
    session = opened(proxy.url(), approle(role))
    proxy.become("hang")
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(session.request, "GET", kv[2])
        until(lambda: logins(proxy, role) == 1, what="the login to be under way")
        mine, theirs = FORK.Pipe()
        child = FORK.Process(target=ask_in_child, args=(session, kv[2], theirs))
        child.start()
        until(lambda: logins(proxy, role) == 2, what="the child's own login")
        child.kill()
        child.join(10)
        proxy.cut()
        proxy.become("pass")
        with pytest.raises(BackendUnavailableError):
            stuck.result(20)
    mine.close()
    assert session.request("GET", kv[2]).status == 200


# --- what the server says of itself ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (412, "caught up"),
        (472, "disaster recovery"),
        (473, "performance standby"),
        (500, "status 500"),
        (501, "not initialised"),
        (502, "status 502"),
        (503, "sealed or down"),
    ],
)
def test_status_that_says_nothing_of_the_question_is_unavailable(proxy, opened, status, words):
    proxy.answer(status, {}, b'{"errors":["canary-words"]}')
    session = opened(proxy.url(), StaticToken("vault", lambda: Secret("s.x")))
    with pytest.raises(BackendUnavailableError, match=words) as caught:
        session.request("GET", "/v1/x")
    assert "canary-words" not in shown(caught.value)


def test_too_many_requests_is_rate_limited_and_says_how_long(proxy, opened):
    session = opened(proxy.url(), StaticToken("vault", lambda: Secret("s.x")))
    for given, seconds in (("12", 12), ("soon", None), ("999999999", 3600), ("-1", None)):
        proxy.answer(429, {"Retry-After": given})
        with pytest.raises(RateLimitedError) as caught:
            session.request("GET", "/v1/x")
        found = caught.value.retry_after
        assert (found if found is None else found.total_seconds()) == seconds


def test_namespace_goes_with_the_login_and_with_every_question(bao, proxy, opened):
    bao.api("POST", "sys/namespaces/team-ns", {})
    mount = bao.mount(namespace="team-ns")
    bao.put(mount, "x", {"value": "here"}, namespace="team-ns")
    bao.api("POST", "sys/auth/approle", {"type": "approle"}, namespace="team-ns")
    policy = bao.policy(f'path "{mount}/data/x" {{ capabilities = ["read"] }}', namespace="team-ns")
    bao.api("POST", "auth/approle/role/r", {"token_policies": policy}, namespace="team-ns")
    role_id = bao.api("GET", "auth/approle/role/r/role-id", namespace="team-ns")["data"]["role_id"]
    made = bao.api("POST", "auth/approle/role/r/secret-id", {}, namespace="team-ns", wrap="60s")
    login = AppRole(
        "vault",
        mount="approle",
        role_id=Secret(role_id),
        wrapped=lambda: Secret(made["wrap_info"]["token"]),
    )
    session = opened(proxy.url(), login, namespace="team-ns")
    assert session.request("GET", f"/v1/{mount}/data/x").status == 200


def test_session_and_logins_print_nothing_secret(bao, opened, kv):
    role = bao.role(kv[1])
    secret_id = role.secret_id()
    login = approle(role, secret_id)
    session = opened(bao.url, login)
    session.request("GET", kv[2])
    token = session.standing()[0].reveal()
    held = session._tokens._held
    text = repr([session, login, held, held.grant, vars(login), vars(session), vars(session._tokens)])
    assert not any(secret in text for secret in (secret_id, token, role.role_id))
