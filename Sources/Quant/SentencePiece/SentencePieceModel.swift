import Base

/// A model of SentencePiece (`tokenizer.model`): tokens with scores and types, and how texts are normalized.
///
/// Source of fields and defaults: sentencepiece, src/sentencepiece_model.proto.
struct SentencePieceModel {
    /// How texts become tokens.
    enum Kind: UInt64 {
        case unigram = 1
        case bpe = 2
    }

    /// What a token is.
    enum PieceType: UInt64 {
        case normal = 1
        case unknown = 2
        case control = 3
        case userDefined = 4
        case unused = 5
        case byte = 6
    }

    let kind: Kind
    /// By id.
    private(set) var tokens: [JSONString] = []
    /// By id; finite.
    private(set) var scores: [Float] = []
    /// By id.
    private(set) var types: [PieceType] = []
    let unknown: Int
    let bos: Int?
    let eos: Int?

    /// The most tokens of a model.
    private static let maximumCount = 1 << 21

    /// Reads the bytes of a file. Errors (`badInput`) name `file` and what is wrong with it.
    init(_ bytes: [UInt8], file: String) throws {
        func bad(_ what: String) -> MeraserError { .badInput("\(file) \(what)") }
        var pieces: [Range<Int>] = []
        var trainer: Range<Int>?
        (tokens, scores, types, kind, unknown, bos, eos) = try bytes.withUnsafeBufferPointer { all in
            var reader = ProtobufReader(all, 0..<all.count, file: file)
            while let (field, value) = try reader.next() {
                guard case .bytes(let range) = value else { continue }
                if field == 1 { pieces.append(range) } else if field == 2 { trainer = range }
            }
            guard !pieces.isEmpty, pieces.count <= Self.maximumCount else {
                throw bad("has \(pieces.count) tokens, expected 1 to \(Self.maximumCount)")
            }
            var tokens: [JSONString] = []
            var scores: [Float] = []
            var types: [PieceType] = []
            for (id, range) in pieces.enumerated() {
                let piece = try Self.piece(all, range, id, file: file)
                tokens.append(piece.text)
                scores.append(piece.score)
                types.append(piece.type)
            }
            let numbers = try Self.numbers(all, trainer ?? 0..<0, file: file)
            let type = numbers[3] ?? Kind.unigram.rawValue
            guard let kind = Kind(rawValue: type) else {
                throw bad("is a model of type \(type); supported are 1 (Unigram) and 2 (BPE)")
            }
            func id(_ field: Int, _ standard: Int) -> Int? {
                let value = numbers[field].map { Int(Int32(truncatingIfNeeded: $0)) } ?? standard
                return tokens.indices.contains(value) ? value : nil
            }
            guard let unknown = id(40, 0) else { throw bad("has no token for unknown characters") }
            return (tokens, scores, types, kind, unknown, id(41, 1), id(42, 2))
        }
    }

    private static func piece(
        _ all: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ id: Int, file: String
    ) throws -> (text: JSONString, score: Float, type: PieceType) {
        var text: [UInt8]?
        var score: Float = 0
        var type = PieceType.normal.rawValue
        var reader = ProtobufReader(all, range, file: file)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .bytes(let range)): text = Array(all[range])
            case (2, .fixed32(let bits)): score = Float(bitPattern: bits)
            case (3, .varint(let number)): type = number
            default: break
            }
        }
        guard let text, String(validating: text, as: UTF8.self) != nil else {
            throw MeraserError.badInput("\(file): token \(id) has no text of valid UTF-8")
        }
        guard let type = PieceType(rawValue: type), score.isFinite else {
            throw MeraserError.badInput(
                "\(file): token \(id) has type \(type) and score \(score), expected 1 to 6 and a number")
        }
        return (JSONString(utf8: text), score, type)
    }

    /// The integers of a message, by field.
    private static func numbers(
        _ all: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, file: String
    ) throws -> [Int: UInt64] {
        var numbers: [Int: UInt64] = [:]
        var reader = ProtobufReader(all, range, file: file)
        while let (field, value) = try reader.next() {
            if case .varint(let number) = value { numbers[field] = number }
        }
        return numbers
    }
}
