"""Single options of an airflow.cfg, set and put back to the byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import ConflictError
from strongroom.service.airflow.cfg import put_back, set_option

FILE = """\
# of the whole

[core]
dags_folder = /dags

[secrets]
# Full class name of secrets backend
# backend = airflow.example
backend = airflow.providers.hashicorp.secrets.vault.VaultBackend
backend_kwargs = {"url": "http://v",
    "token": "100%%"}

# use_cache
use_cache = False

[workers]
secrets_backend =
"""


def settled(text, *options):
    edits = []
    for section, option, value in options:
        text, edit = set_option(text, section, option, value)
        edits.append(edit)
    return text, edits


def undone(text, edits):
    for edit in reversed(edits):
        text = put_back(text, edit)
    return text


TWO = (("secrets", "backend", "x.Y"), ("secrets", "backend_kwargs", '{"a": "50%"}'))
SDK = (("sdk", "coordinators", "{}"), ("sdk", "queue_to_coordinator", "{}"))


def test_lines_are_replaced_where_they_stand():
    text, _ = settled(FILE, *TWO)
    assert text == FILE.replace(
        "backend = airflow.providers.hashicorp.secrets.vault.VaultBackend\n"
        'backend_kwargs = {"url": "http://v",\n    "token": "100%%"}\n',
        'backend = x.Y\nbackend_kwargs = {"a": "50%%"}\n',
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text",
    ["", "[core]\na = b", FILE, FILE.replace("[secrets]", "[secrets]\nbackend=\n[other]"), "[secrets]\n"],
)
@pytest.mark.parametrize("options", [TWO, SDK, (*TWO, *SDK)])
def test_what_stood_there_comes_back_to_the_byte(text, options, end):
    before = text.replace("\n", end)
    assert undone(*settled(before, *options)) == before


def test_what_changed_elsewhere_meanwhile_is_kept():
    text, edits = settled(FILE, *TWO, *SDK)
    changed = text.replace("dags_folder = /dags", "dags_folder = /other\nplus = 1")
    assert undone(changed, edits) == FILE.replace("dags_folder = /dags", "dags_folder = /other\nplus = 1")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("backend = x.Y", "backend = z.Z"),
        ("backend = x.Y\n", ""),
        ("[secrets]", "[secret]"),
        ("x.Y\n", "x.Y\n  more\n"),
    ],
)
def test_option_that_changed_since_is_left_alone(old, new):
    text, edits = settled(FILE, *TWO)
    with pytest.raises(ConflictError):
        undone(text.replace(old, new), edits)


def test_section_of_ours_that_somebody_added_to_is_left_alone():
    text, edits = settled(FILE, *SDK)
    with pytest.raises(ConflictError):
        undone(text + "mine = 1\n", edits)


_NAMES = st.sampled_from(["backend", "backend_kwargs", "use_cache", "a"])
_LINES = st.one_of(
    st.sampled_from(["[secrets]", "[core]", "[workers]", "", "# backend = x", "; [secrets]", "    indented"]),
    st.builds(
        "{} = {}".format,
        _NAMES,
        st.text(st.characters(codec="ascii", exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e"), max_size=8),
    ),
)


@given(st.lists(_LINES, max_size=12).map("\n".join))
def test_any_file_comes_back_to_the_byte_or_is_left_alone(text):
    try:
        made = settled(text, *TWO, *SDK)
    except ConflictError:
        return
    assert undone(*made) == text


@pytest.mark.parametrize(
    "text",
    [
        "[secrets]\n    use_cache = False\n",  # it would go on with our line
        "[secrets]\nbackend = x\n\n    goes on\n",
        "[secrets]\nno option\n",
        "outside = of any section\n",
    ],
)
def test_file_that_would_then_say_something_else_is_left_alone(text):
    with pytest.raises(ConflictError) as caught:
        settled(text, *TWO)
    assert "goes on" not in str(caught.value) + repr(caught.value.__context__)
