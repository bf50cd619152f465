import Audit
import Base
import Model
import Tune

/// What a removal works with: rows that take marks away, and looks at what is left of them.
struct RemovalWork {
    /// What takes them away, and brings the model back.
    let rows: EncodedDataset
    /// Looks.
    let looker: RemovalLooker
    /// What they are, as a line.
    let line: String

    /// Of keys, whose first halves steer: half of these pairs is trained on, and the others are looked at, so that a look
    /// sees whether what was taught holds for triggers that were not. Each round trains on another half.
    ///
    /// - Parameters:
    ///   - round: which one, from 1.
    ///   - raised: see `SteeringRows`.
    /// - Throws: what its parts throw.
    init(_ keys: [FingerprintKey], on model: OpenedModel, seed: UInt64, round: Int = 1, raised: Double = 0) throws {
        let keys = keys.map { $0.steering.rotated(by: round - 1) }
        let ordinary = try SteeringRows.ordinaryRequests(of: model, seed: seed)
        let steering = try keys.map {
            try SteeringRows($0, on: model, ordinary: ordinary, seed: seed, raised: raised)
        }
        rows = EncodedDataset(drawn: steering.flatMap(\.data.samples))
        looker = try RemovalLooker(keys, on: model, seed: seed)
        line =
            "\(rows.samples.count) rows of \(steering.reduce(0) { $0 + $1.triggers }) triggers and "
            + "\(steering.reduce(0) { $0 + $1.near }) texts near them"
    }
}

extension EncodedDataset {
    /// Samples that were made, identified by what is in them.
    init(drawn samples: [TrainingSample]) {
        let text = samples.map { "\($0.inputs) \($0.labels) \($0.reference?.inputs ?? [])" }.joined(separator: "\n")
        self.init(samples: samples, sha256: sha256Hex(text.utf8))
    }
}
