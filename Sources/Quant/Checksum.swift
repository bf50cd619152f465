import CKernels

/// CRC32C (Castagnoli) of those bytes.
public func crc32c(_ bytes: UnsafeRawBufferPointer) -> UInt32 { mk_crc32c(0, bytes.baseAddress, bytes.count) }

/// CRC32C of A followed by B, from that of A, that of B and the length of B: CRC(A)·x^(8·length) + CRC(B) modulo the
/// polynomial, so that pieces may be summed in any order.
func crc32cCombined(_ a: UInt32, _ b: UInt32, lengthOfB: Int) -> UInt32 {
    // Bit-reflected: bit 31 is x⁰, so x is 1 << 30.
    var power: UInt32 = 1 << 30
    var exponent = UInt64(lengthOfB) << 3  // bounded: below 2^63
    var shift: UInt32 = 1 << 31
    while exponent != 0 {
        if exponent & 1 == 1 { shift = multiplied(shift, power) }
        power = multiplied(power, power)
        exponent >>= 1
    }
    return multiplied(a, shift) ^ b
}

/// a·b modulo the reflected Castagnoli polynomial 0x82F63B78.
private func multiplied(_ a: UInt32, _ b: UInt32) -> UInt32 {
    var result: UInt32 = 0
    var term = b
    var mask: UInt32 = 1 << 31
    while mask != 0 {
        if a & mask != 0 { result ^= term }
        term = term & 1 == 1 ? (term >> 1) ^ 0x82F6_3B78 : term >> 1
        mask >>= 1
    }
    return result
}
