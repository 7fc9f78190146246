"""
Workloads: from a token somebody else signed to the service it is, by what the operator allowed.

Not for signatures and reviews (`vendors/jwt.py`, `vendors/kubernetes_review.py`), nor for what a service may.

Rules of this file:

1. Whose rules a token is held against is its `iss`, to the letter; a token of nobody the operator named
   is nobody's.
2. A rule says every claim it needs; the first rule whose claims all hold says which service it is.
3. A claim is compared as text, number or truth value. `*` stands for anything within a segment, between `/`
   and `:`, and `**` for anything at all: `acme/*` is no `acme-evil/x`, and no `acme/x/y`.
4. What is proven is the workload, and no more: L1, or L2 where the operator says that only a scheduler hands
   out such tokens, and the token is bound to one pod.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strongroom.policy import Assurance, Run
from strongroom.vendors.jwt import TokenError, peek

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from strongroom.vendors.jwt import Claims, Verifier
    from strongroom.vendors.kubernetes_review import Reviewed, Reviewer

__all__ = ["Proof", "ReviewedIssuer", "Rule", "SignedIssuer", "Workloads", "is_signed", "pod_of"]

_WILD = re.compile(r"\*\*|\*")
_MAX_SHOWN = 200  # characters of what a record names
_POD_UID = ("kubernetes.io", "pod", "uid")
_LABELS = ("dag_id", "task_id", "run_id", "map_index", "try_number")
_PREFIX = "system:serviceaccount:"  # what a review calls a service account


def is_signed(token: str) -> bool:
    """Tell whether *token* has the form of a signed one: none of ours has dots."""
    return token.startswith("eyJ") and token.count(".") == 2  # noqa: PLR2004 -- header, claims, signature


class Proof(NamedTuple):
    """
    What a token proved.

    Args:
        service: the name of the service, without `service:`.
        issuer: the issuer's name in the settings; `kubernetes` for a review.
        subject: what the issuer calls it; for the record.
        assurance: how sure it is.
        expires: when it proves nothing any more.
        again: when it has to be looked at again.
        run: the run its pod was made for, where the scheduler's labels are trusted.
    """

    service: str
    issuer: str
    subject: str
    assurance: Assurance
    expires: datetime
    again: datetime
    run: Run | None = None


class Issuer(Protocol):
    """Somebody by whose tokens workloads are known. Threads: safe."""

    def prove(self, token: str) -> Proof:
        """
        Give what *token* proves. May ask the issuer.

        Raises:
            TokenError: nothing; `reason` is for the record.
            BackendUnavailableError: that cannot be told now.
        """

    def close(self) -> None:
        """Let go of connections. Safe to call twice."""


class Workloads:
    """
    Every issuer of one deployment, by `iss`.

    Threads: safe.

    Args:
        makers: make an issuer each, when it is first needed.
        services: every service a rule gives, `service:etl`, and the names of the issuers of these rules.
    """

    def __init__(
        self, makers: Mapping[str, Callable[[], Issuer]], services: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.services = services
        self._makers = makers
        self._made: dict[str, Issuer] = {}
        self._lock = Lock()

    def prove(self, token: str) -> Proof:
        """
        Give what *token* proves. Raises as `Issuer.prove`.

        Raises:
            BackendConfigError: the issuer cannot be used as it is configured.
        """
        issuer = peek(token)
        if issuer is None:
            raise TokenError("no token of three parts that names an issuer")
        if issuer not in self._makers:
            raise TokenError("an issuer that is not known here")
        return self._issuer(issuer).prove(token)

    def open(self) -> None:
        """
        Make every issuer now, asking none of them.

        Raises:
            BackendConfigError: one cannot be used as it is configured.
        """
        for issuer in self._makers:
            self._issuer(issuer)

    def close(self) -> None:
        """Let go of every issuer's connections. Safe to call twice."""
        for issuer in tuple(self._made.values()):
            issuer.close()

    def _issuer(self, issuer: str) -> Issuer:
        found = self._made.get(issuer)
        if found is None:
            with self._lock:
                found = self._made.get(issuer)
                if found is None:
                    found = self._made[issuer] = self._makers[issuer]()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    Which tokens are which service.

    Args:
        service: without `service:`.
        claims: what a token must say, all of it.
        is_run: it is as good as a verified run, if it is bound to a pod.
    """

    service: str
    claims: Mapping[str, object]
    is_run: bool = False

    def takes(self, said: Mapping[str, object]) -> bool:
        """Tell whether a token that says *said* is one of these."""
        return all(_holds(wanted, _claim(said, name)) for name, wanted in self.claims.items())


class SignedIssuer:
    """
    Tokens that are checked by their issuer's keys.

    Args:
        name: in the settings.
        verifier: checks them.
        rules: in the operator's order.
        remembered_until: gives when what is proven now has to be proven again.
        needs_pod: L2 is for tokens of one pod.
        close: lets go of the keys.
    """

    def __init__(
        self,
        name: str,
        verifier: Verifier,
        rules: Sequence[Rule],
        *,
        remembered_until: Callable[[], datetime],
        needs_pod: bool,
        close: Callable[[], None],
    ) -> None:
        self._name = name
        self._verifier = verifier
        self._rules = tuple(rules)
        self._remembered_until = remembered_until
        self._needs_pod = needs_pod
        self.close = close

    def prove(self, token: str) -> Proof:
        """Give what *token* proves; as `Issuer.prove`."""
        claims = self._verifier.check(token)
        rule = next((one for one in self._rules if one.takes(claims.all)), None)
        if rule is None:
            raise TokenError(f"no rule of the issuer {self._name} takes it")
        return Proof(
            service=rule.service,
            issuer=self._name,
            subject=claims.subject[:_MAX_SHOWN],
            assurance=self._assurance(rule, claims),
            expires=claims.expires + self._verifier.leeway,
            again=self._remembered_until(),
        )

    def _assurance(self, rule: Rule, claims: Claims) -> Assurance:
        is_bound = not self._needs_pod or isinstance(_walked(claims.all, _POD_UID), str)
        return Assurance.VERIFIED_RUN if rule.is_run and is_bound else Assurance.HOST_USER


class ReviewedIssuer:
    """
    Tokens of service accounts that the API server of Kubernetes is asked about.

    Args:
        reviewer: asks it.
        rules: by (namespace, service account).
        remembered_until: as of `SignedIssuer`.
        trusts_labels: only the scheduler may set a pod's labels and annotations.
    """

    def __init__(
        self,
        reviewer: Reviewer,
        rules: Mapping[tuple[str, str], Rule],
        *,
        remembered_until: Callable[[], datetime],
        trusts_labels: bool,
    ) -> None:
        self._reviewer = reviewer
        self._rules = rules
        self._remembered_until = remembered_until
        self._trusts_labels = trusts_labels
        self.close = reviewer.close

    def prove(self, token: str) -> Proof:
        """Give what *token* proves; as `Issuer.prove`."""
        found = self._reviewer.review(token)
        rule = self._rules.get((found.namespace, found.service_account))
        if rule is None:
            raise TokenError("a service account that no rule takes")
        is_run = rule.is_run and found.pod_uid is not None
        run = self._run(found) if is_run and self._trusts_labels else None
        return Proof(
            service=rule.service,
            issuer="kubernetes",
            subject=f"{_PREFIX}{found.namespace}:{found.service_account}",
            assurance=Assurance.VERIFIED_RUN if is_run else Assurance.HOST_USER,
            expires=found.expires,
            again=self._remembered_until(),
            run=run,
        )

    def _run(self, found: Reviewed) -> Run | None:
        """Give the run a pod was made for, as its scheduler wrote; None for a pod of nothing of the kind."""
        return pod_of(self._reviewer.pod(found))


def pod_of(said: Mapping[str, str]) -> Run | None:
    """
    Give the run that *said*, the labels and annotations of a pod of Airflow, speak of.

    Source: airflow.providers.cncf.kubernetes.pod_generator.PodGenerator.construct_pod.
    """
    dag_id, task_id, run_id = (said.get(name) for name in _LABELS[:3])
    if not dag_id or not task_id or not run_id:
        return None
    map_index, try_number = (_number(said.get(name)) for name in _LABELS[3:])
    return Run(Assurance.VERIFIED_RUN, dag_id, task_id, run_id, map_index, try_number)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII) else None


# --- claims -------------------------------------------------------------------------------------------


def _claim(said: Mapping[str, object], name: str) -> object:
    """Give the claim of that name, or the one on that way: `kubernetes.io/namespace`."""
    return said[name] if name in said else _walked(said, tuple(name.split("/")))


def _walked(said: Mapping[str, object], way: tuple[str, ...]) -> object:
    found: object = said
    for step in way:
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def _holds(wanted: object, found: object) -> bool:
    if isinstance(found, list):  # groups, roles: one of them is meant
        return any(_holds(wanted, one) for one in found if not isinstance(one, list))
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(wanted, int):
        return found in (wanted, str(wanted)) and not isinstance(found, float)
    if not isinstance(found, str) or not isinstance(wanted, str):
        return False
    return _pattern(wanted).fullmatch(found) is not None


def _pattern(text: str) -> re.Pattern[str]:
    parts, at = [], 0
    for wild in _WILD.finditer(text):
        parts += [re.escape(text[at : wild.start()]), "[^\n]*" if wild[0] == "**" else "[^/:\n]*"]
        at = wild.end()
    return re.compile("".join(parts) + re.escape(text[at:]))
