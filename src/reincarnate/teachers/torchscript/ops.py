"""What TorchScript code of a policy may call: arithmetic on tensors; no files, no random numbers, no Python."""

from reincarnate.teachers.exported import words

ATEN = words(
    """
    Bool Float FloatImplicit Int IntImplicit ScalarImplicit __and__ __contains__ __getitem__ __is__ __isnot__ __not__
    __or__ __range_length __xor__ _convolution _softmax _log_softmax _unsafe_view abs acos acosh
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d add addbmm
    addcdiv addcmul addmm addmv all amax amin any arange argmax argmin argsort as_tensor asin asinh atan atan2
    atanh avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm bitwise_and bitwise_not bitwise_or bmm broadcast_tensors
    broadcast_to bucketize cat ceil celu channel_shuffle chunk clamp clamp_max clamp_min clip clone concat contiguous
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d cos cosh cosine_similarity cross cummax cummin cumprod
    cumsum deg2rad detach device diag_embed diagonal diff dim div dot dropout einsum elu embedding eq erf
    exp expand expand_as expm1 eye fill flatten flip floor floor_divide floordiv fmod format full full_like gather ge
    gelu glu greater greater_equal group_norm gru gru_cell gt hardshrink hardsigmoid hardswish hardtanh hstack index
    index_add index_select instance_norm is_floating_point isfinite isinf isnan item layer_norm le leaky_relu len
    lerp less less_equal linalg_norm linalg_vector_norm linear linspace list log log10 log1p log2 log_sigmoid
    log_softmax logaddexp logical_and logical_not logical_or logical_xor logit logsumexp lstm lstm_cell lt masked_fill
    matmul max max_pool1d max_pool2d max_pool3d maximum mean median meshgrid min minimum mish mm movedim mse_loss mul
    multiply mv nan_to_num narrow ne neg negative new_full new_ones new_zeros norm normalize not_equal numel numpy_T
    one_hot ones ones_like outer pad permute pixel_shuffle pixel_unshuffle polar pow prelu prod rad2deg reciprocal
    relu relu6 remainder repeat repeat_interleave replication_pad1d replication_pad2d reflection_pad1d
    reflection_pad2d constant_pad_nd reshape reshape_as resolve_conj roll rot90 round rsqrt rsub scalar_tensor scatter
    scatter_add scaled_dot_product_attention select selu sigmoid sign silu sin sinh size slice softmax softplus
    softshrink softsign sort split split_with_sizes sqrt square squeeze stack std std_mean sub subtract sum t take
    take_along_dim tan tanh tanhshrink tensor tensor_split threshold tile to topk transpose tril triu true_divide
    trunc type_as unbind unflatten unfold unsqueeze upsample_bilinear2d upsample_nearest2d values var var_mean view
    view_as vstack where xor zeros zeros_like
    """
)
"""Operators of the namespace `aten`, but for those that work in place."""
IN_PLACE = words(
    """
    add_ clamp_ clamp_min_ clamp_max_ div_ dropout_ elu_ exp_ gelu_ hardsigmoid_ hardswish_ hardtanh_ leaky_relu_ mish_
    mul_ neg_ relu6_ relu_ selu_ sigmoid_ silu_ softplus_ sqrt_ squeeze_ sub_ tanh_ threshold_ unsqueeze_
    """
)
"""Those that do; none may change the policy itself, which is seen to while it runs."""
PRIM = words("NumToTensor RaiseException dtype device is_cuda max min abs data layout requires_grad")
"""Operators of the namespace `prim` that code names."""
GRAPH = words(
    """
    Constant DictConstruct GetAttr If ListConstruct ListUnpack Loop Return TupleConstruct TupleIndex TupleSlice
    TupleUnpack Uninitialized isinstance unchecked_cast unchecked_unwrap_optional
    """
)
"""Operators of `prim` that a graph has besides."""
BUILT_IN = words("annotate unchecked_cast int float bool isinstance uninitialized")
MOST_LIST = 64
"""Of members in a list that a loop may go through."""
MOST_CALLS = 100_000
"""How many operators one call of a policy may run, loops and calls counted out."""


def allowed(namespace: str, name: str) -> bool:
    """Whether code may call the operator."""
    if namespace == "prim":
        return name in PRIM
    return namespace == "aten" and (name in ATEN or name in IN_PLACE)


def allowed_in_graph(kind: str, schema: str) -> bool:
    """Whether a compiled graph may hold it, `aten::relu` for example; sums and products of lists make long ones."""
    namespace, _, name = kind.partition("::")
    if name in ("add", "add_", "mul", "mul_") and "[]" in schema:
        return False
    return allowed(namespace, name) or (namespace == "prim" and name in GRAPH)
