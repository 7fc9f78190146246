"""
Service accounts of the API server for tests: the tokens it projects into pods, its reviews of them, and pods.

    token = cluster.accounts.token("worker", pod="etl-1")          # for the audience `strongroom`
    cluster.accounts.reviewed({"spec": {"token": token, "audiences": ["strongroom"]}})

Source: `TokenReview` of k8s.io/api/authentication/v1; claims and extra of KEP-1205 and KEP-4193.
"""

from __future__ import annotations

import time
from functools import cached_property
from uuid import uuid4

from parts.kubernetes_secrets import Refused
from parts.signing import Signer

ISSUER = "https://kubernetes.default.svc.cluster.local"
_POD = "authentication.kubernetes.io/pod-"


class Accounts:
    """
    `reviews` counts the tokens that were asked about; `signer` is whose keys sign.

    A token is good until it ends, is taken back, or its pod is gone.
    """

    def __init__(self):
        self.pods = {}
        self.reviews = 0
        self._good = {}

    @cached_property
    def signer(self):
        return Signer("rsa")  # made for those who ask: an RSA key takes longer than a test

    def token(self, name, *, namespace="airflow", audience="strongroom", pod=None, lasts=3600, **more):
        """Project a token of a service account, bound to a pod where one is named."""
        audiences = [audience] if isinstance(audience, str) else audience
        said = {"namespace": namespace, "serviceaccount": {"name": name, "uid": str(uuid4())}}
        if pod is not None:
            said["pod"] = {"name": pod, "uid": self.pods[namespace, pod]["metadata"]["uid"]}
        now = int(time.time())
        user = f"system:serviceaccount:{namespace}:{name}"
        claims = {
            "iss": ISSUER,
            "aud": audiences,
            "sub": user,
            "iat": now,
            "nbf": now,
            "exp": now + lasts,
            "jti": str(uuid4()),
            "kubernetes.io": said,
            **more,
        }
        made = self.signer.sign(claims, header={"typ": None})
        self._good[made] = (user, audiences, now + lasts, (namespace, pod) if pod else None)
        return made

    def take_back(self, token):
        """As when its account or pod is deleted."""
        del self._good[token]

    def make_pod(self, name, account, *, namespace="airflow", labels=None, annotations=None):
        """Make a pod of a service account."""
        self.pods[namespace, name] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": str(uuid4()),
                "labels": labels or {},
                "annotations": annotations or {},
            },
            "spec": {"serviceAccountName": account, "containers": [{"name": "base", "image": "airflow"}]},
            "status": {"phase": "Running"},
        }

    def pod(self, namespace, name):
        found = self.pods.get((namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f'pods "{name}" not found', details={"name": name, "kind": "pods"})
        return found

    def reviewed(self, body):
        """Answer a TokenReview."""
        self.reviews += 1
        asked = body["spec"].get("audiences") or [ISSUER]
        user, audiences, ends, pod = self._good.get(body["spec"]["token"], ("", [], 0, None))
        both = [audience for audience in asked if audience in audiences]
        if ends <= time.time() or not both or (pod is not None and pod not in self.pods):
            return {**body, "status": {"user": {}, "error": "invalid bearer token"}}
        extra = {"authentication.kubernetes.io/credential-id": ["JTI=1"]}
        if pod is not None:
            extra |= {f"{_POD}name": [pod[1]], f"{_POD}uid": [self.pods[pod]["metadata"]["uid"]]}
        found = {"username": user, "uid": "0-1", "groups": ["system:serviceaccounts"], "extra": extra}
        return {**body, "status": {"authenticated": True, "user": found, "audiences": both}}
