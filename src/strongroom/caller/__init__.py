"""
Speak to an agent or to a server: what is asked goes out, answers and refusals come back as our own shapes.

- `frames.py`, `agent.py`, `loop.py`: the agent of this machine, on its socket (docs/protocol.md).
- `client.py` and what it stands on: a server, `/v1` over the hardened transport.

Not for what is asked (`remote/`) and not for where the agent or the server is (`place.py`,
`remote/profile.py`).

Rules of this package:

1. No value is kept: whatever is asked is asked of the agent or server, which decides, records and may
   revoke it.
2. Only an answer in the other end's own shape is an answer. A status of somebody between, a page of another
   service, an answer cut short: all are *unavailable*, none is *absent* or *denied*.
3. The token stands in one header of one request and nowhere else: in no message, `repr`, log or argument.
4. A text of the other end's is shown without its control characters, and bounded.
5. A change carries a key of its own, so that the one repetition after a lost answer does it once.
6. The way to an agent is that of every task process: this file loads nothing until a name is asked for, and
   `frames.py` and `agent.py` import next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from strongroom.caller.address import ServerAddress
    from strongroom.caller.client import Client
    from strongroom.caller.credential import Credential
    from strongroom.caller.refusal import NAME, broken, error_of, ref_in
    from strongroom.caller.request import path_of, spelled

__all__ = [
    "NAME",
    "Client",
    "Credential",
    "ServerAddress",
    "broken",
    "error_of",
    "path_of",
    "ref_in",
    "spelled",
]

_LAZY = {
    "NAME": "refusal",
    "Client": "client",
    "Credential": "credential",
    "ServerAddress": "address",
    "broken": "refusal",
    "error_of": "refusal",
    "path_of": "request",
    "ref_in": "refusal",
    "spelled": "request",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'strongroom.caller' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 -- loaded by Python itself

    found: object = getattr(import_module(f"strongroom.caller.{_LAZY[name]}"), name)
    globals()[name] = found
    return found
