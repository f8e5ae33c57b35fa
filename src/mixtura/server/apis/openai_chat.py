"""OpenAI's Chat Completions API, as the server speaks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixtura.core.errors import MalformedError
from mixtura.core.types import Completion, Json, Request, Sampling
from mixtura.protocols.openai.messages import message_from_json
from mixtura.protocols.sampling_options import blocked_parameter_notices, extra_parameters
from mixtura.server.apis import hosted_tools
from mixtura.server.apis.base import (
    ApiCall,
    ApiError,
    ResponseMeta,
    build_api_call,
)
from mixtura.server.apis.openai_chat_body import ALLOWED_VALUES, ChatBody
from mixtura.server.apis.openai_chat_checks import (
    MAX_STOP_SEQUENCES,
    check_body,
)
from mixtura.server.apis.openai_chat_output import (
    chat_usage_json,
    choice_json,
    openai_error_body,
)
from mixtura.server.apis.openai_chat_stream import ChatWriter
from mixtura.server.apis.openai_chat_tools import (
    normalize_messages,
    read_tool_offer,
    with_dropped_calls,
)
from mixtura.server.apis.validation import (
    check_unsupported_parameters,
    convert_struct,
    decode_body,
    parse_stop_sequences,
)

_UNSUPPORTED_PARAMETERS = {
    "audio": "answers are text",
}


class ChatCompletionsApi:
    """``POST /v1/chat/completions``."""

    path = "/v1/chat/completions"

    def parse_request(self, body: bytes) -> ApiCall:
        """The call that a body makes. Raises ApiError naming the parameter that is wrong."""
        return self.parse_decoded_request(decode_body(body))

    def parse_decoded_request(self, raw: dict[str, Any]) -> ApiCall:
        """The call that the fields of a body make. Raises ApiError as ``parse_request`` does."""
        check_unsupported_parameters(raw, _UNSUPPORTED_PARAMETERS)
        parsed = convert_struct(raw, ChatBody, ALLOWED_VALUES)
        stop = parse_stop_sequences(parsed.stop, most=MAX_STOP_SEQUENCES)
        check_body(parsed)
        offer = read_tool_offer(raw)
        plain = normalize_messages(raw["messages"], offer.toolbox)
        try:
            messages = tuple(map(message_from_json, plain))
        except MalformedError as error:
            raise ApiError(400, str(error), param="messages") from None
        own = ("parallel_tool_calls", *(() if parsed.logprobs else ("logprobs", "top_logprobs")))
        # Some clients send both: the newer name counts.
        wanted = parsed.max_completion_tokens or parsed.max_tokens
        request = Request(
            messages,
            Sampling(parsed.temperature, parsed.top_p, wanted, stop, parsed.seed),
            tools=offer.toolbox.as_functions(),
            tool_choice=offer.choice,
            response_format=raw.get("response_format"),
            extra={**extra_parameters(raw, own), **offer.extra},
        )
        return build_api_call(
            raw,
            parsed,
            request,
            n=parsed.n or 1,
            usage_in_stream=bool(parsed.stream_options and parsed.stream_options.include_usage),
            notices=tuple(blocked_parameter_notices(raw)),
            toolbox=offer.toolbox,
            left_out=tuple(hosted_tools.describe_left_out(offer.toolbox.left_out)),
        )

    def response_body(
        self, call: ApiCall, answers: Sequence[Completion], about: ResponseMeta, summary: Json
    ) -> Mapping[str, Any]:
        """The answers as one chat completion."""
        return {
            "id": f"chatcmpl-{about.number}",
            "object": "chat.completion",
            "created": about.created,
            "model": call.model,
            "choices": [choice_json(index, answer, call) for index, answer in enumerate(answers)],
            "usage": chat_usage_json(answers),
            "system_fingerprint": None,
            "mixtura": with_dropped_calls(summary, answers, call),
        }

    def create_writer(self, call: ApiCall, about: ResponseMeta) -> ChatWriter:
        return ChatWriter(call, about)

    def error_body(self, refused: ApiError) -> Mapping[str, Any]:
        return openai_error_body(refused)
