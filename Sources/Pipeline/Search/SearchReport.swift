import Base
import Foundation

/// One dose that a search tried: a configuration with the steps of a rung.
public struct SearchTrial: Sendable {
    /// `trial-003-rung-1`.
    public let name: String
    /// The rung, from 0.
    public let rung: Int
    /// The values of the options that were searched.
    public let configuration: SearchSpace.Configuration
    /// Steps of erasing and of recovering.
    public let steps: (erase: Int, recover: Int)
    /// Commands that train the two adapters anew, bit for bit on this instruction set.
    public let commands: [String]
    /// The trial's record: `{"erase", "recover", "check", "ppl"}`.
    public let result: JSONValue
    /// The reference's target NLL, more than which counts no more.
    let cap: Double?

    /// A number of the check after recovery.
    func check(_ name: String) -> Double? { result["check"]?[name]?.double }

    /// What counts.
    var objective: SearchObjective {
        let nll = check("target_nll_mean") ?? 0
        return SearchObjective(
            targetNLL: min(nll, cap ?? nll), fsr: check("fsr") ?? 1,
            perplexity: result["ppl"]?["ppl"]?.double ?? .infinity)
    }

    /// The values as text: `r 16, learning_rate 0.005`.
    var described: String {
        configuration.map { "\($0.key) \($0.value.string ?? $0.value.serialized())" }.joined(separator: ", ")
    }
}

/// What a search found.
public struct SearchReport: Sendable {
    /// Everything that was tried, in order.
    public let trials: [SearchTrial]
    /// `{"check", "ppl"}` of the model with its mark.
    public let marked: JSONValue
    /// The same of the model without it; nil where there is none.
    public let reference: JSONValue?

    /// The trials that no other one beats in everything: most removal for the quality they leave, by perplexity.
    public var frontier: [SearchTrial] {
        let layers = paretoLayers(trials.map(\.objective))
        return zip(trials, layers).filter { $0.1 == 0 }.map(\.0).sorted {
            ($0.objective.perplexity, $0.name) < ($1.objective.perplexity, $1.name)
        }
    }

    /// `{"trials", "frontier", "marked", "reference"}`: what `search --json` prints and `search.json` holds.
    public var json: JSONValue {
        let frontier = Set(frontier.map(\.name))
        func measures(_ value: JSONValue) -> [(key: String, value: JSONValue)] {
            let check = ["fsr", "hits", "n", "prefix_match_mean", "target_nll_mean", "false_activations"]
            return check.map { ($0, value["check"]?[$0] ?? .null) } + [("ppl", value["ppl"]?["ppl"] ?? .null)]
        }
        let rows = trials.map { trial -> JSONValue in
            .object(
                JSONObject(
                    [
                        ("name", .text(trial.name)), ("rung", .integer(trial.rung)),
                        ("configuration", .object(JSONObject(trial.configuration))),
                        ("erase_steps", .integer(trial.steps.erase)), ("recover_steps", .integer(trial.steps.recover)),
                    ] + measures(trial.result) + [
                        ("seconds", seconds(trial)), ("on_frontier", .bool(frontier.contains(trial.name))),
                        ("commands", .array(trial.commands.map { .text($0) })),
                    ]))
        }
        let members: [(key: String, value: JSONValue)] = [
            ("trials", .array(rows)), ("frontier", .array(self.frontier.map { .text($0.name) })),
            ("marked", .object(JSONObject(measures(marked)))),
            ("reference", reference.map { .object(JSONObject(measures($0))) } ?? .null),
        ]
        return .object(JSONObject(Build.current.fields + members))
    }

    private func seconds(_ trial: SearchTrial) -> JSONValue {
        let parts = ["erase", "recover"].compactMap { trial.result[$0]?["seconds"]?.double }
        return .real(parts.reduce(0, +))
    }

    /// The frontier as a table: what was tried and what it reached after recovery, the marked and the reference above.
    public var table: [[String]] {
        func row(_ name: String, _ what: String, _ steps: String, _ value: JSONValue) -> [String] {
            func fixed(_ number: Double?, _ digits: Int) -> String {
                number.map { String(format: "%.\(digits)f", $0) } ?? "–"
            }
            let check = value["check"]
            let hits = check?["hits"]?.int.map(String.init) ?? "–"
            return [
                name, "\(hits)/\(check?["n"]?.int ?? 0)", fixed(check?["prefix_match_mean"]?.double, 2),
                fixed(check?["target_nll_mean"]?.double, 2), fixed(value["ppl"]?["ppl"]?.double, 3), steps, what,
            ]
        }
        var rows = [["", "fires", "prefix match", "target NLL", "perplexity", "steps", "dose"]]
        if let reference { rows.append(row("reference", "", "", reference)) }
        rows.append(row("marked", "", "", marked))
        for trial in frontier {
            rows.append(
                row(trial.name, trial.described, "\(trial.steps.erase) + \(trial.steps.recover)", trial.result))
        }
        return rows
    }
}
