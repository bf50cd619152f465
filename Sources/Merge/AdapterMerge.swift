import Base
import Quant

/// Adapters that are added up, each with a weight: the sum of their ΔW as one adapter of concatenated rank.
public struct AdapterRecipe: Sendable, Equatable {
    /// One adapter.
    public struct Term: Sendable, Equatable {
        /// Its PEFT folder.
        public let adapter: String
        /// The factor on its ΔW; −1 takes back what it added.
        public let weight: Double

        /// An adapter with a factor.
        public init(adapter: String, weight: Double) {
            self.adapter = adapter
            self.weight = weight
        }
    }

    /// The adapters, in order.
    public let terms: [Term]

    /// Those terms; at least one, finite weights: a precondition.
    public init(terms: [Term]) {
        precondition(
            !terms.isEmpty && terms.allSatisfy { $0.weight.isFinite }, "no terms or weights that are not finite")
        self.terms = terms
    }

    /// True if a recipe is about adapters: it has `adapters`.
    public static func isMeant(by value: JSONValue) -> Bool { value["adapters"] != nil }

    /// Reads `merge_method: linear` with `adapters: [{adapter, parameters: {weight}}]`. Errors (`badInput`) name file,
    /// place and key.
    public init(_ value: JSONValue, file: String) throws {
        var root = try Settings(value, place: file)
        let method = try root.text("merge_method") ?? "linear"
        guard method == "linear" else {
            throw MeraserError.badInput("\(file): adapters can be merged with 'linear', not with '\(method)'")
        }
        let list = root.value("adapters")
        try root.requireNothingElse()
        guard let entries = list?.array, !entries.isEmpty else {
            throw MeraserError.badInput("\(file): 'adapters' is missing or no list of adapters")
        }
        terms = try entries.enumerated().map { index, entry in
            var settings = try Settings(entry, place: "\(file): adapter \(index + 1)")
            guard let path = try settings.text("adapter") else {
                throw MeraserError.badInput("\(settings.place): 'adapter' is missing: the folder of a PEFT adapter")
            }
            var parameters = try settings.section("parameters")
            let weight = try parameters?.number("weight") ?? 1
            try parameters?.requireNothingElse()
            try settings.requireNothingElse()
            guard Float(weight).isFinite else {
                throw MeraserError.badInput("\(settings.place): 'weight' is \(weight), expected a finite number")
            }
            return Term(adapter: path, weight: weight)
        }
    }
}

/// What a merge of adapters wrote.
public struct AdapterMergeReport: Sendable, Equatable {
    /// Adapted modules.
    public let moduleCount: Int
    /// The highest rank.
    public let rank: Int
}

/// Writes the weighted sum of adapters as one PEFT adapter: A holds the factors' rows below each other, B their columns
/// side by side, times weight and scale in fp64 rounded once to fp32. The scale of the result is 1 (`lora_alpha` =
/// rank).
///
/// - Throws: `badInput` for adapters of different bases, with other adapters below them than those of the recipe, or
///   with different shapes for one module; `usage` if the destination exists; `runtime` for a full disk. Nothing is
///   left behind.
public func mergeAdapters(
    _ recipe: AdapterRecipe, destination: String, overwrite: Bool
) throws -> AdapterMergeReport {
    try AtomicFolder.checkDestination(destination, overwrite: overwrite)
    let adapters = try recipe.terms.map { try AdapterFile(path: $0.adapter) }
    let provenance = try commonGround(adapters)
    var parts: [String: [(module: AdapterModule, factor: Double, adapter: String)]] = [:]
    for (adapter, term) in zip(adapters, recipe.terms) {
        try adapter.requireSum()
        for module in adapter.modules {
            let factor = term.weight * (try adapter.config.exactScale(of: module.path))
            parts[module.path, default: []].append((module, factor, adapter.path))
        }
    }
    let factors = try parts.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { path, parts in
        for part in parts[1...] {
            let (first, other) = (parts[0].module, part.module)
            guard first.a.columns == other.a.columns, first.b.rows == other.b.rows else {
                throw MeraserError.badInput(
                    "module '\(path)' is [\(other.b.rows), \(other.a.columns)] in \(part.adapter), but "
                        + "[\(first.b.rows), \(first.a.columns)] in \(parts[0].adapter)")
            }
        }
        return try concatenated(path, parts.map { ($0.module, $0.factor) })
    }
    let rank = factors.map(\.rank).max() ?? 1
    guard rank <= 65_536 else {
        throw MeraserError.badInput("the ranks add up to \(rank), expected at most 65536")
    }
    let config = PEFTConfig(
        factors: factors, rank: rank,
        baseModelName: adapters.lazy.compactMap(\.config.baseModelName).first)
    let folder = try AtomicFolder(path: destination, overwrite: overwrite)
    try AdapterFile.write(
        folder: folder.temporaryPath, config: config, factors: factors, provenance: provenance)
    try folder.commit()
    return AdapterMergeReport(moduleCount: factors.count, rank: rank)
}

/// The base and the frozen adapters below that all adapters have; adapters of the recipe itself do not count as below.
private func commonGround(_ adapters: [AdapterFile]) throws -> AdapterProvenance {
    let merged = Set(adapters.map(\.sha256))
    var base: (sha256: String, path: String)?
    let parents = adapters.map { $0.provenance.parents.filter { !merged.contains($0) } }
    for (adapter, below) in zip(adapters, parents) {
        if let sha256 = adapter.provenance.baseSHA256 {
            guard base?.sha256 ?? sha256 == sha256 else {
                throw MeraserError.badInput("\(adapter.path) belongs to another base model than \(base?.path ?? "")")
            }
            base = base ?? (sha256, adapter.path)
        }
        guard below == parents[0] else {
            throw MeraserError.badInput(
                "\(adapter.path) was trained on top of other adapters than \(adapters[0].path); name those in the recipe too"
            )
        }
    }
    let source = adapters.lazy.compactMap(\.provenance.sourceSHA256).first
    return AdapterProvenance(baseSHA256: base?.sha256, sourceSHA256: source, parents: parents.first ?? [])
}

/// Σ factor · B · A of one module as one pair of factors.
private func concatenated(
    _ path: String, _ parts: [(module: AdapterModule, factor: Double)]
) throws -> AdapterFile.Factors {
    let rank = parts.reduce(0) { $0 + $1.module.rank }
    let rows = parts[0].module.b.rows
    var b = [Float](repeating: 0, count: rows * rank)
    var column = 0
    for (module, factor) in parts {
        let values = try module.b.floats()
        for row in 0..<rows {
            for k in 0..<module.rank {
                b[row * rank + column + k] = Float(factor * Double(values[row * module.rank + k]))
            }
        }
        column += module.rank
    }
    return AdapterFile.Factors(path: path, a: try parts.flatMap { try $0.module.a.floats() }, b: b, rank: rank)
}
