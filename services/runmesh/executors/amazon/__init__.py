"""What the executors on AWS share: sessions, refusals and the pace of calls; below, the parts of each."""
