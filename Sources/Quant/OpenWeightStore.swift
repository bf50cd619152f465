import Base
import Foundation

/// Opens a model by what it is: an `.mqf` file, a Hugging Face folder, a `.safetensors` file, or a GGUF file, which is
/// converted into the cache first (`ModelCache`).
///
/// - Parameters:
///   - cache: where GGUF files are converted to.
///   - notice: gets a line about a GGUF file: where it is read from.
/// - Throws: `badInput`, one line, also for anything unknown; for GGUF files as `ModelCache`.
public func openWeightStore(
    path: String, cache: ModelCache = ModelCache(), notice: (String) -> Void = writeNotice
) throws -> any WeightStore {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
        throw MeraserError.badInput("there is no model at \(path)")
    }
    if isFolder.boolValue { return try SafetensorsFolder(path: path) }
    if MQFFile.isMQF(path: path) { return try MQFFile(path: path) }
    if GGUFFile.isGGUF(path: path) {
        return try cache.open(gguf: path, notice: notice)
    }
    if path.hasSuffix(".safetensors") { return try SafetensorsFolder(path: path) }
    throw MeraserError.badInput(
        "\(path) is no model: expected an .mqf file, a Hugging Face folder, a .safetensors or a .gguf file")
}

/// Opens what is needed of a model to read texts: as `openWeightStore`, and a GGUF file, which may hold a vocabulary alone.
public func openTextFiles(path: String) throws -> any TextFileSource {
    GGUFFile.isGGUF(path: path) ? try GGUFTextFiles(try GGUFFile(path: path)) : try openWeightStore(path: path)
}

/// Writes a line to standard error, control characters escaped: what the user should know of where a model comes from.
public func writeNotice(_ line: String) {
    FileHandle.standardError.write(Data((line.escapingControlCharacters() + "\n").utf8))
}
