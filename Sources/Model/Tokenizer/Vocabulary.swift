import Base

/// Tokens by id and ids by the tokens' exact bytes.
///
/// All bytes lie in one array, and the table is probed with slices of a text, so that a lookup allocates nothing.
struct Vocabulary: Sendable {
    /// Ids must be below twice the number of tokens plus this: holes are real, gaps of millions are an attack.
    static let allowedHoles = 65_536

    /// Where a token lies in `bytes`; a start of -1 is a hole.
    private struct Place {
        var start: Int32 = -1
        var length: Int32 = 0
    }

    private var bytes: [UInt8] = []
    /// By id.
    private var places: [Place] = []
    /// Open addressing, a power of two, at most half full: the id, and above it 32 bits of the hash; `free`: none.
    private var slots: [UInt64]
    private let hash = ByteHash()
    private(set) var count = 0

    private static let free = UInt64.max

    /// The highest id plus one.
    var endID: Int { places.count }

    /// A vocabulary of those tokens. Throws `badInput` naming `file` for an id or a token that occurs twice, and for an
    /// id that is negative or far beyond the number of tokens.
    init(_ tokens: some Collection<(bytes: [UInt8], id: Int)>, file: String) throws {
        self.init(capacity: tokens.count)
        for (text, id) in tokens {
            try text.withUnsafeBufferPointer { try add($0, id: id, of: tokens.count, file: file) }
        }
    }

    private init(capacity tokens: Int) {
        var capacity = 16
        while capacity < 2 * tokens { capacity *= 2 }
        slots = [UInt64](repeating: Self.free, count: capacity)
        places.reserveCapacity(tokens)
    }

    private mutating func add(_ text: UnsafeBufferPointer<UInt8>, id: Int, of tokens: Int, file: String) throws {
        let limit = 2 * tokens + Self.allowedHoles
        guard id >= 0, id < limit, bytes.count + text.count <= Int(Int32.max) else {
            throw MeraserError.badInput(
                "\(file): token '\(String(decoding: text, as: UTF8.self))' has id \(id), expected 0 to \(limit - 1)")
        }
        if id >= places.count {
            places.append(contentsOf: repeatElement(Place(), count: id + 1 - places.count))
        }
        guard places[id].start < 0 else {
            throw MeraserError.badInput(
                "\(file): id \(id) is given to both '\(string(Int32(id)))' and '\(String(decoding: text, as: UTF8.self))'"
            )
        }
        let hash = hash(text)
        var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[slot] != Self.free {
            if slots[slot] >> 32 == hash >> 32, equals(Int(slots[slot] & 0xFFFF_FFFF), text) {
                throw MeraserError.badInput("\(file): token '\(String(decoding: text, as: UTF8.self))' occurs twice")
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        slots[slot] = (hash >> 32) << 32 | UInt64(id)
        places[id] = Place(start: Int32(bytes.count), length: Int32(text.count))
        bytes.append(contentsOf: text)
        count += 1
    }

    /// The id of the token with exactly these bytes, or nil.
    @inline(__always)
    func id(of text: UnsafeBufferPointer<UInt8>) -> Int32? {
        let hash = hash(text)
        var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[slot] != Self.free {
            if slots[slot] >> 32 == hash >> 32 {
                let id = Int(slots[slot] & 0xFFFF_FFFF)
                if equals(id, text) { return Int32(truncatingIfNeeded: id) }
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// The id of the token with exactly these bytes, or nil.
    func id(of text: [UInt8]) -> Int32? { text.withUnsafeBufferPointer { id(of: $0) } }

    /// The ids of many texts, -1 for what is no token: faster than one by one, since what is looked up for one text does
    /// not wait for the memory of the one before.
    ///
    /// - Parameters:
    ///   - count: how many texts there are.
    ///   - text: the text of that number.
    func ids(count: Int, _ text: (Int) -> UnsafeBufferPointer<UInt8>) -> [Int32] {
        var result = [Int32](repeating: -1, count: count)
        let block = 64
        var found = [UInt64](repeating: 0, count: block)
        var hashes = found
        var first = 0
        while first < count {
            let end = min(first + block, count)
            for i in first..<end { hashes[i - first] = hash(text(i)) }
            for i in first..<end {
                found[i - first] = slots[Int(truncatingIfNeeded: hashes[i - first]) & (slots.count - 1)]
            }
            for i in first..<end {
                let slot = found[i - first]
                let isLikely = slot != Self.free && slot >> 32 == hashes[i - first] >> 32
                if isLikely, equals(Int(slot & 0xFFFF_FFFF), text(i)) {
                    result[i] = Int32(truncatingIfNeeded: slot)
                } else {
                    result[i] = id(of: text(i)) ?? -1
                }
            }
            first = end
        }
        return result
    }

    /// The token's bytes, or nil where no token has that id.
    func token(_ id: Int32) -> [UInt8]? {
        guard id >= 0, Int(id) < places.count, places[Int(id)].start >= 0 else { return nil }
        let place = places[Int(id)]
        return Array(bytes[Int(place.start)..<Int(place.start + place.length)])
    }

    /// Calls `body` with the bytes of every token and its id, by id.
    func forEachToken(_ body: (UnsafeBufferPointer<UInt8>, Int32) -> Void) {
        bytes.withUnsafeBufferPointer { all in
            for id in places.indices where places[id].start >= 0 {
                let place = places[id]
                body(UnsafeBufferPointer(rebasing: all[Int(place.start)..<Int(place.start + place.length)]), Int32(id))
            }
        }
    }

    /// True if that token has exactly these bytes.
    @inline(__always)
    func equals(_ id: Int, _ text: UnsafeBufferPointer<UInt8>) -> Bool {
        let place = places[id]
        guard Int(place.length) == text.count, place.start >= 0 else { return false }
        let start = Int(place.start)
        return bytes.withUnsafeBufferPointer { all in
            for i in 0..<text.count where all[start + i] != text[i] { return false }
            return true
        }
    }

    private func string(_ id: Int32) -> String { String(decoding: token(id) ?? [], as: UTF8.self) }
}

extension Vocabulary {
    /// `vocab` of a `model` in tokenizer.json: tokens and their ids.
    ///
    /// - Throws: a bad-input error as for other vocabularies, and for an id that is no integer.
    init(_ rows: JSONRows?, file: String) throws {
        guard let rows, rows.isObject else {
            throw MeraserError.badInput(
                "\(file): 'model.vocab' is \(rows == nil ? "missing" : "an array"), expected an object")
        }
        self.init(capacity: rows.count)
        try rows.bytes.withUnsafeBufferPointer { bytes in
            for row in 0..<rows.count {
                let text = UnsafeBufferPointer(rebasing: bytes[rows.text(row)])
                guard let id = rows.integer(row) else {
                    throw MeraserError.badInput(
                        "\(file): token '\(String(decoding: text, as: UTF8.self))' has \(rows.kind(row)) as its id, expected an "
                            + "integer")
                }
                try add(text, id: id, of: rows.count, file: file)
            }
        }
    }
}

extension JSONRows {
    /// What a row has beside its text, in words.
    func kind(_ row: Int) -> String {
        switch second(row) {
        case .none: "nothing"
        case .integer: "an integer"
        case .number: "a number"
        case .text: "a string"
        case .other(let kind): kind
        case .malformed: "something else"
        }
    }
}
