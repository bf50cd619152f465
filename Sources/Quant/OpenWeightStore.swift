import Base
import Foundation

/// Opens a model by what it is, to read its weights row by row: an `.mqf` or `.gguf` file, a Hugging Face folder with
/// safetensors or pickle files, one such file, or the cache folder of a model (`HuggingFaceCache`). What bitsandbytes,
/// GPTQ or AWQ packed is unpacked.
///
/// - Throws: `badInput`, one line, also for anything unknown.
public func openTensorSource(path: String) throws -> any StoredSource {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
        throw MeraserError.badInput("there is no model at \(path)")
    }
    if !isFolder.boolValue {
        if MQFFile.isMQF(path: path) { return try MQFFile(path: path) }
        if GGUFFile.isGGUF(path: path) { return try GGUFModel(path: path) }
        guard CheckpointFiles.Format.allCases.contains(where: { path.hasSuffix($0.ending) }) else {
            throw MeraserError.badInput(
                "\(path) is no model: expected a Hugging Face folder, or an .mqf, .gguf, .safetensors or .bin file")
        }
    }
    let files = try CheckpointFiles(path: try HuggingFaceCache.modelFolder(path))
    switch files.format {
    case .safetensors:
        let folder = try SafetensorsFolder(files)
        return try PackedFolder(folder) ?? folder
    case .pyTorch: return try PyTorchFolder(files)
    }
}

/// Opens a model by what it is, to use its weights where they lie: as `openTensorSource`, and what cannot be used so (a
/// GGUF or a pickle file, packed weights) is converted into the cache first.
///
/// - Parameters:
///   - exactly: what MQF has no type for is not quantized anew: every number is the model's own.
///   - cache: where models are converted to; it says so.
/// - Throws: as `openTensorSource` and `ModelCache`.
public func openWeightStore(
    path: String, exactly: Bool = false, cache: ModelCache = ModelCache()
) throws -> any WeightStore {
    let source = try openTensorSource(path: path)
    return try source as? any WeightStore ?? cache.open(source, exactly: exactly)
}

/// Opens what is needed of a model to read texts: as `openTensorSource`, and a GGUF file or a folder that has a
/// vocabulary alone.
public func openTextFiles(path: String) throws -> any TextFileSource {
    if GGUFFile.isGGUF(path: path) { return try GGUFTextFiles(try GGUFFile(path: path)) }
    return try TextFolder(path: path) ?? openTensorSource(path: path)
}
