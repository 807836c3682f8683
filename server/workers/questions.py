"""Questions of a front end to the hub."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from whispergpt.server.workers import messages as m


class HubQuestions:
    """Asks the hub, and has its answers come to whoever asked.

    Args:
        post: sends the hub a message.
    """

    def __init__(self, post: Callable[[m.Asked], None]) -> None:
        self._post = post
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[m.Answer]] = {}

    async def ask(self, question: m.Question) -> m.Answer:
        """Return the hub's answer.

        Raises:
            ApiError: the hub refuses.
        """
        number = next(self._ids)
        self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._post(m.Asked(number, question))
            answer = await self._asked[number]
        finally:
            del self._asked[number]
        if isinstance(answer, m.Refusal):
            raise answer.error()
        return answer

    def answered(self, message: m.Answered) -> None:
        """Take an answer of the hub."""
        if (asked := self._asked.get(message.question)) and not asked.done():
            asked.set_result(message.answer)
