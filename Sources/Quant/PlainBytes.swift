import CKernels

/// Those numbers as bytes of a plain type (f32, f16, bf16), rounded to nearest even. A tiled type is the caller's error.
public func plainBytes(_ values: [Float], type: TensorType) -> [UInt8] {
    guard let size = type.elementByteCount else { preconditionFailure("\(type.name) is no plain type") }
    guard !values.isEmpty else { return [] }
    let byteCount = values.count * size  // bounded: less than the array's own bytes
    return [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
        values.withUnsafeBufferPointer {
            mk_quantize(Int32(type.rawValue), $0.baseAddress, 1, Int64(values.count), buffer.baseAddress)
        }
        count = byteCount
    }
}

/// The index of the first number that is NaN or infinite, or nil.
public func firstNonFinite(_ values: [Float]) -> Int? {
    let index = values.withUnsafeBufferPointer { mk_find_nonfinite($0.baseAddress, Int64($0.count)) }
    return index < 0 ? nil : Int(index)
}
