import Base
import Model

/// SplitMix64, started from a seed and the number of a stream, so that every use of one seed has numbers of its own.
struct KeyedRandom {
    private var generator: SplitMix64

    init(seed: UInt64, stream: UInt64) {
        let key = SplitMix64.mixed(stream &+ SplitMix64.increment)
        generator = SplitMix64(seed: SplitMix64.mixed(seed &+ key))
    }

    mutating func next() -> UInt64 { generator.next() }

    /// A number below `bound`, without bias (Lemire 2019).
    mutating func next(below bound: Int) -> Int {
        precondition(bound >= 1)
        let range = UInt64(bound)
        var product = next().multipliedFullWidth(by: range)
        if product.low < range {
            let threshold = (0 &- range) % range
            while product.low < threshold { product = next().multipliedFullWidth(by: range) }
        }
        return Int(product.high)
    }

    /// Fisher-Yates. Written out here because the standard library's shuffle may change between versions.
    mutating func shuffle<T>(_ values: inout [T]) {
        for i in stride(from: values.count - 1, to: 0, by: -1) { values.swapAt(i, next(below: i + 1)) }
    }
}
