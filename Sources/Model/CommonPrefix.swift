/// Tokens from which on reading a common beginning once is worth the copies of its last cache page.
public let shortestSharedPrefix = 16

/// How many tokens two sequences begin with together.
public func commonPrefixCount(_ a: some Sequence<Int32>, _ b: some Sequence<Int32>) -> Int {
    var count = 0
    for (x, y) in zip(a, b) {
        if x != y { break }
        count += 1
    }
    return count
}
