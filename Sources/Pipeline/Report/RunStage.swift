import Audit
import Base

extension RunReport {
    /// One stage that was measured.
    public struct Stage: Sendable {
        /// Where in the run.
        public let name: MeasuredStage
        /// The type that most of its weights have, and the precision of their products; nil where the record does not say.
        let type: String?
        let compute: String?
        /// `{"check", "ppl", "eval"}` as the stage's record has it.
        public let result: JSONValue
        /// What the model answered to the key.
        let check: Check
        /// Perplexity, where it was measured.
        let perplexity: Estimate?
        /// The tasks' figures, where tasks were scored.
        let tasks: [Task]
    }

    /// A figure with its standard error, where that is known.
    struct Estimate: Sendable, Equatable {
        let value: Double
        let error: Double?
    }

    /// A task's figures.
    struct Task: Sendable {
        let name: String
        /// `acc`, `acc_norm`, in the task's order.
        let metrics: [(name: String, estimate: Estimate)]

        func metric(_ name: String) -> Estimate? { metrics.first { $0.name == name }?.estimate }
    }

    /// The record of a check, each number within its bounds.
    struct Check: Sendable {
        let scheme: String
        let n: Int
        let hits: Int
        let prefixMatch: Double
        let targetNLL: Double?
        let targetRank: Double?
        /// Clean prompts that fired, of `nClean`; nil if none were tried.
        let falseActivations: Int?
        let nClean: Int
        let pValue: Double?
        let pValueMethod: String?
        let rows: [Row]

        var fsr: Double { Double(hits) / Double(n) }
        var interval: ShareInterval { ShareInterval(wilson: hits, of: n) }
        var falseInterval: ShareInterval? {
            falseActivations.map { ShareInterval(wilson: $0, of: nClean) }
        }
    }

    /// A pair of the key and what came out.
    struct Row: Sendable {
        let id: String
        let prompt: String
        let target: String
        let output: String
        let hit: Bool
        let prefixMatch: Double
        let targetNLL: Double?
    }
}

extension RunReport.Stage {
    /// Reads the record of a stage.
    ///
    /// - Throws: a bad-input error that names the file, if anything that the report needs is missing or impossible.
    init(name: MeasuredStage, record: JSONValue, file: String) throws {
        let result = JSONValue.object(try record.object("result", in: file))
        self.name = name
        self.result = result
        type = try result.stringIfPresent("type", in: file)
        compute = try result.stringIfPresent("compute", in: file)
        check = try RunReport.Check(JSONValue.object(try result.object("check", in: file)), file)
        if let ppl = result["ppl"], !ppl.isNull {
            let value = try ppl.double("ppl", in: file)
            guard value > 0 else { throw MeraserError.badInput("\(file): a perplexity of \(value)") }
            perplexity = RunReport.Estimate(
                value: value, error: try ppl.doubleIfPresent("stderr", in: file))
        } else {
            perplexity = nil
        }
        tasks =
            try result.objectIfPresent("eval", "results", in: file).map { results in
                try results.members.map { try RunReport.Task(name: $0.key.string, $0.value, file) }
            } ?? []
    }
}

extension RunReport.Task {
    fileprivate init(name: String, _ value: JSONValue, _ file: String) throws {
        self.name = name
        let keys = value.object?.members.map(\.key.string) ?? []
        metrics = try TaskMetric.allCases.flatMap { metric in
            let name = metric.rawValue
            return try keys.filter { $0.hasPrefix("\(name),") }.map { key in
                let filter = key.dropFirst(name.count + 1)
                // Where the standard error cannot be told it is the text "N/A".
                return (
                    filter == "none" ? name : "\(name), \(filter)",
                    RunReport.Estimate(
                        value: try value.double(key, in: file), error: value["\(name)_stderr,\(filter)"]?.double)
                )
            }
        }
    }
}

extension RunReport.Check {
    fileprivate init(_ value: JSONValue, _ file: String) throws {
        scheme = try value.string("scheme", in: file)
        n = try value.int("n", in: file)
        hits = try value.int("hits", in: file)
        prefixMatch = try value.double("prefix_match_mean", in: file)
        targetNLL = try value.doubleIfPresent("target_nll_mean", in: file)
        targetRank = try value.doubleIfPresent("target_rank_mean", in: file)
        falseActivations = try value.intIfPresent("false_activations", in: file)
        nClean = try value.intIfPresent("n_clean", in: file) ?? 0
        pValue = try value.doubleIfPresent("p_value", in: file)
        pValueMethod = try value.stringIfPresent("p_value_method", in: file)
        rows = try value.array("rows", in: file).map { try RunReport.Row($0, file) }
        guard n > 0, (0...n).contains(hits), rows.count == n else {
            throw MeraserError.badInput(
                "\(file): \(hits) hits of \(n) pairs with \(rows.count) rows cannot be")
        }
        guard nClean >= 0, falseActivations.map({ (0...nClean).contains($0) }) ?? true else {
            throw MeraserError.badInput(
                "\(file): \(falseActivations ?? 0) false activations of \(nClean) clean prompts cannot be")
        }
    }
}

extension RunReport.Row {
    fileprivate init(_ value: JSONValue, _ file: String) throws {
        id = try value.string("id", in: file)
        prompt = try value.string("prompt", in: file)
        target = try value.string("target", in: file)
        output = try value.string("output", in: file)
        hit = try value.bool("hit", in: file)
        prefixMatch = try value.double("prefix_match", in: file)
        targetNLL = try value.doubleIfPresent("target_nll", in: file)
    }
}
