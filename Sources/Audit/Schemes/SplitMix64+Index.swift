import Model

extension SplitMix64 {
    /// A number of 0..<count; the high half of a product keeps the bias below count / 2⁶⁴.
    public mutating func index(below count: Int) -> Int {
        precondition(count > 0)
        return Int(next().multipliedFullWidth(by: UInt64(count)).high)
    }

    /// Puts them into a drawn order.
    mutating func shuffle(_ values: inout [some Any]) {
        for i in stride(from: values.count - 1, to: 0, by: -1) { values.swapAt(i, index(below: i + 1)) }
    }
}
