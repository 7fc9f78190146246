"""
Would git keep this file? Asked without trusting the repository it may stand in.

Rules of this file:

1. A repository is a stranger's: its configuration, hooks, aliases, filters, monitors and remotes are never
   read. Git is run on an empty repository of our own (a temporary folder), with the stranger's work tree,
   a copy of its `info/exclude` (patterns, nothing else) and its index. So nothing it says can be executed,
   whatever git learns to execute next.
2. Of the user only the ignore file is used: `core.excludesFile` where the user's own `.gitconfig` names one
   is not, as that file is not read either; git's default place for it is.
3. Git gets 5 s and an environment of our own; what it writes is bounded and never shown.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Verdict", "kept_by_git"]

Verdict = Literal["tracked", "not ignored", "cannot be told"]

_SECONDS = 5.0
_MAX_POINTER_BYTES = 4_096  # of a `.git` file and `commondir`
_MAX_EXCLUDE_BYTES = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    """A work tree: its top folder, and where its index and its patterns are."""

    top: Path
    index: Path
    exclude: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Git:
    """A git that knows nothing but a work tree: see the rules of this file."""

    program: str
    folder: Path
    tree: _Tree
    environ: Mapping[str, str] = field(repr=False)

    def __call__(self, *arguments: str, given: Sequence[str] = ()) -> set[str] | None:
        """Give the names git writes, or None where it cannot tell."""
        settings = ("core.fsmonitor=false", "core.untrackedCache=false", f"core.hooksPath={os.devnull}")
        command = [
            self.program,
            f"--git-dir={self.folder}",
            f"--work-tree={self.tree.top}",
            *(word for setting in settings for word in ("-c", setting)),
            *arguments,
        ]
        try:
            done = subprocess.run(  # noqa: S603 -- an absolute program, a list of words, no shell
                command,
                input="".join(f"{name}\0" for name in given).encode("utf-8", "surrogateescape"),
                capture_output=True,
                timeout=_SECONDS,
                env=self.environ,
                cwd=self.tree.top,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        # `check-ignore` ends with 1 where nothing is ignored.
        if done.returncode not in (0, 1):
            return None
        return set(filter(None, done.stdout.decode("utf-8", "surrogateescape").split("\0")))


def kept_by_git(paths: Iterable[Path], environ: Mapping[str, str]) -> dict[Path, Verdict]:
    """
    Give those of *paths* that git keeps or would keep with the next `git add .`, and why.

    Args:
        paths: files that exist; those outside of any work tree, and ignored ones, are left out.
        environ: for `PATH`, where git is, and `HOME`, where the user's own ignore file is.
    """
    trees: dict[Path, tuple[_Tree, list[Path]]] = {}
    for path in paths:
        tree = _tree_of(path)
        if tree is not None:
            trees.setdefault(tree.top, (tree, []))[1].append(path)
    found: dict[Path, Verdict] = {}
    for tree, inside in trees.values():
        found.update(_judged(tree, inside, environ))
    return found


def _judged(tree: _Tree, paths: list[Path], environ: Mapping[str, str]) -> dict[Path, Verdict]:
    program = _program(environ)
    if program is None:
        return dict.fromkeys(paths, "cannot be told")
    # Not the link itself: git names what stands in the real folder.
    names = {path: str((path.parent.resolve() / path.name).relative_to(tree.top)) for path in paths}
    with tempfile.TemporaryDirectory(prefix="strongroom-") as folder:
        git = _Git(
            program=program, folder=_empty(Path(folder), tree), tree=tree, environ=_environ(environ, tree)
        )
        # With "./" before it no name reads as magic of a pattern.
        given = [f"./{name}" for name in names.values()]
        ignored = git("check-ignore", "--no-index", "-z", "--stdin", given=given)
        tracked = git("--literal-pathspecs", "ls-files", "--cached", "-z", "--", *names.values())
    return {
        path: verdict
        for path, name in names.items()
        if (verdict := _verdict(name, ignored, tracked)) is not None
    }


def _verdict(name: str, ignored: set[str] | None, tracked: set[str] | None) -> Verdict | None:
    if tracked and name in tracked:
        return "tracked"
    if ignored is None:
        return "cannot be told"
    return None if f"./{name}" in ignored else "not ignored"


def _program(environ: Mapping[str, str]) -> str | None:
    # A relative folder of PATH is whatever stands in the working directory.
    folders = [folder for folder in environ.get("PATH", "").split(os.pathsep) if Path(folder).is_absolute()]
    return shutil.which("git", path=os.pathsep.join(folders)) if folders else None


def _environ(environ: Mapping[str, str], tree: _Tree) -> dict[str, str]:
    kept = {name: environ[name] for name in ("PATH", "HOME", "XDG_CONFIG_HOME") if name in environ}
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_INDEX_FILE": str(tree.index),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


def _empty(folder: Path, tree: _Tree) -> Path:
    """Make *folder* the least that git takes for a repository."""
    for name in ("objects", "refs", "info"):
        (folder / name).mkdir()
    (folder / "HEAD").write_text("ref: refs/heads/main\n", encoding="ascii")
    (folder / "info" / "exclude").write_bytes(_bytes(tree.exclude, _MAX_EXCLUDE_BYTES))
    return folder


# --- finding the work tree -------------------------------------------------------------------------


def _tree_of(path: Path) -> _Tree | None:
    try:
        folder = path.parent.resolve()
    except (OSError, RuntimeError):
        return None
    for top in (folder, *folder.parents):
        git = top / ".git"
        if git.is_dir():
            return _tree(top, git)
        if git.is_file():
            # Of a submodule or a second work tree: `gitdir: <path>`.
            said = _bytes(git, _MAX_POINTER_BYTES).decode("utf-8", "surrogateescape")
            return _tree(top, top / said.removeprefix("gitdir:").strip().replace("\0", ""))
    return None


def _tree(top: Path, git: Path) -> _Tree:
    common = _bytes(git / "commondir", _MAX_POINTER_BYTES).decode("utf-8", "surrogateescape")
    shared = git / common.strip().replace("\0", "")
    return _Tree(top=top, index=git / "index", exclude=shared / "info" / "exclude")


def _bytes(path: Path, most: int) -> bytes:
    """Give the start of a regular file, or nothing."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as opened:
            return opened.read(most)
    except OSError:
        return b""
