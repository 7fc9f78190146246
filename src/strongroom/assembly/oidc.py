"""The identity provider of a deployment, made of its settings. Asks nobody before somebody logs in."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from strongroom.policy import Role
from strongroom.service.access.gate import Demands
from strongroom.settings import resolve
from strongroom.settings.oidc import role_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from strongroom.service.access.gate import Gate
    from strongroom.service.access.oidc import OidcLogin
    from strongroom.settings import Settings

__all__ = ["demands_of", "logins_of"]


def demands_of(settings: Settings) -> Demands:
    """Give what is asked of people."""
    said = settings.access
    return Demands(
        takes_passwords=said.password_login,
        fresh=timedelta(seconds=said.step_up_seconds),
        glass=timedelta(seconds=said.break_glass_seconds),
    )


def logins_of(
    settings: Settings, environ: Mapping[str, str], clock: Callable[[], datetime]
) -> Callable[[Gate], OidcLogin] | None:
    """
    Give what makes the logins of people by the provider of the settings; None where they name none.

    Args:
        settings: of the deployment.
        environ: where the client's secret may stand.
        clock: wall clock, UTC.
    """
    said = settings.access.oidc
    if said is None:
        return None
    # Only who has a provider loads what speaks to one.
    from strongroom.service.access.linking import Rules  # noqa: PLC0415
    from strongroom.service.access.oidc import OidcLogin  # noqa: PLC0415
    from strongroom.vendors.oidc import OidcProvider, ProviderOptions  # noqa: PLC0415

    secret = said.client_secret
    options = ProviderOptions(
        issuer=said.issuer,
        client_id=said.client_id,
        client_secret=None if secret is None else partial(resolve, secret, environ=environ),
        client_auth=said.client_auth,
        scopes=said.scopes,
        wanted=tuple({said.name_claim.partition("/")[0], said.groups_claim.partition("/")[0]}),
        algorithms=said.algorithms,
        leeway=timedelta(seconds=said.leeway_seconds),
        timeout=timedelta(seconds=said.timeout_seconds),
        ca=said.ca,
    )
    rules = Rules(
        name_claim=said.name_claim,
        groups_claim=said.groups_claim,
        roles={group: _roles(named) for group, named in said.roles.items()},
        default_roles=_roles(said.default_roles),
        link_existing=said.link_existing,
    )

    def logins(gate: Gate) -> OidcLogin:
        provider = OidcProvider(options, clock=clock)
        return OidcLogin(gate, provider, rules, public_url=said.public_url, fresh=gate.demands.fresh)

    return logins


def _roles(named: tuple[str, ...]) -> tuple[Role, ...]:
    return tuple(Role(*role_named(text)) for text in named)
