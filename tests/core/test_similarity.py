"""How alike texts are, and which sentence comes from which."""

from __future__ import annotations

import random

import pytest

from mixtura.core.similarity import (
    ReferenceText,
    find_sources,
    levenshtein_similarity,
    split_sentences,
    split_words,
)
from tests.support.recorded_runs import SEA, SKY


def plain_levenshtein(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def test_edits_between_words_are_those_of_the_textbook():
    draw = random.Random(7)
    for _ in range(300):
        a, b = (draw.choices("abcd", k=draw.randrange(90)) for _ in range(2))
        longest = max(len(a), len(b))
        expected = 1 - plain_levenshtein(a, b) / longest if longest else 1.0

        assert levenshtein_similarity(" ".join(a), " ".join(b)) == pytest.approx(expected)


def test_marks_and_capitals_change_no_similarity_and_every_script_has_words():
    assert levenshtein_similarity("The **sky** is blue!", "the sky, is: Blue") == 1.0
    assert levenshtein_similarity("天空是蓝色的", "天空是红色的") == pytest.approx(5 / 6)
    assert split_words("हिन्दी है, naïve ไทย") == ["हिन्दी", "है", "naïve", "ไ", "ท", "ย"]


MARKDOWN = """# Why

Air scatters blue light, e.g. at noon. Dr. Rayleigh said so! "Really?" Yes. It costs 3.50 today.

1. First point. It has two sentences.
2. Then **bold.** More

| a | b |
| --- | --- |

```python
def f(x):
    return {x}
}
```
天空是蓝色的。因为瑞利散射！
هل هذا صحيح؟ نعم بالتأكيد.\r\n  ...\x20\x20
यह हिन्दी है। दूसरा वाक्य।"""


@pytest.mark.parametrize("text", [MARKDOWN, "", "\n\n", "...", " a\u2028b\x0bc", "x" * 9, "。。"])
def test_sentences_joined_are_the_text_again(text):
    assert "".join(split_sentences(text)) == text
    assert all(split_sentences(text))


def test_sentences_are_cut_where_a_reader_would_cut_them():
    cut = [piece.strip() for piece in split_sentences(MARKDOWN)]

    for piece in (
        "Air scatters blue light, e.g. at noon.",
        "Dr. Rayleigh said so!",
        '"Really?"',
        "It costs 3.50 today.",
        "1. First point.",
        "It has two sentences.",
        "def f(x):",
        "天空是蓝色的。",
        "هل هذا صحيح؟",
        "यह हिन्दी है।",
    ):
        assert piece in cut
    assert all(split_words(piece) for piece in cut)


@pytest.mark.parametrize(
    ("sentence", "origin"),
    [
        ("This is Rayleigh scattering.", [0]),
        ("- **The sky is blue**, because air scatters blue light most.", [0]),
        ("Air scatters blue light the most, because the sky is blue.", [0]),
        ("It also mirrors the sky", [1]),
        ("At sunset the way through the air is longer.", []),
        ("Yes.", []),
        ("- **Paris**", [4]),
        ("blue light", []),
        ("海は空を映すので青く見える。", [2]),
        ("空は青い。", [2]),
        ("今日は天気がいいですね。", []),
        ("    return light * 4", [3]),
    ],
)
def test_a_sentence_comes_from_the_texts_it_shares_its_words_with(sentence, origin):
    known = [
        ReferenceText(SKY),
        ReferenceText(SEA),
        ReferenceText("空は青い。海は空を映すので、青く見えます。"),
        ReferenceText("```python\ndef f(light):\n    return light * 4\n```"),
        ReferenceText("1. Paris\n2. Yes and no"),
    ]
    found = find_sources(sentence, known)

    assert [source.text for source in found] == origin
    assert all(0.5 <= source.score <= 1 for source in found)
