/// Which program made a record: the release, the numbers that it computes, and the very build.
///
/// Two builds may continue each other's work if their numerics version is the same and both were built from a commit:
/// a commit's tests have compared the golden hashes. Of a build of a changed or unknown checkout nobody knows what it
/// computes, so it only continues its own work.
public struct Build: Sendable, Equatable {
    /// `meraserVersion`; nil in a record that is older than it.
    public let version: String?
    /// The commit of a clean checkout that `make build` built; nil: unknown, or the checkout had changes.
    public let commit: String?
    /// The linker's identity of the program, hexadecimal: of its contents, or of the commit.
    public let id: String?
    /// `numericsVersion`; nil in a record that is older than it.
    public let numerics: Int?

    /// This program.
    public static let current = Build(id: programIdentity())

    /// This version, built as `id` says.
    init(id: String, numerics: Int = numericsVersion) {
        version = meraserVersion
        commit = id.hasPrefix(Self.commitMark) ? String(id.dropFirst(Self.commitMark.count)) : nil
        self.id = id
        self.numerics = numerics
    }

    /// The build that a record names; of an old record nothing is known.
    public init(record: JSONValue) {
        version = record["meraser_version"]?.string
        commit = record["commit"]?.string
        id = record["build"]?.string
        numerics = record["numerics"]?.int
    }

    /// `git:` in ASCII: what the Makefile puts before a commit in the linker's build id.
    static let commitMark = "6769743a"

    /// The members of every record: `meraser_version`, `commit`, `build` and `numerics`.
    public var fields: [(key: String, value: JSONValue)] {
        [
            ("meraser_version", version.map { .text($0) } ?? .null), ("commit", commit.map { .text($0) } ?? .null),
            ("build", id.map { .text($0) } ?? .null), ("numerics", numerics.map { .integer($0) } ?? .null),
        ]
    }

    /// `fields` as an object.
    public var json: JSONValue { .object(JSONObject(fields)) }

    /// For `--version` and reports: `0.1.0 (commit 5f2a27ef60b4, numerics 1)`.
    public var text: String { "\(version ?? "unknown") (\(buildText), numerics \(numericsText))" }

    /// That the numbers of `old` are of another version, in words; nil: they are not.
    public func otherNumerics(than old: Build) -> String? {
        numerics == old.numerics
            ? nil : "its numbers are of another version (numerics was \(old.numericsText), is now \(numericsText))"
    }

    /// What differs so that this build must not go on with what `old` began, in words; nil: nothing.
    public func obstacle(continuing old: Build) -> String? {
        if let other = otherNumerics(than: old) { return other }
        guard id != old.id, commit == nil || old.commit == nil else { return nil }
        return "the program has been built anew since (build was \(old.buildText), is now \(buildText))"
    }

    /// What a user should know where this build goes on with what `old` began; nil: they are the same.
    public func note(continuing old: Build) -> String? {
        guard id != old.id, obstacle(continuing: old) == nil else { return nil }
        return "begun by \(old.buildText), continued by \(buildText): both have numerics \(numericsText)"
    }

    private var buildText: String { commit.map { "commit \($0.prefix(12))" } ?? "build \(id?.prefix(12) ?? "unknown")" }

    private var numericsText: String { numerics.map(String.init) ?? "unknown" }
}

/// The linker's build id of this program, in hexadecimal; the SHA-256 of its file where it has none.
private func programIdentity() -> String {
    let path = "/proc/self/exe"
    guard let program = try? MappedFile(path: path) else { return "unknown" }
    return program.withBytes(elfBuildID) ?? (try? sha256Hex(program)) ?? "unknown"
}

/// The note NT_GNU_BUILD_ID of a 64-bit little-endian ELF file, in hexadecimal; nil: it has none.
func elfBuildID(_ bytes: UnsafeRawBufferPointer) -> String? {
    func number<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> Int? {
        guard offset >= 0, offset <= bytes.count - MemoryLayout<T>.size else { return nil }
        return Int(exactly: T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type)))
    }
    guard bytes.prefix(6).elementsEqual([0x7F, 0x45, 0x4C, 0x46, 2, 1]),
        let table = number(UInt64.self, at: 32), let size = number(UInt16.self, at: 54), size >= 56,
        let count = number(UInt16.self, at: 56), let tableEnd = sum(table, count * size), tableEnd <= bytes.count
    else { return nil }
    for header in stride(from: table, to: tableEnd, by: size) where number(UInt32.self, at: header) == 4 {
        guard var note = number(UInt64.self, at: header + 8), let length = number(UInt64.self, at: header + 32),
            let end = sum(note, length), end <= bytes.count
        else { return nil }
        while let nameLength = number(UInt32.self, at: note), let valueLength = number(UInt32.self, at: note + 4),
            let type = number(UInt32.self, at: note + 8)
        {
            let value = note + 12 + (nameLength + 3) / 4 * 4
            guard value + valueLength <= end else { break }
            if type == 3, bytes[note + 12..<note + 12 + nameLength].elementsEqual("GNU\0".utf8) {
                return hexDigits(bytes[value..<value + valueLength])
            }
            note = value + (valueLength + 3) / 4 * 4
        }
    }
    return nil
}

private func sum(_ a: Int, _ b: Int) -> Int? {
    let (sum, overflow) = a.addingReportingOverflow(b)
    return overflow ? nil : sum
}
