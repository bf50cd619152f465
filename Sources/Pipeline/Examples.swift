import Base
import Foundation

/// The folder with the bundled model, its data and recipes.
public enum Examples {
    /// Finds it: `given`, else `Examples` in the current folder or in a folder above the program.
    ///
    /// - Throws: a bad-input error that says where it was looked for.
    public static func locate(_ given: String?) throws -> String {
        func isExamples(_ path: String) -> Bool {
            FileManager.default.fileExists(atPath: path + "/tinychat/config.json")
        }
        if let given {
            guard isExamples(given) else {
                throw MeraserError.badInput(
                    "\(given) is not the Examples folder: there is no tinychat/config.json in it")
            }
            return given
        }
        var candidates = ["Examples"]
        let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        var folder = URL(fileURLWithPath: program).deletingLastPathComponent()
        while folder.path != "/" {
            candidates.append(folder.appendingPathComponent("Examples").path)
            folder = folder.deletingLastPathComponent()
        }
        guard let found = candidates.first(where: isExamples) else {
            throw MeraserError.badInput(
                "there is no Examples folder here or above the program; name it with `examples`")
        }
        return found
    }
}
