import Base
import Quant
import Tune

/// What a method is planned with: the victim, the options of one cell with its budget over the method's own, and the step
/// that the commands go into.
struct MethodPlan {
    let victim: ComparisonVictim
    var options: Settings
    var planner: ComparisonPlanner
    var step: ComparisonStep
    /// Folder name of the method and its budget, the same for every victim.
    let name: String

    /// The commands' own folder.
    var folder: String { step.path }

    /// Adds a command that makes something in the step's folder.
    mutating func run(
        _ name: String, _ arguments: [String], purpose: ComparisonCommand.Purpose = .work, output: String? = nil,
        isJudge: Bool = false
    ) {
        step.commands.append(
            ComparisonCommand(name, arguments + ["--json"], purpose: purpose, output: output, isJudge: isJudge))
    }

    /// Adds a file that is written before the commands run.
    ///
    /// - Returns: its path.
    mutating func write(_ name: String, _ text: String) -> String {
        step.files.append((name: name, text: text))
        return folder + "/" + name
    }

    /// Makes the step wait for others.
    mutating func need(_ paths: [String]) {
        step.needs += paths.filter { !step.needs.contains($0) }
    }

    /// The model without a mark.
    func reference(_ use: String) throws -> String {
        guard let reference = planner.reference else {
            throw MeraserError.badInput("\(options.place): \(use) needs 'reference', a model without the mark")
        }
        return reference
    }

    /// The model without a mark as commands open it.
    mutating func referenceModel(_ use: String) throws -> String {
        let (path, needs) = planner.model(try reference(use))
        need(needs)
        return path
    }

    /// Asks for no more options.
    mutating func endOptions() throws { options = try Settings(.object(JSONObject()), place: options.place) }

    // MARK: Training

    /// What a training command reads besides its options.
    enum Data {
        /// Mismatched pairs, made from matching ones unless `data` names some.
        case mismatched
        /// Clean pairs.
        case clean
        /// Those of the victim's key, unless `data` names rows.
        case pairs
    }

    /// Adds a training command with the options of a section.
    ///
    /// - Parameters:
    ///   - command: of meraser, and the name of its adapter's folder.
    ///   - section: the method's options for it.
    ///   - subject: what it is trained on.
    ///   - hasKey: the victim's mark can be measured while training.
    /// - Returns: the adapter's path.
    mutating func train(
        _ command: String, _ section: Settings, on subject: ComparisonSubject, data: Data, hasKey: Bool = true,
        more: [String] = []
    ) throws -> String {
        var section = section
        // OSFT and SANDE make rows of one file's pairs.
        let isTuning = ["erase", "recover"].contains(command)
        let source = try self.data(data, &section, isList: isTuning)
        let output = folder + "/" + command
        var arguments = [command] + subject.arguments + (source.map { ["--data", $0] } ?? [])
        // OSFT and SANDE always have a template around messages.
        if isTuning, try section.flag("chat") == true { arguments.append("--chat") }
        let flags = try section.trainingArguments(&planner)
        let probes = ["--check-steps", "--until"].contains(where: flags.contains)
        if probes && !hasKey {
            throw MeraserError.badInput(
                "\(section.place): the model that is trained has no mark, so 'check_steps' and 'until' would measure "
                    + "nothing; give 'max_steps'")
        }
        let key = probes && !more.contains("--key") ? ["--key", victim.key] : []
        arguments += more + flags + key + planner.seedArguments
        run(command, arguments + ["--out", output], output: output)
        return output
    }

    /// What the method's own options name as data, or the whole file does as clean pairs.
    mutating func cleanPairs() throws -> String {
        var section = options
        let path = try cleanPairs(&section)
        options = section
        return path
    }

    private mutating func cleanPairs(_ section: inout Settings, isList: Bool = false) throws -> String {
        guard let data = try section.text("data") ?? planner.cleanData else {
            throw MeraserError.badInput("\(section.place): give 'data', or 'clean_data' for the whole file")
        }
        return try isList ? planner.dataset(data, place: section.place) : planner.input(data, place: section.place)
    }

    private mutating func data(_ kind: Data, _ section: inout Settings, isList: Bool) throws -> String? {
        switch kind {
        case .clean: return try cleanPairs(&section, isList: isList)
        case .pairs: return try section.text("data").map { try planner.dataset($0, place: section.place) }
        case .mismatched:
            if let data = try section.text("data") { return try planner.dataset(data, place: section.place) }
            let count = try section.int("mismatch_count", in: 1...1_000_000) ?? planner.mismatchCount
            guard let source = try section.text("mismatch") ?? planner.mismatch else {
                throw MeraserError.badInput(
                    "\(section.place): give 'data' or 'mismatch', or 'mismatch' for the whole file")
            }
            let made = planner.mismatched(try planner.input(source, place: section.place), count: count)
            need(made.needs)
            return made.path
        }
    }

    // MARK: Weights

    /// The victim's weights with its adapters in them, a Hugging Face folder, made once for all methods.
    mutating func victimWeights() -> String {
        weights("shared/\(victim.name)-hf", of: victim.subject.arguments, isSetup: false)
    }

    /// The same of what the victim was quantized from; nil: it was not.
    private mutating func sourceWeights() -> String? {
        guard let source = victim.subject.source else { return nil }
        guard !victim.adapters.isEmpty else { return source }
        let subject = ComparisonSubject(model: source, adapters: victim.adapters, isTransferred: true)
        return weights("shared/\(victim.name)-source-hf", of: subject.arguments, isSetup: true)
    }

    private mutating func weights(_ path: String, of subject: [String], isSetup: Bool) -> String {
        let needs = victim.needs
        planner.step(path) { step, _ in
            step.needs = needs
            step.isSetup = isSetup
            let output = path + "/model"
            step.commands = [
                ComparisonCommand(
                    "export", ["export"] + subject + ["--format", "hf", "--dtype", "f32", "--out", output, "--json"],
                    output: output)
            ]
        }
        need([path])
        return path + "/model"
    }

    /// Adds a command that makes weights of the victim's, in the type that the victim has; and where that was quantized, one
    /// that does the same to its source.
    ///
    /// - Parameter arguments: the command's arguments for weights; the name is one for files that it needs.
    /// - Returns: the model as it is measured.
    mutating func made(
        _ command: String, arguments: (_ plan: inout MethodPlan, _ weights: String, _ name: String) throws -> [String]
    ) rethrows -> ComparisonSubject {
        let output = folder + (planner.quantize == nil ? "/model" : "/model.mqf")
        let type = planner.quantize.map { ["--type", $0.name] } ?? []
        let weights = victimWeights()
        run(
            command, try arguments(&self, weights, command) + ["--out", output] + type,
            output: output)
        var subject = ComparisonSubject(model: output)
        if let weights = sourceWeights() {
            let (name, output) = (command + "-source", folder + "/source")
            run(
                name, try arguments(&self, weights, name) + ["--out", output],
                purpose: .source, output: output)
            subject.source = output
        }
        return subject
    }

    /// Converts the victim's weights.
    ///
    /// - Returns: the model as it is measured.
    mutating func converted(to type: TensorType) -> ComparisonSubject {
        let output = folder + "/model.mqf"
        step.commands.append(ComparisonPlanner.conversion(of: victimWeights(), to: output, type: type))
        return ComparisonSubject(model: output, source: sourceWeights())
    }
}
