"""Consul as a source of apps and verdicts: blocking queries on the own node, believed with care."""
