"""An answer's text and thought as they stream in: separated, and without secrets."""

from __future__ import annotations

import msgspec

from mixtura.core.events import ToolCallChunk
from mixtura.core.redaction import Redactor
from mixtura.protocols.thoughts.parser import ThinkTagParser


class AnswerDelta(msgspec.Struct, gc=False):
    """What an answer gained since it was last looked at."""

    text: str = ""
    thought_text: str = ""
    pieces: int = 1
    """How many pieces of the stream it came in."""
    calls: list[ToolCallChunk] = []
    refusal: bool = False
    """Whether the text stands in place of an answer."""


class AnswerTextStream:
    """
    Collects pieces of text, thought and refusal, and hands them on in batches.

    The lists ``new_*`` take pieces in; ``take_new`` empties them. *inside*: the model's answers
    begin in the middle of its thoughts. Secrets that *redactor* knows do not come out.
    """

    __slots__ = (
        "_parser",
        "_safe_text",
        "_safe_thought",
        "answer_became_thought",
        "answer_just_became_thought",
        "new_refusals",
        "new_texts",
        "new_thoughts",
        "pieces",
        "refusal_parts",
    )  # fmt: skip

    def __init__(self, redactor: Redactor, *, inside: bool) -> None:
        self.new_texts: list[str] = []
        self.new_thoughts: list[str] = []
        self.new_refusals: list[str] = []
        self.refusal_parts: list[str] = []
        """The refusal so far, where there is no answer beside it."""
        self.pieces = 0
        """Pieces of text and thought that were taken."""
        self.answer_became_thought = False
        """What had been taken for the answer turned out to be reasoning."""
        self.answer_just_became_thought = False
        """It did so in the batch that was taken last."""
        self._safe_text = redactor.create_stream()
        self._safe_thought = redactor.create_stream()
        self._parser = ThinkTagParser(inside=inside)

    @property
    def answer_parts(self) -> list[str]:
        return self._parser.answer_parts

    @property
    def thought_parts(self) -> list[str]:
        return self._parser.thought_parts

    @property
    def has_new(self) -> bool:
        return bool(self.new_texts or self.new_thoughts or self.new_refusals)

    @property
    def has_thought(self) -> bool:
        return bool(self.new_thoughts or self.thought_parts)

    @property
    def has_refusal(self) -> bool:
        return bool(self.new_refusals or self.refusal_parts)

    def limit_to_leading_marks(self) -> None:
        """The upstream separates thought and answer: marks count only at the answer's start."""
        self._parser.limit_to_leading_marks()

    def take_new(self) -> AnswerDelta:
        """The pieces that came since the last time, as one."""
        texts, thoughts = self.new_texts, self.new_thoughts
        pieces = len(texts) + len(thoughts)
        self.pieces += pieces
        thought, text = "", ""
        self.answer_just_became_thought = False
        if thoughts:
            # Two streams: a secret cannot begin in a thought and end in the answer.
            thought = self._safe_thought.feed_text("".join(thoughts))
            thoughts.clear()
            if thought:
                self.thought_parts.append(thought)
        if texts:
            safe = self._safe_text.feed_text(texts[0] if len(texts) == 1 else "".join(texts))
            texts.clear()
            if safe:
                reversals = self._parser.reversals
                more, text = self._parser.feed(safe)
                thought += more
                self.answer_became_thought = self._parser.reversals > 0
                self.answer_just_became_thought = self._parser.reversals > reversals
        if self.new_refusals and not self.answer_parts:  # then it is the answer
            text = self._safe_text.feed_text("".join(self.new_refusals))
            self.refusal_parts.append(text)
        self.new_refusals.clear()
        return AnswerDelta(text, thought, max(pieces, 1), [], bool(self.refusal_parts))

    def take_rest(self, *, stopped: bool) -> tuple[str, str]:
        """
        Thought and answer that were held back, since a secret or a mark might have begun there.

        *stopped*: the model ended its answer, and was not cut off. Call it once, after the last
        ``take_new``.
        """
        thought, text = "", ""
        if more := self._safe_thought.finish():
            self.thought_parts.append(more)
            thought = more
        if more := self._safe_text.finish():
            if self.refusal_parts:
                self.refusal_parts.append(more)
                text = more
            else:
                more_thought, text = self._parser.feed(more)
                thought += more_thought
        more_thought, more_text = self._parser.finish_parsing(stopped=stopped)
        return thought + more_thought, text + more_text
