import Base
import Model

/// What a model is asked about one document: the likelihood of each continuation after its context.
public struct TaskQuestion: Sendable, Equatable {
    /// A context and what may follow it.
    public struct Request: Sendable, Equatable {
        /// Few-shot examples and the document.
        public let context: String
        /// The choice behind its delimiter.
        public let continuation: String
    }

    /// One for each choice.
    public let requests: [Request]
    /// The choices as the task has them, which lengths are measured of.
    public let choices: [String]
    /// Indices of the right choices, at least one.
    public let gold: [Int]
}

/// Makes questions of a task's documents, as lm-evaluation-harness's `ConfigurableTask` does.
struct TaskQuestions {
    let definition: TaskDefinition
    /// The columns of the data: those of the first row.
    private let columns: Set<String>
    /// `docToText` gives an index: the choices are the contexts.
    private let hasSeveralContexts: Bool

    /// - Throws: a bad-input error for a first document that the task's templates do not fit.
    init(_ definition: TaskDefinition, first: TaskDocument) throws {
        let columns = Set(first.object.members.map(\.key.string))
        let plain = TaskQuestions(definition, columns: columns, hasSeveralContexts: false)
        let text = try plain.text(of: first)
        let isIndex = !text.isEmpty && text.utf8.allSatisfy { (48...57).contains($0) }
        self.init(definition, columns: columns, hasSeveralContexts: isIndex)
    }

    private init(_ definition: TaskDefinition, columns: Set<String>, hasSeveralContexts: Bool) {
        self.definition = definition
        self.columns = columns
        self.hasSeveralContexts = hasSeveralContexts
    }

    /// The question that a document asks behind those examples.
    func question(_ document: TaskDocument, examples: [TaskDocument]) throws -> TaskQuestion {
        let description = try definition.description.map { try text($0, document) } ?? ""
        let prefix = try examples.reduce(into: description) { $0 += try example($1) }
        let choices = try choices(of: document)
        let target = try target(of: document)
        let delimiter = definition.targetDelimiter
        if hasSeveralContexts {
            guard let continuation = target.string ?? target.int.map(String.init) else {
                throw error(document, "doc_to_target gives \(target.kind), expected the text behind the contexts")
            }
            return TaskQuestion(
                requests: choices.map { .init(context: prefix + $0, continuation: delimiter + continuation) },
                choices: choices, gold: [try index(document, of: choices)])
        }
        let context = prefix + (try text(of: document))
        return TaskQuestion(
            requests: choices.map { .init(context: context, continuation: delimiter + $0) }, choices: choices,
            gold: try gold(target, choices, document))
    }

    /// An example with its answer and the delimiter behind it.
    private func example(_ document: TaskDocument) throws -> String {
        let choices = try choices(of: document)
        let target = try target(of: document)
        let text = hasSeveralContexts ? choices[try index(document, of: choices)] : try text(of: document)
        let answer: String
        if hasSeveralContexts, let continuation = target.string ?? target.int.map(String.init) {
            answer = continuation
        } else {
            answer = choices[try gold(target, choices, document)[0]]
        }
        return text + definition.targetDelimiter + answer + definition.fewshotDelimiter
    }

    // MARK: Fields

    private func text(of document: TaskDocument) throws -> String { try text(definition.docToText, document) }

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

    private func choices(of document: TaskDocument) throws -> [String] {
        guard case .field(let field) = definition.docToChoice else {
            if case .fixed(let choices) = definition.docToChoice { return choices }
            return []
        }
        let list: [JSONValue]?
        if columns.contains(field.source) {
            list = document.object[field.source]?.array
        } else if let value = try rendering(document, { try field.template.value(document.values) }) {
            list = value.array ?? value.string.flatMap { PythonLiteral.list($0) }
        } else {
            list = PythonLiteral.list(try rendering(document) { try field.template.text(document.values) })
        }
        let choices = list?.compactMap(\.string) ?? []
        guard let list, choices.count == list.count, choices.count >= 2 else {
            throw error(document, "doc_to_choice gives no list of two or more texts")
        }
        return choices
    }

    /// An index, a text, or a list of indices.
    private func target(of document: TaskDocument) throws -> JSONValue {
        let value: JSONValue
        switch definition.docToTarget {
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
        let text = try text(of: document)
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
