"""The parts of the ECS executor."""
