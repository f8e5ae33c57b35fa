"""TOML and environment to Mixture; unknown keys are errors."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from mixtura import catalog, hub, patterned, serving, toml
from mixtura.budget import DayPurse, Pocket, Purse
from mixtura.credentials import looks_like_key, of_settings, of_url
from mixtura.errors import ConfigError
from mixtura.folders import find, models_folder, state_folder
from mixtura.mixture import Mixture
from mixtura.mixture_tables import Path_, check_quorum, read_plan, with_auto
from mixtura.model import Model
from mixtura.models.budgeted import Budgeted
from mixtura.models.deadlined import Deadlined, hurried
from mixtura.models.fake import echo
from mixtura.patterns import Sequential
from mixtura.plan import (
    AUTO,
    AUTO_TEAM,
    EMBEDDED,
    MARKS,
    Auto,
    Environment,
    Plan,
    Seated,
    automatic,
    check_name,
    seated,
    written,
)
from mixtura.price import FREE, Price
from mixtura.quantities import DOLLARS, POSITIVE_SECONDS
from mixtura.record import secret_values
from mixtura.redaction import Redactor, remember
from mixtura.response_book import ResponseBook
from mixtura.roles import Composite, Layer, Proposer
from mixtura.run_book import RunBook
from mixtura.schema import (
    BudgetTable,
    CacheTable,
    File,
    MixtureTable,
    ModelTable,
    RunsTable,
    ServeTable,
)
from mixtura.store import DAY, AnswerCache, DayBook, Store
from mixtura.turns import Turns
from mixtura.types import Usage
from mixtura.workshop import Endpoint, Workshop, check, ollama_models

__all__ = [
    "EMBEDDED", "Auto", "Config", "Plan", "Seated", "automatic", "find", "load", "models_folder",
    "seated",
]  # fmt: skip


T = TypeVar("T")
PRESETS = "the presets"
"""What errors call the mixtures that come with the package."""


Member = Callable[[Plan, Path_, str], Model]
"""Makes the model that sits at a place of a plan."""


class Place(NamedTuple):
    """Where a hosted model is served, and as what."""

    endpoint: Endpoint
    model: str
    """What the endpoint calls it."""
    headers: Mapping[str, str] = {}


class Config:
    """Everything that was configured; makes models and mixtures by name."""

    def __init__(
        self,
        documents: Sequence[toml.Document],
        *,
        environ: Environment,
        models_folder: Path,
        store_folder: Path,
        cache: bool | None = None,
        keep: bool | None = None,
    ) -> None:
        self._environ = environ
        self._cache = CacheTable(use=False)
        self._runs = RunsTable()
        self._budget = BudgetTable()
        self.serve = ServeTable()
        self._store_path = store_folder / "mixtura.sqlite"
        self.models_folder = models_folder
        self._models: dict[str, tuple[toml.Document, ModelTable]] = {}
        self._plans: dict[str, Plan] = {}
        self._built: dict[str, Model] = {}
        self._mixtures: dict[str, tuple[Plan, Composite]] = {}
        self._building: list[str] = []
        self._auto: Auto | None = None
        self.default = "default"
        self.redactor = Redactor(self.secrets())
        for document in documents:
            self._read(document)
        self.store = Store(self._store_path)
        use = self._cache.use if cache is None else cache
        answers = AnswerCache(
            self.store, age=self._cache.days * DAY, size=int(self._cache.megabytes * 1024**2)
        )
        self.redactor = Redactor(self.secrets())
        """Knows what is never to be shown: keys in the environment, logins, secret headers."""
        remember(self.redactor.values)
        self._workshop = Workshop(environ, models_folder, answers if use else None, self.redactor)
        self.runs = RunBook(  # a connection of its own: threads may wait for it
            Store(self._store_path, patience=5.0),
            keep=self._runs.keep if keep is None else keep,
            days=self._runs.days,
            megabytes=self._runs.megabytes,
            hidden=self.redactor,
        )
        self.responses = self._response_book(keep)

    def _response_book(self, keep: bool | None) -> ResponseBook:
        """Where the server keeps responses; *keep* False: nothing at all is to be kept."""
        table = self.serve.responses
        return ResponseBook(
            Store(self._store_path, patience=5.0),
            keep=self.runs.keeps if table.keep is None or keep is False else table.keep,
            days=table.days,
            megabytes=table.megabytes,
            hidden=self.redactor,
        )

    def _read(self, document: toml.Document) -> None:
        """One file over what was read before: its names take the place of the same names."""
        serving.check_keys(document)
        whole = document.convert([], File)
        for name in whole.models:
            if name in whole.mixtures:
                problem = f"'{name}' is a model here and a mixture: one name, one thing"
                raise document.error(["mixtures", name], problem)
            table = document.convert(["models", name], ModelTable)
            with _told_where(document, "models", name):
                check_name(name)
                check(table)
            self._plans.pop(name, None)
            self._models[name] = (document, table)
        for name in whole.mixtures:
            table = document.convert(["mixtures", name], MixtureTable)
            with _told_where(document, "mixtures", name):
                check_name(name)
            self._models.pop(name, None)
            self._plans[name] = read_plan(name, table, document)
        for name in whole.mixtures:
            self._check(self._plans[name])
        self._cache = whole.cache or self._cache
        self._runs = whole.runs or self._runs
        self._budget = whole.budget or self._budget
        self.serve = whole.serve or self.serve
        if whole.store is not None:
            self._store_path = Path(document.source).parent / Path(whole.store).expanduser()
        if whole.default is not None:
            if not self._means_something(whole.default):
                problem = toml.unknown("mixture or model", whole.default, self.names())
                raise document.error(["default"], f"default: {problem}")
            self.default = whole.default
        serving.check(document, whole, self._unasked, self.variables())

    def _unasked(self, name: str) -> str | None:
        """Why no client of the server could ever ask for a name; None when one can."""
        if name in self._models or name in self._plans:
            return None
        if name == AUTO_TEAM:
            return f"'{AUTO_TEAM}' is several models: write '{AUTO}' for one"
        try:
            if plan := written(name):
                self._check(plan)
                return None
        except ConfigError as error:
            return str(error)
        if self.is_path(name):
            return f"'{name}' is a file: give it a name under [models]"
        return None if self._means_something(name) else self._unknown(name)

    def _check(self, plan: Plan) -> None:
        """Every name in a mixture means something. Raises ConfigError with its line."""
        for name, path in plan.named():
            if not self._means_something(name):
                raise plan.error(path, f"{_part(path)}: {self._unknown(name)}")
            if name == AUTO_TEAM and _part(path) != "layers":
                said = f"{_part(path)}: '{AUTO_TEAM}' is several models: write '{AUTO}' for one"
                raise plan.error(path, said)
        for layer in plan.layers:
            for seat in layer:
                if seat.model == AUTO_TEAM and seat != Seated(AUTO_TEAM):
                    said = f"layers: '{AUTO_TEAM}' stands alone, without a number or settings"
                    raise plan.error(seat.path, said)
        self._no_circle(plan, (plan.name,))

    def _unknown(self, name: str) -> str:
        """What is said of a name that means nothing."""
        if looks_like_key(name) or self.redactor.text(name) != name:
            return "a key or a login is no model's name: keys belong into the environment"
        provider, slash, model = name.partition("/")
        if slash and provider in catalog.providers():
            said = f"'{name}': one model stands here, and no name holds any of {' '.join(MARKS)}"
        elif slash:
            near = difflib.get_close_matches(provider, catalog.providers(), n=1)
            if near:
                return f"unknown model '{name}': did you mean '{near[0]}/{model}'?"
            said = f"'{name}': {toml.unknown('provider', provider, catalog.providers())}"
        else:
            said = toml.unknown("model", name, self.names())
        return f"{said}{'' if said.endswith('?') else '.'} {_HOW_TO_NAME}"

    def _no_circle(self, plan: Plan, above: tuple[str, ...]) -> None:
        for name, path in plan.named():
            if name in above:
                circle = " in ".join((name, *reversed(above)))
                said = f"{_part(path)}: a mixture cannot be a member of itself: {circle}"
                raise plan.error(path, said)
            if name in self._plans:
                self._no_circle(self._plans[name], (*above, name))

    def _means_something(self, name: str) -> bool:
        return not looks_like_key(name) and (
            name in self._models
            or name in self._plans
            or name in (AUTO, AUTO_TEAM)
            or name in hub.known()
            or name.lower().endswith(".gguf")
            or (catalog.split(name) is not None and not any(mark in name for mark in MARKS))
        )

    # ---- what there is

    def names(self) -> list[str]:
        """What a person may call: their own models and mixtures, the presets, local models."""
        return [*self._models, *self._plans, *hub.known()]

    def mixtures(self) -> Mapping[str, Plan]:
        return self._plans

    def configured_models(self) -> Sequence[str]:
        return list(self._models)

    def tables(self) -> Mapping[str, ModelTable]:
        """What the files say of their models."""
        return {name: table for name, (_, table) in self._models.items()}

    def said(self, name: str) -> Mapping[str, object] | None:
        """A model's table as it stands in its file."""
        return self._models[name][0].data["models"][name] if name in self._models else None

    def variables(self) -> list[str]:
        """The names of the variables that a key may stand in."""
        known = [key for provider in catalog.providers().values() for key in provider.keys]
        own = [t.api_key_env for t in self.tables().values() if t.api_key_env]
        return list(dict.fromkeys([*known, *own]))

    def secrets(self) -> set[str]:
        """What is never to be shown: what the environment and the models' tables hold of it."""
        tables = self.tables().values()
        found = secret_values(self._environ, self.variables(), (t.headers for t in tables))
        for table in tables:
            found |= of_url(table.base_url or "") | of_settings(table.extra)
        return found

    def auto(self) -> Auto:
        """What `auto` stands for here, and why."""
        if self._auto is None:
            starter = hub.groups()["starter"]
            pulled = [name for name in starter if hub.cached(name, self.models_folder)]
            self._auto = automatic(self._environ, ollama_models(self._environ), pulled)
        return self._auto

    def is_path(self, name: str) -> bool:
        """Whether *name* is a file on this machine and nothing that is configured or served."""
        known = name in self._models or name in self._plans or catalog.split(name) is not None
        return ".gguf" in name.lower() and not known

    def knows(self, name: str) -> bool:
        """Whether *name* is a mixture or a model."""
        return self._means_something(name) or written(name) is not None

    def plan(self, name: str) -> Plan:
        """A mixture by name, `auto` filled in; a model's name is a mixture of one layer."""
        if name in self._plans:
            return self._filled(self._plans[name])
        if name == AUTO:
            auto = self.auto()
            return Plan(name, (), auto.aggregator, answer=auto.answer)
        if name == AUTO_TEAM:
            raise ConfigError(f"'{AUTO_TEAM}' is several models, for the layers of a mixture")
        if plan := written(name):
            self._check(plan)
            return self._filled(plan)
        if self._means_something(name):
            return Plan(name, (), name)
        raise ConfigError(self._unknown(name))

    def _filled(self, plan: Plan) -> Plan:
        if not plan.members() & {AUTO, AUTO_TEAM}:
            return plan
        auto = self.auto()
        layers = tuple(with_auto(layer, auto) for layer in plan.layers)
        aggregator = auto.aggregator if plan.aggregator == AUTO else plan.aggregator
        fallbacks = tuple(auto.aggregator if n == AUTO else n for n in plan.fallbacks)
        answer = plan.answer.over(auto.answer) if plan.aggregator == AUTO else plan.answer
        filled = replace(
            plan, layers=layers, aggregator=aggregator, fallbacks=fallbacks, answer=answer
        )
        check_quorum(filled)
        return filled

    def calls(self, plan: Plan) -> int:
        """Model calls of one answer when nothing fails, mixtures inside it included."""
        return self.outline(plan).calls

    # ---- building

    def mixture(self, plan: Plan) -> Composite:
        """
        Models for a plan's names, the same object each time for the same plan.

        Raises ConfigError before any call is made.
        """
        made_of, mixture = self._mixtures.get(plan.name, (None, None))
        if mixture is None or made_of is not plan:
            mixture = self._assembled(plan, self._member)
            _put(self._mixtures, plan.name, (plan, mixture))
        return mixture

    def outline(self, plan: Plan) -> Composite:
        """The same mixture of mere names, for counting: it needs no key and asks no one."""

        def named(_plan: Plan, _path: Path_, name: str) -> Model:
            nested = name in self._plans
            return self.outline(self.plan(name)) if nested else echo(name)

        return self._assembled(plan, named)

    def _assembled(self, plan: Plan, member: Member) -> Composite:
        layers = tuple(self._layer(plan, layer, member) for layer in plan.layers)
        fallbacks = tuple(
            member(plan, ("fallbacks", i), name) for i, name in enumerate(plan.fallbacks)
        )
        last = None if plan.voted else member(plan, plan.last, plan.aggregator)
        return patterned.built(plan, layers, last, fallbacks)

    def runnable(
        self,
        plan: Plan,
        *,
        max_cost: float | None = None,
        deadline: float | None = None,
        purses: Sequence[Purse] = (),
        turns: Turns | None = None,
    ) -> Model:
        """
        The mixture under the caps that are configured, under those of *purses*, and under
        *max_cost* dollars and *deadline* seconds for each run. *turns*: see ``Mixture``.
        Raises ConfigError for what is no sum of money or no time.
        """
        check_caps(max_cost, deadline)
        mixture = self.mixture(plan)
        if isinstance(mixture, Mixture | Sequential):
            mixture = replace(mixture, turns=turns)
        if deadline is not None:
            mixture = hurried(mixture, deadline)
        table = self._budget
        run_usd = table.run_usd if max_cost is None else max_cost
        days = [*self._day_purses(plan), *purses]
        model: Model = mixture
        if run_usd is not None or table.run_tokens is not None or days:

            def all_purses() -> list[Purse]:
                return [Pocket("this run", run_usd, table.run_tokens), *days]

            model = Budgeted(mixture, all_purses, self.price, at_the_cap=table.at_the_cap)
        return model if deadline is None else Deadlined(model, deadline)

    def _day_purses(self, plan: Plan) -> list[Purse]:
        """The day's purse, and those of the keys that the plan's models use."""
        table = self._budget
        purses: list[Purse] = []
        if table.day_usd is not None or table.day_tokens is not None:
            book = DayBook(self.store, "day")
            purses.append(DayPurse("the day", book, table.day_usd, table.day_tokens))
        used = self._keys_of(plan) if table.keys else ()
        for variable, caps in table.keys.items():
            if variable in used:
                book = DayBook(self.store, f"key {variable}")
                name = f"{variable} for the day"
                purses.append(DayPurse(name, book, caps.day_usd, caps.day_tokens))
        return purses

    def _keys_of(self, plan: Plan) -> set[str]:
        """The environment variables whose keys a plan's models are asked with."""
        keys: set[str] = set()
        for name in plan.members():
            if name in self._plans:
                keys |= self._keys_of(self.plan(name))
            else:
                keys |= self._key_of(name)
        return keys

    def _key_of(self, name: str) -> set[str]:
        table = self._models[name][1] if name in self._models else None
        if table is not None and table.hedge and table.hedge.elsewhere not in (None, name):
            plain = msgspec.structs.replace(table, hedge=None)
            return self._key_in(name, plain) | self._key_of(table.hedge.elsewhere or "")
        return self._key_in(name, table)

    def _key_in(self, name: str, table: ModelTable | None) -> set[str]:
        if table is not None and table.api_key_env:
            return {table.api_key_env}
        provider = table.provider if table is not None else (catalog.split(name) or (None,))[0]
        known = catalog.providers().get(provider or "")
        return {next((k for k in known.keys if self._environ.get(k)), "")} if known else set()

    def _layer(
        self,
        plan: Plan,
        seats: Sequence[Seated],
        member: Member,
    ) -> Layer:
        proposers = tuple(
            Proposer(
                member(plan, seat.path, seat.model),
                seat.sampling.over(plan.sampling),
                seat.samples,
                seat.persona,
            )
            for seat in seats
        )
        return Layer(proposers, plan.quorum, plan.patience, plan.deadline)

    def _member(self, plan: Plan, path: Path_, name: str) -> Model:
        try:
            return self.model(name)
        except ConfigError as error:
            if error.located:
                raise
            raise plan.error(path, str(error)) from None

    def model(self, name: str) -> Model:
        """A Model by name, the same object each time."""
        if name not in self._built:
            _put(self._built, name, self._make(name))
        return self._built[name]

    def _make(self, name: str) -> Model:
        if name in self._models:
            document, table = self._models[name]
            return self._from_table(name, table, document)
        if name in self._plans or name == AUTO:
            return self.mixture(self.plan(name))
        if found := catalog.split(name):
            provider, model = found
            return self._workshop.hosted(name, ModelTable(model=model, provider=provider))
        return self._workshop.local(name, name, ModelTable())

    def _from_table(self, name: str, table: ModelTable, document: toml.Document) -> Model:
        with _told_where(document, "models", name):
            if table.provider is None and table.base_url is None:
                return self._workshop.local(name, table.model or name, table)
            elsewhere = table.hedge.elsewhere if table.hedge else None
            if elsewhere in self._building:
                said = f"hedge: {elsewhere} is asked in place of itself: name another model"
                raise ConfigError(said, key="hedge")
            self._building.append(name)
            try:
                other = self.model(elsewhere) if elsewhere and elsewhere != name else None
            finally:
                self._building.remove(name)
            return self._workshop.hosted(name, table, other)

    def place(self, name: str) -> Place | None:
        """Where a model by name is served over HTTP; None where it is not, or no key is there."""
        table = self._models[name][1] if name in self._models else None
        if table is None and (found := catalog.split(name)):
            table = ModelTable(provider=found[0], model=found[1])
        hosted = table is not None and (table.provider is not None or table.base_url is not None)
        if table is None or not hosted or catalog.bridged(table.provider):
            return None
        try:
            endpoint = self._workshop.endpoint(table)
        except ConfigError:
            return None
        return Place(endpoint, endpoint.called(table.model or ""), table.headers)

    def price(self, name: str, usage: Usage) -> float | None:
        """Dollars for *usage* of the model called *name*; None where no one knows."""
        if name in self._models:
            table = self._models[name][1]
            if table.price is not None:
                given = table.price
                return Price(
                    input=given.input,
                    output=given.output,
                    cached=given.cached,
                    cache_write=given.cache_write,
                )(usage)
            if table.provider is not None:
                return catalog.price(table.provider, table.model or "", usage)
            if table.base_url is not None:
                return None
            return FREE(usage)
        if found := catalog.split(name):
            return catalog.price(*found, usage)
        return FREE(usage) if name in hub.known() or name.lower().endswith(".gguf") else None


def check_caps(max_cost: float | None, deadline: float | None) -> None:
    """Raises ConfigError for dollars or seconds that are negative, endless or no number."""
    try:
        DOLLARS.checked("max_cost", max_cost)
        POSITIVE_SECONDS.checked("deadline", deadline)
    except ValueError as error:
        raise ConfigError(str(error)) from None


MOST_BUILT = 1000
"""Models, and mixtures, that are kept for the next call: clients may name any number."""


def _put(table: dict[str, T], name: str, made: T) -> None:
    if len(table) >= MOST_BUILT:
        del table[next(iter(table))]
    table[name] = made


@contextmanager
def _told_where(document: toml.Document, kind: str, name: str) -> Generator[None, None, None]:
    """What is wrong with a model or a mixture gains its file and its line."""
    try:
        yield
    except ConfigError as error:
        if error.located:
            raise
        path = [kind, name, *([error.key] if error.key else [])]
        raise document.error(path, f"{kind}.{name}: {error}") from None


def _part(path: Path_) -> toml.Key:
    """The part of a mixture that a place is in; a proposer written in a name has no place."""
    return path[0] if path else "layers"


_HOW_TO_NAME = (
    "A model goes by its own name, as `provider/model`, such as openai/gpt-5.4, or by the path of a"
    " .gguf file."
)


def load(
    file: str | None,
    *,
    environ: Environment,
    folder: Path,
    home: Path | None = None,
    cache: bool | None = None,
    keep: bool | None = None,
) -> Config:
    """
    The presets, and the user's file over them.

    *file*, else ``MIXTURA_CONFIG``, else ``mixtura.toml`` in *folder*, else the one in the
    user's configuration folder. *cache*, *keep*: whether answers, and runs, are kept, whatever
    the file says.
    Raises ConfigError with the file and the line.
    """
    shipped = (resources.files("mixtura") / "presets" / "mixtures.toml").read_text("utf-8")
    documents = [toml.Document(shipped, PRESETS)]
    if path := find(file, environ=environ, folder=folder, home=home):
        documents.append(toml.Document(_text(path), str(path)))
    return Config(
        documents,
        environ=environ,
        models_folder=models_folder(environ, home),
        store_folder=state_folder(environ, home),
        cache=cache,
        keep=keep,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
