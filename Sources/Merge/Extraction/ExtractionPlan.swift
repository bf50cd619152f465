import Base
import CKernels
import Foundation
import Quant
import Synchronization

/// What becomes of each tensor of a tuned model: factors of its difference from the base, the whole tensor, or nothing.
struct ExtractionPlan: Sendable {
    let model: any StoredSource
    let base: any StoredSource
    /// Matrices that get factors.
    private(set) var matrices: [String] = []
    /// Tensors that are saved whole.
    private(set) var saved: [String] = []
    let warnings: [String]
    private let tied: ModelTensors.Head?
    private let embedding: String?

    /// Opens both and compares what they have. Errors (`badInput`) name model and tensor.
    init(model path: String, base basePath: String, options: ExtractionOptions) throws {
        (model, base) = (try openTensorSource(path: path), try openTensorSource(path: basePath))
        let own = try ModelTensors(of: model)
        let baseTensors = try ModelTensors(of: base)
        // A tied head of both is what the embedding is: PEFT wants it beside that.
        tied = own.tiedHead == baseTensors.tiedHead ? own.tiedHead : nil
        embedding = own.head?.embedding
        warnings = model.warnings + base.warnings + own.warnings(path: path)
        let filter = try ModuleFilter(includes: options.includes, excludes: options.excludes)
        let names = Set(own.names)
        guard names == Set(baseTensors.names), own.tiedHead == baseTensors.tiedHead else {
            let other = names.symmetricDifference(baseTensors.names).sorted().first
            throw MeraserError.badInput(
                "\(path) and \(basePath) have different tensors"
                    + (other.map { ": \(quoted($0)) is in one of them" } ?? ""))
        }
        var used: Set<String> = []
        for name in own.names {
            let (entry, baseEntry) = (try model.tensorEntry(name), try base.tensorEntry(name))
            guard entry.shape == baseEntry.shape else {
                throw MeraserError.badInput(
                    "\(path): tensor \(quoted(name)) has shape \(entry.shape), in \(basePath) it is \(baseEntry.shape)")
            }
            let module = Self.module(name)
            let wanted = options.saveModules.filter { module == $0 || module.hasSuffix(".\($0)") }
            used.formUnion(wanted)
            let isEnd = name == own.head?.embedding || name == own.head?.name
            let isMatrix =
                entry.shape.count == 2 && name.hasSuffix(".weight")
                && (isEnd ? options.embedsLoRA : TensorName(name).layer != nil)
            let isChosen = !wanted.isEmpty || filter.takes(module)
            guard isChosen, try differs(name) else { continue }
            if wanted.isEmpty, isMatrix {
                matrices.append(name)
            } else if wanted.isEmpty, !options.ignoresBiases, name.hasSuffix(".bias"),
                names.contains(module + ".weight"), try model.tensorEntry(module + ".weight").shape.count == 2
            {
                throw MeraserError.badInput(
                    "\(path): \(quoted(name)) differs from the base's, and an adapter of factors has no bias: save the "
                        + "module whole, or leave it out")
            } else if !wanted.isEmpty || entry.shape.count == 2 || !options.skipsUndecomposable {
                saved.append(name)
            }
        }
        if let unused = options.saveModules.first(where: { !used.contains($0) }) {
            throw MeraserError.badInput("\(path): there is no module \(quoted(unused)) to save whole")
        }
        if let tied, saved.contains(tied.embedding) { saved.append(tied.name) }
    }

    /// Ends of the paths of the modules that are saved whole.
    var savedModules: [String] {
        var seen: Set<String> = []
        return saved.map { Self.module($0).split(separator: ".").last.map(String.init) ?? $0 }
            .filter { seen.insert($0).inserted }
    }

    private static func module(_ name: String) -> String {
        name.split(separator: ".").dropLast().joined(separator: ".")
    }

    /// A tensor of the tuned model under PEFT's name.
    func wholeTensor(_ name: String) throws -> (name: String, shape: [Int], values: [Float]) {
        let stored = name == tied?.name ? tied?.embedding ?? name : name
        return ("base_model.model.\(name)", try model.tensorEntry(stored).shape, try values(stored, of: model))
    }

    private func values(_ name: String, of source: any StoredSource) throws -> [Float] {
        let entry = try source.tensorEntry(name)
        guard let reader = try ElementReader(name, in: source) else { return [] }
        var (result, raw) = ([Float](repeating: 0, count: entry.elementCount), [UInt8]())
        try result.withUnsafeMutableBufferPointer {
            try reader.read(0..<entry.elementCount, into: $0, raw: &raw)
        }
        return result
    }

    private func differs(_ name: String) throws -> Bool { try values(name, of: model) != values(name, of: base) }

    /// The largest singular values of each matrix's difference, at most `count`.
    func spectra(
        _ count: Int, _ threads: Int, _ isInterrupted: @escaping @Sendable () -> Bool
    ) throws -> [ChangeSpectrum] {
        let found = Mutex([Int: ChangeSpectrum]())
        try forEachInParallel(count: matrices.count, threads: threads) { index in
            if isInterrupted() { throw MeraserError(.interrupted, "interrupted") }
            let name = matrices[index]
            let entry = try model.tensorEntry(name)
            let difference = try self.difference(name)
            let svd = try TruncatedSVD(difference, rows: entry.rows, columns: entry.columns, rank: count)
            let energy = mk_merge_dot(difference, difference, Int64(difference.count))
            let spectrum = ChangeSpectrum(module: Self.module(name), values: svd.values, energy: energy)
            found.withLock { $0[index] = spectrum }
        }
        return found.withLock { found in matrices.indices.compactMap { found[$0] } }
    }

    private func difference(_ name: String) throws -> [Float] {
        var difference = try values(name, of: model)
        let start = try values(name, of: base)
        mk_merge_subtract(Int32(TensorType.f32.rawValue), start, &difference, Int64(difference.count))
        return difference
    }

    /// The factors of a matrix's difference; none where no singular value is large enough. Those of an embedding that is the
    /// head too are there once for each. With them ‖difference‖² and what of that is left out.
    func factors(
        _ name: String, _ options: ExtractionOptions
    ) throws -> (factors: [AdapterFile.Factors], whole: Double, left: Double) {
        let entry = try model.tensorEntry(name)
        let difference = try difference(name)
        let whole = mk_merge_dot(difference, difference, Int64(difference.count))
        let svd = try TruncatedSVD(difference, rows: entry.rows, columns: entry.columns, rank: options.maxRank)
        let count = svd.values.count { options.svEpsilon == 0 || $0 > options.svEpsilon }
        let left = max(0, whole - svd.values[..<count].reduce(0) { $0 + $1 * $1 })
        guard count > 0 else { return ([], whole, left) }
        let values = svd.values[..<count]
        /// A = √S · Vᵀ and B = U · √S; of an embedding's transpose the vectors are in each other's place.
        func made(_ name: String, isEmbedding: Bool) -> AdapterFile.Factors {
            let (outer, inner) = isEmbedding ? (entry.columns, entry.rows) : (entry.rows, entry.columns)
            let (left, right) = isEmbedding ? (svd.right, svd.left) : (svd.left, svd.right)
            var (a, b) = ([Float](repeating: 0, count: count * inner), [Float](repeating: 0, count: outer * count))
            for (k, value) in values.enumerated() {
                let (scaleA, scaleB) =
                    options.distributesScale ? (value.squareRoot(), value.squareRoot()) : (value, 1)
                for c in 0..<inner { a[k * inner + c] = Float(scaleA * right[k * inner + c]) }
                for r in 0..<outer { b[r * count + k] = Float(scaleB * left[k * outer + r]) }
            }
            return AdapterFile.Factors(path: Self.module(name), a: a, b: b, rank: count, isEmbedding: isEmbedding)
        }
        guard name == embedding else { return ([made(name, isEmbedding: false)], whole, left) }
        let head = tied.map { [made($0.name, isEmbedding: false)] } ?? []
        return ([made(name, isEmbedding: true)] + head, whole, left)
    }
}

/// Which modules are taken.
private struct ModuleFilter {
    private let includes: [NSRegularExpression]
    private let excludes: [NSRegularExpression]

    init(includes: [String], excludes: [String]) throws {
        func expressions(_ patterns: [String]) throws -> [NSRegularExpression] {
            try patterns.map { pattern in
                guard let expression = try? NSRegularExpression(pattern: pattern) else {
                    throw MeraserError.usage("\(quoted(pattern)) is no regular expression")
                }
                return expression
            }
        }
        (self.includes, self.excludes) = (try expressions(includes), try expressions(excludes))
    }

    func takes(_ module: String) -> Bool {
        func matches(_ expression: NSRegularExpression) -> Bool {
            expression.firstMatch(in: module, range: NSRange(module.startIndex..., in: module)) != nil
        }
        return (includes.isEmpty || includes.contains(where: matches)) && !excludes.contains(where: matches)
    }
}
