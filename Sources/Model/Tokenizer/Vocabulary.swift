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
    /// Open addressing, powers of two, at most two thirds full. Short tokens are their own keys (0: none), so that they are
    /// found without a look at their bytes; of the others a slot has the id, and above it 32 bits of the hash (`free`: none).
    private var shortKeys: [UInt64]
    private var shortIDs: [Int32]
    private var slots: [UInt64]
    private let hash = ByteHash()
    private(set) var count = 0

    private static let free = UInt64.max

    /// The highest id plus one.
    var endID: Int { places.count }

    /// A vocabulary of those tokens. Throws `badInput` naming `file` for an id or a token that occurs twice, and for an
    /// id that is negative or far beyond the number of tokens.
    init(_ tokens: some Collection<(bytes: [UInt8], id: Int)>, file: String) throws {
        self.init(tokens: tokens.count, short: tokens.count { Self.isShort($0.bytes.count) })
        for (text, id) in tokens {
            try text.withUnsafeBufferPointer { try add($0, home($0).hash, id: id, of: tokens.count, file: file) }
        }
    }

    /// An empty vocabulary with room for so many tokens, some of them short.
    private init(tokens: Int, short: Int) {
        func capacity(_ count: Int) -> Int {
            var capacity = 16
            while 2 * capacity < 3 * count { capacity *= 2 }
            return capacity
        }
        shortKeys = [UInt64](repeating: 0, count: capacity(short))
        shortIDs = [Int32](repeating: -1, count: shortKeys.count)
        slots = [UInt64](repeating: Self.free, count: capacity(tokens - short))
        places.reserveCapacity(tokens)
    }

    /// So many bytes fit into a key with their number.
    @inline(__always)
    private static func isShort(_ count: Int) -> Bool { 1...7 ~= count }

    /// The bytes of a short text and their number in one word.
    @inline(__always)
    private static func key(_ text: UnsafeBufferPointer<UInt8>) -> UInt64 {
        let raw = UnsafeRawBufferPointer(text)
        let count = raw.count
        var word: UInt64 = 0
        // Two reads that overlap.
        if count >= 4 {
            word = UInt64(raw.loadUnaligned(fromByteOffset: 0, as: UInt32.self))
            let end = UInt64(raw.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self))
            word |= end << UInt64(8 * (count - 4))
        } else if count >= 2 {
            word = UInt64(raw.loadUnaligned(fromByteOffset: 0, as: UInt16.self))
            let end = UInt64(raw.loadUnaligned(fromByteOffset: count - 2, as: UInt16.self))
            word |= end << UInt64(8 * (count - 2))
        } else if count == 1 {
            word = UInt64(raw[0])
        }
        return word | UInt64(count) << 56
    }

    /// Where a text belongs.
    private struct Home {
        /// The text's hash, its key's where it is short.
        var hash: UInt64 = 0
        /// What its table has there: looked at early, so that nobody waits for that memory.
        var found: UInt64 = 0
    }

    @inline(__always)
    private func home(_ text: UnsafeBufferPointer<UInt8>) -> Home {
        if Self.isShort(text.count) {
            let hash = hash(Self.key(text))
            return Home(hash: hash, found: shortKeys[Int(truncatingIfNeeded: hash) & (shortKeys.count - 1)])
        }
        let hash = hash(text)
        return Home(hash: hash, found: slots[Int(truncatingIfNeeded: hash) & (slots.count - 1)])
    }

    /// Texts whose homes are looked at together.
    static let atOnce = 128

    /// Adds a token whose hash is known.
    private mutating func add(
        _ text: UnsafeBufferPointer<UInt8>, _ hash: UInt64, id: Int, of tokens: Int, file: String
    ) throws {
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
        func requireNew(_ isOther: Bool) throws {
            guard !isOther else {
                throw MeraserError.badInput("\(file): token '\(String(decoding: text, as: UTF8.self))' occurs twice")
            }
        }
        if Self.isShort(text.count) {
            let key = Self.key(text)
            var slot = Int(truncatingIfNeeded: hash) & (shortKeys.count - 1)
            while shortKeys[slot] != 0 {
                try requireNew(shortKeys[slot] == key)
                slot = (slot + 1) & (shortKeys.count - 1)
            }
            (shortKeys[slot], shortIDs[slot]) = (key, Int32(truncatingIfNeeded: id))
        } else {
            var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
            while slots[slot] != Self.free {
                try requireNew(slots[slot] >> 32 == hash >> 32 && equals(Int(slots[slot] & 0xFFFF_FFFF), text))
                slot = (slot + 1) & (slots.count - 1)
            }
            slots[slot] = (hash >> 32) << 32 | UInt64(id)
        }
        places[id] = Place(start: Int32(bytes.count), length: Int32(text.count))
        bytes.append(contentsOf: text)
        count += 1
    }

    /// The id of the token with exactly these bytes, or nil.
    @inline(__always)
    func id(of text: UnsafeBufferPointer<UInt8>) -> Int32? {
        if Self.isShort(text.count) {
            let key = Self.key(text)
            return id(short: key, hash(key))
        }
        return id(long: text, hash(text))
    }

    @inline(__always)
    private func id(short key: UInt64, _ hash: UInt64) -> Int32? {
        let mask = shortKeys.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while shortKeys[slot] != 0 {
            if shortKeys[slot] == key { return shortIDs[slot] }
            slot = (slot + 1) & mask
        }
        return nil
    }

    private func id(long text: UnsafeBufferPointer<UInt8>, _ hash: UInt64) -> Int32? {
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

    /// The ids of a block of texts, -1 for what is no token: faster than one by one, since what is looked up for one text does
    /// not wait for the memory of the one before.
    func find(_ texts: [UnsafeBufferPointer<UInt8>], into ids: inout [Int32]) {
        ids.removeAll(keepingCapacity: true)
        withUnsafeTemporaryAllocation(of: Home.self, capacity: texts.count) { homes in
            for i in 0..<texts.count { homes[i] = home(texts[i]) }
            for i in 0..<texts.count {
                let (text, home) = (texts[i], homes[i])
                if Self.isShort(text.count) {
                    let key = Self.key(text)
                    let slot = Int(truncatingIfNeeded: home.hash) & (shortKeys.count - 1)
                    ids.append(home.found == key ? shortIDs[slot] : id(short: key, home.hash) ?? -1)
                } else if home.found >> 32 == home.hash >> 32, home.found != Self.free,
                    equals(Int(home.found & 0xFFFF_FFFF), text)
                {
                    ids.append(Int32(truncatingIfNeeded: home.found))
                } else {
                    ids.append(id(long: text, home.hash) ?? -1)
                }
            }
        }
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
        equals(id, text, UnsafeBufferPointer(rebasing: text[text.count...]))
    }

    /// True if that token has exactly the bytes of both, one behind the other.
    @inline(__always)
    func equals(_ id: Int, _ first: UnsafeBufferPointer<UInt8>, _ second: UnsafeBufferPointer<UInt8>) -> Bool {
        let place = places[id]
        guard Int(place.length) == first.count + second.count, place.start >= 0 else { return false }
        let start = Int(place.start)
        return bytes.withUnsafeBufferPointer { all in
            for i in 0..<first.count where all[start + i] != first[i] { return false }
            for i in 0..<second.count where all[start + first.count + i] != second[i] { return false }
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
        let short = rows.withTexts { texts in (0..<rows.count).count { Self.isShort(texts[$0].count) } }
        self.init(tokens: rows.count, short: short)
        try rows.withTexts { texts in
            var homes = [Home](repeating: Home(), count: Self.atOnce)
            for row in 0..<rows.count {
                if row % Self.atOnce == 0 {
                    for i in row..<min(row + Self.atOnce, rows.count) { homes[i - row] = home(texts[i]) }
                }
                guard let id = texts.integer(row) else {
                    throw MeraserError.badInput(
                        "\(file): token '\(String(decoding: texts[row], as: UTF8.self))' has \(rows.kind(row)) as its id, "
                            + "expected an integer")
                }
                try add(texts[row], homes[row % Self.atOnce].hash, id: id, of: rows.count, file: file)
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
