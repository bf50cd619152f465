import Base

/// What to prune.
public struct PruneOptions: Sendable {
    /// Where the lowest scores are looked for.
    public enum Scope: String, Sendable, CaseIterable {
        /// In each layer the same share.
        case layer
        /// Over all layers, by the share of a layer's whole score.
        case global
    }

    /// What goes: 0 to below 1 of the groups and of the channels.
    public var ratio = 0.25
    /// Where the lowest scores are looked for.
    public var scope = Scope.layer
    /// The layers that are pruned; nil: all.
    public var layers: ClosedRange<Int>?
    /// Prune attention heads.
    public var attention = true
    /// Prune channels of the MLP.
    public var mlp = true

    /// A quarter of every layer.
    public init() {}
}

/// Which groups of heads and which channels stay in each layer.
public struct PrunePlan: Sendable, Equatable {
    /// One layer's part.
    public struct Layer: Sendable, Equatable {
        /// Groups of query heads that stay, ascending.
        public let groups: [Int]
        /// Channels that stay, ascending.
        public let channels: [Int]

        /// A layer that keeps those.
        public init(groups: [Int], channels: [Int]) {
            self.groups = groups
            self.channels = channels
        }
    }

    /// All layers.
    public let layers: [Layer]

    /// True if all layers keep equally many: the tensors get smaller, and config.json can say so. Otherwise what goes is set
    /// to zero, which computes the same.
    public var isUniform: Bool {
        Set(layers.map(\.groups.count)).count <= 1 && Set(layers.map(\.channels.count)).count <= 1
    }

    /// Picks what stays: of `count` parts `ratio` go, rounded to the nearest, but one stays; where the MLP's width is a
    /// multiple of 32 in a uniform plan, it stays one, so that it can be quantized.
    ///
    /// Errors (`usage`): a ratio or layers out of range.
    public init(scores: [PruneScores], options: PruneOptions) throws {
        guard (0..<1).contains(options.ratio) else {
            throw MeraserError.usage("the ratio is \(options.ratio), expected 0 to below 1")
        }
        let range = options.layers ?? 0...max(0, scores.count - 1)
        guard range.lowerBound >= 0, range.upperBound < scores.count else {
            throw MeraserError.usage(
                "layers \(range.lowerBound)-\(range.upperBound) are not in a model of \(scores.count) layers")
        }
        let isUniform = options.scope == .layer && range.count == scores.count
        let groups = Self.kept(
            scores.map(\.groups), range, options, multiple: 1, ratio: options.attention ? options.ratio : 0)
        let channels = Self.kept(
            scores.map(\.channels), range, options, multiple: isUniform ? 32 : 1, ratio: options.mlp ? options.ratio : 0
        )
        layers = zip(groups, channels).map { Layer(groups: $0, channels: $1) }
    }

    private static func kept(
        _ scores: [[Double]], _ range: ClosedRange<Int>, _ options: PruneOptions, multiple: Int, ratio: Double
    ) -> [[Int]] {
        var result = scores.map { Array($0.indices) }
        switch options.scope {
        case .layer:
            for layer in range {
                let count = scores[layer].count
                var stays = count - Int((ratio * Double(count)).rounded())
                if count % multiple == 0, stays > multiple {
                    stays = Int((Double(stays) / Double(multiple)).rounded()) * multiple
                }
                // The highest scores stay, of equal ones the first.
                let order = scores[layer].indices.sorted { (scores[layer][$0], $1) > (scores[layer][$1], $0) }
                result[layer] = order.prefix(max(1, min(stays, count))).sorted()
            }
        case .global:
            var left = result.map(\.count)
            var parts = range.flatMap { layer in
                let total = max(scores[layer].reduce(0, +), .leastNormalMagnitude)
                return scores[layer].indices.map { (layer: layer, index: $0, score: scores[layer][$0] / total) }
            }
            parts.sort { ($0.score, $1.layer, $1.index) < ($1.score, $0.layer, $0.index) }
            var gone = range.map { _ in Set<Int>() }
            var wanted = Int((ratio * Double(parts.count)).rounded())
            for part in parts where wanted > 0 && left[part.layer] > 1 {
                gone[part.layer - range.lowerBound].insert(part.index)
                left[part.layer] -= 1
                wanted -= 1
            }
            for layer in range { result[layer].removeAll { gone[layer - range.lowerBound].contains($0) } }
        }
        return result
    }
}
