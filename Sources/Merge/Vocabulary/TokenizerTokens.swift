import Base

/// The tokens of a tokenizer.json by their bytes: Swift's strings are equal where tokens are not.
struct TokenizerTokens: Sendable {
    /// A token that stands beside the model's vocabulary.
    struct Added: Sendable {
        let token: JSONString
        let id: Int
        /// As the file has it.
        let json: JSONValue
    }

    /// Every token's number, added ones too, below the rows of the embedding.
    private(set) var ids: [JSONString: Int] = [:]
    /// The model's own tokens in the order of their numbers.
    let own: [JSONString]
    /// The added ones in the file's order.
    let added: [Added]
    /// The whole file, without tokens that the embedding has no row for.
    let json: JSONValue
    /// Numbers of the model's own vocabulary, and the next one behind all.
    private(set) var nextID = 0

    /// The most tokens of one model.
    static let maximumCount = 1 << 24

    /// Reads a file; `rows` are those of the embedding, beyond which tokens are left out. Error (`badInput`): what is no
    /// tokenizer.json, and one of another kind than BPE that has such tokens.
    init(_ bytes: [UInt8], rows: Int?, path: String) throws {
        let file = path + "/tokenizer.json"
        let json = try JSONValue.parse(bytes, file: file)
        func bad(_ what: String) -> MeraserError { .badInput("\(file): \(what)") }
        let limit = rows ?? Self.maximumCount
        func number(_ value: JSONValue?) throws -> Int {
            guard let id = value?.int, (0..<Self.maximumCount).contains(id) else {
                throw bad("a token has the number \(value?.serialized() ?? "nothing")")
            }
            return id
        }
        var entries: [(token: JSONString, id: Int)] = []
        let vocabulary = json["model"]?["vocab"]
        if let members = vocabulary?.object?.members {
            entries = try members.map { ($0.key, try number($0.value)) }
        } else if let list = vocabulary?.array {
            entries = try list.enumerated().map { index, entry in
                guard let token = entry.array?.first?.utf8 else { throw bad("token \(index) of 'vocab' is no text") }
                return (JSONString(utf8: token), index)
            }
        } else {
            throw bad("'model' has no 'vocab'")
        }
        let all = try (json["added_tokens"]?.array ?? []).map { entry in
            guard let token = entry["content"]?.utf8 else { throw bad("an added token has no 'content'") }
            return Added(token: JSONString(utf8: token), id: try number(entry["id"]), json: entry)
        }
        let unused = Set(entries.filter { $0.id >= limit }.map(\.token))
        guard unused.isEmpty || json["model"]?["type"]?.string == "BPE" else {
            throw bad("it has tokens that the embedding has no row for, which only a BPE can do without")
        }
        own = entries.filter { $0.id < limit }.sorted { $0.id < $1.id }.map(\.token)
        added = all.filter { $0.id < limit }
        for (token, id) in entries where id < limit { ids[token] = id }
        for token in added { ids[token.token] = token.id }
        self.json = unused.isEmpty && added.count == all.count ? json : Self.stripped(json, of: unused, added: added)
        // As tokenizers numbers what is added: behind the vocabulary, and behind what was added before.
        nextID = max(own.count, (added.map(\.id).max() ?? -1) + 1)
    }

    private static func stripped(_ json: JSONValue, of unused: Set<JSONString>, added: [Added]) -> JSONValue {
        func isUsed(_ merge: JSONValue) -> Bool {
            let parts =
                merge.array?.compactMap(\.utf8)
                ?? merge.utf8.map { $0.split(separator: UInt8(ascii: " ")).map(Array.init) } ?? []
            return !parts.contains { unused.contains(JSONString(utf8: $0)) }
        }
        let model = json["model"]?.with("vocab") { value in
            guard let members = value.object?.members else { return value }
            var kept = JSONObject()
            for (key, id) in members where !unused.contains(key) { _ = kept.append(key, id) }
            return .object(kept)
        }.with("merges") { .array(($0.array ?? []).filter(isUsed)) }
        return json.with("added_tokens") { _ in .array(added.map(\.json)) }.with("model") { model ?? $0 }
    }
}

extension JSONValue {
    /// The object with what `change` makes of a member; the same where there is none of that name.
    func with(_ key: String, _ change: (JSONValue) -> JSONValue) -> JSONValue {
        guard let members = object?.members else { return self }
        let name = JSONString(key)
        var result = JSONObject()
        for (key, value) in members { _ = result.append(key, key == name ? change(value) : value) }
        return .object(result)
    }
}
