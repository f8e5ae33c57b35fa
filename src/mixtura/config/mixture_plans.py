"""The mixtures by name; a preset is read when it is used, for it loads what its pattern needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping

from mixtura.config.plan import MixtureSpec


class MixturePlans(MutableMapping[str, MixtureSpec]):
    """Plans in the order in which their names came; which names there are reads none of them."""

    def __init__(self) -> None:
        self._plans: dict[str, MixtureSpec | None] = {}
        self._unread: dict[str, Callable[[], MixtureSpec]] = {}

    def read_when_used(self, name: str, read: Callable[[], MixtureSpec]) -> None:
        """Let *read* give the plan of *name* when someone asks for it."""
        self._plans[name] = None
        self._unread[name] = read

    def list_own_first(self, models: Iterable[str]) -> list[str]:
        """
        The names of *models* and mixtures, those that come with the package last: of many names
        the last are left out.
        """
        return sorted({*models, *self._plans}, key=lambda name: (name in self._unread, name))

    def __getitem__(self, name: str) -> MixtureSpec:
        plan = self._plans[name]
        if plan is None:
            plan = self._plans[name] = self._unread[name]()
        return plan

    def __setitem__(self, name: str, plan: MixtureSpec) -> None:
        self._plans[name] = plan
        self._unread.pop(name, None)

    def __delitem__(self, name: str) -> None:
        del self._plans[name]
        self._unread.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._plans

    def __iter__(self) -> Iterator[str]:
        return iter(self._plans)

    def __len__(self) -> int:
        return len(self._plans)
