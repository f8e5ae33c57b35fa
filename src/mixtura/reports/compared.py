"""A comparison as one page: the verdict, how much better, at what price, and where it was won."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from mixtura.evals.comparison import Comparison, Pair, Row, Told
from mixtura.render.compared import ROLES, trust
from mixtura.render.words import dollars
from mixtura.reports import figures
from mixtura.reports.drawing import Drawing
from mixtura.reports.expense import pareto, price_axis
from mixtura.reports.rows import Row as Plain
from mixtura.reports.sheet import figure, folded, grid, sheet
from mixtura.text import one_line, plural

HOW = (
    "Everyone answered the same prompts with the same seed; what is the same call was made once."
    " Intervals hold with 95 %: a bootstrap of the paired differences over prompts. Cost, seconds"
    " and tokens are those of one answer, as each would have them by itself; seconds are the"
    " critical path. The best member was chosen by its score on these very prompts, which favours"
    " it a little. An answer that failed is missing, not zero."
)


def page(found: Comparison, command: str) -> str:
    """*command*: what made it, so that someone else can."""
    return sheet(f"{one_line(found.verdict)}: a comparison by Mixtura", _parts(found, command))


def _parts(found: Comparison, command: str) -> Iterator[str]:
    how = f"{found.judge} reads both answers, in both orders" if found.judge else found.task
    yield f"<h1>{escape(_capital(one_line(found.verdict)))}.</h1>"
    yield f'<p class="asked">{plural(found.prompts, "prompt")}: {escape(one_line(how))}.</p>'
    yield f"<p>Made by <code>{escape(one_line(command))}</code></p>"
    for ours in dict.fromkeys(pair.ours for pair in found.pairs):
        own = [pair for pair in found.pairs if pair.ours == ours]
        yield figure(Drawing(_differences(own)))
    if chart := _money(found):
        yield figure(Drawing(chart))
    yield "<h2>The numbers</h2>" + _table(found) + f"<p>{HOW}</p>"
    if found.bias:
        yield f"<h2>The judge</h2><p>{escape(trust(found.bias))}</p>"
    if found.warnings:
        yield "<h2>What to know</h2>"
        yield from (f'<p class="none">{escape(one_line(said))}</p>' for said in found.warnings)
    for pair in found.pairs:
        told = [one for one in found.told if (one.ours, one.theirs) == (pair.ours, pair.theirs)]
        if told:
            yield _won_and_lost(pair, told)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# ---- figures


def _differences(pairs: Sequence[Pair]) -> figures.Chart:
    rows: list[Plain] = [
        {
            "label": f"{one_line(pair.theirs)} ({ROLES[pair.kind] or 'mixture'})",
            "difference": 100 * pair.difference,
            "difference_low": 100 * pair.low,
            "difference_high": 100 * pair.high,
        }
        for pair in pairs
    ]
    beaten = sum(pair.low > 0 for pair in pairs)
    lost = sum(pair.high < 0 for pair in pairs)
    ours = one_line(pairs[0].ours)
    said = f"{ours} is better than {beaten} of {len(pairs)}" if beaten else f"{ours} beats no one"
    worse = f", worse than {lost}" if lost else ""
    open_ = len(pairs) - beaten - lost
    rest = f"; of {open_} no difference can be told" if open_ else ""
    return figures.differences(rows, f"{said}{worse}{rest}")


def _money(found: Comparison) -> figures.Chart | None:
    """Quality against what an answer takes; None where that is not known of two."""
    rows: list[Plain] = [
        {
            "who": one_line(row.name),
            "score": row.score,
            "score_low": row.low,
            "score_high": row.high,
            "cost_usd": row.cost_usd,
            "tokens": row.tokens,
        }
        for row in found.contenders
        if row.score is not None and row.low is not None and row.tokens
    ]
    if len(rows) < 2:
        return None
    axis = price_axis(rows)
    front = [row["who"] for row in pareto(rows, axis)]
    drawn = [row | {"front": row["who"] in front} for row in rows]
    named = ", ".join(front)
    return figures.budget(drawn, f"Nothing cheaper is as good as {named}", axis)


# ---- tables


def _table(found: Comparison) -> str:
    pairs = {pair.theirs: pair for pair in reversed(found.pairs)}
    heads = [
        ("", True), (found.measure, False), ("mixture better by", False), ("won, lost", False),
        ("cost", False), ("seconds", False), ("tokens", False), ("calls", False),
    ]  # fmt: skip
    return grid(heads, [_line(row, pairs.get(row.name)) for row in found.contenders])


def _line(row: Row, pair: Pair | None) -> list[str]:
    role = ROLES[row.kind]
    who = escape(one_line(row.name)) + (f"<br><small>{role}</small>" if role else "")
    return [
        who,
        _figure(row.score, row.low, row.high, ""),
        _figure(pair.difference, pair.low, pair.high, "+") if pair else "",
        f"{pair.wins}, {pair.losses}" if pair else "",
        dollars(row.cost_usd),
        _number(row.seconds, 1),
        _number(row.tokens, 0),
        _number(row.calls, 1),
    ]


def _figure(value: float | None, low: float | None, high: float | None, sign: str) -> str:
    if value is None:
        return "none"
    span = ""
    if low is not None and high is not None:
        span = f" <small>({100 * low:{sign}.0f} to {100 * high:{sign}.0f})</small>"
    return f"{100 * value:{sign}.1f}{span}"


def _number(value: float | None, digits: int) -> str:
    return "unknown" if value is None else f"{value:,.{digits}f}"


# ---- where it was won and lost


def _won_and_lost(pair: Pair, told: Sequence[Told]) -> str:
    body = "".join(map(_one, told))
    head = f"Won and lost by most against {escape(one_line(pair.theirs))}"
    return f"<h2>{head}</h2>{body}"


def _one(told: Told) -> str:
    target = f"<p>Right: <b>{escape(told.target)}</b></p>" if told.target else ""
    answers = "".join(
        f"<div><h3>{escape(one_line(name))}</h3><pre>{escape(text)}</pre></div>"
        for name, text in ((told.ours, told.our_answer), (told.theirs, told.their_answer))
    )
    asked = one_line(told.question)
    head = f"{100 * told.by:+.0f} &nbsp; {escape(asked[:110])}{'…' if len(asked) > 110 else ''}"
    body = (
        f'<p class="asked">{escape(told.question)}</p>{target}<div class="beside">{answers}</div>'
    )
    return folded(head, body, opened=False)
