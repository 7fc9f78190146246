"""
How entries are found among Secrets, as options, and the paths and rights that follow from them.

Airflow's keyword arguments are accepted as they stand. A path is `<label>=<team>/<name>` where Secrets are
found by label, and else what `kubernetes_names.spelled` makes the name of a Secret of.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from strongroom.backend import Naming
from strongroom.backend.naming import WORDS, prefix_option
from strongroom.errors import BackendConfigError
from strongroom.model.ref import KINDS
from strongroom.model.shape import Shape
from strongroom.vendors.kubernetes_config import KubernetesAccess
from strongroom.vendors.kubernetes_names import is_label_key, is_label_value, read_name, spelled, spelled_key

if TYPE_CHECKING:
    from strongroom.model.ref import Kind, Ref

__all__ = [
    "KubernetesOptions",
    "finds_by_label",
    "label_naming",
    "name_naming",
    "new_name",
    "team_label",
]

_LABELS: dict[Kind, str] = {
    "connection": "airflow.apache.org/connection-id",
    "variable": "airflow.apache.org/variable-key",
    "config": "airflow.apache.org/config-key",
}
_TEAM_LABEL = "airflow.apache.org/team"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesOptions(KubernetesAccess):
    """
    How entries are found; where the cluster is and who asks is `KubernetesAccess`.

    Args:
        find: `label` or `name`; unsaid, by name where a prefix is set, and else by label.
        connections_label: whose value is the name; False where no connections are kept.
        variables_label: likewise.
        config_label: likewise.
        team_label: whose value is the team; False where all are global.
        connections_data_key: the key the text stands under.
        variables_data_key: likewise.
        config_data_key: likewise.
        several: what is done where several Secrets claim one name: `refuse`, or take the `first` by name.
        connections_prefix: what names of Secrets begin with; where it ends in `#` it is the name of one
            that holds many, each under its name as a key; False where no connections are kept.
        variables_prefix: likewise.
        config_prefix: likewise.
        use_team_secrets_path: by name, a team's names stand below its own.
        connection_shape: what connections are written as.
    """

    find: Literal["label", "name"] | None = None
    connections_label: bool | str | None = None
    variables_label: bool | str | None = None
    config_label: bool | str | None = None
    team_label: bool | str | None = None
    connections_data_key: str = "value"
    variables_data_key: str = "value"
    config_data_key: str = "value"
    several: Literal["refuse", "first"] = "refuse"
    connections_prefix: bool | str | None = None
    variables_prefix: bool | str | None = None
    config_prefix: bool | str | None = None
    use_team_secrets_path: bool = False
    connection_shape: Shape = "given"


def finds_by_label(name: str, options: KubernetesOptions) -> bool:
    """
    Tell whether the backend *name* finds Secrets by label; by name else.

    Raises:
        BackendConfigError: options of both ways are set, or a key of data can be none.
    """
    _check_data_keys(name, options)
    of_name = [f"{WORDS[kind]}_prefix" for kind in KINDS] + ["use_team_secrets_path"]
    of_label = [f"{WORDS[kind]}_label" for kind in KINDS] + ["team_label"]
    said = [key for key in of_name if getattr(options, key) not in (None, False)]
    is_by_label = options.find == "label" or (options.find is None and not said)
    stray = said if is_by_label else [key for key in of_label if getattr(options, key) not in (None, False)]
    if stray:
        how = "label" if is_by_label else "name"
        raise BackendConfigError(
            f"backend.{name} finds Secrets by {how}, which has no {stray[0]}",
            hint=f'drop {stray[0]}, or set find = "{"name" if is_by_label else "label"}"',
        )
    return is_by_label


def _check_data_keys(name: str, options: KubernetesOptions) -> None:
    for kind in KINDS:
        key = getattr(options, f"{WORDS[kind]}_data_key")
        if spelled_key(key) != key:
            raise BackendConfigError(
                f"backend.{name}.{WORDS[kind]}_data_key can be no key of a Secret",
                hint="letters, digits, - _ and .",
            )


def label_naming(name: str, options: KubernetesOptions) -> Naming:
    """
    Give how names are spelled where Secrets are found by label.

    Raises:
        BackendConfigError: a label is none.
    """
    labels = {kind: _given(name, f"{WORDS[kind]}_label", options, _LABELS[kind]) for kind in KINDS}
    team = team_label(name, options)
    for key in (*labels.values(), team):
        if key is not None and not is_label_key(key):
            raise BackendConfigError(
                f"a label of backend.{name} is none", hint=f"write prefix/name, as {_TEAM_LABEL}"
            )
    # A label's value has no "/" and no "=", so both part what stands around them.
    return Naming(
        labels,
        separator="=",
        team_separator="/" if team else None,
        is_spellable=lambda path: all(map(is_label_value, path.partition("=")[2].split("/"))),
    )


def name_naming(name: str, options: KubernetesOptions) -> Naming:
    """
    Give how names are spelled where Secrets are found by name.

    Raises:
        BackendConfigError: a prefix cannot begin the name of a Secret.
    """
    prefixes = {
        kind: _given(name, f"{WORDS[kind]}_prefix", options, f"airflow-{WORDS[kind]}") for kind in KINDS
    }
    for kind, prefix in prefixes.items():
        plain = f"{prefix.removesuffix('#')}-x" if prefix else "x"
        if spelled(plain) != plain or read_name(plain) != plain:
            raise BackendConfigError(
                f"backend.{name}.{WORDS[kind]}_prefix cannot begin the name of a Secret",
                hint="a-z, 0-9, single - and . between them, and # at its end",
            )
    return Naming(
        prefixes,
        separator="-",
        team_separator="/" if options.use_team_secrets_path else None,
        is_spellable=lambda path: spelled(path) is not None,
        is_key=lambda key: spelled_key(key) is not None,
    )


def team_label(name: str, options: KubernetesOptions) -> str | None:
    """Give the label whose value is the team; None where there are no teams."""
    return _given(name, "team_label", options, _TEAM_LABEL)


def _given(name: str, key: str, options: KubernetesOptions, default: str) -> str | None:
    if getattr(options, key) is None:
        return default
    said = prefix_option(name, options, key)
    return None if said is None else str(said)


def new_name(ref: Ref) -> str:
    """Give the name of the Secret to make for *ref* where labels say what it is: the same one each time."""
    path = f"airflow-{WORDS[ref.kind]}-{f'{ref.team}/' if ref.team else ''}{ref.name}"
    digest = hashlib.sha256(path.encode()).hexdigest()
    return spelled(path) or f"airflow-{WORDS[ref.kind]}-{digest}"
