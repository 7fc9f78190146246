"""What a command was told besides its own arguments, and the room it opens with that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TextIO

from strongroom import place
from strongroom.errors import InvalidInputError
from strongroom.model.ref import Kind, Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.errors import StrongroomError
    from strongroom.service.audit import AuditTrail
    from strongroom.service.doctor import Doctor
    from strongroom.service.room import Room
    from strongroom.settings import Settings

__all__ = ["OUTPUTS", "Output", "Session", "ask_passphrase"]

Output = Literal["table", "json", "yaml"]
OUTPUTS: tuple[Output, ...] = ("table", "json", "yaml")
_SAY_WHERE = frozenset(
    f"STRONGROOM_{name}" for name in ("SOCKET", "URL", "TOKEN", "TOKEN_FILE", "CA", "ALLOW_PLAIN_HTTP")
)
"""What would say another place, or another identity, than a profile that was named."""


@dataclass(slots=True, kw_only=True)
class Session:
    """
    The options every command takes.

    Args:
        environ: the environment the command was started in.
        config: path of the settings file, or None to look for one.
        profile: a server, as `strongroom login` called it; None asks where the environment says.
        deployment: which deployment of the settings or the server, or None for the first.
        team: whose names are meant, or None for the global ones.
        output: how answers (and with `json`, errors) are written.
        is_debug: show where an unexpected failure came from.
    """

    environ: Mapping[str, str] = field(repr=False)  # it may hold a token or a value
    config: str | None = None
    profile: str | None = None
    deployment: str | None = None
    team: str | None = None
    output: Output = "table"
    is_debug: bool = False

    def ref(self, kind: Kind, name: str) -> Ref:
        """
        Name one thing in the team of this session.

        Raises:
            InvalidInputError: the name or the team is malformed.
        """
        return Ref(kind, name, self.team)

    def use(self, profile: str) -> None:
        """
        Ask the server of *profile*: it goes before every other word of where to ask, and as whom.

        Raises:
            InvalidInputError: it is empty.
        """
        if not profile:
            raise InvalidInputError("--profile needs the name of one", hint="strongroom login makes them")
        self.profile = profile
        kept = {name: text for name, text in self.environ.items() if name not in _SAY_WHERE}
        self.environ = kept | {"STRONGROOM_PROFILE": profile}

    @property
    def is_remote(self) -> bool:
        """
        Whether a server is asked and not the stores of this machine.

        Raises:
            InvalidInputError: both --profile and --config were given.
        """
        return self._place().kind == place.SERVER

    @property
    def agent(self) -> str | None:
        """
        The socket of the agent that is asked; None where none is.

        Raises:
            InvalidInputError: as `is_remote`.
        """
        where = self._place()
        return (where.path or "") if where.kind == place.AGENT else None

    def _place(self) -> place.Place:
        if self.profile is not None and self.config is not None:
            raise InvalidInputError("--profile names a server and --config settings of this machine")
        # Settings that were named are asked for; a variable that names another place refuses them later.
        return place.Place(place.LIBRARY) if self.config is not None else place.find(self.environ)

    def require_here(self, what: str) -> None:
        """
        Refuse where a server is asked.

        Args:
            what: is done only beside the store, as in `a store is made`.

        Raises:
            SettingsError: an agent or a server is named.
        """
        place.require_library(self.environ, what=what)

    def settings(self) -> Settings:
        """
        Find the settings and read them; where an agent or server is asked, those without any file.

        Raises:
            SettingsError: they are wrong.
        """
        from strongroom import settings  # noqa: PLC0415 -- `--help` needs no settings

        if self._place().kind != place.LIBRARY:
            return settings.without_file(self.environ)
        return settings.load(self.config, environ=self.environ, deployment=self.deployment)

    def room(
        self,
        *,
        asks: bool = True,
        bypasses_cache: bool = False,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
    ) -> Room:
        """
        Open the room; use it as a context manager.

        Args:
            asks: a passphrase may be asked for on the terminal.
            bypasses_cache: have an agent ask its backends anew; a room of our own begins with nothing cached.
            on_trouble: as of `assembly.open_room`; those of an agent or a server are its own.

        Raises:
            SettingsError, BackendConfigError, SealedError: as their names say.
            InvalidInputError: the cache of a server should be bypassed.
            BackendUnavailableError: the settings require an agent, and there is none.
        """
        where = self._place()
        if where.kind == place.SERVER:
            if bypasses_cache:
                raise InvalidInputError("the cache of a server cannot be bypassed")
            from strongroom import remote  # noqa: PLC0415 -- only where a server is named

            return remote.open_room(environ=self.environ, deployment=self.deployment, prove=self._prove)
        if where.kind == place.AGENT:
            from strongroom.remote import host  # noqa: PLC0415 -- only where an agent is asked

            return host.open_room(
                where, environ=self.environ, deployment=self.deployment, bypasses_cache=bypasses_cache
            )
        from strongroom import assembly  # noqa: PLC0415 -- it loads the store

        settings = self.settings()
        if self.config is None and settings.agent.required:
            raise place.missing_agent()
        ask = ask_passphrase if asks else None
        return assembly.open_room(settings, environ=self.environ, passphrase=ask, on_trouble=on_trouble)

    def _prove(self) -> Secret[str] | None:
        from strongroom.cli.step_up import prove  # noqa: PLC0415 -- only where the server wants it

        return prove(self)

    def audit(self) -> AuditTrail:
        """
        Open the record of what happened, which needs no key; close it.

        Raises:
            SettingsError: they are wrong.
        """
        if self.is_remote:
            return self.room().audit
        from strongroom import assembly  # noqa: PLC0415 -- it loads the store

        return assembly.open_audit(self.settings())

    def doctor(self) -> Doctor:
        """Open what there is to look at, whatever is wrong with it; use it as a context manager."""
        where = self._place()
        if where.kind == place.SERVER:
            from strongroom import remote  # noqa: PLC0415 -- only where a server is named

            return remote.open_doctor(environ=self.environ, deployment=self.deployment)
        if where.kind == place.AGENT:
            from strongroom.remote import examined_host  # noqa: PLC0415 -- only where an agent is asked

            return examined_host.examiner(where, self.environ)
        from strongroom import assembly  # noqa: PLC0415 -- it loads the store

        return assembly.open_doctor(
            self.config, environ=self.environ, deployment=self.deployment, passphrase=ask_passphrase
        )

    def has_colour(self, stream: TextIO) -> bool:
        """Tell whether *stream* may be coloured: a terminal, without `NO_COLOR` and not a dumb one."""
        return stream.isatty() and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"


def ask_passphrase() -> Secret[str]:
    """
    Ask for the passphrase of the store on the terminal.

    Raises:
        SealedError: there is nobody to ask.
    """
    from strongroom.cli import terminal  # noqa: PLC0415 -- it names Session in its own signatures
    from strongroom.errors import SealedError  # noqa: PLC0415

    if not terminal.can_ask():
        raise SealedError(
            "the store is wrapped by a passphrase, and there is no terminal to ask for it on",
            hint="name where it comes from: store.wrappers, passphrase = { file = … }",
        )
    return Secret(terminal.ask_secret("passphrase of the store: "))
