import Audit
import Base

extension RunReport {
    /// What a run's certificate says of the model that leaves the house.
    struct Certification: Sendable, Equatable {
        /// The verdict.
        let verdict: CertificateVerdict
        /// Why.
        let reason: String

        /// Reads the record of the stage.
        ///
        /// - Throws: a bad-input error that names the file.
        init(record: JSONValue, file: String) throws {
            let result = JSONValue.object(try record.object("result", in: file))
            let name = try result.string("verdict", in: file)
            guard let verdict = CertificateVerdict(rawValue: name) else {
                let names = CertificateVerdict.allCases.map(\.rawValue).joined(separator: ", ")
                throw MeraserError.badInput("\(file): 'verdict' is \(quoted(name)), expected one of \(names)")
            }
            self.verdict = verdict
            reason = try result.string("reason", in: file)
        }

        /// Why removal is not proved by decoys; nil if it is.
        var doubt: String? {
            switch verdict {
            case .gone: nil
            case .marked: "beside decoys it is still marked (\(reason))"
            case .traces: "decoys show traces of it (\(reason))"
            case .notShown: "decoys do not show that it is gone (\(reason))"
            }
        }

        /// What it was decided by.
        var basis: String { "Decoys: \(verdict.rawValue), \(reason)" }
    }
}
