import Audit
import Base

/// What is measured of a task and how its answers are written: `metric_list`, `generation_kwargs`, `filter_list`.
extension Settings {
    /// `metric_list`; without one, lm-eval's metrics of that output.
    mutating func metrics(
        of output: TaskOutput, _ step: ResultStep?
    ) throws -> (metrics: [TaskMetric], match: ExactMatch) {
        var match = ExactMatch()
        guard let value = value("metric_list") else { return (TaskMetric.standard(output), match) }
        guard let list = value.array, !list.isEmpty else {
            throw MeraserError.badInput("\(place): 'metric_list' is \(value.kind), expected a list of metrics")
        }
        var metrics: [TaskMetric] = []
        for (index, entry) in list.enumerated() {
            var entry = try Settings(entry, place: "\(place): metric \(index + 1)")
            guard let metric = try entry.choice("metric", TaskMetric.self) else {
                throw MeraserError.badInput("\(entry.place): 'metric' is missing")
            }
            let known = TaskMetric.known(output, step)
            guard known.contains(metric) else {
                throw MeraserError.badInput(
                    "\(entry.place): \(metric.rawValue) is no metric of \(output.name) here, expected "
                        + known.map(\.rawValue).joined(separator: " or "))
            }
            // lm-eval's own F1 is of two classes.
            let expected = metric == .f1 && step != nil ? "mean" : metric.aggregation
            let aggregation = try entry.text("aggregation") ?? (expected == "macro" ? "" : expected)
            guard aggregation == expected else {
                throw MeraserError.badInput(
                    "\(entry.place): 'aggregation' of \(metric.rawValue) is '\(aggregation)', expected \(expected)")
            }
            _ = try entry.flag("higher_is_better")
            if metric == .exactMatch { match = try entry.exactMatch() }
            try entry.requireNothingElse()
            if !metrics.contains(metric) { metrics.append(metric) }
        }
        return (metrics, match)
    }

    private mutating func exactMatch() throws -> ExactMatch {
        var match = ExactMatch()
        match.ignoresCase = try flag("ignore_case") ?? false
        match.ignoresPunctuation = try flag("ignore_punctuation") ?? false
        match.ignoresNumbers = try flag("ignore_numbers") ?? false
        match.regexesToIgnore = try (textList("regexes_to_ignore") ?? []).map { try pattern("regexes_to_ignore", $0) }
        return match
    }

    /// A list of texts, or one; nil if the key is not there.
    private mutating func textList(_ key: String) throws -> [String]? {
        guard let value = value(key), !value.isNull else { return nil }
        let texts = value.array?.compactMap(\.string) ?? value.string.map { [$0] } ?? []
        guard texts.count == value.array?.count ?? 1 else {
            throw MeraserError.badInput("\(place): '\(key)' is \(value.kind), expected a text or a list of texts")
        }
        return texts
    }

    private func pattern(_ key: String, _ source: String) throws -> PythonPattern {
        do {
            return try PythonPattern(source)
        } catch let error as MeraserError {
            throw MeraserError(error.kind, "\(place): '\(key)': \(error.message)")
        }
    }

    /// `generation_kwargs` and `filter_list`; what ends an answer by default is what stands between examples.
    mutating func generation(delimiter: String) throws -> GenerationRule {
        var rule = GenerationRule(until: [delimiter])
        if var arguments = try section("generation_kwargs") {
            rule.until = try arguments.textList("until") ?? rule.until
            let names = ["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"]
            for name in names.reversed() { rule.maxTokens = try arguments.int(name, in: 1...65_536) ?? rule.maxTokens }
            let (samples, temperature) = (try arguments.flag("do_sample"), try arguments.number("temperature"))
            guard samples != true, temperature ?? 0 == 0 else {
                throw MeraserError.badInput(
                    "\(arguments.place): answers are written greedily: 'do_sample' must be false and 'temperature' 0")
            }
            try arguments.requireNothingElse()
        }
        guard let value = value("filter_list") else { return rule }
        guard let list = value.array, !list.isEmpty else {
            throw MeraserError.badInput("\(place): 'filter_list' is \(value.kind), expected a list of filters")
        }
        rule.filters = try list.enumerated().map { index, entry in
            var entry = try Settings(entry, place: "\(place): filter \(index + 1)")
            guard let name = try entry.text("name"), let steps = entry.value("filter")?.array, !steps.isEmpty else {
                throw MeraserError.badInput("\(entry.place): expected 'name' and a list 'filter'")
            }
            try entry.requireNothingElse()
            return AnswerFilter(
                name: name,
                steps: try steps.map { step in
                    var step = try Settings(step, place: entry.place)
                    return try step.filterStep()
                })
        }
        guard Set(rule.filters.map(\.name)).count == rule.filters.count else {
            throw MeraserError.badInput("\(place): 'filter_list' has two filters of one name")
        }
        return rule
    }

    private mutating func filterStep() throws -> AnswerFilter.Step {
        let function = try text("function") ?? ""
        let step: AnswerFilter.Step
        switch function {
        case "take_first": step = .takeFirst
        case "remove_whitespace": step = .removeWhitespace
        case "lowercase": step = .lowercase
        case "uppercase": step = .uppercase
        case "regex":
            let source = try text("regex_pattern") ?? #"#### (\-?[0-9\.\,]+)"#
            step = .regex(
                try pattern("regex_pattern", source), select: try int("group_select", in: -1000...1000) ?? 0,
                fallback: try text("fallback") ?? "[invalid]")
        default:
            throw MeraserError.badInput(
                "\(place): 'function' is \(quoted(function)), expected regex, take_first, remove_whitespace, lowercase or "
                    + "uppercase")
        }
        try requireNothingElse()
        return step
    }
}
