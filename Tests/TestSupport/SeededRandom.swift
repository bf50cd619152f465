import Foundation

/// SplitMix64: small, seeded, the same numbers on every platform. For tests only.
public struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    /// A generator that always gives the same sequence for that seed.
    public init(seed: UInt64) { state = seed }

    /// The next 64 random bits.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A standard normal value (Box-Muller).
    public mutating func gaussian() -> Float {
        let u = (Double(next() >> 11) + 1) / 9_007_199_254_740_992
        let v = Double(next() >> 11) / 9_007_199_254_740_992
        return Float((-2 * log(u)).squareRoot() * cos(2 * .pi * v))
    }

    /// `count` standard normal values times `scale`.
    public mutating func gaussians(_ count: Int, scale: Float = 1) -> [Float] {
        (0..<count).map { _ in gaussian() * scale }
    }
}
