import Base
import Foundation
import Quant
import Synchronization

/// What is taken of the difference of two models, in the words of mergekit-extract-lora.
public struct ExtractionOptions: Sendable {
    /// The most singular values of a module.
    public var maxRank = 128
    /// Singular values up to this are left out.
    public var svEpsilon = 0.0
    /// The square root of a singular value goes into A and into B; else all of it into A.
    public var distributesScale = true
    /// Embedding and head get factors too, instead of being saved whole.
    public var embedsLoRA = false
    /// Ends of the paths of modules that are saved whole.
    public var saveModules: [String] = []
    /// Regular expressions: modules whose path has a match of one of them only; all if there are none.
    public var includes: [String] = []
    /// Regular expressions: modules whose path has a match of one of them are left out.
    public var excludes: [String] = []
    /// Leave out what has no rank, such as norms, instead of saving it whole.
    public var skipsUndecomposable = false
    /// How many threads to use, at least 1. The result does not depend on it.
    public var threads = 1
    /// Replace what is there.
    public var overwrite = false
    /// Biases that differ are left out instead of refused.
    var ignoresBiases = false

    /// Rank 128 of every matrix.
    public init() {}
}

/// What an extraction wrote.
public struct ExtractionReport: Sendable, Equatable {
    /// Modules with factors.
    public let moduleCount: Int
    /// The highest rank.
    public let rank: Int
    /// The tensors that are saved whole.
    public let saved: [String]
    /// ‖difference − B · A‖ / ‖difference‖ over all modules with factors: what the rank leaves out; 0 for equal models.
    public let residual: Double
    /// What the user should know.
    public let warnings: [String]
}

/// Writes the difference between two models as a PEFT adapter: of each matrix the best approximation of a rank, by its
/// singular values; what is no matrix of a layer (embeddings, head, norms) whole, where it differs at all, or with `embedsLoRA`
/// embedding and head by their singular values too.
///
/// - Parameters:
///   - model: the tuned model, a folder or file.
///   - base: what it was tuned from.
///   - destination: the adapter's folder.
/// - Throws: `badInput` for models with other tensors or shapes, a pattern that is no regular expression, a bias that
///   differs; `usage` if the destination exists; `interrupted`. Nothing is left behind.
public func extractLoRA(
    model: String, base: String, destination: String, options: ExtractionOptions,
    isInterrupted: @escaping @Sendable () -> Bool = { false },
    progress: @escaping @Sendable (Int, Int) -> Void = { _, _ in }
) throws -> ExtractionReport {
    try AtomicFolder.checkDestination(destination, overwrite: options.overwrite)
    let plan = try ExtractionPlan(model: model, base: base, options: options)
    let found = Mutex([Int: (factors: [AdapterFile.Factors], whole: Double, left: Double)]())
    let count = plan.matrices.count
    try forEachInParallel(count: count, threads: options.threads) { index in
        if isInterrupted() { throw MeraserError(.interrupted, "interrupted; nothing was written") }
        let result = try plan.factors(plan.matrices[index], options)
        let done = found.withLock {
            $0[index] = result
            return $0.count
        }
        progress(done, count)
    }
    let results = found.withLock { found in (0..<count).compactMap { found[$0] } }
    let factors = results.flatMap(\.factors)
    guard let rank = factors.map(\.rank).max() else {
        throw MeraserError.badInput("\(model): no module is left that differs from \(base): nothing to extract")
    }
    let config = PEFTConfig(
        factors: factors, rank: rank, modulesToSave: plan.savedModules, baseModelName: base)
    let folder = try AtomicFolder(path: destination, overwrite: options.overwrite)
    try AdapterFile.write(
        folder: folder.temporaryPath, config: config, factors: factors,
        saved: try plan.saved.map { try plan.wholeTensor($0) },
        provenance: AdapterProvenance(baseSHA256: try plan.base.sha256()))
    try folder.commit()
    let (whole, left) = results.reduce((0.0, 0.0)) { ($0.0 + $1.whole, $0.1 + $1.left) }
    return ExtractionReport(
        moduleCount: factors.count, rank: rank, saved: plan.saved,
        residual: whole > 0 ? (left / whole).squareRoot() : 0,
        warnings: plan.warnings)
}
