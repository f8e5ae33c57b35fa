"""The instructions of IFEval, followed and not."""

from __future__ import annotations

import pytest

from mixtura.evals.tasks import ifeval_checks
from tests.support import evaluations
from tests.support.evaluations import rows_of

_own_folders = evaluations._own_folders


# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")


PARAGRAPHS = "One two.\n\nThree four.\n\nfive six."
FOLLOWED = {
    # instruction: what is given, answers that follow it, answers that do not
    "keywords:existence": ({"keywords": ["sea", "C++"]}, ["The SEA and c++."], ["The sea.", ""]),
    "keywords:frequency": (
        {"keyword": "ox", "relation": "at least", "frequency": 2}, ["ox, Ox"], ["one ox"],
    ),
    "keywords:forbidden_words": (
        {"forbidden_words": ["cat", "dog"]}, ["A category, a dogma."], ["A Cat.", "dog!"],
    ),
    "keywords:letter_frequency": (
        {"letter": "e", "let_relation": "less than", "let_frequency": 3}, ["Eel"], ["eEe"],
    ),
    "language:response_language": (
        {"language": "de"},
        ["Der Himmel ist blau, weil das Licht an der Luft gestreut wird."],
        ["The sky is blue because the air scatters the light."],
    ),
    "length_constraints:number_sentences": (
        {"num_sentences": 3, "relation": "at least"},
        ["Dr. Ito left at 3.30 p.m. today. Why? No one knows!", "1. One. No. 2. Yes"],
        ["Dr. Ito left at 3.30 p.m. today. No one, e.g. Mr. Wu, knows."],
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2}, ["one\n***\ntwo", "***\none\n***\ntwo"],
        ["one", "one\n\ntwo", "one ******  two *** three", "a *** b *** c"],
    ),
    "length_constraints:number_words": (
        {"num_words": 3, "relation": "less than"}, ["two words"], ["just three words"],
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "three"},
        [PARAGRAPHS, 'a\n\n"Three," he said\n\nb'],
        ["Three.\n\nOne.\n\nTwo.", f"{PARAGRAPHS}\n\nMore.", "a\n\nthree"],
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2}, ["[name], [address]"], ["[name] (address)"],
    ),
    "detectable_content:postscript": (
        {"postscript_marker": "P.P.S"},
        ["Bye.\nP.P.S. Come!", "bye\np. p. s come"], ["P.S. Come", "My apps"],
    ),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2}, ["* one\n* two", "- one\n  - two"], ["* one", "* 1\n* 2\n- 3", "**a**"],
    ),
    "detectable_format:constrained_response": (
        {}, ["My answer is maybe.", "Well. My answer is no."], ["No.", "my answer: yes"],
    ),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2}, ["*one* and *two*", "**one** *two*"], ["*one* only", "* *  * *"],
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "SECTION", "num_sections": 2},
        ["SECTION 1\na\nSECTION 2\nb"], ["SECTION 1\na", "Section 1 a Section 2 b"],
    ),
    "detectable_format:json_format": (
        {}, ['{"a": [1]}', '```json\n{"a": 1}\n```'], ["{a: 1}", 'Here: {"a": 1}', "[" * 5000],
    ),
    "detectable_format:title": ({}, ["<<The Sea>>\nIt is wet."], ["<The Sea>", "<<  >>"]),
    "combination:two_responses": (
        {}, ["one\n******\ntwo"], ["one", "one ****** one", "a ****** b ****** c"],
    ),
    "combination:repeat_prompt": (
        {"prompt_to_repeat": "Why is it blue?"}, ["why is it blue? Because."], ["It is. Why?"],
    ),
    "startend:end_checker": (
        {"end_phrase": "Is that all?"}, ["Yes. Is that all?", '"So. is that ALL?"'], ["All? Yes."],
    ),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["NASA and the E-MAIL"], ["NASA and E-mail"],
    ),
    "change_case:english_capital": (
        {}, ["THE SKY IS BLUE BECAUSE OF THE AIR."],
        ["The sky is blue.", "DER HIMMEL IST BLAU, WEIL DAS LICHT GESTREUT WIRD."],
    ),
    "change_case:english_lowercase": (
        {}, ["the sky is blue because of the air."],
        ["The sky is blue.", "der himmel ist blau, weil das licht gestreut wird."],
    ),
    "punctuation:no_comma": ({}, ["One and two."], ["One, two."]),
    "startend:quotation": ({}, ['"All of it."', ' "a"\n'], ['"Not" all', '"', "'no'"]),
}  # fmt: skip


def test_every_one_of_the_25_instructions_has_a_checker():
    assert len(ifeval_checks.CHECKS) == 25
    assert set(FOLLOWED) == set(ifeval_checks.CHECKS)


@pytest.mark.parametrize("name", FOLLOWED)
def test_an_instruction_is_followed_by_right_answers_and_by_no_wrong_one(name):
    given, right, wrong = FOLLOWED[name]

    assert [a for a in right if not ifeval_checks.follows_instruction(name, given, a)] == []
    assert [a for a in right if not ifeval_checks.follows_loosely(name, given, a)] == []
    assert [
        a for a in (*wrong, "", " \n") if ifeval_checks.follows_instruction(name, given, a)
    ] == []


OPENED = "Sure, here it is:\n"
GERMAN = "Der Himmel ist blau."
LOOSE = {
    # what is not followed to the letter but is once its frame is taken away
    "keywords:forbidden_words": ({"forbidden_words": ["sure"]}, f"{OPENED}All of it."),
    "language:response_language": (
        {"language": "de"},
        f"Of course here is the answer you have asked for in the German language:\n{GERMAN}",
    ),
    "length_constraints:number_words": ({"num_words": 3, "relation": "less than"}, f"{OPENED}Yes."),
    "length_constraints:number_sentences": (
        {"num_sentences": 2, "relation": "less than"}, "Sure! Here it is:\nIt is so.",
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 1}, "one\n***\nI hope that this helps you",
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "sea"}, f"{OPENED}Sea and land.",
    ),
    "keywords:letter_frequency": (
        {"letter": "s", "let_relation": "less than", "let_frequency": 1}, f"{OPENED}Done.",
    ),
    "keywords:frequency": (
        {"keyword": "sure", "relation": "less than", "frequency": 1}, f"{OPENED}Done.",
    ),
    "detectable_format:number_bullet_lists": ({"num_bullets": 1}, "* Sure:\n* one"),
    "detectable_format:json_format": ({}, f'{OPENED}{{"a": 1}}'),
    "combination:two_responses": ({}, "a\n******\nb\n******\nc"),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Why?"}, f"{OPENED}Why? Because."),
    "startend:end_checker": ({"end_phrase": "the end"}, "**the end**"),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 1, "capital_relation": "less than"}, "OK:\nIt is.",
    ),
    "change_case:english_capital": ({}, f"{OPENED}THE SKY IS BLUE BECAUSE OF THE AIR."),
    "change_case:english_lowercase": ({}, f"{OPENED}the sky is blue because of the air."),
    "punctuation:no_comma": ({}, f"{OPENED}One and two."),
    "startend:quotation": ({}, f'{OPENED}"All of it."'),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOSE)
def test_a_frame_around_an_answer_is_forgiven_loosely_and_not_strictly(name):
    given, answer = LOOSE[name]

    if name != "combination:two_responses":
        assert ifeval_checks.follows_loosely(name, given, answer)
    assert not ifeval_checks.follows_instruction(name, given, answer)


def test_an_answer_that_is_wrong_throughout_is_wrong_loosely_too():
    for name, (given, _, wrong) in FOLLOWED.items():
        if name not in ("detectable_format:json_format", "startend:quotation"):
            assert not ifeval_checks.follows_loosely(name, given, wrong[0]), name


def test_every_row_of_the_real_ifeval_can_be_checked():
    for row in rows_of("ifeval/input_first400.jsonl"):
        for name, given in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            assert ifeval_checks.follows_instruction(name, given, "one, two") in (True, False)
