import Base

/// The directory of a zip file whose members lie in it as they are, as `torch.save` writes them.
///
/// Source: PKWARE's APPNOTE.TXT, 4.3 and 4.5.3 (zip64).
struct ZipArchive {
    /// Where a member's bytes lie.
    struct Member: Equatable {
        let offset: Int
        let byteCount: Int
    }

    /// The members by name.
    let members: [[UInt8]: Member]

    /// True if the file begins as a zip file does.
    static func isZip(path: String) -> Bool { fileBegins(path: path, with: [0x50, 0x4B, 3, 4]) }

    /// Reads the directory. Errors (`badInput`): it is cut or damaged, or a member is compressed, encrypted or named twice.
    init(_ file: MappedFile) throws {
        members = try file.withBytes { try Self.members($0, path: file.path) }
    }

    private static func members(_ bytes: UnsafeRawBufferPointer, path: String) throws -> [[UInt8]: Member] {
        let directory = try Directory(bytes, path: path)
        let section = UnsafeRawBufferPointer(rebasing: bytes[directory.range])
        var reader = ByteReader(section, label: "\(path): zip directory", fileOffset: directory.range.lowerBound)
        var members: [[UInt8]: Member] = [:]
        for _ in 0..<directory.count {
            let (name, header) = try self.entry(&reader)
            let member = try data(of: header, bytes, label: "\(path): \(quoted(String(decoding: name, as: UTF8.self)))")
            guard members.updateValue(member, forKey: name) == nil else {
                throw MeraserError.badInput("\(path): \(quoted(String(decoding: name, as: UTF8.self))) is in it twice")
            }
        }
        return members
    }

    /// What the directory says of one member.
    private struct Header {
        let localOffset: Int
        let byteCount: Int
    }

    private static func entry(_ reader: inout ByteReader) throws -> (name: [UInt8], Header) {
        guard try reader.integer(UInt32.self, "an entry") == 0x0201_4B50 else {
            throw reader.error("no entry begins here")
        }
        _ = try reader.take(4, "versions")
        let flags = try reader.integer(UInt16.self, "flags")
        let method = try reader.integer(UInt16.self, "the method")
        guard flags & 1 == 0, method == 0 else {
            throw reader.error("a member is compressed or encrypted; torch.save writes members as they are")
        }
        _ = try reader.take(8, "time and checksum")
        let stored = try reader.integer(UInt32.self, "a size")
        let size = try reader.integer(UInt32.self, "a size")
        let lengths = try (0..<3).map { _ in Int(try reader.integer(UInt16.self, "a length")) }
        _ = try reader.take(8, "attributes")
        let offset = try reader.integer(UInt32.self, "an offset")
        let name = Array(try reader.take(lengths[0], "a name"))
        let extra = try reader.take(lengths[1], "an extra field")
        _ = try reader.take(lengths[2], "a comment")
        // What does not fit into 32 bits lies in the extra field, in this order.
        var wide = try wideNumbers(extra, label: reader.label)[...]
        func value(_ narrow: UInt32) throws -> Int {
            guard narrow == .max else { return Int(narrow) }
            guard let number = wide.popFirst() else { throw reader.error("a zip64 number is missing") }
            return number
        }
        let byteCount = try value(size)
        guard try value(stored) == byteCount else { throw reader.error("a member has two sizes") }
        return (name, Header(localOffset: try value(offset), byteCount: byteCount))
    }

    /// The numbers of the zip64 field; none if there is none.
    private static func wideNumbers(_ extra: UnsafeRawBufferPointer, label: String) throws -> [Int] {
        var reader = ByteReader(extra, label: label)
        while reader.remaining >= 4 {
            let id = try reader.integer(UInt16.self, "an extra field")
            let length = Int(try reader.integer(UInt16.self, "an extra field"))
            var field = ByteReader(try reader.take(length, "an extra field"), label: label)
            if id == 1 { return try (0..<length / 8).map { _ in try field.count("a zip64 number") } }
        }
        return []
    }

    /// Where a member's bytes lie: behind its local header.
    private static func data(of header: Header, _ bytes: UnsafeRawBufferPointer, label: String) throws -> Member {
        guard header.localOffset <= bytes.count else {
            throw MeraserError.badInput("\(label) begins beyond the file; the file is incomplete or damaged")
        }
        var reader = ByteReader(
            UnsafeRawBufferPointer(rebasing: bytes[header.localOffset...]), label: label,
            fileOffset: header.localOffset)
        guard try reader.integer(UInt32.self, "its header") == 0x0403_4B50 else {
            throw reader.error("no member begins here")
        }
        _ = try reader.take(22, "its header")
        let name = Int(try reader.integer(UInt16.self, "its header"))
        let extra = Int(try reader.integer(UInt16.self, "its header"))
        _ = try reader.take(name + extra, "its name")
        let offset = header.localOffset + reader.offset
        _ = try reader.take(header.byteCount, "its data")
        return Member(offset: offset, byteCount: header.byteCount)
    }

    /// Where the directory lies, as the end of the file says.
    private struct Directory {
        let range: Range<Int>
        let count: Int

        init(_ bytes: UnsafeRawBufferPointer, path: String) throws {
            func bad(_ what: String) -> MeraserError {
                .badInput("\(path): \(what); the zip file is incomplete or damaged")
            }
            // 22 bytes and a comment of up to 65535.
            let first = max(0, bytes.count - 22 - 65_535)
            guard bytes.count >= 22,
                let end = (first...bytes.count - 22).reversed().first(where: { place in
                    let comment = Int(
                        UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: place + 20, as: UInt16.self)))
                    return UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self))
                        == 0x0605_4B50
                        && place + 22 + comment == bytes.count
                })
            else { throw bad("the directory's end is missing") }
            func reader(_ place: Int) -> ByteReader {
                ByteReader(
                    UnsafeRawBufferPointer(rebasing: bytes[place...]), label: "\(path): zip directory",
                    fileOffset: place)
            }
            var narrow = reader(end)
            _ = try narrow.take(10, "the end")
            var count = Int(try narrow.integer(UInt16.self, "a count"))
            var size = Int(try narrow.integer(UInt32.self, "a size"))
            var offset = Int(try narrow.integer(UInt32.self, "an offset"))
            if count == 0xFFFF || size == 0xFFFF_FFFF || offset == 0xFFFF_FFFF {
                guard end >= 20 else { throw bad("the zip64 locator is missing") }
                var locator = reader(end - 20)
                guard try locator.integer(UInt32.self, "the locator") == 0x0706_4B50 else {
                    throw bad("the zip64 locator is missing")
                }
                _ = try locator.take(4, "the locator")
                let place = try locator.count("the locator")
                guard place < end else { throw bad("the zip64 end lies beyond the directory's") }
                var wide = reader(place)
                guard try wide.integer(UInt32.self, "the end") == 0x0606_4B50 else {
                    throw bad("the zip64 end is missing")
                }
                _ = try wide.take(28, "the end")
                count = try wide.count("a count")
                size = try wide.count("a size")
                offset = try wide.count("an offset")
            }
            guard let last = sum(offset, size), last <= end, count <= size / 46 else {
                throw bad("the directory lies beyond its end")
            }
            (range, self.count) = (offset..<last, count)
        }
    }
}
