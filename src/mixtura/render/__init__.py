"""What a person sees at a terminal: a run while it goes on, and once it is over."""

from mixtura.render.compact import Compact, Terse, sources, two_columns
from mixtura.render.live import Plain, Quiet, Screen
from mixtura.render.past import listing, replayed, when
from mixtura.render.tables import drawing, notes, summary
from mixtura.render.words import dollars, say

__all__ = [
    "Compact",
    "Plain",
    "Quiet",
    "Screen",
    "Terse",
    "dollars",
    "drawing",
    "listing",
    "notes",
    "replayed",
    "say",
    "sources",
    "summary",
    "two_columns",
    "when",
]
