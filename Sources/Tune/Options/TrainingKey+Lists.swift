import Base
import Foundation
import Model
import Quant

/// The keys whose values are lists.
extension TrainingKey {
    /// A list, a text of names with commas, `all-linear`, or a regular expression.
    static let targetModules = TrainingKey(
        "target_modules",
        "projections that get an adapter, with commas between, all-linear, none, or a regular expression that their whole "
            + "paths match",
        read: { options in
            if let pattern = options.lora.targetPattern { return .text(pattern) }
            return .array(Projection.allCases.filter(options.lora.targetModules.contains).map { .text($0.rawValue) })
        },
        write: { options, value in
            options.lora.targetPattern = nil
            if let text = value.string, ModuleNames.isPattern(text) {
                _ = try ModuleNames(text, key: "target_modules")
                (options.lora.targetPattern, options.lora.targetModules) = (text, Projection.parts)
                return
            }
            let all = Projection.moduleNames.joined(separator: " ")
            let names =
                value.array?.map { $0.string ?? "" } ?? value.string?.split(separator: ",").map(String.init) ?? []
            let projections = names.compactMap {
                Projection(moduleName: $0.trimmingPrefix(" ").description)
            }
            if names == ["none"] || value.array?.isEmpty == true {
                options.lora.targetModules = []
            } else if names == ["all-linear"] {
                options.lora.targetModules = Projection.parts
            } else if !names.isEmpty, projections.count == names.count {
                options.lora.targetModules = Set(projections)
            } else {
                throw wrong("target_modules", value, "all-linear, none or some of \(all)")
            }
        })

    /// A list, a text of numbers and ranges with commas, or one number.
    static let layersToTransform = TrainingKey(
        "layers_to_transform",
        "decoder layers, from 0, whose modules get an adapter, such as 15-29 or 0,7,8 (default: all); those below the lowest "
            + "are computed once for all epochs",
        read: { options in
            let layers = options.lora.layersToTransform
            return layers.isEmpty ? .null : .array(layers.map { .integer($0) })
        },
        write: { options, value in
            let texts = value.string.map { $0.split(separator: ",").map { JSONValue.text(String($0)) } }
            let parts = (texts ?? value.array ?? [value]).map(range)
            let layers = Set(parts.compactMap { $0 }.joined())
            guard value.isNull || (!parts.isEmpty && !parts.contains(nil)) else {
                throw wrong("layers_to_transform", value, "numbers of layers from 0, such as 15-29 or 0,7,8")
            }
            options.lora.layersToTransform = layers.sorted()
        })

    /// `15-29`, `15`, 15; nil for anything else, and for numbers that no model's layers have.
    private static func range(_ value: JSONValue) -> ClosedRange<Int>? {
        let ends: [Int?] =
            value.string?.split(separator: "-", omittingEmptySubsequences: false).map { end in
                Int(end.trimmingCharacters(in: .whitespaces))
            } ?? [value.int]
        let numbers = ends.compactMap { $0 }.filter { (0..<10_000).contains($0) }
        guard numbers.count == ends.count, let first = numbers.first, let last = numbers.last, numbers.count <= 2,
            first <= last
        else { return nil }
        return first...last
    }

    /// A list, a text of names with commas, or a regular expression.
    static let excludeModules = TrainingKey(
        "exclude_modules",
        "modules of `target_modules` that get none: ends of their paths, with commas between, or a regular expression",
        read: { $0.lora.excludeModules?.json ?? .null },
        write: { options, value in
            let names = value.array.map { $0.map { $0.string ?? "" } }
            guard value.isNull || names != nil || value.string != nil else {
                throw wrong("exclude_modules", value, "names of modules, or a regular expression")
            }
            options.lora.excludeModules =
                if let names { try ModuleNames(names, key: "exclude_modules") } else {
                    try value.string.map { try ModuleNames($0, key: "exclude_modules") }
                }
        })

    /// A list, or a text of numbers with commas.
    static let tokens = TrainingKey(
        "trainable_token_indices", "tokens whose rows of the embedding are trained too, with commas between",
        read: { .array($0.lora.tokens.map { .integer(Int($0)) }) },
        write: { options, value in
            let numbers =
                value.array?.map(\.int)
                ?? value.string?.split(separator: ",").map { Int($0.trimmingCharacters(in: .whitespaces)) }
                ?? (value.isNull ? [] : [value.int])
            let tokens = numbers.compactMap { $0 }.compactMap { Int32(exactly: $0) }.filter { $0 >= 0 }
            guard tokens.count == numbers.count, Set(tokens).count == tokens.count else {
                throw wrong("trainable_token_indices", value, "different token numbers")
            }
            options.lora.tokens = tokens
        })

    /// A list, or a text of names with commas.
    static let removeColumns = TrainingKey(
        "remove_columns", "keys of rows that are not to be read, with commas between",
        read: { options in
            let columns = options.encoding.removeColumns
            return columns.isEmpty ? .null : .array(columns.map { .text($0) })
        },
        write: { options, value in
            let names =
                value.array?.map { $0.string ?? "" } ?? value.string?.split(separator: ",").map(String.init) ?? []
            guard value.isNull || (!names.isEmpty && !names.contains("")) else {
                throw wrong("remove_columns", value, "names of keys")
            }
            options.encoding.removeColumns = names
        })
}
