import Base
import Foundation
import Quant

/// Modules as PEFT's configuration names them.
public enum ModuleNames: Sendable, Equatable {
    /// Paths, or ends of paths that begin behind a dot: `v_proj`, `layers.3.mlp.up_proj`.
    case names([String])
    /// A regular expression that the whole path of a module matches, as with Python's `fullmatch`.
    case pattern(String)

    /// Reads a text: an expression if it has any sign that names do not have, else names with commas between.
    ///
    /// - Throws: a usage error for what is no regular expression, or an empty name; `key` is the setting's.
    public init(_ text: String, key: String) throws {
        if Self.isPattern(text) {
            guard (try? Self.expression(text)) != nil else {
                throw MeraserError.usage("`\(key)`: \(quoted(text)) is no regular expression")
            }
            self = .pattern(text)
        } else {
            try self.init(
                text.split(separator: ",", omittingEmptySubsequences: false)
                    .map { $0.trimmingCharacters(in: .whitespaces) }, key: key)
        }
    }

    /// Those names.
    ///
    /// - Throws: a usage error for an empty list or name; `key` is the setting's.
    public init(_ names: [String], key: String) throws {
        guard !names.isEmpty, !names.contains("") else {
            throw MeraserError.usage("`\(key)`: expected names of modules, or a regular expression over their paths")
        }
        self = .names(names)
    }

    /// True for a text that can only be an expression.
    public static func isPattern(_ text: String) -> Bool { text.contains { "*+?()[]{}|\\^$".contains($0) } }

    private static func expression(_ pattern: String) throws -> NSRegularExpression {
        try NSRegularExpression(pattern: "\\A(?:\(pattern))\\z")
    }

    /// Which of those paths are meant.
    public func matches(_ paths: [String]) -> [Bool] {
        switch self {
        case .names(let names):
            return paths.map { path in names.contains { path == $0 || path.hasSuffix("." + $0) } }
        case .pattern(let pattern):
            guard let expression = try? Self.expression(pattern) else { return paths.map { _ in false } }
            return paths.map {
                expression.firstMatch(in: $0, range: NSRange($0.startIndex..., in: $0)) != nil
            }
        }
    }

    /// As a record has it: a list, or the expression.
    public var json: JSONValue {
        switch self {
        case .names(let names): .array(names.map { .text($0) })
        case .pattern(let pattern): .text(pattern)
        }
    }
}

extension LoRAConfig {
    /// The modules of a model that get factors, in the order of the forward pass, as PEFT chooses them: those that
    /// `target_modules` means, without those that `exclude_modules` does.
    public func modules(of model: DecoderSpec) -> [ModuleKey] {
        var chosen = model.modules(of: targetModules, layers: layersToTransform)
        if let targetPattern {
            let all = model.modules
            chosen = zip(all, ModuleNames.pattern(targetPattern).matches(all.map { model[$0].path })).filter(\.1).map(
                \.0)
        }
        guard let excludeModules else { return chosen }
        let isExcluded = excludeModules.matches(chosen.map { model[$0].path })
        return zip(chosen, isExcluded).filter { !$0.1 }.map(\.0)
    }

    /// Checks that the names mean modules of that model.
    ///
    /// - Throws: a usage error for a projection that it does not have, an expression that matches nothing, or modules to exclude
    ///   that are none of those chosen, or all of them.
    public func requireModules(of model: DecoderSpec) throws {
        let example = model.modules.first.map { model[$0].path } ?? ""
        var all = self
        all.excludeModules = nil
        let chosen = all.modules(of: model)
        if let targetPattern {
            guard !chosen.isEmpty else {
                throw MeraserError.usage(
                    "`target_modules`: \(quoted(targetPattern)) matches no module; their whole paths are like \(example)"
                )
            }
        } else {
            try model.requireModules(of: targetModules)
        }
        guard excludeModules != nil else { return }
        let left = modules(of: model).count
        guard left > 0, left < chosen.count else {
            throw MeraserError.usage(
                "`exclude_modules` leaves \(left) of the \(chosen.count) modules of `target_modules`; name some of them, with "
                    + "paths like \(example)")
        }
    }
}
