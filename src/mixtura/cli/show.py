"""The command mixtura show: a mixture drawn, or a run as it was when it ran."""

from __future__ import annotations

from typing import Any

import click

from mixtura.billing.typical_answer import (
    ANSWER_TOKENS,
    QUESTION_TOKENS,
    VERDICT_TOKENS,
    TypicalAnswer,
    estimate_typical_answer,
    price_calls,
)
from mixtura.catalog.patterns import find_pattern
from mixtura.catalog.user_files import expand_home
from mixtura.cli.common import (
    config_option,
    create_console,
    echo_json,
    max_cost_option,
    name_callback,
    name_option,
    read_config,
)
from mixtura.cli.completed_values import complete_name_or_run
from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.output_file import write_output
from mixtura.cli.run_agreement import add_agreement
from mixtura.cli.runs import find_run
from mixtura.config.config import Config
from mixtura.config.pattern_settings import own_keys
from mixtura.config.plan import AUTO, MixtureSpec
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.patterns.spec import PatternSpec
from mixtura.storage.run_record import Record


@click.command(
    name="show",
    cls=MixturaCommand,
    examples=(
        "mixtura show",
        "mixtura show paper",
        "mixtura show mux --json",
        "mixtura show last --html run.html",
        "mixtura show last --agreement",
    ),
)
@click.argument("name", required=False, callback=name_callback, shell_complete=complete_name_or_run)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@name_option(
    "--html", "FILE", "Write the run as a single HTML file; - for standard output.", "file"
)
@click.option(
    "--agreement",
    is_flag=True,
    help="For a run: print the price of an agreement report, make it (one call) and keep it.",
)
@max_cost_option("Cost limit of the --agreement report: a call that could exceed it is not made.")
@click.option(
    "--dry-run", is_flag=True, help="Show the price of the --agreement report, and send nothing."
)
@click.option("--patterns", is_flag=True, help="List the patterns that `pattern =` may name.")
@config_option
def command(
    name: str | None,
    as_json: bool,
    file: str | None,
    agreement: bool,
    max_cost: float | None,
    dry_run: bool,
    patterns: bool,
    config_file: str | None,
) -> None:
    """Draw a mixture, or show a past run.

    NAME is a mixture or a pattern, or the id of a run, the start of one, or `last`. For a
    mixture it shows the layers, who answers, and what an answer to a typical question takes: calls,
    how many wait for one another, tokens and price; for a pattern the first mixture that has it;
    for a run what every model said. Without NAME, list the mixtures.
    """
    if patterns:
        if name is not None or file is not None:
            raise click.UsageError("--patterns stands alone.")
        _list_patterns(as_json)
        return
    if not agreement and (dry_run or max_cost is not None):
        raise click.UsageError("--max-cost and --dry-run go with --agreement.")
    config = read_config(config_file)
    spec = find_pattern(name) if name is not None else None
    is_mixture = name is not None and config.registry.is_known_name(name)
    if name is None or is_mixture or spec is not None:
        _refuse_options_of_runs(name, file, agreement)
    if name is None:
        _list_mixtures(config, as_json)
    elif is_mixture:
        _show_mixture(config, name, as_json=as_json)
    elif spec is not None:
        _show_pattern(config, spec, as_json=as_json)
    else:
        run = find_run(config, name)
        if agreement:
            run = add_agreement(config, run, max_cost=max_cost, dry_run=dry_run)
        if not dry_run:
            _show_run(run, as_json=as_json, file=file)


def _refuse_options_of_runs(name: str | None, file: str | None, agreement: bool) -> None:
    if file is not None:
        said = ": mixtura show last --html FILE" if name is None else f", and {name} is none."
        raise click.UsageError(f"--html goes with a run{said}")
    if agreement:
        raise click.UsageError(
            "--agreement goes with a run: mixtura show last --agreement; for a new question:"
            " mixtura ask --agreement"
        )


def _list_patterns(as_json: bool) -> None:
    from mixtura.catalog.patterns import all_patterns

    specs = all_patterns()
    if as_json:
        echo_json([{"pattern": s.name, "help": s.help, "keys": own_keys(s)} for s in specs])
        return
    from mixtura.terminal import print_table

    rows = [[to_one_line(spec.name), _describe_pattern(spec)] for spec in specs]
    print_table(create_console(), ("pattern", "the answer (settings of its own)"), rows)


def _describe_pattern(spec: PatternSpec) -> str:
    keys = f" ({', '.join(own_keys(spec))})" if own_keys(spec) else ""
    return to_one_line(spec.help + keys)


def _show_run(run: Record, *, as_json: bool, file: str | None) -> None:
    if file is not None:
        _write_html(run, file)
    elif as_json:
        echo_json(run)
    else:
        from mixtura.terminal import replay_run

        replay_run(run, create_console())


def _write_html(run: Record, file: str) -> None:
    from mixtura.web import assets

    whole = assets.export_run(run)
    if file == "-":
        click.echo(whole)
        return
    write_output(expand_home(file), whole)


def _show_mixture(config: Config, name: str, *, as_json: bool) -> None:
    plan = config.mixture_spec(config.default_names.get(name, name))
    if as_json:
        echo_json(mixture_json(plan, config))
        return
    from mixtura.terminal import mixture_diagram, print_line

    console = create_console()
    outline = config.builder.build_outline(plan)
    console.print(mixture_diagram(plan, outline, console.width))
    typical, most = estimate_typical_answer(outline), plan.pattern.stops_early
    for label, words in _describe_typical(typical, config, at_most=most):
        print_line(console, f"{label:<{_LABEL_WIDTH}}{words}")
    print_line(
        console,
        f"For a question of {QUESTION_TOKENS} tokens, answers of at most {ANSWER_TOKENS} and"
        f" verdicts of {VERDICT_TOKENS}, without thoughts, retries and fallbacks.",
        "dim",
    )
    # Only where the machine chose: what a file says in full needs no reason.
    if name == AUTO or plan != config.registry.mixtures.get(name, plan):
        auto = config.registry.auto_defaults()
        print_line(console, f"\nThe models were chosen automatically: {auto.why}.", "dim")
    for problem in config.team_problems(plan):
        print_line(console, f"\nWarning: {problem}.", "yellow")


_LABEL_WIDTH = len("critical path") + 2


def _describe_typical(
    typical: TypicalAnswer, config: Config, *, at_most: bool
) -> list[tuple[str, str]]:
    """What an answer to a typical question takes: labels, and the words behind them."""
    from mixtura.terminal import format_dollars

    usage, price = typical.usage, price_calls(typical.calls, config.usage_cost)
    most = "at most " if at_most else ""
    cost = (most if price.dollars else "") + format_dollars(price.dollars)
    if price.unknown:
        cost = f"unknown: no price is known for {', '.join(map(to_one_line, price.unknown))}"
    chain = pluralize_count(typical.calls_in_chain, "call")
    if typical.calls_in_chain > 1:
        chain = f"{most}{chain} one after another"
    return [
        ("tokens", f"{most}{usage.prompt_tokens:,} read, {usage.completion_tokens:,} written"),
        ("critical path", f"{chain}, {typical.chain_tokens:,} tokens written"),
        ("price", cost),
    ]


def typical_json(typical: TypicalAnswer, config: Config) -> dict[str, Any]:
    """The same as JSON; *price_usd* is null where a price is unknown."""
    usage, price = typical.usage, price_calls(typical.calls, config.usage_cost)
    return {
        "question_tokens": QUESTION_TOKENS, "answer_tokens": ANSWER_TOKENS,
        "verdict_tokens": VERDICT_TOKENS, "tokens_read": usage.prompt_tokens,
        "tokens_written": usage.completion_tokens, "calls_in_chain": typical.calls_in_chain,
        "chain_tokens": typical.chain_tokens, "price_usd": price.dollars,
        "unknown_prices": list(price.unknown),
    }  # fmt: skip


def _show_pattern(config: Config, spec: PatternSpec, *, as_json: bool) -> None:
    """The first mixture of a pattern that is no mixture's name."""
    from mixtura.terminal import print_line

    mixtures = config.registry.mixtures
    names = [name for name in mixtures if mixtures[name].pattern.kind == spec.name]
    if as_json and names:
        _show_mixture(config, names[0], as_json=True)
        return
    if as_json:
        echo_json({"pattern": spec.name, "help": spec.help, "keys": own_keys(spec)})
        return
    console = create_console()
    print_line(console, f"{to_one_line(spec.name)}: {to_one_line(spec.help)}")
    if not names:
        keys = f" Its keys: {', '.join(own_keys(spec))}." if own_keys(spec) else ""
        print_line(console, f"No mixture here has this pattern.{keys}")
        return
    known = "The mixtures of this pattern" if len(names) > 1 else "The mixture of this pattern"
    print_line(console, f"{known}: {', '.join(map(to_one_line, names))}\n")
    _show_mixture(config, names[0], as_json=False)


def mixture_json(plan: MixtureSpec, config: Config) -> dict[str, Any]:
    """
    A plan as the documented JSON; *pattern* is there where it is not the paper's mixture, and
    *warnings* where the rules of thumb advise against its team.
    """
    kind = plan.pattern.kind
    row: dict[str, Any] = {} if kind == "mixture" else {"pattern": kind}
    if problems := config.team_problems(plan):
        row["warnings"] = problems
    return row | {
        "name": plan.name,
        "layers": [[s.model for s in layer for _ in range(s.samples)] for layer in plan.layers],
        "aggregator": plan.aggregator,
        "calls": config.count_calls(plan),
        "typical": typical_json(
            estimate_typical_answer(config.builder.build_outline(plan)), config
        ),
    }


def _list_mixtures(config: Config, as_json: bool) -> None:
    plans = [config.mixture_spec(name) for name in config.registry.mixtures]
    if as_json:
        echo_json([mixture_json(plan, config) for plan in plans])
        return
    rows = [
        (
            to_one_line(plan.name), str(plan.layer_count), str(config.count_calls(plan)),
            str(sum(seat.samples for layer in plan.layers for seat in layer)),
            to_one_line(plan.aggregator),
        )
        for plan in plans
    ]  # fmt: skip
    from mixtura.terminal import print_table

    headings = ("mixture", "layers", "calls", "proposals", "answer by")
    print_table(create_console(), headings, rows, right=headings[1:4])
