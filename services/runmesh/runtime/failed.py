"""The one error of the runtime's own: what ends a job with exit code 1."""

from runmesh.errors import RunmeshError


class Failed(RunmeshError):
    """The job didn't do its work. Its cause, if it has one, is the user's exception, shown with its traceback."""
