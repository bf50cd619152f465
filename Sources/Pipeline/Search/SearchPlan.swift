import Base
import Foundation
import Model
import Tune

/// What `meraser search` does, read from a YAML file: whose erasing stage is searched, over which options, how long.
///
/// Paths are relative to the file's folder. docs/reference/recipes.md describes every key.
public struct SearchPlan: Sendable {
    /// The file's text, for the record of the search.
    public let text: String
    /// Model, mark, data and measures; its erasing stage has the options that the space leaves alone.
    public let recipe: Recipe
    /// What is tried.
    public let space: SearchSpace
    /// Configurations that begin.
    public let trials: Int
    /// Of so many configurations one goes on to the next rung, with so many times the steps.
    public let eta: Int
    /// Rungs; at the last one stages have all their steps.
    public let rungs: Int
    /// A model without the mark, whose target NLL is the most that removal can reach; nil: the recipe's without its mark
    /// and adapters, if it has any.
    public let reference: String?
    /// Seed of the draw.
    public let seed: UInt64

    /// Reads a plan and its recipe.
    ///
    /// - Parameter seed: in place of the plan's and the recipe's own.
    /// - Throws: bad-input and usage errors that name file, section and key.
    public init(path: String, seed: UInt64? = nil) throws {
        let file = try MappedFile(path: path)
        let bytes = file.withBytes { Array($0) }
        var root = try Settings(try parseYAML(bytes, file: path), place: path)
        text = String(decoding: bytes, as: UTF8.self)
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        guard let recipePath = try root.path("recipe", in: folder) else {
            throw MeraserError.badInput("\(path): 'recipe' is missing: the file with model, mark, data and measures")
        }
        let ownSeed = try root.int("seed", in: 0...Int.max).map { UInt64($0) }
        var recipe = try Recipe(path: recipePath, seed: seed ?? ownSeed)
        self.seed = recipe.seed
        guard let section = try root.section("space") else {
            throw MeraserError.badInput("\(path): 'space' is missing: the options to search")
        }
        space = try SearchSpace(section)
        eta = try root.int("eta", in: 2...16) ?? 3
        rungs = try root.int("rungs", in: 1...8) ?? 3
        reference = try root.path("reference", in: folder)
        let klData = try root.dataset("kl_data", in: folder)
        let asked = try root.int("trials", in: 1...10_000)
        try root.requireNothingElse()
        guard let trials = asked ?? space.count else {
            throw MeraserError.badInput("\(path): 'trials' is missing: how many configurations to draw from the ranges")
        }
        guard trials <= 10_000 else {
            throw MeraserError.badInput("\(path): \(trials) configurations, expected 10000 at most; give 'trials'")
        }
        self.trials = trials
        guard let erase = recipe.erase, let recover = recipe.recover, recipe.donor == nil, recipe.perplexity != nil,
            recipe.scan == nil, erase.rows.preset == nil, recover.rows.preset == nil
        else {
            throw MeraserError.badInput(
                "\(path): the recipe \(recipePath) needs 'erase', 'recover' and 'ppl', and no 'transfer', 'scan', 'osft' or "
                    + "'sande', to be searched")
        }
        if let klData { recipe.erase?.options.klData = klData }
        recipe.erase?.options.withoutProbe()
        recipe.recover?.options.withoutProbe()
        self.recipe = recipe
        try validate(path)
    }

    /// Every configuration's options must fit together.
    private func validate(_ path: String) throws {
        for configuration in configurations {
            let options = try self.options(configuration)
            if options.klWeight > 0, options.klData == nil {
                throw MeraserError.badInput("\(path): a 'kl_weight' needs 'kl_data': clean rows, here or in the recipe")
            }
            do { try options.validate() } catch let error as MeraserError {
                throw error.within(path, kind: .badInput)
            }
        }
    }

    /// The trials of all rungs together.
    public var trialCount: Int {
        var (left, total) = (trials, 0)
        for _ in 0..<rungs {
            total += left
            left = max(1, left / eta)
        }
        return total
    }

    /// What is tried, in order.
    public var configurations: [SearchSpace.Configuration] { space.configurations(trials, seed: seed) }

    /// The erasing stage's options in that configuration. Where only `r` is searched, `lora_alpha` keeps its ratio to it.
    ///
    /// - Throws: never for a configuration of the space.
    func options(_ configuration: SearchSpace.Configuration) throws -> TrainingOptions {
        var options = recipe.erase?.options ?? TrainingOptions()
        let ratio = options.lora.loraAlpha / Double(options.lora.r)
        try TrainingOverrides(configuration, source: "space").apply(to: &options)
        if !configuration.contains(where: { $0.key == "lora_alpha" }) {
            options.lora.loraAlpha = ratio * Double(options.lora.r)
        }
        return options
    }

    /// The part of a stage's steps at a rung, the last one having all.
    func steps(_ all: Int, rung: Int) -> Int {
        let divisor = (rung + 1..<max(rungs, rung + 1)).reduce(1) { product, _ in product * eta }
        return max(1, (all - 1) / divisor + 1)
    }
}

extension TrainingOptions {
    /// A trial is its steps: nothing is measured on the way that could end it.
    fileprivate mutating func withoutProbe() {
        key = nil
        checkSteps = nil
        until = nil
        saveSteps = 0
    }
}
