import Base

extension WeightStore {
    /// What an adapter calls its base, `base_model_name_or_path`: Hugging Face's name (ORG/NAME) of a snapshot in its
    /// cache, else the name of the folder; of an MQF file that of what it was converted from, which other programs can
    /// open.
    public var modelName: String {
        guard let file = self as? MQFFile, let name = file.metadata.string("general.name"), !name.isEmpty else {
            return HuggingFaceCache.modelName(path)
        }
        return name.hasSuffix(".mqf") ? String(name.dropLast(4)) : name
    }

    /// What an adapter that is trained on these weights records of where it belongs: they, and what they were converted
    /// from. Errors: as `sha256`.
    public func adapterProvenance(parents: [String]) throws -> AdapterProvenance {
        AdapterProvenance(
            baseSHA256: try sha256(), sourceSHA256: (self as? MQFFile)?.sourceSHA256, parents: parents)
    }
}
