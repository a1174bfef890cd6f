"""PADRe instead of the attention of a timm ViT: python examples/padre_in_timm_vit.py

Needs timm (pip install 'padre3d[models]'). The weights are random; train it as you train the ViT.
"""

from __future__ import annotations

import timm
import torch

from padre3d.mixers import replace_attention


def main(name: str = "deit_tiny_patch16_224", size: int = 64, depth: int = 2) -> torch.Tensor:
    """Logits (1, 10) of the changed model, after one backward pass."""
    model = timm.create_model(name, img_size=size, depth=depth, num_classes=10)
    before = sum(p.numel() for p in model.parameters())
    done = replace_attention(model, {"type": "padre", "degree": 2, "kernel_size": 3})
    after = sum(p.numel() for p in model.parameters())
    print(f"replaced {', '.join(done.replaced)}: {before:,} -> {after:,} parameters")
    logits = model(torch.randn(1, 3, size, size))
    logits.square().mean().backward()
    return logits


if __name__ == "__main__":
    print(main(size=224, depth=12).shape)
