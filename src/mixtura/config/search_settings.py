"""How a member may search the web: its provider's own way, or the tool of [tools.search]."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from urllib.parse import unquote

from mixtura.catalog.web_search import WebSearchTerms, find_web_search_terms, web_search_terms
from mixtura.config.schema import ModelTable, SearchToolTable
from mixtura.core.errors import ConfigError, NotAvailableHereError
from mixtura.core.missing_packages import missing_package_text
from mixtura.core.model import Model
from mixtura.core.redaction import register_secrets
from mixtura.core.roles import iterate_models

NO_TOOL = (
    "search: no search tool is configured: name a server of the Model Context Protocol,"
    ' [tools.search] mcp = ["PROGRAM", "ARGUMENT"]'
)


class SearchSettings:
    """The search tool of a file, and the environment that it takes its key from."""

    def __init__(self, tool: SearchToolTable | None, environ: Mapping[str, str]) -> None:
        self._tool = tool
        self._environ = environ

    def find_provider_terms(self, table: ModelTable) -> WebSearchTerms | None:
        """
        How a model's own provider searches; None where the search tool does. Raises ConfigError
        where neither can.
        """
        if not table.search:
            return None
        terms = None
        if table.search != "mcp":
            terms = find_web_search_terms(table.provider, table.model or "")
        if terms is None and table.search == "provider":
            known = ", ".join(web_search_terms())
            said = (
                "search: Mixtura knows no web search of this model's provider (it knows that of"
                f' {known}): write search = "mcp" and configure [tools.search]'
            )
            raise ConfigError(said, key="search")
        if terms is None and self._tool is None:
            raise ConfigError(NO_TOOL, key="search")
        return terms

    def with_provider_tools(self, model: Model, terms: WebSearchTerms) -> Model:
        """*model*, asked with the search tools of its provider."""
        from mixtura.models.wrappers.web_search import ProviderSearch

        return ProviderSearch(model, terms.tools)

    def with_search_tool(self, model: Model) -> Model:
        """*model*, which may call the search tool. Raises ConfigError."""
        if self._tool is None:
            raise ConfigError(NO_TOOL, key="search")
        from mixtura.models.wrappers.private_items import Pseudonymized
        from mixtura.models.wrappers.web_search import Searching

        try:
            from mixtura.models.mcp_search import open_mcp_search
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("anyio", "mcp", "mcp_types", "httpx2"):
                raise
            said = missing_package_text("`search` by [tools.search]", "mcp", "mcp")
            raise ConfigError(said, key="search") from None
        tool = self._tool
        given, headers = self._read_environment(tool), self._read_headers(tool)
        open_tool = partial(
            open_mcp_search, tool.mcp, tool=tool.tool, environment=given, headers=headers,
            seconds=tool.seconds,
        )  # fmt: skip
        seats = [one for one in iterate_models(model) if isinstance(one, Pseudonymized)]
        # A query is what leaves next: it holds no more than the member was shown.
        hide = seats[0].hide_query if seats else None
        return Searching(model, open_tool, rounds=tool.rounds, hide=hide)

    def _read_environment(self, tool: SearchToolTable) -> dict[str, str]:
        if not isinstance(tool.mcp, str) and not (tool.mcp and shutil.which(tool.mcp[0])):
            named = tool.mcp[0] if tool.mcp else "its program"
            said = f"[tools.search] mcp: {named} is not on the PATH"
            raise NotAvailableHereError(said, key="search")
        return {name: self._read_variable(name) for name in tool.environment}

    def _read_headers(self, tool: SearchToolTable) -> dict[str, str]:
        if tool.headers_env is None:
            return {}
        pairs = (pair.partition("=") for pair in self._read_variable(tool.headers_env).split(","))
        return {name.strip(): unquote(value.strip()) for name, sign, value in pairs if sign}

    def _read_variable(self, name: str) -> str:
        value = self._environ.get(name)
        if not value:
            said = f"[tools.search]: {name} is not set in the environment"
            raise NotAvailableHereError(said, key="search")
        register_secrets([value])
        return value
