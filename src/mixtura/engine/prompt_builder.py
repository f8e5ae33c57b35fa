"""Builds the prompt for one model: persona and proposals, fitted to its context window."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from mixtura.core.errors import (
    ContextOverflowError,
    ModelError,
)
from mixtura.core.model import Model, get_model_info
from mixtura.core.types import Completion, Request
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.prompts.context_fitting import fit_and_render
from mixtura.prompts.control_tokens import neutralize_text
from mixtura.prompts.instructions import append_system_text
from mixtura.prompts.proposer_view import NO_IMAGES_NOTICE, has_image_stand_ins, without_images
from mixtura.prompts.synthesis import Synthesis

PromptBuilder = Callable[[Model, Sequence[Completion], str | None], Awaitable[Request]]
"""
Builds the request for a model, with proposals and the persona, if it has one.

Raises ContextOverflowError when it cannot fit.
"""


def make_prompt_builder(synthesis: Synthesis, request: Request) -> PromptBuilder:
    """
    A builder of prompts from *request*: images as text for models without vision, fitted to each
    model's window.
    """

    size = estimate_request_bytes(request)

    async def build_prompt(
        model: Model, proposals: Sequence[Completion], persona: str | None
    ) -> Request:
        drafts = sum(len(proposal.text) for proposal in proposals)
        return await run_in_thread_if_large(size + drafts, render_prompt, model, proposals, persona)

    def render_prompt(
        model: Model, proposals: Sequence[Completion], persona: str | None
    ) -> Request:
        info = get_model_info(model)
        read = without_images(request) if info.supports_images is False else request
        # Before the proposals are in it: behind them it would pass for the end of the last.
        read = append_system_text(read, neutralize_text(persona)) if persona else read
        return fit_and_render(synthesis, read, proposals, info.context_window)

    return build_prompt


def image_notices(model: Model, asked: Request) -> tuple[str, ...]:
    """The notices on a request in which text replaces the images that *model* cannot see."""
    return (
        (NO_IMAGES_NOTICE,)
        if get_model_info(model).supports_images is False and has_image_stand_ins(asked)
        else ()
    )


def should_truncate_and_retry(
    error: ModelError | None, drafts: Sequence[Completion], model: Model, known: int | None
) -> bool:
    """
    Whether a call that did not fit may fit now: with drafts truncated to another window than the
    one *known* before, or with a shorter answer.
    """
    if not isinstance(error, ContextOverflowError) or not drafts or error.shown:
        return False
    return get_model_info(model).context_window != known or error.limits.room is not None
