"""The command of a step: spark-submit of the script in S3 that runs the task.

A task of our own runtime runs in cluster mode, its driver on a core node; whatever else (a command block) runs as a
process on the primary node, since YARN ends a driver that makes no Spark session in time. YARN itself must not try
again: what is run again is decided by the mesh; nor may a step end before its application. The tag is how the
application is found that outlives its spark-submit.
"""

import re
from itertools import pairwise
from typing import Any, Final

from runmesh.executor import Task
from runmesh.executors.amazon.emr.config import Config
from runmesh.platforms.exits import RUNTIME

_CLUSTER: Final = ("--deploy-mode", "cluster")
_KILL: Final = """
for _ in $(seq 300); do pgrep -f "spark.yarn.tags=$0" >/dev/null || break; sleep 1; done
found=$(yarn application -list -appTags "$0" -appStates NEW,NEW_SAVING,SUBMITTED,ACCEPTED,RUNNING) || exit 1
for app in $(grep -o 'application_[0-9_]*' <<<"$found" | sort -u); do yarn application -kill "$app" || exit 1; done
"""
"""First the step's spark-submit must be gone, which could submit the application a moment later."""

Json = dict[str, Any]


def is_native(task: Task[Config]) -> bool:
    """Whether a task is our runtime's, and so gets a Spark session."""
    return bool(task.command) and task.command[0] == RUNTIME


def arguments(task: Task[Config], script: str, code: str | None) -> list[str]:
    """Return the argv of the step."""
    config = task.config
    mode = _CLUSTER if is_native(task) else ("--deploy-mode", "client")
    return ["spark-submit", *mode, *_options(config, code), *_yarn(task), script]


def _options(config: Config, code: str | None) -> list[str]:
    """Return the files that are brought along, those of `spark_submit_args` among them, and the other arguments."""
    files = {"--jars": list(config.spark_jars), "--py-files": [code] if code else []}
    others: list[str] = []
    words = iter(config.spark_submit_args)
    for word in words:
        name, given, value = word.partition("=")
        if name in files:
            files[name].append(value if given else next(words, ""))
        else:
            others.append(word)
    return [*(word for name, brought in files.items() if brought for word in (name, ",".join(brought))), *others]


def _yarn(task: Task[Config]) -> list[str]:
    python = task.config.python
    return _confs(
        {
            "spark.pyspark.python": python,
            "spark.yarn.appMasterEnv.PYSPARK_PYTHON": python,
            "spark.yarn.maxAppAttempts": "1",
            "spark.yarn.submit.waitAppCompletion": "true",
            "spark.yarn.tags": task.key,
        }
    )


def step(name: str, argv: list[str]) -> Json:
    """Return a step as AddJobFlowSteps takes it."""
    return {
        "Name": name,
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": argv},
    }


def killing(name: str, key: str) -> Json:
    """Return the step that kills the application of a key, of which CancelSteps knows nothing."""
    return step(name, ["bash", "-c", _KILL, key])


def outlives_its_step(argv: list[str]) -> bool:
    """Whether a step's driver is an application of YARN's, which goes on when the step is cancelled."""
    return any(pair == _CLUSTER for pair in pairwise(argv))


def job_driver(task: Task[Config], script: str, code: str | None) -> Json:
    """Return what EMR Serverless runs: it knows no YARN, and has the interpreter of its image."""
    submit = " ".join(map(_word, _options(task.config, code)))
    return {"sparkSubmit": {"entryPoint": script, **({"sparkSubmitParameters": submit} if submit else {})}}


def _confs(pairs: dict[str, str]) -> list[str]:
    return [word for key, value in pairs.items() for word in ("--conf", f"{key}={value}")]


def _word(text: str) -> str:
    """Return a word as the one text has it that EMR Serverless splits at spaces."""
    if text and not re.search(r"""[\s"'\\]""", text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
