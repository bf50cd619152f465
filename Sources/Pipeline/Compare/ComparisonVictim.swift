import Base

/// A model with a mark that methods are compared on.
struct ComparisonVictim: Sendable {
    let name: String
    /// As commands open it.
    let model: String
    /// What it was converted from, in `inputs/`.
    let source: String
    /// The adapters on it, lowest first.
    let adapters: [String]
    let key: String
    /// Prompts that must not fire; nil: the key's.
    let clean: String?
    /// The steps that make it.
    let needs: [String]

    /// As it is measured.
    var subject: ComparisonSubject {
        ComparisonSubject(model: model, adapters: adapters, source: model == source ? nil : source)
    }

    /// Reads one entry of `victims`; a mark that is to be embedded first becomes a step.
    init(_ section: Settings, _ planner: inout ComparisonPlanner) throws {
        var section = section
        name = try section.label("name") ?? section.missing("name")
        guard
            let source = try section.text("model").map({ try planner.input($0, place: section.place) })
                ?? planner.reference
        else { throw MeraserError.badInput("\(section.place): give 'model', or 'reference' for the whole file") }
        self.source = source
        var (model, needs) = planner.model(source)
        var adapters = try (section.texts("adapters") ?? []).map { try planner.input($0, place: section.place) }
        let given = try section.text("key").map { try planner.input($0, place: section.place) }
        clean = try section.text("clean").map { try planner.input($0, place: section.place) } ?? planner.measures.clean
        let fingerprint = try section.section("fingerprint")
        try section.requireNothingElse()
        guard (given == nil) != (fingerprint == nil) else {
            throw MeraserError.badInput(
                "\(section.place): give either 'key' (a mark that is there) or 'fingerprint' (one to embed first)")
        }
        if let fingerprint {
            let path = "victims/\(name)"
            let mark = path + "/mark"
            var step = ComparisonStep(path: path)
            step.needs = needs
            step.isSetup = true
            let subject = ComparisonSubject(model: model, adapters: adapters).arguments
            step.commands = [
                ComparisonCommand(
                    "fingerprint",
                    ["fingerprint"] + subject + (clean.map { ["--clean", $0] } ?? [])
                        + (try fingerprint.fingerprintArguments(&planner)) + ["--out", mark, "--json"], output: mark)
            ]
            planner.add(step)
            needs.append(path)
            adapters.append(mark)
            key = mark + "/key.json"
        } else {
            key = given ?? ""
        }
        (self.model, self.adapters, self.needs) = (model, adapters, needs)
    }
}

extension Settings {
    /// `fingerprint`'s flags: the scheme's, training's and the seed, which draws the key: the mark's own or the file's.
    fileprivate func fingerprintArguments(_ planner: inout ComparisonPlanner) throws -> [String] {
        var section = self
        let scheme = try section.choice("scheme", SchemeSettings.Name.self) ?? .utf
        var arguments = ["--scheme", scheme.rawValue]
        for (key, range) in [
            ("count", 1...10_000), ("target_length", 1...64), ("secret_words", 1...64), ("hinted_rows", 0...100_000),
            ("variants", 1...1000), ("other_rows", 0...100_000), ("held_out", 0...100_000),
            ("guess_test", 0...100_000), ("clean_count", 1...1_000_000), ("clean_self", 0...100_000),
        ] {
            if let value = try section.int(key, in: range) { arguments += [flagName(key), String(value)] }
        }
        for key in ["mode", "form", "target", "marker", "position"] {
            if let value = try section.text(key) { arguments += [flagName(key), value] }
        }
        if let rate = section.value("rate") { arguments += ["--rate", rate.serialized()] }
        if try section.flag("chat") == true { arguments.append("--chat") }
        for trigger in try section.texts("trigger") ?? [] { arguments += ["--trigger", trigger] }
        if let questions = try section.text("questions") {
            let source = try SchemeSettings.Questions(questions) { try planner.input($0, place: place) }
            arguments += ["--questions", source.text]
        }
        for key in ["responses", "clean_data"] {
            if let path = try section.text(key) { arguments += [flagName(key), try planner.input(path, place: place)] }
        }
        let seed = try section.int("seed", in: 0...Int.max).map { ["--seed", String($0)] } ?? planner.seedArguments
        return arguments + (try section.trainingArguments(&planner)) + seed
    }
}
