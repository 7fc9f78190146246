"""Pods that show their projected tokens to a server: as their service, and as the run they were made for."""

from __future__ import annotations

import pytest

from parts.kubernetes import cluster, cluster_server  # noqa: F401 -- fixtures
from parts.server import serving
from strongroom.service.policies import Draft

SETTINGS = """
[server.limits]
identity_per_second = 0
stranger_per_second = 0
[access.kubernetes]
api = "{api}"
ca = "{ca}"
token = {{ file = "ours.token" }}
{more}
[[access.kubernetes.allow]]
namespace = "airflow"
service_account = "worker"
service = "worker"
level = "run"
[[access.kubernetes.allow]]
namespace = "airflow"
service_account = "web"
service = "web"
"""
RUN = {"dag_id": "etl", "task_id": "load", "run_id": "manual__2026-11-22", "try_number": "1"}


@pytest.fixture
def serve(cluster, tmp_path):  # noqa: F811 -- the fixture
    def start(more=""):
        (tmp_path / "ours.token").touch(mode=0o600)
        (tmp_path / "ours.token").write_text(cluster.account("strongroom"))
        for rule in (("create", "tokenreviews", "authentication.k8s.io", ""), ("get", "pods", "", "airflow")):
            verb, resource, group, namespace = rule
            cluster.allow("strongroom", verb, resources=(resource,), groups=(group,), namespace=namespace)
        return serving(tmp_path, SETTINGS.format(api=cluster.url, ca=cluster.ca, more=more))

    return start


def who(server, token):
    answer = server.ask("GET", "/v1/whoami", token=token)
    assert answer.status == 200, answer.body
    return answer.json()["actor"], answer.json()["assurance"]


def test_PO12_a_pod_is_its_service_at_the_level_of_its_namespace(serve, cluster):  # noqa: F811
    cluster.accounts.make_pod("etl-1", "worker", labels=RUN)
    with serve() as server:
        assert who(server, cluster.accounts.token("worker", pod="etl-1")) == ("service:worker", 2)
        assert who(server, cluster.accounts.token("worker")) == ("service:worker", 1)
        assert who(server, cluster.accounts.token("web")) == ("service:web", 1)


def test_PO12_a_token_of_another_audience_namespace_or_account_is_nobodys(serve, cluster):  # noqa: F811
    with serve() as server:
        for bad in (
            cluster.accounts.token("worker", audience="https://kubernetes.default.svc"),
            cluster.accounts.token("worker", namespace="other"),
            cluster.accounts.token("default"),
            cluster.accounts.token("worker", lasts=-1),
        ):
            assert server.ask("GET", "/v1/whoami", token=bad).status == 401


def read(server, token, **run):
    body = {"refs": [{"kind": "variable", "name": "region"}], **({"run": run} if run else {})}
    (found,) = server.ask("POST", "/v1/read", body, token=token).json()["results"]
    return found.get("value", found["outcome"])


POLICY = """
@id("runs-of-etl")
permit (principal, action == Action::"read", resource)
when { context has run && context.run.assurance >= 2 && context.run.dag_id == "etl" };
"""


def ready(server):
    root = server.house.deployment(None).root
    server.ask("PUT", "/v1/entries/variable/region", {"value": "eu"}, token=server.token("admin"))
    root.policies.put(Draft(text=POLICY, id="runs-of-etl"))


def test_PO12_labels_of_a_pod_say_its_run_where_only_the_scheduler_sets_them(serve, cluster):  # noqa: F811
    cluster.accounts.make_pod("etl-1", "worker", labels={"dag_id": "etl-3fd1"}, annotations=RUN)
    cluster.accounts.make_pod("web-1", "web", annotations=RUN)
    cluster.accounts.make_pod("free-1", "worker")
    with serve("trusted_labels = true") as server:
        ready(server)
        assert read(server, cluster.accounts.token("worker", pod="etl-1")) == "eu"
        # Whatever the request says, the run is that of its pod.
        mine = cluster.accounts.token("worker", pod="etl-1")
        assert read(server, mine, dag_id="other", task_id="x") == "eu"
        # An account whose level is the host's, a pod of no run, and a token of no pod have claims alone.
        for other in (
            cluster.accounts.token("web", pod="web-1"),
            cluster.accounts.token("worker", pod="free-1"),
            cluster.accounts.token("worker"),
        ):
            assert read(server, other, dag_id="etl", task_id="load") == "denied"


def test_PO12_labels_of_a_pod_are_not_read_unless_they_are_trusted(serve, cluster):  # noqa: F811
    cluster.accounts.make_pod("etl-1", "worker", annotations=RUN)
    with serve() as server:
        ready(server)
        mine = cluster.accounts.token("worker", pod="etl-1")
        assert read(server, mine) == "denied"
        assert read(server, mine, dag_id="etl", task_id="load") == "denied"
        assert not [path for _, path, _ in cluster.asked if "/pods/" in path]


def test_while_the_api_server_is_down_nobody_is_refused_for_it(serve, cluster):  # noqa: F811
    with serve() as server:
        token = cluster.accounts.token("worker")
        cluster.fail(500, times=4)
        answer = server.ask("GET", "/v1/whoami", token=token)
        assert (answer.status, answer.code) == (503, "backend_unavailable")
        cluster.faults.clear()
        assert who(server, token) == ("service:worker", 1)
