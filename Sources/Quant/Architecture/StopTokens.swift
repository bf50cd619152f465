/// The tokens that end what a model writes: what Transformers' `generate` reads.
///
/// `eos_token_id` of generation_config.json where a model has that file, also where the file names none (then nothing
/// stops before the limit); of config.json where it has not. An id or a list of ids.
public enum StopTokens {
    /// The stop set of a model.
    ///
    /// - Throws: ``MeraserError`` `badInput` that names the file and the key for what is no token id below
    ///   `vocabularySize`.
    public static func read(store: any WeightStore, vocabularySize: Int) throws -> Set<Int32> {
        for name in ["generation_config.json", "config.json"] {
            guard let bytes = try store.textFile(name) else { continue }
            let file = "\(store.path): \(name)"
            let json = try JSONValue.parse(bytes, file: file)
            guard json.object != nil else { throw MeraserError.badInput("\(file) is \(json.kind), expected an object") }
            return Set(try ConfigReader(json: json, file: file).tokenIDs("eos_token_id", vocabularySize))
        }
        return []
    }
}
