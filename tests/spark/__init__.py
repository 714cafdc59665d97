"""What needs a real Spark: `make test-spark` and `make demo-spark` bring it."""
