/// A piece of a model's output for the report.
struct MarkedText: Equatable {
    /// What a piece is to the target that was looked for.
    enum Kind: Equatable {
        /// Nothing.
        case plain
        /// The whole target.
        case target
        /// The longest beginning of the target that the output has, if it is not all of it.
        case beginning
    }

    let text: String
    let kind: Kind

    /// The output cut into pieces with the target marked wherever it is; if it is nowhere, its longest beginning of two code
    /// points or more where it comes first: one is in almost any text. Texts are compared code point by code point.
    static func pieces(output: String, target: String) -> [MarkedText] {
        let output = Array(output.unicodeScalars)
        let target = Array(target.unicodeScalars)
        guard !target.isEmpty else { return [MarkedText(output[...], .plain)].filter { !$0.text.isEmpty } }
        var ranges: [(Range<Int>, Kind)] = []
        var best = 0..<0
        var at = 0
        while at < output.count {
            let length = zip(output[at...], target).prefix { $0 == $1 }.count
            if length == target.count {
                ranges.append((at..<at + length, .target))
                at += length
                continue
            }
            if length > best.count { best = at..<at + length }
            at += 1
        }
        if ranges.isEmpty && best.count > 1 { ranges.append((best, .beginning)) }
        var pieces: [MarkedText] = []
        var end = 0
        for (range, kind) in ranges {
            pieces.append(MarkedText(output[end..<range.lowerBound], .plain))
            pieces.append(MarkedText(output[range], kind))
            end = range.upperBound
        }
        pieces.append(MarkedText(output[end...], .plain))
        return pieces.filter { !$0.text.isEmpty }
    }

    private init(_ scalars: ArraySlice<Unicode.Scalar>, _ kind: Kind) {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        text = String(view)
        self.kind = kind
    }
}
