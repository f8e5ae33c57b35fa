"""What `import mixtura` offers of configuration: models by name or key, and whole files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixtura.config import config as configuration
from mixtura.config.paths import find_config_file
from mixtura.config.plan import INLINE_MARKS
from mixtura.core.arguments import (
    check_kind,
    check_optional,
    check_text,
)
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model, ask_model, check_model, get_model_info
from mixtura.core.types import Completion, Request, ask
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun


class Configuration:
    """
    What configuration files make: models and mixtures by name, under the caps of ``[budget]``.

    `load` gives one.
    """

    def __init__(self, config: configuration.Config) -> None:
        self._config = config
        self._capped: dict[str, BudgetedPerRun] = {}

    @property
    def default(self) -> str:
        """The name of the default mixture."""
        return self._config.default

    @property
    def names(self) -> tuple[str, ...]:
        """The mixtures, then the models, that are configured or built in."""
        registry = self._config.registry
        return (*registry.mixtures, *registry.models)

    def model(
        self,
        name: str | None = None,
        *,
        max_cost: float | None = None,
        deadline: float | None = None,
    ) -> Model:
        """
        The model or mixture called *name*, as the command line understands it; None: the default
        mixture. Without limits it is the same object each time.

        Where ``[budget]`` has caps, each call of it is a run under them. *max_cost*: dollars, and
        *deadline*: seconds, that no call of it passes. Raises ConfigError for a name or a limit
        that is none.
        """
        if name is None:
            name = self.default
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"model(name): a name is a text, not {type(name).__name__}")
        if not name.strip():
            raise ConfigError("model(name): the name is empty")
        if max_cost is not None or deadline is not None:
            spec = self._config.mixture_spec(name)
            return self._config.build_runnable(spec, max_cost=max_cost, deadline=deadline)
        return self._shared_model(name)

    def _shared_model(self, name: str) -> Model:
        config = self._config
        is_inline = any(mark in name for mark in INLINE_MARKS)
        if config.registry.is_known_name(name) and not is_inline:
            made = config.model(name)
        else:
            made = config.build_mixture(config.mixture_spec(name))
        if name not in self._capped:
            capped = config.cap_runs(config.mixture_spec(name))
            if not isinstance(capped, BudgetedPerRun):
                return made
            self._capped[name] = capped
        return self._capped[name]


def load(
    path: str | Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: str | Path | None = None,
) -> Configuration:
    """
    The configuration in the file at *path*: ``load("mixtura.toml").model("team")``.

    Without *path* it is found as by the command line: ``MIXTURA_CONFIG``, ``mixtura.toml`` in
    *folder* (by default the current one), the user's own. *environ* stands for the environment,
    from which the keys come. Raises ConfigError with the file and the line.
    """
    for name, value in (("path", path), ("folder", folder)):
        if value is not None and not isinstance(value, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
            given = type(value).__name__
            raise ConfigError(f"load({name}): a path is a text or a Path, not {given}")
    _check_environ(environ)
    config = configuration.load(
        None if path is None else str(path),
        environ=os.environ if environ is None else environ,
        folder=Path(folder or Path.cwd()),
        file_option="load(path)",
    )
    return Configuration(config)


def _check_environ(environ: Mapping[str, str] | None) -> None:
    """Raises ConfigError for what is no environment."""
    try:
        check_optional("environ", environ, Mapping, "a dict of texts, or None")
        for name, value in (environ or {}).items():
            check_text("environ", name)
            check_text(f"environ[{name!r}]", value)
    except TypeError as error:
        raise ConfigError(f"load(…): {error}") from None


def model(name: str) -> Model:
    """
    The model or mixture called *name*, as the command line understands it: ``openai/gpt-5.4``,
    the path of a ``.gguf`` file, a name of the configuration, ``a,b>c``.

    Models that are made so share their rate limits, and each call is a run under the caps of
    ``[budget]``. Raises ConfigError for what is none.
    """
    folder = Path.cwd()
    file = find_config_file(None, environ=os.environ, folder=folder)
    state = (str(file), file.stat().st_mtime_ns) if file else None
    return _load_shared(folder, state, frozenset(os.environ.items())).model(name)


@lru_cache(maxsize=4)
def _load_shared(
    folder: Path,
    state: object,  # noqa: ARG001 - another state of the file is another configuration
    environ: frozenset[tuple[str, str]],
) -> Configuration:
    """One configuration for as long as its file and the environment are the same."""
    return Configuration(configuration.load(None, environ=dict(environ), folder=folder))


def answer_sync(model: Model | str, question: Request | str) -> Completion:
    """
    *model*'s answer to *question*, without ``await``: for notebooks and scripts.

    Also works where an event loop is running already (a notebook's): then the call runs in a
    thread with a loop of its own, as a part of the same ledger. Ctrl-C ends the call. Raises what
    the model raises, and TypeError for what is no model or no question.
    """
    one = resolve_model(model, "answer_sync(model, …)")
    request = ask(question) if isinstance(question, str) else question
    check_kind("answer_sync(…, question)", request, Request, "a text or a Request")
    if _is_loop_running():
        return _answer_in_thread(one, request)
    return asyncio.run(ask_model(one, request))


def _is_loop_running() -> bool:
    # By itself: an error of the model would else show this one as its context.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _ThreadedCall:
    """A call of a model in a thread with a loop of its own, which another thread may end."""

    def __init__(self, model: Model, request: Request) -> None:
        self._model, self._request = model, request
        self._task: asyncio.Task[Any] | None = None
        self._is_left = False

    def run(self) -> Completion:
        """The answer. Raises what the model raises, CancelledError where the call was left."""
        return asyncio.run(self._answer())

    async def _answer(self) -> Completion:
        self._task = asyncio.current_task()
        if self._is_left:  # before there was a task to cancel
            raise asyncio.CancelledError
        return await ask_model(self._model, self._request)

    def leave(self) -> None:
        """End the call, also one that is only about to begin."""
        self._is_left = True
        if (task := self._task) is not None:
            with suppress(RuntimeError):  # its loop is closed: it has ended by now
                task.get_loop().call_soon_threadsafe(task.cancel)


def _answer_in_thread(model: Model, request: Request) -> Completion:
    """The answer, from a loop in a thread that has what holds here (ledger, drafts, caps)."""
    call, pool = _ThreadedCall(model, request), ThreadPoolExecutor(1)
    # The thread is there first: the pool would not know one that Ctrl-C interrupts as it starts.
    pool.submit(int).result()
    try:
        return pool.submit(copy_context().run, call.run).result()
    except BaseException:
        # Ctrl-C reaches the main thread alone: without this, it would wait for the answer.
        call.leave()
        raise
    finally:
        pool.shutdown()


def resolve_model(value: Model | str, place: str) -> Model:
    """
    *value* where it is a model, the model of that name where it is a text. Raises TypeError for
    anything else, and for a model whose ``info`` is none.
    """
    if isinstance(value, str):
        return model(value)
    check_model(place, value, "a model or a model's name")
    get_model_info(value)
    return value
