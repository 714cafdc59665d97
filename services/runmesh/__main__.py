"""`python -m runmesh` is the command line."""

from runmesh.cli import main

main()
