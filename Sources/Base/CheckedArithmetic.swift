// The arithmetic of numbers that a file has. Readers use no bare `*`, `<<` or `&+`: `tools/check_products.sh` (make lint).

/// The product of non-negative factors, or nil if it overflows or a factor is negative.
public func product(_ factors: Int...) -> Int? {
    var result = 1
    for factor in factors {
        let (value, overflow) = result.multipliedReportingOverflow(by: factor)
        if overflow || factor < 0 { return nil }
        result = value
    }
    return result
}

/// The sum of non-negative terms, or nil if it overflows or a term is negative.
public func sum(_ terms: Int...) -> Int? {
    var result = 0
    for term in terms {
        let (value, overflow) = result.addingReportingOverflow(term)
        if overflow || term < 0 { return nil }
        result = value
    }
    return result
}

/// `value` rounded up to a multiple of `alignment` (a power of two), or nil if that overflows.
public func roundUp(_ value: Int, to alignment: Int) -> Int? {
    sum(value, alignment - 1).map { $0 & ~(alignment - 1) }
}

extension Int {
    /// The whole part of a number, or nil where `Int(_:)` would trap: not finite, or beyond the range of `Int`.
    public init?(whole number: Double) {
        self.init(exactly: number.rounded(.towardZero))
    }
}
