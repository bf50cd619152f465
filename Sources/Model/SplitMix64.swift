/// SplitMix64 (Steele, Lea, Flood 2014): seeded, the same numbers on every platform and with every version.
public struct SplitMix64: Sendable {
    /// What the state grows by from number to number.
    public static let increment: UInt64 = 0x9E37_79B9_7F4A_7C15
    private var state: UInt64

    /// The sequence of that seed.
    public init(seed: UInt64) { state = seed }

    /// The next 64 random bits.
    public mutating func next() -> UInt64 {
        state &+= Self.increment
        return Self.mixed(state)
    }

    /// The output function: mixes a state, or any counter, into 64 random bits. Zero stays zero.
    public static func mixed(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
