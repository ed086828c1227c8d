"""Consul: a safe client, one blocking query as a loop, and the source that makes apps and verdicts of the answers."""
