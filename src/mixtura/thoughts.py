"""Text in which a model thinks before it answers, told apart as it comes."""

from __future__ import annotations

import re
from collections.abc import Mapping

_FINAL = "<|channel|>final<|message|>"
_ENDS = ("<|end|>", "<|return|>", "<|call|>")
_FINALS = (_FINAL, "<|start|>assistant" + _FINAL)
_PAIRS: Mapping[str, tuple[str, ...]] = {
    **{f"<{name}>": (f"</{name}>",) for name in ("think", "thinking", "thought", "reasoning")},
    "<seed:think>": ("</seed:think>",),
    "[think]": ("[/think]",),
    "◁think▷": ("◁/think▷",),
    **{
        f"{start}<|channel|>{channel}<|message|>": (*_ENDS, *_FINALS)
        for start in ("", "<|start|>assistant")
        for channel in ("analysis", "commentary")
    },
}
"""What opens a thought, and what closes it; the last are gpt-oss's channels ("harmony")."""

_CLOSINGS = frozenset(c for closings in _PAIRS.values() for c in closings) - frozenset(_ENDS)
_MARKS = frozenset((*_PAIRS, *_CLOSINGS, *_ENDS))
"""None of them is the beginning of another, so that what is found never hangs on the cuts."""
_FIRST = "<[◁"
_LONGEST = max(map(len, _MARKS))
_FEW = 8
"""Marks that an answer speaks of; whoever writes more is not looked at further."""

_START, _INSIDE, _AFTER, _ANSWER = range(4)


def _any(marks: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(marks))), re.IGNORECASE)


_MARK = _any(_MARKS)
_CLOSES: dict[str, tuple[re.Pattern[str], tuple[str, ...]]] = {
    opening: (_any(frozenset(closings)), closings) for opening, closings in _PAIRS.items()
}
_CLOSES[""] = (_any(_CLOSINGS), tuple(_CLOSINGS))
"""Where the opening was not seen."""
_CODE = re.compile(r"```|~~~")


class Splitter:
    """
    Puts the thoughts at the start of an answer aside: ``<think>`` to ``</think>``, and the like.

    Feed it pieces, cut anywhere. Some chat templates write the opening themselves, so that
    only the closing comes: unless it is quoted, it turns all before it into thought, and
    *turned* says so; *inside* says that this model is known for it. A model that has thought
    may do so again, where a line or a sentence has ended. Other marks are text.
    """

    __slots__ = (
        "_after", "_apart", "_blank", "_few", "_guess", "_harmony", "_held", "_marked", "_raw",
        "_state", "_stray", "_thinks", "answer", "thought", "turned",
    )  # fmt: skip

    def __init__(self, *, inside: bool = False) -> None:
        self.thought: list[str] = []
        self.answer: list[str] = []
        self.turned = False
        self._state = _START
        self._guess = inside
        self._apart = False
        """The upstream tells thought and answer apart itself."""
        self._thinks = inside
        self._stray = True
        """A closing whose opening did not come would be a sign."""
        self._harmony = False
        self._after: str = ""
        self._marked: list[str] = []
        self._raw: list[str] = []
        """What came before the answer, where the upstream tells them apart: perhaps it is one."""
        self._held: str = ""
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
        thought, answer = "", ""
        if self._apart and not self.answer:
            self._raw.append(piece)
        if self._state == _START and not self._held and not piece.strip():
            self._blank.append(piece)
            return "", ""
        self._held = "".join((*self._blank, self._held, piece))
        self._blank.clear()
        while self._held:
            before = self._state, len(self._held), self.turned
            more, text = self._step()
            if self.turned and not before[2]:  # what came with this piece was thought, too
                answer = ""
            thought, answer = thought + more, answer + text
            if (self._state, len(self._held), self.turned) == before:
                break
        return thought, answer

    def finish(self, *, stopped: bool) -> tuple[str, str]:
        """What was held back at the end; *stopped*: the model ended, and was not cut off."""
        held = "".join((*self._blank, self._held))
        self._blank.clear()
        self._held = ""
        if self._apart and stopped and not self.answer and (said := "".join(self._raw)):
            # no thought can be all that is told as the answer
            marked = set(map(id, self._marked))
            self.thought = [text for text in self.thought if id(text) not in marked]
            self.answer.append(said)
            return "", said
        if self._state == _INSIDE:
            if self._guess and stopped:  # it did not think this time: that was the answer
                self.answer = [*self.thought, held]
                self.thought = []
                self._state = _ANSWER
                return "", "".join(self.answer)
            self.thought.append(held)
            return held, ""
        if held:
            self.answer.append(held)
        return "", held

    def _looks_for(self, piece: str) -> bool:
        """Whether a mark that would count may stand or begin in *piece*."""
        if not (self._stray or self._thinks or self._harmony):
            return False
        return "<" in piece or "[" in piece or "◁" in piece

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

    def _started(self) -> tuple[str, str]:
        text = self._held.lstrip()
        found = _MARK.match(text)
        mark = found[0].lower() if found else ""
        if found and mark in _PAIRS:
            self._opened(mark, text[found.end() :])
        elif found and mark in _CLOSINGS:
            self.turned = not self._apart
            self._closed(mark, text[found.end() :])
        elif not text or _cut(text) == 0:
            pass
        elif self._guess:
            self._opened("", self._held, keep=True)
        else:
            self._state = _ANSWER
        return "", ""

    def _opened(self, mark: str, rest: str, *, keep: bool = False) -> None:
        self._state, self._held, self._stray, self._thinks = _INSIDE, rest, False, True
        self._harmony = self._harmony or "<|" in mark
        self._after = mark
        if not keep:
            self._guess = False

    def _inside(self) -> tuple[str, str]:
        pattern, closings = _CLOSES[self._after]
        text = self._held
        if found := pattern.search(text):
            thought = text[: found.start()]
            self._closed(found[0].lower(), text[found.end() :])
        else:
            cut = _cut(text, closings)
            thought, self._held = text[:cut], text[cut:]
        if thought:
            self.thought.append(thought)
            self._marked.append(thought)
        return thought, ""

    def _closed(self, mark: str, rest: str) -> None:
        self._state, self._held, self._stray, self._thinks = _AFTER, rest, False, True
        self._guess = False
        self._harmony = self._harmony or "<|" in mark

    def _ended(self) -> tuple[str, str]:
        """Right after a thought: white space and further marks are no part of the answer."""
        said = self.answer[-1] if self.answer else ""
        text = self._held if said and not said[-1].isspace() else self._held.lstrip()
        found = _MARK.match(text)
        if found and (mark := found[0].lower()) in _PAIRS:
            self._opened(mark, text[found.end() :])
        elif found:
            self._held = text[found.end() :]
        else:
            self._held = text
            if text and _cut(text) > 0:
                self._state = _ANSWER
        return "", ""

    def _answered(self) -> tuple[str, str]:
        text = self._held
        found = _MARK.search(text) if self._stray or self._thinks or self._harmony else None
        if found is None:
            cut = _cut(text) if self._looks_for(text) else len(text)
            self._held = text[cut:]
            return "", self._said(text[:cut])
        before = self._said(text[: found.start()])
        mark, self._held = found[0].lower(), text[found.end() :]
        if self._harmony and (mark in _ENDS or mark in _FINALS):
            return "", before
        if self._stray and mark in _CLOSINGS and self._counts():
            return self._turn(mark), ""
        if self._thinks and mark in _PAIRS and self._counts():
            self._opened(mark, self._held)
            return "", before
        if mark in _PAIRS:  # of which a closing may be the other half
            self._stray = False
        self._few -= 1
        if not self._few:
            self._stray = self._thinks = False
        return "", before + self._said(found[0])

    def _said(self, text: str) -> str:
        if text:
            self.answer.append(text)
        return text

    def _counts(self) -> bool:
        """Whether a mark right after the answer so far is one, and not spoken of."""
        said = "".join(self.answer)
        if len(_CODE.findall(said)) % 2:
            return False
        line = said[said.rfind("\n") + 1 :]
        if not line.strip():
            return True
        return line.count("`") % 2 == 0 and (line[-1].isalnum() or line[-1] in ".!?…。！？:;)]}*|>")

    def _turn(self, mark: str) -> str:
        """Only the closing came: what looked like the answer was thought."""
        thought = "".join(self.answer).removesuffix("\n")
        self.answer.clear()
        self.turned = True
        self._closed(mark, self._held)
        if thought:
            self.thought.append(thought)
        return thought


def _cut(text: str, marks: tuple[str, ...] | frozenset[str] = _MARKS) -> int:
    """Where the end of *text* begins that may be the beginning of a mark."""
    if not any(first in text for first in _FIRST):
        return len(text)
    for start in range(max(len(text) - _LONGEST + 1, 0), len(text)):
        if text[start] in _FIRST:
            rest = text[start:].lower()
            if any(mark.startswith(rest) for mark in marks):
                return start
    return len(text)
