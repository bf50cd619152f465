import Base

/// SentencePiece's Unigram (Kudo 2018): of all ways to put a word together of tokens the one whose scores have the highest
/// sum, as `tokenizers` finds it.
struct UnigramModel: Sendable {
    let vocabulary: Vocabulary
    private let scores: [Double]
    /// The token of what the others cannot spell.
    let unknown: Int32
    /// What a character costs that no token begins with: less than every token.
    private let unknownScore: Double
    /// The tokens `<0x00>` … `<0xFF>`, -1 where missing; empty without byte fallback.
    private let byteTokens: [Int32]
    private let tree: TokenTree

    /// The best way to the end of a beginning of the word.
    fileprivate struct Step {
        var score = 0.0
        var start: Int32 = -1
        var id: Int32 = -1
    }

    /// What finding works in; one for a text.
    struct Scratch {
        fileprivate var steps: [Step] = []
        fileprivate var path: [(range: Range<Int>, id: Int32)] = []
    }

    /// The `model` object of tokenizer.json with its `vocab`: `["token", score]` each.
    init(_ json: JSONValue, vocabulary rows: JSONRows?, file: String) throws {
        guard let rows, !rows.isObject else {
            throw MeraserError.badInput(
                "\(file): 'model.vocab' is \(rows == nil ? "missing" : "an object"), expected an array")
        }
        var tokens: [(bytes: [UInt8], id: Int)] = []
        var scores: [Double] = []
        try rows.withTexts { texts in
            for row in 0..<rows.count {
                switch rows.second(row) {
                case .number(let score): scores.append(score)
                case .integer(let score): scores.append(Double(score))
                default:
                    throw MeraserError.badInput("\(file): model.vocab: entry \(row) is not a token with its score")
                }
                tokens.append((bytes: Array(texts[row]), id: row))
            }
        }
        guard let unknown = try json.intIfPresent("unk_id", in: file) else {
            throw MeraserError.badInput(
                "\(file): model.unk_id is missing; a Unigram model without a token for unknown characters is not supported yet"
            )
        }
        try self.init(
            tokens: tokens, scores: scores, unknown: unknown,
            fallsBack: try json.boolIfPresent("byte_fallback", in: file) ?? false, file: file)
    }

    /// A model of those tokens, whose scores are finite.
    ///
    /// - Throws: a bad-input error for a token that occurs twice and for an unknown token that is none.
    init(
        tokens: [(bytes: [UInt8], id: Int)], scores: [Double], unknown: Int, fallsBack: Bool, file: String
    ) throws {
        guard tokens.indices.contains(unknown) else {
            throw MeraserError.badInput(
                "\(file): model.unk_id is \(unknown), expected 0 to \(tokens.count - 1)")
        }
        vocabulary = try Vocabulary(tokens, file: file)
        self.scores = scores
        self.unknown = Int32(unknown)
        unknownScore = (scores.min() ?? 0) - 10
        byteTokens = fallsBack ? ByteToken.ids(vocabulary) : []
        tree = TokenTree(vocabulary)
    }

    /// Appends the tokens of one word, which is valid UTF-8. Takes time linear in the word times the longest token.
    func tokenize(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32], _ scratch: inout Scratch) {
        findBest(word, &scratch.steps)
        scratch.path.removeAll(keepingCapacity: true)
        var end = word.count
        while end > 0 {
            let step = scratch.steps[end]
            // Unknown characters side by side are one.
            if step.id == unknown, let last = scratch.path.last, last.id == unknown {
                scratch.path[scratch.path.count - 1].range = Int(step.start)..<last.range.upperBound
            } else {
                scratch.path.append((Int(step.start)..<end, step.id))
            }
            end = Int(step.start)
        }
        for piece in scratch.path.reversed() {
            guard piece.id == unknown else {
                ids.append(piece.id)
                continue
            }
            let text = UnsafeBufferPointer(rebasing: word[piece.range])
            if let id = vocabulary.id(of: text) {
                ids.append(id)
            } else if !byteTokens.isEmpty, text.allSatisfy({ byteTokens[Int($0)] >= 0 }) {
                for byte in text { ids.append(byteTokens[Int(byte)]) }
            } else {
                ids.append(unknown)
            }
        }
    }

    /// By end, the best last step there; of equal ones the first that was found, which begins first.
    private func findBest(_ word: UnsafeBufferPointer<UInt8>, _ steps: inout [Step]) {
        steps.removeAll(keepingCapacity: true)
        steps.append(contentsOf: repeatElement(Step(), count: word.count + 1))
        steps.withUnsafeMutableBufferPointer { steps in
            var start = 0
            while start < word.count {
                let length = UTF8Text.length(first: word[start])
                let before = steps[start].score
                var hasSingle = false
                func offer(_ end: Int, _ score: Double, _ id: Int32) {
                    guard steps[end].start < 0 || score > steps[end].score else { return }
                    steps[end] = Step(score: score, start: Int32(start), id: id)
                }
                tree.forEachToken(word, from: start) { end, id in
                    if end == start + length { hasSingle = true }
                    offer(end, before + scores[Int(id)], id)
                }
                if !hasSingle { offer(start + length, before + unknownScore, unknown) }
                start += length
            }
        }
    }
}

/// The beginnings of all tokens as a tree: finds every token that stands at a place of a text.
struct TokenTree: Sendable {
    private struct Slot {
        /// The parent in the high bits, the byte below; `free`: none.
        var key: UInt64
        var node: Int32
    }

    private static let free = UInt64.max

    private var slots: [Slot]
    /// By node, the token that ends there; -1: none.
    private var tokens: [Int32] = [-1]
    private let hash = ByteHash()

    /// The tree of a vocabulary.
    init(_ vocabulary: Vocabulary) {
        slots = [Slot](repeating: Slot(key: Self.free, node: 0), count: 1024)
        var nodes: [(key: UInt64, node: Int32)] = []
        vocabulary.forEachToken { token, id in
            var node = 0
            for byte in token {
                let key = UInt64(node) << 8 | UInt64(byte)
                var slot = find(key)
                if slots[slot].key == Self.free {
                    if 2 * (nodes.count + 1) > slots.count {
                        slots = [Slot](repeating: Slot(key: Self.free, node: 0), count: 4 * slots.count)
                        for (key, node) in nodes { slots[find(key)] = Slot(key: key, node: node) }
                        slot = find(key)
                    }
                    slots[slot] = Slot(key: key, node: Int32(tokens.count))
                    nodes.append((key, Int32(tokens.count)))
                    tokens.append(-1)
                }
                node = Int(slots[slot].node)
            }
            if node > 0 { tokens[node] = id }
        }
    }

    /// Where that key is, or the free slot where it would be.
    @inline(__always)
    private func find(_ key: UInt64) -> Int {
        var slot = Int(truncatingIfNeeded: hash(key)) & (slots.count - 1)
        while slots[slot].key != Self.free, slots[slot].key != key { slot = (slot + 1) & (slots.count - 1) }
        return slot
    }

    /// Calls `body` with end and id of every token that begins at `start`, the shortest first.
    @inline(__always)
    func forEachToken(_ text: UnsafeBufferPointer<UInt8>, from start: Int, _ body: (Int, Int32) -> Void) {
        var node = 0
        var i = start
        while i < text.count {
            let slot = find(UInt64(node) << 8 | UInt64(text[i]))
            guard slots[slot].key != Self.free else { return }
            node = Int(slots[slot].node)
            i += 1
            if tokens[node] >= 0 { body(i, tokens[node]) }
        }
    }
}
