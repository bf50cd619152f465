import Base
import Tune

/// The training options of a YAML file: a mapping of `TrainingKey` names to values.
///
/// - Throws: a bad-input error for a file that is no YAML mapping, a usage error for an unknown key with a suggestion.
public func trainingOverrides(yamlFile path: String) throws -> TrainingOverrides {
    let file = try MappedFile(path: path)
    let value = try parseYAML(file.withBytes { Array($0) }, file: path)
    return try TrainingOverrides(try Settings(value, place: path).rest(), source: path)
}
