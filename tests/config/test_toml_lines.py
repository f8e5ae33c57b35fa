"""Every valid TOML file is read, and the line of everything in it is known."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings

from mixtura import ConfigError
from mixtura.config.toml_document import TomlDocument
from tests.support.config_files import MODELS, folder, marked, refused
from tests.support.toml_files import broken_files, toml_files

__all__ = ["folder"]
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def paths_inside(value, path=()):
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in inner:
        yield (*path, key)
        yield from paths_inside(child, (*path, key))


@MANY
@given(toml_files())
def test_everything_in_a_valid_file_has_its_line(file):
    document = TomlDocument(file.text, "a file")

    lines = {path: document.line_number(path) for path in paths_inside(document.data)}

    assert lines == file.lines, file.text


@MANY
@given(broken_files())
def test_a_broken_file_is_refused_with_its_line_and_nothing_else_happens(text):
    try:
        document = TomlDocument(text, "a file")
    except ConfigError as error:
        said = str(error)
    else:
        inside = [document.line_number(path) for path in paths_inside(document.data)]
        said = f"a file:{max(inside, default=1)}: "
    where = re.match(r"a file:(\d+): ", said)
    assert where, said
    assert 1 <= int(where[1]) <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x = 1\ny = " + "[" * 5000, "a file:2: "),
        ("x = '" + "1" * 5000 + "'\ny = " + "1" * 5000, "a file:2: "),
        ("x = 1\ny = ", "a file:2: "),
        ("x = 1\n" + "a." * 3000 + "b = 1", "a file:2: "),
        ("x = 1\n[" + "a." * 3000 + "b]\ny = 1", "a file:2: "),
    ],
    ids=["lists", "digits", "the end", "dotted key", "header"],
)
def test_what_is_too_deep_too_long_or_breaks_off_is_refused_with_its_line(text, place):
    with pytest.raises(ConfigError) as caught:
        TomlDocument(text, "a file")

    assert place in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "body",
    [
        '[mixtures.team]\nlayers = [["quick"]]\ndeadline = 1979-05-27 07:32:00\nfalbacks = [] # <-',
        '[mixtures.team]\nlayers = [["quick"]]\nquorun = 1 # <-\ndeadline = 1979-05-27 07:32:00',
        '[mixtures."te\\u0061m"]\nlayers = [["quick"]]\nquorun = 1  # <-',
        'mixtures."team" . quorun = 1  # <-',
        '[models.other]\nmodel = """\nother"""\nbase_urk = "x"  # <-',
    ],
    ids=["date with a space", "behind a date", "escape", "dotted", "text over two lines"],
)
def test_a_misspelt_key_is_found_behind_any_spelling(body, folder):
    text = f'default = "team"\n{body}\n{MODELS}'

    assert re.search(rf":{marked(text)}: [\w.]+: unknown key", refused(text, folder))
