import Base

extension MethodPlan {
    /// The commands of a method that the user wrote: `commands`, a list of command lines of meraser; `measure`, what
    /// `check`, `ppl` and `eval` are told of the model; `check`, more arguments for `check` alone; `inputs`, names for files.
    ///
    /// In them `{model}`, `{adapters}`, `{key}`, `{out}`, `{reference}`, `{clean_data}`, `{seed}`, `{weights}` (the victim as
    /// a Hugging Face folder) and the names of `inputs` stand for the cell's own. Words are cut first and filled then.
    mutating func templates() throws -> ComparisonSubject {
        let lines = try options.texts("commands") ?? options.missing("commands")
        let measured = try options.text("measure") ?? "--model {model} {adapters}"
        let check = try options.text("check") ?? ""
        var values: [String: [String]] = [
            "model": [victim.model], "adapters": victim.adapters.flatMap { ["--adapter", $0] }, "key": [victim.key],
            "out": [folder], "seed": [String(planner.seed)],
        ]
        if let section = try options.section("inputs") {
            for (name, value) in section.rest() {
                guard let path = value.string, values[name] == nil else {
                    throw MeraserError.badInput("\(section.place): '\(name)' must be a name of its own with a path")
                }
                values[name] = [try planner.input(path, place: section.place)]
            }
        }
        let all = lines + [measured, check]
        if all.contains(where: { $0.contains("{reference}") }) {
            values["reference"] = [try referenceModel("{reference}")]
        }
        if all.contains(where: { $0.contains("{clean_data}") }), let data = planner.cleanData {
            values["clean_data"] = [try planner.input(data, place: options.place)]
        }
        if all.contains(where: { $0.contains("{weights}") }) { values["weights"] = [victimWeights()] }
        for (index, line) in lines.enumerated() {
            var words = try filled(line, values)
            if words.first == "meraser" { words.removeFirst() }
            guard let command = words.first, !command.hasPrefix("-") else {
                throw MeraserError.badInput("\(options.place): '\(line)' is no command of meraser")
            }
            run("\(index + 1)-\(command)", words.filter { $0 != "--json" }, output: output(of: words))
        }
        var subject = ComparisonSubject(model: "")
        subject.words = try filled(measured, values)
        subject.check = try filled(check, values)
        return subject
    }

    /// What a command makes, if that is in the cell's own folder.
    private func output(of words: [String]) -> String? {
        words.indices.dropLast().first { words[$0] == "--out" }.map { words[$0 + 1] }
            .flatMap { $0.hasPrefix(folder + "/") && !$0.contains("..") ? $0 : nil }
    }

    private func filled(_ template: String, _ values: [String: [String]]) throws -> [String] {
        guard let words = shellWords(template) else {
            throw MeraserError.badInput("\(options.place): a quote in '\(template)' is not closed")
        }
        return try words.flatMap { word -> [String] in
            if word.hasPrefix("{"), word.hasSuffix("}"), let value = values[String(word.dropFirst().dropLast())] {
                return value
            }
            var rest = Substring(word)
            var result = ""
            while let open = rest.firstIndex(of: "{") {
                guard let close = rest[open...].firstIndex(of: "}") else { break }
                let name = String(rest[rest.index(after: open)..<close])
                guard let value = values[name], value.count == 1 else {
                    let known = values.keys.sorted()
                    let nearest = closest(to: name, in: known).map { "; did you mean '{\($0)}'?" }
                    throw MeraserError.badInput(
                        "\(options.place): '{\(name)}' stands for nothing\(nearest ?? "; known are \(known.joined(separator: ", "))")"
                    )
                }
                result += rest[..<open] + value[0]
                rest = rest[rest.index(after: close)...]
            }
            return [result + rest]
        }
    }
}
