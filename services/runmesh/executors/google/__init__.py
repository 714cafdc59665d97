"""The parts of the Cloud Run executor."""
