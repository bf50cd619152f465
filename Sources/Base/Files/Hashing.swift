import Crypto

/// SHA-256 of a file as 64 lowercase hex digits, read in pieces. Errors as `MappedFile`; an empty file is one of them.
public func sha256Hex(ofFile path: String) throws -> String { try sha256Hex(MappedFile(path: path)) }

/// SHA-256 of those bytes as 64 lowercase hex digits.
public func sha256Hex(_ bytes: some Sequence<UInt8>) -> String {
    var hash = SHA256()
    hash.update(data: Array(bytes))
    return hexDigits(hash.finalize())
}

/// SHA-256 of a mapped file, read in pieces by `pread` so that the pages do not become resident.
public func sha256Hex(_ file: MappedFile) throws -> String {
    var hash = SHA256()
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: min(file.count, 1 << 20), alignment: 64)
    defer { piece.deallocate() }
    var offset = 0
    while offset < file.count {
        let part = UnsafeMutableRawBufferPointer(rebasing: piece[0..<min(piece.count, file.count - offset)])
        try file.read(into: part, at: offset)
        hash.update(bufferPointer: UnsafeRawBufferPointer(part))
        offset += part.count
    }
    return hexDigits(hash.finalize())
}

/// Bytes as lowercase hex digits.
public func hexDigits(_ digest: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in digest {
        text.append(digits[Int(byte >> 4)])
        text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
}
