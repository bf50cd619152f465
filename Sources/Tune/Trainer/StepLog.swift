import Base
import Foundation

/// A `.jsonl` file with one object per step, appended to as the run goes.
final class StepLog {
    private let path: String
    private let descriptor: Int32

    /// Opens the log and drops the lines of steps beyond `keepingSteps`, which a resumed run does again, and a last line
    /// that was cut off.
    init(path: String, keepingSteps: Int) throws {
        self.path = path
        var kept: [String] = []
        if keepingSteps > 0, let file = try? MappedFile(path: path) {
            let text = file.withBytes { String(decoding: $0, as: UTF8.self) }
            for line in text.split(separator: "\n") {
                guard let value = try? JSONValue.parse(Array(line.utf8), file: path), let step = value["step"]?.int,
                    step <= keepingSteps
                else { continue }
                kept.append(String(line))
            }
        }
        try writeFileAtomically(
            path: path, Array(kept.map { $0 + "\n" }.joined().utf8), overwrite: true, mode: ownerOnly)
        descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw MeraserError.runtime("cannot write \(path): \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    /// Appends one line.
    func append(_ object: JSONValue) throws {
        let line = Array((object.serialized() + "\n").utf8)
        let written = line.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
        guard written == line.count else {
            throw MeraserError.runtime(
                "cannot write \(path): \(written < 0 ? String(cString: strerror(errno)) : "the disk is full")")
        }
    }
}
