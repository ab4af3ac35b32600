"""What a long computation says while it runs."""

from typing import Any, Generic, NamedTuple, TypeVar

Result = TypeVar("Result")


class Progress(NamedTuple, Generic[Result]):
    """One report of a generator engine; the last one carries the whole result.

    step: work done so far, 0 <= step <= total
    total: all the work there is
    result: the result as far as it is known, or None where there is nothing to draw yet
    """

    step: int
    total: int
    result: Result | Any
