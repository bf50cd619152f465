import Base
import CExamples
import Foundation
import Quant

/// The bundled model, its data and its recipes (`Examples/README.md`), which the program carries in itself.
public enum Examples {
    /// A bundled file.
    struct File {
        /// Its path in the folder.
        let name: String
        /// Its bytes, which live as long as the program.
        let bytes: UnsafeRawBufferPointer
    }

    /// All of them, as they were when the program was built.
    static var files: [File] {
        (0..<bundled_file_count()).map { index in
            let file = bundled_file_at(index)
            return File(
                name: String(cString: file.name),
                bytes: UnsafeRawBufferPointer(start: file.bytes, count: file.end - file.bytes))
        }
    }

    /// Makes a folder with all of them.
    ///
    /// - Throws: as `AtomicFolder`; a runtime error where a file cannot be written.
    public static func write(to path: String, overwrite: Bool = false) throws {
        let folder = try AtomicFolder(path: path, overwrite: overwrite)
        for file in files {
            let url = URL(fileURLWithPath: folder.temporaryPath).appendingPathComponent(file.name)
            try makeFolder(url.deletingLastPathComponent().path)
            let output = try AtomicFile(path: url.path)
            try output.write(file.bytes)
            try output.commit()
        }
        try folder.commit()
    }

    /// The folder `given`; without one the bundled files in the user's cache, written there if they are not there yet.
    ///
    /// - Throws: a bad-input error where `given` is no such folder; as `write`.
    public static func locate(_ given: String?, cache: String = ModelCache().folder) throws -> String {
        if let given {
            guard FileManager.default.fileExists(atPath: given + "/tinychat/config.json") else {
                throw MeraserError.badInput(
                    "\(given) is not the Examples folder: there is no tinychat/config.json in it")
            }
            return given
        }
        let path = "\(cache)/examples-\(meraserVersion)"
        if isWhole(path) { return path }
        try makeFolder(cache)
        do {
            try write(to: path, overwrite: true)
        } catch let error as MeraserError {
            // Another process may have written them in the meantime.
            guard isWhole(path) else { throw error }
        }
        return path
    }

    /// That every file is in the folder, byte for byte.
    private static func isWhole(_ path: String) -> Bool {
        files.allSatisfy { file in
            let found = try? MappedFile(path: path + "/" + file.name).withBytes { bytes in
                guard let found = bytes.baseAddress, let bundled = file.bytes.baseAddress else { return false }
                return bytes.count == file.bytes.count && memcmp(found, bundled, bytes.count) == 0
            }
            return found == true
        }
    }

    private static func makeFolder(_ path: String) throws {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw MeraserError.runtime("cannot make the folder \(path): \(systemErrorText())")
        }
    }
}
