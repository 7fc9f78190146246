"""
Enrol this host with a server: one code, one key, and what the agent needs to find both again.

Rules of this file:

1. The key is made here and never leaves: its public half and the fingerprint of the host do.
2. It is on the disk before the code is spent, so that a full disk costs no code.
3. What was enrolled before stays as it is until the server has taken the new key.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from strongroom.agent.folder import Looks, replace_file
from strongroom.caller.client import Client
from strongroom.caller.enrolled import FILE, Enrolled, find
from strongroom.caller.hostkey import KEY_FILE, HostKey
from strongroom.caller.request import spelled
from strongroom.errors import (
    BackendConfigError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
)
from strongroom.model.enrolment import enrolment
from strongroom.model.principal import AGENT
from strongroom.wire.agents import AgentEnrolled, AgentSession, EnrolAgent

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.caller.address import ServerAddress
    from strongroom.model.secret import Secret

__all__ = ["enrol", "enrol_with_certificate"]

_NEW_KEY = f"{KEY_FILE}.new"


def enrol(state: Path, address: ServerAddress, code: Secret[str], *, is_again: bool = False) -> Enrolled:
    """
    Enrol this host, and give who it is at the server.

    Args:
        state: the folder of the agent; made if it is not there. What is written belongs to its owner.
        address: where the server is.
        code: of `strongroom access agents invite`.
        is_again: instead of what is enrolled there.

    Raises:
        ConflictError: one is enrolled there.
        NotAuthenticatedError: the code is wrong, was used, or its time is up.
        BackendConfigError: the folder cannot be used.
        BackendUnavailableError: no answer of the server's, or no space on the disk.
        SettingsError: the address is none.
    """
    _make(state)
    _check_free(state, is_again=is_again)
    looks, (key, seed) = _looks(state), HostKey.drawn()
    replace_file(state / _NEW_KEY, seed.reveal(), looks)
    try:
        given = _asked(address, key, "".join(code.reveal().split()))
        enrolled = _enrolled(address, given)
        replace_file(state / KEY_FILE, seed.reveal(), looks)
        replace_file(state / FILE, msgspec.json.encode(enrolled), looks)
    finally:
        with suppress(OSError):
            (state / _NEW_KEY).unlink()
    return enrolled


def enrol_with_certificate(state: Path, address: ServerAddress, *, is_again: bool = False) -> Enrolled:
    """
    Enrol this host by the TLS client certificate of *address*, and give who it is at the server.

    Args:
        state: as of `enrol`.
        address: where the server is, and the certificate.
        is_again: as of `enrol`.

    Raises:
        NotAuthenticatedError: the certificate is of no agent there, or it was not admitted.
        As `enrol`.
    """
    _make(state)
    _check_free(state, is_again=is_again)
    looks, client = _looks(state), Client(address)
    try:
        given = client.post("/agents/login/certificate", AgentSession, may_be_absent=False)
    except NotAuthenticatedError as error:
        error.hint = "strongroom access agents admit NAME, and access.certificates of the server's settings"
        raise
    finally:
        client.close()
    name = given.actor.removeprefix(AGENT)
    enrolled = _enrolled(address, AgentEnrolled(name=name, actor=given.actor, deployment=given.deployment))
    replace_file(state / FILE, msgspec.json.encode(enrolled), looks)
    return enrolled


def _check_free(state: Path, *, is_again: bool) -> None:
    before = find(state)
    if before is not None and not is_again:
        raise ConflictError(
            f"this host is enrolled already, as agent {before.name}",
            hint="say --again to enrol it anew; strongroom access agents revoke ends the old one",
        )


def _make(state: Path) -> None:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise BackendConfigError(
            f'the folder "{state}" cannot be made: {why}',
            hint="run it as the agent's user, or set agent.state",
        ) from None


def _looks(state: Path) -> Looks:
    """Give the files to whom the folder is of, where root enrols for an agent that is somebody else."""
    if os.geteuid() != 0:
        return Looks()
    owner = state.stat()
    return Looks(uid=owner.st_uid, gid=owner.st_gid)


def _asked(address: ServerAddress, key: HostKey, code: str) -> AgentEnrolled:
    question = EnrolAgent(
        code=code,
        public_key=key.public,
        fingerprint=key.fingerprint,
        signature=key.sign(enrolment(code, key.public, key.fingerprint)),
    )
    client = Client(address)
    try:
        return client.post("/agents/enrol", AgentEnrolled, spelled(question), may_be_absent=False)
    except (NotAuthenticatedError, InvalidInputError) as error:
        refusal = _refused(str(error), address.deployment)
    finally:
        client.close()
    raise refusal


def _refused(why: str, deployment: str | None) -> NotAuthenticatedError:
    hint = "ask for another: strongroom access agents invite NAME; it is good for 10 minutes, once"
    if deployment is None:
        return NotAuthenticatedError(why, hint=hint)
    # A server tells no stranger which deployments it has, so the name may be as wrong as the code.
    return NotAuthenticatedError(
        f"the server takes no such code for a deployment {deployment}",
        hint=f"check --server-deployment; or {hint}",
    )


def _enrolled(address: ServerAddress, given: AgentEnrolled) -> Enrolled:
    return Enrolled(
        url=address.url,
        name=given.name,
        deployment=given.deployment,
        is_first=address.deployment is None,
        ca=None if address.ca is None else str(address.ca.absolute()),
        allows_plain_http=address.allows_plain_http,
        client_cert=None if address.client_cert is None else str(address.client_cert.absolute()),
        client_key=None if address.client_key is None else str(address.client_key.absolute()),
    )
