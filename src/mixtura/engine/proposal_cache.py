"""Proposals kept for the rest of a user's turn, so that an agent's loop asks for them once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from mixtura.core.types import Completion, Request
from mixtura.prompts.conversation_turns import Shape, has_tool_results, split_turn, turn_key


class _ProposalStore:
    """The proposals of all conversations, the oldest first."""

    def __init__(self, most: int, letters: int) -> None:
        self.most = most
        self.letters = letters
        self.kept: OrderedDict[str, Sequence[Completion]] = OrderedDict()


class ProposalCache:
    """
    Proposals of the last *most* turns of any conversations, by the turn's key; *letters*: the most
    characters of all of them together.
    """

    def __init__(self, most: int = 256, letters: int = 16_000_000) -> None:
        self._store = _ProposalStore(most, letters)
        self._owner = ""

    def for_owner(self, owner: str) -> ProposalCache:
        """The same store for one *owner*, who finds only what was put there for them."""
        own = ProposalCache()
        own._store, own._owner = self._store, f"{owner}\n"
        return own

    def get(self, key: str) -> Sequence[Completion] | None:
        """The proposals of the turn *key*; None where none are kept."""
        kept, key = self._store.kept, self._owner + key
        if key in kept:
            kept.move_to_end(key)
        return kept.get(key)

    def put(self, key: str, proposals: Sequence[Completion]) -> None:
        """Keep *proposals* for the turn *key*; the turns used longest ago make room."""
        store, key = self._store, self._owner + key
        store.letters -= _count_characters(proposals) - _count_characters(store.kept.get(key, ()))
        store.kept[key] = proposals
        store.kept.move_to_end(key)
        while store.kept and (len(store.kept) > store.most or store.letters < 0):
            store.letters += _count_characters(store.kept.popitem(last=False)[1])


def _count_characters(proposals: Sequence[Completion]) -> int:
    return sum(len(proposal.text) + len(proposal.reasoning) for proposal in proposals)


# ---- where a turn begins


def find_turn_proposals(
    turns: ProposalCache | None, request: Request, shape: Shape
) -> Sequence[Completion] | None:
    """This turn's proposals, when tools were called since they were made."""
    # Without a tool's result this is a new question, even in the same words.
    if turns is None or not has_tool_results(split_turn(request)[1]):
        return None
    return turns.get(turn_key(request, shape))


def store_turn_proposals(
    turns: ProposalCache | None, request: Request, shape: Shape, proposals: Sequence[Completion]
) -> None:
    """Proposals for the rest of the turn, where there may be one: where tools can be called."""
    if turns is not None and request.tools:
        turns.put(turn_key(request, shape), proposals)
