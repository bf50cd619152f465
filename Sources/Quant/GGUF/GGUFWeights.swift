import CKernels

/// The weights of a GGUF file of the Llama family under Hugging Face's names and in Hugging Face's order of rows.
/// Immutable and thread-safe.
///
/// Source of names and order: llama.cpp, convert_hf_to_gguf.py. The architecture `llama` has the rows of q and k in pairs
/// for its rotary embedding; `qwen2` and `qwen3` have them as they are.
public struct GGUFWeights: Sendable {
    /// The path as given.
    public let path: String
    /// All tensors, in the file's order.
    public let tensors: [GGUFTensor]

    /// Architectures that are read.
    static let architectures = ["llama", "qwen2", "qwen3"]

    /// Opens a file. Errors (`badInput`): another architecture, a tensor without a counterpart in Hugging Face's models, an
    /// element type that is not f32, f16, bf16, q8_0, q4_0 or iq4_nl, or data beyond the file's end.
    public init(path: String) throws {
        let gguf = try GGUFFile(path: path)
        let file = try MappedFile(path: path)
        let architecture = gguf.metadata.string("general.architecture") ?? "none"
        guard Self.architectures.contains(architecture) else {
            throw MeraserError.badInput(
                "\(path): the architecture is \(architecture); the weights of "
                    + "\(Self.architectures.joined(separator: ", ")) can be read from GGUF files")
        }
        guard !gguf.metadata.keys.contains("split.count") || gguf.metadata.int("split.count") == 1 else {
            throw MeraserError.badInput(
                "\(path) is one part of a split GGUF file; join the parts first (llama-gguf-split)")
        }
        let heads = gguf.metadata.int("\(architecture).attention.head_count") ?? 0
        let keyHeads = gguf.metadata.int("\(architecture).attention.head_count_kv") ?? heads
        let isPaired = architecture == "llama"
        tensors = try gguf.tensors.compactMap { info in
            guard info.name != "rope_freqs.weight" else { return nil }
            guard let name = Self.huggingFaceName(info.name) else {
                throw MeraserError.badInput("\(path): tensor '\(info.name)' has no counterpart in a Hugging Face model")
            }
            var pairedHeads: Int?
            if isPaired, info.name.contains(".attn_q.") { pairedHeads = heads }
            if isPaired, info.name.contains(".attn_k.") { pairedHeads = keyHeads }
            return try GGUFTensor(
                name: name, info: info, file: file, dataOffset: gguf.dataOffset, pairedHeads: pairedHeads)
        }
        self.path = path
    }

    private static let layerNames = [
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    ]

    /// `blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`; nil for a name that is not known.
    static func huggingFaceName(_ name: String) -> String? {
        switch name {
        case "token_embd.weight": return "model.embed_tokens.weight"
        case "output_norm.weight": return "model.norm.weight"
        case "output.weight": return "lm_head.weight"
        default: break
        }
        let parts = name.split(separator: ".")
        guard parts.count == 4, parts[0] == "blk", let layer = Int(parts[1]), layer >= 0,
            let module = layerNames[String(parts[2])], ["weight", "bias"].contains(parts[3])
        else { return nil }
        return "model.layers.\(layer).\(module).\(parts[3])"
    }
}

/// One tensor of a GGUF file. Thread-safe.
public struct GGUFTensor: Sendable {
    /// Hugging Face's name.
    public let name: String
    /// One dimension, or two: rows, columns.
    public let shape: [Int]
    /// The element type; tiled ones lie in the file as ggml's blocks.
    public let type: TensorType
    /// The file that the bytes lie in.
    public let file: MappedFile

    private let offset: Int
    private let rowByteCount: Int
    /// The number of heads whose rows are in pairs; nil where rows are as in Hugging Face's models.
    private let pairedHeads: Int?

    /// Rows; 1 for a tensor of one dimension.
    public var rows: Int { shape.count == 2 ? shape[0] : 1 }
    /// Elements of a row.
    public var columns: Int { shape.last ?? 1 }

    init(name: String, info: GGUFTensorInfo, file: MappedFile, dataOffset: Int, pairedHeads: Int?) throws {
        func bad(_ what: String) -> MeraserError { .badInput("\(file.path): tensor \(quoted(info.name)) \(what)") }
        guard let type = TensorType(rawValue: info.typeID), type != .nf4 else {
            throw bad("has ggml's type \(info.typeID), expected f32, f16, bf16, q8_0, q4_0 or iq4_nl")
        }
        guard info.dimensions.count <= 2 else { throw bad("has \(info.dimensions.count) dimensions, expected 1 or 2") }
        shape = info.dimensions.reversed()
        let (rows, columns) = (shape.count == 2 ? shape[0] : 1, shape.last ?? 1)
        guard !type.isTiled || columns % TensorType.tileColumns == 0 else {
            throw bad("has \(columns) columns of \(type.name), expected a multiple of \(TensorType.tileColumns)")
        }
        let rowByteCount =
            type.elementByteCount.map { product(columns, $0) }
            ?? product(columns / TensorType.tileColumns, Int(mk_ggml_block_bytes(Int32(type.rawValue))))
        guard let rowByteCount, let count = product(rows, rowByteCount),
            let offset = sum(dataOffset, info.offset), let end = sum(offset, count), end <= file.count
        else { throw bad("has shape \(shape) and ends beyond the file: the file is incomplete") }
        self.rowByteCount = rowByteCount
        self.offset = offset
        if let pairedHeads {
            // Each head has pairs of rows.
            let paired = shape.count == 2 ? rows : columns
            guard pairedHeads >= 1, let pairs = product(2, pairedHeads), paired % pairs == 0 else {
                throw bad("has shape \(shape), which does not hold \(pairedHeads) heads")
            }
        }
        self.name = name
        self.type = type
        self.file = file
        self.pairedHeads = pairedHeads
    }

    /// Reads those rows as fp32, row-major, into `target` (row count × columns). `raw` is working memory.
    /// Errors: the file has become shorter.
    public func read(rows range: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "tensor \(name): rows \(range) of \(rows)")
        if raw.count < rowByteCount { raw = [UInt8](repeating: 0, count: rowByteCount) }
        for (i, row) in range.enumerated() {
            let line = target + i * columns  // bounded: the caller's memory
            let row = shape.count == 2 ? placeOf(row: row, of: rows) : row
            let place = offset + row * rowByteCount  // bounded: inside the file
            try raw.withUnsafeMutableBytes { bytes in
                let part = UnsafeMutableRawBufferPointer(rebasing: bytes[..<rowByteCount])
                try file.read(into: part, at: place)
                if type.isTiled {
                    mk_ggml_to_float(Int32(type.rawValue), part.baseAddress, Int64(columns), line)
                } else {
                    var matrix = mk_matrix()
                    matrix.type = Int32(type.rawValue)
                    matrix.rows = 1
                    matrix.cols = Int64(columns)
                    matrix.data = UnsafeRawPointer(part.baseAddress)
                    mk_dequantize(&matrix, 0, 1, line)
                }
            }
        }
        if shape.count == 1, pairedHeads != nil {
            let stored = Array(UnsafeBufferPointer(start: target, count: columns))
            for i in 0..<columns { target[i] = stored[placeOf(row: i, of: columns)] }
        }
    }

    /// Where Hugging Face's row lies in the file: a head's first half and second half alternate there.
    private func placeOf(row: Int, of rows: Int) -> Int {
        guard let pairedHeads else { return row }
        let size = rows / pairedHeads
        let (head, place) = row.quotientAndRemainder(dividingBy: size)
        return head * size + place % (size / 2) * 2 + place / (size / 2)  // bounded: below rows
    }
}
