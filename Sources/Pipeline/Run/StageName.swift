/// A stage of a run, or a trial of a search.
public enum StageName: Sendable, Hashable, CustomStringConvertible {
    /// The model is quantized.
    case convert
    /// Mismatched pairs are made.
    case mismatch
    /// The mark is looked for without its key.
    case scan
    /// An adapter is trained.
    case training(TrainedStage)
    /// The model is measured.
    case measurement(MeasuredStage)
    /// The folder that leaves the house is written.
    case export
    /// Decoys judge what leaves the house.
    case certify
    /// Decoys judge it in a grid of cells.
    case durable
    /// The mark is taught again.
    case relearn
    /// The report is made.
    case report
    /// A phase of a removal that chooses its own dose.
    case phase(String)
    /// A configuration of a search is tried; `of`: how many there are at the first rung.
    case trial(number: Int, of: Int, rung: Int)

    /// The stages that leave a record, in the order of a run.
    static let recorded: [StageName] = [
        .convert, .training(.fingerprint), .measurement(.sourceReference), .measurement(.source),
        .measurement(.reference),
        .measurement(.before), .scan, .mismatch, .training(.erase), .measurement(.erased), .training(.recover),
        .measurement(.recovered), .export, .measurement(.exported), .certify, .durable,
        .relearn,
    ]

    /// The name in files, reports and on terminals: `erase`, `trial-003-rung-1`.
    public var description: String {
        switch self {
        case .convert: "convert"
        case .mismatch: "mismatch"
        case .scan: "scan"
        case .training(let stage): stage.rawValue
        case .measurement(let stage): stage.rawValue
        case .export: "export"
        case .certify: "certify"
        case .durable: "durable"
        case .relearn: "relearn"
        case .report: "report"
        case .phase(let name): name
        case .trial(let number, let count, let rung):
            // As many digits as the last one has, at least three: names sort as numbers do.
            "trial-\(Self.padded(number, to: max(3, String(count - 1).count)))-rung-\(rung)"
        }
    }

    private static func padded(_ number: Int, to width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}

/// A stage that trains an adapter, in the order of a run.
public enum TrainedStage: String, Sendable, CaseIterable {
    /// A mark is embedded.
    case fingerprint
    /// The mark is removed.
    case erase
    /// Quality is brought back.
    case recover

    /// The folder of the adapter within that of the run.
    var folder: String { self == .fingerprint ? "mark" : rawValue }
}

/// A stage that measures, in the order of a report: first the model that is worked on, then the weights that it was quantized
/// from, where these are at hand.
public enum MeasuredStage: String, Sendable, CaseIterable {
    /// The model before a mark was embedded.
    case reference
    /// The model with the mark.
    case before
    /// After erasing.
    case erased
    /// After recovery.
    case recovered
    /// The source before a mark was embedded.
    case sourceReference = "source_reference"
    /// The source with the mark.
    case source
    /// What leaves the house: the folder that the recipe has exported, else the source with all adapters.
    case exported

    /// True for weights that are not the model's which is worked on: its adapters do not belong to them.
    var isSource: Bool { [.sourceReference, .source, .exported].contains(self) }

    /// What was done to the mark before it, in a sentence: "after erasing".
    var removal: String { self == .recovered ? "recovery" : "erasing" }
}
