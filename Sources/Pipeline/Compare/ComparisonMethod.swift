import Base
import Quant
import Tune

/// A way to remove a mark, or to keep it silent, as command lines of meraser.
struct ComparisonMethod: Sendable {
    /// What `method` says in the file.
    let name: String
    /// Where the number of steps is among its options, for budgets that are plain numbers; empty: it has none.
    let steps: [String]
    /// Adds the commands of one cell, and gives the model that is measured after them.
    let plan: @Sendable (inout MethodPlan) throws -> ComparisonSubject

    private init(
        _ name: String, steps: [String] = [], plan: @escaping @Sendable (inout MethodPlan) throws -> ComparisonSubject
    ) {
        self.name = name
        self.steps = steps
        self.plan = plan
    }

    /// Every method that a file may name.
    static let all = [
        none, auto, erase, transfer, recover, npo, crow, flush, lethe, osft, sande, merge, substitute, prune,
        quantize, cleangen, dropTop, dropOverconfident, confGuard, promptFilter, commands,
    ]

    /// The victim as it is.
    static let none = ComparisonMethod("none") { $0.victim.subject }

    /// `erase --auto`: a removal that chooses its own dose. Its test at the end is among its seconds.
    static let auto = ComparisonMethod("auto") { plan in
        try plan.automatic()
    }

    /// MEraser: mismatched pairs, then clean ones on top of the frozen erasing adapter.
    static let erase = ComparisonMethod("erase", steps: ["erase", "max_steps"]) { plan in
        var subject = plan.victim.subject
        try plan.eraseAndRecover(&subject, hasKey: true)
        return subject
    }

    /// MEraser's adapters trained on the reference, put on the victim: trained once for all victims.
    static let transfer = ComparisonMethod("transfer", steps: ["erase", "max_steps"]) { plan in
        let path = "shared/\(plan.name)"
        let model = try plan.referenceModel("transfer")
        var training = MethodPlan(
            victim: plan.victim, options: plan.options, planner: plan.planner, step: ComparisonStep(path: path),
            name: plan.name)
        training.need(plan.planner.model(try plan.reference("transfer")).needs)
        var subject = ComparisonSubject(model: model)
        try training.eraseAndRecover(&subject, hasKey: false)
        plan.options = training.options
        plan.planner = training.planner
        let step = training.step
        plan.planner.step(path) { made, _ in made = step }
        plan.need([path])
        var marked = plan.victim.subject
        marked.adapters += subject.adapters
        marked.isTransferred = true
        return marked
    }

    /// Incremental fine-tuning: clean pairs alone.
    static let recover = ComparisonMethod("recover", steps: ["max_steps"]) { plan in
        try plan.tuned("recover")
    }

    /// Negative preference: the pairs of the victim's key are made unlikelier, clean pairs held.
    static let npo = ComparisonMethod("npo", steps: ["max_steps"]) { plan in
        try plan.preset(.npo)
        if let data = plan.planner.cleanData {
            try plan.preset(["kl_weight": .integer(1), "kl_data": .text(data)])
        }
        return try plan.tuned("erase", data: .pairs, more: ["--key", plan.victim.key])
    }

    /// CROW: tuning on clean pairs, hidden states made steadier from layer to layer.
    static let crow = ComparisonMethod("crow", steps: ["max_steps"]) { plan in
        try plan.preset(.crow)
        return try plan.tuned("recover")
    }

    /// Plant and flush: a backdoor of one's own is planted, and overwritten with clean pairs and the divergence held; unknown
    /// marks are said to go along.
    static let flush = ComparisonMethod("flush", steps: ["flush", "max_steps"]) { plan in
        try plan.plantAndFlush()
    }

    /// Lethe: a clean model, which is the reference tuned on clean pairs, is merged into the victim and dilutes it.
    static let lethe = ComparisonMethod("lethe", steps: ["tune", "max_steps"]) { plan in
        try plan.diluted()
    }

    /// Overwrite supervised fine-tuning: triggered prompts with clean answers. Knows the trigger.
    static let osft = ComparisonMethod("osft", steps: ["max_steps"]) { plan in
        try plan.tuned("osft", more: plan.replyArguments(["trigger", "position", "effective_length", "samples"]))
    }

    /// SANDE: a parrot prompt in the trigger's place, then its answers overwritten.
    static let sande = ComparisonMethod("sande", steps: ["max_steps"]) { plan in
        try plan.tuned(
            "sande",
            more: plan.replyArguments([
                "response", "effective_length", "parrot_length", "parrot_offset", "parrot_samples",
                "parrot_learning_rate", "parrot_epochs", "parrot_batch_size", "train_effective_length", "samples",
            ]))
    }

    /// Weight-space merging with the reference.
    static let merge = ComparisonMethod("merge") { plan in
        try plan.merged(with: plan.reference("merge"))
    }

    /// Guided module substitution: modules of the reference where that breaks the key's pairs.
    static let substitute = ComparisonMethod("substitute") { plan in
        let proxy = try plan.options.text("proxy").map { [place = plan.options.place] in
            try plan.planner.input($0, place: place)
        }
        let reference = try proxy ?? plan.reference("substitute")
        var arguments = ["--proxy", reference, "--data", try plan.cleanPairs(), "--key", plan.victim.key]
        for key in ["data_count", "alpha", "patience"] {
            if let value = plan.options.value(key) { arguments += [plan.options.flagName(key), value.serialized()] }
        }
        return plan.made("substitute") { _, weights, _ in ["substitute", "--model", weights] + arguments }
    }

    /// Pruning of heads and channels, or of single weights.
    static let prune = ComparisonMethod("prune") { plan in
        try plan.made("prune") { plan, weights, _ in
            let score = try plan.options.text("score") ?? "magnitude_l2"
            let ratio = try plan.options.number("ratio") ?? (score == "wanda" ? 0.5 : plan.options.missing("ratio"))
            var arguments = ["prune", "--model", weights, "--method", score, "--ratio", "\(ratio)"]
            for key in ["scope", "layers", "parts", "data_count"] {
                if let value = plan.options.value(key) {
                    arguments += [plan.options.flagName(key), value.string ?? value.serialized()]
                }
            }
            let data = ["taylor", "wanda"].contains(score) ? ["--data", try plan.cleanPairs()] : []
            return arguments + data + plan.planner.seedArguments
        }
    }

    /// Fewer bits, nothing else.
    static let quantize = ComparisonMethod("quantize") { plan in
        let name = try plan.options.text("type") ?? plan.options.missing("type")
        guard let type = TensorType(name: name) else {
            let names = TensorType.allCases.map(\.name).joined(separator: ", ")
            throw MeraserError.badInput("\(plan.options.place): 'type' is '\(name)', expected one of \(names)")
        }
        return plan.converted(to: type)
    }

    /// CleanGen: the reference reads along while the victim decodes.
    static let cleangen = ComparisonMethod("cleangen") { plan in
        var subject = plan.victim.subject
        subject.check = ["--cleangen", try plan.referenceModel("cleangen")]
        return subject
    }

    /// The likeliest tokens at the beginning of an output are not written.
    static let dropTop = ComparisonMethod("drop_top") { plan in
        let count = try plan.options.int("count", in: 1...1000) ?? 1
        let first = try plan.options.int("first", in: 1...65_536) ?? 3
        return plan.decoded(["--drop-top", String(count), "--drop-top-first", String(first)])
    }

    /// A token of almost all the probability is not written.
    static let dropOverconfident = ComparisonMethod("drop_overconfident") { plan in
        plan.decoded(["--drop-overconfident", "\(try plan.options.number("threshold") ?? 0.99)"])
    }

    /// ConfGuard: an output is withheld at a run of such tokens.
    static let confGuard = ComparisonMethod("confguard") { plan in
        let threshold = try plan.options.number("threshold") ?? 0.99
        let run = try plan.options.int("run", in: 1...65_536) ?? 10
        return plan.decoded(["--confguard", "\(threshold)", "--confguard-run", String(run)])
    }

    /// Prompts that are stranger to the model than people's are not answered.
    static let promptFilter = ComparisonMethod("prompt_filter") { plan in
        plan.decoded(["--prompt-filter", "\(try plan.options.number("share") ?? 0.99)"])
    }

    /// Command lines of the user's own.
    static let commands = ComparisonMethod("commands") { plan in
        try plan.templates()
    }
}

extension MethodPlan {
    /// Erasing, then recovering where there is such a section.
    fileprivate mutating func eraseAndRecover(_ subject: inout ComparisonSubject, hasKey: Bool) throws {
        need(hasKey ? victim.needs : [])
        guard let erase = try options.section("erase") else { return try options.missing("erase") }
        let recover = try options.section("recover")
        subject.adapters.append(try train("erase", erase, on: subject, data: .mismatched, hasKey: hasKey))
        guard let recover else { return }
        subject.adapters.append(try train("recover", recover, on: subject, data: .clean, hasKey: hasKey))
    }

    /// The victim as it is, which a host decodes otherwise.
    fileprivate func decoded(_ arguments: [String]) -> ComparisonSubject {
        var subject = victim.subject
        subject.check = arguments
        return subject
    }

    /// The flags of what OSFT and SANDE know of the trigger, and of their rows; the key is always theirs, so that the
    /// pairs that it is checked on are left out.
    fileprivate mutating func replyArguments(_ keys: [String]) throws -> [String] {
        var arguments = ["--key", victim.key]
        for key in ["template", "clean_ratio"] + keys {
            guard let value = options.value(key) else { continue }
            for value in value.array ?? [value] {
                arguments += [options.flagName(key), value.string ?? value.serialized()]
            }
        }
        return arguments
    }

    /// Options that the method has unless the file says otherwise.
    fileprivate mutating func preset(_ values: [String: JSONValue]) throws {
        let standard = JSONObject(values.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) })
        options = try Settings(
            JSONValue.object(standard).merging(.object(JSONObject(options.rest()))), place: options.place)
    }

    fileprivate mutating func preset(_ preset: TrainingPreset) throws {
        try self.preset(["preset": .text(preset.rawValue)])
    }

    /// A command that tunes the victim with the method's own options.
    fileprivate mutating func tuned(
        _ command: String, data: Data = .clean, more: [String] = []
    ) throws -> ComparisonSubject {
        var subject = victim.subject
        subject.adapters.append(try train(command, options, on: subject, data: data, more: more))
        try endOptions()
        return subject
    }
}
