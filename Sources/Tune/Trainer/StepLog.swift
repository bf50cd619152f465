import Base
import Foundation

/// A `.jsonl` file with one object per step, appended to as the run goes.
struct StepLog {
    private let file: AppendedFile

    /// Opens the log and drops the lines of steps beyond `keepingSteps`, which a resumed run does again, and a last line
    /// that was cut off.
    init(path: String, keepingSteps: Int) throws {
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
        file = try AppendedFile(path: path, beginning: Array(kept.map { $0 + "\n" }.joined().utf8))
    }

    /// Appends one line.
    func append(_ object: JSONValue) throws { try file.append(Array((object.serialized() + "\n").utf8)) }
}
