import Base
import Kernels
import Model
import Quant

/// How a conversion is calibrated.
public struct Calibration: Sendable {
    /// What shows which inputs the weights meet.
    public let text: CalibrationText
    /// Tokens of it that are read at most.
    public let tokenCount: Int

    /// - Throws: a usage error for fewer than 128 tokens.
    public init(_ text: CalibrationText, tokenCount: Int = CalibrationText.standardTokenCount) throws {
        guard (CalibrationText.leastTokenCount...(1 << 24)).contains(tokenCount) else {
            throw MeraserError.usage(
                "`calibration_tokens` \(tokenCount): expected \(CalibrationText.leastTokenCount) to \(1 << 24)")
        }
        (self.text, self.tokenCount) = (text, tokenCount)
    }
}

/// Converts as `Quant.convert`, with weights that are rounded so that their outputs stay what they were on a text
/// (`CalibratedSource`).
///
/// - Parameters:
///   - source: what `openTensorSource` opens; what is used by way of the cache goes there first.
///   - kernels: instruction set and threads; `options.threads` is not looked at.
/// - Throws: as `Quant.convert`; a usage error for classifiers and where no matrix would be rounded, a bad-input error for
///   too short a text, an out-of-memory error if the statistics do not fit.
public func convert(
    source path: String, destination: String, options: ConvertOptions, calibration: Calibration,
    kernels: KernelContext, isInterrupted: @escaping @Sendable () -> Bool = { false },
    progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> ConvertReport {
    let source = try openTensorSource(path: path)
    let store = try openWeightStore(path: path, exactly: true)
    guard (try? EncoderSpec(of: store)) == nil else {
        throw MeraserError.usage("`calibrate`: \(path) is a classifier; decoders are calibrated")
    }
    guard options.type != nil || !source.isQuantized else {
        throw MeraserError.usage(
            "`calibrate` needs a `type`: without one the matrices of \(path) keep the types that they have")
    }
    let spec = try DecoderSpec(of: store)
    var (planning, writing) = (options, options)
    planning.dryRun = true
    writing.threads = kernels.threads
    let plan = try Quant.convert(store, destination: destination, options: planning)
    let types = plan.tensors.reduce(into: [:]) { $0[$1.name] = $1.type }
    let names = CalibratedSource.names(spec)
    guard types.contains(where: { names.contains($0.key) && $0.value.isTiled }) else {
        let type = plan.tensors.first { names.contains($0.name) }?.type ?? .f32
        throw MeraserError.usage(
            "`calibrate` has no use for `type` \(type.name): nothing is rounded to blocks; expected one of "
                + TensorType.allCases.filter(\.isTiled).map(\.name).joined(separator: " "))
    }
    if options.dryRun { return plan }
    let model = try OpenedModel(
        AdaptedModel(store: store, adapterPaths: [], kernels: kernels, compute: .f32, transfer: false))
    let sequences = try calibration.text.sequences(of: model, count: calibration.tokenCount)
    let check: @Sendable () throws -> Void = {
        if isInterrupted() { throw MeraserError(.interrupted, "interrupted; \(destination) was not written") }
    }
    let tokens = sequences.reduce(0) { $0 + $1.count }
    let calibrated = try CalibratedSource(
        model.transformer, path: path, types: types, sequences: sequences,
        provenance: Provenance(
            sourceSHA256: try source.sha256(), metadata: try calibration.text.metadata(tokens: tokens)),
        check: check)
    return try Quant.convert(
        calibrated, destination: destination, options: writing, isInterrupted: isInterrupted, progress: progress)
}
