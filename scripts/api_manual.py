"""
Write docs/api.md anew: its own beginning stays, every route of the OpenAPI document follows.

    python scripts/api_manual.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.server import openapi
from strongroom.server.api import DESCRIBED

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
MARK = "<!-- Below this line the page is written by scripts/api_manual.py. -->\n"
_FIRST_ERROR = 400


def manual(page: str) -> str:
    """Give *page* with everything below the mark written anew."""
    beginning, mark, _ = page.partition(MARK)
    return beginning + mark + "".join(_sections())


def _sections() -> Iterator[str]:
    document = json.loads(msgspec.json.encode(openapi.document(DESCRIBED, version="")))
    for tag in document["tags"]:
        yield f"\n## {tag['name']}\n"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    yield _section(method.upper(), path, operation)
    yield from _statuses()


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"\n### {method} /v1{path}\n", f"{operation['summary']}. {operation['description']}\n"]
    if operation.get("security") == []:
        lines.append("Needs no identity.\n")
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | means |", "|---|---|---|"]
        lines += [_parameter(one) for one in parameters]
        lines.append("")
    if body := operation.get("requestBody"):
        lines += ["Takes", *_fenced(body["content"]["application/json"]["example"])]
    lines += _answers(operation["responses"])
    return "\n".join(lines)


def _parameter(one: dict[str, Any]) -> str:
    name = f"`{one['name']}`" + (" (required)" if one["required"] and one["in"] != "path" else "")
    about = one["description"].replace("|", "\\|")
    values = one["schema"].get("enum")
    known = f" One of {', '.join(f'`{value}`' for value in values)}." if values else ""
    return f"| {name} | {one['in']} | {about}{known} |"


def _answers(responses: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for status, answer in responses.items():
        if int(status) >= _FIRST_ERROR:
            continue
        content = answer.get("content", {})
        lines.append(f"Answers {status}" + ("" if content else ", without a body") + "\n" * (not content))
        for kind, media in content.items():
            if "json" in kind and "nd" not in kind:
                lines += _fenced(media["example"])
            else:
                lines += [f"as `{kind}`", "", "```text", *media["example"].strip().splitlines(), "```", ""]
    errors = [status for status in responses if int(status) >= _FIRST_ERROR]
    return [*lines, f"or {', '.join(errors)}.\n"]


def _fenced(example: object) -> list[str]:
    return ["", "```json", json.dumps(example, indent=2, ensure_ascii=False), "```", ""]


def _statuses() -> Iterator[str]:
    yield "\n## Statuses\n\n| status | means |\n|---|---|\n"
    for status, about in openapi.STATUSES.items():
        yield f"| {status} | {about} |\n"


if __name__ == "__main__":
    PAGE.write_text(manual(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
