"""The command `runmesh-run`; flags and exit codes are in `arguments`.

An interpreter that doesn't have Runmesh installed can run this file as a plain script. It then takes the package from
this file's own place, and from nowhere near it: what is installed beside it belongs to another interpreter.
"""

import gc
import os
import sys

OLDEST = (3, 11)
NEEDED = {"yaml": "pyyaml", "jinja2": "jinja2", "markupsafe": "jinja2"}

if __name__ == "__main__" and sys.version_info < OLDEST:  # before anything that an older Python doesn't understand
    print(f"runmesh-run: {sys.executable} is older than Python 3.11", file=sys.stderr)  # noqa: T201
    sys.exit(2)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 the user's code failed, 2 something given is wrong."""
    gc.disable()  # imports leave no garbage, and looking for it takes a tenth of a small block's time
    try:
        from runmesh.runtime.command import run  # noqa: PLC0415 - it may miss a package, which is a message

        gc.freeze()
        gc.enable()
        return run(sys.argv[1:] if argv is None else argv, os.environ)
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        install = f"{sys.executable} -m pip install {NEEDED[error.name]}"
        print(f"runmesh-run: {error.name} is missing in this interpreter (install it: {install})", file=sys.stderr)  # noqa: T201
        return 2


def _take_package_from_here() -> None:
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib is slow to import
    if sys.path and sys.path[0] == here:
        del sys.path[0]
    import importlib.util  # noqa: PLC0415 - not before our own modules are off the path

    package = os.path.dirname(here)  # noqa: PTH120
    start = os.path.join(package, "__init__.py")  # noqa: PTH118
    spec = importlib.util.spec_from_file_location("runmesh", start, submodule_search_locations=[package])
    if spec is None or spec.loader is None:
        raise ImportError(start)
    module = importlib.util.module_from_spec(spec)
    sys.modules["runmesh"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    if not __package__:
        _take_package_from_here()
    sys.exit(main())
