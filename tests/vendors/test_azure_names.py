"""Names in a Key Vault: what shares a secret is one name as a vault sees it, and nothing else ever does."""

import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import example, given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.ref import KINDS, Ref
from strongroom.vendors.azure_answer import SecretItem
from strongroom.vendors.azure_names import ID_TAG, TEAM_TAG, Names, Shelf

PREFIXES = ("", "a", "A-b", "a-b", "a_b", "b", "a#", "a-b#", "c")
TEXTS = st.text("aAbB-_", min_size=1, max_size=8)
TEAMS = st.one_of(st.none(), st.text("aAbB-_", min_size=1, max_size=5))


@st.composite
def spellings(draw):
    prefixes = {kind: draw(st.sampled_from(PREFIXES)) for kind in KINDS}
    return Names(
        "azure", prefixes, separator=draw(st.sampled_from(("-", "0", ""))), keeps_teams=draw(st.booleans())
    )


def refs(kinds):
    return st.builds(lambda *parts: parts, st.sampled_from(kinds), TEXTS, TEAMS)


def made(parts):
    try:
        return Ref(*parts)
    except InvalidInputError:
        return None


def seen(names, ref):
    """Give the secret of *ref*, and the key in it, as a vault sees them."""
    path = names.naming.path(ref)
    if path is None:
        return None
    secret, key = names.naming.holder(path) or (path, None)
    return names.folded(secret), key


@given(names=spellings(), one=refs(KINDS), kind=st.sampled_from(KINDS), team=TEAMS, data=st.data())
def test_names_cut_out_of_anothers_secret_do_not_meet_it(names, one, kind, team, data):
    mine = made(one)
    path = None if mine is None else names.naming.path(mine)
    if path is None:
        return
    spelled = names.spelled(path)
    name = spelled[data.draw(st.integers(0, max(len(spelled) - 1, 0))) :]
    name = "".join(
        data.draw(st.sampled_from((one, one.swapcase(), "_" if one == "-" else one))) for one in name
    )
    check_apart(names, mine, made((kind, name, team)))


@given(names=spellings(), one=refs(KINDS), other=refs(KINDS))
@example(
    names=Names("azure", {"connection": "a-b", "variable": "a"}, separator="-", keeps_teams=False),
    one=("connection", "x", None),
    other=("variable", "B_x", None),
)
@example(
    names=Names("azure", {"connection": "a-b#", "variable": "a"}, separator="-", keeps_teams=False),
    one=("connection", "x", None),
    other=("variable", "B", None),
)
def test_names_that_share_a_secret_are_of_one_kind_and_team_and_spelled_alike(names, one, other):
    check_apart(names, made(one), made(other))


def check_apart(names, mine, theirs):
    if mine is None or theirs is None or seen(names, mine) is None:
        return
    if seen(names, mine) != seen(names, theirs) or mine == theirs:
        return
    prefix = {names.folded(names.naming.folders(ref.kind)[0]) for ref in (mine, theirs)}
    assert mine.kind == theirs.kind or len(prefix) == 1
    assert names.folded(mine.name) == names.folded(theirs.name)
    assert names.folded(mine.team or "") == names.folded(theirs.team or "")


@given(names=spellings(), one=refs(KINDS), other=refs(KINDS))
def test_tagged_secret_is_listed_and_read_as_the_name_it_was_written_for_alone(names, one, other):
    mine, theirs = made(one), made(other)
    path = None if mine is None else names.naming.path(mine)
    if mine is None or path is None or names.naming.holder(path) is not None:
        return
    tags = {ID_TAG: mine.name} | ({TEAM_TAG: mine.team} if mine.team else {})
    item = SecretItem(name=names.spelled(path), tags=tags)
    assert not names.is_astray(item)
    assert names.ref(item, mine.kind, mine.team) == mine
    assert not names.is_of_another(path, tags)
    if theirs is None or seen(names, theirs) != seen(names, mine) or theirs[1:] == mine[1:]:
        return
    assert names.is_of_another(names.naming.path(theirs), tags)
    assert names.ref(item, theirs.kind, theirs.team) != theirs


def test_look_that_was_begun_before_a_write_is_not_what_comes_after_it():
    names = Names("azure", {"variable": "v"}, separator="-", keeps_teams=False)
    held = [SecretItem(name="v-old")]
    begun, go = threading.Event(), threading.Event()

    def fetch():
        seen = list(held)
        if not begun.is_set():
            begun.set()
            go.wait(20)
        return seen

    shelf = Shelf(names, fetch)

    def listed():
        return [ref.name for ref, _ in shelf.page("variable", None, prefix="", after="", limit=10)]

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(listed)
        assert begun.wait(20)
        held.append(SecretItem(name="v-new"))
        shelf.forget()
        assert listed() == ["new", "old"]
        go.set()
        first.result()
    assert listed() == ["new", "old"]
