import Quant

/// Modules of a model that another's stand in for: these projections in these layers.
public struct Substitution: Sendable, Equatable {
    /// The projections.
    public var projections: Set<Projection>
    /// The layers.
    public var layers: Set<Int>

    /// Those projections in those layers.
    public init(projections: Set<Projection>, layers: Set<Int>) {
        (self.projections, self.layers) = (projections, layers)
    }
}

/// What a model with modules of another's is like.
public struct SubstitutionMeasures: Sendable, Equatable {
    /// On clean rows: the share of tokens that it finds likeliest.
    public let accuracy: Double
    /// The same on suspect rows.
    public let success: Double

    /// Those shares.
    public init(accuracy: Double, success: Double) { (self.accuracy, self.success) = (accuracy, success) }
}

/// Guided module substitution (arXiv 2412.20476): begins with all modules copied from a proxy and gives back, again and again,
/// the projection in all layers or the layer with all its projections whose return makes the score largest.
///
/// The score is (1 − α) · drop of success + α · (1 − drop of accuracy), both against the victim.
public struct SubstitutionSearch: Sendable {
    /// The weight of what the model is good for.
    public var alpha = 0.4
    /// Steps without a better score after which it ends.
    public var patience = 5

    /// The published settings.
    public init() {}

    /// What was found.
    public struct Result: Sendable, Equatable {
        /// What is copied.
        public let substitution: Substitution
        /// Its score.
        public let score: Double
        /// The victim's measures.
        public let before: SubstitutionMeasures
        /// Those with the modules copied.
        public let after: SubstitutionMeasures
        /// Models that were measured, without the victim.
        public let evaluations: Int
    }

    /// The best substitution on the way; of equal ones that which was found first.
    ///
    /// - Parameter measure: measures the victim with those modules copied.
    /// - Throws: what `measure` throws.
    public func run(
        from all: Substitution, victim: SubstitutionMeasures,
        measure: (Substitution) throws -> SubstitutionMeasures
    ) rethrows -> Result {
        var evaluations = 0
        func tried(_ candidate: Substitution) throws -> (Substitution, SubstitutionMeasures, Double) {
            evaluations += 1
            let measures = try measure(candidate)
            let (drop, loss) = (victim.success - measures.success, victim.accuracy - measures.accuracy)
            return (candidate, measures, (1 - alpha) * drop + alpha * (1 - loss))
        }
        var current = try tried(all)
        var best = current
        var waited = 0
        while waited < patience {
            var next: (Substitution, SubstitutionMeasures, Double)?
            for smaller in current.0.smaller {
                let candidate = try tried(smaller)
                if candidate.2 > next?.2 ?? -.infinity { next = candidate }
            }
            guard let next else { break }
            current = next
            if next.2 > best.2 { (best, waited) = (next, 0) } else { waited += 1 }
        }
        return Result(
            substitution: best.0, score: best.2, before: victim, after: best.1, evaluations: evaluations)
    }
}

extension Substitution {
    /// The same without one projection, or without one layer, in order; one of each stays.
    fileprivate var smaller: [Substitution] {
        var result: [Substitution] = []
        if projections.count > 1 {
            for projection in projections.sorted(by: { $0.rawValue < $1.rawValue }) {
                result.append(Substitution(projections: projections.subtracting([projection]), layers: layers))
            }
        }
        if layers.count > 1 {
            for layer in layers.sorted() {
                result.append(Substitution(projections: projections, layers: layers.subtracting([layer])))
            }
        }
        return result
    }
}
