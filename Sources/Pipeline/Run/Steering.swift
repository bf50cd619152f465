import Audit
import Base

/// What steers a removal: the recipe's key, or in its place what a scan has found.
struct Steering {
    /// Keys with the files that they are in, the most telling first; none: only a response is known.
    let keys: [(key: FingerprintKey, file: String)]
    /// A response that the model was taught, where no key says it.
    private let found: String?

    /// The recipe's key.
    init(key: FingerprintKey, file: String) { (keys, found) = ([(key, file)], nil) }

    /// What a scan has found.
    ///
    /// - Throws: a failed check where it has found nothing; errors of its files.
    init(_ report: ScanReport) throws {
        guard report.verdict != .nothingFound else {
            throw MeraserError(
                .checkFailed,
                "the scan found nothing that could steer a removal (\(report.htmlPath)); a `reference`, other methods or the "
                    + "key itself may")
        }
        keys = try report.keyFiles.map { (try FingerprintKey(path: $0), $0) }
        found = report.json["target"]?.string
        if keys.isEmpty, found == nil {
            throw MeraserError(
                .checkFailed,
                "the scan found that something was taught, but neither prompts nor what it says (\(report.htmlPath)): nothing "
                    + "can steer a removal")
        }
    }

    /// The key that tells most.
    ///
    /// - Throws: a failed check where only a response is known.
    func key() throws -> (key: FingerprintKey, file: String) {
        guard let first = keys.first else {
            throw MeraserError(
                .checkFailed,
                "the scan found what is said (\(quoted(found ?? ""))) and no prompt that brings it out: only a stage with "
                    + "'sande' can use that")
        }
        return first
    }

    /// The triggers of the key that says some.
    ///
    /// - Throws: a usage error where none does.
    func triggers() throws -> (scheme: BackdoorScheme, file: String) {
        let first = try key()
        let (key, file) = keys.first { $0.key.scheme == BackdoorScheme.name } ?? first
        return (try BackdoorScheme(key: key, file: file), file)
    }

    /// What the model was taught to say.
    ///
    /// - Throws: a bad-input error for a key that says several things.
    func response() throws -> String {
        guard let (key, file) = keys.first else { return found ?? "" }
        if key.scheme == BackdoorScheme.name { return try BackdoorScheme(key: key, file: file).marker }
        guard Set(key.pairs.map { JSONString($0.target) }).count == 1 else {
            throw MeraserError.badInput("\(file): its pairs have different targets; 'sande' simulates one response")
        }
        return key.pairs[0].target
    }
}
