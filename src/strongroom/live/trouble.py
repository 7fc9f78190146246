"""
What may go wrong between a connection and the service it leads to: one table, for live clients and for tests
of connections alike.

Rules of this file:

1. A trouble is a step and a reason, both of a closed set; its words say what to change.
2. No word of a driver, a service or a connection's value stands in it; the name of the connection does.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    StrongroomError,
)

__all__ = ["TABLE", "Reason", "Step", "Words", "trouble", "words_of"]

Step = Literal["driver", "options", "name", "address", "tcp", "tls", "token", "authentication", "read"]
"""What is done to use a connection, in the order it is done; not every connection needs all of them."""
Reason = Literal[
    "missing",
    "unknown",
    "malformed",
    "forbidden",
    "refused",
    "timeout",
    "expired",
    "untrusted",
    "wrong_host",
    "plaintext",
    "credentials",
    "unavailable",
    "other",
]


class Words(NamedTuple):
    """
    How a trouble is told.

    Args:
        message: what is wrong, after the name of the connection.
        advice: what to do.
        kind: the error that says who can act.
    """

    message: str
    advice: str
    kind: type[StrongroomError]


TABLE: dict[tuple[Step, Reason], Words] = {
    ("driver", "missing"): Words("needs a library that is not installed", "install it", BackendConfigError),
    ("driver", "unknown"): Words(
        "has no such driver", "name one that its type has: docs/live.md", BackendConfigError
    ),
    ("driver", "other"): Words(
        "has a library that does not load here",
        "install it anew, in a release for this Python",
        BackendConfigError,
    ),
    ("options", "missing"): Words("lacks a field", "fill it in", BackendConfigError),
    ("options", "malformed"): Words("has a field that cannot be read", "correct it", BackendConfigError),
    ("options", "unknown"): Words(
        "has an option that its driver does not know", "take it out, or correct its name", BackendConfigError
    ),
    ("options", "forbidden"): Words(
        "has an option that may not be used here",
        "test it where it runs: --on agent, or --on here",
        AccessDeniedError,
    ),
    ("name", "unknown"): Words(
        "names a host that has no address", "correct the host, or the DNS of this machine", BackendConfigError
    ),
    ("name", "unavailable"): Words(
        "names a host that could not be looked up now",
        "try again; see to the DNS of this machine",
        BackendUnavailableError,
    ),
    ("address", "forbidden"): Words(
        "leads to an address that may not be asked from here",
        "list its network in server.test_networks, or test it where it runs: --on agent",
        AccessDeniedError,
    ),
    ("tcp", "refused"): Words(
        "leads to a machine on which nothing listens at its port",
        "correct host and port, or start the service",
        BackendUnavailableError,
    ),
    ("tcp", "timeout"): Words(
        "leads to a machine that does not answer",
        "see to routes and firewalls between the two",
        BackendUnavailableError,
    ),
    ("tcp", "unavailable"): Words(
        "leads to a machine that cannot be reached",
        "see to routes and firewalls between the two",
        BackendUnavailableError,
    ),
    ("tls", "expired"): Words(
        "leads to a service whose certificate has expired", "have it renewed there", BackendConfigError
    ),
    ("tls", "untrusted"): Words(
        "leads to a service whose certificate or host key is not trusted",
        "give its authority or its key in the connection, or correct the host",
        BackendConfigError,
    ),
    ("tls", "wrong_host"): Words(
        "leads to a service whose certificate is for another name", "correct the host", BackendConfigError
    ),
    ("tls", "plaintext"): Words(
        "leads to a service that does not speak TLS there",
        "correct the port, or switch TLS off",
        BackendConfigError,
    ),
    ("tls", "malformed"): Words(
        "has a certificate or key of its own that cannot be read",
        "correct the files or texts it names",
        BackendConfigError,
    ),
    ("tls", "other"): Words(
        "leads to a service with which no TLS could be agreed on",
        "see to the releases of TLS that both sides speak",
        BackendConfigError,
    ),
    ("token", "credentials"): Words(
        "is refused a token by its provider",
        "see to what the provider trusts: the role, its conditions, the client's secret",
        AccessDeniedError,
    ),
    ("token", "missing"): Words(
        "finds no identity on this machine to get a token with",
        "run it where the role or identity is given, or fill in credentials",
        BackendConfigError,
    ),
    ("token", "forbidden"): Words(
        "may not be who or what it names, says its provider of tokens",
        "have the role granted that this takes",
        AccessDeniedError,
    ),
    ("token", "unknown"): Words(
        "names a tenant, client or secret that its provider of tokens does not know",
        "correct it, or the cloud where it is looked for",
        BackendConfigError,
    ),
    ("token", "malformed"): Words(
        "is given an answer by its provider that is no token",
        "correct the provider's address",
        BackendConfigError,
    ),
    ("token", "unavailable"): Words(
        "has a provider of tokens that does not answer",
        "wait, or see to the provider",
        BackendUnavailableError,
    ),
    ("authentication", "credentials"): Words(
        "is refused by its service: the credentials are wrong or no longer count",
        "correct them in the store, or have them rotated",
        AccessDeniedError,
    ),
    ("authentication", "forbidden"): Words(
        "is let in by its service, but not to what it names",
        "grant its user the database, bucket or scope it names",
        AccessDeniedError,
    ),
    ("authentication", "missing"): Words(
        "has no credentials that its service takes", "fill in what the service asks for", BackendConfigError
    ),
    ("authentication", "unavailable"): Words(
        "leads to a service that lets nobody in now", "wait, or see to the service", BackendUnavailableError
    ),
    ("authentication", "other"): Words(
        "leads to a service that ended the conversation",
        "see to the service's own log",
        BackendUnavailableError,
    ),
    ("read", "forbidden"): Words("may log in, but not read", "grant its user a read", AccessDeniedError),
    ("read", "unknown"): Words(
        "names a thing that its service does not have",
        "correct the database, bucket or path",
        BackendConfigError,
    ),
    ("read", "unavailable"): Words(
        "leads to a service that does not answer a read",
        "wait, or see to the service",
        BackendUnavailableError,
    ),
    ("read", "other"): Words(
        "leads to a service that answers a read with an error",
        "see to the service's own log",
        BackendUnavailableError,
    ),
}
_OTHER = Words("cannot be used", "see to the service's own log", BackendUnavailableError)
# One reason may come up at more than one step; where a step has no words of its own these are told.
_ANY: dict[Reason, Words] = {
    "timeout": Words(
        "leads to a service that does not answer in time",
        "wait, or see to the service",
        BackendUnavailableError,
    ),
}


def words_of(step: Step, reason: Reason) -> Words:
    """Give the words for *reason* at *step*."""
    return TABLE.get((step, reason)) or _ANY.get(reason, _OTHER)


def trouble(
    step: Step, reason: Reason, *, name: str, detail: str = "", hint: str | None = None
) -> StrongroomError:
    """
    Give the error of a *step* that failed for *reason*, with both as attributes `step` and `reason`.

    Args:
        step: what was done.
        reason: why it failed.
        name: of the connection.
        detail: a name of ours or of the catalog, such as that of a field, an option or a library; never
            a value.
        hint: what to do, instead of the table's advice.

    Returns:
        AccessDeniedError, BackendConfigError or BackendUnavailableError, as the table says.
    """
    words = words_of(step, reason)
    message = f"the connection {name!r} {words.message}" + (f": {detail}" if detail else "") + f" ({step})"
    advice = words.advice if hint is None else hint
    error: StrongroomError
    if words.kind is AccessDeniedError:
        error = AccessDeniedError(message, reason=reason, hint=advice)
    elif words.kind is BackendUnavailableError:
        error = BackendUnavailableError(message, backend=name, hint=advice)
    else:
        error = words.kind(message, hint=advice)
    error.step, error.reason = step, reason  # type: ignore[attr-defined]  # evidence of these errors alone
    return error
