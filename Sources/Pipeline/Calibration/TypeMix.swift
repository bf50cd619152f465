import Quant

/// What one type makes of a tensor.
struct MixOption: Equatable {
    let type: TensorType
    /// Bytes of the tensor.
    let byteCount: Int
    /// What it costs the model: the KL of its predictions, in nats.
    let loss: Double
}

/// The types of a model's tensors that cost it least for their bytes.
public struct TypeMix: Sendable, Equatable {
    /// The type of each tensor that was weighed, by name.
    public let types: [String: TensorType]
    /// Bits a weight of all tensors, the others too.
    public let bits: Double
    /// The KL that it is expected to cost, as far as the tensors' shares add up.
    public let expectedLoss: Double
}

/// Chooses one option for each tensor so that all together have at most `budget` bytes and cost little: from the smallest
/// ones on, the step up that saves most for its bytes comes first, along the lower convex hull of each tensor's options. Among
/// equals the earlier tensor comes first. Nil if not even the smallest fit.
func choices(_ tensors: [[MixOption]], budget: Int) -> [MixOption]? {
    struct Step {
        let tensor: Int
        let option: MixOption
        let bytes: Int
        let gain: Double
    }
    var chosen: [MixOption] = []
    var steps: [Step] = []
    for (index, options) in tensors.enumerated() {
        let sorted = options.sorted { ($0.byteCount, $0.loss) < ($1.byteCount, $1.loss) }
        guard var last = sorted.first else { preconditionFailure("tensor \(index) without options") }
        chosen.append(last)
        var rest = sorted.dropFirst()
        // The steepest way down from here, then from where it leads.
        while let next = rest.filter({ $0.byteCount > last.byteCount && $0.loss < last.loss }).max(by: {
            (last.loss - $0.loss) / Double($0.byteCount - last.byteCount)
                < (last.loss - $1.loss) / Double($1.byteCount - last.byteCount)
        }) {
            let bytes = next.byteCount - last.byteCount
            steps.append(Step(tensor: index, option: next, bytes: bytes, gain: (last.loss - next.loss) / Double(bytes)))
            rest = rest.filter { $0.byteCount > next.byteCount }[...]
            last = next
        }
    }
    var left = budget - chosen.reduce(0) { $0 + $1.byteCount }
    if left < 0 { return nil }
    var isClosed = Set<Int>()
    for step in steps.enumerated().sorted(by: { ($1.element.gain, $0.offset) < ($0.element.gain, $1.offset) }).map(
        \.element)
    {
        // A step that does not fit ends its tensor's way: the later ones begin where it leads.
        guard !isClosed.contains(step.tensor), step.bytes <= left else {
            isClosed.insert(step.tensor)
            continue
        }
        chosen[step.tensor] = step.option
        left -= step.bytes
    }
    return chosen
}
