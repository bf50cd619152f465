import Base

/// One budget of a method.
struct MethodBudget {
    /// Its name; nil: the method has no budgets.
    let name: String?
    /// Steps of training, or options over the method's.
    let options: JSONValue

    static let only = MethodBudget(name: nil, options: .null)

    /// A list of steps, or names with options.
    static func list(_ value: JSONValue, place: String) throws -> [MethodBudget] {
        if let steps = value.array {
            return try steps.map { value in
                guard let count = value.int, (1...1_000_000_000).contains(count) else {
                    throw MeraserError.badInput("\(place): \(value.serialized()) is no number of steps")
                }
                return MethodBudget(name: String(count), options: value)
            }
        }
        let section = try Settings(value, place: place)
        return try section.rest().map { key, value in
            guard value.int != nil || value.object != nil else {
                throw MeraserError.badInput(
                    "\(place): '\(key)' is \(value.kind), expected options or a number of steps")
            }
            return MethodBudget(name: try section.checkedLabel(key, key), options: value)
        }
    }

    /// The method's options with the budget's over them.
    func over(_ own: JSONValue, stepsAt path: [String], place: String) throws -> JSONValue {
        guard let steps = options.int else { return own.merging(options) }
        guard !path.isEmpty else {
            throw MeraserError.badInput("\(place): this method has no steps; its budgets must be options")
        }
        return own.merging(path.reversed().reduce(.integer(steps)) { .object(JSONObject([(key: $1, value: $0)])) })
    }
}

/// One entry of `methods`.
struct MethodEntry {
    let label: String
    let method: ComparisonMethod
    let victims: [String]?
    let budgets: [MethodBudget]
    /// In place of the whole file's; nil: that.
    private let durable: DurabilitySelection?
    private let options: JSONValue
    private let place: String

    init(_ section: Settings, budgets common: [MethodBudget]?) throws {
        var section = section
        let names = ComparisonMethod.all.map(\.name)
        let given = try section.label("name")
        let kind = try section.text("method") ?? given ?? section.missing("method")
        guard let method = ComparisonMethod.all.first(where: { $0.name == kind }) else {
            let nearest = closest(to: kind, in: names).map { "; did you mean '\($0)'?" }
            throw MeraserError.badInput(
                "\(section.place): unknown method '\(kind)'\(nearest ?? "; known are \(names.joined(separator: ", "))")"
            )
        }
        self.method = method
        label = given ?? kind
        guard label != Comparison.reference else {
            throw MeraserError.badInput(
                "\(section.place): '\(label)' names the reference's own row; choose another name")
        }
        victims = try section.texts("victims")
        let own = try section.value("budgets").map { try MethodBudget.list($0, place: "\(section.place): budgets") }
        budgets = own ?? (method.steps.isEmpty ? nil : common) ?? [.only]
        durable = try section.durable("durable")
        options = .object(JSONObject(section.rest()))
        place = section.place
    }

    func cell(
        _ victim: ComparisonVictim, _ budget: MethodBudget, _ planner: inout ComparisonPlanner
    ) throws -> ComparisonCell {
        let name = label + (budget.name.map { "-\($0)" } ?? "")
        let options = try budget.over(options, stepsAt: method.steps, place: place)
        var plan = MethodPlan(
            victim: victim, options: try Settings(options, place: place), planner: planner,
            step: ComparisonStep(path: "cells/\(victim.name)/\(name)"), name: name)
        plan.need(victim.needs)
        let subject = try method.plan(&plan)
        let changesWeights = plan.step.commands.contains { $0.purpose == .work }
        try plan.options.requireNothingElse()
        let durable = try plan.planner.durableArguments(durable, place: place, needs: &plan.step.needs)
        planner = plan.planner
        plan.step.commands += planner.measures.commands(
            subject.arguments, check: subject.checkArguments, victim: victim, reference: planner.reference,
            durable: durable)
        planner.add(plan.step)
        return ComparisonCell(
            victim: victim.name, method: label, budget: budget.name, path: plan.step.path,
            isDecodingOnly: subject.isDecodedOtherwise && !changesWeights)
    }
}
