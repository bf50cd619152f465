/// A table, once every entry has been defined. MK_ISA_TABLE, MK_ISA_NAME, MK_ISA_QUANTIZE_GROUP, MK_ISA_INT8 and
/// MK_ISA_INT8_Q4_0 come from the including file, which may include this again with others.

const mk_isa MK_ISA_TABLE = {
    .name = MK_ISA_NAME,
    .quantize_group = MK_ISA_QUANTIZE_GROUP,
    .expand_rows = expand_rows,
    .expand_cols = expand_cols,
    .pack_rows = pack_rows,
    .gemm = gemm,
    .int8 = &MK_ISA_INT8,
    .int8_q4_0 = &MK_ISA_INT8_Q4_0,
    .rmsnorm = rmsnorm,
    .rmsnorm_backward = rmsnorm_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .logsumexp = logsumexp,
    .argmax = argmax,
    .softmax_gradient = softmax_gradient,
    .softmax_step = softmax_step,
    .softmax_from_lse = softmax_from_lse,
    .scale = scale,
    .dot = dot,
    .dropout = dropout,
    .to_bf16 = to_bf16,
    .from_bf16 = from_bf16,
};
