"""Cloud Run's jobs and Cloud Logging as their APIs show them, over gRPC, on the published message classes.

Faithful in what the executor builds on: a job and its execution made by one call (`start_execution_token`), names and
their limits, ALREADY_EXISTS, statuses and conditions in their order, the exit code in the task alone, labels, quotas,
pages, operations, late log lines, tokens signed with a service account's key.
"""
