"""Prompt layouts that show proposals to the next model: pure functions from request to request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b

from mixtura.core.similarity import split_words
from mixtura.core.types import Completion, Request
from mixtura.prompts.control_tokens import neutralize_text, neutralized_json
from mixtura.prompts.conversation_turns import split_turn
from mixtura.prompts.instructions import (
    PLACEHOLDER,
    append_system_text,
    append_user_text,
    fill_placeholders,
    load_text,
)
from mixtura.prompts.proposer_view import for_proposer

Synthesis = Callable[[Request, Sequence[Completion]], Request]
"""A prompt layout: takes a request and proposals, returns the request with the proposals in it."""

MAX_REPEATED_CHARS = 1000
"""Characters of the longest question that is repeated after the proposals."""


def envelope(request: Request, proposals: Sequence[Completion]) -> Request:
    """
    Show the proposals as fenced JSON data after the conversation.

    The history stays as it was, byte for byte, so that prompt caches hold; proposals
    never enter the system message and carry no model names. Beside tools, a call may be the
    best reply, and the text says so.
    """
    name = "envelope_tools.md" if can_call_tools(request) else "envelope.md"
    return _envelope_layout(load_text(name))(request, proposals)


def can_call_tools(request: Request) -> bool:
    """Whether an answer to *request* can call a tool."""
    return bool(request.tools) and request.tool_choice != "none"


def paper(request: Request, proposals: Sequence[Completion]) -> Request:
    """
    Show the proposals as the paper does: a numbered list in the system message.

    Wang et al. 2024 (arXiv 2406.04692), table 1 and section 2.2, in our own words. It has
    no trust boundary: for comparison with published results, not for untrusted members.
    """
    if not proposals:
        return request
    numbered = "\n".join(
        f"{i}. {neutralize_text(write_draft(p))}" for i, p in enumerate(proposals, start=1)
    )
    text = fill_placeholders(
        load_text("paper.md"), {"proposals": numbered, "count": str(len(proposals))}
    )
    return append_system_text(request, text.rstrip("\n") + _tool_use_note(request))


def _tool_use_note(request: Request) -> str:
    """The note on tools for an instruction text without one; empty where no tool can be called."""
    return "\n\n" + load_text("beside_tools.md").rstrip("\n") if can_call_tools(request) else ""


def ranking_prompt(request: Request, proposals: Sequence[Completion]) -> Request:
    """
    Ask which proposal is the best, as the LLM-ranker of Wang et al. 2024 (arXiv 2406.04692,
    section 3.3) does; the proposals are shown as data, as in the envelope.
    """
    return template(load_text("rank.md"))(_without_tools(request), proposals)


def judging_prompt(request: Request, proposals: Sequence[Completion]) -> Request:
    """
    Ask for the score of one proposal from 0 to 10 (Cobbe et al. 2021, arXiv 2110.14168, let a
    verifier give it); it is shown as data, as in the envelope.
    """
    return template(load_text("judge.md"))(_without_tools(request), proposals)


def comparison_prompt(request: Request, proposals: Sequence[Completion]) -> Request:
    """
    Ask which of two proposals is the better answer (Chen et al. 2024, arXiv 2411.19477, let a
    model compare pairs); they are shown as data, as in the envelope.
    """
    return template(load_text("compare.md"))(_without_tools(request), proposals)


def picking_prompt(keep: int) -> Synthesis:
    """
    A layout that asks which *keep* proposals are to be passed on (the judge of SMoA, arXiv
    2411.03284); they are shown as data.
    """
    layout = template(fill_placeholders(load_text("pick.md"), {"keep": str(keep)}))
    return lambda request, proposals: layout(_without_tools(request), proposals)


def sameness_prompt(request: Request, proposals: Sequence[Completion]) -> Request:
    """Ask whether two proposals give the same answer in substance; they are shown as data."""
    return template(load_text("same.md"))(_without_tools(request), proposals)


def truth_prompt(request: Request, proposals: Sequence[Completion]) -> Request:
    """
    Ask whether a proposal is correct, for one token: P(True) of Kadavath et al. 2022 (arXiv
    2207.05221, section 4); it is shown as data.
    """
    return template(load_text("true.md"))(_without_tools(request), proposals)


def analysis_prompt(request: Request, proposals: Sequence[Completion]) -> Request:
    """Ask for a JSON report of where the proposals agree and differ; they are shown as data."""
    return template(load_text("analysis.md"))(_without_tools(request), proposals)


def make_tests_prompt(function: str) -> Synthesis:
    """A layout that asks for tests of *function*, before anyone's proposals are seen."""

    def ask_for_tests(request: Request, proposals: Sequence[Completion]) -> Request:  # noqa: ARG001
        text = fill_placeholders(load_text("tests.md"), {"function": function})
        return append_user_text(_without_tools(request), text.rstrip("\n"))

    return ask_for_tests


def show_with_analysis(analysis: Completion) -> Synthesis:
    """The envelope layout with *analysis*, a report on the proposals, as the last of them."""
    return _show_with_report("analysed.md", analysis)


def residual_prompt(before: int) -> Synthesis:
    """
    A layout that asks what changed from the first *before* proposals to the others (the residual
    of RMoA, arXiv 2505.24442); they are shown as data.
    """
    layout = template(fill_placeholders(load_text("residual.md"), {"before": str(before)}))
    return lambda request, proposals: layout(_without_tools(request), proposals)


def show_with_changes(changes: Completion) -> Synthesis:
    """The envelope layout with *changes*, what a round changed, as the last of the proposals."""
    return _show_with_report("changed.md", changes)


def _show_with_report(text: str, report: Completion) -> Synthesis:
    layout = template(load_text(text))

    def show(request: Request, proposals: Sequence[Completion]) -> Request:
        return layout(request, (*proposals, report)) if proposals else request

    return show


def _without_tools(request: Request) -> Request:
    """The conversation without tools; tool calls and results as text."""
    return for_proposer(replace(request, tools=(), tool_choice=None))


def template(text: str) -> Synthesis:
    """
    The envelope layout with a custom instruction text.

    *text* must hold ``{{proposals}}``, with ``{{fence}}`` on a line before and after it;
    ``{{count}}`` is their number, ``{{question}}`` the message to answer (repeated when it is
    short, referred to when it is long: small models lose sight of it). Raises ValueError where
    one of the two is missing, or for any other placeholder.
    """
    names = set(PLACEHOLDER.findall(text))
    for needed, why in (("proposals", "the place of the drafts"), ("fence", "what holds them")):
        if needed not in names:
            raise ValueError(f"the text must contain {{{{{needed}}}}}: {why}")
    if unknown := names - {"proposals", "fence", "count", "question"}:
        raise ValueError(
            f"unknown placeholder {{{{{min(unknown)}}}}}:"
            " only proposals, fence, count and question exist"
        )

    layout = _envelope_layout(text)

    def show(request: Request, proposals: Sequence[Completion]) -> Request:
        shown = layout(request, proposals)
        return (
            append_user_text(shown, note)
            if proposals and (note := _tool_use_note(request).strip())
            else shown
        )

    return show


def _envelope_layout(text: str) -> Synthesis:
    """The envelope layout with an instruction text that was checked."""

    def render_envelope(request: Request, proposals: Sequence[Completion]) -> Request:
        if not proposals:
            return request
        listed = _proposals_json(proposals)
        values = {
            "proposals": listed,
            "fence": _fence_mark(request, listed),
            "count": str(len(proposals)),
            "question": _question_reference(request),
        }
        return append_user_text(request, fill_placeholders(text, values).rstrip("\n"))

    return render_envelope


def limit_length(layout: Synthesis, most: int | None = None) -> Synthesis:
    """
    *layout* with an instruction to write at most *most* words, by default as many as the longest
    proposal has: aggregates are otherwise longer than their sources. It asks, and cuts nothing.
    """
    return _LengthLimit(layout, most)


def keep_length_limit(layout: Synthesis, synthesis: Synthesis) -> Synthesis:
    """*layout* in the place of that of *synthesis*, with its limit of length, if it has one."""
    return replace(synthesis, layout=layout) if isinstance(synthesis, _LengthLimit) else layout


@dataclass(frozen=True, slots=True)
class _LengthLimit:
    """A layout with an instruction on length behind it."""

    layout: Synthesis
    most: int | None

    def __call__(self, request: Request, proposals: Sequence[Completion]) -> Request:
        shown = self.layout(request, proposals)
        words = self.most or max((len(split_words(p.text)) for p in proposals), default=0)
        if not proposals or not words:
            return shown
        text = fill_placeholders(load_text("length.md"), {"words": str(words)})
        return append_user_text(shown, text.rstrip("\n"))


def keep_turn_order(synthesis: Synthesis) -> Synthesis:
    """Have *synthesis* add proposals to the user's question, before the tool calls made since."""

    def render_within_turn(request: Request, proposals: Sequence[Completion]) -> Request:
        question, since = split_turn(request)
        whole = synthesis(question, proposals)
        return replace(whole, messages=(*whole.messages, *since)) if since else whole

    return render_within_turn


def _proposals_json(proposals: Sequence[Completion]) -> str:
    rows = [
        # A draft that was cut off must not pass for one whose author meant to end there.
        f'{{"slot": {slot}, "complete": {json.dumps(p.finish_reason in ("stop", "tool_calls"))},'
        f' "text": {quote_draft(write_draft(p))}}}'
        for slot, p in enumerate(proposals, start=1)
    ]
    return "[\n" + ",\n".join(rows) + "\n]"


def write_draft(proposal: Completion) -> str:
    """A proposal's words, and the tools that it calls, as text."""
    calls = (f"[calls {c.name} with {c.arguments}]" for c in proposal.message.tool_calls)
    return (
        "\n".join((proposal.text, *calls)).strip() if proposal.message.tool_calls else proposal.text
    )


MAX_CACHED_QUOTE_CHARS = 16 * 1024
"""Characters of the longest text whose quoted form is cached, to bound the cache's memory."""


def quote_draft(text: str) -> str:
    """
    *text* as a JSON string with control tokens neutralized.

    Cached: a proposal quoted on arrival costs nothing more when the last proposal arrives.
    """
    return _cached_quote(text) if len(text) <= MAX_CACHED_QUOTE_CHARS else neutralized_json(text)


_cached_quote = lru_cache(maxsize=128)(neutralized_json)


def _question_reference(request: Request) -> str:
    """The question to answer, or where in the conversation it is."""
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "user" or not last.text.strip():
        return "the conversation above."
    if len(last.text) > MAX_REPEATED_CHARS:
        return "the message above, the one that these notes were added to."
    return f"this message:\n\n{neutralize_text(last.text)}"


_HASHED_CHARS = 1024 * 1024


def _fence_mark(request: Request, listed: str) -> str:
    """
    A 128-bit delimiter that no proposal can contain.

    It is a hash over the proposals, so that none of them can predict it and yet the same run
    gives the same prompt (for caches, replays and prompt caches).
    """
    texts = [(f"{m.role}: ", m.text) for m in request.messages]
    length = sum(len(role) + len(text) + 1 for role, text in texts) - 1 if texts else 0
    turn = 0
    while True:
        seed = blake2b(f"{turn}\n{length}\n".encode(), digest_size=16)
        for number, (role, text) in enumerate(texts):
            seed.update((f"\n{role}" if number else role).encode())
            for at in range(0, len(text), _HASHED_CHARS):  # a copy of a long text takes its time
                seed.update(text[at : at + _HASHED_CHARS].encode("utf-8", "replace"))
        seed.update(f"\n{listed}".encode("utf-8", "replace"))
        digest = seed.hexdigest()
        fence = f"=====drafts-{digest}====="
        if digest not in listed:
            return fence
        turn += 1


LAYOUTS: Mapping[str, Synthesis] = {"envelope": envelope, "paper": paper}
"""The layouts a configuration can name."""
