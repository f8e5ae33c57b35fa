"""A comparison as one page: the verdict, how much better, at what price, and where it was won."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from mixtura.core.text import pluralize_count, to_one_line
from mixtura.evals.comparison.result import Comparison, ContenderRow, DecidedPrompt, PairedResult
from mixtura.reports import chart_style, cost_chart, dot_charts
from mixtura.reports.charts import RenderedChart
from mixtura.reports.html import details_html, figure_html, html_page, table_html
from mixtura.reports.rows import Row as Plain
from mixtura.reports.run_costs import pareto_front, price_axis
from mixtura.terminal.comparison import ROLE_LABELS, judge_trust_text
from mixtura.terminal.phrases import format_dollars

METHOD_TEXT = (
    "All mixtures and models answered the same prompts with the same seed; identical calls were"
    " made only once. The 95 % intervals are a bootstrap of the paired differences over prompts."
    " Cost, seconds and tokens are per answer, as if each mixture or model had run alone; seconds"
    " are the critical path. The best member was chosen by its score on these same prompts, which"
    " favours it slightly. A failed answer counts as missing, not as zero."
)


def comparison_page(comparison: Comparison, command: str) -> str:
    """A comparison as one page of HTML; *command*: how someone else can make it again."""
    return html_page(
        f"{to_one_line(comparison.verdict)}: a comparison by Mixtura",
        _page_parts(comparison, command),
    )


def _page_parts(comparison: Comparison, command: str) -> Iterator[str]:
    how = (
        f"{comparison.judge} reads both answers, in both orders"
        if comparison.judge
        else comparison.task
    )
    yield f"<h1>{escape(_capitalize_first(to_one_line(comparison.verdict)))}.</h1>"
    prompts = pluralize_count(comparison.prompts, "prompt")
    yield f'<p class="asked">{prompts}: {escape(to_one_line(how))}.</p>'
    yield f"<p>Made by <code>{escape(to_one_line(command))}</code></p>"
    for ours in dict.fromkeys(pair.ours for pair in comparison.pairs):
        own = [pair for pair in comparison.pairs if pair.ours == ours]
        yield figure_html(RenderedChart(_differences_chart(own)))
    if chart := _cost_chart(comparison):
        yield figure_html(RenderedChart(chart))
    yield "<h2>The numbers</h2>" + _contenders_table(comparison) + f"<p>{METHOD_TEXT}</p>"
    if comparison.bias:
        yield f"<h2>The judge</h2><p>{escape(judge_trust_text(comparison.bias))}</p>"
    if comparison.warnings:
        yield "<h2>What to know</h2>"
        yield from (
            f'<p class="none">{escape(to_one_line(warning))}</p>' for warning in comparison.warnings
        )
    for pair in comparison.pairs:
        examples = [
            one for one in comparison.told if (one.ours, one.theirs) == (pair.ours, pair.theirs)
        ]
        if examples:
            yield _examples_section(pair, examples)


def _capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


# ---- figures


def _differences_chart(pairs: Sequence[PairedResult]) -> chart_style.Chart:
    rows: list[Plain] = [
        {
            "label": f"{to_one_line(pair.theirs)} ({ROLE_LABELS[pair.kind] or 'mixture'})",
            "difference": 100 * pair.difference,
            "difference_low": 100 * pair.low,
            "difference_high": 100 * pair.high,
        }
        for pair in pairs
    ]
    beaten = sum(pair.low > 0 for pair in pairs)
    lost = sum(pair.high < 0 for pair in pairs)
    ours = to_one_line(pairs[0].ours)
    headline = (
        f"{ours} is better than {beaten} of {len(pairs)}"
        if beaten
        else f"{ours} is better than none of {len(pairs)}"
    )
    worse = f", worse than {lost}" if lost else ""
    undecided = len(pairs) - beaten - lost
    rest = f"; no clear difference from {undecided}" if undecided else ""
    return dot_charts.differences_chart(rows, f"{headline}{worse}{rest}")


def _cost_chart(comparison: Comparison) -> chart_style.Chart | None:
    """Quality against what an answer takes; None where that is not known of two."""
    rows: list[Plain] = [
        {
            "who": to_one_line(row.name),
            "score": row.score,
            "score_low": row.low,
            "score_high": row.high,
            "cost_usd": row.cost_usd,
            "tokens": row.tokens,
        }
        for row in comparison.contenders
        if row.score is not None and row.low is not None and row.tokens
    ]
    if len(rows) < 2:
        return None
    axis = price_axis(rows)
    front = [row["who"] for row in pareto_front(rows, axis)]
    drawn = [row | {"front": row["who"] in front} for row in rows]
    named = ", ".join(front)
    return cost_chart.cost_chart(drawn, f"Nothing cheaper is as good as {named}", axis)


# ---- tables


def _contenders_table(comparison: Comparison) -> str:
    # Backwards, so that the first mixture's figures stay: the verdict is about it.
    pairs = {pair.theirs: pair for pair in reversed(comparison.pairs)}
    heads = [
        ("", True), (comparison.measure, False), ("mixture better by", False), ("won, lost", False),
        ("cost", False), ("seconds", False), ("tokens", False), ("calls", False),
    ]  # fmt: skip
    return table_html(
        heads, [_contender_row(row, pairs.get(row.name)) for row in comparison.contenders]
    )


def _contender_row(row: ContenderRow, pair: PairedResult | None) -> list[str]:
    role = ROLE_LABELS[row.kind]
    who = escape(to_one_line(row.name)) + (f"<br><small>{role}</small>" if role else "")
    return [
        who,
        _format_score(row.score, row.low, row.high, ""),
        _format_score(pair.difference, pair.low, pair.high, "+") if pair else "",
        f"{pair.wins}, {pair.losses}" if pair else "",
        format_dollars(row.cost_usd),
        _format_number(row.seconds, 1),
        _format_number(row.tokens, 0),
        _format_number(row.calls, 1),
    ]


def _format_score(value: float | None, low: float | None, high: float | None, sign: str) -> str:
    if value is None:
        return "none"
    span = ""
    if low is not None and high is not None:
        span = f" <small>({100 * low:{sign}.0f} to {100 * high:{sign}.0f})</small>"
    return f"{100 * value:{sign}.1f}{span}"


def _format_number(value: float | None, digits: int) -> str:
    return "unknown" if value is None else f"{value:,.{digits}f}"


# ---- where it was won and lost


def _examples_section(pair: PairedResult, examples: Sequence[DecidedPrompt]) -> str:
    body = "".join(map(_example_block, examples))
    head = f"Largest wins and losses against {escape(to_one_line(pair.theirs))}"
    return f"<h2>{head}</h2>{body}"


def _example_block(decided: DecidedPrompt) -> str:
    target = f"<p>Right answer: <b>{escape(decided.target)}</b></p>" if decided.target else ""
    answers = "".join(
        f"<div><h3>{escape(to_one_line(name))}</h3><pre>{escape(text)}</pre></div>"
        for name, text in (
            (decided.ours, decided.our_answer),
            (decided.theirs, decided.their_answer),
        )
    )
    question_line = to_one_line(decided.question)
    ellipsis = "…" if len(question_line) > 110 else ""
    head = f"{100 * decided.by:+.0f} &nbsp; {escape(question_line[:110])}{ellipsis}"
    question = f'<p class="asked">{escape(decided.question)}</p>'
    body = f'{question}{target}<div class="beside">{answers}</div>'
    return details_html(head, body, opened=False)
