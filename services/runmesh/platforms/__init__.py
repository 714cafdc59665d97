"""What executors of different platforms do by one rule; none of it knows a platform."""
