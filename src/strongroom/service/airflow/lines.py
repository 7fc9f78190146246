"""The lines that switch an Airflow over where no airflow.cfg is written: images, charts, environments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.service.airflow.switch import Setting

__all__ = ["TARGETS", "Target", "lines_for"]

Target = Literal["dockerfile", "requirements", "helm", "astro", "env"]
TARGETS: tuple[Target, ...] = ("dockerfile", "requirements", "helm", "astro", "env")


def lines_for(target: Target, settings: Sequence[Setting], *, version: str) -> list[str]:
    """
    Give the lines for one kind of place.

    Secrets of the arguments of a backend that was there are left out, as `…`: they belong where that place
    keeps its secrets.

    Args:
        target: where they go.
        settings: of Airflow, as `switch.plan` gives them.
        version: of Strongroom, to be installed there.
    """
    return _WRITERS[target](settings, f"strongroom=={version}")


def _quoted(text: str) -> str:
    # A single quotation mark cannot stand in single ones; JSON may spell it otherwise.
    return "'" + text.replace("'", "\\u0027") + "'"


def _requirements(_settings: Sequence[Setting], requirement: str) -> list[str]:
    return [requirement]


def _env(settings: Sequence[Setting], _requirement: str = "") -> list[str]:
    return [f"{setting.variable}={_value(setting)}" for setting in settings]


def _value(setting: Setting) -> str:
    return _quoted(setting.shown) if setting.shown.startswith("{") else setting.shown


def _dockerfile(settings: Sequence[Setting], requirement: str) -> list[str]:
    return [
        f"RUN pip install --no-cache-dir '{requirement}'",
        *(f"ENV {line}" for line in _env(settings)),
    ]


def _helm(settings: Sequence[Setting], _requirement: str) -> list[str]:
    lines = ["config:"]
    for section in dict.fromkeys(setting.section for setting in settings):
        lines.append(f"  {section}:")
        # The chart writes airflow.cfg of this, where % is %%; a YAML text in single quotes doubles them.
        lines += [
            f"    {setting.option}: " + "'" + setting.shown.replace("%", "%%").replace("'", "''") + "'"
            for setting in settings
            if setting.section == section
        ]
    return lines


def _astro(settings: Sequence[Setting], requirement: str) -> list[str]:
    return [
        "# requirements.txt",
        requirement,
        "# Dockerfile, for what is deployed",
        *(f"ENV {line}" for line in _env(settings)),
        "# .env, for astro dev start",
        *_env(settings),
    ]


_WRITERS: dict[Target, Callable[[Sequence[Setting], str], list[str]]] = {
    "dockerfile": _dockerfile,
    "requirements": _requirements,
    "helm": _helm,
    "astro": _astro,
    "env": _env,
}
