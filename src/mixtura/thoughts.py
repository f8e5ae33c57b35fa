"""Text in which a model thinks before it answers, told apart as it comes."""

from __future__ import annotations

import re

from mixtura.thought_marks import MARK, Mark, cut, find, looks_like_one, mark_of, may_begin

_FEW = 8
"""Marks that an answer speaks of; whoever writes more is not looked at further."""

_START, _INSIDE, _AFTER, _ANSWER = range(4)
_SPACE = re.compile(r"\s*")
_CODE = re.compile(r"```|~~~")
_BEGUN = re.compile(r"(?:`{1,2}|~{1,2})\Z")
_SENTENCE = ".!?…。！？:"
_BEFORE = frozenset(_SENTENCE + ";)]}*|>")
_UNKNOWN = Mark("open", "")
"""The opening was not seen."""


class _Read:
    """What a mark at the end of a text read so far would stand in: each piece is read once."""

    __slots__ = ("_carried", "_fenced", "_last", "_line", "_ticks")

    def __init__(self) -> None:
        self._fenced = False
        self._carried: str = ""
        self._line = False
        """The line has something but white space in it."""
        self._ticks = 0
        self._last: str = ""
        """What ends the line, and the white space behind it, of which one is enough."""

    def add(self, text: str) -> None:
        if not text:
            return
        whole = self._carried + text
        end = 0
        for found in _CODE.finditer(whole):
            self._fenced = not self._fenced
            end = found.end()
        begun = _BEGUN.search(whole, end)
        self._carried = begun[0] if begun else ""
        line = text[text.rfind("\n") + 1 :]
        if "\n" in text:
            self._line, self._ticks, self._last = False, 0, ""
        self._ticks += line.count("`")
        if bare := line.rstrip():
            self._line = True
            self._last = bare[-1]
        if line != bare and not self._last.endswith(" "):
            self._last += " "

    def counts(self, *, spaced: bool = False) -> bool:
        """
        Whether a mark that follows is one, and not spoken of. *spaced*: a space may stand between
        the end of a sentence and the mark.
        """
        if self._fenced:
            return False
        if not self._line:
            return True
        if self._ticks % 2:
            return False
        last = self._last
        return last.isalnum() or last in _BEFORE or (spaced and last[0] in _SENTENCE)

    def blank(self) -> bool:
        """Whether a mark that follows begins a line."""
        return not self._line and not self._fenced


class Splitter:
    """
    Puts the thoughts at the start of an answer aside: ``<think>`` to ``</think>``, and the like.

    Feed it pieces, cut anywhere. Some chat templates write the opening themselves, so that
    only the closing comes: unless it is quoted, it turns all before it into thought, and
    *turned* says so; *inside* says that this model is known for it. A model that has thought
    may do so again, where a line or a sentence has ended. Other marks are text. A call of a
    tool that is written as text is put aside with the thoughts: no one answered with it.
    """

    __slots__ = (
        "_after", "_apart", "_at", "_blank", "_called", "_depth", "_few", "_framed", "_guess",
        "_harmony", "_held", "_last_turned", "_marked", "_others", "_raw", "_read", "_resumes",
        "_shown", "_shown_to", "_state", "_stray", "_thinks", "_unopened", "answer",
        "thought", "turned", "turns",
    )  # fmt: skip

    def __init__(self, *, inside: bool = False) -> None:
        self.thought: list[str] = []
        self.answer: list[str] = []
        self.turned = False
        self.turns = 0
        """How often what had been told as the answer became thought."""
        self._state = _START
        self._guess = inside
        self._apart = False
        """The upstream tells thought and answer apart itself."""
        self._thinks = inside
        self._stray = True
        """A closing whose opening did not come would be a sign."""
        self._unopened = False
        """One came, so that another may."""
        self._last_turned: int | None = None
        """Where in the thoughts the one stands that turned last: perhaps it was the answer."""
        self._harmony = self._framed = self._called = False
        self._after = _UNKNOWN
        self._depth = 0
        """Thoughts opened inside this one."""
        self._others: dict[str, int] = {}
        """How many marks of another name were opened inside this thought."""
        self._resumes: tuple[int, str] | None = None
        """Where in the thoughts an answer begins if this thought is never closed."""
        self._read, self._shown = _Read(), _Read()
        self._shown_to = 0
        self._marked: list[str] = []
        self._raw: list[str] = []
        """What came before the answer, where the upstream tells them apart: perhaps it is one."""
        self._held: str = ""
        self._at = 0
        self._blank: list[str] = []
        """White space at the start: joined once, however many pieces it comes in."""
        self._few = _FEW

    def off(self) -> None:
        """The upstream tells thought and answer apart itself: only marks at the start count."""
        self._apart, self._stray = True, False
        if self._state == _START:
            self._guess = self._thinks = False

    def feed(self, piece: str) -> tuple[str, str]:
        """The thought and the answer that *piece* adds."""
        if self._state == _ANSWER and not self._held and not self._looks_for(piece):
            return "", self._said(piece)
        if self._apart and not self.answer:
            self._raw.append(piece)
        if self._state == _START and not self._held and not piece.strip():
            self._blank.append(piece)
            return "", ""
        self._held = "".join((*self._blank, self._held, piece))
        self._blank.clear()
        thoughts: list[str] = []
        answers: list[str] = []
        while self._at < len(self._held):
            before = self._state, self._at, self.turns
            more, text = self._step()
            if self.turns > before[2]:  # what came with this piece was thought, too
                answers.clear()
            thoughts.append(more)
            answers.append(text)
            if (self._state, self._at, self.turns) == before:
                break
        self._held, self._at = self._held[self._at :], 0
        return "".join(thoughts), "".join(answers)

    def finish(self, *, stopped: bool) -> tuple[str, str]:
        """What was held back at the end; *stopped*: the model ended, and was not cut off."""
        held = "".join((*self._blank, self._held))
        self._blank.clear()
        self._held = ""
        raw = "".join(self._raw) if self._apart and not self._called and not self.answer else ""
        if raw and stopped:
            # no thought can be all that is told as the answer
            marked = set(map(id, self._marked))
            self.thought = [text for text in self.thought if id(text) not in marked]
            self.answer.append(raw)
            return "", raw
        if self._state == _INSIDE:
            return self._unclosed(held, stopped=stopped)
        answered = held.strip() or any(map(str.strip, self.answer))
        if stopped and self._last_turned is not None and not (answered or self._apart):
            said = "".join(self.thought[self._last_turned :])
            del self.thought[self._last_turned :]
            self.answer.append(said)
            return "", said
        if held:
            self.answer.append(held)
        return "", held

    def _unclosed(self, held: str, *, stopped: bool) -> tuple[str, str]:
        """The end came inside of a thought."""
        if stopped and self._guess:  # it did not think this time: that was the answer
            said = "".join((*self.thought, held))
            self.thought.clear()
        elif stopped and self._resumes is not None and not self._apart:
            at, before = self._resumes
            said = "".join((before, *self.thought[at:], held))
            said = said if self.answer else said.lstrip()
            if said:
                del self.thought[at:]
        else:
            said = ""
        if said:
            self._state = _ANSWER
            self.answer.append(said)
            return "", said
        if held:
            self.thought.append(held)
        return held, ""

    def _looks_for(self, piece: str) -> bool:
        """Whether a mark that would count may stand or begin in *piece*."""
        return self._listens() and looks_like_one(piece)

    def _listens(self) -> bool:
        return self._stray or self._thinks or self._harmony or self._framed

    # ---- one step: each takes something from what is held, or leaves it there for more

    def _step(self) -> tuple[str, str]:
        match self._state:
            case 0:
                return self._started()
            case 1:
                return self._inside()
            case 2:
                return self._ended()
            case _:
                return self._answered()

    def _spaces(self) -> int:
        found = _SPACE.match(self._held, self._at)
        return found.end() if found else self._at

    def _started(self) -> tuple[str, str]:
        text, at = self._held, self._spaces()
        found = MARK.match(text, at)
        mark = mark_of(found) if found else None
        if found and mark and mark.kind == "open":
            self._opened(mark, found.end())
        elif found and mark and mark.kind in ("close", "final"):
            if not self._apart:
                self.turned, self._unopened = True, mark.kind == "close"
                self.turns += 1
            self._closed(mark, found.end())
        elif found and mark and mark.kind == "frame":
            self._framed, self._guess = True, False
            self._state, self._at = _AFTER, found.end()
        elif at == len(text) or may_begin(text, at):
            pass
        elif self._guess:
            self._opened(_UNKNOWN, self._at)
        else:
            self._state = _ANSWER
        return "", ""

    def _opened(self, mark: Mark, at: int) -> None:
        self._state, self._at, self._stray, self._thinks = _INSIDE, at, False, True
        self._harmony = self._harmony or mark.family == "harmony"
        self._framed = self._framed or mark.family == "bar"
        self._called = self._called or mark.call
        self._after, self._depth, self._resumes = mark, 0, None
        self._others.clear()
        self._read = _Read()
        if mark is not _UNKNOWN:
            self._guess = False

    def _inside(self) -> tuple[str, str]:
        text, start = self._held, self._at
        found = find(text, start)
        if found is None:
            return self._thought(text, start, cut(text, start)), ""
        self._read.add(text[start : found.start()])
        mark, depth = mark_of(found), self._depth
        if self._closes(mark):
            thought = self._thought(text, start, found.start())
            self._closed(mark, found.end())
            return thought, ""
        self._read.add(found[0])
        thought = self._thought(text, start, found.end(), read=True)
        if self._depth < depth:  # perhaps what opened in between was only spoken of
            self._resumes = len(self.thought), ""
        return thought, ""

    def _thought(self, text: str, start: int, end: int, *, read: bool = False) -> str:
        thought = text[start:end]
        self._at = end
        if thought:
            self.thought.append(thought)
            self._marked.append(thought)
            if not read:
                self._read.add(thought)
        return thought

    def _closes(self, mark: Mark) -> bool:
        """Whether this mark closes the thought; marks of other thoughts in it are counted."""
        after = self._after
        if after is _UNKNOWN:
            return mark.kind in ("close", "final")
        if mark.family != after.family:
            return False
        if after.family == "harmony":
            return mark.kind in ("end", "final")
        if mark.kind == "open":
            if mark.name != after.name:
                self._others[mark.name] = self._others.get(mark.name, 0) + 1
            elif self._read.counts(spaced=True):
                self._depth += 1
            return False
        if mark.kind != "close":
            return False
        if self._others.get(mark.name):
            self._others[mark.name] -= 1
            return False
        if mark.name != after.name:
            return self._read.counts(spaced=True)
        self._depth -= 1
        return self._depth < 0

    def _closed(self, mark: Mark, at: int) -> None:
        if self._state == _INSIDE and self._after is _UNKNOWN:
            self._unopened = mark.kind == "close"
        self._state, self._at, self._stray, self._thinks = _AFTER, at, False, True
        self._guess, self._resumes = False, None
        self._harmony = self._harmony or mark.family == "harmony"
        self._framed = self._framed or mark.family == "bar"

    def _ended(self) -> tuple[str, str]:
        """Right after a thought: white space and further marks are no part of the answer."""
        said = self.answer[-1] if self.answer else ""
        if not said or said[-1].isspace():
            self._at = self._spaces()
        found = MARK.match(self._held, self._at)
        if found and (mark := mark_of(found)).kind == "open":
            self._opened(mark, found.end())
        elif found:
            self._at = found.end()
        elif self._at < len(self._held) and not may_begin(self._held, self._at):
            self._state = _ANSWER
        return "", ""

    def _answered(self) -> tuple[str, str]:
        text, start = self._held, self._at
        found = find(text, start) if self._listens() else None
        if found is None:
            self._at = cut(text, start) if self._listens() else len(text)
            return "", self._said(text[start : self._at])
        before = self._said(text[start : found.start()])
        mark, self._at = mark_of(found), found.end()
        if (self._harmony and mark.kind in ("end", "final")) or (
            self._framed and mark.kind == "frame"
        ):
            return "", before
        if mark.kind in ("close", "final") and self._turns():
            return self._turn(mark), ""
        if self._thinks and mark.kind == "open" and self._counts(spaced=True):
            spaced = not self._counts()
            self._opened(mark, self._at)
            self._resumes = (len(self.thought), found[0]) if spaced else None
            return "", before
        if mark.kind == "open":  # of which a closing may be the other half
            self._stray = False
        self._few -= 1
        if not self._few:
            self._stray = self._thinks = self._unopened = False
        return "", before + self._said(found[0])

    def _said(self, text: str) -> str:
        if text:
            self.answer.append(text)
        return text

    def _counts(self, *, spaced: bool = False) -> bool:
        """Whether a mark right after the answer so far is one, and not spoken of."""
        for text in self.answer[self._shown_to :]:
            self._shown.add(text)
        self._shown_to = len(self.answer)
        return self._shown.counts(spaced=spaced)

    def _turns(self) -> bool:
        """Whether a closing right after the answer so far makes all of it thought."""
        if self._stray:
            return self._counts()
        return self._unopened and self._counts() and self._shown.blank()

    def _turn(self, mark: Mark) -> str:
        """Only the closing came: what looked like the answer was thought."""
        thought = "".join(self.answer).removesuffix("\n")
        self.answer.clear()
        self._shown, self._shown_to = _Read(), 0
        if self._unopened:
            self._last_turned = len(self.thought)
        self.turned, self._unopened = True, mark.kind == "close"
        self.turns += 1
        self._closed(mark, self._at)
        if thought:
            self.thought.append(thought)
        return thought


def without_thoughts(text: str) -> str:
    """What a finished *text* answers: all of it but its thoughts; one never closed is no answer."""
    splitter = Splitter()
    splitter.feed(text)
    splitter.finish(stopped=True)
    return "".join(splitter.answer)
