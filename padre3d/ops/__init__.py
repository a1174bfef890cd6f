"""Operators without weights of their own; torch is all they need."""
