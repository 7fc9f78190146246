"""Secrets as an API server keeps them: versions, validation, pages, events. For parts/kubernetes.py alone."""

from __future__ import annotations

import base64
import binascii
import copy
import json
import re
import threading
import time
import uuid

MAX_BYTES = 1_048_576  # of all values of a Secret: MaxSecretSize
_BOOKMARK_SECONDS = 1.0  # a cluster sends them each minute
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"(?!\.{1,2}$)(?!\.\.)[-._a-zA-Z0-9]{1,253}")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"(?:[a-z0-9][-a-z0-9.]{0,252}/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_NEEDED = {  # of a type: the keys it cannot be without
    "kubernetes.io/basic-auth": (("username", "password"), any),
    "kubernetes.io/ssh-auth": (("ssh-privatekey",), all),
    "kubernetes.io/tls": (("tls.crt", "tls.key"), all),
    "kubernetes.io/dockerconfigjson": ((".dockerconfigjson",), all),
}


class Refused(Exception):  # noqa: N818 -- an answer, no failure
    def __init__(self, code, reason, message, *, details=None, headers=None):
        super().__init__(message)
        self.code, self.reason, self.details, self.headers = code, reason, details, headers or {}


def status(refused):
    """Give the Status that says so."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(refused),
        "reason": refused.reason,
        "code": refused.code,
        **({"details": refused.details} if refused.details else {}),
    }


def invalid(name, field, why, kind="FieldValueInvalid"):
    return Refused(
        422,
        "Invalid",
        f'Secret "{name}" is invalid: {field}: {why}',
        details={
            "name": name,
            "kind": "Secret",
            "causes": [{"reason": kind, "message": why, "field": field}],
        },
    )


def without_values(secret):
    head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return {**head, "metadata": secret["metadata"]}


def field_selector(text):
    """Give the name that a field selector asks for; None for any."""
    if not text:
        return None
    found = re.fullmatch(r"metadata\.name==?([^,]+)", text)
    if found is None:
        raise Refused(400, "BadRequest", "field label not supported")
    return found[1]


def label_selector(text):
    """Give a function that tells whether a Secret is chosen: `a=b,c in (d,e),f,!g`."""
    parts = re.findall(r"[^,(]+(?:\([^)]*\))?", text)
    tests = [_requirement(part.strip()) for part in parts]
    return lambda secret: all(test(secret["metadata"].get("labels") or {}) for test in tests)


def _requirement(part):
    found = re.fullmatch(r"(?P<key>[^\s!=(]+)\s+(?P<how>in|notin)\s*\((?P<values>[^)]*)\)", part)
    if found:
        values = {value.strip() for value in found["values"].split(",")}
        _check_selector(found["key"], *values)
        is_in = found["how"] == "in"
        return lambda labels: (labels.get(found["key"]) in values) is is_in
    found = re.fullmatch(r"(?P<key>[^\s!=]+)\s*(?P<how>==|=|!=)\s*(?P<value>.*)", part)
    if found:
        _check_selector(found["key"], found["value"])
        is_equal = found["how"] != "!="
        return lambda labels: (labels.get(found["key"]) == found["value"]) is is_equal
    key = part.removeprefix("!").strip()
    _check_selector(key)
    return lambda labels: (key in labels) is not part.startswith("!")


def _check_selector(key, *values):
    if not _LABEL_KEY.fullmatch(key) or not all(map(_LABEL_VALUE.fullmatch, values)):
        raise Refused(400, "BadRequest", "unable to parse requirement")


class Store:
    """Threads: any; whoever watches waits on one condition."""

    def __init__(self, namespaces):
        self.namespaces = namespaces
        self._secrets = {}
        self._version = 100
        self._events = []  # (version, type, secret, the one before it or None)
        self._oldest = 100
        self._pages = {}  # by token: what was left
        self._changed = threading.Condition(threading.RLock())
        self._epoch = 0
        self.watching = 0

    # --- reading ---

    def check_namespace(self, namespace):
        if namespace not in self.namespaces:
            raise Refused(
                404,
                "NotFound",
                f'namespaces "{namespace}" not found',
                details={"name": namespace, "kind": "namespaces"},
            )

    def get(self, namespace, name):
        with self._changed:
            found = self._secrets.get((namespace, name))
            if found is None:
                details = {"name": name, "kind": "secrets"}
                raise Refused(404, "NotFound", f'secrets "{name}" not found', details=details)
            return copy.deepcopy(found)

    def page(self, namespace, is_chosen, query):
        """Give (items, version, token of what is left): one snapshot, however many pages."""
        limit, token = int(query.get("limit") or 0), query.get("continue")
        with self._changed:
            if token:
                if token not in self._pages:
                    message = (
                        "The provided continue parameter is too old to display a consistent list result."
                    )
                    raise Refused(410, "Expired", message)
                left, version = self._pages.pop(token)
            else:
                every = sorted(self._secrets.items())
                left = [secret for (where, _), secret in every if where == namespace and is_chosen(secret)]
                version = str(self._version)
            items, left = (left[:limit], left[limit:]) if limit else (left, [])
            more = ""
            if left:
                more = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()
                self._pages[more] = (left, version)
            return copy.deepcopy(items), version, more

    def expire_pages(self):
        """Let the pages under way be too old."""
        with self._changed:
            self._pages.clear()

    # --- writing ---

    def create(self, namespace, secret, *, dry=False):
        with self._changed:
            self.check_namespace(namespace)
            meta = secret.setdefault("metadata", {})
            if meta.get("generateName") and not meta.get("name"):
                meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
            name = meta.get("name", "")
            if meta.get("resourceVersion"):
                raise Refused(400, "BadRequest", "resourceVersion should not be set on objects to be created")
            if (namespace, name) in self._secrets:
                details = {"name": name, "kind": "secrets"}
                raise Refused(409, "AlreadyExists", f'secrets "{name}" already exists', details=details)
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now()}
            return self._keep(namespace, secret, None, dry=dry)

    def replace(self, namespace, name, secret, *, dry=False):
        with self._changed:
            before = self.get(namespace, name)
            meta = secret.setdefault("metadata", {})
            self._check_version(name, before, meta.get("resourceVersion"))
            meta |= {key: before["metadata"][key] for key in ("uid", "creationTimestamp")}
            secret.setdefault("type", before["type"])
            return self._keep(namespace, secret, before, dry=dry)

    def patch(self, namespace, name, patch, *, dry=False):
        """Lay *patch* over what stands there; of a Secret merge patch and strategic patch are the same."""
        with self._changed:
            before = self.get(namespace, name)
            self._check_version(name, before, (patch.get("metadata") or {}).get("resourceVersion"))
            return self._keep(namespace, _merged(copy.deepcopy(before), patch), before, dry=dry)

    def delete(self, namespace, name, preconditions, *, dry=False):
        with self._changed:
            before = self.get(namespace, name)
            uid = preconditions.get("uid")
            if uid is not None and uid != before["metadata"]["uid"]:
                raise self._conflict(name)
            self._check_version(name, before, preconditions.get("resourceVersion"))
            if not dry:
                del self._secrets[namespace, name]
                self._tell("DELETED", before, before)

    def _check_version(self, name, before, version):
        # One that reads as 0 compares nothing: k8s.io/apiserver, `AllowUnconditionalUpdate` of Secrets.
        if (version or "").strip("0") and version != before["metadata"]["resourceVersion"]:
            raise self._conflict(name)

    def _conflict(self, name):
        message = f'Operation cannot be fulfilled on secrets "{name}": the object has been modified'
        return Refused(409, "Conflict", message, details={"name": name, "kind": "secrets"})

    def _keep(self, namespace, secret, before, *, dry):
        name = secret["metadata"].get("name", "")
        secret = {"kind": "Secret", "apiVersion": "v1", **secret}
        secret["metadata"]["namespace"] = namespace
        for key, text in (secret.pop("stringData", None) or {}).items():
            secret["data"] = {**(secret.get("data") or {}), key: base64.b64encode(text.encode()).decode()}
        secret.setdefault("type", "Opaque")
        _validate(name, secret, before)
        if before is not None and _same(secret, before):
            return copy.deepcopy(before)  # as a cluster: what changes nothing makes no version
        if not dry:
            self._secrets[namespace, name] = secret
            self._tell("ADDED" if before is None else "MODIFIED", secret, before)
        return copy.deepcopy(secret)

    def _tell(self, kind, secret, before):
        self._version += 1
        secret["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((self._version, kind, copy.deepcopy(secret), before))
        self._changed.notify_all()

    # --- watching ---

    def compact(self):
        """Forget all events so far, as a cluster does after some minutes."""
        with self._changed:
            self._version += 1
            self._events, self._oldest = [], self._version

    def hang_up(self):
        """End every watch under way."""
        with self._changed:
            self._epoch += 1
            self._changed.notify_all()

    def events(self, namespace, is_chosen, version, until, *, has_bookmarks):
        """Give events after *version* until the time is over."""
        with self._changed:
            self.watching += 1
            epoch = self._epoch
        try:
            if version in ("", "0"):
                items, found, _ = self.page(namespace, is_chosen, {})
                yield from ({"type": "ADDED", "object": item} for item in items)
                version = found
            yield from self._later(namespace, is_chosen, int(version), until, has_bookmarks, epoch)
        finally:
            with self._changed:
                self.watching -= 1

    def _later(self, namespace, is_chosen, seen, until, has_bookmarks, epoch):
        marked = time.monotonic()
        while True:
            with self._changed:
                if seen < self._oldest:
                    gone = Refused(410, "Expired", f"too old resource version: {seen} ({self._oldest})")
                    found = [{"type": "ERROR", "object": status(gone)}]
                else:
                    later = [event for event in self._events if event[0] > seen]
                    found = [told for event in later if (told := _told(event, namespace, is_chosen))]
                seen = max(self._version, seen)
                is_over = time.monotonic() >= until or self._epoch != epoch
            yield from found
            if found and found[0]["type"] == "ERROR":
                return
            if has_bookmarks and (is_over or time.monotonic() - marked >= _BOOKMARK_SECONDS):
                marked = time.monotonic()
                meta = {"resourceVersion": str(seen), "creationTimestamp": None}
                yield {"type": "BOOKMARK", "object": {"kind": "Secret", "apiVersion": "v1", "metadata": meta}}
            if is_over:
                return
            with self._changed:
                if self._version <= seen and self._epoch == epoch:
                    self._changed.wait(min(max(until - time.monotonic(), 0), _BOOKMARK_SECONDS))


def _told(event, namespace, is_chosen):
    _, kind, secret, before = event
    if secret["metadata"]["namespace"] != namespace:
        return None
    was, now = before is not None and is_chosen(before), kind != "DELETED" and is_chosen(secret)
    if not (was or now):
        return None
    told = "DELETED" if not now else "MODIFIED" if was else "ADDED"
    return {"type": told, "object": copy.deepcopy(secret)}


def _merged(under, over):
    for key, value in over.items():
        if value is None:
            under.pop(key, None)
        elif isinstance(value, dict):
            under[key] = _merged(under.get(key) or {}, value)
        else:
            under[key] = value
    return under


def _same(one, other):
    return json.dumps(_bare(one), sort_keys=True) == json.dumps(_bare(other), sort_keys=True)


def _bare(secret):
    meta = {key: value for key, value in secret["metadata"].items() if key != "resourceVersion"}
    return {**secret, "metadata": meta}


def _validate(name, secret, before):
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise invalid(name, "metadata.name", "a lowercase RFC 1123 subdomain must consist of …")
    for key, value in (secret["metadata"].get("labels") or {}).items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise invalid(name, "metadata.labels", "a valid label must be …")
    data, total = secret.get("data") or {}, 0
    for key, value in data.items():
        if not _KEY.fullmatch(key):
            raise invalid(name, f"data[{key}]", "a valid config key must consist of …")
        try:
            total += len(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            raise Refused(400, "BadRequest", "illegal base64 data") from None
    if total > MAX_BYTES:
        raise invalid(name, "data", f"Too long: must have at most {MAX_BYTES} bytes", "FieldValueTooLong")
    needed, how = _NEEDED.get(secret["type"], ((), all))
    if needed and not how(key in data for key in needed):
        raise invalid(name, f"data[{needed[0]}]", "Required value", "FieldValueRequired")
    if before is not None:
        _validate_change(name, secret, before)


def _validate_change(name, secret, before):
    if secret["type"] != before["type"]:
        raise invalid(name, "type", "field is immutable")
    if before.get("immutable") and (
        not secret.get("immutable") or (secret.get("data") or {}) != (before.get("data") or {})
    ):
        why = "field is immutable when `immutable` is set"
        raise invalid(name, "data", why, "FieldValueForbidden")


def _now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


# --- protobuf, as `kubectl create secret` sends it ------------------------------------------------------


def secret_of_protobuf(data):
    """Give the Secret in *data*: `runtime.Unknown` around core/v1 `Secret`, its metadata, data and type."""
    secret = _opened(data)
    meta = _members(secret[1][0])
    found = {
        "metadata": {
            "name": _first(meta, 1),
            "generateName": _first(meta, 2),
            "labels": {key: value.decode() for key, value in _pairs(meta.get(11, ()))},
            "annotations": {key: value.decode() for key, value in _pairs(meta.get(12, ()))},
        },
        "data": {key: base64.b64encode(value).decode() for key, value in _pairs(secret.get(2, ()))},
    }
    return found | ({"type": _first(secret, 3)} if 3 in secret else {})


def review_of_protobuf(data):
    """Give the SelfSubjectAccessReview in *data*, as `kubectl auth can-i` sends it."""
    asked = _members(_members(_opened(data)[2][0])[1][0])
    names = {1: "namespace", 2: "verb", 3: "group", 4: "version", 5: "resource", 7: "name"}
    return {"spec": {"resourceAttributes": {name: _first(asked, number) for number, name in names.items()}}}


def _opened(data):
    if not data.startswith(b"k8s\0"):
        raise Refused(400, "BadRequest", "the body of the request was in an unknown format")
    return _members(_members(data[4:])[2][0])


def _first(members, number):
    return members[number][0].decode() if number in members else ""


def _pairs(entries):
    for entry in entries:
        members = _members(entry)
        yield members[1][0].decode(), members.get(2, [b""])[0]


def _members(data):
    """Give the members of a message by their number: varints and bytes are all there are here."""
    found, at = {}, 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        size, at = _varint(data, at)
        if wire == 2:
            found.setdefault(number, []).append(data[at : at + size])
            at += size
        else:
            assert wire == 0
    return found


def _varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at
