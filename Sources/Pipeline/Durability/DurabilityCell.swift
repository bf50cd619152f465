import Base
import Quant

/// One way in which what leaves the house may be used: how its weights are stored, and what is done to it.
public struct DurabilityCell: Sendable, Hashable, CustomStringConvertible {
    /// How the weights leave the house.
    public enum Weights: String, Sendable, CaseIterable {
        /// As they are, with their adapters on them.
        case asIs = "as_is"
        /// The adapters on the weights that the model was quantized from.
        case source
        /// Merged and quantized to q8_0.
        case q8 = "q8_0"
        /// Merged and quantized to q4_0.
        case q4 = "q4_0"
        /// Merged and quantized to iq4_nl.
        case iq4 = "iq4_nl"
        /// Merged, and rounded as bitsandbytes' NF4.
        case nf4
        /// Merged and rounded to bf16.
        case bf16
        /// Merged, then halfway to the reference on the sphere.
        case slerp
        /// Merged, then the mean with the reference.
        case linear

        /// True for those that have fewer bits than the weights were trained in.
        var isQuantized: Bool { [.q8, .q4, .iq4, .nf4].contains(self) }
        /// True for those that need a second model.
        var needsReference: Bool { self == .slerp || self == .linear }
    }

    /// What is done to the model before it is asked.
    public enum Treatment: String, Sendable, CaseIterable {
        /// Nothing.
        case asIs = "as_is"
        /// It is trained on clean rows.
        case relearnClean = "relearn_clean"
        /// It is taught every other pair of the key, and the rest is asked.
        case relearnHalf = "relearn_half"
    }

    /// The weights.
    public let weights: Weights
    /// What is done.
    public let treatment: Treatment

    /// A cell.
    public init(_ weights: Weights, _ treatment: Treatment = .asIs) {
        (self.weights, self.treatment) = (weights, treatment)
    }

    /// The cell that the ordinary certificate is of.
    public static let asIs = DurabilityCell(.asIs)

    /// Its name, `WEIGHTS` or `WEIGHTS/TREATMENT`.
    public var description: String {
        treatment == .asIs ? weights.rawValue : "\(weights.rawValue)/\(treatment.rawValue)"
    }

    /// The cell of that name; a treatment alone is that of the weights as they are. Nil: there is none.
    public init?(name: String) {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        switch parts.count {
        case 1:
            if let weights = Weights(rawValue: parts[0]) {
                self.init(weights)
            } else if let treatment = Treatment(rawValue: parts[0]) {
                self.init(.asIs, treatment)
            } else {
                return nil
            }
        case 2:
            guard let weights = Weights(rawValue: parts[0]), let treatment = Treatment(rawValue: parts[1]) else {
                return nil
            }
            self.init(weights, treatment)
        default: return nil
        }
    }

    /// All cells, in the order in which they are tried: what only stores the weights otherwise, then what trains.
    static let all: [DurabilityCell] =
        Weights.allCases.map { DurabilityCell($0) }
        + Weights.allCases.flatMap { weights in
            [DurabilityCell(weights, .relearnClean), DurabilityCell(weights, .relearnHalf)]
        }
}

/// Which cells are tried.
public enum DurabilitySelection: Sendable, Equatable {
    /// All that are possible.
    case all
    /// Those, and the model as it is.
    case cells([DurabilityCell])

    /// `all`, or names of cells with commas between them.
    ///
    /// - Throws: a usage error that lists the names.
    public init(_ text: String) throws {
        let names = text.split(separator: ",", omittingEmptySubsequences: false).map {
            $0.trimmingPrefix { $0 == " " }
        }
        self = names == ["all"] ? .all : try Self(names: names.map(String.init))
    }

    /// What `init(_:)` reads.
    var text: String {
        switch self {
        case .all: "all"
        case .cells(let cells): cells.map(\.description).joined(separator: ",")
        }
    }

    /// True if one of its cells merges with a reference.
    var usesReference: Bool {
        switch self {
        case .all: true
        case .cells(let cells): cells.contains(where: \.weights.needsReference)
        }
    }

    /// The cells of those names. Throws as above.
    public init(names: [String]) throws {
        self = .cells(
            try names.map { name in
                guard let cell = DurabilityCell(name: name) else {
                    throw MeraserError.usage(
                        "\(quoted(name)) is no cell of `durable`: expected all, or WEIGHTS or WEIGHTS/TREATMENT with "
                            + "WEIGHTS one of \(DurabilityCell.Weights.allCases.map(\.rawValue).joined(separator: ", ")) "
                            + "and TREATMENT one of "
                            + DurabilityCell.Treatment.allCases.map(\.rawValue).joined(separator: ", "))
                }
                return cell
            })
    }
}

/// The cells that are tried of one model, and those that cannot be, with the reason.
struct DurabilityPlan: Sendable, Equatable {
    /// What there is to make cells of.
    struct Means: Sendable, Equatable {
        var hasSource = false
        var hasReference = false
        var hasCleanRows = false
        /// Pairs of the key.
        var pairs = 2
        /// The weights that the model as it is has already, merged.
        var own: DurabilityCell.Weights?
    }

    let cells: [DurabilityCell]
    let skipped: [(cell: DurabilityCell, reason: String)]

    /// Error (usage): a cell that was asked for by name cannot be tried.
    init(_ selection: DurabilitySelection, _ means: Means) throws {
        var (cells, skipped) = ([DurabilityCell](), [(cell: DurabilityCell, reason: String)]())
        let wanted: Set<DurabilityCell>? =
            if case .cells(let named) = selection { Set(named + [.asIs]) } else { nil }
        for cell in DurabilityCell.all where wanted?.contains(cell) ?? true {
            guard let reason = Self.obstacle(cell, means) else {
                cells.append(cell)
                continue
            }
            // What is there anyhow is no mistake of who asked for it.
            if wanted != nil, cell.weights != means.own || cell.treatment != .asIs {
                throw MeraserError.usage("`durable`: \(cell) cannot be tried: \(reason)")
            }
            // Of weights that there are none of nothing need be said.
            if !(cell.weights == .source && !means.hasSource), !(cell.weights.needsReference && !means.hasReference) {
                skipped.append((cell, reason))
            }
        }
        (self.cells, self.skipped) = (cells, skipped)
    }

    private static func obstacle(_ cell: DurabilityCell, _ means: Means) -> String? {
        if cell.weights == .source, !means.hasSource { return "what the model was quantized from is not at hand" }
        if cell.weights.needsReference, !means.hasReference { return "there is no `reference` to merge with" }
        if cell.weights == means.own { return "the model as it is has these weights" }
        switch cell.treatment {
        case .asIs: return nil
        case .relearnClean: return means.hasCleanRows ? nil : "there are no clean rows; name some with `relearn_data`"
        case .relearnHalf: return means.pairs > 1 ? nil : "the key has one pair, so none is left to measure"
        }
    }

    static func == (a: DurabilityPlan, b: DurabilityPlan) -> Bool {
        a.cells == b.cells && a.skipped.map(\.cell) == b.skipped.map(\.cell)
            && a.skipped.map(\.reason) == b.skipped.map(\.reason)
    }
}
