"""What jobs are doing: a call for ten steps of a cluster, one for the cluster itself, one for a job on EMR Serverless.

What has ended is asked for once, with what its script reported. A job whose script was removed is gone. A step that
ended and left no report may have left its driver on YARN: it runs until that was killed.
"""

from collections import defaultdict
from collections.abc import Awaitable, Collection
from typing import Any

from runmesh.events import Cause
from runmesh.executor import ENDED, GONE, Handle, Observation, Phase
from runmesh.executors.amazon.emr.asking import Answers, together
from runmesh.executors.amazon.emr.clusters import leaves_application
from runmesh.executors.amazon.emr.handle import Address
from runmesh.executors.amazon.emr.place import Place
from runmesh.executors.amazon.emr.serverless import driver_log
from runmesh.executors.amazon.emr.verdict import COMPLETED, FAILED, Ending, Report, observed
from runmesh.executors.amazon.refusals import Refused

Json = dict[str, Any]


class Observing:
    """Observes the jobs of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._over: Answers = {}

    async def observe(self, addresses: Collection[Address]) -> Answers:
        """Answer for every address; UNKNOWN where AWS didn't. Raises what AWS did, where it answered nothing at all."""
        groups: dict[str, list[Address]] = defaultdict(list)
        over = [each for each in addresses if each.handle in self._over]
        for each in addresses:
            if each.handle not in self._over:
                groups[each.job if each.is_serverless else each.place].append(each)
        looks = [(group, self._group(group)) for group in groups.values()]
        return await together([*looks, *([(over, self._remembered(over))] if over else [])])

    def was_cancelled(self, handle: Handle) -> bool:
        """Whether a job was seen to have ended so."""
        return handle in self._over and self._over[handle].cause is Cause.CANCELLED

    def forget(self, handle: Handle) -> None:
        """Ask again for a job that has ended."""
        self._over.pop(handle, None)

    async def _remembered(self, over: list[Address]) -> Answers:
        return {each.handle: self._over[each.handle] for each in over}

    async def _group(self, group: list[Address]) -> Answers:
        if group[0].is_serverless:
            return await together([([each], self._kept(each, self._job(each))) for each in group])
        clusters, identity = self._place.clusters, group[0].place
        steps = await clusters.steps(identity, [each.job for each in group])
        ending = None
        if any(step["Status"]["State"] != COMPLETED for step in steps.values()):
            ending = await clusters.ending(identity)
        looks = {each: self._step(each, steps.get(each.job), ending) for each in group}
        return await together([([each], self._kept(each, look)) for each, look in looks.items()])

    async def _kept(self, address: Address, look: Awaitable[Observation]) -> Answers:
        seen = await look
        if seen.phase in ENDED:
            self._over[address.handle] = seen
        return {address.handle: seen}

    async def _step(self, address: Address, step: Json | None, ending: Ending | None) -> Observation:
        if step is None:
            return GONE
        state, url = step["Status"]["State"], address.console
        seen = observed(state, why=_why(step["Status"]), ending=ending, url=url)
        if seen.phase is Phase.FAILED:
            report = await self._place.stored.report(address.folder)
            told = report is not None and state == FAILED
            if not told and not (ending and ending.is_final) and await self._goes_on(address, step):
                return Observation(Phase.RUNNING, url=url)
            report = report or await self._logged((step["Status"].get("FailureDetails") or {}).get("LogFile"))
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
            report = await self._place.stored.report(address.folder) or await self._logged(driver_log(job))
            seen = observed(state, why=why, report=report, url=address.console)
        return await self._unless_removed(address, seen)

    async def _unless_removed(self, address: Address, seen: Observation) -> Observation:
        if seen.phase in ENDED and await self._place.stored.begun(address.folder) is None:
            return GONE
        return seen

    async def _goes_on(self, address: Address, step: Json) -> bool:
        """Whether the application of a step that was cancelled, or failed without a word, may run: it is killed first.

        So it is whoever cancelled the step, and whatever became of its spark-submit.
        """
        if not leaves_application(step):
            return False
        killing = await self._place.clusters.stopping(address.place, step)
        if killing is None:
            await self._place.clusters.kill(address.place, address.job, address.folder.name)
        return killing is None or killing["Status"]["State"] != COMPLETED

    async def _logged(self, file: str | None) -> Report | None:
        """Return the end of a log of EMR's own, where the script has left no report."""
        return Report(tail=await self._place.stored.last_lines(file)) if file else None


def _why(status: Json) -> str:
    """Return AWS's own words on a state."""
    details = status.get("FailureDetails") or {}
    told = (status.get("StateChangeReason") or {}).get("Message")
    said = ": ".join(filter(None, (told, details.get("Reason"), details.get("Message"))))
    return f"{said} (its log: {details['LogFile']})" if details.get("LogFile") else said
