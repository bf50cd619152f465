/// `clean_up_tokenization_spaces` of tokenizer_config.json: no spaces before punctuation and English contractions, as
/// Transformers' `clean_up_tokenization` takes them out of a decoded text.
enum SpaceCleanup {
    private static let replacements: [(from: [UInt8], to: [UInt8])] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"),
        (" 've", "'ve"), (" 're", "'re"),
    ].map { (Array($0.0.utf8), Array($0.1.utf8)) }

    /// The text without those spaces.
    static func clean(_ text: [UInt8]) -> [UInt8] {
        replacements.reduce(text) { UTF8Text.replacing($0, $1.from, with: $1.to) }
    }

    /// How much of a text that still grows is certain: what ends with as many bytes without a space as the longest of the
    /// patterns, which all begin with one, has.
    static func certainCount(_ text: [UInt8]) -> Int {
        let longest = 4
        var run = 0
        var certain = 0
        for (index, byte) in text.enumerated() {
            run = byte == 0x20 ? 0 : run + 1
            // Characters stay whole.
            let isBoundary = index + 1 == text.count || text[index + 1] & 0xC0 != 0x80
            if run >= longest, isBoundary { certain = index + 1 }
        }
        return certain
    }
}
