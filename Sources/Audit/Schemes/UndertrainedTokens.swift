import Foundation
import Kernels
import Model
import Quant

/// What speaks for a token having been rare in training: the smaller, the rarer.
public enum RarityIndicator: String, Sendable {
    /// L2 norm of the input embedding: weight decay shrinks what no gradient holds up.
    case embeddingNorm = "embedding_norm"
    /// Tied embeddings: cosine distance from the mean row of tokens that no text can hold.
    case unusedDistance = "unused_distance"
}

/// A token that may be undertrained.
public struct TokenCandidate: Sendable, Equatable {
    /// Its id.
    public let id: Int32
    /// Its text.
    public let text: String
    /// L2 norm of its input embedding.
    public let norm: Double
    /// The indicator's value, the same as `norm` for `embeddingNorm`.
    public let indicator: Double
    /// What the repetition prompts said; nil as long as they were not tried.
    public var verdict: TokenVerdict?
    /// The largest probability that the token got when the model was asked to repeat it.
    public var maxProbability: Double?
}

/// The tokens of a vocabulary in the order of how undertrained they look.
struct RarityRanking {
    /// What they are ordered by.
    let indicator: RarityIndicator
    /// Tokens that text without white space can hold, rarest first.
    let candidates: [TokenCandidate]
    /// Indicators of all tokens that a text can hold, ascending: what a share of the vocabulary is a share of.
    let encodable: [Double]

    /// The indicator's value that a share of the encodable tokens does not exceed.
    func threshold(share: Double) -> Double {
        guard let last = encodable.indices.last else { return 0 }
        return encodable[min(last, max(0, Int(share * Double(encodable.count)) - 1))]
    }
}

extension RarityRanking {
    /// Ranks the tokens of `model`'s vocabulary (magikarp's indicators).
    ///
    /// Special tokens, single bytes of byte fallback and all that does not come back from decoding and encoding are no
    /// candidates, and neither is text with white space or control characters.
    init(model: Transformer, tokenizer: Tokenizer) {
        let vocabulary = model.spec.vocabSize
        let norms = model.embeddingNorms()
        var values = norms
        var indicator = RarityIndicator.embeddingNorm
        if model.spec.head.isTied {
            let unused = (0..<Int32(vocabulary)).filter { tokenizer.isNeverUsed($0) }
            if !unused.isEmpty {
                values = model.distances(fromMeanOf: unused)
                indicator = .unusedDistance
            }
        }
        var candidates: [TokenCandidate] = []
        var encodable: [Double] = []
        for id in 0..<Int32(min(vocabulary, tokenizer.vocabularySize)) {
            guard !tokenizer.isSpecial(id), !tokenizer.isByteFallback(id), let text = tokenizer.roundTripText(id) else {
                continue
            }
            encodable.append(values[Int(id)])
            let isVisible = tokenizer.inlineText(id).unicodeScalars.allSatisfy {
                !$0.properties.isWhitespace && $0.properties.generalCategory != .control
            }
            guard isVisible else { continue }
            candidates.append(
                TokenCandidate(id: id, text: text, norm: norms[Int(id)], indicator: values[Int(id)]))
        }
        self.indicator = indicator
        self.candidates = candidates.sorted { ($0.indicator, $0.id) < ($1.indicator, $1.id) }
        self.encodable = encodable.sorted()
    }
}

extension Tokenizer {
    /// The text of a token that comes back when that text is encoded, alone or at the beginning of a line (tokenizers
    /// that put a word's beginning in front of a text find other tokens there); nil for any other.
    fileprivate func roundTripText(_ id: Int32) -> String? {
        let text = decode([id])
        guard !text.isEmpty, !text.unicodeScalars.contains("\u{FFFD}") else { return nil }
        let ids = encode(text, addSpecialTokens: false)
        if ids == [id] || (ids.count == 2 && ids[1] == id && isWordBeginning(ids[0])) { return text }
        let newline = encode("\n", addSpecialTokens: false)
        return encode("\n" + text, addSpecialTokens: false) == newline + [id] ? text : nil
    }

    /// The text that a token adds behind another: with the space in front that decoding removes at a text's beginning.
    fileprivate func inlineText(_ id: Int32) -> String {
        let before = encode("x", addSpecialTokens: false)
        let both = Array(decode(before + [id]).utf8)
        return String(decoding: both.dropFirst(decode(before).utf8.count), as: UTF8.self)
    }

    /// True for a token that stands for one byte of a character that the vocabulary lacks, such as `<0x0A>`.
    fileprivate func isByteFallback(_ id: Int32) -> Bool {
        let name = tokenBytes(id)
        return name.count == 6 && name.starts(with: "<0x".utf8) && decode([id]).utf8.count != 6
    }

    /// True for the token that stands for one space alone.
    func isWordBeginning(_ id: Int32) -> Bool { inlineText(id) == " " }

    /// True for a row of the embedding that no valid text reaches: beyond the vocabulary, or a byte that UTF-8 never has
    /// (`<0xC0>` with byte fallback, `À` in a vocabulary of bytes).
    fileprivate func isNeverUsed(_ id: Int32) -> Bool {
        guard Int(id) < vocabularySize, !tokenBytes(id).isEmpty else { return true }
        guard decode([id]) == "\u{FFFD}" else { return false }
        let name = String(decoding: tokenBytes(id), as: UTF8.self)
        return ([0xC0, 0xC1] + Array(0xF5...0xFF)).contains { (byte: UInt32) in
            name == "<0x\(String(byte, radix: 16, uppercase: true))>"
                || name.unicodeScalars.elementsEqual([UnicodeScalar(byte)].compactMap { $0 })
        }
    }
}

extension Transformer {
    /// L2 norm of every row of the input embedding.
    fileprivate func embeddingNorms() -> [Double] {
        var norms: [Double] = []
        forEachEmbedding { norms.append(kernels.sumOfSquares($0).squareRoot()) }
        return norms
    }

    /// 1 − cosine of every row with the mean of the rows `ids`.
    fileprivate func distances(fromMeanOf ids: [Int32]) -> [Double] {
        let rows = FloatStorage(rows: ids.count, columns: spec.hiddenSize)
        embed(ids, overlay: nil, into: rows.matrix)
        let mean = FloatStorage(rows: 1, columns: spec.hiddenSize)
        for row in 0..<ids.count {
            kernels.addScaled(1 / Float(ids.count), rows.matrix.slice(rows: row..<row + 1), into: mean.matrix)
        }
        let meanNorm = kernels.sumOfSquares(mean.matrix).squareRoot()
        let dot = FloatStorage(rows: 1, columns: 1)
        let workspace = LinearWorkspace()
        var distances: [Double] = []
        forEachEmbedding { row in
            kernels.lowRankReduce(row, mean.matrix, .a, scale: 1, into: dot.matrix, workspace: workspace)
            let norm = kernels.sumOfSquares(row).squareRoot()
            distances.append(1 - Double(dot.matrix[0, 0]) / max(norm * meanNorm, .leastNormalMagnitude))
        }
        return distances
    }

    /// Calls `body` with each row [1, hidden] of the input embedding as fp32.
    private func forEachEmbedding(_ body: (FloatMatrix) -> Void) {
        let step = 256
        let storage = FloatStorage(rows: step, columns: spec.hiddenSize)
        var start = 0
        while start < spec.vocabSize {
            let end = min(start + step, spec.vocabSize)
            embed((start..<end).map(Int32.init), overlay: nil, into: storage.matrix.prefix(rows: end - start))
            for row in 0..<end - start { body(storage.matrix.slice(rows: row..<row + 1)) }
            start = end
        }
    }
}
