"""Credentials that are lent, by a real OpenBao whose database engine makes roles in a real PostgreSQL."""

import gc
import json
import logging
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from parts.databases import wait_for
from parts.openbao_kv import Lending
from parts.proxy import Proxy, Scripted, reply
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.model.secret import Secret
from strongroom.vendors.vault import VaultSession
from strongroom.vendors.vault_lease import Leases
from strongroom.vendors.vault_options import VaultAccess

FORK = multiprocessing.get_context("fork")
HOUR = 3600


class Timer:
    """Seconds that only go up, when they are told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def lending(bao):
    return Lending(bao)


@pytest.fixture
def proxy(bao):
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield proxy


@pytest.fixture
def timer():
    return Timer()


@pytest.fixture
def opened(bao, proxy, timer):
    """Make `Leases` through the proxy, as root or with a token, and close them at the end."""
    made = []

    def make(token=None, *, url=None, clock=timer, **more):
        more |= {} if "auth_type" in more else {"token": Secret(token or bao.root)}
        access = VaultAccess(url=url or proxy.url(), **more)
        session = VaultSession.of("vault", access)
        leases = Leases(session, place="vault", clock=clock)
        made.append((leases, session))
        return leases

    yield make
    proxy.become("pass")
    for leases, session in made:
        leases.close()
        session.close()


def plain(leased):
    return leased.login.reveal(), leased.password.reveal()


def asked(proxy, what):
    return [line for line in proxy.lines if what in line]


def test_login_and_password_are_of_one_lease_and_open_the_database(lending, opened, proxy):
    path = lending.role(default_ttl="1h", max_ttl="24h")
    leased = opened().credentials(path)
    assert lending.can_log_in(*plain(leased))
    assert not lending.can_log_in(leased.login.reveal(), "another")
    assert len(asked(proxy, path)) == 1
    assert plain(leased)[0] not in repr(leased)
    assert plain(leased)[1] not in repr(leased)


def test_lease_is_kept_and_nothing_is_asked_until_two_thirds_of_its_life(lending, opened, proxy, timer):
    leases, path = opened(), lending.role(default_ttl="1h", max_ttl="24h")
    first = leases.credentials(path)
    assert timedelta(seconds=HOUR * 0.66) < first.lifetime <= timedelta(seconds=HOUR * 2 / 3)
    before = proxy.requests
    timer.now += HOUR * 0.66
    again = leases.credentials(path)
    assert (plain(again), again.mark) == (plain(first), first.mark)
    assert again.lifetime < timedelta(seconds=HOUR * 0.01)
    assert proxy.requests == before


def test_read_past_two_thirds_renews_the_same_lease(lending, opened, proxy, timer):
    leases, path = opened(), lending.role(default_ttl="1h", max_ttl="24h")
    first = leases.credentials(path)
    timer.now += HOUR * 0.7
    again = leases.credentials(path)
    assert (plain(again), again.mark) == (plain(first), first.mark)
    assert again.lifetime > timedelta(seconds=HOUR * 0.6)
    assert asked(proxy, "leases/renew") == ["POST /v1/sys/leases/renew"]
    assert len(asked(proxy, path)) == 1


def test_lease_past_its_longest_life_is_replaced_while_it_lives(lending, opened):
    import time  # noqa: PLC0415 -- the server's own clock counts here

    leases = opened(clock=time.monotonic)
    path = lending.role(default_ttl="2s", max_ttl="3s")
    first = leases.credentials(path)
    seen = []

    def is_another():
        found = leases.credentials(path)
        if plain(found) != plain(first):
            seen.append((found, lending.can_log_in(*plain(found))))
        return bool(seen)

    wait_for(is_another, seconds=10)
    ((found, can_log_in),) = seen
    assert can_log_in
    assert found.mark != first.mark


def test_close_revokes_every_lease_that_stands(lending, opened):
    leases, path = opened(), lending.role(default_ttl="1h", max_ttl="1h")
    other = lending.role(default_ttl="1h")
    first, second = leases.credentials(path), leases.credentials(other)
    logins = {plain(first)[0], plain(second)[0]}
    assert logins <= lending.logins()
    leases.close()
    assert not logins & lending.logins()
    leases.close()
    with pytest.raises(BackendUnavailableError, match="is closed"):
        leases.credentials(path)


def test_replaced_lease_is_revoked_at_the_end_too(lending, bao, opened, timer):
    path = lending.role(default_ttl="1h")
    rules = f"""path "{path}" {{ capabilities = ["read"] }}
    path "sys/leases/renew" {{ capabilities = ["deny"] }}
    path "sys/leases/revoke" {{ capabilities = ["update"] }}"""
    leases = opened(bao.token(bao.policy(rules)))
    first = leases.credentials(path)
    timer.now += HOUR * 0.7
    second = leases.credentials(path)  # may not be renewed, so it is another
    assert plain(first) != plain(second)
    logins = {plain(first)[0], plain(second)[0]}
    assert logins <= lending.logins()
    leases.close()
    assert not logins & lending.logins()


def test_revoked_lease_is_noticed_when_it_is_renewed(lending, bao, opened, timer):
    leases, path = opened(), lending.role(default_ttl="1h")
    first = leases.credentials(path)
    bao.api("POST", f"sys/leases/revoke-prefix/{path}")
    timer.now += HOUR * 0.7
    second = leases.credentials(path)
    assert plain(first) != plain(second)
    assert lending.can_log_in(*plain(second))


def test_threads_share_one_lease(lending, opened, proxy):
    leases, path = opened(), lending.role(default_ttl="1h")
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: plain(leases.credentials(path)), range(64)))
    assert len(found) == 1
    assert len(asked(proxy, path)) == 1


def test_credentials_serve_while_they_live_where_renewing_fails(lending, opened, proxy, timer, caplog):
    leases, path = opened(), lending.role(default_ttl="1h")
    first = leases.credentials(path)
    timer.now += HOUR * 0.7
    proxy.become("drop")
    with caplog.at_level(logging.WARNING, "strongroom.vault"):
        again = leases.credentials(path)
    assert plain(again) == plain(first)
    assert timedelta(0) < again.lifetime <= timedelta(seconds=HOUR * 0.3)
    assert "could not be renewed (backend_unavailable)" in caplog.text
    before = proxy.requests
    leases.credentials(path)
    assert proxy.requests == before  # the server is left alone for a while
    timer.now += HOUR * 0.31
    with pytest.raises(BackendUnavailableError):
        leases.credentials(path)


def test_another_token_means_another_lease(lending, bao, proxy, timer, opened):
    path = lending.role(default_ttl="1h")
    role = bao.role(bao.policy(f'path "{path}" {{ capabilities = ["read"] }}'))
    leases = opened(
        auth_type="approle", auth_mount_point=role.mount, role_id=role.role_id, secret_id=role_secret(role)
    )
    first = leases.credentials(path)
    bao.revoke(leases._session.standing()[0].reveal())  # takes its leases with it
    wait_for(lambda: plain(first)[0] not in lending.logins())
    leases._session.look()  # any question after it logs in again
    second = leases.credentials(path)
    assert plain(first) != plain(second)
    assert lending.can_log_in(*plain(second))


def role_secret(role):
    return Secret(role.secret_id())


def test_lease_is_kept_no_longer_than_its_token_lives(lending, bao, timer, opened):
    path = lending.role(default_ttl="10h")
    policy = bao.policy(f'path "{path}" {{ capabilities = ["read"] }}')
    role = bao.role(policy, token_ttl="60s")
    leases = opened(
        auth_type="approle", auth_mount_point=role.mount, role_id=role.role_id, secret_id=role_secret(role)
    )
    assert timedelta(0) < leases.credentials(path).lifetime <= timedelta(seconds=60)


def test_forked_child_borrows_for_itself_and_leaves_its_parents_lease_alone(lending, opened):
    leases, path = opened(), lending.role(default_ttl="1h")
    mine = plain(leases.credentials(path))
    here, there = FORK.Pipe()

    def child():
        theirs = plain(leases.credentials(path))
        leases.close()
        there.send((theirs != mine, theirs[0] in lending.logins()))

    process = FORK.Process(target=child)
    process.start()
    assert here.poll(30)
    assert here.recv() == (True, False)
    process.join()
    assert lending.can_log_in(*mine)


# --- what is refused ---------------------------------------------------------------------------------


def test_refusals_say_which_of_them_it_is(lending, bao, opened):
    path = lending.role()
    denied = opened(bao.token("default"))
    with pytest.raises(AccessDeniedError) as caught:
        denied.credentials(path)
    assert caught.value.reason == f"read on {path}"
    assert f'path "{path}" {{ capabilities = ["read"] }}' in caught.value.hint
    root = opened()
    with pytest.raises(BackendConfigError, match="nothing is mounted at nowhere/creds/x"):
        root.credentials("nowhere/creds/x")
    with pytest.raises(BackendConfigError, match="there is no role at"):
        root.credentials(f"{lending.mount}/creds/none")
    mount = bao.mount(1)
    bao.put(mount, "note", {"text": "x"}, version=1)
    with pytest.raises(BackendConfigError, match="gives no username and password"):
        root.credentials(f"{mount}/note")


def test_leases_that_may_not_be_revoked_are_told_of_without_their_ids(lending, bao, opened, caplog):
    path = lending.role(default_ttl="1h")
    leases = opened(bao.token(bao.policy(f'path "{path}" {{ capabilities = ["read"] }}')))
    login, password = plain(leases.credentials(path))
    lease_id = leases._line(path).lease.id.reveal()
    with caplog.at_level(logging.WARNING, "strongroom.vault"):
        leases.close()
    assert "1 lease of vault could not be revoked (access_denied)" in caplog.text
    assert 'path "sys/leases/revoke"' in caplog.text
    told = caplog.text + repr(leases) + repr(vars(leases))
    assert not [secret for secret in (lease_id, login, password) if secret in told]
    assert login in lending.logins()  # until it ends by itself


def test_close_does_not_wait_for_a_server_that_says_nothing(lending, opened, proxy, timer, caplog):
    leases = opened(timeout=timedelta(seconds=0.2))
    leases.credentials(lending.role(default_ttl="1h"))
    proxy.become("hang")
    leases.close()
    assert "could not be revoked (backend_unavailable)" in caplog.text
    gc.collect()


def test_what_is_withdrawn_during_its_renewal_is_revoked_and_something_else_is_lent(
    lending, opened, proxy, timer
):
    leases, path = opened(), lending.role(default_ttl="1h", max_ttl="24h")
    login, _ = plain(leases.credentials(path))
    timer.now += 0.7 * HOUR
    proxy._stall_seconds = 0.5
    proxy.become("stall")
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(leases.credentials, path)
        wait_for(lambda: asked(proxy, "leases/renew"))
        revoke = leases.withdraw(path)
        assert plain(renewing.result())[0] == login
    proxy.become("pass")
    other, _ = plain(leases.credentials(path))
    assert other != login
    assert revoke() is None
    wait_for(lambda: login not in lending.logins())
    assert other in lending.logins()


def test_what_could_not_be_revoked_is_when_it_is_tried_again_or_at_the_end(lending, opened, proxy):
    leases, path = opened(timeout=timedelta(seconds=0.2)), lending.role(default_ttl="1h")
    assert leases.withdraw(path) is None
    first, _ = plain(leases.credentials(path))
    revoke = leases.withdraw(path)
    proxy.become("refuse")
    assert isinstance(revoke(), BackendUnavailableError)
    proxy.become("pass")
    wait_for(lambda: revoke() is None)
    wait_for(lambda: first not in lending.logins())
    second, _ = plain(leases.credentials(path))
    leases.withdraw(path)  # and never revoked
    leases.close()
    wait_for(lambda: second not in lending.logins())


def test_what_is_lent_while_it_is_closed_is_revoked_at_once(lending, bao, opened, proxy):
    leases, path = opened(), lending.role(default_ttl="1h")
    leases._session.look()
    before = lending.logins()
    proxy.become("stall")  # the server has lent, and its answer is on the way
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(leases.credentials, path)
        wait_for(lambda: lending.logins() > before)
        leases.close()
        proxy.become("pass")
        with pytest.raises(BackendUnavailableError, match="is closed"):
            asking.result(20)
    assert lending.logins() == before


# --- other engines -----------------------------------------------------------------------------------


def test_account_that_the_server_rotates_has_no_lease(lending, opened, proxy, timer):
    leases, path = opened(), lending.static("steady")
    first, again = leases.credentials(path), leases.credentials(path)
    assert lending.can_log_in(*plain(first))
    assert first.mark == again.mark
    assert timedelta(minutes=59) < first.lifetime <= timedelta(hours=1)
    assert len(asked(proxy, path)) == 2  # nothing of it is kept
    lending.bao.api("POST", path.replace("static-creds", "rotate-role"))
    assert leases.credentials(path).mark != first.mark


def test_keys_of_aws_come_with_their_session_token(opened):
    answer = {
        "lease_id": "aws/sts/deploy/1",
        "lease_duration": 900,
        "renewable": False,
        "data": {"access_key": "AKIA", "secret_key": "s", "security_token": "t", "ttl": 900},
    }

    def say(request):
        return reply(200 if b"/aws/" in request else 204, {}, json.dumps(answer).encode())

    with Scripted(say) as server:
        leases = opened(url=server.url())
        leased = leases.credentials("aws/sts/deploy")
        leases.close()
    assert (*plain(leased), leased.token.reveal()) == ("AKIA", "s", "t")
    assert leased.lifetime == timedelta(seconds=600)
