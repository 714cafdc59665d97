"""The crash tests look at processes through /proc; and the matrix's cases are assertions as well.

`make test` runs the matrix with processes and with a platform that stands for all; each platform's own, and what takes
longer, is for `make chaos`.
"""

import os
import sys

import pytest

pytest.register_assert_rewrite("tests.chaos.matrix")

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]
elif os.environ.get("RUNMESH_CHAOS") != "long":
    collect_ignore = [
        *("test_gaps.py", "test_clock.py", "test_cluster.py", "test_full_disk.py"),
        *("test_k8s.py", "test_ecs.py", "test_pyspark.py", "test_gcp_cloud_run.py"),
        "test_azure_container_instance.py",
    ]
