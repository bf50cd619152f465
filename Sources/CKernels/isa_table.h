/// A table, once every entry has been defined. MK_ISA_TABLE, MK_ISA_NAME, MK_ISA_QUANTIZER, MK_ISA_INT8,
/// MK_ISA_INT8_Q4_0, MK_ISA_INT8_AFFINE and MK_ISA_INT8_GRADIENT come from the including file, MK_ISA_GEMV and
/// MK_ISA_BF16 too where there are those kernels, MK_ISA_PANEL_PRODUCT where there is a better one. A file may include
/// this several times: there is no include guard.

#ifndef MK_ISA_PANEL_PRODUCT
#define MK_ISA_PANEL_PRODUCT panel_product
#endif

const mk_isa MK_ISA_TABLE = {
    .name = MK_ISA_NAME,
    .quantizer = &MK_ISA_QUANTIZER,
    .expand_rows = expand_rows,
    .expand_cols = expand_cols,
    .pack_rows = pack_rows,
    .gemm = gemm,
    .int8 = &MK_ISA_INT8,
    .int8_q4_0 = &MK_ISA_INT8_Q4_0,
    .int8_affine = &MK_ISA_INT8_AFFINE,
    .int8_gradient = &MK_ISA_INT8_GRADIENT,
    .token_tile = GEMM_ROWS,
    .interleave = interleave,
    .packed_gemm = packed_gemm,
    .lowrank_reduce = lowrank_reduce,
    .lowrank_expand = lowrank_expand,
    .lowrank_gradient = lowrank_gradient,
    .rmsnorm = rmsnorm,
    .rmsnorm_backward = rmsnorm_backward,
    .layernorm = layernorm,
    .layernorm_backward = layernorm_backward,
    .activate = activate,
    .gated = gated,
    .gated_backward = gated_backward,
    .soft_cap = soft_cap,
    .soft_cap_gradient = soft_cap_gradient,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .logsumexp = logsumexp,
    .argmax = argmax,
    .softmax_gradient = softmax_gradient,
    .panel_product = MK_ISA_PANEL_PRODUCT,
    .panel_store_key = panel_store_key,
    .panel_store_value = panel_store_value,
    .softmax_page = softmax_page,
    .softmax_merge = softmax_merge,
    .attention_gradient = attention_gradient,
    .scale = scale,
    .dot = dot,
    .dropout = dropout,
    .to_bf16 = to_bf16,
    .from_bf16 = from_bf16,
#ifdef MK_ISA_GEMV
    .gemv = gemv,
#endif
#ifdef MK_ISA_BF16
    .bf16_round = bf16_round,
    .bf16_expand_rows = bf16_expand_rows,
    .bf16_expand_cols = bf16_expand_cols,
    .bf16_gemm = bf16_gemm,
#endif
};

#undef MK_ISA_PANEL_PRODUCT
#undef MK_ISA_TABLE
#undef MK_ISA_NAME
#undef MK_ISA_QUANTIZER
#undef MK_ISA_INT8
#undef MK_ISA_INT8_Q4_0
#undef MK_ISA_INT8_AFFINE
#undef MK_ISA_INT8_GRADIENT
