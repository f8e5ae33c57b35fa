"""What a person sees at a terminal: a run while it goes on, and once it is over."""

from mixtura.terminal.agreement import print_agreement, print_confidence
from mixtura.terminal.compact import AnswerAndErrorsView, CompactView, answer_sources, two_columns
from mixtura.terminal.layout import print_indented, print_list, print_table
from mixtura.terminal.live import AnswerView, LiveView, PlainLogView
from mixtura.terminal.past_runs import format_when, replay_run, runs_table
from mixtura.terminal.phrases import format_dollars, format_most_dollars, print_line
from mixtura.terminal.reviews import print_review
from mixtura.terminal.tables import answer_notes, mixture_diagram, ollama_advice, trace_summary

__all__ = [
    "AnswerAndErrorsView",
    "AnswerView",
    "CompactView",
    "LiveView",
    "PlainLogView",
    "answer_notes",
    "answer_sources",
    "format_dollars",
    "format_most_dollars",
    "format_when",
    "mixture_diagram",
    "ollama_advice",
    "print_agreement",
    "print_confidence",
    "print_indented",
    "print_line",
    "print_list",
    "print_review",
    "print_table",
    "replay_run",
    "runs_table",
    "trace_summary",
    "two_columns",
]
