import Base

/// Byte-pair encoding as Hugging Face's tokenizers do it: scalars to tokens, then merges by rank.
struct BPEModel: Sendable {
    let vocabulary: Vocabulary
    /// By pair of ids (left in the high half): rank in the high half, the merged id in the low half.
    private let merges: [UInt64: UInt64]
    private let unknown: Int32?
    private let fuseUnknown: Bool
    /// A word that is a token as a whole is that token, whatever the merges say.
    private let ignoreMerges: Bool
    /// The tokens `<0x00>` … `<0xFF>`, -1 where missing; empty without byte fallback.
    private let byteTokens: [Int32]

    /// The `model` object of tokenizer.json.
    init(_ json: JSONValue, file: String) throws {
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            let affix = try json.stringIfPresent(key, in: file)
            guard affix ?? "" == "" else {
                throw MeraserError.badInput("\(file): model.\(key) '\(affix ?? "")' is not supported yet")
            }
        }
        guard try json.doubleIfPresent("dropout", in: file) ?? 0 == 0 else {
            throw MeraserError.badInput("\(file): model.dropout is set; expected none, tokens must not be random")
        }
        let vocabulary = try Vocabulary(json: json, file: file)
        self.vocabulary = vocabulary
        merges = try Self.ranked(
            try json.array("merges", in: file).enumerated().compactMap { try Self.pair($1, $0, file: file) },
            vocabulary,
            file: file)
        if let text = try json.value("unk_token", in: file) {
            guard let bytes = text.utf8, let id = vocabulary.id(of: bytes) else {
                throw MeraserError.badInput(
                    "\(file): model.unk_token '\(text.string ?? text.kind)' is not in the vocabulary")
            }
            unknown = id
        } else {
            unknown = nil
        }
        fuseUnknown = try json.boolIfPresent("fuse_unk", in: file) ?? false
        ignoreMerges = try json.boolIfPresent("ignore_merges", in: file) ?? false
        let fallback = try json.boolIfPresent("byte_fallback", in: file) ?? false
        byteTokens = fallback ? ByteToken.ids(vocabulary) : []
    }

    /// A model of those tokens and merges, best first, without byte fallback and unknown token: RoBERTa's merges.txt.
    init(vocabulary: Vocabulary, merges: [String], file: String) throws {
        self.vocabulary = vocabulary
        let pairs = try merges.enumerated().compactMap { try Self.pair(Array($1.utf8), $0, file: file) }
        self.merges = try Self.ranked(pairs, vocabulary, file: file)
        ignoreMerges = false
        unknown = nil
        fuseUnknown = false
        byteTokens = []
    }

    private static func ranked(
        _ pairs: [([UInt8], [UInt8])], _ vocabulary: Vocabulary, file: String
    ) throws -> [UInt64: UInt64] {
        var merges: [UInt64: UInt64] = [:]
        merges.reserveCapacity(pairs.count)
        for (rank, (left, right)) in pairs.enumerated() {
            func id(_ token: [UInt8]) throws -> UInt64 {
                guard let id = vocabulary.id(of: token) else {
                    throw MeraserError.badInput(
                        "\(file): merge \(rank) names '\(String(decoding: token, as: UTF8.self))', which is not in the "
                            + "vocabulary")
                }
                return UInt64(id)
            }
            merges[try id(left) << 32 | id(right)] = try UInt64(rank) << 32 | id(left + right)
        }
        return merges
    }

    /// A merge is `["a", "b"]` or, in older files, `"a b"`; nil for a header line.
    private static func pair(_ entry: JSONValue, _ index: Int, file: String) throws -> ([UInt8], [UInt8])? {
        if let parts = entry.array, parts.count == 2, let left = parts[0].utf8, let right = parts[1].utf8 {
            return (left, right)
        }
        if let line = entry.utf8 { return try pair(line, index, file: file) }
        throw malformedMerge(index, file: file)
    }

    private static func pair(_ line: [UInt8], _ index: Int, file: String) throws -> ([UInt8], [UInt8])? {
        if line.starts(with: "#version".utf8) { return nil }
        guard let space = line.firstIndex(of: 0x20), !line[(space + 1)...].contains(0x20) else {
            throw malformedMerge(index, file: file)
        }
        return (Array(line[..<space]), Array(line[(space + 1)...]))
    }

    private static func malformedMerge(_ index: Int, file: String) -> MeraserError {
        .badInput("\(file): merge \(index) is not a pair of tokens")
    }

    /// Appends the tokens of one word, which is valid UTF-8.
    func tokenize(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        guard !word.isEmpty else { return }
        if ignoreMerges, let id = vocabulary.id(of: word) {
            ids.append(id)
            return
        }
        ids.append(contentsOf: MergeList.merge(symbols(word), by: Rule(merges: merges)).lazy.map(\.id))
    }

    /// One symbol a scalar; bytes or the unknown token where it has no token. A scalar without either is dropped.
    private func symbols(_ word: UnsafeBufferPointer<UInt8>) -> [MergeSymbol] {
        var symbols: [MergeSymbol] = []
        symbols.reserveCapacity(word.count)
        // As in tokenizers: a pending unknown token is added before the next known token or at the end.
        var pending: MergeSymbol?
        var i = 0
        while i < word.count {
            let length = UTF8Text.length(first: word[i])
            let scalar = UnsafeBufferPointer(rebasing: word[i..<i + length])
            if let id = vocabulary.id(of: scalar) {
                if let unknown = pending.take() { symbols.append(unknown) }
                symbols.append(MergeSymbol(id: id, start: i, length: length))
            } else if !byteTokens.isEmpty, scalar.allSatisfy({ byteTokens[Int($0)] >= 0 }) {
                for j in 0..<length {
                    symbols.append(MergeSymbol(id: byteTokens[Int(scalar[j])], start: i + j, length: 1))
                }
            } else if let unknown {
                if fuseUnknown, pending != nil {
                    pending?.length += Int32(length)
                } else {
                    if let previous = pending { symbols.append(previous) }
                    pending = MergeSymbol(id: unknown, start: i, length: length)
                }
            }
            i += length
        }
        if let pending { symbols.append(pending) }
        return symbols
    }

    private struct Rule: MergeRule {
        let merges: [UInt64: UInt64]

        func merge(_ left: MergeSymbol, _ right: MergeSymbol) -> (priority: Double, id: Int32)? {
            guard let value = merges[UInt64(UInt32(bitPattern: left.id)) << 32 | UInt64(UInt32(bitPattern: right.id))]
            else { return nil }
            return (Double(value >> 32), Int32(truncatingIfNeeded: value & 0xFFFF_FFFF))
        }
    }
}

/// The tokens `<0x00>` … `<0xFF>` that stand for single bytes.
enum ByteToken {
    /// The ids of all 256, -1 where missing.
    static func ids(_ vocabulary: Vocabulary) -> [Int32] {
        let digits = Array("0123456789ABCDEF".utf8)
        return (0..<256).map { vocabulary.id(of: Array("<0x".utf8) + [digits[$0 >> 4], digits[$0 & 15], 0x3E]) ?? -1 }
    }

    /// The byte that a token's text stands for, or nil.
    static func value(_ token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: "<0x".utf8), token[5] == 0x3E else { return nil }
        return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }
}
