"""The program `runmesh`, also `python -m runmesh`.

Its imports take a while, and an interrupt raised in the middle of one may come out as anything. So until there is
something to end well (`cli.exits.run`, `service`), Ctrl-C ends the process as SIGTERM does: at once, without a word.
"""

import signal


def main() -> None:
    """Run the command line, and exit."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as a shell's `&` asks
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from runmesh.cli import main as command_line  # noqa: PLC0415 - which takes a while

    command_line()


if __name__ == "__main__":
    main()
