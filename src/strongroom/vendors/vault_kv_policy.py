"""
What a token needs for the key-value engine: one table, that writes the policy and checks the token.

Rules of this file:

1. Nothing is allowed that no question of ours needs; what is checked is what the policy says.
2. Reading is one entry's value; listing is names, and the times of versions; writing is writing, deleting
   and bringing back, without seeing a value.

Source: the HTTP API of OpenBao 2.7 and its policies, run against it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from strongroom.errors import BackendConfigError
from strongroom.vendors.vault_answer import member, opened

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from strongroom.vendors.vault import VaultSession

__all__ = ["VERBS", "KvNeeds", "Standing", "standing"]

Verb = Literal["read", "list", "write"]
VERBS: tuple[Verb, ...] = ("read", "list", "write")
_OK = 200
_ORDER = ("create", "read", "update", "patch", "delete", "list")
_WILD = ("*", "+", "{{", "${")  # what a policy would read as more than the letters


@dataclass(frozen=True, slots=True, kw_only=True)
class KvNeeds:
    """
    What one backend is set to keep, and where.

    Args:
        place: the backend's name, for messages.
        mount: of the engine; "" when names say it.
        is_versioned: whether it is version 2.
        folders: what names stand below, "" for all of the mount.
        secrets: those that hold many entries.
        dynamic: paths that make credentials.
        is_wrapped: whether what is read comes wrapped.
    """

    place: str
    mount: str
    is_versioned: bool
    folders: tuple[str, ...]
    secrets: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    is_wrapped: bool = False

    def rules(self, verbs: Collection[str]) -> dict[str, tuple[str, ...]]:
        """
        Give what *verbs* need: capabilities by path, as a policy names both.

        Raises:
            BackendConfigError: a path of the settings would mean something else in a policy.
        """
        found: dict[str, set[str]] = {}
        for verb in VERBS:
            for path, capabilities in self._of(verb) if verb in verbs else ():
                found.setdefault(path, set()).update(capabilities)
        return {path: tuple(sorted(held, key=_ORDER.index)) for path, held in found.items()}

    def hcl(self, verbs: Collection[str]) -> str:
        """
        Give `rules` as the text of a policy.

        Raises:
            As `rules`.
        """
        rules = {json.dumps(path, ensure_ascii=False): held for path, held in self.rules(verbs).items()}
        width = max(map(len, rules), default=0)
        lines = [
            f"path {path:<{width}} {{ capabilities = {json.dumps(held)} }}" for path, held in rules.items()
        ]
        return "\n".join([*lines, ""])

    def _of(self, verb: str) -> list[tuple[str, tuple[str, ...]]]:
        below, whole = [f"{folder}*" for folder in self.folders], list(self.secrets)
        wrapping = [("sys/wrapping/unwrap", ("update",))] if self.is_wrapped else []
        if verb == "read":
            leased = [(self._checked(path), ("read",)) for path in self.dynamic]
            if leased:
                leased += [(f"sys/leases/{what}", ("update",)) for what in ("renew", "revoke")]
            return [*self._at("data", [*below, *whole], "read"), *leased, *wrapping]
        if verb == "list":
            if not self.is_versioned:
                return [*self._at("", below, "list"), *self._at("", whole, "read"), *wrapping * bool(whole)]
            return [
                *self._at("metadata", below, "list", "read"),
                *self._at("metadata", whole, "read"),
                *self._at("data", whole, "read"),
                *wrapping * bool(whole),
            ]
        if not self.is_versioned:
            # Whether there is anything to delete, only its value tells.
            return [
                *self._at("", [*below, *whole], "create", "read", "update", "delete"),
                *wrapping,
            ]
        return [
            *self._at("data", below, "create", "update", "delete"),
            *self._at("data", whole, "create", "read", "update"),
            *self._at("delete", below, "update"),
            *self._at("undelete", below, "update"),
            *self._at("metadata", [*below, *whole], "read"),
            *wrapping * bool(whole),
        ]

    def doors(self, verb: str) -> list[tuple[str, tuple[str, ...]]]:
        """Give what *verb* cannot do without, by the paths of each kind of entries."""
        below, whole = [f"{folder}*" for folder in self.folders], list(self.secrets)
        if verb == "list":
            return [*self._at("metadata", below, "list"), *self._at("data", whole, "read")]
        needed = ("read",) if verb == "read" else ("create", "update")
        return self._at("data", [*below, *whole], *needed)

    def _at(self, door: str, paths: Sequence[str], *capabilities: str) -> list[tuple[str, tuple[str, ...]]]:
        door = door if self.is_versioned else ""
        # Where names say the mount, a policy says: any one segment.
        parts = [part for part in (self._checked(self.mount) or "+", door) if part]
        return [
            (
                "/".join([*parts, self._checked(path.removesuffix("*")) + "*" * path.endswith("*")]),
                capabilities,
            )
            for path in paths
        ]

    def _checked(self, path: str) -> str:
        if any(sign in path for sign in _WILD):
            raise BackendConfigError(
                f"a policy for the backend {self.place} cannot name one of its paths exactly",
                hint="a path that holds *, +, {{ or ${ means more in a policy; choose another",
            )
        return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    What a token may.

    Args:
        may: by verb.
        lacks: by verb the rules that no policy of it has, as lines of a policy.
    """

    may: Mapping[str, Literal["yes", "no", "unknown"]]
    lacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def standing(needs: KvNeeds, session: VaultSession) -> Standing:
    """
    Ask the server what our token may of what *needs* says, in one question that changes nothing.

    A verb counts as allowed where it is for one kind of entries at least: not every policy names all.

    Raises:
        StrongroomError: as `VaultSession.request`.
    """
    unknown = Standing(may=dict.fromkeys(VERBS, "unknown"))
    if not needs.mount:
        return unknown
    rules = {verb: needs.rules([verb]) for verb in VERBS}
    paths = sorted({path for every in rules.values() for path in every})
    if not paths:
        return unknown
    reply = session.request("POST", "/v1/sys/capabilities-self", body={"paths": paths})
    told = member(opened(reply, needs.place), dict, "data") if reply.status == _OK else None
    if told is None:
        return unknown
    may: dict[str, Literal["yes", "no", "unknown"]] = {
        verb: "yes" if any(not _short(told.get(path), held) for path, held in needs.doors(verb)) else "no"
        for verb in VERBS
    }
    lacks = {
        verb: tuple(
            f'path "{path}" {{ capabilities = {json.dumps(short)} }}'
            for path, wanted in every.items()
            if (short := _short(told.get(path), wanted))
        )
        for verb, every in rules.items()
    }
    return Standing(may=may, lacks={verb: lines for verb, lines in lacks.items() if lines})


def _short(told: object, wanted: Sequence[str]) -> list[str]:
    held = told if isinstance(told, list) else []
    return [] if "root" in held else [one for one in wanted if one not in held]
