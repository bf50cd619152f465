/// The table itself, once every entry has been defined. MK_ISA_TABLE, MK_ISA_NAME and MK_ISA_QUANTIZE_GROUP come from
/// the including file.
#ifndef MERASER_ISA_TABLE_H
#define MERASER_ISA_TABLE_H

const mk_isa MK_ISA_TABLE = {
    .name = MK_ISA_NAME,
    .quantize_group = MK_ISA_QUANTIZE_GROUP,
    .expand_rows = expand_rows,
    .expand_cols = expand_cols,
    .pack_rows = pack_rows,
    .gemm = gemm,
    .int8_rows = int8_rows,
    .int8_quantize = int8_quantize,
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

#endif
