"""Checkpoints, processes and hooks of a training."""
