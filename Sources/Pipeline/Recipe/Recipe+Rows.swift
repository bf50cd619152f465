import Base
import Tune

extension Recipe {
    /// Where the rows of a training are from.
    public enum Rows: Sendable, Equatable {
        /// A dataset.
        case file(path: String)
        /// The matching pairs of a file, crossed into mismatched ones; `count`: how many to make, nil: as many as there are.
        case mismatched(path: String, count: Int?)
        /// The pairs of the recipe's key, to be forgotten.
        case pairs
        /// Clean pairs whose questions get the triggers that the key, or the scan, says (OSFT).
        case overwriting(path: String)
        /// Clean pairs whose questions get a parrot prompt that brings out what the key, or the scan, says (SANDE).
        case parroting(path: String)

        /// The file; nil: there is none.
        public var path: String? {
            switch self {
            case .file(let path), .mismatched(let path, _), .overwriting(let path), .parroting(let path): path
            case .pairs: nil
            }
        }
    }
}

extension Recipe.Rows {
    /// The keys that say them, one of which a stage has.
    static let keys = "'data', 'mismatch', 'osft' and 'sande'"

    /// True if they are made of what a key says.
    var isSteered: Bool {
        switch self {
        case .pairs, .overwriting, .parroting: true
        case .file, .mismatched: false
        }
    }

    /// The preset of the method that makes them; nil: that of the stage.
    var preset: TrainingPreset? {
        switch self {
        case .overwriting: .osft
        case .parroting: .sande
        case .file, .mismatched, .pairs: nil
        }
    }
}

extension Recipe.Training {
    /// True if a key, or what it says, has a part in it.
    var isSteered: Bool { rows.isSteered || options.checkSteps != nil }
}

extension Settings {
    /// `data`, `mismatch` with `mismatch_count`, `osft` or `sande`; nil where there is none of them.
    mutating func rows(_ folder: String) throws -> Recipe.Rows? {
        let count = try int("mismatch_count", in: 1...1_000_000)
        let given = [
            try dataset("data", in: folder).map { Recipe.Rows.file(path: $0) },
            try path("mismatch", in: folder).map { .mismatched(path: $0, count: count) },
            try path("osft", in: folder).map { .overwriting(path: $0) },
            try path("sande", in: folder).map { .parroting(path: $0) },
        ].compactMap { $0 }
        guard given.count <= 1 else { throw MeraserError.badInput("\(place): give one of \(Recipe.Rows.keys)") }
        if count != nil {
            guard case .mismatched? = given.first else {
                throw MeraserError.badInput("\(place): 'mismatch_count' goes with 'mismatch'")
            }
        }
        return given.first
    }
}
