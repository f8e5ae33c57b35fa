"""Splits the stream of a model's text into thoughts and answer."""

from __future__ import annotations

import re

from mixtura.protocols.thoughts.answer_candidates import AnswerCandidates
from mixtura.protocols.thoughts.expected_marks import ExpectedMarks
from mixtura.protocols.thoughts.mark_context import PiecesContext
from mixtura.protocols.thoughts.marks import (
    BARE_OPENING,
    MARK_PATTERN,
    ThinkMark,
    find_mark,
    mark_from_match,
    may_begin_mark,
    partial_mark_start,
)
from mixtura.protocols.thoughts.open_thought import UNSEEN_OPENING, OpenThought

_START, _INSIDE, _AFTER, _ANSWER = range(4)
_WHITE_SPACE = re.compile(r"\s*")


class ThinkTagParser:
    """
    Splits the thoughts off the start of an answer: ``<think>`` to ``</think>``, and the like.

    Feed it pieces, cut anywhere. Some chat templates write the opening themselves, so that
    only the closing comes: unless it is quoted, it turns all before it into thought, and
    *reversals* counts that; *inside* says that this model is known for it. A model that has thought
    may do so again, where a line or a sentence has ended. Other marks are text. A tool call
    that is written as text is put with the thoughts: it is no part of the answer.
    """

    __slots__ = (
        "_apart", "_at", "_blank", "_called", "_candidates", "_context", "_expected", "_guess",
        "_held", "_open", "_state", "answer_parts", "reversals", "thought_parts",
    )  # fmt: skip

    def __init__(self, *, inside: bool = False) -> None:
        self.thought_parts: list[str] = []
        self.answer_parts: list[str] = []
        self.reversals = 0
        """How often text that was given as the answer became thought."""
        self._state = _START
        self._guess = inside
        """Whether the text may begin inside a thought; until a mark decides."""
        self._apart = False
        """Whether the upstream separates thought and answer itself."""
        self._expected = ExpectedMarks(thinks=inside)
        self._candidates = AnswerCandidates()
        self._called = False
        """Whether a thought was a tool call."""
        self._open = OpenThought(UNSEEN_OPENING)
        self._context = PiecesContext(self.answer_parts)
        self._held: str = ""
        """Text from *_at* on may be the beginning of a mark."""
        self._at = 0
        self._blank: list[str] = []
        """White space at the start: joined once, however many pieces it comes in."""

    def limit_to_leading_marks(self) -> None:
        """The upstream separates thought and answer itself: only marks at the start count."""
        self._apart, self._expected.stray = True, False
        if self._state == _START:
            self._guess = self._expected.thinks = False

    def feed(self, piece: str) -> tuple[str, str]:
        """The thought and the answer that *piece* adds."""
        # Nearly every piece of an answer: it is not looked through.
        if self._state == _ANSWER and not self._held and not self._expected.may_be_in(piece):
            return "", self._append_answer(piece)
        if self._apart and not self.answer_parts:
            self._candidates.add_piece(piece)
        if self._state == _START and not self._held and not piece.strip():
            self._blank.append(piece)
            return "", ""
        self._held = "".join((*self._blank, self._held, piece))
        self._blank.clear()
        thoughts: list[str] = []
        answers: list[str] = []
        while self._at < len(self._held):
            before = self._state, self._at, self.reversals
            more, text = self._take_step()
            if self.reversals > before[2]:  # what came with this piece was thought, too
                answers.clear()
            thoughts.append(more)
            answers.append(text)
            if (self._state, self._at, self.reversals) == before:
                break
        self._held, self._at = self._held[self._at :], 0
        return "".join(thoughts), "".join(answers)

    def finish_parsing(self, *, stopped: bool) -> tuple[str, str]:
        """
        The thought and the answer in what was held back at the end. *stopped*: the model ended
        its answer, which was not cut off.
        """
        held = "".join((*self._blank, self._held))
        self._blank.clear()
        self._held = ""
        unanswered = stopped and self._apart and not self._called and not self.answer_parts
        if unanswered and (raw := self._candidates.take_pieces(self.thought_parts)):
            self.answer_parts.append(raw)
            return "", raw
        if self._state == _INSIDE:
            return self._finish_unclosed(held, stopped=stopped)
        answered = held.strip() or any(map(str.strip, self.answer_parts))
        if stopped and not (answered or self._apart):
            answer = self._candidates.take_reversed(self.thought_parts)
            if answer is not None:
                self.answer_parts.append(answer)
                return "", answer
        if held:
            self.answer_parts.append(held)
        return "", held

    def _finish_unclosed(self, held: str, *, stopped: bool) -> tuple[str, str]:
        """The thought and the answer in *held* at an end inside a thought."""
        answer = ""
        if stopped and self._guess:  # the model did not think this time
            answer = "".join((*self.thought_parts, held))
            self.thought_parts.clear()
        elif stopped and not self._apart:
            answer = self._open.take_answer(
                self.thought_parts, held, is_first=not self.answer_parts
            )
        if answer:
            self._state = _ANSWER
            self.answer_parts.append(answer)
            return "", answer
        if held:
            self.thought_parts.append(held)
        return held, ""

    # ---- one step: each takes some of the held text, or leaves it until more comes

    def _take_step(self) -> tuple[str, str]:
        if self._state == _START:
            return self._parse_start()
        if self._state == _INSIDE:
            return self._parse_thought()
        if self._state == _AFTER:
            return self._parse_after_thought()
        return self._parse_answer()

    def _skip_spaces(self) -> int:
        spaces = _WHITE_SPACE.match(self._held, self._at)
        return spaces.end() if spaces else self._at

    def _parse_start(self) -> tuple[str, str]:
        text, at = self._held, self._skip_spaces()
        match = MARK_PATTERN.match(text, at) or BARE_OPENING.match(text, at)
        mark = mark_from_match(match) if match else None
        if match and mark and mark.kind == "open":
            self._open_thought(mark, match.end())
        elif match and mark and mark.kind in ("close", "final"):
            if not self._apart:
                self._expected.unopened = mark.kind == "close"
                self.reversals += 1
            self._close_thought(mark, match.end())
        elif match and mark and mark.kind == "frame":
            self._expected.add_frame()
            self._guess = False
            self._state, self._at = _AFTER, match.end()
        elif at == len(text) or may_begin_mark(text, at):
            pass
        elif self._guess:
            self._open_thought(UNSEEN_OPENING, self._at)
        else:
            self._state = _ANSWER
        return "", ""

    def _open_thought(self, mark: ThinkMark, at: int) -> None:
        self._state, self._at = _INSIDE, at
        self._expected.add_thought_mark(mark)
        self._called = self._called or mark.call
        self._open = OpenThought(mark)
        if not self._open.is_unseen:
            self._guess = False

    def _parse_thought(self) -> tuple[str, str]:
        text, start = self._held, self._at
        bare = self._open.is_bare
        match = find_mark(text, start, bare=bare)
        if match is None:
            end = partial_mark_start(text, start, bare=bare)
            return self._append_thought(text, start, end), ""
        self._open.add_text(text[start : match.start()])
        mark, depth = mark_from_match(match), self._open.depth
        if self._open.is_closed_by(mark):
            thought = self._append_thought(text, start, match.start())
            self._close_thought(mark, match.end())
            return thought, ""
        self._open.add_text(match[0])
        thought = self._append_thought(text, start, match.end(), read=True)
        if self._open.depth < depth:  # perhaps the opening in between was only quoted
            self._open.resumes = len(self.thought_parts), ""
        return thought, ""

    def _append_thought(self, text: str, start: int, end: int, *, read: bool = False) -> str:
        thought = text[start:end]
        self._at = end
        if thought:
            self.thought_parts.append(thought)
            self._candidates.add_thought(thought)
            if not read:
                self._open.add_text(thought)
        return thought

    def _close_thought(self, mark: ThinkMark, at: int) -> None:
        if self._state == _INSIDE and self._open.is_unseen:
            self._expected.unopened = mark.kind == "close"
        self._state, self._at, self._guess = _AFTER, at, False
        self._expected.add_thought_mark(mark)

    def _parse_after_thought(self) -> tuple[str, str]:
        """Right after a thought: white space and further marks are no part of the answer."""
        last = self.answer_parts[-1] if self.answer_parts else ""
        if not last or last[-1].isspace():
            self._at = self._skip_spaces()
        match = MARK_PATTERN.match(self._held, self._at)
        if match and (mark := mark_from_match(match)).kind == "open":
            self._open_thought(mark, match.end())
        elif match:
            self._at = match.end()
        elif self._at < len(self._held) and not may_begin_mark(self._held, self._at):
            self._state = _ANSWER
        return "", ""

    def _parse_answer(self) -> tuple[str, str]:
        text, start = self._held, self._at
        match = find_mark(text, start) if self._expected.are_any() else None
        if match is None:
            self._at = partial_mark_start(text, start) if self._expected.are_any() else len(text)
            return "", self._append_answer(text[start : self._at])
        before = self._append_answer(text[start : match.start()])
        mark, self._at = mark_from_match(match), match.end()
        if self._expected.is_answer_frame(mark):
            return "", before
        if mark.kind in ("close", "final") and self._expected.closing_reverses_answer(
            self._context
        ):
            return self._turn_answer_to_thought(mark), ""
        thinks = self._expected.thinks and mark.kind == "open"
        if thinks and self._context.accepts_mark(spaced=True):
            spaced = not self._context.accepts_mark()
            self._open_thought(mark, self._at)
            self._open.resumes = (len(self.thought_parts), match[0]) if spaced else None
            return "", before
        self._expected.add_quoted_mark(mark)
        return "", before + self._append_answer(match[0])

    def _append_answer(self, text: str) -> str:
        if text:
            self.answer_parts.append(text)
        return text

    def _turn_answer_to_thought(self, mark: ThinkMark) -> str:
        """Only the closing came: what looked like the answer was thought."""
        thought = "".join(self.answer_parts).removesuffix("\n")
        self.answer_parts.clear()
        self._context = PiecesContext(self.answer_parts)
        if self._expected.unopened:
            self._candidates.set_reversal(len(self.thought_parts))
        self._expected.unopened = mark.kind == "close"
        self.reversals += 1
        self._close_thought(mark, self._at)
        if thought:
            self.thought_parts.append(thought)
        return thought


def without_thoughts(text: str) -> str:
    """A finished *text* without its thoughts; one that is never closed is no part of the answer."""
    splitter = ThinkTagParser()
    splitter.feed(text)
    splitter.finish_parsing(stopped=True)
    return "".join(splitter.answer_parts)
