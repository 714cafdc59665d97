"""The parts of `executors.k8s`; all but its I/O is pure, and none imports the SDK at module level."""
