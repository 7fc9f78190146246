"""What templates are made of: icons and texts that there are, and nothing that a strict policy forbids."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from string import Formatter

import pytest

from strongroom.catalog import FAMILIES
from strongroom.server.ui.family import SHAPES, family
from strongroom.server.ui.texts import catalogue

UI = files("strongroom.server.ui")
STATIC = files("strongroom.server").joinpath("static")


def _walk(folder, ending):
    for one in folder.iterdir():
        if one.is_dir():
            yield from _walk(one, ending)
        elif one.name.endswith(ending):
            yield one


TEMPLATES = {
    str(one).rpartition("templates/")[2]: re.sub(r"{#.*?#}", "", one.read_text("utf-8"), flags=re.DOTALL)
    for one in _walk(UI.joinpath("templates"), ".html")
}
SPRITE = set(re.findall(r'<symbol id="i-([^"]+)"', STATIC.joinpath("icons.svg").read_text("utf-8")))


class _Markup(HTMLParser):
    """Collects what the policy would block."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.found += [
            f"{tag} {name}" for name in names if name.startswith(("on", "hx-on")) or name == "style"
        ]
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        if str(names.get("href", "")).startswith("javascript:"):
            self.found.append("javascript:")


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_has_nothing_the_policy_forbids(name):
    parser = _Markup()
    parser.feed(re.sub(r"{%.*?%}|{{.*?}}", " ", TEMPLATES[name], flags=re.DOTALL))
    assert parser.found == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_names_icons_and_texts_that_there_are(name):
    text = TEMPLATES[name]
    assert set(re.findall(r"""ui\.icon\(['"]([a-z0-9-]+)['"][,)]""", text)) <= SPRITE
    assert set(re.findall(r"""\bt\(['"]([a-z0-9_.]+)['"]\s*[,)]""", text)) <= set(catalogue())


def test_every_family_of_the_catalog_has_a_shape():
    shapes = {family("connection", name) for names in FAMILIES.values() for name in names}
    assert shapes <= set(SHAPES)
    assert {f"t-{one}" for one in SHAPES} <= SPRITE
    assert family("connection", "postgres") == "db"
    assert family("connection", "kafka") == "stream"
    assert family("connection", "what_nobody_knows") == family("connection", None) == "http"
    assert family("variable") == "var"


def test_the_stylesheet_asks_nobody_else():
    text = STATIC.joinpath("style.css").read_text("utf-8")
    assert re.findall(r"https?:|@import|data:", text) == []
    for path in re.findall(r'url\("([^"]+)"\)', text):
        assert STATIC.joinpath(path).is_file()


def _named():
    """Give what code and templates say of texts: keys by themselves, and those put together, as patterns."""
    text = "\n".join([*TEMPLATES.values(), *(one.read_text("utf-8") for one in _walk(UI, ".py"))])
    hole = r"\{(?:[^{}]|\{[^{}]*\})*\}"
    glued = re.findall(rf"""f["']([a-z_]+\.(?:[a-z0-9_.]|{hole})+)["']""", text)
    glued = [re.sub(hole, "*", one) for one in glued]
    glued += [f"{one}*" for one in re.findall(r"""["']([a-z_]+\.[a-z0-9_.]*)["'] ?~""", text)]
    return text, [re.compile(re.escape(one).replace(r"\*", "[a-z0-9_]+")) for one in set(glued)]


def test_every_text_is_used():
    text, glued = _named()
    words = set(re.findall(r"[a-z0-9_]+(?:\.[a-z0-9_]+)+", text))
    unused = [
        key
        for key in catalogue()
        if key not in words and not key.endswith("_also") and not any(one.fullmatch(key) for one in glued)
    ]
    assert unused == []


def test_every_text_that_code_names_is_there():
    text = "\n".join(one.read_text("utf-8") for one in _walk(UI, ".py"))
    assert set(re.findall(r"""\b(?:say|Toast)\(\s*["']([a-z0-9_.]+)["']""", text)) <= set(catalogue())


def test_the_forms_of_a_text_ask_for_nothing_that_the_other_form_has_not():
    for key, forms in catalogue().items():
        asked = {
            name: {one[1] for one in Formatter().parse(str(form)) if one[1]} - {"count"}
            for name, form in forms.items()
        }
        assert {"other"} <= set(asked) <= {"one", "other"}, key
        assert all(names <= asked["other"] for names in asked.values()), key
