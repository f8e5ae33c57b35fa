"""The environment variables that Mixtura reads: names, what for, and whether they are set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from mixtura.catalog import providers

GENERAL_VARIABLES: Mapping[str, str] = {
    "MIXTURA_CONFIG": "the configuration file, in place of ./mixtura.toml",
    "MIXTURA_USE_COMMANDS": "1 lets logged-in command-line tools answer where no key is set",
    "MIXTURA_CACHE": "the folder for local models",
    "XDG_CONFIG_HOME": "where the user's mixtura/mixtura.toml is (~/.config)",
    "XDG_STATE_HOME": "where runs and answers are kept (~/.local/state)",
    "XDG_CACHE_HOME": "where local models are kept (~/.cache)",
    "PGPASSWORD": "password for a PostgreSQL store",
    "HTTPS_PROXY": "proxy for providers; also HTTP_PROXY, ALL_PROXY",
    "NO_PROXY": "hosts that are reached without the proxy",
    "HF_TOKEN": "API key for huggingface, and for gated downloads",
    "HF_ENDPOINT": "mirror of the Hugging Face hub",
    "HF_HOME": "where models from Hugging Face are kept",
    "HF_HUB_OFFLINE": "forbids downloads from Hugging Face",
    "INSPECT_EVAL_MAX_CONNECTIONS": "prompts in flight in evaluations (--connections)",
    "NO_COLOR": "output without colour",
    "COLUMNS": "width of the output, in characters",
}
"""Variables that belong to no provider."""
_LOWERCASE_TOO = {"HTTPS_PROXY", "NO_PROXY"}


class VariableStatus(msgspec.Struct):
    """A variable, what it is for, and whether it is set; never its value."""

    name: str
    set: bool
    purpose: str


def list_variables(
    environ: Mapping[str, str], key_variables: Iterable[str]
) -> list[VariableStatus]:
    """All of them: keys and addresses of providers, the file's own keys, the general ones."""
    purposes: dict[str, str] = {}
    for name, provider in providers.providers().items():
        for variable in provider.keys:
            _add_purpose(purposes, variable, f"API key for {name}")
        if provider.address:
            _add_purpose(purposes, provider.address, f"address of {name}")
    for variable in key_variables:
        purposes.setdefault(variable, "API key named in the configuration")
    purposes |= GENERAL_VARIABLES
    return [
        VariableStatus(name, _is_set(name, environ), purpose) for name, purpose in purposes.items()
    ]


def _add_purpose(purposes: dict[str, str], variable: str, purpose: str) -> None:
    # One key may serve two providers.
    known = purposes.get(variable)
    purposes[variable] = f"{known} and {purpose.rpartition(' ')[2]}" if known else purpose


def _is_set(name: str, environ: Mapping[str, str]) -> bool:
    return bool(environ.get(name) or (name in _LOWERCASE_TOO and environ.get(name.lower())))
