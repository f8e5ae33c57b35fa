"""The page's words: one file a language, none in the code, all of them used, the same in each."""

from __future__ import annotations

import json
import re

import pytest

from mixtura.catalog.patterns import BUILT_IN, find_pattern
from tests.support.page_words import (
    HOLE,
    LANGUAGES,
    SCRIPTS,
    WEB,
    Literal,
    find_literals,
    find_said_words,
    forms,
    read_words,
    vocabulary,
)

NO_WORDS = {
    "class names": r"(?:[a-z-]+ )+[a-z-]+|[a-z]+ [\0a-z ]*",
    "selectors": r"[\w\s,.:#()[\]=~*>\0-]*[\[.,#>][\w\s,.:#()[\]=~*>\0-]*",
    "media": r"\([a-z-]+: [a-z]+\)",
    "paths and styles": r"[MmHhVvLlAaCcQqZz\d\s.,\0-]+|[\w-]+\([^)]*\).*",
}
"""Strings with letters that nobody reads, by what they are; each matches as a whole."""
NAMES = {
    "Accept", "ArrowDown", "ArrowLeft", "ArrowRight", "ArrowUp", "Authorization", "Bearer \0",
    "BroadcastChannel", "Content-Type", "Deutsch", "English", "Enter", "Escape", "Files",
    "ModelError",
}  # fmt: skip
"""Names of keys, headers and errors, and of languages by themselves."""
SAME_EVERYWHERE = re.compile(r"Mixtura|Markdown|JSON|\.jsonl")
LISTS = {"code_block.mjs", "maths.mjs"}
"""Scripts with long strings that list words of programs, or names of MathML."""


def test_no_word_that_people_read_stands_in_a_script():
    wrong = [
        f"{path.name}: {text!r}"
        for path in SCRIPTS
        for literal in find_literals(path.read_text())
        if path.name not in LISTS or len(literal.text) < 80
        for text in read_by_people(literal)
        if re.search(r"[^\W\d_]{2}", SAME_EVERYWHERE.sub("", text))
    ]
    assert wrong == [], "\n".join(wrong)


def read_by_people(literal: Literal) -> list[str]:
    """What of a string people may read: in markup all texts, else words and beginnings."""
    text = literal.text
    if literal.tag == "html" or text.startswith("<"):
        return list(find_said_words(text))
    several = re.search(r"[^\W\d_]{2,}[,.:;!?]? +\0?[^\W\d_]{2,}", text)
    if not several and not re.match(r"[A-Z][a-z]", text):
        return []
    if text in NAMES or any(re.fullmatch(form, text) for form in NO_WORDS.values()):
        return []
    return [text]


def test_every_language_has_the_same_keys_with_the_same_places():
    english = read_words("en")
    assert len(LANGUAGES) > 1
    for language in LANGUAGES:
        other = read_words(language)
        assert list(other) == list(english), set(other) ^ set(english)
        for key, entry in english.items():
            assert isinstance(other[key], str) == isinstance(entry, str), key
            places = {frozenset(find_places(text)) for text in forms(entry) + forms(other[key])}
            assert len(places) == 1, (language, key, places)
            if not isinstance(other[key], str):
                assert "other" in other[key], (language, key)
                assert all(text for text in forms(other[key])), (language, key)


def find_places(text: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", text)


def test_every_word_is_used_and_every_key_is_there():
    keys = read_words("en")
    literals = [one for path in SCRIPTS for one in find_literals(path.read_text())]
    said = {one.text for one in literals}
    begun = {one.text.split(HOLE)[0] for one in literals if HOLE in one.text}
    code = "".join(path.read_text() for path in SCRIPTS)
    begun = {prefix for prefix in begun if re.fullmatch(r"[a-z]+\.\w*", prefix)}
    begun |= {f"{kind}." for kind in re.findall(r'\bnamed\("(\w+)"', code)}
    unused = [key for key in keys if key not in said and not key.startswith(tuple(begun))]
    assert unused == []

    groups = {key.split(".")[0] for key in keys if "." in key}
    looked_up = {text for text in said if re.fullmatch(r"[a-z]+\.[a-z_\d]+", text)}
    looked_up |= set(re.findall(r'\b(?:t|pieces)\("([^"]+)"', code))
    missing = {key for key in looked_up if key.split(".")[0] in groups | set(keys)} - set(keys)
    assert missing == set()


def test_the_languages_that_are_offered_are_those_that_have_a_file():
    source = (WEB / "language.mjs").read_text()
    assert sorted(re.findall(r"(?m)^  (\w+): \{ name: ", source)) == LANGUAGES
    assert 'document.querySelector("link[rel=manifest]")' in source
    english = json.loads((WEB / "manifest.webmanifest").read_text())
    for language in LANGUAGES:
        if language != "en":
            manifest = json.loads((WEB / f"manifest.{language}.webmanifest").read_text())
            own = {"description": manifest["description"], "lang": language}
            assert manifest == english | own
            assert manifest["description"] != english["description"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_a_pattern_s_last_step_does_has_its_words(name):
    spec, words = find_pattern(name), read_words("en")
    assert words[f"does.{spec.role}"] == spec.role
    assert words.get(f"said.{name}", words[f"said.{spec.role}"]) == spec.action


def test_german_words_are_not_the_english_ones():
    english, german = read_words("en"), read_words("de")
    same = [
        key
        for key, entry in english.items()
        for text in forms(entry)
        if text in forms(german[key]) and re.search(r"\b[a-z]{3,}\b", re.sub(r"\{\w+\}", "", text))
    ]
    assert same == ["composer.blind"]  # the same word in both
    assert {"the", "and", "of", "not", "answer"} <= vocabulary("en") - vocabulary("de")
