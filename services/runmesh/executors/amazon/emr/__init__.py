"""The parts of `executors.pyspark`: all but `clusters`, `serverless` and `stored` is pure, and none imports an SDK."""
