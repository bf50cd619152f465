import Audit
import Base
import Foundation
import Kernels
import Merge
import Model
import Quant
import Tune

/// How the singular values of what was done to each module fall, beside what ordinary fine-tuning does to the same modules
/// (`OrdinaryTuning`): a mark of few rows may ask for less than people's texts do, and lie in fewer directions.
///
/// It shows and does not judge: longer clean fine-tunings lie as far out as marks do (docs/studies/scan.md), so that a place
/// among short ones is no p-value of a mark.
struct SpectraScan: ScanMethod {
    /// The most values of a module that are looked at: a reference's difference has as many as the module has columns.
    private static let leading = 8
    /// Modules that are shown.
    private static let shown = 16
    /// Ordinary fine-tunings.
    private static let decoys = ExponentialTail.leastDecoys

    func run(on subject: ScanSubject) throws -> ScanFinding {
        guard let change = try ModelChange(subject, count: Self.leading) else {
            return finding("Neither an adapter nor a reference is given: there is no change to look at.")
        }
        let count = min(Self.leading, change.spectra.map(\.values.count).min() ?? 0)
        guard count >= 2, let own = Self.concentration(change.spectra, count) else {
            return finding("\(change.name) has fewer than two singular values in some module, or changes nothing.")
        }
        let tuning = OrdinaryTuning(subject, base: change.base, config: change.config)
        let decoys = try tuning.values(count: Self.decoys) { adapter in
            try Self.concentration(ChangeSpectrum.ofAdapter(adapter, count: count), count)
        }
        let modules = change.spectra.map { ModuleChange($0, count: count) }.sorted {
            ($1.shares.first ?? 0, $0.module) < ($0.shares.first ?? 0, $1.module)
        }
        guard decoys.count >= Self.decoys else {
            return finding(
                "\(change.name): the budget ended the fine-tunings that it is compared with.",
                decoys: decoys.count, modules: Array(modules.prefix(Self.shown)))
        }
        let median = quantile(0.5, ofSorted: decoys.sorted())
        let shares = [own, median].map { "\(Figures.percent(1 - exp(-$0)))" }
        return finding(
            "\(change.name), \(change.spectra.count) modules: the largest of \(count) singular values has \(shares[0]) of "
                + "their energy, more than after \(decoys.count { $0 < own }) of \(decoys.count) short ordinary fine-tunings, "
                + "whose median is \(shares[1]). Longer ones have more: not judged.",
            decoys: decoys.count, modules: Array(modules.prefix(Self.shown)))
    }

    /// −log(1 − c) of the mean share c that the largest value has: it grows without bound as all else vanishes. Nil: nothing is
    /// changed.
    static func concentration(_ spectra: [ChangeSpectrum], _ count: Int) -> Double? {
        let shares = spectra.compactMap { $0.concentration(of: count) }
        guard !shares.isEmpty else { return nil }
        return -log(max(1e-12, 1 - shares.reduce(0, +) / Double(shares.count)))
    }

    private func finding(
        _ summary: String, decoys: Int = 0, modules: [ModuleChange] = []
    ) -> ScanFinding {
        ScanFinding(
            method: .spectra, pValue: nil, summary: summary, decoys: decoys, candidates: [], modules: modules)
    }
}

/// What a model was changed by: its topmost adapter, else what it differs by from the reference.
private struct ModelChange {
    /// Of each module.
    let spectra: [ChangeSpectrum]
    /// What it was done to.
    let base: OpenedModel
    /// An adapter of the same kind.
    let config: LoRAConfig
    /// In words.
    let name: String

    /// Nil: neither is given.
    init?(_ subject: ScanSubject, count: Int) throws {
        let model = subject.model
        if let path = model.adapterPaths.last, let adapter = model.adapters.last {
            spectra = try ChangeSpectrum.ofAdapter(AdapterFile(path: path, for: model.transformer.spec), count: count)
            base = try model.with(adapterPaths: Array(model.adapterPaths.dropLast()))
            config = adapter.config
            name = "The adapter \(fileName(ofPath: path))"
        } else if let reference = subject.reference {
            let interrupt = subject.interrupt
            spectra = try ChangeSpectrum.ofDifference(
                model: model.transformer.store.path, base: reference.transformer.store.path, count: count,
                threads: model.transformer.kernels.threads, isInterrupted: { interrupt?.isSet == true })
            base = reference
            config = LoRAConfig(r: count, loraAlpha: Double(2 * count), targetModules: Projection.parts)
            name = "The difference from the reference"
        } else {
            return nil
        }
    }
}
