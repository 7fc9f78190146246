"""Policy, AppRole and role of a Vault, made by an administrator, against a real OpenBao."""

import itertools

import pytest

from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.model.secret import Secret
from strongroom.vendors.vault import VaultSession
from strongroom.vendors.vault_options import VaultAccess, VaultAuth
from strongroom.vendors.vault_setup import RoleIds, VaultSetup, VaultWish

RULES = 'path "kv-of-setup/*" { capabilities = ["read"] }\n'
_numbers = itertools.count(1)


@pytest.fixture
def wish():
    number = next(_numbers)
    return VaultWish(policy=f"p{number}", rules=RULES, mount=f"setup/approle{number}", role="strongroom")


@pytest.fixture
def setup_of(bao):
    made = []

    def make(wish, token=None, **words):
        session = VaultSession.of("vault", VaultAccess(url=bao.url, token=Secret(token or bao.root), **words))
        made.append(session)
        return VaultSetup(session, place="vault", wish=wish)

    yield make
    for session in made:
        session.close()


def states(setup):
    return [part.state for part in setup.look()]


def make(setup):
    for part in setup.look():
        setup.make(part)


def test_what_was_made_logs_in_and_may_what_it_is_to(bao, wish, setup_of):
    setup = setup_of(wish)
    assert states(setup) == ["missing"] * 3
    make(setup)
    assert states(setup) == ["there"] * 3
    ids = RoleIds(setup.role_id(), setup.secret_id())
    auth = VaultAuth(method="approle", mount_point=wish.mount, role_id=ids.role_id, secret_id=ids.secret_id)
    session = VaultSession.of("vault", VaultAccess(url=bao.url, auth=auth))
    facts = session.look()
    session.close()
    assert facts.policies == ("default", wish.policy)
    assert facts.seconds_left <= 3600


def test_making_it_again_changes_nothing_and_keeps_what_others_gave(bao, wish, setup_of):
    setup = setup_of(wish)
    make(setup)
    where = f"auth/{wish.mount}/role/strongroom"
    bao.api("POST", where, {"token_policies": ["theirs"], "token_ttl": "7s"})
    assert states(setup) == ["there", "there", "other"]
    make(setup)
    found = bao.api("GET", where)["data"]
    assert (sorted(found["token_policies"]), found["token_ttl"]) == (sorted(["theirs", wish.policy]), 7)
    before = bao.api("GET", where)
    make(setup)
    assert bao.api("GET", where)["data"] == before["data"]


def test_policy_of_another_text_is_told_before_it_is_replaced(bao, wish, setup_of):
    bao.api("PUT", f"sys/policies/acl/{wish.policy}", {"policy": 'path "x" { capabilities = ["list"] }'})
    part = setup_of(wish).look()[0]
    assert (part.state, part.change) == ("other", f"write the policy {wish.policy} anew")


def test_ids_are_good_until_the_secret_id_is_destroyed_or_the_role_is_another(bao, wish, setup_of):
    setup = setup_of(wish)
    make(setup)
    ids = RoleIds(setup.role_id(), setup.secret_id())
    assert setup.is_good(ids)
    assert not setup.is_good(RoleIds(Secret("another"), ids.secret_id))
    path = f"auth/{wish.mount}/role/strongroom/secret-id/destroy"
    bao.api("POST", path, {"secret_id": ids.secret_id.reveal()})
    assert not setup.is_good(ids)


def test_secret_id_ends_when_it_is_told_to(bao, wish, setup_of):
    setup = setup_of(VaultWish(policy=wish.policy, rules=RULES, mount=wish.mount, secret_id_seconds=90))
    make(setup)
    assert bao.api("GET", f"auth/{wish.mount}/role/strongroom")["data"]["secret_id_ttl"] == 90


def test_other_method_in_its_place_is_refused_and_left(bao, wish, setup_of):
    mount = bao.auth("userpass")
    with pytest.raises(BackendConfigError, match="another method than AppRole") as caught:
        setup_of(VaultWish(policy="p", rules=RULES, mount=mount)).look()
    assert "auth_mount_point" in caught.value.hint


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        ("", "sys/auth"),
        ('path "sys/auth" { capabilities = ["read"] }', "sys/policies/acl/"),
    ],
)
def test_administrator_who_may_not_is_told_which_path(bao, wish, setup_of, rules, path):
    token = bao.token(bao.policy(rules or 'path "nothing" { capabilities = ["read"] }'))
    with pytest.raises(AccessDeniedError, match=f"may not read {path}") as caught:
        setup_of(wish, token).look()
    assert token not in repr(vars(caught.value))


def test_administrator_who_may_write_policies_alone_stops_half_way(bao, wish, setup_of):
    rules = "".join(
        f'path "{path}" {{ capabilities = ["read", "update", "create"] }}\n'
        for path in ("sys/auth", "sys/policies/acl/*")
    )
    setup = setup_of(wish, bao.token(bao.policy(rules)))
    parts = setup.look()
    setup.make(parts[0])
    with pytest.raises(AccessDeniedError, match=f"may not update sys/auth/{wish.mount}"):
        setup.make(parts[1])
    assert states(setup_of(wish)) == ["there", "missing", "missing"]


def test_namespace_that_is_not_there_is_told(wish, setup_of):
    with pytest.raises(BackendConfigError, match="no such namespace"):
        setup_of(wish, namespace="nowhere").look()


def test_policy_that_the_server_cannot_read_is_refused(wish, setup_of):
    setup = setup_of(VaultWish(policy=wish.policy, rules="path {", mount=wish.mount))
    with pytest.raises((BackendConfigError, BackendUnavailableError)):
        setup.make(setup.look()[0])
