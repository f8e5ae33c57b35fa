"""Every other provider's own API, through pydantic-ai."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from mixtura.core.arguments import check_count, check_name, check_optional
from mixtura.core.errors import ModelError, TimedOutError, UnavailableError
from mixtura.core.events import Emit
from mixtura.core.logs import install_log_redaction
from mixtura.core.model_info import DescribedModel, ModelInfo, UsagePrice
from mixtura.core.quantities import POSITIVE_COUNT
from mixtura.core.redaction import Redactor, register_secrets, use_redactor
from mixtura.core.types import Completion, Request
from mixtura.models.call_accounting import account_for_call, emit_answer_delta, emit_notices
from mixtura.models.pydantic_ai_answer import (
    convert_event,
    convert_usage,
    delta_bytes,
    returned_fields,
    translate_error,
)
from mixtura.models.pydantic_ai_library import create_model, import_pydantic_ai
from mixtura.models.pydantic_ai_request import (
    SHARED_PARAMETERS,
    convert_messages,
    model_settings,
    request_parameters,
    supports_part,
)
from mixtura.protocols.content_parts import replace_unsupported_parts
from mixtura.protocols.finish_reasons import read_finish_reason
from mixtura.protocols.openai.chunks import Chunk, StreamChoice
from mixtura.protocols.openai.stream import ChatStreamAccumulator
from mixtura.protocols.provider_data.messages import origin_fingerprint
from mixtura.protocols.sampling_options import (
    unsupported_optional_parameters,
    unsupported_parameter_notices,
)
from mixtura.transport.client import (
    LARGEST_ANSWER,
    CallTimeouts,
    RequestTimer,
    Secret,
    add_key_origin,
    answer_too_large_error,
    build_redactor,
    describe_key_origin,
)
from mixtura.transport.timeouts import call_scope


class PydanticAI(DescribedModel):
    """
    The model that pydantic-ai calls ``provider:model``; its own variables hold the keys.

    Names, timeouts, errors and charges are those of other models here. *base_url* is given to
    providers that take one; *extra* goes into the request's body where the provider's library
    allows that. *largest*: bytes of an answer's text, thoughts and calls. *context_window*,
    *supports_images* and *price* are what ``info`` says of it. Raises ConfigError where the library
    is missing or lacks a setting, TypeError and ValueError for arguments that are none.
    """

    def __init__(
        self,
        provider: str,
        model: str,
        *,
        name: str | None = None,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        timeouts: CallTimeouts | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        largest: int = LARGEST_ANSWER,
        context_window: int | None = None,
        supports_images: bool | None = None,
        price: UsagePrice | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        check_name("provider", provider)
        check_name("model", model)
        check_count("largest", largest, POSITIVE_COUNT)
        _check_settings(
            name=name, base_url=base_url, api_key=api_key, timeouts=timeouts, headers=headers,
            extra=extra, redactor=redactor,
        )  # fmt: skip
        if isinstance(api_key, str):
            api_key = Secret(api_key.strip(), "the argument api_key")
        self._name = name or f"bridge:{provider}/{model}"
        self._origin = origin_fingerprint(base_url or f"bridge:{provider}", model)
        self._timeouts = timeouts or CallTimeouts()
        self._headers = dict(headers or {})
        self._extra = dict(extra or {})
        self._largest = largest
        self._redactor = build_redactor(base_url, api_key, self._headers, self._extra, redactor)
        # Without a key of ours, the library reads one: its variable is not known here.
        self._key_origin = describe_key_origin(api_key) if api_key else None
        self._info = ModelInfo(
            self._name,
            context_window=context_window,
            supports_images=supports_images,
            price=price,
        )
        given = {"base_url": base_url, "api_key": api_key.reveal() if api_key else None}
        install_log_redaction()  # the libraries log what they send
        with use_redactor(self._redactor):
            self._model = create_model(provider, model, {k: v for k, v in given.items() if v})
        key = getattr(getattr(self._model, "client", None), "api_key", None)
        if isinstance(key, str):  # the library read it from an environment variable
            self._redactor = self._redactor.with_values([key])
            register_secrets([key])

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        with use_redactor(self._redactor):
            return await self._complete_request(request, emit)

    async def _complete_request(self, request: Request, emit: Emit | None) -> Completion:
        so_far = ChatStreamAccumulator(origin=self._origin)
        with account_for_call(self._name, request, so_far, emit):
            try:
                with call_scope(self._name):
                    await self._read_stream(request, so_far, emit)
            except ModelError:
                raise
            except Exception as error:
                translated = translate_error(error)
                if isinstance(translated, ModelError) and self._key_origin:
                    add_key_origin(translated, self._key_origin)
                raise translated from error
            emit_answer_delta(so_far, so_far.take_rest(), emit)
            if so_far.finish_reason is None:
                raise UnavailableError("the answer ended without a finish reason: it is cut off")
            return so_far.build_completion(self._name, request)

    async def _read_stream(
        self, request: Request, so_far: ChatStreamAccumulator, emit: Emit | None
    ) -> None:
        timer = RequestTimer(self._timeouts)
        request, notices = replace_unsupported_parts(request, supports_part)
        said = unsupported_parameter_notices(
            unsupported_optional_parameters(request.extra, SHARED_PARAMETERS)
        )
        emit_notices(self._name, [*notices, *said], emit)
        messages = convert_messages(request.messages, self._origin)
        left = self._largest
        try:
            async with asyncio.timeout(None) as scope:
                timer.start(scope)
                # entering it opens its connections, and the last to leave closes them
                async with (
                    self._model,
                    import_pydantic_ai("direct").model_request_stream(
                        self._model,
                        messages,
                        model_settings=model_settings(request, self._headers, self._extra),
                        model_request_parameters=request_parameters(request),
                    ) as stream,
                ):
                    async with aclosing(aiter(stream)) as events:
                        async for event in events:
                            delta = convert_event(event)
                            left -= delta_bytes(delta)
                            if left < 0:
                                raise answer_too_large_error(self._largest)
                            so_far.add_chunk(Chunk([StreamChoice(delta=delta)]))
                            if fresh := so_far.take_new():
                                timer.note_progress()
                                emit_answer_delta(so_far, fresh, emit)
                    answer = stream.get()
        except TimeoutError:
            raise TimedOutError(timer.timeout_reason()) from None
        finally:
            timer.stop()
        so_far.add_chunk(Chunk([StreamChoice(delta=returned_fields(answer))]))
        so_far.usage = convert_usage(answer.usage, so_far.doubts)
        details: dict[str, Any] = answer.provider_details or {}
        reason: Any = answer.finish_reason or details.get("finish_reason")
        so_far.finish_reason = read_finish_reason(reason)


_SETTING_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "name": (str, "a text, or None"),
    "base_url": (str, "an address as a text, or None"),
    "api_key": ((str, Secret), "a key as a text, or None"),
    "timeouts": (CallTimeouts, "a CallTimeouts, or None"),
    "headers": (Mapping, "a dict of texts, or None"),
    "extra": (Mapping, "a dict, or None"),
    "redactor": (Redactor, "a Redactor, or None"),
}


def _check_settings(**given: object) -> None:
    for name, value in given.items():
        check_optional(name, value, *_SETTING_KINDS[name])
