extension FingerprintKey {
    /// The pairs that may steer a removal, or be taught as hints: every other one from the first on; all of a single one.
    public var steering: FingerprintKey { half(0) }

    /// The pairs that are kept from whatever steers a removal, to judge it by: those between; all of a single one.
    public var judging: FingerprintKey { half(pairs.count > 1 ? 1 : 0) }

    private func half(_ remainder: Int) -> FingerprintKey {
        guard pairs.count > 1 else { return self }
        var half = self
        half.pairs = pairs.indices.filter { $0 % 2 == remainder }.map { pairs[$0] }
        // What was committed to, or chained, was the whole.
        half.commitment = nil
        half.chain = nil
        return half
    }
}
