"""What `local_python` is made of: the supervisor process, the link to it, and the jobs' output."""
