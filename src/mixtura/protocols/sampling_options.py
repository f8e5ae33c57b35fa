"""Further parameters of requests that open servers take, and what each API makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from mixtura.core.types import Json

OPTIONAL_PARAMETERS = frozenset({
    # drawing the next token
    "top_k", "top_a", "min_p", "typical_p", "typical", "tfs", "tfs_z", "epsilon_cutoff",
    "eta_cutoff", "presence_penalty", "frequency_penalty", "repetition_penalty", "repeat_penalty",
    "repeat_last_n", "penalty_last_n", "no_repeat_ngram_size", "length_penalty", "logit_bias",
    "min_tokens", "mirostat", "mirostat_mode", "mirostat_tau", "mirostat_eta", "dynatemp_range",
    "dynatemp_exponent", "dynamic_temperature", "xtc_probability", "xtc_threshold",
    "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n",
    "dry_sequence_breakers", "samplers", "sampler_priority", "do_sample", "smoothing_factor",
    "top_n_sigma", "adaptive_target", "adaptive_decay",
    # where an answer ends, and how its text is made
    "stop_token_ids", "ignore_eos", "include_stop_str_in_output", "skip_special_tokens",
    "spaces_between_special_tokens", "bad_words", "allowed_token_ids", "no_stop_trim",
    # thinking
    "thinking", "enable_thinking", "thinking_budget", "thinking_token_budget", "reasoning",
    "reasoning_effort", "include_reasoning", "reasoning_format", "separate_reasoning",
    "stream_reasoning", "reasoning_split", "reasoning_budget", "think", "chat_template_kwargs",
    "chat_template_args",
    # how a server goes about it
    "cache_prompt", "n_keep", "n_discard", "num_ctx", "num_keep", "keep_alive", "cache_salt",
    "priority", "truncate_prompt_tokens", "add_special_tokens", "provider", "transforms",
    "safe_prompt", "verbosity",
    "parallel_tool_calls", "service_tier",
})  # fmt: skip
"""Parameters that an answer is possible without: where they are not supported they are left out."""

FORMAT_PARAMETERS = frozenset({
    "guided_json", "guided_regex", "guided_choice", "guided_grammar", "guided_whitespace_pattern",
    "guided_decoding_backend", "structured_outputs", "structural_tag", "grammar", "json_schema",
    "regex", "ebnf", "logprobs", "top_logprobs",
})  # fmt: skip
"""Parameters that an answer must follow: an API without them cannot give the answer."""

BLOCKED_PARAMETERS: Mapping[str, str] = {
    "models": "other models are named in the `model` field",
    "route": "other models are named in the `model` field",
    "preset": "settings stand in the configuration",
    "plugins": "what runs beside a model is set in the configuration",
    "best_of": "an answer is drawn once: ask for `n`",
    "use_beam_search": "an answer is drawn once",
    "options": "name its entries themselves",
    "num_predict": "that is `max_tokens`",
    "n_predict": "that is `max_tokens`",
    "max_new_tokens": "that is `max_tokens`",
    "chat_template": "a model's template stands in its configuration",
}
"""Parameters that would reach models, or cost what no cap knows of; what to do instead."""


def extra_parameters(raw: Json, own: Iterable[str]) -> dict[str, Any]:
    """The further parameters in a request's body; *own*: fields that its API reads itself."""
    taken = (OPTIONAL_PARAMETERS | FORMAT_PARAMETERS) - set(own)
    words = {name: value for name, value in raw.items() if name in taken and value is not None}
    if words.get("service_tier") in ("auto", "default"):  # what there is without a word
        del words["service_tier"]
    return words


def blocked_parameter_notices(raw: Json) -> list[str]:
    """Notices of the parameters in a body that are not passed on."""
    names = (name for name in BLOCKED_PARAMETERS if raw.get(name) is not None)
    return [f"`{name}` is left out: {BLOCKED_PARAMETERS[name]}" for name in names]


def unsupported_optional_parameters(extra: Json, taken: Iterable[str]) -> list[str]:
    """Optional parameters in *extra* that are not among those *taken*, sorted."""
    return sorted(OPTIONAL_PARAMETERS & extra.keys() - set(taken))


def unsupported_parameter_notices(names: Iterable[str]) -> list[str]:
    """Notices of parameters that a model does not take."""
    return [f"does not accept {name}: it was left out" for name in names]


# ---- whether to think


def _as_mapping(value: object) -> Json:
    return cast("Json", value) if isinstance(value, Mapping) else {}


def wants_thinking(extra: Json) -> bool | None:
    """
    Whether the parameters ask for thinking or for none, whichever of them say it; None where none
    does.
    """
    settings = extra.get("chat_template_kwargs") or extra.get("chat_template_args")
    inner = _as_mapping(settings)
    for table in (extra, inner):
        for name in ("enable_thinking", "think", "thinking"):
            if isinstance(value := table.get(name), bool):
                return value
    for name in ("thinking", "reasoning"):
        match extra.get(name):
            case {"type": "disabled"} | {"enabled": False} | {"effort": "none"}:
                return False
            case {"type": "enabled" | "adaptive" | "auto"} | {"enabled": True}:
                return True
            case _:
                pass
    return None


LLAMA_CPP_NAMES: Mapping[str, str] = {
    "repetition_penalty": "repeat_penalty", "typical": "typical_p", "tfs": "tfs_z",
    "mirostat_mode": "mirostat", "penalty_last_n": "repeat_last_n", "num_keep": "n_keep",
}  # fmt: skip
"""Parameters of other servers that llama.cpp has under another name."""
LLAMA_CPP_PARAMETERS = frozenset({
    "top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "presence_penalty",
    "frequency_penalty", "logit_bias", "mirostat", "mirostat_tau", "mirostat_eta",
    "dynatemp_range", "dynatemp_exponent", "xtc_probability", "xtc_threshold", "dry_multiplier",
    "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers", "samplers",
    "top_n_sigma", "ignore_eos", "cache_prompt", "n_keep", "n_discard", "chat_template_kwargs",
    "reasoning_format", "parallel_tool_calls",
})  # fmt: skip


def translate_for_llama_cpp(extra: Json) -> tuple[dict[str, Any], list[str]]:
    """Parameters in llama.cpp's spelling, and the names of those that it does not have."""
    spelled = {LLAMA_CPP_NAMES.get(name, name): value for name, value in extra.items()}
    unknown = unsupported_optional_parameters(spelled, LLAMA_CPP_PARAMETERS)
    body = {name: value for name, value in spelled.items() if name not in unknown}
    thought = wants_thinking(extra)
    if thought is not None:
        given = _as_mapping(body.get("chat_template_kwargs"))
        body["chat_template_kwargs"] = {"enable_thinking": thought, **given}
        unknown = [name for name in unknown if not is_thinking_switch(name)]
    return body, unknown


def is_thinking_switch(name: str) -> bool:
    """Whether a parameter says whether to think, and not how much."""
    return name in ("thinking", "enable_thinking", "think", "reasoning", "chat_template_args")
