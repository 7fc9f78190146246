"""Kubernetes Secrets as a backend, against an API server that kubectl and lightkube know as one."""

import json
from datetime import datetime, timezone

import pytest

from parts.kubernetes import cluster, cluster_server
from parts.faults import TEXT, FaultContract
from parts.proxy import Proxy
from strongroom.backends.kubernetes import Kubernetes, KubernetesOptions
from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import BackendContract

__all__ = ["cluster", "cluster_server"]


def clock():
    return datetime.now(timezone.utc)


class Found(BackendContract):
    """The contract over one way to find Secrets, through a proxy that can be taken down."""

    way: dict = {}

    @pytest.fixture(autouse=True)
    def server(self, cluster):
        self.cluster = cluster
        with Proxy("127.0.0.1", cluster.port, is_tls=True) as self.proxy:
            yield

    def make(self, tmp_path):
        token = self.cluster.account("strongroom")
        self.cluster.allow("strongroom", "get", "list", "watch", "create", "patch", "delete")
        options = KubernetesOptions(
            url=f"https://127.0.0.1:{self.proxy.port}",
            token=Secret(token),
            ca=self.cluster.ca,
            namespace="airflow",
            **self.way,
        )
        return Kubernetes("k8s", options, clock)

    def put_oversized(self, backend, ref, text):
        backend.write(draft(ref, "small"))
        # The server itself takes no more than 1 MiB, so it cannot be made to hold it.
        pytest.skip("the store itself takes no more than 1 MiB")

    def down(self, backend):
        self.proxy.become("refuse")

    def deny(self, backend, ref):
        self.cluster.forbid("strongroom")


class TestByLabel(Found):
    pass


class TestByName(Found):
    keeps_teams = False
    way = {"find": "name"}


class TestByNameWithTeams(Found):
    way = {"find": "name", "use_team_names": True}


class TestOneHoldingMany(Found):
    keeps_teams = False
    way = {"connections_prefix": "airflow-connections#", "variables_prefix": "airflow-variables#"}


def draft(ref, text, expected=None):
    from strongroom.model.entry import Draft

    return Draft(ref=ref, secret=Secret(text), expected_version=expected, author="service:test")


# --- on the way ----------------------------------------------------------------------------------------


class Faults(FaultContract):
    way: dict = {}

    def serve(self, request):
        cluster = request.getfixturevalue("cluster")
        labels = {"airflow.apache.org/variable-key": "held"}
        cluster.put("airflow-variables-held", {"value": TEXT}, labels=labels)
        return cluster.plain_port

    def make(self, url, *, timeout, ca=None):
        options = KubernetesOptions(
            url=url, token=Secret("root-token"), ca=ca, namespace="airflow", timeout=timeout, **self.way
        )
        return Kubernetes("k8s", options, clock)


class TestFaultsByName(Faults):
    way = {"find": "name"}


class TestFaultsByLabel(Faults):
    requests_for_twenty = 2  # sixteen names a list
