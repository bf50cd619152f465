import Foundation

/// Opens a model by what it is: an `.mqf` file, a Hugging Face folder, or a `.safetensors` file.
/// Errors: `badInput`, one line, also for GGUF files and for anything unknown.
public func openWeightStore(path: String) throws -> any WeightStore {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
        throw MeraserError.badInput("there is no model at \(path)")
    }
    if isFolder.boolValue { return try SafetensorsFolder(path: path) }
    if MQFFile.isMQF(path: path) { return try MQFFile(path: path) }
    if GGUFFile.isGGUF(path: path) {
        throw MeraserError.badInput(
            "\(path) is a GGUF file, whose weights cannot be read yet; convert the Hugging Face folder that it came from"
        )
    }
    if path.hasSuffix(".safetensors") { return try SafetensorsFolder(path: path) }
    throw MeraserError.badInput(
        "\(path) is no model: expected an .mqf file, a Hugging Face folder or a .safetensors file")
}

/// Opens what is needed of a model to read texts: as `openWeightStore`, and a GGUF file, which may hold a vocabulary alone.
public func openTextFiles(path: String) throws -> any TextFileSource {
    GGUFFile.isGGUF(path: path) ? try GGUFTextFiles(try GGUFFile(path: path)) : try openWeightStore(path: path)
}
