"""Many looks at once, of which some may fail: those of the others count."""

import asyncio
from collections.abc import Awaitable, Collection, Sequence

import structlog

from runmesh.executor import UNKNOWN, Handle, Observation
from runmesh.executors.amazon.emr.handle import Address

log = structlog.get_logger(__name__)

Answers = dict[Handle, Observation]
Look = tuple[Collection[Address], Awaitable[Answers]]
"""Some jobs, and what asks for them."""


async def together(looks: Sequence[Look]) -> Answers:
    """Return all answers: UNKNOWN for the jobs of a look that failed. Raises the first error if all did."""
    answers = await asyncio.gather(*(look for _, look in looks), return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    if errors and len(errors) == len(answers):
        raise errors[0]
    found: Answers = {}
    for (addresses, _), answer in zip(looks, answers, strict=True):
        if isinstance(answer, BaseException):
            log.warning("not observed", action="observe", jobs=[each.job for each in addresses], error=repr(answer))
            found |= dict.fromkeys((each.handle for each in addresses), UNKNOWN)
        else:
            found |= answer
    return found
