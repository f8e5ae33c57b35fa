"""What is wrong with a name that means nothing, and how it would be written."""

from __future__ import annotations

import difflib

from mixtura.catalog import providers
from mixtura.config.plan import INLINE_MARKS, parse_member
from mixtura.core.errors import ConfigError
from mixtura.core.text import unknown_name_message as unknown_name

_NAMING_ADVICE = (
    "A hosted model is written provider/model, such as openai/gpt-5.4; a model file by its path,"
    " which ends in .gguf."
)


def _missing_model_text(provider: str, name: str) -> str:
    """What is missing where *name* is a provider alone, with or without its slash."""
    if name != provider:
        return f"'{name}': the model's name is missing after the slash"
    known = providers.providers()[provider]
    strong = known.aggregator or next(iter(known.usual), None)
    such = f", such as {name}/{strong}" if strong else f", as {name}/MODEL"
    return f"{name} is a provider: name a model of it{such}"


def describe_hosted_name(name: str) -> str | None:
    """What is wrong with a name that has a provider, a slash or a star in it; else None."""
    if "*" in name:
        try:
            parse_member(name)
        except ConfigError as error:
            return str(error)
    provider, slash, model = name.partition("/")
    known = providers.providers()
    if provider in known and not model:
        return _missing_model_text(provider, name)
    if provider in known and providers.has_stray_slash(model):
        right = "/".join((provider, *filter(None, model.split("/"))))
        return f"'{name}' has a slash too many: did you mean '{right}'?"
    if provider in known:
        marks = " ".join(INLINE_MARKS)
        said = f"'{name}': expected the name of one model, and no name contains any of {marks}"
        return with_naming_advice(said)
    if not slash:
        return None
    if near := difflib.get_close_matches(provider, known, n=1):
        return f"unknown model '{name}': did you mean '{near[0]}/{model}'?"
    return with_naming_advice(f"'{name}': {unknown_name('provider', provider, known)}")


def with_naming_advice(said: str) -> str:
    """*said*, and how hosted models and files are named."""
    return f"{said}{'' if said.endswith('?') else '.'} {_NAMING_ADVICE}"
