import Base
import Merge

/// The YAML of `meraser merge` for a victim and the model that it was made from, with a third model where there is one.
struct VictimMerge {
    /// mergekit's methods that take two models.
    enum Method: String, CaseIterable {
        case linear, slerp, ties
        case taskArithmetic = "task_arithmetic"
        case dareLinear = "dare_linear"
        case dareTies = "dare_ties"
        case breadcrumbs
        case breadcrumbsTies = "breadcrumbs_ties"
    }

    /// As mergekit reads it; paths are relative to the folder that the command runs in.
    let text: String

    /// Reads `merge_method`, `weight` (the victim's share; the partner has the rest), `density`, `gamma`, `normalize` and `partner`. Breadcrumbs are SANDE's reset where
    /// the file says nothing: all of the victim but the fifth of its weights that changed most.
    ///
    /// - Parameter input: the name in commands of a user's path.
    init(
        _ options: inout Settings, victim: String, reference: String, input: (String, String) throws -> String
    ) throws {
        let method = try options.choice("merge_method", Method.self) ?? .linear
        let resets = method == .breadcrumbs || method == .breadcrumbsTies
        let share = try options.number("weight") ?? (resets ? 1 : 0.5)
        guard (0...1).contains(share) else {
            throw MeraserError.badInput("\(options.place): 'weight' is \(share), the victim's share, expected 0 to 1")
        }
        let density = try options.number("density") ?? (resets ? 0.8 : nil)
        if let density, !(density > 0 && density <= 1) {
            throw MeraserError.badInput("\(options.place): 'density' is \(density), expected more than 0, at most 1")
        }
        let gamma = try options.number("gamma") ?? (resets ? 0.2 : nil)
        if let gamma, !(0...1).contains(gamma) {
            throw MeraserError.badInput("\(options.place): 'gamma' is \(gamma), expected 0 to 1")
        }
        let normalize = try options.flag("normalize")
        let known = MergeMethod(rawValue: method.rawValue).map { $0.modelParameters + $0.sharedParameters } ?? []
        for (key, isGiven) in [("density", density != nil), ("gamma", gamma != nil), ("normalize", normalize != nil)] {
            guard !isGiven || known.contains(key) else {
                throw MeraserError.badInput("\(options.place): '\(key)' is not used by \(method.rawValue)")
            }
        }
        let partner = try options.text("partner").map { [place = options.place] in try input($0, place) }
        var lines = ["merge_method: \(method.rawValue)", "dtype: float32"]
        func model(_ path: String, weight: Double?) -> [String] {
            var parameters = weight.map { ["      weight: \($0)"] } ?? []
            if let density { parameters.append("      density: \(density)") }
            if let gamma { parameters.append("      gamma: \(gamma)") }
            if !parameters.isEmpty { parameters.insert("    parameters:", at: 0) }
            return ["  - model: \(JSONString.quoted(path))"] + parameters
        }
        switch method {
        case .linear:
            lines += ["models:"] + model(victim, weight: share) + model(partner ?? reference, weight: 1 - share)
            if let normalize { lines += ["parameters:", "  normalize: \(normalize)"] }
        case .slerp:
            // t is the share of the model that is not the base.
            lines += [
                "base_model: \(JSONString.quoted(partner ?? reference))", "models:",
                "  - model: \(JSONString.quoted(partner ?? reference))", "  - model: \(JSONString.quoted(victim))",
                "parameters:", "  t: \(share)",
            ]
        case .taskArithmetic, .ties, .dareLinear, .dareTies, .breadcrumbs, .breadcrumbsTies:
            lines += ["base_model: \(JSONString.quoted(reference))", "models:"] + model(victim, weight: share)
            if let partner { lines += model(partner, weight: 1 - share) }
            if let normalize { lines += ["parameters:", "  normalize: \(normalize)"] }
        }
        text = lines.joined(separator: "\n") + "\n"
    }
}
