"""The demo, every block of it as a Job on an emulated Kubernetes cluster: `make demo-k8s`.

The Jobs run on this machine, so they find the project and its variables where they are.
"""

import asyncio
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import yaml

from tests.emulators.running import running_cluster

_NAMESPACE: Final = "penguins"
"""The demo's own."""


async def main() -> int:
    """Run it; return its exit code."""
    with TemporaryDirectory(prefix="demo-k8s-") as directory:
        config, socket = Path(directory) / "k8s.yaml", Path(directory) / "cluster"
        config.write_text(yaml.safe_dump({"image": "emulated", "shared": True}))
        programs = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        async with running_cluster(socket, "--namespace", _NAMESPACE, PATH=programs) as there:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "runmesh", "demo", "--executor-type", "k8s"),
                env={**os.environ, **there, "K8S_CONFIG_FILE": str(config), "KUBE_NAMESPACE": _NAMESPACE},
            )
            return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
