"""ECS as its API shows it, with CloudWatch's logs, EC2's interfaces, roles and a container's metadata.

Faithful in what the executor builds on: states in their order, stop codes and reasons, `clientToken` (with the same
arguments the same task, with others a conflict that names it), failures with 200, tokens of log pages, limits of
overrides, tags and batches. Requests are checked against the SDK's own model of the service.
"""
