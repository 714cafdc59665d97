"""Azure Resource Manager with Container Instances, as far as the executor calls it.

Faithful: creation over a group that is there restarts its container; a listing has no instance views; deletion takes a
while; what is secret is never told. Bodies are checked against the SDK's own models. Not there: images, networks,
volumes (a command runs on this machine, with this machine's files), and the end of an asynchronous operation.
"""
