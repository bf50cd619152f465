import Base
import Kernels
import Model
import Quant

/// How a conversion is calibrated.
public struct CalibratedConversion: Sendable {
    /// What shows which inputs the weights meet.
    public let text: CalibrationText
    /// Tokens of it that are read at most.
    public let tokenCount: Int
    /// Bits a weight that all tensors may have together, each in the type that costs the model least; nil: the types are those
    /// of the conversion's options.
    public let bits: Double?

    /// - Throws: a usage error for fewer than 128 tokens.
    public init(
        _ text: CalibrationText, tokenCount: Int = CalibrationText.standardTokenCount, bits: Double? = nil
    ) throws {
        guard (CalibrationText.leastTokenCount...(1 << 24)).contains(tokenCount) else {
            throw MeraserError.usage(
                "`calibration_tokens` \(tokenCount): expected \(CalibrationText.leastTokenCount) to \(1 << 24)")
        }
        (self.text, self.tokenCount, self.bits) = (text, tokenCount, bits)
    }
}

/// What a calibrated conversion did.
public struct CalibratedReport: Sendable {
    /// What was written.
    public let conversion: ConvertReport
    /// The types that were chosen, where bits were given.
    public let mix: TypeMix?
}

/// Converts as `Quant.convert`, with weights that are rounded so that their outputs stay what they were on a text
/// (`CalibratedSource`).
///
/// - Parameters:
///   - source: what `openTensorSource` opens; what is used by way of the cache goes there first.
///   - kernels: instruction set and threads; `options.threads` is not looked at.
/// - Throws: as `Quant.convert`; a usage error for classifiers, where no matrix would be rounded, and for bits that no mix
///   has; a bad-input error for too short a text, an out-of-memory error if the statistics do not fit.
public func convert(
    source path: String, destination: String, options: ConvertOptions, calibration: CalibratedConversion,
    kernels: KernelContext, isInterrupted: @escaping @Sendable () -> Bool = { false },
    progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> CalibratedReport {
    let source = try openTensorSource(path: path)
    let store = try openWeightStore(path: path, exactly: true)
    guard (try? EncoderSpec(of: store)) == nil else {
        throw MeraserError.usage("`calibrate`: \(path) is a classifier; decoders are calibrated")
    }
    guard options.type != nil || calibration.bits != nil || !source.isQuantized else {
        throw MeraserError.usage(
            "`calibrate` needs a `type`: without one the matrices of \(path) keep the types that they have")
    }
    let spec = try DecoderSpec(of: store)
    let check: @Sendable () throws -> Void = {
        if isInterrupted() { throw MeraserError(.interrupted, "interrupted; \(destination) was not written") }
    }
    func plan(_ options: ConvertOptions) throws -> ConvertReport {
        var planning = options
        planning.dryRun = true
        return try Quant.convert(store, destination: destination, options: planning)
    }
    var writing = options
    writing.threads = kernels.threads
    // Where bits are given, the type says which tensors could have blocks.
    if calibration.bits != nil { writing.type = .iq4_nl }
    let first = try plan(writing)
    let names = CalibratedSource.names(spec)
    guard first.tensors.contains(where: { names.contains($0.name) && $0.type.isTiled }) else {
        let type = first.tensors.first { names.contains($0.name) }?.type ?? .f32
        throw MeraserError.usage(
            "`calibrate` has no use for `type` \(type.name): nothing is rounded to blocks; expected one of "
                + TensorType.allCases.filter(\.isTiled).map(\.name).joined(separator: " "))
    }
    if options.dryRun, calibration.bits == nil { return CalibratedReport(conversion: first, mix: nil) }
    let model = try OpenedModel(
        AdaptedModel(store: store, adapterPaths: [], kernels: kernels, compute: .f32, transfer: false))
    let sequences = try calibration.text.sequences(of: model, count: calibration.tokenCount)
    let tokens = sequences.reduce(0) { $0 + $1.count }
    try CalibratedSource.requireMemory(spec, tokens: tokens)
    try CalibratedSource.requireFinite(model.transformer, check)
    let mix = try calibration.bits.map { bits in
        var fixed = Set<String>()
        if options.embedType != nil || spec.head.isTied && options.headType != nil {
            fixed.insert(spec.embedding.weight)
        }
        if options.headType != nil || options.embedType != nil { fixed.insert(spec.head.linear.weight) }
        return try MixMeasurement(model: model.transformer, sequences: sequences, check: check).mix(
            bits: bits, plan: first.tensors, fixed: fixed)
    }
    writing.assigned = mix?.types ?? [:]
    let planned = try plan(writing)
    if options.dryRun { return CalibratedReport(conversion: planned, mix: mix) }
    let calibrated = CalibratedSource(
        model.transformer, path: path, types: planned.tensors.reduce(into: [:]) { $0[$1.name] = $1.type },
        sequences: sequences,
        provenance: Provenance(
            sourceSHA256: try source.sha256(), metadata: try calibration.text.metadata(tokens: tokens)),
        check: check)
    return CalibratedReport(
        conversion: try Quant.convert(
            calibrated, destination: destination, options: writing, isInterrupted: isInterrupted, progress: progress),
        mix: mix)
}
