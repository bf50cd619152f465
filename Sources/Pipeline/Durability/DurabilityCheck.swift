import Audit
import Base
import Kernels
import Model
import Quant
import Tune

/// How it is tried whether a mark stays away.
public struct DurabilityOptions: Sendable {
    /// What is tried.
    public var cells = DurabilitySelection.all
    /// Decoys of the model as it is.
    public var decoys: DecoyOptions
    /// Decoys of every other cell, fewer for the time: they are drawn by the same seed.
    public var cellDecoys = 199
    /// Steps of relearning.
    public var steps = 10
    /// The rate of relearning: so high that a new key is half learnt in ten steps.
    public var learningRate = 1e-3
    /// Clean rows to relearn on; nil: that is not tried.
    public var cleanRows: String?
    /// A reference that the certificate is held against, and that the model is merged with; nil: there is none.
    public var reference: String?
    /// Where variants of the model are written, and removed again.
    public var workFolder = ModelCache().folder
    /// How keys are checked.
    public var check = CheckOptions()

    /// All cells.
    public init(decoys: DecoyOptions = DecoyOptions()) { self.decoys = decoys }

    func relearning(_ source: RelearningOptions.Source) -> RelearningOptions {
        var relearning = RelearningOptions(steps: steps, source: source, seed: decoys.seed)
        relearning.training.learningRate = learningRate
        return relearning
    }
}

/// Tries a mark again in a grid of cells: how the weights leave the house × what is done to them then. The verdict is the
/// worst cell's; `docs/reference/certificate.md` says how each is judged.
///
/// Not thread-safe. What it writes is gone when it ends.
public struct DurabilityCheck {
    /// What happens, for a display.
    public enum Event {
        /// A cell begins, number `number` of `count`, from 1 on.
        case cell(DurabilityCell, number: Int, of: Int)
        /// A trainer is about to run.
        case training(Trainer)
        /// Tokens of decoys that were read, of all of this cell's.
        case decoys(done: Int, of: Int)
    }

    let key: FingerprintKey
    let options: DurabilityOptions
    private let interrupt: InterruptFlag?
    let onEvent: (Event) -> Void

    /// A check of that key.
    ///
    /// - Parameters:
    ///   - interrupt: looked at between steps and cells.
    ///   - onEvent: called as things happen.
    public init(
        _ key: FingerprintKey, options: DurabilityOptions, interrupt: InterruptFlag? = nil,
        onEvent: @escaping (Event) -> Void = { _ in }
    ) {
        (self.key, self.options, self.interrupt, self.onEvent) = (key, options, interrupt, onEvent)
    }

    /// Tries every cell.
    ///
    /// - Parameters:
    ///   - model: what leaves the house, opened from its files, with its adapters.
    ///   - source: the adapters on the weights that the model was quantized from, where these are at hand; other cells are
    ///     made of it then.
    ///   - certificate: that of the model as it is, where it has been made already.
    /// - Throws: a usage error for cells that were asked for and cannot be tried; what checks, decoys, trainer and files throw;
    ///   `interrupted`.
    public func run(
        on model: OpenedModel, source: OpenedModel? = nil, certificate: Certificate? = nil
    ) throws -> DurabilityReport {
        let reference = try options.reference.map { try model.reference(path: $0) }
        let twin = try reference?.check(key, options: check)
        let judge = Judge(
            twin: twin, whole: try model.decoyTest(key, options: options.decoys, check: check),
            few: try model.decoyTest(
                key, options: DecoyOptions(count: options.cellDecoys, seed: options.decoys.seed), check: check))
        var decoyKey: FingerprintKey?
        var rows: [DurabilityRow] = []
        let skipped = try forEachCell(model, source: source) { cell, opened in
            if cell.treatment == .asIs {
                rows.append(try untreated(cell, opened, judge, certificate))
            } else {
                let other = try decoyKey ?? decoyKeys(1, model).keys[0]
                decoyKey = other
                rows.append(try relearnt(cell, opened, judge, other))
            }
        }
        return DurabilityReport(rows: rows, skipped: skipped)
    }

    /// Gives every cell that is tried to `body`, with its model; gives the others.
    func forEachCell(
        _ model: OpenedModel, source: OpenedModel?, _ body: (DurabilityCell, OpenedModel) throws -> Void
    ) throws -> [(cell: DurabilityCell, reason: String)] {
        let plan = try DurabilityPlan(options.cells, try means(model, source: source))
        let interrupt = interrupt
        let variants = try ModelVariants(
            of: source ?? model, reference: options.reference, work: options.workFolder,
            isInterrupted: { interrupt?.isSet == true })
        var number = 0
        // Neighbours of the same weights use one variant.
        for group in plan.cells.grouped() {
            func each(_ opened: OpenedModel) throws {
                for cell in group {
                    if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted") }
                    number += 1
                    onEvent(.cell(cell, number: number, of: plan.cells.count))
                    try body(cell, opened)
                }
            }
            switch group[0].weights {
            case .asIs: try each(model)
            case .source: try each(source ?? model)
            case let weights: try variants.with(weights, each)
            }
        }
        return plan.skipped
    }

    /// What a cell's answers are held against.
    private struct Judge {
        /// A reference's answers.
        let twin: CheckReport?
        /// Decoys of the whole certificate.
        let whole: DecoyTest
        /// Fewer of the same seed, for other cells.
        let few: DecoyTest
    }

    var check: CheckOptions {
        var check = options.check
        (check.cleanPrompts, check.samples) = ([], 0)
        return check
    }

    private func means(_ model: OpenedModel, source: OpenedModel?) throws -> DurabilityPlan.Means {
        let types = try model.types
        // Weights that are plain bf16 without adapters are merged and rounded already.
        let isPlain = source == nil && model.adapters.isEmpty && types.main == .bf16
        let own: DurabilityCell.Weights? = isPlain ? .bf16 : nil
        return DurabilityPlan.Means(
            hasSource: source != nil, hasReference: options.reference != nil, hasCleanRows: options.cleanRows != nil,
            pairs: key.pairs.count, own: own)
    }

    /// Keys of the same kind that nobody embedded: how quickly a new one is learnt, and of what kind they are.
    func decoyKeys(_ count: Int, _ model: OpenedModel) throws -> (keys: [FingerprintKey], kind: DecoyKind) {
        var keys = try DecoyKeys(
            key, tokenizer: model.tokenizer, chat: model.chat, seed: options.decoys.seed, check: check)
        return (try (0..<count).map { _ in try keys.next() }, keys.kind)
    }

    private func untreated(
        _ cell: DurabilityCell, _ model: OpenedModel, _ judge: Judge, _ certificate: Certificate?
    ) throws -> DurabilityRow {
        let report = try model.check(key, options: check)
        if cell == .asIs, let certificate { return DurabilityRow(cell, check: report, certificate: certificate) }
        return DurabilityRow(cell, check: report, certificate: try self.certificate(cell, model, report, judge))
    }

    private func relearnt(
        _ cell: DurabilityCell, _ model: OpenedModel, _ judge: Judge, _ decoyKey: FingerprintKey
    ) throws -> DurabilityRow {
        guard cell.treatment == .relearnClean else {
            let hints = options.relearning(.hinted)
            let mark = try model.relearn(key, options: hints, check: check, prepare: follow)
            let other = try model.relearn(decoyKey, options: hints, check: check, prepare: follow)
            return DurabilityRow(cell, relearning: compared(mark, other, judge.whole.kind))
        }
        let path = options.cleanRows ?? ""
        return try model.relearn(
            on: try model.cleanRows(path: path), measuring: [key, decoyKey],
            options: options.relearning(.clean(path: path)), check: check, prepare: follow
        ) { relearnt, points in
            let curves = points.map { RelearningCurve(points: $0, source: .clean, trainedPairs: 0) }
            let report = try relearnt.check(key, options: check)
            return DurabilityRow(
                cell, check: report, certificate: try certificate(cell, relearnt, report, judge),
                relearning: compared(curves[0], curves[1], judge.whole.kind))
        }
    }

    /// Two courses, of this key or of others as it is. After hints the pairs that judge were measured, else all.
    func compared(_ mark: RelearningCurve, _ decoy: RelearningCurve, _ kind: DecoyKind) -> RelearningComparison {
        let measured = mark.source == .hinted ? key.judging : key
        return RelearningComparison(
            mark: mark, decoy: decoy, kind: kind, targets: Set(measured.pairs.map(\.target)).count)
    }

    /// The certificate of a cell. A merge with the reference is half that model: it is not held against it again.
    private func certificate(
        _ cell: DurabilityCell, _ model: OpenedModel, _ report: CheckReport, _ judge: Judge
    ) throws -> Certificate {
        let test = cell == .asIs ? judge.whole : judge.few
        let found = try test.run(on: model.session()) { onEvent(.decoys(done: $0, of: $1)) }
        let twin = cell.treatment == .asIs && !cell.weights.needsReference ? judge.twin : nil
        return Certificate(
            report, decoys: found,
            reference: twin.flatMap { ReferenceComparison(model: report, reference: $0) })
    }

    func follow(_ trainer: Trainer) {
        trainer.interrupt = interrupt
        onEvent(.training(trainer))
    }
}

extension [DurabilityCell] {
    /// Neighbours of the same weights together.
    fileprivate func grouped() -> [[DurabilityCell]] {
        reduce(into: []) { groups, cell in
            if groups.last?.last?.weights == cell.weights {
                groups[groups.count - 1].append(cell)
            } else {
                groups.append([cell])
            }
        }
    }
}
