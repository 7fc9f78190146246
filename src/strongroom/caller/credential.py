"""Who asks: the token, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import NotAuthenticatedError, SettingsError
from strongroom.model.secret import Secret
from strongroom.settings.source import SecretSource, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Credential:
    """
    Where the token comes from, read anew when its file has changed.

    Args:
        text: the token itself.
        file: a file that holds it; used where *text* is None.
        setting: what named it, for messages.
        remedy: what to type where the server takes it no more.

    Attributes:
        prove: has whoever asks prove anew who he is, where the server wants that, and gives the token to go
            on with; None where he does not, or nobody can be asked.
    """

    def __init__(
        self,
        text: Secret[str] | None = None,
        *,
        file: Path | None = None,
        setting: str = "STRONGROOM_TOKEN",
        remedy: str = "strongroom login",
    ) -> None:
        self._text = text
        self._file = file
        self.setting = setting
        self.remedy = remedy
        self.prove: Callable[[], Secret[str] | None] | None = None

    def token(self) -> Secret[str]:
        """
        Give the token.

        Raises:
            NotAuthenticatedError: there is none.
            SettingsError: its file cannot be read, or may be read by others.
        """
        if self._text is not None:
            return _checked(self._text, self.setting)
        if self._file is None:
            raise NotAuthenticatedError("there is no token for the server", hint=self.remedy)
        source = SecretSource(kind="file", argument=(str(self._file),), key=self.setting)
        return _checked(resolve(source, environ={}), self.setting)

    def renewed(self, refused: Secret[str]) -> Secret[str] | None:
        """
        Give another token than the one that was *refused*; None where there is no other.

        Raises:
            As `token`.
        """
        if self._text is not None or self._file is None:
            return None
        token = self.token()
        return None if token == refused else token


def _checked(token: Secret[str], setting: str) -> Secret[str]:
    text = token.reveal().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(
            f"{setting} holds no token", key=setting, hint="a token begins with srm_ and is one word"
        )
    return Secret(text)
