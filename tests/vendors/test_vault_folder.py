"""Trees of folders as one ordered list, over servers that page and servers that do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.vendors.vault_folder import MAX_AGE_SECONDS, Folders

segments = st.text(st.sampled_from("ab.0-é"), min_size=1, max_size=3)
names = st.lists(segments, min_size=1, max_size=4).map("/".join)


class Tree:
    """What a server holds, by full path, and how often it was asked."""

    def __init__(self, paths, *, pages=True):
        self.paths = set(paths)
        self.pages = pages
        self.asked = []

    def keys(self, folder, after, limit):
        self.asked.append((folder, after))
        below = [path[len(folder) :] for path in self.paths if path.startswith(folder) and path != folder]
        found = {key.partition("/")[0] + ("/" if "/" in key else "") for key in below}
        # A server sorts bytes.
        ordered = sorted(found, key=str.encode)
        return [key for key in ordered if key > after][:limit] if self.pages else ordered


def any_name(_root, _name):
    return True


@given(
    st.sets(names, max_size=25),
    st.sets(names, max_size=5),
    names.map(lambda name: name[:2]) | st.just(""),
    names | st.just(""),
    st.integers(1, 8),
    st.booleans(),
)
def test_names_below_any_roots_are_ordered_narrowed_and_paged(first, second, prefix, after, limit, pages):
    tree = Tree({f"r/{name}" for name in first} | {f"s/{name}" for name in second}, pages=pages)
    folders = Folders(tree.keys)
    expected = sorted(name for name in first | second if name.startswith(prefix) and name > after)
    expected = [("r/" if name in first else "s/", name) for name in expected]
    given_ = folders.names(("r/", "s/"), any_name, prefix=prefix, after=after, limit=limit)
    assert given_ == expected[:limit]
    everything, last = [], after
    while page := folders.names(("r/", "s/"), any_name, prefix=prefix, after=last, limit=limit):
        everything += page
        last = page[-1][1]
    assert everything == expected


@pytest.mark.parametrize(("pages", "requests"), [(True, 11), (False, 1)])
def test_ten_thousand_names_are_asked_for_about_once(pages, requests):
    tree = Tree([f"r/n{number:05}" for number in range(10_000)], pages=pages)
    folders, last, count = Folders(tree.keys), "", 0
    while page := folders.names(("r/",), any_name, after=last, limit=1000):
        count += len(page)
        last = page[-1][1]
    assert count == 10_000
    assert len(tree.asked) == requests


def test_first_page_is_never_remembered_and_the_rest_not_for_long():
    now = [0.0]
    tree = Tree([f"r/n{number:03}" for number in range(600)], pages=False)
    folders = Folders(tree.keys, clock=lambda: now[0])
    page = folders.names(("r/",), any_name, limit=2)
    tree.paths.add("r/n000a")
    assert folders.names(("r/",), any_name, after="n000", limit=1) == [("r/", "n001")]
    assert folders.names(("r/",), any_name, limit=2) == [page[0], ("r/", "n000a")]
    tree.paths.add("r/n000b")
    now[0] += MAX_AGE_SECONDS
    assert folders.names(("r/",), any_name, after="n000a", limit=1) == [("r/", "n000b")]


def test_folder_in_which_no_name_can_stand_is_not_entered():
    tree = Tree(["r/a", "r/team/x", "r/team/y/z"])
    found = Folders(tree.keys).names(("r/",), lambda _root, name: "/" not in name)
    assert found == [("r/", "a")]
    assert tree.asked == [("r/", "")]


def test_prefix_and_start_inside_a_folder_ask_for_nothing_else():
    tree = Tree([f"r/{folder}/{name}" for folder in "abc" for name in "xyz"])
    folders = Folders(tree.keys)
    assert folders.names(("r/",), any_name, prefix="b/y") == [("r/", "b/y")]
    assert tree.asked == [("r/b/", "")]
    tree.asked.clear()
    assert [name for _, name in folders.names(("r/",), any_name, after="b/y")] == ["b/z", "c/x", "c/y", "c/z"]
    assert tree.asked == [("r/", "b"), ("r/b/", "y"), ("r/c/", "")]


def test_keys_that_name_nothing_lead_nowhere():
    folders = Folders(lambda _folder, _after, _limit: ["", "/", "a"])
    assert folders.names(("r/",), lambda _root, name: name == "a") == [("r/", "a")]
