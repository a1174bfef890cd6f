"""Checkpoints of the reference implementation, to ours and back."""
