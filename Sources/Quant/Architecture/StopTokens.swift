import Base

/// The tokens that end what a model writes: what Transformers' `generate` reads.
///
/// `eos_token_id` of generation_config.json where a model has that file, also where the file names none (then nothing
/// stops before the limit); of config.json where it has not. An id or a list of ids.
public enum StopTokens {
    /// The stop set of a model whose files `textFile` gives; `path` is its name for errors. Both files are checked, also
    /// where one alone counts.
    ///
    /// - Throws: ``MeraserError`` `badInput` that names the file and the key for what is no token id below
    ///   `vocabularySize`.
    public static func read(
        path: String, vocabularySize: Int, textFile: (String) throws -> [UInt8]?
    ) throws -> Set<Int32> {
        let sets = try ["generation_config.json", "config.json"].compactMap { name -> Set<Int32>? in
            guard let bytes = try textFile(name) else { return nil }
            let file = "\(path): \(name)"
            let json = try JSONValue.parse(bytes, file: file)
            guard json.object != nil else { throw MeraserError.badInput("\(file) is \(json.kind), expected an object") }
            return Set(try ConfigReader(json: json, file: file).tokenIDs("eos_token_id", vocabularySize))
        }
        return sets.first ?? []
    }
}
