"""What a pattern's description needs not say, and what follows from the rest."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from mixtura import FinalModel, Layer, PatternParts, PatternSpec, Proposer, Sampling
from mixtura.core.errors import ConfigError
from mixtura.engine.aggregated_pattern import AggregatedPattern
from mixtura.models.fake import echo
from mixtura.patterns import Chosen, Verdict
from mixtura.patterns.choosing import CountingChooser, JudgingChooser
from mixtura.prompts.synthesis import envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortened(AggregatedPattern):
    """A pattern whose size has to be 2 at least."""

    size: int = 2
    name: str = "shortened"

    def __post_init__(self):
        if self.size < 2:
            raise ValueError("size: at least 2")
        if not self.layers:
            raise ValueError("layers: there are none")

    def final_calls(self, reads):
        return []


class SizeSettings(msgspec.Struct, frozen=True):
    size: int = 2


SHORTENED = PatternSpec(
    help="short", kind=Shortened, settings=SizeSettings, aggregator="the model that shortens"
)
ONE_LAYER = (Layer((Proposer(echo("a")), Proposer(echo("b")))),)


def parts(settings, *, layers=ONE_LAYER, last=None):
    sampling = Sampling(temperature=0.3)
    return PatternParts("t", layers, settings, envelope, last, sampling, (echo("spare"),))


def test_a_name_a_role_and_the_key_of_an_aggregator_follow_from_the_rest():
    assert SHORTENED.name == "shortened"
    assert SHORTENED.role == "aggregator"
    assert SHORTENED.final_model == FinalModel("aggregator", "the model that shortens")
    assert SHORTENED.takes_fallbacks

    built = SHORTENED.build_pattern(parts(SizeSettings(3), last=echo("last")))

    assert (built.name, built.size, built.aggregator.model.name) == ("t", 3, "last")
    assert [model.name for model in built.aggregator.fallbacks] == ["spare"]
    picking = PatternSpec(name="first", help="the first", action="picks the first")
    assert (picking.kind, picking.role, picking.takes_fallbacks) == (Chosen, "picks", False)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (parts(SizeSettings(1), last=echo("last")), "size"),
        (parts(SizeSettings(), layers=(), last=echo("last")), "layers"),
    ],
)
def test_what_a_class_refuses_is_told_with_the_key_that_the_words_begin_with(given, key):
    with pytest.raises(ConfigError, match=f"t: {key}: ") as caught:
        SHORTENED.build_pattern(given)

    assert caught.value.key == key


def test_words_that_begin_with_no_key_of_the_file_have_none():
    def build(given):
        raise ValueError("note: nobody can have this")

    spec = PatternSpec(name="never", help="nothing", build=build)

    with pytest.raises(ConfigError, match="t: note: nobody") as caught:
        spec.build_pattern(parts(SizeSettings()))

    assert caught.value.key is None


@dataclass(frozen=True, slots=True)
class ByPlace(CountingChooser):
    name = "by-place"
    size: int = 0

    def count_answers(self, proposals):
        return Verdict(self.size, "by its place")


@dataclass(frozen=True, slots=True)
class ByJudge(JudgingChooser):
    sampling: Sampling
    size: int

    def planned_calls(self, proposals):
        return ()

    async def choose(self, request, proposals, emit):
        return Verdict(self.size, "by its place")


def test_a_chooser_gets_the_settings_and_the_judge_that_the_file_names():
    counted = PatternSpec(name="by-place", help="one", chooser=ByPlace, settings=SizeSettings)
    judged = PatternSpec(
        name="by-judge",
        help="one",
        chooser=ByJudge,
        settings=SizeSettings,
        final_model=FinalModel("judge", "the model that judges"),
    )
    judge = echo("judge")

    assert counted.build_pattern(parts(SizeSettings(1))).chooser == ByPlace(1)
    built = judged.build_pattern(parts(SizeSettings(1), last=judge))
    assert built.chooser == ByJudge(judge, Sampling(temperature=0.3), 1)


def test_layers_behind_the_proposers_are_a_number_or_follow_from_the_settings():
    by_size = PatternSpec(
        name="x",
        help="one",
        final_layer_count=lambda settings, proposals: settings.size + proposals,
    )

    assert PatternSpec(name="x", help="one").count_final_layers(SizeSettings(), 9) == 1
    assert PatternSpec(name="x", help="", final_layer_count=2).count_final_layers(None, 9) == 2
    assert by_size.count_final_layers(SizeSettings(4), 3) == 7


def test_an_aggregator_of_a_pattern_that_has_none_is_refused_with_what_it_does():
    picking = PatternSpec(name="first", help="one", chooser=ByPlace, action="picks the first")

    with pytest.raises(ConfigError, match="t: first has no aggregator: it picks the first"):
        picking.build_pattern(parts(SizeSettings(), last=echo("writer")))


def test_a_pattern_without_a_name_is_told_where_it_is_described():
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Nameless(AggregatedPattern):
        def final_calls(self, reads):
            return []

    with pytest.raises(TypeError, match="a pattern needs a name, and Nameless has none"):
        PatternSpec(help="nothing", kind=Nameless)


def test_who_writes_the_answer_in_another_way_says_what_that_asks():
    with pytest.raises(TypeError, match="Costly has its own write_answer: it needs final_calls"):

        class Costly(AggregatedPattern):
            async def write_answer(self, step):
                return await step.ask(self.aggregator.model, step.proposals)
