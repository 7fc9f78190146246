"""The certificates of an authority that a connection names by its file."""

from __future__ import annotations

from pathlib import Path

from strongroom.live.probing.failed import FailedError

__all__ = ["authority"]

_MOST_BYTES = 16 * 1024 * 1024


def authority(path: object) -> str | None:
    """
    Give the PEM text of the file *path*; None where none is named.

    Raises:
        FailedError: of the step `tls`: it cannot be read.
    """
    if path in (None, ""):
        return None
    try:
        with Path(str(path)).expanduser().open("rb") as stream:
            # Bundles hold names of authorities in other alphabets between the certificates.
            return stream.read(_MOST_BYTES).decode("ascii", "ignore")
    except (OSError, RuntimeError):  # RuntimeError: a home that nobody has
        raise FailedError("malformed", step="tls") from None
