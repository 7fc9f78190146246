"""The API server of our tests against a program that knows a real one: kubectl."""

import json

from parts.kubernetes import b64, cluster, cluster_server

__all__ = ["cluster", "cluster_server"]

MANIFEST = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "orders", "labels": {"airflow.apache.org/connection-id": "orders"}},
        "stringData": {"value": "postgres://h/é"},
    },
    ensure_ascii=False,
)


def test_kubectl_creates_gets_applies_labels_and_deletes_a_secret(cluster):
    cluster.kubectl("create", "--validate=false", "-f", "-", given=MANIFEST)
    assert cluster.data("orders") == {"value": "postgres://h/é"}
    got = json.loads(cluster.kubectl("get", "secret", "orders", "-o", "json"))
    assert got == cluster.get("orders")
    again = MANIFEST.replace("postgres://h/é", "mysql://h")
    cluster.kubectl("apply", "--validate=false", "-f", "-", given=again)
    assert cluster.data("orders") == {"value": "mysql://h"}
    cluster.kubectl("label", "secret", "orders", "team=data")
    assert cluster.get("orders")["metadata"]["labels"]["team"] == "data"
    listed = cluster.kubectl("get", "secrets", "-l", "team=data", "-o", "name", "--chunk-size=1")
    assert listed.split() == ["secret/orders"]
    cluster.kubectl("delete", "secret", "orders", "--wait=false")
    done = cluster.kubectl("get", "secret", "orders", check=False)
    assert done.returncode == 1
    assert "(NotFound)" in done.stderr


def test_kubectl_makes_a_secret_of_words_and_of_a_type(cluster):
    cluster.kubectl("create", "secret", "generic", "words", "--from-literal=value=a=b", "--type=corp/own")
    assert (cluster.data("words"), cluster.get("words")["type"]) == ({"value": "a=b"}, "corp/own")
    done = cluster.kubectl("create", "secret", "generic", "words", "--from-literal=value=c", check=False)
    assert "already exists" in done.stderr
    done = cluster.kubectl("create", "secret", "generic", "No_Name", "--from-literal=value=c", check=False)
    assert "invalid" in done.stderr.lower()


def test_kubectl_is_told_what_it_may_not_do_and_who_it_is(cluster):
    token = cluster.account("reader")
    cluster.allow("reader", "get")
    cluster.put("orders", {"value": "x"})
    assert cluster.kubectl("auth", "can-i", "get", "secrets", token=token).strip() == "yes"
    denied = cluster.kubectl("auth", "can-i", "delete", "secrets", token=token, check=False)
    assert denied.stdout.strip() == "no"
    assert cluster.kubectl("get", "secret", "orders", "-o", "jsonpath={.data.value}", token=token) == b64("x")
    done = cluster.kubectl("delete", "secret", "orders", token=token, check=False)
    assert "(Forbidden)" in done.stderr
    done = cluster.kubectl("get", "secret", "orders", token="stranger", check=False)
    assert "Unauthorized" in done.stderr or "provide credentials" in done.stderr


def test_kubectl_is_refused_a_change_of_an_immutable_secret_and_a_stale_replace(cluster):
    cluster.put("fixed", {"value": "x"}, immutable=True)
    patch = '{"stringData":{"value":"y"}}'
    done = cluster.kubectl("patch", "secret", "fixed", "--type=merge", "-p", patch, check=False)
    assert "immutable" in done.stderr
    old = cluster.put("moving", {"value": "1"})
    cluster.put("moving", {"value": "2"})
    done = cluster.kubectl("replace", "-f", "-", given=json.dumps(old), check=False)
    assert "(Conflict)" in done.stderr
