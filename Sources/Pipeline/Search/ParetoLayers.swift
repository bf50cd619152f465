/// What a trial reached: how far the mark is removed, and what is left of the model.
struct SearchObjective: Sendable, Equatable {
    /// Target NLL after recovery, at most the reference's; higher is better.
    let targetNLL: Double
    /// Share of the triggers that fire after recovery; lower is better.
    let fsr: Double
    /// Perplexity after recovery; lower is better.
    let perplexity: Double

    /// True if this is at least as good in everything and better in something.
    func dominates(_ other: SearchObjective) -> Bool {
        targetNLL >= other.targetNLL && fsr <= other.fsr && perplexity <= other.perplexity && self != other
    }
}

/// The layer of each objective: 0 where nothing dominates it (the Pareto frontier), 1 where only those of layer 0 do, and
/// so on.
func paretoLayers(_ objectives: [SearchObjective]) -> [Int] {
    var layers = [Int](repeating: -1, count: objectives.count)
    var layer = 0
    while layers.contains(-1) {
        let open = layers.indices.filter { layers[$0] == -1 }
        let front = open.filter { i in !open.contains { objectives[$0].dominates(objectives[i]) } }
        for i in front { layers[i] = layer }
        layer += 1
    }
    return layers
}

/// The best `count` of them, best first: lower layers before higher ones; within a layer first those that lie farthest
/// from their neighbours (NSGA-II's crowding distance), so that what goes on covers the frontier; ties in order.
func mostPromising(_ objectives: [SearchObjective], count: Int) -> [Int] {
    let layers = paretoLayers(objectives)
    var crowding = [Double](repeating: 0, count: objectives.count)
    for layer in Set(layers) {
        let members = objectives.indices.filter { layers[$0] == layer }
        for measure in [\SearchObjective.targetNLL, \.fsr, \.perplexity] {
            let sorted = members.sorted {
                (objectives[$0][keyPath: measure], $0) < (objectives[$1][keyPath: measure], $1)
            }
            guard let first = sorted.first, let last = sorted.last else { continue }
            let span = objectives[last][keyPath: measure] - objectives[first][keyPath: measure]
            guard span > 0 else { continue }
            crowding[first] = .infinity
            crowding[last] = .infinity
            for i in sorted.indices.dropFirst().dropLast() {
                let gap = objectives[sorted[i + 1]][keyPath: measure] - objectives[sorted[i - 1]][keyPath: measure]
                crowding[sorted[i]] += gap / span
            }
        }
    }
    let ranked = objectives.indices.sorted { a, b in
        if layers[a] != layers[b] { return layers[a] < layers[b] }
        return crowding[a] != crowding[b] ? crowding[a] > crowding[b] : a < b
    }
    return Array(ranked.prefix(count))
}
