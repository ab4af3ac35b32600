"""One run at a time for each visitor."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr


class Turns:
    """A later run of a visitor ends an earlier one that still streams."""

    def __init__(self, visitors: int = 10_000):
        self._visitors = visitors
        self._latest: OrderedDict[str | None, object] = OrderedDict()

    def __call__(self, handler: Callable[..., Iterator]) -> Callable[..., Iterator]:
        """A handler that streams until a later event of the same visitor."""

        def handle(request: gr.Request, *values: Any) -> Iterator:
            turn = self._take(request.session_hash)
            for seen in handler(*values):
                if self._latest.get(request.session_hash) is not turn:
                    # gradio sends what came last once more at the end: let that be nothing
                    yield gr.skip()
                    return
                yield seen

        return handle

    def _take(self, visitor: str | None) -> object:
        turn = self._latest[visitor] = object()
        self._latest.move_to_end(visitor)
        while len(self._latest) > self._visitors:
            self._latest.popitem(last=False)
        return turn
