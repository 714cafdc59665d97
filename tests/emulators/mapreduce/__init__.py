"""The parts of `tests.emulators.emr`."""
