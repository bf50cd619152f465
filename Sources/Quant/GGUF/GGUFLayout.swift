import Base

/// Where the tensors of a model lie in its GGUF file: every name follows from what the tensor is for, which the spec says, so
/// no architecture needs a table of names.
///
/// Source of names and orders: llama.cpp, gguf-py/gguf/tensor_mapping.py and conversion/.
struct GGUFLayout {
    /// A tensor of Hugging Face's, all or a part of one in the file.
    struct Place {
        /// Hugging Face's name.
        let name: String
        /// Its rows among those of the file's tensor (of a vector: its elements), and how many that must have; nil: all.
        var part: (lines: Range<Int>, of: Int)?
        /// It is one row of a matrix.
        var isRow = false
        /// The order of its rows in the file.
        var order = GGUFRowOrder.asStored
        /// What the file has added to its values.
        var offset: Float = 0
    }

    /// What a tensor of the file holds, by GGUF's name.
    private(set) var places: [String: [Place]] = [:]

    /// The places of that model's tensors.
    init(_ spec: DecoderSpec) {
        // What a rotation turns together are neighbouring rows of q and k.
        let pairsRotaryRows = Architectures.all.first { $0.name == spec.architecture }?.ggufPairsRotaryRows ?? false
        places["token_embd.weight"] = [Place(name: spec.embedding.weight)]
        add(spec.head.linear, "output")
        add(spec.finalNorm, "output_norm")
        for (index, layer) in spec.layers.enumerated() {
            let prefix = "blk.\(index)."
            add(layer.wiring.attentionNorm, prefix + "attn_norm")
            add(layer.wiring.attentionOutputNorm, prefix + "post_attention_norm")
            add(layer.wiring.mlpNorm, prefix + "ffn_norm")
            add(layer.wiring.mlpOutputNorm, prefix + "post_ffw_norm")
            add(layer.attention.qNorm, prefix + "attn_q_norm")
            add(layer.attention.kNorm, prefix + "attn_k_norm")
            add(layer.attention, prefix, pairsRotaryRows)
            switch layer.mlp.input {
            case .gated(let gate, let up):
                add(gate, prefix + "ffn_gate")
                add(up, prefix + "ffn_up")
            case .fusedGate(let both): add(both, prefix + "ffn_up")
            case .plain(let up): add(up, prefix + "ffn_up")
            }
            add(layer.mlp.down, prefix + "ffn_down")
        }
    }

    private mutating func add(_ attention: AttentionSpec, _ prefix: String, _ pairsRotaryRows: Bool) {
        add(attention.output, prefix + "attn_output")
        switch attention.input {
        case .fused(let all, .blocks): add(all, prefix + "attn_qkv")
        case .fused(let all, .heads): add(all, prefix + "attn_qkv", .blocksOfHeads(attention.heads))
        case .separate(let q, let k, let v):
            let linears = [q, k, v]
            let orders: [GGUFRowOrder] =
                pairsRotaryRows
                ? [.pairs(heads: attention.heads), .pairs(heads: attention.keyValueHeads), .asStored]
                : [.asStored, .asStored, .asStored]
            // Either as they are, or one behind the other in one tensor (convert_hf_to_gguf.py --fuse-qkv).
            let total = linears.reduce(0) { $0 + $1.rows }
            var first = 0
            for (index, linear) in linears.enumerated() {
                add(linear, prefix + ["attn_q", "attn_k", "attn_v"][index], orders[index])
                let part = (lines: first..<first + linear.rows, of: total)
                for (name, ending) in [(linear.weight, "weight"), (linear.bias, "bias")] {
                    guard let name else { continue }
                    places["\(prefix)attn_qkv.\(ending)", default: []].append(
                        Place(name: name, part: part, order: orders[index]))
                }
                first += linear.rows
            }
        }
    }

    private mutating func add(_ linear: LinearSpec, _ name: String, _ order: GGUFRowOrder = .asStored) {
        places[name + ".weight"] = [Place(name: linear.weight, order: order)]
        if let bias = linear.bias { places[name + ".bias"] = [Place(name: bias, order: order)] }
    }

    private mutating func add(_ norm: NormSpec?, _ name: String) {
        guard let norm else { return }
        for (names, ending) in [(norm.weights, "weight"), (norm.biases, "bias")] where !names.isEmpty {
            places["\(name).\(ending)"] = names.enumerated().map { index, theirs in
                // llama.cpp has no norm of 1 + w: the 1 is in the file. Weights for each head are a matrix there.
                var place = Place(name: theirs, offset: norm.kind == .rmsOffset ? 1 : 0)
                if names.count > 1 {
                    place.part = (lines: index..<index + 1, of: names.count)
                    place.isRow = true
                }
                return place
            }
        }
    }
}

/// How the rows of one of Hugging Face's tensors lie in a GGUF file.
enum GGUFRowOrder: Equatable {
    /// In the same order.
    case asStored
    /// A head's first half and second half alternate: llama.cpp's converter does that for rotations of neighbours.
    case pairs(heads: Int)
    /// All queries, all keys, all values, where Hugging Face's order is head by head its query, key and value.
    case blocksOfHeads(Int)

    /// What the number of rows must be a multiple of; nil where that overflows or there are no heads.
    var divisor: Int? {
        switch self {
        case .asStored: 1
        case .pairs(let heads): heads < 1 ? nil : product(heads, 2)
        case .blocksOfHeads(let heads): heads < 1 ? nil : product(heads, 3)
        }
    }

    /// Where Hugging Face's row lies in the file; `count`, the number of rows, is a multiple of `divisor`.
    func place(of row: Int, count: Int) -> Int {
        switch self {
        case .asStored:
            return row
        case .pairs(let heads):
            let size = count / heads
            let (head, place) = row.quotientAndRemainder(dividingBy: size)
            return head * size + place % (size / 2) * 2 + place / (size / 2)  // bounded: below count
        case .blocksOfHeads(let heads):
            let size = count / heads / 3
            let (head, rest) = row.quotientAndRemainder(dividingBy: 3 * size)  // bounded: at most count
            let (block, place) = rest.quotientAndRemainder(dividingBy: size)
            return (block * heads + head) * size + place  // bounded: below count
        }
    }
}
