"""What may stand in a configuration file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from mixtura.catalog.user_files import expand_home
from mixtura.core.quantities import (
    AnswerTokens,
    Dollars,
    PositiveSeconds,
    PositiveSize,
    Seconds,
    Seed,
    Size,
    Temperature,
)
from mixtura.core.types import Sampling
from mixtura.transport.timeouts import CallTimeouts

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class TimeoutsTable(msgspec.Struct, forbid_unknown_fields=True):
    """Seconds; what is not said depends on the model, see ``providers.default_timeouts``."""

    connect: Seconds | msgspec.UnsetType = msgspec.UNSET
    first_token: Seconds | msgspec.UnsetType = msgspec.UNSET
    progress: Seconds | msgspec.UnsetType = msgspec.UNSET
    load: Seconds | msgspec.UnsetType = msgspec.UNSET
    """Of a local model only: reading its file."""
    total: Seconds | msgspec.UnsetType = msgspec.UNSET

    def with_defaults(self, timeouts: CallTimeouts) -> CallTimeouts:
        """These where they say something, *timeouts* elsewhere."""
        said = msgspec.structs.asdict(self).items()
        return replace(
            timeouts,
            **{key: value for key, value in said if key != "load" and value is not msgspec.UNSET},
        )

    def explicit_seconds(self, key: str) -> float | None:
        """What is said of one clock; None where nothing is."""
        value = getattr(self, key)
        return None if value is msgspec.UNSET else value


class LimitsTable(msgspec.Struct, forbid_unknown_fields=True):
    concurrency: AtLeastOne | None = None
    requests_per_minute: AtLeastOne | None = None
    tokens_per_minute: AtLeastOne | None = None
    one_model: bool = False


class HedgeTable(msgspec.Struct, forbid_unknown_fields=True):
    """A second copy when the first token is late."""

    elsewhere: str | None = None
    share: Share = 0.05
    quantile: Share = 0.95
    after: Seconds | None = 10.0


class PriceTable(msgspec.Struct, forbid_unknown_fields=True):
    """Dollars per million tokens."""

    input: Dollars
    output: Dollars
    cached: Dollars | None = None
    cache_write: Dollars | None = None


class SamplingTable(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    temperature: Temperature | None = None
    top_p: Share | None = None
    max_tokens: AnswerTokens | None = None
    stop: tuple[str, ...] | None = None
    seed: Seed | None = None

    def to_sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_tokens, self.stop, self.seed)


class RedactTable(msgspec.Struct, forbid_unknown_fields=True):
    """What a model is not shown: placeholders stand for it, and are put back in the answer."""

    kinds: tuple[Literal["email", "phone", "iban", "card", "ip", "key"], ...] | None = None
    """Those that patterns of ours find; None: all."""
    patterns: str | None = None
    """A TOML file of further patterns."""
    words: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    """Countries whose phone numbers are found as people there write them."""
    recognizers: tuple[str, ...] = ()
    """Names of entry points of other packages that find names and the like."""
    pictures: bool = False
    """Whether pictures, sounds and files are sent all the same."""


def find_redact_files(said: bool | RedactTable | None, folder: Path) -> bool | RedactTable | None:
    """The same, with the pattern file beside the configuration where its path is relative."""
    if not isinstance(said, RedactTable) or said.patterns is None:
        return said
    return msgspec.structs.replace(said, patterns=str(folder / expand_home(said.patterns)))


class ModelTable(msgspec.Struct, forbid_unknown_fields=True):
    model: str | None = None
    provider: str | None = None
    base_url: str | None = None
    command: tuple[str, ...] | None = None
    """A program and its arguments: it reads a prompt and writes an answer."""
    environment: tuple[str, ...] = ()
    """Further variables that the program sees."""
    api_key_env: str | None = None
    timeouts: TimeoutsTable = msgspec.field(default_factory=TimeoutsTable)
    limits: LimitsTable = msgspec.field(default_factory=LimitsTable)
    hedge: HedgeTable | None = None
    price: PriceTable | None = None
    window: AtLeastOne | None = None
    vision: bool | None = None
    retries: Annotated[int, msgspec.Meta(ge=0)] = 2
    largest_megabytes: PositiveSize = 64.0
    """Of an answer on the wire."""
    headers: dict[str, str] = {}
    extra: dict[str, object] = {}
    transport: str | None = None
    """The HTTP client that asks it; None for the file's `transport`."""
    client_certificate: str | None = None
    client_key: str | None = None
    redact: bool | RedactTable | None = None
    """What it is not shown of its requests; None: what the file says of all members."""
    search: bool | Literal["provider", "mcp"] = False
    """Whether it may search the web, and by which means; true: its provider's, else ours."""
    context: AtLeastOne = 16384
    threads: AtLeastOne | None = None


class SearchToolTable(msgspec.Struct, forbid_unknown_fields=True):
    """A server of the Model Context Protocol that searches the web for members."""

    mcp: str | tuple[str, ...]
    """Its address, or the program that is it."""
    tool: str | None = None
    """The tool's name; None: the one with `search` in it."""
    environment: tuple[str, ...] = ()
    """Variables that the program sees: its key, say."""
    headers_env: str | None = None
    """The variable that holds headers for an address: ``Authorization=Bearer …``."""
    price: Dollars | None = None
    """Dollars of a thousand searches."""
    rounds: AtLeastOne = 3
    seconds: PositiveSeconds = 30.0


class ToolsTable(msgspec.Struct, forbid_unknown_fields=True):
    """Tools that members may be given."""

    search: SearchToolTable | None = None


class ProposerTable(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    model: str
    samples: int = 1
    persona: str | None = None
    variants: bool | tuple[str, ...] = False
    """Instructions that its draws take in turn; true for those that come along."""
    sampling: SamplingTable = msgspec.field(default_factory=SamplingTable)


class AggregatorTable(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    model: str
    persona: str | None = None
    sampling: SamplingTable = msgspec.field(default_factory=SamplingTable)


class MixtureTable(msgspec.Struct, forbid_unknown_fields=True):
    """What every mixture may say; `pattern_settings.table_type` adds the keys of its pattern."""

    layers: list[list[str | ProposerTable]]
    pattern: str = "mixture"
    quorum: int = 1
    patience: Seconds | Literal["learned", "unlimited"] | None = None
    deadline: Seconds | None = None
    synthesis: str = "envelope"
    length: AtLeastOne | Literal["longest"] | None = None
    """The most words of a synthesis: a number, or those of the longest proposal."""
    sampling: SamplingTable = msgspec.field(default_factory=SamplingTable)


class CacheTable(msgspec.Struct, forbid_unknown_fields=True):
    """Answers kept, so that the same request is not paid for twice."""

    use: bool = True
    days: Size = 30.0
    megabytes: Size = 256.0


class AgreementTable(msgspec.Struct, forbid_unknown_fields=True):
    """The report of where the proposals agree, where one is asked for."""

    model: str | None = None
    """Who writes it; None: who writes the mixture's answer."""


class RunsTable(msgspec.Struct, forbid_unknown_fields=True):
    """Runs recorded, so that a person can look at them again."""

    keep: bool = True
    days: Size = 30.0
    megabytes: Size = 512.0


class DailyCapTable(msgspec.Struct, forbid_unknown_fields=True):
    day_usd: Dollars | None = None
    day_tokens: AtLeastOne | None = None


class BudgetTable(msgspec.Struct, forbid_unknown_fields=True):
    """Caps: of one run, of a day, of a day with one key (by its variable's name)."""

    run_usd: Dollars | None = None
    run_tokens: AtLeastOne | None = None
    day_usd: Dollars | None = None
    day_tokens: AtLeastOne | None = None
    at_the_cap: Literal["refuse", "degrade"] = "refuse"
    keys: dict[str, DailyCapTable] = {}
    """Caps of a day for one provider's key, by the name of its variable."""


class KeyTable(msgspec.Struct, forbid_unknown_fields=True):
    """A client's key: the hash of it, and what whoever has it may use."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")]
    models: list[str] | None = None
    requests_per_minute: AtLeastOne | None = None
    tokens_per_minute: AtLeastOne | None = None
    day_usd: Dollars | None = None
    day_tokens: AtLeastOne | None = None


class ResponsesTable(msgspec.Struct, forbid_unknown_fields=True):
    """Responses kept, so that a later call can refer to them."""

    keep: bool | None = None
    """Whether that is done; None: where runs are kept."""
    days: Size = 30.0
    megabytes: Size = 512.0


class BatchesTable(msgspec.Struct, forbid_unknown_fields=True):
    """Files that clients upload and batches of them, each limit for one key."""

    keep: bool = True
    """Whether there are any."""
    days: Size = 30.0
    file_megabytes: PositiveSize = 200.0
    megabytes: PositiveSize = 2048.0
    """Of all files together."""
    rows: AtLeastOne = 50_000
    """Of one batch."""
    unfinished: AtLeastOne = 20
    """Batches that are not over."""
    at_once: AtLeastOne = 4
    """Batches of all keys that run; others wait."""
    rows_at_once: AtLeastOne = 32
    """Rows of one batch that are under way."""


class ServeTable(msgspec.Struct, forbid_unknown_fields=True):
    """The server: where it listens, who may come in, how much it takes on."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 6498
    hosts: list[str] = []
    cors: list[str] = []
    keys: dict[str, KeyTable] = {}
    """The clients' keys, by the names that the clients are given here."""
    side: str | None = None
    """The model that answers the small requests of chat front ends, such as titles."""
    consult: Literal["turn", "always"] = "turn"
    """When proposers are asked: once for a user's turn, or again after each tool's result."""
    responses: ResponsesTable = msgspec.field(default_factory=ResponsesTable)
    batches: BatchesTable = msgspec.field(default_factory=BatchesTable)
    at_once: AtLeastOne = 512
    """Runs that go on together."""
    most_calls: AtLeastOne = 256
    waiting: Annotated[int, msgspec.Meta(ge=0)] = 1024
    largest_megabytes: PositiveSize = 32.0
    """Of a request's body."""
    receive_seconds: PositiveSeconds = 30.0
    keep_alive_seconds: PositiveSeconds = 10.0
    drain_seconds: Seconds = 30.0


class McpTable(msgspec.Struct, forbid_unknown_fields=True):
    """The tools of agents: which mixtures they may use; None: all."""

    mixtures: list[str] | None = None


class TelemetryTable(msgspec.Struct, forbid_unknown_fields=True):
    """Where traces and metrics go; OpenTelemetry's own variables count over it."""

    endpoint: str | None = None
    """The collector's address; ``/v1/traces`` and ``/v1/metrics`` are put behind it."""
    traces_endpoint: str | None = None
    """The whole address for traces, where only they are taken."""
    metrics_endpoint: str | None = None
    headers_env: str | None = None
    """The variable that holds headers, as in OTEL_EXPORTER_OTLP_HEADERS."""
    content: bool | None = None
    """Whether texts are part of spans."""
    service_name: str | None = None


class ConfigFile(msgspec.Struct, forbid_unknown_fields=True):
    default: str | None = None
    use_commands: bool | None = None
    """Whether `auto` may use command-line tools, which spend a person's subscription."""
    redact: bool | RedactTable | None = None
    """What members that are not on this machine are not shown."""
    transport: str | None = None
    store: str | None = None
    cache: CacheTable | None = None
    runs: RunsTable | None = None
    agreement: AgreementTable | None = None
    budget: BudgetTable | None = None
    serve: ServeTable | None = None
    mcp: McpTable | None = None
    telemetry: TelemetryTable | None = None
    tools: ToolsTable | None = None
    models: dict[str, object] = {}
    mixtures: dict[str, object] = {}
