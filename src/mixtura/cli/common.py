"""What several commands need: the configuration of this process, and bars for what takes long."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mixtura.catalog import downloads, local_models
from mixtura.catalog.model_needs import bytes_to_download, check_disk_space
from mixtura.cli.completed_values import complete_file, complete_name, complete_task
from mixtura.config.config import Config, load
from mixtura.config.model_builder import AnswerKeeper
from mixtura.config.paths import find_config_file
from mixtura.config.plan import AUTO, EMBEDDED_MODEL, MixtureSpec
from mixtura.config.toml_document import Key
from mixtura.core import quantities
from mixtura.core.errors import ConfigError
from mixtura.core.missing_packages import missing_package_text
from mixtura.core.quantities import NumberRange, redacted_excerpt
from mixtura.core.redaction import process_redactor
from mixtura.core.text import escape_json, format_bytes, to_one_line

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., object])
_log = logging.getLogger("mixtura.config")
TypedText = str | tuple[str, ...] | None


class NumberType(click.ParamType[float]):
    """A number in a range, for an option: NaN and the infinite are in none."""

    name = "number"

    def __init__(self, within: NumberRange) -> None:
        self._range = within

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(value)
        except ValueError:
            said = redacted_excerpt(to_one_line(str(value)))
            self.fail(f"'{said}' is not a number.", param, ctx)
        if problem := self._range.range_error(number):
            self.fail(f"{problem}.", param, ctx)
        return number


class WholeNumberType(click.ParamType[int]):
    """A whole number in a range, for an option."""

    name = "integer"

    def __init__(self, within: NumberRange) -> None:
        self._range = within

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = to_one_line(str(value))
        # Python would read thousands of digits, and 1_000, and digits of any script.
        if not re.fullmatch(r"[+-]?[0-9]{1,30}", text):
            self.fail(f"'{redacted_excerpt(text)}' is not a whole number.", param, ctx)
        number = int(text)
        if number < self._range.least:
            self.fail(f"{number} is too small: at least {self._range.least:,}.", param, ctx)
        if number > self._range.most:
            self.fail(f"{number} is too large: at most {self._range.most:,}.", param, ctx)
        return number


SEED = WholeNumberType(quantities.SEED)
ANSWER_TOKENS = WholeNumberType(quantities.ANSWER_TOKENS)
COUNT = WholeNumberType(quantities.COUNT)
BATCH_ROWS = WholeNumberType(quantities.BATCH_ROWS)
LAYERS = WholeNumberType(quantities.LAYERS)
DOLLARS = NumberType(quantities.DOLLARS)
POSITIVE_DOLLARS = NumberType(quantities.POSITIVE_DOLLARS)
POSITIVE_SECONDS = NumberType(quantities.POSITIVE_SECONDS)
SHARE = NumberType(quantities.OPEN_SHARE)
TEMPERATURE = NumberType(quantities.TEMPERATURE)
PROBABILITY = NumberType(quantities.SHARE)


Option = Callable[[F], F]


def combine_options(*options: Option[F]) -> Option[F]:
    """All of them as one, in the order in which the help lists them."""

    def add_options(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add_options


def name_option(
    option: str, metavar: str, said: str, *parameter: str, **settings: Any
) -> Option[F]:
    """An option whose value is a name; *parameter*: where it does not go by the option's."""
    completer = complete_file if "FILE" in metavar or metavar == "DIR" else complete_name
    if metavar in ("TASK", "HOW", "TEXT"):
        completer = complete_task if metavar == "TASK" else None
    return click.option(
        option, *parameter, callback=name_callback, metavar=metavar, help=said,
        shell_complete=completer, **settings,
    )  # fmt: skip


def count_option(
    option: str, said: str, *, within: click.ParamType[int] = COUNT, **settings: Any
) -> Option[F]:
    """An option whose value is a whole number."""
    return click.option(option, type=within, metavar="N", help=said, **settings)


config_option = click.option(
    "--config", "config_file", metavar="FILE", shell_complete=complete_file,
    help="Configuration file, instead of ./mixtura.toml or your user's.",
)  # fmt: skip
"""For a command that reads the configuration."""
keep_option = click.option(
    "--keep/--no-keep", default=None, help="Record the run for `mixtura runs`, or not."
)
"""For a command whose runs are recorded."""
deadline_option = click.option(
    "--deadline", type=POSITIVE_SECONDS, metavar="SECONDS", help="Time limit for each answer."
)
_cache_option = click.option(
    "--cache/--no-cache", default=None,
    help="Reuse stored answers to the same request, or ask again.",
)  # fmt: skip
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show the calls and their maximum cost, and send nothing."
)


def max_cost_option(said: str) -> Option[F]:
    """``--max-cost``; *said*: the limit of what."""
    return click.option("--max-cost", type=DOLLARS, metavar="DOLLARS", help=said)


cap_options = combine_options(
    max_cost_option("Cost limit: a call that could exceed it is not made."),
    deadline_option,
    _cache_option,
)
"""For a command that calls models."""
evaluation_cap_options = combine_options(
    max_cost_option("Cost limit of the whole evaluation, earlier runs of it included."),
    deadline_option,
    _cache_option,
)
batch_cap_options = combine_options(
    max_cost_option("Cost limit of the whole batch, earlier runs of it included."),
    deadline_option,  # its journal takes the place of the cache
)
run_options = combine_options(keep_option, cap_options, config_option)
"""For a command that asks a mixture and records the run."""


def read_config(
    file: str | None,
    *,
    cache: bool | None = None,
    keep: bool | None = None,
    keep_answers: AnswerKeeper | None = None,
    waits_for_all: bool = False,
) -> Config:
    """
    The configuration for this process's folder and environment; *keep_answers* takes the place
    of the cache; *waits_for_all* as `load` has it. Raises ConfigError.
    """
    config = load(
        file, environ=os.environ, folder=Path.cwd(), cache=cache, keep=keep,
        keep_answers=keep_answers, waits_for_all=waits_for_all,
    )  # fmt: skip
    used = find_config_file(file, environ=os.environ, folder=Path.cwd())
    _log.info("configuration: %s", used or "no file; built-in mixtures only")
    _log.info("store: %s", config.store.name)
    config.runs.notice = _print_warning
    config.responses.notice = _print_warning
    return config


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The `run_options` as they were typed; None where one was not."""

    keep: bool | None
    max_cost: float | None
    deadline: float | None
    cache: bool | None
    config_file: str | None

    def read_config(self) -> Config:
        """The configuration for this process. Raises ConfigError."""
        return read_config(self.config_file, cache=self.cache, keep=self.keep)


def _print_warning(text: str) -> None:
    from mixtura.terminal import print_line

    print_line(create_console(stderr=True), text, "yellow")


def text_callback(ctx: click.Context, param: click.Parameter, value: TypedText) -> TypedText:
    """A text as a person typed it, for click. Raises click.BadParameter for what is no text."""
    try:
        if isinstance(value, tuple):
            return tuple(map(decode_utf8, value))
        return None if value is None else decode_utf8(value)
    except UnicodeError:
        raise click.BadParameter("that is not text (UTF-8).", ctx, param) from None


def name_callback(ctx: click.Context, param: click.Parameter, value: TypedText) -> TypedText:
    """The name of a model or a mixture, for click. Raises click.BadParameter for an empty one."""
    names = value if isinstance(value, tuple) else () if value is None else (value,)
    if not all(name.strip() for name in names):
        raise click.BadParameter("a name cannot be empty.", ctx, param)
    return text_callback(ctx, param, value)


def decode_utf8(word: str) -> str:
    """An argument whose bytes were text, whatever the locale. Raises UnicodeError."""
    if word.isascii():
        return word
    try:
        word.encode()
    except UnicodeEncodeError:  # bytes that the locale could not read
        return os.fsencode(word).decode()
    return word


@contextmanager
def require_extra(extra: str, what: str) -> Generator[None]:
    """In this block *what* imports the packages of *extra*.

    Raises ConfigError, with the command that installs them, where one is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        # A module of ours that is missing is a bug, and needs its traceback.
        if error.name is None or error.name.startswith("mixtura"):
            raise
        missing = error.name.partition(".")[0]
        raise ConfigError(missing_package_text(what, missing, extra)) from None


def echo_json(data: object, *, indent: int | None = None) -> None:
    """JSON on standard output: readable, and nothing in it that steers a terminal."""
    # Escaped where the output has another encoding: all of JSON can be said in ASCII.
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    whole = json.dumps(process_redactor().redact_data(data), ensure_ascii=False, indent=indent)
    click.echo(escape_json(whole, ascii_only=encoding != "utf8"))


def create_console(*, stderr: bool = False) -> Console:
    """
    A console that shows a text as it is; *stderr*: on standard error.

    In a pipe it is wide enough for what we print, unless someone set a width.
    """
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if made.is_dumb_terminal:  # rich takes every one for 80 columns wide
        made.width, made.height = shutil.get_terminal_size()
    # Wide enough for our widest table; a log has no width that lines could break at.
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = 110
    return made


# ---- the embedded model

EMBEDDED_NOTE = (
    "it shows how Mixtura works; do not rely on what it says. Better answers: mixtura pull starter"
)


def embedded_note(config: Config, plan: MixtureSpec, *, chosen: bool) -> str | None:
    """
    What is to be known before the embedded model answers; None where another one does.

    *chosen*: we chose it, and say why.
    """
    if not any(is_embedded(config, name) for name in plan.answering_models):
        return None
    if chosen:
        why = config.registry.auto_defaults().why
        return f"{why[0].upper()}{why[1:]}, so a very small model answers: {EMBEDDED_NOTE}"
    return f"{EMBEDDED_MODEL} is a very small model: {EMBEDDED_NOTE}"


def download_embedded(config: Config, plan: MixtureSpec) -> None:
    """The embedded model comes by itself; others are only downloaded when asked for.

    Raises ConfigError for whatever else is wrong with the plan, before so much is fetched.
    """
    members = list(needed_models(config, plan))
    if not any(is_embedded(config, name) for _, _, name in members):
        return
    if downloads.cached_path(EMBEDDED_MODEL, config.models_folder) is not None:
        return
    for where, path, name in members:
        if not is_embedded(config, name):
            _check_buildable(config, where, path, name)
    from mixtura.cli.downloads import download_each

    model = local_models.known_models()[EMBEDDED_MODEL]
    check_disk_space([model], config.models_folder)
    console = create_console(stderr=True)
    size = format_bytes(bytes_to_download(model, config.models_folder))
    console.print(f"Downloading {EMBEDDED_MODEL} ({size}, once) …", soft_wrap=True)
    for _ in download_each([model], config.models_folder, console):
        pass


def needed_models(
    config: Config, plan: MixtureSpec
) -> Iterator[tuple[MixtureSpec, tuple[Key, ...], str]]:
    """Every model that a plan needs, those of mixtures inside it too, and where it is named."""
    for name, path in plan.member_locations():
        if name in config.registry.mixtures or name == AUTO:
            yield from needed_models(config, config.mixture_spec(name))
        else:
            yield plan, path, name


def is_embedded(config: Config, name: str) -> bool:
    """Whether *name* is the small model that comes along, by its own name or by a table's."""
    table = config.registry.model_tables().get(name)
    if table is None:
        return name == EMBEDDED_MODEL
    return not (table.provider or table.base_url) and (table.model or name) == EMBEDDED_MODEL


def _check_buildable(config: Config, plan: MixtureSpec, path: tuple[Key, ...], name: str) -> None:
    """Raises ConfigError when a member cannot be made."""
    with plan.add_location(path):
        config.model(name)


def engine_options(engine_help: str) -> Callable[[F], F]:
    """``--engine`` and ``--address`` for a command that can run on a Ray cluster."""

    def add_options(function: F) -> F:
        address = click.option(
            "--address", metavar="ADDRESS", callback=name_callback,
            help="Ray cluster, as HOST:PORT or auto; by default one is started on this machine.",
        )  # fmt: skip
        engine = click.option(
            "--engine", type=click.Choice(("local", "ray")), default="local", metavar="ENGINE",
            show_default=True, help=engine_help,
        )  # fmt: skip
        return engine(address(function))

    return add_options
