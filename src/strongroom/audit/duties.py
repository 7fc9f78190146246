"""
What the process that writes a log does for it besides: sign, show to witnesses, carry to sinks, let old go.

Rules of this file:

1. Each on a thread of its own that reads the log as anybody would; none is waited for by a record.
2. Trouble is told once when it begins and once when it is over, and each is tried again by itself.
3. At the end the last records are signed, shown and carried, within `END_SECONDS` in all.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.audit.record import Event
from strongroom.audit.sink import Courier, first_seq, sink_of
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.audit.checkpoint import Keeper, Signed
    from strongroom.audit.log import AuditLog
    from strongroom.audit.witness import Witness

__all__ = ["Duties"]

END_SECONDS = 6.0
_LOOK_SECONDS = 0.25
_LEAST_SECONDS = 1.0  # between two checkpoints
_AGAIN_SECONDS = 5.0  # after trouble
_RETENTION_SECONDS = 3600.0
_FIRST_RETENTION_SECONDS = 30.0


class Duties:
    """
    Args:
        log: what is looked after.
        settings: as `plan.plan_of` gives them; nothing is done of what they do not name.
        clock: wall clock, UTC.
        tell: told in one sentence what is wrong, or over.
    """

    def __init__(
        self,
        log: AuditLog,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], datetime],
        tell: Callable[[str], None],
    ) -> None:
        self._log = log
        self._settings = settings
        self._clock = clock
        self._tell = tell
        self._ending = threading.Event()
        self._signed = threading.Condition()
        self._last: Signed | None = None
        self._is_final = False
        self._keeper: Keeper | None = None
        self._keeping = threading.Lock()
        self._couriers: list[Courier] = []
        self._witnesses: dict[str, int] = {}
        self._troubles: dict[str, str] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin."""
        if (settings := self._settings.get("checkpoint")) is not None:
            self._begin("signer", lambda: self._sign_on(settings))
        for found in self._settings.get("witnesses", ()):
            self._witnesses[found["name"]] = 0
            self._begin(f"witness-{found['name']}", partial(self._witness, found))
        for found in self._settings.get("sinks", ()):
            # Looked up now: whatever is recorded from here on is for it.
            start = first_seq(self._log.folder, found["name"])
            self._begin(f"sink-{found['name']}", partial(self._carry, found, start))
        retention = self._settings.get("retention") or {}
        if retention.get("days"):
            self._begin("retention", lambda: self._retain_on(retention))

    def finish(self) -> None:
        """Do the last of everything, and wait for it a little."""
        self._ending.set()
        with self._signed:
            self._signed.notify_all()
        until = time.monotonic() + END_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def state(self) -> dict[str, Any]:
        """Tell how all of it stands, as plain JSON."""
        last = self._last
        checkpoint = None if last is None else last.checkpoint
        return {
            "signed": 0 if checkpoint is None else checkpoint.size,
            "signed_at": None if checkpoint is None else checkpoint.at,
            "signing": self._troubles.get("signing", ""),
            "witnesses": {
                name: {"size": size, "trouble": self._troubles.get(f"the audit witness {name}", "")}
                for name, size in self._witnesses.items()
            },
            "sinks": {
                each.sink.name: {"seq": each.seq, "trouble": "hangs" if each.hangs else each.trouble}
                for each in self._couriers
            },
            "retention": self._troubles.get("retention", ""),
        }

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"strongroom-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _note(self, what: str, trouble: str) -> None:
        before = self._troubles.get(what, "")
        if trouble != before:
            self._troubles[what] = trouble
            self._tell(f"{what}: {trouble or 'goes on again'}")

    # --- signing -----------------------------------------------------------------------------------

    def _keeper_of(self) -> Keeper:
        if self._keeper is None:
            from strongroom.audit.checkpoint import Keeper  # noqa: PLC0415 -- loads the crypto library

            key = Path(self._settings["checkpoint"]["key"])
            self._keeper = Keeper(self._log.folder, key, deployment=self._log.deployment, clock=self._clock)
        return self._keeper

    def _sign_on(self, settings: Mapping[str, Any]) -> None:
        keeper = self._keeper_of()
        signed_at = time.monotonic() - settings["seconds"] + _LEAST_SECONDS  # the first one soon
        wait = _LOOK_SECONDS
        while not self._ending.wait(wait):
            wait = _LOOK_SECONDS
            since = time.monotonic() - signed_at
            if since < _LEAST_SECONDS or not self._is_due(keeper, settings, since):
                continue
            if self._sign(keeper):
                signed_at = time.monotonic()
            else:
                wait = _AGAIN_SECONDS
        self._sign(keeper)
        with self._signed:
            self._is_final = True
            self._signed.notify_all()

    def _is_due(self, keeper: Keeper, settings: Mapping[str, Any], since: float) -> bool:
        try:
            pending = keeper.pending()
        except (StrongroomError, OSError):
            return True  # signing tells why
        return pending >= settings["records"] or (pending != 0 and since >= settings["seconds"])

    def _sign(self, keeper: Keeper) -> bool:
        if not self._log.folder.is_dir():
            return True
        try:
            with self._keeping:
                signed = keeper.sign()
        except StrongroomError as error:
            self._note("signing", str(error))
            return False
        self._note("signing", "")
        with self._signed:
            self._last = signed
            self._signed.notify_all()
        return True

    # --- copies ------------------------------------------------------------------------------------

    def _witness(self, found: Mapping[str, Any]) -> None:
        from strongroom.audit.witness import witness_of  # noqa: PLC0415 -- only who has one

        name = found["name"]
        what = f"the audit witness {name}"
        try:
            witness = witness_of(found)
        except (StrongroomError, ValueError) as error:
            self._note(what, str(error))
            return
        while True:
            is_last = self._await_news(name)
            if self._last is not None and not self._show(what, witness) and self._ending.wait(_AGAIN_SECONDS):
                is_last = True
            if is_last:
                return

    def _await_news(self, name: str) -> bool:
        """Wait for a checkpoint that the witness has not; tell whether it is the last."""

        def has_news() -> bool:
            return self._is_final or (self._last is not None and self._last.tree.size > self._witnesses[name])

        with self._signed:
            self._signed.wait_for(has_news)
            return self._is_final

    def _show(self, what: str, witness: Witness) -> bool:
        signed = self._last
        if signed is None:
            return True
        try:
            witness.show(signed, self._keeper_of())
        except (StrongroomError, OSError) as error:
            self._note(what, str(error))
            return False
        self._note(what, "")
        self._witnesses[witness.name] = signed.tree.size
        return True

    def _carry(self, found: Mapping[str, Any], start: int) -> None:
        try:
            sink = sink_of(found)
        except StrongroomError as error:
            self._note(f"the audit sink {found['name']}", str(error))
            return
        courier = Courier(
            self._log.folder,
            sink,
            start=start,
            wait=lambda seconds: not self._ending.wait(seconds),
            on_trouble=self._tell,
        )
        self._couriers.append(courier)
        courier.run()

    # --- letting go --------------------------------------------------------------------------------

    def _retain_on(self, settings: Mapping[str, Any]) -> None:
        wait = _FIRST_RETENTION_SECONDS
        while not self._ending.wait(wait):
            wait = _RETENTION_SECONDS
            try:
                self._retain(settings)
            except StrongroomError as error:
                self._note("retention", str(error))
            else:
                self._note("retention", "")

    def _retain(self, settings: Mapping[str, Any]) -> None:
        from strongroom.audit.retention import retain  # noqa: PLC0415 -- seldom

        before = self._clock() - timedelta(days=settings["days"])
        archive = Path(settings["archive"]) if settings.get("archive") else None
        with self._keeping:
            done = retain(self._keeper_of(), before, archive)
        if done.segments:
            where = "removed" if archive is None else "archived"
            reason = f"retention: {done.records} records before number {done.first} were {where}"
            self._log.append(
                Event(actor="strongroom", assurance=0, action="administer", outcome="done", reason=reason)
            )
