"""Text in which a model thinks before it answers, told apart as it comes."""

from __future__ import annotations

OPENING, CLOSING = "<think>", "</think>"
_BARE = "\n" + CLOSING

_START, _INSIDE, _AFTER, _ANSWER = range(4)


class Splitter:
    """
    Puts what stands between ``<think>`` and ``</think>`` at the start of an answer aside.

    Feed it pieces, cut anywhere. Some chat templates write the opening themselves, so that
    only the closing comes: on a line of its own it turns all before it into thought, and
    *turned* says so; *inside* says that this model is known for it. Later tags are text.
    """

    __slots__ = (
        "_blank",
        "_guess",
        "_held",
        "_state",
        "_tail",
        "_watching",
        "answer",
        "thought",
        "turned",
    )

    def __init__(self, *, inside: bool = False) -> None:
        self.thought: list[str] = []
        self.answer: list[str] = []
        self.turned = False
        self._state = _START
        self._guess = inside
        self._held = ""
        self._blank: list[str] = []
        self._watching = True
        self._tail = "\n"

    def off(self) -> None:
        """The upstream tells thought and answer apart itself: all text is answer."""
        if self._state == _START:
            self._state, self._watching, self._guess = _ANSWER, False, False

    def feed(self, piece: str) -> tuple[str, str]:
        """The thought and the answer that *piece* adds."""
        if self._state == _ANSWER:
            return self._answered(piece)
        if self._state == _START:
            return self._started(piece)
        if self._state == _INSIDE:
            return self._thought(piece)
        text = piece.lstrip()
        if text:
            self._state = _ANSWER
            self.answer.append(text)
        return "", text

    def finish(self, *, stopped: bool) -> tuple[str, str]:
        """What was held back at the end; *stopped*: the model ended, and was not cut off."""
        held = "".join((*self._blank, self._held))
        self._blank.clear()
        self._held = ""
        if self._state == _INSIDE:
            if self._guess and stopped:  # it did not think this time: that was the answer
                self.answer = [*self.thought, held]
                self.thought = []
                self._state = _ANSWER
                return "", "".join(self.answer)
            self.thought.append(held)
            return held, ""
        if self._state == _START and held:
            self.answer.append(held)
            return "", held
        return "", ""

    def _started(self, piece: str) -> tuple[str, str]:
        if not piece.strip() and not self._held.strip():  # no tag has begun: only white space
            self._blank.append(piece)
            return "", ""
        self._held = "".join((*self._blank, self._held, piece))
        self._blank.clear()
        text = self._held.lstrip()
        if text.startswith(OPENING):
            self._state, self._held, self._guess = _INSIDE, "", False
            return self._thought(text[len(OPENING) :])
        if OPENING.startswith(text):
            return "", ""
        held, self._held = self._held, ""
        if self._guess:
            self._state = _INSIDE
            return self._thought(held)
        self._state = _ANSWER
        return self._answered(held)

    def _thought(self, piece: str) -> tuple[str, str]:
        text = self._held + piece
        thought, closed, rest = text.partition(CLOSING)
        if closed:
            self._state, self._held, self._guess = _AFTER, "", False
            self._watching = False
        else:
            self._held = _begun(text)
            thought = text[: len(text) - len(self._held)]
        if thought:
            self.thought.append(thought)
        return thought, self.feed(rest)[1] if rest else ""

    def _answered(self, piece: str) -> tuple[str, str]:
        if not self._watching:
            self.answer.append(piece)
            return "", piece
        seen = self._tail + piece
        self._tail = seen[1 - len(_BARE) :]
        if "<" in seen:
            closed, opened = seen.find(_BARE), seen.find(OPENING)
            if closed >= 0 and not 0 <= opened < closed:
                return self._turn(piece)
            self._watching = opened < 0
        self.answer.append(piece)
        return "", piece

    def _turn(self, piece: str) -> tuple[str, str]:
        """Only the closing came: what looked like the answer was thought."""
        whole = "\n" + "".join(self.answer) + piece
        thought, _, rest = whole.partition(_BARE)
        self.answer, self._watching = [], False
        self._state, self.turned = _AFTER, True
        thought = thought.removeprefix("\n")
        if thought:
            self.thought.append(thought)
        return thought, self.feed(rest)[1]


def _begun(text: str) -> str:
    """The end of *text* that may be the beginning of the closing tag."""
    for length in range(min(len(CLOSING) - 1, len(text)), 0, -1):
        if text.endswith(CLOSING[:length]):
            return CLOSING[:length]
    return ""
