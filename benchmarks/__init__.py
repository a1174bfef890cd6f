"""Measurements: see README.md for what they promise."""
