import Base

/// Tasks that are evaluated together and shown as one, as lm-evaluation-harness's groups.
public struct TaskGroup: Sendable {
    /// A measure of the whole.
    public struct Aggregate: Sendable, Equatable {
        /// Of the tasks that have it.
        public let metric: TaskMetric
        /// A task counts as many times as it has rows; else once.
        public let weightsBySize: Bool
        /// The filters whose outcomes count; nil: those that the tasks have.
        public let filters: [String]?

        /// A mean over tasks.
        public init(metric: TaskMetric, weightsBySize: Bool = true, filters: [String]? = nil) {
            (self.metric, self.weightsBySize, self.filters) = (metric, weightsBySize, filters)
        }
    }

    /// The name, `mmlu`.
    public let name: String
    /// The name in tables.
    public let alias: String
    /// Tasks and groups in it.
    public let children: [String]
    /// What is measured; nothing: the group is a name for its tasks.
    public let aggregates: [Aggregate]
    /// The version that results name.
    public let version: JSONValue

    /// A group.
    public init(
        name: String, alias: String? = nil, children: [String], aggregates: [Aggregate] = [],
        version: JSONValue = .text("N/A")
    ) {
        (self.name, self.children, self.aggregates, self.version) = (name, children, aggregates, version)
        self.alias = alias ?? name
    }
}

/// The measures of a group.
struct GroupResult {
    let group: TaskGroup
    let metrics: [MeasuredMetric]
    /// Rows of all its tasks.
    let count: Int
    /// Rows behind each measure.
    let counts: [Int]

    /// - Parameter tasks: those in the group and in the groups in it.
    init(_ group: TaskGroup, tasks: [TaskResult]) {
        self.group = group
        count = tasks.reduce(0) { $0 + $1.count }
        var (metrics, counts) = ([MeasuredMetric](), [Int]())
        for aggregate in group.aggregates {
            let found = Set(tasks.flatMap(\.metrics).filter { $0.metric == aggregate.metric }.map(\.filter))
            for filter in aggregate.filters ?? found.sorted() {
                let parts = tasks.compactMap { task in
                    task.metrics.first { $0.metric == aggregate.metric && $0.filter == filter }.map { ($0, task.count) }
                }
                guard !parts.isEmpty else { continue }
                metrics.append(Self.combined(parts, aggregate, filter))
                counts.append(parts.reduce(0) { $0 + $1.1 })
            }
        }
        (self.metrics, self.counts) = (metrics, counts)
    }

    /// The mean, and the standard error that belongs to it: pooled where rows count, else that of a mean of means.
    private static func combined(
        _ parts: [(measured: MeasuredMetric, size: Int)], _ aggregate: TaskGroup.Aggregate, _ filter: String
    ) -> MeasuredMetric {
        let sizes = parts.map { Double($0.size) }
        let weights = aggregate.weightsBySize ? sizes : sizes.map { _ in 1 }
        let sum = zip(parts, weights).reduce(0) { $0 + $1.0.measured.value * $1.1 }
        let errors = parts.compactMap(\.measured.standardError)
        var error: Double?
        if errors.count == parts.count {
            let total = sizes.reduce(0, +)
            if aggregate.weightsBySize {
                let pooled = zip(sizes, errors).reduce(0) { $0 + ($1.0 - 1) * ($1.1 * $1.1) * $1.0 }
                error = (pooled / (total - Double(parts.count)) / total).squareRoot()
            } else {
                error = errors.reduce(0) { $0 + $1 * $1 }.squareRoot() / Double(parts.count)
            }
        }
        return MeasuredMetric(
            metric: aggregate.metric, value: sum / weights.reduce(0, +), standardError: error, filter: filter)
    }

    var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [("alias", .text(group.alias)), ("name", .text(group.name))]
        guard !group.aggregates.isEmpty else { return .object(JSONObject(members)) }
        members.append(("sample_len", .integer(count)))
        members += metrics.flatMap(\.members)
        let keys = zip(metrics, counts).map { (key: $0.key, value: JSONValue.integer($1)) }
        if !keys.isEmpty { members.append(("sample_count", .object(JSONObject(keys)))) }
        return .object(JSONObject(members))
    }
}

extension MeasuredMetric {
    /// lm-eval's key, `acc,none`.
    var key: String { "\(metric.rawValue),\(filter)" }

    /// Value and standard error under lm-eval's keys; one that cannot be told is "N/A".
    var members: [(key: String, value: JSONValue)] {
        [
            (key, .number(value)),
            ("\(metric.rawValue)_stderr,\(filter)", standardError.map { .number($0) } ?? .text("N/A")),
        ]
    }
}
