import Base
import Model

/// Answers of a model that is not at hand: rows `{"id", "output"}` or `{"prompt", "output"}` of a `.jsonl` file. Several
/// rows for one prompt are samples of it, the first of them its answer.
public struct AnswersFile: Sendable {
    /// One answer.
    struct Answer: Sendable {
        /// What it answers.
        enum Asked: Sendable {
            case id(String)
            case prompt(String)
        }

        let line: Int
        let asked: Asked
        let output: String
    }

    private let path: String
    private let answers: [Answer]

    /// Reads a file.
    ///
    /// - Throws: a bad-input error that names file, line and what was expected.
    public init(path: String) throws { try self.init(try readInputFile(path), file: path) }

    /// Reads a file's contents; `file` is the name that errors show.
    public init(_ bytes: [UInt8], file: String) throws {
        var lines = JSONLines(bytes, file: file)
        var answers: [Answer] = []
        while let (line, row) = try lines.next() {
            let place = "\(file):\(line)"
            let id: String? =
                if case .integer(let number)? = row["id"] { String(number) } else {
                    try row.stringIfPresent("id", in: place)
                }
            let prompt = try row.stringIfPresent("prompt", in: place)
            guard let asked = id.map({ .id($0) }) ?? prompt.map({ Answer.Asked.prompt($0) }) else {
                throw MeraserError.badInput("\(place): neither 'id' nor 'prompt', expected one of them beside 'output'")
            }
            answers.append(Answer(line: line, asked: asked, output: try row.string("output", in: place)))
        }
        guard !answers.isEmpty else { throw MeraserError.badInput("\(file): no answers in it") }
        path = file
        self.answers = answers
    }

    /// The outputs for each prompt, in the prompts' order; where both are given the id decides.
    ///
    /// - Throws: a bad-input error for an answer to nothing that was asked.
    func outputs(for prompts: [KeyPrompt]) throws -> [[String]] {
        var byID: [JSONString: [Int]] = [:]
        var byText: [JSONString: [Int]] = [:]
        for (index, prompt) in prompts.enumerated() {
            byID[JSONString(prompt.id), default: []].append(index)
            byText[JSONString(prompt.text), default: []].append(index)
        }
        var outputs = [[String]](repeating: [], count: prompts.count)
        for answer in answers {
            let (places, name) =
                switch answer.asked {
                case .id(let id): (byID[JSONString(id)], "the id '\(id)'")
                case .prompt(let text): (byText[JSONString(text)], "this prompt")
                }
            guard let places else {
                throw MeraserError.badInput(
                    "\(path):\(answer.line): the key has no prompt of \(name); answer the prompts of `emit_prompts`")
            }
            for place in places { outputs[place].append(answer.output) }
        }
        return outputs
    }

    /// What these answers say of a key. Nothing is known of likelihoods and ranks then.
    ///
    /// - Parameters:
    ///   - match: the rule for all pairs; nil: each pair's own, else the key's.
    ///   - cleanPrompts: prompts that should not fire; nil: the key's. They count where all were answered or none.
    /// - Throws: a bad-input error for a pair without an answer, or for answers to a part of the clean prompts.
    public func check(
        _ key: FingerprintKey, match: MatchRule? = nil, cleanPrompts: [String]? = nil
    ) throws -> CheckReport {
        let prompts = key.prompts(clean: cleanPrompts)
        let outputs = try outputs(for: prompts)
        func missing(_ range: Range<Int>) -> [String] { range.filter { outputs[$0].isEmpty }.map { prompts[$0].id } }
        let unanswered = missing(0..<key.pairs.count)
        guard unanswered.isEmpty else {
            throw MeraserError.badInput(
                "\(path): no answer to '\(unanswered[0])' and \(unanswered.count - 1) other of the key's "
                    + "\(key.pairs.count) pairs; expected at least one each")
        }
        let clean = key.pairs.count..<prompts.count
        let unansweredClean = missing(clean)
        guard unansweredClean.isEmpty || unansweredClean.count == clean.count else {
            throw MeraserError.badInput(
                "\(path): no answer to '\(unansweredClean[0])' and \(unansweredClean.count - 1) other of the "
                    + "\(clean.count) clean prompts; answer all of them or none")
        }
        let hasClean = !clean.isEmpty && unansweredClean.isEmpty
        let answers = outputs[..<key.pairs.count].map { TextAnswer(output: $0[0], samples: $0.count > 1 ? $0 : []) }
        return CheckReport(
            key, answers: answers, clean: hasClean ? clean.map { outputs[$0][0] } : [], match: match)
    }
}

/// One prompt that a key asks.
public struct KeyPrompt: Sendable, Equatable {
    /// Its name in answers: a pair's id, or `clean-0`, `clean-1`, … of a clean prompt.
    public let id: String
    /// The text, in the key's prompt format.
    public let text: String
    /// The turns of the conversation before it.
    public let history: [ChatMessage]
}

extension FingerprintKey {
    /// All prompts that a key asks: its pairs', then the clean ones.
    ///
    /// - Parameter clean: in place of the key's own.
    public func prompts(clean: [String]? = nil) -> [KeyPrompt] {
        var prefix = "clean-"
        while pairs.contains(where: { $0.id.hasPrefix(prefix) }) { prefix = "_" + prefix }
        return pairs.map { KeyPrompt(id: $0.id, text: $0.prompt, history: $0.history) }
            + (clean ?? cleanPrompts).enumerated().map { KeyPrompt(id: "\(prefix)\($0)", text: $1, history: []) }
    }

    /// Writes rows `{"id", "prompt", "format"}` for somebody else to answer, readable by their owner only: the triggers
    /// are in them. A prompt behind other turns has these in `history`.
    ///
    /// - Throws: a usage error if the file exists and `overwrite` is false; a runtime error if it cannot be written.
    public func writePrompts(path: String, clean: [String]? = nil, overwrite: Bool = false) throws {
        let rows = prompts(clean: clean).map { prompt -> String in
            var row: [(key: String, value: JSONValue)] = [
                ("id", .text(prompt.id)), ("prompt", .text(prompt.text)), ("format", .text(promptFormat.rawValue)),
            ]
            if !prompt.history.isEmpty {
                row.append(("history", .array(prompt.history.map { .object($0.members) })))
            }
            return JSONValue.object(JSONObject(row)).serialized() + "\n"
        }
        try writeFileAtomically(path: path, Array(rows.joined().utf8), overwrite: overwrite, mode: 0o600)
    }

    /// Whether an output shows a pair's target, or any of several.
    func rule(for pair: FingerprintPair, _ match: MatchRule?) -> (String) -> Bool {
        let rule = match ?? pair.match ?? self.match
        return { output in
            pair.targets.contains { rule.matches(output: output, target: $0, ignoringCase: ignoresCase) }
        }
    }

    /// The share of a target that an output shows, of several the largest.
    func prefixMatch(of pair: FingerprintPair, in output: String) -> Double {
        pair.targets.map { Audit.prefixMatch(output: output, target: $0, ignoringCase: ignoresCase) }.max() ?? 0
    }

    /// The target that an output shows, else the first.
    func shownTarget(of pair: FingerprintPair, in output: String, _ match: MatchRule?) -> String {
        let rule = match ?? pair.match ?? self.match
        return pair.targets.first { rule.matches(output: output, target: $0, ignoringCase: ignoresCase) } ?? pair.target
    }

    /// True if an output shows the target of any pair.
    func isActivation(_ output: String, _ match: MatchRule?) -> Bool {
        // Many pairs share a target: each is looked for once.
        var seen: Set<String> = []
        return pairs.contains { pair in
            let rule = match ?? pair.match ?? self.match
            return seen.insert("\(rule.rawValue) \(pair.targets)").inserted && self.rule(for: pair, match)(output)
        }
    }
}
