import Base

/// Tokens by id and ids by the tokens' exact bytes.
///
/// All bytes lie in one array, and the table is probed with slices of a text, so that a lookup allocates nothing.
struct Vocabulary: Sendable {
    /// Ids must be below twice the number of tokens plus this: holes are real, gaps of millions are an attack.
    static let allowedHoles = 65_536

    /// Where a token lies in `bytes`; a start of -1 is a hole.
    fileprivate struct Place {
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
        self.init(
            tokens: tokens.count, short: tokens.count { Self.isShort($0.bytes.count) },
            bytes: tokens.reduce(0) { $0 + $1.bytes.count })
        for (text, id) in tokens {
            try text.withUnsafeBufferPointer { try add($0, home($0).hash, id: id, of: tokens.count, file: file) }
        }
    }

    /// An empty vocabulary with room for so many tokens, some of them short, of so many bytes in all.
    private init(tokens: Int, short: Int, bytes byteCount: Int) {
        func capacity(_ count: Int) -> Int {
            var capacity = 16
            while 2 * capacity < 3 * count { capacity *= 2 }
            return capacity
        }
        shortKeys = [UInt64](repeating: 0, count: capacity(short))
        shortIDs = [Int32](repeating: -1, count: shortKeys.count)
        slots = [UInt64](repeating: Self.free, count: capacity(tokens - short))
        places.reserveCapacity(tokens)
        bytes.reserveCapacity(byteCount)
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
        // Reads that overlap.
        if count >= 4 {
            word = UInt64(raw.loadUnaligned(fromByteOffset: 0, as: UInt32.self))
            let end = UInt64(raw.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self))
            word |= end << UInt64(8 * (count - 4))
        } else {
            let middle = count >> 1
            word = UInt64(raw[0]) | UInt64(raw[middle]) << UInt64(8 * middle)
            word |= UInt64(raw[count - 1]) << UInt64(8 * (count - 1))
        }
        return word | UInt64(count) << 56
    }

    /// Where a text belongs, and what is there.
    struct Home {
        /// The text's key, 0 where it is not short.
        fileprivate var key: UInt64 = 0
        /// Of the key, or else of the text.
        fileprivate var hash: UInt64 = 0
        fileprivate var found: UInt64 = 0
        fileprivate var id: Int32 = -1
        fileprivate var place = Place()

        /// True if a text that is not short may be the token that was found.
        fileprivate var mayBeFound: Bool { found >> 32 == hash >> 32 && found != Vocabulary.free }
    }

    @inline(__always)
    func home(_ text: UnsafeBufferPointer<UInt8>) -> Home {
        guard Self.isShort(text.count) else { return Home(hash: hash(text)) }
        let key = Self.key(text)
        return Home(key: key, hash: hash(key))
    }

    /// Reads what the table has at those homes, and of the tokens that are there what it takes to compare them.
    func look(at homes: UnsafeMutableBufferPointer<Home>) {
        shortKeys.withUnsafeBufferPointer { keys in
            shortIDs.withUnsafeBufferPointer { ids in
                slots.withUnsafeBufferPointer { slots in
                    for i in 0..<homes.count {
                        let hash = Int(truncatingIfNeeded: homes[i].hash)
                        if homes[i].key == 0 {
                            homes[i].found = slots[hash & (slots.count - 1)]
                        } else {
                            homes[i].found = keys[hash & (keys.count - 1)]
                            homes[i].id = ids[hash & (keys.count - 1)]
                        }
                    }
                }
            }
        }
        for i in 0..<homes.count where homes[i].key == 0 && homes[i].mayBeFound {
            homes[i].place = places[Int(homes[i].found & 0xFFFF_FFFF)]
        }
    }

    /// The id of a text whose home was looked at; -1 for what is no token.
    @inline(__always)
    func id(of text: UnsafeBufferPointer<UInt8>, _ home: Home) -> Int32 {
        if home.key != 0 { return home.found == home.key ? home.id : id(short: home.key, home.hash) ?? -1 }
        if home.mayBeFound, equals(home.place, text, UnsafeBufferPointer(rebasing: text[text.count...])) {
            return Int32(truncatingIfNeeded: home.found)
        }
        return id(long: text, home.hash) ?? -1
    }

    /// Adds a token whose hash is known.
    private mutating func add(
        _ text: UnsafeBufferPointer<UInt8>, _ hash: UInt64, id: Int, of tokens: Int, file: String
    ) throws {
        let limit = 2 * tokens + Self.allowedHoles
        guard id >= 0, id < limit, bytes.count + text.count <= Int(Int32.max) else {
            throw MeraserError.badInput(
                "\(file): token '\(String(decoding: text, as: UTF8.self))' has id \(id), expected 0 to \(limit - 1)")
        }
        let place = Place(start: Int32(bytes.count), length: Int32(text.count))
        if id == places.count {
            places.append(place)
        } else {
            if id > places.count { places.append(contentsOf: repeatElement(Place(), count: id + 1 - places.count)) }
            guard places[id].start < 0 else {
                throw MeraserError.badInput(
                    "\(file): id \(id) is given to both '\(string(Int32(id)))' and '\(String(decoding: text, as: UTF8.self))'"
                )
            }
            places[id] = place
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
        equals(places[id], first, second)
    }

    @inline(__always)
    private func equals(
        _ place: Place, _ first: UnsafeBufferPointer<UInt8>, _ second: UnsafeBufferPointer<UInt8>
    ) -> Bool {
        guard Int(place.length) == first.count + second.count, place.start >= 0 else { return false }
        return bytes.withUnsafeBytes { all in
            let token = UnsafeRawBufferPointer(rebasing: all[Int(place.start)..<Int(place.start + place.length)])
            return Self.begins(token, with: UnsafeRawBufferPointer(first))
                && Self.begins(
                    UnsafeRawBufferPointer(rebasing: token[first.count...]), with: UnsafeRawBufferPointer(second))
        }
    }

    /// True if the first bytes of `bytes`, which has as many, are those of `text`.
    @inline(__always)
    private static func begins(_ bytes: UnsafeRawBufferPointer, with text: UnsafeRawBufferPointer) -> Bool {
        func isSame<Word: FixedWidthInteger & BitwiseCopyable>(_ type: Word.Type, at i: Int) -> Bool {
            bytes.loadUnaligned(fromByteOffset: i, as: type) == text.loadUnaligned(fromByteOffset: i, as: type)
        }
        let count = text.count
        // Reads that overlap.
        if count >= 8 {
            var i = 0
            while i + 8 < count {
                guard isSame(UInt64.self, at: i) else { return false }
                i += 8
            }
            return isSame(UInt64.self, at: count - 8)
        }
        if count >= 4 { return isSame(UInt32.self, at: 0) && isSame(UInt32.self, at: count - 4) }
        if count == 0 { return true }
        return bytes[0] == text[0] && bytes[count >> 1] == text[count >> 1] && bytes[count - 1] == text[count - 1]
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
        var (short, bytes) = (0, 0)
        rows.withTexts { texts in
            for row in 0..<rows.count {
                short += Self.isShort(texts[row].count) ? 1 : 0
                bytes += texts[row].count
            }
        }
        self.init(tokens: rows.count, short: short, bytes: bytes)
        try rows.withTexts { texts in
            for row in 0..<rows.count {
                guard let id = texts.integer(row) else {
                    throw MeraserError.badInput(
                        "\(file): token '\(String(decoding: texts[row], as: UTF8.self))' has \(rows.kind(row)) as its id, "
                            + "expected an integer")
                }
                try add(texts[row], home(texts[row]).hash, id: id, of: rows.count, file: file)
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
