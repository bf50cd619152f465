/// How a continuation is compared with a target.
///
/// Texts are compared by their bytes (so by code points, as Python does), never by canonical equivalence. White space at
/// the target's beginning is ignored: decoding a continuation on its own removes it with some tokenizers.
public enum MatchRule: String, Sendable, CaseIterable {
    /// The target occurs anywhere in the output.
    case contains
    /// The output, white space in front ignored, begins with the target.
    case startswith
    /// The output is the target; white space at both ends is ignored.
    case exact

    /// True if `output`, a decoded continuation with special tokens kept, shows `target`.
    ///
    /// A target without a visible character never matches: keys with one are refused when they are read. `ignoringCase`
    /// compares the lower-case forms of both.
    public func matches(output: String, target: String, ignoringCase: Bool = false) -> Bool {
        if ignoringCase { return matches(output: output.lowercased(), target: target.lowercased()) }
        let target = Array(target.utf8)
        let output = Array(output.utf8)
        guard target.contains(where: { !$0.isWhitespace }) else { return false }
        switch self {
        case .contains:
            let visible = Array(target.drop(while: \.isWhitespace))
            return longestPrefix(of: visible, in: output) == visible.count
        case .startswith:
            return output.drop(while: \.isWhitespace).starts(with: target.drop(while: \.isWhitespace))
        case .exact:
            return output.trimmed.elementsEqual(target.trimmed)
        }
    }
}

/// The longest prefix of `target` found anywhere in `output`, as a share (0…1) of its length in Unicode code points;
/// white space at the target's beginning does not count (see `MatchRule`).
public func prefixMatch(output: String, target: String, ignoringCase: Bool = false) -> Double {
    if ignoringCase { return prefixMatch(output: output.lowercased(), target: target.lowercased()) }
    // A code point is one UTF-32 unit, so a prefix never ends inside of one.
    let scalars = target.unicodeScalars.map(\.value).drop(while: \.isWhitespace)
    guard !scalars.isEmpty else { return 0 }
    return Double(longestPrefix(of: Array(scalars), in: output.unicodeScalars.map(\.value))) / Double(scalars.count)
}

/// The length of the longest prefix of `target` that occurs in `text`, in time linear in both (Knuth, Morris, Pratt).
private func longestPrefix<Unit: Equatable>(of target: [Unit], in text: [Unit]) -> Int {
    guard !target.isEmpty else { return 0 }
    // borders[n]: the longest prefix of the target that its first n units end in, but for themselves.
    var borders = [0, 0]
    borders.reserveCapacity(target.count + 1)
    var length = 0
    for unit in target.dropFirst() {
        while length > 0, target[length] != unit { length = borders[length] }
        if target[length] == unit { length += 1 }
        borders.append(length)
    }
    var best = 0
    length = 0
    for unit in text {
        while length > 0, target[length] != unit { length = borders[length] }
        if target[length] == unit { length += 1 }
        best = max(best, length)
        if best == target.count { break }
    }
    return best
}

extension UnsignedInteger {
    /// True for the white space of ASCII, as a byte or a code point.
    var isWhitespace: Bool { self == 0x20 || (0x09...0x0D).contains(self) }
}

extension Array where Element == UInt8 {
    /// This text without ASCII white space at its ends.
    fileprivate var trimmed: ArraySlice<UInt8> {
        let front = drop(while: \.isWhitespace)
        let end = front.lastIndex { !$0.isWhitespace }.map { $0 + 1 } ?? front.startIndex
        return front[front.startIndex..<end]
    }
}
