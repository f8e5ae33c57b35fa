"""The optional library pydantic-ai: its modules, imported when needed, and its models."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mixtura.core.errors import ConfigError
from mixtura.core.missing_packages import install_prefix, missing_package_text


def import_pydantic_ai(module: str) -> Any:
    """A module of pydantic-ai. Raises ConfigError when it is not installed."""
    try:
        return import_module(f"pydantic_ai.{module}")
    except ImportError:
        what = "a model named bridge:…"
        raise ConfigError(missing_package_text(what, "pydantic-ai", "providers")) from None


def create_model(provider: str, model: str, given: Mapping[str, Any]) -> Any:
    """pydantic-ai's model. Raises ConfigError where its library or a setting is missing."""
    providers, user_error = (
        import_pydantic_ai("providers"),
        import_pydantic_ai("exceptions").UserError,
    )

    def create_provider(name: str) -> Any:
        return providers.infer_provider_class(name)(**given)

    try:
        return import_pydantic_ai("models").infer_model(f"{provider}:{model}", create_provider)
    except ImportError as error:  # the error names the provider's library to install
        said = str(error).replace("pip install", install_prefix())
        raise ConfigError(f"bridge:{provider}: {said}") from None
    except (user_error, ValueError, TypeError) as error:
        raise ConfigError(f"bridge:{provider}/{model}: {error}") from None
