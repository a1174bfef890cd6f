"""What the token order is worth to PADRe-2, k = 11; ``random`` has no locality at all.

``window_yx`` is the default: layers alternate between rows and columns inside shifted windows.
"""

from padre3d.probe.study import ATTENTION, padre, probe_study, with_backbone

ORDERS = {
    "window_y": ["window_y_major"],
    "window_x": ["window_x_major"],
    "hilbert": ["hilbert"],
    "hilbert_both": ["hilbert", "hilbert_transposed"],
    "window_y_hilbert": ["window_y_major", "hilbert"],
    "random": ["random"],
    "random_each": ["random:0", "random:1", "random:2", "random:3"],
}

VARIANTS = {
    "attention": ATTENTION,
    # Without settings it is the run that the other studies call padre2.
    "window_yx": padre(2),
    **{name: with_backbone(padre(2), orders=orders) for name, orders in ORDERS.items()},
    "window_yx_no_shift": with_backbone(padre(2), shifts=[[0, 0]]),
    "window8": with_backbone(padre(2), window=[8, 8], shifts=[[0, 0], [4, 4]]),
    "window32": with_backbone(padre(2), window=[32, 32], shifts=[[0, 0], [16, 16]]),
}

STUDY = probe_study("probe_orders", VARIANTS, baseline="window_yx")
