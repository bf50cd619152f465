import Audit
import Base
import Foundation
import Model
import Quant

/// The texts that show a conversion which inputs the weights meet.
public enum CalibrationText: Sendable, Equatable {
    /// Rows with `text` in a .jsonl file, or one plain text.
    case file(String)
    /// What the model itself writes from nothing, at temperature 1, by that seed.
    case own(seed: UInt64)

    /// The word for `own` on a command line.
    public static let ownWord = "self"
    /// Tokens that are read where nobody says how many.
    public static let standardTokenCount = 16_384
    /// The fewest tokens that say anything.
    static let leastTokenCount = 128
    /// Tokens of a sequence.
    private static let length = 512

    /// Sequences of up to 512 tokens, `count` in all at most; of a longer file they lie spread over it.
    ///
    /// - Throws: what reading the file or writing the texts throws, a bad-input error for too few tokens.
    func sequences(of model: OpenedModel, count: Int) throws -> [[Int32]] {
        let length = min(Self.length, model.transformer.spec.maxPositionEmbeddings)
        let (sequences, name, advice) =
            switch self {
            case .file(let path):
                (try Self.windows(ofFile: path, model.tokenizer, length: length, count: count), path, "give more text")
            case .own(let seed):
                (
                    try model.ownSequences(length: length, tokens: count, seed: seed),
                    "what \(model.transformer.store.path) writes", "give a file"
                )
            }
        let tokens = sequences.reduce(0) { $0 + $1.count }
        guard tokens >= min(Self.leastTokenCount, count) else {
            throw MeraserError.badInput(
                "\(name): \(tokens) tokens to calibrate with, expected at least \(Self.leastTokenCount); \(advice)")
        }
        return sequences
    }

    /// What a file records of it, whose sequences have so many tokens.
    func metadata(tokens: Int) throws -> Metadata {
        var metadata = Metadata()
        switch self {
        case .file(let path):
            metadata["mqf.calibration.text"] = .string(fileName(ofPath: path))
            metadata["mqf.calibration.sha256"] = .string(try sha256Hex(ofFile: path))
        case .own(let seed):
            metadata["mqf.calibration.text"] = .string(Self.ownWord)
            metadata["mqf.calibration.seed"] = .uint64(seed)
        }
        metadata["mqf.calibration.tokens"] = .uint32(UInt32(clamping: tokens))
        return metadata
    }

    private static func windows(
        ofFile path: String, _ tokenizer: Tokenizer, length: Int, count: Int
    ) throws -> [[Int32]] {
        let text = try loadTextRows(path: path).joined(separator: "\n\n")
        let stream = tokenizer.encode(text, addSpecialTokens: false)
        let prefix = tokenizer.specialTokensAround.prefix
        let step = max(length - prefix.count, 1)
        let windows = max((stream.count + step - 1) / step, 1)
        let wanted = max(min(windows, count / length), 1)
        return (0..<wanted).map { i in
            let start = i * windows / wanted * step
            return Array((prefix + stream[start..<min(start + step, stream.count)]).prefix(min(length, count)))
        }
    }
}

extension OpenedModel {
    /// Sequences that the model writes itself, until they have that many tokens or it says nothing new.
    fileprivate func ownSequences(length: Int, tokens: Int, seed: UInt64) throws -> [[Int32]] {
        guard let first = tokenizer.bosID ?? tokenizer.eosID else {
            throw MeraserError.usage(
                "`calibrate` \(CalibrationText.ownWord): the tokenizer has no BOS or EOS to begin a text from; give a file"
            )
        }
        var sequences: [[Int32]] = []
        var left = tokens
        let rounds: UInt64 = 8
        for round in 0..<rounds where left > 1 {
            let count = min((left + length - 1) / length, 64)
            let texts = try session().generate(
                Array(repeating: GenerationRequest(prompt: [first]), count: count),
                options: GenerationOptions(
                    maxNewTokens: length - 1, sampling: SamplingOptions(temperature: 1, seed: seed &+ round),
                    stopTokens: transformer.stopTokens))
            for text in texts where left > 1 && !text.tokens.isEmpty {
                sequences.append(Array(([first] + text.tokens).prefix(left)))
                left -= min(left, text.tokens.count + 1)
            }
        }
        return sequences
    }
}
