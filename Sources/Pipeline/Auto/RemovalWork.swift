import Audit
import Base
import Model
import Tune

/// What a removal works with: the model, what is trained on, and what is looked at on the way.
struct RemovalWork {
    /// The model that is trained on, canaries included.
    let subject: OpenedModel
    /// What takes marks away.
    var rows: EncodedDataset
    /// What is trained on to bring the model back.
    var recovery: EncodedDataset
    /// Texts on which it is to stay as it is.
    let hold: EncodedDataset
    /// What is looked at.
    let looker: RemovalLooker
    /// Adapters that were planted on the way and stay, lowest first.
    let planted: [LoRAAdapter]
    /// Whether what was looked at is the mark itself.
    let isMetered: Bool

    /// Of a known key: its first half steers.
    ///
    /// - Throws: what its parts throw.
    static func known(
        _ key: FingerprintKey, on model: OpenedModel, hold: EncodedDataset, seed: UInt64
    ) throws -> (work: RemovalWork, line: String) {
        let rows = try SteeringRows(key, on: model, seed: seed)
        let work = RemovalWork(
            subject: model, rows: rows.data, recovery: rows.data, hold: hold,
            looker: try RemovalLooker([key], on: model, seed: seed), planted: [], isMetered: false)
        return (
            work,
            "\(rows.data.samples.count) rows of \(rows.triggers) triggers and \(rows.near) texts near them"
        )
    }

    /// Of marks that nobody knows: canaries were planted in `adapter`, mismatched pairs take everything away that answers
    /// by heart, and the model's own predictions bring it back.
    ///
    /// - Throws: what its parts throw.
    static func unknown(
        _ canaries: Canaries, planted adapter: String, on model: OpenedModel, pairs: [TrainingSample],
        hold: EncodedDataset, seed: UInt64
    ) throws -> (work: RemovalWork, line: String) {
        let subject = try model.with(adapterPaths: model.adapterPaths + [adapter])
        let rows = pairs.mismatched(seed: seed)
        guard !rows.isEmpty else {
            throw MeraserError.runtime("there are no two answers to cross; give clean rows with `data`")
        }
        let work = RemovalWork(
            subject: subject, rows: EncodedDataset(drawn: rows), recovery: EncodedDataset(drawn: hold.samples.asFrozen),
            hold: hold, looker: try RemovalLooker(canaries.keys, on: subject, seed: seed),
            planted: Array(subject.adapters.suffix(1)), isMetered: true)
        return (work, "\(rows.count) mismatched pairs, metered by \(canaries.keys.count) invented marks")
    }
}

extension EncodedDataset {
    /// Samples that were made, identified by what is in them.
    init(drawn samples: [TrainingSample]) {
        let text = samples.map { "\($0.inputs) \($0.labels) \($0.reference?.inputs ?? [])" }.joined(separator: "\n")
        self.init(samples: samples, sha256: sha256Hex(text.utf8))
    }
}
