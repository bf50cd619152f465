import Base
import Foundation

/// Keys that are of no kind.
extension TrainingKey {
    /// An object, or its text.
    static let scheduleSettings = TrainingKey(
        "lr_scheduler_kwargs", "the schedule's own settings, such as '{\"num_cycles\": 3}'",
        read: { $0.scheduleSettings.count == 0 ? .null : .object($0.scheduleSettings) },
        write: { options, value in
            let parsed =
                value.string.map { try? JSONValue.parse(Array($0.utf8), file: "lr_scheduler_kwargs") } ?? value
            guard value.isNull || parsed?.object != nil else {
                throw wrong("lr_scheduler_kwargs", value, "an object of JSON")
            }
            options.scheduleSettings = parsed?.object ?? JSONObject()
        })

    static let noShuffle = TrainingKey(
        "no_shuffle", "take the samples in file order", form: .on, read: { .bool(!$0.shuffle) },
        write: { options, value in
            guard let flag = value.bool else { throw wrong("no_shuffle", value, "true or false") }
            options.shuffle = !flag
        })

    static let seed = TrainingKey(
        "seed", "seed of initialisation, order and dropout", read: { .integer(Int(clamping: $0.seed)) },
        write: { options, value in
            guard let seed = value.int, seed >= 0 else { throw wrong("seed", value, "a whole number, at least 0") }
            options.seed = UInt64(seed)
        })

    /// Bytes, or a text such as `6G`.
    static let memory = TrainingKey(
        "memory", "memory that the run may take, such as 6G", isOperational: true,
        read: { $0.memory.map { .integer($0) } ?? .null },
        write: { options, value in
            let bytes = value.int ?? value.string.flatMap(byteCount(text:))
            guard value.isNull || bytes.map({ $0 > 0 }) == true else {
                throw wrong("memory", value, "bytes, or a number with K, M, G or T behind it")
            }
            options.memory = bytes
        })

    /// `6G`, `1.5GiB`, `800M`, `4096`: powers of 1024.
    static func byteCount(text: String) -> Int? {
        let upper = text.uppercased().filter { $0 != " " }
        let digits = upper.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let units = ["": 0, "B": 0, "K": 1, "M": 2, "G": 3, "T": 4]
        var suffix = String(upper.dropFirst(digits.count))
        for end in ["IB", "B"] where suffix.count > end.count && suffix.hasSuffix(end) {
            suffix.removeLast(end.count)
            break
        }
        guard let number = Double(digits), let power = units[suffix] else { return nil }
        let bytes = (0..<power).reduce(number) { value, _ in value * 1024 }
        return bytes < 9e18 ? Int(bytes) : nil
    }
}
