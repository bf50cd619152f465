import Audit
import Base
import Model
import Quant

/// The stage that looks for the mark without its key.
extension Runner {
    /// The name of the scan's folder in that of a run.
    static let scanFolder = "scan"

    /// What steers the removal: the recipe's key, or where the recipe scans what that finds in the marked model, which
    /// knows nothing of the key.
    ///
    /// - Throws: a failed check where a scan finds nothing; what it throws.
    func steering(_ model: OpenedModel, key: FingerprintKey) throws -> Steering {
        guard let stage = recipe.scan else { return Steering(key: key, file: commands.keyPath) }
        let output = folder.file(Self.scanFolder)
        var options = ScanOptions()
        options.methods = stage.methods
        (options.reference, options.data, options.budget) = (stage.reference, stage.data, stage.budget)
        options.seed = recipe.seed
        let inputs: JSONValue = [
            "model": .text(try model.transformer.store.sha256()),
            "adapters": .array(model.adapters.map { .text($0.sha256 ?? "") }),
            "methods": .array(ScanMethodName.allCases.filter(stage.methods.contains).map { .text($0.rawValue) }),
            "reference": try stage.reference.map { .text(try openWeightStore(path: $0).sha256()) } ?? .null,
            "data": .text(ScanOptions.sha256(of: try options.pairs())),
            "budget": stage.budget.map { .real($0) } ?? .null, "seed": .integer(Int(clamping: recipe.seed)),
        ]
        let words = commands.scan(stage, on: model, output: output)
        _ = try self.stage(.scan, inputs: inputs, commands: words) {
            let scan = try Scan(model, options: options, output: output, resume: true)
            scan.interrupt = interrupt
            scan.onEvent = { [self] event in
                switch event {
                case .method(let name, let isDone): onEvent(.stage(.phase(name.rawValue), isDone: isDone))
                case .finding(let finding): onEvent(.note(finding.summary))
                case .skipped(let name): onEvent(.warning("\(name.rawValue): the budget leaves no time for it"))
                case .progress: break
                }
            }
            let report = try scan.run()
            return redact ? report.redacted : report.json
        }
        let report = try ScanReport(RunFolder(existing: output))
        report.verdictLines.forEach { onEvent(.note($0)) }
        return try Steering(report)
    }
}

extension ScanReport {
    /// What may be published of it: no triggers, targets or prompts.
    fileprivate var redacted: JSONValue {
        [
            "verdict": json["verdict"] ?? .null, "p_value": json["p_value"] ?? .null,
            "methods": .array(
                findings.map {
                    ["method": .text($0.method.rawValue), "p_value": $0.pValue.map { .real($0) } ?? .null]
                }),
            "not_run": json["not_run"] ?? .null, "seconds": json["seconds"] ?? .null,
        ]
    }
}
