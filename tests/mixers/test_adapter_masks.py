"""Masks and positions of replaced attentions: what is read, refused, remembered and copied."""

import copy
import io
import pickle
import threading
import weakref

import pytest
import torch
from torch import nn

from padre3d.mixers import PADRe, build_mixer
from padre3d.mixers.adapters import Masks, MultiheadAdapter, TransformersAdapter

BATCH, TOKENS, DIM = 2, 6, 8
KEEP = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
CAUSAL = nn.Transformer.generate_square_subsequent_mask(TOKENS)
ALIBI = CAUSAL - (torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)).abs() / 2


def mixer(causal=False):
    torch.manual_seed(0)
    return PADRe(DIM, kernel_size=3, causal=causal)


def sima():
    torch.manual_seed(0)
    return build_mixer(dict(type="sima", num_heads=2), DIM)


def tokens():
    return torch.randn(BATCH, TOKENS, DIM)


def square(keep):
    """(B, 1, N, N), added to the logits."""
    allowed = keep[:, None, None].expand(-1, 1, TOKENS, -1)
    return torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)


@pytest.mark.parametrize(
    ("causal", "masks", "message"),
    [
        (True, dict(attn_mask=ALIBI), "attn_mask: expected 0 or very low values, got -0.5"),
        (True, dict(attn_mask=CAUSAL[:4, :4]), r"attn_mask \(4, 4\) for 6 tokens"),
        (True, dict(attn_mask=CAUSAL[:, 0]), r"attn_mask \(6,\) for 6 tokens"),
        (True, dict(attn_mask=(CAUSAL < 0).int()), "attn_mask: expected bool or floats"),
        (False, dict(key_padding_mask=5.0 * KEEP), "key_padding_mask: expected 0 or.*got 5"),
        (False, dict(key_padding_mask=-5.0 * KEEP), "key_padding_mask: expected 0 or.*got -5"),
        (False, dict(key_padding_mask=torch.nan * KEEP), "key_padding_mask: .*got nan"),
        (False, dict(key_padding_mask=(~KEEP).int()), "key_padding_mask: expected bool or floats"),
    ],
)
def test_multihead_masks_that_a_mixer_would_ignore_are_refused(causal, masks, message):
    adapter, x = MultiheadAdapter(mixer(causal), batch_first=True), tokens()
    with pytest.raises(ValueError, match=message):
        adapter(x, x, x, **masks)


def test_multihead_masks_may_be_bool_or_very_low_floats():
    adapter, x = MultiheadAdapter(mixer(True), batch_first=True), tokens()
    expected = adapter.mixer(x, None, KEEP)
    for padding in (~KEEP, torch.zeros(KEEP.shape).masked_fill(~KEEP, -1e4)):
        for order in (CAUSAL, CAUSAL < 0, CAUSAL.expand(4 * BATCH, -1, -1)):
            out, _ = adapter(x, x, x, key_padding_mask=padding, attn_mask=order)
            torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (square(KEEP).nan_to_num(nan=0.0, neginf=torch.nan), "got nan"),
        (KEEP + KEEP.long(), "expected 1 for real tokens and 0 for others, got values from 0 to 2"),
        (-10_000 * (~KEEP).long(), "got values from -10000 to 0"),
        ((square(KEEP) == 0).int(), "attention_mask: expected.*of torch.int32"),
        (square(KEEP)[:1].expand(3, -1, -1, -1), r"attention_mask: expected.*\(3, 1, 6, 6\)"),
    ],
)
def test_attention_masks_of_unknown_meaning_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        Masks().read(mask, tokens(), mixer())


def test_the_causal_mask_beside_the_padding_is_read_too():
    adapter, x = TransformersAdapter(mixer(True), Masks()), tokens()
    order, padding = CAUSAL.expand(BATCH, 1, -1, -1), square(KEEP)
    expected = adapter.mixer(x, None, KEEP)
    for masks in ((padding, order), (None, order + padding), (order, padding)):
        out, _ = adapter(x, masks[0], causal_attention_mask=masks[1])
        torch.testing.assert_close(out, expected)
    with pytest.raises(ValueError, match="a bias of the logits"):
        adapter(x, padding, causal_attention_mask=ALIBI.expand(BATCH, 1, -1, -1))


def test_positions_may_be_the_same_for_all_samples():
    adapter, x, pos = TransformersAdapter(mixer(), Masks()), tokens(), tokens()[:1]
    expected = adapter.mixer(x, pos.repeat(BATCH, 1, 1))
    for name in ("position_embeddings", "object_queries"):
        torch.testing.assert_close(adapter(x, **{name: pos})[0], expected)
    with pytest.raises(ValueError, match=r"broadcasts to \(2, 6, 8\), got \(1, 5, 8\)"):
        adapter(x, position_embeddings=pos[:, 1:])
    with pytest.raises(ValueError, match="position_embeddings or object_queries, got both"):
        adapter(x, position_embeddings=pos, object_queries=pos)


def test_masks_made_in_inference_mode():
    adapter, x = TransformersAdapter(mixer(), Masks()), tokens()
    with torch.inference_mode():
        mask = square(KEEP)
        torch.testing.assert_close(adapter(x, mask)[0], adapter.mixer(x, None, KEEP))
        mask.zero_()  # such tensors count no changes
        torch.testing.assert_close(adapter(x, mask)[0], adapter.mixer(x))


def test_a_mask_read_in_inference_mode_serves_training():
    masks, x, mask = Masks(), tokens().requires_grad_(), square(KEEP)
    with torch.inference_mode():
        masks.read(mask, x, mixer())
    kept = x * masks.read(mask, x, mixer()).unsqueeze(-1)  # autograd saves the mask
    kept.sum().backward()
    assert torch.equal(x.grad[..., 0] == 1, KEEP)


def test_a_model_is_copied_and_saved_after_a_masked_forward():
    masks, x, mask = Masks(), tokens(), square(KEEP)
    model = nn.ModuleList(TransformersAdapter(mixer(), masks) for _ in range(2))
    expected = model[0](x, mask)[0]
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    for other in (*copies, torch.load(file, weights_only=False)):
        assert other[0].masks is other[1].masks is not masks
        torch.testing.assert_close(other[0](x, mask)[0], expected)


def test_a_mask_is_not_kept_alive():
    masks, mask = Masks(), KEEP.clone()
    keep, alive = masks.read(mask, tokens(), mixer()), weakref.ref(mask)
    assert torch.equal(keep, KEEP)
    del mask
    assert alive() is None


def test_the_values_are_compared_once_for_every_mask(monkeypatch):
    looked = []
    monkeypatch.setattr(
        "padre3d.mixers.adapters._check_values", lambda mask, mixer: looked.append(mask)
    )
    masks, x, given = Masks(), tokens(), (square(KEEP), CAUSAL.expand(BATCH, 1, -1, -1))
    for _ in range(3):
        for mask in given:
            masks.read(mask, x, mixer(True))
    assert len(looked) == 2


def test_what_one_mixer_may_read_is_checked_for_another():
    masks, x, order = Masks(), tokens(), CAUSAL.expand(BATCH, 1, -1, -1)
    assert masks.read(order, x, mixer(True)).all()
    with pytest.raises(ValueError, match="differs between queries"):
        masks.read(order, x, mixer())


class Interrupted(torch.Tensor):
    """A mask; another thread takes its turn while its version is looked up."""

    turn = None

    @property
    def _version(self):
        if self.turn is not None:
            thread = threading.Thread(target=self.turn)
            thread.start()
            thread.join()
        return 0


def test_threads_get_their_own_masks():
    masks, x, padre = Masks(), tokens(), mixer()
    mask, others = square(KEEP).as_subclass(Interrupted), [square(KEEP.flip(0)) for _ in range(2)]
    first = masks.read(mask, x, padre).as_subclass(torch.Tensor)
    mask.turn = lambda: [masks.read(other, x, padre) for other in others]
    second = masks.read(mask, x, padre).as_subclass(torch.Tensor)
    assert torch.equal(first, KEEP)
    assert torch.equal(second, KEEP)


def test_a_trace_follows_the_mask_after_a_call_with_the_same_one():
    masks, x, mask, padre = Masks(), tokens(), square(KEEP), mixer()
    masks.read(mask, x, padre)
    traced = torch.jit.trace(lambda m: masks.read(m, x, padre), (mask,), check_trace=False)
    other = square(KEEP.flip(0))
    assert torch.equal(traced(other), masks.read(other, x, padre))


def test_a_captured_graph_follows_the_mask(monkeypatch):
    """What a CUDA graph replays must read the mask's memory, and nothing may wait for the GPU."""
    masks, x, mask = Masks(), tokens(), KEEP.clone()
    masks.read(mask, x, mixer())
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    captured = masks.read(mask, x, mixer())
    mask[:] = KEEP.flip(0)
    assert torch.equal(captured, KEEP.flip(0))


def test_shapes_without_values():
    with torch.device("meta"):
        causal, x, mask = mixer(True), tokens(), torch.zeros(BATCH, 1, TOKENS, TOKENS)
    given = dict(key_padding_mask=mask[:, 0, 0], attn_mask=mask[0, 0])
    of_multihead = MultiheadAdapter(causal, batch_first=True)(x, x, x, **given)
    for out, _ in (of_multihead, TransformersAdapter(causal, Masks())(x, mask)):
        assert out.is_meta
        assert out.shape == x.shape


def test_compiles_whole_with_a_mask_and_common_positions():
    adapter, x, pos = TransformersAdapter(sima(), Masks()), tokens(), tokens()[:1]
    compiled = torch.compile(adapter, fullgraph=True, backend="eager")
    mask = square(KEEP)
    torch.testing.assert_close(compiled(x, mask, pos), adapter(x, mask, pos))


def test_a_causal_order_is_for_causal_mixers():
    adapter, x = MultiheadAdapter(sima(), batch_first=True), tokens()
    with pytest.raises(ValueError, match=r"attn_mask \(6, 6\) for 6 tokens and SimA"):
        adapter(x, x, x, attn_mask=CAUSAL)
