"""Who may know whom: the contracts of pyproject.toml hold, and each of them can be broken."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "services" / "runmesh"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def check(services: Path) -> str:
    """Return import-linter's report on the package in a source root."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(services), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [*command, "--no-logo", "--config", str(ROOT / "pyproject.toml")],
        env=environment,
        cwd=services,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_every_contract_holds() -> None:
    report = check(SOURCE.parent)
    assert "0 broken." in report, report


@pytest.mark.parametrize(
    ("module", "forbidden", "contract"),
    [
        ("worker/report.py", "nats", "Only the bus imports nats"),
        ("executors/local_python.py", "runmesh.bus", "Each layer imports only layers below it"),
        ("worker/claims.py", "runmesh.resolver.state", "Each layer imports only layers below it"),
        ("resolver/plan.py", "runmesh.resolver.store", "The resolver's service uses its pure modules"),
        ("resolver/plan.py", "asyncio", "The resolver decides without input or output"),
        ("executors/other.py", "runmesh.executors.local.launch", "Executors don't know each other"),
        ("runtime/job.py", "runmesh.subjects", "What runs inside a job imports nothing of the mesh"),
        ("projects/graph.py", "runmesh.events", "Reading a project needs nothing of the mesh"),
    ],
)
def test_a_contract_breaks_when_a_module_imports_what_it_must_not(
    tmp_path: Path, module: str, forbidden: str, contract: str
) -> None:
    copy = tmp_path / "runmesh"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / module).open("a") as file:
        file.write(f"\nimport {forbidden}\n")
    broken = [line for line in check(tmp_path).splitlines() if "BROKEN" in line]
    assert any(line.startswith(contract) for line in broken), broken


@pytest.mark.parametrize(("package", "allowed"), [("runtime", {"projects", "errors"}), ("projects", {"errors"})])
def test_no_module_is_missing_from_what_a_package_must_not_import(package: str, allowed: set[str]) -> None:
    (forbidden,) = (
        contract["forbidden_modules"]
        for contract in CONTRACTS
        if contract.get("source_modules") == [f"runmesh.{package}"]
    )
    modules = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    others = modules - allowed - {package, "__init__", "__main__"}
    assert {f"runmesh.{name}" for name in others} == set(forbidden)
