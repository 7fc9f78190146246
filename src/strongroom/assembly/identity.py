"""
By whose tokens workloads are known: `[access.issuer]` and `[access.kubernetes]`, made into issuers.

Not for how a token is checked: `vendors/jwt.py`, `vendors/kubernetes_review.py`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from strongroom.model.principal import SERVICE
from strongroom.service.access.workload import ReviewedIssuer, Rule, SignedIssuer, Workloads
from strongroom.settings.source import Fetcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from strongroom.service.access.workload import Issuer
    from strongroom.settings.access import (
        AccessSettings,
        AllowSettings,
        IssuerSettings,
        PodSettings,
        ReviewSettings,
    )

    _OfService = AllowSettings | PodSettings

_REMEMBERED = timedelta(seconds=60)  # what was proven is proven again after so long


def workloads_of(
    access: AccessSettings, *, clock: Callable[[], datetime], environ: Mapping[str, str]
) -> Workloads | None:
    """
    Give every issuer of the settings, none of them made yet; None where there is none.

    Args:
        access: the settings.
        clock: wall clock, UTC.
        environ: says where the cluster of this pod is, and where secrets of the settings may stand.
    """
    makers: dict[str, Callable[[], Issuer]] = {}
    services: dict[str, tuple[str, ...]] = {}
    for name, issuer in access.issuer.items():
        makers[issuer.issuer] = partial(_signed, name, issuer, clock)
        _add(services, name, issuer.allow)
    review = access.kubernetes
    if review is not None:
        makers[review.issuer] = partial(_reviewed, review, clock, environ)
        _add(services, "kubernetes", review.allow)
    return Workloads(makers, services) if makers else None


def check_issuers(
    access: AccessSettings, *, clock: Callable[[], datetime], environ: Mapping[str, str]
) -> None:
    """
    Refuse issuers that can never work as they are configured; none of them is asked.

    Raises:
        BackendConfigError: one cannot: its file of keys, the account we ask as, or a library is not there.
    """
    workloads = workloads_of(access, clock=clock, environ=environ)
    if workloads is not None:
        try:
            workloads.open()
        finally:
            workloads.close()


def certificates_of(access: AccessSettings) -> Mapping[str, str]:
    """Give the names of TLS client certificates, to the agent each is."""
    return {} if access.certificates is None else access.certificates.agents


def _add(services: dict[str, tuple[str, ...]], name: str, rules: Iterable[_OfService]) -> None:
    for service in {SERVICE + rule.service for rule in rules}:
        services[service] = (*services.get(service, ()), name)


def _signed(name: str, said: IssuerSettings, clock: Callable[[], datetime]) -> SignedIssuer:
    from strongroom.vendors.jwks import FileKeys, UrlKeys  # noqa: PLC0415 -- only who knows issuers
    from strongroom.vendors.jwt import Verifier  # noqa: PLC0415 -- as above

    keys = (
        UrlKeys(name, url=said.jwks_url, issuer=said.issuer, ca=said.ca)
        if said.jwks is None
        else FileKeys(name, said.jwks)
    )
    verifier = Verifier(
        issuer=said.issuer,
        audience=said.audience,
        algorithms=said.algorithms,
        keys=keys,
        clock=clock,
        leeway=timedelta(seconds=said.leeway_seconds),
        longest=timedelta(seconds=said.max_seconds),
    )
    rules = [
        Rule(service=one.service, claims=one.claims, is_run=(one.level or said.level) == "run")
        for one in said.allow
    ]
    return SignedIssuer(
        name,
        verifier,
        rules,
        remembered_until=lambda: clock() + _REMEMBERED,
        needs_pod=said.kind == "kubernetes",
        close=keys.close,
    )


def _reviewed(
    said: ReviewSettings, clock: Callable[[], datetime], environ: Mapping[str, str]
) -> ReviewedIssuer:
    from strongroom.vendors.kubernetes import KubernetesAccess, KubernetesSession  # noqa: PLC0415 -- as above
    from strongroom.vendors.kubernetes_review import Reviewer  # noqa: PLC0415 -- as above

    token = None if said.token is None else Fetcher(said.token, environ)
    access = KubernetesAccess(url=said.api, ca=said.ca, token=token)
    session = KubernetesSession("access.kubernetes", access, environ=environ, clock=clock)
    remembered = timedelta(seconds=said.remember_seconds)
    reviewer = Reviewer(session, audience=said.audience, clock=clock, remember_seconds=said.remember_seconds)
    rules = {
        (one.namespace, one.service_account): Rule(service=one.service, claims={}, is_run=one.level == "run")
        for one in said.allow
    }
    return ReviewedIssuer(
        reviewer,
        rules,
        remembered_until=lambda: clock() + remembered,
        trusts_labels=said.trusted_labels,
    )
