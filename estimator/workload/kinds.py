"""The ONE table of ops: what kind each is, by its name, else by the tags that torch itself gives it; and, of products,
where their operands stand. Counting, pricing and calibration all read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from estimator.workload.ops import Kind


@dataclass(frozen=True, slots=True)
class Product:
    """An op of multiply-accumulates: its kind, and where its operands begin among its tensors.

    Operands are the two matrices, input and weight of a convolution, query, key and value, or a recurrent layer's
    input. What stands before them is added, or is the gradient of the result in the op of a `backward` pass.
    """

    kind: Kind
    first: int = 0
    backward: bool = False


_ATTENTION = ("fused_attention_overrideable", "flash_attention_for_cpu", "flash_attention", "efficient_attention")

PRODUCTS: Mapping[str, Product] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "_scaled_mm", "_int_mm", "_grouped_mm"), Product("matmul")),
    **dict.fromkeys(("addmm", "addmv", "addr", "baddbmm", "addbmm", "_addmm_activation"), Product("matmul", 1)),
    "_trilinear": Product("matmul"),
    **dict.fromkeys(("convolution", "_convolution"), Product("conv")),
    "convolution_backward": Product("conv", 1, backward=True),
    **dict.fromkeys((f"_scaled_dot_product_{name}" for name in _ATTENTION), Product("attention")),
    **dict.fromkeys(
        (f"_scaled_dot_product_{name}_backward" for name in _ATTENTION), Product("attention", 1, backward=True)
    ),
    "rnn": Product("rnn"),
    "rnn_backward": Product("rnn", backward=True),
}


def product_of(name: str) -> Product | None:
    """The entry of `PRODUCTS` for an op's name, in place or not; None for ops of other kinds."""
    return PRODUCTS.get(name) or PRODUCTS.get(name.removesuffix("_"))


_NAMES: dict[Kind, str] = {
    "conv": "deform_conv2d _deform_conv2d_backward",
    "fft": "_fft_r2c _fft_c2r _fft_c2c",
    "scan": "scan scan_backward",
    "softmax": """
        _softmax _log_softmax _softmax_backward_data _log_softmax_backward_data _safe_softmax _masked_softmax""",
    "embedding": """
        embedding embedding_dense_backward embedding_renorm_ _embedding_bag _embedding_bag_forward_only
        _embedding_bag_backward _embedding_bag_dense_backward _embedding_bag_per_sample_weights_backward""",
    "index": """
        index index_put _index_put_impl_ _unsafe_index _unsafe_index_put index_select index_add index_copy
        index_fill index_reduce gather scatter scatter_add scatter_reduce take select_backward slice_backward
        masked_select masked_scatter nonzero topk sort argsort kthvalue unfold_backward diagonal_backward
        bucketize searchsorted histc bincount grid_sampler_2d grid_sampler_3d im2col col2im _unique2 one_hot
        unique_consecutive unique_dim multinomial select_scatter slice_scatter
        value_selecting_reduction_backward index_select_backward _unsafe_masked_index
        _unsafe_masked_index_put_accumulate diagonal_scatter as_strided_scatter isin nonzero_static mode""",
    "copy": """
        copy _to_copy clone contiguous cat stack repeat roll flip fill zero zeros zeros_like ones ones_like full
        full_like new_zeros new_ones new_full arange linspace eye scalar_tensor constant_pad_nd tril triu
        tril_indices triu_indices repeat_interleave pixel_shuffle pixel_unshuffle channel_shuffle
        native_channel_shuffle reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
        replication_pad2d replication_pad3d _pack_padded_sequence _pad_packed_sequence block_diag diag_embed randn
        rand randn_like rand_like randint randint_like randperm normal uniform bernoulli exponential random
        _reshape_copy alias_copy as_strided_copy diagonal_copy expand_copy lift_fresh_copy narrow_copy permute_copy
        split_with_sizes_copy squeeze_copy t_copy transpose_copy unbind_copy unfold_copy unsqueeze_copy view_copy
        _chunk_cat rot90 logspace hann_window affine_grid_generator cauchy geometric poisson""",
    "reduce": """
        sum mean prod amax amin max min aminmax argmax argmin var var_mean std std_mean any all norm
        linalg_vector_norm logsumexp cumsum cumprod cummax logcumsumexp nansum median count_nonzero trace equal
        nll_loss_forward nll_loss_backward nll_loss2d_forward nll_loss2d_backward mse_loss smooth_l1_loss
        huber_loss binary_cross_entropy _cdist_forward _cdist_backward _local_scalar_dense
        _pdist_forward _pdist_backward cummin dist nanmedian renorm binary_cross_entropy_with_logits soft_margin_loss
        multi_margin_loss multilabel_margin_loss_forward""",
    "elementwise": """
        native_dropout _fused_dropout _prelu_kernel glu masked_fill where complex polar rrelu_with_noise
        _weight_norm_interface hardswish hardswish_backward log_sigmoid_forward log_sigmoid_backward
        floor_divide linalg_cross rrelu_with_noise_functional""",
}
_KIND_OF_NAME: dict[str, Kind] = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_KIND_OF_NAME |= {name: product.kind for name, product in PRODUCTS.items()}

_FRAGMENTS: dict[str, Kind] = {"attention": "attention", "_norm": "norm", "pool": "pool", "upsample": "pool"}

NO_TRAFFIC = frozenset(
    """
    detach alias empty empty_like new_empty new_empty_strided empty_strided empty_permuted lift_fresh
    _record_function_enter_new _record_function_exit _efficientzerotensor set_ resize_ detach_ sym_size sym_numel
    sym_stride sym_storage_offset is_same_size _has_same_storage_numel _assert_async _functional_assert_async
    _assert_tensor_metadata record_stream _unsafe_view as_strided_ unsafe_split unsafe_split_with_sizes unsafe_chunk
    squeeze_ unsqueeze_ t_ transpose_ resize_as_ lift is_pinned _assert_scalar _linalg_check_errors
    sym_constrain_range sym_constrain_range_for_size _functional_sym_constrain_range
    _functional_sym_constrain_range_for_size
    """.split()
)
"""Ops that move no data: views by another name, allocations, bookkeeping."""


def kind_of(func: Any) -> Kind:
    """The kind of an op (a `torch._ops.OpOverload`); "uncovered" where neither name nor tags tell."""
    import torch  # here: what needs the table alone (a search's results, the catalogue) starts without torch

    name = func._overloadpacket.__name__
    base = name.removesuffix("_")
    for candidate in (name, base, base.removesuffix("_backward")):
        if candidate in _KIND_OF_NAME:
            return _KIND_OF_NAME[candidate]
    for fragment, kind in _FRAGMENTS.items():
        if fragment in name:
            return kind
    if torch.Tag.pointwise in func.tags:
        return "elementwise"
    reduction = getattr(torch.Tag, "reduction", None)  # newer than the oldest torch that we allow
    if reduction is not None and reduction in func.tags:
        return "reduce"
    forward = getattr(torch.ops.aten, base.removesuffix("_backward"), None)
    if forward is not None and any(torch.Tag.pointwise in getattr(forward, o).tags for o in forward.overloads()):
        return "elementwise"  # the gradient of a pointwise op is pointwise
    return "uncovered"
