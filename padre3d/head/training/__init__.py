"""Targets, matching and losses of the detection head."""
