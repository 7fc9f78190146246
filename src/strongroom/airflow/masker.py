"""
Airflow's masker, made quick: a table of first characters in the place of one compiled expression.

Airflow's compiles all its patterns anew for each one it is given and tries each at each character, so that
2,000 secrets take it minutes. Not for what is hidden, nor for where it is registered (`masks.py`).

Rules of this file:

1. A masker is touched only where a copy of it behaves as was tested (`Quick.fits`).
2. What is registered stays in the masker's own set as well: what Airflow compiles by itself holds it all.
3. What Airflow registers is judged by its own code: sensitive names, the shortest value, the adapter.

Source: `airflow/_shared/secrets_masker` of 3.3.2, `airflow/utils/log/secrets_masker.py` of 2.11.2.
"""

from __future__ import annotations

import os
import re
from copy import copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["MINIMUM", "Quick"]

MINIMUM = 5  # characters, where Airflow does not say: its own default
_HEAD = 5  # characters by which the table is kept
_DEPTH = 64  # of containers in a log line; Airflow reads texts to 5, where the errors of a group begin
_OF_EXCEPTIONS = "_redact_exception_with_context_or_cause"  # the masker's method
_OURS = "strongroom.airflow.masks"  # whose adapter gives what is sent here already


class Quick:
    """
    The quick insides of one masker of Airflow's: stands in for its `add_mask` and its `replacer`.

    Threads: as Airflow's own; what is added while a text is searched may be missed in that text.
    """

    __slots__ = (
        "_compiled", "_escape", "_groups", "_heads", "_odd", "_odd_expression", "_patterns", "_texts",
        "masker", "process",
    )  # fmt: skip

    _compiled: int
    _odd_expression: re.Pattern[str] | None

    def __init__(self, masker: Any, module: Any) -> None:  # noqa: ANN401 -- as above
        self.masker = masker
        self.process = os.getpid()  # which made it quick; in a child, its parent
        # 2.11 compiles with re2, which escapes otherwise.
        self._escape: Any = getattr(module, "re2", re).escape
        self._groups: set[int] = set()  # of exceptions that are being masked
        self._begin()

    @staticmethod
    def fits(masker: Any, module: Any) -> bool:  # noqa: ANN401 -- as above
        """Tell whether *masker* works inside as was tested: a copy of it is tried out."""
        probe, text = "strongroom'probe", "a strongroom'probe here"
        try:
            tried = _emptied(masker)
            type(masker).add_mask(tried, probe)
            if type(tried.patterns) is not set or not tried.patterns or tried.replacer is None:
                return False
            if getattr(type(masker), _OF_EXCEPTIONS)(tried, ValueError(probe)).args != ("***",):
                return False
            tried.replacer = Quick(tried, module)
            return bool(
                tried.redact(text) == "a *** here" and tried.redact([{"k": text}]) == [{"k": "a *** here"}]
            )
        except Exception:  # noqa: BLE001 -- another Airflow's insides
            return False

    def stand_in(self, *, is_deep: bool) -> None:
        """Take the masker's place; *is_deep* also lets it read texts at any depth of a line."""
        self.masker.add_mask = self.add
        setattr(self.masker, _OF_EXCEPTIONS, self.redact_exception)
        if is_deep:
            self.masker.MAX_RECURSION_DEPTH = _DEPTH

    @property
    def minimum(self) -> int:
        """Give how many characters a value must have to be hidden by this masker."""
        told = getattr(self.masker, "min_length_to_mask", MINIMUM)
        return told if isinstance(told, int) and told > 0 else MINIMUM

    def was_reset(self) -> bool:
        """Tell whether Airflow has made its masker forget everything."""
        return self._patterns is not self.masker.patterns

    def add(self, secret: Any, name: str | None = None) -> None:  # noqa: ANN401 -- as Airflow's add_mask
        """Do as the masker's own `add_mask`, without compiling everything anew."""
        if (
            name is None
            and type(secret) is list
            and self._is_plain
            and all(type(one) is str for one in secret)
        ):
            # As `mask` of a child sends them: every encoding, and none that is trivial.
            self.take([one for one in secret if len(one) >= self.minimum and one.lower() != "airflow"])
            return
        apart = _emptied(self.masker)
        type(self.masker).add_mask(apart, secret, name)
        self._take(apart.patterns)

    @property
    def _is_plain(self) -> bool:
        """Tell whether no other adapter of the operator's would have its say."""
        told = getattr(self.masker, "secret_mask_adapter", None) or getattr(
            self.masker, "_mask_adapter", None
        )
        return told is None or getattr(told, "__module__", None) == _OURS

    def redact_exception(self, error: BaseException, visited: set[int] | None = None) -> BaseException:
        """Do as the masker's own method of that kind, and mask notes and the errors of a group as well."""
        masker: Any = self.masker
        redacted: BaseException = getattr(type(masker), _OF_EXCEPTIONS)(masker, error, visited)
        notes = getattr(redacted, "__notes__", None)
        if isinstance(notes, list):
            notes[:] = [masker.redact(note) for note in notes]
        within = getattr(redacted, "exceptions", None)
        # The context of an error in a group may be the group.
        if isinstance(within, tuple) and id(redacted) not in self._groups:
            self._groups.add(id(redacted))
            try:
                for one in within:
                    if isinstance(one, BaseException):
                        self.redact_exception(one)
            finally:
                self._groups.discard(id(redacted))
        return redacted

    def take(self, texts: Iterable[str]) -> None:
        """Hide *texts* as they are."""
        if self.was_reset():
            self._begin()
        for text in texts:
            pattern = self._escape(text)
            if pattern not in self._patterns:
                self._patterns.add(pattern)
                self._keep(text, pattern)
        self._replace()

    def _take(self, patterns: set[str]) -> None:
        """Hide what Airflow has made into *patterns*."""
        if self.was_reset():
            self._begin()
        for pattern in patterns - self._patterns:
            self._patterns.add(pattern)
            self._read(pattern)
        self._replace()

    def _replace(self) -> None:
        self._compile()
        if self._patterns:
            self.masker.replacer = self

    def _compile(self) -> None:
        if len(self._odd) > self._compiled:
            self._odd_expression = re.compile("|".join(sorted(self._odd, key=len, reverse=True)))
            self._compiled = len(self._odd)

    def _begin(self) -> None:
        self._patterns: set[str] = self.masker.patterns
        self._texts: set[str] = set()  # what is hidden
        self._heads: dict[str, tuple[int, ...]] = {}  # by its first characters: how long it is, longest first
        self._odd: set[str] = set()  # patterns that are too short for that, or that we cannot read back
        self._odd_expression = None
        self._compiled = 0
        for pattern in self._patterns:
            self._read(pattern)
        self._compile()

    def _read(self, pattern: str) -> None:
        text = _ESCAPED.sub(r"\1", pattern)
        self._keep(text if self._escape(text) == pattern else "", pattern)

    def _keep(self, text: str, pattern: str) -> None:
        if len(text) < _HEAD:
            self._odd.add(pattern)
            return
        self._texts.add(text)
        head = text[:_HEAD]
        lengths = self._heads.get(head, ())
        if len(text) not in lengths:  # a new one, as another thread may be reading it
            self._heads[head] = tuple(sorted((*lengths, len(text)), reverse=True))

    def sub(self, replacement: str, text: str) -> str:
        """Give *text* with each stretch that something hidden covers replaced by one *replacement*."""
        spans = self._spans(text)
        if not spans:
            return text
        spans.sort()
        out: list[str] = []
        position = -1
        for start, end in spans:
            if start > position:
                out += (text[max(position, 0) : start], replacement)
            position = max(position, end)
        out.append(text[position:])
        return "".join(out)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        heads = self._heads
        spans: list[tuple[int, int]] = []
        for start in [at for at in range(len(text) - _HEAD + 1) if text[at : at + _HEAD] in heads]:
            for length in heads[text[start : start + _HEAD]]:
                if text[start : start + length] in self._texts:
                    spans.append((start, start + length))
                    break  # the longest at this place covers the others
        if self._odd_expression is not None:
            spans += [found.span() for found in self._odd_expression.finditer(text)]
        return spans


_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _emptied(masker: Any) -> Any:  # noqa: ANN401 -- as above
    apart = copy(masker)
    for replaced in ("add_mask", _OF_EXCEPTIONS):
        vars(apart).pop(replaced, None)
    apart.patterns = set()
    apart.replacer = None
    return apart
