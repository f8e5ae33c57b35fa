"""Tables and paragraphs of lists, which fit the width there is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Cell = str | Text
_GAP = 2
"""Columns between two cells of a row."""
_LEAST_WIDTH = 12
"""Columns that a text keeps where a table has to be narrowed."""


def print_table(
    console: Console,
    headings: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    right: Iterable[str] = (),
    folds: str | None = None,
    indent: int = 0,
) -> None:
    """
    Rows under their headings: every column as wide as it must be, none of them cut.

    *right*: headings of columns of numbers; *folds*: the one whose cells go on in another line
    where the width does not do, otherwise the last. Where that is not enough, the widest others
    of text do, too.
    """
    cells = [[one if isinstance(one, Text) else Text(one) for one in row] for row in rows]
    widths = [
        max([cell_len(heading), *(row[i].cell_len for row in cells)])
        for i, heading in enumerate(headings)
    ]
    folded = headings.index(folds) if folds is not None else len(headings) - 1
    others = sum(widths) - widths[folded] + _GAP * (len(headings) - 1) + indent
    least = min(widths[folded], max(console.width - others, 8))
    narrowed = _narrow_texts(
        widths, [i for i, name in enumerate(headings) if i != folded and name not in right],
        others + least - console.width,
    )  # fmt: skip
    widths[folded] = least
    table = Table(
        box=box.SIMPLE_HEAD if any(headings) else None, show_edge=False, pad_edge=False,
        padding=(0, 1, 0, 0), show_header=any(headings),
    )  # fmt: skip
    for i, heading in enumerate(headings):
        table.add_column(
            heading, justify="right" if heading in right else "left", width=widths[i],
            overflow="fold", no_wrap=i != folded and i not in narrowed,
        )  # fmt: skip
    for row in cells:
        table.add_row(*row)
    with console.capture() as drawn:
        console.print(table)
    for line in drawn.get().splitlines():
        # What stands at the end of a line is not seen, and troubles who compares two outputs.
        console.out(f"{' ' * indent}{line.rstrip()}", highlight=False)


def _narrow_texts(widths: list[int], places: Sequence[int], excess: int) -> set[int]:
    """Take *excess* columns from the widest of *places*, in *widths*; which were narrowed."""
    narrowed: set[int] = set()
    while excess > 0 and places:
        widest = max(places, key=lambda i: widths[i])
        if widths[widest] <= _LEAST_WIDTH:
            break
        widths[widest] -= 1
        excess -= 1
        narrowed.add(widest)
    return narrowed


def indent_line(text: str, style: str = "", by: int = 2) -> Padding:
    """A line of text that stands *by* columns in, the lines that it is broken into as well."""
    return Padding(Text(text, style), (0, 0, 0, by), expand=False)


def print_indented(console: Console, text: str, style: str = "") -> None:
    """The same, printed: broken between words at a terminal, whole in a log."""
    if console.is_terminal:
        console.print(indent_line(text, style))
    else:
        console.print(Text(f"  {text}", style), soft_wrap=True)


def plain_table(*headings: str) -> Table:
    """A table without rows: its first column is of text, the others are of numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    first, *others = headings
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_list(console: Console, label: str, words: Iterable[str], separator: str = ", ") -> None:
    """``label a, b, c``, broken between its words, the lines after the first under its first."""
    # A space inside a word is no place to break at.
    whole = [word.replace(" ", "\xa0") for word in words]
    lines = textwrap.wrap(
        f"{label} {separator.join(whole)}", max(console.width, 20), subsequent_indent="  ",
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip
    console.print(Text("\n".join(lines).replace("\xa0", " ")), soft_wrap=True)
