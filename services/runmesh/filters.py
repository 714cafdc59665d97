"""What matches many subjects, for consumers and for permissions: a token that is not known is a wildcard."""

import re
from typing import Final

from runmesh.subjects import Form, token

_TOKEN: Final = re.compile(r"<([^>]+)>")


def requests(verb: str) -> str:
    """mesh.request.<verb>.*"""
    return f"mesh.request.{verb}.*"


def api(verb: str) -> str:
    """mesh.api.<verb>.*"""
    return f"mesh.api.{verb}.*"


def facts_of_run(run: str, project: str | None = None) -> tuple[str, str]:
    """Match one run's life: mesh.run.*.<project or *>.*.<run> and mesh.task.*.*.*.<project or *>.<run>.*"""
    return matching(Form.RUN_FACT, project=project, run=run), facts_of_tasks(run, project=project)


def facts_of_tasks(run: str, block: str | None = None, state: str | None = None, project: str | None = None) -> str:
    """mesh.task.<state or *>.*.*.<project or *>.<run>.<block or *>"""
    return matching(Form.TASK_FACT, state=state, project=project, run=run, block=block)


def logs_of_run(run: str, block: str | None = None, project: str | None = None) -> str:
    """mesh.log.*.*.<project or *>.<run>.<block or *>"""
    return matching(Form.LOG, project=project, run=run, block=block)


def runs_of(project: str | None = None) -> str:
    """mesh.run.*.<project or *>.*.*"""
    return matching(Form.RUN_FACT, project=project)


def matching(form: Form, **known: str | None) -> str:
    """Match all subjects of a form that have these tokens, by the form's names of them."""
    return _TOKEN.sub(lambda found: "*" if (name := known.get(found[1])) is None else token(name), form)
