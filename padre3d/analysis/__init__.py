"""What the mixers cost and how their numbers behave: counts and experiments, no training."""
