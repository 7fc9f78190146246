"""
What `[access]` is: by whom else's word people, workloads, agents and runs are believed, beside passwords,
tokens and enrolled keys.

One deployment believes whom its own table names, so the table stands in that deployment's.

None of it can be set from anywhere but the settings: no request names an issuer, a key or an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from strongroom.errors import InvalidInputError, SettingsError
from strongroom.model.machine import is_private_way
from strongroom.model.principal import canonical
from strongroom.settings.oidc import OidcSettings, oidc_of
from strongroom.settings.runs import AirflowRunSettings, runs_of
from strongroom.settings.source import SecretSource
from strongroom.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "AccessSettings",
    "AllowSettings",
    "CertificateSettings",
    "IssuerSettings",
    "PodSettings",
    "ReviewSettings",
    "access_of",
]

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
IN_CLUSTER = "https://kubernetes.default.svc.cluster.local"  # what an API server calls itself unless told
_DEFAULT_ALGORITHMS = ("RS256", "ES256", "EdDSA")
_MAX_LEEWAY = 10.0  # seconds two clocks may differ
_MAX_LIFETIME = 366 * 86_400.0
_MAX_REVIEW = 60.0  # seconds a review is remembered
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_URL = re.compile(r"https?://[^\s@?#]{1,2000}", re.ASCII)
# What stands before whose a subject is: `repo:acme/etl:…`, `system:serviceaccount:airflow:worker`.
_BEFORE_OWNER = re.compile(
    r"(?:repo|repository(?:_owner)?(?:_id)?|project_(?:path|id)|namespace_(?:path|id)|system:serviceaccount):",
    re.ASCII,
)
_OBJECT = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)  # a name of Kubernetes
IssuerKind = Literal["jwt", "kubernetes", "github", "gitlab", "google", "azure"]
Level = Literal["host", "run"]
# Whoever signs for the whole world must be told whose of it may come: one of these has to be in each rule.
_OWNERS: Mapping[str, tuple[str, ...]] = {
    # Not `job_workflow_ref`: a public workflow may be called from anybody's repository.
    "github": ("sub", "repository", "repository_id", "repository_owner", "repository_owner_id"),
    "gitlab": ("sub", "project_path", "project_id", "namespace_path", "namespace_id"),
    "google": ("sub", "email"),
    "azure": ("sub", "oid", "appid", "azp"),
    # Not the name of an account: whoever has any namespace may give his one every name.
    "kubernetes": ("sub", "kubernetes.io/namespace"),
    "jwt": (),
}
_ISSUERS = {
    "github": "https://token.actions.githubusercontent.com",
    "gitlab": "https://gitlab.com",
    "google": "https://accounts.google.com",
    "kubernetes": IN_CLUSTER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowSettings:
    """
    One of `[[access.issuer.NAME.allow]]`: which of its tokens is which service.

    Args:
        service: the service such a token proves, without `service:`.
        claims: what the token must say, all of it: a claim, or the way to one (`kubernetes.io/namespace`), to
            a text with `*` within a segment and `**` across segments, a number or a truth value.
        level: as of the issuer; its own if unsaid.
    """

    service: str
    claims: Mapping[str, object] = field(default_factory=dict)
    level: Level | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """
    One `[access.issuer.NAME]`: somebody whose signed tokens say who a workload is.

    Args:
        kind: who that is; it fills in `issuer` where it is always the same.
        issuer: what `iss` must be, to the letter.
        audience: what `aud` must hold.
        jwks: the file of its keys.
        jwks_url: where its keys are; by its discovery document if neither is said.
        ca: the authority its certificate is from, PEM; the system's if unsaid.
        algorithms: signatures that are taken.
        leeway_seconds: two clocks may differ by.
        max_seconds: a token may last from its issue to its end.
        level: how sure it is: `host` (L1), or `run` (L2) where only a scheduler gives out these tokens.
        allow: which of its tokens are which service.
    """

    audience: str
    kind: IssuerKind = "jwt"
    issuer: str = ""
    jwks: Path | None = None
    jwks_url: str | None = None
    ca: Path | None = None
    algorithms: tuple[str, ...] = _DEFAULT_ALGORITHMS
    leeway_seconds: float = _MAX_LEEWAY
    max_seconds: float = 86_400.0
    level: Level = "host"
    allow: tuple[AllowSettings, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """
    One of `[[access.kubernetes.allow]]`: which service account of Kubernetes is which service.

    Args:
        namespace: of the service account.
        service_account: its name.
        service: the service its tokens prove, without `service:`.
        level: `run` (L2) where only the scheduler makes pods in that namespace; such a token is one pod's.
    """

    namespace: str
    service_account: str
    service: str
    level: Level = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSettings:
    """
    `[access.kubernetes]`: tokens of service accounts, each asked about at the API server (TokenReview).

    Args:
        api: the API server; the cluster's own, inside of it, if unsaid.
        ca: the authority its certificate is from, PEM.
        token: what we show the API server; our own pod's if unsaid.
        issuer: what `iss` of the tokens is, to the letter.
        audience: what `aud` must hold.
        remember_seconds: a review is good for.
        trusted_labels: read run coordinates from a pod's labels: only the scheduler may set them.
        allow: which service accounts are which service.
    """

    api: str | None = None
    ca: Path | None = None
    token: SecretSource | None = None
    issuer: str = IN_CLUSTER
    audience: str = "strongroom"
    remember_seconds: float = _MAX_REVIEW
    trusted_labels: bool = False
    allow: tuple[PodSettings, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSettings:
    """
    `[access.certificates]`: agents that prove themselves with a TLS client certificate.

    Args:
        agents: the URI or DNS name in a certificate (SAN), to the name of the agent it is.
    """

    agents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """
    `[access]`.

    Args:
        password_login: people may begin a session with a password; the local owner's links go on without.
        step_up_seconds: after a proof of who he is, a person reveals, changes keys and policies without
            another one.
        break_glass_seconds: an administrator's role taken in need lasts at most.
        revoke_bound: seconds a session is good for looking at pages while the database gives no answer.
        oidc: the provider people log in with.
        issuer: whose tokens say who a workload is.
        kubernetes: tokens of service accounts, by review.
        certificates: agents by TLS client certificate.
        airflow: how runs of Airflow are verified.
    """

    password_login: bool = True
    step_up_seconds: float = 300.0
    break_glass_seconds: float = 14_400.0
    revoke_bound: float = 60.0
    oidc: OidcSettings | None = None
    issuer: Mapping[str, IssuerSettings] = field(default_factory=dict)
    kubernetes: ReviewSettings | None = None
    certificates: CertificateSettings | None = None
    airflow: AirflowRunSettings | None = None


def access_of(table: Table) -> AccessSettings:
    """
    Make `[access]` of its table.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    issuers = table.section("issuer")
    parts: dict[str, Any] = {
        "oidc": _part(table, "oidc", oidc_of),
        "issuer": {name: _issuer(name, issuers.section(name)) for name in issuers.values},
        "kubernetes": _part(table, "kubernetes", _review),
        "certificates": _part(table, "certificates", _certificates),
        "airflow": _part(table, "airflow", runs_of),
    }
    known = (*parts, "password_login", "step_up_seconds", "break_glass_seconds", "revoke_bound")
    table.check_keys(known)
    rest = {key: value for key, value in table.values.items() if key not in parts}
    found = Table(rest, table.prefix, table.folder).build(AccessSettings, given=parts)
    _within(found.step_up_seconds, 30, 86_400, f"{table.prefix}step_up_seconds")
    _within(found.break_glass_seconds, 60, 86_400, f"{table.prefix}break_glass_seconds")
    _within(found.revoke_bound, 0, 3600, f"{table.prefix}revoke_bound")
    _check_apart(found, table.prefix)
    return found


def _part(table: Table, name: str, make: Callable[[Table], Any]) -> Any:  # noqa: ANN401 -- any of the parts
    return make(table.section(name)) if name in table.values else None


def _issuer(name: str, table: Table) -> IssuerSettings:
    key = table.prefix
    if not _NAME.fullmatch(name):
        raise SettingsError(
            "the name of an issuer has 1 to 63 lower-case letters, digits, '-' or '_'", key="access.issuer"
        )
    found = table.build(IssuerSettings)
    found = replace(found, issuer=found.issuer or _ISSUERS.get(found.kind, ""))
    if not found.issuer:
        raise SettingsError(f"{key}issuer is missing", key=f"{key}issuer", hint='issuer = "https://…"')
    if not found.audience:
        raise SettingsError(f"{key}audience is empty", key=f"{key}audience", hint='audience = "strongroom"')
    if found.jwks is not None and found.jwks_url is not None:
        raise SettingsError(f"{key}jwks and {key}jwks_url are both said", key=f"{key}jwks_url")
    if found.jwks is None:
        _check_url(found.jwks_url or found.issuer, f"{key}{'jwks_url' if found.jwks_url else 'issuer'}")
    _check_algorithms(found.algorithms, f"{key}algorithms")
    _within(found.leeway_seconds, 0, _MAX_LEEWAY, f"{key}leeway_seconds")
    _within(found.max_seconds, 60, _MAX_LIFETIME, f"{key}max_seconds")
    for rule in found.allow:
        _check_rule(rule, found.kind, f"{key}allow")
    return found


def _check_rule(rule: AllowSettings, kind: str, key: str) -> None:
    _check_service(rule.service, key)
    if not rule.claims:
        raise SettingsError(
            f"{key} must name claims: without any, every token of the issuer would be {rule.service}",
            key=f"{key}.claims",
        )
    for value in rule.claims.values():
        if not isinstance(value, str | bool | int) or value == "":
            raise SettingsError(
                f"{key}.claims must be texts, whole numbers or truth values", key=f"{key}.claims"
            )
    owners = _OWNERS[kind]
    if owners and not any(_says(rule.claims.get(owner)) for owner in owners):
        raise SettingsError(
            f"{key}.claims must say whose tokens: this issuer signs for everybody",
            key=f"{key}.claims",
            hint=f"name one of {', '.join(owners)}, and not by * alone",
        )


def _says(value: object) -> bool:
    """Tell whether a claim's value leaves out anybody: who owns stands first in each that names an owner."""
    if not isinstance(value, str):
        return value is not None
    return bool(re.split("[/:]", _BEFORE_OWNER.sub("", value, count=1))[0].strip("*"))


def _review(table: Table) -> ReviewSettings:
    found = table.build(ReviewSettings)
    if found.api is not None:
        _check_url(found.api, f"{table.prefix}api")
    if not found.audience or not found.issuer:
        key = f"{table.prefix}{'issuer' if found.audience else 'audience'}"
        raise SettingsError(f"{key} is empty", key=key)
    _within(found.remember_seconds, 0, _MAX_REVIEW, f"{table.prefix}remember_seconds")
    for rule in found.allow:
        _check_service(rule.service, f"{table.prefix}allow")
        for name in (rule.namespace, rule.service_account):
            if not _OBJECT.fullmatch(name):
                raise SettingsError(
                    f"{table.prefix}allow must name one namespace and one service account, to the letter",
                    key=f"{table.prefix}allow",
                )
    return found


def _certificates(table: Table) -> CertificateSettings:
    found = table.build(CertificateSettings)
    key = f"{table.prefix}agents"
    for name, agent in found.agents.items():
        given: object = agent  # what stands in a table of any keys was not looked at yet
        if not name or not isinstance(given, str) or not _is_name(given):
            raise SettingsError(
                f"{key} must give each name of a certificate the name of an agent",
                key=key,
                hint='agents = { "spiffe://example.org/host-1" = "host-1" }',
            )
    if len(set(found.agents.values())) < len(found.agents):
        raise SettingsError(
            f"{key} names an agent twice", key=key, hint="each agent has one certificate name"
        )
    return found


def _check_apart(found: AccessSettings, prefix: str) -> None:
    """Refuse two that are told apart by nothing: `iss` alone says whose rules count."""
    named = [issuer.issuer for issuer in found.issuer.values()]
    if found.kubernetes is not None:
        named.append(found.kubernetes.issuer)
    if len(set(named)) < len(named):
        raise SettingsError(f"{prefix}issuer: two have one issuer", key=f"{prefix}issuer")


def _check_service(name: str, key: str) -> None:
    if not _is_name(name):
        raise SettingsError(
            f"{key}.service must be the name of a service, without service: before it", key=f"{key}.service"
        )


def _is_name(text: str) -> bool:
    """Tell whether *text* is a name in its one spelling."""
    try:
        return canonical(text) == text
    except InvalidInputError:
        return False


def _check_algorithms(found: tuple[str, ...], key: str) -> None:
    if found and set(found) <= set(ALGORITHMS):
        return
    raise SettingsError(
        f"{key} must be some of {', '.join(ALGORITHMS)}",
        key=key,
        hint="what is signed with a shared secret proves nothing of who signed it",
    )


def _check_url(url: str, key: str) -> None:
    if not _URL.fullmatch(url):
        raise SettingsError(f"{key} must be http:// or https://, without user, query and fragment", key=key)
    if not is_private_way(url):
        raise SettingsError(
            f"{key} must be https://: whoever is on the way could answer in its place",
            key=key,
            hint="plain http is for what is on this machine",
        )


def _within(value: float, least: float, most: float, key: str) -> None:
    if not least <= value <= most:
        raise SettingsError(f"{key} must be from {least:g} to {most:g}", key=key)
