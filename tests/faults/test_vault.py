"""
Everything that goes wrong between us and Vault is one clear error, and never an absence.

Each fault is a real one (a server that is sealed, a token that was revoked) or made on the wire. Each is
looked at through a chain whose second backend holds another value and must not be asked.
"""

import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from parts.certificates import Authority
from parts.openbao import until
from parts.proxy import Proxy, Scripted, reply
from strongroom.backends.vault import Vault, VaultOptions
from strongroom.chain import Chain, Link, Outcome, outcome_of
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    RateLimitedError,
    StrongroomError,
)
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY
from strongroom.testing.fakes import Memory

REGION = Ref("variable", "region")
NOBODY = Ref("variable", "nobody_wrote_this")


def clock():
    return datetime.now(timezone.utc)


@pytest.fixture
def proxy(bao):
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield proxy


@pytest.fixture
def mount(bao):
    mount = bao.mount()
    bao.put(mount, "variables/region", {"value": CANARY})
    return mount


@pytest.fixture
def policy(bao, mount):
    return bao.policy(f'path "{mount}/data/variables/*" {{ capabilities = ["read"] }}')


@pytest.fixture
def opened():
    made = []

    def make(url, **options):
        backend = Vault("vault", VaultOptions(url=url, timeout=timedelta(seconds=2), **options), clock)
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()


def by_role(role, secret_id=None):
    return {
        "auth_type": "approle",
        "auth_mount_point": role.mount,
        "role_id": role.role_id,
        "secret_id": Secret(secret_id or role.secret_id()),
    }


def trouble(backend, ref=REGION, error=StrongroomError, outcome=None, **link):
    """Read through a chain, see that the second backend is not asked, and give the one error."""
    below = Memory("below", {ref: "an older value"})
    options = {"timeout": timedelta(seconds=20), "on_unavailable": "stop"} | link
    chain = Chain(
        [Link(backend=backend, **options), Link(backend=below)], clock=clock, deadline=timedelta(60)
    )
    with pytest.raises(error) as caught:
        chain.read(ref)
    assert below.calls == []
    assert outcome is None or outcome_of(caught.value) is outcome
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert CANARY not in shown
    return caught.value


# --- on the wire -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["refuse", "hang", "drip", "half", "reset", "drop"])
def test_server_that_does_not_answer_whole_is_unavailable(bao, proxy, mount, policy, opened, mode):
    backend = opened(proxy.url(), token=Secret(bao.token(policy)), mount_point=mount)
    assert backend.read(REGION) is not None
    proxy.become(mode)
    trouble(backend, error=BackendUnavailableError, outcome=Outcome.UNAVAILABLE)
    proxy.become("pass")


@pytest.mark.parametrize("mode", ["refuse", "hang", "half", "reset"])
def test_server_that_does_not_answer_a_login_whole_is_unavailable(bao, proxy, mount, policy, opened, mode):
    backend = opened(proxy.url(), mount_point=mount, **by_role(bao.role(policy)))
    proxy.become(mode)
    trouble(backend, error=BackendUnavailableError, outcome=Outcome.UNAVAILABLE)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((429, {"Retry-After": "3"}, b'{"errors":["quota"]}'), RateLimitedError, "more often than it allows"),
        ((500, {}, b'{"errors":["x"]}'), BackendUnavailableError, "status 500"),
        ((502, {}, b"<html>bad gateway</html>"), BackendUnavailableError, "status 502"),
        ((503, {}, b'{"errors":["Vault is sealed"]}'), BackendUnavailableError, "is sealed"),
        ((473, {}, b""), BackendUnavailableError, "standby"),
        ((501, {}, b""), BackendUnavailableError, "not initialised"),
        ((307, {"Location": "https://elsewhere.example/"}, b""), BackendUnavailableError, "redirect"),
        ((200, {}, b'{"data": {"data": {"value": "x"}'), BackendUnavailableError, "malformed JSON"),
        ((200, {}, b"<html>login</html>"), BackendUnavailableError, "malformed JSON"),
        ((200, {}, b""), BackendUnavailableError, "malformed JSON"),
        ((200, {}, b'{"data": []}'), BackendUnavailableError, "another shape"),
        ((200, {}, b"[]"), BackendUnavailableError, "another shape"),
        ((204, {}, b""), BackendUnavailableError, "status 204"),
        ((400, {}, b'{"errors":["x"]}'), BackendUnavailableError, "status 400"),
        ((405, {}, b'{"errors":["x"]}'), BackendUnavailableError, "status 405"),
        ((404, {}, b"{}"), BackendUnavailableError, "another shape"),
        (
            (404, {}, b'{"message":"no Route matched with those values"}'),
            BackendUnavailableError,
            "another shape",
        ),
        ((404, {}, b'{"errors":[{"status":"404"}]}'), BackendUnavailableError, "another shape"),
        ((404, {}, b'{"errors":["page not found"]}'), BackendUnavailableError, "another shape"),
        ((410, {}, b"gone"), BackendUnavailableError, "another shape"),
    ],
)
def test_answer_that_is_none_is_one_error(proxy, mount, opened, answer, error, message):
    backend = opened(proxy.url(), token=Secret("root"), mount_point=mount)
    backend.read(REGION)
    proxy.answer(*answer)
    found = trouble(backend, error=error, outcome=Outcome.UNAVAILABLE)
    assert message in str(found)
    proxy.become("pass")
    assert backend.read(REGION).secret.reveal() == CANARY


@pytest.mark.parametrize(
    "body", [b"<html>Forbidden</html>", b"RBAC: access denied", b"", b'{"message":"no"}']
)
def test_refusal_on_the_way_is_denied_and_costs_neither_token_nor_login(
    bao, proxy, mount, policy, opened, body
):
    role = bao.role(policy)
    backend = opened(proxy.url(), mount_point=mount, **by_role(role))
    backend.read(REGION)
    proxy.answer(403, {}, body)
    found = trouble(backend, error=AccessDeniedError, outcome=Outcome.DENIED)
    assert "before the backend vault" in str(found)
    assert "proxy" in found.hint
    proxy.become("pass")
    assert backend.read(REGION).secret.reveal() == CANARY
    assert proxy.lines.count(f"POST /v1/auth/{role.mount}/login") == 1


def test_wrapping_token_that_nobody_looked_at_is_no_alarm(bao, proxy, mount, policy, opened):
    role = bao.role(policy)
    options = by_role(role) | {"secret_id": None, "secret_id_wrapped": Secret(role.wrapped())}
    backend = opened(proxy.url(), mount_point=mount, **options)
    proxy.answer(403, {}, b"<html>Forbidden</html>", times=1)
    trouble(backend, error=AccessDeniedError, outcome=Outcome.DENIED)
    backend._session._tokens._pause.end()  # as after it
    assert backend.read(REGION).secret.reveal() == CANARY


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "answer", [b"{}", b'{"data":null}', b'{"data":{}}', b'{"status":"ok"}', b'{"data":{"keys":null}}']
)
def test_listing_of_another_shape_is_not_empty(bao, proxy, opened, version, answer):
    backend = opened(
        proxy.url(), token=Secret("root"), mount_point=bao.mount(version), kv_engine_version=version
    )
    assert backend.list("variable") == []
    proxy.answer(200, {}, answer)
    with pytest.raises(BackendUnavailableError, match="another shape"):
        backend.list("variable")


@pytest.mark.parametrize("answer", [b'{"data":null}', b'{"data":null,"wrap_info":{"token":"s.x"}}'])
def test_answer_that_is_held_back_is_no_absence(bao, proxy, opened, answer):
    backend = opened(proxy.url(), token=Secret("root"), mount_point=bao.mount(1), kv_engine_version=1)
    assert backend.read(REGION) is None
    proxy.answer(200, {}, answer)
    trouble(backend, error=BackendUnavailableError, outcome=Outcome.UNAVAILABLE)


def test_redirect_is_not_followed_and_the_token_goes_nowhere(bao, proxy, mount, policy, opened):
    with Proxy("127.0.0.1", bao.port) as elsewhere:
        backend = opened(proxy.url(), token=Secret(bao.token(policy)), mount_point=mount)
        proxy.answer(307, {"Location": f"{elsewhere.url()}/v1/{mount}/data/variables/region"})
        assert trouble(backend, error=BackendUnavailableError).hint
        assert elsewhere.connections == 0


@pytest.mark.parametrize("body", [b"<html>not found</html>", b"", b"[]"])
def test_page_of_another_server_that_finds_nothing_is_no_absence(bao, proxy, mount, policy, opened, body):
    backend = opened(proxy.url(), token=Secret(bao.token(policy)), mount_point=mount)
    proxy.answer(404, {}, body)
    trouble(backend, NOBODY, error=BackendUnavailableError, outcome=Outcome.UNAVAILABLE)
    with pytest.raises(BackendUnavailableError):
        backend.list("variable")


def test_outage_that_may_be_passed_over_is_passed_over(bao, proxy, mount, policy, opened):
    backend = opened(proxy.url(), token=Secret(bao.token(policy)), mount_point=mount)
    below = Memory("below", {REGION: "older"})
    chain = Chain([Link(backend=backend, on_unavailable="next"), Link(backend=below)], clock=clock)
    proxy.become("refuse")
    assert chain.read(REGION).backend == "below"


# --- the server itself -------------------------------------------------------------------------------


def test_sealed_server_is_unavailable_says_so_and_answers_again_when_unsealed(bao, mount, policy, opened):
    backend = opened(bao.url, token=Secret(bao.token(policy)), mount_point=mount)
    backend.read(REGION)
    bao.seal()
    try:
        found = trouble(backend, error=BackendUnavailableError, outcome=Outcome.UNAVAILABLE)
        assert "is sealed" in str(found)
        assert backend.check().status == "error"
        assert "is sealed" in backend.check().message
    finally:
        bao.unseal()
    assert backend.read(REGION).secret.reveal() == CANARY


def test_sealed_server_refuses_no_login(bao, mount, policy, opened):
    backend = opened(bao.url, mount_point=mount, **by_role(bao.role(policy)))
    bao.seal()
    try:
        trouble(backend, error=BackendUnavailableError, outcome=Outcome.UNAVAILABLE)
    finally:
        bao.unseal()
    assert backend.read(REGION).secret.reveal() == CANARY


def test_quota_of_the_server_is_rate_limited(bao, mount, policy, opened):
    backend = opened(bao.url, token=Secret(bao.token(policy)), mount_point=mount)
    bao.api("POST", f"sys/quotas/rate-limit/{mount}", {"path": f"{mount}/", "rate": 1, "interval": "60s"})
    try:
        backend.read(REGION)
        trouble(backend, error=RateLimitedError, outcome=Outcome.UNAVAILABLE)
    finally:
        bao.api("DELETE", f"sys/quotas/rate-limit/{mount}")


def test_wrong_ca_is_unavailable_and_names_the_setting(bao_raft, opened, tmp_path):
    mount = bao_raft.mount()
    other = Authority(tmp_path).file
    wrong = opened(bao_raft.url, token=Secret(bao_raft.root), mount_point=mount, ca=other)
    found = trouble(wrong, error=BackendUnavailableError, outcome=Outcome.UNAVAILABLE)
    assert "ca" in found.hint
    right = opened(bao_raft.url, token=Secret(bao_raft.root), mount_point=mount, verify=bao_raft.ca)
    assert right.read(NOBODY) is None


# --- who we are --------------------------------------------------------------------------------------


def test_token_revoked_in_mid_life_is_replaced_without_anybody_noticing(bao, proxy, mount, policy, opened):
    role = bao.role(policy)
    backend = opened(proxy.url(), mount_point=mount, **by_role(role))
    for _ in range(3):
        assert backend.read(REGION).secret.reveal() == CANARY
        bao.revoke(backend._session.standing()[0].reveal())
    assert backend.read(REGION).secret.reveal() == CANARY
    assert proxy.lines.count(f"POST /v1/auth/{role.mount}/login") == 4


def test_dead_token_of_the_settings_is_denied_and_not_absent(bao, mount, policy, opened):
    token = bao.token(policy)
    backend = opened(bao.url, token=Secret(token), mount_point=mount)
    bao.revoke(token)
    for ref in (REGION, NOBODY):
        found = trouble(backend, ref, error=NotAuthenticatedError, outcome=Outcome.DENIED)
        assert "backend.vault.token" in found.hint
        assert token not in repr(vars(found))


def test_login_whose_tokens_die_at_once_is_not_repeated_for_each_read(bao, proxy, mount, policy, opened):
    role = bao.role(policy, token_bound_cidrs="10.1.1.1/32")
    backend = opened(proxy.url(), mount_point=mount, **by_role(role))
    for _ in range(10):
        found = trouble(backend, error=NotAuthenticatedError, outcome=Outcome.DENIED)
    assert "token_bound_cidrs" in found.hint
    assert proxy.lines.count(f"POST /v1/auth/{role.mount}/login") == 1


def test_expired_secret_id_is_denied_and_names_the_setting(bao, mount, policy, opened):
    role = bao.role(policy, token_ttl="1s", token_max_ttl="1s")
    secret_id = role.secret_id(ttl="1s")
    backend = opened(bao.url, mount_point=mount, **by_role(role, secret_id))

    def is_refused():
        try:
            backend.read(REGION)
        except NotAuthenticatedError:
            return True
        return False

    until(is_refused, what="the secret_id to expire")
    found = trouble(backend, error=NotAuthenticatedError, outcome=Outcome.DENIED)
    assert "secret_id" in found.hint
    assert secret_id not in repr(vars(found))


def test_fifty_threads_at_an_expired_secret_id_make_one_login(bao, proxy, mount, policy, opened):
    role = bao.role(policy)
    secret_id = role.secret_id()
    backend = opened(proxy.url(), mount_point=mount, **by_role(role, secret_id))
    role.destroy(secret_id)
    together = threading.Barrier(50)

    def read(_):
        together.wait(10)
        with pytest.raises(NotAuthenticatedError):
            backend.read(REGION)

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(read, range(50)))
    assert proxy.lines == [f"POST /v1/auth/{role.mount}/login"]


def test_fifty_threads_read_with_one_login(bao, proxy, mount, policy, opened):
    role = bao.role(policy)
    backend = opened(proxy.url(), mount_point=mount, **by_role(role))
    together = threading.Barrier(50)

    def read(_):
        together.wait(10)
        return backend.read(REGION).secret.reveal()

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(read, range(50))) == {CANARY}
    assert proxy.lines.count(f"POST /v1/auth/{role.mount}/login") == 1
    assert proxy.requests == 51


def test_refused_path_is_denied_and_says_which_policy_is_missing(bao, mount, policy, opened):
    backend = opened(bao.url, token=Secret(bao.token(policy)), mount_point=mount)
    found = trouble(backend, Ref("connection", "db"), error=AccessDeniedError, outcome=Outcome.DENIED)
    assert found.reason == f"read on {mount}/data/connections/db"
    assert f'path "{mount}/data/connections/*" {{ capabilities = ["read"] }}' in found.hint


def test_token_of_another_namespace_is_refused(bao, mount, policy, opened):
    backend = opened(bao.url, token=Secret(bao.token(policy)), mount_point=mount, namespace="nowhere")
    found = trouble(backend, error=StrongroomError)
    assert outcome_of(found) in (Outcome.DENIED, Outcome.INVALID)


# --- what is configured otherwise than it is -----------------------------------------------------------


def test_namespace_that_is_not_there_names_the_setting(bao, mount, opened):
    backend = opened(bao.url, token=Secret(bao.root), mount_point=mount, namespace="nowhere")
    found = trouble(backend, error=BackendConfigError, outcome=Outcome.INVALID)
    assert "namespace" in found.hint


def test_mount_that_is_not_there_names_the_setting(bao, opened):
    backend = opened(bao.url, token=Secret(bao.root), mount_point="no-such-mount")
    found = trouble(backend, error=BackendConfigError, outcome=Outcome.INVALID)
    assert "backend.vault.mount_point" in found.hint


def test_mount_that_is_not_there_is_denied_where_no_policy_names_it(bao, policy, opened):
    backend = opened(bao.url, token=Secret(bao.token(policy)), mount_point="no-such-mount")
    found = trouble(backend, error=AccessDeniedError, outcome=Outcome.DENIED)
    assert "check mount_point" in found.hint


def test_mount_that_is_longer_than_the_real_one_is_told_apart(bao, mount, opened):
    backend = opened(bao.url, token=Secret(bao.root), mount_point=f"{mount}/airflow")
    found = trouble(backend, error=BackendConfigError, outcome=Outcome.INVALID)
    assert found.hint == f'set mount_point = "{mount}" and begin the paths with "airflow/"'


def test_mount_of_another_engine_is_told(bao, opened):
    backend = opened(bao.url, token=Secret(bao.root), mount_point="cubbyhole")
    found = trouble(backend, error=BackendConfigError, outcome=Outcome.INVALID)
    assert "no key-value engine" in str(found)


@pytest.mark.parametrize("is_root", [True, False])
@pytest.mark.parametrize("ref", [REGION, NOBODY])
@pytest.mark.parametrize("real", [1, 2])
def test_wrong_version_of_the_engine_prints_the_right_setting(bao, opened, real, ref, is_root):
    mount = bao.mount(version=real)
    bao.put(mount, "variables/region", {"value": CANARY}, version=real)
    below = "data/" if real == 2 else ""
    right = bao.policy(f'path "{mount}/{below}variables/*" {{ capabilities = ["read"] }}')
    token = bao.root if is_root else bao.token(right)
    backend = opened(bao.url, token=Secret(token), mount_point=mount, kv_engine_version=3 - real)
    for _ in range(2):  # the first answer is no accident
        found = trouble(backend, ref, error=BackendConfigError, outcome=Outcome.INVALID)
        assert found.hint == f"set kv_engine_version = {real}"
    assert backend.check().status == "error"
    assert f"kv_engine_version = {real}" in backend.check().message


def test_absence_stands_when_nobody_tells_what_is_mounted(opened):
    def say(request):
        is_question = request.startswith(b"GET /v1/secret/")
        return reply(404 if is_question else 500, {}, b'{"errors":[]}')

    with Scripted(say) as server:
        backend = opened(server.url(), token=Secret("s.x"))
        assert [backend.read(NOBODY) for _ in range(2)] == [None, None]
        assert server.requests == 4  # what got no answer is asked again
        assert backend.check().status == "error"


def test_old_data_below_data_of_version_1_is_not_taken_for_version_2(bao, opened):
    mount = bao.mount(version=1)
    bao.put(mount, "data/variables/region", {"value": CANARY}, version=1)
    backend = opened(bao.url, token=Secret(bao.root), mount_point=mount)
    found = trouble(backend, error=BackendConfigError, outcome=Outcome.INVALID)
    assert found.hint == "set kv_engine_version = 1"


# --- an audit log counts ------------------------------------------------------------------------------


def test_server_sees_one_request_a_read_and_two_for_the_first_absence(bao_raft, opened):
    mount = bao_raft.mount()
    bao_raft.put(mount, "variables/region", {"value": CANARY})
    role = bao_raft.role(bao_raft.policy(f'path "{mount}/data/variables/*" {{ capabilities = ["read"] }}'))
    backend = opened(bao_raft.url, ca=bao_raft.ca, mount_point=mount, **by_role(role))
    before = bao_raft.audit_size()
    assert backend.read(NOBODY) is None
    for _ in range(5):
        assert backend.read(REGION).secret.reveal() == CANARY
        assert backend.read(NOBODY) is None
    login, absence, mounts, *rest = bao_raft.audit(since=before)
    assert login == ("update", f"auth/{role.mount}/login")
    assert absence == ("read", f"{mount}/data/variables/nobody_wrote_this")
    assert mounts == ("read", f"sys/internal/ui/mounts/{mount}")
    assert rest == [
        ("read", f"{mount}/data/variables/{name}") for name in ("region", "nobody_wrote_this") * 5
    ]
