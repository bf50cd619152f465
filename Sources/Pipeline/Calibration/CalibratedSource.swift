import Base
import Kernels
import Model
import Quant
import Synchronization
import Tune

/// A model's weights as tiles that are rounded so that their outputs stay what they were on calibration texts: layer by
/// layer in the order of the forward pass, each on what the layers before it make of the texts once they are rounded. Only
/// one layer's statistics and tiles are in memory. A tied head's matrix, the embedding and vectors are the model's own.
///
/// The same texts, weights, types and instruction set give the same tiles, whatever the number of threads. Thread-safe (the
/// lock holds what changes), but tensors must be asked for in the order of `DecoderSpec.tensors`, as a conversion does.
final class CalibratedSource: TensorSource, @unchecked Sendable {
    /// A matrix to round.
    private enum Place: Hashable {
        case module(ModuleKey)
        case head
    }

    /// What is added to the diagonal of the inputs' moments, in parts of its mean. Other texts have other inputs: less than
    /// this is better on the calibration's own text only (docs/reference/quantization.md).
    static let damping = 0.1

    let path: String
    let provenance: Provenance
    private let model: Transformer
    private let types: [String: TensorType]
    private let places: [String: Place]
    private let check: @Sendable () throws -> Void
    private let lock = Mutex<Void>(())
    private let stream: CalibrationStream
    private var nextLayer = 0
    private var tiles: [String: TiledMatrix] = [:]

    var tensorNames: [String] { model.store.tensorNames }
    var warnings: [String] { model.store.warnings }
    var isQuantized: Bool { model.store.isQuantized }

    /// - Parameters:
    ///   - path: what the model was opened from.
    ///   - types: those that the conversion plans, by name.
    ///   - sequences: the texts; none is empty.
    ///   - check: called between steps; what it throws ends the conversion.
    ///
    /// The statistics fit into memory (`requireMemory`) and all weights are finite (`requireFinite`).
    init(
        _ model: Transformer, path: String, types: [String: TensorType], sequences: [[Int32]], provenance: Provenance,
        check: @escaping @Sendable () throws -> Void
    ) {
        (self.model, self.path, self.types, self.provenance, self.check) = (model, path, types, provenance, check)
        places = Self.places(model.spec).filter { types[$0.key]?.isTiled == true }
        stream = CalibrationStream(model, sequences: sequences)
    }

    /// Names of the matrices that are rounded where their types have tiles.
    static func names(_ spec: DecoderSpec) -> Set<String> { Set(places(spec).keys) }

    private static func places(_ spec: DecoderSpec) -> [String: Place] {
        var places: [String: Place] = [:]
        for module in spec.modules { places[spec[module].weight] = .module(module) }
        if !spec.head.isTied { places[spec.head.linear.weight] = .head }
        return places
    }

    func textFile(_ name: String) throws -> [UInt8]? { try model.store.textFile(name) }

    func entry(_ name: String) throws -> TensorEntry? {
        guard let entry = try model.store.entry(name), places[name] != nil, let type = types[name] else {
            return try model.store.entry(name)
        }
        return TensorEntry(
            name: name, shape: entry.shape, exactType: type, byteCount: entry.byteCount, path: entry.path,
            offset: entry.offset)
    }

    func rows(of name: String) throws -> any TensorRows {
        try lock.withLock { _ in
            guard let place = places[name] else { return try model.store.rows(of: name) }
            switch place {
            case .module(let module):
                while nextLayer <= module.layer { try roundLayer() }
            case .head:
                while nextLayer < model.spec.numHiddenLayers { try roundLayer() }
                if tiles[name] == nil { try roundHead(name) }
            }
            guard let matrix = tiles[name] else { preconditionFailure("\(name) was asked for too late") }
            return TileRows(matrix: matrix)
        }
    }

    private func roundLayer() throws {
        let (layer, kernels) = (nextLayer, model.kernels)
        tiles = [:]
        var moments: [(projections: [Projection], sums: InputMoments)] = []
        try stream.run(layer, of: model, advances: false, check: check) { projections, x in
            guard projections.contains(where: { self.places[self.name(layer, $0)] != nil }) else { return }
            let sums: InputMoments
            if let known = moments.first(where: { $0.projections == projections }) {
                sums = known.sums
            } else {
                sums = InputMoments(columns: x.columns)
                moments.append((projections, sums))
            }
            sums.add(x, kernels)
        }
        var rounded: [Projection: Weight] = [:]
        while let (projections, sums) = moments.popLast() {
            try check()
            let factor = sums.factored(damping: Self.damping, kernels)
            for projection in projections {
                let name = name(layer, projection)
                guard places[name] != nil else { continue }
                let matrix = try round(name, factor)
                tiles[name] = matrix
                rounded[projection] = Weight(matrix)
            }
        }
        try stream.run(layer, of: model.replacing(rounded, layer: layer), advances: true, check: check)
        nextLayer += 1
    }

    private func roundHead(_ name: String) throws {
        let moments = InputMoments(columns: model.spec.hiddenSize)
        try stream.forEachHeadInput(model) {
            try check()
            moments.add($0, model.kernels)
        }
        tiles = [name: try round(name, moments.factored(damping: Self.damping, model.kernels))]
    }

    private func name(_ layer: Int, _ projection: Projection) -> String {
        model.spec[ModuleKey(layer: layer, projection: projection)].weight
    }

    private func round(_ name: String, _ factor: FeedbackFactor) throws -> TiledMatrix {
        guard let type = types[name] else { preconditionFailure("no type for \(name)") }
        let (matrix, errors) = try factor.quantize(model.store, name, type, model.kernels, check: check)
        if let row = errors.firstIndex(where: { !$0.isFinite }) {
            throw MeraserError.badInput(
                "\(path): tensor '\(name)' has weights too large for \(type.name) near row \(row); choose f32 or bf16")
        }
        return matrix
    }

    /// Throws an out-of-memory error if calibrating with so many tokens does not fit.
    static func requireMemory(_ spec: DecoderSpec, tokens: Int) throws {
        let layer = spec.layers[0]
        let inputs = [spec.hiddenSize, spec.hiddenSize, layer.attention.output.columns, layer.mlp.width]
        let matrices = Projection.allCases.compactMap { layer[$0] }.reduce(0) { $0 + $1.rows * $1.columns }
        // Tiles have at most 8.5 bits a weight; 64 MiB for buffers.
        let need =
            inputs.reduce(0) { $0 + InputMoments.byteCount(columns: $1) }
            + CalibrationStream.byteCount(spec, tokens: tokens)
            + matrices * 17 / 16 + 64 << 20
        let limit = ProcessMemory.limitBytes
        guard need <= limit else {
            throw MeraserError(
                .outOfMemory,
                "calibrating with \(tokens) tokens needs \(byteText(need)) and may take \(byteText(limit)); lower "
                    + "`calibration_tokens`, or convert without `calibrate`")
        }
    }

    /// Throws a bad-input error that names a weight which is not finite: the forward pass would name a layer's output.
    static func requireFinite(_ model: Transformer, _ check: @Sendable () throws -> Void) throws {
        for tensor in model.spec.tensors {
            try check()
            try model.store.requireFinite(tensor.name, threads: model.kernels.threads)
        }
    }
}

extension FeedbackFactor {
    /// A stored matrix in that type.
    func quantize(
        _ store: any WeightStore, _ name: String, _ type: TensorType, _ kernels: KernelContext,
        check: () throws -> Void
    ) throws -> (matrix: TiledMatrix, errors: [Float]) {
        let rows = try store.rows(of: name)
        var raw: [UInt8] = []
        return try quantize(type, rows: try store.tensorEntry(name).rows, kernels) { range, floats in
            try check()
            try rows.read(rows: range, into: floats, raw: &raw)
        }
    }
}

/// Tiles in memory.
private struct TileRows: TensorRows {
    let matrix: TiledMatrix

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        preconditionFailure("tiles are written as they are")
    }

    func readTiles(rows: Range<Int>, into target: UnsafeMutableRawBufferPointer, raw: inout [UInt8]) throws {
        matrix.copyTiles(rows: rows, into: target)
    }
}
