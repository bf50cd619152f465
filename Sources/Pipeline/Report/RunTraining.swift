import Audit
import Base

extension RunReport {
    /// A training of a run: its result and its logs.
    struct Training: Sendable {
        let name: TrainedStage
        /// The loss of each step.
        let losses: [(step: Int, loss: Double)]
        /// The key as it was measured on the way.
        let curve: Curve
        /// The parts that a removal which chooses its own dose went through, with their steps; none of others.
        let phases: [(name: String, steps: Int)]
        /// The looks that it took at the mark on its way.
        let looks: [RemovalLook]
        /// Its part of `report.json`.
        let json: JSONValue
        /// The options it was trained with.
        let options: JSONValue
        /// `{"steps", "final_loss", "seconds", …}`.
        let result: JSONValue
    }

    /// How a key was met while something was trained.
    struct Curve: Sendable {
        /// The key after so many steps.
        struct Point: Sendable {
            let step: Int
            let n: Int
            let hits: Int
            let prefixMatch: Double
            let targetNLL: Double?

            var fsr: Double { Double(hits) / Double(n) }
            var interval: ShareInterval { ShareInterval(wilson: hits, of: n) }
        }

        let points: [Point]

        /// Reads rows of a log or a record.
        init(_ rows: [JSONValue], file: String) throws {
            points = try rows.map { row in
                let (n, hits) = (try row.int("n", in: file), try row.int("hits", in: file))
                guard n > 0, (0...n).contains(hits) else {
                    throw MeraserError.badInput("\(file): \(hits) hits of \(n) pairs cannot be")
                }
                return Point(
                    step: try row.int("step", in: file), n: n, hits: hits,
                    prefixMatch: try row.double("prefix_match", in: file),
                    targetNLL: try row.doubleIfPresent("target_nll", in: file))
            }
        }
    }

    /// How quickly the mark came back, and how quickly the reference learnt it, where there is one.
    struct Relearning: Sendable {
        /// What was trained on.
        let source: RelearningOptions.Source.Name
        let model: Curve
        let reference: Curve?

        /// Reads the record of the stage.
        init(record: JSONValue, file: String) throws {
            let result = JSONValue.object(try record.object("result", in: file))
            let name = try result.string("model", "source", in: file)
            guard let source = RelearningOptions.Source.Name(rawValue: name) else {
                throw MeraserError.badInput(
                    "\(file): the mark was relearnt from \(quoted(name)), expected hinted or clean")
            }
            self.source = source
            model = try Curve(try result.array("model", "points", in: file), file: file)
            reference = try result.arrayIfPresent("reference", "points", in: file).map {
                try Curve($0, file: file)
            }
        }
    }
}

extension RunReport.Training {
    /// Reads a training's record, and its logs in the folder.
    init(name: TrainedStage, record: JSONValue, folder: RunFolder) throws {
        self.name = name
        let logs = (train: "\(name.folder)/train_log.jsonl", probe: "\(name.folder)/probe_log.jsonl")
        let steps = try folder.readLines(logs.train)
        let checks = try folder.readLines(logs.probe)
        losses = try steps.map { row in
            let file = folder.file(logs.train)
            return (try row.int("step", in: file), try row.double("loss", in: file))
        }
        curve = try RunReport.Curve(checks, file: folder.file(logs.probe))
        let outcome = record["result"] ?? .null
        result = outcome["training"] ?? outcome
        options = record["inputs"]?["options"] ?? .null
        looks = try (outcome["auto"]?["looks"]?.array ?? []).map {
            try RemovalLook(json: $0, file: folder.recordPath(of: .training(name)))
        }
        phases = RemovalLook.phases(of: looks)
        json = [
            "result": result, "guess_test": outcome["guess_test"] ?? .null, "options": options,
            "steps": .array(steps), "checks": .array(checks),
        ]
    }
}

extension RemovalLook {
    /// The phases that looks were taken in, each with its steps: the last look is taken at the end.
    static func phases(of looks: [RemovalLook]) -> [(name: String, steps: Int)] {
        looks.filter { $0.step > 0 }.reduce(into: []) { phases, look in
            if phases.last?.name == look.phase {
                phases[phases.count - 1].steps = max(phases[phases.count - 1].steps, look.step)
            } else {
                phases.append((look.phase, look.step))
            }
        }
    }
}
