"""Tokens of service accounts, by the word of an API server: remembered for a minute, and never guessed at."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest

from parts.kubernetes import cluster, cluster_server  # noqa: F401 -- fixtures
from strongroom.errors import BackendUnavailableError
from strongroom.model.secret import Secret
from strongroom.vendors.jwt import TokenError
from strongroom.vendors.kubernetes import KubernetesAccess, KubernetesSession
from strongroom.vendors.kubernetes_review import Reviewer

CANARY = "canary-in-a-status"


class Timer:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def timer():
    return Timer()


def clock():
    return datetime.now(timezone.utc)


@pytest.fixture
def reviewer(cluster, timer):  # noqa: F811 -- the fixture
    ours = cluster.account("strongroom")
    cluster.allow(
        "strongroom", "create", resources=("tokenreviews",), groups=("authentication.k8s.io",), namespace=""
    )
    access = KubernetesAccess(url=cluster.url, ca=Path(cluster.ca), token=Secret(ours))
    session = KubernetesSession("access.kubernetes", access, environ={}, clock=clock)
    found = Reviewer(session, audience="strongroom", clock=clock, timer=timer)
    yield found
    found.close()


def reason(reviewer, token):
    with pytest.raises(TokenError) as caught:
        reviewer.review(token)
    assert str(caught.value) == "this token proves nobody"
    return caught.value.reason


def test_a_service_account_is_known_by_the_api_servers_word(cluster, reviewer):  # noqa: F811
    found = reviewer.review(cluster.accounts.token("worker"))
    assert (found.namespace, found.service_account, found.pod) == ("airflow", "worker", None)
    assert cluster.asked[-1][:2] == ("POST", "/apis/authentication.k8s.io/v1/tokenreviews")


def test_a_token_of_a_pod_names_it(cluster, reviewer):  # noqa: F811
    cluster.accounts.make_pod("etl-1", "worker")
    found = reviewer.review(cluster.accounts.token("worker", pod="etl-1"))
    assert found.pod == "etl-1"
    assert found.pod_uid == cluster.accounts.pods["airflow", "etl-1"]["metadata"]["uid"]


def test_a_review_is_remembered_for_a_minute(cluster, reviewer, timer):  # noqa: F811
    token = cluster.accounts.token("worker")
    for _ in range(5):
        reviewer.review(token)
    assert cluster.accounts.reviews == 1
    cluster.accounts.take_back(token)
    timer.now += 59
    reviewer.review(token)
    timer.now += 2
    assert reason(reviewer, token) == "the API server does not know it"


def test_a_review_is_not_remembered_past_the_end_of_its_token(cluster, reviewer, timer):  # noqa: F811
    token = cluster.accounts.token("worker", lasts=20)
    reviewer.review(token)
    timer.now += 21
    reviewer.review(token)
    assert cluster.accounts.reviews == 2


def test_a_refusal_is_remembered_for_a_moment(cluster, reviewer, timer):  # noqa: F811
    token = cluster.accounts.token("worker")
    cluster.accounts.take_back(token)
    for _ in range(5):
        reason(reviewer, token)
    assert cluster.accounts.reviews == 1
    timer.now += 11
    reason(reviewer, token)
    assert cluster.accounts.reviews == 2


def test_the_api_server_is_not_asked_about_what_is_over_or_not_for_us(cluster, reviewer):  # noqa: F811
    assert reason(reviewer, cluster.accounts.token("worker", audience="vault")) == "another audience"
    assert reason(reviewer, cluster.accounts.token("worker", lasts=-5)) == "it has expired"
    assert reason(reviewer, "eyJ.eyJ.x") == "base64 of no one spelling"
    assert cluster.accounts.reviews == 0


def test_an_audience_the_token_claims_counts_only_by_the_api_servers_word(cluster, reviewer):  # noqa: F811
    token = cluster.accounts.token("worker", audience="vault", aud=["strongroom"])
    assert reason(reviewer, token) == "the API server does not know it"


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({}, "the API server does not know it"),
        ({"authenticated": False, "error": CANARY}, "the API server does not know it"),
        ({"authenticated": True, "user": {"username": "system:serviceaccount:a:b"}}, "another audience"),
        ({"authenticated": True, "audiences": ["other"]}, "another audience"),
        ({"authenticated": True, "audiences": ["strongroom"]}, "no service account"),
        (
            {"authenticated": True, "audiences": ["strongroom"], "user": {"username": "root"}},
            "no service account",
        ),
        (
            {
                "authenticated": True,
                "audiences": ["strongroom"],
                "user": {"username": "system:serviceaccount:a:b:c"},
            },
            "no service account",
        ),
        (
            {
                "authenticated": True,
                "audiences": ["strongroom"],
                "user": {"username": "system:serviceaccount:a/../b:c"},
            },
            "no service account",
        ),
    ],
)
def test_a_review_that_says_less_is_a_refusal(cluster, reviewer, status, why):  # noqa: F811
    cluster.fail(201, body=json.dumps({"kind": "TokenReview", "status": status}).encode())
    assert reason(reviewer, cluster.accounts.token("worker")).startswith(why)


@pytest.mark.parametrize("extra", [{}, {"authentication.kubernetes.io/pod-name": ["a"]}, {"x": 1}, None, []])
def test_half_a_pod_is_no_pod(cluster, reviewer, extra):  # noqa: F811
    user = {"username": "system:serviceaccount:airflow:worker", "extra": extra}
    status = {"authenticated": True, "audiences": ["strongroom"], "user": user}
    cluster.fail(201, body=json.dumps({"status": status}).encode())
    assert reviewer.review(cluster.accounts.token("worker")).pod is None


@pytest.mark.parametrize("answer", [401, 403, 404, 500, 503, 429])
def test_trouble_of_ours_with_the_api_server_refuses_nobody(cluster, reviewer, answer):  # noqa: F811
    cluster.fail(answer, body=json.dumps({"kind": "Status", "message": CANARY}).encode(), times=4)
    token = cluster.accounts.token("worker")
    with pytest.raises(BackendUnavailableError) as caught:
        reviewer.review(token)
    assert CANARY not in str(caught.value)
    cluster.faults.clear()
    assert reviewer.review(token).service_account == "worker"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"status": 7}', b'{"status": {"audiences": "strongroom"}}']
)
def test_an_answer_of_another_shape_is_trouble(cluster, reviewer, body):  # noqa: F811
    cluster.fail(201, body=body)
    token = cluster.accounts.token("worker")
    if body in (b"[]", b"", b"{") or b"7" in body or b"audiences" in body:
        with pytest.raises(BackendUnavailableError):
            reviewer.review(token)


def test_without_the_right_to_ask_the_error_says_what_to_bind(cluster, reviewer):  # noqa: F811
    cluster.forbid("strongroom")
    with pytest.raises(BackendUnavailableError) as caught:
        reviewer.review(cluster.accounts.token("worker"))
    assert "tokenreviews" in caught.value.hint


def test_however_many_bring_one_token_it_is_asked_about_once(cluster, reviewer):  # noqa: F811
    token = cluster.accounts.token("worker")
    found = []
    threads = [threading.Thread(target=lambda: found.append(reviewer.review(token))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 16
    assert cluster.accounts.reviews == 1


# --- pods ---------------------------------------------------------------------------------------------


def test_a_pods_annotations_go_before_its_labels(cluster, reviewer):  # noqa: F811
    cluster.allow("strongroom", "get", resources=("pods",))
    cluster.accounts.make_pod(
        "etl-1",
        "worker",
        labels={"dag_id": "a-3fd1", "x": "y"},
        annotations={"dag_id": "a b", "long": "x" * 999},
    )
    found = reviewer.review(cluster.accounts.token("worker", pod="etl-1"))
    assert dict(reviewer.pod(found)) == {"dag_id": "a b", "x": "y"}
    asked = len(cluster.asked)
    reviewer.pod(found)
    assert len(cluster.asked) == asked


def test_a_pod_of_another_account_or_made_anew_is_gone(cluster, reviewer, timer):  # noqa: F811
    cluster.allow("strongroom", "get", resources=("pods",))
    cluster.accounts.make_pod("etl-1", "worker")
    found = reviewer.review(cluster.accounts.token("worker", pod="etl-1"))
    cluster.accounts.make_pod("etl-1", "worker", labels={"dag_id": "another"})
    with pytest.raises(TokenError):
        reviewer.pod(found)
    del cluster.accounts.pods["airflow", "etl-1"]
    with pytest.raises(TokenError):
        reviewer.pod(found)


def test_without_the_right_to_see_pods_there_is_no_run(cluster, reviewer):  # noqa: F811
    cluster.accounts.make_pod("etl-1", "worker")
    found = reviewer.review(cluster.accounts.token("worker", pod="etl-1"))
    with pytest.raises(BackendUnavailableError):
        reviewer.pod(found)
