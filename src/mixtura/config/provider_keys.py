"""Keys for providers, in environment variables: which there are, which one a model uses."""

from __future__ import annotations

from collections.abc import Iterable

from mixtura.catalog import providers
from mixtura.config.plan import Environment
from mixtura.config.schema import ModelTable
from mixtura.core.credentials import settings_secrets, url_secrets
from mixtura.storage.run_record import collect_secret_values


def list_key_variables(tables: Iterable[ModelTable]) -> list[str]:
    """The variables that may hold an API key: the providers' and those that *tables* name."""
    of_providers = [key for provider in providers.providers().values() for key in provider.keys]
    of_tables = [table.api_key_env for table in tables if table.api_key_env]
    return list(dict.fromkeys([*of_providers, *of_tables]))


def find_key_variable(name: str, table: ModelTable | None, environ: Environment) -> str | None:
    """The variable with a model's key, None where none is set; *table*: None without settings."""
    if table is not None and table.api_key_env:
        return table.api_key_env
    if table is not None:
        provider = table.provider
    else:
        provider = (providers.split_model_name(name) or (None,))[0]
    known = providers.providers().get(provider or "")
    return next((key for key in known.keys if environ.get(key)), None) if known else None


def collect_secrets(tables: Iterable[ModelTable], environ: Environment) -> set[str]:
    """Values that must never be shown: keys in *environ*, logins and secrets in *tables*."""
    tables = list(tables)
    headers = (table.headers for table in tables)
    found = collect_secret_values(environ, list_key_variables(tables), headers)
    for table in tables:
        found |= url_secrets(table.base_url or "") | settings_secrets(table.extra)
    return found
