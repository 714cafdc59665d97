"""The program `runmesh`, also `python -m runmesh`."""

from runmesh.interrupts import end_at_once


def main() -> None:
    """Run the command line, and exit."""
    end_at_once()
    from runmesh.cli import main as command_line  # noqa: PLC0415 - which takes a while

    command_line()


if __name__ == "__main__":
    main()
