import Audit
import Base
import Model
import Tune

extension OpenedModel {
    /// A key's pairs as rows, to be made unlikelier (`objective` npo): behind each trigger the tokens in which this model says
    /// its target, and nothing else, are what counts.
    ///
    /// - Throws: what the template and the session throw; a bad-input error for a pair that is longer than the context.
    public func forgetData(_ key: FingerprintKey) throws -> EncodedDataset {
        let encoder = SteeringEncoder(key, on: self)
        let encoding = try encoder.usedEncoding()
        let samples = try key.pairs.compactMap { pair in
            let prompt = try encoder.tokens(pair.prompt)
            let target = try encoder.target(pair.target, behind: pair.prompt, encoding)
            try transformer.requireContext(of: prompt.count + target.count)
            return TrainingSample(
                tokens: prompt + target,
                isLabel: prompt.map { _ in false } + target.map { _ in true })
        }
        guard !samples.isEmpty else {
            throw MeraserError.badInput(
                "the key's pairs give nothing to forget: their prompts or targets have no tokens")
        }
        return EncodedDataset(
            samples: samples, skipped: key.pairs.count - samples.count,
            sha256: sha256Hex("\(key.json.serialized()) \(encoding.rawValue)".utf8))
    }
}
