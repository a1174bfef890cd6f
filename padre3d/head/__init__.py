"""TransFusion-style detection head in plain torch: BEV map (B, C, y, x) to boxes.

| stage | shapes | file |
|---|---|---|
| shared convolution, dense heatmap | (B, C, y, x) -> (B, classes, y, x) logits | transfusion.py |
| proposals: best local maxima | -> labels, cells (B, P) | queries.py |
| decoder layer with local attention | (B, P, C) -> (B, P, C) | decoder.py, windows.py |
| which keys of that attention can go | -> offsets (K, 2) | eviction.py |
| branches | -> center, height, dim, rot, vel, iou, heatmap (B, P, .) | branches.py |
| targets: Hungarian matching, gaussians | | targets.py, assign.py, heatmap.py |
| losses | | losses.py |
| boxes, rescoring, NMS | -> Detections per sample | decode.py, nms.py, rotated_iou.py |

Deliberate differences from the reference implementation (DSVT's nuScenes head). Each has its
reason; the first four are undone by ``dsvt_compat=True``, see docs/reference_differences.md:

1. Keys outside the map are masked. The reference's key indices run over into the next column.
2. A local maximum may lie in the border cells of the map. The reference loses those.
3. IoUs of the matching and of the IoU loss compare the boxes themselves. The reference compares
   boxes lifted by half their own height.
4. Batch statistics of the key positions are those of the map's cells. The reference takes them over
   the keys of all proposals, so a cell counts as often as it is a key.
5. Axes are (y, x) inside the head as outside; the reference transposes. Converted convolution
   kernels are transposed instead (padre3d/convert/head_keys.py).
6. A sample without ground truth has a loss (the heatmap's and the background's). The reference
   raises an error.
7. A velocity that is NaN (unknown) does not count in the box loss.
8. A detection is of its query's class. In the reference a proposal with score exactly 0 is of
   class 0; neither survives the score threshold.
9. Only used projections are computed: keys and values are never projected (decoder.py), and the
   proposals' self-attention over a sequence of length one is its value projection.
"""

from padre3d.head.outputs import HeadOutputs
from padre3d.head.settings import DecodeSettings, LossSettings, TargetSettings
from padre3d.head.transfusion import PADReTransFusionHead

__all__ = [
    "DecodeSettings",
    "HeadOutputs",
    "LossSettings",
    "TargetSettings",
    "PADReTransFusionHead",
]
