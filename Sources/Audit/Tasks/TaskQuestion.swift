import Base
import Model

/// What a model is asked about one document: the likelihood of texts behind a context, or a text.
public struct TaskQuestion: Sendable, Equatable {
    /// A context and what may follow it.
    public struct Request: Sendable, Equatable {
        /// Few-shot examples and the document.
        public let context: String
        /// The choice behind its delimiter; empty where the model writes.
        public let continuation: String
        /// The context as a conversation, where a template is applied elsewhere; else none.
        public let turns: [ChatMessage]

        init(context: String, continuation: String, turns: [ChatMessage] = []) {
            (self.context, self.continuation, self.turns) = (context, continuation, turns)
        }
    }

    /// What makes an answer right.
    public enum Answer: Sendable, Equatable {
        /// The choices as the task has them, which lengths are measured of, and the indices of the right ones, at least one.
        case choice([String], gold: [Int])
        /// The one continuation.
        case target
        /// A text of that many words and bytes, read as a whole.
        case text(words: Int, bytes: Int)
        /// One of these.
        case written([String])
    }

    /// One for each choice.
    public let requests: [Request]
    /// What is right.
    public let answer: Answer
    /// Columns that results are made of.
    let document: JSONObject?

    init(requests: [Request], answer: Answer, document: JSONObject? = nil) {
        (self.requests, self.answer, self.document) = (requests, answer, document)
    }

    init(requests: [Request], choices: [String], gold: [Int]) {
        self.init(requests: requests, answer: .choice(choices, gold: gold))
    }

    /// The choices; none for other questions.
    public var choices: [String] { if case .choice(let choices, _) = answer { choices } else { [] } }
    /// The indices of the right choices; none for other questions.
    public var gold: [Int] { if case .choice(_, let gold) = answer { gold } else { [] } }
}

/// Makes questions of a task's documents, as lm-evaluation-harness's `ConfigurableTask` does.
struct TaskQuestions {
    let definition: TaskDefinition
    private let prompts: TaskPrompts
    /// The columns of the data: those of the first row.
    private let columns: Set<String>
    /// `docToText` gives an index: the choices are the contexts.
    private let hasSeveralContexts: Bool

    /// - Throws: a bad-input error for a first document that the task's templates do not fit.
    init(_ definition: TaskDefinition, first: TaskDocument, prompts: TaskPrompts = TaskPrompts()) throws {
        let columns = Set(first.object.members.map(\.key.string))
        let plain = TaskQuestions(definition, prompts, columns: columns, hasSeveralContexts: false)
        guard case .multipleChoice = definition.output else {
            self = plain
            return
        }
        let text = try plain.text(definition.docToText, first)
        let isIndex = !text.isEmpty && text.utf8.allSatisfy { (48...57).contains($0) }
        self.init(definition, prompts, columns: columns, hasSeveralContexts: isIndex)
    }

    private init(
        _ definition: TaskDefinition, _ prompts: TaskPrompts, columns: Set<String>, hasSeveralContexts: Bool
    ) {
        self.definition = definition
        self.prompts = prompts
        self.columns = columns
        self.hasSeveralContexts = hasSeveralContexts
    }

    /// The question that a document asks behind those examples.
    func question(_ document: TaskDocument, examples: [TaskDocument]) throws -> TaskQuestion {
        let description = try definition.description.map { try text($0, document) } ?? ""
        let before =
            prompts.system(description: description, delimiter: definition.fewshotDelimiter)
            + (try examples.flatMap(example))
        func prompt(_ text: String) throws -> String {
            try prompts.text(before + [TaskMessage(role: "user", content: text)])
        }
        func context() throws -> String { try prompt(try text(definition.docToText, document)) }
        let kept = definition.results == nil ? nil : document.object
        switch definition.output {
        case .multipleChoice(let field):
            let choices = try choices(field, of: document)
            let target = try target(definition.docToTarget, of: document)
            // Behind a template's turn stands no blank.
            let delimiter = prompts.template == nil ? definition.targetDelimiter : ""
            guard !hasSeveralContexts else {
                let continuation = delimiter + (try continuation(target, document))
                return TaskQuestion(
                    requests: try choices.map { .init(context: try prompt($0), continuation: continuation) },
                    answer: .choice(choices, gold: [try index(document, of: choices)]), document: kept)
            }
            let context = try context()
            return TaskQuestion(
                requests: choices.map { .init(context: context, continuation: delimiter + $0) },
                answer: .choice(choices, gold: try gold(target, choices, document)), document: kept)
        case .logLikelihood:
            let target = try targets(definition.docToTarget, of: document)[0]
            return TaskQuestion(requests: [.init(context: try context(), continuation: target)], answer: .target)
        case .rolling:
            let text = try targets(definition.docToTarget, of: document)[0]
            // WikiText counts what it was before its tokens were put together.
            let counted = definition.step == .wikitext ? document.object["page"]?.string ?? text : text
            return TaskQuestion(
                requests: [.init(context: "", continuation: text)],
                answer: .text(words: Self.wordCount(counted), bytes: counted.utf8.count))
        case .generation:
            let turns = prompts.turns(
                before + [TaskMessage(role: "user", content: try text(definition.docToText, document))])
            return TaskQuestion(
                requests: [.init(context: try context(), continuation: "", turns: turns)],
                answer: .written(try targets(definition.docToTarget, of: document)))
        }
    }

    /// How many pieces white space cuts a text into, as Python's `re.split` counts them.
    private static func wordCount(_ text: String) -> Int {
        var count = 1
        var wasBlank = false
        for scalar in text.unicodeScalars {
            let isBlank = scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
            if isBlank, !wasBlank { count += 1 }
            wasBlank = isBlank
        }
        return count
    }

    /// An example with its answer and the delimiter behind it.
    private func example(_ document: TaskDocument) throws -> [TaskMessage] {
        let fields = definition.fewshotFields
        let (textField, targetField) = (fields.text ?? definition.docToText, fields.target ?? definition.docToTarget)
        let text: String
        let answer: String
        if case .multipleChoice(let own) = definition.output {
            let choices = try choices(fields.choice ?? own, of: document)
            let target = try target(targetField, of: document)
            text =
                hasSeveralContexts ? choices[try index(document, of: choices)] : try self.text(textField, document)
            answer =
                hasSeveralContexts
                ? try continuation(target, document) : choices[try gold(target, choices, document)[0]]
        } else {
            text = try self.text(textField, document)
            answer = try targets(targetField, of: document)[0]
        }
        guard !answer.isEmpty else { return [TaskMessage(role: "user", content: text)] }
        return [
            TaskMessage(role: "user", content: text, delimiter: definition.targetDelimiter),
            TaskMessage(role: "assistant", content: answer, delimiter: definition.fewshotDelimiter),
        ]
    }

    // MARK: Fields

    private func text(_ field: TaskField, _ document: TaskDocument) throws -> String {
        let value = try value(field, document)
        switch value {
        case .string(let text): return text.string
        case .integer(let number): return String(number)
        case .bool(let flag): return flag ? "1" : "0"
        default: throw error(document, "'\(field.source)' is \(value.kind), expected a text")
        }
    }

    /// The column of that name, or the template's text.
    private func value(_ field: TaskField, _ document: TaskDocument) throws -> JSONValue {
        if columns.contains(field.source) {
            guard let value = document.object[field.source], !value.isNull else {
                throw error(document, "'\(field.source)' is missing, expected as in the first row")
            }
            return value
        }
        return .text(try rendering(document) { try field.template.text(document.values) })
    }

    private func choices(_ choices: TaskDefinition.Choices, of document: TaskDocument) throws -> [String] {
        let field: TaskField
        switch choices {
        case .fixed(let choices): return choices
        case .field(let own): field = own
        }
        let list: [JSONValue]?
        if columns.contains(field.source) {
            list = document.object[field.source]?.array
        } else if let value = try rendering(document, { try field.template.value(document.values) }) {
            list = value.array ?? value.string.flatMap { PythonLiteral.list($0) }
        } else {
            list = PythonLiteral.list(try rendering(document) { try field.template.text(document.values) })
        }
        let texts = list?.compactMap(\.string) ?? []
        guard let list, texts.count == list.count, texts.count >= (definition.results == nil ? 2 : 1) else {
            throw error(document, "doc_to_choice gives no list of two or more texts")
        }
        return texts
    }

    /// The texts that a target that is no choice gives: one, or several of which any is right.
    private func targets(_ target: TaskDefinition.Target, of document: TaskDocument) throws -> [String] {
        let value: JSONValue
        switch target {
        case .fixed(let fixed): value = fixed
        case .field(let field): value = try self.value(field, document)
        }
        var list = value.array
        if case .field(let field) = target, !columns.contains(field.source), let text = value.string,
            text.hasPrefix("["), text.hasSuffix("]")
        {
            list = PythonLiteral.list(text)
        }
        let texts = try (list ?? [value]).map { value in
            guard let text = value.string ?? value.int.map(String.init) ?? value.double.map({ "\($0)" }) else {
                throw error(document, "doc_to_target gives \(value.kind), expected a text or a list of texts")
            }
            return text
        }
        guard !texts.isEmpty else { throw error(document, "doc_to_target gives an empty list") }
        return texts
    }

    private func continuation(_ target: JSONValue, _ document: TaskDocument) throws -> String {
        guard let text = target.string ?? target.int.map(String.init) else {
            throw error(document, "doc_to_target gives \(target.kind), expected the text behind the contexts")
        }
        return text
    }

    /// An index, a text, or a list of indices.
    private func target(_ target: TaskDefinition.Target, of document: TaskDocument) throws -> JSONValue {
        let value: JSONValue
        switch target {
        case .fixed(let fixed): value = fixed
        case .field(let field):
            if !columns.contains(field.source),
                let list = try rendering(document, { try field.template.value(document.values) }), list.array != nil
            {
                value = list
                break
            }
            let found = try self.value(field, document)
            guard let text = found.string, !columns.contains(field.source) else {
                value = found
                break
            }
            if !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }), let index = Int(text) {
                value = .integer(index)
            } else {
                value = PythonLiteral.list(text).map { .array($0) } ?? found
            }
        }
        if let flag = value.bool { return .integer(flag ? 1 : 0) }
        return value
    }

    private func gold(_ target: JSONValue, _ choices: [String], _ document: TaskDocument) throws -> [Int] {
        let indices = target.array?.map(\.int) ?? [target.int ?? target.string.flatMap { choices.firstIndex(of: $0) }]
        let known = indices.compactMap { $0 }.filter(choices.indices.contains)
        guard !known.isEmpty, known.count == indices.count else {
            let found = target.string.map { "'\($0)'" } ?? target.int.map(String.init) ?? target.kind
            throw error(
                document,
                "doc_to_target gives \(found), expected one of the \(choices.count) choices or its index (has this split "
                    + "its answers?)")
        }
        return known
    }

    /// The index of the right context.
    private func index(_ document: TaskDocument, of choices: [String]) throws -> Int {
        let text = try text(definition.docToText, document)
        guard let index = Int(text), choices.indices.contains(index) else {
            throw error(document, "doc_to_text gives '\(text)', expected the index of one of \(choices.count) contexts")
        }
        return index
    }

    // MARK: Errors

    private func rendering<T>(_ document: TaskDocument, _ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let error as MeraserError {
            throw MeraserError(error.kind, "\(document.place): \(error.message)")
        }
    }

    private func error(_ document: TaskDocument, _ what: String) -> MeraserError {
        .badInput("\(document.place): task '\(definition.name)': \(what)")
    }
}
