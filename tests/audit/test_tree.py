import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit.tree import Frontier, HashFile, check_consistency, consistency, leaf_of

# RFC 6962's own test data, as in certificate-transparency's merkletree tests.
LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
LEAVES.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def naive(leaves):
    if len(leaves) == 1:
        return leaf_of(leaves[0])
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + naive(leaves[:middle]) + naive(leaves[middle:])).digest()


def test_roots_are_those_of_rfc_6962():
    tree = Frontier()
    assert tree.root() == hashlib.sha256().digest()
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        tree.push(leaf_of(leaf))
        assert tree.root().hex() == root


@pytest.fixture(scope="module")
def hashes(tmp_path_factory):
    file = os.open(tmp_path_factory.mktemp("tree") / "tree", os.O_RDWR | os.O_CREAT)
    tree, roots = Frontier(), [Frontier().root()]
    for number in range(130):
        HashFile(file).write(tree.size, b"".join(tree.push(leaf_of(b"%d" % number))))
        roots.append(tree.root())
    yield HashFile(file), roots
    os.close(file)


def test_the_file_gives_every_tree_that_was(hashes):
    found, roots = hashes
    assert found.size == 130
    for size in range(131):
        assert found.frontier(size).root() == roots[size]
        if size:
            assert roots[size] == naive([b"%d" % number for number in range(size)])


@given(st.data())
def test_a_proof_holds_for_its_trees_and_for_no_other(hashes, data):
    found, roots = hashes
    new = data.draw(st.integers(1, 130))
    old = data.draw(st.integers(1, new))
    proof = consistency(found.hash, old, new)
    assert check_consistency((old, roots[old]), (new, roots[new]), proof)
    other = data.draw(st.integers(0, 130).filter(lambda size: size not in (old, new)))
    assert not check_consistency((old, roots[other]), (new, roots[new]), proof)
    assert not check_consistency((old, roots[old]), (new, roots[other]), proof)
    if proof:
        assert not check_consistency((old, roots[old]), (new, roots[new]), proof[:-1])
        assert not check_consistency((old, roots[old]), (new, roots[new]), [*proof, proof[0]])
        at = data.draw(st.integers(0, len(proof) - 1))
        forged = [*proof[:at], b"\0" * 32, *proof[at + 1 :]]
        assert not check_consistency((old, roots[old]), (new, roots[new]), forged)
    if old < new:
        assert not check_consistency((new, roots[new]), (old, roots[old]), proof)


def test_roots_that_are_not_of_that_size_are_refused():
    with pytest.raises(ValueError, match="size"):
        Frontier(3, [b"\0" * 32])
