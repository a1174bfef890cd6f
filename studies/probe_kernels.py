"""How wide the kernels must be: k tokens along the sequence, or k x k cells of the grid.

A dilation of d leaves d - 1 cells between two taps; separable kernels are k x 1 and 1 x k.
"""

from padre3d.probe.study import ATTENTION, padre, probe_study

VARIANTS = {
    "attention": ATTENTION,
    **{f"k{k}": padre(2, kernel_size=k) for k in (3, 7, 11, 15, 31, 63, 127)},
    **{f"grid{k}": padre(2, layout="grid", kernel_size=k) for k in (3, 5, 7, 11)},
    "grid3_dilation2": padre(2, layout="grid", kernel_size=3, dilation=2),
    "grid3_dilation4": padre(2, layout="grid", kernel_size=3, dilation=4),
    "grid5_dilation2": padre(2, layout="grid", kernel_size=5, dilation=2),
    **{
        f"grid5_block{side}": padre(2, layout="grid", kernel_size=5, block=side)
        for side in (4, 8, 16)
    },
    "grid11_separable": padre(2, layout="grid", kernel_size=11, separable=True),
}

STUDY = probe_study("probe_kernels", VARIANTS)
