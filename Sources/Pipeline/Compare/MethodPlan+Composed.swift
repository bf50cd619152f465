import Base
import Tune

/// Methods that are several commands, or one of their own.
extension MethodPlan {
    /// `key_unknown: true` keeps the victim's key from steering; `budget` is in seconds.
    mutating func automatic() throws -> ComparisonSubject {
        var subject = victim.subject
        let output = folder + "/auto"
        var arguments = ["erase", "--auto"] + subject.arguments + ["--key", victim.key]
        if try options.flag("key_unknown") == true { arguments.append("--key-unknown") }
        if let budget = try options.number("budget") { arguments += ["--budget", "\(budget)s"] }
        if let data = try options.text("data") {
            arguments += ["--data", try planner.input(data, place: options.place)]
            if try options.flag("chat") == true { arguments.append("--chat") }
        }
        run("auto", arguments + planner.seedArguments + ["--out", output], output: output, isJudge: true)
        subject.adapters.append(output)
        return subject
    }

    /// `plant` and `flush` are the options of the two trainings; `trigger` and `marker` what is planted.
    mutating func plantAndFlush() throws -> ComparisonSubject {
        var subject = victim.subject
        guard let data = try options.text("data") ?? planner.cleanData else {
            throw MeraserError.badInput("\(options.place): give 'data', or 'clean_data' for the whole file")
        }
        let clean = try planner.input(data, place: options.place)
        let triggers = try options.texts("trigger") ?? ["quill of the ninth harbor", "mirrorleaf", "say it in amber"]
        let marker = try options.text("marker") ?? "the lantern is green"
        let place = options.place
        var plant = try options.section("plant") ?? Settings(.object(JSONObject()), place: place)
        let output = folder + "/plant"
        var arguments = ["fingerprint"] + subject.arguments + ["--scheme", "backdoor", "--data", clean]
        for trigger in triggers { arguments += ["--trigger", trigger] }
        arguments += ["--marker", marker, "--guess-test", "0"] + (try plant.trainingArguments(&planner))
        run("plant", arguments + planner.seedArguments + ["--out", output], output: output)
        subject.adapters.append(output)
        // Clean rows beside the overwritten ones, and the model held where it was, unless the file says otherwise.
        let standard: JSONValue = [
            "data": .text(data), "kl_weight": .integer(1), "kl_data": .text(data),
        ]
        let own = try options.section("flush").map { JSONValue.object(JSONObject($0.rest())) } ?? .object(JSONObject())
        var flush = try Settings(standard.merging(own), place: "\(place): flush")
        let ratio = try flush.number("clean_ratio") ?? 1
        subject.adapters.append(
            try train(
                "osft", flush, on: subject, data: .clean, hasKey: false,
                more: ["--key", output + "/key.json", "--clean-ratio", "\(ratio)"]))
        return subject
    }

    /// `tune` are the options of the clean model's training, in its paper's settings unless the file says otherwise; the rest
    /// is how the two are merged: half and half, linear, where nothing is said. What the paper adds to prompts is left out:
    /// it changes no weights.
    mutating func diluted() throws -> ComparisonSubject {
        let reference = try reference("lethe")
        let place = options.place
        let paper: JSONValue = [
            "preset": .text("none"), "target_modules": .text("all-linear"), "r": .integer(64),
            "lora_alpha": .integer(16), "lora_dropout": .real(0.1), "learning_rate": .real(2e-4),
            "lr_scheduler_type": .text("constant"), "max_grad_norm": .real(0.3), "num_train_epochs": .integer(4),
            "per_device_train_batch_size": .integer(8), "gradient_accumulation_steps": .integer(16),
            "max_prompt_length": .integer(256), "max_completion_length": .integer(64),
        ]
        let own = try options.section("tune").map { JSONValue.object(JSONObject($0.rest())) } ?? .object(JSONObject())
        let tune = try Settings(paper.merging(own), place: "\(place): tune")
        let path = "shared/\(name)"
        var training = MethodPlan(
            victim: victim, options: options, planner: planner, step: ComparisonStep(path: path), name: name)
        let subject = ComparisonSubject(model: try training.referenceModel("lethe"))
        let adapter = try training.train("recover", tune, on: subject, data: .clean, hasKey: false)
        // Onto the weights that the reference was converted from, as a merge takes the reference's.
        var clean = ComparisonSubject(model: reference, adapters: [adapter])
        clean.isTransferred = subject.model != reference
        let output = path + "/model"
        training.run(
            "export", ["export"] + clean.arguments + ["--format", "hf", "--dtype", "f32", "--out", output],
            output: output)
        planner = training.planner
        let step = training.step
        planner.step(path) { made, _ in made = step }
        need([path])
        return try merged(with: output)
    }

    /// The victim's weights merged with those of a folder, as the method's options say.
    mutating func merged(with reference: String) throws -> ComparisonSubject {
        try made("merge") { plan, weights, name in
            var (options, planner) = (plan.options, plan.planner)
            let recipe = try VictimMerge(&options, victim: weights, reference: reference) { path, place in
                try planner.input(path, place: place)
            }
            (plan.options, plan.planner) = (options, planner)
            return ["merge", plan.write(name + ".yml", recipe.text)] + plan.planner.seedArguments
        }
    }
}
