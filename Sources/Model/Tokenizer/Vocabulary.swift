import Base

/// Tokens by id and ids by the tokens' exact bytes.
///
/// All bytes lie in one array, and the table is probed with slices of a text, so that a lookup allocates nothing.
struct Vocabulary: Sendable {
    /// Ids must be below twice the number of tokens plus this: holes are real, gaps of millions are an attack.
    static let allowedHoles = 65_536

    private var bytes: [UInt8] = []
    /// Where a token begins in `bytes`, by id; -1 for a hole.
    private var starts: [Int32] = []
    private var lengths: [Int32] = []
    /// Open addressing, a power of two, at most half full; -1: free.
    private var slots: [Int32]
    private(set) var count = 0

    /// The highest id plus one.
    var endID: Int { starts.count }

    /// A vocabulary of those tokens. Throws `badInput` naming `file` for an id or a token that occurs twice, and for an
    /// id that is negative or far beyond the number of tokens.
    init(_ tokens: some Collection<(bytes: [UInt8], id: Int)>, file: String) throws {
        var capacity = 16
        while capacity < 2 * tokens.count { capacity *= 2 }
        slots = [Int32](repeating: -1, count: capacity)
        let limit = 2 * tokens.count + Self.allowedHoles
        for (text, id) in tokens {
            guard id >= 0, id < limit, bytes.count + text.count <= Int(Int32.max) else {
                throw MeraserError.badInput(
                    "\(file): token '\(String(decoding: text, as: UTF8.self))' has id \(id), expected 0 to \(limit - 1)"
                )
            }
            if id >= starts.count {
                starts.append(contentsOf: repeatElement(-1, count: id + 1 - starts.count))
                lengths.append(contentsOf: repeatElement(0, count: id + 1 - lengths.count))
            }
            guard starts[id] < 0 else {
                throw MeraserError.badInput(
                    "\(file): id \(id) is given to both '\(string(Int32(id)))' and '\(String(decoding: text, as: UTF8.self))'"
                )
            }
            try text.withUnsafeBufferPointer { text in
                var slot = firstSlot(text)
                while slots[slot] >= 0 {
                    if equals(slots[slot], text) {
                        throw MeraserError.badInput("\(file): token '\(string(slots[slot]))' occurs twice")
                    }
                    slot = (slot + 1) & (slots.count - 1)
                }
                slots[slot] = Int32(id)
            }
            starts[id] = Int32(bytes.count)
            lengths[id] = Int32(text.count)
            bytes.append(contentsOf: text)
            count += 1
        }
    }

    /// The id of the token with exactly these bytes, or nil.
    func id(of text: UnsafeBufferPointer<UInt8>) -> Int32? {
        var slot = firstSlot(text)
        while slots[slot] >= 0 {
            if equals(slots[slot], text) { return slots[slot] }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// The id of the token with exactly these bytes, or nil.
    func id(of text: [UInt8]) -> Int32? { text.withUnsafeBufferPointer { id(of: $0) } }

    /// The token's bytes, or nil where no token has that id.
    func token(_ id: Int32) -> [UInt8]? {
        guard id >= 0, Int(id) < starts.count, starts[Int(id)] >= 0 else { return nil }
        let start = Int(starts[Int(id)])
        return Array(bytes[start..<start + Int(lengths[Int(id)])])
    }

    private func string(_ id: Int32) -> String { String(decoding: token(id) ?? [], as: UTF8.self) }

    private func equals(_ id: Int32, _ text: UnsafeBufferPointer<UInt8>) -> Bool {
        let start = Int(starts[Int(id)])
        let length = Int(lengths[Int(id)])
        guard length == text.count else { return false }
        return bytes.withUnsafeBufferPointer { all in
            for i in 0..<length where all[start + i] != text[i] { return false }
            return true
        }
    }

    /// Swift's seeded hash: a hostile vocabulary or text cannot choose collisions.
    private func firstSlot(_ text: UnsafeBufferPointer<UInt8>) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: UnsafeRawBufferPointer(text))
        return hasher.finalize() & (slots.count - 1)
    }
}

extension Vocabulary {
    /// `vocab` of a `model` in tokenizer.json: tokens and their ids.
    ///
    /// - Throws: a bad-input error as for other vocabularies, and for an id that is no integer.
    init(json: JSONValue, file: String) throws {
        let entries = try json.object("vocab", in: file).members.map { member in
            guard let id = member.value.int else {
                throw MeraserError.badInput(
                    "\(file): token '\(member.key.string)' has \(member.value.kind) as its id, expected an integer")
            }
            return (bytes: member.key.utf8, id: id)
        }
        try self.init(entries, file: file)
    }
}
