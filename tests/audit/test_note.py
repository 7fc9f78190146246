import pytest

from strongroom.audit import note
from strongroom.audit.note import (
    Checkpoint,
    Note,
    Signer,
    Verifier,
    new_signer,
    parse_checkpoint,
    parse_notes,
)

# The example of C2SP signed-note, made by golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFY"
    "C2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_a_note_that_go_signed_is_good_and_comes_back_as_it_was():
    (found,) = parse_notes(GO_NOTE)
    assert Verifier.parse(GO_KEY).has_signed(found)
    assert found.format() == GO_NOTE
    assert Verifier.parse(GO_KEY).format() == GO_KEY
    forged = found._replace(text=found.text.replace("answer", "Answer"))
    assert not Verifier.parse(GO_KEY).has_signed(forged)


def test_keys_come_back_as_they_were_and_do_not_print():
    signer = new_signer("strongroom/prod/0123456789abcdef")
    again = Signer.parse(signer.format())
    assert again == signer
    assert signer.seed.hex() not in repr(signer)
    assert signer.verifier.has_signed(again.sign("text\n"))
    with pytest.raises(ValueError, match="space"):
        new_signer("two words")


def test_what_is_no_key_is_refused_without_saying_what_it_was():
    signer = new_signer("log")
    damaged = signer.format()[:-6] + "AAAA=="
    for text in ("", "PRIVATE+KEY", damaged, signer.verifier.format()):
        with pytest.raises(ValueError, match="signing key") as caught:
            Signer.parse(text)
        assert signer.format()[-20:-6] not in str(caught.value)
    for text in ("", "a+b", signer.verifier.format().replace("log+", "lug+")):
        with pytest.raises(ValueError, match="verifier key"):
            Verifier.parse(text)


def test_several_notes_are_read_and_what_is_none_is_refused():
    signer = new_signer("log")
    made = [signer.sign(Checkpoint("log", size, bytes(32), "").format()) for size in range(3)]
    text = "".join(each.format() for each in made)
    assert parse_notes(text) == made
    for broken in (text[:-1], text + "loose end\n", "\n" + text, text.replace("— log ", "— log !")):
        with pytest.raises(ValueError):  # noqa: PT011 -- which words does not matter
            parse_notes(broken)


def test_a_checkpoint_says_what_was_signed():
    made = Checkpoint("strongroom/prod/x", 12, bytes(range(32)), "2026-01-01T00:00:00.000000Z")
    assert parse_checkpoint(Note(made.format(), ())) == made
    for text in ("", "origin\n", "origin\n01\nAAAA\n", "origin\n1\nAAAA\n", f"origin\n-1\n{'A' * 44}\n"):
        with pytest.raises(ValueError):  # noqa: PT011 -- as above
            parse_checkpoint(Note(text, ()))


def test_a_cosignature_is_by_the_witness_and_covers_its_time():
    log, witness = new_signer("log"), new_signer("witness")
    signed = log.sign(Checkpoint("log", 1, bytes(32), "").format())
    both = signed._replace(signatures=(*signed.signatures, witness.cosign(signed, 1_700_000_000)))
    (again,) = parse_notes(both.format())
    assert witness.witness.has_signed(again)
    assert not witness.verifier.has_signed(again)
    name, id_, data = again.signatures[1]
    later = again._replace(signatures=((name, id_, (1).to_bytes(8, "big") + data[8:]),))
    assert not witness.witness.has_signed(later)
    assert not note.Verifier.parse(log.verifier.format()).has_signed(later)
