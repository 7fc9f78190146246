"""
What we may do with the Secrets of a namespace: asked of the API server, and said as a Role.

Rules of this file:

1. Nothing is tried to find out: the server is asked by a SelfSubjectAccessReview, which everybody may.
2. A right is asked for the very Secrets it is needed for, where their names are known. RBAC knows no name
   before one exists, so `create` is for all of a namespace.

Source: kubernetes.io/docs/reference/access-authn-authz/authorization and /rbac.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from strongroom.backend import Health
from strongroom.errors import BackendConfigError, StrongroomError
from strongroom.vendors.kubernetes_answer import Asked, denied

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from strongroom.vendors.kubernetes import KubernetesSession
    from strongroom.vendors.kubernetes_secrets import Secrets

__all__ = ["Rights"]

_WRITES = ("create", "patch", "delete")
_Word = Literal["yes", "no", "unknown"]


class Rights:
    """
    What a backend needs, and whether it has it.

    Args:
        session: the way to the server.
        secrets: of it.
        reads: the verb of RBAC that a read is.
        names: the Secrets that are all it keeps, where that is known; () for any.
    """

    def __init__(
        self,
        session: KubernetesSession,
        secrets: Secrets,
        reads: Literal["get", "list"],
        names: Sequence[str],
    ) -> None:
        self._session = session
        self._secrets = secrets
        self._reads = reads
        self._names = names
        self._needed: Mapping[str, tuple[str, ...]] = {
            "read": (reads,),
            "list": ("get",) if names else ("list",),
            "write": (reads, *_WRITES),
        }

    def health(self) -> Health:
        """Tell whether it answers, who we are and what we may: seven requests where no names are known."""
        try:
            identity = self._secrets.identity()
            every = dict.fromkeys(verb for verbs in self._needed.values() for verb in verbs)
            answers = {verb: self._may(verb) for verb in every}
            may = {word: _least(answers[verb] for verb in verbs) for word, verbs in self._needed.items()}
            trouble = self._trouble(may)
        except StrongroomError as error:
            return Health.failed(error)
        ends = {}
        if self._session.certificate_ends is not None:
            ends["server certificate"] = self._session.certificate_ends
        place = f"Secrets of the namespace {self._session.namespace}"
        message = place if trouble is None else Health.told(trouble)
        status: Literal["ready", "error"] = "ready" if trouble is None else "error"
        return Health(status=status, message=message, identity=identity, may=may, ends=ends)

    def _may(self, verb: str) -> _Word:
        names = self._names if verb != "create" else ()
        return _least(self._word(self._secrets.may(verb, name)) for name in names or ("",))

    def _word(self, answer: bool | None) -> _Word:  # noqa: FBT001 -- an answer, no switch
        return "unknown" if answer is None else "yes" if answer else "no"

    def _trouble(self, may: Mapping[str, _Word]) -> StrongroomError | None:
        namespace = self._session.namespace
        if self._secrets.has_namespace() is False:
            return BackendConfigError(
                f"the namespace {namespace} of the backend {self._session.name} does not exist",
                hint="set namespace to one that does: kubectl get namespaces",
            )
        if may["read"] == "no":
            return denied(Asked(self._session.name, self._reads, "secrets", namespace))
        return None

    def least_policy(self, verbs: Collection[str]) -> str:
        """As `Provisioning`: a Role and a RoleBinding; whoever applies it fills in whom it is for."""
        wanted = {**self._needed, "list": (*self._needed["list"], "list", "watch")}
        needed = dict.fromkeys(verb for word, mine in wanted.items() if word in verbs for verb in mine)
        if not self._names:
            return _role(self._session.namespace, _rule(list(needed), ()))
        # A list or watch of a namespace cannot be narrowed to names, nor can what makes one.
        wide = [verb for verb in needed if verb in ("create", "list", "watch")]
        narrow = [verb for verb in needed if verb not in wide]
        rules = _rule(narrow, self._names) + _rule(wide, ())
        return _role(self._session.namespace, rules)


def _least(words: Iterable[_Word]) -> _Word:
    found = set(words)
    return "no" if "no" in found else "unknown" if "unknown" in found else "yes"


def _rule(verbs: Sequence[str], names: Sequence[str]) -> str:
    if not verbs:
        return ""
    lines = ['- apiGroups: [""]', "  resources: [secrets]"]
    lines += [f"  resourceNames: [{', '.join(names)}]"] if names else []
    return "".join(f"{line}\n" for line in (*lines, f"  verbs: [{', '.join(verbs)}]"))


def _role(namespace: str, rules: str) -> str:
    return f"""\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: strongroom
  namespace: {namespace}
rules:
{rules}---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: strongroom
  namespace: {namespace}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: strongroom
subjects:
- kind: ServiceAccount
  name: strongroom  # the one that asks
  namespace: {namespace}
"""
