"""Which modules of a model are self-attentions that a mixer can stand for, and which are not.

Modules are recognised by what they own and by what their ``forward`` takes, so none of the
libraries is imported. What is recognised must be understood in full: an attention with a parameter,
a module or an argument that is not listed here computes something a mixer would leave out, and is
refused. ``qkv`` and ``proj`` are names of many attentions: what owns them is tried on a few tokens
(:mod:`padre3d.mixers.behaviour`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from padre3d.mixers.behaviour import Trial, try_attention
from padre3d.mixers.mixer import Mixer


@dataclass(frozen=True)
class Kind:
    """One library's form of attention.

    Attributes:
        linears: attributes that are linear maps, by which it is recognised.
        outputs: names of the output map, one of which it owns.
        parts: further attributes with parameters that belong to attention alone.
        arguments: of ``forward``, those the adapter understands.
    """

    linears: tuple[str, ...]
    outputs: tuple[str, ...]
    parts: tuple[str, ...]
    arguments: tuple[str, ...]


KINDS = {
    "timm": Kind(
        ("qkv", "proj"),
        ("proj",),
        ("q_norm", "k_norm", "norm", "gate", "q_bias", "k_bias", "v_bias"),
        ("x", "attn_mask", "is_causal"),
    ),
    "transformers": Kind(
        ("q_proj", "k_proj", "v_proj"),
        ("o_proj", "out_proj"),
        ("q_norm", "k_norm", "q_layernorm", "k_layernorm"),
        (
            "hidden_states",
            "attention_mask",
            "causal_attention_mask",
            "position_embeddings",
            "object_queries",
            "spatial_position_embeddings",
            "key_value_states",
            "past_key_values",
            "past_key_value",
            "cache",
            "cache_position",
            "position_ids",
            "use_cache",
            "output_attentions",
            "head_mask",
            "layer_head_mask",
        ),
    ),
    # transformers before 5: an attention of query, key and value, and a module with its output map
    "transformers 4": Kind(
        ("query", "key", "value"),
        ("dense",),
        (),
        ("hidden_states", "head_mask", "output_attentions"),
    ),
}
MULTIHEAD_WEIGHTS = {
    *("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    "out_proj",
}
CLASS_NAME = re.compile("attention|attn|mhsa", re.IGNORECASE)
# What an attention is called by the module that owns it; no "attn_norm", "proj_attn" or "ls_attn".
CHILD_NAME = re.compile(
    "((self|cross|multi_?head|encoder|spatial|temporal|window|local|global|causal|channel)_?)*"
    "(attn|attention|mhs?a)_?[0-9]*",
    re.IGNORECASE,
)
CROSS_NAMES = ("encoder_attn", "encoder_attention", "EncDecAttention")


@dataclass(frozen=True)
class Attention:
    """A self-attention that can be replaced.

    Attributes:
        name: its full name in the model; the shortest of several.
        module: itself.
        kind: key of :data:`KINDS`, or "multihead" for ``nn.MultiheadAttention``.
        width: channels D.
        is_causal: whether it says, or its trial shows, that tokens see earlier ones only.
    """

    name: str
    module: nn.Module
    kind: str
    width: int
    is_causal: bool


@dataclass(frozen=True)
class Survey:
    """The attentions of a model: those to replace, and the others with the reasons.

    Attributes:
        replaceable: what can be replaced.
        left: name -> why it is no self-attention to replace.
        refused: name -> why this self-attention is not understood.
    """

    replaceable: list[Attention]
    left: dict[str, str]
    refused: dict[str, str]


def survey(model: nn.Module, skip: Sequence[str]) -> Survey:
    """Look at every module of ``model`` once, from the outside in."""
    result = Survey([], {}, {})
    decided: list[str] = []
    for name, module in model.named_modules():
        if any(not done or name.startswith(done + ".") for done in decided):
            continue
        kind = _kind(module)
        if kind is None and not _looks_like_attention(name.rpartition(".")[2], module):
            continue
        decided.append(name)
        if isinstance(module, Mixer):
            result.left[name] = "already a mixer"
        elif any(f".{skipped}." in f".{name}." for skipped in skip):
            result.left[name] = f"named in skip={tuple(skip)}"
        elif reason := _not_self_attention(model, name, module):
            result.left[name] = reason
        elif kind is None or (reason := _not_understood(module, kind)):
            result.refused[name] = reason or f"{type(module).__name__} is not a known attention"
        elif (trial := _tried(module, kind)).reason:
            result.refused[name] = trial.reason
        else:
            result.replaceable.append(_attention(name, module, kind, trial.is_causal))
    return result


def _kind(module: nn.Module) -> str | None:
    if isinstance(module, nn.MultiheadAttention):
        return "multihead"
    inner = getattr(module, "attention", None)
    if _owns(inner, KINDS["transformers 4"].linears) and _owns(
        getattr(module, "output", None), ("dense",)
    ):
        return "transformers 4"
    return next((k for k in ("timm", "transformers") if _owns(module, KINDS[k].linears)), None)


def _owns(module: nn.Module | None, linears: Sequence[str]) -> bool:
    return all(isinstance(getattr(module, name, None), nn.Linear) for name in linears)


def _looks_like_attention(child: str, module: nn.Module) -> bool:
    """A mixer, or an attention by a name that holds weights and no known attention.

    Args:
        child: what its owner calls it. Of modules with such a name the innermost counts, and no
            single layer of torch.
        module: itself.
    """
    if _is_attention_class(module):
        return True
    is_layer = type(module).__module__.startswith("torch.nn.") and not list(module.children())
    if not CHILD_NAME.fullmatch(child) or is_layer or not any(True for _ in module.parameters()):
        return False
    return not any(_kind(m) or _is_attention_class(m) for m in module.modules() if m is not module)


def _is_attention_class(module: nn.Module) -> bool:
    if isinstance(module, Mixer):
        return True
    if not CLASS_NAME.search(type(module).__name__):
        return False
    inside = (m for m in module.modules() if m is not module)
    return bool(list(module.parameters())) and all(_kind(m) is None for m in inside)


def _not_self_attention(model: nn.Module, name: str, module: nn.Module) -> str:
    """Why an attention is between two sets of tokens, or an empty string."""
    parent_name, _, child = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    names = f"{type(module).__name__} {child}".lower()
    if (
        "cross" in names
        or child in CROSS_NAMES
        or (isinstance(parent, nn.TransformerDecoderLayer) and child == "multihead_attn")
    ):
        return "cross-attention"
    if "pool" in f"{type(module).__name__} {type(parent).__name__}".lower():
        return "attention pooling: its queries are not the tokens"
    return ""


def _not_understood(module: nn.Module, kind: str) -> str:
    """What a recognised self-attention does beyond attention, or an empty string."""
    if "channel" in type(module).__name__.lower():
        return f"{type(module).__name__} is an attention over channels, not tokens"
    if isinstance(module, nn.MultiheadAttention):
        return _multihead_not_understood(module)
    spec = KINDS[kind]
    inner = module.get_submodule("attention") if kind == "transformers 4" else module
    outer = module.get_submodule("output") if kind == "transformers 4" else module
    output = next((getattr(outer, n) for n in spec.outputs if _owns(outer, (n,))), None)
    width = getattr(inner, spec.linears[0]).in_features
    if output is None or output.out_features != width:
        return f"no output map of {width} channels named {' or '.join(spec.outputs)}"
    extra = {*_weighted(inner), *_weighted(outer)} - {*spec.linears, *spec.outputs, *spec.parts}
    if kind == "transformers 4":
        extra |= set(_weighted(module)) - {"attention", "output"}
    if reason := _left_out(extra):
        return reason
    arguments = [a for a in _arguments(module) if a not in spec.arguments]
    if arguments:
        return f"its forward takes {', '.join(arguments)}, which a mixer would ignore"
    return ""


def _multihead_not_understood(module: nn.MultiheadAttention) -> str:
    """The same for torch's attention and its subclasses."""
    # Of a subclass, and of one whose forward was set from outside, nothing is known.
    if getattr(module.forward, "__func__", None) is not nn.MultiheadAttention.forward:
        return f"{type(module).__name__} has a forward of its own"
    if not module.kdim == module.vdim == module.embed_dim:
        return "keys or values of another width than the queries"
    if module.bias_k is not None or module.add_zero_attn:
        return "it adds a key and a value of its own (add_bias_kv, add_zero_attn)"
    return _left_out(set(_weighted(module)) - MULTIHEAD_WEIGHTS)


def _left_out(extra: set[str]) -> str:
    if not extra:
        return ""
    return f"it owns {', '.join(sorted(extra))}, which a mixer would leave out"


def _weighted(module: nn.Module) -> Iterator[str]:
    """Names of direct parameters, and of children and buffers that hold values."""
    yield from (name for name, _ in module.named_parameters(recurse=False))
    yield from (name for name, _ in module.named_buffers(recurse=False))
    for name, child in module.named_children():
        if any(True for _ in child.parameters()) or any(True for _ in child.buffers()):
            yield name


def _arguments(module: nn.Module) -> list[str]:
    parameters = inspect.signature(module.forward).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _tried(module: nn.Module, kind: str) -> Trial:
    return try_attention(module, _width(module, kind)) if kind == "timm" else Trial("")


def _width(module: nn.Module, kind: str) -> int:
    if isinstance(module, nn.MultiheadAttention):
        return module.embed_dim
    inner = module.get_submodule("attention") if kind == "transformers 4" else module
    return int(getattr(inner, KINDS[kind].linears[0]).in_features)


def _attention(name: str, module: nn.Module, kind: str, is_causal: bool) -> Attention:
    is_causal = is_causal or bool(getattr(module, "is_causal", False))
    return Attention(name, module, kind, _width(module, kind), is_causal)
