"""What endpoints' own lists say of their models: names, context sizes, longest answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, cast

from mixtura.config.config import Config
from mixtura.config.model_builder import ModelEndpoint
from mixtura.core.errors import ConfigError, ModelError
from mixtura.core.json_text import decode_json
from mixtura.core.model import unwrap_model
from mixtura.core.quantities import parse_context_window, parse_max_output
from mixtura.core.redaction import use_redactor
from mixtura.models.hosted import HostedModel
from mixtura.transport.address import join_url
from mixtura.transport.client import add_key_origin, describe_key_origin, get_json

LIST_TIMEOUT_SECONDS = 5.0
"""That an endpoint may take to list its models."""
LIST_LIFETIME_SECONDS = 600.0
"""Seconds after which a list is asked for again."""
RETRY_PAUSE_SECONDS = 60.0
"""Seconds after which an endpoint that gave none is asked again."""

_CONTEXT_KEYS = (
    "context_length", "max_model_len", "context_window", "max_context_length", "context_size",
    "loaded_context_length", "max_input_tokens", "inputTokenLimit", "n_ctx", "max_seq_len",
)  # fmt: skip
_TRAINED_CONTEXT_KEYS = ("n_ctx_train",)
"""What a model was made for: it counts where nothing is said of what its server gives it."""
_OUTPUT_KEYS = (
    "max_output_tokens", "max_completion_tokens", "max_output_length", "outputTokenLimit",
)  # fmt: skip
_NESTED_KEYS = ("meta", "top_provider", "limits", "capabilities")
"""Objects in a model's row that may have one of these."""
MAX_LIST_BYTES = 4 * 1024 * 1024
"""Bytes of a list at most: the longest of any provider has about a quarter of them."""
MAX_OTHER_MODELS = 5000
"""How many models of an endpoint's list are remembered beside the configured ones."""


class ListedModel(NamedTuple):
    """A model as its endpoint lists it."""

    id: str
    window: int | None = None
    longest_answer: int | None = None
    """Tokens of an answer at most."""


def parse_model_list(found: Any, wanted: Collection[str] = ()) -> list[ListedModel] | None:
    """
    The models of a list: OpenAI's and Anthropic's, or bare as Together's; None for no list.
    Those that are *wanted*, and ``MAX_OTHER_MODELS``.
    """
    rows = cast("Any", found).get("data") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        return None
    models: list[ListedModel] = []
    others = 0
    for row in cast("list[Any]", rows):
        if not isinstance(row, dict) or not isinstance(cast("Any", row).get("id"), str):
            return None
        known = any(name in wanted for name in _name_spellings(row["id"]))  # pyright: ignore[reportUnknownArgumentType]
        others += not known
        if known or others <= MAX_OTHER_MODELS:
            models.append(_parse_listed_model(cast("dict[str, Any]", row)))
    return models


def _parse_listed_model(row: Mapping[str, Any]) -> ListedModel:
    """What a row says; of several sizes the smallest, which is what is served."""
    parts = [row, *(row[name] for name in _NESTED_KEYS if isinstance(row.get(name), dict))]

    def smallest_size(names: Iterable[str], size: Callable[[object], int | None]) -> int | None:
        sizes = (size(part.get(name)) for part in parts for name in names)
        return min((found for found in sizes if found is not None), default=None)

    window = smallest_size(_CONTEXT_KEYS, parse_context_window) or smallest_size(
        _TRAINED_CONTEXT_KEYS, parse_context_window
    )
    return ListedModel(row["id"], window, smallest_size(_OUTPUT_KEYS, parse_max_output))


async def fetch_model_list(
    place: ModelEndpoint,
    *,
    seconds: float,
    headers: Mapping[str, str] | None = None,
    wanted: Collection[str] = (),
) -> list[ListedModel] | None:
    """
    Ask an endpoint for its models, *wanted* ones above all; None where it gives no list. Raises
    ModelError.
    """
    url = join_url(place.base_url, "/models")
    if place.dialect == "anthropic":
        url += "?limit=1000"

    def parse_body(body: bytes) -> list[ListedModel] | None:
        return parse_model_list(decode_json(body), wanted)

    sent = {**place.auth_headers(), **(headers or {})}
    try:
        return await get_json(
            url,
            headers=sent,
            seconds=seconds,
            most=MAX_LIST_BYTES,
            read=parse_body,
            transport=place.transport,
        )
    except ModelError as error:
        add_key_origin(error, describe_key_origin(place.key))
        raise


class _CachedList(NamedTuple):
    when: float
    models: Mapping[str, ListedModel] | None


class ModelLists:
    """
    The lists of the endpoints of a configuration's models, asked for when someone wants to know
    a size that is not known, and kept for a while. No one waits for one longer than they say.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._answers: dict[tuple[str, str], _CachedList] = {}
        self._listed: set[str] = set()
        """Models whose size is known from a list only, which may change."""
        self._asking: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def learn_context_windows(self, names: Iterable[str], *, timeout: float) -> None:
        """
        Learn the windows of the models and of the members of the mixtures called *names*, as far
        as their endpoints tell them within *timeout* seconds.
        """
        hosted = {
            name: model
            for name in self._single_models(names)
            if (model := self._hosted_model(name))
        }
        unknown = [
            name
            for name, model in hosted.items()
            if name in self._listed or model.info.context_window is None
        ]
        begun = [task for name in unknown if (task := self._start_fetch(name))]
        if begun:
            await asyncio.wait(begun, timeout=timeout)
        for name, model in hosted.items():
            if (listed := self.listed_model(name)) is None:
                continue
            model.set_listed_sizes(listed.window, listed.longest_answer)
            if listed.window is not None and name in unknown:
                self._listed.add(name)

    def listed_model(self, name: str) -> ListedModel | None:
        """What is known by now of how an endpoint lists a model."""
        if (place := self._config.builder.hosted_address(name)) is None:
            return None
        answer = self._answers.get(_endpoint_key(place.endpoint))
        return answer.models.get(place.model) if answer and answer.models else None

    def close(self) -> None:
        for task in self._asking.values():
            task.cancel()

    def _single_models(self, names: Iterable[str]) -> Iterator[str]:
        """Single models, those in mixtures included."""
        seen: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            try:
                plan = self._config.mixture_spec(name)
            except ConfigError:
                continue
            if plan.member_names() == {name}:
                yield name
            else:
                todo += plan.member_names()

    def _hosted_model(self, name: str) -> HostedModel | None:
        """The model called so, where its endpoint may list it."""
        if self._config.builder.hosted_address(name) is None:
            return None
        try:
            model = unwrap_model(self._config.model(name))
        except ConfigError:
            return None
        return model if isinstance(model, HostedModel) else None

    def _start_fetch(self, name: str) -> asyncio.Task[None] | None:
        """Ask the endpoint of a model for its list, unless that was done lately."""
        place = self._config.builder.hosted_address(name)
        if place is None:
            return None
        key = _endpoint_key(place.endpoint)
        answer = self._answers.get(key)
        lasts = (
            LIST_LIFETIME_SECONDS if answer and answer.models is not None else RETRY_PAUSE_SECONDS
        )
        if key in self._asking or (answer and time.monotonic() - answer.when < lasts):
            return None
        task = asyncio.create_task(self._fetch_and_store(key, place.endpoint, place.headers))
        self._asking[key] = task
        task.add_done_callback(lambda _: self._asking.pop(key, None))
        return task

    async def _fetch_and_store(
        self, key: tuple[str, str], endpoint: ModelEndpoint, headers: Mapping[str, str]
    ) -> None:
        models: list[ListedModel] | None = None
        with suppress(ModelError), use_redactor(self._config.redactor):
            wanted = self._configured_names(key)
            models = await fetch_model_list(
                endpoint, seconds=LIST_TIMEOUT_SECONDS, headers=headers, wanted=wanted
            )
        rows = (
            None if models is None else {name: m for m in models for name in _name_spellings(m.id)}
        )
        self._answers[key] = _CachedList(time.monotonic(), rows)

    def _configured_names(self, key: tuple[str, str]) -> set[str]:
        """What the configured models of an endpoint are called there."""
        places = map(self._config.builder.hosted_address, self._config.registry.models)
        return {place.model for place in places if place and _endpoint_key(place.endpoint) == key}


def _name_spellings(id: str) -> tuple[str, ...]:  # noqa: A002
    """How a model may be asked for that a list calls *id*: Google's lists have a prefix."""
    return (id, id.removeprefix("models/"))


def _endpoint_key(endpoint: ModelEndpoint) -> tuple[str, str]:
    return endpoint.base_url, endpoint.key.reveal() if endpoint.key else ""
