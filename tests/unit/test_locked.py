"""What the images install, byte for byte (deploy/requirements/), is what the tests ran with."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
LOCKS = REPOSITORY / "deploy/requirements"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = sorted(path.stem for path in LOCKS.glob("*.txt") if path.stem not in {"base", "build"})
ELSEWHERE = {"dev", "all", "embedded"}
"""Extras that no image holds."""


def locked(name: str) -> dict[str, str]:
    """Return the versions that a lock pins for this machine, by name; fail for one without a digest."""
    entries = (LOCKS / f"{name}.txt").read_text().replace("\\\n", "").splitlines()
    assert all(re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", entry) for entry in entries), "run `make lock`"
    requirements = [Requirement(entry.partition(" --hash")[0]) for entry in entries]
    return {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }


def pinned() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def needed(requirement: Requirement) -> set[str]:
    """Return what a distribution needs besides itself, as far as it is installed here."""
    try:
        found = [Requirement(line) for line in requires(requirement.name) or ()]
    except PackageNotFoundError:
        return set()
    extras = requirement.extras or {""}
    return {
        canonicalize_name(other.name)
        for other in found
        if other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in extras)
    }


def test_every_extra_that_an_image_may_hold_has_a_lock() -> None:
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"]) - ELSEWHERE - {"speed"}


@pytest.mark.parametrize("name", ["base", *EXTRAS])
def test_a_lock_pins_the_versions_of_the_constraints(name: str) -> None:
    assert locked(name).items() <= pinned().items(), "run `make lock`"


@pytest.mark.parametrize("name", ["base", *EXTRAS])
def test_a_lock_holds_all_that_is_needed(name: str) -> None:
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *extras["speed"], *extras.get(name, ())]
    there = locked("base") | locked(name)
    for requirement in [*map(Requirement, lines), *map(Requirement, there)]:
        assert {canonicalize_name(requirement.name), *needed(requirement)} <= there.keys(), "run `make lock`"


def test_what_builds_the_package_is_locked_too() -> None:
    builds = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]["requires"]
    assert set(builds) <= locked("build").keys()


def test_the_label_of_the_image_is_the_version() -> None:
    dockerfile = (REPOSITORY / "deploy/Dockerfile").read_text()
    assert f'org.opencontainers.image.version="{PROJECT["version"]}"' in dockerfile


def test_whoever_it_runs_as_may_write_to_its_state() -> None:
    dockerfile = (REPOSITORY / "deploy/Dockerfile").read_text()
    state = re.search(r"RUNMESH_STATE_DIR=(\S+)", dockerfile)
    assert state
    assert re.search(rf"install -d .*-m 1777 {state[1]}$", dockerfile, re.MULTILINE)
