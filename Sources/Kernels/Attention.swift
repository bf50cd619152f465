import CKernels

/// Shape of an attention call: query heads, key/value heads, head size, window.
public struct AttentionShape: Sendable, Equatable {
    /// Query heads H.
    public let heads: Int
    /// Key/value heads G; divides H.
    public let keyValueHeads: Int
    /// Size D of a head.
    public let headDim: Int
    /// Sliding window in tokens; 0 means none.
    public let window: Int

    /// A shape; scores are scaled by 1/√D.
    public init(heads: Int, keyValueHeads: Int, headDim: Int, window: Int = 0) {
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.headDim = headDim
        self.window = window
    }
}

/// One sequence of a packed batch: rows `queryStart ..< queryStart + queryCount` of the queries against `keys`.
public struct AttentionSequence {
    let c: mk_attention_sequence

    /// A sequence whose keys and values lie in `keys` and `values` [kv, G·D]; the queries are the last of them.
    ///
    /// For the backward, `dKeys` and `dValues` (same shape and stride) are overwritten.
    public init(
        queryStart: Int, queryCount: Int, keys: FloatMatrix, values: FloatMatrix, dKeys: FloatMatrix? = nil,
        dValues: FloatMatrix? = nil
    ) {
        precondition(keys.rows == values.rows && keys.stride == values.stride && keys.rows >= queryCount)
        c = mk_attention_sequence(
            q_start: Int64(queryStart), q_len: Int64(queryCount), kv_len: Int64(keys.rows), k: keys.base,
            v: values.base, dk: dKeys?.base, dv: dValues?.base)
    }
}

extension KernelContext {
    private func shape(_ s: AttentionShape, ldq: Int, ldkv: Int) -> mk_attention_shape {
        mk_attention_shape(
            heads: Int64(s.heads), kv_heads: Int64(s.keyValueHeads), head_dim: Int64(s.headDim), ldq: Int64(ldq),
            ldkv: Int64(ldkv), window: Int64(s.window), scale: Float(1 / Double(s.headDim).squareRoot()))
    }

    /// out [T, H·D] = causal, block-diagonal attention of q [T, H·D]; `lse` [T, H] receives the log-sum-exp.
    /// `keyValueStride` is the row distance of every sequence's keys and values.
    public func attention(
        _ s: AttentionShape, _ sequences: [AttentionSequence], keyValueStride: Int, q: FloatMatrix,
        into out: FloatMatrix, lse: FloatMatrix
    ) {
        precondition(q.stride == out.stride && q.columns == s.heads * s.headDim && lse.count >= q.rows * s.heads)
        withItems(sequences) { items, count in
            withUnsafePointer(to: shape(s, ldq: q.stride, ldkv: keyValueStride)) { shape in
                run { mk_attention_forward($0, shape, items, count, q.base, out.base, lse.base) }
            }
        }
    }

    /// The backward of `attention`: dq is overwritten, and each sequence's dKeys and dValues.
    public func attentionBackward(
        _ s: AttentionShape, _ sequences: [AttentionSequence], keyValueStride: Int, q: FloatMatrix, out: FloatMatrix,
        lse: FloatMatrix, _ dout: FloatMatrix, into dq: FloatMatrix
    ) {
        precondition(q.stride == out.stride && q.stride == dout.stride && q.stride == dq.stride)
        withItems(sequences) { items, count in
            withUnsafePointer(to: shape(s, ldq: q.stride, ldkv: keyValueStride)) { shape in
                run {
                    mk_attention_backward($0, shape, items, count, q.base, out.base, lse.base, dout.base, dq.base)
                }
            }
        }
    }

    /// The sequences as C has them: `AttentionSequence` wraps that struct and nothing else, so nothing is copied.
    private func withItems(
        _ sequences: [AttentionSequence], _ body: (UnsafePointer<mk_attention_sequence>?, Int64) -> Void
    ) {
        sequences.withUnsafeBufferPointer { buffer in
            buffer.withMemoryRebound(to: mk_attention_sequence.self) { body($0.baseAddress, Int64($0.count)) }
        }
    }
}
