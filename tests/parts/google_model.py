"""
Google Secret Manager as its documentation describes it, in memory: one model behind gRPC and REST.

Strict: names, checksums, etags, pages, states of versions and permissions are checked as Google does.

Source: cloud.google.com/secret-manager/docs/reference/rpc and /docs/access-control, of 2026-11.
"""

from __future__ import annotations

import re
import threading
import time
import warnings
from datetime import datetime, timezone

from google.protobuf import empty_pb2

from strongroom.vendors.crc32c import crc32c

with warnings.catch_warnings():
    # That Google will not look after this Python any more; whoever needs `sm` takes it from here.
    warnings.simplefilter("ignore", FutureWarning)
    from google.cloud import secretmanager_v1 as sm
    from google.iam.v1 import iam_policy_pb2

_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_ANNOTATION_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PARENT = re.compile(r"projects/[a-z0-9-]+(?:/locations/[a-z0-9-]+)?")
_VERSION = re.compile(r"(?P<secret>.+)/versions/(?P<version>[A-Za-z0-9_-]+)")
_MAX_PAYLOAD = 65_536
_MAX_ANNOTATIONS = 16_384
PERMISSION = {
    "AccessSecretVersion": "secretmanager.versions.access",
    "AddSecretVersion": "secretmanager.versions.add",
    "CreateSecret": "secretmanager.secrets.create",
    "DeleteSecret": "secretmanager.secrets.delete",
    "DestroySecretVersion": "secretmanager.versions.destroy",
    "DisableSecretVersion": "secretmanager.versions.disable",
    "EnableSecretVersion": "secretmanager.versions.enable",
    "GetSecret": "secretmanager.secrets.get",
    "GetSecretVersion": "secretmanager.versions.get",
    "ListSecretVersions": "secretmanager.versions.list",
    "ListSecrets": "secretmanager.secrets.list",
    "UpdateSecret": "secretmanager.secrets.update",
}
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


class Fault(Exception):  # noqa: N818 -- an answer
    """An answer that is a refusal: a status of google.rpc.Code, words, and details as JSON has them."""

    def __init__(self, status, words, *details):
        super().__init__(words)
        self.status, self.words, self.details = status, words, details

    @classmethod
    def of(cls, status, words, reason, **metadata):
        info = {"@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com", "metadata": metadata}
        return cls(status, words, info)


class _Held:
    def __init__(self, secret):
        self.secret = secret
        self.versions = []  # (SecretVersion, data), the first at 0


class Model:
    """
    Everything any project of it holds.

    Attributes:
        calls: (rpc, resource) of each question that came, refused ones too.
        faults: raised in turn before anything is looked at, each once; None lets one pass.
        seconds: that each answer takes.
        spoil: changes the payload after its checksum was made.
        before: is told of each rpc before it is looked at.
        most: how many were under way at once, at most.
        enabled: projects there are; `denied`: (permission, what its resource's name begins with).
    """

    def __init__(self):
        self.calls, self.faults = [], []
        self.seconds = 0.0
        self.spoil, self.before = None, None
        self.most = self._under_way = 0
        self.enabled, self.denied = {}, set()
        self._held = {}
        self._lock = threading.RLock()
        self._stamp = 0

    def ask(self, rpc, request, who):
        """Answer as *who*: an account, which may do all that is not denied in the projects of `enabled`."""
        resource = _resource(request)
        with self._lock:
            self.calls.append((rpc, resource))
            fault = self.faults.pop(0) if self.faults else None
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        if self.seconds:
            time.sleep(self.seconds)
        with self._lock:
            self._under_way -= 1
            if fault is not None:
                raise fault
            if self.before is not None:
                self.before(rpc)
            self._admit(rpc, resource, who)
            return getattr(self, f"_{rpc}")(request)

    # --- who may ---

    def _admit(self, rpc, resource, who):
        project = resource.split("/")[1] if resource.startswith("projects/") else ""
        if project not in self.enabled:
            raise Fault.of(
                "PERMISSION_DENIED",
                f"Permission denied on resource project {project}.",
                "CONSUMER_INVALID",
                consumer=f"projects/{project}",
                service="secretmanager.googleapis.com",
            )
        if rpc != "TestIamPermissions" and not self._may(who, PERMISSION[rpc], resource):
            words = f"Permission '{PERMISSION[rpc]}' denied for resource '{resource}' (or it may not exist)."
            raise Fault.of(
                "PERMISSION_DENIED",
                words,
                "IAM_PERMISSION_DENIED",
                permission=PERMISSION[rpc],
                resource=resource,
            )

    def _may(self, who, permission, resource):
        project = resource.split("/")[1]
        denied = any(
            permission == other and resource.startswith(beginning) for other, beginning in self.denied
        )
        return who in self.enabled[project] and not denied

    def _TestIamPermissions(self, request):
        # Of a secret that does not exist, an empty set, says the reference.
        is_there = request.resource in self._held
        who = next(iter(self.enabled[request.resource.split("/")[1]]))
        allowed = [one for one in request.permissions if is_there and self._may(who, one, request.resource)]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=allowed)

    # --- secrets ---

    def _CreateSecret(self, request):
        if not _PARENT.fullmatch(request.parent) or not _SECRET_ID.fullmatch(request.secret_id):
            raise Fault("INVALID_ARGUMENT", "The provided Secret ID does not match the expected format.")
        has_replication = "replication" in request.secret
        if has_replication == ("/locations/" in request.parent):
            raise Fault("INVALID_ARGUMENT", "The replication is required, except of a regional secret.")
        name = f"{request.parent}/secrets/{request.secret_id}"
        if name in self._held:
            raise Fault("ALREADY_EXISTS", f"Secret [{name}] already exists.")
        _check_annotations(request.secret.annotations)
        secret = sm.Secret(request.secret)
        secret.name, secret.create_time, secret.etag = name, _now(), self._etag()
        self._held[name] = _Held(secret)
        return secret

    def _GetSecret(self, request):
        return self._of(request.name).secret

    def _UpdateSecret(self, request):
        held = self._of(request.secret.name)
        self._check_etag(request.secret.etag, held.secret.etag)
        for path in request.update_mask.paths:
            if path not in ("annotations", "labels", "version_aliases"):
                raise Fault("INVALID_ARGUMENT", f"The field {path} cannot be updated.")
            _check_annotations(request.secret.annotations)
            setattr(held.secret, path, getattr(request.secret, path))
        held.secret.etag = self._etag()
        return held.secret

    def _DeleteSecret(self, request):
        self._check_etag(request.etag, self._of(request.name).secret.etag)
        del self._held[request.name]
        return empty_pb2.Empty()

    def _ListSecrets(self, request):
        word = request.filter.removeprefix("name:") if request.filter else ""
        if request.filter and not re.fullmatch("name:[A-Za-z0-9][A-Za-z0-9_-]*", request.filter):
            raise Fault("INVALID_ARGUMENT", "The filter is malformed.")
        # The order is none that a client may count on.
        found = [
            held.secret
            for name, held in reversed(self._held.items())
            if name.rpartition("/secrets/")[0] == request.parent and word in name.rpartition("/")[2]
        ]
        page, token = _page(found, request)
        return sm.ListSecretsResponse(secrets=page, next_page_token=token, total_size=len(found))

    # --- versions ---

    def _AddSecretVersion(self, request):
        held = self._of(request.parent)
        data = request.payload.data
        if not data:
            raise Fault("INVALID_ARGUMENT", "Secret Payload cannot be empty.")
        if len(data) > _MAX_PAYLOAD:
            raise Fault("INVALID_ARGUMENT", "The payload is over 65536 bytes.")
        if "data_crc32c" in request.payload and request.payload.data_crc32c != crc32c(data):
            raise Fault("INVALID_ARGUMENT", "Invalid checksum: crc32c of the payload does not match.")
        version = sm.SecretVersion(
            name=f"{request.parent}/versions/{len(held.versions) + 1}",
            create_time=_now(),
            state=sm.SecretVersion.State.ENABLED,
            etag=self._etag(),
            client_specified_payload_checksum="data_crc32c" in request.payload,
        )
        held.versions.append((version, data))
        return version

    def _AccessSecretVersion(self, request):
        version, data = self._version(request.name)
        if version.state != sm.SecretVersion.State.ENABLED:
            raise Fault(
                "FAILED_PRECONDITION", f"Secret Version [{version.name}] is in {version.state.name} state."
            )
        sent = data if self.spoil is None else self.spoil(data)
        return sm.AccessSecretVersionResponse(
            name=version.name, payload=sm.SecretPayload(data=sent, data_crc32c=crc32c(data))
        )

    def _GetSecretVersion(self, request):
        return self._version(request.name)[0]

    def _ListSecretVersions(self, request):
        found = [version for version, _ in reversed(self._of(request.parent).versions)]
        page, token = _page(found, request)
        return sm.ListSecretVersionsResponse(versions=page, next_page_token=token, total_size=len(found))

    def _EnableSecretVersion(self, request):
        return self._become(request, sm.SecretVersion.State.ENABLED)

    def _DisableSecretVersion(self, request):
        return self._become(request, sm.SecretVersion.State.DISABLED)

    def _DestroySecretVersion(self, request):
        return self._become(request, sm.SecretVersion.State.DESTROYED)

    def _become(self, request, state):
        version, _ = self._version(request.name)
        self._check_etag(request.etag, version.etag)
        if version.state == sm.SecretVersion.State.DESTROYED:
            raise Fault("FAILED_PRECONDITION", f"Secret Version [{version.name}] is in DESTROYED state.")
        version.state, version.etag = state, self._etag()
        return version

    # --- inside ---

    def _of(self, name):
        held = self._held.get(name)
        if held is None:
            raise Fault("NOT_FOUND", f"Secret [{name}] not found.")
        return held

    def _version(self, name):
        parts = _VERSION.fullmatch(name)
        if parts is None:
            raise Fault("INVALID_ARGUMENT", "The name of the version is malformed.")
        held, which = self._of(parts["secret"]), parts["version"]
        if not which.isdecimal() and which != "latest":
            which = str(held.secret.version_aliases.get(which, 0))
        number = len(held.versions) if which == "latest" else int(which)
        if not 0 < number <= len(held.versions):
            raise Fault("NOT_FOUND", f"Secret Version [{name}] not found or has no versions.")
        return held.versions[number - 1]

    def _etag(self):
        self._stamp += 1
        return f'"{self._stamp:x}"'

    def _check_etag(self, given, stands):
        if given and given != stands:
            raise Fault("FAILED_PRECONDITION", "The etag provided does not match the current one.")


def _resource(request):
    for member in ("name", "parent", "resource"):
        found = getattr(request, member, "")
        if found:
            return found
    return request.secret.name


def _check_annotations(annotations):
    held = dict(annotations)
    if sum(len(key) + len(value) for key, value in held.items()) > _MAX_ANNOTATIONS:
        raise Fault("INVALID_ARGUMENT", "The annotations are over 16 KiB.")
    if not all(_ANNOTATION_KEY.fullmatch(key) for key in held):
        raise Fault("INVALID_ARGUMENT", "The key of an annotation is malformed.")


def _page(found, request):
    begin = int(request.page_token or 0)
    size = min(request.page_size or 100, 25_000)
    end = begin + size
    return found[begin:end], str(end) if end < len(found) else ""


def _now():
    return datetime.now(timezone.utc)
