"""The per-pillar probe: which token mixer carries context, without convolutions in the BEV plane.

Pillar encoder, 3-D backbone, one linear layer per pillar; see docs/probe.md.
"""
