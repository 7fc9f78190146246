"""
The holders of a store's outer keys, made of `store.wrappers`; each is loaded only where it is configured.

Not for what is wrapped (`barrier/`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from strongroom.errors import SealedError
from strongroom.settings import resolve, wrapper_options

if TYPE_CHECKING:
    from strongroom.assembly.ways import Ways
    from strongroom.crypto.wrapping import Wrapper
    from strongroom.model.secret import Secret
    from strongroom.settings import Settings, WrapperSettings

__all__ = ["load_wrappers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CredentialOptions:
    name: str


def load_wrappers(settings: Settings, ways: Ways) -> list[Wrapper]:
    """
    Make every wrapper of the store, in the order they are written. Nobody is asked for a key yet.

    Raises:
        SettingsError: an option is wrong, or a secret of it cannot be fetched.
        BackendConfigError: one contradicts itself, or wants an extra that is not installed.
    """
    return [_wrapper(wrapper, ways) for wrapper in settings.store.wrappers]


def _wrapper(wrapper: WrapperSettings, ways: Ways) -> Wrapper:
    if wrapper.path is not None:
        from strongroom.wrappers.file import FileWrapper  # noqa: PLC0415 -- only what is configured

        return FileWrapper(wrapper.path)
    if wrapper.kind == "passphrase":
        from strongroom.wrappers.passphrase import PassphraseWrapper  # noqa: PLC0415 -- as above

        return PassphraseWrapper(lambda: _passphrase(wrapper, ways))
    if wrapper.kind == "credential":
        from strongroom.wrappers.credential import CredentialWrapper  # noqa: PLC0415 -- as above

        named = wrapper_options(wrapper, _CredentialOptions, environ=ways.environ)
        return CredentialWrapper(ways.environ.get("CREDENTIALS_DIRECTORY", ""), named.name)
    kind: Any = import_module(f"strongroom.wrappers.{wrapper.kind}").WRAPPER
    made = wrapper_options(wrapper, kind.options_type, environ=ways.environ)
    needs: dict[str, object] = {}
    if getattr(kind, "needs_environ", False):
        needs["environ"] = ways.environ
    if getattr(kind, "needs_sessions", False):
        needs["sessions"] = ways.sessions
    return kind(made, **needs)  # type: ignore[no-any-return]


def _passphrase(wrapper: WrapperSettings, ways: Ways) -> Secret[str]:
    if wrapper.passphrase is not None:
        return resolve(wrapper.passphrase, environ=ways.environ)
    if ways.ask is None:
        raise SealedError(
            "the store is wrapped by a passphrase, and nobody can be asked for it here",
            hint="name where it comes from: store.wrappers, passphrase = { file = … }",
        )
    return ways.ask()
