"""Details of PADRe: scale of the higher degrees, positions, normalisation, basis, rational form."""

from padre3d.probe.study import ATTENTION, padre, probe_study, with_backbone

RATIONAL = {"mixer": {"type": "padre_rational", "degree": 2, "denominator_degree": 1}}

VARIANTS = {
    "attention": ATTENTION,
    "attention_no_position": with_backbone(ATTENTION, pos_embed=None),
    "padre2": padre(2),
    "padre2_no_position": with_backbone(padre(2), pos_embed=None),
    "padre3": padre(3),
    **{f"padre2_gain{gain}": padre(2, gain=gain) for gain in (0.1, 1.0)},
    **{f"padre3_gain{gain}": padre(3, gain=gain) for gain in (0.1, 1.0)},
    "padre3_rms": padre(3, normalise="rms"),
    "padre3_layer": padre(3, normalise="layer"),
    "padre3_max": padre(3, normalise="max"),
    # The orthogonal bases are bounded for factors in -1..1.
    "padre3_chebyshev": padre(3, normalise="max", basis="chebyshev"),
    "padre3_legendre": padre(3, normalise="max", basis="legendre"),
    "rational": RATIONAL,
}

STUDY = probe_study("probe_start", VARIANTS, baseline="padre2")
