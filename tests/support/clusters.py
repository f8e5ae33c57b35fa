"""A cluster in this process: its actors are objects, what they are asked runs in the event loop."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from mixtura.cluster.ray_worker import RayRowWorker


class ActorDiedHereError(Exception):
    """An actor was ended."""


class ActorHere:
    """An object that is asked as Ray's actors are: ``actor.method.remote(…)`` is awaited."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside
        self.dead = asyncio.get_running_loop().create_future()

    def __getattr__(self, name: str) -> Any:
        actor, method = self, getattr(self.inside, name)

        class Asked:
            @staticmethod
            def remote(*words: Any) -> Any:
                return asyncio.ensure_future(actor.answer(method, words))

        return Asked

    async def answer(self, method: Any, words: tuple[Any, ...]) -> Any:
        if self.dead.done():
            raise ActorDiedHereError
        result = method(*words)
        if not inspect.isawaitable(result):
            return result
        working = asyncio.ensure_future(result)
        await asyncio.wait({working, self.dead}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            raise ActorDiedHereError
        return working.result()


class WorkerHere(RayRowWorker):
    async def start_on_node(self) -> Any:
        return await self.start(), "here"


class ClusterHere:
    """What a pool needs of a ``RayCluster``."""

    own_node = "here"

    def __init__(self) -> None:
        self.workers: list[ActorHere] = []

    def nodes(self) -> list[str]:
        return ["here"]

    def count_places(self, cores: int) -> int:
        return 100

    def start_actor(self, kind: type, *arguments: Any, **_: Any) -> ActorHere:
        if kind is not RayRowWorker:
            return ActorHere(kind(*arguments))
        self.workers.append(ActorHere(WorkerHere(*arguments)))
        return self.workers[-1]

    def end_actor(self, actor: ActorHere) -> None:
        if not actor.dead.done():
            actor.dead.set_result(None)

    def is_dead(self, error: BaseException) -> bool:
        return isinstance(error, ActorDiedHereError)

    def is_passing(self, error: BaseException) -> bool:
        return False

    def is_ray_error(self, error: BaseException) -> bool:
        return isinstance(error, ActorDiedHereError)
