"""Points to pillars: the dynamic pillar encoder in plain torch."""

from padre3d.pillars.encoder import DynamicPillarEncoder

__all__ = ["DynamicPillarEncoder"]
