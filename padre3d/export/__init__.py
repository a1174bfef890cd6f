"""A trained detector to a folder that runs without torch."""
