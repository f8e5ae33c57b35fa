"""Every Mixtura model as a model of Inspect: ``mixtura/NAME``, whatever the evaluation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelCall,
    ModelOutput,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from mixtura.billing.price import Pricer
from mixtura.config.config import Config, load
from mixtura.core.call_ledger import open_ledger
from mixtura.core.context_values import hold_value
from mixtura.core.errors import ConfigError, MixturaError
from mixtura.core.model import Model
from mixtura.core.token_estimate import estimate_tokens
from mixtura.core.types import (
    Completion,
    Request,
)
from mixtura.engine.streaming import Recorder
from mixtura.engine.trace import trace_json
from mixtura.evals.inspect_outputs import build_output, charge_summary
from mixtura.evals.inspect_private import PrerequisiteError, sample_active
from mixtura.evals.inspect_requests import build_request, convert_message
from mixtura.evals.kept_calls import keep_row
from mixtura.protocols.openai.request import request_json
from mixtura.storage.run_record import without_replaced_items

LOG_SOURCE = "mixtura"
"""The source of our entries in Inspect's logs."""
DEFAULT_CONNECTIONS = 10
"""Samples asked at once by default; every model's own limits hold, too."""
OnCallDone = Callable[[str, str, int, bool], None]
"""Called after every call with the model's name, the sample's id and epoch, whether it failed."""
ProviderContext = tuple[Config, Mapping[str, Model], OnCallDone | None]
_CONTEXT: ContextVar[ProviderContext | None] = ContextVar("provider_context", default=None)


def use_models(
    config: Config, models: Mapping[str, Model], on_done: OnCallDone | None = None
) -> AbstractContextManager[None]:
    """In this block ``mixtura/NAME`` is looked up in *models*, then in *config*."""
    return hold_value(_CONTEXT, (config, models, on_done))


def notify_done(model: str, *, failed: bool) -> None:
    """Report that a call of *model* for the current sample is over."""
    context, active = _CONTEXT.get(), sample_active()
    if context and context[2] and active:
        context[2](model, str(active.sample.id), active.epoch, failed)


@modelapi(name="mixtura")
class MixturaModelAPI(ModelAPI):
    """
    A mixture or a model of the user's configuration.

    The configuration is found as ``mixtura ask`` finds it, or is the file that
    ``-M config_file=FILE`` names. Keys and addresses stand there: Inspect's are refused.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  (as Inspect has it)
        config_file: str | None = None,
        **unknown: Any,
    ) -> None:
        """Raises PrerequisiteError, shown without a traceback, for a wrong set-up."""
        super().__init__(model_name, base_url, api_key, [], config)
        if base_url or api_key:
            raise PrerequisiteError(
                f"mixtura/{model_name} takes no base_url and no api_key: set them in Mixtura's"
                " configuration"
            )
        if unknown:
            names = ", ".join(sorted(unknown))
            raise PrerequisiteError(f"mixtura has no model argument {names}, only config_file")
        try:
            self._own = _resolve_model(model_name, config_file)
        except ConfigError as error:
            raise PrerequisiteError(str(error)) from None

    @property
    def _current_model(self) -> tuple[Model, Pricer]:
        """The model and its prices; Inspect caches models, so `use_models` takes precedence."""
        return self._own if _CONTEXT.get() is None else _resolve_model(self.model_name, None)

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> tuple[ModelOutput | Exception, ModelCall]:
        """One output for *input*, a draw for each choice. Raises what the model raises."""
        messages = tuple([await convert_message(message) for message in input])
        request = build_request(messages, tools, tool_choice, config)
        wanted = config.num_choices or 1
        started = time.monotonic()
        with self._notify_when_done():
            answers = [
                await self._complete_draw(request, _draw_number(wanted, n)) for n in range(wanted)
            ]
        output = build_output([answer for answer, _ in answers], tools, self._current_model[1])
        output.time = time.monotonic() - started
        sent = request_json(request, self.model_name)
        return output, ModelCall.create(sent, {"runs": [run for _, run in answers]})

    @contextmanager
    def _notify_when_done(self) -> Generator[None]:
        failed = True
        try:
            yield
            failed = False
        finally:
            notify_done(self.model_name, failed=failed)

    async def _complete_draw(
        self, request: Request, draw: int
    ) -> tuple[Completion, dict[str, Any]]:
        """One answer and the record of its run. A failed one's cost is written to the log."""
        # A draft: no one watches it being written, so it may begin anew after its first token.
        drawn = Request(
            request.messages, request.sampling, request.tools, request.tool_choice,
            request.response_format, request.extra, draw, draft=True,
        )  # fmt: skip
        recorder = Recorder()
        model, pricer = self._current_model
        with open_ledger() as ledger, _keep_sample_row():
            try:
                answer = ledger.bill_answer(await model.complete(drawn, recorder))
            except (MixturaError, anyio.get_cancelled_exc_class()):
                # Inspect keeps only what answers cost; what a failed call cost would be lost.
                if charges := ledger.charges:
                    transcript().info(charge_summary(charges, pricer), source=LOG_SOURCE)
                raise
        # The request is in Inspect's own part of the log.
        record = trace_json(recorder.build_trace(), pricer)
        kept = {key: value for key, value in record.items() if key != "request"}
        return answer, without_replaced_items(kept)

    def max_connections(self) -> int:
        return DEFAULT_CONNECTIONS

    def connection_key(self) -> str:
        return self.model_name

    def tool_result_images(self) -> bool:
        return True

    async def count_text_tokens(self, text: str) -> int:
        return estimate_tokens(text)


def _resolve_model(name: str, config_file: str | None) -> tuple[Model, Pricer]:
    context = _CONTEXT.get()
    if context is None:
        config = load(config_file, environ=os.environ, folder=Path.cwd(), waits_for_all=True)
        return config.build_runnable(config.mixture_spec(name)), config.usage_cost
    config, models, _ = context
    return models.get(name) or config.build_runnable(config.mixture_spec(name)), config.usage_cost


@contextmanager
def _keep_sample_row() -> Generator[None]:
    """Calls are those of the current sample."""
    active = sample_active()
    if active is None:
        yield
        return
    with keep_row("sample", str(active.sample.id), str(active.epoch)):
        yield


def _draw_number(wanted: int, number: int) -> int:
    """The number of this draw over all epochs, so that no cache mixes epochs up."""
    active = sample_active()
    epoch = active.epoch if active else 1
    return (epoch - 1) * wanted + number
