"""Swap the self-attention of a model for a mixer: ViTs of three libraries, DETR, decoders.

Modules are recognised by what they own (:mod:`padre3d.mixers.recognise`), so none of those
libraries is imported:

| attention | recognised by | replaced by |
|---|---|---|
| timm ``Attention`` | ``qkv``, ``proj``, a trial on tokens | ``TimmAdapter`` |
| transformers: DETR, ViT, Llama | ``q_proj``, ``k_proj``, ``v_proj`` | ``TransformersAdapter`` |
| transformers 4: ViT, DeiT | ``attention.query``, ``output.dense`` | ``Transformers4Adapter`` |
| ``nn.MultiheadAttention`` (torchvision, DETR, encoders) | type, forward | ``MultiheadAdapter`` |

What is understood is replaced, what is not raises, what is left alone is reported.

A model with an image of tokens gets 2-D convolutions, as in the paper. The class token of a ViT is
not part of the image. The paper does not say what happens to it; its parameter counts leave no room
for extra weights. Here it keeps its own row in every linear map and receives, at every convolution,
the mean of the convolved patches; patches do not see it (``padre3d.ops.padre.TokenPrefix``).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from padre3d.checks import check_count
from padre3d.mixers.adapters import (
    Masks,
    MultiheadAdapter,
    TimmAdapter,
    Transformers4Adapter,
    TransformersAdapter,
)
from padre3d.mixers.build import MIXERS, build_mixer
from padre3d.mixers.linear_maps import TokenWeights
from padre3d.mixers.mixer import Mixer
from padre3d.mixers.recognise import Attention, Survey, survey
from padre3d.mixers.structure import Conv, PadreStructure, token_dims
from padre3d.mixers.token_image import Size, check_token_image
from padre3d.mixers.token_place import TokenPlace, token_place

DEFAULT = {"type": "padre", "degree": 2, "preset": "paper", "kernel_size": 11}


@dataclass(frozen=True)
class Replacement:
    """What :func:`replace_attention` did.

    Attributes:
        replaced: names of the modules that are mixers now, all names of a shared one.
        skipped: name -> reason, of the attentions that were left alone.
    """

    replaced: list[str]
    skipped: dict[str, str]


def replace_attention(
    model: nn.Module,
    mixer: dict[str, Any] | None = None,
    *,
    size: Size | None = None,
    prefix: int | None = None,
    skip: Sequence[str] = ("decoder",),
) -> Replacement:
    """Replace every self-attention of ``model`` by a fresh mixer, in place.

    Args:
        model: a timm or transformers ViT, a DETR or its encoder, a decoder-only language model
            (with a causal mixer), or any model made of these attentions.
        mixer: config for :func:`build_mixer`; the default is the paper's PADRe-2.
        size: (H, W) of the token image; read from the model's patch embedding if it has one.
            Must be given, or ``dims=1``, for an image model that does not say it. Where there is
            no image convolutions run along the sequence. :func:`set_token_size` changes it.
        prefix: leading tokens outside the image; read from the model likewise. Must be given for a
            model that has a class token and does not say how many tokens lie in front.
        skip: modules with one of these as a part of their name, or as parts joined by dots, stay.
            A DETR decoder's queries have no order to convolve over, so decoders stay unless asked
            for.

    ``dims=1`` in ``mixer`` keeps a mixer along the sequence in a model of images. A mixer without
    a 2-D form sees the patches row by row; one without a place for prefix tokens is refused unless
    it lets every token see all others.

    Returns:
        The names of the replaced modules, and of those left alone with the reasons.

    Raises:
        ValueError: if there is nothing to replace, an attention is not understood (name it in
            ``skip`` to keep it), the mixer cannot stand for it, or an argument is of another form.
    """
    if isinstance(skip, str):
        raise ValueError(f"skip: expected names such as ({skip!r},), got the string {skip!r}")
    if prefix is not None:
        check_count("prefix", prefix, 0)
    cfg = dict(DEFAULT if mixer is None else mixer)
    _mixer_class(cfg)
    attentions = survey(model, skip)
    _check_survey(attentions, type(model).__name__)
    masks = Masks()
    adapters = [
        _adapter(attention, _fitted(cfg, model, attention, size, prefix), masks)
        for attention in attentions.replaceable
    ]
    names = _names(model, attentions.replaceable)
    for attention, adapter in zip(attentions.replaceable, adapters, strict=True):
        for name in names[id(attention.module)]:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, adapter)
    _keep_dense(model)
    return Replacement(
        [n for a in attentions.replaceable for n in names[id(a.module)]], attentions.left
    )


def _keep_dense(model: nn.Module) -> None:
    """Mixers take dense tokens: torch's encoders around them do without nested tensors."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and any(
            isinstance(inner, Mixer) for inner in module.modules()
        ):
            module.use_nested_tensor = False


def _check_survey(attentions: Survey, model: str) -> None:
    """Refuse a model in which something is not understood or nothing can be replaced."""
    if attentions.refused:
        raise ValueError(
            f"replace_attention: not understood: {_listed(attentions.refused)}. Name them in "
            "skip= to keep them"
        )
    if not attentions.replaceable:
        raise ValueError(
            f"replace_attention: found no self-attention in {model}"
            + (f"; left alone: {_listed(attentions.left)}" if attentions.left else "")
        )
    if not attentions.replaceable[0].name:
        raise ValueError(
            "replace_attention: expected a model that contains attention, got a single "
            f"{model}, which cannot be replaced in place"
        )


def set_token_size(model: nn.Module, size: Size) -> None:
    """Tell every 2-D mixer in ``model`` the (H, W) of the next images.

    Raises:
        ValueError: if ``size`` is not two integers above 0, or no mixer is 2-D.
    """
    checked = _checked_size(size)
    if checked is None:
        raise ValueError("set_token_size: expected (H, W), got None")
    mixers = [m for m in model.modules() if isinstance(m, Mixer) and _is_2d(m)]
    if not mixers:
        raise ValueError(
            f"set_token_size: expected a model with 2-D mixers, got {type(model).__name__} "
            "without one"
        )
    for mixer in mixers:
        mixer.size = checked  # type: ignore[assignment]


def _is_2d(mixer: Mixer) -> bool:
    """Whether it convolves over an image, whose size it knows or not."""
    if not hasattr(mixer, "size"):
        return False
    maps = [m.spec for m in mixer.modules() if isinstance(m, TokenWeights)]
    return mixer.size is not None or any(isinstance(s, Conv) and s.dims == 2 for s in maps)


def _checked_size(size: Any) -> Size | None:
    return check_token_image("token image", 2, size, 0)


def _listed(reasons: dict[str, str], most: int = 3) -> str:
    """The first names with their reasons, and how many more there are."""
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:most])
    return shown + (f"; and {len(reasons) - most} more" if len(reasons) > most else "")


def _mixer_class(cfg: dict[str, Any]) -> type[Mixer]:
    """The class of a config; unknown types raise the error of :func:`build_mixer`."""
    name = cfg.get("type")
    if not isinstance(name, str) or name not in MIXERS:
        build_mixer(cfg, 1)
    return MIXERS[cfg["type"]]


def _fitted(
    cfg: dict[str, Any],
    model: nn.Module,
    attention: Attention,
    size: Size | None,
    prefix: int | None,
) -> dict[str, Any]:
    """The config with what the mixer must know of the model around ``attention``."""
    place = token_place(model, attention.name)
    given = _one_of("prefix", prefix, cfg.get("prefix"))
    return {
        **cfg,
        **_fitted_prefix(cfg, attention.name, place, given),
        **_fitted_size(cfg, attention.name, place, size),
    }


def _fitted_size(
    cfg: dict[str, Any], name: str, place: TokenPlace, size: Size | None
) -> dict[str, Any]:
    """``size``, and ``dims`` where no structure says it, for mixers with a 2-D form."""
    accepted = inspect.signature(_mixer_class(cfg)).parameters
    wanted = _one_of("size", _checked_size(size), _checked_size(cfg.get("size")))
    if wanted is not None and "size" not in accepted:
        raise ValueError(f"size={wanted}: mixer {cfg['type']!r} has no 2-D form and no use for it")
    if size is not None and cfg.get("dims") == 1:
        raise ValueError(f"size={size}: expected None with dims=1 in the mixer's config")
    structure = cfg.get("structure")
    if isinstance(structure, PadreStructure):
        in_2d = token_dims(structure) == 2
    else:
        in_2d = structure is None and cfg.get("dims") != 1
    if "size" not in accepted or not in_2d:
        return {} if size is None else {"size": size}
    if wanted is None and place.size is None and place.is_image:
        raise ValueError(
            f"{name}: the model does not say the size of its token image: give size=(H, W), or "
            "dims=1 in the mixer's config"
        )
    chosen = place.size if wanted is None else wanted
    if chosen is None:
        return {}
    return {"size": tuple(chosen)} if structure is not None else {"dims": 2, "size": tuple(chosen)}


def _fitted_prefix(
    cfg: dict[str, Any], name: str, place: TokenPlace, given: int | None
) -> dict[str, Any]:
    """``prefix``, for mixers with a place for it."""
    new_cls = _mixer_class(cfg)
    has_place = "prefix" in inspect.signature(new_cls).parameters
    if not has_place and new_cls.sees_all_tokens:
        return {}
    tokens = place.prefix if given is None else given
    if tokens is None:
        size = "" if place.size else ", and size=(H, W), or dims=1 in the mixer's config"
        raise ValueError(
            f"{name}: the model has {', '.join(place.extra)} and does not say how many tokens lie "
            f"in front of its patches: give prefix= (0 for none){size}"
        )
    if tokens and not has_place:
        raise ValueError(
            f"mixer {cfg['type']!r} has no place for the {tokens} token(s) in front of the image "
            "(class token): it mixes along the sequence, where they would see few patches or none; "
            f"expected one of {sorted(_mixers_with_prefix())}"
        )
    return {"prefix": tokens} if tokens else {}


def _one_of(name: str, argument: Any, in_config: Any) -> Any:
    """The value given, once or twice alike."""
    if argument is not None and in_config is not None and argument != in_config:
        raise ValueError(
            f"{name}: expected one value, got {argument} and, in the mixer's config, {in_config}"
        )
    return in_config if argument is None else argument


def _mixers_with_prefix() -> list[str]:
    return [
        name
        for name, cls in MIXERS.items()
        if cls.sees_all_tokens or "prefix" in inspect.signature(cls).parameters
    ]


def _names(model: nn.Module, attentions: list[Attention]) -> dict[int, list[str]]:
    """All names of each module: one that is shared has several."""
    names: dict[int, list[str]] = {id(attention.module): [] for attention in attentions}
    for name, module in model.named_modules(remove_duplicate=False):
        if id(module) in names:
            names[id(module)].append(name)
    return names


def _adapter(old: Attention, cfg: dict[str, Any], masks: Masks) -> nn.Module:
    """A fresh mixer in the place of ``old``, with its device, precision and mode."""
    mixer = build_mixer(cfg, old.width)
    if old.is_causal and not mixer.is_causal:
        raise ValueError(
            f"{old.name} is causal, and {type(mixer).__name__} lets tokens see later ones: "
            "expected a causal mixer, such as dict(type='padre', causal=True)"
        )
    adapter: nn.Module
    if old.kind == "multihead":
        adapter = MultiheadAdapter(mixer, bool(old.module.batch_first))
    elif old.kind == "transformers":
        adapter = TransformersAdapter(mixer, masks)
    else:
        adapter = TimmAdapter(mixer) if old.kind == "timm" else Transformers4Adapter(mixer)
    like = next(old.module.parameters())
    return adapter.to(device=like.device, dtype=like.dtype).train(old.module.training)
