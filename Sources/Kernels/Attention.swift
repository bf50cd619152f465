import CKernels

/// Shape of an attention call: query heads, key/value heads, head size, window.
public struct AttentionShape: Sendable, Equatable {
    /// Positions of a page of keys and values.
    public static let pageKeys = Int(MK_PAGE_KEYS)

    /// Query heads H.
    public let heads: Int
    /// Key/value heads G; divides H.
    public let keyValueHeads: Int
    /// Size D of a head.
    public let headDim: Int
    /// Sliding window in tokens; 0 means none.
    public let window: Int
    /// Factor on the scores.
    public let scale: Float
    /// c of c·tanh(score / c); 0 means none.
    public let softCap: Float
    /// True in an encoder: every query sees all keys of its sequence.
    public let isBidirectional: Bool

    /// A shape; without a `scale` scores are scaled by 1/√D. Only a causal one may have a window, and a backward.
    public init(
        heads: Int, keyValueHeads: Int, headDim: Int, window: Int = 0, scale: Float? = nil, softCap: Float? = nil,
        isBidirectional: Bool = false
    ) {
        precondition(!isBidirectional || window == 0, "a window of \(window) in bidirectional attention")
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.headDim = headDim
        self.window = window
        self.scale = scale ?? Float(1 / Double(headDim).squareRoot())
        self.softCap = softCap ?? 0
        self.isBidirectional = isBidirectional
    }

    /// Bytes of a page of one layer's keys and values.
    public func pageBytes(_ type: KeyValueType) -> Int {
        mk_attention_page_bytes(type.code, Int64(keyValueHeads), Int64(headDim))
    }
}

/// How keys and values are stored for attention.
public enum KeyValueType: Sendable, Equatable {
    /// As they are.
    case f32
    /// Rounded to nearest even.
    case bf16

    var code: Int32 { self == .f32 ? Int32(MK_F32) : Int32(MK_BF16) }
}

/// Where the pages of a sequence's keys and values are: the page of position 64 i is at index i.
public typealias KeyValuePages = UnsafeMutablePointer<UnsafeMutableRawPointer?>

/// The sequences of an attention call, its pages where no cache has them, and its scratch.
///
/// Grows to the largest call and is used again for the next; not thread-safe.
public final class AttentionCall {
    fileprivate var sequences: [mk_attention_keys] = []
    fileprivate let workspace = LinearWorkspace()
    private let memory = LinearWorkspace()
    private let table = LinearWorkspace()

    /// A call of no sequences.
    public init() {}

    /// Forgets the sequences.
    public func removeAll() { sequences.removeAll(keepingCapacity: true) }

    /// Adds a sequence of `keyCount` positions whose last `queryCount` have queries, rows from `queryStart` on, and whose
    /// last `newCount` have new keys and values, rows from `newStart` on. Those before them are in the pages.
    public func add(
        queryStart: Int, queryCount: Int, newStart: Int, newCount: Int, keyCount: Int, pages: KeyValuePages
    ) {
        precondition(
            queryCount <= keyCount && newCount <= keyCount, "\(queryCount) queries, \(newCount) of \(keyCount) keys")
        sequences.append(
            mk_attention_keys(
                q_start: Int64(queryStart), q_len: Int64(queryCount), new_start: Int64(newStart),
                new_len: Int64(newCount), kv_len: Int64(keyCount), pages: UnsafePointer(pages)))
    }

    /// Pages of this object for a call without caches; they hold until it is asked for others.
    public func pages(count: Int, bytes: Int) -> KeyValuePages? {
        guard let memory = memory.reserve(count * bytes),
            let table = table.reserve(count * MemoryLayout<UnsafeMutableRawPointer?>.stride)
        else { return nil }
        let pointers = table.bindMemory(to: UnsafeMutableRawPointer?.self, capacity: count)
        for i in 0..<count { (pointers + i).initialize(to: memory + i * bytes) }
        return pointers
    }
}

/// One sequence of a packed batch for the backward: rows `queryStart ..< queryStart + queryCount` of the queries against
/// `keys`.
public struct AttentionSequence {
    let c: mk_attention_sequence

    /// A sequence whose keys and values lie in `keys` and `values` [kv, G·D]; the queries are the last of them.
    /// `dKeys` and `dValues` (same shape and stride) are overwritten.
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
    private func shape(
        _ s: AttentionShape, ldq: Int, ldkv: Int, type: KeyValueType = .f32, pageOffset: Int = 0
    ) -> mk_attention_shape {
        mk_attention_shape(
            heads: Int64(s.heads), kv_heads: Int64(s.keyValueHeads), head_dim: Int64(s.headDim), ldq: Int64(ldq),
            ldkv: Int64(ldkv), window: Int64(s.window), scale: s.scale, soft_cap: s.softCap, kv_type: type.code,
            page_offset: Int64(pageOffset), bidirectional: s.isBidirectional)
    }

    /// Writes the new keys and values [·, G·D] into the sequences' pages, `pageOffset` bytes from where those begin; then
    /// out [T, H·D] = block-diagonal attention of q [T, H·D], causal unless the shape is bidirectional. `lse` [T, H]
    /// receives the log-sum-exp.
    ///
    /// The bits of a query's result depend on its own query and keys only: not on what else is in the batch, nor on
    /// whether its keys came in one call or in several.
    public func attention(
        _ s: AttentionShape, _ call: AttentionCall, type: KeyValueType, pageOffset: Int = 0, q: FloatMatrix,
        keys: FloatMatrix, values: FloatMatrix, into out: FloatMatrix, lse: FloatMatrix
    ) {
        precondition(q.stride == out.stride && q.columns == s.heads * s.headDim && lse.count >= q.rows * s.heads)
        precondition(keys.stride == values.stride && keys.columns == s.keyValueHeads * s.headDim)
        let sequences = call.sequences
        for i in sequences.indices {
            precondition(
                Int(sequences[i].q_start + sequences[i].q_len) <= q.rows
                    && Int(sequences[i].new_start + sequences[i].new_len) <= min(keys.rows, values.rows),
                "rows outside \(q.rows) queries and \(keys.rows) keys")
        }
        let shape = shape(s, ldq: q.stride, ldkv: keys.stride, type: type, pageOffset: pageOffset)
        withUnsafePointer(to: shape) { shape in
            let scratch = call.workspace.reserve(mk_attention_workspace(shape, sequences, Int64(sequences.count)))
            run {
                mk_attention_forward(
                    $0, shape, sequences, Int64(sequences.count), q.base, keys.base, values.base, out.base, lse.base,
                    scratch)
            }
        }
    }

    /// The backward of `attention` of that type where the keys are the batch's own: dq is overwritten, and each sequence's
    /// dKeys and dValues. `keyValueStride` is the row distance of every sequence's keys and values.
    public func attentionBackward(
        _ s: AttentionShape, _ sequences: [AttentionSequence], type: KeyValueType, keyValueStride: Int, q: FloatMatrix,
        out: FloatMatrix, lse: FloatMatrix, _ dout: FloatMatrix, into dq: FloatMatrix
    ) {
        precondition(q.stride == out.stride && q.stride == dout.stride && q.stride == dq.stride)
        precondition(!s.isBidirectional, "the backward is causal")
        withItems(sequences) { items, count in
            withUnsafePointer(to: shape(s, ldq: q.stride, ldkv: keyValueStride, type: type)) { shape in
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
