import Audit
import Base
import Foundation

/// Collects tasks and groups, each once.
struct ChosenTasks {
    private(set) var tasks: [TaskDefinition] = []
    private(set) var groups: [TaskGroup] = []
    /// Groups of files whose tasks are looked for in their folder.
    private var depth = 0

    mutating func add(_ word: String) throws {
        var isFolder: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: word, isDirectory: &isFolder)
        if TaskLibrary.isTaskFile(word) {
            try add(file: word)
        } else if try !addBundled(word) {
            guard exists, isFolder.boolValue else {
                let suggestion = closest(to: word, in: TaskLibrary.allNames).map { "did you mean '\($0)'?" }
                let names = (TaskLibrary.names + TaskLibrary.groupNames).joined(separator: ", ")
                throw MeraserError.usage(
                    "`tasks`: '\(word)' is no task, task file or folder of task files; "
                        + (suggestion ?? "bundled are \(names)"))
            }
            let files = try Self.files(in: word)
            guard !files.isEmpty else { throw MeraserError.badInput("\(word): no task files (.yml) in this folder") }
            let entries = try files.map { try TaskEntry(path: $0) }
            // Groups first: the tasks of the folder that they name are in then.
            for case .group(let group) in entries where !groups.contains(where: { $0.name == group.name }) {
                try add(group, folder: word)
            }
            for case .task(let task) in entries where !groups.contains(where: { $0.children.contains(task.name) }) {
                try append(task)
            }
        }
    }

    private static func files(in folder: String) throws -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.filter(TaskLibrary.isTaskFile).sorted().map { folder + "/" + $0 }
    }

    /// False if the program has nothing of that name.
    private mutating func addBundled(_ word: String) throws -> Bool {
        let bundled = TaskLibrary.group(word)
        if !bundled.isEmpty {
            for group in bundled { try append(group) }
            for name in bundled.flatMap(\.children) {
                if let task = try TaskLibrary.task(name) { try append(task) }
            }
            return true
        }
        if let names = TaskLibrary.tag(word) {
            for name in names { _ = try addBundled(name) }
            return true
        }
        guard let task = try TaskLibrary.task(word) else { return false }
        try append(task)
        return true
    }

    private mutating func add(file: String) throws {
        switch try TaskEntry(path: file) {
        case .task(let task): try append(task)
        case .group(let group):
            try add(group, folder: URL(fileURLWithPath: file).deletingLastPathComponent().path)
        }
    }

    /// A group of a file: its tasks are bundled ones, or those of files beside it.
    private mutating func add(_ group: TaskGroup, folder: String) throws {
        depth += 1
        defer { depth -= 1 }
        guard depth <= 8 else {
            throw MeraserError.badInput("\(folder): groups of tasks lie in each other more than 8 deep")
        }
        try append(group)
        var own: [String: TaskEntry] = [:]
        for path in try Self.files(in: folder) {
            guard let entry = try? TaskEntry(path: path) else { continue }
            switch entry {
            case .task(let task): own[task.name] = entry
            case .group(let group): own[group.name] = entry
            }
        }
        for child in group.children {
            switch own[child] {
            case .task(let task): try append(task)
            case .group(let inner): try add(inner, folder: folder)
            case nil:
                guard try addBundled(child) else {
                    throw MeraserError.badInput(
                        "\(folder): the group '\(group.name)' has '\(child)', which is neither bundled nor in a task file "
                            + "of this folder")
                }
            }
        }
    }

    private mutating func append(_ task: TaskDefinition) throws {
        try requireNew(task.name)
        tasks.append(task)
    }

    private mutating func append(_ group: TaskGroup) throws {
        try requireNew(group.name)
        groups.append(group)
    }

    private func requireNew(_ name: String) throws {
        guard !tasks.contains(where: { $0.name == name }), !groups.contains(where: { $0.name == name }) else {
            throw MeraserError.usage("`tasks`: the task '\(name)' is given twice")
        }
    }
}
