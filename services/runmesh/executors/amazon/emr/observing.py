"""What jobs are doing: a call for ten steps of a cluster, one for the cluster itself, one for a job on EMR Serverless.

What has ended is asked for once, with what its script reported. A job whose script was removed is gone.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import structlog

from runmesh.executor import ENDED, GONE, UNKNOWN, Handle, Observation, Phase
from runmesh.executors.amazon.emr.clusters import leaves_application
from runmesh.executors.amazon.emr.handle import Address
from runmesh.executors.amazon.emr.place import Place
from runmesh.executors.amazon.emr.verdict import COMPLETED, Ending, Report, observed
from runmesh.executors.amazon.refusals import Refused

log = structlog.get_logger(__name__)

Json = dict[str, Any]
Answers = dict[Handle, Observation]


class Observing:
    """Observes the jobs of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._over: Answers = {}

    async def observe(self, addresses: Collection[Address]) -> Answers:
        """Answer for every address; UNKNOWN where AWS didn't. Raises what AWS did, where it answered nothing at all."""
        found = {each.handle: self._over[each.handle] for each in addresses if each.handle in self._over}
        groups: dict[str, list[Address]] = defaultdict(list)
        for each in addresses:
            if each.handle not in found:
                groups[each.place if not each.is_serverless else each.job].append(each)
        answers = await asyncio.gather(*(self._group(group) for group in groups.values()), return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        if errors and len(errors) == len(answers) and not found:
            raise errors[0]
        for group, answer in zip(groups.values(), answers, strict=True):
            if isinstance(answer, BaseException):
                log.warning("not observed", place=group[0].place, error=repr(answer))
                found |= dict.fromkeys((each.handle for each in group), UNKNOWN)
            else:
                found |= answer
        self._over |= {handle: seen for handle, seen in found.items() if seen.phase in ENDED}
        return found

    def forget(self, handle: Handle) -> None:
        """Ask again for a job that has ended."""
        self._over.pop(handle, None)

    async def _group(self, group: list[Address]) -> Answers:
        if group[0].is_serverless:
            return {each.handle: await self._job(each) for each in group}
        return await self._steps(group)

    async def _steps(self, group: list[Address]) -> Answers:
        clusters, identity = self._place.clusters, group[0].place
        steps = await clusters.steps(identity, [each.job for each in group])
        ending = None
        if any(step["Status"]["State"] != COMPLETED for step in steps.values()):
            ending = await clusters.ending(identity)
        return {each.handle: await self._step(each, steps.get(each.job), ending) for each in group}

    async def _step(self, address: Address, step: Json | None, ending: Ending | None) -> Observation:
        if step is None:
            return GONE
        state, url = step["Status"]["State"], address.console
        seen = observed(state, why=_why(step["Status"]), ending=ending, url=url)
        if seen.phase is Phase.FAILED:
            if not (ending and ending.is_final) and await self._goes_on(address, step):
                return Observation(Phase.RUNNING, url=url)
            report = await self._reported(address, step["Status"])
            seen = observed(state, why=_why(step["Status"]), ending=ending, report=report, url=url)
        return await self._unless_removed(address, seen)

    async def _job(self, address: Address) -> Observation:
        try:
            job = await self._place.serverless.job(address.place, address.job)
        except Refused as refused:
            if refused.code == "ResourceNotFoundException":
                return GONE
            raise
        state, why = job["state"], job.get("stateDetails") or ""
        seen = observed(state, why=why, url=address.console)
        if seen.phase is Phase.FAILED:
            report = await self._place.stored.report(address.folder)
            seen = observed(state, why=why, report=report, url=address.console)
        return await self._unless_removed(address, seen)

    async def _unless_removed(self, address: Address, seen: Observation) -> Observation:
        if seen.phase in ENDED and await self._place.stored.begun(address.folder) is None:
            return GONE
        return seen

    async def _goes_on(self, address: Address, step: Json) -> bool:
        """Whether the application of a cancelled step is still being killed."""
        if not leaves_application(step):
            return False
        killing = await self._place.clusters.stopping(address.place, step)
        return killing is not None and killing["Status"]["State"] != COMPLETED

    async def _reported(self, address: Address, status: Json) -> Report | None:
        """Return the script's report; without one, the end of what EMR has kept of its log."""
        if report := await self._place.stored.report(address.folder):
            return report
        file = (status.get("FailureDetails") or {}).get("LogFile")
        return Report(tail=await self._place.stored.last_lines(file)) if file else None


def _why(status: Json) -> str:
    """Return AWS's own words on a state."""
    details = status.get("FailureDetails") or {}
    told = (status.get("StateChangeReason") or {}).get("Message")
    return ": ".join(filter(None, (told, details.get("Reason"), details.get("Message"))))
