"""
The keys of an Azure Key Vault, beside its secrets in `parts.azure` and as strict: RSA keys with versions, the
operations wrapKey and unwrapKey, and the codes of its errors.

    azure.key("strongroom"); azure.renew("strongroom"); azure.enable("strongroom", False)
"""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from parts.azure import Azure, _error

_PADDING = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_DIFFERENT = 3  # private keys: making one takes longer than a test
_numbers = itertools.count()
KEY_RIGHTS = frozenset({"get", "wrapkey", "unwrapkey"})


@cache
def _private(_number):
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class AzureWithKeys(Azure):
    """
    Attributes:
        keys: by name, the versions of each: (id, private key).
        key_rights: the operations that everybody has.
        disabled: names of keys that are.
        is_down: it hangs up on everybody.
    """

    def clear(self):
        super().clear()
        self.keys, self.key_rights, self.disabled, self.is_down = {}, KEY_RIGHTS, set(), False

    def key(self, name):
        """Make a key."""
        self.keys[name] = []
        self.renew(name)

    def renew(self, name):
        """Make a new version of a key."""
        self.keys[name].append((uuid.uuid4().hex, _private(next(_numbers) % _DIFFERENT)))

    def _vault(self, method, target, headers, body):
        if self.is_down:
            raise ConnectionError
        return super()._vault(method, target, headers, body)

    def _answer(self, method, path, query, body, client):
        kind, _, rest = path.strip("/").partition("/")
        if kind != "keys":
            return super()._answer(method, path, query, body, client)
        name, _, more = rest.partition("/")
        version, _, act = more.partition("/")
        if (method, act) not in (("GET", ""), ("POST", "wrapkey"), ("POST", "unwrapkey")):
            return 404, b"<html>no such page</html>", {"content-type": "text/html"}
        return self._of_key(name, version, act, body)

    def _of_key(self, name, version, act, body):
        if (act or "get") not in self.key_rights:
            return 403, _error("Forbidden", self.denial), {}
        versions = self.keys.get(name, ())
        found = next((one for one in reversed(versions) if version in ("", one[0])), None)
        if found is None:
            return 404, _error("KeyNotFound"), {}
        if not act:
            return 200, self._described(name, found), {}
        if name in self.disabled:
            return 403, _error("Forbidden", "KeyDisabled"), {}
        return self._used(name, found, act, body)

    def _described(self, name, found):
        kid = f"{self.vault_url}/keys/{name}/{found[0]}"
        enabled = name not in self.disabled
        key = {"kid": kid, "kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"], "n": "AQ", "e": "AQAB"}
        return {"key": key, "attributes": {"enabled": enabled}}

    def _used(self, name, found, act, body):
        try:
            said = json.loads(body)
            data = base64.b64decode(said["value"] + "=" * (-len(said["value"]) % 4), altchars=b"-_")
            assert "=" not in said["value"], "padded, which base64url of JOSE is not"
            assert said["alg"] == "RSA-OAEP-256"
            private = found[1]
            made = (
                private.public_key().encrypt(data, _PADDING)
                if act == "wrapkey"
                else private.decrypt(data, _PADDING)
            )
        except (ValueError, KeyError):
            return 400, _error("BadParameter"), {}
        kid = f"{self.vault_url}/keys/{name}/{found[0]}"
        value = base64.urlsafe_b64encode(made).rstrip(b"=").decode()
        return 200, {"kid": kid, "value": value}, {}
