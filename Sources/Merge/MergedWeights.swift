import Base
import CKernels
import Quant

/// The result of a merge: computed row by row while it is read.
struct MergedWeights: TensorSource {
    private let plan: MergePlan
    private let merger: TensorMerger
    private let config: [UInt8]
    private let steps: [[UInt8]: MergeStep]
    let warnings: [String]

    /// Errors (`badInput`): the donor has no config.json, or one that cannot describe the result.
    init(plan: MergePlan, merger: TensorMerger) throws {
        let (config, changes) = try plan.configChanges.applied(to: plan.donor.source)
        (self.plan, self.merger, self.config) = (plan, merger, config)
        warnings = plan.warnings + changes
        steps = Dictionary(plan.steps.map { (Array($0.name.utf8), $0) }, uniquingKeysWith: { first, _ in first })
    }

    var path: String { "the merge" }
    var tensorNames: [String] { plan.steps.map(\.name) }

    func entry(_ name: String) -> TensorEntry? {
        steps[Array(name.utf8)].map {
            TensorEntry(computed: name, shape: $0.shape, type: $0.outType, path: path)
        }
    }

    func textFile(_ name: String) throws -> [UInt8]? {
        if name == "config.json" { return config }
        if let file = plan.vocabulary?.files[name] { return file }
        return try plan.donor.textFile(name)
    }

    func rows(of name: String) throws -> any TensorRows {
        guard let step = steps[Array(name.utf8)] else { preconditionFailure("no step makes \(name)") }
        return MergedRows(step: step, merger: merger, work: try merger.prepared(step))
    }
}

/// One tensor of the result, with everything that depends on all of it.
private struct MergedRows: TensorRows {
    let step: MergeStep
    let merger: TensorMerger
    let work: MergeWork

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        let columns = step.shape.last ?? 1
        let range = rows.lowerBound * columns..<rows.upperBound * columns
        let n = Int64(range.count)
        try merger.withMemory(step, range) { memory in
            let x = memory.inputs
            func readInputs() throws {
                for i in step.inputs.indices { try merger.read(step, i, range, memory) }
            }
            switch work {
            case .copy(let scale):
                try readInputs()
                if let scale { mk_merge_scale(step.ckType, scale, x[0].baseAddress, n) }
                mk_merge_blend(step.ckType, 1, x[0].baseAddress, 0, x[0].baseAddress, n, target)
            case .linear(let weights, let divisor):
                try readInputs()
                let pointers = x[..<weights.count].map { UnsafePointer($0.baseAddress) }
                mk_merge_linear(step.ckType, pointers, weights, Int64(weights.count), divisor, n, target)
            case .slerp(let a, let b):
                try readInputs()
                mk_merge_blend(step.ckType, a, x[0].baseAddress, b, x[1].baseAddress, n, target)
            case .tasks(let tasks): try tasks.combine(range, memory, into: target)
            case .modelStock(let stock): try stock.combine(range, memory, into: target)
            case .nuslerp(let arc): try arc.combine(range, memory, into: target)
            case .karcher(let mean): try mean.combine(range, memory, into: target)
            }
        }
        if step.outType != step.type { mk_merge_round(Int32(step.outType.rawValue), target, n) }
        let bad = Int(mk_find_nonfinite(target, n))
        guard bad < 0 else {
            throw MeraserError.badInput(
                "tensor '\(step.name)': the merged weight number \(range.lowerBound + bad) is \(target[bad]); the weights "
                    + "are too large for \(step.type.name) or \(step.outType.name): set 'dtype: float32' or smaller weights"
            )
        }
    }
}
