"""
Speak to a server: `/v1` over the hardened transport, its answers as shapes, its refusals as our errors.

Not for what is asked (`remote/`) and not for where the server is and who asks (`remote/profile.py`).

Rules of this package:

1. No value is kept: whatever is asked is asked of the server, which decides, records and may revoke it.
2. Only an answer in the server's own shape is an answer. A status of somebody between, a page of another
   service, an answer cut short: all are *unavailable*, none is *absent* or *denied*.
3. The token stands in one header of one request and nowhere else: in no message, `repr`, log or argument.
4. A text of the server's is shown without its control characters, and bounded.
5. A change carries a key of its own, so that the one repetition after a lost answer does it once.
"""

from __future__ import annotations

from strongroom.client.address import ServerAddress
from strongroom.client.client import Client
from strongroom.client.credential import Credential
from strongroom.client.refusal import NAME, broken, error_of, ref_in
from strongroom.client.request import path_of, spelled

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
