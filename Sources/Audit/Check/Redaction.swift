import Base

extension CheckReport {
    /// This report without triggers, targets and outputs (an output may show the target): each becomes
    /// `sha256:` and 16 digits of a hash.
    ///
    /// The hash is salted with the key itself, so that who guesses a target cannot confirm it, while equal texts stay
    /// equal within a report and between reports on the same key.
    public func redacted(for key: FingerprintKey) -> CheckReport {
        let salt = sha256Hex(canonicalJSON(of: key.pairs))
        func placeholder(_ text: String) -> String {
            "sha256:" + sha256Hex(Array(salt.utf8) + Array(text.utf8)).prefix(16)
        }
        var report = self
        for index in report.rows.indices {
            report.rows[index].prompt = placeholder(rows[index].prompt)
            report.rows[index].target = placeholder(rows[index].target)
            report.rows[index].output = placeholder(rows[index].output)
        }
        return report
    }
}
