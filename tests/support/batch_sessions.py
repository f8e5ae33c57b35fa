"""A batch without a command line: a mixture of models in this process, a folder, an outcome."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mixtura import Mixture
from mixtura.batch.call_journal import CallJournal
from mixtura.batch.input_rows import BatchInput
from mixtura.batch.journaled import Journaled
from mixtura.batch.journaled_models import JournaledModels
from mixtura.batch.outcome import BatchOutcome
from mixtura.batch.part_file import BatchFiles
from mixtura.batch.prompt_form import PromptForm
from mixtura.batch.records import Source
from mixtura.batch.resume import find_resume_point
from mixtura.batch.row_lines import RowLines
from mixtura.batch.session import BatchSession
from mixtura.core.call_ledger import record_charge
from mixtura.core.errors import UnavailableError
from mixtura.core.events import Emit
from mixtura.core.roles import Aggregator, Layer, Proposer
from mixtura.core.types import Charge, Completion, Message, Request, Usage


def price(model: str, usage: Usage) -> float:
    return 1.0


@dataclass
class CountedModel:
    """Writes down in *asked* who is asked what; the first so many calls fail."""

    name: str
    asked: list[tuple[str, str]]
    failures: int = 0
    reached: Callable[[], object] = lambda: None
    info: None = None

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        self.reached()
        self.asked.append((self.name, request.messages[-1].text))
        charge = Charge(self.name, Usage(10, 10))
        record_charge(charge)
        if self.failures:
            self.failures -= 1
            raise UnavailableError("down")
        return Completion(Message("assistant", self.name), self.name, charges=(charge,))


@dataclass
class BatchFolder:
    """Batches in one folder: two proposers that are both needed, and an aggregator."""

    folder: Path
    output: str = "out.jsonl"
    journal: str = "out.jsonl.journal"
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def files(self) -> BatchFiles:
        return BatchFiles(self.folder / self.output, self.folder / self.journal)

    @property
    def source(self) -> Path:
        return self.folder / "in.jsonl"

    def write_prompts(self, prompts: Sequence[str]) -> None:
        self.source.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in prompts))

    def run(
        self,
        *,
        failures: int = 0,
        command: str = "A",
        drains: bool = False,
        retry_failed: bool = False,
        called_off: bool = False,
        begun: Callable[[], object] = lambda: None,
        reached: Callable[[], object] = lambda: None,
    ) -> BatchOutcome:
        """
        Run it. *failures*: of one proposer; *drains*: interrupted at once; *called_off*: before
        it began, as while workers start; *begun* is called once
        the input is checked, *reached* whenever a model is asked.
        """
        calls = CallJournal(self.files.journal, price)
        try:

            def journaled(name: str, fails: int = 0) -> Journaled:
                model = CountedModel(name, self.asked, fails, reached)
                return Journaled(model, calls, identity=name)

            layer = Layer((Proposer(journaled("a")), Proposer(journaled("b", failures))), quorum=2)
            model = Mixture(layers=(layer,), aggregator=Aggregator(journaled("last")), name="team")
            models = JournaledModels(4)
            models.calls = calls
            rows = BatchInput(Source(str(self.source), "in.jsonl", "jsonl"), PromptForm())
            start = find_resume_point(
                calls, rows, self.files, {"-m": command}, retry_failed=retry_failed
            )
            session = BatchSession(
                model, models, calls, rows, self.files, RowLines(price), start,
                retries_all=retry_failed,
            )  # fmt: skip

            async def run() -> BatchOutcome:
                if start.finished and not (retry_failed and start.failed):
                    return session.describe_finished()
                if called_off:
                    return await session.describe_interrupted()
                if drains:
                    session.drain()
                begun()
                return await session.run()

            return asyncio.run(run())
        finally:
            calls.close()
