/// Turns tokens into text while they are generated: whole characters as soon as they are complete.
///
/// A value type: each sequence has its own. All its pieces together equal ``Tokenizer/decode(_:skipSpecialTokens:)``
/// wherever runs of byte tokens spell valid UTF-8; in an invalid run, that call replaces every byte of the run by
/// U+FFFD, while this one has already given out the characters before the fault.
public struct StreamingDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipsSpecialTokens: Bool
    private var pipeline: DecoderPipeline
    /// What spaces may yet be taken out of.
    private var held: [UInt8] = []

    init(_ tokenizer: Tokenizer, skipsSpecialTokens: Bool) {
        self.tokenizer = tokenizer
        self.skipsSpecialTokens = skipsSpecialTokens
        pipeline = DecoderPipeline(tokenizer.decoder, holdsByteRuns: false)
    }

    /// Takes the next token; returns the text that is complete now, often empty in the middle of a character.
    public mutating func append(_ id: Int32) -> String {
        guard !skipsSpecialTokens || !tokenizer.isSpecial(id), let token = tokenizer.token(id) else { return "" }
        var output: [UInt8] = []
        pipeline.push(token, to: &output)
        guard tokenizer.cleansUpSpaces else { return String(decoding: output, as: UTF8.self) }
        held += output
        let count = SpaceCleanup.certainCount(held)
        defer { held.removeFirst(count) }
        return String(decoding: SpaceCleanup.clean(Array(held[..<count])), as: UTF8.self)
    }

    /// The end of the sequence: what was held back, an unfinished character as U+FFFD.
    public mutating func finish() -> String {
        var output: [UInt8] = []
        pipeline.finish(to: &output)
        return String(decoding: tokenizer.cleansUpSpaces ? SpaceCleanup.clean(held + output) : output, as: UTF8.self)
    }
}
