"""From a trained detector to one with other mixers: copy, fit, fine-tune.

See docs/distillation.md.
"""
