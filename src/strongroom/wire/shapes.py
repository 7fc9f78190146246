"""Every shape of the HTTP API, for its description; `strongroom.wire` tells why they stand apart."""

from __future__ import annotations

from strongroom.wire.access import *  # noqa: F403 -- each module names what it gives
from strongroom.wire.agents import *  # noqa: F403
from strongroom.wire.audit import *  # noqa: F403
from strongroom.wire.backup import *  # noqa: F403
from strongroom.wire.entry import *  # noqa: F403
from strongroom.wire.found import *  # noqa: F403
from strongroom.wire.keys import *  # noqa: F403
from strongroom.wire.place import *  # noqa: F403
from strongroom.wire.policy import *  # noqa: F403
from strongroom.wire.seal import *  # noqa: F403
from strongroom.wire.shape import *  # noqa: F403
from strongroom.wire.tested import *  # noqa: F403
