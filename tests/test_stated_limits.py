"""Limits that refusals state in their words: read whoever says them, and from nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura.stated_limits import StatedLimits, read_limits

OUTPUTS = [
    (8192, "max_tokens must be at most 8192"),
    (8192, "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
    (8192, "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]"),
    (8192, "The range of max_tokens is 1 to 8192."),
    (8192, "max_tokens should be in the range (0, 8192]"),
    (8192, "max_tokens must be between 1 and 8192, got 100000"),
    (8192, "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for m"),
    (16384, "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000."),
    (4096, "max_tokens is too large: 6000. This model supports at most 4096 completion tokens, whereas you provided 6000."),
    (4000, "max_tokens (current value: 4096) must be between 0 and 4000 "),
    (8000, "max_tokens for `llama-3.1-8b-instant` must be less than or equal to 8000"),
    (8192, "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model"),
    (12288, "The parameter `max_completion_tokens` specified in the request are not valid: integer above maximum value, expected a value <= 12288, but got 32000 instead."),
    (65536, "Unable to submit request because it has a maxOutputTokens value of 100000 but the supported range is from 1 (inclusive) to 65537 (exclusive). Update the value and try again."),
    (4096, "The maximum tokens you requested exceeds the model limit of 4096. Try again with a maximum tokens value that is lower than 4096."),
    (32768, "Invalid request: max_tokens cannot exceed 32768"),
    (8192, "[{'type': 'less_than_equal', 'loc': ['body', 'max_tokens'], 'msg': 'Input should be less than or equal to 8192', 'ctx': {'le': 8192}}]"),
    (131072, "Param Incorrect max_tokens is too large: 1048576. This model supports at most 131072 completion tokens, whereas you provided 1048576."),
    (8191, "max_tokens must be less than 8192"),
    (8192, "max_tokens 不能超过 8192"),
    (16384, "Maximum value for max_completion_tokens is 16,384 tokens"),
    (32000, "max output tokens limit is 32K for this model"),
    (8192, "You requested 100000 output tokens, but the maximum number of output tokens is 8192."),
    (4096, "max_new_tokens must be <= 4096. Given: 10000"),
    (8192, "Requested max_tokens of 32000 exceeds the maximum of 8192"),
    (8192, "'max_tokens' must be in range [1,8192]"),
    (8192, "max_tokens 100000 is above the upper limit 8192; max_tokens can be at most 8192"),
    (30720, "max_tokens参数非法：取值范围[1, 30720]"),
]  # fmt: skip

WINDOWS = [
    # window, room
    (4097, 425, "This model's maximum context length is 4097 tokens. However, you requested 4696 tokens (3672 in the messages, 1024 in the completion). Please reduce the length of the messages or completion."),
    (32768, 2768, "This model's maximum context length is 32768 tokens. However, you requested 40000 tokens (30000 in the messages, 10000 in the completion). Please reduce the length of the messages or completion."),
    (4097, 237, "This model's maximum context length is 4097 tokens, however you requested 4116 tokens (3860 in your prompt; 256 for  the completion). Please reduce your prompt; or completion length."),
    (8192, None, "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens. Please reduce the length of the messages."),
    (8192, 5192, "'max_tokens' or 'max_completion_tokens' is too large: 10000. This model's maximum context length is 8192 tokens and your request has 3000 input tokens (10000 > 8192 - 3000). None"),
    (8192, None, "This model's maximum context length is 8192 tokens. However, your request has 9000 input tokens. Please reduce the length of the input messages. None"),
    (8192, None, "You passed 9001 input tokens and requested 0 output tokens. However, the model's context length is only 8192 tokens, resulting in a maximum input length of 8192 tokens."),
    (8192, None, "The decoder prompt (length 9000) is longer than the maximum model length of 8192. Make sure that `max_model_len` is no smaller than the number of text tokens."),
    (8192, 4192, "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of 9000 tokens: 4000 tokens from the input messages and 5000 tokens for the completion."),
    (8192, None, "The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
    (59862, None, "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens). Use a shorter input or enable --allow-auto-truncate."),
    (200000, None, "prompt is too long: 213462 tokens > 200000 maximum"),
    (200000, 10000, "input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000, decrease input length or `max_tokens` and try again"),
    (1048575, None, "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."),
    (32768, None, "The input token count is 33000 but model only supports up to 32768"),
    (32768, None, "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"),
    (4096, None, "the request exceeds the available context size, try increasing it exceed_context_size_error n_prompt_tokens: 5000 n_ctx: 4096"),
    (4096, None, "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it"),
    (4096, None, "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 5000>= n_ctx: 4096)"),
    (4096, None, "Requested tokens (5000) exceed context window of 4096"),
    (131072, None, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
    (131071, None, "The prompt is too long: 140000, model maximum context length: 131071"),
    (8192, None, "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)"),
    (64000, None, "prompt token count of 70000 exceeds the limit of 64000"),
    (131072, None, "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens (140000 of text input, 10000 in the output). Please reduce the length of either one, or use the \"middle-out\" transform to compress your prompt automatically."),
    (4096, 1096, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 3000 `inputs` tokens and 2000 `max_new_tokens`"),
    (1024, None, "Input validation error: `inputs` must have less than 1024 tokens. Given: 3000"),
    (8192, None, "ValidationException: 400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9279 "),
    (4081, None, "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292. Try using a shorter prompt."),
    (8192, None, "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192"),
    (30720, None, "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"),
    (272000, None, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens. Please reduce the length of the messages."),
    (65536, None, "This model's maximum context length is 65,536 tokens. However, you requested 80,000 tokens (76,000 in the messages, 4,000 in the completion)."),
    (6000, None, "Request too large for model `llama3-70b-8192` in organization `org_x` service tier `on_demand` on tokens per minute (TPM): Limit 6000, Requested 12903, please reduce your message size and try again."),
    (30000, None, "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 60000. The input or output tokens must be reduced in order to run successfully."),
    (8191, None, "Requested input length 9000 exceeds maximum input length 8191"),
    (131072, 1072, "This endpoint's maximum context length is 131,072 tokens. However, you requested 140000 tokens (129,000 of text input, 1,000 of tool input, 10,000 in the output)."),
    (91442, None, "Prompt tokens limit exceeded: 230799 > 91442."),
]  # fmt: skip

AFFORDABLE = [
    (2666, "This request requires more credits, or fewer max_tokens. You requested up to 8192 tokens, but can only afford 2666. To increase, visit https://x.example/settings"),
    (27342, "You requested up to 32000 tokens, but can only afford 27,342."),
    (None, "You requested up to 32000 tokens, but can only afford 0. To increase, visit https://x.example"),
]  # fmt: skip

NOTHING = [
    "temperature must be <= 2",
    "temperature must be between 0 and 1 (max_tokens was 4096)",
    "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 300 instead.",
    "messages[3].content: string too long. Expected a string with maximum length 1048576, but got a string with length 2000000 instead.",
    "image exceeds 5 MB maximum: 5316852 bytes > 5242880 bytes",
    "`max_tokens` must be greater than `thinking.budget_tokens`.",
    "thinking.budget_tokens: Input should be greater than or equal to 1024",
    "max_tokens: Field required",
    "Rate limit reached for m on tokens per min (TPM): Limit 60000, Used 59000, Requested 2000. Please try again in 2s.",
    "Number of request tokens has exceeded your per-minute rate limit of 40000 tokens",
    "The model `m-8192` does not exist",
    "stop: at most 4 sequences",
    "top_logprobs must be at most 20 while max_tokens may stay",
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "Request 8192 failed: max_tokens unknown error 500",
    "messages.12: all messages must have non-empty content",
    "Invalid value for context_length parameter",
    "Error 4096 while reading the prompt",
    "n must be at most 1",
    "tool_use ids must be at most 64 characters",
    "metadata: at most 16 keys of 512 characters",
    "max_tokens must be an integer",
    "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 10 instead.",
    "Your input exceeds the context window of this model.",
    "Input is too long for requested model.",
    "the input length exceeds the context length",
]  # fmt: skip


@pytest.mark.parametrize(("most", "said"), OUTPUTS)
def test_an_output_limit_is_read_whoever_states_it(most, said):
    assert read_limits(said) == StatedLimits(output=most)


@pytest.mark.parametrize(("window", "room", "said"), WINDOWS)
def test_a_window_is_read_whoever_states_it_and_what_it_leaves(window, room, said):
    assert read_limits(said) == StatedLimits(window=window, room=room)


@pytest.mark.parametrize(("most", "said"), AFFORDABLE)
def test_what_an_account_can_afford_is_read(most, said):
    assert read_limits(said) == StatedLimits(affordable=most)


@pytest.mark.parametrize("said", NOTHING)
def test_a_number_in_any_other_refusal_is_no_limit(said):
    assert read_limits(said) == StatedLimits()


SAID = st.sampled_from(
    [
        ("output", "max_tokens must be at most {}."),
        ("output", "the valid range of max_tokens is [1, {}]"),
        ("output", "This model supports at most {} completion tokens"),
        (
            "output",
            "max_tokens: 9999999 > {}, which is the maximum allowed number of output tokens",
        ),
        ("window", "This model's maximum context length is {} tokens."),
        ("window", "prompt is too long: 9999999 tokens > {} maximum"),
        ("window", "the model's context length is only {} tokens"),
        ("affordable", "you can only afford {}."),
    ]
)
STYLES = st.sampled_from(["{:d}", "{:,d}", "{:_d}", "`{:d}`", "'{:,d}'", "{:d}.0", "({:d})"])


@settings(deadline=None)
@given(SAID, st.integers(1000, 999_999), STYLES, st.sampled_from(["", " Please.", "\n\nSee docs."]))
def test_a_number_is_read_in_any_style(said, number, style, after):
    name, text = said
    told = text.format(style.format(number)) + after

    assert getattr(read_limits(told), name) == number


@settings(deadline=None)
@given(st.text(st.sampled_from("max_tokens window context [],.>=<0123456789 length"), max_size=200))
def test_no_text_ends_in_an_error_or_a_limit_beyond_sense(text):
    found = read_limits(text)

    assert all(value is None or 0 <= value <= 10_000_000 for value in found)
