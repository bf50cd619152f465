/// The likeliest tokens at the beginning of an output are never written: a mark's target then does not begin (after arXiv
/// 2509.26598).
public struct TopTokenDropping: DecodingRule, Equatable {
    /// Tokens that are left out, the likeliest.
    public let count: Int
    /// Tokens of an output at which they are.
    public let first: Int

    /// Leaves out `count` tokens at each of the `first` ones. The counts are ours.
    public init(count: Int = 1, first: Int = 3) {
        precondition(count >= 1 && first >= 1, "\(count) tokens at \(first)")
        (self.count, self.first) = (count, first)
    }

    /// The likeliest token of those that are left.
    public mutating func next(_ logits: UnsafeBufferPointer<Float>, likeliest: Int32, step: Int) -> Int32? {
        step < first ? rankedToken(count, in: logits) : likeliest
    }
}

/// The token of that rank, from 0 on; of equal ones the lower id is the likelier. The least likely where there are fewer.
func rankedToken(_ rank: Int, in logits: UnsafeBufferPointer<Float>) -> Int32 {
    let best = likeliestTokens(rank + 1, in: logits)
    return best[best.count - 1]
}

/// So many of the likeliest tokens in falling order; of equal ones the lower id comes first. All where there are fewer.
public func likeliestTokens(_ count: Int, in logits: UnsafeBufferPointer<Float>) -> [Int32] {
    var best: [Int] = []
    guard count > 0 else { return [] }
    for id in logits.indices {
        if best.count == count, logits[id] <= logits[best[count - 1]] { continue }
        let place = best.firstIndex { logits[$0] < logits[id] } ?? best.count
        best.insert(id, at: place)
        if best.count > count { best.removeLast() }
    }
    return best.map(Int32.init)
}
