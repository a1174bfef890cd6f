"""The data between the stages: frozen, with shapes documented and checked."""
