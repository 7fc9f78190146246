"""Any of Airflow's forms into any other, proven."""

from pathlib import Path

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.document import form_of, parse_connections, parse_variables
from strongroom.transfer.convert import convert_connections, convert_variables

DATA = Path(__file__).parents[1] / "data"
FILES = ["connections.json", "connections.yaml", "connections-json.env", "connections.env"]


@pytest.mark.parametrize("target", ["json", "yaml", "env"])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("folder", ["airflow3", "airflow2"])
def test_real_connections_are_converted_without_a_loss(folder, file, target):
    text = (DATA / folder / file).read_text()
    done = convert_connections(text, form_of(file), target)
    assert done.count == 60
    assert parse_connections(done.text.reveal(), target) == parse_connections(text, form_of(file))


@pytest.mark.parametrize("target", ["json", "yaml"])
@pytest.mark.parametrize("folder", ["airflow3", "airflow2"])
def test_real_variables_are_converted_without_a_loss(folder, target):
    text = (DATA / folder / "variables.json").read_text()
    done = convert_variables(text, "json", target)
    assert done.count == 18
    assert parse_variables(done.text.reveal(), target) == parse_variables(text, "json")


def test_names_that_env_holds_as_json_are_told():
    text = '{"plain": "http://h/s", "told": {"conn_type": "http", "description": "d"}}'
    assert convert_connections(text, "json", "env").as_json == ("told",)
    assert convert_connections(text, "json", "env", serialization="json").as_json == ("plain", "told")
    assert convert_connections(text, "json", "yaml").as_json == ()


def test_uri_only_refuses_rather_than_lose():
    text = '{"told": {"conn_type": "http", "description": "d"}}'
    with pytest.raises(InvalidInputError, match='"told"'):
        convert_connections(text, "json", "env", serialization="uri-only")


def test_what_would_come_back_changed_is_refused_by_name():
    # An empty password is one to the sdk and none to the core: nothing written for one suits the other.
    text = '{"odd": {"conn_type": "http", "password": ""}, "fine": "http://h"}'
    with pytest.raises(InvalidInputError, match="1 entries would come back changed, the first is 'odd'"):
        convert_connections(text, "json", "yaml", dialect="sdk", target_dialect="core")


def test_variables_go_to_env_without_their_descriptions_when_told_so():
    text = '{"v": {"value": "x", "description": "d"}}'
    with pytest.raises(InvalidInputError):
        convert_variables(text, "json", "env")
    assert convert_variables(text, "json", "env", descriptions=False).text.reveal() == "v=x\n"


def test_converted_text_does_not_print():
    done = convert_connections('{"a": "http://:cAnArY@h"}', "json", "env")
    assert "cAnArY" not in repr(done)
