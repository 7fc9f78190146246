"""
How an SSH connection is made: to which machine, which of its keys it must show, and who signs in with what.

Not for following (`ssh.py`).

Rules of this file:

1. The machine shows its key first, and gets nothing from us before that is the right one. A key that the
   connection names is the only right one; otherwise those in `known_hosts` are.
2. Credentials of the connection are the only ones that are tried. Keys and an agent of the machine this runs
   on are asked only where the connection names none.
3. A password that opens the file of a key is not sent to anybody.
4. No command of the connection is run: who may write a connection may not thereby run programs here.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import StrongroomError
from strongroom.live.families import loaded
from strongroom.live.fields import Options
from strongroom.live.reaching import cause_of
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.live.held import Held, Known
    from strongroom.model.connection import Connection

__all__ = ["Dial"]

_PORT = 22
_SECONDS = 10.0  # to connect
_KEEPALIVE_SECONDS = 30
_MAX_KEY_BYTES = 64 * 1024
_KNOWN_HOSTS = "~/.ssh/known_hosts"
_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
    "ssh-rsa",
    "ssh-dss",
)
_PASSPHRASE = "extra.private_key_passphrase"  # noqa: S105 -- the name of the field
_SHOWS_ANOTHER = (
    "it shows another host key than is known: find out why before you put the new one in host_key"
)
_NO_COMMON = "see to the algorithms that both sides speak, and to disabled_algorithms and ciphers"
_SHOWS_UNKNOWN = "put the machine's host key in host_key, or in ~/.ssh/known_hosts where this runs"
# Of `SSHClient.connect`; the connection says the rest, or it is no business of one who follows it.
_ASKED = frozenset(
    (
        "allow_agent",
        "auth_timeout",
        "banner_timeout",
        "channel_timeout",
        "compress",
        "disabled_algorithms",
        "gss_auth",
        "gss_deleg_creds",
        "gss_host",
        "gss_kex",
        "gss_trust_dns",
        "look_for_keys",
        "sock",
        "timeout",
        "transport_factory",
    )
)


class Dial:
    """
    Make sessions of one connection.

    Args:
        held: the connection.
        options: for the library's `connect`; `sock` is called for each line, since a socket serves but one.

    Raises:
        BackendConfigError: paramiko is not installed, or an option is not one of `connect`'s.

    Threads: safe.
    """

    def __init__(self, held: Held, options: Mapping[str, object]) -> None:
        self._held = held
        self._paramiko: Any = loaded("paramiko", held, extra="ssh")
        self._options = dict(options)
        self._seen: dict[str, Any] = {}
        for name in options:
            if name not in _ASKED:
                raise trouble("options", "unknown", name=held.name, detail=name)
        if not callable(options.get("sock", dict)):
            raise trouble(
                "options", "malformed", name=held.name, detail="sock", hint="give what makes a socket"
            )

    def __call__(self, known: Known) -> Any:  # noqa: ANN401 -- paramiko has no types
        """
        Give a connected `paramiko.SSHClient`.

        Raises:
            AccessDeniedError: the credentials were refused.
            BackendConfigError, BackendUnavailableError: everything else.
        """
        made = self._paramiko.SSHClient()
        failed = self._failure(made, known.connection)
        if failed is not None:
            made.close()
            raise failed
        made.get_transport().set_keepalive(_KEEPALIVE_SECONDS)
        return made

    def _failure(self, made: Any, connection: Connection) -> StrongroomError | None:  # noqa: ANN401
        """Connect *made*; give what went wrong, raised where no frame holds a secret any more."""
        failed: StrongroomError
        try:
            self._trust(made, connection)
            made.connect(**self._arguments(connection, made.get_host_keys().lookup(_name(connection))))
        except StrongroomError as error:
            failed = error
        except self._paramiko.AuthenticationException:
            failed = trouble("authentication", "credentials", name=self._held.name)
        except (self._paramiko.SSHException, OSError, EOFError, ValueError) as error:
            failed = self._told(made, connection, error)
        except BaseException:
            made.close()
            raise
        else:
            return None
        failed.__context__ = None
        return failed.with_traceback(None)

    # --- who signs in, and how ----------------------------------------------------------------------

    def _arguments(self, connection: Connection, known: Any) -> dict[str, Any]:  # noqa: ANN401 -- as above
        extra = self._extra(connection)
        if extra.has("host_proxy_cmd"):
            raise trouble(
                "options",
                "unknown",
                name=self._held.name,
                detail="extra.host_proxy_cmd",
                hint="a connection runs no command: options={'sock': lambda: paramiko.ProxyCommand(…)}",
            )
        if not connection.host:
            raise trouble("options", "missing", name=self._held.name, detail="host")
        given: dict[str, Any] = {
            "hostname": connection.host,
            "port": connection.port or _PORT,
            "username": connection.login or None,
            "timeout": extra.number("conn_timeout", default=_SECONDS) or None,
            "compress": extra.flag("compress", default=True),
            "disabled_algorithms": extra.document("disabled_algorithms"),
        }
        credentials = self._credentials(connection, extra)
        is_anybody = not credentials
        given["look_for_keys"] = is_anybody and extra.flag("look_for_keys", default=True)
        given["allow_agent"] = is_anybody
        ciphers = extra.document("ciphers")
        if ciphers is not None:
            given["transport_factory"] = self._with_ciphers(ciphers)
        asked = {**given, **self._options}
        make = self._options.get("sock")
        if callable(make):
            asked["sock"] = make()
        if known:
            asked["disabled_algorithms"] = _only(set(known.keys()), asked["disabled_algorithms"] or {})
        return {**asked, **credentials}

    def _credentials(self, connection: Connection, extra: Options) -> dict[str, Any]:
        password = connection.password.reveal() if connection.password else None
        passphrase = extra.text("private_key_passphrase") or extra.text("passphrase")
        file, text = extra.text("key_file"), extra.text("private_key")
        found: dict[str, Any] = {}
        if text is not None:
            found["pkey"] = self._key(text, passphrase, "extra.private_key")
            if found["pkey"] is None:
                raise self._malformed(_PASSPHRASE)
        elif file is not None:
            found["pkey"], is_used = self._key_of_file(file, passphrase, password)
            password = None if is_used else password
        if password is not None:
            found["password"] = password
        return found

    def _key_of_file(self, file: str, passphrase: str | None, password: str | None) -> tuple[Any, bool]:
        """Give the key in *file*, with its certificate if there is one, and whether *password* opened it."""
        path = Path(file).expanduser()
        certificate = Path(f"{path}-cert.pub")
        try:
            with path.open("rb") as opened:
                text = opened.read(_MAX_KEY_BYTES).decode("ascii", "replace")
            key = self._key(text, passphrase, "extra.key_file")
            is_locked = key is None
            if is_locked:
                key = self._key(text, password, "extra.key_file") if password else None
            if key is None:
                raise self._malformed(_PASSPHRASE)
            if certificate.is_file():
                key.load_certificate(str(certificate))
        except (OSError, ValueError, self._paramiko.SSHException):
            raise self._malformed("extra.key_file") from None
        return key, is_locked

    def _key(self, text: str, passphrase: str | None, field: str) -> Any:  # noqa: ANN401 -- as above
        """Give the key in *text*; None where it is locked and there is no passphrase."""
        key, is_locked = self._opened(text, None)
        if is_locked and passphrase is not None:
            key, _ = self._opened(text, passphrase)
            field = _PASSPHRASE
        if key is None and not (is_locked and passphrase is None):
            raise self._malformed(field)
        return key

    def _opened(self, text: str, passphrase: str | None) -> tuple[Any, bool]:
        """Give the key in *text*, or None and whether a passphrase is what is missing."""
        library = self._paramiko
        is_locked = False
        for kind in (library.Ed25519Key, library.ECDSAKey, library.RSAKey):
            try:
                return kind.from_private_key(io.StringIO(text.strip() + "\n"), password=passphrase), False
            except library.PasswordRequiredException:
                is_locked = True
            except (library.SSHException, ValueError, TypeError, IndexError, struct.error):
                continue  # of another kind, or none
        return None, is_locked

    # --- whom to trust ------------------------------------------------------------------------------

    def _trust(self, made: Any, connection: Connection) -> None:  # noqa: ANN401 -- as above
        """Say to *made* which host keys are right."""
        extra = self._extra(connection)
        pinned, takes_any = extra.text("host_key"), _takes_any(extra)
        if pinned is not None and takes_any:
            raise self._malformed("extra.host_key")  # as Airflow: one of the two is not meant
        made.set_missing_host_key_policy(self._policy(extra, takes_any=takes_any))
        if pinned is not None:
            key = self._host_key(pinned)
            made.get_host_keys().add(_name(connection), key.get_name(), key)
        elif not extra.flag("allow_host_key_change", default=False):
            file = extra.text("known_hosts")
            path = Path(file or _KNOWN_HOSTS).expanduser()
            try:
                if file is not None or path.exists():
                    made.get_host_keys().load(str(path))
            except (OSError, ValueError):
                raise self._malformed("extra.known_hosts") from None

    def _policy(self, extra: Options, *, takes_any: bool) -> Any:  # noqa: ANN401 -- as above
        """Give what is asked about a key that nobody has named."""
        name, seen = self._held.name, self._seen
        may_change = extra.flag("allow_host_key_change", default=False)

        def missing_host_key(_policy: object, _made: object, host: str, key: Any) -> None:  # noqa: ANN401
            if not takes_any:
                raise trouble("tls", "untrusted", name=name, hint=_SHOWS_UNKNOWN)
            # The first one it shows is the one it must show from then on.
            first = seen.setdefault(host, key)
            if first != key and not may_change:
                raise trouble("tls", "untrusted", name=name, hint=_SHOWS_ANOTHER)

        kind: Any = self._paramiko.MissingHostKeyPolicy
        return type("Policy", (kind,), {"missing_host_key": missing_host_key})()

    def _host_key(self, text: str) -> Any:  # noqa: ANN401 -- as above
        """Read `ssh-ed25519 AAAA…`, or `AAAA…` alone, as in known_hosts; the kind stands in it too."""
        words = text.split()
        try:
            data = base64.b64decode(words[0] if len(words) == 1 else words[1], validate=True)
            (length,) = struct.unpack(">I", data[:4])
            return self._paramiko.PKey.from_type_string(data[4 : 4 + length].decode("ascii"), data)
        except (
            *(ValueError, IndexError, TypeError, struct.error, binascii.Error),
            *(self._paramiko.SSHException, self._paramiko.pkey.UnknownKeyType),
        ):
            raise self._malformed("extra.host_key") from None

    # --- what went wrong ----------------------------------------------------------------------------

    def _told(self, made: Any, connection: Connection, error: Exception) -> StrongroomError:  # noqa: ANN401
        """Give our error for one of the library's, or of a socket's, while it connected."""
        library, name = self._paramiko, self._held.name
        if isinstance(error, library.BadHostKeyException):
            return trouble("tls", "untrusted", name=name, hint=_SHOWS_ANOTHER)
        if isinstance(error, library.ssh_exception.NoValidConnectionsError):
            error = next(iter(error.errors.values()))
        found = cause_of(error)
        if found is not None:
            is_reached = isinstance(error, library.SSHException) and found == ("tcp", "timeout")
            return trouble("authentication" if is_reached else found[0], found[1], name=name)
        if isinstance(error, library.ssh_exception.IncompatiblePeer):
            return trouble("tls", "other", name=name, hint=_NO_COMMON)
        transport, extra = made.get_transport(), self._extra(connection)
        is_anybody = not (connection.password or extra.has("key_file") or extra.has("private_key"))
        if is_anybody and transport is not None and transport.is_active():
            return trouble("authentication", "missing", name=name)
        return trouble("authentication", "other", name=name)

    def _extra(self, connection: Connection) -> Options:
        return Options(self._held.name, connection)

    def _malformed(self, field: str) -> StrongroomError:
        return trouble("options", "malformed", name=self._held.name, detail=field)

    def _with_ciphers(self, ciphers: Any) -> Callable[..., Any]:  # noqa: ANN401 -- JSON
        def made(sock: Any, **options: Any) -> Any:  # noqa: ANN401 -- as above
            transport = self._paramiko.Transport(sock, **options)
            try:
                transport.get_security_options().ciphers = tuple(ciphers)
            except (ValueError, TypeError):
                sock.close()
                raise self._malformed("extra.ciphers") from None
            return transport

        return made


def _only(kinds: set[str], disabled: dict[str, Any]) -> dict[str, Any]:
    """Add to *disabled* what would have the machine show a key of a kind that nobody knows of it."""
    if "ssh-rsa" in kinds:  # the key's own name; the others are those of its signatures
        kinds = {*kinds, "rsa-sha2-256", "rsa-sha2-512"}
    return {**disabled, "keys": [*disabled.get("keys", ()), *(kind for kind in _KINDS if kind not in kinds)]}


def _takes_any(extra: Options) -> bool:
    return extra.flag("no_host_key_check", default=False) or extra.flag(
        "ignore_hostkey_verification", default=False
    )


def _name(connection: Connection) -> str:
    """Give what known_hosts calls the machine."""
    port = connection.port or _PORT
    return f"{connection.host}" if port == _PORT else f"[{connection.host}]:{port}"
