"""Tests of padre3d.synthetic."""
