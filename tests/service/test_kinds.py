"""Connection types of ours and of the Airflow on the search path, as one list."""

from __future__ import annotations

import pytest

from strongroom import catalog
from strongroom.errors import InvalidInputError
from strongroom.service.kinds import Kinds


def test_types_of_an_installed_provider_are_listed_after_ours(airflow, tmp_path):
    found = Kinds(airflow, cache=tmp_path / "cache").list()
    assert tuple(kind.name for kind in found) == (*catalog.names(), "acme_lake")
    assert found[-1].family == "installed"


def test_fields_only_a_provider_has_are_added_to_ours(airflow, tmp_path):
    kinds = Kinds(airflow, cache=tmp_path / "cache")
    assert kinds.find("redis").extra_field("new_in_redis")
    assert kinds.find("redis").extra_field("ssl") == catalog.find("redis").extra_field("ssl")
    assert kinds.find("postgres") == catalog.find("postgres")


def test_the_nearest_of_an_installed_type_is_named_too(airflow, tmp_path):
    with pytest.raises(InvalidInputError) as caught:
        Kinds(airflow, cache=tmp_path / "cache").find("acme_lakes")
    assert caught.value.hint == "did you mean acme_lake?"


def test_without_an_airflow_there_are_ours(tmp_path):
    kinds = Kinds({"PATH": str(tmp_path)}, cache=tmp_path / "cache")
    assert tuple(kind.name for kind in kinds.list()) == catalog.names()
    assert not (tmp_path / "cache").exists()


def test_a_name_is_found_as_airflow_normalises_it(tmp_path):
    assert Kinds({}, cache=tmp_path).find(" Google-Cloud-Platform ").name == "google_cloud_platform"


def test_an_airflow_that_fails_leaves_ours_and_says_so(airflow, tmp_path):
    python = tmp_path / "airflow" / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\nexit 4\n")
    python.chmod(0o755)
    kinds = Kinds(airflow, cache=tmp_path / "cache")
    assert tuple(kind.name for kind in kinds.list()) == catalog.names()
    assert kinds.problem == "the Airflow installation failed with 4"


def test_nonsense_is_no_type(tmp_path):
    with pytest.raises(InvalidInputError) as caught:
        Kinds({}, cache=tmp_path).find("qqqqqqqq")
    assert caught.value.hint == "strongroom connections types lists them"
    assert "qqqq" not in str(caught.value)


def test_a_type_whose_name_airflow_would_write_otherwise_is_listed_and_found(airflow, tmp_path):
    (site,) = (tmp_path / "airflow").glob("lib/python3*/site-packages")
    for name, said in (("first", "Acme-Sea"), ("second", "acme_sea")):
        told = site / f"airflow_provider_{name}-1.dist-info"
        told.mkdir()
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: airflow-provider-{name}\nVersion: 1\n")
        (told / "entry_points.txt").write_text(
            f"[apache_airflow_provider]\nprovider_info = {name}_info:get_provider_info\n"
        )
        (site / f"{name}_info.py").write_text(
            f"def get_provider_info(): return {{'connection-types': [{{'connection-type': {said!r}}}]}}\n"
        )
    kinds = Kinds(airflow, cache=tmp_path / "cache")
    assert [kind.name for kind in kinds.list()][len(catalog.names()) :] == ["acme_lake", "acme_sea"]
    assert kinds.find("ACME-sea").name == "acme_sea"
