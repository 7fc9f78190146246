from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from strongroom.insight.git import kept_by_git

if shutil.which("git") is None and not os.environ.get("CI"):
    pytest.skip("git is not installed", allow_module_level=True)


class Tree:
    def __init__(self, folder):
        self.folder = folder
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder / "home")}
        self.work = folder / "work"
        self.work.mkdir()
        self("init", "-q")

    def __call__(self, *arguments, cwd=None):
        who = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "protocol.file.allow=always")
        subprocess.run(
            ["git", *who, *arguments], cwd=cwd or self.work, env=self.environ, check=True, capture_output=True
        )

    def file(self, name, text="x"):
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def verdicts(self, *paths):
        found = kept_by_git(paths, self.environ)
        return {path.relative_to(self.work).as_posix(): what for path, what in found.items()}


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_ignored_files_are_left_out_and_others_told(tree):
    tree.file(".gitignore", "*.key\nfolder/\n")
    tree.file("deep/.gitignore", "x\n")
    (tree.work / ".git/info").mkdir(exist_ok=True)
    (tree.work / ".git/info/exclude").write_text("excluded\n")
    names = ("a.key", "folder/y", "deep/x", "deep/y", "excluded", ".env", ":(top)z", "*")
    paths = [tree.file(name) for name in names]
    assert tree.verdicts(*paths) == dict.fromkeys(["deep/y", ".env", ":(top)z", "*"], "not ignored")


def test_a_tracked_file_is_told_though_it_is_ignored(tree):
    path = tree.file(".env")
    tree("add", ".env")
    tree.file(".gitignore", ".env\n")
    assert tree.verdicts(path) == {".env": "tracked"}
    tree("commit", "-qm", "x")
    assert tree.verdicts(path) == {".env": "tracked"}


def test_a_file_outside_of_any_work_tree_is_nobodys(tree, tmp_path):
    (tmp_path / "loose").write_text("x")
    assert kept_by_git([tmp_path / "loose"], tree.environ) == {}


def test_a_second_work_tree_has_its_own_index_and_the_common_excludes(tree, tmp_path):
    tree.file("a")
    tree("add", "a")
    tree("commit", "-qm", "x")
    tree("worktree", "add", "-q", str(tmp_path / "second"))
    (tree.work / ".git/info").mkdir(exist_ok=True)
    (tree.work / ".git/info/exclude").write_text("hidden\n")
    for name in ("hidden", "seen"):
        (tmp_path / "second" / name).write_text("x")
    paths = [tmp_path / "second" / name for name in ("a", "hidden", "seen")]
    found = {path.name: what for path, what in kept_by_git(paths, tree.environ).items()}
    assert found == {"a": "tracked", "seen": "not ignored"}


def test_a_link_is_judged_where_it_stands(tree, tmp_path):
    (tmp_path / "secret").write_text("x")
    link = tree.work / ".env"
    link.symlink_to(tmp_path / "secret")
    assert tree.verdicts(link) == {".env": "not ignored"}


def test_a_hostile_repository_executes_nothing_and_is_answered_all_the_same(tree, tmp_path):
    mark = tmp_path / "executed"
    path, kept = tree.file(".env"), tree.file("kept")
    tree("add", "kept")
    tree("commit", "-qm", "x")
    program = tmp_path / "evil"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    (tree.work / ".git/config").write_text(
        f"""[core]
        repositoryformatversion = 1
        fsmonitor = {program}
        hooksPath = {tmp_path}
        sshCommand = {program}
        pager = {program}
        editor = {program}
        gitProxy = {program}
        askPass = {program}
        worktree = /
        excludesFile = {tmp_path}/everything
        attributesFile = {tmp_path}/attributes
        [extensions]
        partialClone = origin
        [remote "origin"]
        url = ext::{program}
        promisor = true
        uploadpack = {program}
        [filter "x"]
        clean = {program}
        smudge = {program}
        process = {program}
        [alias]
        check-ignore = !{program}
        ls-files = !{program}
        [trace2]
        eventTarget = {mark}
        [include]
        path = /dev/zero
        """
    )
    (tmp_path / "everything").write_text("*\n")
    tree.file(".gitattributes", "* filter=x diff=x\n")
    for hook in ("post-index-change", "fsmonitor-watchman"):
        hook_file = tree.work / ".git/hooks" / hook
        hook_file.parent.mkdir(exist_ok=True)
        hook_file.write_text(program.read_text())
        hook_file.chmod(0o755)
    shutil.rmtree(tree.work / ".git/objects")
    assert tree.verdicts(path, kept) == {".env": "not ignored", "kept": "tracked"}
    assert not mark.exists()


def test_a_git_of_the_working_directory_is_not_run(tree, tmp_path, monkeypatch):
    mark = tmp_path / "executed"
    fake = tree.file("git", f"#!/bin/sh\ntouch {mark}\n")
    fake.chmod(0o755)
    monkeypatch.chdir(tree.work)
    tree.environ["PATH"] = f".:{tree.environ['PATH']}"
    assert tree.verdicts(tree.file(".env")) == {".env": "not ignored"}
    tree.environ["PATH"] = "."
    assert tree.verdicts(tree.file(".env")) == {".env": "cannot be told"}
    assert not mark.exists()


def test_a_broken_index_leaves_what_the_patterns_tell(tree):
    path = tree.file(".env")
    tree.file(".gitignore", "other\n")
    (tree.work / ".git/index").write_bytes(b"no index")
    assert tree.verdicts(path, tree.file("other")) == {".env": "not ignored"}


@pytest.mark.parametrize("pointer", ["gitdir: /nowhere", "", "gitdir: \0", "x" * 9000])
def test_a_pointer_that_leads_nowhere_is_no_trouble(tmp_path, tree, pointer):
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / ".git").write_text(pointer)
    (folder / ".env").write_text("x")
    assert kept_by_git([folder / ".env"], tree.environ) == {folder / ".env": "not ignored"}
