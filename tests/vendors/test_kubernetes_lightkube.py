"""The API server of our tests against lightkube, an independent reading of the API."""

import os
import threading

import pytest

from parts.kubernetes import NAMESPACE, cluster, cluster_server

if not os.environ.get("CI"):  # there it must be
    pytest.importorskip("lightkube")

import lightkube
from lightkube.models import meta_v1
from lightkube.resources import core_v1

__all__ = ["cluster", "cluster_server"]


@pytest.fixture
def client(cluster, tmp_path):
    """A client of lightkube, an independent reading of the API."""
    config = lightkube.KubeConfig.from_file(cluster.kubeconfig(tmp_path / "config", {"token": "root-token"}))
    with lightkube.Client(config=config, trust_env=False) as client:
        client.kind = core_v1.Secret
        yield client


def test_lightkube_creates_pages_patches_conflicts_and_deletes(cluster, client):
    for number in range(5):
        secret = client.kind(
            metadata=meta_v1.ObjectMeta(name=f"s{number}"), stringData={"value": str(number)}
        )
        client.create(secret)
    assert [found.metadata.name for found in client.list(client.kind, chunk_size=2)] == [
        f"s{number}" for number in range(5)
    ]
    first = client.get(client.kind, "s0")
    client.patch(client.kind, "s0", {"stringData": {"value": "new"}})
    with pytest.raises(lightkube.ApiError) as caught:
        client.replace(first)
    assert caught.value.status.reason == "Conflict"
    client.delete(client.kind, "s0")
    with pytest.raises(lightkube.ApiError) as caught:
        client.get(client.kind, "s0")
    assert caught.value.status.code == 404
    assert cluster.data("s1") == {"value": "1"}


def test_lightkube_watches_and_is_told_that_a_version_is_too_old(cluster, client):
    start = cluster.put("seen", {"value": "1"})["metadata"]["resourceVersion"]
    seen, both = [], threading.Event()

    def watch():
        for kind, found in client.watch(client.kind, resource_version=start, server_timeout=5):
            seen.append((kind, found.metadata.name))
            if len(seen) == 2:
                both.set()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    cluster.put("seen", {"value": "2"})
    cluster.store.delete(NAMESPACE, "seen", {})
    assert both.wait(10)
    thread.join(10)
    assert seen == [("MODIFIED", "seen"), ("DELETED", "seen")]
    cluster.store.compact()
    with pytest.raises(lightkube.ApiError) as caught:
        next(iter(client.watch(client.kind, resource_version=start)))
    assert caught.value.status.code == 410
