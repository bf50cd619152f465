import Foundation
import Tune

/// The command line that trains one adapter, every option that is not Trainer's default spelt out.
struct TrainingCommand: Sendable {
    /// What it trains for, which is its name too.
    var command: TrainedStage
    /// The model.
    var model: String
    /// The adapters below, lowest first.
    var adapters: [String]
    /// The rows.
    var data: String
    /// Pairs go into the chat template.
    var chat: Bool
    /// Everything else.
    var options: TrainingOptions
    /// Where the adapter goes.
    var output: String

    /// The words behind `meraser`.
    var words: [String] {
        var words = [command.rawValue, "--preset", "none", "--model", model]
        for adapter in adapters { words += ["--adapter", adapter] }
        words += ["--data", data] + (chat ? ["--chat"] : []) + Self.flags(options)
        return words + ["--out", output]
    }

    /// The command as a shell reads it.
    var text: String { shellText(["meraser"] + words) }

    /// The flags of what differs from the defaults, operational options apart.
    static func flags(_ options: TrainingOptions) -> [String] {
        let standard = TrainingOptions()
        // What the adapter that it goes on with says is no flag.
        let adapter = options.initAdapter == nil ? [] : TrainingKey.Group.adapter.keys.map(\.name)
        return TrainingKey.all.filter { !$0.isOperational }.flatMap { key -> [String] in
            let value = key.value(in: options)
            if value == key.value(in: standard) { return [] }
            switch key.name {
            case "key": return [key.flag, options.key ?? ""]
            case "kl_data": return options.klDataInUse.map { [key.flag, shortened($0)] } ?? []
            case "eval_data": return options.evalData.map { [key.flag, shortened($0)] } ?? []
            case "init_adapter": return options.initAdapter.map { [key.flag, shortened($0)] } ?? []
            case let name where adapter.contains(name): return []
            case "kl_batch" where options.klWeight == 0: return []
            default: return key.arguments(value)
            }
        }
    }

    /// A path below the current folder as one from there; of a list of files (`DatasetList`) each.
    static func shortened(_ text: String) -> String {
        guard text.contains("/"), let list = try? DatasetList(text) else { return text }
        return list.mapPaths(shortened(path:)).text
    }

    private static func shortened(path: String) -> String {
        let here = FileManager.default.currentDirectoryPath + "/"
        return path.hasPrefix(here) ? String(path.dropFirst(here.count)) : path
    }
}
