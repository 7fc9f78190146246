"""What a live client may know of the process it is in: no family reads the environment or a clock itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from strongroom.live.held import Held

__all__ = ["Around", "Asked", "Run"]


class Run(NamedTuple):
    """
    The run of Airflow's that the code works for: its own word, for the names of sessions and no right.

    Args:
        map_index, try_number: as Airflow counts them.
    """

    dag_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None


class Around:
    """
    What is around a client.

    Args:
        environ: of this process.
        now: the wall clock, UTC.
        run: gives for which run the code that asks works; None for none.
        held: gives another connection by name and team, held and followed as the first.
    """

    __slots__ = ("_held", "_run", "environ", "now")

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        now: Callable[[], datetime],
        run: Callable[[], Run | None],
        held: Callable[[str, str | None], Held],
    ) -> None:
        self.environ = environ
        self.now = now
        self._run = run
        self._held = held

    @property
    def run(self) -> Run | None:
        """For which run the calling code works now; None for none."""
        return self._run()

    def held(self, name: str, team: str | None = None) -> Held:
        """
        Give another connection, such as the one that `aws_conn_id` names.

        Raises:
            NotFoundError: there is none.
            As `strongroom.connection`.
        """
        return self._held(name, team)


class Asked(NamedTuple):
    """
    What is wanted of a connection.

    Args:
        driver: which object, by its word in `families`.
        service: of a cloud.
        options: for the library's own constructor.
        around: what is around.
    """

    driver: str
    service: str | None
    options: Mapping[str, object]
    around: Around
