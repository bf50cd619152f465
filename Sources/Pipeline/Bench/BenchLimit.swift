import Base
import Kernels
import Model
import Quant

/// How fast a test could run at most: the products with the weights at the peak of their precision, and every weight
/// read once for each forward pass, whichever takes longer. Attention, norms and everything else count as free.
struct BenchLimit {
    /// What the limit is: `int8 peak`, `read bandwidth`, ….
    let name: String
    /// Seconds that the test takes at the limit; nil if a peak is unknown.
    let seconds: Double?

    init(_ test: BenchTest, work: ModelWork, compute: Compute, backward: Compute, peak: MachinePeak) {
        switch test {
        case .prompt(let tokens):
            self.init(work.forward(tokens: tokens, headRows: 1, compute, peak), times: 1, compute)
        case .generation(let tokens):
            self.init(work.forward(tokens: 1, headRows: 1, compute, peak), times: tokens, compute)
        case .batch(let sequences, let tokens):
            self.init(work.forward(tokens: sequences, headRows: sequences, compute, peak), times: tokens, compute)
        case .training(let tokens):
            let forward = work.forward(tokens: tokens, headRows: tokens - 1, compute, peak)
            let back = work.backward(tokens: tokens, headRows: tokens - 1, backward, peak)
            let both = ModelWork.Cost(
                arithmetic: forward.arithmetic.flatMap { a in back.map { a + $0 } }, reading: 2 * forward.reading)
            self.init(both, times: 1, compute, compute == backward ? nil : backward)
        }
    }

    private init(_ cost: ModelWork.Cost, times: Int, _ compute: Compute, _ other: Compute? = nil) {
        let isReading = cost.reading > (cost.arithmetic ?? .infinity)
        let precisions = ([compute] + (other.map { [$0] } ?? [])).map(\.rawValue).joined(separator: " + ")
        name = isReading ? "read bandwidth" : "\(precisions) peak"
        seconds = cost.arithmetic.map { Double(times) * max($0, cost.reading) }
    }
}

/// What a forward pass does with the weights.
struct ModelWork {
    private struct Matrix {
        let elements: Double
        let bytes: Double
        let isTiled: Bool
    }

    /// Seconds of one pass.
    struct Cost {
        let arithmetic: Double?
        let reading: Double
    }

    private var layers: [Matrix] = []
    private var head: [Matrix] = []
    /// What the gradient does not pass through: the inputs of the lowest adapted layer.
    private var lowest: [Matrix] = []
    /// Weights of the model, embedding included.
    private(set) var parameters = 0
    /// Bytes of its tensors.
    private(set) var bytes = 0
    /// The type that most weights of the layers have.
    private(set) var type = ""

    init(_ store: any WeightStore, spec: DecoderSpec) throws {
        var elements: [String: Int] = [:]
        let headName = spec.head.isTied ? spec.embedding.weight : spec.head.linear.weight
        let matrices = Set(spec.modules.map { spec[$0].weight })
        let inputs = spec.modules(of: [.q_proj, .k_proj, .v_proj]).filter { $0.layer == 0 }.map { spec[$0].weight }
        // The model's own: older checkpoints hold buffers beside them.
        for name in spec.tensors.map(\.name) {
            let info = try store.tensor(name).info
            parameters += info.elementCount
            bytes += info.byteCount
            guard info.shape.count == 2 else { continue }
            let matrix = Matrix(
                elements: Double(info.elementCount), bytes: Double(info.byteCount), isTiled: info.type.isTiled)
            if name == headName {
                head.append(matrix)
            } else if matrices.contains(name) {
                layers.append(matrix)
                elements[info.type.name, default: 0] += info.elementCount
                if inputs.contains(name) { lowest.append(matrix) }
            }
        }
        type = elements.max { ($0.value, $1.key) < ($1.value, $0.key) }?.key ?? "none"
    }

    func forward(tokens: Int, headRows: Int, _ compute: Compute, _ peak: MachinePeak) -> Cost {
        let body = Self.seconds(layers, rows: tokens, compute, peak)
        let top = Self.seconds(head, rows: headRows, compute, peak)
        let read = (layers + head).reduce(0) { $0 + $1.bytes } / peak.readBytes
        return Cost(arithmetic: body.flatMap { b in top.map { b + $0 } }, reading: read)
    }

    func backward(tokens: Int, headRows: Int, _ compute: Compute, _ peak: MachinePeak) -> Double? {
        guard let body = Self.seconds(layers, rows: tokens, compute, peak),
            let skipped = Self.seconds(lowest, rows: tokens, compute, peak),
            let top = Self.seconds(head, rows: headRows, compute, peak)
        else { return nil }
        return body - skipped + top
    }

    /// Plain types are computed in f32 whatever was asked for.
    private static func seconds(_ matrices: [Matrix], rows: Int, _ compute: Compute, _ peak: MachinePeak) -> Double? {
        var sum = 0.0
        for matrix in matrices {
            guard let rate = peak.operations(matrix.isTiled ? compute : .f32) else { return nil }
            sum += 2 * matrix.elements * Double(rows) / rate
        }
        return sum
    }
}
