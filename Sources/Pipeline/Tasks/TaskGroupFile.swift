import Audit
import Base

/// What a task file declares.
enum TaskEntry {
    case task(TaskDefinition)
    case group(TaskGroup)

    /// Reads a file: one whose `task` is a list under `group` is a group. Errors: as `TaskDefinition`.
    init(path: String) throws {
        let value = try TaskDefinition.read(path, depth: 0)
        if value["group"] != nil, value["task"]?.array != nil {
            self = .group(try TaskGroup(value, place: path))
        } else {
            self = .task(try TaskDefinition(path: path))
        }
    }
}

extension TaskGroup {
    /// Reads lm-eval's keys of a group. Errors (`badInput`) name file and key.
    init(_ value: JSONValue, place: String) throws {
        var file = try Settings(value, place: place)
        guard let name = try file.text("group") else { throw MeraserError.badInput("\(place): 'group' is missing") }
        let children = file.value("task")?.array?.map(\.string) ?? []
        let names = children.compactMap { $0 }
        guard !names.isEmpty, names.count == children.count else {
            throw MeraserError.badInput("\(place): 'task' is no list of the names of tasks and groups")
        }
        let list = file.value("aggregate_metric_list")
        let entries = list.map { $0.array ?? [$0] } ?? []
        let aggregates = try entries.enumerated().map { index, entry in
            var entry = try Settings(entry, place: "\(place): aggregated metric \(index + 1)")
            guard let metric = try entry.choice("metric", TaskMetric.self) else {
                throw MeraserError.badInput("\(entry.place): 'metric' is missing")
            }
            let aggregation = try entry.text("aggregation") ?? "mean"
            guard aggregation == "mean" else {
                throw MeraserError.badInput("\(entry.place): 'aggregation' is \(quoted(aggregation)), expected mean")
            }
            let filters = entry.value("filter_list").map { $0.array?.compactMap(\.string) ?? [$0.string ?? ""] }
            let weights = try entry.flag("weight_by_size") ?? true
            try entry.requireNothingElse()
            return Aggregate(metric: metric, weightsBySize: weights, filters: filters)
        }
        let alias = try file.text("group_alias")
        let version = try file.section("metadata").flatMap {
            var data = $0; return data.value("version")
        }
        try file.requireNothingElse()
        self.init(
            name: name, alias: alias, children: names, aggregates: aggregates, version: version ?? .text("N/A"))
    }
}
