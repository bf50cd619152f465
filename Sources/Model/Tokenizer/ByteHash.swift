/// A fast hash of bytes and numbers with a secret seed: a hostile vocabulary or text cannot choose what collides.
struct ByteHash: Sendable {
    private let seed = UInt64.random(in: .min ... .max)
    private let factor = UInt64.random(in: .min ... .max) | 1

    @inline(__always)
    private func mixed(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = a.multipliedFullWidth(by: b)
        return product.high ^ product.low
    }

    /// The hash of some bytes.
    @inline(__always)
    func callAsFunction(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt64 {
        let raw = UnsafeRawBufferPointer(bytes)
        let count = raw.count
        var hash = seed ^ UInt64(truncatingIfNeeded: count)
        var i = 0
        while i + 8 <= count {
            hash = mixed(hash ^ raw.loadUnaligned(fromByteOffset: i, as: UInt64.self), factor)
            i += 8
        }
        var rest: UInt64 = 0
        while i < count {
            rest = rest << 8 | UInt64(raw[i])
            i += 1
        }
        return mixed(mixed(hash ^ rest, factor), seed | 1)
    }

    /// The hash of a number.
    @inline(__always)
    func callAsFunction(_ value: UInt64) -> UInt64 { mixed(mixed(value ^ seed, factor), seed | 1) }
}
