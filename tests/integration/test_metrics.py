"""What services count for Prometheus."""

from pathlib import Path

from prometheus_client import REGISTRY

from runmesh.bus import Bus
from tests.eventually import eventually
from tests.shop import answering, ask, resolving, settings_for, states, write_pipeline, write_project


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_every_end_of_a_run_is_counted_once(bus: Bus, tmp_path: Path) -> None:
    write_pipeline(write_project(tmp_path / "shop"), "one", {"only": []})
    completed, rejected = counted("runmesh_runs_total", project="shop", state="completed"), "rejected"
    before = counted("runmesh_runs_total", project="shop", state=rejected)
    letters = counted("runmesh_dead_letters_total", service="resolver", reason="undecodable")
    async with resolving(bus, settings_for(tmp_path)), answering(bus):
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        await ask(bus, "run", {"pipeline": "two", "id": "r2"})
        await ask(bus, "run", b"nonsense")

        async def all_ended() -> bool:
            return "completed" in await states(bus, "r1") and rejected in await states(bus, "r2")

        await eventually(all_ended)
        await eventually(
            lambda: counted("runmesh_dead_letters_total", service="resolver", reason="undecodable") == letters + 1
        )
    assert counted("runmesh_runs_total", project="shop", state="completed") == completed + 1
    assert counted("runmesh_runs_total", project="shop", state=rejected) == before + 1
