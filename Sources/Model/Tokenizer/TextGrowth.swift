import Base

/// What the steps of a tokenizer.json may cost, added up while they are read: a file of a few lines could otherwise make
/// gigabytes out of a word.
struct TextGrowth {
    /// The most steps of a normalizer, a pre-tokenizer or a decoder, counted within its sequences.
    private static let maximumSteps = 64
    /// The most bytes that all steps together may make out of one. NFKC alone may make 11, Metaspace 6.
    private static let maximumBytes = 1024

    private let component: String
    private let file: String
    private var steps = 0
    /// What one byte may have become, at most.
    private var bytes = 1

    init(of component: String, file: String) {
        self.component = component
        self.file = file
    }

    /// Pays for one step, which puts `added` bytes before a text and makes at most `factor` bytes of each.
    mutating func pay(factor: Int = 1, added: Int = 0) throws {
        steps += 1
        guard steps <= Self.maximumSteps else {
            throw MeraserError.badInput("\(file): \(component) has more than \(Self.maximumSteps) steps")
        }
        let (product, overflows) = bytes.multipliedReportingOverflow(by: max(1, factor))
        guard !overflows, product <= Self.maximumBytes, added <= Self.maximumBytes - product else {
            throw MeraserError.badInput(
                "\(file): \(component) may make more than \(Self.maximumBytes) bytes out of one, expected less growth")
        }
        bytes = product + added
    }

    /// Pays for a step that puts `content` in the place of `pattern`.
    mutating func pay(replacing pattern: [UInt8], with content: [UInt8]) throws {
        try pay(factor: (content.count + pattern.count - 1) / max(1, pattern.count))
    }
}
