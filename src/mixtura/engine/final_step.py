"""FinalStep: what the last step of a pattern works with, and who keeps its bill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mixtura.core.agreement import Agreement, Support
from mixtura.core.call_ledger import CallLedger
from mixtura.core.errors import ModelError
from mixtura.core.events import (
    Aggregation,
    CallRestarted,
    CallStarted,
    Emit,
    Notice,
    Position,
    Token,
    with_position,
)
from mixtura.core.model import Model, Wrapper, ask_model
from mixtura.core.roles import Aggregator, Layer, Proposer
from mixtura.core.types import Completion, Request, Sampling, seed_of_draw
from mixtura.engine.aggregator import run_aggregator
from mixtura.engine.kept_drafts import KeptDrafts
from mixtura.engine.layer import LayerResult, find_reason_to_end, run_proposer_layer
from mixtura.engine.prompt_builder import make_prompt_builder
from mixtura.prompts.synthesis import Synthesis, keep_length_limit, keep_turn_order


class ProposalReader(Wrapper):
    """One call of a Model with the texts that it is shown; the *number*th draw of *calls*."""

    def __init__(self, model: Model, shown: Sequence[Completion], number: int, calls: int) -> None:
        super().__init__(model)
        self.shown = tuple(shown)
        self._number, self._calls = number, calls

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """What the model answers. Raises what it raises."""
        draw = request.draw * self._calls + self._number
        seed = seed_of_draw(request.sampling.seed, draw - request.draw)
        sampling = replace(request.sampling, seed=seed)
        return await ask_model(self._model, replace(request, sampling=sampling, draw=draw), emit)


class FinalStep:
    """
    The last step of one run: the request, the proposals, and the ways to an answer.

    `ask` has a model write the answer, `choose` takes a proposal as it is: one of them, once.
    `ask_layer` calls models for texts that are not the answer. What they cost enters the run's
    ledger, also where they fail.
    """

    def __init__(
        self, request: Request, name: str, synthesis: Synthesis, depth: int, emit: Emit | None
    ) -> None:
        self.request = request
        """What the caller asks."""
        self.advice_request = request
        """The same as proposers see it."""
        self.proposals: tuple[Completion, ...] = ()
        """The last layer's, in the order of its proposers; a last step may put others here."""
        self.member_proposals: tuple[Completion, ...] = ()
        """Those that proposers wrote, whatever the last step makes of them: what is compared."""
        self.drafts: KeptDrafts | None = None
        """Proposals that are there already and are not asked for again."""
        self.proposer_layers = 0
        """How many of the run's layers are those of the proposers."""
        self.report: Completion | None = None
        """A report on the proposals, for whoever reads them next; set by patterns that have one."""
        self.emit = emit
        """Reports events at their position in the run; None where no one listens."""
        self.depth = depth
        """The number of the last layer, from 1."""
        self.ledger = CallLedger()
        """What the calls of the last step enter."""
        self._own_ledger = self.ledger
        """Those since the last step was announced: the others have positions of their own."""
        self.degraded: tuple[str, ...] = ()
        self.support: Support | None = None
        """How much of what was counted stands behind the answer."""
        self.agreement: Agreement | None = None
        """Where the proposals agree and differ, where that was found out."""
        self._name = name
        self._synthesis = synthesis
        self._announced = False
        self._error: ModelError | None = None

    @property
    def emit_inside(self) -> Emit | None:
        """Reports events as those of the last step's position."""
        position = Position(self.depth, 0, "aggregator")
        return with_position(self.emit, position) if self.emit else None

    def layers_to_ask(self, layers: Sequence[Layer]) -> Iterator[tuple[int, Layer]]:
        """
        The pattern's *layers* with their numbers, from 1; without those of which there is nothing
        where nobody is asked again, and those that an answer asked for by now does not wait for.
        """
        for depth, layer in enumerate(layers, start=1):
            if skipped := find_reason_to_end(depth):
                self.add_notices(skipped)
                return
            if not (self.drafts and self.drafts.passes_over(depth)):
                yield depth, layer

    def add_notices(self, *degraded: str) -> None:
        """Say what made the answer worse than it could have been."""
        self.degraded = (*self.degraded, *degraded)

    async def ask(
        self,
        model: Model,
        proposals: Sequence[Completion] = (),
        *,
        sampling: Sampling | None = None,
        fallbacks: tuple[Model, ...] = (),
        layout: Synthesis | None = None,
    ) -> Completion:
        """
        Have *model* write the answer, else one of *fallbacks*; it reads *proposals*, as *layout*
        shows them, by default the pattern's.

        Where none can, the proposal closest to the others is the answer. Raises ModelError without
        proposals; then another model may be called, unless a part was shown already.
        """
        self._begin_again(model.name)
        show = make_prompt_builder(keep_turn_order(self._choose_layout(layout)), self.request)
        writer = Aggregator(model, sampling or Sampling(), fallbacks)
        # run_aggregator reports its own calls.
        self._announced = True
        try:
            return await run_aggregator(writer, show, proposals, depth=self.depth, emit=self.emit)
        except ModelError as error:
            self._error = error
            raise

    def announce(self, name: str | None = None) -> None:
        """
        Report that the last step is at work, by default under the pattern's name; calls made from
        here on, until it answers, are its own.
        """
        if not self._announced:
            self._own_ledger = self.ledger.read_from_now()
            if emit := self.emit_inside:
                emit(CallStarted(name or self._name, self.request, ledger=self._own_ledger))
        self._announced = True

    def choose(
        self,
        index: int,
        why: str,
        *,
        by: str | None = None,
        degraded: tuple[str, ...] = (),
        support: Support | None = None,
    ) -> Completion:
        """
        The proposal at *index* as the answer; its text is shown as the answer's.

        *why* and *by* (by default the pattern's name) stand in the notice of the choice;
        *degraded*: what made the choice worse than it could have been; *support*: how much of what
        was counted speaks for it. Raises the ModelError of an earlier answer that was shown in
        part.
        """
        name = by or self._name
        self._begin_again(name)
        chosen = self.proposals[index]
        place = self._place_of(chosen)
        self._report_answer(chosen, f"{place}, by {chosen.model}: {why}", name, degraded)
        self.add_notices(*degraded)
        self.support = support
        # The proposal's own charges are in the run's ledger already.
        return replace(chosen, charges=())

    def _place_of(self, chosen: Completion) -> str:
        """Which of the members' proposals it is, or of the texts that the last step asked for."""
        members = self.member_proposals
        own = [one for one in self.proposals if not any(one is other for other in members)]
        texts, what = (
            (own, "answer") if any(one is chosen for one in own) else (members, "proposal")
        )
        if texts is own and len(own) == 1:
            return "the synthesis"
        number = next(i for i, one in enumerate(texts, 1) if one is chosen)
        return f"{what} {number} of {len(texts)}"

    def answer_without_model(self, answer: Completion, why: str) -> Completion:
        """*answer*, made of the proposals without a model, as the answer; *why* is its notice."""
        self._report_answer(answer, why, self._name, ())
        return answer

    def _report_answer(
        self, answer: Completion, why: str, name: str, degraded: tuple[str, ...]
    ) -> None:
        self.announce(name)
        if emit := self.emit_inside:
            emit(Notice(name, why))
            if answer.text:
                emit(Token(answer.text, refusal=answer.refusal))
            own = self._own_ledger.charges
            emit(Aggregation(replace(answer, charges=own, degraded=degraded)))

    async def ask_layer(
        self,
        layer: Layer,
        shown: Sequence[Completion],
        *,
        depth: int,
        answers: bool = False,
        layout: Synthesis | None = None,
        in_turn: Sequence[Layer] = (),
    ) -> LayerResult:
        """
        Call *layer* for texts that are not the answer, as layer *depth* of the run. Proposals of
        the pattern's layers that are there already are not asked for again.

        Each reads *shown* and what proposers see of the request. *answers*: one of the texts may
        be chosen as the answer, so the caller's sampling, tools and response format apply to each.
        *layout*: as in `ask`. *in_turn*: the pattern's layers, where each asks the same again, and
        gets further draws. Raises QuorumNotMetError when too few of them answer.
        """
        synthesis = self._choose_layout(layout)
        synthesis = keep_turn_order(synthesis) if answers else synthesis
        show = make_prompt_builder(synthesis, self.request if answers else self.advice_request)
        return await run_proposer_layer(
            layer, show, shown, depth=depth, emit=self.emit, answers=answers,
            drafts=self.drafts if depth <= self.proposer_layers else None, in_turn=in_turn,
        )  # fmt: skip

    async def ask_readers(
        self,
        model: Model,
        shown: Sequence[Sequence[Completion]],
        sampling: Sampling,
        *,
        depth: int,
        answers: bool = False,
    ) -> LayerResult:
        """
        Call *model* once for each of *shown*, all at once, as layer *depth*; each reads its own.

        *answers* as in `ask_layer`. Raises QuorumNotMetError where none of them answers.
        """
        synthesis = keep_turn_order(self._synthesis) if answers else self._synthesis
        show = make_prompt_builder(synthesis, self.request if answers else self.advice_request)
        readers = [
            ProposalReader(model, one, number, len(shown)) for number, one in enumerate(shown)
        ]

        async def build_prompt(
            reader: Model, _: Sequence[Completion], persona: str | None
        ) -> Request:
            assert isinstance(reader, ProposalReader)
            return await show(reader, reader.shown, persona)

        layer = Layer(tuple(Proposer(reader, sampling) for reader in readers))
        return await run_proposer_layer(
            layer, build_prompt, (), depth=depth, emit=self.emit, answers=answers
        )

    def _choose_layout(self, layout: Synthesis | None) -> Synthesis:
        """*layout*, as long as the pattern's own may be; without one the pattern's own."""
        return keep_length_limit(layout, self._synthesis) if layout else self._synthesis

    def _begin_again(self, name: str) -> None:
        """After an attempt at the answer that failed. Raises its error where a part was shown."""
        if self._error is None:
            return
        if self._error.shown and not self.request.draft:
            raise self._error
        self.add_notices(f"{self._error.model} failed: {self._error}")
        if emit := self.emit_inside:
            emit(CallRestarted(name, self._error))
        self._error = None
